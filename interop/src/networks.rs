//! Both ends over Unix sockets and UDP.

use std::env;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use tern::{Address, Codecs, Running, Server};

use crate::go::{Case, Go, Mode, Process};
use crate::pb::InteropServer;
use crate::service::Ours;

/// What carries frames, beside TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Unix stream sockets.
    Unix,
    /// UDP.
    Udp,
}

impl Network {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Unix, Self::Udp];

    /// Cases of tRPC-Go's client that make sense here.
    pub fn cases(self) -> &'static [&'static str] {
        match self {
            Self::Unix => &[
                "empty",
                "small",
                "large",
                "served_by",
                "business_error",
                "business_error_negative",
                "unknown_method",
                "unknown_service",
                "client_timeout",
                "deadline_on_the_wire",
                "metadata",
                "gzip",
                "zlib",
                "concurrent",
                "idle_reuse",
                "oneway",
            ],
            Self::Udp => &[
                "empty",
                "small",
                "served_by",
                "business_error",
                "business_error_negative",
                "unknown_method",
                "unknown_service",
                "client_timeout",
                "deadline_on_the_wire",
                "metadata",
                "oneway",
                "datagram_answer_too_large",
                "datagram_trailing_bytes",
            ],
        }
    }

    /// The ways in which tRPC-Go's client uses this.
    pub fn modes(self) -> &'static [Mode] {
        match self {
            Self::Unix => &Mode::ALL,
            // Each call has a socket of its own.
            Self::Udp => &[Mode::Pooled],
        }
    }

    /// The address that stands in `text`, as tRPC-Go writes it.
    fn read(self, text: &str) -> Address {
        match self {
            Self::Unix => Address::unix(text),
            Self::Udp => Address::Udp(text.parse().expect("a host and a port")),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unix => "unix",
            Self::Udp => "udp",
        })
    }
}

/// The file of a Unix socket, removed in the end.
#[derive(Debug)]
struct File(PathBuf);

/// Where nothing is yet.
fn free_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("tern-interop-{}-{number}.sock", process::id());
    env::temp_dir().join(name)
}

impl Drop for File {
    fn drop(&mut self) {
        // Who listened there may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}

/// A server of tRPC-Go. It is killed when this is dropped.
#[derive(Debug)]
pub struct TheirServer {
    /// Where it listens.
    pub address: Address,
    _process: Process,
    _file: File,
}

impl Go {
    /// Starts a server.
    pub fn server_over(&self, network: Network) -> TheirServer {
        let file = File(free_path());
        let at = match network {
            Network::Unix => file.0.to_str().expect("a path of ASCII"),
            Network::Udp => "127.0.0.1:0",
        };
        let name = network.to_string();
        let started = self.start(&["--network", &name, "--addr", at]);
        let (told, process) = started.expect("a server at a free address");
        TheirServer {
            address: network.read(&told),
            _process: process,
            _file: file,
        }
    }

    /// Runs the cases of the client against `address`.
    pub fn client_over(&self, network: Network, mode: Mode, address: &Address) -> Vec<Case> {
        let at = match address {
            Address::Unix(path) => path.display().to_string(),
            other => other.socket().expect("a host and a port").to_string(),
        };
        let name = network.to_string();
        let arguments = ["--network", &name, "--addr", &at];
        self.cases(&arguments, mode, network.cases())
    }
}

/// Our server. It ends when this is dropped.
#[derive(Debug)]
pub struct OurServer {
    /// Where it listens.
    pub address: Address,
    running: Option<Running>,
}

impl OurServer {
    /// Starts one. Over UDP it packs no answers, so that there are some that do not fit a datagram.
    pub fn start(network: Network) -> Self {
        let (at, bytes_min) = match network {
            Network::Unix => (Address::unix(free_path()).to_string(), 1024),
            Network::Udp => ("udp://127.0.0.1:0".to_owned(), usize::MAX),
        };
        let running = Server::builder()
            .codecs(Codecs::default().with_bytes_min(bytes_min))
            .service(InteropServer::new(Ours))
            .bind(at)
            .and_then(Server::start)
            .expect("a free address and a few threads");
        let address = running.addresses().first().expect("it listens").clone();
        Self {
            address,
            running: Some(running),
        }
    }

    /// How many datagrams it has dropped.
    pub fn dropped(&self) -> u64 {
        self.running.as_ref().map_or(0, Running::datagrams_dropped)
    }
}

impl Drop for OurServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stopper().stop_now();
            // Calls that are cut off at the end of a check are no fault of the server.
            let _ = running.join();
        }
    }
}
