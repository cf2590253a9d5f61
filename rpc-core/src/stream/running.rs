//! The call that a stream is, shared by the handles that a caller has of it.
//!
//! Somebody has to poll it: over a wire it only waits for its end, but without one the handler itself runs in there. So
//! whoever waits for anything on the stream polls the call too, and whatever wakes the call wakes all who wait.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};

use crate::{Response, Status};

/// The call as a future. It is boxed once for each stream.
pub(super) type CallFuture = Pin<Box<dyn Future<Output = Result<Response, Status>> + Send>>;

/// A call under way. Clones are the same call, which is dropped with the last of them.
#[derive(Clone)]
pub(super) struct Running(Arc<Inner>);

/// Which handle asks. Of each there is one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Half {
    Reads = 0,
    Writes = 1,
}

struct Inner {
    progress: Mutex<Progress>,
    waiting: Arc<Waiting>,
    /// That of `waiting`.
    waker: Waker,
}

enum Progress {
    Under(CallFuture),
    Over(Result<Response, Status>),
}

/// Who waits for news, by [`Half`].
#[derive(Default)]
struct Waiting {
    wakers: Mutex<[Option<Waker>; 2]>,
    /// Who came while the other was polling the call, and has to come again.
    has_missed: [AtomicBool; 2],
}

impl Running {
    pub(super) fn new(call: CallFuture) -> Self {
        let waiting = Arc::<Waiting>::default();
        Self(Arc::new(Inner {
            progress: Mutex::new(Progress::Under(call)),
            waker: Waker::from(Arc::clone(&waiting)),
            waiting,
        }))
    }

    /// Whether this handle is the only one left.
    pub(super) fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// What became of the call, once it is over. Never waits for the other half, which may be polling a handler that
    /// waits for this one.
    pub(super) fn poll(&self, half: Half, cx: &Context<'_>) -> Poll<Result<Response, Status>> {
        let waiting = &*self.0.waiting;
        waiting.await_news(half, cx.waker());
        // Dropped behind the lock, be it by a panic.
        let mut news = None;
        let Some(mut progress) = self.try_lock(half) else {
            return Poll::Pending;
        };
        let polled = match &mut *progress {
            Progress::Over(result) => return Poll::Ready(result.clone()),
            Progress::Under(call) => {
                let news = news.insert(News::to(waiting));
                let polled = call.as_mut().poll(&mut Context::from_waker(&self.0.waker));
                news.concerns_all = polled.is_ready();
                polled
            }
        };
        let Poll::Ready(result) = &polled else {
            return Poll::Pending;
        };
        let done = mem::replace(&mut *progress, Progress::Over(result.clone()));
        // What the call held may wake somebody who comes here at once.
        drop(progress);
        drop(done);
        polled
    }

    /// `None` while the other half holds it; this one is woken when that is done.
    fn try_lock(&self, half: Half) -> Option<MutexGuard<'_, Progress>> {
        let has_missed = &self.0.waiting.has_missed[half as usize];
        // Said first: whoever gives the lock back looks at this afterwards, so one of the two sees the other.
        has_missed.swap(true, Ordering::AcqRel);
        let progress = match self.0.progress.try_lock() {
            Ok(progress) => progress,
            Err(TryLockError::WouldBlock) => return None,
            Err(TryLockError::Poisoned(poisoned)) => {
                let mut progress = poisoned.into_inner();
                if let Progress::Under(_) = *progress {
                    *progress = Progress::Over(Err(Status::internal("the call panicked")));
                }
                progress
            }
        };
        has_missed.store(false, Ordering::Release);
        Some(progress)
    }
}

impl Waiting {
    fn await_news(&self, half: Half, waker: &Waker) {
        let mut wakers = self.wakers();
        match &mut wakers[half as usize] {
            Some(present) => present.clone_from(waker),
            absent => *absent = Some(waker.clone()),
        }
    }

    fn wake_all(&self) {
        let wakers = mem::take(&mut *self.wakers());
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    fn wake_those_who_missed(&self) {
        for (half, has_missed) in self.has_missed.iter().enumerate() {
            if has_missed.swap(false, Ordering::AcqRel) {
                let waker = self.wakers()[half].take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    fn wakers(&self) -> MutexGuard<'_, [Option<Waker>; 2]> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the others when whoever polled the call is done with it.
struct News<'a> {
    waiting: &'a Waiting,
    /// Whether the call is over, be it by a panic.
    concerns_all: bool,
}

impl<'a> News<'a> {
    fn to(waiting: &'a Waiting) -> Self {
        Self {
            waiting,
            concerns_all: true,
        }
    }
}

impl Drop for News<'_> {
    fn drop(&mut self) {
        if self.concerns_all {
            self.waiting.wake_all();
        } else {
            self.waiting.wake_those_who_missed();
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Count {
        fn woken(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counting() -> (Arc<Count>, Waker) {
        let count = Arc::<Count>::default();
        (Arc::clone(&count), Waker::from(count))
    }

    fn poll(call: &Running, half: Half, waker: &Waker) -> Poll<Result<(), Status>> {
        call.poll(half, &Context::from_waker(waker)).map_ok(drop)
    }

    #[test]
    fn who_came_while_the_call_was_polled_is_woken_to_come_again() {
        let (polled, is_polled) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        // Poll by poll, each as long as it is told; it never ends.
        let goes_on = Mutex::new(goes_on);
        let call = Running::new(Box::pin(poll_fn(move |_| {
            polled.send(()).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
            Poll::Pending
        })));
        let other = call.clone();
        let reader = thread::spawn(move || poll(&other, Half::Reads, Waker::noop()).is_pending());
        is_polled.recv().unwrap();
        let (count, waker) = counting();
        assert!(poll(&call, Half::Writes, &waker).is_pending());
        assert_eq!(count.woken(), 0);
        go_on.send(()).unwrap();
        assert!(reader.join().unwrap());
        assert_eq!(count.woken(), 1);
        go_on.send(()).unwrap();
        assert!(poll(&call, Half::Writes, &waker).is_pending());
        assert_eq!(count.woken(), 1, "who came again has missed nothing");
    }

    #[test]
    fn news_of_the_call_and_its_end_are_for_both_halves() {
        let waker_of_call = Arc::new(Mutex::new(None::<Waker>));
        let end = Arc::new(AtomicBool::new(false));
        let (seen, is_over) = (Arc::clone(&waker_of_call), Arc::clone(&end));
        let call = Running::new(Box::pin(poll_fn(move |cx| {
            *seen.lock().unwrap() = Some(cx.waker().clone());
            if is_over.load(Ordering::SeqCst) {
                Poll::Ready(Ok(Response::empty()))
            } else {
                Poll::Pending
            }
        })));
        let (reads, writes) = (counting(), counting());
        for round in 1..=2 {
            assert!(poll(&call, Half::Reads, &reads.1).is_pending());
            assert!(poll(&call, Half::Writes, &writes.1).is_pending());
            let waker = waker_of_call.lock().unwrap().take().unwrap();
            waker.wake();
            assert_eq!((reads.0.woken(), writes.0.woken()), (round, round));
        }
        assert!(poll(&call, Half::Reads, &reads.1).is_pending());
        end.store(true, Ordering::SeqCst);
        let over = poll(&call, Half::Writes, &writes.1);
        assert!(matches!(over, Poll::Ready(Ok(()))));
        assert_eq!(reads.0.woken(), 3);
        assert!(matches!(
            poll(&call, Half::Reads, &reads.1),
            Poll::Ready(Ok(()))
        ));
    }

    #[test]
    fn a_call_that_is_over_holds_nothing() {
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        let call = Running::new(Box::pin(async move {
            let text = format!("held by {}", Arc::strong_count(&holds));
            Err(Status::internal(text))
        }));
        assert!(poll(&call, Half::Reads, Waker::noop()).is_ready());
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
