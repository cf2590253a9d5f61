//! tRPC-Java: finds it, builds it, runs it.
//!
//! A virtual machine takes its time to start, so one serves all checks of a process: it reads command lines from its
//! standard input and answers each with lines that begin with the same number. Only what is to be killed or told to end
//! gets a process of its own.

mod build;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use self::build::Built;
use crate::check::bounded;
use crate::go::{Case, Process};

/// How long a server may take until it listens, the start of its virtual machine included.
const START: Duration = Duration::from_secs(30);
/// How long the client may take for all of its cases.
const CASES: Duration = Duration::from_secs(120);
/// How long a server may take to end in order.
const END: Duration = Duration::from_secs(30);

/// The cases of streams, which are run only if they are named.
const STREAM_CASES: [&str; 7] = [
    "stream_upload",
    "stream_download",
    "stream_chat",
    "stream_large",
    "stream_nothing",
    "stream_failure",
    "stream_unknown",
];

/// The peer, built, and the process that runs its servers and clients.
#[derive(Debug)]
pub struct Java {
    built: Built,
    input: Mutex<ChildStdin>,
    answers: Answers,
    last: AtomicU64,
    /// It ends when its input does, at the end of this process.
    _process: Process,
}

/// Who waits for the answer to which command.
type Answers = Arc<Mutex<HashMap<u64, Sender<String>>>>;

impl Java {
    /// The peer, built and started once for each run. `None`, and a line that says so, when there is no Java or no Maven
    /// here.
    ///
    /// # Panics
    ///
    /// When it cannot be built, or when a tool is missing and [`REQUIRE_PEERS`](crate::go::REQUIRE_PEERS) is set.
    pub fn find() -> Option<&'static Self> {
        static FOUND: OnceLock<Result<Option<Java>, String>> = OnceLock::new();
        match FOUND.get_or_init(|| Ok(Built::find()?.map(Self::start))) {
            Ok(java) => java.as_ref(),
            Err(error) => panic!("{error}"),
        }
    }

    fn start(built: Built) -> Self {
        let mut command = built.command();
        let mut process = Process::with_input(command.arg("commands").stdin(Stdio::piped()));
        let input = process.child.stdin.take().expect("it is piped");
        let output = process.stdout();
        let answers = Answers::default();
        let waiting = Arc::clone(&answers);
        thread::spawn(move || hand_out(output, &waiting));
        Self {
            built,
            input: Mutex::new(input),
            answers,
            last: AtomicU64::new(0),
            _process: process,
        }
    }

    /// Starts a server on a free port, with these arguments. It listens when this returns.
    pub fn server(&'static self, arguments: &[&str]) -> JavaServer {
        let command = [&["server"], arguments].concat();
        let lines = self.run(&command, START).expect("a server on a free port");
        let address = lines.iter().find_map(|line| listening(line));
        let address = address.unwrap_or_else(|| panic!("no server of tRPC-Java: {lines:?}"));
        JavaServer {
            java: self,
            address,
        }
    }

    /// Starts a server on `address` in a process of its own.
    ///
    /// # Errors
    ///
    /// What it says instead of listening.
    pub fn process(&self, address: SocketAddr, arguments: &[&str]) -> Result<JavaProcess, String> {
        let mut command = self.built.command();
        command.args(["server", "--addr", &address.to_string()]);
        let mut process = Process::spawn(command.args(arguments));
        let output = process.stdout();
        let line = bounded(START, move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        })?;
        let line = line.map_err(|error| error.to_string())?;
        match listening(&line) {
            Some(address) => Ok(JavaProcess { address, process }),
            None => Err(format!("{line:?} {}", process.complaint())),
        }
    }

    /// Runs cases of the client against `address`, on so many connections: those that are named, or all of them.
    pub fn client(&self, address: SocketAddr, connections: u32, cases: &[&str]) -> Vec<Case> {
        let (address, connections) = (address.to_string(), connections.to_string());
        let cases = cases.join(",");
        let mut command = vec!["client", "--addr", &address];
        command.extend(["--connections", &connections, "--expect-deadline-answer"]);
        if !cases.is_empty() {
            command.extend(["--case", &cases]);
        }
        let lines = self.run(&command, CASES);
        let lines = lines.unwrap_or_else(|error| panic!("tRPC-Java's client: {error}"));
        let found: Vec<_> = lines.iter().filter_map(|line| Case::read(line)).collect();
        let failed = found.iter().filter(|case| case.outcome.is_err()).count();
        let ending = format!("{} passed, {failed} failed", found.len() - failed);
        assert!(
            !found.is_empty() && lines.last() == Some(&ending),
            "tRPC-Java's client ended early: {lines:#?}"
        );
        found
    }

    /// Runs the cases of streams against `address`, all on one connection each.
    pub fn stream_client(&self, address: SocketAddr) -> Vec<Case> {
        self.client(address, 1, &STREAM_CASES)
    }

    /// Runs one command, and returns what it answers.
    fn run(&self, command: &[&str], patience: Duration) -> Result<Vec<String>, String> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = mpsc::channel();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(number, sender);
        drop(answers);
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(input, "{number} {}", command.join(" "))
            .map_err(|error| format!("the peer of tRPC-Java is gone: {error}"))?;
        drop(input);
        bounded(patience, move || {
            let mut lines = Vec::new();
            while let Ok(line) = answer.recv() {
                if line.starts_with("end ") {
                    return Ok(lines);
                }
                lines.push(line);
            }
            Err(format!("the peer of tRPC-Java ended after {lines:?}"))
        })?
    }
}

/// Hands each line to whom it belongs to. At the end nobody is left waiting.
fn hand_out(output: impl Read, waiting: &Answers) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((number, text)) = line.split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        let Some(sender) = waiting.get(&number) else {
            continue;
        };
        // Whoever has lost patience does not listen any more.
        let _ = sender.send(text.to_owned());
        if text.starts_with("end ") {
            waiting.remove(&number);
        }
    }
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.clear();
}

fn listening(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening ")?.trim().parse().ok()
}

/// A server of tRPC-Java in the process that all share. It is closed when this is dropped.
#[derive(Debug)]
pub struct JavaServer {
    java: &'static Java,
    address: SocketAddr,
}

impl JavaServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for JavaServer {
    fn drop(&mut self) {
        // One that cannot be closed any more is gone with its process.
        let _ = self.java.run(&["stop", &self.address.to_string()], END);
    }
}

/// A server of tRPC-Java in a process of its own. It is killed when this is dropped.
#[derive(Debug)]
pub struct JavaProcess {
    address: SocketAddr,
    process: Process,
}

impl JavaProcess {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it as it stands, and waits until it is gone.
    pub fn kill(mut self) {
        self.process.end();
    }

    /// Tells it to end, as an operator does.
    pub fn terminate(&self) {
        let command = format!("kill -TERM {}", self.process.child.id());
        let told = Command::new("sh").args(["-c", &command]).status();
        assert!(told.is_ok_and(|status| status.success()), "{command}");
    }

    /// Waits until it has ended, and says whether in time.
    pub fn ends(mut self) -> bool {
        bounded(END, move || self.process.child.wait().is_ok()).unwrap_or(false)
    }
}
