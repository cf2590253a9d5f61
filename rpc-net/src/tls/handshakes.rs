//! The connections of a loop that are not ready to be used: their handshakes go on beside the engine.
//!
//! ```text
//!   accepted   ┌─────────┐ done      ┌────────────────────────┐
//!   connected ▶│ shaking ├──────────▶│ the engine's from here │
//!              └────┬────┘           └────────────────────────┘
//!                   │ fault, or out of time
//!                   ▼                peer's FIN, or 1 s
//!              told why it failed ─────────────────────────▶ gone
//! ```
//!
//! An accepted connection counts from its first moment, as it does without TLS: it takes one of the places that a server
//! has, and neither is idle nor busy until its handshake is done. That bounds how many there can be of those who begin a
//! handshake and never end it; each has [`Limits::handshake_timeout`](rpc_codec::Limits::handshake_timeout), and its bytes
//! are bounded by rustls. A connection that was asked for has what is left of the time to connect.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rpc_codec::connection::Connection;
use slab::Slab;

use super::session::Session;
use super::{ClientTls, Secured, ServerTls, TlsFailure, TlsFault};
use crate::wire::Wire;

/// How long a peer whose handshake failed has to read why.
const LINGER: Duration = Duration::from_secs(1);

/// Reads at a time of what nobody wants.
const THROWN_AWAY_MAX: usize = 8;

/// The connections of a loop that are not ready to be used, and what their handshakes go by.
pub(crate) struct Handshakes<W: Wire, P> {
    pub(crate) server: Option<ServerTls>,
    pub(crate) client: Option<ClientTls>,
    shaking: Slab<Handshake<W, P>>,
    /// When each that has a limit has reached it.
    times: BTreeSet<(Instant, usize)>,
    /// Those whose sockets had more than was read at a time, and do not say so twice.
    unread: Vec<usize>,
}

/// One of them. `P` is whose it is: what the reactor needs to go on.
struct Handshake<W: Wire, P> {
    wire: Secured<W>,
    peer: SocketAddr,
    party: P,
    until: Option<Instant>,
    /// Why it failed, if it has and the peer may not have read it yet.
    failed: Option<io::Error>,
}

/// A handshake that has ended.
pub(crate) struct Shaken<W: Wire, P> {
    pub(crate) peer: SocketAddr,
    pub(crate) party: P,
    /// The connection, or why it cannot be used.
    pub(crate) outcome: io::Result<Secured<W>>,
}

impl<W: Wire, P> Handshakes<W, P> {
    pub(crate) fn new(server: Option<ServerTls>, client: Option<ClientTls>) -> Self {
        Self {
            server,
            client,
            shaking: Slab::new(),
            times: BTreeSet::new(),
            unread: Vec::new(),
        }
    }

    /// Begins with a client. Returns the place of the handshake, which is not under way until it is [driven](Self::drive),
    /// or one that has ended before it began.
    pub(crate) fn with_client(
        &mut self,
        tls: &ServerTls,
        socket: W,
        peer: SocketAddr,
        party: P,
        until: Instant,
    ) -> Result<usize, Shaken<W, P>> {
        let place = self.insert(Session::with_client(tls), socket, peer, party)?;
        self.set_time(place, Some(until));
        Ok(place)
    }

    /// Begins with a server, in the time that whoever asked for the connection gives it.
    pub(crate) fn with_server(
        &mut self,
        tls: &ClientTls,
        socket: W,
        address: SocketAddr,
        party: P,
    ) -> Result<usize, Shaken<W, P>> {
        self.insert(Session::with_server(tls, address), socket, address, party)
    }

    /// Goes on with the handshake at `place`, and returns it once it has ended.
    pub(crate) fn drive(&mut self, place: usize, now: Instant) -> Option<Shaken<W, P>> {
        let handshake = self.shaking.get_mut(place)?;
        if handshake.failed.is_some() {
            return self.linger(place);
        }
        match handshake.wire.shake() {
            Ok(false) => None,
            Ok(true) => self.take(place),
            Err(error) => {
                handshake.wire.give_up();
                handshake.failed = Some(error);
                if handshake.until.is_none() {
                    // Whoever asked for the connection is not kept waiting.
                    return self.take(place);
                }
                self.set_time(place, Some(now + LINGER));
                self.linger(place)
            }
        }
    }

    /// Throws away what the peer of a failed handshake still sends, until it ends too: a socket that is closed with bytes
    /// unread is reset, and the reset could overtake the alert.
    fn linger(&mut self, place: usize) -> Option<Shaken<W, P>> {
        match self.shaking.get_mut(place)?.throw_away() {
            Thrown::AllThereWas => None,
            Thrown::Some => {
                self.unread.push(place);
                None
            }
            Thrown::AllThereWillBe => self.take(place),
        }
    }

    /// Those that are to be [driven](Handshakes::drive) again without a word of the poller.
    pub(crate) fn take_unread(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.unread)
    }

    /// Whether there are some.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Takes one whose time is over.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Shaken<W, P>> {
        let (_, place) = self.times.first().copied().filter(|(at, _)| *at <= now)?;
        let handshake = self.shaking.get_mut(place)?;
        let too_slow = || TlsFailure::from(TlsFault::HandshakeTimedOut).into();
        handshake.failed.get_or_insert_with(too_slow);
        self.take(place)
    }

    /// When [`Handshakes::expired`] has one next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.times.first().map(|(at, _)| *at)
    }

    /// Drops those whose party is as said.
    pub(crate) fn abandon(&mut self, is_meant: impl Fn(&P) -> bool) {
        let meant = self.shaking.iter().filter(|(_, one)| is_meant(&one.party));
        let meant: Vec<_> = meant.map(|(place, _)| place).collect();
        for place in meant {
            drop(self.take(place));
        }
    }

    /// The wire of the handshake at `place`.
    pub(crate) fn wire_mut(&mut self, place: usize) -> Option<&mut Secured<W>> {
        self.shaking
            .get_mut(place)
            .map(|handshake| &mut handshake.wire)
    }

    /// Ends one without having tried.
    pub(crate) fn fail(&mut self, place: usize, error: io::Error) -> Option<Shaken<W, P>> {
        self.shaking.get_mut(place)?.failed = Some(error);
        self.take(place)
    }

    fn insert(
        &mut self,
        session: io::Result<Session>,
        socket: W,
        peer: SocketAddr,
        party: P,
    ) -> Result<usize, Shaken<W, P>> {
        match session {
            Ok(session) => Ok(self.shaking.insert(Handshake {
                wire: Secured::new(socket, session),
                peer,
                party,
                until: None,
                failed: None,
            })),
            Err(error) => Err(Shaken {
                peer,
                party,
                outcome: Err(error),
            }),
        }
    }

    fn set_time(&mut self, place: usize, until: Option<Instant>) {
        let Some(handshake) = self.shaking.get_mut(place) else {
            return;
        };
        if let Some(old) = std::mem::replace(&mut handshake.until, until) {
            self.times.remove(&(old, place));
        }
        self.times.extend(until.map(|until| (until, place)));
    }

    fn take(&mut self, place: usize) -> Option<Shaken<W, P>> {
        self.set_time(place, None);
        let handshake = self.shaking.try_remove(place)?;
        let Handshake {
            mut wire,
            peer,
            party,
            failed,
            ..
        } = handshake;
        let outcome = match failed {
            None => Ok(wire),
            Some(error) => {
                wire.give_up();
                Err(error)
            }
        };
        Some(Shaken {
            peer,
            party,
            outcome,
        })
    }
}

impl<W: Wire, P> Handshake<W, P> {
    fn throw_away(&mut self) -> Thrown {
        let mut nowhere = [0; 16 * 1024];
        for _ in 0..THROWN_AWAY_MAX {
            match self.wire.socket.read(&mut nowhere) {
                Ok(0) => return Thrown::AllThereWillBe,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Thrown::AllThereWas;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Thrown::AllThereWillBe,
            }
        }
        Thrown::Some
    }
}

/// How much of what a peer sends was thrown away.
enum Thrown {
    Some,
    AllThereWas,
    AllThereWillBe,
}

impl<W: Wire, P> std::fmt::Debug for Handshakes<W, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshakes")
            .field("under_way", &self.shaking.len())
            .finish_non_exhaustive()
    }
}

/// When a handshake that begins at `now` on a connection with that machine has to be done.
pub(crate) fn until<M: Connection>(machine: &M, now: Instant) -> Instant {
    now + machine.limits().handshake_timeout
}
