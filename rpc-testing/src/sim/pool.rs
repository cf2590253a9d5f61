//! The workers of a simulation: jobs lie here until the seed says whose turn it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpc_core::{Executor, Job, Spawn};

/// The jobs of one pool that have not been taken up.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Mutex<Vec<Job>>>);

impl Queue {
    pub(super) fn executor(&self, name: &str, permits: usize) -> Executor {
        Executor::new(name, self.clone(), permits)
    }

    pub(super) fn jobs(&self) -> MutexGuard<'_, Vec<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spawn for Queue {
    fn spawn(&self, batch: &mut Vec<Job>) {
        self.jobs().append(batch);
    }
}
