//! The client under test: a command that makes the calls that it is told and prints what came of each.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// A running client. It does not outlive this.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    outcomes: Receiver<String>,
}

/// What a client prints next.
#[derive(Debug)]
pub enum Told {
    /// A line.
    Line(String),
    /// Nothing in time.
    Nothing,
    /// It has ended.
    End,
}

impl Driver {
    /// Starts the command, with `{address}` and `{call}` replaced in each of its words.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(command: &[String], address: &str, call: &Value) -> Result<Self, String> {
        let call = call.to_string();
        let words: Vec<_> = command
            .iter()
            .map(|word| word.replace("{address}", address).replace("{call}", &call))
            .collect();
        let (program, arguments) = words.split_first().ok_or("the client has no command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program} cannot be started: {error}"))?;
        let output = child.stdout.take().ok_or("a client without an output")?;
        let (say, outcomes) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, outcomes })
    }

    /// The next line that it prints, read as JSON. Lines that are not objects are passed over: frameworks log.
    ///
    /// # Errors
    ///
    /// When none comes in time.
    pub fn outcome(&mut self, patience: Duration) -> Result<Value, String> {
        match self.next_line(patience) {
            Told::Line(line) => {
                let read = serde_json::from_str(&line);
                read.map_err(|error| format!("{line:?} is not JSON: {error}"))
            }
            Told::Nothing => Err("the client says nothing of its call".to_owned()),
            Told::End => Err(format!("the client ended: {}", self.complaint())),
        }
    }

    /// The next line that looks like an object.
    pub fn next_line(&mut self, patience: Duration) -> Told {
        loop {
            match self.outcomes.recv_timeout(patience) {
                Ok(line) if line.starts_with('{') => return Told::Line(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Told::Nothing,
                Err(RecvTimeoutError::Disconnected) => return Told::End,
            }
        }
    }

    fn complaint(&mut self) -> String {
        self.end();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // What is not text is of no use here.
            let _ = stderr.read_to_string(&mut text);
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn end(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end();
    }
}
