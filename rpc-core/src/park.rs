//! Waiting for a future on a plain thread.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

thread_local! {
    static IS_LOOP: Cell<bool> = const { Cell::new(false) };
    static PARKER: Arc<Parker> = Arc::new(Parker { thread: thread::current(), woken: AtomicBool::new(false) });
}

/// Says that this thread is an event loop: from now on [`wait`] refuses to block it.
pub fn mark_event_loop() {
    IS_LOOP.set(true);
}

/// Parks this thread until `future` is done. `None` on the thread of an event loop, which would wait for itself.
pub fn wait<F: Future>(future: F) -> Option<F::Output> {
    if IS_LOOP.get() {
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
    fn an_event_loop_is_never_blocked() {
        let refused = thread::spawn(|| {
            mark_event_loop();
            wait(std::future::ready(()))
        });
        assert_eq!(refused.join().unwrap(), None);
    }
}
