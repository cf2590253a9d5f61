//! The table of a cell.

use super::{Measured, Round, Rounds};
use crate::cell::Cell;
use crate::contestant::{FLOOR, TONIC};
use crate::figures::{Figures, short};
use crate::report::Table;

const COLUMNS: [&str; 12] = [
    "server",
    "req/s",
    "CPU µs/req",
    "CPU ÷ floor",
    "req/s/core ÷ tonic",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "p50 ÷ tonic",
    "p99 ÷ tonic",
    "syscalls/req",
    "peak MiB",
];

/// Everybody who took part in a cell.
pub(super) fn of_cell(measured: &Measured, cell: Cell) -> Table {
    let floor = measured.rounds(FLOOR, cell);
    let tonic = measured.rounds(TONIC, cell);
    let mut table = Table::new(&COLUMNS);
    for (name, rounds) in measured.cell(cell) {
        if rounds.failure.is_none() {
            table.row(row(name, rounds, floor, tonic));
        }
    }
    table
}

fn row(
    name: &str,
    rounds: &Rounds,
    floor: Option<&Rounds>,
    tonic: Option<&Rounds>,
) -> [String; COLUMNS.len()] {
    let floor_cpu = rounds.against(floor, |own, floor| own.cpu_us / floor.cpu_us);
    let tonic_cpu = rounds.against(tonic, |own, tonic| tonic.cpu_us / own.cpu_us);
    [
        name.to_owned(),
        median(&rounds.figures(|round| round.outcome.rate())),
        median(&rounds.figures(|round| round.cpu_us)),
        floor_cpu.to_string(),
        tonic_cpu.to_string(),
        median(&rounds.figures(Round::p50)),
        median(&rounds.figures(Round::p99)),
        median(&rounds.figures(|round| round.outcome.quantile_us(0.999))),
        median(&rounds.against(tonic, |own, tonic| own.p50() / tonic.p50())),
        median(&rounds.against(tonic, |own, tonic| own.p99() / tonic.p99())),
        median(&rounds.syscalls()),
        median(&rounds.figures(|round| round.memory_peak as f64 / f64::from(1 << 20))),
    ]
}

/// The median of some figures, as it is shown.
fn median(figures: &Figures) -> String {
    figures.median().map_or("-".to_owned(), short)
}
