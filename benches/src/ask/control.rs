//! How a bench tells the process what to do: one line for each window, and one line back.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::{Plan, Report};
use crate::process::ServerProcess;

const USAGE: &str = "usage: bench-ask STYLE PORT CONNECTIONS IN_FLIGHT PAYLOAD";

impl Plan {
    /// The plan that a command line names.
    ///
    /// # Errors
    ///
    /// When it names none.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let arguments: Vec<_> = arguments.collect();
        let [style, port, connections, in_flight, payload] = &arguments[..] else {
            return Err(USAGE.into());
        };
        Ok(Self {
            style: style.parse()?,
            port: port.parse()?,
            connections: connections.parse()?,
            in_flight: in_flight.parse()?,
            payload: payload.parse()?,
        })
    }

    fn arguments(self) -> [String; 5] {
        [
            self.style.name().to_owned(),
            self.port.to_string(),
            self.connections.to_string(),
            self.in_flight.to_string(),
            self.payload.to_string(),
        ]
    }
}

/// Connects as the command line says and makes calls whenever it is told to. `allocations` says how often memory was
/// asked for so far.
///
/// # Errors
///
/// When a line makes no sense or somebody cannot be reached.
pub fn serve(
    arguments: impl Iterator<Item = String>,
    allocations: impl Fn() -> u64,
) -> Result<(), Box<dyn Error>> {
    let mut asker = Plan::parse(arguments)?.begin()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening {}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let window = Duration::from_millis(line?.parse()?);
        let before = allocations();
        let mut report = asker.ask(window).report();
        report.allocations = allocations() - before;
        let Report {
            calls,
            seconds,
            p50_us,
            p99_us,
            allocations,
        } = report;
        writeln!(stream, "{calls} {seconds} {p50_us} {p99_us} {allocations}")?;
    }
    Ok(())
}

/// A client in a process of its own.
#[derive(Debug)]
pub struct AskingProcess {
    process: ServerProcess,
    control: BufReader<TcpStream>,
}

impl AskingProcess {
    /// Starts a program that does as [`serve`].
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(mut command: Command, plan: Plan) -> io::Result<Self> {
        command.args(plan.arguments());
        let process = ServerProcess::start(command)?;
        let control = BufReader::new(TcpStream::connect(process.address())?);
        Ok(Self { process, control })
    }

    /// Makes calls for that long.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn ask(&mut self, window: Duration) -> io::Result<Report> {
        ask(&mut self.control, window)
    }

    /// The CPU time of all its threads during a window, and what it says of the window.
    ///
    /// # Errors
    ///
    /// Those of [`AskingProcess::ask`].
    pub fn cpu(&mut self, window: Duration) -> io::Result<(Duration, Report)> {
        let before = self.process.cpu_time();
        let report = self.ask(window)?;
        Ok((self.process.cpu_time().saturating_sub(before), report))
    }

    /// System calls for each call; `None` where nothing counts them.
    ///
    /// # Errors
    ///
    /// Those of [`AskingProcess::ask`].
    pub fn syscalls(&mut self, window: Duration) -> io::Result<Option<f64>> {
        let Self { process, control } = self;
        let mut report = Err(io::Error::other("not asked"));
        let counted = process.count_syscalls(|| report = ask(control, window));
        let calls = report?.calls;
        Ok(counted.map(|(count, ())| count as f64 / calls as f64))
    }

    /// Ends it.
    pub fn end(self) {
        self.process.end();
    }
}

fn ask(control: &mut BufReader<TcpStream>, window: Duration) -> io::Result<Report> {
    writeln!(control.get_mut(), "{}", window.as_millis())?;
    let mut line = String::new();
    control.read_line(&mut line)?;
    let words = line.split_whitespace();
    let figures: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
    let [calls, seconds, p50_us, p99_us, allocations] = figures[..] else {
        return Err(io::Error::other(format!("the client says {line:?}")));
    };
    Ok(Report {
        calls: calls as u64,
        seconds,
        p50_us,
        p99_us,
        allocations: allocations as u64,
    })
}
