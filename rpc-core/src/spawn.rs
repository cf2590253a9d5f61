//! What a worker pool is: something that runs [`Job`]s and bounds how many wait for it by [`Permits`].

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_task::{Runnable, Task};

use crate::Request;

/// One step of a call: begins it, or runs its future until it is done or has to wait.
pub struct Job(Step);

enum Step {
    /// A call that has not begun costs no allocation. One whose handler never waits is done after this step.
    Begin {
        work: Arc<dyn Work>,
        request: Request,
        claim: Claim,
    },
    Resume(Runnable),
}

/// Begins calls on the threads of a pool.
pub trait Work: Send + Sync + 'static {
    /// Serves a request on this thread, as far as that goes without waiting.
    fn begin(self: Arc<Self>, request: Request, claim: Claim);
}

/// What a call is to whoever waits for its end, and the places it takes.
#[derive(Debug)]
pub struct Claim {
    /// Two numbers that name it.
    pub call: (usize, u64),
    /// Given back when this is dropped.
    pub permits: [Permit; 2],
}

impl Job {
    /// A job that begins a call.
    pub fn begin(work: Arc<dyn Work>, request: Request, claim: Claim) -> Self {
        Self(Step::Begin {
            work,
            request,
            claim,
        })
    }

    /// Makes a job of a future: one allocation holds both. `reschedule` puts the job back on its pool when the future
    /// is woken. The [`JobHandle`] drops the future between two steps when it is dropped.
    pub fn new<F, R>(future: F, reschedule: R) -> (Self, JobHandle)
    where
        F: Future<Output = ()> + Send + 'static,
        R: Fn(Job) + Send + Sync + 'static,
    {
        let reschedule = move |runnable| reschedule(Job(Step::Resume(runnable)));
        let (runnable, task) = async_task::spawn(future, reschedule);
        (Self(Step::Resume(runnable)), JobHandle(task))
    }

    /// Runs one step on this thread.
    pub fn run(self) {
        match self.0 {
            Step::Begin {
                work,
                request,
                claim,
            } => work.begin(request, claim),
            Step::Resume(runnable) => {
                runnable.run();
            }
        }
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
    permits: Permits,
}

impl Executor {
    /// A pool of that name which runs jobs on `spawn` and takes at most `permits` at a time.
    pub fn new(name: impl Into<String>, spawn: impl Spawn, permits: usize) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            spawn: Box::new(spawn),
            permits: Permits::new(permits),
        }))
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A place for one call. `None` when all are taken.
    pub fn permit(&self) -> Option<Permit> {
        self.0.permits.take()
    }

    /// A place for one call that has begun and cannot be refused any more, be there one or not. Later calls pay for it.
    pub fn overdraw(&self) -> Permit {
        self.0.permits.overdraw()
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
    /// Each permit is a use of this, so that taking a place counts once and not twice.
    places: Arc<()>,
}

impl Permits {
    /// `max` places.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            places: Arc::new(()),
        }
    }

    /// Takes a place, or returns `None` when all are taken. Never waits.
    pub fn take(&self) -> Option<Permit> {
        // Taken before it is looked at how many there are: two who come at the same time never both have the last.
        let permit = self.overdraw();
        (self.taken() <= self.max).then_some(permit)
    }

    /// Takes a place even when none is left: whoever comes next is refused until enough have been given back.
    pub fn overdraw(&self) -> Permit {
        Permit {
            _place: Arc::clone(&self.places),
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        // The first use is our own.
        Arc::strong_count(&self.places).saturating_sub(1)
    }
}

/// A place that was taken; dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping a permit gives the place back"]
pub struct Permit {
    _place: Arc<()>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_permits_are_out_than_there_are() {
        let permits = Permits::new(2);
        let first = permits.take().unwrap();
        let _second = permits.take().unwrap();
        assert!(permits.take().is_none());
        drop(first);
        assert!(permits.take().is_some());
    }

    #[test]
    fn what_was_overdrawn_is_missing_to_those_who_come_later() {
        let permits = Permits::new(1);
        let both = (permits.overdraw(), permits.overdraw());
        assert_eq!(permits.taken(), 2);
        assert!(permits.take().is_none());
        drop(both);
        assert!(permits.take().is_some());
    }
}
