//! One process of a simulation: an event loop without its poller, whichever driver it has.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rpc_client::driver::ClientDriver;
use rpc_core::{Clock, ManualClock};
use rpc_net::mailbox::Mailbox;
use rpc_net::post::Letter;
use rpc_net::{Action, Driver, Engine, Key, Origin, Post};
use rpc_server::driver::ServerDriver;

use super::net::{Attempt, End, Readiness, SimWire};

/// A process, running or not.
pub(super) struct Host {
    pub(super) address: SocketAddr,
    pub(super) engine: Option<Box<dyn Turns>>,
    pub(super) is_listening: bool,
    /// What became of connections since its last turn.
    pub(super) news: Vec<News>,
    pub(super) readiness: Vec<Readiness>,
    /// Attempts to connect that nobody waits for any more.
    pub(super) abandoned: Vec<u64>,
    pub(super) paused_until: Option<Instant>,
    pub(super) bell: Arc<AtomicBool>,
    pub(super) connections: Arc<AtomicUsize>,
    /// How often somebody asked for a connection.
    pub(super) knocks: usize,
    /// A clock of its own, where a fault is planted.
    pub(super) clock: Option<(Clock, ManualClock)>,
}

/// What became of a connection that was asked for.
pub(super) enum News {
    /// Somebody asked for it, and waits to be accepted.
    Accepted(SimWire, SocketAddr),
    /// We asked for it.
    Connected(Attempt, SimWire),
    /// We asked for it, and shall not have it.
    Refused(Attempt),
}

impl Host {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            engine: None,
            is_listening: false,
            news: Vec::new(),
            readiness: Vec::new(),
            abandoned: Vec::new(),
            paused_until: None,
            bell: Arc::default(),
            connections: Arc::default(),
            knocks: 0,
            clock: None,
        }
    }

    /// A mailbox whose bell makes this process take a turn.
    pub(super) fn mailbox<M: Send + 'static>(&mut self) -> (Mailbox<Letter<M>>, Post<M>) {
        self.bell = Arc::default();
        let bell = Arc::clone(&self.bell);
        let (mailbox, sender) = Mailbox::new(Arc::new(move || bell.store(true, Ordering::SeqCst)));
        (mailbox, Post::new(sender))
    }

    /// Starts it with a driver.
    pub(super) fn start<D: Driver + Counts>(
        &mut self,
        driver: D,
        (mailbox, post): (Mailbox<Letter<D::Mail>>, Post<D::Mail>),
        now: Instant,
    ) {
        self.connections = Arc::default();
        let load = Arc::clone(&self.connections);
        self.engine = Some(Box::new(Engine::<D, SimWire>::new(
            driver,
            mailbox,
            Arc::new(post),
            now,
            load,
        )));
    }

    /// Whether a turn would do something now.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        let Some(engine) = &self.engine else {
            return false;
        };
        self.paused_until.is_none_or(|until| until <= now)
            && (!self.readiness.is_empty()
                || !self.news.is_empty()
                || self.bell.load(Ordering::SeqCst)
                || engine.has_work()
                || engine.next_turn_at().is_some_and(|at| at <= self.time(now)))
    }

    /// When its next timer is due.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let next = self.engine.as_ref()?.next_turn_at()?;
        let wait = next.saturating_duration_since(self.time(now));
        let at = match &self.clock {
            None => now + wait,
            // A little more than that, because what it advances by is rounded down.
            Some(_) => now + wait * STANDING + Duration::from_micros(1),
        };
        Some(self.paused_until.map_or(at, |until| at.max(until)))
    }

    /// What it takes for the time.
    pub(super) fn time(&self, now: Instant) -> Instant {
        self.clock.as_ref().map_or(now, |(clock, _)| clock.now())
    }

    /// Leaves news for its next turn. Who is not there is told nothing, and its end of a connection is closed.
    pub(super) fn tell(&mut self, news: News) {
        if self.engine.is_some() {
            self.news.push(news);
        }
    }

    /// Takes over a connection, if the driver likes.
    pub(super) fn adopt(
        &mut self,
        wire: SimWire,
        peer: SocketAddr,
        origin: Origin,
    ) -> Option<(End, Key)> {
        let end = wire.end;
        let key = self.engine.as_mut()?.adopt(wire, peer, origin)?;
        Some((end, key))
    }

    pub(super) fn has_abandoned(&mut self, ticket: u64) -> bool {
        let place = self.abandoned.iter().position(|other| *other == ticket);
        place
            .map(|place| self.abandoned.swap_remove(place))
            .is_some()
    }
}

/// A standing clock goes one part in so many, so that its own timers do fire some time.
pub(super) const STANDING: u32 = 100;

/// An engine, its driver's type erased.
pub(super) trait Turns {
    fn set_time(&mut self, now: Instant);
    fn adopt(&mut self, wire: SimWire, peer: SocketAddr, origin: Origin) -> Option<Key>;
    fn connect_failed(&mut self, ticket: u64, kind: io::ErrorKind);
    fn readable(&mut self, key: Key, hung_up: bool);
    fn writable(&mut self, key: Key);
    fn turn(&mut self, now: Instant);
    fn take_actions(&mut self) -> Vec<Action>;
    fn stop(&mut self);
    fn has_work(&self) -> bool;
    fn next_turn_at(&self) -> Option<Instant>;
    fn is_done(&self) -> bool;
    fn calls(&self) -> usize;
}

impl<D: Driver + Counts> Turns for Engine<D, SimWire> {
    fn set_time(&mut self, now: Instant) {
        Engine::set_time(self, now);
    }

    fn adopt(&mut self, wire: SimWire, peer: SocketAddr, origin: Origin) -> Option<Key> {
        Engine::adopt(self, wire, peer, origin)
    }

    fn connect_failed(&mut self, ticket: u64, kind: io::ErrorKind) {
        Engine::connect_failed(self, ticket, kind.into());
    }

    fn readable(&mut self, key: Key, hung_up: bool) {
        Engine::readable(self, key, hung_up);
    }

    fn writable(&mut self, key: Key) {
        Engine::writable(self, key);
    }

    fn turn(&mut self, now: Instant) {
        Engine::turn(self, now);
    }

    fn take_actions(&mut self) -> Vec<Action> {
        Engine::take_actions(self)
    }

    fn stop(&mut self) {
        Engine::stop(self);
    }

    fn has_work(&self) -> bool {
        Engine::has_work(self)
    }

    fn next_turn_at(&self) -> Option<Instant> {
        Engine::next_turn_at(self)
    }

    fn is_done(&self) -> bool {
        Engine::is_done(self)
    }

    fn calls(&self) -> usize {
        self.driver().count_calls()
    }
}

/// A driver that knows how many calls it has under way.
pub(super) trait Counts {
    fn count_calls(&self) -> usize;
}

impl Counts for ServerDriver {
    fn count_calls(&self) -> usize {
        self.calls()
    }
}

impl Counts for ClientDriver {
    fn count_calls(&self) -> usize {
        self.calls()
    }
}
