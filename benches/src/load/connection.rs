//! One connection: a socket, a wire and the calls in flight.

use std::io::{self, Read, Write};
use std::net::{self, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::wire::{Answers, LoadError, Wire};

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    wire: Box<dyn Wire>,
    output: Vec<u8>,
    written: usize,
    is_blocked: bool,
    /// Bytes that the wire has not used yet.
    rest: Vec<u8>,
    /// When the call in each slot was sent, or was due.
    slots: Vec<Option<u64>>,
    free: Vec<u32>,
}

impl Connection {
    pub(super) fn open(
        address: SocketAddr,
        mut wire: Box<dyn Wire>,
        in_flight: usize,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let stream = net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let mut output = Vec::new();
        wire.open(&mut output);
        Ok(Self {
            stream,
            wire,
            output,
            written: 0,
            is_blocked: false,
            rest: Vec::new(),
            slots: vec![None; in_flight],
            free: (0..in_flight as u32).rev().collect(),
        })
    }

    /// Makes a call, if one more may be in flight. It is sent by [`Connection::flush`].
    pub(super) fn request(&mut self, now: u64) -> bool {
        let Some(slot) = self.free.pop() else {
            return false;
        };
        self.slots[slot as usize] = Some(now);
        self.wire.request(slot, &mut self.output);
        true
    }

    /// When the call was sent that has been answered now.
    pub(super) fn answered(&mut self, slot: u32) -> Result<u64, LoadError> {
        let since = self.slots.get_mut(slot as usize).and_then(Option::take);
        let since = since.ok_or_else(|| LoadError::answer("an answer that nobody waits for"))?;
        self.free.push(slot);
        Ok(since)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Reads once. Says whether the socket had no more.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        answers: &mut Answers,
    ) -> Result<bool, LoadError> {
        let read = match self.stream.read(buffer) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let input = &buffer[..read];
        if self.rest.is_empty() {
            let used = self.wire.receive(input, answers, &mut self.output)?;
            self.rest.extend_from_slice(&input[used..]);
        } else {
            self.rest.extend_from_slice(input);
            let used = self.wire.receive(&self.rest, answers, &mut self.output)?;
            self.rest.drain(..used);
        }
        Ok(read < buffer.len())
    }

    pub(super) fn unblock(&mut self) {
        self.is_blocked = false;
    }

    /// Writes what there is to write, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.is_blocked && self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_blocked = true,
                Err(error) => return Err(error),
            }
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        Ok(())
    }
}
