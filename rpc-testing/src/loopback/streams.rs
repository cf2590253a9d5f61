//! How a stream passes a loop-back: its handler runs on a thread of its own, as both ends of a stream move at the same
//! time, and a handler may be one that blocks.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use rpc_core::time::Alarm;
use rpc_core::{Response, Status, park};

/// What became of a handler.
pub(super) type Outcome = Result<Response, Status>;

/// A handler on a thread. Dropping this drops it, as soon as it waits for something or returns.
pub(super) struct OnThread(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_dropped: Alarm,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    waiting: Option<Waker>,
}

impl OnThread {
    /// Runs `handler` until it is done. One without an outcome leaves it to others to say what became of the stream.
    pub(super) fn run(handler: impl Future<Output = Option<Outcome>> + Send + 'static) -> Self {
        let shared = Arc::<Shared>::default();
        let ours = Arc::clone(&shared);
        thread::Builder::new()
            .name("tern-loopback-stream".into())
            .spawn(move || ours.run(handler))
            .expect("a test can start a thread");
        Self(shared)
    }
}

impl Shared {
    fn run(&self, handler: impl Future<Output = Option<Outcome>>) {
        let outcome = {
            let mut handler = pin!(handler);
            park::wait(std::future::poll_fn(|cx| {
                match self.is_dropped.poll_rung(cx) {
                    Poll::Ready(()) => Poll::Ready(None),
                    Poll::Pending => handler.as_mut().poll(cx),
                }
            }))
        };
        let waiting = {
            let mut state = self.state();
            state.outcome = outcome.flatten();
            state.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for OnThread {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.0.state();
        if let Some(outcome) = state.outcome.take() {
            return Poll::Ready(outcome);
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for OnThread {
    fn drop(&mut self) {
        self.0.is_dropped.ring();
    }
}
