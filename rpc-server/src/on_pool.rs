//! Requests that are served on the threads of a pool.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use rpc_core::{Claim, Clock, Compression, Executor, Request, Service, Status, Work};
use rpc_net::Post;

use crate::attempt::{Outcome, contained};
use crate::dispatch::timed_out;
use crate::driver::Mail;
use crate::place::{Settling, measured};
use crate::report::Report;
use crate::slot::Slot;

thread_local! {
    /// Slots that requests on this thread have left, one for each service. A task for each request would be an
    /// allocation of a kilobyte that one thread makes and another gives back (`benches/benches/compare.rs`, pool at
    /// 8x64: a fifth of the time).
    static SLOTS: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// More services than that on one thread, and some of their requests allocate.
const SLOTS_MAX: usize = 16;

fn take_slot<F: 'static>() -> Option<Box<Slot<F>>> {
    let kept = SLOTS.try_with(|slots| {
        let mut slots = slots.borrow_mut();
        let place = slots.iter().position(|slot| slot.is::<Slot<F>>());
        place.map(|place| slots.swap_remove(place))
    });
    kept.ok().flatten().and_then(|slot| slot.downcast().ok())
}

fn leave_slot<F: 'static>(slot: Box<Slot<F>>) {
    // A thread that is ending keeps nothing.
    let _ = SLOTS.try_with(|slots| {
        let mut slots = slots.borrow_mut();
        if slots.len() < SLOTS_MAX {
            slots.push(slot);
        }
    });
}

/// What a pool needs to serve requests for one loop. Each loop has one of its own for each of its routes: what is counted
/// for each request is counted by one loop and the workers, never by two loops.
pub(crate) struct Counter {
    pub(crate) post: Post<Mail>,
    /// Where a handler that has to wait goes on.
    pub(crate) executor: Executor,
    /// Present if the method finds its own place, by the time that its runs take.
    pub(crate) settling: Option<Arc<Settling>>,
    pub(crate) clock: Clock,
}

/// Serves `service` on a pool.
pub(crate) fn on_pool<S: Service + 'static>(service: Arc<S>, counter: Counter) -> Arc<dyn Work> {
    Arc::new(OnPool {
        service: Arc::new(Own(service)),
        counter,
        begin: |service: Arc<Own<S>>, request| async move { contained(&*service.0, request).await },
    })
}

/// A service as one loop and its workers count its users; the one inside is shared by all loops.
struct Own<S>(Arc<S>);

struct OnPool<S, B> {
    service: Arc<Own<S>>,
    counter: Counter,
    begin: B,
}

impl<S, B, F> Work for OnPool<S, B>
where
    S: Service + 'static,
    B: Fn(Arc<Own<S>>, Request) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    fn begin(self: Arc<Self>, request: Request, claim: Claim) {
        let Claim { call, permits } = claim;
        let report = Report {
            call: call.into(),
            permits,
        };
        // Work that nobody waits for any more is not begun.
        if request.context().scope().has_ended() {
            return;
        }
        if let Some(status) = expired(&request) {
            return report.finish(&self.counter.post, Err(status));
        }
        let is_measured = request.compression() == Compression::None;
        let settling = self.counter.settling.as_ref().filter(|_| is_measured);
        let mut slot = take_slot().unwrap_or_else(|| Box::new(Slot::new()));
        slot.fill((self.begin)(Arc::clone(&self.service), request));
        let polled = measured(settling, &self.counter.clock, &self.counter.post, || {
            slot.poll_first()
        });
        match polled {
            Poll::Ready(outcome) => {
                slot.clear();
                leave_slot(slot);
                report.finish(&self.counter.post, outcome);
            }
            Poll::Pending => wait(*slot, &self.counter, report),
        }
    }
}

/// Makes a task of a handler that has to wait, and runs it on as far as it goes.
fn wait<F>(slot: Slot<F>, counter: &Counter, report: Report)
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let (call, post) = (report.call, counter.post.clone());
    let rest = async move {
        let outcome = slot.finish().await;
        report.finish(&post, outcome);
    };
    let (job, handle) = counter.executor.job(rest);
    // Whoever waits for the call can drop the rest of it from now on. If nobody does any more, that is done at once.
    if counter.post.send(Mail::waits(call, handle)).is_ok() {
        job.run();
    }
}

fn expired(request: &Request) -> Option<Status> {
    let deadline = request.context().deadline()?;
    deadline
        .is_over(request.context().now())
        .then(|| timed_out(deadline))
}
