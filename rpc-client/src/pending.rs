//! A call that waits for its answer: one end is with the caller, the other with the loop.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rpc_core::{Response, Status};

/// Where the loop leaves the result. It is completed once; what comes later is dropped.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    result: Option<Result<Response, Status>>,
    waiting: Option<Waker>,
    is_abandoned: bool,
}

impl Slot {
    /// Leaves the result and wakes whoever waits.
    pub(crate) fn complete(&self, result: Result<Response, Status>) {
        let waiting = {
            let mut state = self.state();
            if state.is_abandoned {
                return;
            }
            state.result.get_or_insert(result);
            state.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.state().is_abandoned
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ready when the loop has left the result. Dropping it forgets the call.
#[derive(Debug)]
pub(crate) struct Pending {
    slot: Arc<Slot>,
}

impl Pending {
    pub(crate) fn new() -> (Self, Arc<Slot>) {
        let slot = Arc::<Slot>::default();
        (
            Self {
                slot: Arc::clone(&slot),
            },
            slot,
        )
    }
}

impl Future for Pending {
    type Output = Result<Response, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.state();
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.slot.state().is_abandoned = true;
    }
}
