//! What the seeded tests and the fuzzers share.

mod client_driver;
#[cfg(feature = "json")]
pub(crate) mod json;
mod oracle;
mod random;
mod reference;
mod server_driver;
mod stream_driver;
mod stream_oracle;
pub(crate) mod targets;
mod unpack;
mod wire;

#[allow(unused_imports, reason = "the fuzzers bring mutations of their own")]
pub(crate) use random::{Random, mutate};
