//! The gates: what Tern has promised itself, and whether a run holds it.
//!
//! A gate must hold; a stretch goal sounds impossible. Both are ratios within one run wherever there is somebody to
//! compare with, so that they mean the same on another machine. The median over the rounds is judged.

mod rows;

use std::fmt;

pub use self::rows::GATES;
use crate::cell::{self, Cell};
use crate::compare::{Measured, Round, Rounds};
use crate::figures::{Figures, short};
use crate::report::Table;

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// The row of the table of goals that it stands in; some rows have several parts.
    pub row: u8,
    /// Who must keep it.
    pub own: &'static str,
    /// What is looked at.
    pub quantity: Quantity,
    /// What must be reached.
    pub gate: f64,
    /// What would be better still.
    pub stretch: Option<f64>,
}

/// What a gate looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Quantity {
    /// Requests a second and server core, as a multiple of another's. The only quantity of which more is better.
    PerCore(Cell, &'static str),
    /// CPU time for each request, as a multiple of another's.
    Cpu(Cell, &'static str),
    /// The latency of the middle call, as a multiple of another's.
    P50(Cell, &'static str),
    /// The latency that 99 of 100 calls do not exceed, as a multiple of another's.
    P99(Cell, &'static str),
    /// System calls for each request.
    Syscalls(Cell),
    /// Bytes for each idle connection.
    IdleBytes,
    /// Allocations for each request: a test of its own counts them.
    Allocations,
    /// Milliseconds from the start of the program to its first answer.
    StartMs,
    /// Megabytes of the program without symbols.
    Megabytes,
    /// Crates in the run-time tree of the facade with its default features.
    Crates,
}

impl Quantity {
    fn cell(self) -> Option<Cell> {
        match self {
            Self::PerCore(cell, _)
            | Self::Cpu(cell, _)
            | Self::P50(cell, _)
            | Self::P99(cell, _)
            | Self::Syscalls(cell) => Some(cell),
            _ => None,
        }
    }

    fn reference(self) -> Option<&'static str> {
        match self {
            Self::PerCore(_, name)
            | Self::Cpu(_, name)
            | Self::P50(_, name)
            | Self::P99(_, name) => Some(name),
            _ => None,
        }
    }

    /// Whether `figure` reaches `bound`.
    fn reaches(self, figure: f64, bound: f64) -> bool {
        match self {
            Self::PerCore(..) => figure >= bound,
            _ => figure <= bound,
        }
    }

    fn bound(self, bound: f64) -> String {
        let sign = if matches!(self, Self::PerCore(..)) {
            '≥'
        } else {
            '≤'
        };
        format!("{sign} {bound}")
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerCore(cell, other) => write!(f, "req/s/core ÷ {other}, {cell}"),
            Self::Cpu(cell, other) => write!(f, "CPU ÷ {other}, {cell}"),
            Self::P50(cell, other) => write!(f, "p50 ÷ {other}, {cell}"),
            Self::P99(cell, other) => write!(f, "p99 ÷ {other}, {cell}"),
            Self::Syscalls(cell) => write!(f, "syscalls/req, {cell}"),
            Self::IdleBytes => f.write_str("bytes per idle connection"),
            Self::Allocations => f.write_str("allocations/req, 32 B and 1 KiB"),
            Self::StartMs => f.write_str("ms from start to first answer"),
            Self::Megabytes => f.write_str("MB of the stripped program"),
            Self::Crates => f.write_str("crates in the run-time tree"),
        }
    }
}

/// What became of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The stretch goal is reached, and so is the gate.
    Stretch,
    /// The gate is reached.
    Holds,
    /// It is not.
    Missed,
    /// Nobody knows, and why.
    NotMeasured(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stretch => f.write_str("STRETCH"),
            Self::Holds => f.write_str("holds"),
            Self::Missed => f.write_str("MISSED"),
            Self::NotMeasured(why) => write!(f, "not measured here: {why}"),
        }
    }
}

impl Gate {
    /// What a run says about it.
    pub fn judge(&self, measured: &Measured) -> (Figures, Verdict) {
        let figures = self.figures(measured);
        let verdict = match (figures.median(), self.stretch) {
            (None, _) => Verdict::NotMeasured(self.why_not(measured)),
            (Some(figure), Some(stretch)) if self.quantity.reaches(figure, stretch) => {
                Verdict::Stretch
            }
            (Some(figure), _) if self.quantity.reaches(figure, self.gate) => Verdict::Holds,
            _ => Verdict::Missed,
        };
        (figures, verdict)
    }

    fn figures(&self, measured: &Measured) -> Figures {
        let ratio = |cell, other, ratio: fn(&Round, &Round) -> f64| {
            let own = measured.rounds(self.own, cell);
            let other = measured.rounds(other, cell);
            own.map_or_else(Figures::default, |own| own.against(other, ratio))
        };
        let one = |figure: Option<f64>| figure.into_iter().collect();
        match self.quantity {
            Quantity::PerCore(cell, other) => ratio(cell, other, |own, it| it.cpu_us / own.cpu_us),
            Quantity::Cpu(cell, other) => ratio(cell, other, |own, it| own.cpu_us / it.cpu_us),
            Quantity::P50(cell, other) => ratio(cell, other, |own, it| own.p50() / it.p50()),
            Quantity::P99(cell, other) => ratio(cell, other, |own, it| own.p99() / it.p99()),
            Quantity::Syscalls(cell) => {
                let rounds = measured.rounds(self.own, cell);
                rounds.map_or_else(Figures::default, Rounds::syscalls)
            }
            Quantity::IdleBytes => one(measured.idle(self.own).map(|idle| idle.bytes)),
            Quantity::Allocations => Figures::default(),
            Quantity::StartMs => measured.start_ms(self.own),
            Quantity::Megabytes => {
                let bytes = measured.stripped(self.own);
                one(bytes.map(|bytes| bytes as f64 / 1e6))
            }
            Quantity::Crates => one(measured.crates.map(|count| count as f64)),
        }
    }

    fn why_not(&self, measured: &Measured) -> String {
        let parties = [self.quantity.reference(), Some(self.own)];
        let parties = || parties.iter().flatten();
        let mut absences = parties().filter_map(|name| Some((name, measured.absence(name)?)));
        if let Some((name, why)) = absences.next() {
            // A compiler says more than a table has room for; all of it stands where contestants are listed.
            let why = why.lines().next().unwrap_or_default();
            return format!("without {name}, {why}");
        }
        match self.quantity {
            Quantity::Allocations => {
                "`cargo test -p tern-benches --release --test allocations` holds it".to_owned()
            }
            Quantity::Syscalls(cell) if measured.rounds(self.own, cell).is_some() => {
                "neither perf nor strace counts here".to_owned()
            }
            Quantity::Megabytes if measured.start_ms(self.own).median().is_some() => {
                "there is no strip".to_owned()
            }
            Quantity::Crates => "Cargo does not tell".to_owned(),
            quantity => {
                let failed = |name: &&&str| {
                    let rounds = measured.rounds(name, quantity.cell()?)?;
                    rounds.failure.as_ref().map(|_| ())
                };
                match parties().find(|name| failed(name).is_some()) {
                    Some(name) => format!("{name} failed"),
                    None => "not in this run".to_owned(),
                }
            }
        }
    }
}

/// The cells that gates ask for, in the order of a run over everything.
pub fn cells() -> Vec<Cell> {
    let asked = |cell: &Cell| {
        let mut cells = GATES.iter().filter_map(|gate| gate.quantity.cell());
        cells.any(|other| other == *cell)
    };
    cell::all().into_iter().filter(asked).collect()
}

/// Whether a gate looks at this contestant in a cell or, for `None`, at something else of it.
pub fn asks(name: &str, cell: Option<Cell>) -> bool {
    GATES.iter().any(|gate| {
        let is_party = gate.own == name || gate.quantity.reference() == Some(name);
        is_party && gate.quantity.cell() == cell && gate.quantity != Quantity::Allocations
    })
}

/// All gates, and how many of them are missed.
pub fn judge(measured: &Measured) -> (Table, usize) {
    let columns = [
        "row", "who", "what", "median", "range", "gate", "stretch", "verdict",
    ];
    let mut table = Table::new(&columns).with_text_columns(&[1, 2, 7]);
    let mut missed = 0;
    for gate in GATES {
        let (figures, verdict) = gate.judge(measured);
        missed += usize::from(verdict == Verdict::Missed);
        let range = figures.min().zip(figures.max());
        let range = range.map(|(min, max)| (short(min), short(max)));
        let range = range.filter(|(min, max)| min != max);
        let stretch = gate.stretch.map(|stretch| gate.quantity.bound(stretch));
        table.row([
            gate.row.to_string(),
            gate.own.to_owned(),
            gate.quantity.to_string(),
            figures.median().map_or_else(dash, short),
            range.map_or_else(dash, |(min, max)| format!("{min}–{max}")),
            gate.quantity.bound(gate.gate),
            stretch.unwrap_or_else(dash),
            verdict.to_string(),
        ]);
    }
    (table, missed)
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;

    use super::*;
    use crate::compare::Idle;
    use crate::load::Outcome;

    fn idle_gate() -> &'static Gate {
        let mut gates = GATES.iter();
        let gate = gates.find(|gate| gate.quantity == Quantity::IdleBytes);
        gate.expect("there is one")
    }

    fn verdict(bytes: f64) -> Verdict {
        let mut measured = Measured::default();
        let idle = Idle {
            connections: 1,
            bytes,
        };
        measured.add_idle(idle_gate().own, idle);
        idle_gate().judge(&measured).1
    }

    #[test]
    fn a_gate_is_held_up_to_its_bound_and_not_beyond() {
        let gate = idle_gate();
        let stretch = gate.stretch.expect("it has one");
        assert_eq!(verdict(gate.gate + 1.0), Verdict::Missed);
        assert_eq!(verdict(gate.gate), Verdict::Holds);
        assert_eq!(verdict(stretch), Verdict::Stretch);
    }

    #[test]
    fn more_is_better_of_requests_alone() {
        let cell = Cell::new(1, 1, 1);
        assert!(Quantity::PerCore(cell, "x").reaches(2.0, 1.0));
        assert!(!Quantity::Cpu(cell, "x").reaches(2.0, 1.0));
    }

    /// Rounds that took so many microseconds of CPU for each request, and as many until it was answered.
    fn rounds(all: [f64; 3]) -> Rounds {
        let round = |micros: f64| {
            let mut latency =
                Histogram::new_with_bounds(1, 1_000_000, 3).expect("these are bounds");
            latency.saturating_record((micros * 1e3) as u64);
            let outcome = Outcome {
                requests: 1,
                elapsed: Duration::from_secs(1),
                latency,
            };
            Round {
                outcome,
                cpu_us: micros,
                memory_peak: 0,
                syscalls: None,
            }
        };
        all.into_iter().map(round).collect()
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_their_median_is_judged() {
        let cell = Cell::new(8, 64, 32);
        let mut measured = Measured::default();
        let all = vec![
            ("own", rounds([1.0, 2.0, 4.0])),
            ("other", rounds([3.0, 8.0, 20.0])),
        ];
        measured.add_cell(cell, all);
        let judge = |quantity| {
            let gate = Gate {
                row: 0,
                own: "own",
                quantity,
                gate: 4.0,
                stretch: None,
            };
            let (figures, verdict) = gate.judge(&measured);
            let median = figures.median().expect("all is measured");
            ((median * 100.0).round(), verdict)
        };
        let per_core = judge(Quantity::PerCore(cell, "other"));
        assert_eq!(per_core, (400.0, Verdict::Holds));
        let cpu = judge(Quantity::Cpu(cell, "other"));
        assert_eq!(cpu, (25.0, Verdict::Holds));
        assert_eq!(judge(Quantity::P50(cell, "other")), cpu);
        assert_eq!(judge(Quantity::P99(cell, "other")), cpu);
    }

    #[test]
    fn who_is_absent_is_named_with_the_first_line_of_the_reason() {
        let mut measured = Measured::default();
        measured.add_absence(idle_gate().own, "it rains\nand pours".to_owned());
        let (_, verdict) = idle_gate().judge(&measured);
        let why = format!("without {}, it rains", idle_gate().own);
        assert_eq!(verdict, Verdict::NotMeasured(why));
    }

    #[test]
    fn what_is_not_measured_holds_nothing_and_says_why() {
        for gate in GATES {
            let (_, verdict) = gate.judge(&Measured::default());
            assert!(matches!(verdict, Verdict::NotMeasured(why) if !why.is_empty()));
        }
        assert_eq!(judge(&Measured::default()).1, 0);
    }

    #[test]
    fn a_stretch_goal_is_no_easier_than_its_gate() {
        for gate in GATES {
            if let Some(stretch) = gate.stretch {
                assert!(gate.quantity.reaches(stretch, gate.gate), "{gate:?}");
            }
        }
    }

    #[test]
    fn every_row_has_its_gates_and_every_cell_is_measured_in_a_whole_run() {
        for row in 1..=16 {
            assert!(GATES.iter().any(|gate| gate.row == row), "row {row}");
        }
        let all = cell::all();
        for cell in GATES.iter().filter_map(|gate| gate.quantity.cell()) {
            assert!(all.contains(&cell), "{cell}");
        }
    }
}
