//! [`Backoff`] and [`RetryBudget`]: when to try again, and how often all in all.
//!
//! # The problem
//!
//! A call that failed may succeed elsewhere or a moment later. But failures come in crowds, and a crowd that tries again
//! keeps down what it waits for: three attempts each make an overload three times as large, and clients that lost a
//! server at the same moment come back at the same moment.
//!
//! # The algorithms
//!
//! *Back-off*: before each further attempt wait longer, up to a bound, and wait a random part of it ("full jitter", from
//! Brooker, "Exponential backoff and jitter", AWS architecture blog, 2015), so that a crowd is spread evenly over the
//! whole time.
//!
//! *Budget*: retries may be a share of the calls, not a number for each call (after the retry budgets of Finagle, and
//! Beyer et al., "Site reliability engineering", 2016, chapter 21). While few calls fail, all may be tried again;
//! when all fail, one in ten is. A few a second are always allowed, so that rarely used clients can try again too. Calls
//! and retries are counted in slices of a tenth of a window that slides over time.
//!
//! # Parameters
//!
//! | | meaning | unit | default |
//! |---|---|---|---|
//! | [`Backoff::first`] | the longest wait before the second attempt | time | 100 ms |
//! | [`Backoff::factor`] | by how much it grows from attempt to attempt | ratio, at least 1 | 1.6 |
//! | [`Backoff::delay_max`] | where it stops to grow | time | 10 s |
//! | [`RetryBudget::new`] | retries for each call | ratio | 0.1 |
//! | [`RetryBudget::per_second`] | retries that are always allowed | per second of the window | 10 |
//! | [`RetryBudget::window`] | for how long a call counts | time | 10 s |
//!
//! # Worst case
//!
//! A random wait may be close to zero. A budget that was saved up over a whole window may be spent at once. Over any time
//! `t`, `n` calls that were made in it or in the window before it allow at most
//! `ratio * n + per_second * (t + window)` retries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::zero::Zero;

/// How long to wait before the next attempt: a random part of a time that grows.
///
/// ```
/// use std::time::Duration;
/// use rpc_policy::{Backoff, Random};
///
/// let backoff = Backoff::default().first(Duration::from_millis(10)).delay_max(Duration::from_secs(1));
/// let random = Random::seeded(7);
/// assert!(backoff.delay(1, &random) <= Duration::from_millis(10));
/// assert!(backoff.delay(2, &random) <= Duration::from_millis(16));
/// assert!(backoff.delay(100, &random) <= Duration::from_secs(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "a back-off does nothing by itself"]
pub struct Backoff {
    first: Duration,
    factor: f64,
    delay_max: Duration,
}

impl Backoff {
    /// The longest wait before the second attempt.
    pub fn first(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    /// By how much the longest wait grows with each attempt. Below 1 it would shrink; then it stays as it is.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor.max(1.0);
        self
    }

    /// Beyond this no wait grows.
    pub fn delay_max(mut self, delay_max: Duration) -> Self {
        self.delay_max = delay_max;
        self
    }

    /// How long to wait after the failure of attempt number `attempt`, counted from 1: anything from nothing to
    /// [`Backoff::ceiling`].
    pub fn delay(&self, attempt: u32, random: &Random) -> Duration {
        random.between(Duration::ZERO, self.ceiling(attempt))
    }

    /// As [`Backoff::delay`], but at least half of the longest wait: for what must not be asked again at once.
    pub fn delay_at_least_half(&self, attempt: u32, random: &Random) -> Duration {
        let ceiling = self.ceiling(attempt);
        random.between(ceiling / 2, ceiling)
    }

    /// The longest wait after the failure of attempt number `attempt`, counted from 1.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let growths = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first.as_secs_f64() * self.factor.powi(growths);
        // What does not fit into a duration is above any bound.
        Duration::try_from_secs_f64(seconds)
            .map_or(self.delay_max, |delay| delay.min(self.delay_max))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            factor: 1.6,
            delay_max: Duration::from_secs(10),
        }
    }
}

/// How many retries there may be all in all: a share of the calls, and a few a second.
///
/// Threads share it by reference. Counting a call takes one atomic addition; only a retry, which is rare, takes a lock.
#[derive(Debug)]
pub struct RetryBudget {
    ratio: f64,
    per_second: u32,
    window: Duration,
    zero: Zero,
    calls: [Slice; SLICES],
    /// Under a lock, so that two threads cannot both take the last retry. The number of the slice, and the count.
    ///
    /// One slice more than for calls: the present slice has only begun, and what lies in the ten before it must not be
    /// forgotten before a whole window has passed.
    retries: Mutex<[(u32, u32); SLICES + 1]>,
}

impl RetryBudget {
    /// A budget of `ratio` retries for each call: 0.1 is one retry for ten calls. Negative ratios count as 0.
    pub fn new(ratio: f64) -> Self {
        Self {
            ratio: ratio.max(0.0),
            per_second: 10,
            window: Duration::from_secs(10),
            zero: Zero::default(),
            calls: Default::default(),
            retries: Mutex::default(),
        }
    }

    /// Retries that are allowed in any case, for each second of the window.
    pub fn per_second(mut self, per_second: u32) -> Self {
        self.per_second = per_second;
        self
    }

    /// For how long a call allows retries. Cut to between 10 ms and a day.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window.clamp(WINDOW_MIN, WINDOW_MAX);
        self
    }

    /// Counts a call, once however often it is tried.
    pub fn deposit(&self, now: Instant) {
        let number = self.slice_number(now);
        self.calls[number as usize % SLICES].count(number);
    }

    /// Takes one retry; `false` if none is left.
    pub fn withdraw(&self, now: Instant) -> bool {
        let number = self.slice_number(now);
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = total_of_last(SLICES, number, self.calls.iter().map(Slice::read));
        let taken = total_of_last(SLICES + 1, number, retries.iter().copied());
        let allowed = self.ratio * f64::from(calls) + self.always();
        let granted = f64::from(taken) + 1.0 <= allowed;
        if granted {
            let slice = &mut retries[number as usize % (SLICES + 1)];
            *slice = counted(*slice, number);
        }
        granted
    }

    fn always(&self) -> f64 {
        f64::from(self.per_second) * self.window.as_secs_f64()
    }

    /// The number of the slice of time in which `now` lies.
    fn slice_number(&self, now: Instant) -> u32 {
        let slice = self.window.as_nanos() / SLICES as u128;
        let number = u128::from(self.zero.nanos_until(now)) / slice;
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

impl Default for RetryBudget {
    /// One retry for ten calls and ten a second.
    fn default() -> Self {
        Self::new(0.1)
    }
}

/// How many calls there were in one slice of the window: the number of the slice in the upper half, the count in the
/// lower. In one word, so that a slice is begun anew and counted in without anybody seeing a half of it.
#[derive(Debug, Default)]
struct Slice(AtomicU64);

impl Slice {
    fn count(&self, number: u32) {
        let update = |word| Some(pack(counted(unpack(word), number)));
        // Cannot fail: the update is never refused. It needs no order, because a count is all there is to it.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    fn read(&self) -> (u32, u32) {
        unpack(self.0.load(Ordering::Relaxed))
    }
}

fn pack((number, count): (u32, u32)) -> u64 {
    u64::from(number) << 32 | u64::from(count)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, (word & 0xffff_ffff) as u32)
}

/// One more in slice `number`. Its place may still hold a slice that has left the window, or already one of the window
/// after, if this thread's time is old.
fn counted((present, count): (u32, u32), number: u32) -> (u32, u32) {
    if present < number {
        (number, 1)
    } else {
        (present, count.saturating_add(1))
    }
}

/// The sum over the last `many` slices, of which `number` is the very last.
fn total_of_last(many: usize, number: u32, slices: impl Iterator<Item = (u32, u32)>) -> u32 {
    slices
        .filter(|(present, _)| (number.saturating_sub(*present) as usize) < many)
        .fold(0, |sum, (_, count)| sum.saturating_add(count))
}

const SLICES: usize = 10;
const WINDOW_MIN: Duration = Duration::from_millis(10);
const WINDOW_MAX: Duration = Duration::from_secs(24 * 60 * 60);

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

    fn withdrawn(budget: &RetryBudget, now: Instant) -> usize {
        (0..10_000).filter(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn the_ceiling_grows_by_the_factor_up_to_the_bound() {
        let ceilings =
            [1, 2, 3, 10, 11, u32::MAX].map(|attempt| Backoff::default().ceiling(attempt));
        let expected = [100, 160, 256, 6_871, 10_000, 10_000].map(ms);
        for (ceiling, expected) in ceilings.into_iter().zip(expected) {
            assert!(
                ceiling.abs_diff(expected) <= ms(1),
                "{ceiling:?} is not {expected:?}"
            );
        }
    }

    #[test]
    fn odd_factors_do_no_harm() {
        for factor in [f64::NAN, 0.0, -3.0] {
            assert_eq!(Backoff::default().factor(factor).ceiling(9), ms(100));
        }
        let steep = Backoff::default().factor(f64::INFINITY);
        assert_eq!(steep.ceiling(2), ms(10_000));
    }

    #[test]
    fn a_quiet_client_may_try_again_ten_times_a_second() {
        let (budget, now) = (RetryBudget::default(), now());
        assert_eq!(withdrawn(&budget, now), 100);
        assert_eq!(withdrawn(&budget, now + ms(10_999)), 0);
        assert_eq!(withdrawn(&budget, now + ms(11_000)), 100);
    }

    #[test]
    fn one_retry_for_ten_calls() {
        let (budget, now) = (RetryBudget::new(0.1).per_second(0), now());
        (0..999).for_each(|_| budget.deposit(now));
        assert_eq!(withdrawn(&budget, now + ms(5_000)), 99);
        budget.deposit(now);
        assert_eq!(withdrawn(&budget, now + ms(5_000)), 1);
    }

    #[test]
    fn calls_count_for_one_window_only() {
        let (budget, now) = (RetryBudget::new(0.1).per_second(0), now());
        (0..100).for_each(|_| budget.deposit(now));
        assert_eq!(withdrawn(&budget, now + ms(10_000)), 0);
        assert_eq!(withdrawn(&budget, now + ms(9_999)), 10);
    }

    #[test]
    fn a_budget_of_nothing_grants_nothing() {
        let now = now();
        for ratio in [0.0, -1.0, f64::NAN] {
            let budget = RetryBudget::new(ratio).per_second(0);
            (0..1_000).for_each(|_| budget.deposit(now));
            assert_eq!(withdrawn(&budget, now), 0);
        }
    }

    #[test]
    fn threads_share_one_budget() {
        let (budget, now) = (Arc::new(RetryBudget::default()), now());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let budget = Arc::clone(&budget);
                thread::spawn(move || {
                    (0..1_000).for_each(|_| budget.deposit(now));
                    withdrawn(&budget, now)
                })
            })
            .collect();
        let all: usize = threads.into_iter().map(|one| one.join().unwrap()).sum();
        assert_eq!(all, 4_000 / 10 + 100);
    }

    proptest! {
        #[test]
        fn jitter_stays_inside_its_bounds(seed: u64, attempt: u32, first in 0_u64..100_000, max in 0_u64..100_000) {
            let backoff = Backoff::default().first(ms(first)).delay_max(ms(max));
            let random = Random::seeded(seed);
            let ceiling = backoff.ceiling(attempt);
            prop_assert!(ceiling <= ms(max));
            prop_assert!(backoff.delay(attempt, &random) <= ceiling);
            let half = backoff.delay_at_least_half(attempt, &random);
            prop_assert!(ceiling / 2 <= half && half <= ceiling);
        }

        #[test]
        fn retries_never_exceed_the_share_of_calls_and_the_rate(
            steps in prop::collection::vec((0_u64..3_000, 0_u32..200, 0_u32..200), 1..100),
        ) {
            let (budget, start) = (RetryBudget::default(), now());
            let mut at = 0;
            let mut history = Vec::new();
            for (pause, calls, failures) in steps {
                at += pause;
                let now = start + ms(at);
                (0..calls).for_each(|_| budget.deposit(now));
                let retries = (0..failures).filter(|_| budget.withdraw(now)).count();
                history.push((at, calls, u32::try_from(retries).unwrap()));
            }
            for (first, (from, ..)) in history.iter().enumerate() {
                let mut retried = 0;
                for (until, _, retries) in &history[first..] {
                    retried += retries;
                    let before = from.saturating_sub(10_000);
                    let counted = history.iter().filter(|(at, ..)| (before..=*until).contains(at));
                    let calls: u32 = counted.map(|(_, calls, _)| calls).sum();
                    let seconds = f64::from(u32::try_from(until - from).unwrap()) / 1_000.0;
                    let bound = 0.1 * f64::from(calls) + 10.0 * (seconds + 10.0);
                    prop_assert!(f64::from(retried) <= bound + 1e-9, "{} retries in {} s", retried, seconds);
                }
            }
        }
    }
}
