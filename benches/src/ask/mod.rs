//! The asking end as it is measured: a client in a process of its own, in one of several styles.
//!
//! It makes calls in a closed loop while it is told to, and says how many and how long they took. What it costs is looked
//! at from outside, as with servers.
//!
//! # Layout
//!
//! * [`ours`] – Tern's client, as its users write; `lanes` – a small executor, as they may have one
//! * [`grpc`] – tonic's
//! * [`control`] – how a bench tells the process what to do

pub mod control;
pub mod grpc;
mod lanes;
pub mod ours;

use std::error::Error;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tern::{Bytes, Clock};

use crate::echo::EchoMessage;

/// How calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Tern: futures on one thread, polled by a small executor.
    Async,
    /// Tern: the same, on the thread of the event loop.
    Local,
    /// Tern: tasks of tokio's current_thread runtime.
    Tokio,
    /// Tern: as many threads as there are calls in flight, each waits for its own.
    Blocking,
    /// Tern: one thread makes a batch of calls and waits for all of it.
    Pipelined,
    /// tonic: tasks of tokio's current_thread runtime.
    Tonic,
}

impl Style {
    /// Every style, in the order of the tables.
    pub const ALL: [Self; 6] = [
        Self::Async,
        Self::Local,
        Self::Tokio,
        Self::Blocking,
        Self::Pipelined,
        Self::Tonic,
    ];

    /// How tables and command lines call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Local => "local",
            Self::Tokio => "async-tokio",
            Self::Blocking => "blocking",
            Self::Pipelined => "pipelined",
            Self::Tonic => "tonic",
        }
    }
}

impl FromStr for Style {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|style| style.name() == name);
        named.ok_or_else(|| format!("there is no style `{name}`"))
    }
}

/// What is sent is there already: a client that had to make it would be measured for that, too. No payload is longer.
static PAYLOAD: Bytes = Bytes::from_static(&[0x5a; 1 << 20]);

/// What a client does.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How.
    pub style: Style,
    /// The server's port, on all addresses of this machine.
    pub port: u16,
    /// Connections, each to an address of its own, as to endpoints that are many.
    pub connections: u8,
    /// Calls in flight on each.
    pub in_flight: usize,
    /// Bytes of payload in each request and each answer.
    pub payload: usize,
}

impl Plan {
    fn addresses(self) -> impl Iterator<Item = SocketAddr> {
        (1..=self.connections).map(move |last| (Ipv4Addr::new(127, 0, 0, last), self.port).into())
    }

    fn calls(self) -> usize {
        usize::from(self.connections) * self.in_flight
    }

    fn message(self) -> EchoMessage {
        EchoMessage {
            payload: PAYLOAD.slice(..self.payload),
        }
    }

    fn check(self, reply: &EchoMessage) {
        assert_eq!(reply.payload.len(), self.payload, "a wrong answer");
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached.
    pub fn begin(self) -> Result<Box<dyn Asker>, Box<dyn Error>> {
        Ok(match self.style {
            Style::Async => Box::new(ours::Async::connect(self)?),
            Style::Local => Box::new(ours::Local::connect(self)?),
            Style::Tokio => Box::new(ours::Tokio::connect(self)?),
            Style::Blocking => Box::new(ours::Blocking::connect(self)?),
            Style::Pipelined => Box::new(ours::Pipelined::connect(self)?),
            Style::Tonic => Box::new(grpc::Tonic::connect(self)?),
        })
    }
}

/// Makes calls.
pub trait Asker {
    /// Keeps its calls in flight for that long, then waits for the answers. Panics when a call fails.
    fn ask(&mut self, window: Duration) -> Tally;
}

/// What was measured in one window of time.
pub struct Tally {
    clock: Clock,
    begin: Instant,
    until: Instant,
    latency: Histogram<u64>,
}

impl Tally {
    fn over(window: Duration) -> Self {
        let clock = Clock::system();
        let begin = clock.now();
        Self {
            clock,
            begin,
            until: begin + window,
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these are bounds"),
        }
    }

    /// Notes a call that began at `since`. Says when the next one begins, if there is one.
    fn note(&mut self, since: Instant) -> Option<Instant> {
        let now = self.clock.now();
        let nanos = now.saturating_duration_since(since).as_nanos() as u64;
        self.latency.saturating_record(nanos.max(1));
        (now < self.until).then_some(now)
    }

    fn add(&mut self, other: &Self) {
        self.latency += &other.latency;
    }

    /// What it comes to.
    pub fn report(&self) -> Report {
        let quantile_us = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1000.0;
        let elapsed = self.clock.now().saturating_duration_since(self.begin);
        Report {
            calls: self.latency.len(),
            seconds: elapsed.as_secs_f64(),
            p50_us: quantile_us(0.5),
            p99_us: quantile_us(0.99),
            allocations: 0,
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("calls", &self.latency.len())
            .finish_non_exhaustive()
    }
}

/// What a client says of one window.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// Calls that were answered.
    pub calls: u64,
    /// How long that took.
    pub seconds: f64,
    /// The latency that half of the calls did not exceed.
    pub p50_us: f64,
    /// The latency that 99 of 100 did not exceed.
    pub p99_us: f64,
    /// How often memory was asked for, where that is counted.
    pub allocations: u64,
}
