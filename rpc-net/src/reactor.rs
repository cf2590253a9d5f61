//! One thread, one poller: the loop on real sockets.

mod datagrams;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use rpc_core::{Address, Clock, park};
use slab::Slab;

use self::datagrams::Datagrams;
use crate::busy_poll::BusyPoll;
use crate::engine::Engine;
use crate::io::{Action, Driver, Origin};
use crate::listen::{self, ACCEPTS_PER_WAKE, Listener, Next};
use crate::mailbox::{Gone, Mailbox, Sender, Wake};
use crate::post::{Letter, Post};
use crate::slab::Key;
use crate::socket;
use crate::stream::Stream;
#[cfg(feature = "tls")]
use crate::tls::handshakes::Handshakes;
#[cfg(feature = "tls")]
use crate::tls::{ClientTls, Secured, ServerTls};
use crate::udp::DatagramListener;

/// Events taken from the operating system at a time.
const EVENTS: usize = 1024;

/// Tokens without this bit are keys of connections.
const OTHERS: u64 = 1 << 63;
const WAKER: u64 = OTHERS | 1;
#[cfg(feature = "tls")]
const HANDSHAKES: u64 = OTHERS | 1 << 58;
const LISTENERS: u64 = OTHERS | 1 << 61;
const CONNECTING: u64 = OTHERS | 1 << 62;
const DATAGRAM_DOORS: u64 = OTHERS | 1 << 60;
const DATAGRAM_LINKS: u64 = OTHERS | 1 << 59;
const INDEX_MASK: u64 = u32::MAX as u64;

/// A loop that does not run yet, so that drivers and their neighbours can learn its address first.
#[derive(Debug)]
pub struct Seat<M> {
    poll: Poll,
    mailbox: Mailbox<Letter<M>>,
    post: Post<M>,
    dealt: Mailbox<Accepted>,
    place: Place,
    datagrams: Vec<DatagramListener>,
    busy_poll: BusyPoll,
    #[cfg(feature = "tls")]
    tls: (Option<ServerTls>, Option<ClientTls>),
}

impl<M: Send + 'static> Seat<M> {
    /// Prepares a loop.
    ///
    /// # Errors
    ///
    /// When the operating system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let wake: Arc<dyn Wake> = Arc::new(Waker::new(poll.registry(), token(WAKER))?);
        let (mailbox, sender) = Mailbox::new(Arc::clone(&wake));
        let (dealt, deal) = Mailbox::new(wake);
        let place = Place {
            deal,
            load: Arc::default(),
        };
        Ok(Self {
            poll,
            mailbox,
            post: Post::new(sender),
            dealt,
            place,
            datagrams: Vec::new(),
            busy_poll: BusyPoll::default(),
            #[cfg(feature = "tls")]
            tls: (None, None),
        })
    }

    /// Lets the loop look again without sleeping until nothing has happened for `duration`. Zero, the default, lets it
    /// sleep whenever there is nothing to do.
    pub fn busy_poll(mut self, duration: Duration) -> Self {
        self.busy_poll = BusyPoll::new(duration);
        self
    }

    /// Takes requests from these sockets of UDP too.
    pub fn datagrams(mut self, listeners: Vec<DatagramListener>) -> Self {
        self.datagrams = listeners;
        self
    }

    /// Speaks TLS with whoever connects over TCP.
    #[cfg(feature = "tls")]
    pub fn server_tls(mut self, tls: Option<ServerTls>) -> Self {
        self.tls.0 = tls;
        self
    }

    /// Speaks TLS with whomever the driver asks to be connected to over TCP.
    #[cfg(feature = "tls")]
    pub fn client_tls(mut self, tls: Option<ClientTls>) -> Self {
        self.tls.1 = tls;
        self
    }

    /// Reaches the driver that will sit here.
    pub fn post(&self) -> &Post<M> {
        &self.post
    }

    /// Where accepted connections can be dealt to.
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// Seats a driver. Connections that `listeners` accept are dealt to `places`, one of which may be this loop.
    ///
    /// # Errors
    ///
    /// When the operating system cannot watch the listeners.
    pub fn seat<D>(
        self,
        driver: D,
        clock: Clock,
        mut listeners: Vec<Listener>,
        places: Vec<Place>,
    ) -> io::Result<Reactor<D>>
    where
        D: Driver<Mail = M>,
    {
        for (listener, index) in listeners.iter_mut().zip(LISTENERS..) {
            self.poll
                .registry()
                .register(listener, token(index), Interest::READABLE)?;
        }
        let datagrams = Datagrams::listen(self.datagrams, self.poll.registry())?;
        let engine = Engine::new(
            driver,
            self.mailbox,
            Arc::new(self.post),
            clock.now(),
            Arc::clone(&self.place.load),
        );
        let doors = listeners
            .into_iter()
            .map(|listener| Door {
                listener,
                next: Next::Again,
            })
            .collect();
        Ok(Reactor {
            engine,
            poll: self.poll,
            events: Events::with_capacity(EVENTS),
            clock,
            doors,
            places,
            dealt: self.dealt,
            load: self.place.load,
            arrivals: Vec::new(),
            connecting: Slab::new(),
            datagrams,
            busy_poll: self.busy_poll,
            #[cfg(feature = "tls")]
            handshakes: Handshakes::new(self.tls.0, self.tls.1),
        })
    }
}

/// One thread, one poller, and the connections of one driver.
pub struct Reactor<D: Driver> {
    engine: Engine<D, Carrier>,
    poll: Poll,
    events: Events,
    clock: Clock,
    doors: Vec<Door>,
    places: Vec<Place>,
    dealt: Mailbox<Accepted>,
    load: Arc<AtomicUsize>,
    arrivals: Vec<Accepted>,
    connecting: Slab<Connecting>,
    datagrams: Datagrams,
    busy_poll: BusyPoll,
    #[cfg(feature = "tls")]
    handshakes: Handshakes<Stream, Party<D::Machine>>,
}

impl<D: Driver> Reactor<D> {
    /// Runs on this thread until the driver is done and its connections have ended.
    pub fn run(mut self) {
        park::mark_event_loop();
        while !self.is_done() {
            if let Err(error) = self.turn(true) {
                tracing::error!(%error, "the event loop cannot go on");
                break;
            }
        }
        self.engine.stop();
    }

    /// Whether the loop ends. What was dealt to it is served first, unless it cannot wait.
    fn is_done(&self) -> bool {
        self.engine.is_done() && (self.dealt.is_empty() || self.engine.cannot_wait())
    }

    /// Takes one turn, for whoever shares the thread with the loop. Sleeps until there is something to do only if
    /// `may_wait`.
    ///
    /// # Errors
    ///
    /// When the operating system does not let the loop go on.
    pub fn turn(&mut self, may_wait: bool) -> io::Result<()> {
        self.wait_for_readiness(may_wait)?;
        let now = self.clock.now();
        self.engine.set_time(now);
        self.note_readiness(now);
        self.accept(now);
        self.adopt_dealt();
        self.receive_datagrams();
        #[cfg(feature = "tls")]
        self.look_after_handshakes(now);
        self.engine.turn(now);
        self.act();
        Ok(())
    }

    /// Ends all connections at once.
    pub fn stop(&mut self) {
        self.engine.stop();
    }

    fn wait_for_readiness(&mut self, may_wait: bool) -> io::Result<()> {
        let timeout = if may_wait {
            self.patience()
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            outcome => outcome,
        }
    }

    /// How long nothing has to be done. The clock is read only when a timer bounds that.
    fn patience(&self) -> Option<Duration> {
        let has_work = self.engine.has_work()
            || self.datagrams.has_work()
            || self.doors.iter().any(|door| door.next == Next::Again);
        #[cfg(feature = "tls")]
        let has_work = has_work || self.handshakes.has_unread();
        if has_work || self.busy_poll.is_awake() {
            return Some(Duration::ZERO);
        }
        let rests = self.doors.iter().filter_map(|door| match door.next {
            Next::RestUntil(until) => Some(until),
            _ => None,
        });
        let at = rests.chain(self.engine.next_turn_at()).min();
        #[cfg(feature = "tls")]
        let at = at.into_iter().chain(self.handshakes.next_at()).min();
        let at = at?;
        // Rounded up to the poller's millisecond: a wait that ends early would only be followed by another.
        let wait = at.saturating_duration_since(self.clock.now());
        Some(Duration::from_millis(
            u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX),
        ))
    }

    fn note_readiness(&mut self, now: Instant) {
        if self.events.is_empty() {
            self.busy_poll.note_silence(now);
        } else {
            self.busy_poll.note_activity(now);
        }
        let mut connected = Vec::new();
        #[cfg(feature = "tls")]
        let mut shaking = Vec::new();
        for event in &self.events {
            match event.token().0 as u64 {
                WAKER => {}
                number if number & CONNECTING == CONNECTING => {
                    connected.push(index_of(number));
                }
                #[cfg(feature = "tls")]
                number if number & HANDSHAKES == HANDSHAKES => shaking.push(index_of(number)),
                number if number & LISTENERS == LISTENERS => {
                    if let Some(door) = self.doors.get_mut(index_of(number)) {
                        door.next = Next::Again;
                    }
                }
                number if number & DATAGRAM_DOORS == DATAGRAM_DOORS => {
                    self.datagrams.door_readable(index_of(number));
                }
                number if number & DATAGRAM_LINKS == DATAGRAM_LINKS => {
                    if let Some(key) = self.datagrams.link_ready(number & INDEX_MASK) {
                        self.engine.writable(key);
                    }
                }
                number => {
                    let key = Key::from_u64(number);
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.engine
                            .readable(key, event.is_read_closed() || event.is_error());
                    }
                    if event.is_writable() {
                        self.engine.writable(key);
                    }
                }
            }
        }
        for index in connected {
            self.finish_connecting(index);
        }
        #[cfg(feature = "tls")]
        for place in shaking {
            self.go_on_with_handshake(place);
        }
    }

    fn accept(&mut self, now: Instant) {
        for index in 0..self.doors.len() {
            let mut accepted = Vec::new();
            let Some(door) = self.doors.get_mut(index) else {
                return;
            };
            if door.next != Next::Wait {
                door.next = door
                    .listener
                    .accept(ACCEPTS_PER_WAKE, now, |outcome| accepted.push(outcome));
            }
            self.deal(accepted);
        }
    }

    /// Deals connections to the loops that have the fewest.
    fn deal(&mut self, accepted: Vec<io::Result<listen::Accepted>>) {
        for outcome in accepted {
            match outcome {
                Ok(connection) => {
                    let place = self
                        .places
                        .iter()
                        .min_by_key(|place| place.load.load(Ordering::Relaxed));
                    // A loop that has ended gives it back.
                    if let Some(Err(Gone(accepted))) = place.map(|place| place.take(connection)) {
                        self.take_in(accepted);
                    }
                }
                Err(error) => self.engine.accept_failed(&error),
            }
        }
    }

    fn adopt_dealt(&mut self) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.dealt.drain(&mut arrivals);
        for accepted in arrivals.drain(..) {
            self.take_in(accepted);
        }
        self.arrivals = arrivals;
    }

    fn take_in(&mut self, accepted: Accepted) {
        let Accepted {
            stream,
            peer,
            place,
        } = accepted;
        #[cfg(feature = "tls")]
        if let (Some(tls), Some(peer)) = (self.handshakes.server.clone(), peer) {
            return self.begin_with_client(&tls, stream, peer, place);
        }
        // The engine counts it from here on.
        drop(place);
        self.adopt(stream, peer, Origin::Accepted);
    }

    fn adopt(&mut self, stream: Stream, peer: Option<SocketAddr>, origin: Origin) {
        if let Some(key) = self.engine.adopt(Carrier::from(stream), peer, origin) {
            self.watch(key, peer, origin == Origin::Accepted);
        }
    }

    /// Watches the socket of a connection, which `is_new` if nobody has watched it yet.
    fn watch(&mut self, key: Key, peer: Option<SocketAddr>, is_new: bool) {
        let Some(wire) = self.engine.wire_mut(key) else {
            return;
        };
        let (registry, stream) = (self.poll.registry(), stream_of(wire));
        let interest = Interest::READABLE | Interest::WRITABLE;
        let watched = if is_new {
            registry.register(stream, key_token(key), interest)
        } else {
            registry.reregister(stream, key_token(key), interest)
        };
        if let Err(error) = watched {
            tracing::warn!(%error, ?peer, "a connection cannot be watched");
            self.engine.drop_link(key, error.kind());
        }
    }

    fn act(&mut self) {
        for action in self.engine.take_actions() {
            match action {
                Action::Connect { ticket, address } => {
                    if let Err(error) = self.begin_connecting(ticket, &address) {
                        self.engine.connect_failed(ticket, error);
                    }
                }
                Action::Abandon { ticket } => {
                    self.connecting
                        .retain(|_, attempt| attempt.ticket != ticket);
                    #[cfg(feature = "tls")]
                    self.handshakes
                        .abandon(|party| matches!(party, Party::Server(of) if *of == ticket));
                }
                Action::StopListening => self.stop_listening(),
            }
        }
    }

    /// Whoever has been let in by the kernel is served; then the door is shut. They are served here, as other loops may
    /// have ended by now.
    fn stop_listening(&mut self) {
        self.load.fetch_add(LEFT, Ordering::Relaxed);
        self.stop_receiving();
        for mut door in std::mem::take(&mut self.doors) {
            let mut accepted = Vec::new();
            door.listener.hide();
            let _ = door
                .listener
                .accept(usize::MAX, self.clock.now(), |outcome| {
                    accepted.push(outcome);
                });
            for outcome in accepted {
                match outcome {
                    Ok(connection) => self.take_in(Accepted::new(connection, &self.load)),
                    Err(error) => self.engine.accept_failed(&error),
                }
            }
        }
    }

    fn begin_connecting(&mut self, ticket: u64, address: &Address) -> io::Result<()> {
        if let Address::Udp(peer) = address {
            return self.connect_datagrams(ticket, *peer);
        }
        let stream = Stream::connect(address)?;
        let entry = self.connecting.vacant_entry();
        let number = CONNECTING | entry.key() as u64;
        let attempt = entry.insert(Connecting {
            stream,
            ticket,
            peer: address.socket(),
        });
        self.poll.registry().register(
            &mut attempt.stream,
            token(number),
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    fn finish_connecting(&mut self, index: usize) {
        let Some(attempt) = self.connecting.get(index) else {
            return;
        };
        match socket::is_connected(attempt.stream.socket()) {
            Ok(false) => {}
            Ok(true) => {
                let Connecting {
                    stream,
                    ticket,
                    peer,
                } = self.connecting.remove(index);
                #[cfg(feature = "tls")]
                if let (Some(tls), Some(peer)) = (self.handshakes.client.clone(), peer) {
                    return self.begin_with_server(&tls, stream, peer, ticket);
                }
                self.adopt(stream, peer, Origin::Connected(ticket));
            }
            Err(error) => {
                let attempt = self.connecting.remove(index);
                self.engine.connect_failed(attempt.ticket, error);
            }
        }
    }
}

impl<D: Driver> std::fmt::Debug for Reactor<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// Where accepted connections can be dealt to: one loop.
#[derive(Debug, Clone)]
pub struct Place {
    deal: Sender<Accepted>,
    /// Connections that this loop has or is about to be dealt.
    load: Arc<AtomicUsize>,
}

impl Place {
    fn take(&self, connection: listen::Accepted) -> Result<(), Gone<Accepted>> {
        self.deal.send(Accepted::new(connection, &self.load))
    }
}

/// What a loop that is about to end has more than any other, so that no connection is dealt to it.
const LEFT: usize = usize::MAX / 2;

/// A connection on its way to its loop.
#[derive(Debug)]
struct Accepted {
    stream: Stream,
    peer: Option<SocketAddr>,
    place: Dealt,
}

impl Accepted {
    /// A connection for the loop that `load` counts for.
    fn new((stream, peer): listen::Accepted, load: &Arc<AtomicUsize>) -> Self {
        Self {
            stream,
            peer,
            place: Dealt::new(load),
        }
    }
}

/// Counts a connection for a loop until the loop counts it itself.
#[derive(Debug)]
pub(crate) struct Dealt(Arc<AtomicUsize>);

impl Dealt {
    fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Dealt {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Door {
    listener: Listener,
    next: Next,
}

#[derive(Debug)]
struct Connecting {
    stream: Stream,
    ticket: u64,
    peer: Option<SocketAddr>,
}

/// What carries a connection of the engine. Only TCP is ever secured: who reaches a Unix socket is on this machine.
#[cfg(not(feature = "tls"))]
type Carrier = Stream;
#[cfg(feature = "tls")]
type Carrier = Secured<Stream>;

#[cfg(not(feature = "tls"))]
fn stream_of(carrier: &mut Carrier) -> &mut Stream {
    carrier
}

#[cfg(feature = "tls")]
fn stream_of(carrier: &mut Carrier) -> &mut Stream {
    &mut carrier.socket
}

fn index_of(number: u64) -> usize {
    usize::try_from(number & INDEX_MASK).expect("asserted below")
}

fn token(number: u64) -> Token {
    Token(usize::try_from(number).expect("asserted below"))
}

fn key_token(key: Key) -> Token {
    token(key.to_u64())
}

#[cfg(feature = "tls")]
mod shaking;
#[cfg(feature = "tls")]
use shaking::Party;

// One of these is kept for each connection, idle or not, with TLS or without. mio adds to it what it checks while debugging.
#[cfg(all(feature = "tls", not(debug_assertions)))]
const _: () = assert!(size_of::<Option<Carrier>>() <= 16);

const _: () = assert!(usize::BITS >= 64, "tokens carry 64 bits");
