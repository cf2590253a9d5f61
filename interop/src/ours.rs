//! Our server, in every way that handlers can be run.

use std::fmt;
use std::net::SocketAddr;

use tern::{Pool, Running, Server, ServerBuilder};

use crate::pb::{FormatsServer, InteropServer, StreamsServer};
use crate::service::Ours;
use crate::streams::OurStreams;

/// How our server runs its handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// Which handlers, and where.
    pub handlers: Handlers,
    /// How many event loops.
    pub reactors: usize,
}

/// Which handlers, and where they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handlers {
    /// `async fn` on a pool.
    Async,
    /// `async fn` in place on the I/O thread.
    Inline,
    /// `fn` on a pool.
    Blocking,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::new(Handlers::Async, 1),
        Self::new(Handlers::Async, 2),
        Self::new(Handlers::Inline, 1),
        Self::new(Handlers::Inline, 2),
        Self::new(Handlers::Blocking, 1),
        Self::new(Handlers::Blocking, 2),
    ];

    /// These handlers on so many event loops.
    pub const fn new(handlers: Handlers, reactors: usize) -> Self {
        Self { handlers, reactors }
    }

    /// A pool for as many streams at once as a check may open, and some that were left behind.
    fn threads() -> Pool {
        Pool::builder("streams").threads(64).build()
    }

    /// Starts a server on a free port.
    pub fn start(self) -> OurServer {
        self.start_from(Server::builder())
    }

    /// Starts it with settings of one's own.
    pub fn start_from(self, builder: ServerBuilder) -> OurServer {
        let pool = Pool::builder("interop").threads(16).build();
        let server = builder.pool(&pool).reactors(self.reactors);
        let server = match self.handlers {
            Handlers::Async => server
                .service(InteropServer::new(Ours))
                .service(StreamsServer::new(OurStreams)),
            Handlers::Inline => server
                .service(InteropServer::new(Ours).inline())
                .service(StreamsServer::new(OurStreams).inline()),
            // Each stream keeps a thread.
            Handlers::Blocking => server
                .service(InteropServer::blocking(Ours))
                .service(StreamsServer::blocking(OurStreams).on(&Self::threads())),
        };
        let running = server
            .service(FormatsServer::new(Ours))
            .bind("127.0.0.1:0")
            .and_then(Server::start)
            .expect("a free port and a few threads");
        OurServer {
            address: running.address(),
            running: Some(running),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers = match self.handlers {
            Handlers::Async => "async on a pool",
            Handlers::Inline => "async in place",
            Handlers::Blocking => "blocking on a pool",
        };
        let loops = if self.reactors == 1 { "loop" } else { "loops" };
        write!(f, "{handlers}, {} {loops}", self.reactors)
    }
}

/// Our server while it runs. It ends when this is dropped.
#[derive(Debug)]
pub struct OurServer {
    address: SocketAddr,
    running: Option<Running>,
}

impl OurServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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
