//! [`Wire`]: what carries the bytes of one connection; [`DatagramWire`]: what carries its frames one by one.

use std::io::{self, IoSlice};

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

    /// Tells the peer that nothing more will be written.
    fn finish(&mut self);

    /// Lets the peer know, when this is dropped, that it was not told everything.
    fn break_off(&mut self);
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
