//! Peers that are no programs of this package: built where there is what they need, left out where not.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Contestant, PAJAMAX, Programs, TARPC, VOLO_THRIFT};
use crate::cell::{Cell, Cells, WIDE};
use crate::load::Protocol;
use crate::{machine, versions};

/// All of them.
pub(super) fn all(programs: &Programs) -> Vec<Box<dyn Contestant>> {
    let rust = |name, package, protocol, cells| -> Box<dyn Contestant> {
        let folder = programs.scratch.join("peers");
        Box::new(Rust {
            name,
            package,
            protocol,
            cells,
            program: folder.join("release").join(package),
            folder,
        })
    };
    vec![
        Box::new(GrpcCpp {
            program: programs.scratch.join("grpc-cpp-echo"),
        }),
        Box::new(GrpcGo {
            program: programs.scratch.join("grpc-go-echo"),
        }),
        rust(TARPC, "peer-tarpc", Protocol::Tarpc, &[SPREAD, DENSE]),
        rust(PAJAMAX, "peer-pajamax", Protocol::Grpc, &[SPREAD, DENSE]),
        rust(
            VOLO_THRIFT,
            "peer-volo-thrift",
            Protocol::Thrift,
            &[SPREAD, WIDE[0], WIDE[1]],
        ),
    ]
}

/// Many connections with one call on each, where the kernel has most to do.
const SPREAD: Cell = Cell::new(64, 1, 32);
/// Few connections with many calls on each, where the framework has.
const DENSE: Cell = Cell::new(8, 64, 32);

/// gRPC C++ with its callback API, as Debian's `libgrpc++-dev` has it.
#[derive(Debug)]
struct GrpcCpp {
    program: PathBuf,
}

impl GrpcCpp {
    fn build(&self) -> Result<(), String> {
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
        let main = versions::peers("grpc-cpp/main.cc");
        if is_newer(&self.program, &[&main, &proto.join("echo.proto")]) {
            return Ok(());
        }
        let folder = self.program.with_extension("generated");
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let plugin = machine::find("grpc_cpp_plugin").ok_or("there is no grpc_cpp_plugin")?;
        let mut generate = Command::new("protoc");
        generate
            .arg("-I")
            .arg(&proto)
            .arg(format!("--cpp_out={}", folder.display()))
            .arg(format!("--grpc_out={}", folder.display()))
            .arg(format!("--plugin=protoc-gen-grpc={}", plugin.display()))
            .arg("echo.proto");
        machine::output(&mut generate)?;
        let mut ask = Command::new("pkg-config");
        let flags = machine::output(ask.args(["--cflags", "--libs", "grpc++", "protobuf"]))?;
        let mut compile = Command::new("c++");
        compile
            .args(["-std=c++17", "-O3", "-DNDEBUG", "-I"])
            .arg(&folder)
            .arg("-o")
            .arg(&self.program)
            .arg(main)
            .args(["echo.pb.cc", "echo.grpc.pb.cc"].map(|file| folder.join(file)))
            .args(flags.split_whitespace());
        machine::output(&mut compile).map(drop)
    }
}

impl Contestant for GrpcCpp {
    fn name(&self) -> &'static str {
        super::GRPC_CPP
    }

    fn version(&self) -> String {
        format!(
            "{}, callback API, {}",
            versions::of_library("grpc++"),
            versions::of_library("protobuf")
        )
    }

    fn protocol(&self) -> Protocol {
        Protocol::Grpc
    }

    fn cells(&self) -> Cells {
        Cells::Only(&[SPREAD, DENSE])
    }

    fn prepare(&mut self) -> Result<(), String> {
        for tool in ["c++", "pkg-config", "protoc", "grpc_cpp_plugin"] {
            if !machine::has(tool) {
                return Err(format!(
                    "there is no {tool}; Debian has it all in libgrpc++-dev, protobuf-compiler-grpc, g++ and pkg-config"
                ));
            }
        }
        self.build()
    }

    fn program(&self) -> (&Path, &[&'static str]) {
        (&self.program, &[])
    }
}

/// grpc-go, built where there is a Go tool chain. Its versions are those of `peers/grpc-go/go.sum`.
#[derive(Debug)]
struct GrpcGo {
    program: PathBuf,
}

impl Contestant for GrpcGo {
    fn name(&self) -> &'static str {
        super::GRPC_GO
    }

    fn version(&self) -> String {
        versions::of_go("google.golang.org/grpc")
    }

    fn protocol(&self) -> Protocol {
        Protocol::Grpc
    }

    fn cells(&self) -> Cells {
        const CELLS: [Cell; 6] = [
            Cell::new(1, 1, 32),
            Cell::new(1, 64, 32),
            SPREAD,
            DENSE,
            Cell::new(64, 1, 1024),
            Cell::new(8, 64, 1024),
        ];
        Cells::Only(&CELLS)
    }

    fn prepare(&mut self) -> Result<(), String> {
        if !machine::has("go") {
            return Err("there is no Go tool chain".to_owned());
        }
        let mut build = Command::new("go");
        build
            .args(["build", "-o"])
            .arg(&self.program)
            .arg(".")
            .current_dir(versions::peers("grpc-go"));
        machine::output(&mut build).map(drop)
    }

    fn program(&self) -> (&Path, &[&'static str]) {
        (&self.program, &[])
    }
}

/// A package of `peers/rust`, a workspace of its own. Its versions are those of the lock file there.
#[derive(Debug)]
struct Rust {
    name: &'static str,
    package: &'static str,
    protocol: Protocol,
    cells: &'static [Cell],
    folder: PathBuf,
    program: PathBuf,
}

impl Contestant for Rust {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> String {
        match self.protocol {
            // Without a runtime.
            Protocol::Grpc => versions::of_peers(&[self.name]),
            _ => versions::of_peers(&[self.name, "tokio"]),
        }
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn cells(&self) -> Cells {
        Cells::Only(self.cells)
    }

    fn prepare(&mut self) -> Result<(), String> {
        eprintln!("building {}; the first time this takes minutes", self.name);
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args(["build", "--quiet", "--release", "--locked", "--package"])
            .args([self.package, "--target-dir"])
            .arg(&self.folder)
            .current_dir(versions::peers("rust"));
        machine::output(&mut build).map(drop)
    }

    fn program(&self) -> (&Path, &[&'static str]) {
        (&self.program, &[])
    }
}

/// Whether a file was made after all of these, so that it need not be made again.
fn is_newer(made: &Path, sources: &[&Path]) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let Some(made) = time(made) else {
        return false;
    };
    let mut sources = sources.iter();
    sources.all(|source| time(source).is_some_and(|time| time < made))
}
