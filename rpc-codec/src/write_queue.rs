//! What a connection has to write: small frames run together, large bodies as they are.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Bodies from this size on are queued as they are; smaller ones are copied behind their head, which is cheaper than
/// to write them as a piece of their own.
pub const COPY_MAX: usize = 16 * 1024;

/// Pieces offered to one vectored write.
pub const PIECES_MAX: usize = 64;

/// Bytes to be written, in order. All small frames of a turn stand in one buffer, so that one write takes them.
#[derive(Debug, Default)]
pub struct WriteQueue {
    /// Pieces that stand before `tail`.
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    queued: usize,
}

impl WriteQueue {
    /// An empty queue without a buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the queue a buffer to write into, unless it has one.
    pub fn lend(&mut self, buffer: BytesMut) {
        if self.tail.capacity() == 0 {
            self.tail = buffer;
        }
    }

    /// Takes the buffer away from an empty queue, so that the next connection can use it.
    pub fn release(&mut self) -> Option<BytesMut> {
        (self.is_empty() && self.tail.capacity() > 0).then(|| {
            let mut buffer = std::mem::take(&mut self.tail);
            buffer.clear();
            buffer
        })
    }

    /// Appends through `write`, which may only append.
    pub fn put_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let before = self.tail.len();
        write(&mut self.tail);
        self.queued += self.tail.len().saturating_sub(before);
    }

    /// Appends a body: a small one is copied, a large one is kept as it is.
    pub fn put_body(&mut self, body: &Bytes) {
        if body.len() <= COPY_MAX {
            self.put_with(|tail| tail.extend_from_slice(body));
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.queued += body.len();
        self.pieces.push_back(body.clone());
    }

    /// Takes over all that `other` holds, behind what is here.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.pieces.append(&mut other.pieces);
        self.tail.extend_from_slice(&other.tail);
        self.queued += other.queued;
        other.tail.clear();
        other.queued = 0;
    }

    /// Forgets the first `written` bytes: they have been written.
    pub fn advance(&mut self, mut written: usize) {
        self.queued = self.queued.saturating_sub(written);
        while let Some(first) = self.pieces.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pieces.pop_front();
        }
        self.tail.advance(written.min(self.tail.len()));
    }

    /// Offers the first pieces to `write`.
    pub fn with_slices<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        if self.pieces.is_empty() {
            return write(&[IoSlice::new(&self.tail)]);
        }
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let pieces = self
            .pieces
            .iter()
            .map(Bytes::as_ref)
            .chain(std::iter::once(self.tail.as_ref()));
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        write(slices.get(..count).unwrap_or_default())
    }

    /// Bytes that wait to be written.
    pub fn len(&self) -> usize {
        self.queued
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.queued == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut WriteQueue, step: usize) -> Vec<u8> {
        let mut written = Vec::new();
        while !queue.is_empty() {
            let n = queue.with_slices(|slices| {
                let first = slices.iter().find(|slice| !slice.is_empty()).unwrap();
                let n = first.len().min(step);
                written.extend_from_slice(&first[..n]);
                n
            });
            queue.advance(n);
        }
        written
    }

    #[test]
    fn what_goes_in_comes_out_in_order_whatever_a_write_takes() {
        for step in [1, 7, 4096, usize::MAX] {
            let mut queue = WriteQueue::new();
            let large = Bytes::from(vec![7; COPY_MAX + 1]);
            queue.put_with(|out| out.extend_from_slice(b"head"));
            queue.put_body(&large);
            queue.put_with(|out| out.extend_from_slice(b"next"));
            queue.put_body(&Bytes::from_static(b"small"));
            assert_eq!(queue.len(), 4 + large.len() + 9);
            let expected = [b"head", &large[..], b"nextsmall"].concat();
            assert_eq!(drain(&mut queue, step), expected);
        }
    }

    #[test]
    fn appending_keeps_the_order() {
        let (mut first, mut second) = (WriteQueue::new(), WriteQueue::new());
        first.put_with(|out| out.extend_from_slice(b"one"));
        second.put_body(&Bytes::from(vec![1; COPY_MAX + 1]));
        second.put_with(|out| out.extend_from_slice(b"two"));
        first.append(&mut second);
        assert!(second.is_empty());
        let all = drain(&mut first, 1000);
        assert_eq!(
            (&all[..3], &all[all.len() - 3..], all.len()),
            (&b"one"[..], &b"two"[..], COPY_MAX + 7)
        );
    }

    #[test]
    fn a_buffer_is_released_only_when_all_is_written() {
        let mut queue = WriteQueue::new();
        queue.lend(BytesMut::with_capacity(64));
        queue.put_with(|out| out.extend_from_slice(b"x"));
        assert!(queue.release().is_none());
        queue.advance(1);
        assert!(queue.release().is_some_and(|buffer| buffer.is_empty()));
        assert!(queue.release().is_none());
    }
}
