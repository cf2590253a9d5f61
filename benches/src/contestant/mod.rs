//! Who is compared, and how each is started.

mod peers;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::cell::{Cell, Cells};
use crate::load::Protocol;
use crate::process::ServerProcess;
use crate::{machine, versions};

/// A server that is compared with others. To add one: a value of this trait in [`own`], or in `peers` if it is not a
/// program of this package.
pub trait Contestant: fmt::Debug {
    /// How tables call it.
    fn name(&self) -> &'static str;

    /// What exactly is measured: its version, and those of what it stands on.
    fn version(&self) -> String;

    /// What it speaks.
    fn protocol(&self) -> Protocol;

    /// Where it takes part, if it is not asked for by name.
    fn cells(&self) -> Cells;

    /// Whether it is built with this package and therefore always there.
    fn is_own(&self) -> bool {
        false
    }

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
        command.arg(ANY_PORT).args(arguments);
        ServerProcess::start(command).map_err(|error| format!("{}: {error}", self.name()))
    }
}

/// Where servers listen: on a port that is free.
const ANY_PORT: &str = "127.0.0.1:0";

/// Who others are measured by.
pub const FLOOR: &str = "floor";
/// The peer that others are measured by.
pub const TONIC: &str = "tonic";

/// Handlers in place on the loop, and nothing around them.
pub const INLINE: &str = "inline";
/// The same, with a loop that looks for work before it sleeps.
pub const INLINE_SPIN: &str = "inline-spin";
/// Handlers in place on the loop, and what a framework does around them.
pub const INLINE_FRAMEWORK: &str = "inline-framework";
/// Handlers where the server finds that they belong, and what a framework does around them.
pub const AUTO_FRAMEWORK: &str = "auto-framework";
/// Handlers on a pool, and what a framework does around them.
pub const POOL_FRAMEWORK: &str = "pool-framework";

/// gRPC in C++, with the callback API.
pub const GRPC_CPP: &str = "grpc-cpp";
/// gRPC in Go.
pub const GRPC_GO: &str = "grpc-go";
/// An RPC framework for Rust that is no gRPC.
pub const TARPC: &str = "tarpc";
/// gRPC in Rust without a runtime.
pub const PAJAMAX: &str = "pajamax";
/// Thrift in Rust.
pub const VOLO_THRIFT: &str = "volo-thrift";
/// Baidu's RPC framework for C++.
pub const BRPC: &str = "brpc";

/// Who should be compared, and why that cannot be.
pub const MISSING: [(&str, &str); 1] = [(BRPC, "Debian has no package of it")];

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
    let mut all = own(programs);
    all.extend(peers::all(programs));
    all
}

/// Those that are programs of this package.
pub fn own(programs: &Programs) -> Vec<Box<dyn Contestant>> {
    // Asked once: a revision that appears during a run was not measured.
    let tern = versions::tern();
    let echo = |name, cells, arguments| Program {
        name,
        version: tern.clone(),
        protocol: Protocol::Trpc { timeout_ms: 0 },
        cells,
        path: programs.echo.clone(),
        arguments,
    };
    let framework = |name, cells, arguments| Program {
        protocol: Protocol::Trpc { timeout_ms: 5_000 },
        ..echo(name, cells, arguments)
    };
    let floor = Program {
        name: FLOOR,
        version: versions::of_workspace(&["mio"]),
        protocol: Protocol::Raw,
        cells: Cells::All,
        path: programs.floor.clone(),
        arguments: &[],
    };
    let tonic = Program {
        name: TONIC,
        version: versions::of_workspace(&["tonic", "hyper", "h2", "tokio"]),
        protocol: Protocol::Grpc,
        path: programs.tonic.clone(),
        ..floor.clone()
    };
    let on_request = Cells::OnRequest;
    let all = [
        floor,
        echo(INLINE, Cells::All, &["--inline"]),
        echo("inline-blocking", on_request, &["--inline", "--blocking"]),
        echo(INLINE_SPIN, SPINNING, &["--inline", "--spin"]),
        framework(INLINE_FRAMEWORK, Cells::All, &["--inline", "--framework"]),
        framework(AUTO_FRAMEWORK, SMALL, &["--auto", "--framework"]),
        echo("pool", Cells::All, &[]),
        echo("pool-blocking", on_request, &["--blocking"]),
        echo("pool-1-worker", on_request, &["--workers", "1"]),
        framework(POOL_FRAMEWORK, SMALL, &["--framework"]),
        tonic,
    ];
    let boxed = |program| -> Box<dyn Contestant> { Box::new(program) };
    all.into_iter().map(boxed).collect()
}

/// Every shape with the smallest payload.
const SMALL: Cells = Cells::Only(&[
    Cell::new(1, 1, 32),
    Cell::new(1, 64, 32),
    Cell::new(64, 1, 32),
    Cell::new(8, 64, 32),
]);
/// Where a loop that never sleeps could matter, and one where it should not.
const SPINNING: Cells = Cells::Only(&[
    Cell::new(1, 1, 32),
    Cell::new(1, 64, 32),
    Cell::new(8, 64, 32),
]);

/// A program of this package.
#[derive(Debug, Clone)]
struct Program {
    name: &'static str,
    version: String,
    protocol: Protocol,
    cells: Cells,
    path: PathBuf,
    arguments: &'static [&'static str],
}

impl Contestant for Program {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> String {
        match self.arguments {
            [] => self.version.clone(),
            arguments => format!("{}, {}", self.version, arguments.join(" ")),
        }
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn cells(&self) -> Cells {
        self.cells
    }

    fn is_own(&self) -> bool {
        true
    }

    /// It is started once: it may refuse what it is told.
    fn prepare(&mut self) -> Result<(), String> {
        let mut command = machine::on_server_cpu(&self.path, false);
        command
            .arg(ANY_PORT)
            .args(self.arguments)
            .stderr(Stdio::null());
        let refused = |_| {
            let name = self.path.file_name().unwrap_or_default();
            let arguments = self.arguments.join(" ");
            format!("{} does not take `{arguments}`", name.display())
        };
        ServerProcess::start(command).map(drop).map_err(refused)
    }

    fn program(&self) -> (&Path, &[&'static str]) {
        (&self.path, self.arguments)
    }
}
