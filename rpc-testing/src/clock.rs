//! A timer for calls that pass no event loop: one thread, started when somebody sleeps for the first time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rpc_core::time::Alarm;
use rpc_core::{Clock, Timer};
use rpc_net::timer::TimerWheel;

/// Rings alarms by the system's clock. Its thread ends when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Ringer {
    state: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Not there until the thread is.
    wheel: Option<TimerWheel<Arc<Alarm>>>,
    is_over: bool,
}

impl Timer for Ringer {
    fn ring_at(&self, at: Instant, alarm: Arc<Alarm>) {
        let mut state = self.state.lock();
        let wheel = state.wheel.get_or_insert_with(|| {
            let shared = Arc::clone(&self.state);
            thread::Builder::new()
                .name("tern-loopback".into())
                .spawn(move || shared.ring_until_over())
                .expect("a test can start a thread");
            TimerWheel::new(Clock::system().now())
        });
        wheel.insert(at, alarm);
        self.state.changed.notify_one();
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        self.state.lock().is_over = true;
        self.state.changed.notify_one();
    }
}

impl Shared {
    fn ring_until_over(&self) {
        let clock = Clock::system();
        let mut state = self.lock();
        while !state.is_over {
            let mut due = Vec::new();
            if let Some(wheel) = &mut state.wheel {
                wheel.expire(clock.now(), &mut due);
            }
            if !due.is_empty() {
                drop(state);
                // Whoever is woken may want to sleep again at once.
                for alarm in due {
                    alarm.ring();
                }
                state = self.lock();
                continue;
            }
            let next = state.wheel.as_ref().and_then(TimerWheel::next_at);
            let wait = next.map_or(FOREVER, |at| at.saturating_duration_since(clock.now()));
            let waited = self.changed.wait_timeout(state, wait.max(TICK));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const FOREVER: Duration = Duration::from_secs(3600);
/// The wheel counts in these, so to look more often is of no use.
const TICK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use rpc_core::park;

    use super::*;

    #[test]
    fn rings_in_time_and_not_before() {
        let ringer = Ringer::default();
        let clock = Clock::system();
        let start = clock.now();
        let alarms = [30, 10, 20].map(|millis| {
            let alarm = Arc::<Alarm>::default();
            let at = start + Duration::from_millis(millis);
            ringer.ring_at(at, Arc::clone(&alarm));
            (at, alarm)
        });
        for (at, alarm) in alarms {
            park::wait(poll_fn(|cx| alarm.poll_rung(cx))).unwrap();
            assert!(clock.now() >= at);
        }
    }
}
