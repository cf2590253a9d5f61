//! Streams: many messages in one call, either way.
//!
//! A stream is a call like any other: a [`Request`](crate::Request) that carries a [`Pipe`] beside its (empty) body, and
//! that lasts until the stream is over. So filters see a stream open, which is when they are called, and close, which is
//! when what they called is done; deadlines, permits and cancellation are those of calls.
//!
//! # Layout
//!
//! * `lane` – one direction: [`Writer`], [`Reader`]
//! * `terms` – how the messages of one direction are written: [`Terms`], [`Packing`]

mod lane;
mod terms;

pub use lane::{Reader, Unread, Writer};
pub use terms::{Packing, Terms};

/// One end of a stream within this process: what the other end writes comes out of `reader`, and what goes into `writer`
/// the other end reads.
#[derive(Debug)]
pub struct Pipe {
    /// What the other end says.
    pub reader: Reader,
    /// What this end says.
    pub writer: Writer,
}

impl Pipe {
    /// Both ends of a new stream.
    pub fn pair() -> (Self, Self) {
        let (one_writes, other_reads) = lane::lane();
        let (other_writes, one_reads) = lane::lane();
        let one = Self {
            reader: one_reads,
            writer: one_writes,
        };
        let other = Self {
            reader: other_reads,
            writer: other_writes,
        };
        (one, other)
    }
}
