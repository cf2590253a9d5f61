//! [`Rounds`]: what one contestant did in one cell, round by round.

use std::time::Duration;

use super::Options;
use crate::cell::Cell;
use crate::contestant::Contestant;
use crate::figures::Figures;
use crate::load::{Load, LoadError, Outcome, Pace, Plan};
use crate::process::ServerProcess;

/// What one contestant did in one round.
#[derive(Debug, Clone)]
pub struct Round {
    /// What its client saw.
    pub outcome: Outcome,
    /// Microseconds that its threads ran for each request.
    pub cpu_us: f64,
    /// The most memory that it has had, in bytes.
    pub memory_peak: u64,
    /// System calls for each request; `None` where nothing counts them.
    pub syscalls: Option<f64>,
}

impl Round {
    /// The latency in microseconds that half of the calls did not exceed.
    pub fn p50(&self) -> f64 {
        self.outcome.quantile_us(0.5)
    }

    /// The latency in microseconds that 99 of 100 calls did not exceed.
    pub fn p99(&self) -> f64 {
        self.outcome.quantile_us(0.99)
    }
}

/// All rounds of one contestant in one cell.
#[derive(Debug, Clone, Default)]
pub struct Rounds {
    all: Vec<Round>,
    /// Why there are no more rounds.
    pub failure: Option<String>,
}

impl Rounds {
    /// A figure of each round.
    pub fn figures(&self, figure: impl Fn(&Round) -> f64) -> Figures {
        self.all.iter().map(figure).collect()
    }

    /// System calls for each request, of each round that counted them.
    pub fn syscalls(&self) -> Figures {
        self.all.iter().filter_map(|round| round.syscalls).collect()
    }

    /// This one's figure in relation to that of another, round by round.
    pub fn against(&self, other: Option<&Self>, ratio: impl Fn(&Round, &Round) -> f64) -> Figures {
        let others = other.map_or(&[][..], |other| &other.all);
        let pairs = self.all.iter().zip(others);
        pairs.map(|(own, other)| ratio(own, other)).collect()
    }

    /// Measures one round more. Who has failed once is left alone.
    pub(super) fn measure(
        &mut self,
        contestant: &dyn Contestant,
        cell: Cell,
        options: &Options,
        is_pinned: bool,
    ) {
        if self.failure.is_none() {
            let measured = self.try_measure(contestant, cell, options, is_pinned);
            self.failure = measured.err();
        }
    }

    fn try_measure(
        &mut self,
        contestant: &dyn Contestant,
        cell: Cell,
        options: &Options,
        is_pinned: bool,
    ) -> Result<(), String> {
        let server = contestant.start(is_pinned)?;
        let failed = |error: LoadError| error.to_string();
        let plan = plan(contestant, cell, Pace::Closed);
        let mut load = Load::connect(server.address(), plan).map_err(failed)?;
        let round = measure(&server, &mut load, options).map_err(failed)?;
        load.finish().map_err(failed)?;
        self.all.push(round);
        drop(load);
        server.end();
        Ok(())
    }
}

impl FromIterator<Round> for Rounds {
    fn from_iter<I: IntoIterator<Item = Round>>(rounds: I) -> Self {
        Self {
            all: rounds.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// What is asked of a contestant in a cell.
pub(super) fn plan(contestant: &dyn Contestant, cell: Cell, pace: Pace) -> Plan {
    Plan {
        protocol: contestant.protocol(),
        method: "Echo",
        connections: cell.connections,
        in_flight: cell.in_flight,
        payload: cell.payload,
        pace,
    }
}

fn measure(server: &ServerProcess, load: &mut Load, options: &Options) -> Result<Round, LoadError> {
    load.run(options.warm_up)?;
    let before = server.cpu_time();
    let outcome = load.run(options.window)?;
    let cpu = server.cpu_time().saturating_sub(before);
    let memory_peak = server.memory_peak();
    Ok(Round {
        cpu_us: cpu.as_secs_f64() * 1e6 / outcome.requests as f64,
        memory_peak,
        outcome,
        syscalls: syscalls(server, load)?,
    })
}

/// System calls of the server for each request; in a run of their own, because counting them costs.
fn syscalls(server: &ServerProcess, load: &mut Load) -> Result<Option<f64>, LoadError> {
    load.finish()?;
    let counted = server.count_syscalls(|| {
        let outcome = load.run(Duration::from_millis(300));
        load.finish().and(outcome)
    });
    let Some((count, outcome)) = counted else {
        return Ok(None);
    };
    Ok(Some(count as f64 / outcome?.requests as f64))
}
