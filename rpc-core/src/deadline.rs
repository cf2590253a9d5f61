//! A deadline: the earliest of the times that bound a call, and whose time it was.

use std::time::{Duration, Instant};

/// Whose time a [`Deadline`] is; it decides which of two codes the caller sees when it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Set at this end: the service's, the method's or this call's own time-out.
    Own,
    /// Given by whoever called us: the time for the whole chain of calls has run out.
    Caller,
}

/// The point in time after which nobody waits for the result any more.
///
/// On the wire it travels as the milliseconds that are left, so clocks of different hosts never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
    cause: Cause,
}

impl Deadline {
    /// The longest time that is taken for a deadline: larger values on the wire mean "none" (C++ peers send 2^32-1).
    pub const MILLIS_MAX: u32 = i32::MAX as u32;

    /// A deadline at `at`.
    pub fn new(at: Instant, cause: Cause) -> Self {
        Self { at, cause }
    }

    /// The earlier of our own and the caller's time, counted from the arrival of the request. `None` when nobody set one. The
    /// caller is the cause only when its time is strictly the shorter.
    pub fn earliest(
        arrival: Instant,
        own: Option<Duration>,
        caller: Option<Duration>,
    ) -> Option<Self> {
        let (budget, cause) = match (own, caller) {
            (Some(own), Some(caller)) if caller < own => (caller, Cause::Caller),
            (Some(own), _) => (own, Cause::Own),
            (None, Some(caller)) => (caller, Cause::Caller),
            (None, None) => return None,
        };
        arrival.checked_add(budget).map(|at| Self { at, cause })
    }

    /// The milliseconds that a request gives its receiver, as a length. 0 and values above
    /// [`Deadline::MILLIS_MAX`] mean that the caller set none.
    pub fn timeout_from_millis(millis: u32) -> Option<Duration> {
        (millis != 0 && millis <= Self::MILLIS_MAX)
            .then(|| Duration::from_millis(u64::from(millis)))
    }

    /// The earlier of the two; `self` wins a tie.
    pub fn min(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.at < self.at => other,
            _ => self,
        }
    }

    /// The same point in time as seen by a call made on behalf of this one: there it is the caller's.
    pub fn inherited(self) -> Self {
        Self {
            at: self.at,
            cause: Cause::Caller,
        }
    }

    /// When it passes.
    pub fn at(self) -> Instant {
        self.at
    }

    /// Whose time it is.
    pub fn cause(self) -> Cause {
        self.cause
    }

    /// Whether it has passed.
    pub fn is_over(self, now: Instant) -> bool {
        now >= self.at
    }

    /// What is left of it; zero once it has passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.at.saturating_duration_since(now)
    }

    /// What is left in whole milliseconds, rounded up so that a last fraction never becomes 0, which would mean
    /// "no deadline". `None` once it has passed.
    pub fn remaining_millis(self, now: Instant) -> Option<u32> {
        if self.is_over(now) {
            return None;
        }
        let left = self.remaining(now);
        let millis = u64::from(left.subsec_nanos().div_ceil(1_000_000))
            .saturating_add(left.as_secs().saturating_mul(1_000));
        Some(
            u32::try_from(millis)
                .unwrap_or(Self::MILLIS_MAX)
                .clamp(1, Self::MILLIS_MAX),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_shortest_time_wins_and_names_its_owner() {
        let now = Clock::system().now();
        let of =
            |own, caller| Deadline::earliest(now, own, caller).map(|d| (d.at() - now, d.cause()));
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some(ms(800)), None), Some((ms(800), Cause::Own)));
        assert_eq!(of(Some(ms(50)), Some(ms(60))), Some((ms(50), Cause::Own)));
        assert_eq!(
            of(Some(ms(500)), Some(ms(60))),
            Some((ms(60), Cause::Caller))
        );
        assert_eq!(of(None, Some(ms(60))), Some((ms(60), Cause::Caller)));
    }

    #[test]
    fn a_tie_between_caller_and_service_is_the_services() {
        let now = Clock::system().now();
        let deadline = Deadline::earliest(now, Some(ms(60)), Some(ms(60))).unwrap();
        assert_eq!(deadline.cause(), Cause::Own);
    }

    #[test]
    fn a_last_fraction_of_a_millisecond_is_sent_as_one() {
        let now = Clock::system().now();
        let deadline = Deadline::new(now + Duration::from_micros(300), Cause::Own);
        assert_eq!(deadline.remaining_millis(now), Some(1));
        assert_eq!(
            deadline.remaining_millis(now + Duration::from_micros(300)),
            None
        );
    }

    #[test]
    fn zero_and_absurd_times_on_the_wire_are_no_deadline() {
        assert_eq!(Deadline::timeout_from_millis(0), None);
        assert_eq!(Deadline::timeout_from_millis(u32::MAX), None);
        assert_eq!(Deadline::timeout_from_millis(7), Some(ms(7)));
    }
}
