//! A check, and how one is run within bounds of time.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Something that is to hold of a `Target`. It panics if it does not.
#[derive(Debug)]
pub struct Check<Target: ?Sized> {
    /// What is to hold, in a few words.
    pub name: &'static str,
    /// Finds out.
    pub run: fn(&Target),
}

/// How long a check may take, whatever hangs. It is several times what the slowest one needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl<Target> Check<Target> {
    /// Runs the check on a thread of its own.
    ///
    /// # Errors
    ///
    /// With what it panicked with, or that it did not end.
    pub fn outcome(&self, target: &Target) -> Result<(), String>
    where
        Target: Clone + Send + 'static,
    {
        let (run, target) = (self.run, target.clone());
        bounded(PATIENCE, move || run(&target))
    }
}

impl<Target> Clone for Check<Target> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Target> Copy for Check<Target> {}

/// Runs `work` on a thread of its own, and waits for its result for `patience` at most.
///
/// # Errors
///
/// With what it panicked with, or that it did not end.
pub fn bounded<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(work));
        // Whoever has lost patience does not listen any more.
        let _ = done.send(outcome.map_err(|panicked| text_of(&*panicked)));
    });
    match ended.recv_timeout(patience) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(format!("not finished after {patience:?}")),
        Err(RecvTimeoutError::Disconnected) => Err("its thread is gone".to_owned()),
    }
}

fn text_of(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panicked.downcast_ref::<&str>().copied());
    text.unwrap_or("panicked without a text").to_owned()
}
