//! [`Pool`]: threads that run jobs and may be blocked by them.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rpc_core::{Executor, Job, Spawn};

/// A bounded number of threads with a bounded number of calls: handlers that run here may block without holding up
/// anybody but each other. A slow service on a pool of its own does not delay a fast one.
///
/// A pool is a value: clone it, mount several services on it, drop it. Its threads end when the last clone is gone.
#[derive(Debug, Clone)]
#[must_use = "a pool that no service is mounted on does nothing"]
pub struct Pool {
    executor: Executor,
}

impl Pool {
    /// A pool of that name. The name shows in the names of its threads and in what handlers can ask.
    pub fn builder(name: impl Into<String>) -> PoolBuilder {
        PoolBuilder {
            name: name.into(),
            threads: default_threads(),
            permits: PERMITS,
        }
    }

    /// A pool whose jobs run on something else, for example on a runtime that the process has anyway.
    pub fn from_spawn(name: impl Into<String>, spawn: impl Spawn, permits: usize) -> Self {
        Self {
            executor: Executor::new(name, spawn, permits),
        }
    }

    /// How many calls wait or run here.
    pub fn in_flight(&self) -> usize {
        self.executor.in_flight()
    }
}

impl AsRef<Executor> for Pool {
    fn as_ref(&self) -> &Executor {
        &self.executor
    }
}

/// Calls that may wait or run on a pool, unless it is told otherwise: a longer queue would only serve calls that are
/// dead by the time it is their turn.
const PERMITS: usize = 8_192;

/// Handlers may block, so there are more threads than cores.
pub(crate) fn default_threads() -> usize {
    thread::available_parallelism().map_or(8, |cores| (cores.get() * 4).max(8))
}

/// Makes a [`Pool`].
#[derive(Debug, Clone)]
#[must_use = "call `build`"]
pub struct PoolBuilder {
    name: String,
    threads: usize,
    permits: usize,
}

impl PoolBuilder {
    /// How many threads run jobs; at least one. Default: four for each core, at least 8.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// How many calls may wait or run at a time; at least one. One more is refused as overload. Default: 8,192.
    pub fn permits(mut self, permits: usize) -> Self {
        self.permits = permits.max(1);
        self
    }

    /// Starts the threads.
    ///
    /// # Panics
    ///
    /// When the operating system gives not even one thread.
    pub fn build(self) -> Pool {
        let queue = Arc::new(Queue::default());
        let mut started = 0;
        for index in 0..self.threads {
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name(format!("{}-{index}", self.name));
            match thread.spawn(move || queue.work()) {
                Ok(_) => started += 1,
                Err(error) => {
                    tracing::error!(pool = self.name, started, %error, "a worker cannot be started");
                }
            }
        }
        assert!(
            started > 0,
            "pool `{}`: the operating system gives no thread",
            self.name
        );
        let spawn = Workers { queue };
        Pool {
            executor: Executor::new(self.name, spawn, self.permits),
        }
    }
}

/// The end of the queue that jobs are put into. When it is gone the threads finish what is queued, and end.
struct Workers {
    queue: Arc<Queue>,
}

impl Spawn for Workers {
    fn spawn(&self, batch: &mut Vec<Job>) {
        self.queue.put(batch);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.state().is_closed = true;
        self.queue.wake.notify_all();
    }
}

/// One queue for all threads of a pool. Its lock is taken once for a batch of jobs, and once for each that is run:
/// a thread that took more than one would keep those behind a slow one from threads that are free.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// How many jobs are queued, to be looked at without the lock.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    sleeping: usize,
    /// A thread has been called and is not there yet.
    is_waking: bool,
    is_closed: bool,
}

/// Looks at the queue before a thread without work goes to sleep: about a microsecond, which is less than the sleep and
/// the wake-up cost, when work comes in a steady stream. More of them keep the core from those who would give the thread
/// work (`docs/speed.md` has what was measured).
const LOOKS: usize = 50;

impl Queue {
    /// Wakes one thread for the whole batch; each that is woken wakes the next as long as there is more to do. Short jobs
    /// are done before the second is awake, and long ones have all threads after a few microseconds.
    fn put(&self, batch: &mut Vec<Job>) {
        let mut state = self.state();
        state.jobs.extend(batch.drain(..));
        self.waiting.store(state.jobs.len(), Ordering::Release);
        self.wake_one(state);
    }

    /// Wakes a thread, unless one is being woken or all are at work.
    fn wake_one(&self, mut state: MutexGuard<'_, State>) {
        let wakes = state.sleeping > 0 && !state.is_waking && !state.jobs.is_empty();
        state.is_waking |= wakes;
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
    }

    fn work(&self) {
        while let Some(job) = self.take() {
            // Handlers are contained where they are polled; this is for what their values do when dropped.
            if panic::catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
                tracing::error!("a value panicked when it was dropped");
            }
        }
    }

    /// The next job; `None` when the pool is gone and nothing is left.
    fn take(&self) -> Option<Job> {
        for _ in 0..LOOKS {
            if self.waiting.load(Ordering::Acquire) > 0 {
                break;
            }
            std::hint::spin_loop();
        }
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                self.waiting.store(state.jobs.len(), Ordering::Release);
                self.wake_one(state);
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            state.sleeping += 1;
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.sleeping -= 1;
            state.is_waking = false;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("waiting", &self.queue.waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn run_on(pool: &Pool, work: impl FnOnce() + Send + 'static) {
        let executor = pool.executor.clone();
        let again = executor.clone();
        let (job, handle) = Job::new(async move { work() }, move |job| {
            again.spawn(&mut vec![job]);
        });
        handle.detach();
        executor.spawn(&mut vec![job]);
    }

    #[test]
    fn a_blocked_worker_does_not_hold_up_a_free_one() {
        let pool = Pool::builder("test").threads(2).build();
        let (release, released) = mpsc::channel::<()>();
        let (done, ended) = mpsc::channel();
        run_on(&pool, move || released.recv().unwrap());
        for number in 0..10 {
            let done = done.clone();
            run_on(&pool, move || done.send(number).unwrap());
        }
        assert_eq!(
            ended.iter().take(10).collect::<Vec<_>>(),
            (0..10).collect::<Vec<_>>()
        );
        release.send(()).unwrap();
    }

    #[test]
    fn a_panic_costs_no_thread() {
        let pool = Pool::builder("test").threads(1).build();
        let (done, ended) = mpsc::channel();
        run_on(&pool, || panic!("on purpose"));
        run_on(&pool, move || done.send(()).unwrap());
        ended.recv().unwrap();
    }

    #[test]
    fn what_is_queued_is_run_when_the_pool_is_dropped() {
        let pool = Pool::builder("test").threads(1).build();
        let (done, ended) = mpsc::channel();
        for number in 0..100 {
            let done = done.clone();
            run_on(&pool, move || done.send(number).unwrap());
        }
        drop((pool, done));
        assert_eq!(ended.iter().count(), 100);
    }
}
