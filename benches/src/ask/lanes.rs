//! A small executor for many futures on one thread: what is woken is polled, nothing else is.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Many futures as one, which is done when all are.
pub(super) struct Lanes<F> {
    each: Vec<(Option<Pin<Box<F>>>, Waker)>,
    running: usize,
    woken: Vec<usize>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    woken: Vec<usize>,
    /// Whom to tell of the first that is woken.
    waiting: Option<Waker>,
}

impl<F: Future<Output = ()>> Lanes<F> {
    pub(super) fn new(futures: impl Iterator<Item = F>) -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let each: Vec<_> = futures
            .enumerate()
            .map(|(index, future)| {
                let shared = Arc::clone(&shared);
                let waker = Waker::from(Arc::new(Lane { index, shared }));
                (Some(Box::pin(future)), waker)
            })
            .collect();
        Self {
            running: each.len(),
            woken: (0..each.len()).collect(),
            each,
            shared,
        }
    }
}

impl<F: Future<Output = ()>> Future for Lanes<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            for index in this.woken.drain(..) {
                this.running -= usize::from(step(&mut this.each[index]));
            }
            if this.running == 0 {
                return Poll::Ready(());
            }
            let mut shared = lock(&this.shared);
            std::mem::swap(&mut this.woken, &mut shared.woken);
            if this.woken.is_empty() {
                shared.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
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

struct Lane {
    index: usize,
    shared: Arc<Mutex<Shared>>,
}

impl Wake for Lane {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = {
            let mut shared = lock(&self.shared);
            shared.woken.push(self.index);
            shared.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
