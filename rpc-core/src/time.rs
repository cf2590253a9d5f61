//! The only file that asks the system for the time.
//!
//! Everything else is told: machines and policies take an [`Instant`] as an argument, and whoever must read a clock
//! is handed a [`Clock`], which a test or a simulation replaces by one that it turns itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Tells the time: the system's monotonic clock, or one that is moved by hand.
#[derive(Clone, Default)]
pub struct Clock {
    /// `None` is the system's clock, so that the common clock costs nothing to copy.
    manual: Option<Arc<Hand>>,
}

impl Clock {
    /// The monotonic clock of the system. Steps of the wall clock do not move it.
    pub const fn system() -> Self {
        Self { manual: None }
    }

    /// A clock that stands still until its [`ManualClock`] moves it.
    pub fn manual() -> (Self, ManualClock) {
        let hand = Arc::new(Hand {
            base: system_now(),
            nanos: AtomicU64::new(0),
        });
        (
            Self {
                manual: Some(Arc::clone(&hand)),
            },
            ManualClock { hand },
        )
    }

    /// Whether it is moved by hand.
    pub fn is_manual(&self) -> bool {
        self.manual.is_some()
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        match &self.manual {
            None => system_now(),
            Some(hand) => hand.now(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_manual() {
            "Clock::manual"
        } else {
            "Clock::system"
        })
    }
}

/// Moves the [`Clock`] it was made with.
#[derive(Clone)]
pub struct ManualClock {
    hand: Arc<Hand>,
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.hand.nanos.fetch_add(nanos, Ordering::SeqCst);
    }

    /// The time that the clock shows.
    pub fn now(&self) -> Instant {
        self.hand.now()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ManualClock(+{} ns)",
            self.hand.nanos.load(Ordering::SeqCst)
        )
    }
}

struct Hand {
    base: Instant,
    nanos: AtomicU64,
}

impl Hand {
    fn now(&self) -> Instant {
        self.base + Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that may")]
fn system_now() -> Instant {
    Instant::now()
}

/// Rings an [`Alarm`] at a point in time. Event loops and simulations implement it.
pub trait Timer: Send + Sync {
    /// Rings `alarm` at `at` or soon after; at once when `at` has passed.
    fn ring_at(&self, at: Instant, alarm: Arc<Alarm>);
}

/// What a [`Timer`] rings: it remembers that it rang and wakes whoever waits for it.
#[derive(Debug, Default)]
pub struct Alarm {
    state: Mutex<AlarmState>,
}

#[derive(Debug, Default)]
struct AlarmState {
    rang: bool,
    waiting: Option<Waker>,
}

impl Alarm {
    /// Rings. Ringing twice changes nothing.
    pub fn ring(&self) {
        let waiting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.rang = true;
            state.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Ready once the alarm has rung.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.rang {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A future that is ready at a point in time. Made by [`crate::Context::sleep`].
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    at: Instant,
    clock: Clock,
    timer: Option<Arc<dyn Timer>>,
    alarm: Option<Arc<Alarm>>,
}

impl Sleep {
    /// Ready at `at`. Without a timer, that is outside of any loop, a thread of its own waits.
    pub fn until(at: Instant, clock: Clock, timer: Option<Arc<dyn Timer>>) -> Self {
        Self {
            at,
            clock,
            timer,
            alarm: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(alarm) = &self.alarm {
            return alarm.poll_rung(cx);
        }
        if self.clock.now() >= self.at {
            return Poll::Ready(());
        }
        let alarm = Arc::<Alarm>::default();
        let rung = alarm.poll_rung(cx);
        match &self.timer {
            Some(timer) => timer.ring_at(self.at, Arc::clone(&alarm)),
            None => ring_from_a_thread(&self.clock, self.at, &alarm),
        }
        self.alarm = Some(alarm);
        rung
    }
}

/// Outside of any loop nobody else measures time.
fn ring_from_a_thread(clock: &Clock, at: Instant, alarm: &Arc<Alarm>) {
    let (clock, ring) = (clock.clone(), Arc::clone(alarm));
    let waiting = thread::Builder::new()
        .name("tern-sleep".into())
        .spawn(move || {
            loop {
                let left = at.saturating_duration_since(clock.now());
                if left.is_zero() {
                    return ring.ring();
                }
                thread::park_timeout(left);
            }
        });
    if waiting.is_err() {
        // Whoever sleeps must not sleep for ever.
        alarm.ring();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual();
        let start = clock.now();
        assert_eq!(clock.now(), start);
        hand.advance(Duration::from_millis(3));
        assert_eq!(clock.now() - start, Duration::from_millis(3));
    }

    #[test]
    fn a_sleep_outside_of_any_loop_ends() {
        let clock = Clock::system();
        let at = clock.now() + Duration::from_millis(5);
        assert_eq!(
            crate::park::wait(Sleep::until(at, clock.clone(), None)),
            Some(())
        );
        assert!(clock.now() >= at);
    }

    #[test]
    fn an_alarm_that_rang_before_anyone_waited_is_still_heard() {
        let alarm = Alarm::default();
        alarm.ring();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(alarm.poll_rung(&mut cx), Poll::Ready(()));
    }
}
