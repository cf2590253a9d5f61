//! From a request to a running handler: in place or on a pool.
//!
//! Here is the one place where the types of services are erased. What stands behind it – filters, unpacking, decoding,
//! the handler – is one future. It is polled once in memory that the thread uses again for the next request of the same
//! service, on a loop (`in_place`) as on a pool (`on_pool`). Only if it has to wait does it become a task of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_core::{Cause, Code, Deadline, Filter, Request, Service, Status, Work};

use crate::attempt::{Outcome, contained};
use crate::bodies::{Bodies, behind};
use crate::in_place::{InPlace, in_place};
use crate::on_pool::{Counter, on_pool};

/// A mounted service, its type erased.
pub(crate) trait Hosted: fmt::Debug + Send + Sync {
    /// The same service, to be served on the thread of one loop.
    fn in_place(&self) -> Box<dyn InPlace>;

    /// The same service, to be served on a pool for one loop.
    fn on_pool(&self, counter: Counter) -> Arc<dyn Work>;

    /// Serves a request wherever the caller polls.
    fn call(&self, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;
}

/// A service behind its filters.
pub(crate) fn hosted<F: Filter, S: Service + 'static>(
    filter: F,
    service: S,
    bodies: Bodies,
) -> Arc<dyn Hosted> {
    let service = Arc::new(behind(filter, service, bodies));
    Arc::new(Host { service })
}

struct Host<S> {
    service: Arc<S>,
}

impl<S: Service + 'static> Hosted for Host<S> {
    fn in_place(&self) -> Box<dyn InPlace> {
        in_place(Arc::clone(&self.service))
    }

    fn on_pool(&self, counter: Counter) -> Arc<dyn Work> {
        on_pool(Arc::clone(&self.service), counter)
    }

    fn call(&self, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(contained(&*self.service, request))
    }
}

impl<S> fmt::Debug for Host<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// How long the answer waits when it is the caller's time that ran out. The caller measures the same time and gives up by
/// itself; an answer that overtook its timer would tell it the same in other words (peers in Go round their time down, so
/// without this a third of them would see our code instead of their own).
const COURTESY: Duration = Duration::from_millis(5);

/// When a call that is not finished is answered.
pub(crate) fn answered_at(deadline: Deadline) -> Instant {
    match deadline.cause() {
        Cause::Own => deadline.at(),
        Cause::Caller => deadline.at() + COURTESY,
    }
}

/// The answer at a deadline: it says whose time it was.
pub(crate) fn timed_out(deadline: Deadline) -> Status {
    match deadline.cause() {
        Cause::Own => Status::new(
            Code::ServerTimeout,
            "the server's time for this call ran out",
        ),
        Cause::Caller => Status::new(
            Code::CallerTimeout,
            "the time that the caller gave for this call ran out",
        ),
    }
}
