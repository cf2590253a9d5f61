//! The load: one thread, one poller, requests built beforehand, every answer checked.
//!
//! Closed loop: each connection has a fixed number of calls in flight, and an answer brings the next request. This finds
//! out how much a server can do; its latencies are those of the queue that it makes itself.
//!
//! Open loop: requests are due at a fixed rate, whatever the server does. A call's latency counts from the time at which
//! it was due, so a server that stalls pays for all the calls that it kept from being made ("coordinated omission").
//!
//! # Layout
//!
//! * `wire` – [`Wire`]: one connection of a protocol, as bytes
//! * [`raw`], [`trpc`], [`grpc`], [`tarpc`], [`thrift`] – the protocols; `message` – what two of them carry; `frames` –
//!   what four of them have in common
//! * `connection` – a socket, a wire and the calls in flight

mod connection;
mod frames;
pub mod grpc;
mod message;
pub mod raw;
pub mod tarpc;
pub mod thrift;
pub mod trpc;
mod wire;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use tern::Clock;

use self::connection::Connection;
pub use self::wire::{Answers, LoadError, Wire};

/// How long a server may take until it is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// One buffer for all connections.
const BUFFER: usize = 256 * 1024;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Frames of sixteen bytes and a payload.
    Raw,
    /// tRPC; 0 milliseconds are no deadline.
    Trpc {
        /// The time that each call is given.
        timeout_ms: u32,
    },
    /// gRPC over HTTP/2 without TLS.
    Grpc,
    /// tarpc over TCP with bincode.
    Tarpc,
    /// Thrift in framed binary.
    Thrift,
}

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What is spoken.
    pub protocol: Protocol,
    /// The method of the service that is called.
    pub method: &'static str,
    /// Connections.
    pub connections: usize,
    /// Calls in flight on each at most.
    pub in_flight: usize,
    /// Bytes of payload in each request and each answer.
    pub payload: usize,
    /// When requests are due.
    pub pace: Pace,
}

/// When requests are due.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// When one is answered.
    Closed,
    /// At a fixed rate, whatever the server does.
    Open {
        /// Requests a second.
        per_second: f64,
    },
}

impl Plan {
    fn wire(&self) -> Box<dyn Wire> {
        match self.protocol {
            Protocol::Raw => Box::new(raw::Raw::new(self.payload)),
            Protocol::Trpc { timeout_ms } => {
                Box::new(trpc::Trpc::new(self.method, self.payload, timeout_ms))
            }
            Protocol::Grpc => Box::new(grpc::Grpc::new(self.method, self.payload, self.in_flight)),
            Protocol::Tarpc => Box::new(tarpc::Tarpc::new(self.payload)),
            Protocol::Thrift => Box::new(thrift::Thrift::new(self.payload)),
        }
    }
}

/// What was measured in one window of time.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Calls that were answered.
    pub requests: u64,
    /// How long the window was.
    pub elapsed: Duration,
    /// Nanoseconds from when a call was sent, or was due, until it was answered.
    pub latency: Histogram<u64>,
}

impl Outcome {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency in microseconds that this part of the calls did not exceed.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// Connections to a server that is measured. Calls stay in flight between two windows, so a second one begins warm.
pub struct Load {
    plan: Plan,
    clock: Clock,
    begin: Instant,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    answers: Answers,
    /// The connection that the next request of an open loop goes to.
    turn: usize,
    /// When requests of an open loop were due that found no place.
    backlog: VecDeque<u64>,
    latency: Histogram<u64>,
    requests: u64,
    last_answer: u64,
}

impl Load {
    /// Connects as often as the plan says.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached.
    pub fn connect(address: SocketAddr, plan: Plan) -> Result<Self, LoadError> {
        let poll = Poll::new()?;
        let clock = Clock::system();
        let connections = (0..plan.connections)
            .map(|index| {
                Connection::open(
                    address,
                    plan.wire(),
                    plan.in_flight,
                    Token(index),
                    poll.registry(),
                )
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            plan,
            begin: clock.now(),
            clock,
            poll,
            events: Events::with_capacity(1024),
            connections,
            buffer: vec![0; BUFFER],
            answers: Answers::new(),
            turn: 0,
            backlog: VecDeque::new(),
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these are bounds"),
            requests: 0,
            last_answer: 0,
        })
    }

    /// Makes calls for that long.
    ///
    /// # Errors
    ///
    /// When one is not answered as it should be, or the server falls silent.
    pub fn run(&mut self, window: Duration) -> Result<Outcome, LoadError> {
        let start = self.now();
        let until = start + nanos(window);
        self.last_answer = start;
        match self.plan.pace {
            Pace::Closed => self.run_closed(until)?,
            Pace::Open { per_second } => self.run_open(start, until, 1e9 / per_second)?,
        }
        Ok(self.take_outcome(start))
    }

    /// Makes one call on each connection and waits for the answers.
    ///
    /// # Errors
    ///
    /// Those of [`Load::run`].
    pub fn once(&mut self) -> Result<Outcome, LoadError> {
        let start = self.now();
        self.last_answer = start;
        for index in 0..self.connections.len() {
            self.connections[index].request(start);
            self.connections[index].flush()?;
        }
        self.finish()?;
        Ok(self.take_outcome(start))
    }

    /// Waits for the answers to all calls in flight.
    ///
    /// # Errors
    ///
    /// Those of [`Load::run`].
    pub fn finish(&mut self) -> Result<(), LoadError> {
        self.backlog.clear();
        self.last_answer = self.now();
        while self
            .connections
            .iter()
            .any(|connection| connection.in_flight() > 0)
        {
            self.turn(Some(Duration::from_millis(100)), |_, _| {})?;
        }
        Ok(())
    }

    fn run_closed(&mut self, until: u64) -> Result<(), LoadError> {
        let now = self.now();
        for connection in &mut self.connections {
            while connection.request(now) {}
            connection.flush()?;
        }
        while self.now() < until {
            self.turn(Some(Duration::from_millis(20)), |connection, now| {
                while connection.request(now) {}
            })?;
        }
        Ok(())
    }

    /// Never sleeps: the poller's milliseconds would be the largest part of what is measured.
    fn run_open(&mut self, start: u64, until: u64, interval: f64) -> Result<(), LoadError> {
        let mut sent = 0_u64;
        let mut next_at = start;
        loop {
            self.turn(Some(Duration::ZERO), |_, _| {})?;
            let now = self.now();
            if now >= until {
                return Ok(());
            }
            while next_at <= now {
                self.backlog.push_back(next_at);
                sent += 1;
                next_at = start + (sent as f64 * interval) as u64;
            }
            self.send_backlog()?;
        }
    }

    fn send_backlog(&mut self) -> Result<(), LoadError> {
        let mut full = 0;
        while let Some(due) = self.backlog.front()
            && full < self.connections.len()
        {
            let connection = &mut self.connections[self.turn];
            if connection.request(*due) {
                self.backlog.pop_front();
                full = 0;
            } else {
                full += 1;
            }
            self.turn = (self.turn + 1) % self.connections.len();
        }
        for connection in &mut self.connections {
            connection.flush()?;
        }
        Ok(())
    }

    /// Takes what has arrived. `answered` may make further calls on a connection that has got answers.
    fn turn(
        &mut self,
        timeout: Option<Duration>,
        answered: impl Fn(&mut Connection, u64),
    ) -> Result<(), LoadError> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &self.events {
            let connection = &mut self.connections[event.token().0];
            if event.is_writable() {
                connection.unblock();
            }
            while event.is_readable() {
                let is_drained = connection.receive(&mut self.buffer, &mut self.answers)?;
                let now = nanos(self.clock.now().saturating_duration_since(self.begin));
                for slot in self.answers.drain(..) {
                    let since = connection.answered(slot)?;
                    self.latency
                        .saturating_record(now.saturating_sub(since).max(1));
                    self.requests += 1;
                    self.last_answer = now;
                }
                answered(connection, now);
                connection.flush()?;
                if is_drained {
                    break;
                }
            }
            connection.flush()?;
        }
        let silence = self.now().saturating_sub(self.last_answer);
        if silence > nanos(PATIENCE) {
            return Err(LoadError::Silence);
        }
        Ok(())
    }

    fn take_outcome(&mut self, start: u64) -> Outcome {
        let outcome = Outcome {
            requests: self.requests,
            elapsed: Duration::from_nanos(self.now() - start),
            latency: self.latency.clone(),
        };
        self.latency.reset();
        self.requests = 0;
        outcome
    }

    /// Nanoseconds since the beginning.
    fn now(&self) -> u64 {
        nanos(self.clock.now().saturating_duration_since(self.begin))
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
