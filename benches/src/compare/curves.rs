//! Latency at fixed rates.

use super::Options;
use super::rounds::plan;
use crate::cell::Cell;
use crate::contestant::{Contestant, FLOOR, GRPC_GO, INLINE, INLINE_FRAMEWORK, TONIC};
use crate::figures::short;
use crate::load::{Load, LoadError, Pace};
use crate::report::{Chart, Table};

/// Requests a second at which latencies are looked at.
const RATES: [f64; 12] = [
    2e3, 5e3, 10e3, 20e3, 40e3, 60e3, 80e3, 100e3, 120e3, 140e3, 170e3, 200e3,
];
/// Who is on the chart.
const CURVES: [&str; 6] = [FLOOR, INLINE, INLINE_FRAMEWORK, "pool", TONIC, GRPC_GO];
const CELL: Cell = Cell::new(64, 64, 32);
const COLUMNS: [&str; 6] = [
    "server",
    "asked/s",
    "answered/s",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
];

/// Latency at fixed rates, for each contestant up to the first that it does not keep up with.
pub(super) fn measure(
    contestants: &[Box<dyn Contestant>],
    options: &Options,
    is_pinned: bool,
) -> Result<(Table, Chart), String> {
    let mut table = Table::new(&COLUMNS);
    let title = "p99 against load, open loop, 64 connections, 32 B";
    let mut chart = Chart::new(title, "requests/s", "p99 µs");
    for contestant in contestants {
        if CURVES.contains(&contestant.name()) {
            let failed = |error| format!("{} at a fixed rate: {error}", contestant.name());
            let points = curve(contestant.as_ref(), &mut table, options, is_pinned);
            chart.line(contestant.name(), points.map_err(failed)?);
        }
    }
    Ok((table, chart))
}

fn curve(
    contestant: &dyn Contestant,
    table: &mut Table,
    options: &Options,
    is_pinned: bool,
) -> Result<Vec<(f64, f64)>, String> {
    let server = contestant.start(is_pinned)?;
    let failed = |error: LoadError| error.to_string();
    let mut points = Vec::new();
    for per_second in RATES {
        eprintln!("{per_second} requests a second: {}", contestant.name());
        let plan = plan(contestant, CELL, Pace::Open { per_second });
        let mut load = Load::connect(server.address(), plan).map_err(failed)?;
        load.run(options.warm_up).map_err(failed)?;
        let outcome = load.run(options.window).map_err(failed)?;
        load.finish().map_err(failed)?;
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| outcome.quantile_us(part));
        let cells = [per_second, outcome.rate(), p50, p99, p999].map(short);
        table.row([contestant.name().to_owned()].into_iter().chain(cells));
        points.push((per_second, p99));
        if outcome.rate() < 0.97 * per_second {
            break;
        }
    }
    server.end();
    Ok(points)
}
