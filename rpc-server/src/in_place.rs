//! Requests that are served on the thread of their loop.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use rpc_core::spawn::JobHandle;
use rpc_core::{Executor, Job, Request, Service};
use rpc_net::Post;

use crate::attempt::{Outcome, contained};
use crate::driver::Mail;
use crate::report::Report;
use crate::slot::Slot;

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

/// What a request needs to become a job.
pub(crate) struct Ticket {
    pub(crate) post: Post<Mail>,
    pub(crate) executor: Executor,
    pub(crate) report: Report,
}

/// Serves `service` on the thread of one loop.
pub(crate) fn in_place<S: Service + 'static>(service: Arc<S>) -> Box<dyn InPlace> {
    Box::new(Local {
        service,
        spare: None,
        begin: |service: Arc<S>, request| async move {
            let outcome = contained(&*service, request).await;
            (service, outcome)
        },
        slot: None,
    })
}

struct Local<S, B, F> {
    service: Arc<S>,
    /// A use of the service that the last request gave back: taking it costs less than to count one more.
    spare: Option<Arc<S>>,
    begin: B,
    slot: Option<Slot<F>>,
}

impl<S, B, F> InPlace for Local<S, B, F>
where
    S: Service + 'static,
    B: Fn(Arc<S>, Request) -> F + Send,
    F: Future<Output = (Arc<S>, Outcome)> + Send + 'static,
{
    fn serve(&mut self, request: Request, ticket: &dyn Fn() -> Ticket) -> Served {
        let spare = self.spare.take();
        let service = spare.unwrap_or_else(|| Arc::clone(&self.service));
        let mut slot = self.slot.take().unwrap_or_else(Slot::new);
        slot.fill((self.begin)(service, request));
        let Poll::Ready((service, outcome)) = slot.poll_first() else {
            return wait(slot, ticket());
        };
        slot.clear();
        self.slot = Some(slot);
        self.spare = Some(service);
        Served::Done(outcome)
    }
}

/// Makes a job of what is left of a request.
fn wait<S, F>(slot: Slot<F>, ticket: Ticket) -> Served
where
    F: Future<Output = (S, Outcome)> + Send + 'static,
{
    let Ticket {
        post,
        executor,
        report,
    } = ticket;
    let (job, handle) = executor.job(async move {
        let (_, outcome) = slot.finish().await;
        report.finish(&post, outcome);
    });
    Served::Waits(job, handle)
}
