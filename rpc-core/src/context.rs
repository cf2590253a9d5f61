//! [`Context`]: what a call carries beside its message.

use std::cell::RefCell;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::metadata::Key;
use crate::serialize::{FormatTable, ProtobufOnly};
use crate::time::Sleep;
use crate::{Clock, Deadline, Metadata, Timer};

/// What all connections of one loop share: how time is told and measured there, and which formats are known.
pub struct Site {
    clock: Clock,
    timer: Option<Arc<dyn Timer>>,
    formats: Option<Arc<dyn FormatTable>>,
}

impl Site {
    /// A site with that clock. Without a timer nothing can wait for a time there.
    pub fn new(clock: Clock, timer: Option<Arc<dyn Timer>>) -> Self {
        Self {
            clock,
            timer,
            formats: None,
        }
    }

    /// The same site, where messages may be in these formats beside protobuf. Default: in no other.
    pub fn with_formats(mut self, formats: Arc<dyn FormatTable>) -> Self {
        self.formats = Some(formats);
        self
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("clock", &self.clock)
            .field("has_timer", &self.timer.is_some())
            .field("formats", &self.formats)
            .finish()
    }
}

/// Where a call takes place: what all calls of one connection share.
///
/// Every connection has one for as long as it lives, so it holds no more than it must.
pub struct Scope {
    /// `None` where time is the system's and nothing can wait for it, so that a call from outside costs no site.
    site: Option<Arc<Site>>,
    /// The other end, as most are; [`NOBODY`] if it is not of that kind.
    v4: SocketAddrV4,
    /// The other end, of another kind.
    other: Option<Box<SocketAddr>>,
    gone: AtomicBool,
}

static SYSTEM: Clock = Clock::system();

/// The address that no peer has.
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

impl Scope {
    /// The scope of a connection to `peer`, on a loop of its own that tells and measures time.
    pub fn new(clock: Clock, timer: Option<Arc<dyn Timer>>, peer: Option<SocketAddr>) -> Self {
        let has_site = timer.is_some() || clock.is_manual();
        Self::with(has_site.then(|| Arc::new(Site::new(clock, timer))), peer)
    }

    /// The scope of a connection to `peer`, one of many at `site`.
    pub fn at(site: &Arc<Site>, peer: Option<SocketAddr>) -> Self {
        Self::with(Some(Arc::clone(site)), peer)
    }

    fn with(site: Option<Arc<Site>>, peer: Option<SocketAddr>) -> Self {
        let (v4, other) = match peer {
            Some(SocketAddr::V4(v4)) => (v4, None),
            other => (NOBODY, other.map(Box::new)),
        };
        Self {
            site,
            v4,
            other,
            gone: AtomicBool::new(false),
        }
    }

    /// Says that the connection has ended: nobody waits for what its calls still do.
    pub fn end(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The other end of the connection, if there is one.
    pub fn peer(&self) -> Option<SocketAddr> {
        match &self.other {
            Some(other) => Some(**other),
            None => (self.v4 != NOBODY).then_some(SocketAddr::V4(self.v4)),
        }
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.site.as_ref().map_or(&SYSTEM, |site| &site.clock)
    }

    /// The formats beside protobuf in which messages may be.
    pub fn formats(&self) -> &dyn FormatTable {
        let formats = self.site.as_ref().and_then(|site| site.formats.as_deref());
        formats.unwrap_or(&ProtobufOnly)
    }

    fn timer(&self) -> Option<&Arc<dyn Timer>> {
        self.site.as_ref()?.timer.as_ref()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("peer", &self.peer())
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}

/// Marks that travel with a whole chain of calls, as a bit mask: unknown bits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(pub u32);

impl Marks {
    /// The call is test traffic, coloured so that it can be told apart ("dyeing").
    pub const DYED: Self = Self(0x01);
    /// The call is traced.
    pub const TRACED: Self = Self(0x02);

    /// Whether all marks of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Who calls whom, one name behind the other. What comes over a wire need not be text; only who asks pays for finding
/// that out.
#[derive(Debug, Clone)]
struct Names {
    /// Both, if they fit here: most do, and cost no allocation.
    short: [u8; NAMES_SHORT],
    /// Both, if they do not.
    long: Vec<u8>,
    caller_len: usize,
    len: usize,
}

/// Two names of the length that is common among services, `trpc.app.server.Service`, and some more.
const NAMES_SHORT: usize = 96;

impl Default for Names {
    fn default() -> Self {
        Self {
            short: [0; NAMES_SHORT],
            long: Vec::new(),
            caller_len: 0,
            len: 0,
        }
    }
}

impl Names {
    fn set(&mut self, caller: &[u8], callee: &[u8]) {
        self.caller_len = caller.len();
        self.len = caller.len().saturating_add(callee.len());
        let halves = self.short.split_at_mut_checked(caller.len());
        let places = halves.and_then(|(first, rest)| Some((first, rest.get_mut(..callee.len())?)));
        if let Some((first, second)) = places {
            first.copy_from_slice(caller);
            second.copy_from_slice(callee);
            return;
        }
        self.long = [caller, callee].concat();
    }

    fn clear(&mut self) {
        self.caller_len = 0;
        self.len = 0;
        if !self.long.is_empty() {
            self.long = Vec::new();
        }
    }

    fn caller(&self) -> &str {
        text(self.both().get(..self.caller_len))
    }

    fn callee(&self) -> &str {
        text(self.both().get(self.caller_len..self.len))
    }

    fn both(&self) -> &[u8] {
        if self.len <= NAMES_SHORT {
            &self.short
        } else {
            &self.long
        }
    }
}

fn text(bytes: Option<&[u8]>) -> &str {
    std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
}

/// What a call carries beside its message: its deadline, its metadata, who sent it, and the means to send something
/// back beside the reply.
///
/// A handler is given one. A call that it makes in turn inherits from it by [`crate::Call::within`].
///
/// One pointer wide: a request is handed from hand to hand on its way, and what is rarely looked at should not be carried
/// along each time (`benches/benches/compare.rs`, framework; without it a fifth of the time went into moving).
pub struct Context {
    /// Present until it is dropped.
    inner: Option<Box<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// Present while it is in use. One that has been left keeps it: the next call of a thread is likely to take place in
    /// the same scope, and then nothing has to be counted.
    scope: Option<Arc<Scope>>,
    deadline: Option<Deadline>,
    metadata: Metadata,
    names: Names,
    marks: Marks,
    trailer: Mutex<Option<Box<Trailer>>>,
}

thread_local! {
    /// Boxes that contexts of this thread have left, so that a request in place costs no allocation.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    static KEPT: RefCell<Vec<Box<Inner>>> = const { RefCell::new(Vec::new()) };
}

/// More than a loop has in flight at a time would only lie about.
const KEPT_MAX: usize = 512;

/// What a context leaves behind: memory for the next one. Calls begin on one thread and end on another, so the latter
/// sends it back ([`Shell::of_this_thread`], [`Shell::leave`]), or the first would always have to allocate.
pub struct Shell(Box<Inner>);

impl Shell {
    /// One that a context left on this thread.
    pub fn of_this_thread() -> Option<Self> {
        let kept = KEPT.try_with(|kept| kept.borrow_mut().pop());
        kept.ok().flatten().map(Self)
    }

    /// Leaves it to the next context of this thread.
    pub fn leave(self) {
        // A thread that is ending keeps nothing.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT_MAX {
                kept.push(self.0);
            }
        });
    }
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shell")
    }
}

/// What goes back beside the reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trailer {
    pub(crate) metadata: Metadata,
    pub(crate) attachment: Bytes,
}

impl Context {
    /// The context of a call that nobody made it for: no deadline, no metadata.
    pub fn background() -> Self {
        Self::new(&Arc::new(Scope::new(Clock::system(), None, None)))
    }

    /// A context in `scope`, with nothing in it.
    pub fn new(scope: &Arc<Scope>) -> Self {
        let mut inner = Shell::of_this_thread().map_or_else(Box::default, |shell| shell.0);
        let is_there = inner
            .scope
            .as_ref()
            .is_some_and(|kept| Arc::ptr_eq(kept, scope));
        if !is_there {
            inner.scope = Some(Arc::clone(scope));
        }
        Self { inner: Some(inner) }
    }

    /// The context of a call that is made on behalf of this one: it inherits what is left of the deadline, the metadata
    /// that belongs to the chain of calls, and the marks.
    pub fn child(&self) -> Self {
        let mut child = Self::new(self.scope());
        let (own, inner) = (child.inner_mut(), self.inner());
        own.deadline = inner.deadline.map(Deadline::inherited);
        own.metadata = inner.metadata.forwarded();
        own.marks = inner.marks;
        child
    }

    /// Gives a call that began outside of any loop the scope of one, whose clock and timer it uses from then on.
    pub fn enter(&mut self, scope: &Arc<Scope>) {
        if self.scope().timer().is_none() {
            self.inner_mut().scope = Some(Arc::clone(scope));
        }
    }

    /// Lets the messages of this call be in these formats, and no others beside protobuf, whatever is known where it takes
    /// place. It costs two allocations: connections say so once for all calls ([`Site::with_formats`]).
    pub fn set_formats(&mut self, formats: Arc<dyn FormatTable>) {
        let scope = self.scope();
        let site = Site::new(scope.clock().clone(), scope.timer().cloned());
        let own = Scope::at(&Arc::new(site.with_formats(formats)), scope.peer());
        own.gone.store(scope.has_ended(), Ordering::Release);
        self.inner_mut().scope = Some(Arc::new(own));
    }

    /// Bounds the call by `deadline` too. The earlier one holds.
    pub fn narrow(&mut self, deadline: Deadline) {
        let inner = self.inner_mut();
        inner.deadline = Some(deadline.min(inner.deadline));
    }

    /// The metadata, to be changed.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.inner_mut().metadata
    }

    /// Replaces the metadata.
    pub fn set_metadata(&mut self, metadata: Metadata) {
        self.inner_mut().metadata = metadata;
    }

    /// Says who calls whom, by the names that services have among each other.
    pub fn set_names(&mut self, caller: impl AsRef<[u8]>, callee: impl AsRef<[u8]>) {
        let names = &mut self.inner_mut().names;
        names.set(caller.as_ref(), callee.as_ref());
    }

    /// Sets the marks.
    pub fn set_marks(&mut self, marks: Marks) {
        self.inner_mut().marks = marks;
    }

    /// Sends `key` with `value` back beside the reply.
    pub fn reply_metadata(&self, key: impl Into<Key>, value: impl Into<Bytes>) {
        self.with_trailer(|trailer| trailer.metadata.insert(key, value));
    }

    /// Sends bytes back beside the reply, neither written in a format nor compressed.
    pub fn reply_attachment(&self, attachment: Bytes) {
        self.with_trailer(|trailer| trailer.attachment = attachment);
    }

    /// When nobody waits any more, and whose time that is.
    pub fn deadline(&self) -> Option<Deadline> {
        self.inner().deadline
    }

    /// What is left until the deadline; [`Duration::MAX`] without one.
    pub fn remaining(&self) -> Duration {
        self.inner()
            .deadline
            .map_or(Duration::MAX, |deadline| deadline.remaining(self.now()))
    }

    /// Whether nobody waits any more: the deadline has passed or the caller is gone. Plain handlers, which cannot be
    /// dropped half-way, ask this between two long steps.
    pub fn is_cancelled(&self) -> bool {
        self.scope().has_ended()
            || self
                .deadline()
                .is_some_and(|deadline| deadline.is_over(self.now()))
    }

    /// The metadata that came with the call.
    pub fn metadata(&self) -> &Metadata {
        &self.inner().metadata
    }

    /// The address of the other end, unless the call never left this process.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.scope().peer()
    }

    /// How the caller calls itself; empty if it does not, or not in text.
    pub fn caller(&self) -> &str {
        self.inner().names.caller()
    }

    /// How the caller calls us; empty if it does not, or not in text.
    pub fn callee(&self) -> &str {
        self.inner().names.callee()
    }

    /// [`Context::caller`] and [`Context::callee`] as bytes, text or not.
    pub fn name_bytes(&self) -> (&[u8], &[u8]) {
        let names = &self.inner().names;
        let both = names.both().get(..names.len).unwrap_or_default();
        both.split_at_checked(names.caller_len).unwrap_or_default()
    }

    /// The marks of the chain of calls.
    pub fn marks(&self) -> Marks {
        self.inner().marks
    }

    /// The time now, by the clock of the loop that brought the call.
    pub fn now(&self) -> Instant {
        self.scope().clock().now()
    }

    /// Ready after `duration`. No thread waits for it.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let clock = self.scope().clock().clone();
        Sleep::until(clock.now() + duration, clock, self.scope().timer().cloned())
    }

    /// Where the call takes place.
    pub fn scope(&self) -> &Arc<Scope> {
        self.inner().scope.as_ref().expect("present while in use")
    }

    pub(crate) fn into_trailer(mut self) -> Option<Box<Trailer>> {
        let trailer = self.inner_mut().trailer.get_mut();
        trailer.unwrap_or_else(PoisonError::into_inner).take()
    }

    fn with_trailer(&self, change: impl FnOnce(&mut Trailer)) {
        let mut trailer = self
            .inner()
            .trailer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(trailer.get_or_insert_default());
    }

    fn inner(&self) -> &Inner {
        self.inner.as_ref().expect("present until dropped")
    }

    fn inner_mut(&mut self) -> &mut Inner {
        self.inner.as_mut().expect("present until dropped")
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(mut inner) = self.inner.take() {
            inner.reset();
            Shell(inner).leave();
        }
    }
}

impl Inner {
    /// Lets go of all that a call held; what costs nothing to hold is written over by the next.
    fn reset(&mut self) {
        self.deadline = None;
        self.metadata.clear();
        self.names.clear();
        self.marks = Marks::default();
        *self
            .trailer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Clone for Context {
    /// The same call once more, as a retry makes it; what would go back beside the reply is not copied.
    fn clone(&self) -> Self {
        let mut clone = Self::new(self.scope());
        let (own, inner) = (clone.inner_mut(), self.inner());
        own.deadline = inner.deadline;
        own.metadata = inner.metadata.clone();
        own.names = inner.names.clone();
        own.marks = inner.marks;
        clone
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("peer", &self.peer())
            .field("deadline", &self.deadline())
            .field("metadata", self.metadata())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cause;

    #[test]
    fn names_that_are_not_text_or_not_there_are_empty() {
        let mut cx = Context::background();
        assert_eq!((cx.caller(), cx.callee()), ("", ""));
        cx.set_names("a.caller", "a.callee");
        assert_eq!((cx.caller(), cx.callee()), ("a.caller", "a.callee"));
        cx.set_names(b"ab\xff", b"c");
        assert_eq!((cx.caller(), cx.callee()), ("", "c"));
    }

    #[test]
    fn a_context_begins_empty_whatever_the_one_before_it_held() {
        let scope = Arc::new(Scope::new(Clock::system(), None, None));
        let mut cx = Context::new(&scope);
        cx.set_names("x".repeat(1000), "y");
        cx.metadata_mut().insert("key", "value");
        cx.reply_metadata("key", "value");
        cx.narrow(Deadline::new(cx.now(), Cause::Own));
        drop(cx);
        let cx = Context::new(&scope);
        assert!(cx.metadata().is_empty() && cx.deadline().is_none());
        assert_eq!((cx.caller(), cx.callee()), ("", ""));
        assert!(cx.into_trailer().is_none());
        let other = Arc::new(Scope::new(Clock::system(), None, None));
        assert!(Arc::ptr_eq(Context::new(&other).scope(), &other));
    }

    #[test]
    fn a_scope_knows_its_peer_whatever_address_that_has() {
        let site = Arc::new(Site::new(Clock::system(), None));
        for peer in ["10.0.0.7:8000", "[2001:db8::7]:8000", "[fe80::7%3]:8000"] {
            let peer = Some(peer.parse().unwrap());
            assert_eq!(Scope::at(&site, peer).peer(), peer);
        }
        assert_eq!(Scope::at(&site, None).peer(), None);
    }

    #[test]
    fn a_child_inherits_the_deadline_as_its_callers() {
        let mut cx = Context::background();
        let at = cx.now() + Duration::from_secs(1);
        cx.narrow(Deadline::new(at, Cause::Own));
        let child = cx.child();
        assert_eq!(child.deadline(), Some(Deadline::new(at, Cause::Caller)));
    }

    #[test]
    fn narrowing_never_widens() {
        let mut cx = Context::background();
        let now = cx.now();
        cx.narrow(Deadline::new(now + Duration::from_millis(5), Cause::Caller));
        cx.narrow(Deadline::new(now + Duration::from_millis(9), Cause::Own));
        assert_eq!(
            cx.deadline().map(|d| (d.at() - now, d.cause())),
            Some((Duration::from_millis(5), Cause::Caller))
        );
    }

    #[test]
    fn a_call_whose_connection_ended_is_cancelled() {
        let cx = Context::background();
        assert!(!cx.is_cancelled());
        cx.scope().end();
        assert!(cx.is_cancelled());
    }
}
