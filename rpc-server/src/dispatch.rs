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

use rpc_codec::compress;
use rpc_core::{
    Cause, Code, Compression, Deadline, Filter, Request, Response, Service, Status, Work,
};

use crate::attempt::{Attempt, Outcome, contained};
use crate::in_place::{InPlace, in_place};
use crate::on_pool::{Counter, on_pool};
use crate::router::UnpackedMax;

/// A mounted service, its type erased.
pub(crate) trait Hosted: fmt::Debug + Send + Sync {
    /// The same service, to be served on the thread of one loop.
    fn in_place(&self) -> Box<dyn InPlace>;

    /// The same service, to be served on a pool for one loop.
    fn on_pool(&self, counter: Counter) -> Arc<dyn Work>;

    /// Serves a request wherever the caller polls.
    fn call(&self, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;
}

/// A service behind its filters; the request is unpacked between the two, so a filter may refuse it before that work
/// is done.
pub(crate) fn hosted<F: Filter, S: Service + 'static>(
    filter: F,
    service: S,
    max: UnpackedMax,
) -> Arc<dyn Hosted> {
    let service = Arc::new(filter.around(Unpacked { service, max }));
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
        let compression = request.compression();
        Box::pin(async move {
            let outcome = contained(&*self.service, request).await;
            outcome.map(|response| pack(response, compression))
        })
    }
}

impl<S> fmt::Debug for Host<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// Responses below this size are not worth packing.
const PACK_MIN: usize = 1024;

/// Packs a response as its request was packed.
pub(crate) fn pack(mut response: Response, compression: Compression) -> Response {
    let is_packed = response.compression() != Compression::None;
    if compression == Compression::None || is_packed || response.body().len() < PACK_MIN {
        return response;
    }
    if let Ok(Some(packed)) = compress::compress(compression, response.body()) {
        *response.body_mut() = packed;
        response.set_compression(compression);
    }
    response
}

/// Unpacks requests before they reach the service.
struct Unpacked<S> {
    service: S,
    max: UnpackedMax,
}

impl<S: Service> Service for Unpacked<S> {
    fn call(&self, request: Request) -> impl Future<Output = Outcome> + Send {
        let unpacked = if request.compression() == Compression::None {
            Ok(request)
        } else {
            self.unpack(request)
        };
        Attempt::from(unpacked.map(|request| self.service.call(request)))
    }
}

impl<S> Unpacked<S> {
    fn unpack(&self, mut request: Request) -> Result<Request, Status> {
        let unpacked = compress::decompress(request.compression(), request.body(), self.max.get());
        *request.body_mut() = unpacked.map_err(|error| {
            Status::new(
                Code::Malformed,
                format!("the body of the request cannot be unpacked: {error}"),
            )
        })?;
        request.set_compression(Compression::None);
        Ok(request)
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
