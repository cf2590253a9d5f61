//! From a request to a running handler: in place, or as a job on a pool.
//!
//! Here is the one place where the types of services are erased. What stands behind it – filters, unpacking, decoding,
//! the handler – is one future: on a pool it becomes one allocation together with its task, in place it is kept in a
//! slot that the loop uses again for the next request.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use rpc_codec::compress;
use rpc_core::spawn::JobHandle;
use rpc_core::{
    Cause, Code, Compression, Deadline, Executor, Filter, Job, Permit, Request, Response, Service,
    Status,
};
use rpc_net::Post;

use crate::calls::CallKey;
use crate::driver::Mail;
use crate::place::Watch;
use crate::router::UnpackedMax;

/// What a request became.
pub(crate) type Outcome = Result<Response, Status>;

/// A mounted service, its type erased.
pub(crate) trait Hosted: fmt::Debug + Send + Sync {
    /// The same service, counted by itself.
    fn for_loop(&self) -> Arc<dyn Hosted>;

    /// Serves a request as a job.
    fn job(self: Arc<Self>, request: Request, ticket: Ticket) -> (Job, JobHandle);

    /// Serves a request in place, if its handler does not have to wait; otherwise the rest of it becomes a job.
    /// `slot` keeps the memory of one request for the next.
    fn inline(
        self: Arc<Self>,
        request: Request,
        slot: &mut Slot,
        ticket: &dyn Fn() -> Ticket,
    ) -> Inline;

    /// Serves a request wherever the caller polls.
    fn call(&self, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;
}

/// What became of a request that was served in place.
pub(crate) enum Inline {
    Done(Outcome),
    Waits(Job, JobHandle),
}

/// Memory for the future of one request, kept from one to the next. Its type is that of the service it was used for.
pub(crate) type Slot = Option<Box<dyn Any + Send>>;

/// A service behind its filters; the request is unpacked between the two, so a filter may refuse it before that work
/// is done.
pub(crate) fn hosted<F: Filter, S: Service + 'static>(
    filter: F,
    service: S,
    max: UnpackedMax,
) -> Arc<dyn Hosted> {
    Arc::new(Host {
        service: Arc::new(filter.around(Unpacked { service, max })),
    })
}

struct Host<S> {
    service: Arc<S>,
}

impl<S: Service + 'static> Hosted for Host<S> {
    fn for_loop(&self) -> Arc<dyn Hosted> {
        Arc::new(Self {
            service: Arc::clone(&self.service),
        })
    }

    fn job(self: Arc<Self>, request: Request, mut ticket: Ticket) -> (Job, JobHandle) {
        let executor = ticket.executor.clone();
        let future = async move {
            let outcome = if let Some(status) = expired(&request) {
                Err(status)
            } else {
                let mut served = pin!(serve(&*self.service, request));
                let Ticket { watch, post, .. } = &mut ticket;
                poll_fn(|cx| Watch::polled(watch, post, || served.as_mut().poll(cx))).await
            };
            ticket.finish(outcome);
        };
        executor.job(future)
    }

    fn inline(
        self: Arc<Self>,
        request: Request,
        slot: &mut Slot,
        ticket: &dyn Fn() -> Ticket,
    ) -> Inline {
        poll_in_slot(
            slot,
            async move { serve(&*self.service, request).await },
            ticket,
        )
    }

    fn call(&self, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(serve(&*self.service, request))
    }
}

impl<S> fmt::Debug for Host<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// What a job needs to report back. When it is dropped its permit is given back, whatever became of the job.
pub(crate) struct Ticket {
    pub(crate) post: Post<Mail>,
    pub(crate) call: CallKey,
    pub(crate) executor: Executor,
    pub(crate) permits: [Permit; 2],
    /// Measures the run, where that decides where later ones take place.
    pub(crate) watch: Option<Watch>,
}

impl Ticket {
    fn finish(self, outcome: Outcome) {
        // First the places, then the answer: whoever sees the answer may count on the place.
        drop(self.permits);
        // A loop that has ended has no connection left to answer on.
        let _ = self.post.send(Mail::done(self.call, outcome));
    }
}

/// Runs a request through its service, contains what panics, and packs the response as the request was packed.
async fn serve<S: Service>(service: &S, request: Request) -> Outcome {
    let method = request.method();
    let compression = request.compression();
    let mut call = pin!(async { service.call(request).await });
    let contained = poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(outcome)) => Poll::Ready(Some(outcome)),
            Err(_) => Poll::Ready(None),
        },
    );
    let Some(outcome) = contained.await else {
        tracing::error!(method = method.path, "a handler or filter panicked");
        return Err(Status::new(Code::Internal, PANICKED));
    };
    outcome.map(|response| pack(response, compression))
}

/// What the caller of a handler that panicked is told. What it panicked with stays here.
pub(crate) const PANICKED: &str = "the handler panicked";

/// Responses below this size are not worth packing.
const PACK_MIN: usize = 1024;

fn pack(mut response: Response, compression: Compression) -> Response {
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
    async fn call(&self, mut request: Request) -> Outcome {
        if request.compression() != Compression::None {
            let unpacked =
                compress::decompress(request.compression(), request.body(), self.max.get());
            *request.body_mut() = unpacked.map_err(|error| {
                Status::new(
                    Code::Malformed,
                    format!("the body of the request cannot be unpacked: {error}"),
                )
            })?;
            request.set_compression(Compression::None);
        }
        self.service.call(request).await
    }
}

/// Work that nobody waits for any more is not begun.
fn expired(request: &Request) -> Option<Status> {
    let deadline = request.context().deadline()?;
    deadline
        .is_over(request.context().now())
        .then(|| timed_out(deadline))
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

/// Polls a future once, in the memory that an earlier one of its type left.
fn poll_in_slot<F>(slot: &mut Slot, future: F, ticket: &dyn Fn() -> Ticket) -> Inline
where
    F: Future<Output = Outcome> + Send + 'static,
{
    type Kept<F> = Pin<Box<Option<F>>>;
    let kept = slot.take().and_then(|kept| kept.downcast::<Kept<F>>().ok());
    let mut kept: Box<Kept<F>> = kept.unwrap_or_else(|| Box::new(Box::pin(None)));
    (*kept).as_mut().set(Some(future));
    // Whoever has to wait is polled again at once by the job, with a waker that counts.
    let mut cx = TaskContext::from_waker(Waker::noop());
    let polled = (*kept)
        .as_mut()
        .as_pin_mut()
        .expect("set above")
        .poll(&mut cx);
    if let Poll::Ready(outcome) = polled {
        (*kept).as_mut().set(None);
        *slot = Some(kept);
        return Inline::Done(outcome);
    }
    let ticket = ticket();
    let executor = ticket.executor.clone();
    let rest = async move {
        let outcome =
            poll_fn(|cx| (*kept).as_mut().as_pin_mut().expect("set above").poll(cx)).await;
        ticket.finish(outcome);
    };
    let (job, handle) = executor.job(rest);
    Inline::Waits(job, handle)
}
