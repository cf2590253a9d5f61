//! How cost and latency grow: with connections, calls in flight, payload, event loops and workers.
//!
//! Every series is one table. Its points are measured in turns, each in a fresh server process, and compared with the
//! first point of the same round: shown is the median of the rounds and, in brackets, the smallest and the largest.
//! Numbers of different runs are not to be compared.

#![allow(
    clippy::cast_precision_loss,
    reason = "measurements: figures of nine digits become floating point"
)]

use std::env;
use std::error::Error;
use std::process::Command;
use std::time::Duration;

use tern_benches::figures::Figures;
use tern_benches::load::{Load, LoadError, Outcome, Pace, Plan, Protocol};
use tern_benches::machine;
use tern_benches::process::ServerProcess;
use tern_benches::report::Table;
use tern_benches::rotation::Rotation;

const USAGE: &str = "\
usage: cargo bench --bench scaling -- [options]

  --quick         one short round: tells whether anything is badly off
  --series NAME   connections, in-flight, payload, reactors, workers; may be given more than once
  --rounds N      default: 3
  --seconds S     of each point in each round, default: 1";

const WARM_UP: Duration = Duration::from_millis(200);
/// Calls under way in all, where connections are what grows.
const IN_FLIGHT: usize = 64;
/// Descriptors that are not connections.
const SPARE_FILES: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse(env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(());
    };
    println!("{}\n", machine::description());
    let is_pinned = machine::pin_client();
    if !is_pinned {
        println!("Server and client share their CPUs: nothing here pins processes.\n");
    }
    for series in series() {
        if options.series.is_empty() || options.series.iter().any(|name| name == series.name) {
            println!(
                "## {}\n\n{}\n\n{}",
                series.title,
                series.says,
                series.measure(&options, is_pinned)?
            );
        }
    }
    Ok(())
}

/// Points that differ in one thing.
struct Series {
    name: &'static str,
    title: &'static str,
    says: &'static str,
    points: Vec<Point>,
}

struct Point {
    name: String,
    arguments: Vec<String>,
    shape: Shape,
}

#[derive(Clone, Copy)]
enum Shape {
    /// So many connections, with [`IN_FLIGHT`] calls under way on all of them together.
    Rotating(usize),
    /// Connections, calls in flight on each, bytes of payload.
    Each(usize, usize, usize),
}

fn series() -> [Series; 5] {
    let in_place =
        |name: String, shape| Point::new(name, "--inline --framework --reactors 1", shape);
    [
        Series {
            name: "connections",
            title: "Connections",
            says: "32 B, in place, one loop, 64 calls in flight on all connections together, on each in turn.",
            points: [1, 10, 100, 1_000, 10_000]
                .map(|count| in_place(count.to_string(), Shape::Rotating(count)))
                .into(),
        },
        Series {
            name: "in-flight",
            title: "Calls in flight",
            says: "32 B, in place, one loop, 8 connections, so many calls in flight on each.",
            points: [1, 4, 16, 64, 256]
                .map(|calls| in_place(calls.to_string(), Shape::Each(8, calls, 32)))
                .into(),
        },
        Series {
            name: "payload",
            title: "Payload",
            says: "In place, one loop, 64 connections with one call in flight on each, so many bytes both ways.",
            points: [32, 1 << 10, 16 << 10, 64 << 10, 1 << 20]
                .map(|bytes| in_place(bytes.to_string(), Shape::Each(64, 1, bytes)))
                .into(),
        },
        Series {
            name: "reactors",
            title: "Event loops",
            says: "32 B, in place, 64 connections with one call in flight on each, so many loops on one CPU: what more \
                   of them cost, not what they bring.",
            points: [1, 2, 4]
                .map(|loops| {
                    let arguments = format!("--inline --framework --reactors {loops}");
                    Point::new(loops.to_string(), &arguments, Shape::Each(64, 1, 32))
                })
                .into(),
        },
        Series {
            name: "workers",
            title: "Workers",
            says: "32 B, on a pool of so many threads, one loop, 8 connections with 64 calls in flight on each, all on one \
                   CPU: what more of them cost, not what they bring.",
            points: [1, 2, 4, 8]
                .map(|workers| {
                    let arguments = format!("--framework --reactors 1 --workers {workers}");
                    Point::new(workers.to_string(), &arguments, Shape::Each(8, 64, 32))
                })
                .into(),
        },
    ]
}

/// What the rounds gave for one point.
#[derive(Default)]
struct Row {
    rate: Figures,
    cpu: Figures,
    cpu_ratio: Figures,
    p50: Figures,
    p99: Figures,
    p99_ratio: Figures,
}

impl Series {
    fn measure(&self, options: &Options, is_pinned: bool) -> Result<Table, Box<dyn Error>> {
        let files = machine::files_max();
        let points = || {
            self.points
                .iter()
                .filter(|point| point.shape.connections() + SPARE_FILES <= files)
        };
        let mut rows: Vec<_> = points().map(|_| Row::default()).collect();
        for _ in 0..options.rounds {
            let mut first = None;
            for (point, row) in points().zip(&mut rows) {
                let (outcome, cpu) = point.measure(options.window, is_pinned)?;
                let [p50, p99] = [0.5, 0.99].map(|part| outcome.quantile_us(part));
                let (first_cpu, first_p99) = *first.get_or_insert((cpu, p99));
                row.rate.push(outcome.rate());
                row.cpu.push(cpu);
                row.cpu_ratio.push(cpu / first_cpu);
                row.p50.push(p50);
                row.p99.push(p99);
                row.p99_ratio.push(p99 / first_p99);
            }
        }
        let mut table = Table::new(&[
            self.name,
            "req/s",
            "server CPU µs per request",
            "× first",
            "p50 µs",
            "p99 µs",
            "× first",
        ]);
        for (point, row) in points().zip(rows) {
            let figures = [
                row.rate,
                row.cpu,
                row.cpu_ratio,
                row.p50,
                row.p99,
                row.p99_ratio,
            ];
            table.row(
                [point.name.clone()]
                    .into_iter()
                    .chain(figures.map(|figures| figures.to_string())),
            );
        }
        for point in self
            .points
            .iter()
            .filter(|point| point.shape.connections() + SPARE_FILES > files)
        {
            println!(
                "Left out: {} needs more than the {files} files that may be open.\n",
                point.name
            );
        }
        Ok(table)
    }
}

impl Point {
    fn new(name: String, arguments: &str, shape: Shape) -> Self {
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        Self {
            name,
            arguments,
            shape,
        }
    }

    /// What happened, and the microseconds of the server's CPU for each request.
    fn measure(&self, window: Duration, is_pinned: bool) -> Result<(Outcome, f64), Box<dyn Error>> {
        let mut command: Command =
            machine::on_server_cpu(env!("CARGO_BIN_EXE_bench-echo"), is_pinned);
        command.arg("127.0.0.1:0").args(&self.arguments);
        let server = ServerProcess::start(command)?;
        let (outcome, cpu) = match self.shape {
            Shape::Rotating(connections) => {
                let mut rotation = Rotation::connect(server.address(), connections, IN_FLIGHT)?;
                rotation.warm_up(WARM_UP)?;
                observed(&server, || rotation.run(window))?
            }
            Shape::Each(connections, in_flight, payload) => {
                let plan = Plan {
                    protocol: Protocol::Trpc { timeout_ms: 5_000 },
                    method: "Echo",
                    connections,
                    in_flight,
                    payload,
                    pace: Pace::Closed,
                };
                let mut load = Load::connect(server.address(), plan)?;
                load.run(WARM_UP)?;
                let observed = observed(&server, || load.run(window))?;
                load.finish()?;
                observed
            }
        };
        Ok((outcome, cpu))
    }
}

fn observed(
    server: &ServerProcess,
    run: impl FnOnce() -> Result<Outcome, LoadError>,
) -> Result<(Outcome, f64), LoadError> {
    let before = server.cpu_time();
    let outcome = run()?;
    let used = server.cpu_time().saturating_sub(before);
    let each = used.as_secs_f64() * 1e6 / outcome.requests.max(1) as f64;
    Ok((outcome, each))
}

impl Shape {
    fn connections(self) -> usize {
        match self {
            Self::Rotating(connections) | Self::Each(connections, ..) => connections,
        }
    }
}

struct Options {
    series: Vec<String>,
    rounds: usize,
    window: Duration,
}

impl Options {
    /// `None` when help is asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, Box<dyn Error>> {
        let mut options = Self {
            series: Vec::new(),
            rounds: 3,
            window: Duration::from_secs(1),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(USAGE);
            match argument.as_str() {
                "--quick" => {
                    options.rounds = 1;
                    options.window = Duration::from_millis(300);
                }
                "--series" => options.series.push(value()?),
                "--rounds" => options.rounds = value()?.parse()?,
                "--seconds" => options.window = Duration::from_secs_f64(value()?.parse()?),
                // Cargo adds it.
                "--bench" => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(options))
    }
}
