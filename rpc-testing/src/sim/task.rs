//! What a test starts: futures that the simulation polls when they are woken.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Something that was started, a call for example. See [`crate::Sim::start`] and [`crate::Sim::result`].
#[must_use = "ask the simulation for its result"]
pub struct Started<T> {
    pub(super) number: usize,
    pub(super) result: Rc<RefCell<Option<T>>>,
}

impl<T> fmt::Debug for Started<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
pub(super) struct Tasks {
    futures: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    woken: Woken,
}

type Woken = Arc<Mutex<Vec<usize>>>;

impl Tasks {
    pub(super) fn start<F: Future + 'static>(&mut self, future: F) -> Started<F::Output> {
        let number = self.futures.len();
        let result = Rc::new(RefCell::new(None));
        let place = Rc::clone(&result);
        self.futures.push(Some(Box::pin(async move {
            let output = future.await;
            *place.borrow_mut() = Some(output);
        })));
        lock(&self.woken).push(number);
        Started { number, result }
    }

    /// Drops a future, done or not.
    pub(super) fn forget(&mut self, number: usize) {
        self.futures[number] = None;
    }

    pub(super) fn woken(&self) -> usize {
        lock(&self.woken).len()
    }

    /// Polls one of those that were woken. Returns its number if that was the last time.
    pub(super) fn poll(&mut self, place: usize) -> Option<usize> {
        let number = {
            let mut woken = lock(&self.woken);
            let number = woken.remove(place);
            woken.retain(|other| *other != number);
            number
        };
        let future = self.futures[number].as_mut()?;
        let waker = Waker::from(Arc::new(Bell {
            number,
            woken: Arc::clone(&self.woken),
        }));
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => None,
            Poll::Ready(()) => {
                self.futures[number] = None;
                Some(number)
            }
        }
    }
}

struct Bell {
    number: usize,
    woken: Woken,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let mut woken = lock(&self.woken);
        if !woken.contains(&self.number) {
            woken.push(self.number);
        }
    }
}

fn lock(woken: &Mutex<Vec<usize>>) -> MutexGuard<'_, Vec<usize>> {
    woken.lock().unwrap_or_else(PoisonError::into_inner)
}
