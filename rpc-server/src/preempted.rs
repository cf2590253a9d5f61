//! [`Preempted`]: time that the system has taken from this thread.
//!
//! Two readings of a clock say how long a run took, and nothing of why. On a machine with more to do than it has cores, a
//! thread is suspended for milliseconds in the midst of anything, and every short run would look long some time. The
//! system counts for each thread how long it was ready to run and had to wait for a core; what it counts is not the
//! handler's fault.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How long the present thread has waited for a core lately.
#[derive(Debug)]
pub(crate) struct Preempted {
    schedstat: File,
    /// All that it had waited when it was looked at last.
    before: Duration,
    looked_at: Instant,
}

/// One look costs a system call. A thousand a second are little, and what a thread has waited for in the last millisecond
/// can hardly be mistaken for what it waited for in the midst of a run.
const LOOK_EVERY: Duration = Duration::from_millis(1);

impl Preempted {
    /// Begins to watch the thread that this is called on. `None` where the system does not say: then all time is the
    /// handler's.
    pub(crate) fn watch(now: Instant) -> Option<Self> {
        let schedstat = File::open("/proc/thread-self/schedstat").ok()?;
        let before = waited(&schedstat)?;
        Some(Self {
            schedstat,
            before,
            looked_at: now,
        })
    }

    /// Has a look if the last one was a while ago: what was before it is forgotten.
    pub(crate) fn look(&mut self, now: Instant) {
        if now.saturating_duration_since(self.looked_at) >= LOOK_EVERY {
            self.since_last_look(now);
        }
    }

    /// How long the thread has waited since the last look.
    pub(crate) fn since_last_look(&mut self, now: Instant) -> Duration {
        self.looked_at = now;
        let all = waited(&self.schedstat).unwrap_or(self.before);
        all.saturating_sub(std::mem::replace(&mut self.before, all))
    }
}

/// The second of three numbers: nanoseconds ready to run and waiting for a core (`Documentation/scheduler/sched-stats.rst`
/// of Linux).
fn waited(schedstat: &File) -> Option<Duration> {
    let mut text = [0; 64];
    let length = schedstat.read_at(&mut text, 0).ok()?;
    parsed(text.get(..length)?)
}

fn parsed(schedstat: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(schedstat).ok()?;
    let nanos = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use rpc_core::Clock;

    use super::*;

    #[test]
    fn the_second_number_is_the_time_without_a_core() {
        let text = b"20873 1500 7\n";
        assert_eq!(parsed(text), Some(Duration::from_nanos(1_500)));
        for other in [&b"20873"[..], b"", b"a b c", b"\xff 1 2"] {
            assert_eq!(parsed(other), None);
        }
    }

    #[test]
    fn what_was_before_the_last_look_is_forgotten() {
        let clock = Clock::system();
        let start = clock.now();
        let Some(mut preempted) = Preempted::watch(start) else {
            return;
        };
        preempted.before = Duration::ZERO;
        preempted.look(start + LOOK_EVERY);
        assert_eq!(preempted.looked_at, start + LOOK_EVERY);
        let all = preempted.before;
        preempted.look(start + LOOK_EVERY + Duration::from_micros(999));
        assert_eq!(
            (preempted.looked_at, preempted.before),
            (start + LOOK_EVERY, all)
        );
    }
}
