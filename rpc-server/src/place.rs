//! [`Settling`]: a method that finds its own place, on the default pool or on the loops.
//!
//! Workers and loops measure its runs and tell its [`Placement`], which decides. Requests whose bodies are packed are
//! left out: what they grow to is unknown, so they never run on a loop.

use std::cell::OnceCell;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rpc_core::{Clock, Event, MethodDescriptor, Move};
use rpc_net::Post;
use rpc_policy::place::{Placement, Run};

use crate::desk::Desk;
use crate::driver::Mail;
use crate::in_place::Served;
use crate::preempted::Preempted;
use crate::router::Route;
use crate::shared::Shared;

/// A method that finds its own place. All loops of a server share it.
#[derive(Debug)]
pub(crate) struct Settling {
    method: &'static MethodDescriptor,
    placement: Placement,
}

impl Settling {
    pub(crate) fn new(method: &'static MethodDescriptor, budget: Duration) -> Arc<Self> {
        Arc::new(Self {
            method,
            placement: Placement::new(budget),
        })
    }

    /// Whether its requests are served in place now.
    pub(crate) fn is_on_loop(&self) -> bool {
        self.placement.is_on_loop()
    }
}

/// Polls a handler on a pool for the first time, and measures how long that takes if it decides where later ones run. One
/// that is not done then had to wait, and how long it takes from then on makes no difference.
pub(crate) fn measured<T>(
    settling: Option<&Arc<Settling>>,
    clock: &Clock,
    post: &Post<Mail>,
    poll: impl FnOnce() -> Poll<T>,
) -> Poll<T> {
    let Some(settling) = settling else {
        return poll();
    };
    let begin = clock.now();
    let polled = poll();
    let run = match polled {
        Poll::Ready(_) => Run::Took(clock.now().saturating_duration_since(begin)),
        Poll::Pending => Run::Waited,
    };
    if let Some(how) = settling.placement.ran_on_pool(run) {
        // A loop that has ended tells nobody.
        let _ = post.send(Mail::moved(settling.method, how));
    }
    polled
}

/// Measures runs on a loop. Two readings of the clock for each: to take the end of one for the beginning of the next was
/// tried, gained nothing that could be measured at 8x64 (`benches/benches/compare.rs`), and charged methods with what runs
/// beside them.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    /// Known from the first run on: only then is this the thread of the loop. `None` if nobody says.
    preempted: OnceCell<Option<Preempted>>,
}

impl Stopwatch {
    /// A run begins.
    fn begin(&mut self, clock: &Clock) -> Instant {
        let at = clock.now();
        self.preempted.get_or_init(|| {
            // A clock that is moved by hand is not moved by the system.
            (!clock.is_manual()).then(|| Preempted::watch(at)).flatten()
        });
        if let Some(Some(preempted)) = self.preempted.get_mut() {
            preempted.look(at);
        }
        at
    }

    /// What is left of the time of a run that has just ended without what the system has taken from this thread.
    fn without_preemption(&mut self, took: Duration, now: Instant) -> Duration {
        match self.preempted.get_mut() {
            Some(Some(preempted)) => took.saturating_sub(preempted.since_last_look(now)),
            _ => took,
        }
    }
}

impl Desk {
    /// A run in place begins. `None` if nobody wants to know how long it takes.
    pub(crate) fn begin_run(&mut self, route: &Route) -> Option<Instant> {
        route.settling.as_ref()?;
        Some(self.stopwatch.begin(&self.shared.clock))
    }

    /// A run in place has ended, or has to wait.
    pub(crate) fn end_run(&mut self, route: &Route, begin: Option<Instant>, served: &Served) {
        let (Some(settling), Some(begin)) = (&route.settling, begin) else {
            return;
        };
        let how = match served {
            Served::Waits(..) => settling.placement.ran_on_loop(Run::Waited),
            Served::Done(_) => self.took(settling, begin),
        };
        if let Some(how) = how {
            self.shared.moved(settling.method, how);
        }
    }

    fn took(&mut self, settling: &Settling, begin: Instant) -> Option<Move> {
        let now = self.shared.clock.now();
        let took = now.saturating_duration_since(begin);
        if !settling.placement.overshoots(Run::Took(took)) {
            return None;
        }
        let took = self.stopwatch.without_preemption(took, now);
        settling.placement.ran_on_loop(Run::Took(took))
    }
}

impl Shared {
    /// Tells of a move.
    pub(crate) fn moved(&self, method: &'static MethodDescriptor, how: Move) {
        tracing::info!(method = method.path, "moved {how}");
        self.observe(&Event::Moved { method, how });
    }
}
