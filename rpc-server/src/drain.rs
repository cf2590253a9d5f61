//! How a server leaves.
//!
//! ```text
//!            drain                close_wait is over             grace is over
//!   Serving ───────▶ CloseWait ──────────────────────▶ Draining ───────────────▶ Cut ──▶ Ended
//!                      accepts and answers,              answers; ends connections    answers what is left
//!                      marks its answers                 that have fallen quiet       with an error
//! ```

use std::sync::atomic::Ordering;
use std::time::Duration;

use rpc_core::{Code, Status};
use rpc_net::{End, IoOf};

use crate::desk::Desk;
use crate::driver::{Alarm, Due, ServerDriver};

/// How far a server has gone in leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    CloseWait,
    Draining,
    Cut,
    Ended,
}

/// How often a leaving server looks for connections that have fallen quiet.
const SWEEP: Duration = Duration::from_millis(50);
/// How long a connection has to be quiet until a leaving server ends it: a request may be on its way. A peer that no answer
/// has told yet is told first, and has as long again: of a request that crosses the FIN of its server it could not know
/// otherwise that it was not run.
const QUIET: Duration = Duration::from_millis(100);
/// How long the last answers have to get out after the grace time.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// What is said of what did not end within the grace time.
const CLOSING: &str = "the server is closing";

impl Phase {
    /// Whether answers carry the mark of a server that is about to stop.
    pub(crate) fn is_leaving(self) -> bool {
        self != Self::Serving
    }

    /// Whether the loop may end.
    pub(crate) fn end(self) -> End {
        match self {
            Self::Serving | Self::CloseWait => End::Open,
            Self::Draining | Self::Cut => End::WhenEmpty,
            Self::Ended => End::Now,
        }
    }
}

impl Desk {
    /// Begins to leave. Beginning twice changes nothing.
    pub(crate) fn begin_draining(
        &mut self,
        close_wait: Duration,
        grace: Duration,
        io: &mut IoOf<ServerDriver>,
    ) {
        if self.phase != Phase::Serving {
            return;
        }
        self.phase = Phase::CloseWait;
        self.shared.drain_started();
        io.set_timer(io.now() + close_wait, Due(Alarm::CloseWaitOver));
        io.set_timer(io.now() + grace, Due(Alarm::GraceOver));
    }

    /// Accepts nothing more.
    pub(crate) fn stop_accepting(&mut self, io: &mut IoOf<ServerDriver>) {
        if self.phase == Phase::CloseWait {
            self.phase = Phase::Draining;
            io.stop_listening();
            self.sweep(io);
        }
    }

    /// Ends connections on which nothing has happened for a while.
    pub(crate) fn sweep(&mut self, io: &mut IoOf<ServerDriver>) {
        if self.phase != Phase::Draining {
            return;
        }
        let now = io.now();
        let since = now.checked_sub(QUIET).unwrap_or(now);
        for key in io.keys() {
            let machine = io.machine(key);
            let quiet = machine.filter(|machine| machine.is_quiet_since(since));
            let Some(has_told) = quiet.map(|machine| machine.has_told_of_leaving()) else {
                continue;
            };
            if io.queued_bytes(key) > 0 {
                continue;
            }
            if has_told {
                io.finish(key);
            } else if let Some((machine, output)) = io.write(key) {
                machine.tell_of_leaving(output, now);
            }
        }
        io.set_timer(io.now() + SWEEP, Due(Alarm::Sweep));
    }

    /// The grace time is over: answers what still runs with an error, then ends every connection.
    pub(crate) fn cut(&mut self, io: &mut IoOf<ServerDriver>) {
        if matches!(self.phase, Phase::Cut | Phase::Ended) {
            return;
        }
        self.phase = Phase::Cut;
        io.stop_listening();
        let running = self.calls.all();
        self.shared.cut.fetch_add(running.len(), Ordering::Relaxed);
        for call in running {
            self.end(call, Status::new(Code::Internal, CLOSING), io);
        }
        for key in io.keys() {
            if let Some((machine, _)) = io.write(key) {
                // Some have been answered, and their peers make no room for the last messages.
                machine.cut_streams(Code::Internal, CLOSING);
            }
            io.finish(key);
        }
        io.set_timer(io.now() + LAST_WORDS, Due(Alarm::End));
    }
}
