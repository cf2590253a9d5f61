//! Tern: a fast RPC framework that speaks the tRPC wire protocol.
//!
//! This crate is the one dependency that a service names. A server:
//!
//! ```no_run
//! use tern::{Mount, ServeError, Server, Service, terminate};
//!
//! fn serve<S: Service + 'static>(greeter: Mount<S>) -> Result<(), ServeError> {
//!     Server::builder().service(greeter).bind("0.0.0.0:8000")?.run_until(terminate())
//! }
//! ```
//!
//! A client:
//!
//! ```no_run
//! use tern::{Channel, ChannelError, Fixed};
//!
//! fn main() -> Result<(), ChannelError> {
//!     let channel = Channel::builder("demo.greeter").resolve(Fixed::new(["10.0.0.7:8000", "10.0.0.8:8000"])).build()?;
//! #   drop(channel);
//!     Ok(())
//! }
//! ```
//!
//! Stubs come from a `.proto` file by one line in `build.rs`, `rpc_build::compile(&["greeter.proto"])`, and are included
//! by [`include_stubs!`].
//!
//! # Features
//!
//! * `json` (default) – messages as JSON, by the mapping of protobuf
//!
//! # Layout
//!
//! * the vocabulary of `rpc-core`: [`Service`], [`Filter`], [`Context`], [`Status`], [`Call`] and what belongs to them
//! * the answering end of `rpc-server`: [`Server`], [`Pool`], [`Router`], [`terminate`]
//! * the asking end of `rpc-client`: [`Channel`], [`Fixed`]
//! * [`policy`] – limits, retries, balancing: what filters and channels decide by
//! * [`Codecs`] – how bodies are compressed
//! * [`Formats`] – in which formats messages may be
//! * [`Limits`] – every bound that a peer could push against
//! * `tls` – TLS on both ends, by the feature of that name
//! * [`stub`] – what generated code calls

pub use rpc_core::*;

pub use rpc_client::{self as client, Channel, ChannelBuilder, ChannelError, Fixed, LocalLoop};
/// TLS on both ends: [`ServerTls`](tls::ServerTls) for `Server::builder().tls(...)` and [`ClientTls`](tls::ClientTls) for
/// `Channel::builder(...).tls(...)`. By the feature `tls`; `docs/tls.md` says what is checked.
#[cfg(feature = "tls")]
pub mod tls {
    pub use rpc_client::tls::ClientTls;
    pub use rpc_server::tls::{Pem, ServerTls, TlsError, TlsFault, TlsReloader, Watch};
}

pub use rpc_codec::{self as codec, Codecs, Formats, Limits};
pub use rpc_policy as policy;
pub use rpc_policy::filter::{Concurrency, RateLimit, Retry};
pub use rpc_server::{
    self as server, Pool, Router, Running, ServeError, Server, ServerBuilder, StopSignal, Stopper,
    terminate,
};
