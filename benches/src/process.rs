//! A server process: started, asked what it uses, ended.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::echo::sit_out;
use crate::machine;

/// A server process. It is killed when this is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts a program that prints `listening ADDRESS` once it does.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or prints something else.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().strip_prefix("listening ");
        let address = address.and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::other(format!("{command:?} says {line:?}")));
        };
        Ok(Self { child, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long its threads have run on a CPU, as the scheduler counts it.
    pub fn cpu_time(&self) -> Duration {
        let tasks = fs::read_dir(self.proc("task"))
            .into_iter()
            .flatten()
            .flatten();
        let nanos = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// The most memory that it has had at a time, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The memory that it has to itself, in bytes: what its allocations and stacks use, without code and files.
    pub fn memory_own(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// How many system calls it makes during `work`; `None` where nothing counts them.
    pub fn count_syscalls<T>(&self, work: impl FnOnce() -> T) -> Option<(u64, T)> {
        let counter = ["perf", "strace"]
            .into_iter()
            .find(|tool| machine::has(tool))?;
        let id = self.child.id().to_string();
        let file = env::temp_dir().join(format!("tern-benches-syscalls-{id}"));
        let mut command = Command::new(counter);
        match counter {
            "perf" => command.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &id]),
            _ => command.args(["-c", "-f", "-U", "name,calls", "-p", &id]),
        };
        let quiet = command
            .arg("-o")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut counting = quiet.spawn().ok()?;
        // Neither says when it has begun.
        sit_out(ATTACH);
        let done = work();
        machine::signal(counting.id(), "INT");
        let _ = counting.wait();
        let text = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(&file);
        let count = match counter {
            "perf" => text
                .lines()
                .find_map(|line| line.split(',').next()?.parse().ok()),
            _ => text
                .lines()
                .find_map(|line| line.strip_prefix("total")?.trim().parse().ok()),
        };
        Some((count?, done))
    }

    /// Ends it in order; kills it after a while.
    pub fn end(mut self) {
        machine::signal(self.child.id(), "TERM");
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sit_out(Duration::from_millis(20));
        }
    }

    fn status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(self.proc("status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.unwrap_or(0) * 1024
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }
}

/// How long a counter takes to get hold of the server.
const ATTACH: Duration = Duration::from_millis(250);

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
