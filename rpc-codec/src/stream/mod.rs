//! Streams on the wire: many messages in one call, either way, beside others on one connection.
//!
//! A stream is opened by an INIT that names a method and answered by an INIT; DATA frames carry one message each;
//! FEEDBACK makes room for more; CLOSE ends one direction in order, or both at once. Everything here is a value: the
//! machines in [`connection`](crate::connection) are told frames and drive them.
//!
//! # Layout
//!
//! * [`meta`] – what INIT, FEEDBACK and CLOSE say: [`InitMeta`], [`FeedbackMeta`], [`CloseMeta`]
//! * `write` – how frames are written
//! * `window` – how many bytes may be on their way
//! * `state` – what may come at which time, at either end
//! * `send`, `recv` – the two halves of a stream, each at its end of a pipe
//! * `table` – the streams of one connection, and whose turn it is

pub mod meta;
pub(crate) mod recv;
pub(crate) mod send;
pub(crate) mod state;
pub(crate) mod table;
pub(crate) mod window;
pub(crate) mod write;

pub use meta::{CloseMeta, FeedbackMeta, InitMeta, InitRequest, InitResponse};

/// Names one stream on one connection. The end that opens it chooses the number: from 100 on, one more each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// Opens a stream, and answers that.
pub const INIT: u8 = 1;
/// Carries one message.
pub const DATA: u8 = 2;
/// Makes room for more.
pub const FEEDBACK: u8 = 3;
/// Ends one direction, or both.
pub const CLOSE: u8 = 4;
