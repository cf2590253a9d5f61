//! [`Slot`]: memory for the future of one request, kept by a thread for the next request of the same service.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Memory for the future of one request.
pub(crate) struct Slot<F>(Pin<Box<Option<F>>>);

impl<F: Future> Slot<F> {
    /// An empty slot.
    pub(crate) fn new() -> Self {
        Self(Box::pin(None))
    }

    /// Puts a future in.
    pub(crate) fn fill(&mut self, future: F) {
        self.0.set(Some(future));
    }

    /// Drops what is in it.
    pub(crate) fn clear(&mut self) {
        self.0.set(None);
    }

    /// Polls what is in it for the first time. Whoever has to wait is polled again at once by the job that it becomes,
    /// with a waker that counts.
    pub(crate) fn poll_first(&mut self) -> Poll<F::Output> {
        self.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Waits for what is in it.
    pub(crate) async fn finish(mut self) -> F::Output {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let future = self.0.as_mut().as_pin_mut();
        future.expect("filled before it is polled").poll(cx)
    }
}
