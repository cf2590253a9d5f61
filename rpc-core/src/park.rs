//! Waiting for a future on a plain thread.

use std::cell::Cell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::{Code, Status};

thread_local! {
    /// How many event loops this thread runs.
    static LOOPS: Cell<u32> = const { Cell::new(0) };
    static PARKER: Arc<Parker> = Arc::new(Parker { thread: thread::current(), woken: AtomicBool::new(false) });
}

/// Says that this thread is an event loop: from now on [`wait`] refuses to block it.
pub fn mark_event_loop() {
    LOOPS.set(LOOPS.get() + 1);
}

/// Says that this thread is an event loop among other things: [`wait`] refuses to block it as long as this lives.
pub fn on_loop() -> OnLoop {
    mark_event_loop();
    OnLoop(PhantomData)
}

/// Made by [`on_loop`]. It stays on its thread.
#[derive(Debug)]
#[must_use = "the thread is an event loop only as long as this lives"]
pub struct OnLoop(PhantomData<*const ()>);

impl Drop for OnLoop {
    fn drop(&mut self) {
        LOOPS.set(LOOPS.get() - 1);
    }
}

/// Parks this thread until `future` is done. `None` on the thread of an event loop, which would wait for itself.
pub fn wait<F: Future>(future: F) -> Option<F::Output> {
    if LOOPS.get() > 0 {
        return None;
    }
    let parker = PARKER.with(Arc::clone);
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        while !parker.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

/// Parks this thread until `future` is done, or says why it must not.
pub(crate) fn wait_or_refuse<T>(
    future: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    wait(future).unwrap_or_else(|| Err(refused()))
}

/// Why the thread of an event loop does not wait.
pub(crate) fn refused() -> Status {
    let text = "waiting on an I/O thread would block the loop that brings the answer: await the call, run it on the \
                thread's own loop, or move the handler to a pool";
    Status::new(Code::RequestInvalid, text)
}

struct Parker {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_another_thread() {
        let alarm = Arc::new(crate::time::Alarm::default());
        let ringer = Arc::clone(&alarm);
        let thread = thread::spawn(move || ringer.ring());
        assert_eq!(
            wait(std::future::poll_fn(|cx| alarm.poll_rung(cx))),
            Some(())
        );
        thread.join().unwrap();
    }

    #[test]
    fn who_runs_a_loop_among_other_things_may_wait_before_and_after() {
        let (one, other) = (on_loop(), on_loop());
        drop(one);
        assert_eq!(wait(std::future::ready(())), None);
        drop(other);
        assert_eq!(wait(std::future::ready(())), Some(()));
    }

    #[test]
    fn an_event_loop_is_never_blocked() {
        let refused = thread::spawn(|| {
            mark_event_loop();
            wait(std::future::ready(()))
        });
        assert_eq!(refused.join().unwrap(), None);
    }
}
