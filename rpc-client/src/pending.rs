//! A call under way: one end is with the caller, the other with the loop, and between them one cell holds all that they
//! hand to each other.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rpc_core::stream::Pipe;
use rpc_core::{Code, Request, Response, Status};

/// What caller and loop share of a call. The request stays here for as long as the call lives, so only a pointer travels
/// to the loop, and what the request holds goes back to the thread that it came from, which keeps it for its next call
/// (`benches/tests/client_allocations.rs`).
#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Present until the caller has taken the result.
    request: Option<Request>,
    result: Option<Result<Response, Status>>,
    waiting: Option<Waker>,
}

impl State {
    /// The request.
    pub(crate) fn request(&self) -> &Request {
        self.request.as_ref().expect("the call is under way")
    }

    /// Takes the stream out of a request that is about to be sent.
    pub(crate) fn take_pipe(&mut self) -> Option<Pipe> {
        self.request.as_mut()?.take_pipe()
    }
}

impl Slot {
    /// What it holds. Nobody else wants it while the call is under way, unless the caller is polled for other reasons.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop's end of a call. A loop that ends before it has looked at the call answers by dropping this.
#[derive(Debug)]
pub(crate) struct Duty {
    /// Present until the call is completed.
    slot: Option<Arc<Slot>>,
}

impl Duty {
    /// Leaves the result. Returns whoever waits for it, to be woken when that suits the loop.
    pub(crate) fn complete(mut self, result: Result<Response, Status>) -> Option<Waker> {
        self.leave(result)
    }

    /// Whether nobody waits any more, as far as the loop can tell.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(self.slot()) == 1
    }

    /// What caller and loop share.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.slot().state()
    }

    fn slot(&self) -> &Arc<Slot> {
        self.slot.as_ref().expect("present until completed")
    }

    fn leave(&mut self, result: Result<Response, Status>) -> Option<Waker> {
        let slot = self.slot.take()?;
        let mut state = slot.state();
        state.result = Some(result);
        state.waiting.take()
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if self.slot.is_none() {
            return;
        }
        let status = Status::new(Code::Cancelled, "the channel's event loop has ended");
        if let Some(waiting) = self.leave(Err(status)) {
            waiting.wake();
        }
    }
}

thread_local! {
    /// Cells that calls of this thread have left, so that a call needs no allocation.
    static KEPT: RefCell<Vec<Arc<Slot>>> = const { RefCell::new(Vec::new()) };
}

/// As many as a thread may well have in flight.
const KEPT_MAX: usize = 256;

/// Ready when the loop has left the result. Dropping it forgets the call.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Present until the result is there.
    slot: Option<Arc<Slot>>,
    is_new: bool,
}

impl Pending {
    /// A call of a task that `waiting` wakes, which polls this before it does anything else.
    pub(crate) fn new(request: Request, waiting: Waker) -> (Self, Duty) {
        let kept = KEPT.try_with(|kept| kept.borrow_mut().pop()).ok().flatten();
        // The loop lets go of a cell before it wakes the caller; a caller who looked earlier than that may be faster.
        let kept = kept.filter(|slot| Arc::strong_count(slot) == 1);
        let mut slot = kept.unwrap_or_default();
        let state = Arc::get_mut(&mut slot).map(|slot| slot.state.get_mut());
        let state = state.expect("nobody else has it");
        *state.unwrap_or_else(PoisonError::into_inner) = State {
            request: Some(request),
            result: None,
            waiting: Some(waiting),
        };
        let pending = Self {
            slot: Some(Arc::clone(&slot)),
            is_new: true,
        };
        (pending, Duty { slot: Some(slot) })
    }
}

impl Future for Pending {
    type Output = Result<Response, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Whom to wake is known since the call was made, so the first look would only cost a lock.
        if std::mem::take(&mut self.is_new) {
            return Poll::Pending;
        }
        let mut state = self.slot.as_ref().expect("polled until ready").state();
        let Some(result) = state.result.take() else {
            let known = state.waiting.as_ref();
            if !known.is_some_and(|known| known.will_wake(cx.waker())) {
                state.waiting = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        let request = state.request.take();
        drop(state);
        drop(request);
        keep(self.slot.take());
        Poll::Ready(result)
    }
}

/// Leaves the cell to the next call of this thread. A thread that is ending keeps nothing.
fn keep(slot: Option<Arc<Slot>>) {
    let _ = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.extend(slot);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use rpc_core::{Body, Context as CallContext, Idempotency, MethodDescriptor, Shape};

    use super::*;

    static METHOD: MethodDescriptor = MethodDescriptor {
        index: 0,
        name: "Echo",
        path: "/test.Echo/Echo",
        alias: None,
        service: "test.Echo",
        idempotency: Idempotency::Unknown,
        shape: Shape::Unary,
        request: rpc_core::MessageType::UNKNOWN,
        reply: rpc_core::MessageType::UNKNOWN,
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn begin() -> (Pending, Duty) {
        let request = Request::new(&METHOD, CallContext::background(), Body::new());
        let (mut pending, duty) = Pending::new(request, Waker::noop().clone());
        assert!(poll(&mut pending, Waker::noop()).is_none());
        (pending, duty)
    }

    fn poll(pending: &mut Pending, waker: &Waker) -> Option<Result<Response, Status>> {
        match Pin::new(pending).poll(&mut Context::from_waker(waker)) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    fn response(body: &'static str) -> Response {
        Response::new(body.into())
    }

    #[test]
    fn whoever_polled_last_is_woken() {
        let (mut pending, duty) = begin();
        let (first, last) = (Arc::<Count>::default(), Arc::<Count>::default());
        for count in [&first, &last] {
            let waker = Waker::from(Arc::clone(count));
            assert!(poll(&mut pending, &waker).is_none());
        }
        duty.complete(Ok(response(""))).unwrap().wake();
        let woken = [&first, &last].map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 1]);
        assert!(poll(&mut pending, Waker::noop()).is_some());
    }

    #[test]
    fn a_call_that_was_dropped_takes_no_part_in_the_next() {
        let (done, duty) = begin();
        assert!(!duty.is_abandoned());
        drop(done);
        assert!(duty.is_abandoned());
        let (mut next, next_duty) = begin();
        drop(duty.complete(Ok(response("late"))));
        assert!(poll(&mut next, Waker::noop()).is_none());
        drop(next_duty.complete(Ok(response("right"))));
        let result = poll(&mut next, Waker::noop()).unwrap();
        assert_eq!(result.unwrap().body(), "right");
    }

    #[test]
    fn a_cell_is_used_again_and_remembers_nothing() {
        let cells: Vec<_> = (0..3)
            .map(|_| {
                let (mut pending, duty) = begin();
                let cell = Arc::as_ptr(duty.slot());
                drop(duty.complete(Ok(response("x"))));
                assert!(poll(&mut pending, Waker::noop()).is_some());
                cell
            })
            .collect();
        assert!(cells.iter().all(|cell| *cell == cells[0]));
    }

    #[test]
    fn a_duty_that_is_dropped_ends_the_call() {
        let (mut pending, duty) = begin();
        drop(duty);
        let status = poll(&mut pending, Waker::noop()).unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Cancelled);
    }
}
