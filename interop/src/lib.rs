//! Tern against the other implementations of tRPC: what they and we send each other, checked on real sockets.
//!
//! Every peer implements the service of `proto/interop.proto`, as a server and as a client. tRPC-Go is in `go/`. What
//! was found is told in `docs/interop.md`.
//!
//! ```text
//! cargo test -p tern-interop          # the checks
//! cargo run -p tern-interop           # the same, as a table
//! ```
//!
//! # Layout
//!
//! * [`service`] – our implementation of the service
//! * [`ours`] – our server, in every way that handlers can be run
//! * [`go`] – tRPC-Go: finds it, builds it, runs it
//! * [`networks`] – both ends over Unix sockets and UDP
//! * [`wire`] – a client that writes frames by hand
//! * [`check`] – a check, and how one is run within bounds of time
//! * [`checks`] – the checks themselves: their client on our server, ours on theirs, and bytes of all kinds on ours

pub mod check;
pub mod checks;
pub mod go;
pub mod networks;
pub mod ours;
pub mod service;
pub mod wire;

/// The package `tern.interop.v1`.
pub mod pb {
    tern::include_stubs!("tern.interop.v1");
}
