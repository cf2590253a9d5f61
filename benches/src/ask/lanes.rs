//! A small executor for many futures on one thread: what is woken is polled, nothing else is.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Runs all futures on this thread until they are done.
pub(super) fn run<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let shared = Arc::new(Shared {
        woken: Mutex::default(),
        sleeps: AtomicBool::new(false),
        thread: thread::current(),
    });
    let mut lanes: Vec<_> = futures
        .enumerate()
        .map(|(index, future)| {
            let shared = Arc::clone(&shared);
            let waker = Waker::from(Arc::new(Lane { index, shared }));
            (Some(Box::pin(future)), waker)
        })
        .collect();
    let mut woken: Vec<usize> = (0..lanes.len()).collect();
    let mut running = lanes.len();
    while running > 0 {
        for index in woken.drain(..) {
            running -= usize::from(step(&mut lanes[index]));
        }
        shared.take(&mut woken, running > 0);
    }
}

/// Polls a future unless it is done. Returns whether it has become so.
fn step<F: Future<Output = ()>>((future, waker): &mut (Option<Pin<Box<F>>>, Waker)) -> bool {
    let Some(running) = future else {
        return false;
    };
    let is_done = running.as_mut().poll(&mut Context::from_waker(waker)) == Poll::Ready(());
    if is_done {
        *future = None;
    }
    is_done
}

struct Shared {
    woken: Mutex<Vec<usize>>,
    sleeps: AtomicBool,
    thread: Thread,
}

impl Shared {
    /// Takes those that were woken; sleeps first if there are none and `waits`.
    fn take(&self, into: &mut Vec<usize>, waits: bool) {
        loop {
            std::mem::swap(
                into,
                &mut self.woken.lock().unwrap_or_else(PoisonError::into_inner),
            );
            if !into.is_empty() || !waits {
                self.sleeps.store(false, Ordering::Relaxed);
                return;
            }
            if self.sleeps.swap(true, Ordering::SeqCst) {
                thread::park();
            }
        }
    }
}

struct Lane {
    index: usize,
    shared: Arc<Shared>,
}

impl Wake for Lane {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = self.shared.woken.lock();
        woken
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.index);
        if self.shared.sleeps.swap(false, Ordering::SeqCst) {
            self.shared.thread.unpark();
        }
    }
}
