//! Worlds in which everything goes wrong that may, one for each seed, and what has to hold in all of them.
//!
//! A seed says how many servers and clients there are, how slow and how unreliable everything between and inside them
//! is, what is called when, and who is killed, cut off, paused or told to leave meanwhile. In the end all is healed, and
//! the world has to be well again.
//!
//! * `TERN_SEED=7` runs one seed, and tells what happens in it if `TERN_TRACE` is set too
//! * `TERN_SEEDS=1000` says how many are run; without it 200 are
//!
//! The invariants carry the numbers by which the project knows them: I1 one answer for each call that was read, I2 with
//! its own payload, I3 nothing is run after its deadline, I4 nor twice, I5 all counts come back to zero, I7 leaving ends
//! in time and loses nothing, I8 nobody turns without end, I11 nothing is delivered after its deadline, I12 the same seed
//! gives the same run.

mod support;

use std::collections::BTreeMap;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rpc_codec::Limits;
use rpc_core::filter::{Open, Then};
use rpc_core::{Code, Context, Status};
use rpc_policy::filter::Retry;
use rpc_policy::{Backoff, Random};
use rpc_server::Server;
use rpc_testing::{Fault, Process as _, Sim, SimClient, SimServer, Started};
use support::{Answer, DeskClient, Note, desk, ms};

/// How many seeds are run unless `TERN_SEEDS` says otherwise.
const SEEDS: u64 = 200;
/// How many calls are made in each.
const CALLS: u64 = 200;
/// In how many seeds a planted bug has to be found.
const SEEDS_TO_FIND: u64 = 100;
/// One seed in so many is run twice, to see that both runs are the same.
const TWICE: u64 = 10;

#[test]
fn whatever_goes_wrong_the_invariants_hold() {
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
             run it again: TERN_SEED={seed} TERN_TRACE=1 cargo test -p rpc-testing --test seeds whatever -- --nocapture",
            failures.len(),
            failures.keys().collect::<Vec<_>>(),
        );
    }
}

#[test]
fn i1_an_answer_that_is_lost_is_noticed() {
    found(Fault::LosesAnswers, "I1:");
}

#[test]
fn i1_an_answer_that_is_given_twice_is_noticed() {
    found(Fault::RepeatsAnswers, "I1:");
}

#[test]
fn i2_an_answer_with_the_payload_of_another_call_is_noticed() {
    found(Fault::MixesAnswers, "I2:");
}

#[test]
fn i3_work_that_is_run_after_its_deadline_is_noticed() {
    found(Fault::StandingClock, "I3:");
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
        let text = text.or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        });
        vec![text.unwrap_or_else(|| "a panic".to_owned())]
    })
}

/// Runs one world: its trace, and what is wrong with it.
fn run(seed: u64, fault: Option<Fault>) -> (u64, Vec<String>) {
    let mut world = World::new(seed, fault);
    world.live();
    world.heal();
    world.check_calls();
    world.check_life();
    world.check_rest();
    (world.sim.trace(), world.complaints)
}

type Client = SimClient<Then<Open, Retry>>;

struct World {
    sim: Sim,
    dice: Dice,
    servers: Vec<ServerOf>,
    clients: Vec<Client>,
    calls: Vec<Made>,
    runs: Arc<Mutex<Vec<Run>>>,
    /// Who is cut off, and until when.
    parted: Vec<(Instant, Who)>,
    /// How much later than it should something may come, because somebody stood still.
    slack: Duration,
    /// Requests may lie unread for long at a server that takes few calls at a time, and what travels is the time that is
    /// left and not the time that it is.
    may_lie_unread: bool,
    complaints: Vec<String>,
}

struct ServerOf {
    server: SimServer,
    /// When a server that leaves has to be gone.
    gone_by: Option<Instant>,
}

#[derive(Clone, Copy)]
enum Who {
    Server(usize),
    Client(usize),
}

/// A call that was made.
struct Made {
    note: Note,
    kind: Kind,
    start: Instant,
    timeout: Duration,
    ended: Started<(Instant, Result<Note, Status>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Must not run twice.
    Ask,
    /// May run twice.
    Read,
    /// Is never answered.
    Tell,
}

/// A handler that began to run.
struct Run {
    number: u64,
    at: Instant,
    /// Whether what the server takes for its deadline was over then.
    is_late: bool,
}

/// Numbers from the seed, apart from those that the simulation draws.
struct Dice(Random);

impl Dice {
    fn below(&self, below: u64) -> u64 {
        self.0.next_u64() % below.max(1)
    }

    fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn millis(&self, from: u64, to: u64) -> Duration {
        self.0.between(ms(from), ms(to))
    }

    fn pick(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

/// The longest that a request is on its way, behind long ones and over a narrow connection too. What travels is the
/// time that was left when it set out.
const TRANSIT: Duration = ms(3_000);
/// How long after the grace time the last words of a server may take.
const LAST_WORDS: Duration = ms(300);

impl World {
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let dice = Dice(Random::seeded(seed ^ 0x7e12_4e57));
        let least = dice.millis(0, 30);
        let mut sim = Sim::seeded(seed).latency(least..least + dice.millis(1, 70));
        if let Some(fault) = fault {
            sim = sim.plant(fault);
        }
        if dice.once_in(2) || fault.is_some() {
            sim = sim.stalls(2 + dice.below(20), ms(1)..dice.millis(2, 2_000));
        }
        let runs = Arc::<Mutex<Vec<Run>>>::default();
        let mut world = Self {
            servers: Vec::new(),
            clients: Vec::new(),
            calls: Vec::new(),
            parted: Vec::new(),
            slack: Duration::ZERO,
            may_lie_unread: false,
            complaints: Vec::new(),
            sim,
            dice,
            runs,
        };
        for _ in 0..=world.dice.below(3) {
            world.add_server();
        }
        for _ in 0..=world.dice.below(4) {
            world.add_client(seed);
        }
        world
    }

    fn add_server(&mut self) {
        let (dice, clock) = (&self.dice, self.sim.clock().clone());
        let runs = Arc::clone(&self.runs);
        let mut mount = desk(move |cx, note| {
            // By the world's clock, whatever the server's says.
            let at = clock.now();
            runs.lock().unwrap().push(Run {
                number: note.number,
                at,
                is_late: cx.deadline().is_some_and(|deadline| deadline.is_over(at)),
            });
            handle(cx, note)
        });
        match dice.below(4) {
            0 => mount = mount.inline(),
            1 => {
                let permits = 1 + dice.pick(8);
                mount = mount.on(&self.sim.pool("small", permits));
            }
            _ => {}
        }
        if dice.once_in(4) {
            mount = mount.timeout(dice.millis(20, 500));
        }
        let mut limits = Limits::default();
        if dice.once_in(4) {
            limits = limits.with_connection_calls_max(1 + dice.pick(8));
            self.may_lie_unread = true;
        }
        let builder = Server::builder().limits(limits).service(mount);
        let server = self.sim.server(builder);
        self.servers.push(ServerOf {
            server,
            gone_by: None,
        });
    }

    fn add_client(&mut self, seed: u64) {
        let servers: Vec<_> = self.servers.iter().map(|server| server.server).collect();
        let connections = 1 + self.dice.pick(3);
        let attempts = 1 + 2 * u32::try_from(self.dice.below(2)).unwrap();
        let client = self.sim.client_of(&servers, |builder| {
            let retry = Retry::budget(0.1)
                .attempts_max(attempts)
                .backoff(Backoff::default().first(ms(10)))
                .seeded(seed);
            builder.connections_per_endpoint(connections).filter(retry)
        });
        self.clients.push(client);
    }

    /// Makes all calls, and lets everything happen meanwhile.
    fn live(&mut self) {
        let chaos = 10 + self.dice.below(60);
        let pace = self.dice.millis(1, 20);
        for number in 0..CALLS {
            self.call(number);
            if self.dice.once_in(chaos) {
                self.disturb();
            }
            let pause = self.dice.0.between(Duration::ZERO, pace);
            self.pass(pause);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.sim.advance(time);
        let now = self.sim.now();
        let (over, parted) = self.parted.drain(..).partition(|(until, _)| *until <= now);
        self.parted = parted;
        let over: Vec<(Instant, Who)> = over;
        for (_, who) in over {
            match who {
                Who::Server(place) => self.sim.reach(&self.servers[place].server),
                Who::Client(place) => self.sim.reach(&self.clients[place]),
            }
        }
        for place in 0..self.servers.len() {
            self.check_leaving(place);
        }
    }

    fn call(&mut self, number: u64) {
        let dice = &self.dice;
        let place = dice.pick(self.clients.len());
        let client = DeskClient::new(self.clients[place].clone());
        let text = match dice.below(1_000) {
            0..5 => "panic".to_owned(),
            5..25 => format!("sleep {}", 1_000 + dice.below(3_000)),
            25..105 => format!("sleep {}", 50 + dice.below(250)),
            105..300 => format!("sleep {}", 1 + dice.below(20)),
            300..320 => format!("note {}", "long ".repeat(dice.pick(4_000))),
            _ => format!("note {}", "short ".repeat(dice.pick(20))),
        };
        let note = Note { number, text };
        let timeout = match dice.below(10) {
            0 => dice.millis(1, 50),
            1..4 => dice.millis(50, 500),
            _ => dice.millis(500, 3_000),
        };
        let (kind, call) = match dice.below(8) {
            0 | 1 => (Kind::Read, client.read(note.clone())),
            2 => (Kind::Tell, client.ask(note.clone())),
            _ => (Kind::Ask, client.ask(note.clone())),
        };
        let call = call.timeout(timeout);
        let clock = self.sim.clock().clone();
        let start = clock.now();
        let told = note.clone();
        let ended = self.sim.start(async move {
            let result = match kind {
                Kind::Tell => call.one_way().await.map(|()| told),
                Kind::Ask | Kind::Read => call.await,
            };
            (clock.now(), result)
        });
        self.calls.push(Made {
            note,
            kind,
            start,
            timeout,
            ended,
        });
    }

    /// Something goes wrong.
    fn disturb(&mut self) {
        let place = self.dice.pick(self.servers.len());
        let client = self.dice.pick(self.clients.len());
        let server = self.servers[place].server;
        match self.dice.below(14) {
            _ if !self.sim.is_up(server) => {
                self.servers[place].gone_by = None;
                self.sim.restart(server);
            }
            0 | 1 => {
                self.servers[place].gone_by = None;
                self.sim.kill(server);
            }
            // What a leaving server's FIN says must be true, and a crash does not care: left to the operating system.
            2 if self.servers[place].gone_by.is_none() => self.sim.hang_up(server),
            3 | 4 => self.drain(place),
            5 => self.sim.cut(&server),
            6 => self.sim.cut(&self.clients[client]),
            7 => self.part(Who::Server(place)),
            8 => self.part(Who::Client(client)),
            9 => {
                let time = self.standstill(3_000);
                self.sim.pause(&server, time);
            }
            10 => {
                let time = self.standstill(500);
                self.sim.pause(&self.clients[client], time);
            }
            11 | 12 => self.resolve(client),
            _ => {
                let time = self.dice.millis(1, 5_000);
                self.sim.stall(server, time);
            }
        }
    }

    /// Who says where the service answers tells one client of some servers only.
    fn resolve(&mut self, client: usize) {
        let dice = &self.dice;
        let all = self.servers.iter().map(|of| of.server);
        let mut some: Vec<_> = all.filter(|_| dice.once_in(2)).collect();
        if some.is_empty() {
            some.push(self.servers[0].server);
        }
        self.sim.endpoints(&self.clients[client], &some);
    }

    fn drain(&mut self, place: usize) {
        let close_wait = self.dice.millis(0, 300);
        let grace = close_wait + self.dice.millis(0, 2_000);
        let of = &mut self.servers[place];
        if of.gone_by.is_none() {
            of.gone_by = Some(self.sim.now() + grace + LAST_WORDS);
            self.sim.drain_within(of.server, close_wait, grace);
        }
    }

    fn part(&mut self, who: Who) {
        let time = self.standstill(3_000);
        match who {
            Who::Server(place) => self.sim.part(&self.servers[place].server),
            Who::Client(place) => self.sim.part(&self.clients[place]),
        }
        self.parted.push((self.sim.now() + time, who));
    }

    /// So long somebody does nothing, which excuses others.
    fn standstill(&mut self, most: u64) -> Duration {
        let time = self.dice.millis(1, most);
        self.slack += time;
        time
    }

    /// All is well again from here on.
    fn heal(&mut self) {
        // The longest call, and the longest standstill.
        for _ in 0..80 {
            self.pass(ms(100));
        }
        for place in 0..self.servers.len() {
            let server = self.servers[place].server;
            if self.servers[place].gone_by.take().is_some() || !self.sim.is_up(server) {
                self.sim.restart(server);
            }
        }
        let servers: Vec<_> = self.servers.iter().map(|of| of.server).collect();
        for client in &self.clients {
            self.sim.endpoints(client, &servers);
        }
        self.pass(ms(1));
    }

    fn check_leaving(&mut self, place: usize) {
        let of = &self.servers[place];
        let is_late = of
            .gone_by
            .is_some_and(|at| self.sim.now() > at + self.slack);
        if is_late && self.sim.is_up(of.server) {
            self.complain(format!("I7: server {place} does not end"));
            self.servers[place].gone_by = None;
        }
    }

    fn check_calls(&mut self) {
        for made in std::mem::take(&mut self.calls) {
            let number = made.note.number;
            let Some((at, result)) = self.sim.result(&made.ended) else {
                self.complain(format!("R4: call {number} never ended"));
                continue;
            };
            let deadline = made.start + made.timeout;
            if at > deadline + ms(2) + self.slack {
                self.complain(format!("R4: call {number} ended long after its deadline"));
            }
            match &result {
                Ok(_) if at > deadline => {
                    let late = at - deadline;
                    self.complain(format!("I11: call {number} was answered {late:?} late"));
                }
                Ok(reply) if *reply != made.note => {
                    self.complain(format!(
                        "I2: call {number} got the answer of {}",
                        reply.number
                    ));
                }
                Ok(_) if made.note.text == "panic" && made.kind != Kind::Tell => {
                    self.complain(format!("R12: call {number} panicked and was answered"));
                }
                Err(status) if !is_possible(status, &made.note) => {
                    self.complain(format!("call {number} failed by {status:?}"));
                }
                _ => {}
            }
            self.check_runs(&made, &result);
        }
    }

    fn check_runs(&mut self, made: &Made, result: &Result<Note, Status>) {
        let number = made.note.number;
        let runs = Arc::clone(&self.runs);
        let runs = runs.lock().unwrap();
        let runs: Vec<_> = runs.iter().filter(|run| run.number == number).collect();
        let last = made.start + made.timeout + TRANSIT + self.slack;
        let is_late = |run: &Run| run.is_late || (run.at > last && !self.may_lie_unread);
        if let Some(run) = runs.iter().find(|run| is_late(run)) {
            let late = run.at - made.start;
            self.complain(format!(
                "I3: call {number} of {:?} was run after {late:?}",
                made.timeout
            ));
        }
        let may_run_twice = made.kind == Kind::Read;
        if runs.len() > 1 && !may_run_twice {
            self.complain(format!(
                "I4: call {number} was run {} times: {result:?}",
                runs.len()
            ));
        }
        if runs.is_empty() && result.is_ok() && made.kind != Kind::Tell {
            self.complain(format!("I1: call {number} was answered and not run"));
        }
        let is_refused =
            |status: &Status| matches!(status.code(), Code::Overloaded | Code::Unreachable);
        if !runs.is_empty() && !may_run_twice && result.as_ref().is_err_and(is_refused) {
            self.complain(format!("R5: call {number} was refused and run: {result:?}"));
        }
    }

    /// In a world that is well calls succeed before long, and from then on.
    fn check_life(&mut self) {
        for place in 0..self.clients.len() {
            let mut answered = 0;
            for number in 0..100 {
                let client = DeskClient::new(self.clients[place].clone());
                let note = Note {
                    number: CALLS + number,
                    text: "note".to_owned(),
                };
                let call = self.sim.start(client.read(note).timeout(ms(2_500)));
                match self.sim.finish(&call) {
                    Ok(_) => answered += 1,
                    Err(status) if answered > 3 && !is_busy(&status) => {
                        self.complain(format!("in a world that is well, a call fails: {status:?}"));
                    }
                    Err(_) => self.sim.advance(ms(300)),
                }
                if answered == 10 {
                    break;
                }
            }
            if answered < 10 {
                self.complain(format!("client {place} does not come back to life"));
            }
        }
    }

    /// When nobody calls any more, nothing is left.
    fn check_rest(&mut self) {
        self.sim.advance(ms(10_000));
        // A server that takes one call at a time may have many before it that nobody waits for.
        for _ in 0..CALLS * 3 {
            if self.servers.iter().any(|of| self.sim.calls(&of.server) > 0) {
                self.sim.advance(ms(1_000));
            }
        }
        let complaints = self.sim.complaints();
        self.complaints.extend(complaints);
        for place in 0..self.servers.len() {
            let server = self.servers[place].server;
            let left = (self.sim.jobs(server), self.sim.calls(&server));
            if left != (0, 0) {
                self.complain(format!("I5: server {place} has {left:?} jobs and calls"));
            }
        }
        for place in 0..self.clients.len() {
            let left = self.sim.calls(&self.clients[place]);
            if left != 0 {
                self.complain(format!("I5: client {place} has {left} calls"));
            }
        }
        // By now idle connections have been closed.
        self.sim.advance(ms(120_000));
        let servers = self
            .servers
            .iter()
            .map(|of| (of.server.number(), left(&self.sim, &of.server)));
        let clients = self
            .clients
            .iter()
            .map(|client| (client.number(), left(&self.sim, client)));
        let busy: Vec<_> = servers
            .chain(clients)
            .filter(|(_, left)| *left != (0, false))
            .collect();
        for (process, left) in busy {
            self.complain(format!(
                "I5: process {process} has {left:?} connections and timers"
            ));
        }
    }

    fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }
}

fn left(sim: &Sim, process: &impl rpc_testing::Process) -> (usize, bool) {
    (sim.connections(process), sim.next_timer(process).is_some())
}

/// Does what the note says, then sends it back.
fn handle(cx: &Context, note: Note) -> Answer<'_> {
    Box::pin(async move {
        if note.text == "panic" {
            // As a panic does, but without a word on the console.
            panic::resume_unwind(Box::new("on purpose"));
        }
        if let Some(millis) = note.text.strip_prefix("sleep ") {
            cx.sleep(ms(millis.parse().unwrap())).await;
        }
        Ok(note)
    })
}

/// Whether a call may fail like that in a world in which everything goes wrong.
fn is_possible(status: &Status, note: &Note) -> bool {
    match status.code() {
        Code::Internal => note.text == "panic" || status.message() == "the server is closing",
        Code::DeadlineExceeded
        | Code::ServerTimeout
        | Code::Overloaded
        | Code::Unreachable
        | Code::ConnectionLost => true,
        _ => false,
    }
}

/// Whether that can happen where all is well, to a server with little room and little time.
fn is_busy(status: &Status) -> bool {
    matches!(status.code(), Code::Overloaded | Code::ServerTimeout)
}
