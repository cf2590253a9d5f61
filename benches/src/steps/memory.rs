//! [`Memory`]: a connection without a socket.

use std::io::{self, IoSlice};
use std::mem;

use rpc_net::Wire;

/// Bytes that wait to be read, and bytes that were written. It takes everything at once and never ends.
#[derive(Debug, Default)]
pub struct Memory {
    incoming: Vec<u8>,
    read: usize,
    written: Vec<u8>,
}

impl Memory {
    /// Leaves bytes to be read.
    pub fn put(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// What was written since the last time it was [cleared](Memory::clear).
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.written.clear();
    }

    /// Leaves bytes to be read that follow from those that were written, which are forgotten.
    pub fn answer<T>(&mut self, answer: impl FnOnce(&[u8], &mut Vec<u8>) -> T) -> T {
        let written = mem::take(&mut self.written);
        let answered = answer(&written, &mut self.incoming);
        self.written = written;
        self.written.clear();
        answered
    }
}

impl Wire for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.incoming[self.read..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.read += length;
        if self.read == self.incoming.len() {
            self.incoming.clear();
            self.read = 0;
        }
        Ok(length)
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let before = self.written.len();
        for piece in pieces {
            self.written.extend_from_slice(piece);
        }
        Ok(self.written.len() - before)
    }

    fn finish(&mut self) {}

    fn break_off(&mut self) {}
}
