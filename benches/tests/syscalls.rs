//! How often the loop of a server asks the kernel for something, for each request, once it is warm.
//!
//! The server is a process under `strace`, which writes down the calls of each thread; those of the loop are counted.
//! What start and end take is in two runs of different length, and their difference is free of it. Where several
//! connections have requests, the server is stopped until all are there: otherwise it would be a matter of timing how
//! many the loop finds when it looks, and under load it finds them all.
//!
//! The bounds are promises; what is counted today stands beside them. The room between the two is for a batch that the
//! kernel hands over in two pieces once in a while.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tern_benches::echo::sit_out;
use tern_benches::load::Wire;
use tern_benches::load::trpc::Trpc;
use tern_benches::machine;

/// Calls of the loop, by name.
type Calls = BTreeMap<String, usize>;

/// How often each connection sends its requests in the first run.
const ROUNDS: usize = 10;
/// How much more often in the second: to stop the server takes a few milliseconds each time.
const MORE_ROUNDS: usize = 500;
const MORE_STOPPED_ROUNDS: usize = 200;
/// Calls that move bytes, and the one that waits for them.
const USEFUL: [&str; 6] = [
    "read",
    "recvfrom",
    "write",
    "writev",
    "sendto",
    "epoll_wait",
];
/// Less often than this for each request is no matter of requests: the allocator asks for memory at times.
const NOISE: f64 = 0.005;

struct Shape {
    connections: usize,
    in_flight: usize,
    calls_max: f64,
}

#[test]
fn no_request_costs_more_calls_than_promised_or_one_that_moves_no_bytes() {
    if !can_trace() {
        return;
    }
    let shapes = [
        // To wait, to read, to write: 3.
        Shape {
            connections: 1,
            in_flight: 1,
            calls_max: 3.02,
        },
        // The same three for the batch: 0.047.
        Shape {
            connections: 1,
            in_flight: 64,
            calls_max: 0.052,
        },
        // To read and to write for each, to wait once, and once more because the stopped wait is broken off: 2.031.
        Shape {
            connections: 64,
            in_flight: 1,
            calls_max: 2.05,
        },
        // The same for 64 at a time: 0.035.
        Shape {
            connections: 8,
            in_flight: 64,
            calls_max: 0.05,
        },
    ];
    let mut faults = Vec::new();
    for shape in shapes {
        let calls = count(&shape);
        let all: f64 = calls.values().sum();
        let said = format!(
            "{}x{}: {all:.4} calls for each request (at most {}): {calls:.4?}",
            shape.connections, shape.in_flight, shape.calls_max
        );
        println!("{said}");
        let is_useless =
            |(name, each): (&String, &f64)| *each > NOISE && !USEFUL.contains(&name.as_str());
        if all > shape.calls_max || calls.iter().any(is_useless) {
            faults.push(said);
        }
        // The loop reads and writes whatever else it does: if it did not, the wrong thread was counted.
        assert!(calls.contains_key("epoll_wait"), "{calls:?}");
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The calls of the loop for each request of a shape.
#[expect(clippy::cast_precision_loss, reason = "there are not that many")]
fn count(shape: &Shape) -> BTreeMap<String, f64> {
    let more_rounds = if shape.connections == 1 {
        MORE_ROUNDS
    } else {
        MORE_STOPPED_ROUNDS
    };
    let [less, more] = [ROUNDS, ROUNDS + more_rounds].map(|rounds| {
        let server = Traced::start();
        let mut client = Client::connect(server.address, shape);
        for _ in 0..rounds {
            client.call(&server);
        }
        server.end()
    });
    let requests = more_rounds * shape.connections * shape.in_flight;
    let each = more.into_iter().map(|(name, calls)| {
        let before = less.get(&name).copied().unwrap_or(0);
        (name, calls.saturating_sub(before) as f64 / requests as f64)
    });
    each.filter(|(_, calls)| *calls > 0.0).collect()
}

/// Whether a program of ours can be traced here. Says so if not.
fn can_trace() -> bool {
    let mut strace = Command::new("strace");
    strace
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null());
    let can = strace.status().is_ok_and(|status| status.success());
    if !can {
        let is_required = std::env::var_os("TERN_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(
            !is_required,
            "TERN_REQUIRE_PEERS is set, and strace is not here or may not trace"
        );
        println!(
            "LEFT OUT: counting system calls needs strace, and there is none here that may trace"
        );
    }
    can
}

/// A server whose calls are written down.
struct Traced {
    strace: Child,
    server: u32,
    address: SocketAddr,
    folder: PathBuf,
}

impl Traced {
    fn start() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("syscalls");
        // What an earlier run left, if there was one.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("strace");
        command
            .args(["-ff", "-qq", "-s", "0", "-o"])
            .arg(folder.join("thread"));
        command.args([
            env!("CARGO_BIN_EXE_bench-echo"),
            "127.0.0.1:0",
            "--inline",
            "--framework",
        ]);
        command.args(["--reactors", "1", "--workers", "1"]);
        let mut strace = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(strace.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening ")
            .unwrap()
            .parse()
            .unwrap();
        let id = strace.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let server = children.trim().parse().unwrap();
        Self {
            strace,
            server,
            address,
            folder,
        }
    }

    /// Does something while the server stands still.
    fn stopped(&self, work: impl FnOnce()) {
        self.signal("STOP");
        // Twice, because a thread stands still for a moment at each of its calls, too.
        self.wait_until_stopped();
        self.wait_until_stopped();
        work();
        self.signal("CONT");
    }

    fn wait_until_stopped(&self) {
        for _ in 0..10_000 {
            sit_out(Duration::from_millis(1));
            if self.stands() {
                return;
            }
        }
        panic!("the server does not stop");
    }

    fn stands(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.server)).unwrap();
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            matches!(state, Some('T' | 't'))
        })
    }

    fn signal(&self, name: &str) {
        assert!(machine::signal(self.server, name), "the server is gone");
    }

    /// Ends it and returns what its loop has called.
    fn end(mut self) -> Calls {
        self.signal("KILL");
        self.strace.wait().unwrap();
        let files = fs::read_dir(&self.folder).unwrap().flatten();
        let loops = files.map(|file| calls(&fs::read_to_string(file.path()).unwrap()));
        loops
            .into_iter()
            .find(|calls| calls.contains_key("epoll_wait"))
            .expect("a server has a loop")
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // In case the test has failed: a server without its tracer goes on.
        let _ = machine::signal(self.server, "KILL");
        let _ = self.strace.wait();
    }
}

/// Counts lines like `read(9, ""..., 65536) = 112`.
fn calls(trace: &str) -> Calls {
    let mut calls = Calls::new();
    for line in trace.lines() {
        if let Some((name, _)) = line.split_once('(')
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}

/// Sends the same requests again and again, and waits for all answers each time.
struct Client {
    streams: Vec<TcpStream>,
    requests: Vec<u8>,
    answers: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr, shape: &Shape) -> Self {
        let mut wire = Trpc::new("Echo", 32, 5_000);
        let mut requests = Vec::new();
        (0..shape.in_flight)
            .for_each(|slot| wire.request(u32::try_from(slot).unwrap(), &mut requests));
        let mut answers = Vec::new();
        let streams = (0..shape.connections).map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            answers = first_answers(&mut stream, &requests, shape.in_flight);
            stream
        });
        Self {
            streams: streams.collect(),
            requests,
            answers,
        }
    }

    fn call(&mut self, server: &Traced) {
        if self.streams.len() == 1 {
            self.send();
        } else {
            server.stopped(|| self.send());
        }
        for stream in &mut self.streams {
            stream.read_exact(&mut self.answers).unwrap();
        }
    }

    fn send(&self) {
        for mut stream in &self.streams {
            stream.write_all(&self.requests).unwrap();
        }
    }
}

/// Answers are of one length each, which the first time shows.
fn first_answers(stream: &mut TcpStream, requests: &[u8], in_flight: usize) -> Vec<u8> {
    stream.write_all(requests).unwrap();
    let mut bytes = vec![0; requests.len() + 1024];
    let (mut length, mut answered) = (0, Vec::new());
    while answered.len() < in_flight {
        length += stream.read(&mut bytes[length..]).unwrap();
        answered.clear();
        let mut judge = Trpc::new("Echo", 32, 0);
        judge
            .receive(&bytes[..length], &mut answered, &mut Vec::new())
            .unwrap();
    }
    bytes.truncate(length);
    bytes
}
