//! Connections as values: they are told bytes and time, and answer with events and bytes.
//!
//! A machine owns no socket, no thread and no clock, so the event loop, the simulation and the fuzzers drive the very
//! same one. All speak five verbs: `handle_` pushes in, `poll_` takes out.

mod client;
mod framing;
mod outgoing;
mod server;

use std::time::Instant;

use bytes::BytesMut;

pub use client::{Answer, ClientConnection, RequestId, RequestIds};
pub use server::{Inbound, ReplyTo, ServerConnection};

use crate::{Limits, ProtocolError, WriteQueue};

/// The key of the metadata by which a server that leaves marks its answers, with the value `1`.
///
/// After that mark, a call without an answer on a connection that the server ended in order was not run.
pub const DRAIN_MARK: &str = "trpc-rs-drain";

/// One end of a connection, in five verbs.
pub trait Connection {
    /// What happens on it.
    type Event;

    /// Takes complete frames from the front of `input` and leaves there what is not complete. While events wait to be
    /// taken nothing is taken, so call it again once [`Connection::poll_event`] has returned `None`.
    ///
    /// # Errors
    ///
    /// The stream of bytes cannot be trusted any more. All complete frames before the damage have been taken by then;
    /// answer them, then close.
    fn handle_input(&mut self, input: &mut BytesMut, now: Instant) -> Result<(), ProtocolError>;

    /// Says that the peer will send nothing more.
    fn handle_eof(&mut self);

    /// Says that time has passed; of use at [`Connection::poll_timeout`] and later.
    ///
    /// # Errors
    ///
    /// A limit has been reached and the connection is to be closed.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError>;

    /// The next thing that happened.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// Appends what the machine itself has to say to `output`. Returns how many bytes that was.
    fn poll_output(&mut self, output: &mut WriteQueue) -> usize;

    /// When to call [`Connection::handle_timeout`] next. It may move later without notice; whoever is woken early asks
    /// again.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether to read on, given how many bytes wait to be written: back-pressure is not reading.
    fn wants_input(&self, queued: usize) -> bool;

    /// How many bytes the frame under way still lacks, at least; 0 when none is under way or its length is unknown.
    fn bytes_missing(&self) -> usize;

    /// The limits that hold on it.
    fn limits(&self) -> &Limits;

    /// How many calls wait for an answer on it.
    fn in_flight(&self) -> usize;

    /// Whether all that the peer asked for has been answered, so that ending the connection takes nothing from it.
    fn has_answered(&self) -> bool;

    /// Whether nothing can happen on it any more, so that it may be closed once all output is written.
    fn is_finished(&self) -> bool;
}
