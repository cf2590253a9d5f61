//! What a worker pool is: something that runs [`Job`]s and bounds how many wait for it by [`Permits`].

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_task::{Runnable, Task};

/// One step of a call: runs its future until it is done or has to wait.
pub struct Job(Runnable);

impl Job {
    /// Makes a job of a future: one allocation holds both. `reschedule` puts the job back on its pool when the future
    /// is woken. The [`JobHandle`] drops the future between two steps when it is dropped.
    pub fn new<F, R>(future: F, reschedule: R) -> (Self, JobHandle)
    where
        F: Future<Output = ()> + Send + 'static,
        R: Fn(Job) + Send + Sync + 'static,
    {
        let (runnable, task) = async_task::spawn(future, move |runnable| reschedule(Job(runnable)));
        (Self(runnable), JobHandle(task))
    }

    /// Runs one step on this thread.
    pub fn run(self) {
        self.0.run();
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// Holds on to a [`Job`]: dropping it drops the job's future, at the latest when its present step ends.
#[must_use = "dropping the handle cancels the job"]
pub struct JobHandle(Task<()>);

impl JobHandle {
    /// Lets the job go on by itself.
    pub fn detach(self) {
        self.0.detach();
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobHandle")
    }
}

/// Runs jobs. Whoever lives on a runtime of their own implements this one method for it.
pub trait Spawn: Send + Sync + 'static {
    /// Takes all jobs of `batch` and sees to it that each runs soon, on a thread that may block. Must not run them
    /// before it returns, and must not block.
    fn spawn(&self, batch: &mut Vec<Job>);
}

/// A pool as a value: where jobs run, and how many may be waiting or running there. Clones are the same pool.
#[derive(Clone)]
pub struct Executor(Arc<Inner>);

struct Inner {
    name: String,
    spawn: Box<dyn Spawn>,
    permits: Arc<Permits>,
}

impl Executor {
    /// A pool of that name which runs jobs on `spawn` and takes at most `permits` at a time.
    pub fn new(name: impl Into<String>, spawn: impl Spawn, permits: usize) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            spawn: Box::new(spawn),
            permits: Arc::new(Permits::new(permits)),
        }))
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A place for one call. `None` when all are taken.
    pub fn permit(&self) -> Option<Permit> {
        Permits::take(&self.0.permits)
    }

    /// A place for one call that has begun and cannot be refused any more, be there one or not. Later calls pay for it.
    pub fn overdraw(&self) -> Permit {
        Permits::overdraw(&self.0.permits)
    }

    /// How many places are taken.
    pub fn in_flight(&self) -> usize {
        self.0.permits.taken()
    }

    /// Makes a job of a future that comes back to this pool each time it is woken; see [`Job::new`].
    pub fn job<F>(&self, future: F) -> (Job, JobHandle)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let executor = self.clone();
        Job::new(future, move |job| executor.spawn(&mut vec![job]))
    }

    /// Hands jobs over; see [`Spawn::spawn`].
    pub fn spawn(&self, batch: &mut Vec<Job>) {
        self.0.spawn.spawn(batch);
    }

    /// Whether both are the same pool.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl AsRef<Executor> for Executor {
    fn as_ref(&self) -> &Executor {
        self
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("name", &self.0.name)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// A bounded number of places.
#[derive(Debug)]
pub struct Permits {
    max: usize,
    taken: AtomicUsize,
}

impl Permits {
    /// `max` places.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            taken: AtomicUsize::new(0),
        }
    }

    /// Takes a place, or returns `None` when all are taken. Never waits.
    pub fn take(this: &Arc<Self>) -> Option<Permit> {
        if this.taken.fetch_add(1, Ordering::AcqRel) >= this.max {
            this.taken.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Permit(Arc::clone(this)))
    }

    /// Takes a place even when none is left: whoever comes next is refused until enough have been given back.
    pub fn overdraw(this: &Arc<Self>) -> Permit {
        this.taken.fetch_add(1, Ordering::AcqRel);
        Permit(Arc::clone(this))
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

/// A place that was taken; dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping a permit gives the place back"]
pub struct Permit(Arc<Permits>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_permits_are_out_than_there_are() {
        let permits = Arc::new(Permits::new(2));
        let first = Permits::take(&permits).unwrap();
        let _second = Permits::take(&permits).unwrap();
        assert!(Permits::take(&permits).is_none());
        drop(first);
        assert!(Permits::take(&permits).is_some());
    }

    #[test]
    fn what_was_overdrawn_is_missing_to_those_who_come_later() {
        let permits = Arc::new(Permits::new(1));
        let both = (Permits::overdraw(&permits), Permits::overdraw(&permits));
        assert_eq!(permits.taken(), 2);
        assert!(Permits::take(&permits).is_none());
        drop(both);
        assert!(Permits::take(&permits).is_some());
    }
}
