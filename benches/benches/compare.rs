//! Tern against a bare loop and against gRPC stacks, on one core each.
//!
//! Rounds of the contestants are interleaved, each in a fresh server process, so that what disturbs the machine disturbs
//! all. Ratios are taken within a round; shown is their median and, in brackets, the smallest and the largest. Numbers
//! of different runs are not to be compared.

#![allow(
    clippy::cast_precision_loss,
    reason = "measurements: figures of nine digits become floating point"
)]

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tern_benches::contestant::{self, Contestant, FLOOR, TONIC};
use tern_benches::figures::{Figures, short};
use tern_benches::load::{Load, Outcome, Pace, Plan};
use tern_benches::process::ServerProcess;
use tern_benches::report::{Chart, Table};
use tern_benches::{machine, programs};

const USAGE: &str = "\
usage: cargo bench --bench compare -- [options]

  --quick              two shapes, one short round, no grpc-go: tells whether anything is badly off
  --shape CxD          connections x calls in flight on each; may be given more than once
  --payload BYTES      may be given more than once
  --contestant NAME    may be given more than once
  --rounds N           default: 3
  --seconds S          of each round, default: 1
  --curve              latency against load, too
  --report FILE        writes the tables to FILE in Markdown, and latency against load to FILE.svg";

/// All shapes carry the small payloads.
const SHAPES: [(usize, usize); 4] = [(1, 1), (1, 64), (64, 1), (8, 64)];
const PAYLOADS: [usize; 2] = [32, 1024];
/// And one the large ones.
const WIDE: [Cell; 2] = [Cell::new(64, 1, 64 * 1024), Cell::new(64, 1, 1024 * 1024)];
/// What `--quick` looks at.
const QUICK: [Cell; 2] = [Cell::new(64, 1, 32), Cell::new(8, 64, 32)];

/// Connections that are opened to see what an idle one costs, if the limit of descriptors allows.
const IDLE_CONNECTIONS: usize = 5_000;

/// Requests a second at which latencies are looked at.
const RATES: [f64; 12] = [
    2e3, 5e3, 10e3, 20e3, 40e3, 60e3, 80e3, 100e3, 120e3, 140e3, 170e3, 200e3,
];
/// Who is on the chart.
const CURVES: [&str; 6] = [
    FLOOR,
    "inline",
    "inline-framework",
    "pool",
    TONIC,
    "grpc-go",
];

fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse(env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(());
    };
    let mut report = Report::default();
    report.say(&format!("{}\n", machine::description()));
    let is_pinned = machine::pin_client();
    if !is_pinned {
        report.say("Server and client share their CPUs: nothing here pins processes.\n");
    }
    let contestants = options.contestants(&mut report);
    for cell in options.cells() {
        let measured = measure_cell(&contestants, cell, &options, is_pinned)?;
        report.say(&format!("## {}\n\n{measured}", cell.title()));
    }
    report.say(&format!(
        "## Idle connections\n\n{}",
        idle_connections(&contestants, is_pinned)?
    ));
    if options.has_curve {
        let (table, chart) = curves(&contestants, &options, is_pinned)?;
        report.say(&format!(
            "## Latency against load, 64 connections, 32 B\n\n{table}"
        ));
        report.chart = Some(chart);
    }
    if let Some(path) = &options.report {
        report.write(path)?;
    }
    Ok(())
}

/// One shape of load.
#[derive(Debug, Clone, Copy)]
struct Cell {
    connections: usize,
    in_flight: usize,
    payload: usize,
}

impl Cell {
    const fn new(connections: usize, in_flight: usize, payload: usize) -> Self {
        Self {
            connections,
            in_flight,
            payload,
        }
    }

    fn title(self) -> String {
        let Self {
            connections,
            in_flight,
            payload,
        } = self;
        match payload {
            0..1024 => format!("{connections}x{in_flight}, {payload} B"),
            1024..1_048_576 => format!("{connections}x{in_flight}, {} KiB", payload >> 10),
            _ => format!("{connections}x{in_flight}, {} MiB", payload >> 20),
        }
    }

    fn plan(self, contestant: &dyn Contestant, pace: Pace) -> Plan {
        Plan {
            protocol: contestant.protocol(),
            method: "Echo",
            connections: self.connections,
            in_flight: self.in_flight,
            payload: self.payload,
            pace,
        }
    }
}

/// What one contestant did in one round.
struct Round {
    outcome: Outcome,
    cpu_us: f64,
    memory_peak: u64,
}

/// All rounds of one contestant in one cell.
#[derive(Default)]
struct Rounds {
    rounds: Vec<Round>,
    syscalls: Option<f64>,
}

impl Rounds {
    fn figures(&self, figure: impl Fn(&Round) -> f64) -> Figures {
        self.rounds.iter().map(figure).collect()
    }

    /// This one's figure in relation to that of another, round by round.
    fn against(&self, other: Option<&Self>, ratio: impl Fn(&Round, &Round) -> f64) -> Figures {
        let others = other.map_or(&[][..], |other| &other.rounds);
        let pairs = self.rounds.iter().zip(others);
        pairs.map(|(own, other)| ratio(own, other)).collect()
    }
}

fn measure_cell(
    contestants: &[Box<dyn Contestant>],
    cell: Cell,
    options: &Options,
    is_pinned: bool,
) -> Result<Table, Box<dyn Error>> {
    let mut all: Vec<Rounds> = contestants.iter().map(|_| Rounds::default()).collect();
    for round in 1..=options.rounds {
        for (contestant, rounds) in contestants.iter().zip(&mut all) {
            eprintln!("{}, round {round}: {}", cell.title(), contestant.name());
            let server = contestant.start(is_pinned)?;
            let plan = cell.plan(contestant.as_ref(), Pace::Closed);
            let failed = |error| format!("{} at {}: {error}", contestant.name(), cell.title());
            let mut load = Load::connect(server.address(), plan).map_err(failed)?;
            rounds
                .rounds
                .push(measure(&server, &mut load, options).map_err(failed)?);
            if round == options.rounds {
                rounds.syscalls = syscalls(&server, &mut load).map_err(failed)?;
            }
            load.finish().map_err(failed)?;
            drop(load);
            server.end();
        }
    }
    Ok(table(contestants, &all))
}

fn measure(
    server: &ServerProcess,
    load: &mut Load,
    options: &Options,
) -> Result<Round, tern_benches::load::LoadError> {
    load.run(options.warm_up)?;
    let before = server.cpu_time();
    let outcome = load.run(options.window)?;
    let cpu = server.cpu_time().saturating_sub(before);
    Ok(Round {
        cpu_us: cpu.as_secs_f64() * 1e6 / outcome.requests as f64,
        memory_peak: server.memory_peak(),
        outcome,
    })
}

/// System calls of the server for each request; in a run of their own, because counting them costs.
fn syscalls(
    server: &ServerProcess,
    load: &mut Load,
) -> Result<Option<f64>, tern_benches::load::LoadError> {
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

fn table(contestants: &[Box<dyn Contestant>], all: &[Rounds]) -> Table {
    let named = |name: &str| {
        let mut both = contestants.iter().zip(all);
        both.find_map(|(contestant, rounds)| (contestant.name() == name).then_some(rounds))
    };
    let (floor, tonic) = (named(FLOOR), named(TONIC));
    let mut table = Table::new(&[
        "server",
        "req/s",
        "CPU µs/req",
        "CPU ÷ floor",
        "req/s/core ÷ tonic",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "p99 ÷ tonic",
        "syscalls/req",
        "peak MiB",
    ]);
    let median = |figures: Figures| figures.median().map_or("-".to_owned(), short);
    for (contestant, rounds) in contestants.iter().zip(all) {
        table.row([
            contestant.name().to_owned(),
            median(rounds.figures(|round| round.outcome.rate())),
            median(rounds.figures(|round| round.cpu_us)),
            rounds
                .against(floor, |own, floor| own.cpu_us / floor.cpu_us)
                .to_string(),
            rounds
                .against(tonic, |own, tonic| tonic.cpu_us / own.cpu_us)
                .to_string(),
            median(rounds.figures(|round| round.outcome.quantile_us(0.5))),
            median(rounds.figures(|round| round.outcome.quantile_us(0.99))),
            median(rounds.figures(|round| round.outcome.quantile_us(0.999))),
            median(rounds.against(tonic, |own, tonic| {
                own.outcome.quantile_us(0.99) / tonic.outcome.quantile_us(0.99)
            })),
            rounds.syscalls.map_or("-".to_owned(), short),
            median(rounds.figures(|round| round.memory_peak as f64 / f64::from(1 << 20))),
        ]);
    }
    table
}

/// What a connection costs that has been used once and is silent.
fn idle_connections(
    contestants: &[Box<dyn Contestant>],
    is_pinned: bool,
) -> Result<Table, Box<dyn Error>> {
    // One descriptor on each side for each; some are for everything else.
    let connections = IDLE_CONNECTIONS.min(machine::files_max().saturating_sub(200));
    let mut table = Table::new(&["server", "connections", "bytes of its own memory for each"]);
    for contestant in contestants {
        let server = contestant.start(is_pinned)?;
        let plan =
            |connections| Cell::new(connections, 1, 32).plan(contestant.as_ref(), Pace::Closed);
        let failed = |error| format!("{} with idle connections: {error}", contestant.name());
        let mut warm = Load::connect(server.address(), plan(8)).map_err(failed)?;
        warm.run(Duration::from_millis(100)).map_err(failed)?;
        warm.finish().map_err(failed)?;
        let before = server.memory_own();
        let mut idle = Load::connect(server.address(), plan(connections)).map_err(failed)?;
        idle.once().map_err(failed)?;
        let after = server.memory_own();
        let each = after.saturating_sub(before) as f64 / connections as f64;
        table.row([
            contestant.name().to_owned(),
            connections.to_string(),
            short(each),
        ]);
        drop((warm, idle));
        server.end();
    }
    Ok(table)
}

/// Latency at fixed rates, each up to the first that the server does not keep up with.
fn curves(
    contestants: &[Box<dyn Contestant>],
    options: &Options,
    is_pinned: bool,
) -> Result<(Table, Chart), Box<dyn Error>> {
    let mut table = Table::new(&[
        "server",
        "asked/s",
        "answered/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
    ]);
    let mut chart = Chart::new(
        "p99 against load, open loop, 64 connections, 32 B",
        "requests/s",
        "p99 µs",
    );
    for contestant in contestants {
        if !CURVES.contains(&contestant.name()) {
            continue;
        }
        let server = contestant.start(is_pinned)?;
        let mut points = Vec::new();
        for per_second in RATES {
            eprintln!("{per_second} requests a second: {}", contestant.name());
            let plan = Cell::new(64, 64, 32).plan(contestant.as_ref(), Pace::Open { per_second });
            let failed = |error| format!("{} at {per_second}/s: {error}", contestant.name());
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
        chart.line(contestant.name(), points);
        server.end();
    }
    Ok((table, chart))
}

/// What is said goes to the terminal at once, and to a file at the end.
#[derive(Default)]
struct Report {
    text: String,
    chart: Option<Chart>,
}

impl Report {
    fn say(&mut self, text: &str) {
        println!("{text}");
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn write(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let mut text = format!(
            "# Tern compared\n\n\
             Servers on one CPU, the same client on another; closed loop but for the last table. CPU is the time that \
             all threads of the server ran. Ratios are medians over rounds, in brackets the smallest and the largest.\n\n\
             {}",
            self.text
        );
        if let Some(chart) = &self.chart {
            let drawing = path.with_extension("svg");
            fs::write(&drawing, chart.to_svg())?;
            let name = drawing
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            write!(text, "\n![p99 against load]({name})\n")?;
        }
        Ok(fs::write(path, text)?)
    }
}

struct Options {
    is_quick: bool,
    has_curve: bool,
    shapes: Vec<(usize, usize)>,
    payloads: Vec<usize>,
    names: Vec<String>,
    rounds: usize,
    warm_up: Duration,
    window: Duration,
    report: Option<PathBuf>,
}

impl Options {
    /// `None` when help was asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, Box<dyn Error>> {
        let mut options = Self {
            is_quick: false,
            has_curve: false,
            shapes: Vec::new(),
            payloads: Vec::new(),
            names: Vec::new(),
            rounds: 3,
            warm_up: Duration::from_millis(300),
            window: Duration::from_secs(1),
            report: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(USAGE);
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                // Cargo says so.
                "--bench" => {}
                "--quick" => {
                    options.is_quick = true;
                    options.rounds = 1;
                    options.warm_up = Duration::from_millis(100);
                    options.window = Duration::from_millis(400);
                }
                "--curve" => options.has_curve = true,
                "--shape" => options.shapes.push(shape(&value()?)?),
                "--payload" => options.payloads.push(value()?.parse()?),
                "--contestant" => options.names.push(value()?),
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--seconds" => options.window = Duration::from_secs_f64(value()?.parse()?),
                "--report" => options.report = Some(value()?.into()),
                other => return Err(format!("unknown argument `{other}`\n\n{USAGE}").into()),
            }
        }
        options.has_curve |= options.report.is_some();
        Ok(Some(options))
    }

    fn cells(&self) -> Vec<Cell> {
        if self.shapes.is_empty() && self.payloads.is_empty() && self.is_quick {
            return QUICK.to_vec();
        }
        if self.shapes.is_empty() && self.payloads.is_empty() {
            return cells(&SHAPES, &PAYLOADS).chain(WIDE).collect();
        }
        let or = |given: &[usize], all: &[usize]| {
            if given.is_empty() {
                all.to_vec()
            } else {
                given.to_vec()
            }
        };
        let shapes = if self.shapes.is_empty() {
            &SHAPES[..]
        } else {
            &self.shapes
        };
        cells(shapes, &or(&self.payloads, &PAYLOADS)).collect()
    }

    /// Those who take part and can.
    fn contestants(&self, report: &mut Report) -> Vec<Box<dyn Contestant>> {
        let mut all = contestant::all(&programs!());
        all.retain(|contestant| match self.names.as_slice() {
            [] => !(self.is_quick && contestant.name() == "grpc-go"),
            names => names.iter().any(|name| name == contestant.name()),
        });
        all.retain_mut(|contestant| match contestant.prepare() {
            Ok(()) => true,
            Err(reason) => {
                report.say(&format!("Without {}: {reason}\n", contestant.name()));
                false
            }
        });
        all
    }
}

fn cells<'a>(
    shapes: &'a [(usize, usize)],
    payloads: &'a [usize],
) -> impl Iterator<Item = Cell> + 'a {
    let of_payload = |payload: &'a usize| {
        let cell = move |(connections, in_flight): &(usize, usize)| {
            Cell::new(*connections, *in_flight, *payload)
        };
        shapes.iter().map(cell)
    };
    payloads.iter().flat_map(of_payload)
}

/// `8x64`
fn shape(text: &str) -> Result<(usize, usize), Box<dyn Error>> {
    let (connections, in_flight) = text.split_once('x').ok_or(USAGE)?;
    let (connections, in_flight) = (connections.parse()?, in_flight.parse()?);
    if connections == 0 || in_flight == 0 {
        return Err("a shape has at least one connection and one call in flight".into());
    }
    Ok((connections, in_flight))
}
