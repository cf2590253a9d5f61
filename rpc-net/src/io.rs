//! What a [`Driver`] may do to its connections, and what it is told. No socket is in sight here: the same drivers run
//! on sockets and in the simulation.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rpc_codec::connection::{Connection, Shelf};
use rpc_codec::{ProtocolError, WriteBuffer, WriteQueue};
use rpc_core::time::Alarm;
use rpc_core::{Address, PeerIdentity, Timer};

use crate::slab::{Key, Links};
use crate::timer::{TimerKey, TimerWheel};

/// The owner of the connections of one event loop: it is told what happens on them and decides what to do.
///
/// Everything is called on the thread of the loop, so nothing here may block.
pub trait Driver: Send + Sized + 'static {
    /// The protocol machine of each connection.
    type Machine: Connection + Send;
    /// What other threads may send to the driver.
    type Mail: Send + 'static;
    /// What its timers carry.
    type Due: Send + 'static;

    /// A connection is there. Returns its machine, or `None` to turn it away. On a Unix socket there is no `peer`.
    fn open(
        &mut self,
        origin: Origin,
        peer: Option<SocketAddr>,
        io: &mut IoOf<Self>,
    ) -> Option<Self::Machine>;

    /// The connection for which [`Driver::open`] returned a machine can be used.
    fn opened(&mut self, key: Key, origin: Origin, io: &mut IoOf<Self>);

    /// Something happened on a connection.
    fn event(
        &mut self,
        key: Key,
        event: <Self::Machine as Connection>::Event<'_>,
        io: &mut IoOf<Self>,
    );

    /// Something happened on a connection that is no event.
    fn news(&mut self, key: Key, news: <Self::Machine as Connection>::News, io: &mut IoOf<Self>);

    /// Another thread sent something.
    fn mail(&mut self, mail: Self::Mail, io: &mut IoOf<Self>);

    /// A timer has expired.
    fn due(&mut self, due: Self::Due, io: &mut IoOf<Self>);

    /// A connection has ended. Nothing more will be heard of it.
    fn closed(
        &mut self,
        key: Key,
        machine: Self::Machine,
        reason: CloseReason,
        io: &mut IoOf<Self>,
    );

    /// A connection for which [`Driver::open`] returned a machine came to its end before it could be used: its TLS failed.
    fn dismissed(
        &mut self,
        peer: SocketAddr,
        machine: Self::Machine,
        reason: CloseReason,
        io: &mut IoOf<Self>,
    ) {
        let _ = (peer, machine, reason, io);
    }

    /// A connection that [`Io::connect`] asked for could not be made.
    fn connect_failed(&mut self, ticket: u64, error: io::Error, io: &mut IoOf<Self>);

    /// A listener could not accept a connection. It goes on by itself.
    fn accept_failed(&mut self, error: &io::Error, io: &mut IoOf<Self>);

    /// All events, mail and timers of this turn have been delivered: the time to hand over batches.
    fn end_of_turn(&mut self, io: &mut IoOf<Self>);

    /// Whether the loop may end.
    fn end(&self) -> End;
}

/// Whether a loop may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Not yet.
    Open,
    /// Once all connections have ended.
    WhenEmpty,
    /// At once.
    Now,
}

/// The [`Io`] of a driver.
pub type IoOf<D> = Io<<D as Driver>::Machine, <D as Driver>::Due>;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A listener accepted it.
    Accepted,
    /// [`Io::connect`] asked for it, with this ticket.
    Connected(u64),
    /// A datagram: it brought one request, and ends when that is answered.
    Datagram,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended it in order.
    Peer,
    /// We ended it in order, after everything was written.
    Finished,
    /// The protocol was violated or one of its limits was reached.
    Protocol(ProtocolError),
    /// The operating system reported an error.
    Failed(io::ErrorKind),
    /// TLS could not begin or go on.
    #[cfg(feature = "tls")]
    Tls(crate::tls::TlsFault),
    /// The loop ended.
    Stopped,
}

impl CloseReason {
    /// That of an error of a wire.
    pub(crate) fn of(error: &io::Error) -> Self {
        #[cfg(feature = "tls")]
        if let Some(failure) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<crate::tls::TlsFailure>())
        {
            return Self::Tls(failure.fault);
        }
        Self::Failed(error.kind())
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Peer => f.write_str("ended by the peer"),
            Self::Finished => f.write_str("ended by us"),
            Self::Protocol(error) => write!(f, "{error}"),
            Self::Failed(kind) => write!(f, "{kind}"),
            #[cfg(feature = "tls")]
            Self::Tls(fault) => write!(f, "{fault}"),
            Self::Stopped => f.write_str("the loop ended"),
        }
    }
}

/// What a driver asks of whoever owns the sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to this address.
    Connect {
        /// Comes back with the result.
        ticket: u64,
        /// Where to.
        address: Address,
    },
    /// Nobody waits for this connection any more.
    Abandon {
        /// The ticket it was asked for with.
        ticket: u64,
    },
    /// Accept nothing more, after what already waits.
    StopListening,
}

/// Buffers that are kept for the next connection that has something to write.
const SPARES_MAX: usize = 64;
/// The first size of a write buffer.
const WRITE_BUFFER: usize = 16 * 1024;
/// A buffer that grew beyond this is given back to the allocator.
const WRITE_BUFFER_KEPT_MAX: usize = 256 * 1024;

/// The connections and timers of one event loop, as its driver sees them.
pub struct Io<M, T> {
    pub(crate) links: Links<M>,
    pub(crate) timers: TimerWheel<Due<T>>,
    pub(crate) dirty: Vec<Key>,
    pub(crate) actions: Vec<Action>,
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) shelf: Shelf,
    pub(crate) spares: Vec<WriteBuffer>,
    now: Instant,
    /// The connection that the driver is being told of.
    pub(crate) newcomer: Option<Newcomer>,
}

/// A connection that the driver is being told of, and whose it is.
pub(crate) struct Newcomer {
    pub(crate) key: Key,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) identity: Option<PeerIdentity>,
}

/// What a timer of the loop is for.
#[derive(Debug)]
pub(crate) enum Due<T> {
    /// Look after a connection.
    Link(Key),
    /// Ring.
    Alarm(Arc<Alarm>),
    /// Tell the driver.
    Driver(T),
}

impl<M: Connection, T> Io<M, T> {
    pub(crate) fn new(now: Instant, timer: Arc<dyn Timer>) -> Self {
        Self {
            links: Links::default(),
            timers: TimerWheel::new(now),
            dirty: Vec::new(),
            actions: Vec::new(),
            timer,
            shelf: Shelf::default(),
            spares: Vec::new(),
            now,
            newcomer: None,
        }
    }

    /// Asks for a connection; [`Driver::open`] or [`Driver::connect_failed`] will be called with `ticket`.
    pub fn connect(&mut self, ticket: u64, address: Address) {
        self.actions.push(Action::Connect { ticket, address });
    }

    /// Gives up a connection that was asked for and is not there yet. Nothing more will be heard of it.
    pub fn abandon_connect(&mut self, ticket: u64) {
        self.actions.push(Action::Abandon { ticket });
    }

    /// Accepts no further connections, after those that already wait.
    pub fn stop_listening(&mut self) {
        self.actions.push(Action::StopListening);
    }

    /// Ends a connection in order: what is queued is written first, then the peer is told.
    pub fn finish(&mut self, key: Key) {
        if let Some(link) = self.links.get_mut(key) {
            link.finish(CloseReason::Finished);
            link.mark_dirty(key, &mut self.dirty);
        }
    }

    /// The machine of a connection and the queue it writes to. What is queued is written at the end of the turn.
    pub fn write(&mut self, key: Key) -> Option<(&mut M, &mut WriteQueue)> {
        let link = self.links.get_mut(key)?;
        link.mark_dirty(key, &mut self.dirty);
        lend(&mut link.output, &mut self.spares);
        Some((&mut link.machine, &mut link.output))
    }

    /// Whether a connection is there and nobody has begun to end it.
    pub fn is_open(&self, key: Key) -> bool {
        self.links.get(key).is_some_and(|link| !link.is_finishing())
    }

    /// The machine of a connection.
    pub fn machine(&mut self, key: Key) -> Option<&mut M> {
        self.links.get_mut(key).map(|link| &mut link.machine)
    }

    /// Where pieces of what arrived are put that outlive the event.
    pub fn shelf(&mut self) -> &mut Shelf {
        &mut self.shelf
    }

    /// Bytes that wait to be written on a connection.
    pub fn queued_bytes(&self, key: Key) -> usize {
        self.links.get(key).map_or(0, |link| link.output.len())
    }

    /// The other end of a connection that is not of a Unix socket, while [`Driver::opened`] is told of it. Who needs it for
    /// longer keeps it: the loop does not, and twice would be too much.
    pub fn peer(&self, key: Key) -> Option<SocketAddr> {
        self.newcomer(key)?.peer
    }

    /// Who the other end has proved to be, while [`Driver::opened`] is told of the connection.
    pub fn identity(&self, key: Key) -> Option<PeerIdentity> {
        self.newcomer(key)?.identity.clone()
    }

    fn newcomer(&self, key: Key) -> Option<&Newcomer> {
        self.newcomer
            .as_ref()
            .filter(|newcomer| newcomer.key == key)
    }

    /// All connections.
    pub fn keys(&self) -> Vec<Key> {
        self.links.keys().collect()
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.links.len() == 0
    }

    /// Calls [`Driver::due`] with `due` at `at` or soon after.
    pub fn set_timer(&mut self, at: Instant, due: T) -> TimerKey {
        self.timers.insert(at, Due::Driver(due))
    }

    /// Takes a timer back.
    pub fn cancel_timer(&mut self, key: TimerKey) {
        self.timers.cancel(key);
    }

    /// The time at the beginning of this turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Rings alarms on this loop; for the scopes of its calls.
    pub fn timer(&self) -> &Arc<dyn Timer> {
        &self.timer
    }

    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Keeps the buffer of a queue that has been written in full.
    pub(crate) fn recycle(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let Some(buffer) = link.output.release() else {
            return;
        };
        if self.spares.len() < SPARES_MAX && buffer.capacity() <= WRITE_BUFFER_KEPT_MAX {
            self.spares.push(buffer);
        }
    }
}

/// Gives a queue that has no buffer one that another has left, or a new one.
#[inline]
pub(crate) fn lend(output: &mut WriteQueue, spares: &mut Vec<WriteBuffer>) {
    output.lend(|| {
        let spare = spares.pop();
        spare.unwrap_or_else(|| WriteBuffer::with_capacity(WRITE_BUFFER))
    });
}

impl<M, T> std::fmt::Debug for Io<M, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Io")
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}
