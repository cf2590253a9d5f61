//! Other programs: started, timed, and cut off when they hang.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Outcome, workspace};

/// A program with its arguments, started in the folder of the workspace.
#[derive(Debug)]
pub struct Run {
    command: Command,
    shown: String,
}

impl Run {
    /// Cargo, with arguments that have no spaces in them.
    pub fn cargo(arguments: &str) -> Self {
        Self::program("cargo", arguments)
    }

    /// Any program, with arguments that have no spaces in them.
    pub fn program(program: &str, arguments: &str) -> Self {
        let mut command = Command::new(program);
        command
            .args(arguments.split(' ').filter(|argument| !argument.is_empty()))
            .current_dir(workspace::root());
        Self {
            command,
            shown: format!("{program} {arguments}"),
        }
    }

    /// Starts it in another folder.
    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets a variable of the program's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self.shown = format!("{name}={value:?} {}", self.shown);
        self
    }

    /// Runs it, its output going where ours goes.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or fails.
    pub fn show(mut self) -> Outcome {
        println!("$ {self}");
        let status = self
            .command
            .status()
            .map_err(|error| self.not_started(&error))?;
        self.judge(status)
    }

    /// Runs it and hands each line of its output to `look`, besides showing it.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or fails.
    pub fn show_and(mut self, mut look: impl FnMut(&str)) -> Outcome {
        println!("$ {self}");
        let mut child = self.spawn()?;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                println!("{line}");
                look(&line);
            }
        }
        let status = child.wait().map_err(|error| self.not_started(&error))?;
        self.judge(status)
    }

    /// Runs it and returns what it says.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or fails; then what it complained of is in the error.
    pub fn capture(self) -> Outcome<String> {
        let shown = self.to_string();
        match self.output()? {
            (true, output, _) => Ok(output),
            (false, _, complaint) => Err(format!("`{shown}` failed:\n{complaint}")),
        }
    }

    /// Runs it and returns whether it succeeded, what it said, and what it complained of.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn output(mut self) -> Outcome<(bool, String, String)> {
        let output = self
            .command
            .output()
            .map_err(|error| self.not_started(&error))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((
            output.status.success(),
            text(&output.stdout),
            text(&output.stderr),
        ))
    }

    /// Runs it for at most `limit` and returns what it says.
    ///
    /// # Errors
    ///
    /// When it cannot be started, fails, or has to be cut off.
    pub fn capture_within(mut self, limit: Duration) -> Outcome<String> {
        let mut child = self.spawn()?;
        let output = child.stdout.take();
        let (sender, receiver) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut output) = output {
                // What was read before an error is what there is.
                let _ = output.read_to_end(&mut bytes);
            }
            let _ = sender.send(());
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let is_late = receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if is_late {
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| self.not_started(&error))?;
        let said = reader.join().unwrap_or_default();
        if is_late {
            return Err(format!(
                "`{self}` was cut off after {limit:?}; until then it said:\n{said}"
            ));
        }
        self.judge(status)?;
        Ok(said)
    }

    fn spawn(&mut self) -> Outcome<Child> {
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        child.map_err(|error| self.not_started(&error))
    }

    fn judge(&self, status: ExitStatus) -> Outcome {
        if status.success() {
            Ok(())
        } else {
            Err(format!("`{self}` failed: {status}"))
        }
    }

    fn not_started(&self, error: &std::io::Error) -> String {
        format!("`{self}` cannot be run: {error}")
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Runs `work` and says how long it took.
#[expect(
    clippy::disallowed_methods,
    reason = "xtask is no part of the product and times other programs"
)]
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_program_says_is_returned() {
        assert_eq!(Run::program("echo", "a b").capture().unwrap(), "a b\n");
        let said = Run::program("echo", "a b").capture_within(LONG);
        assert_eq!(said.unwrap(), "a b\n");
    }

    #[test]
    fn a_failure_names_the_command() {
        for error in [
            Run::program("false", "x").show(),
            Run::program("false", "x").show_and(|_| {}),
            Run::program("false", "x").capture().map(drop),
            Run::program("false", "x").capture_within(LONG).map(drop),
        ] {
            let error = error.unwrap_err();
            assert!(error.contains("`false x` failed"), "{error}");
        }
        let error = Run::program("no-such-program", "").show().unwrap_err();
        assert!(error.contains("cannot be run"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_cut_off() {
        let run = Run::program("sleep", "1000");
        let error = run.capture_within(Duration::from_millis(50)).unwrap_err();
        assert!(error.contains("cut off after 50ms"), "{error}");
    }

    #[test]
    fn every_line_is_looked_at() {
        let mut lines = Vec::new();
        let run = Run::program("printf", "one\\ntwo\\n");
        run.show_and(|line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two"]);
    }
}
