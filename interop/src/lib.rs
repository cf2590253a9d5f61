//! Tern against the other implementations of tRPC: what they and we send each other, checked on real sockets.
//!
//! Every peer implements the service of `proto/interop.proto`, as a server and as a client. tRPC-Go is in `go/`. What
//! was found is told in `docs/interop.md`.
//!
//! ```text
//! cargo test -p tern-interop          # the checks
//! cargo run -p tern-interop           # the same, as a table
//! cargo run -p tern-interop -- --write-docs    # the matrix, into docs/interop.md
//! ```
//!
//! # Layout
//!
//! * [`service`] – our implementation of the service
//! * [`ours`] – our server, in every way that handlers can be run
//! * [`go`] – tRPC-Go: finds it, builds it, runs it
//! * [`wire`] – a client that writes frames by hand
//! * [`check`] – a check, and how one is run within bounds of time
//! * [`conformance`] – what the conformance kit needs of us and of tRPC-Go
//! * [`matrix`], [`docs`] – the matrix of section 14, and the page that it is written into
//! * [`checks`] – the checks themselves: their client on our server, ours on theirs, and bytes of all kinds on ours

pub mod check;
pub mod checks;
pub mod conformance;
pub mod docs;
pub mod go;
pub mod matrix;
pub mod ours;
pub mod service;
pub mod wire;

/// The package `tern.interop.v1`.
pub mod pb {
    tern::include_stubs!("tern.interop.v1");
}
