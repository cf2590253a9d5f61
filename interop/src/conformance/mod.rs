//! The conformance kit of [`tern_conformance`] with our server, our client and those of tRPC-Go.

use std::path::Path;

use tern_conformance::case::Case;
use tern_conformance::run::{self, Results};

use crate::go::Mode;

pub mod client;
pub mod peers;
pub mod server;
mod stream_calls;
mod streams;

/// The package `tern.conformance.v1`.
pub mod pb {
    tern::include_stubs!("tern.conformance.v1");
}

/// The package of the golden frames, `trpc.test.helloworld`.
pub mod greeter {
    tern::include_stubs!("trpc.test.helloworld");
}

/// What the kit found, with everybody who is here.
#[derive(Debug)]
pub struct Everybody {
    /// Our server.
    pub our_server: Results,
    /// Our client.
    pub our_client: Results,
    /// tRPC-Go's server, pooled client and multiplexed client, if there is a Go.
    pub go: Vec<Results>,
}

impl Everybody {
    /// Plays `cases` with all of them. `program` is `tern-interop`, which is our client.
    pub fn play(cases: &[Case], program: &Path) -> Self {
        let our_server = run::run(cases, &peers::OurServer::start().peer);
        let our_client = run::run(cases, &peers::our_client(program));
        let go = peers::Go::find().map(|go| {
            vec![
                run::run(cases, &go.server().peer),
                run::run(cases, &go.client(Mode::Pooled)),
                run::run(cases, &go.client(Mode::Multiplexed)),
            ]
        });
        Self {
            our_server,
            our_client,
            go: go.unwrap_or_default(),
        }
    }

    /// All of them, each with a title.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Results)> {
        let go = [
            "tRPC-Go 1.0.3, its server",
            "tRPC-Go 1.0.3, its client, pooled",
            "tRPC-Go 1.0.3, its client, multiplexed",
        ];
        let ours = [
            ("Tern, the server", &self.our_server),
            ("Tern, the client", &self.our_client),
        ];
        ours.into_iter().chain(go.into_iter().zip(&self.go))
    }
}
