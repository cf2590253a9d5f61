//! TLS on the loop, by rustls: the same sockets, the same turn, one layer more.
//!
//! A connection shakes hands beside the engine (`handshakes`) and is handed to it once that is done, so a driver never
//! meets a connection whose peer is not proved, and whatever fails before is a connection that could not be made. From
//! there on a `Session` stands between the socket and the engine, as a [`Wire`](crate::Wire) on a wire.
//!
//! The provider of cryptography is passed to each configuration; none is installed for the process.
//!
//! # Layout
//!
//! * `pem` – [`Pem`]: where certificates and keys are read from
//! * `server`, `client` – [`ServerTls`], [`ClientTls`]: the settings of the two ends
//! * `reload` – [`TlsReloader`]: new certificates without a restart
//! * `session` – one connection: bytes in, bytes out
//! * `secured` – a wire with or without a session
//! * `handshakes` – the connections of a loop that are not ready to be used
//! * `fault` – [`TlsFault`]: why a connection is not, or no longer, to be used
//! * `error` – [`TlsError`]: what is wrong with the settings

mod client;
mod error;
mod fault;
pub(crate) mod handshakes;
mod pem;
mod reload;
mod secured;
mod server;
mod session;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use client::ClientTls;
pub use error::TlsError;
pub(crate) use fault::TlsFailure;
pub use fault::TlsFault;
pub use pem::Pem;
pub use reload::{TlsReloader, Watch};
pub(crate) use secured::Secured;
pub use server::ServerTls;

/// Who computes. It is passed on, never installed: two parts of a process may want different ones.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
