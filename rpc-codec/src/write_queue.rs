//! What a connection has to write: small frames run together, large bodies as they are.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use rpc_core::Body;

/// Bodies from this size on are queued as they are; smaller ones are copied behind their head, which is cheaper than
/// to write them as a piece of their own.
pub const COPY_MAX: usize = 16 * 1024;

/// Pieces offered to one vectored write.
pub const PIECES_MAX: usize = 64;

/// What has been written of a buffer is given up to this size before the rest is moved to its front.
const WRITTEN_MAX: usize = 64 * 1024;

/// Bytes to be written, in order. All small frames of a turn stand in one buffer, so that one write takes them.
///
/// One pointer wide: an idle connection has nothing to write and holds no buffer.
#[derive(Debug, Default)]
pub struct WriteQueue {
    buffer: Option<WriteBuffer>,
}

/// What a [`WriteQueue`] keeps its bytes in. It is [lent](WriteQueue::lend) to one connection after the other.
#[derive(Debug, Default)]
pub struct WriteBuffer(Box<Parts>);

#[derive(Debug, Default)]
struct Parts {
    /// Heads and small bodies, in order.
    small: Vec<u8>,
    /// How much of that has been written.
    written: usize,
    /// Large bodies, each with its place among the small ones: behind that many of their bytes.
    large: VecDeque<(usize, Bytes)>,
    /// Bytes of the large bodies.
    large_bytes: usize,
}

impl WriteBuffer {
    /// A buffer with room for so many bytes of small frames.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Box::new(Parts {
            small: Vec::with_capacity(bytes),
            ..Parts::default()
        }))
    }

    /// The bytes that it takes up.
    pub fn capacity(&self) -> usize {
        let places = self.0.large.capacity();
        self.0
            .small
            .capacity()
            .saturating_add(places.saturating_mul(size_of::<(usize, Bytes)>()))
    }
}

impl WriteQueue {
    /// An empty queue without a buffer.
    pub const fn new() -> Self {
        Self { buffer: None }
    }

    /// Gives the queue a buffer to write into, unless it has one.
    pub fn lend(&mut self, buffer: impl FnOnce() -> WriteBuffer) {
        self.buffer.get_or_insert_with(buffer);
    }

    /// Takes the buffer away from an empty queue, so that the next connection can use it.
    pub fn release(&mut self) -> Option<WriteBuffer> {
        let mut buffer = self.buffer.take_if(|buffer| buffer.0.len() == 0)?;
        buffer.0.written = 0;
        buffer.0.small.clear();
        Some(buffer)
    }

    /// Appends through `write`, which may only append, and returns what that returns.
    #[inline]
    pub fn put_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        write(&mut self.parts().small)
    }

    /// Appends the pieces of a body.
    #[inline]
    pub fn put_body(&mut self, body: &Body) {
        self.put_bytes(body.front());
        if let Some(back) = body.back() {
            self.put_bytes(back);
        }
    }

    /// Appends bytes that are there already: few are copied, many are kept as they are.
    #[inline]
    pub fn put_bytes(&mut self, bytes: &Bytes) {
        let parts = self.parts();
        if bytes.len() <= COPY_MAX {
            parts.small.extend_from_slice(bytes);
        } else {
            parts.large.push_back((parts.small.len(), bytes.clone()));
            parts.large_bytes += bytes.len();
        }
    }

    /// Takes over all that `other` holds, behind what is here.
    pub fn append(&mut self, other: &mut Self) {
        let other = std::mem::take(other);
        if self.is_empty() {
            *self = other;
        } else if let Some(buffer) = other.buffer {
            self.parts().append(*buffer.0);
        }
    }

    /// Forgets the first `written` bytes: they have been written.
    pub fn advance(&mut self, written: usize) {
        if let Some(buffer) = &mut self.buffer {
            buffer.0.advance(written);
        }
    }

    /// Offers the first pieces to `write`.
    pub fn with_slices<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        match &self.buffer {
            Some(buffer) => buffer.0.with_slices(write),
            None => write(&[]),
        }
    }

    /// Bytes that wait to be written.
    pub fn len(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.0.len())
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn parts(&mut self) -> &mut Parts {
        &mut self.buffer.get_or_insert_default().0
    }
}

impl Parts {
    fn append(&mut self, other: Self) {
        let (here, gone) = (self.small.len(), other.written);
        let large = other.large.into_iter();
        self.large
            .extend(large.map(|(place, body)| (here + place.saturating_sub(gone), body)));
        self.small
            .extend_from_slice(other.small.get(gone..).unwrap_or_default());
        self.large_bytes += other.large_bytes;
    }

    fn advance(&mut self, mut written: usize) {
        while let Some((place, body)) = self.large.front_mut() {
            let before = place.saturating_sub(self.written).min(written);
            self.written += before;
            written -= before;
            let of_body = body.len().min(written);
            self.large_bytes -= of_body;
            if of_body < body.len() {
                body.advance(of_body);
                return self.move_up();
            }
            written -= of_body;
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

    fn with_slices<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
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

    fn len(&self) -> usize {
        self.small.len() - self.written + self.large_bytes
    }

    fn between(&self, from: usize, to: usize) -> &[u8] {
        self.small.get(from..to).unwrap_or_default()
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
            queue.put_bytes(&large);
            queue.put_with(|out| out.extend_from_slice(b"next"));
            queue.put_bytes(&Bytes::from_static(b"small"));
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
            queue.put_bytes(&large);
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
            queue.put_bytes(&large);
            let most = queue.len().saturating_sub(10);
            queue.advance(most);
        }
        assert_eq!(queue.len(), 10);
        let buffer = queue.buffer.expect("it holds ten bytes");
        assert!(buffer.capacity() < 1 << 20);
    }

    #[test]
    fn appending_keeps_the_order() {
        let (mut first, mut second) = (WriteQueue::new(), WriteQueue::new());
        first.put_with(|out| out.extend_from_slice(b"one"));
        second.put_bytes(&Bytes::from(vec![1; COPY_MAX + 1]));
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
        queue.lend(|| WriteBuffer::with_capacity(64));
        queue.put_with(|out| out.extend_from_slice(b"x"));
        assert!(queue.release().is_none());
        queue.advance(1);
        assert!(
            queue
                .release()
                .is_some_and(|buffer| buffer.capacity() == 64 && buffer.0.small.is_empty())
        );
        assert!(queue.release().is_none());
    }
}
