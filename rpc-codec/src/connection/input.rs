//! Bytes that have arrived, and how pieces of them are kept.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

/// Bytes that have arrived on a connection and were not taken yet. They lie in a buffer of the owner's, which other
/// connections use next: whoever needs a piece for longer keeps a copy of it.
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    owner: Option<&'a Bytes>,
    arrived_at: Instant,
}

impl<'a> Input<'a> {
    /// Bytes in a buffer that is used again once they have been looked at.
    pub fn borrowed(bytes: &'a [u8], arrived_at: Instant) -> Self {
        Self {
            bytes,
            owner: None,
            arrived_at,
        }
    }

    /// The first `length` bytes of a buffer of their own, large pieces of which are kept without copying them.
    pub fn owned(buffer: &'a Bytes, length: usize, arrived_at: Instant) -> Self {
        Self {
            bytes: buffer.get(..length).unwrap_or(buffer),
            owner: Some(buffer),
            arrived_at,
        }
    }

    /// What was not taken.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// When the last of the bytes was read.
    pub fn arrived_at(&self) -> Instant {
        self.arrived_at
    }

    /// Takes `length` bytes off the front, or as many as there are.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Frame<'a> {
        let (bytes, rest) = self
            .bytes
            .split_at_checked(length)
            .unwrap_or((self.bytes, &[]));
        self.bytes = rest;
        Frame {
            bytes,
            owner: self.owner,
        }
    }
}

/// One frame, still where it arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) bytes: &'a [u8],
    owner: Option<&'a Bytes>,
}

impl Frame<'_> {
    /// Makes a piece of this frame last longer than the buffer it arrived in.
    #[inline]
    pub(super) fn keep(&self, piece: &[u8], shelf: &mut Shelf) -> Bytes {
        match self.owner {
            // A small piece would hold on to all of a large buffer.
            Some(owner) if piece.len() >= SHARED_MIN => owner.slice_ref(piece),
            _ => shelf.keep(piece),
        }
    }
}

/// Pieces from this size on are shared with the buffer that they arrived in, if it is theirs.
const SHARED_MIN: usize = 16 * 1024;
/// Pieces up to this size stand on the shelf.
const SHELVED_MAX: usize = 4 * 1024;
/// What one slow call can keep at most, together with those that have long been answered.
const SHELF: usize = 16 * 1024;

/// Where small pieces are copied to that outlive the buffer they arrived in. A copy costs less than to count the users
/// of each piece of a read buffer, and leaves that buffer free to be used again at once
/// (`benches/benches/micro.rs`, `frame`). The memory is used again when all that was put on it is gone.
#[derive(Debug, Default)]
pub struct Shelf {
    buffer: BytesMut,
}

impl Shelf {
    /// A copy of `piece`.
    #[inline]
    pub fn keep(&mut self, piece: &[u8]) -> Bytes {
        if piece.is_empty() {
            return Bytes::new();
        }
        if piece.len() > SHELVED_MAX {
            return Bytes::copy_from_slice(piece);
        }
        if self.buffer.capacity() < piece.len() {
            self.buffer.reserve(SHELF);
        }
        self.buffer.extend_from_slice(piece);
        self.buffer.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use rpc_core::Clock;

    use super::*;

    #[test]
    fn pieces_on_a_shelf_stay_apart_and_outlive_their_buffer() {
        let mut shelf = Shelf::default();
        let kept: Vec<_> = (0..10_000_u32)
            .map(|number| shelf.keep(&number.to_be_bytes()))
            .collect();
        for (number, piece) in (0_u32..).zip(&kept) {
            assert_eq!(piece[..], number.to_be_bytes());
        }
        assert!(shelf.keep(&[]).is_empty());
        let large = vec![7; 100_000];
        assert_eq!(shelf.keep(&large), large);
    }

    #[test]
    fn only_large_pieces_of_an_owned_buffer_are_shared_with_it() {
        let buffer = Bytes::from(vec![1; 2 * SHARED_MIN]);
        let mut input = Input::owned(&buffer, 2 * SHARED_MIN, Clock::system().now());
        let frame = input.take(2 * SHARED_MIN);
        assert!(input.rest().is_empty());
        let mut shelf = Shelf::default();
        let large = frame.keep(&frame.bytes[..SHARED_MIN], &mut shelf);
        assert_eq!(large.as_ptr(), buffer.as_ptr());
        let small = frame.keep(&frame.bytes[..SHARED_MIN - 1], &mut shelf);
        assert_ne!(small.as_ptr(), buffer.as_ptr());
        assert_eq!(small, large[..SHARED_MIN - 1]);
    }

    #[test]
    fn no_more_is_taken_than_there_is() {
        let mut input = Input::borrowed(b"four", Clock::system().now());
        assert_eq!(input.take(3).bytes, b"fou");
        assert_eq!(input.take(3).bytes, b"r");
        assert_eq!(input.take(3).bytes, b"");
    }
}
