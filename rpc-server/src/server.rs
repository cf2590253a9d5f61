//! [`Server`]: bound and not running yet, and [`Running`]: the threads that serve.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use rpc_core::{Address, Clock};
use rpc_net::{Place, Post, Seat};

use crate::doors::Doors;
use crate::driver::{Mail, ServerDriver};
use crate::shared::Shared;
use crate::stop::StopSignal;
use crate::{Config, ServeError};

/// A server that listens and does not serve yet. Made by [`Server::builder`].
#[derive(Debug)]
#[must_use = "a server serves nothing until it runs"]
pub struct Server {
    shared: Arc<Shared>,
    config: Config,
    clock: Clock,
    doors: Doors,
}

impl Server {
    pub(crate) fn new(shared: Arc<Shared>, config: Config, clock: Clock, doors: Doors) -> Self {
        Self {
            shared,
            config,
            clock,
            doors,
        }
    }

    /// The addresses that it listens on, with the ports that were taken, in the order they were given.
    pub fn addresses(&self) -> Vec<Address> {
        self.doors.addresses.clone()
    }

    /// Serves until `signal` tells it to end; then answers what it holds, within the grace time, and ends. Told a
    /// second time it ends at once.
    ///
    /// # Errors
    ///
    /// When it cannot run, or when calls were cut off at the end.
    pub fn run_until(self, mut signal: impl StopSignal) -> Result<(), ServeError> {
        let running = self.start()?;
        let stopper = running.stopper();
        let watch = thread::Builder::new()
            .name("tern-control".into())
            .spawn(move || {
                match signal.wait() {
                    Ok(()) => stopper.stop(),
                    Err(error) => {
                        return tracing::error!(%error, "nothing will tell the server to end");
                    }
                }
                if signal.wait().is_ok() {
                    stopper.stop_now();
                }
            });
        watch.map_err(|source| ServeError::Loop {
            what: "the control thread cannot be started",
            source,
        })?;
        running.join()
    }

    /// Serves on threads of its own until it is [stopped](Stopper::stop).
    ///
    /// # Errors
    ///
    /// When the operating system refuses descriptors or threads.
    pub fn start(self) -> Result<Running, ServeError> {
        let failed = |source| ServeError::Loop {
            what: "an event loop cannot be started",
            source,
        };
        let dropped = self.doors.dropped();
        let seats = (0..self.config.reactors)
            .map(|_| Seat::new())
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let places: Vec<Place> = seats.iter().map(Seat::place).collect();
        let posts: Vec<Post<Mail>> = seats.iter().map(|seat| seat.post().clone()).collect();
        // The first loop accepts for all, and serves what comes in datagrams; connections are dealt to the loop that has the fewest.
        let Doors {
            addresses,
            listeners,
            datagrams,
        } = self.doors;
        let mut doors = Some((listeners, datagrams, places));
        let mut threads = Vec::new();
        for (index, seat) in seats.into_iter().enumerate() {
            let driver = ServerDriver::new(Arc::clone(&self.shared), seat.post().clone());
            let (listeners, datagrams, places) = doors.take().unwrap_or_default();
            #[cfg(feature = "tls")]
            let seat = seat.server_tls(self.shared.tls.clone());
            let reactor = seat
                .busy_poll(self.config.busy_poll)
                .datagrams(datagrams)
                .seat(driver, self.clock.clone(), listeners, places)
                .map_err(failed)?;
            let thread = thread::Builder::new()
                .name(format!("io-{index}"))
                .spawn(move || reactor.run());
            threads.push(thread.map_err(failed)?);
        }
        let stopper = Stopper {
            posts,
            config: self.config,
        };
        Ok(Running {
            addresses,
            dropped,
            stopper,
            threads,
            shared: self.shared,
        })
    }
}

/// A server that serves on threads of its own.
#[derive(Debug)]
#[must_use = "a running server ends when it is stopped, not when this is dropped: keep it to `stop` and `join`"]
pub struct Running {
    addresses: Vec<Address>,
    dropped: Vec<Arc<AtomicU64>>,
    stopper: Stopper,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Running {
    /// The addresses that it listens on, in the order they were given.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The first host and port that it listens on.
    ///
    /// # Panics
    ///
    /// If there are none: a server on Unix sockets alone has [addresses](Running::addresses) without.
    pub fn address(&self) -> SocketAddr {
        self.addresses.iter().find_map(Address::socket).expect(
            "the server listens on a host and a port; ask for its `addresses` if it may not",
        )
    }

    /// What stops it, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many datagrams were dropped on sockets of UDP: what came and was not one whole unary frame, and answers that the
    /// system did not take.
    pub fn datagrams_dropped(&self) -> u64 {
        let counts = self.dropped.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How many calls wait or run on pools.
    pub fn calls_in_flight(&self) -> usize {
        self.shared.calls.taken()
    }

    /// Tells it to end, and waits for the end.
    ///
    /// # Errors
    ///
    /// [`ServeError::Cut`] when calls were cut off.
    pub fn stop(self) -> Result<(), ServeError> {
        self.stopper.stop();
        self.join()
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// [`ServeError::Cut`] when calls were cut off.
    pub fn join(self) -> Result<(), ServeError> {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("an event loop panicked");
            }
        }
        match self.shared.cut.load(Ordering::Relaxed) {
            0 => Ok(()),
            calls => Err(ServeError::Cut { calls }),
        }
    }
}

/// Stops a [`Running`] server. Stopping twice changes nothing.
#[derive(Debug, Clone)]
pub struct Stopper {
    posts: Vec<Post<Mail>>,
    config: Config,
}

impl Stopper {
    /// Tells the server to end: it marks its answers, stops accepting after a while, answers what it holds, and ends.
    /// Does not wait for that.
    pub fn stop(&self) {
        for post in &self.posts {
            let (close_wait, grace) = (self.config.close_wait, self.config.grace);
            // A loop that has ended need not be told.
            let _ = post.send(Mail::drain(close_wait, grace));
        }
    }

    /// Tells the server to end at once.
    pub fn stop_now(&self) {
        for post in &self.posts {
            let _ = post.send(Mail::stop());
        }
    }
}
