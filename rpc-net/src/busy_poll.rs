//! [`BusyPoll`]: a loop that stays awake for a while after it had something to do.
//!
//! A loop that sleeps has to be woken, and waking a thread on an idle core takes longer than serving a small request. When
//! the next request is a few microseconds away it is cheaper to look again at once. How long that is worth it nobody can
//! say but whoever pays for the core, so a loop looks for as long as it is told, and does not unless it is told.

use std::time::{Duration, Instant};

/// Says whether a loop polls without sleeping: until nothing has happened for a certain time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BusyPoll {
    /// For how long after the last thing that happened. Zero: never.
    duration: Duration,
    until: Option<Instant>,
}

impl BusyPoll {
    pub(crate) fn new(duration: Duration) -> Self {
        Self {
            duration: duration.min(LONGEST),
            until: None,
        }
    }

    /// Something has come from outside at `now`.
    pub(crate) fn note_activity(&mut self, now: Instant) {
        if !self.duration.is_zero() {
            self.until = Some(now + self.duration);
        }
    }

    /// Nothing has come at `now`.
    pub(crate) fn note_silence(&mut self, now: Instant) {
        self.until = self.until.filter(|until| now < *until);
    }

    /// Whether the loop looks again without sleeping.
    pub(crate) fn is_awake(&self) -> bool {
        self.until.is_some()
    }
}

/// Whoever asks for more wants a loop that never sleeps, and gets one if anything ever happens; no time overflows by it.
const LONGEST: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use rpc_core::Clock;

    use super::*;

    const SPIN: Duration = Duration::from_micros(50);

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn a_loop_stays_awake_until_nothing_has_happened_for_long_enough() {
        let start = Clock::system().now();
        let mut busy_poll = BusyPoll::new(SPIN);
        assert!(!busy_poll.is_awake(), "nothing has happened yet");
        busy_poll.note_activity(start);
        busy_poll.note_silence(start + us(49));
        assert!(busy_poll.is_awake());
        busy_poll.note_activity(start + us(49));
        busy_poll.note_silence(start + us(98));
        assert!(busy_poll.is_awake(), "counted from the last that happened");
        busy_poll.note_silence(start + us(99));
        assert!(!busy_poll.is_awake());
        busy_poll.note_silence(start + us(50));
        assert!(!busy_poll.is_awake(), "only something new wakes it");
        busy_poll.note_activity(start + us(500));
        assert!(busy_poll.is_awake());
    }

    #[test]
    fn a_loop_that_is_not_told_to_never_stays_awake() {
        let now = Clock::system().now();
        for mut off in [BusyPoll::default(), BusyPoll::new(Duration::ZERO)] {
            off.note_activity(now);
            assert!(!off.is_awake());
        }
    }

    #[test]
    fn a_duration_beyond_all_time_is_a_long_one() {
        let now = Clock::system().now();
        let mut busy_poll = BusyPoll::new(Duration::MAX);
        busy_poll.note_activity(now);
        busy_poll.note_silence(now + us(1_000_000));
        assert!(busy_poll.is_awake());
    }
}
