//! What happened, as plain events. Metrics, traces and access logs are observers of the same few events.

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
        /// The other end.
        peer: SocketAddr,
    },
    /// A connection was turned away because there are too many.
    ConnectionRefused {
        /// The other end.
        peer: SocketAddr,
    },
    /// A connection ended.
    ConnectionClosed {
        /// The other end.
        peer: SocketAddr,
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
    /// The server begins to leave.
    DrainStarted,
}
