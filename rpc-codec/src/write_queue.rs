//! What a connection has to write: small frames run together, large bodies as they are.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Bodies from this size on are queued as they are; smaller ones are copied behind their head, which is cheaper than
/// to write them as a piece of their own.
pub const COPY_MAX: usize = 16 * 1024;

/// Pieces offered to one vectored write.
pub const PIECES_MAX: usize = 64;

/// What has been written of a buffer is given up to this size before the rest is moved to its front.
const WRITTEN_MAX: usize = 64 * 1024;

/// Bytes to be written, in order. All small frames of a turn stand in one buffer, so that one write takes them.
#[derive(Debug, Default)]
pub struct WriteQueue {
    /// Heads and small bodies, in order.
    small: Vec<u8>,
    /// How much of that has been written.
    written: usize,
    /// Large bodies, each with its place among the small ones: behind that many of their bytes.
    large: VecDeque<(usize, Bytes)>,
    queued: usize,
}

impl WriteQueue {
    /// An empty queue without a buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the queue a buffer to write into, unless it has one.
    pub fn lend(&mut self, buffer: Vec<u8>) {
        if self.small.capacity() == 0 {
            self.small = buffer;
        }
    }

    /// Takes the buffer away from an empty queue, so that the next connection can use it.
    pub fn release(&mut self) -> Option<Vec<u8>> {
        (self.is_empty() && self.small.capacity() > 0).then(|| {
            self.written = 0;
            let mut buffer = std::mem::take(&mut self.small);
            buffer.clear();
            buffer
        })
    }

    /// Appends through `write`, which may only append, and returns what that returns.
    #[inline]
    pub fn put_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let before = self.small.len();
        let returned = write(&mut self.small);
        self.queued += self.small.len().saturating_sub(before);
        returned
    }

    /// Appends a body: a small one is copied, a large one is kept as it is.
    pub fn put_body(&mut self, body: &Bytes) {
        if body.len() <= COPY_MAX {
            self.small.extend_from_slice(body);
        } else {
            self.large.push_back((self.small.len(), body.clone()));
        }
        self.queued += body.len();
    }

    /// Takes over all that `other` holds, behind what is here.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        let (here, gone) = (self.small.len(), other.written);
        let large = other.large.drain(..);
        self.large
            .extend(large.map(|(place, body)| (here + place.saturating_sub(gone), body)));
        self.small
            .extend_from_slice(other.small.get(gone..).unwrap_or_default());
        self.queued += other.queued;
        *other = Self::default();
    }

    /// Forgets the first `written` bytes: they have been written.
    pub fn advance(&mut self, mut written: usize) {
        self.queued = self.queued.saturating_sub(written);
        while let Some((place, body)) = self.large.front_mut() {
            let before = place.saturating_sub(self.written).min(written);
            self.written += before;
            written -= before;
            if written < body.len() {
                body.advance(written);
                return self.move_up();
            }
            written -= body.len();
            self.large.pop_front();
        }
        self.written = (self.written + written).min(self.small.len());
        self.move_up();
    }

    /// Gives up what has been written, once that is most of the buffer.
    fn move_up(&mut self) {
        if self.written == self.small.len() && self.large.is_empty() {
            self.small.clear();
            self.written = 0;
        } else if self.written > WRITTEN_MAX && self.written > self.small.len() / 2 {
            self.small.drain(..self.written);
            for (place, _) in &mut self.large {
                *place = place.saturating_sub(self.written);
            }
            self.written = 0;
        }
    }

    /// Offers the first pieces to `write`.
    pub fn with_slices<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        if self.large.is_empty() {
            return write(&[IoSlice::new(self.between(self.written, self.small.len()))]);
        }
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut free = slices.iter_mut();
        let mut from = self.written;
        let mut put = |piece| {
            if let Some(slot) = free.next() {
                *slot = IoSlice::new(piece);
            }
        };
        for (place, body) in self.large.iter().take(PIECES_MAX / 2) {
            put(self.between(from, *place));
            put(body);
            from = *place;
        }
        if self.large.len() < PIECES_MAX / 2 {
            put(self.between(from, self.small.len()));
        }
        let count = PIECES_MAX - free.len();
        write(slices.get(..count).unwrap_or_default())
    }

    fn between(&self, from: usize, to: usize) -> &[u8] {
        self.small.get(from..to).unwrap_or_default()
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
    fn many_large_bodies_leave_in_several_writes() {
        let mut queue = WriteQueue::new();
        let mut expected = Vec::new();
        for number in 0..100 {
            let large = Bytes::from(vec![number; COPY_MAX + 1]);
            queue.put_with(|out| out.push(number));
            queue.put_body(&large);
            expected.push(number);
            expected.extend_from_slice(&large);
        }
        queue.put_with(|out| out.extend_from_slice(b"end"));
        expected.extend_from_slice(b"end");
        let mut written = Vec::new();
        while !queue.is_empty() {
            let count = queue.with_slices(|slices| {
                assert!(slices.len() <= PIECES_MAX);
                for slice in slices {
                    written.extend_from_slice(slice);
                }
                slices.iter().map(|slice| slice.len()).sum()
            });
            queue.advance(count);
        }
        assert!(written == expected);
    }

    #[test]
    fn a_queue_that_is_never_quite_empty_does_not_grow() {
        let mut queue = WriteQueue::new();
        let large = Bytes::from(vec![8; COPY_MAX + 1]);
        for _ in 0..10_000 {
            queue.put_with(|out| out.extend_from_slice(&[7; 1000]));
            queue.put_body(&large);
            let most = queue.len().saturating_sub(10);
            queue.advance(most);
        }
        assert_eq!(queue.len(), 10);
        assert!(queue.small.capacity() < 1 << 20);
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
        queue.lend(Vec::with_capacity(64));
        queue.put_with(|out| out.extend_from_slice(b"x"));
        assert!(queue.release().is_none());
        queue.advance(1);
        assert!(queue.release().is_some_and(|buffer| buffer.is_empty()));
        assert!(queue.release().is_none());
    }
}
