//! The far end of a machine under test: bytes that arrive in pieces while time passes, and a look at what is written.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rpc_codec::WriteQueue;
use rpc_codec::connection::Input;
use rpc_core::Clock;

use super::random::Random;

/// What a driver of a machine has at hand besides the machine.
pub(crate) struct Wire {
    pub(crate) random: Random,
    pub(crate) now: Instant,
    /// What has arrived and was not taken.
    pub(crate) input: BytesMut,
    /// Since when there has been a part of a frame in it.
    partial_since: Option<Instant>,
    /// What has not arrived yet.
    pub(crate) coming: BytesMut,
    pub(crate) output: WriteQueue,
    /// What the machine wrote.
    pub(crate) written: Vec<u8>,
}

impl Wire {
    /// The first four bytes of a script seed the choices of the driver; the rest is what the peer sends.
    pub(crate) fn new(script: &[u8]) -> Self {
        let (seed, coming) = script.split_at(script.len().min(4));
        Self {
            random: Random::of(seed),
            now: Clock::system().now(),
            input: BytesMut::new(),
            partial_since: None,
            coming: BytesMut::from(coming),
            output: WriteQueue::new(),
            written: Vec::new(),
        }
    }

    /// Lets a piece of what is coming arrive.
    pub(crate) fn receive(&mut self) {
        let most = *self.random.pick(&[1, 16, 60, 4000]);
        let length = (1 + self.random.below(most)).min(self.coming.len());
        self.input.extend_from_slice(&self.coming.split_to(length));
    }

    /// Mostly milliseconds pass; now and then so much that a peer is slow or silent for too long.
    pub(crate) fn pass_time(&mut self) {
        let millis = match self.random.below(64) {
            0 => 61_000,
            1 => 11_000,
            2..6 => 2_000,
            _ => self.random.below(50) as u64,
        };
        self.now += Duration::from_millis(millis);
    }

    /// What has arrived, as an owner of bytes offers it: in a buffer of their own or in one that is used again.
    pub(crate) fn offer<'a>(&mut self, bytes: &'a Bytes) -> Input<'a> {
        if self.random.once_in(2) {
            Input::owned(bytes, bytes.len(), self.now)
        } else {
            Input::borrowed(bytes, self.now)
        }
    }

    /// Notes what the machine left of the input, which had `before` bytes.
    pub(crate) fn note_partial(&mut self, before: usize) {
        if self.input.is_empty() {
            self.partial_since = None;
        } else if self.partial_since.is_none() || self.input.len() < before {
            self.partial_since = Some(self.now);
        }
    }

    /// Whether a frame has been arriving for as long as `limit`.
    pub(crate) fn is_slow(&self, limit: Duration) -> bool {
        self.partial_since
            .is_some_and(|since| self.now >= since + limit)
    }

    /// Writes as much as the socket takes.
    pub(crate) fn write(&mut self, most: usize) {
        let written = &mut self.written;
        let taken = self.output.with_slices(|slices| {
            let mut left = most;
            for slice in slices {
                let length = slice.len().min(left);
                written.extend_from_slice(&slice[..length]);
                left -= length;
            }
            most - left
        });
        self.output.advance(taken);
    }

    /// Writes all there is.
    pub(crate) fn write_all(&mut self) -> Result<(), String> {
        while !self.output.is_empty() {
            let before = self.output.len();
            self.write(usize::MAX);
            demand(
                self.output.len() < before,
                "the queue offers what it says it holds",
            )?;
        }
        Ok(())
    }
}

/// An invariant, in the words of what should be.
pub(crate) fn demand(holds: bool, what: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("does not hold: {what}"))
    }
}
