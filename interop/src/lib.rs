//! Tern against the other implementations of tRPC: what they and we send each other, checked on real sockets.
//!
//! Every peer implements the services of `proto/*.proto`, as far as it can, as a server and as a client. tRPC-Go is in
//! `go/`, tRPC-Java in `java/`. What was found is told in `docs/interop.md`.
//!
//! ```text
//! cargo test -p tern-interop          # the checks
//! cargo run -p tern-interop           # the same, as a table
//! cargo run -p tern-interop -- --write-docs    # the matrix, into docs/interop.md
//! ```
//!
//! # Layout
//!
//! * [`service`], [`formats`], [`streams`] – our implementation of the services
//! * [`ours`] – our server, in every way that handlers can be run
//! * [`go`] – tRPC-Go: finds it, builds it, runs it
//! * [`java`] – tRPC-Java: the same, in one process for all
//! * `secured` – certificates for both ends, by the feature `tls`
//! * [`networks`] – both ends over Unix sockets and UDP
//! * [`wire`] – a client that writes frames by hand
//! * [`check`] – a check, and how one is run within bounds of time
//! * [`conformance`] – what the conformance kit needs of us and of tRPC-Go
//! * [`matrix`], [`columns`], [`docs`] – the matrix of section 14, what stands behind its columns, and the page that it is
//!   written into
//! * [`checks`] – the checks themselves: their client on our server, ours on theirs, and bytes of all kinds on ours

pub mod check;
pub mod checks;
pub mod columns;
pub mod conformance;
pub mod docs;
pub mod formats;
pub mod go;
pub mod java;
pub mod matrix;
pub mod networks;
pub mod ours;
#[cfg(feature = "tls")]
pub mod secured;
pub mod service;
pub mod streams;
pub mod wire;

/// The package `tern.interop.v1`.
pub mod pb {
    tern::include_stubs!("tern.interop.v1");
}
