//! [`SocketWire`]: what carries the bytes of a connection on real sockets.

use std::io::{self, IoSlice};

use crate::stream::Stream;
use crate::udp::DatagramWire;
use crate::wire::Wire;

/// What carries the bytes of a connection on real sockets.
#[derive(Debug)]
pub(crate) enum SocketWire {
    Stream(Stream),
    /// Apart, because streams are many and should be small.
    Datagrams(Box<DatagramWire>),
}

impl SocketWire {
    pub(crate) fn datagrams(&mut self) -> Option<&mut DatagramWire> {
        match self {
            Self::Stream(_) => None,
            Self::Datagrams(wire) => Some(wire),
        }
    }
}

impl Wire for SocketWire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.read(buffer),
            Self::Datagrams(wire) => wire.read(buffer),
        }
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.write(pieces),
            Self::Datagrams(wire) => wire.write(pieces),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Stream(stream) => stream.finish(),
            Self::Datagrams(wire) => wire.finish(),
        }
    }

    fn break_off(&mut self) {
        match self {
            Self::Stream(stream) => stream.break_off(),
            Self::Datagrams(wire) => wire.break_off(),
        }
    }
}
