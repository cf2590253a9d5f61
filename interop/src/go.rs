//! tRPC-Go: finds it, builds it, runs it.

use std::env;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::check::bounded;

/// Set to 1, it makes a failure of what would be skipped because a peer's tools are not there.
pub const REQUIRE_PEERS: &str = "TERN_REQUIRE_PEERS";

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(20);
/// How long the Go client may take for all of its cases.
const CASES: Duration = Duration::from_secs(120);

/// The peer, built.
#[derive(Debug)]
pub struct Go {
    binary: PathBuf,
}

/// What carries the frames below tRPC-Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Its own event loop, the default on Linux.
    Tnet,
    /// The standard library of Go.
    GoNet,
}

/// How tRPC-Go's client uses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One call at a time on each.
    Pooled,
    /// All calls on a few.
    Multiplexed,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tnet, Self::GoNet];
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pooled, Self::Multiplexed];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tnet => "tnet",
            Self::GoNet => "go-net",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pooled => "pooled",
            Self::Multiplexed => "multiplexed",
        })
    }
}

impl Go {
    /// The peer, built once for each run. `None`, and a line that says so, when there is no Go here.
    ///
    /// # Panics
    ///
    /// When it cannot be built, or when there is no Go and [`REQUIRE_PEERS`] is set.
    pub fn find() -> Option<&'static Self> {
        static FOUND: OnceLock<Option<Go>> = OnceLock::new();
        let find = || build(".", "trpc-go-peer").map(|binary| Go { binary });
        FOUND.get_or_init(find).as_ref()
    }

    /// Starts a server on a free port, with these arguments besides. It listens when this returns.
    pub fn server(&self, transport: Transport, arguments: &[&str]) -> GoServer {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let started = self.try_server(address, transport, arguments);
        started.expect("a server on a free port")
    }

    /// Starts a server on `address`.
    ///
    /// # Errors
    ///
    /// What it says instead of listening.
    pub fn try_server(
        &self,
        address: SocketAddr,
        transport: Transport,
        arguments: &[&str],
    ) -> Result<GoServer, String> {
        let at = address.to_string();
        let transport = transport.to_string();
        let mut all = vec!["--addr", &at, "--transport", &transport];
        all.extend(arguments);
        let (told, mut process) = self.start(&all)?;
        match told.parse() {
            Ok(address) => Ok(GoServer { address, process }),
            Err(_) => Err(format!("{told:?} {}", process.complaint())),
        }
    }

    /// Starts a server with these arguments. Returns what it says of where it listens.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<(String, Process), String> {
        let mut command = Command::new(&self.binary);
        Self::listening(command.arg("server").args(arguments))
    }

    /// Starts a server of streams on a free port. It listens when this returns.
    pub fn stream_server(&self) -> GoServer {
        let mut command = Command::new(&self.binary);
        let started = Self::listening(command.arg("stream-server"));
        let (told, process) = started.expect("a server on a free port");
        let address = told.parse().expect("an address");
        GoServer { address, process }
    }

    fn listening(command: &mut Command) -> Result<(String, Process), String> {
        let mut process = Process::spawn(command);
        let line = process.first_line()?;
        let told = line.strip_prefix("listening ");
        match told.map(|address| address.trim().to_owned()) {
            Some(address) => Ok((address, process)),
            None => Err(format!("{line:?} {}", process.complaint())),
        }
    }

    /// Runs cases of the client against `address`: those that are named, or all of them.
    pub fn client(
        &self,
        address: SocketAddr,
        mode: Mode,
        transport: Transport,
        cases: &[&str],
    ) -> Vec<Case> {
        self.client_with(address, mode, transport, cases, &[])
    }

    /// The same, with these arguments besides.
    pub fn client_with(
        &self,
        address: SocketAddr,
        mode: Mode,
        transport: Transport,
        cases: &[&str],
        arguments: &[&str],
    ) -> Vec<Case> {
        let at = address.to_string();
        let transport = transport.to_string();
        let mut all = vec!["--addr", &at, "--transport", &transport];
        all.push("--expect-deadline-answer");
        all.extend(arguments);
        self.cases(&all, mode, cases)
    }

    /// Runs cases of the client with these arguments.
    pub(crate) fn cases(&self, arguments: &[&str], mode: Mode, cases: &[&str]) -> Vec<Case> {
        let mut command = Command::new(&self.binary);
        command.arg("client").args(arguments);
        command.args(["--mode", &mode.to_string()]);
        if !cases.is_empty() {
            command.args(["--case", &cases.join(",")]);
        }
        Self::reported(&mut command)
    }

    /// Runs the cases of the client of streams against `address`, with these arguments besides.
    pub fn stream_client(&self, address: SocketAddr, arguments: &[&str]) -> Vec<Case> {
        let mut command = Command::new(&self.binary);
        command.args(["stream-client", "--addr", &address.to_string()]);
        command.args(arguments);
        Self::reported(&mut command)
    }

    fn reported(command: &mut Command) -> Vec<Case> {
        let mut process = Process::spawn(command);
        let mut output = process.stdout();
        let read = bounded(CASES, move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        let text = match read {
            Ok(text) => text.expect("the client writes text"),
            Err(error) => panic!("tRPC-Go's client: {error}"),
        };
        let found: Vec<_> = text.lines().filter_map(Case::read).collect();
        let failed = found.iter().filter(|case| case.outcome.is_err()).count();
        let passed = found.len() - failed;
        let ending = format!("{passed} passed, {failed} failed");
        assert!(
            !found.is_empty() && text.lines().last() == Some(&ending),
            "tRPC-Go's client ended early:\n{text}{}",
            process.complaint()
        );
        found
    }
}

/// Builds the program in the directory `package` of `go/` and says where it is. `None`, and a line that says so, when
/// there is no Go here.
///
/// # Panics
///
/// When it cannot be built, or when there is no Go and [`REQUIRE_PEERS`] is set.
pub(crate) fn build(package: &str, name: &str) -> Option<PathBuf> {
    let binary = Path::new(env!("OUT_DIR")).join(name);
    let built = Command::new("go")
        // The sources need not lie in a repository that git is content with.
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&binary)
        .arg(package)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/go"))
        .output();
    match built {
        Ok(output) if output.status.success() => Some(binary),
        Ok(output) => panic!(
            "the peer of tRPC-Go cannot be built, {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let are_required = env::var_os(REQUIRE_PEERS).is_some_and(|value| value == "1");
            assert!(
                !are_required,
                "{REQUIRE_PEERS} is set, and `go` is not on the PATH"
            );
            println!("skipped: go not found");
            None
        }
        Err(error) => panic!("`go build` cannot be run: {error}"),
    }
}

/// What the Go client says of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its name, as `go/README.md` has it.
    pub name: String,
    /// Whether it passed, or why not.
    pub outcome: Result<(), String>,
}

impl Case {
    pub(crate) fn read(line: &str) -> Option<Self> {
        if let Some(name) = line.strip_prefix("ok ") {
            return Some(Self {
                name: name.to_owned(),
                outcome: Ok(()),
            });
        }
        let (name, reason) = line.strip_prefix("FAIL ")?.split_once(": ")?;
        Some(Self {
            name: name.to_owned(),
            outcome: Err(reason.to_owned()),
        })
    }
}

/// A server of tRPC-Go. It is killed when this is dropped.
#[derive(Debug)]
pub struct GoServer {
    address: SocketAddr,
    process: Process,
}

impl GoServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it as it stands, and waits until it is gone.
    pub fn kill(mut self) {
        self.process.end();
    }
}

/// A process that does not outlive this.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::with_input(command.stdin(Stdio::null()).stderr(Stdio::piped()))
    }

    /// The same for a process whose standard input and error are set.
    pub(crate) fn with_input(command: &mut Command) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer was built");
        Self { child }
    }

    pub(crate) fn stdout(&mut self) -> impl Read + use<> {
        self.child.stdout.take().expect("asked for once")
    }

    /// The first line that it writes, by which a server says where it listens.
    pub(crate) fn first_line(&mut self) -> Result<String, String> {
        let output = self.stdout();
        let line = bounded(START, move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        })?;
        line.map_err(|error| error.to_string())
    }

    /// Ends it and returns what it wrote to its standard error.
    pub(crate) fn complaint(&mut self) -> String {
        self.end();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // What is not text is of no use here.
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }

    pub(crate) fn end(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
