//! The floor: frames of sixteen bytes and a payload, returned as they came by one bare epoll loop.
//!
//! It decodes nothing but lengths, so what it costs is what this kernel costs. It follows the rules that a fast server
//! follows: edge-triggered, one buffer for all connections, one read and one write per readable event.
//!
//! ```text
//! bench-floor 127.0.0.1:0
//! ```

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tern_benches::load::raw;

const LISTENER: Token = Token(usize::MAX);
/// One buffer for all connections.
const BUFFER: usize = 256 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("usage: bench-floor ADDR")?;
    let mut listener = TcpListener::bind(address.parse()?)?;
    println!("listening {}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut floor = Floor {
        connections: Vec::new(),
        buffer: vec![0; BUFFER],
    };
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener, &poll)?,
                Token(index) => floor.serve(index),
            }
        }
    }
}

struct Floor {
    connections: Vec<Option<Connection>>,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// A frame that has begun to arrive.
    partial: Vec<u8>,
    /// What the peer has not taken yet.
    unwritten: Vec<u8>,
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let free = self.connections.iter().position(Option::is_none);
            let index = free.unwrap_or(self.connections.len());
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(index), both)?;
            let connection = Connection {
                stream,
                partial: Vec::new(),
                unwritten: Vec::new(),
            };
            match self.connections.get_mut(index) {
                Some(place) => *place = Some(connection),
                None => self.connections.push(Some(connection)),
            }
        }
    }

    fn serve(&mut self, index: usize) {
        let Some(place) = self.connections.get_mut(index) else {
            return;
        };
        let served = place
            .as_mut()
            .is_some_and(|connection| connection.serve(&mut self.buffer).is_ok());
        if !served {
            *place = None;
        }
    }
}

impl Connection {
    fn serve(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.write_rest()?;
        loop {
            let is_drained = if self.partial.is_empty() {
                self.read_frames(buffer)?
            } else {
                self.read_rest(buffer)?
            };
            if is_drained {
                return Ok(());
            }
        }
    }

    /// Reads into the shared buffer and returns the whole frames from there. Says whether the socket is empty.
    fn read_frames(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let Some(read) = read(&mut self.stream, buffer)? else {
            return Ok(true);
        };
        let input = &buffer[..read];
        let (frames, rest) = input.split_at(raw::whole(input)?);
        self.write(frames)?;
        self.partial.extend_from_slice(rest);
        Ok(read < buffer.len())
    }

    /// Reads the rest of the frame that has begun, or of its header, and returns it.
    fn read_rest(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let missing = raw::missing(&self.partial)?;
        let window = missing.min(buffer.len());
        let Some(read) = read(&mut self.stream, &mut buffer[..window])? else {
            return Ok(true);
        };
        self.partial.extend_from_slice(&buffer[..read]);
        if raw::whole(&self.partial)? == self.partial.len() {
            let frame = std::mem::take(&mut self.partial);
            self.write(&frame)?;
            self.partial = frame;
            self.partial.clear();
        }
        // The window was cut to this frame, so a full one says nothing about what is behind it.
        Ok(read < window)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.unwritten.is_empty() {
            self.unwritten.extend_from_slice(bytes);
            return Ok(());
        }
        let written = write(&mut self.stream, bytes)?;
        self.unwritten.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    fn write_rest(&mut self) -> io::Result<()> {
        let written = write(&mut self.stream, &self.unwritten)?;
        self.unwritten.drain(..written);
        Ok(())
    }
}

/// `None` when nothing is there; the end of the stream is an error, because the connection is over with it.
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match stream.read(buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// How much of it was taken.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(taken) => written += taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
