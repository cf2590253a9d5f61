//! [`Context`]: what a call carries beside its message.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::ops::BitOr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::forwarding::{self, Forwarding};
use crate::metadata::Key;
use crate::parties::Names;
use crate::serialize::FormatTable;
use crate::stream::Pipe;
use crate::time::Sleep;
use crate::{Clock, Deadline, Metadata, Parties, PeerIdentity, Scope};

/// Marks that travel with a whole chain of calls, as a bit mask: unknown bits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(pub u32);

impl Marks {
    /// The call is test traffic, coloured so that it can be told apart ("dyeing").
    pub const DYED: Self = Self(0x01);
    /// The call is traced.
    pub const TRACED: Self = Self(0x02);
    /// The call is routed through environments.
    pub const MULTI_ENV: Self = Self(0x04);
    /// The call is part of a canary release ("grid").
    pub const GRID: Self = Self(0x08);
    /// The call stays within a set of servers that has a name.
    pub const SET_NAME: Self = Self(0x10);

    /// Whether all marks of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
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
    /// Kept like the scope, and for the same reason.
    parties: Option<Arc<Parties>>,
    /// Whether it is these whose call this is, and not those of `names`.
    is_of_parties: bool,
    names: Names,
    marks: Marks,
    /// Behind a pointer, as hardly a call has any of it.
    rare: Option<Box<Rare>>,
    trailer: Mutex<Option<Box<Trailer>>>,
}

/// What few requests have.
#[derive(Debug, Default)]
struct Rare {
    attachment: Bytes,
    /// The path, if it is not that of the method's descriptor.
    path: Option<String>,
    /// The answering end's end of the stream that the call opens.
    pipe: Option<Pipe>,
}

/// A stream has one end on each side, so the copy of a call is one without it.
impl Clone for Rare {
    fn clone(&self) -> Self {
        Self {
            attachment: self.attachment.clone(),
            path: self.path.clone(),
            pipe: None,
        }
    }
}

static NOTHING: Bytes = Bytes::new();

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
        let mut child = self.heir();
        child.forward(&forwarding::STANDARD);
        child
    }

    /// A child that still has all of the metadata; [`Context::forward`] leaves of it what may go along.
    pub(crate) fn heir(&self) -> Self {
        let mut child = Self::new(self.scope());
        let (own, inner) = (child.inner_mut(), self.inner());
        own.deadline = inner.deadline.map(Deadline::inherited);
        own.metadata = inner.metadata.to_forward();
        own.marks = inner.marks;
        child
    }

    pub(crate) fn forward(&mut self, rule: &Forwarding) {
        let inner = self.inner_mut();
        inner.metadata = std::mem::take(&mut inner.metadata).forwarded_by(rule);
        inner.marks = rule.marks(inner.marks);
    }

    /// Gives a call that began outside of any loop the scope of one, whose clock and timer it uses from then on.
    pub fn enter(&mut self, scope: &Arc<Scope>) {
        if self.scope().timer().is_none() {
            self.inner_mut().scope = Some(Arc::clone(scope));
        }
    }

    /// Lets the messages of this call be in these formats, and no others beside protobuf, whatever is known where it takes
    /// place. It costs two allocations: connections say so once for all calls ([`Site::with_formats`](crate::Site::with_formats)).
    pub fn set_formats(&mut self, formats: Arc<dyn FormatTable>) {
        let own = self.scope().with_formats(formats);
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
        let inner = self.inner_mut();
        inner.is_of_parties = false;
        inner.names.set(caller.as_ref(), callee.as_ref());
    }

    /// Says who calls whom, like all calls of a channel.
    pub fn set_parties(&mut self, parties: &Arc<Parties>) {
        let inner = self.inner_mut();
        inner.is_of_parties = true;
        let kept = inner.parties.as_ref();
        if !kept.is_some_and(|kept| Arc::ptr_eq(kept, parties)) {
            inner.parties = Some(Arc::clone(parties));
        }
    }

    /// The same, but it is the server that the call is made within who calls, if that has a name.
    pub fn set_parties_within(&mut self, parties: &Arc<Parties>) {
        let inner = self.inner_mut();
        match inner.scope.as_ref().map_or("", |scope| scope.name()) {
            "" => self.set_parties(parties),
            server => {
                inner.is_of_parties = false;
                let callee = parties.callee().as_bytes();
                inner.names.set(server.as_bytes(), callee);
            }
        }
    }

    /// Sets the marks.
    pub fn set_marks(&mut self, marks: Marks) {
        self.inner_mut().marks = marks;
    }

    /// Sends `key` with `value` back beside the reply.
    pub fn reply_metadata(&self, key: impl Into<Key>, value: impl Into<Bytes>) {
        self.with_trailer(|trailer| trailer.metadata.insert(key, value));
    }

    /// Sends back all metadata that came with the call, beside what [`Context::reply_metadata`] sets, which wins.
    pub fn reply_with_own_metadata(&self) {
        let own = self.metadata();
        if !own.is_empty() {
            self.with_trailer(|trailer| {
                let set = std::mem::replace(&mut trailer.metadata, own.clone());
                for (key, value) in set.into_entries() {
                    trailer.metadata.insert(key, value);
                }
            });
        }
    }

    /// Sends bytes back beside the reply, neither written in a format nor compressed. Large ones, of more than 16 KiB, are
    /// not copied on their way to the socket. What fails sends none.
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

    /// The bytes that came beside the message, neither written in a format nor compressed; none if nothing came. Large ones,
    /// of 16 KiB and more, are a piece of the buffer that the frame was read into: they were not copied, and holding on to
    /// them holds on to all of that buffer.
    pub fn attachment(&self) -> &Bytes {
        let rare = self.inner().rare.as_ref();
        rare.map_or(&NOTHING, |rare| &rare.attachment)
    }

    /// The metadata that came with the call.
    pub fn metadata(&self) -> &Metadata {
        &self.inner().metadata
    }

    /// The address of the other end, unless the call never left this process.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.scope().peer()
    }

    /// Who the other end has proved to be, on a connection with TLS on which it was asked for certificates and gave some.
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.scope().peer_identity()
    }

    /// How the caller calls itself; empty if it does not, or not in text.
    pub fn caller(&self) -> &str {
        match self.parties() {
            Some(parties) => parties.caller(),
            None => self.inner().names.caller(),
        }
    }

    /// How the caller calls us; empty if it does not, or not in text.
    pub fn callee(&self) -> &str {
        match self.parties() {
            Some(parties) => parties.callee(),
            None => self.inner().names.callee(),
        }
    }

    /// [`Context::caller`] and [`Context::callee`] as bytes, text or not.
    pub fn name_bytes(&self) -> (&[u8], &[u8]) {
        if let Some(parties) = self.parties() {
            return (parties.caller().as_bytes(), parties.callee().as_bytes());
        }
        self.inner().names.bytes()
    }

    /// Who calls whom, if a channel said so of all its calls.
    pub fn parties(&self) -> Option<&Arc<Parties>> {
        let inner = self.inner();
        inner.parties.as_ref().filter(|_| inner.is_of_parties)
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

    pub(crate) fn set_attachment(&mut self, attachment: Bytes) {
        let inner = self.inner_mut();
        if !attachment.is_empty() || inner.rare.is_some() {
            inner.rare.get_or_insert_default().attachment = attachment;
        }
    }

    pub(crate) fn set_pipe(&mut self, pipe: Pipe) {
        self.inner_mut().rare.get_or_insert_default().pipe = Some(pipe);
    }

    pub(crate) fn take_pipe(&mut self) -> Option<Pipe> {
        self.inner_mut().rare.as_mut()?.pipe.take()
    }

    /// The path of a call whose method's descriptor does not have it.
    pub(crate) fn path(&self) -> Option<&str> {
        self.inner().rare.as_ref()?.path.as_deref()
    }

    pub(crate) fn set_path(&mut self, path: String) {
        self.inner_mut().rare.get_or_insert_default().path = Some(path);
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
        self.is_of_parties = false;
        self.names.clear();
        self.marks = Marks::default();
        self.rare = None;
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
        if let Some(parties) = self.parties() {
            clone.set_parties(parties);
        }
        let (own, inner) = (clone.inner_mut(), self.inner());
        own.deadline = inner.deadline;
        own.metadata = inner.metadata.clone();
        own.names = inner.names.clone();
        own.marks = inner.marks;
        own.rare.clone_from(&inner.rare);
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
    use crate::Site;

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
    fn who_calls_whom_is_what_was_said_last() {
        let parties = Arc::new(Parties::new("one", "other"));
        let mut cx = Context::background();
        cx.set_parties(&parties);
        assert_eq!((cx.caller(), cx.callee()), ("one", "other"));
        assert_eq!(cx.name_bytes(), (&b"one"[..], &b"other"[..]));
        assert_eq!(cx.clone().callee(), "other");
        assert_eq!(cx.child().callee(), "");
        cx.set_names("a", "b");
        assert_eq!((cx.caller(), cx.callee()), ("a", "b"));
        assert!(cx.parties().is_none());
        cx.set_parties(&parties);
        assert!(cx.parties().is_some_and(|kept| Arc::ptr_eq(kept, &parties)));
    }

    #[test]
    fn a_context_begins_empty_whatever_the_one_before_it_held() {
        let scope = Arc::new(Scope::new(Clock::system(), None, None));
        let mut cx = Context::new(&scope);
        cx.set_names("x".repeat(1000), "y");
        cx.set_parties(&Arc::new(Parties::new("one", "other")));
        cx.metadata_mut().insert("key", "value");
        cx.reply_metadata("key", "value");
        cx.set_attachment(Bytes::from_static(b"attached"));
        cx.set_path("/a/b".to_owned());
        cx.narrow(Deadline::new(cx.now(), Cause::Own));
        drop(cx);
        let cx = Context::new(&scope);
        assert!(cx.metadata().is_empty() && cx.deadline().is_none());
        assert!(cx.attachment().is_empty() && cx.path().is_none());
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
