//! Who is compared, and how each is started.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::load::Protocol;
use crate::machine;
use crate::process::ServerProcess;

/// A server that is compared with others. To add one: a value of this trait in [`all`].
pub trait Contestant: fmt::Debug {
    /// How tables call it.
    fn name(&self) -> &'static str;

    /// What it speaks.
    fn protocol(&self) -> Protocol;

    /// Makes what has to be made before it can be started, once for a run.
    ///
    /// # Errors
    ///
    /// Says why it does not take part.
    fn prepare(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// The program and its arguments. The address to listen on comes first.
    fn program(&self) -> (&Path, &[&'static str]);

    /// Starts it.
    ///
    /// # Errors
    ///
    /// Says why it does not start.
    fn start(&self, is_pinned: bool) -> Result<ServerProcess, String> {
        let (program, arguments) = self.program();
        let mut command = machine::on_server_cpu(program, is_pinned);
        command.arg("127.0.0.1:0").args(arguments);
        ServerProcess::start(command).map_err(|error| format!("{}: {error}", self.name()))
    }
}

/// Who others are measured by.
pub const FLOOR: &str = "floor";
/// The peer that others are measured by.
pub const TONIC: &str = "tonic";

/// Where the programs of this package are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `bench-floor`
    pub floor: PathBuf,
    /// `bench-echo`
    pub echo: PathBuf,
    /// `bench-tonic`
    pub tonic: PathBuf,
    /// Where programs in other languages may be built.
    pub scratch: PathBuf,
}

/// Where the programs of this package are, from a bench or test of it.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::contestant::Programs {
            floor: env!("CARGO_BIN_EXE_bench-floor").into(),
            echo: env!("CARGO_BIN_EXE_bench-echo").into(),
            tonic: env!("CARGO_BIN_EXE_bench-tonic").into(),
            scratch: env!("CARGO_TARGET_TMPDIR").into(),
        }
    };
}

/// Everybody, in the order of the tables.
pub fn all(programs: &Programs) -> Vec<Box<dyn Contestant>> {
    let plain = Protocol::Trpc { timeout_ms: 0 };
    let timed = Protocol::Trpc { timeout_ms: 5_000 };
    let ours = |name, protocol, arguments| -> Box<dyn Contestant> {
        Box::new(Program {
            name,
            protocol,
            path: programs.echo.clone(),
            arguments,
        })
    };
    vec![
        Box::new(Program {
            name: FLOOR,
            protocol: Protocol::Raw,
            path: programs.floor.clone(),
            arguments: &[],
        }),
        ours("inline", plain, &["--inline"]),
        ours("inline-blocking", plain, &["--inline", "--blocking"]),
        ours("inline-framework", timed, &["--inline", "--framework"]),
        ours("pool", plain, &[]),
        ours("pool-blocking", plain, &["--blocking"]),
        ours("pool-1-worker", plain, &["--workers", "1"]),
        ours("pool-framework", timed, &["--framework"]),
        Box::new(Program {
            name: TONIC,
            protocol: Protocol::Grpc,
            path: programs.tonic.clone(),
            arguments: &[],
        }),
        Box::new(GrpcGo {
            program: programs.scratch.join("grpc-go-echo"),
        }),
    ]
}

/// A program of this package.
#[derive(Debug)]
struct Program {
    name: &'static str,
    protocol: Protocol,
    path: PathBuf,
    arguments: &'static [&'static str],
}

impl Contestant for Program {
    fn name(&self) -> &'static str {
        self.name
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn program(&self) -> (&Path, &[&'static str]) {
        (&self.path, self.arguments)
    }
}

/// grpc-go, built where there is a Go tool chain. Its versions are those of `peers/grpc-go/go.sum`.
#[derive(Debug)]
struct GrpcGo {
    program: PathBuf,
}

impl Contestant for GrpcGo {
    fn name(&self) -> &'static str {
        "grpc-go"
    }

    fn protocol(&self) -> Protocol {
        Protocol::Grpc
    }

    fn prepare(&mut self) -> Result<(), String> {
        if !machine::has("go") {
            return Err("there is no Go tool chain".to_owned());
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/grpc-go");
        let mut build = Command::new("go");
        build
            .args(["build", "-o"])
            .arg(&self.program)
            .arg(".")
            .current_dir(source);
        match build.output() {
            Err(error) => Err(error.to_string()),
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    fn program(&self) -> (&Path, &[&'static str]) {
        (&self.program, &[])
    }
}
