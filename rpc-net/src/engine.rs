//! The loop without its poller: what is done in a turn, on sockets or on a virtual wire.

mod datagrams;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rpc_codec::ProtocolError;
use rpc_codec::connection::{Connection, Input};
use rpc_core::PeerIdentity;

use crate::buffer::{Arrived, LARGE, ReadBuffer, Tail};
use crate::io::{Action, CloseReason, Driver, Due, End, Io, IoOf, Newcomer, Origin};
use crate::mailbox::Mailbox;
use crate::post::Letter;
use crate::slab::{ByLink, Key};
use crate::wire::{DatagramWire, Wire};

/// Events delivered of one connection before the others have their turn. It bounds how long one connection that sends
/// thousands of tiny frames at once keeps the loop, and is large enough that a pipelining client's batch is answered
/// by one write.
const EVENTS_PER_TURN: usize = 256;
/// How often a connection whose streams have ever more to say is written to in one turn.
const FILLS_PER_TURN: usize = 4;
/// How long a connection that we ended waits for the peer's end.
const LINGER: Duration = Duration::from_secs(1);

/// The connections of one loop, their driver, and what is done in a turn. Whoever owns the sockets tells it which are
/// ready and passes the time in.
pub struct Engine<D: Driver, W> {
    driver: D,
    io: IoOf<D>,
    /// Beside the links: the driver never meets them.
    wires: ByLink<W>,
    /// Of connections that have no such wire. Apart, so that the others are not larger for them.
    datagrams: ByLink<Box<dyn DatagramWire>>,
    ready: VecDeque<Key>,
    buffer: ReadBuffer,
    mailbox: Mailbox<Letter<D::Mail>>,
    letters: Vec<Letter<D::Mail>>,
    expired: Vec<Due<D::Due>>,
    /// How many connections there are, for whoever deals new ones out.
    load: Arc<AtomicUsize>,
}

impl<D: Driver, W: Wire> Engine<D, W> {
    /// An engine without connections, at `now`. `load` counts its connections, for whoever deals out new ones.
    pub fn new(
        driver: D,
        mailbox: Mailbox<Letter<D::Mail>>,
        timer: Arc<dyn rpc_core::Timer>,
        now: Instant,
        load: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            driver,
            io: Io::new(now, timer),
            wires: ByLink::default(),
            datagrams: ByLink::default(),
            ready: VecDeque::new(),
            buffer: ReadBuffer::default(),
            mailbox,
            letters: Vec::new(),
            expired: Vec::new(),
            load,
        }
    }

    /// Says what time it is, for what the engine is told before its next turn: the time of the last one may be long gone.
    pub fn set_time(&mut self, now: Instant) {
        self.io.set_now(now);
    }

    /// Takes over a connection. `None` when the driver turns it away.
    pub fn adopt(
        &mut self,
        wire: W,
        peer: impl Into<Option<SocketAddr>>,
        origin: Origin,
    ) -> Option<Key> {
        let peer = peer.into();
        let machine = self.open(peer, origin)?;
        Some(self.adopt_open(machine, wire, peer, origin))
    }

    /// Asks the driver for the machine of a connection that cannot be used yet. It is either
    /// [adopted](Engine::adopt_open) with it or [dismissed](Engine::dismiss). `None` when the driver turns it away.
    pub fn open(&mut self, peer: Option<SocketAddr>, origin: Origin) -> Option<D::Machine> {
        self.driver.open(origin, peer, &mut self.io)
    }

    /// Says that a connection that was opened has come to its end before it could be used.
    pub fn dismiss(&mut self, machine: D::Machine, peer: SocketAddr, error: &io::Error) {
        let reason = CloseReason::of(error);
        self.driver.dismissed(peer, machine, reason, &mut self.io);
    }

    /// Takes over a connection that has its machine.
    pub fn adopt_open(
        &mut self,
        machine: D::Machine,
        wire: W,
        peer: Option<SocketAddr>,
        origin: Origin,
    ) -> Key {
        let key = self.io.links.insert(machine);
        let identity = wire.identity();
        self.wires.set(key, wire);
        self.opened(key, peer, identity, origin);
        self.arm(key);
        // Bytes may have arrived before anybody watched.
        self.readable(key, false);
        key
    }

    fn opened(
        &mut self,
        key: Key,
        peer: Option<SocketAddr>,
        identity: Option<PeerIdentity>,
        origin: Origin,
    ) {
        self.load.fetch_add(1, Ordering::Relaxed);
        self.io.newcomer = Some(Newcomer {
            key,
            peer,
            identity,
        });
        self.driver.opened(key, origin, &mut self.io);
        self.io.newcomer = None;
    }

    /// Says that a connection could not be made.
    pub fn connect_failed(&mut self, ticket: u64, error: io::Error) {
        self.driver.connect_failed(ticket, error, &mut self.io);
    }

    /// Says that a connection has something to read. `hung_up` if that includes the peer's FIN or an error.
    pub fn readable(&mut self, key: Key, hung_up: bool) {
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        link.is_hung_up |= hung_up;
        if !link.is_ready {
            link.is_ready = true;
            self.ready.push_back(key);
        }
    }

    /// Says that a connection can be written to again.
    pub fn writable(&mut self, key: Key) {
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        if std::mem::take(&mut link.is_blocked) {
            link.mark_dirty(key, &mut self.io.dirty);
        }
    }

    /// Does what there is to do at `now`: reads, delivers, fires timers, writes.
    pub fn turn(&mut self, now: Instant) {
        self.io.set_now(now);
        self.read_ready_links();
        self.empty_mailbox();
        self.fire_timers();
        self.driver.end_of_turn(&mut self.io);
        self.flush_dirty_links();
    }

    /// Says that a listener could not accept a connection.
    pub fn accept_failed(&mut self, error: &io::Error) {
        self.driver.accept_failed(error, &mut self.io);
    }

    /// Whether the next turn has something to do without anything new happening.
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.io.dirty.is_empty()
    }

    /// When the next turn is due without anything new happening.
    pub fn next_turn_at(&self) -> Option<Instant> {
        self.io.timers.next_at()
    }

    /// What the driver asks of the owner of the sockets.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.io.actions)
    }

    /// Whether the loop ends: the driver says so and, unless it cannot wait, all connections have ended.
    pub fn is_done(&self) -> bool {
        match self.driver.end() {
            End::Open => false,
            End::WhenEmpty => self.io.is_empty(),
            End::Now => true,
        }
    }

    /// Whether the loop ends whatever there is.
    pub fn cannot_wait(&self) -> bool {
        self.driver.end() == End::Now
    }

    /// The driver, for tests to look at.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// The socket of a connection.
    pub fn wire_mut(&mut self, key: Key) -> Option<&mut W> {
        self.io.links.get(key)?;
        self.wires.get_mut(key)
    }

    /// Ends one connection at once, for an error of its socket.
    pub fn drop_link(&mut self, key: Key, kind: io::ErrorKind) {
        self.remove(key, CloseReason::Failed(kind));
    }

    /// Ends all connections at once.
    pub fn stop(&mut self) {
        for key in self.io.keys() {
            self.remove(key, CloseReason::Stopped);
        }
    }

    fn read_ready_links(&mut self) {
        // Those that become ready again while others are read wait for the next turn.
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            if let Some(link) = self.io.links.get_mut(key) {
                link.is_ready = false;
                self.read(key);
            }
        }
    }

    /// Reads once from a connection, and delivers what came. What came before and waited for its turn is delivered first.
    fn read(&mut self, key: Key) {
        let now = self.io.now();
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        let Some(wire) = self.wires.get_mut(key) else {
            return;
        };
        if link.lingering_until().is_some() {
            return self.read_last_bytes(key);
        }
        if link.is_finishing() {
            return;
        }
        if link.tail.is_unseen() {
            return self.deliver_kept(key);
        }
        if !link.machine.wants_input(link.output.len()) {
            link.is_paused = true;
            return self.settle(key);
        }
        let (missing, expected) = (link.machine.bytes_missing(), link.expected as usize);
        match self
            .buffer
            .fill(wire, &mut link.tail, missing, expected, now)
        {
            Ok(filled) => {
                let has_more = !filled.is_drained || link.is_hung_up || wire.holds_input();
                let goes_on = filled.read > 0 && has_more;
                if filled.read == 0 {
                    link.machine.handle_eof();
                }
                self.deliver_arrived(key, filled.arrived);
                if goes_on {
                    self.readable(key, false);
                }
            }
            Err(error) if is_transient(&error) => {
                if wire.holds_input() {
                    self.readable(key, false);
                }
            }
            Err(error) => self.remove(key, CloseReason::of(&error)),
        }
    }

    /// Delivers what a read brought. Its buffer is out of reach of everybody else meanwhile, so that events can be looked
    /// at where they arrived.
    fn deliver_arrived(&mut self, key: Key, arrived: Arrived) {
        let now = self.io.now();
        match arrived {
            Arrived::Nothing => {}
            Arrived::Shared(length) => {
                let buffer = self.buffer.take_shared();
                let input = Input::borrowed(buffer.get(..length).unwrap_or_default(), now);
                let (rest, is_unseen) = self.deliver(key, input);
                if let Some(link) = self.io.links.get_mut(key)
                    && !rest.is_empty()
                {
                    link.tail.keep(rest, now, is_unseen);
                }
                self.buffer.put_shared(buffer);
            }
            Arrived::Own(buffer, filled) => {
                let (rest, is_unseen) = self.deliver(key, Input::owned(&buffer, filled, now));
                let left = rest.len();
                let Some(link) = self.io.links.get_mut(key) else {
                    return self.buffer.recycle(buffer);
                };
                // A large buffer is not left to a connection that has sent little.
                let is_earned = filled >= buffer.len() / 8;
                let unused = if left == filled && !is_unseen && is_earned {
                    link.tail.adopt(buffer, filled, now).err()
                } else {
                    if left > 0 {
                        link.tail.keep(rest, now, is_unseen);
                    }
                    Some(buffer)
                };
                if let Some(buffer) = unused {
                    self.buffer.recycle(buffer);
                }
            }
        }
        self.settle(key);
    }

    /// Delivers what waited for its turn, before more is read.
    fn deliver_kept(&mut self, key: Key) {
        let now = self.io.now();
        let kept = self.io.links.get_mut(key).and_then(|link| link.tail.take());
        let Some(kept) = kept else {
            return;
        };
        let (rest, is_unseen) = self.deliver(key, kept.input(now));
        let left = rest.len();
        if let Some(link) = self.io.links.get_mut(key) {
            link.tail.put_back(kept, left, is_unseen);
        }
        if !is_unseen {
            // The socket may have more, and does not say so twice.
            self.readable(key, false);
        }
        self.settle(key);
    }

    /// Hands what happened to the driver, and returns what was left, and whether there may be whole frames in that.
    fn deliver<'a>(&mut self, key: Key, mut input: Input<'a>) -> (&'a [u8], bool) {
        let now = self.io.now();
        let mut largest = 0;
        let mut budget = EVENTS_PER_TURN;
        let outcome = loop {
            let before = input.rest().len();
            let Some(link) = self.io.links.get_mut(key) else {
                return (&[], false);
            };
            match link.machine.next_event(&mut input, &mut self.io.shelf, now) {
                Ok(Some(event)) => self.driver.event(key, event, &mut self.io),
                Ok(None) => break Ok(false),
                Err(error) => break Err(error),
            }
            largest = largest.max(before - input.rest().len());
            budget -= 1;
            if budget == 0 {
                break Ok(!input.rest().is_empty());
            }
        };
        self.after_delivery(key, largest, outcome)
            .map_or((&[], false), |is_unseen| (input.rest(), is_unseen))
    }

    /// Whether what is left is to be kept, and if so, whether there may be whole frames in it.
    fn after_delivery(
        &mut self,
        key: Key,
        largest: usize,
        outcome: Result<bool, ProtocolError>,
    ) -> Option<bool> {
        let was_interrupted = match outcome {
            Ok(was_interrupted) => was_interrupted,
            Err(error) => {
                self.finish_for(key, CloseReason::Protocol(error));
                return None;
            }
        };
        let link = self.io.links.get_mut(key)?;
        if largest > 0 {
            let is_large = largest > LARGE;
            link.expected = if is_large {
                u32::try_from(largest).unwrap_or(0)
            } else {
                0
            };
        }
        if link.is_finishing() {
            return None;
        }
        if was_interrupted {
            self.readable(key, false);
            return Some(true);
        }
        // Frames that are held back come with no further event of the socket: answers must make them go on.
        link.is_paused |= !link.machine.wants_input(link.output.len());
        Some(link.machine.holds_back())
    }

    /// Writes what a connection has, ends it if it is time, and sets its timer.
    fn settle(&mut self, key: Key) {
        self.flush(key);
        self.arm(key);
    }

    fn empty_mailbox(&mut self) {
        self.mailbox.drain(&mut self.letters);
        if self.letters.is_empty() {
            return;
        }
        let mut letters = std::mem::take(&mut self.letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Mail(mail) => self.driver.mail(mail, &mut self.io),
                Letter::Alarm(at, alarm) => {
                    self.io.timers.insert(at, Due::Alarm(alarm));
                }
            }
        }
        self.letters = letters;
    }

    fn fire_timers(&mut self) {
        self.io.timers.expire(self.io.now(), &mut self.expired);
        if self.expired.is_empty() {
            return;
        }
        let mut expired = std::mem::take(&mut self.expired);
        for due in expired.drain(..) {
            match due {
                Due::Link(key) => self.look_after(key),
                Due::Alarm(alarm) => alarm.ring(),
                Due::Driver(due) => self.driver.due(due, &mut self.io),
            }
        }
        self.expired = expired;
    }

    /// The timer of a connection has fired: one of its limits may have been reached.
    fn look_after(&mut self, key: Key) {
        let now = self.io.now();
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        link.timer = None;
        if link.lingering_until().is_some_and(|until| now >= until) {
            let reason = link.finishing().unwrap_or(CloseReason::Finished);
            return self.remove(key, reason);
        }
        if link.stalls_at().is_some_and(|at| now >= at) {
            return self.remove(key, CloseReason::Protocol(ProtocolError::TooSlowReader));
        }
        let is_due = link.machine.poll_timeout().is_some_and(|at| now >= at);
        if !link.is_finishing()
            && is_due
            && let Err(error) = link.machine.handle_timeout(now)
        {
            self.finish_for(key, CloseReason::Protocol(error));
        }
        self.settle(key);
    }

    fn flush_dirty_links(&mut self) {
        let mut dirty = std::mem::take(&mut self.io.dirty);
        for key in dirty.drain(..) {
            // Those that were read in this turn have been settled since.
            if self.io.links.get(key).is_some_and(|link| link.is_dirty) {
                self.settle(key);
            }
        }
        // What became dirty meanwhile waits for the next turn.
        dirty.append(&mut self.io.dirty);
        self.io.dirty = dirty;
    }

    /// Writes what is queued, as far as the socket takes it.
    fn flush(&mut self, key: Key) {
        let now = self.io.now();
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        link.is_dirty = false;
        let mut fills = 0;
        let written = loop {
            if link.machine.may_speak() {
                link.let_speak(&mut self.io.spares, now);
            }
            let written = match self.wires.get_mut(key) {
                Some(wire) => link.write_out(wire, now),
                None => datagrams::send_out(link, self.datagrams.get_mut(key)),
            };
            fills += 1;
            if written.is_err() || link.is_blocked || !link.machine.has_more() {
                break written;
            }
            if fills == FILLS_PER_TURN {
                // The rest has its next turn with the others.
                link.mark_dirty(key, &mut self.io.dirty);
                break written;
            }
        };
        if let Err(error) = written {
            return self.remove(key, CloseReason::of(&error));
        }
        self.deliver_news(key);
        self.after_flush(key);
    }

    /// Hands to the driver what happened and is no event.
    fn deliver_news(&mut self, key: Key) {
        while let Some(link) = self.io.links.get_mut(key)
            && let Some(news) = link.machine.poll_news()
        {
            self.driver.news(key, news, &mut self.io);
        }
    }

    fn after_flush(&mut self, key: Key) {
        let now = self.io.now();
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        let is_finished = link.machine.is_finished() && !link.tail.is_unseen();
        if !link.is_finishing() && is_finished {
            link.finish(CloseReason::Peer);
        }
        let is_written = link.output.is_empty();
        let may_end = is_written && link.machine.has_answered() && link.lingering_until().is_none();
        if link.is_finishing() && may_end {
            return self.end(key, now);
        }
        if link.is_paused && link.machine.wants_input(link.output.len()) {
            link.is_paused = false;
            self.readable(key, false);
        } else if link.is_paused && !link.is_finishing() && link.is_held_back_no_more() {
            // Answers have made room for frames that came long ago.
            self.readable(key, false);
        }
        if is_written {
            self.io.recycle(key);
        }
    }

    /// Everything is written and answered: sends the FIN and waits for the peer's, unless that is there.
    fn end(&mut self, key: Key, now: Instant) {
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        let reason = link.finishing().unwrap_or(CloseReason::Finished);
        if reason == CloseReason::Peer {
            return self.remove(key, reason);
        }
        // Over datagrams there is no end to wait for.
        let Some(wire) = self.wires.get_mut(key) else {
            return self.remove(key, reason);
        };
        wire.finish();
        // The last words of the wire itself may have to wait for the socket.
        link.is_blocked |= wire.holds_output();
        link.linger(now + LINGER);
        self.readable(key, false);
        self.arm(key);
    }

    /// Throws away what a peer sends that has been told of the end, until it ends too.
    fn read_last_bytes(&mut self, key: Key) {
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        let Some(wire) = self.wires.get_mut(key) else {
            return;
        };
        let reason = link.finishing().unwrap_or(CloseReason::Finished);
        match self
            .buffer
            .fill(wire, &mut Tail::default(), 0, 0, self.io.now())
        {
            Ok(filled) if filled.read > 0 => self.readable(key, false),
            Err(error) if is_transient(&error) => {}
            _ => self.remove(key, reason),
        }
    }

    /// Ends a connection once what it owes is written.
    fn finish_for(&mut self, key: Key, reason: CloseReason) {
        if let Some(link) = self.io.links.get_mut(key) {
            link.finish(reason);
            link.tail.clear();
            // Nothing is read any more, so nobody may wait for it.
            link.machine.handle_damage();
        }
    }

    fn remove(&mut self, key: Key, reason: CloseReason) {
        // What was read before the socket failed is news all the same, and nobody could ask the machine for it later.
        self.deliver_news(key);
        let Some(link) = self.io.links.remove(key) else {
            return;
        };
        if let Some((timer, _)) = link.timer {
            self.io.timers.cancel(timer);
        }
        let wire = self.wires.take(key);
        self.datagrams.take(key);
        // A FIN says that all is told. To a peer that saw the mark of a leaving server it says that what was not
        // answered was not run, so it must not stand for answers that were lost here.
        if let Some(mut wire) = wire
            && !(link.output.is_empty() && link.machine.has_answered())
        {
            wire.break_off();
        }
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.driver.closed(key, link.machine, reason, &mut self.io);
    }

    /// Sets the timer of a connection, unless one fires early enough. It costs nothing on a connection that is busy:
    /// its times only move away, and the timer asks for them when it fires.
    fn arm(&mut self, key: Key) {
        let now = self.io.now();
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        let Some(at) = link.due_at() else {
            return;
        };
        match link.timer {
            Some((_, armed_at)) if armed_at <= at => return,
            Some((timer, _)) => drop(self.io.timers.cancel(timer)),
            None => {}
        }
        // Asking again in the same tick would spin: a machine whose time has come and who has calls in flight waits.
        let at = at.max(now + TIMER_PAUSE);
        let timer = self.io.timers.insert(at, Due::Link(key));
        link.timer = Some((timer, at));
    }
}

/// The least time between two looks at a connection.
const TIMER_PAUSE: Duration = Duration::from_millis(100);

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

impl<D: Driver, W> std::fmt::Debug for Engine<D, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("io", &self.io)
            .finish_non_exhaustive()
    }
}
