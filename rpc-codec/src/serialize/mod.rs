//! Messages as bytes in other formats than protobuf.
//!
//! What a format is, [`Serialization`](rpc_core::Serialization) says; this is the table of them, and those that come with
//! Tern. What a peer sends is never trusted: it is read within bounds of depth, and every refusal says where and why.
//!
//! # Layout
//!
//! * `formats` – [`Formats`]: which number stands for what
//! * `raw` – [`RawBytes`]: the application's own bytes
//! * `json` – `Json`, with the feature `json`: protobuf's mapping to JSON

mod formats;
#[cfg(feature = "json")]
mod json;
mod raw;

pub use formats::Formats;
#[cfg(feature = "json")]
pub use json::Json;
pub use raw::RawBytes;
