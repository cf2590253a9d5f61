//! [`Sim`]: both ends on a virtual wire, in virtual time.
//!
//! The drivers, the engine, the protocol machines, policies and timers are those that serve real sockets. What is put in
//! place of others is what they are told about the world: the wires, the clock, the threads that run handlers, and who of
//! them comes first. All of it follows from one number, the seed, so a run that failed can be run again:
//!
//! ```text
//!              one turn at a time, whose is drawn from the seed
//!        ┌────────────────────────┬──────────────────────────┐
//!   processes (engines)      jobs (handlers)           what the test started
//!        │                                                   │
//!        └──── wires ──▶ agenda: arrivals, delays, stalls ◀──┘
//!                              │
//!                     the clock goes to the next entry, or timer
//! ```
//!
//! Nothing here blocks and nothing is run by another thread. A handler that blocks blocks the simulation, and one that
//! [waits](rpc_core::Call::wait) for a call waits for ever: handlers under simulation `.await`.

mod fault;
mod host;
mod net;
mod pool;
mod step;
mod tap;
mod task;
mod trace;

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rpc_client::driver::Mail as ClientMail;
use rpc_client::{Channel, ChannelBuilder};
use rpc_core::filter::Open;
use rpc_core::{
    Clock, Executor, Filter, Forwarding, Job, ManualClock, Request, Response, Service, Status,
};
use rpc_net::Post;
use rpc_policy::Random;
use rpc_policy::balance::{HealthyFirst, LeastLoaded};
use rpc_server::driver::{Mail as ServerMail, ServerDriver};
use rpc_server::{Router, ServeError, ServerBuilder};

pub use fault::Fault;
use host::Host;
use net::{Happening, Net};
use pool::Queue;
pub use task::Started;
use task::Tasks;

/// Both ends on a virtual wire, in virtual time.
///
/// ```
/// # use std::time::Duration;
/// # use rpc_core::{Call, Code, Idempotency, MethodDescriptor, Shape, Raw};
/// # use rpc_server::Router;
/// # use rpc_testing::Sim;
/// # static SAY: MethodDescriptor = MethodDescriptor {
/// #     index: 0, name: "Say", path: "/demo.Nobody/Say", alias: None, service: "demo.Nobody",
/// #     idempotency: Idempotency::Unknown,
/// #     shape: Shape::Unary,
/// #     request: rpc_core::MessageType::UNKNOWN,
/// #     reply: rpc_core::MessageType::UNKNOWN,
/// # };
/// # fn say<S: rpc_core::Service>(service: S) -> Call<S, Raw, Raw> { Call::new(service, &SAY, Raw("hello".into())) }
/// let mut sim = Sim::seeded(7).latency(Duration::from_millis(1)..Duration::from_millis(5));
/// let server = sim.server(Router::new());
/// let channel = sim.client(server);
///
/// assert_eq!(sim.run(say(channel.clone())).unwrap_err().code(), Code::NoMethod);
/// sim.kill(server);
/// sim.advance(Duration::from_millis(5));
/// assert_eq!(sim.run(say(channel)).unwrap_err().code(), Code::Unreachable);
/// ```
pub struct Sim {
    clock: Clock,
    hand: ManualClock,
    net: Net,
    hosts: Vec<Host>,
    servers: Vec<ServerSide>,
    pools: Vec<PoolSide>,
    /// Jobs that a worker may take up now.
    jobs: Vec<Job>,
    tasks: RefCell<Tasks>,
    /// How often a worker is slow, and how slow.
    stalls: Option<(u64, Range<Duration>)>,
}

/// A server of a [`Sim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimServer {
    process: usize,
    place: usize,
}

/// A client of a [`Sim`]: a channel. Clones share it; when the last is gone its connections are closed.
pub struct SimClient<F = Open> {
    process: usize,
    channel: Channel<F>,
    post: Post<ClientMail>,
}

struct ServerSide {
    prepared: Prepared,
    post: Option<Post<ServerMail>>,
    executor: Executor,
    /// The place of its default pool.
    pool: usize,
}

struct PoolSide {
    queue: Queue,
    stalled_until: Option<Instant>,
}

/// So many steps without bytes, time or a result are one that goes on for ever.
const IDLE_STEPS_MAX: u32 = 1_000;
/// So much virtual time without a result is for ever, too.
const RUN_MAX: Duration = Duration::from_secs(600);
/// How many calls the default pool of a server takes, as that of a real one.
const PERMITS: usize = 8_192;
/// As a real server leaves, unless it is told otherwise.
const CLOSE_WAIT: Duration = Duration::from_millis(500);
const GRACE: Duration = Duration::from_secs(10);

impl Sim {
    /// A world without anybody in it. The same seed and the same test give the same run, byte for byte.
    pub fn seeded(seed: u64) -> Self {
        let (clock, hand) = Clock::manual();
        Self {
            net: Net::new(clock.clone(), seed),
            clock,
            hand,
            hosts: Vec::new(),
            servers: Vec::new(),
            pools: Vec::new(),
            jobs: Vec::new(),
            tasks: RefCell::default(),
            stalls: None,
        }
    }

    /// How long bytes are on their way. Default: 0.1 to 1 ms.
    pub fn latency(self, latency: Range<Duration>) -> Self {
        self.net.state().latency = latency;
        self
    }

    /// One in `times` steps of a handler has to wait for so long until a worker takes it up. Default: none.
    pub fn stalls(mut self, times: u64, stall: Range<Duration>) -> Self {
        self.stalls = Some((times, stall));
        self
    }

    /// Plants a bug, to see that a test would notice it.
    pub fn plant(self, fault: Fault) -> Self {
        self.net.state().fault = Some(fault);
        self
    }

    /// Starts a server. A [`Router`] is served with the default settings; a builder may say more. Its addresses, clock,
    /// and number of loops are the simulation's, and so is its default pool.
    ///
    /// # Panics
    ///
    /// When what was mounted, or a setting, is wrong.
    pub fn server(&mut self, server: impl Serve) -> SimServer {
        let (process, place) = (self.hosts.len(), self.servers.len());
        let number =
            u8::try_from(place + 1).expect("a simulation of so many servers takes for ever");
        let mut host = Host::new(SocketAddr::from(([10, 0, 0, number], 8000)));
        if self.net.state().fault == Some(Fault::StandingClock) {
            host.clock = Some(Clock::manual());
        }
        let clock = host
            .clock
            .as_ref()
            .map_or(&self.clock, |(clock, _)| clock)
            .clone();
        let pool = self.pools.len();
        let executor = self.pool("worker", PERMITS);
        let prepared = server
            .prepare(&executor, clock)
            .unwrap_or_else(|error| panic!("{error}"));
        self.hosts.push(host);
        self.servers.push(ServerSide {
            prepared,
            post: None,
            executor,
            pool,
        });
        let server = SimServer { process, place };
        self.restart(server);
        server
    }

    /// A channel to one server, with the default settings.
    pub fn client(&mut self, server: SimServer) -> SimClient {
        self.client_of(&[server], |builder| builder)
    }

    /// A channel to several servers, with the settings that `change` makes.
    pub fn client_of<F: Filter>(
        &mut self,
        servers: &[SimServer],
        change: impl FnOnce(ChannelBuilder) -> ChannelBuilder<F>,
    ) -> SimClient<F> {
        let process = self.hosts.len();
        let number =
            u16::try_from(process).expect("a simulation of so many clients takes for ever");
        let mut host = Host::new(SocketAddr::from(([10, 0, 1, 1], 30_000 + number)));
        let [random, balance] =
            [(); 2].map(|()| Random::seeded(self.net.state().random.next_u64()));
        let builder = Channel::builder("sim")
            // Not the program's: its name differs from build to build, and runs are to be the same.
            .caller("trpc.client.sim.service")
            .balance(HealthyFirst::new(LeastLoaded::new(), balance))
            .random(random);
        let (mailbox, post) = host.mailbox();
        let timer = Arc::new(post.clone());
        let (channel, driver) = change(builder).build_over(post.clone(), timer, self.clock.clone());
        host.start(driver, (mailbox, post.clone()), self.now());
        self.hosts.push(host);
        let client = SimClient {
            process,
            channel,
            post,
        };
        self.endpoints(&client, servers);
        client
    }

    /// Tells a client that its service answers at these servers now, and at no others.
    pub fn endpoints<F>(&mut self, client: &SimClient<F>, servers: &[SimServer]) {
        let addresses: Vec<_> = servers.iter().map(|server| self.address(server)).collect();
        // Who has ended need not be told.
        let _ = client.post.send(ClientMail::endpoints(addresses));
    }

    /// A pool for services to be mounted on. Its jobs run when the seed says so.
    pub fn pool(&mut self, name: &str, permits: usize) -> Executor {
        let queue = Queue::default();
        let executor = queue.executor(name, permits);
        self.pools.push(PoolSide {
            queue,
            stalled_until: None,
        });
        executor
    }

    /// Starts something: a call, or any other future. It goes on when time [advances](Sim::advance).
    pub fn start<F>(&mut self, what: F) -> Started<F::Output>
    where
        F: IntoFuture,
        F::IntoFuture: 'static,
    {
        self.tasks.get_mut().start(what.into_future())
    }

    /// Lets time pass until `what` has a result.
    ///
    /// # Panics
    ///
    /// When it has none after ten virtual minutes.
    pub fn run<F>(&mut self, what: F) -> F::Output
    where
        F: IntoFuture,
        F::IntoFuture: 'static,
    {
        let started = self.start(what);
        self.finish(&started)
    }

    /// Lets time pass until what was started has a result.
    ///
    /// # Panics
    ///
    /// When it has none after ten virtual minutes, or its result was taken.
    pub fn finish<T>(&mut self, started: &Started<T>) -> T {
        let until = self.now() + RUN_MAX;
        loop {
            self.settle();
            if let Some(result) = self.result(started) {
                return result;
            }
            match self.next_at().filter(|at| *at <= until) {
                Some(at) => self.set_time(at),
                None => panic!("what was started has no result, and will have none"),
            }
        }
    }

    /// Takes the result of what was started; `None` if there is none yet.
    pub fn result<T>(&self, started: &Started<T>) -> Option<T> {
        started.result.borrow_mut().take()
    }

    /// Drops what was started, wherever it is.
    pub fn forget<T>(&mut self, started: &Started<T>) {
        self.tasks.get_mut().forget(started.number);
    }

    /// Lets time pass, and all that happens in it happen.
    ///
    /// # Panics
    ///
    /// When a loop turns without end while nothing happens.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now() + by;
        self.settle();
        while let Some(at) = self.next_at().filter(|at| *at <= until) {
            self.set_time(at);
            self.settle();
        }
        self.set_time(until);
        self.settle();
    }

    /// The time by the clock of this world.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The clock of this world.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Tells a server to leave as a real one does by default: 500 ms of accepting, 10 s all in all.
    pub fn drain(&mut self, server: SimServer) {
        self.drain_within(server, CLOSE_WAIT, GRACE);
    }

    /// Tells a server to leave: to accept for `close_wait`, and to be gone after `grace`.
    pub fn drain_within(&mut self, server: SimServer, close_wait: Duration, grace: Duration) {
        let grace_over = self.now() + grace;
        self.net.state().leaves(server.process, grace_over);
        self.tell(server, ServerMail::drain(close_wait, grace));
    }

    /// Tells a server to leave at once.
    pub fn stop(&mut self, server: SimServer) {
        let now = self.now();
        self.net.state().leaves(server.process, now);
        self.tell(server, ServerMail::stop());
    }

    /// Ends a server as a crash does: its connections are reset, and who connects is refused.
    pub fn kill(&mut self, server: SimServer) {
        self.cut(&server);
        self.hang_up(server);
    }

    /// Ends a server as a crash does when nothing lies unread: its connections are closed without a word, and who
    /// connects is refused.
    pub fn hang_up(&mut self, server: SimServer) {
        self.net.state().close_all(server.process);
        let host = &mut self.hosts[server.process];
        host.is_listening = false;
        host.news.clear();
        host.readiness.clear();
        if let Some(mut engine) = host.engine.take() {
            engine.stop();
        }
        self.servers[server.place].post = None;
    }

    /// Starts a server that has ended anew, at the same address; one that has not is killed first.
    pub fn restart(&mut self, server: SimServer) {
        self.kill(server);
        let now = self.now();
        self.net.state().begins(server.process);
        let host = &mut self.hosts[server.process];
        let (mailbox, post) = host.mailbox();
        let side = &mut self.servers[server.place];
        let driver = (side.prepared.make)(post.clone());
        side.post = Some(post.clone());
        let time = host.time(now);
        host.start(driver, (mailbox, post), time);
        host.is_listening = true;
    }

    /// Lets a process stand still, as a machine that is too busy does.
    pub fn pause(&mut self, process: &impl Process, duration: Duration) {
        let until = self.now() + duration;
        self.hosts[process.number()].paused_until = Some(until);
        self.net.state().schedule(until, Happening::Wake);
    }

    /// Lets the workers of a server's default pool stand still.
    pub fn stall(&mut self, server: SimServer, duration: Duration) {
        let until = self.now() + duration;
        let pool = self.servers[server.place].pool;
        self.pools[pool].stalled_until = Some(until);
        self.net.state().schedule(until, Happening::Wake);
    }

    /// Resets all connections of a process. It goes on.
    pub fn cut(&mut self, process: &impl Process) {
        let told = self.net.state().reset_all(process.number());
        for readiness in told {
            self.hosts[readiness.process].readiness.push(readiness);
        }
    }

    /// Lets nothing reach or leave a process until it is [reached](Sim::reach) again. Nobody is told.
    pub fn part(&mut self, process: &impl Process) {
        self.net.state().cut_off(process.number());
    }

    /// Ends what [`Sim::part`] began. What was sent meanwhile arrives.
    pub fn reach(&mut self, process: &impl Process) {
        self.net.state().reach(process.number());
    }

    /// Whether a server is there: it has been started and has not ended.
    pub fn is_up(&self, server: SimServer) -> bool {
        self.hosts[server.process].engine.is_some()
    }

    /// The address of a process.
    pub fn address(&self, process: &impl Process) -> SocketAddr {
        self.hosts[process.number()].address
    }

    /// How often somebody asked a process for a connection.
    pub fn knocks(&self, process: &impl Process) -> usize {
        self.hosts[process.number()].knocks
    }

    /// How many connections a process has.
    pub fn connections(&self, process: &impl Process) -> usize {
        self.hosts[process.number()]
            .connections
            .load(Ordering::SeqCst)
    }

    /// How many calls a process has under way.
    pub fn calls(&self, process: &impl Process) -> usize {
        let engine = &self.hosts[process.number()].engine;
        engine.as_ref().map_or(0, |engine| engine.calls())
    }

    /// How many calls wait or run on a server's default pool.
    pub fn jobs(&self, server: SimServer) -> usize {
        self.servers[server.place].executor.in_flight()
    }

    /// When a process has something to do next, if nothing new happens.
    pub fn next_timer(&self, process: &impl Process) -> Option<Instant> {
        self.hosts[process.number()].next_at(self.now())
    }

    /// What went over the wires and should not have, as somebody sees it who reads along at the servers: a call that was
    /// answered twice, an answer to nothing, an orderly end with a call unanswered; and, so ask when nothing is under way
    /// any more, a call that was read and never answered.
    pub fn complaints(&self) -> Vec<String> {
        self.net.state().complaints()
    }

    /// How many calls have been read and not answered on connections that live, as who reads along sees it.
    pub fn unanswered(&self) -> usize {
        self.net.state().unanswered()
    }

    /// All that happened as one number: two runs of one seed have the same.
    pub fn trace(&self) -> u64 {
        self.net.state().trace.sum()
    }

    fn tell(&mut self, server: SimServer, mail: ServerMail) {
        if let Some(post) = &self.servers[server.place].post {
            // Who has ended need not be told.
            let _ = post.send(mail);
        }
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("processes", &self.hosts.len())
            .finish_non_exhaustive()
    }
}

impl<F: Filter> Service for SimClient<F> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Status>> + Send {
        self.channel.call(request)
    }

    fn forwarding(&self) -> &Forwarding {
        self.channel.forwarding()
    }
}

impl<F> Clone for SimClient<F> {
    fn clone(&self) -> Self {
        Self {
            process: self.process,
            channel: self.channel.clone(),
            post: self.post.clone(),
        }
    }
}

impl<F> fmt::Debug for SimClient<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimClient")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

/// A process of a simulation: a [`SimServer`] or a [`SimClient`].
pub trait Process {
    /// Its number in the simulation it belongs to.
    fn number(&self) -> usize;
}

impl Process for SimServer {
    fn number(&self) -> usize {
        self.process
    }
}

impl<F> Process for SimClient<F> {
    fn number(&self) -> usize {
        self.process
    }
}

/// What a simulation can serve: a [`Router`], or a [`ServerBuilder`] that says more.
pub trait Serve {
    /// Makes it ready to be started, with this default pool and this clock.
    ///
    /// # Errors
    ///
    /// When what was mounted, or a setting, is wrong.
    fn prepare(self, pool: &Executor, clock: Clock) -> Result<Prepared, ServeError>;
}

impl Serve for Router {
    fn prepare(self, pool: &Executor, clock: Clock) -> Result<Prepared, ServeError> {
        ServerBuilder::from(self).prepare(pool, clock)
    }
}

impl<F: Filter + Clone, Stage: 'static> Serve for ServerBuilder<F, Stage> {
    fn prepare(self, pool: &Executor, clock: Clock) -> Result<Prepared, ServeError> {
        let make = self.pool(pool).clock(clock).into_driver()?;
        Ok(Prepared {
            make: Box::new(make),
        })
    }
}

/// A server that can be started, as often as it is killed. Made by [`Serve::prepare`].
pub struct Prepared {
    make: Box<dyn Fn(Post<ServerMail>) -> ServerDriver>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared")
    }
}
