//! What all loops of a server share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rpc_codec::connection::{Connection, ServerConnection};
use rpc_codec::{Formats, Limits};
use rpc_core::{Clock, Event, Executor, Observer, Permit, Permits, Status};
use rpc_policy::admit::Guards;

use crate::router::Router;

/// What all loops of a server share: what is served and by which rules, and the counts that bound it.
pub(crate) struct Shared {
    pub(crate) router: Router,
    /// How the server calls itself where it asks others.
    pub(crate) name: String,
    /// Whether the metadata of requests goes back in responses.
    pub(crate) echoes_metadata: bool,
    pub(crate) admit: Guards,
    pub(crate) observer: Option<Box<dyn Observer>>,
    pub(crate) formats: Arc<Formats>,
    pub(crate) limits: Arc<Limits>,
    /// Those of requests that came in datagrams.
    pub(crate) datagram_limits: Arc<Limits>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) default_pool: Executor,
    pub(crate) clock: Clock,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<rpc_net::tls::ServerTls>,
    pub(crate) connections: AtomicUsize,
    pub(crate) connections_max: usize,
    /// Calls that wait or run on pools.
    pub(crate) calls: Permits,
    /// Bytes of their requests.
    pub(crate) bytes: AtomicUsize,
    pub(crate) bytes_max: usize,
    pub(crate) is_leaving: AtomicBool,
    /// Calls that were cut off at the end.
    pub(crate) cut: AtomicUsize,
}

impl Shared {
    pub(crate) fn observe(&self, event: &Event<'_>) {
        if let Some(observer) = &self.observer {
            observer.observe(event);
        }
    }

    /// A place for one connection. It is given back by [`Shared::connection_ended`].
    pub(crate) fn take_connection(&self) -> bool {
        let is_free = self.connections.fetch_add(1, Ordering::Relaxed) < self.connections_max;
        if !is_free {
            self.connection_ended();
        }
        is_free
    }

    /// Whether it is a request that came in a datagram rather than a connection.
    pub(crate) fn came_in_datagram(&self, machine: &ServerConnection) -> bool {
        std::ptr::eq(machine.limits(), Arc::as_ptr(&self.datagram_limits))
    }

    pub(crate) fn connection_ended(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Places for a call that has begun in place and has to wait: it cannot be refused as not run any more.
    pub(crate) fn overdraw(&self, executor: &Executor) -> [Permit; 2] {
        [executor.overdraw(), self.calls.overdraw()]
    }

    /// Counts bytes of calls that begin, less those of calls that end. Each loop does so once a turn: a number that all
    /// loops change is too dear to change for each request.
    pub(crate) fn count_bytes(&self, change: isize) {
        if change != 0 {
            self.bytes
                .fetch_add(change.cast_unsigned(), Ordering::Relaxed);
        }
    }

    /// Says that the server begins to leave. Each of its loops says so; the first is heard.
    pub(crate) fn drain_started(&self) {
        if !self.is_leaving.swap(true, Ordering::Relaxed) {
            self.observe(&Event::DrainStarted);
        }
    }

    /// Places for one call of `bytes`, on its pool and in the process. A single call of any size is let in.
    /// `uncounted` are bytes that the asking loop has not told of yet.
    pub(crate) fn permits(
        &self,
        executor: &Executor,
        uncounted: isize,
        bytes: usize,
    ) -> Result<[Permit; 2], Status> {
        let counted = self.bytes.load(Ordering::Relaxed);
        let taken = counted.saturating_add_signed(uncounted);
        if taken > 0 && taken.saturating_add(bytes) > self.bytes_max {
            return Err(Status::overloaded(
                "the bytes of calls under way have reached their limit",
            ));
        }
        let Some(own) = executor.permit() else {
            return Err(Status::overloaded(format!(
                "pool `{}` is full",
                executor.name()
            )));
        };
        let Some(all) = self.calls.take() else {
            return Err(Status::overloaded(
                "the calls under way have reached their limit",
            ));
        };
        Ok([own, all])
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("router", &self.router)
            .finish_non_exhaustive()
    }
}
