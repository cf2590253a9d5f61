//! [`Listener`]: accepts connections, a bounded number at a time, and rests when the system has nothing left to give.
//!
//! A listener without descriptors stays ready for reading, so a loop that merely tried again would spin. Which errors
//! mean that, and how long to rest, is decided by [`Pacing`], which owns no socket.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use rpc_core::Address;

use crate::socket::{self, Sharing};
use crate::stream::Stream;
use crate::unix::{self, SocketFile};

/// Accepts connections.
#[derive(Debug)]
pub struct Listener {
    /// Before the socket, so that its name goes before it does.
    file: Option<SocketFile>,
    socket: Acceptor,
    address: Address,
    pacing: Pacing,
}

#[derive(Debug)]
enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A packet filter that keeps all but a SYN, so that handshakes under way come to their end and no new one begins. It is a
/// classic BPF program, and sees a segment from its TCP header on, where byte 13 has the flags.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_NEW_HANDSHAKE: [socket2::SockFilter; 4] = [
    // Load the flags.
    socket2::SockFilter::new(0x30, 0, 0, 13),
    // Skip one instruction unless SYN is set.
    socket2::SockFilter::new(0x45, 0, 1, 0x02),
    // Keep nothing.
    socket2::SockFilter::new(0x06, 0, 0, 0),
    // Keep everything.
    socket2::SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// How to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// Whether others may listen at the same address.
    pub sharing: Sharing,
    /// The permissions of the file of a Unix socket. Default: 0o600, for this user alone.
    pub unix_mode: u32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            sharing: Sharing::Alone,
            unix_mode: 0o600,
        }
    }
}

impl Listener {
    /// Listens on `address`; port 0 takes a free one. The file of a Unix socket that nobody listens at any more is
    /// replaced, and removed when this is dropped.
    ///
    /// # Errors
    ///
    /// When the address is in use, not of this host, or not for this user to take.
    pub fn bind(address: &Address, options: ListenOptions) -> io::Result<Self> {
        let (socket, file) = match address {
            Address::Tcp(address) => {
                let socket = socket::listener(*address, options.sharing)?;
                (Acceptor::Tcp(socket), None)
            }
            Address::Unix(path) => {
                let (socket, file) = unix::listen(path, options.sharing, options.unix_mode)?;
                (Acceptor::Unix(socket), Some(file))
            }
            Address::Abstract(name) => (Acceptor::Unix(unix::listen_abstract(name)?), None),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let address = match &socket {
            Acceptor::Tcp(socket) => Address::Tcp(socket.local_addr()?),
            Acceptor::Unix(_) => address.clone(),
        };
        Ok(Self {
            file,
            socket,
            address,
            pacing: Pacing::default(),
        })
    }

    /// Accepts up to `max` connections ([`ACCEPTS_PER_WAKE`] is a good number) and hands each over, tuned, with the
    /// address of its other end if that has one. Says when to come back: readiness is reported once, so the loop must not wait for it before it has seen [`Next::Wait`].
    ///
    /// Errors are handed over too, only to be counted: whatever they are, accepting goes on.
    pub fn accept(
        &mut self,
        max: usize,
        now: Instant,
        mut deliver: impl FnMut(io::Result<Accepted>),
    ) -> Next {
        if let Some(until) = self.pacing.resting_until(now) {
            return Next::RestUntil(until);
        }
        for _ in 0..max {
            let accepted = self.socket.accept();
            let next = match &accepted {
                Ok(_) => self.pacing.accepted(),
                Err(error) => self.pacing.failed(error, now),
            };
            match accepted {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A connection that cannot be tuned has been reset meanwhile.
                accepted => deliver(accepted.and_then(|accepted| self.socket.tune(accepted))),
            }
            if next != Next::Again {
                return next;
            }
        }
        self.pacing.turn_ended(now)
    }

    /// Lets nobody new find the way here, while those who have are accepted, without a rest. A connection that came between
    /// the last one accepted and the end of the socket would be reset with what it has sent; where the system has packet
    /// filters, it is not made at all.
    pub fn hide(&mut self) {
        self.file = None;
        self.pacing = Pacing::default();
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Acceptor::Tcp(listener) = &self.socket {
            // Without it those few are reset, as elsewhere.
            let _ = socket2::SockRef::from(listener).attach_filter(&NO_NEW_HANDSHAKE);
        }
    }

    /// The address that it listens on, with the port that was taken.
    pub fn local_addr(&self) -> &Address {
        &self.address
    }
}

/// A connection that was accepted, and the address of its other end if that has one.
pub type Accepted = (Stream, Option<SocketAddr>);

impl Acceptor {
    fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                Ok((stream.into(), Some(peer)))
            }
            Self::Unix(socket) => Ok((socket.accept()?.0.into(), None)),
        }
    }

    /// Of what [`socket::tune`] sets, a Unix socket has no use for anything: the system says at once when a peer on the
    /// same machine dies.
    fn tune(&self, (stream, peer): Accepted) -> io::Result<Accepted> {
        if let Self::Tcp(_) = self {
            socket::tune(stream.socket())?;
        }
        Ok((stream, peer))
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(socket) => socket,
            Self::Unix(socket) => socket,
        }
    }
}

/// Registers the socket.
impl Source for Listener {
    fn register(&mut self, registry: &Registry, token: Token, on: Interest) -> io::Result<()> {
        self.socket.source().register(registry, token, on)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, on: Interest) -> io::Result<()> {
        self.socket.source().reregister(registry, token, on)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket.source().deregister(registry)
    }
}

/// When to accept again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a listener that is not asked again as it says stays silent"]
pub enum Next {
    /// When the socket is reported to be readable: nobody is waiting there now.
    Wait,
    /// In the next turn of the loop: more may be waiting.
    Again,
    /// At this time: the system has nothing left to give, and asking earlier would be in vain.
    RestUntil(Instant),
}

/// How many connections to accept in one turn of a loop. More would keep those that are connected waiting.
pub const ACCEPTS_PER_WAKE: usize = 64;

/// Decides when to accept again. It sees results and time and owns no socket.
///
/// A lack of descriptors or memory makes the listener rest for 100 ms, then twice as long each time until a connection
/// was accepted, up to 1 s. So does a whole turn of other failures, which would otherwise keep the loop busy for
/// nothing.
#[derive(Debug, Clone, Default)]
pub struct Pacing {
    resting_until: Option<Instant>,
    last_rest: Duration,
    /// Failures since the last connection or the beginning of the turn.
    failures: usize,
}

impl Pacing {
    /// A connection was accepted.
    pub fn accepted(&mut self) -> Next {
        *self = Self::default();
        Next::Again
    }

    /// Accepting failed.
    pub fn failed(&mut self, error: &io::Error, now: Instant) -> Next {
        match Trouble::of(error) {
            Trouble::NobodyWaits => {
                self.failures = 0;
                Next::Wait
            }
            Trouble::NothingLeft => self.rest(now),
            Trouble::ThisOneOnly => {
                self.failures += 1;
                Next::Again
            }
        }
    }

    /// The turn ended while there may be more to accept.
    pub fn turn_ended(&mut self, now: Instant) -> Next {
        match std::mem::take(&mut self.failures) {
            0 => Next::Again,
            _ => self.rest(now),
        }
    }

    /// Until when the listener rests, unless it does not.
    pub fn resting_until(&self, now: Instant) -> Option<Instant> {
        self.resting_until.filter(|until| *until > now)
    }

    fn rest(&mut self, now: Instant) -> Next {
        self.last_rest = (self.last_rest * 2).clamp(REST_MIN, REST_MAX);
        let until = now + self.last_rest;
        self.resting_until = Some(until);
        Next::RestUntil(until)
    }
}

/// What an error of `accept` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NobodyWaits,
    /// No descriptor, no buffer, no memory: the next attempt would fail as well.
    NothingLeft,
    /// Of the connection that was to be accepted: it was aborted, or a firewall forbids it.
    ThisOneOnly,
}

impl Trouble {
    fn of(error: &io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::WouldBlock, _) => Self::NobodyWaits,
            (io::ErrorKind::OutOfMemory, _) | (_, Some(ENFILE | EMFILE | ENOBUFS)) => {
                Self::NothingLeft
            }
            _ => Self::ThisOneOnly,
        }
    }
}

const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(1);

/// Error numbers for which std has no kind. The first two are the same on every Unix.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    105
} else {
    55
};

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream as StdStream};

    use rpc_core::Clock;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn no_descriptor() -> io::Error {
        io::Error::from_raw_os_error(EMFILE)
    }

    fn aborted() -> io::Error {
        io::ErrorKind::ConnectionAborted.into()
    }

    fn listener() -> Listener {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Listener::bind(&any_port.into(), ListenOptions::default()).unwrap()
    }

    fn connect(listener: &Listener) -> StdStream {
        StdStream::connect(listener.local_addr().socket().unwrap()).unwrap()
    }

    #[test]
    fn r21_a_lack_of_anything_rests_longer_each_time_up_to_a_second() {
        let now = Clock::system().now();
        let mut pacing = Pacing::default();
        let lacks = [ENFILE, EMFILE, ENOBUFS, 12, EMFILE, EMFILE];
        let rests =
            lacks.map(
                |number| match pacing.failed(&io::Error::from_raw_os_error(number), now) {
                    Next::RestUntil(until) => (until - now).as_millis(),
                    other => panic!("{other:?} after error {number}"),
                },
            );
        assert_eq!(rests, [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn r21_an_accepted_connection_makes_the_next_rest_short_again() {
        let now = Clock::system().now();
        let mut pacing = Pacing::default();
        let _ = pacing.failed(&no_descriptor(), now);
        let _ = pacing.failed(&no_descriptor(), now);
        assert_eq!(pacing.accepted(), Next::Again);
        let rest = pacing.failed(&no_descriptor(), now);
        assert_eq!(rest, Next::RestUntil(now + ms(100)));
    }

    #[test]
    fn r21_an_aborted_connection_is_skipped() {
        let now = Clock::system().now();
        let mut pacing = Pacing::default();
        assert_eq!(pacing.failed(&aborted(), now), Next::Again);
        assert_eq!(pacing.accepted(), Next::Again);
        assert_eq!(pacing.turn_ended(now), Next::Again);
    }

    #[test]
    fn r21_a_turn_that_ends_in_failures_rests_and_never_spins() {
        let now = Clock::system().now();
        let mut pacing = Pacing::default();
        assert_eq!(pacing.failed(&aborted(), now), Next::Again);
        assert_eq!(pacing.turn_ended(now), Next::RestUntil(now + ms(100)));
        assert_eq!(pacing.resting_until(now + ms(99)), Some(now + ms(100)));
        assert_eq!(pacing.resting_until(now + ms(100)), None);
    }

    #[test]
    fn r21_no_more_than_allowed_are_accepted_at_a_time() {
        let now = Clock::system().now();
        let mut listener = listener();
        let _peers: Vec<_> = (0..5).map(|_| connect(&listener)).collect();
        let mut accepted = Vec::new();
        let next = listener.accept(3, now, |result| accepted.push(result.unwrap()));
        assert_eq!((next, accepted.len()), (Next::Again, 3));
        let next = listener.accept(3, now, |result| accepted.push(result.unwrap()));
        assert_eq!((next, accepted.len()), (Next::Wait, 5));
        let is_tuned = |(stream, _): &Accepted| stream.socket().tcp_nodelay().unwrap();
        assert!(accepted.iter().all(is_tuned));
    }

    #[test]
    fn a_resting_listener_accepts_nothing() {
        let now = Clock::system().now();
        let mut listener = listener();
        let rest = listener.pacing.failed(&no_descriptor(), now);
        let _peer = connect(&listener);
        let mut accepted = 0;
        assert_eq!(listener.accept(64, now + ms(50), |_| accepted += 1), rest);
        assert_eq!(accepted, 0);
        let next = listener.accept(64, now + ms(100), |_| accepted += 1);
        assert_eq!((next, accepted), (Next::Wait, 1));
    }

    #[test]
    fn r23_a_hidden_listener_accepts_whom_the_kernel_let_in_before() {
        let now = Clock::system().now();
        let mut listener = listener();
        let _before = connect(&listener);
        // What lacked a moment ago must not cost them their place.
        let _ = listener.pacing.failed(&no_descriptor(), now);
        listener.hide();
        let mut accepted = 0;
        let next = listener.accept(usize::MAX, now, |_| accepted += 1);
        assert_eq!((next, accepted), (Next::Wait, 1));
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn r23_nobody_connects_to_a_hidden_listener() {
        let mut listener = listener();
        listener.hide();
        let address = listener.local_addr().socket().unwrap();
        assert!(StdStream::connect_timeout(&address, ms(50)).is_err());
    }
}
