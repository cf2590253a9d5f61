//! The time, and waiting for it. The kit uses nothing of Tern, so it has a clock of its own: this file alone asks the system.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The time.
#[expect(
    clippy::disallowed_methods,
    reason = "a judge stands outside of the runtime: nobody hands it a clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits.
pub fn pause(time: Duration) {
    let (keep, nothing) = mpsc::channel::<()>();
    let waited = nothing.recv_timeout(time);
    debug_assert_eq!(waited, Err(RecvTimeoutError::Timeout));
    drop(keep);
}
