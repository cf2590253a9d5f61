//! [`TokenBucket`]: so many a second, and a few more at once.
//!
//! # The problem
//!
//! A service must not be asked for more than it can do over time, yet requests never come evenly: a limit on the gaps
//! between them would refuse what could well be served.
//!
//! # The algorithm
//!
//! A token arrives every `interval`, at most `burst` of them are kept, and each call takes one. Nobody has to count
//! them: it is enough to remember when the bucket will be full again if nothing more is taken. Taking a token moves that
//! time by one `interval`, and a token is missing if it would come to lie more than `burst` intervals ahead. This is the
//! generic cell rate algorithm of the ATM networks in its form of virtual scheduling (ITU-T I.371, annex A; ATM Forum
//! Traffic Management 4.0, section 4.4.2). The whole state is one number, so one compare-and-swap takes a token and any
//! number of threads share a bucket without a lock.
//!
//! # Parameters
//!
//! * `interval`, from one token to the next, in whole nanoseconds. No default: a limit that nobody chose is none.
//! * `burst`, in tokens: how many may be taken at once after a pause. No default here;
//!   [`RateLimit`](crate::filter::RateLimit) takes what arrives in 100 ms.
//!
//! # Worst case
//!
//! In any span of time `t` at most `t / interval + burst` tokens are taken: after a pause, the burst comes on top of the
//! rate. Under contention a thread repeats its compare-and-swap for each that another one wins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::zero::Zero;

/// Token bucket: a token arrives every `interval`, at most `burst` are kept. It begins full.
///
/// ```
/// use std::time::Duration;
/// use rpc_core::Clock;
/// use rpc_policy::TokenBucket;
///
/// let bucket = TokenBucket::new(Duration::from_millis(10), 2);
/// let now = Clock::system().now();
/// assert_eq!(bucket.take(now), Ok(()));
/// assert_eq!(bucket.take(now), Ok(()));
/// assert_eq!(bucket.take(now), Err(Duration::from_millis(10)));
/// assert_eq!(bucket.take(now + Duration::from_millis(10)), Ok(()));
/// ```
#[derive(Debug)]
pub struct TokenBucket {
    interval_nanos: u64,
    burst_nanos: u64,
    zero: Zero,
    /// When the bucket is full again if no more is taken, in nanoseconds since `zero`.
    full_at: AtomicU64,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens into which one more falls every `interval`. A burst of 0 grants nothing, ever;
    /// an interval of 0 grants everything unless the burst is 0.
    pub fn new(interval: Duration, burst: u32) -> Self {
        let interval_nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Self {
            interval_nanos,
            burst_nanos: interval_nanos.saturating_mul(u64::from(burst)),
            zero: Zero::default(),
            full_at: AtomicU64::new(if burst == 0 { u64::MAX } else { 0 }),
        }
    }

    /// The interval of a rate, rounded up to whole nanoseconds so that it is never exceeded. 0 tokens a second arrive
    /// [`Duration::MAX`] apart.
    pub fn interval(tokens_per_second: u32) -> Duration {
        match tokens_per_second {
            0 => Duration::MAX,
            rate => Duration::from_nanos(NANOS_PER_SECOND.div_ceil(u64::from(rate))),
        }
    }

    /// Takes one token, or says how long to wait until one is there, unless another thread takes that one too.
    ///
    /// Times that run backwards, as between threads, grant no token twice.
    ///
    /// # Errors
    ///
    /// When no token is there; the wait is [`Duration::MAX`] if there never will be.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let now = self.zero.nanos_until(now);
        // The one word holds all there is to know, so it needs no order with others.
        let mut seen = self.full_at.load(Ordering::Relaxed);
        loop {
            let full_at = self.full_at_after_taking(seen, now)?;
            match self.full_at.compare_exchange_weak(
                seen,
                full_at,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(changed) => seen = changed,
            }
        }
    }

    fn full_at_after_taking(&self, full_at: u64, now: u64) -> Result<u64, Duration> {
        let full_at = full_at
            .max(now)
            .checked_add(self.interval_nanos)
            .ok_or(Duration::MAX)?;
        match (full_at - now).saturating_sub(self.burst_nanos) {
            0 => Ok(full_at),
            wait => Err(Duration::from_nanos(wait)),
        }
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use proptest::prelude::*;
    use rpc_core::Clock;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn now() -> Instant {
        Clock::system().now()
    }

    #[test]
    fn a_full_bucket_grants_its_burst_at_once() {
        let (bucket, now) = (TokenBucket::new(ms(10), 3), now());
        assert!((0..3).all(|_| bucket.take(now).is_ok()));
        assert_eq!(bucket.take(now), Err(ms(10)));
        assert_eq!(bucket.take(now + ms(4)), Err(ms(6)));
    }

    #[test]
    fn a_pause_fills_the_bucket_and_no_more() {
        let (bucket, now) = (TokenBucket::new(ms(10), 3), now());
        let taken = |at| (0..10).filter(|_| bucket.take(at).is_ok()).count();
        assert_eq!(taken(now), 3);
        assert_eq!(taken(now + ms(20)), 2);
        assert_eq!(taken(now + ms(60_000)), 3);
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let (bucket, now) = (TokenBucket::new(ms(10), 1), now());
        assert_eq!(bucket.take(now), Ok(()));
        assert!((0..100).all(|_| bucket.take(now) == Err(ms(10))));
        assert_eq!(bucket.take(now + ms(10)), Ok(()));
    }

    #[test]
    fn rates_are_never_rounded_up() {
        assert_eq!(TokenBucket::interval(50_000), Duration::from_micros(20));
        assert_eq!(TokenBucket::interval(3), Duration::from_nanos(333_333_334));
        assert_eq!(TokenBucket::interval(0), Duration::MAX);
    }

    #[test]
    fn zero_is_never_unlimited() {
        let now = now();
        for (interval, burst) in [(Duration::MAX, 0), (ms(1), 0), (Duration::ZERO, 0)] {
            let bucket = TokenBucket::new(interval, burst);
            assert!(bucket.take(now).is_err());
            assert!(bucket.take(now + ms(1_000_000)).is_err());
        }
        let once = TokenBucket::new(Duration::MAX, u32::MAX);
        assert_eq!(once.take(now), Ok(()));
        assert_eq!(once.take(now + ms(1_000_000)), Err(Duration::MAX));
    }

    #[test]
    fn a_time_that_runs_backwards_grants_nothing_twice() {
        let (bucket, now) = (TokenBucket::new(ms(10), 1), now());
        assert_eq!(bucket.take(now), Ok(()));
        assert_eq!(bucket.take(now + ms(10)), Ok(()));
        assert_eq!(bucket.take(now), Err(ms(20)));
    }

    #[test]
    fn threads_share_one_limit() {
        const STEPS: u64 = 1_000;
        let (bucket, start) = (Arc::new(TokenBucket::new(ms(1), 50)), now());
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let bucket = Arc::clone(&bucket);
                let steps = (0..STEPS).map(move |step| start + ms(step));
                thread::spawn(move || steps.filter(|at| bucket.take(*at).is_ok()).count())
            })
            .collect();
        let taken: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
        assert!(taken <= 999 + 50, "{taken} tokens were taken");
    }

    proptest! {
        #[test]
        fn never_grants_more_than_time_over_interval_plus_burst(
            interval in 1_u64..100_000,
            burst in 0_u32..20,
            steps in prop::collection::vec(0_u64..50_000, 1..200),
        ) {
            let bucket = TokenBucket::new(Duration::from_nanos(interval), burst);
            let start = now();
            let mut at = 0;
            let mut grants = Vec::new();
            for step in steps {
                at += step;
                match bucket.take(start + Duration::from_nanos(at)) {
                    Ok(()) => grants.push(at),
                    Err(wait) if wait < Duration::MAX && burst > 0 => {
                        let wait = u64::try_from(wait.as_nanos()).unwrap();
                        at += wait;
                        prop_assert_eq!(bucket.take(start + Duration::from_nanos(at)), Ok(()));
                        grants.push(at);
                    }
                    Err(_) => {}
                }
            }
            for (first, from) in grants.iter().enumerate() {
                for (last, until) in grants.iter().enumerate().skip(first) {
                    let granted = u64::try_from(last - first + 1).unwrap();
                    prop_assert!(granted <= (until - from) / interval + u64::from(burst));
                }
            }
        }
    }
}
