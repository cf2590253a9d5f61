//! Connections as values: they are told bytes and time, and answer with events and bytes.
//!
//! A machine owns no socket, no thread and no clock, so the event loop, the simulation and the fuzzers drive the very
//! same one.
//!
//! # Layout
//!
//! * `input` – what has arrived: [`Input`], and the [`Shelf`] for pieces of it that are kept
//! * `framing` – cuts frames, and watches how long one takes to arrive
//! * `server`, `client` – the two ends
//! * `inbound` – what comes in at an answering end: [`Inbound`]
//! * `server_streams`, `client_streams` – the streams of each

mod client;
mod client_streams;
mod framing;
mod inbound;
mod input;
mod outgoing;
mod server;
mod server_streams;

use std::time::Instant;

pub use crate::stream::StreamId;
pub use client::{Answer, ClientConnection, RequestId, RequestIds};
pub use inbound::{Inbound, ReplyTo, StreamGone};
pub use input::{Input, Shelf};
pub use server::{NOBODYS_CALL, ServerConnection};

use crate::{Limits, ProtocolError, WriteQueue};

/// The key of the metadata by which a server that leaves marks its answers, with the value `1`.
///
/// After that mark, a call without an answer on a connection that the server ended in order was not run.
pub const DRAIN_MARK: &str = "trpc-rs-drain";

/// One end of a connection.
pub trait Connection {
    /// What happens on it, as long as the bytes that say so lie where they arrived.
    type Event<'a>;
    /// What happens on it that is not tied to bytes. Apart from events, because it is rare and they are not: who is told both
    /// by one function pays for that with each event (`cargo xtask instructions`).
    type News;

    /// Takes frames off the front of `input` up to the next thing that happens, and returns that. `None` when nothing
    /// more happens for now: what is left of `input` is not a whole frame, or has to wait
    /// ([`Connection::holds_back`]). The owner keeps what is left and offers it again, in front of what arrives next.
    ///
    /// Pieces that an event keeps for longer than `input` lasts are put on `shelf`.
    ///
    /// # Errors
    ///
    /// The stream of bytes cannot be trusted any more. All complete frames before the damage have come out by then;
    /// answer them, then close.
    fn next_event<'a>(
        &mut self,
        input: &mut Input<'a>,
        shelf: &mut Shelf,
        now: Instant,
    ) -> Result<Option<Self::Event<'a>>, ProtocolError>;

    /// Whether frames were left in the input because there was no room for what they ask. Offer them again once
    /// [there is](Connection::has_room).
    fn holds_back(&self) -> bool;

    /// Whether the next frame may come out, however it is with reading on.
    fn has_room(&self) -> bool;

    /// Says that the peer will send nothing more.
    fn handle_eof(&mut self);

    /// Says that nothing more will be read, because what came cannot be trusted or a limit has been reached.
    fn handle_damage(&mut self) {
        self.handle_eof();
    }

    /// Says that time has passed; of use at [`Connection::poll_timeout`] and later.
    ///
    /// # Errors
    ///
    /// A limit has been reached and the connection is to be closed.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError>;

    /// Whether the machine itself may have anything to say, so that [`Connection::poll_output`] has to be asked.
    fn may_speak(&self) -> bool;

    /// Appends what the machine itself has to say to `output`, up to the mark at which
    /// [messages of streams wait](Limits::stream_output_mark). Returns how many bytes it was.
    fn poll_output(&mut self, output: &mut WriteQueue, now: Instant) -> usize;

    /// Whether it has more to say once some of the output has been written.
    fn has_more(&self) -> bool;

    /// What else has happened: by time, by what the other end of a pipe did, or to a stream by what arrived. To be asked
    /// after events, [`Connection::handle_timeout`] and [`Connection::poll_output`] until nothing is left.
    fn poll_news(&mut self) -> Option<Self::News>;

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
