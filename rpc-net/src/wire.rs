//! [`Wire`]: what carries the bytes of one connection; [`DatagramWire`]: what carries its frames one by one.

use std::io::{self, IoSlice};

use rpc_core::PeerIdentity;

/// A stream of bytes to one peer that never blocks.
pub trait Wire: Send {
    /// Reads into `buffer`. 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when nothing is there.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes from the front of `pieces`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when nothing can be taken.
    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Tells the peer that nothing more will be written. What the wire [holds](Wire::holds_output) after that goes out
    /// with a write of nothing.
    fn finish(&mut self);

    /// Lets the peer know, when this is dropped, that it was not told everything.
    fn break_off(&mut self);

    /// Whether a read would bring something though the socket has said all: what the wire has taken from it and not
    /// handed on.
    fn holds_input(&self) -> bool {
        false
    }

    /// Whether the wire itself has something to write, beside what it is given.
    fn holds_output(&self) -> bool {
        false
    }

    /// Who the peer has proved to be.
    fn identity(&self) -> Option<PeerIdentity> {
        None
    }
}

/// A way to one peer for frames that each take a datagram. It never blocks, and nothing is read from it: what comes is
/// brought to the engine.
pub trait DatagramWire: Send {
    /// Sends whole frames from the front of `pieces`, and says how many bytes those were. Who has more to send asks again.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when none can be taken.
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
}
