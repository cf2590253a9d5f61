//! Tern's client against tonic's: what a call costs whoever makes it.
//!
//! Each client is a process of its own on one core, threads and event loops included; its server, of the same make, is on
//! another. Rounds are interleaved and ratios are taken within a round, as in `compare`.
//!
//! CxD are C endpoints with a connection each and D calls in flight on it. A client that waits in threads has one for each
//! call in flight, so it takes part where that is one for each connection.

#![allow(
    clippy::cast_precision_loss,
    reason = "measurements: figures of nine digits become floating point"
)]

use std::env;
use std::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tern_benches::ask::control::AskingProcess;
use tern_benches::ask::{Plan, Report, Style};
use tern_benches::contestant::Programs;
use tern_benches::figures::{Figures, short};
use tern_benches::process::ServerProcess;
use tern_benches::report::Table;
use tern_benches::{machine, programs};

const USAGE: &str = "\
usage: cargo bench --bench client -- [options]

  --quick          two shapes, one short round
  --shape CxD      endpoints x calls in flight at each; may be given more than once
  --payload BYTES  may be given more than once
  --style NAME     async, local, async-tokio, blocking, pipelined or tonic; may be given more than once
  --rounds N       default: 3
  --seconds S      of each round, default: 1
  --before FILE    an older build of bench-ask, measured beside the present one
  --report FILE    writes the tables to FILE in Markdown";

const SHAPES: [(u8, usize); 4] = [(1, 1), (1, 64), (8, 64), (64, 1)];
const PAYLOADS: [usize; 2] = [32, 1024];
/// What `--quick` looks at.
const QUICK: [(u8, usize); 2] = [(1, 1), (8, 64)];

fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse(env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(());
    };
    let mut text = format!("{}\n\n", machine::description());
    let is_pinned = machine::pin_client();
    if !is_pinned {
        text.push_str("Server and client share their CPUs: nothing here pins processes.\n\n");
    }
    println!("{text}");
    for payload in &options.payloads {
        for (connections, in_flight) in &options.shapes {
            let cell = Cell {
                connections: *connections,
                in_flight: *in_flight,
                payload: *payload,
                is_pinned,
            };
            let table = cell.measure(&options)?;
            let section = format!("## {connections}x{in_flight}, {payload} B\n\n{table}\n");
            println!("{section}");
            text.push_str(&section);
        }
    }
    if let Some(path) = &options.report {
        fs::write(path, text)?;
    }
    Ok(())
}

/// One shape of load.
struct Cell {
    connections: u8,
    in_flight: usize,
    payload: usize,
    is_pinned: bool,
}

/// One client.
struct Contestant {
    name: String,
    style: Style,
    program: PathBuf,
    /// Whether it is the present build.
    is_present: bool,
}

/// What one client did in one round.
struct Round {
    report: Report,
    cpu_us: f64,
}

#[derive(Default)]
struct Rounds {
    all: Vec<Round>,
    syscalls: Option<f64>,
    allocations: Option<f64>,
}

impl Rounds {
    fn median(&self, figure: impl Fn(&Round) -> f64) -> String {
        let figures: Figures = self.all.iter().map(figure).collect();
        figures.median().map_or("-".to_owned(), short)
    }
}

impl Cell {
    fn measure(&self, options: &Options) -> Result<Table, Box<dyn Error>> {
        let contestants = options.contestants(self.in_flight);
        let mut all: Vec<Rounds> = contestants.iter().map(|_| Rounds::default()).collect();
        for round in 1..=options.rounds {
            for (contestant, rounds) in contestants.iter().zip(&mut all) {
                let shape = format!("{}x{}", self.connections, self.in_flight);
                eprintln!(
                    "{shape}, {} B, round {round}: {}",
                    self.payload, contestant.name
                );
                self.round(contestant, rounds, options, round == options.rounds)
                    .map_err(|error| format!("{} at {shape}: {error}", contestant.name))?;
            }
        }
        Ok(table(&contestants, &all))
    }

    fn round(
        &self,
        contestant: &Contestant,
        rounds: &mut Rounds,
        options: &Options,
        is_last: bool,
    ) -> Result<(), Box<dyn Error>> {
        let server = self.server(contestant.style)?;
        let plan = Plan {
            style: contestant.style,
            port: server.address().port(),
            connections: self.connections,
            in_flight: self.in_flight,
            payload: self.payload,
        };
        let mut client = AskingProcess::start(Command::new(&contestant.program), plan)?;
        client.ask(options.warm_up)?;
        let (cpu, report) = client.cpu(options.window)?;
        rounds.all.push(Round {
            cpu_us: cpu.as_secs_f64() * 1e6 / report.calls as f64,
            report,
        });
        if is_last {
            rounds.syscalls = client.syscalls(options.warm_up)?;
        }
        client.end();
        if is_last && contestant.is_present {
            let mut counted =
                AskingProcess::start(Command::new(env!("CARGO_BIN_EXE_bench-ask-counted")), plan)?;
            counted.ask(options.warm_up)?;
            let report = counted.ask(options.warm_up)?;
            rounds.allocations = Some(report.allocations as f64 / report.calls as f64);
            counted.end();
        }
        server.end();
        Ok(())
    }

    /// The server that answers this style, on all addresses of the machine.
    fn server(&self, style: Style) -> Result<ServerProcess, Box<dyn Error>> {
        let Programs { echo, tonic, .. } = programs!();
        let (program, arguments): (_, &[_]) = match style {
            Style::Tonic => (tonic, &[]),
            _ => (echo, &["--inline"]),
        };
        let mut command = machine::on_server_cpu(program, self.is_pinned);
        command
            .arg(format!("{}:0", Ipv4Addr::UNSPECIFIED))
            .args(arguments);
        Ok(ServerProcess::start(command)?)
    }
}

fn table(contestants: &[Contestant], all: &[Rounds]) -> Table {
    let mut both = contestants.iter().zip(all);
    let tonic = both.find_map(|(contestant, rounds)| {
        (contestant.style == Style::Tonic && contestant.is_present).then_some(&rounds.all[..])
    });
    let mut table = Table::new(&[
        "client",
        "calls/s",
        "CPU µs/call",
        "calls/s/core ÷ tonic",
        "p50 µs",
        "p99 µs",
        "syscalls/call",
        "allocations/call",
    ]);
    for (contestant, rounds) in contestants.iter().zip(all) {
        let pairs = rounds.all.iter().zip(tonic.unwrap_or_default());
        let ratios: Figures = pairs
            .map(|(own, tonic)| tonic.cpu_us / own.cpu_us)
            .collect();
        let or_dash = |figure: Option<f64>| figure.map_or("-".to_owned(), short);
        table.row([
            contestant.name.clone(),
            rounds.median(|round| round.report.calls as f64 / round.report.seconds),
            rounds.median(|round| round.cpu_us),
            ratios.to_string(),
            rounds.median(|round| round.report.p50_us),
            rounds.median(|round| round.report.p99_us),
            or_dash(rounds.syscalls),
            or_dash(rounds.allocations),
        ]);
    }
    table
}

struct Options {
    shapes: Vec<(u8, usize)>,
    payloads: Vec<usize>,
    styles: Vec<Style>,
    rounds: usize,
    warm_up: Duration,
    window: Duration,
    before: Option<PathBuf>,
    report: Option<PathBuf>,
}

impl Options {
    /// `None` when help was asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, Box<dyn Error>> {
        let mut options = Self {
            shapes: Vec::new(),
            payloads: Vec::new(),
            styles: Vec::new(),
            rounds: 3,
            warm_up: Duration::from_millis(300),
            window: Duration::from_secs(1),
            before: None,
            report: None,
        };
        let mut is_quick = false;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(USAGE);
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                // Cargo says so.
                "--bench" => {}
                "--quick" => {
                    is_quick = true;
                    options.rounds = 1;
                    options.window = Duration::from_millis(400);
                }
                "--shape" => options.shapes.push(shape(&value()?)?),
                "--payload" => options.payloads.push(value()?.parse()?),
                "--style" => options.styles.push(value()?.parse()?),
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--seconds" => options.window = Duration::from_secs_f64(value()?.parse()?),
                "--before" => options.before = Some(value()?.into()),
                "--report" => options.report = Some(value()?.into()),
                other => return Err(format!("unknown argument `{other}`\n\n{USAGE}").into()),
            }
        }
        options.fill(is_quick);
        Ok(Some(options))
    }

    /// What was not said.
    fn fill(&mut self, is_quick: bool) {
        if self.shapes.is_empty() {
            self.shapes = if is_quick {
                QUICK.to_vec()
            } else {
                SHAPES.to_vec()
            };
        }
        if self.payloads.is_empty() {
            self.payloads = if is_quick {
                PAYLOADS[..1].to_vec()
            } else {
                PAYLOADS.to_vec()
            };
        }
        if self.styles.is_empty() {
            self.styles = Style::ALL.to_vec();
        }
    }

    fn contestants(&self, in_flight: usize) -> Vec<Contestant> {
        let takes_part = |style: &&Style| **style != Style::Blocking || in_flight == 1;
        let mut contestants = Vec::new();
        for style in self.styles.iter().filter(takes_part) {
            let contestant = |name: String, program: &Path, is_present| Contestant {
                name,
                style: *style,
                program: program.to_owned(),
                is_present,
            };
            let name = style.name();
            let present = Path::new(env!("CARGO_BIN_EXE_bench-ask"));
            contestants.push(contestant(name.to_owned(), present, true));
            if let Some(before) = self.before.as_deref().filter(|_| *style != Style::Tonic) {
                contestants.push(contestant(format!("{name}, before"), before, false));
            }
        }
        contestants
    }
}

/// `8x64`
fn shape(text: &str) -> Result<(u8, usize), Box<dyn Error>> {
    let (connections, in_flight) = text.split_once('x').ok_or(USAGE)?;
    let (connections, in_flight) = (connections.parse()?, in_flight.parse()?);
    if connections == 0 || in_flight == 0 {
        return Err("a shape has at least one endpoint and one call in flight".into());
    }
    Ok((connections, in_flight))
}
