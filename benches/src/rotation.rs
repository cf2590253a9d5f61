//! The same number of calls in flight, on however many connections: what a connection costs by being there.
//!
//! [`crate::load`] keeps calls in flight on each connection, so more connections are more calls. Here the total stays:
//! each answer brings a request on the next connection in turn, so all of them are used, and used equally often.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{self, SocketAddr};
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tern::Clock;

use crate::load::trpc::Trpc;
use crate::load::{LoadError, Outcome, Wire};

/// How long a server may take until it is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// One buffer for all connections.
const BUFFER: usize = 256 * 1024;

/// Connections that take turns.
pub struct Rotation {
    clock: Clock,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    /// The connection that the next request goes to.
    next: usize,
    buffer: Vec<u8>,
    is_begun: bool,
    in_flight: usize,
}

struct Connection {
    stream: TcpStream,
    wire: Trpc,
    output: Vec<u8>,
    rest: Vec<u8>,
    /// When the call in each slot was made.
    slots: Vec<Option<std::time::Instant>>,
}

impl Rotation {
    /// Connects. `in_flight` calls will be under way, on all connections together.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached.
    pub fn connect(
        address: SocketAddr,
        connections: usize,
        in_flight: usize,
    ) -> Result<Self, LoadError> {
        let poll = Poll::new()?;
        let connections =
            (0..connections).map(|index| Connection::open(address, Token(index), &poll));
        Ok(Self {
            clock: Clock::system(),
            connections: connections.collect::<io::Result<_>>()?,
            poll,
            events: Events::with_capacity(1024),
            next: 0,
            buffer: vec![0; BUFFER],
            is_begun: false,
            in_flight,
        })
    }

    /// Makes calls for that long.
    ///
    /// # Errors
    ///
    /// When one is not answered as it should be, or the server falls silent.
    pub fn run(&mut self, window: Duration) -> Result<Outcome, LoadError> {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.ask(self.in_flight)?;
        }
        let start = self.clock.now();
        let mut outcome = Outcome {
            requests: 0,
            elapsed: Duration::ZERO,
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these are bounds"),
        };
        let mut last_answer = start;
        loop {
            let answered = self.turn(&mut outcome)?;
            let now = self.clock.now();
            if answered > 0 {
                last_answer = now;
            } else if now.saturating_duration_since(last_answer) > PATIENCE {
                return Err(LoadError::Silence);
            }
            self.ask(answered)?;
            outcome.elapsed = now.saturating_duration_since(start);
            if outcome.elapsed >= window {
                return Ok(outcome);
            }
        }
    }

    /// Makes calls for that long, and until each connection has had its turn.
    ///
    /// # Errors
    ///
    /// Those of [`Rotation::run`].
    pub fn warm_up(&mut self, window: Duration) -> Result<(), LoadError> {
        let mut requests = 0;
        while requests < self.connections.len() as u64 {
            requests += self.run(window)?.requests;
        }
        Ok(())
    }

    /// Makes so many calls, each on the next connection, and writes what each connection has at once.
    fn ask(&mut self, calls: usize) -> Result<(), LoadError> {
        let now = self.clock.now();
        let first = self.next;
        let count = self.connections.len();
        for _ in 0..calls {
            self.connections[self.next].request(now);
            self.next = (self.next + 1) % count;
        }
        (0..calls.min(count))
            .try_for_each(|offset| self.connections[(first + offset) % count].flush())?;
        Ok(())
    }

    /// Takes what has arrived. Returns how many answers that were.
    fn turn(&mut self, outcome: &mut Outcome) -> Result<usize, LoadError> {
        match self
            .poll
            .poll(&mut self.events, Some(Duration::from_millis(100)))
        {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let mut answered = 0;
        for event in self.events.iter().filter(|event| event.is_readable()) {
            let connection = &mut self.connections[event.token().0];
            for slot in connection.receive(&mut self.buffer)? {
                let since = connection
                    .slots
                    .get_mut(slot as usize)
                    .and_then(Option::take);
                let since = since
                    .ok_or_else(|| LoadError::Answer(format!("to slot {slot}, which is free")))?;
                let time = self.clock.now().saturating_duration_since(since);
                outcome.latency.saturating_record(time.as_nanos() as u64);
                answered += 1;
            }
        }
        outcome.requests += answered as u64;
        Ok(answered)
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation")
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

impl Connection {
    fn open(address: SocketAddr, token: Token, poll: &Poll) -> io::Result<Self> {
        let stream = net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, token, Interest::READABLE)?;
        Ok(Self {
            stream,
            wire: Trpc::new("Echo", 32, 5_000),
            output: Vec::new(),
            rest: Vec::new(),
            slots: Vec::new(),
        })
    }

    fn request(&mut self, now: std::time::Instant) {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(now);
        self.wire.request(slot as u32, &mut self.output);
    }

    /// A connection carries a few kilobytes at most, which its socket always takes.
    fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Vec<u32>, LoadError> {
        let mut answers = Vec::new();
        loop {
            let read = match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
                Err(error) => return Err(error.into()),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(read) => read,
            };
            self.rest.extend_from_slice(&buffer[..read]);
            let used = self
                .wire
                .receive(&self.rest, &mut answers, &mut self.output)?;
            self.rest.drain(..used);
            if read < buffer.len() {
                return Ok(answers);
            }
        }
    }
}
