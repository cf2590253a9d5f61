//! What happened, as plain events. Metrics, traces and access logs are observers of the same few events.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{Code, MethodDescriptor};

/// Is told what happened. Called on I/O threads: it must neither block nor take long.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection was accepted or made.
    ConnectionOpened {
        /// The other end; `None` on a Unix socket.
        peer: Option<SocketAddr>,
    },
    /// A connection was turned away because there are too many.
    ConnectionRefused {
        /// The other end; `None` on a Unix socket.
        peer: Option<SocketAddr>,
    },
    /// A connection ended.
    ConnectionClosed {
        /// The other end; `None` on a Unix socket.
        peer: Option<SocketAddr>,
        /// Why, in words for people.
        reason: &'a str,
    },
    /// A call was answered.
    CallEnded {
        /// Which method, unless it is unknown here.
        method: Option<&'static MethodDescriptor>,
        /// Why it failed; `None` if it did not.
        code: Option<Code>,
        /// From the arrival of its last byte to its answer.
        elapsed: Duration,
    },
    /// A handler or filter panicked. The call was answered with [`Code::Internal`].
    Panicked {
        /// Which method.
        method: &'static MethodDescriptor,
    },
    /// A result came after its call had been answered, and was dropped.
    LateResult {
        /// Which method.
        method: &'static MethodDescriptor,
    },
    /// The operating system refused to accept a connection.
    AcceptFailed {
        /// What it said.
        kind: std::io::ErrorKind,
    },
    /// A method that finds its own place runs somewhere else from now on; see [`Mount::auto`](crate::Mount::auto).
    Moved {
        /// Which method.
        method: &'static MethodDescriptor,
        /// Where to, and why.
        how: Move,
    },
    /// The server begins to leave.
    DrainStarted,
}

/// Where a method that finds its own place is moved, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Move {
    /// Onto the event loops: it has proved to be short.
    ToLoop {
        /// By so many runs on the pool.
        runs: u32,
        /// The longest of them. One in a hundred may be beyond the budget.
        longest: Duration,
    },
    /// Back to the pool: it has kept a loop for longer than it may.
    TooLong {
        /// For so long.
        took: Duration,
    },
    /// Back to the pool: its handler had to wait for something.
    HadToWait,
}

impl Move {
    /// Whether it leads onto the event loops.
    pub fn is_to_loop(self) -> bool {
        matches!(self, Self::ToLoop { .. })
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToLoop { runs, longest } => {
                write!(
                    f,
                    "onto the loops: the longest of {runs} runs took {longest:?}"
                )
            }
            Self::TooLong { took } => write!(f, "back to the pool: a run took {took:?}"),
            Self::HadToWait => f.write_str("back to the pool: a run had to wait"),
        }
    }
}
