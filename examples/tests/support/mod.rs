//! The `echo` example as a process of its own, as a user starts it.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A server process. It is killed when this is dropped.
pub(crate) struct EchoServer {
    child: Child,
    pub(crate) address: String,
}

impl EchoServer {
    /// Starts it and waits until it listens.
    pub(crate) fn start(address: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(example("echo"))
            .arg(address)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo builds the examples before it runs these tests");
        let stdout = child.stdout.take().expect("piped above");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it prints a line");
        let address = line
            .strip_prefix("listening ")
            .expect("it says where it listens")
            .trim()
            .to_owned();
        Self { child, address }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        signal(&self.child, "TERM");
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it was started")
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, name: &str) {
    let command = format!("kill -{name} {}", child.id());
    let status = Command::new("sh")
        .args(["-c", &command])
        .status()
        .expect("a shell is there");
    assert!(status.success(), "{command}");
}

/// Where cargo puts the examples, seen from where it puts this test.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let profile = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("tests are in target/PROFILE/deps");
    profile.join("examples").join(name)
}
