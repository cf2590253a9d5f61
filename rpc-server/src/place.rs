//! [`Settling`]: a method that finds its own place, on the default pool or on the loops.
//!
//! Workers and loops measure its runs and tell its [`Placement`], which decides. Requests whose bodies are packed are
//! left out: what they grow to is unknown, so they never run on a loop.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rpc_core::{Clock, Compression, Event, MethodDescriptor, Move};
use rpc_net::{Key, Post};
use rpc_policy::place::{Placement, Run};

use crate::calls::CallKey;
use crate::dispatch::Inline;
use crate::driver::{Mail, ServerDriver};
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

/// Measures one run on a pool.
#[derive(Debug)]
pub(crate) struct Watch {
    settling: Arc<Settling>,
    clock: Clock,
}

impl Watch {
    pub(crate) fn new(
        settling: Option<&Arc<Settling>>,
        compression: Compression,
        clock: &Clock,
    ) -> Option<Self> {
        let settling = settling.filter(|_| compression == Compression::None)?;
        Some(Self {
            settling: Arc::clone(settling),
            clock: clock.clone(),
        })
    }

    /// Polls a handler, for the first time if there is a watch. One that is not done then had to wait, and how long it
    /// takes from then on makes no difference.
    pub(crate) fn polled<T>(
        watch: &mut Option<Self>,
        post: &Post<Mail>,
        poll: impl FnOnce() -> Poll<T>,
    ) -> Poll<T> {
        let Some(Self { settling, clock }) = watch.take() else {
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
}

/// Measures runs on a loop.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    last: Option<Lap>,
    preempted: Option<Preempted>,
}

/// A run on a loop that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lap {
    link: Key,
    call: CallKey,
    turn: Instant,
    at: Instant,
}

impl Stopwatch {
    /// A run begins. If it is of the same connection and turn as the one before, next to nothing lies between the two, and
    /// the end of that one is the beginning of this: one reading of the clock for a request instead of two, where
    /// requests are many.
    fn begin(&mut self, link: Key, call: CallKey, turn: Instant, clock: &Clock) -> Lap {
        let last = self.last.filter(|last| {
            (last.link, last.turn) == (link, turn) && call.comes_next_after(last.call)
        });
        let at = last.map_or_else(|| clock.now(), |last| last.at);
        match &mut self.preempted {
            Some(preempted) => preempted.look(at),
            // A clock that is moved by hand is not moved by the system.
            None if self.last.is_none() && !clock.is_manual() => {
                self.preempted = Preempted::watch(at);
            }
            None => {}
        }
        Lap {
            link,
            call,
            turn,
            at,
        }
    }

    /// A run has ended. Says how long it took.
    fn end(&mut self, lap: Lap, clock: &Clock) -> Duration {
        let at = clock.now();
        self.last = Some(Lap { at, ..lap });
        at.saturating_duration_since(lap.at)
    }

    /// The same without what the system has taken from this thread meanwhile.
    fn without_preemption(&mut self, took: Duration) -> Duration {
        let (Some(last), Some(preempted)) = (self.last, &mut self.preempted) else {
            return took;
        };
        took.saturating_sub(preempted.since_last_look(last.at))
    }
}

impl ServerDriver {
    /// A run in place begins. `None` if nobody wants to know how long it takes.
    pub(crate) fn begin_lap(
        &mut self,
        route: &Route,
        link: Key,
        call: CallKey,
        turn: Instant,
    ) -> Option<Lap> {
        route.settling.as_ref()?;
        Some(self.stopwatch.begin(link, call, turn, &self.shared.clock))
    }

    /// A run in place has ended, or has to wait.
    pub(crate) fn end_lap(&mut self, route: &Route, lap: Option<Lap>, served: &Inline) {
        let (Some(settling), Some(lap)) = (&route.settling, lap) else {
            return;
        };
        let mut run = match served {
            Inline::Done(_) => Run::Took(self.stopwatch.end(lap, &self.shared.clock)),
            Inline::Waits(..) => Run::Waited,
        };
        if let Run::Took(took) = &mut run
            && settling.placement.overshoots(Run::Took(*took))
        {
            *took = self.stopwatch.without_preemption(*took);
        }
        if let Some(how) = settling.placement.ran_on_loop(run) {
            self.shared.moved(settling.method, how);
        }
    }
}

impl Shared {
    /// Tells of a move.
    pub(crate) fn moved(&self, method: &'static MethodDescriptor, how: Move) {
        tracing::info!(method = method.path, "moved {how}");
        self.observe(&Event::Moved { method, how });
    }
}
