//! The server's driver, and clients that send the same again and again.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rpc_net::mailbox::Mailbox;
use rpc_net::{Engine, Key, Origin, Post};
use tern::server::driver::ServerDriver;
use tern::{Clock, Concurrency, Executor, Job, ManualClock, RateLimit, ServeError, Server, Spawn};

use super::{Case, Memory, STEP, Serving, Steps};
use crate::echo::{EchoServer, Echoing};
use crate::framework::{Checked, Counted, Metrics, Timed};
use crate::load::Wire;
use crate::load::trpc::Trpc;

/// The time that callers give, where the deadline is part of what is measured.
const TIMEOUT_MS: u32 = 5_000;
/// Turns in which a request is read, its job is queued, and its answer is written, at most.
const TURNS_MAX: usize = 8;

/// A loop with its connections.
pub(super) struct Stepped {
    engine: Engine<ServerDriver, Memory>,
    keys: Vec<Key>,
    hand: ManualClock,
    queue: Queue,
    requests: Vec<u8>,
    /// What each connection has to answer, after the first time.
    answers: Vec<u8>,
    running: Vec<Job>,
}

impl Stepped {
    pub(super) fn new(case: Case, serving: Serving) -> Result<Self, Box<dyn Error>> {
        let (clock, hand) = Clock::manual();
        let queue = Queue::default();
        // The loop takes a turn whether it is called or not.
        let (mailbox, sender) = Mailbox::new(Arc::new(|| {}));
        let post = Post::new(sender);
        let driver = driver(serving, &queue, clock, post.clone())?;
        let mut engine = Engine::new(driver, mailbox, Arc::new(post), hand.now(), Arc::default());
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let keys = (0..case.connections)
            .map(|_| {
                engine
                    .adopt(Memory::default(), peer, Origin::Accepted)
                    .ok_or("a connection was turned away")
            })
            .collect::<Result<_, _>>()?;
        let timeout_ms = if serving == Serving::Framework {
            TIMEOUT_MS
        } else {
            0
        };
        let mut client = Trpc::new("Echo", case.payload, timeout_ms);
        let mut requests = Vec::new();
        (0..case.in_flight).for_each(|slot| client.request(slot as u32, &mut requests));
        let mut stepped = Self {
            engine,
            keys,
            hand,
            queue,
            requests,
            answers: Vec::new(),
            running: Vec::new(),
        };
        stepped.learn_answers(case, client)?;
        Ok(stepped)
    }

    /// What comes the first time is judged as the load judges it; from then on it must be the same.
    fn learn_answers(&mut self, case: Case, mut client: Trpc) -> Result<(), Box<dyn Error>> {
        self.serve();
        let first = *self.keys.first().ok_or("there is no connection")?;
        let wire = self
            .engine
            .wire_mut(first)
            .ok_or("a connection was closed")?;
        self.answers = wire.written().to_vec();
        let mut answered = Vec::new();
        let used = client.receive(&self.answers, &mut answered, &mut Vec::new())?;
        answered.sort_unstable();
        if used != self.answers.len() || !answered.iter().copied().eq(0..case.in_flight as u32) {
            return Err("not every request was answered once".into());
        }
        self.check()
    }

    /// Lets the requests of each connection come, and takes turns until nothing is left to do.
    fn serve(&mut self) {
        for key in &self.keys {
            if let Some(wire) = self.engine.wire_mut(*key) {
                wire.put(&self.requests);
            }
            self.engine.readable(*key, false);
        }
        self.hand.advance(STEP);
        for _ in 0..TURNS_MAX {
            self.engine.turn(self.hand.now());
            self.queue.take(&mut self.running);
            if self.running.is_empty() && !self.engine.has_work() {
                return;
            }
            self.running.drain(..).for_each(Job::run);
        }
    }

    fn check(&mut self) -> Result<(), Box<dyn Error>> {
        for key in &self.keys {
            let wire = self
                .engine
                .wire_mut(*key)
                .ok_or("a connection was closed")?;
            if wire.written() != self.answers {
                return Err("an answer is missing, or another than the first time".into());
            }
            wire.clear();
        }
        Ok(())
    }
}

impl Steps for Stepped {
    fn step(&mut self) -> Result<(), Box<dyn Error>> {
        self.serve();
        self.check()
    }
}

impl fmt::Debug for Stepped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepped")
            .field("connections", &self.keys.len())
            .finish_non_exhaustive()
    }
}

fn driver(
    serving: Serving,
    queue: &Queue,
    clock: Clock,
    post: Post<tern::server::driver::Mail>,
) -> Result<ServerDriver, ServeError> {
    let pool = Executor::new("worker", queue.clone(), 65_536);
    let builder = Server::builder().pool(&pool).clock(clock);
    let service = EchoServer::new(Echoing);
    match serving {
        Serving::Inline => Ok(builder.service(service.inline()).into_driver()?(post)),
        Serving::Pool => Ok(builder.service(service).into_driver()?(post)),
        Serving::Framework => {
            let builder = builder
                .admit(RateLimit::per_second(100_000_000).burst(10_000_000))
                .observer(Metrics::default())
                .filter(Counted::default())
                .filter(Timed::default())
                .filter(Concurrency::max(65_536))
                .filter(Checked);
            Ok(builder.service(service.inline()).into_driver()?(post))
        }
    }
}

/// A pool without threads: its jobs lie here until they are taken.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<Vec<Job>>>);

impl Queue {
    fn take(&self, into: &mut Vec<Job>) {
        into.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Spawn for Queue {
    fn spawn(&self, batch: &mut Vec<Job>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(batch);
    }
}
