//! From a request to a running handler: in place, or as a job on a pool.
//!
//! Here is the one place where the types of services are erased. What stands behind it – filters, unpacking, decoding,
//! the handler – is one future: on a pool it becomes one allocation together with its task, in place it is kept in a
//! slot that the loop uses again for the next request of the same service.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use rpc_core::spawn::JobHandle;
use rpc_core::{Cause, Code, Deadline, Executor, Filter, Job, Permit, Request, Service, Status};
use rpc_net::Post;

use crate::attempt::{Outcome, contained};
use crate::bodies::{Bodies, behind};
use crate::calls::CallKey;
use crate::driver::Mail;
use crate::place::Watch;

/// A mounted service, its type erased.
pub(crate) trait Hosted: fmt::Debug + Send + Sync {
    /// The same service, counted by itself.
    fn for_loop(&self) -> Arc<dyn Hosted>;

    /// The same service, to be served in place.
    fn in_place(&self) -> Box<dyn InPlace>;

    /// Serves a request as a job.
    fn job(self: Arc<Self>, request: Request, ticket: Ticket) -> (Job, JobHandle);

    /// Serves a request wherever the caller polls.
    fn call(&self, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;
}

/// A service behind its filters.
pub(crate) fn hosted<F: Filter, S: Service + 'static>(
    filter: F,
    service: S,
    bodies: Bodies,
) -> Arc<dyn Hosted> {
    host(Arc::new(behind(filter, service, bodies)))
}

fn host<S: Service + 'static>(service: Arc<S>) -> Arc<dyn Hosted> {
    Arc::new(Host { service })
}

struct Host<S> {
    service: Arc<S>,
}

impl<S: Service + 'static> Hosted for Host<S> {
    fn for_loop(&self) -> Arc<dyn Hosted> {
        host(Arc::clone(&self.service))
    }

    fn in_place(&self) -> Box<dyn InPlace> {
        Box::new(Slot {
            service: Arc::clone(&self.service),
            spare: None,
            begin: |service: Arc<S>, request| async move {
                let outcome = contained(&*service, request).await;
                (service, outcome)
            },
            kept: None,
        })
    }

    fn job(self: Arc<Self>, request: Request, mut ticket: Ticket) -> (Job, JobHandle) {
        let executor = ticket.executor.clone();
        let future = async move {
            let outcome = if let Some(status) = expired(&request) {
                Err(status)
            } else {
                let mut served = pin!(contained(&*self.service, request));
                let Ticket { watch, post, .. } = &mut ticket;
                poll_fn(|cx| Watch::polled(watch, post, || served.as_mut().poll(cx))).await
            };
            ticket.finish(outcome);
        };
        executor.job(future)
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

/// A service whose handlers run on the thread of one loop.
pub(crate) trait InPlace: Send {
    /// Serves a request, if its handler does not have to wait; otherwise the rest of it becomes a job.
    fn serve(&mut self, request: Request, ticket: &dyn Fn() -> Ticket) -> Inline;
}

/// What became of a request that was served in place.
pub(crate) enum Inline {
    Done(Outcome),
    Waits(Job, JobHandle),
}

/// Memory for the future of one request, kept from one to the next.
struct Slot<S, B, F> {
    service: Arc<S>,
    /// A use of the service that the last request gave back: taking it costs less than to count one more.
    spare: Option<Arc<S>>,
    begin: B,
    kept: Option<Pin<Box<Option<F>>>>,
}

impl<S, B, F> InPlace for Slot<S, B, F>
where
    S: Service + 'static,
    B: Fn(Arc<S>, Request) -> F + Send,
    F: Future<Output = (Arc<S>, Outcome)> + Send + 'static,
{
    fn serve(&mut self, request: Request, ticket: &dyn Fn() -> Ticket) -> Inline {
        let spare = self.spare.take();
        let service = spare.unwrap_or_else(|| Arc::clone(&self.service));
        let mut kept = self.kept.take().unwrap_or_else(|| Box::pin(None));
        kept.set(Some((self.begin)(service, request)));
        // Whoever has to wait is polled again at once by the job, with a waker that counts.
        let mut cx = TaskContext::from_waker(Waker::noop());
        let Poll::Ready((service, outcome)) = poll(&mut kept, &mut cx) else {
            return wait(kept, ticket());
        };
        kept.set(None);
        self.kept = Some(kept);
        self.spare = Some(service);
        Inline::Done(outcome)
    }
}

fn poll<F: Future>(kept: &mut Pin<Box<Option<F>>>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
    let future = kept.as_mut().as_pin_mut();
    future.expect("set before it is polled").poll(cx)
}

/// Makes a job of what is left of a request.
fn wait<S, F>(mut kept: Pin<Box<Option<F>>>, ticket: Ticket) -> Inline
where
    F: Future<Output = (S, Outcome)> + Send + 'static,
{
    let executor = ticket.executor.clone();
    let rest = async move {
        let (_, outcome) = poll_fn(|cx| poll(&mut kept, cx)).await;
        ticket.finish(outcome);
    };
    let (job, handle) = executor.job(rest);
    Inline::Waits(job, handle)
}
