//! Worlds of streams in which everything goes wrong that may, one for each seed, and what has to hold in all of them.
//!
//! As in `seeds.rs`, a seed says who there is, what is opened when, and who is killed, cut off, paused or told to leave
//! meanwhile; `TERN_SEED=7` runs one, `TERN_SEEDS=1000` so many. In the end all is healed, and the world has to be well.
//!
//! * S1 what is read is what was sent, in order and without gaps; an orderly end, or one by the handler's own failure,
//!   comes behind all of it
//! * S2 a handler meets the end of its caller's messages only behind all of them, and only if the caller said that
//! * S3 every stream ends, and no end comes of nothing
//! * and I5, I7, I8 and I12, which hold for calls too

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rpc_codec::Limits;
use rpc_core::stream::Outbound;
use rpc_core::{Code, Status};
use rpc_policy::Random;
use rpc_server::Server;
use rpc_testing::{Fault, Sim, SimClient, SimServer, Started};
use support::plan::{Ends, Gate, OWN, Plan, Read, Sent, Turn, handlers, read_all};
use support::talk::TalkClient;
use support::{Note, ms};

/// How many seeds are run unless `TERN_SEEDS` says otherwise.
const SEEDS: u64 = 100;
/// How many streams are opened in each.
const STREAMS: u64 = 50;
/// In how many seeds a planted bug has to be found.
const SEEDS_TO_FIND: u64 = 40;
/// One seed in so many is run twice, to see that both runs are the same.
const TWICE: u64 = 10;
/// A stream lasts so long at most if the wire does not let it go on.
const IDLE: Duration = ms(20_000);

#[test]
fn whatever_goes_wrong_the_invariants_of_streams_hold() {
    if let Some(seed) = number("TERN_SEED") {
        let (_, complaints) = run(seed, None);
        assert!(complaints.is_empty(), "seed {seed}: {complaints:#?}");
        return;
    }
    let seeds = number("TERN_SEEDS").unwrap_or(SEEDS);
    let (next, failures) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let complaints = complaints_of(seed);
            if !complaints.is_empty() {
                failures.lock().unwrap().insert(seed, complaints);
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    if let Some((seed, complaints)) = failures.first_key_value() {
        panic!(
            "{} of {seeds} seeds fail: {:?}\nseed {seed}: {complaints:#?}\n\
             run it again: TERN_SEED={seed} cargo test -p rpc-testing --test stream_seeds whatever -- --nocapture",
            failures.len(),
            failures.keys().collect::<Vec<_>>(),
        );
    }
}

#[test]
fn s1_a_message_that_is_lost_is_noticed() {
    found(Fault::LosesAnswers, "S1:");
}

#[test]
fn s1_a_message_that_comes_twice_is_noticed() {
    found(Fault::RepeatsAnswers, "S1:");
}

#[test]
fn s1_a_message_of_another_stream_is_noticed() {
    found(Fault::MixesAnswers, "S1:");
}

/// A planted bug is found, and by the invariant that is there for it.
fn found(fault: Fault, by: &str) {
    let finds = |seed: &u64| {
        let (_, complaints) = run(*seed, Some(fault));
        complaints.iter().any(|complaint| complaint.contains(by))
    };
    let seed = (0..SEEDS_TO_FIND).find(finds);
    assert!(
        seed.is_some(),
        "{fault:?} was not found by {by} in {SEEDS_TO_FIND} seeds"
    );
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// What is wrong with a seed, a panic included.
fn complaints_of(seed: u64) -> Vec<String> {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        let (trace, mut complaints) = run(seed, None);
        if seed.is_multiple_of(TWICE) && run(seed, None).0 != trace {
            complaints.push("I12: two runs differ".to_owned());
        }
        complaints
    }));
    outcome.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        vec![text.unwrap_or_else(|| "a panic".to_owned())]
    })
}

/// Runs one world: its trace, and what is wrong with it.
fn run(seed: u64, fault: Option<Fault>) -> (u64, Vec<String>) {
    let mut world = World::new(seed, fault);
    world.live();
    world.heal();
    world.check_streams();
    if fault.is_none() {
        world.check_life();
        world.check_rest();
    }
    (world.sim.trace(), world.complaints)
}

struct World {
    sim: Sim,
    random: Random,
    /// Each with the time by which it has to be gone, if it leaves.
    servers: Vec<(SimServer, Option<Instant>)>,
    clients: Vec<SimClient>,
    streams: Vec<Opened>,
    /// Those whose callers had enough.
    given_up: Vec<Opened>,
    ends: Ends,
    /// Keeps callers from reading on while it is shut.
    gate: Rc<Gate>,
    parted: Vec<(Instant, Option<SimServer>, usize)>,
    slack: Duration,
    complaints: Vec<String>,
}

/// A stream that was opened.
struct Opened {
    number: u64,
    shape: Shape,
    /// How many messages the caller means to send, or asks for.
    length: u64,
    /// At which of them the handler does something else.
    turn: Option<(u64, Turn)>,
    has_deadline: bool,
    sent: Rc<Sent>,
    sends: Option<Started<()>>,
    reads: Started<Read>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Sum,
    Count,
    Chat,
}

impl World {
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let random = Random::seeded(seed ^ 0x57_2e_a4);
        let least = random.between(ms(0), ms(20));
        let mut sim = Sim::seeded(seed).latency(least..least + random.between(ms(1), ms(30)));
        if let Some(fault) = fault {
            sim = sim.plant(fault);
        }
        if random.next_u64().is_multiple_of(2) {
            sim = sim.stalls(2 + random.next_u64() % 20, ms(1)..ms(300));
        }
        let mut world = Self {
            sim,
            random,
            servers: Vec::new(),
            clients: Vec::new(),
            streams: Vec::new(),
            given_up: Vec::new(),
            ends: Ends::default(),
            gate: Rc::default(),
            parted: Vec::new(),
            slack: Duration::ZERO,
            complaints: Vec::new(),
        };
        let limits = |world: &Self| {
            let mut limits = Limits::default().with_stream_idle(IDLE);
            if world.once_in(4) {
                limits = limits
                    .without_stream_window()
                    .with_stream_unread_max(64 * 1024);
            }
            if world.once_in(3) {
                limits = limits.with_stream_output_mark(4_096);
            }
            limits
        };
        for _ in 0..=world.below(3) {
            let mount = handlers(Arc::clone(&world.ends));
            let server = Server::builder().limits(limits(&world)).service(mount);
            let server = world.sim.server(server);
            world.servers.push((server, None));
        }
        let servers: Vec<_> = world.servers.iter().map(|(server, _)| *server).collect();
        for _ in 0..=world.below(3) {
            let limits = limits(&world);
            let client = world
                .sim
                .client_of(&servers, |builder| builder.limits(limits));
            world.clients.push(client);
        }
        world
    }

    fn below(&self, below: u64) -> u64 {
        self.random.next_u64() % below
    }

    fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn millis(&self, from: u64, to: u64) -> Duration {
        self.random.between(ms(from), ms(to))
    }

    fn pick(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// Opens all streams, and lets everything happen meanwhile.
    fn live(&mut self) {
        let chaos = 3 + self.below(20);
        for number in 0..STREAMS {
            self.open(number);
            if self.once_in(chaos) {
                self.disturb();
            }
            if self.once_in(6) {
                self.gate.set(!self.gate.is_shut.get());
            }
            if self.once_in(8) {
                self.give_up();
            }
            let pause = self.millis(0, 60);
            self.pass(pause);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.sim.advance(time);
        let now = self.sim.now();
        let (over, parted): (Vec<_>, Vec<_>) =
            self.parted.drain(..).partition(|(until, ..)| *until <= now);
        self.parted = parted;
        for (_, server, client) in over {
            match server {
                Some(server) => self.sim.reach(&server),
                None => self.sim.reach(&self.clients[client]),
            }
        }
        for place in 0..self.servers.len() {
            let (server, gone_by) = self.servers[place];
            if gone_by.is_some_and(|at| now > at + self.slack) && self.sim.is_up(server) {
                self.servers[place].1 = None;
                self.complaints
                    .push(format!("I7: server {place} does not end"));
            }
        }
    }

    fn open(&mut self, number: u64) {
        let client = self.clients[self.pick(self.clients.len())].clone();
        let talk = TalkClient::new(client);
        let shape = [Shape::Sum, Shape::Count, Shape::Chat][self.pick(3)];
        // Many short ones, or a few that fill windows.
        let (most, bytes) = match self.below(6) {
            0 => (200, 20),
            1 => (20, 20_000),
            _ => (30, 900),
        };
        let length = self.below(most);
        let turns = [Turn::Panics, Turn::Fails, Turn::Returns];
        let is_turned = self.once_in(3) && length > 0;
        let turn = is_turned.then(|| (self.below(length), turns[self.pick(3)]));
        let timeout = self.once_in(5).then(|| self.millis(1, 3_000));
        let plan = Plan {
            number,
            length,
            turn,
            bytes: self.below(bytes),
            wait: self.once_in(4).then(|| self.below(30)),
        };
        let sent = Rc::<Sent>::default();
        let gate = Rc::clone(&self.gate);
        let (sends, reads) = match shape {
            Shape::Sum => (None, self.sim.start(plan.sum(talk, timeout, sent.clone()))),
            Shape::Count => (None, self.sim.start(plan.count(talk, timeout, gate))),
            Shape::Chat => {
                let place = Rc::new(RefCell::new(None));
                let waiting = Rc::<Gate>::default();
                waiting.set(true);
                let (sender, opened) = (Rc::clone(&place), Rc::clone(&waiting));
                let reads = self.sim.start(async move {
                    let mut chat = talk.chat().metadata("app-number", number.to_string());
                    if let Some(timeout) = timeout {
                        chat = chat.timeout(timeout);
                    }
                    let (outbound, inbound) = match chat.open().await {
                        Ok(chat) => chat,
                        Err(status) => return (Vec::new(), Some(Err(status))),
                    };
                    *place.borrow_mut() = Some(outbound);
                    waiting.set(false);
                    read_all(inbound, &gate).await
                });
                let sent = sent.clone();
                let sends = self.sim.start(async move {
                    opened.pass().await;
                    let outbound: Option<Outbound<Note>> = sender.borrow_mut().take();
                    if let Some(outbound) = outbound {
                        plan.send_all(outbound, &sent).await;
                    }
                });
                (Some(sends), reads)
            }
        };
        self.streams.push(Opened {
            number,
            shape,
            length,
            turn,
            has_deadline: timeout.is_some(),
            sent,
            sends,
            reads,
        });
    }

    /// A caller has enough, wherever it is.
    fn give_up(&mut self) {
        let place = self.pick(self.streams.len());
        let stream = self.streams.remove(place);
        // The reading half first: what goes last as the only one left gives the stream up.
        self.sim.forget(&stream.reads);
        if let Some(sends) = &stream.sends {
            self.sim.forget(sends);
        }
        self.given_up.push(stream);
    }

    /// Something goes wrong.
    fn disturb(&mut self) {
        let place = self.pick(self.servers.len());
        let client = self.pick(self.clients.len());
        let (server, gone_by) = self.servers[place];
        match self.below(12) {
            _ if !self.sim.is_up(server) => {
                self.servers[place].1 = None;
                self.sim.restart(server);
            }
            0 => {
                self.servers[place].1 = None;
                self.sim.kill(server);
            }
            1 if gone_by.is_none() => self.sim.hang_up(server),
            2..5 if gone_by.is_none() => {
                let close_wait = self.millis(0, 300);
                let grace = close_wait + self.millis(0, 2_000);
                self.servers[place].1 = Some(self.sim.now() + grace + ms(300));
                self.sim.drain_within(server, close_wait, grace);
            }
            5 => self.sim.cut(&server),
            6 => self.sim.cut(&self.clients[client]),
            7 | 8 => {
                let time = self.standstill(3_000);
                let who = self.once_in(2).then_some(server);
                match &who {
                    Some(server) => self.sim.part(server),
                    None => self.sim.part(&self.clients[client]),
                }
                self.parted.push((self.sim.now() + time, who, client));
            }
            9 => {
                let time = self.standstill(2_000);
                self.sim.pause(&server, time);
            }
            10 => {
                let time = self.standstill(500);
                self.sim.pause(&self.clients[client], time);
            }
            _ => {
                let time = self.millis(1, 3_000);
                self.sim.stall(server, time);
            }
        }
    }

    /// So long somebody does nothing, which excuses others.
    fn standstill(&mut self, most: u64) -> Duration {
        let time = self.millis(1, most);
        self.slack += time;
        time
    }

    /// All is well again from here on, and what can end has ended.
    fn heal(&mut self) {
        self.gate.set(false);
        for _ in 0..400 {
            self.pass(ms(100));
        }
        for (server, gone_by) in &mut self.servers {
            if gone_by.take().is_some() || !self.sim.is_up(*server) {
                self.sim.restart(*server);
            }
        }
        self.pass(ms(1));
    }

    fn check_streams(&mut self) {
        for stream in std::mem::take(&mut self.given_up) {
            self.check_end(&stream);
        }
        for stream in std::mem::take(&mut self.streams) {
            self.check_end(&stream);
            let Some((numbers, Some(end))) = self.sim.result(&stream.reads) else {
                let number = stream.number;
                self.complaints
                    .push(format!("S3: stream {number} never ended"));
                continue;
            };
            self.check_read(&stream, &numbers, &end);
        }
    }

    /// What a handler took for the end of its caller's messages was that.
    fn check_end(&mut self, stream: &Opened) {
        let number = stream.number;
        let Some(met) = self.ends.lock().unwrap().get(&number).copied() else {
            return;
        };
        let sent = stream.sent.messages.get();
        if stream.shape != Shape::Count && (met != sent || !stream.sent.has_said_all.get()) {
            self.complaints.push(format!(
                "S2: the handler of stream {number} took {met} messages of {sent} for all"
            ));
        }
    }

    fn check_read(&mut self, stream: &Opened, numbers: &[u64], end: &Result<(), Status>) {
        let mut complain = |text: &str| {
            self.complaints.push(format!(
                "{text}: stream {} {:?} of {}, {:?}: read {numbers:?}, {end:?}",
                stream.number, stream.shape, stream.length, stream.turn
            ));
        };
        let until = stream.turn.map_or(stream.length, |(at, _)| at);
        if stream.shape == Shape::Sum {
            let sum = (0..until).sum::<u64>();
            if end.is_ok() && *numbers != [sum] {
                complain("S1: a wrong sum");
            }
        } else {
            let is_whole = u64::try_from(numbers.len()).unwrap() == until;
            if !numbers.iter().copied().eq(0..numbers.len() as u64) {
                complain("S1: lost or out of order");
            }
            let is_said = match end {
                Ok(()) => true,
                Err(status) => status.code() == OWN,
            };
            if is_said && !is_whole {
                complain("S1: an end before the last message");
            }
        }
        let turn = stream.turn.map(|(_, turn)| turn);
        let is_possible = match end.as_ref().map_err(Status::code) {
            Ok(()) => !matches!(turn, Some(Turn::Panics | Turn::Fails)),
            Err(OWN) => turn == Some(Turn::Fails),
            Err(Code::Internal) => {
                let text = end.as_ref().unwrap_err().message();
                turn == Some(Turn::Panics) || text == "the server is closing"
            }
            Err(Code::DeadlineExceeded) => stream.has_deadline,
            Err(Code::Unreachable | Code::ConnectionLost) => true,
            Err(_) => false,
        };
        if !is_possible {
            complain("S3: an end that cannot be");
        }
    }

    /// In a world that is well streams succeed before long.
    fn check_life(&mut self) {
        for place in 0..self.clients.len() {
            let lives = (0..40).any(|_| {
                let talk = TalkClient::new(self.clients[place].clone());
                let plan = Plan {
                    number: STREAMS,
                    length: 30,
                    turn: None,
                    bytes: 500,
                    wait: None,
                };
                let read = plan.count(talk, Some(ms(5_000)), Rc::clone(&self.gate));
                let (numbers, end) = self.sim.run(read);
                self.sim.advance(ms(300));
                matches!(end, Some(Ok(()))) && numbers.len() == 30
            });
            if !lives {
                self.complaints
                    .push(format!("client {place} does not come back to life"));
            }
        }
    }

    /// When nobody has a stream any more, nothing is left.
    fn check_rest(&mut self) {
        self.sim.advance(IDLE + ms(10_000));
        self.complaints.extend(self.sim.complaints());
        for (place, (server, _)) in self.servers.iter().enumerate() {
            let left = (self.sim.jobs(*server), self.sim.calls(server));
            if left != (0, 0) {
                self.complaints
                    .push(format!("I5: server {place} has {left:?} jobs and calls"));
            }
        }
        // By now idle connections have been closed.
        self.sim.advance(ms(180_000));
        for (server, _) in &self.servers {
            let left = (self.sim.connections(server), self.sim.next_timer(server));
            if left != (0, None) {
                self.complaints.push(format!("I5: a server has {left:?}"));
            }
        }
        for client in &self.clients {
            let connections = self.sim.connections(client);
            let left = (
                self.sim.calls(client),
                connections,
                self.sim.next_timer(client),
            );
            if left != (0, 0, None) {
                self.complaints.push(format!("I5: a client has {left:?}"));
            }
        }
    }
}
