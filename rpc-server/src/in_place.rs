//! Requests that are served on the thread of their loop.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rpc_core::spawn::JobHandle;
use rpc_core::{Executor, Job, Permit, Request, Service, Shell};
use rpc_net::Post;

use crate::attempt::{Outcome, contained};
use crate::calls::CallKey;
use crate::driver::Mail;

/// A service whose handlers run on the thread of one loop.
pub(crate) trait InPlace: Send {
    /// Serves a request, if its handler does not have to wait; otherwise the rest of it becomes a job.
    fn serve(&mut self, request: Request, ticket: &dyn Fn() -> Ticket) -> Served;
}

/// What became of a request that was served in place.
pub(crate) enum Served {
    Done(Outcome),
    Waits(Job, JobHandle),
}

/// What a job needs to report back. When it is dropped its permit is given back, whatever became of the job.
pub(crate) struct Ticket {
    pub(crate) post: Post<Mail>,
    pub(crate) call: CallKey,
    pub(crate) executor: Executor,
    pub(crate) permits: [Permit; 2],
}

impl Ticket {
    pub(crate) fn finish(self, outcome: Outcome) {
        // First the places, then the answer: whoever sees the answer may count on the place.
        drop(self.permits);
        // A loop that has ended has no connection left to answer on.
        let _ = self
            .post
            .send(Mail::done(self.call, outcome, Shell::of_this_thread()));
    }
}

/// Serves `service` on the thread of one loop.
pub(crate) fn in_place<S: Service + 'static>(service: Arc<S>) -> Box<dyn InPlace> {
    Box::new(Slot {
        service,
        spare: None,
        begin: |service: Arc<S>, request| async move {
            let outcome = contained(&*service, request).await;
            (service, outcome)
        },
        kept: None,
    })
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
    fn serve(&mut self, request: Request, ticket: &dyn Fn() -> Ticket) -> Served {
        let spare = self.spare.take();
        let service = spare.unwrap_or_else(|| Arc::clone(&self.service));
        let mut kept = self.kept.take().unwrap_or_else(|| Box::pin(None));
        kept.set(Some((self.begin)(service, request)));
        // Whoever has to wait is polled again at once by the job, with a waker that counts.
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready((service, outcome)) = poll(&mut kept, &mut cx) else {
            return wait(kept, ticket());
        };
        kept.set(None);
        self.kept = Some(kept);
        self.spare = Some(service);
        Served::Done(outcome)
    }
}

fn poll<F: Future>(kept: &mut Pin<Box<Option<F>>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let future = kept.as_mut().as_pin_mut();
    future.expect("set before it is polled").poll(cx)
}

/// Makes a job of what is left of a request.
fn wait<S, F>(mut kept: Pin<Box<Option<F>>>, ticket: Ticket) -> Served
where
    F: Future<Output = (S, Outcome)> + Send + 'static,
{
    let executor = ticket.executor.clone();
    let rest = async move {
        let (_, outcome) = poll_fn(|cx| poll(&mut kept, cx)).await;
        ticket.finish(outcome);
    };
    let (job, handle) = executor.job(rest);
    Served::Waits(job, handle)
}
