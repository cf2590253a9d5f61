//! The read buffer that all connections of a loop share, and the beginnings of frames that they keep.

use std::io;

use bytes::BytesMut;

use crate::wire::Wire;

/// What one read asks for at most; it bounds how long one connection can keep the loop.
const READ_MAX: usize = 64 * 1024;
/// How much is allocated at a time. Frames are cut from it without copying, and it is reused once they are gone.
const BUFFER: usize = 256 * 1024;
/// A frame longer than this is read into a buffer of its own.
const LARGE: usize = 64 * 1024;

/// One buffer for all connections: an idle connection owns none, and a busy loop stays within its cache
/// (`benches/benches/compare.rs`, bytes per idle connection).
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    /// Initialised in full, so that a read needs no unsafe code; what is handed out is split off its front.
    spare: BytesMut,
}

/// What a read brought.
#[derive(Debug)]
pub(crate) struct Filled {
    /// All unconsumed bytes of the connection, those of earlier reads in front; `None` while a large frame is not
    /// complete.
    pub(crate) input: Option<BytesMut>,
    /// How many are new; 0 at the end of the stream.
    pub(crate) read: usize,
    /// Whether the socket had no more than that.
    pub(crate) is_drained: bool,
}

impl ReadBuffer {
    /// Reads once from `wire`. `tail` holds the bytes that arrived before, which are moved to the front of what is
    /// returned; `missing` says how much the frame under way lacks, 0 if that is not known.
    pub(crate) fn fill<W: Wire>(
        &mut self,
        wire: &mut W,
        tail: &mut Tail,
        missing: usize,
    ) -> io::Result<Filled> {
        if tail.is_of_large_frame(missing) {
            return tail.fill(wire, missing);
        }
        let kept = tail.filled;
        self.make_room(kept + READ_MAX);
        let window = self
            .spare
            .get_mut(kept..kept + READ_MAX)
            .unwrap_or_default();
        let offered = window.len();
        let read = wire.read(window)?;
        if let (Some(front), Some(earlier)) = (self.spare.get_mut(..kept), tail.bytes.get(..kept)) {
            front.copy_from_slice(earlier);
        }
        tail.clear();
        let input = self.spare.split_to(kept + read);
        Ok(Filled {
            input: Some(input),
            read,
            is_drained: read < offered,
        })
    }

    fn make_room(&mut self, needed: usize) {
        if self.spare.len() >= needed {
            return;
        }
        // Takes the old allocation back if nothing that was cut from it is left, else makes a new one.
        self.spare.clear();
        self.spare.reserve(BUFFER.max(needed));
        self.spare.resize(BUFFER.max(needed), 0);
    }
}

/// What has arrived of the frame under way. An idle connection has none, and no buffer for it.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Initialised in full; the first `filled` bytes have arrived.
    bytes: BytesMut,
    filled: usize,
    /// Length of the frame, when it is a large one and this is its buffer.
    total: usize,
}

impl Tail {
    /// Keeps the beginning of a frame for the next read.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        self.bytes.truncate(self.filled);
        self.bytes.extend_from_slice(rest);
        self.filled = self.bytes.len();
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn is_of_large_frame(&self, missing: usize) -> bool {
        self.total > 0 || (missing > 0 && self.filled + missing > LARGE)
    }

    /// Reads into the frame's own buffer. It grows with what has really arrived, so a length that lies costs nothing, and
    /// the frame is handed out without having been copied.
    fn fill<W: Wire>(&mut self, wire: &mut W, missing: usize) -> io::Result<Filled> {
        if self.total == 0 {
            self.total = self.filled + missing;
        }
        if self.filled == self.bytes.len() {
            let grown = (2 * self.filled).max(2 * READ_MAX);
            self.bytes.resize(grown.min(self.total), 0);
        }
        let window = self.bytes.get_mut(self.filled..).unwrap_or_default();
        let offered = window.len();
        let read = wire.read(window)?;
        self.filled += read;
        let input = (self.filled == self.total).then(|| std::mem::take(self).bytes);
        Ok(Filled {
            input,
            read,
            is_drained: read < offered,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;

    /// Gives its bytes in pieces of at most `step`.
    struct Source {
        bytes: Vec<u8>,
        step: usize,
    }

    impl Wire for Source {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.bytes.len().min(self.step).min(buffer.len());
            buffer[..count].copy_from_slice(&self.bytes[..count]);
            self.bytes.drain(..count);
            Ok(count)
        }

        fn write(&mut self, _: &[IoSlice<'_>]) -> io::Result<usize> {
            unreachable!("nothing is written here")
        }

        fn finish(&mut self) {}

        fn break_off(&mut self) {}
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length)
            .map(|place| u8::try_from(place % 251).unwrap())
            .collect()
    }

    #[test]
    fn small_pieces_come_out_joined_to_what_was_kept() {
        let mut wire = Source {
            bytes: pattern(1000),
            step: 300,
        };
        let (mut buffer, mut tail) = (ReadBuffer::default(), Tail::default());
        let mut seen = Vec::new();
        loop {
            let filled = buffer.fill(&mut wire, &mut tail, 0).unwrap();
            let mut input = filled.input.unwrap();
            if filled.read == 0 {
                seen.extend_from_slice(&input);
                break;
            }
            // All but seven bytes are taken, as if a frame began there.
            let taken = input.split_to(input.len().saturating_sub(7));
            seen.extend_from_slice(&taken);
            tail.keep(&input);
        }
        assert_eq!(seen, pattern(1000));
    }

    #[test]
    fn a_large_frame_is_handed_out_once_and_whole() {
        let length = 1_000_000;
        for step in [1_000, 100_000, usize::MAX] {
            let mut wire = Source {
                bytes: pattern(length),
                step,
            };
            let (mut buffer, mut tail) = (ReadBuffer::default(), Tail::default());
            let first = buffer.fill(&mut wire, &mut tail, 0).unwrap().input.unwrap();
            tail.keep(&first);
            let missing = length - first.len();
            let whole = loop {
                if let Some(input) = buffer.fill(&mut wire, &mut tail, missing).unwrap().input {
                    break input;
                }
            };
            assert_eq!(whole, pattern(length));
            assert!(tail.bytes.is_empty() && tail.total == 0);
        }
    }

    #[test]
    fn a_length_that_lies_costs_no_more_than_what_arrived() {
        let mut wire = Source {
            bytes: pattern(200_000),
            step: usize::MAX,
        };
        let (mut buffer, mut tail) = (ReadBuffer::default(), Tail::default());
        tail.keep(b"beginning");
        while buffer.fill(&mut wire, &mut tail, 10_000_000).unwrap().read > 0 {
            assert!(tail.bytes.len() <= 2 * tail.filled + 2 * READ_MAX);
        }
        assert_eq!(tail.filled, 9 + 200_000);
    }
}
