//! Who the kit is run with: our server and client, and those of tRPC-Go.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

use tern::Running;
use tern_conformance::peer::Peer;

use super::server;
use crate::go::{self, Process};

/// What we do not offer. Nothing of the kit, since streams and JSON are there.
pub const OURS_LACKS: &[&str] = &[];

/// What tRPC-Go 1.0.3 does not offer.
pub const GO_LACKS: &[&str] = &["lz4-frame", "lz4-block"];

/// Our server, for as long as this lives.
#[derive(Debug)]
pub struct OurServer {
    running: Option<Running>,
    /// What the kit is told of it.
    pub peer: Peer,
}

impl OurServer {
    /// Starts it on a free port.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn start() -> Self {
        let running = server::start(SocketAddr::from(([127, 0, 0, 1], 0)));
        let running = running.expect("a free port and a few threads");
        let address = running.address().to_string();
        Self {
            running: Some(running),
            peer: Peer {
                server: Some(address.parse().expect("an address")),
                ..peer("tern", OURS_LACKS)
            },
        }
    }
}

impl Drop for OurServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stopper().stop_now();
            // Calls that cases have left behind are no fault of the server.
            let _ = running.join();
        }
    }
}

/// Our client: the program `tern-interop` at `program` makes the calls.
pub fn our_client(program: &Path) -> Peer {
    let program = program.display().to_string();
    let words = [
        program.as_str(),
        "conformance-client",
        "{address}",
        "{call}",
    ];
    Peer {
        client: words.map(str::to_owned).into(),
        ..peer("tern", OURS_LACKS)
    }
}

/// The peer made with tRPC-Go, built.
#[derive(Debug)]
pub struct Go {
    binary: PathBuf,
}

/// A server of tRPC-Go, for as long as this lives.
#[derive(Debug)]
pub struct GoServer {
    _process: Process,
    /// What the kit is told of it.
    pub peer: Peer,
}

impl Go {
    /// Finds and builds it, once for each run. `None` when there is no Go here.
    ///
    /// # Panics
    ///
    /// When it cannot be built, or when there is no Go and [`go::REQUIRE_PEERS`] is set.
    pub fn find() -> Option<&'static Self> {
        static FOUND: OnceLock<Option<Go>> = OnceLock::new();
        FOUND
            .get_or_init(|| {
                go::build("./conformance", "trpc-go-conformance").map(|binary| Self { binary })
            })
            .as_ref()
    }

    /// Starts its server.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn server(&self) -> GoServer {
        let mut command = Command::new(&self.binary);
        let mut process = Process::spawn(command.arg("server"));
        let line = process.first_line();
        let told = line
            .as_ref()
            .ok()
            .and_then(|line| line.strip_prefix("listening "));
        let addresses = told.and_then(|told| told.trim().split_once(' '));
        let Some((server, streams)) = addresses else {
            panic!("tRPC-Go does not listen: {line:?} {}", process.complaint());
        };
        let address = |text: &str| Some(text.parse().expect("it prints addresses"));
        GoServer {
            _process: process,
            peer: Peer {
                server: address(server),
                streams: address(streams),
                ..peer("trpc-go", GO_LACKS)
            },
        }
    }

    /// Its client, with one call at a time on each connection or with all on one.
    pub fn client(&self, mode: go::Mode) -> Peer {
        let mut lacks = GO_LACKS.to_vec();
        let mut words = vec![self.binary.display().to_string(), "client".to_owned()];
        match mode {
            go::Mode::Pooled => lacks.push("multiplexed"),
            go::Mode::Multiplexed => words.push("--multiplexed".to_owned()),
        }
        words.extend(["{address}", "{call}"].map(str::to_owned));
        Peer {
            client: words,
            ..peer(&format!("trpc-go {mode}"), &lacks)
        }
    }
}

fn peer(name: &str, lacks: &[&str]) -> Peer {
    Peer {
        name: name.to_owned(),
        lacks: lacks.iter().map(|lack| (*lack).to_owned()).collect(),
        run: process::id().to_string(),
        ..Peer::default()
    }
}
