//! Where bytes arrive: the read buffer that all connections of a loop share, buffers for large frames, and the
//! beginnings of frames that connections keep.

use std::io;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use rpc_codec::connection::Input;

use crate::wire::Wire;

/// What one read asks for at most; it bounds how long one connection can keep the loop. Large enough for what a client
/// that pipelines sends at a time, since a read that leaves nothing behind needs no second one
/// (`benches/benches/compare.rs`, 1x64, system calls).
const READ_MAX: usize = 128 * 1024;
/// A frame longer than this is read into a buffer of its own, which its body is cut from without a copy.
pub(crate) const LARGE: usize = 32 * 1024;
/// What is read of a large frame in one turn, a little more at most.
const LARGE_READ_MAX: usize = 1 << 20;
/// What a buffer for a large frame has more than that: a read that does not fill it shows that the socket is drained.
const SLACK: usize = 64;

/// The buffers of a loop. An idle connection owns none of them, and a busy loop stays within its cache
/// (`benches/benches/compare.rs`, bytes per idle connection).
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    /// Initialised once, so that a read needs neither unsafe code nor zeroes. The bytes of one read are looked at before
    /// the next.
    shared: Vec<u8>,
    large: LargeBuffers,
}

/// What a read brought.
#[derive(Debug)]
pub(crate) struct Filled {
    /// All unconsumed bytes of the connection, those of earlier reads in front.
    pub(crate) arrived: Arrived,
    /// How many are new; 0 at the end of the stream.
    pub(crate) read: usize,
    /// Whether the socket had no more than that.
    pub(crate) is_drained: bool,
}

/// Where bytes lie that nobody has looked at.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// A large frame is not complete, so there is nothing to be looked at.
    Nothing,
    /// That many in the shared buffer.
    Shared(usize),
    /// That many in a buffer of their own.
    Own(Bytes, usize),
}

impl ReadBuffer {
    /// Reads once from `wire`. `tail` holds the bytes that arrived before, which are moved to the front of what is
    /// returned; `missing` says how much the frame under way lacks, 0 if that is not known; `expected` is the length of
    /// the large frames that came before, 0 if they were small.
    pub(crate) fn fill<W: Wire>(
        &mut self,
        wire: &mut W,
        tail: &mut Tail,
        missing: usize,
        expected: usize,
        now: Instant,
    ) -> io::Result<Filled> {
        if tail.is_of_large_frame(missing) {
            return self.fill_large(wire, tail, missing, now);
        }
        if tail.0.is_none()
            && let Some(buffer) = self.large.expecting(expected)
        {
            return self.fill_own(wire, buffer);
        }
        let kept = tail.bytes().len();
        if self.shared.len() < kept + READ_MAX {
            self.shared.resize(kept + READ_MAX, 0);
        }
        let window = self
            .shared
            .get_mut(kept..kept + READ_MAX)
            .unwrap_or_default();
        let read = wire.read(window)?;
        if let Some(front) = self.shared.get_mut(..kept) {
            front.copy_from_slice(tail.bytes());
        }
        tail.clear();
        Ok(Filled {
            arrived: Arrived::Shared(kept + read),
            read,
            is_drained: read < READ_MAX,
        })
    }

    /// Reads into a buffer of the frame's own. It grows with what has really arrived, so a length that lies costs nothing.
    ///
    /// It goes on while there is more: what is read makes room for what the peer has yet to send, and a frame that is read
    /// in one go is still in the cache when it is looked at. By turns with others, each has a part of each in memory
    /// (`benches/benches/compare.rs`, 64x1, 1 MiB).
    fn fill_large<W: Wire>(
        &mut self,
        wire: &mut W,
        tail: &mut Tail,
        missing: usize,
        now: Instant,
    ) -> io::Result<Filled> {
        let kept = tail.0.get_or_insert_default();
        if kept.total == 0 {
            kept.total = kept.filled + missing;
        }
        let mut read = 0;
        let is_drained = loop {
            if kept.filled == kept.bytes.len() {
                self.large
                    .grow(&mut kept.bytes, kept.filled, kept.total + SLACK);
            }
            let window = kept.bytes.get_mut(kept.filled..).unwrap_or_default();
            let offered = window.len();
            let more = match wire.read(window) {
                Ok(more) => more,
                Err(error) if read > 0 && error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(error) => return Err(error),
            };
            kept.filled += more;
            read += more;
            if kept.filled >= kept.total || more == 0 || read >= LARGE_READ_MAX {
                // An end is found again by a read of its own.
                break more > 0 && more < offered;
            }
        };
        kept.arrived_at = Some(now);
        let whole = tail.0.take_if(|kept| kept.filled >= kept.total);
        let arrived = whole.map_or(Arrived::Nothing, |kept| {
            Arrived::Own(kept.bytes.freeze(), kept.filled)
        });
        Ok(Filled {
            arrived,
            read,
            is_drained,
        })
    }

    /// Reads into a buffer that a large frame is expected in.
    fn fill_own<W: Wire>(&mut self, wire: &mut W, mut buffer: BytesMut) -> io::Result<Filled> {
        let offered = buffer.len();
        let outcome = wire.read(&mut buffer);
        let buffer = buffer.freeze();
        match outcome {
            Ok(read) if read > 0 => Ok(Filled {
                arrived: Arrived::Own(buffer, read),
                read,
                is_drained: read < offered,
            }),
            outcome => {
                self.large.put(buffer);
                outcome.map(|read| Filled {
                    arrived: Arrived::Shared(0),
                    read,
                    is_drained: true,
                })
            }
        }
    }

    /// Takes the shared buffer away while somebody looks at what is in it.
    pub(crate) fn take_shared(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.shared)
    }

    /// Puts the shared buffer back.
    pub(crate) fn put_shared(&mut self, buffer: Vec<u8>) {
        self.shared = buffer;
    }

    /// Takes back the buffer of a large frame, for a later one.
    pub(crate) fn recycle(&mut self, buffer: Bytes) {
        self.large.put(buffer);
    }
}

/// Buffers of large frames, kept for the next ones: to make and to zero one costs more than to read into it
/// (`benches/benches/compare.rs`, 64 KiB and 1 MiB). They are still in the hands of handlers and write queues when they
/// are put here, and are used again once nobody else holds a piece of them.
#[derive(Debug, Default)]
struct LargeBuffers {
    buffers: Vec<Bytes>,
    bytes: usize,
}

/// What a loop keeps at most, in bytes.
const LARGE_KEPT_MAX: usize = 8 << 20;

impl LargeBuffers {
    fn put(&mut self, buffer: Bytes) {
        if buffer.len() > LARGE_KEPT_MAX {
            return;
        }
        self.bytes += buffer.len();
        self.buffers.push(buffer);
        // The oldest go: those of a size that is not asked for any more.
        let mut excess = 0;
        while self.bytes > LARGE_KEPT_MAX {
            self.bytes -= self.buffers.get(excess).map_or(self.bytes, Bytes::len);
            excess += 1;
        }
        self.buffers.drain(..excess);
    }

    /// A buffer of at least that length and not much more. The one that was used last is the likeliest to be in the cache.
    fn get(&mut self, length: usize) -> Option<BytesMut> {
        let fits = |buffer: &Bytes| (length..=4 * length).contains(&buffer.len());
        let index = self
            .buffers
            .iter()
            .rposition(|buffer| fits(buffer) && buffer.is_unique())?;
        let buffer = self.buffers.remove(index);
        self.bytes -= buffer.len();
        buffer.try_into_mut().ok()
    }

    /// A buffer for a frame like those of that length. One that is longer than a read is not made for a frame that may
    /// not come.
    fn expecting(&mut self, expected: usize) -> Option<BytesMut> {
        if expected == 0 {
            return None;
        }
        let length = expected + SLACK;
        let kept = self.get(length);
        kept.or_else(|| (expected <= READ_MAX).then(|| BytesMut::zeroed(length)))
    }

    /// Makes room behind the first `filled` bytes of a buffer, of `wanted` bytes at most.
    fn grow(&mut self, buffer: &mut BytesMut, filled: usize, wanted: usize) {
        if let Some(mut larger) = self.get(wanted)
            && let (Some(front), Some(kept)) = (larger.get_mut(..filled), buffer.get(..filled))
        {
            front.copy_from_slice(kept);
            *buffer = larger;
            return;
        }
        let grown = (2 * filled).max(2 * READ_MAX);
        buffer.resize(grown.min(wanted), 0);
    }
}

/// What has arrived and was not taken. An idle connection has none, and no buffer for it.
#[derive(Debug, Default)]
pub(crate) struct Tail(Option<Box<Kept>>);

/// Bytes that wait for others, or for their turn.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Initialised in full; the first `filled` bytes have arrived.
    bytes: BytesMut,
    filled: usize,
    /// Length of the frame under way, when it is a large one and this is its buffer.
    total: usize,
    /// When the last of them was read.
    arrived_at: Option<Instant>,
    /// Whether there may be whole frames among them.
    is_unseen: bool,
}

impl Kept {
    /// What there is to be looked at; `now` is when it arrived, if that is not known.
    pub(crate) fn input(&self, now: Instant) -> Input<'_> {
        let bytes = self.bytes.get(..self.filled).unwrap_or_default();
        Input::borrowed(bytes, self.arrived_at.unwrap_or(now))
    }
}

impl Tail {
    /// Keeps what was not taken of bytes that are not the connection's own. `is_unseen` if there may be whole frames in
    /// it.
    pub(crate) fn keep(&mut self, rest: &[u8], arrived_at: Instant, is_unseen: bool) {
        self.put(BytesMut::from(rest), rest.len(), arrived_at, is_unseen);
    }

    /// Keeps a buffer of which nothing was taken; gives it back if others hold pieces of it.
    pub(crate) fn adopt(
        &mut self,
        buffer: Bytes,
        filled: usize,
        arrived_at: Instant,
    ) -> Result<(), Bytes> {
        let buffer = buffer.try_into_mut()?;
        self.put(buffer, filled, arrived_at, false);
        Ok(())
    }

    /// Keeps what was not taken of what had been kept before.
    pub(crate) fn put_back(&mut self, mut kept: Box<Kept>, left: usize, is_unseen: bool) {
        kept.bytes.advance(kept.filled.saturating_sub(left));
        kept.filled = left;
        kept.is_unseen = is_unseen;
        self.0 = (left > 0).then_some(kept);
    }

    /// Whether there may be whole frames here: they come before what the socket has.
    pub(crate) fn is_unseen(&self) -> bool {
        self.0.as_ref().is_some_and(|kept| kept.is_unseen)
    }

    /// Takes what there is, to look at it.
    pub(crate) fn take(&mut self) -> Option<Box<Kept>> {
        self.0.take()
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    fn put(&mut self, bytes: BytesMut, filled: usize, arrived_at: Instant, is_unseen: bool) {
        self.0 = Some(Box::new(Kept {
            bytes,
            filled,
            total: 0,
            arrived_at: Some(arrived_at),
            is_unseen,
        }));
    }

    fn bytes(&self) -> &[u8] {
        let kept = self.0.as_deref();
        kept.and_then(|kept| kept.bytes.get(..kept.filled))
            .unwrap_or_default()
    }

    fn is_of_large_frame(&self, missing: usize) -> bool {
        self.0
            .as_ref()
            .is_some_and(|kept| kept.total > 0 || (missing > 0 && kept.filled + missing > LARGE))
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use rpc_core::Clock;

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
        let now = Clock::system().now();
        let mut wire = Source {
            bytes: pattern(1000),
            step: 300,
        };
        let (mut buffer, mut tail) = (ReadBuffer::default(), Tail::default());
        let mut seen = Vec::new();
        loop {
            let filled = buffer.fill(&mut wire, &mut tail, 0, 0, now).unwrap();
            let Arrived::Shared(length) = filled.arrived else {
                panic!("nothing large is under way");
            };
            let input = &buffer.shared[..length];
            if filled.read == 0 {
                seen.extend_from_slice(input);
                break;
            }
            // All but seven bytes are taken, as if a frame began there.
            let (taken, rest) = input.split_at(length.saturating_sub(7));
            seen.extend_from_slice(taken);
            tail.keep(rest, now, false);
        }
        assert_eq!(seen, pattern(1000));
    }

    #[test]
    fn a_large_frame_is_handed_out_once_and_whole() {
        let now = Clock::system().now();
        let length = 1_000_000;
        for step in [1_000, 100_000, usize::MAX] {
            let (mut buffer, mut tail) = (ReadBuffer::default(), Tail::default());
            let mut addresses = Vec::new();
            // The second time it is read into the buffer of the first.
            for _ in 0..2 {
                let bytes = pattern(length);
                let mut wire = Source { bytes, step };
                let first = buffer.fill(&mut wire, &mut tail, 0, 0, now).unwrap();
                let Arrived::Shared(first) = first.arrived else {
                    panic!("nobody knows yet that it is large");
                };
                tail.keep(&buffer.shared[..first], now, false);
                let (whole, filled) = loop {
                    let filled = buffer.fill(&mut wire, &mut tail, length - first, 0, now);
                    if let Arrived::Own(whole, filled) = filled.unwrap().arrived {
                        break (whole, filled);
                    }
                };
                assert_eq!(whole[..filled], pattern(length));
                assert!(tail.bytes().is_empty());
                addresses.push(whole.as_ptr());
                buffer.recycle(whole);
            }
            assert_eq!(addresses[0], addresses[1]);
        }
    }

    #[test]
    fn a_length_that_lies_costs_no_more_than_what_arrived() {
        let now = Clock::system().now();
        let mut wire = Source {
            bytes: pattern(200_000),
            step: usize::MAX,
        };
        let (mut buffer, mut tail) = (ReadBuffer::default(), Tail::default());
        tail.keep(b"beginning", now, false);
        let mut read = |tail: &mut Tail| {
            let filled = buffer.fill(&mut wire, tail, 10_000_000, 10_000_000, now);
            filled.unwrap().read
        };
        while read(&mut tail) > 0 {
            let kept = tail.0.as_ref().unwrap();
            assert!(kept.bytes.len() <= 2 * kept.filled + 2 * READ_MAX);
        }
        assert_eq!(tail.bytes().len(), 9 + 200_000);
    }

    #[test]
    fn a_frame_like_the_last_large_one_is_read_where_it_stays() {
        let now = Clock::system().now();
        let mut wire = Source {
            bytes: pattern(60_000),
            step: 50_000,
        };
        let (mut buffer, mut tail) = (ReadBuffer::default(), Tail::default());
        let filled = buffer.fill(&mut wire, &mut tail, 0, 60_000, now).unwrap();
        assert!(filled.is_drained);
        let Arrived::Own(half, 50_000) = filled.arrived else {
            panic!("it has a buffer of its own");
        };
        let address = half.as_ptr();
        tail.adopt(half, 50_000, now).unwrap();
        let filled = buffer.fill(&mut wire, &mut tail, 10_000, 60_000, now);
        let Arrived::Own(whole, 60_000) = filled.unwrap().arrived else {
            panic!("it is complete");
        };
        assert_eq!(whole[..60_000], pattern(60_000));
        assert_eq!(whole.as_ptr(), address);
    }

    #[test]
    fn a_buffer_is_not_used_again_while_somebody_holds_a_piece_of_it() {
        let mut buffers = LargeBuffers::default();
        let buffer = Bytes::from(vec![0; 50_000]);
        let piece = buffer.slice(10..20);
        buffers.put(buffer);
        assert!(buffers.get(50_000).is_none());
        drop(piece);
        assert!(buffers.get(60_000).is_none() && buffers.get(1_000).is_none());
        assert!(buffers.get(50_000).is_some() && buffers.get(50_000).is_none());
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let mut buffers = LargeBuffers::default();
        for _ in 0..20 {
            buffers.put(Bytes::from(vec![0; 1 << 20]));
        }
        assert_eq!((buffers.buffers.len(), buffers.bytes), (8, 8 << 20));
        buffers.put(Bytes::from(vec![0; LARGE_KEPT_MAX + 1]));
        assert_eq!(buffers.bytes, 8 << 20);
    }
}
