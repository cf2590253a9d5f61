//! [`Stream`]: the socket of a connection, of TCP or of Unix.

use std::io::{self, IoSlice, Read};
use std::net::{Shutdown, TcpStream as StdTcp};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as StdUnix;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rpc_core::Address;
use socket2::Socket;

use crate::wire::Wire;
use crate::{socket, unix};

/// The socket of a connection, of TCP or of Unix. Which of them is known to the system, and asked of it where it makes a
/// difference: thousands of connections that said so themselves would be larger for it (`benches/tests/idle.rs`).
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
}

impl Stream {
    /// Begins to connect to `address`, tuned as by [`socket::tune`] if it is of TCP. The stream becomes writable when it
    /// is decided whether that worked; [`socket::is_connected`] tells.
    ///
    /// # Errors
    ///
    /// When there is no way to the address, or no descriptor or port left.
    pub fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => socket::connect(*address).map(Self::from),
            _ => unix::connect(address).map(|socket| Self { socket }),
        }
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    fn is_unix(&self) -> bool {
        self.socket.local_addr().is_ok_and(|own| own.is_unix())
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        let socket = StdTcp::from(stream).into();
        Self { socket }
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        let socket = StdUnix::from(stream).into();
        Self { socket }
    }
}

impl Wire for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        // A plain writev would raise SIGPIPE in programs that do not ignore it; sendmsg can be told not to.
        match pieces {
            [piece] => self.socket.send_with_flags(piece, NO_SIGNAL),
            pieces => self.socket.send_vectored_with_flags(pieces, NO_SIGNAL),
        }
    }

    fn finish(&mut self) {
        // It fails only on a connection that is gone already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    fn break_off(&mut self) {
        if self.is_unix() {
            return break_off_unix(&self.socket);
        }
        // With this, closing resets. It fails only on a connection that is gone already.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }
}

/// Nothing makes a Unix socket reset, so its peer would take the end for one in order. A frame that has begun and never
/// ends tells the two apart.
fn break_off_unix(socket: &Socket) {
    if let Err(error) = socket.send_with_flags(&BEGUN, NO_SIGNAL)
        && error.kind() == io::ErrorKind::WouldBlock
    {
        // The peer has not read for long. Half as much room again is enough for one byte; what the system does not grant
        // was never meant for a peer that is still there.
        let room = socket.send_buffer_size().unwrap_or_default();
        let _ = socket.set_send_buffer_size(room.saturating_add(room / 2));
        let _ = socket.send_with_flags(&BEGUN, NO_SIGNAL);
    }
}

/// The first byte of every frame.
const BEGUN: [u8; 1] = [0x09];

/// Registers the socket.
impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, on: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(registry, token, on)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, on: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).reregister(registry, token, on)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).deregister(registry)
    }
}

/// MSG_NOSIGNAL of Linux and Android, where the flag exists.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) const NO_SIGNAL: i32 = 0x4000;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const NO_SIGNAL: i32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Stream, StdUnix) {
        let (ours, theirs) = StdUnix::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (UnixStream::from_std(ours).into(), theirs)
    }

    fn all_of(mut stream: StdUnix) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_unix_socket_that_ends_in_order_says_nothing_more() {
        let (mut ours, theirs) = pair();
        assert_eq!(ours.write(&[IoSlice::new(b"answer")]).unwrap(), 6);
        ours.finish();
        drop(ours);
        assert_eq!(all_of(theirs), b"answer");
    }

    #[test]
    fn a_unix_socket_that_breaks_off_leaves_a_frame_that_never_ends() {
        let (mut ours, theirs) = pair();
        ours.break_off();
        drop(ours);
        assert_eq!(all_of(theirs), BEGUN);
    }

    #[test]
    fn a_unix_socket_breaks_off_behind_what_nobody_reads() {
        let (mut ours, theirs) = pair();
        let mut sent = 0;
        // Down to single bytes, until not one more fits.
        for size in [4096, 1] {
            while let Ok(written) = ours.write(&[IoSlice::new(&[7; 4096][..size])]) {
                sent += written;
            }
        }
        ours.break_off();
        drop(ours);
        let bytes = all_of(theirs);
        assert_eq!((bytes.len(), bytes.last()), (sent + 1, BEGUN.first()));
    }
}
