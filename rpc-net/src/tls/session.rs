//! One connection behind TLS: ciphertext from and to the socket, plaintext to and from the engine.
//!
//! ```text
//!            socket                  rustls                     engine
//!   read     ciphertext ──▶ unread ──▶ records ──▶ plaintext ──▶ buffer
//!   write    ciphertext ◀── records of at most 64 KiB ◀───────── write queue
//! ```
//!
//! What bounds memory and what tells a slow peer from a fast one is the write queue, as without TLS. So bytes count as
//! written, and leave the queue, when their records have been taken by the socket and not when they were encrypted: until
//! then they are *owed*. Input is decrypted only as far as the engine asks for it.

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::net::SocketAddr;

use bytes::Bytes;
use rpc_codec::write_queue::PIECES_MAX;
use rpc_core::PeerIdentity;
use rustls::{ClientConnection, Connection, Error, ServerConnection};

use super::fault::Role;
use super::{ClientTls, ServerTls, TlsFailure, TlsFault};
use crate::wire::Wire;

/// Plaintext that is encrypted at a time: enough for all answers of a turn, and what waits of it besides stays in the cache.
const SEALED_MAX: usize = 64 * 1024;
/// What one read of the socket asks for.
const CIPHERTEXT: usize = 128 * 1024;
/// Reads of the socket at a time; it bounds how long one connection can keep the loop.
const READS_MAX: usize = 2;

thread_local! {
    /// Where ciphertext arrives. All sessions of a loop share it; hardly ever is some left for the next read.
    static ARRIVED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One connection behind TLS.
pub(crate) struct Session {
    tls: Connection,
    role: Role,
    /// Ciphertext that was read and not decrypted, as nobody had room for what is in it.
    unread: Vec<u8>,
    /// Plaintext that nobody had room for.
    waiting: usize,
    /// Bytes at the front of the write queue whose records the socket has not taken.
    owed: usize,
    /// How the peer began to speak, until the handshake is done.
    opening: Option<[u8; 2]>,
    /// The socket had nothing more when it was read last.
    is_drained: bool,
    /// The peer has ended TLS in order.
    peer_has_closed: bool,
    /// The socket has ended.
    has_ended: bool,
    /// An error behind bytes that are to be told first.
    failed: Option<io::Error>,
    farewell: Farewell,
}

/// How far we are in ending TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    Unsaid,
    /// Its record waits for the socket.
    Waits,
    /// Said, or not to be said.
    Over,
}

impl Session {
    /// The beginning of a session with a client.
    pub(super) fn with_client(tls: &ServerTls) -> io::Result<Self> {
        let connection = ServerConnection::new(tls.config()).map_err(internal)?;
        Ok(Self::new(Connection::Server(connection), Role::Server))
    }

    /// The beginning of a session with the server at `address`.
    pub(super) fn with_server(tls: &ClientTls, address: SocketAddr) -> io::Result<Self> {
        let connection = ClientConnection::new(tls.config(), tls.name_of(address));
        let connection = connection.map_err(internal)?;
        Ok(Self::new(Connection::Client(connection), Role::Client))
    }

    fn new(mut tls: Connection, role: Role) -> Self {
        tls.set_buffer_limit(Some(SEALED_MAX));
        Self {
            tls,
            role,
            unread: Vec::new(),
            waiting: 0,
            owed: 0,
            opening: None,
            is_drained: false,
            peer_has_closed: false,
            has_ended: false,
            failed: None,
            farewell: Farewell::Unsaid,
        }
    }

    /// Goes on with the handshake. `true` once it is done and the peer can know it.
    ///
    /// # Errors
    ///
    /// A [`TlsFailure`]; the peer has been told if it speaks TLS and its socket took the alert.
    pub(super) fn shake<W: Wire>(&mut self, socket: &mut W) -> io::Result<bool> {
        loop {
            match self.send(socket).1 {
                Err(error) if is_blocked(&error) => return Ok(false),
                Err(error) => return Err(in_handshake(self.explained(socket, error))),
                Ok(()) if !self.tls.is_handshaking() => return Ok(true),
                Ok(()) => {}
            }
            match self.take_in(socket, &mut [], &mut 0) {
                Ok(true) => {}
                Ok(false) if self.has_ended => {
                    return Err(TlsFailure::from(TlsFault::EndedInHandshake).into());
                }
                Ok(false) => return Ok(false),
                Err(error) => return Err(in_handshake(error)),
            }
        }
    }

    /// Reads plaintext into `out`. 0 when the peer has ended TLS.
    pub(super) fn read<W: Wire>(&mut self, socket: &mut W, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        self.take_out(out, &mut filled);
        self.is_drained = false;
        for _ in 0..READS_MAX {
            let is_done = self.is_drained && self.unread.is_empty();
            if filled == out.len() || is_done || self.is_over() {
                break;
            }
            match self.take_in(socket, out, &mut filled) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.failed = Some(error),
            }
        }
        if self.tls.wants_write() && self.owed == 0 {
            // What TLS itself has to say: new keys, an alert. What the socket does not take goes out with what is written
            // next, and a socket that fails says so when it is read.
            let _ = self.send(socket);
        }
        if filled > 0 {
            return Ok(filled);
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None if self.peer_has_closed => Ok(0),
            None if self.has_ended => Err(TlsFailure::from(TlsFault::Truncated).into()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Encrypts and writes from the front of `pieces`, and says how many of their bytes the socket has taken. Of what is
    /// encrypted and not taken the last byte is kept back, so whoever asks comes with it again.
    pub(super) fn write<W: Wire>(
        &mut self,
        socket: &mut W,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let (sent, outcome) = self.send(socket);
            let paid = match &outcome {
                Ok(()) => self.owed,
                // A record is longer than what is in it, so this is never more than is owed.
                Err(_) => sent.min(self.owed.saturating_sub(1)),
            };
            self.owed -= paid;
            taken += paid;
            match outcome {
                Ok(()) => {}
                Err(error) if is_blocked(&error) && taken > 0 => return Ok(taken),
                Err(error) if is_blocked(&error) => return Err(error),
                Err(error) => return Err(self.explained(socket, error)),
            }
            if self.farewell == Farewell::Waits {
                self.farewell = Farewell::Over;
                socket.finish();
            }
            self.owed = self.seal(pieces, taken)?;
            if self.owed == 0 {
                return Ok(taken);
            }
        }
    }

    /// Ends TLS, then the socket's output: at once, or when the socket has taken what waits.
    pub(super) fn finish<W: Wire>(&mut self, socket: &mut W) {
        if self.farewell != Farewell::Unsaid {
            return;
        }
        self.tls.send_close_notify();
        if self.send(socket).1.is_ok() {
            self.farewell = Farewell::Over;
            socket.finish();
        } else {
            self.farewell = Farewell::Waits;
        }
    }

    /// Says nothing at the end: the peer was not told everything, and is to know it.
    pub(super) fn break_off(&mut self) {
        self.farewell = Farewell::Over;
    }

    /// Says the last words before the socket is closed, as far as it takes them.
    pub(super) fn part<W: Wire>(&mut self, socket: &mut W) {
        if self.farewell == Farewell::Unsaid {
            self.tls.send_close_notify();
            let _ = self.send(socket);
        }
    }

    /// Whether a read would bring something, whatever the poller says.
    pub(super) fn holds_input(&self) -> bool {
        self.waiting > 0 || !self.unread.is_empty() || !self.is_drained || self.is_over()
    }

    /// Whether records wait for the socket.
    pub(super) fn holds_output(&self) -> bool {
        self.tls.wants_write()
    }

    /// Who the peer has proved to be, its own certificate first.
    pub(super) fn identity(&self) -> Option<PeerIdentity> {
        let chain = self.tls.peer_certificates()?;
        let chain = chain
            .iter()
            .map(|certificate| Bytes::copy_from_slice(certificate));
        Some(PeerIdentity::new(chain))
    }

    fn is_over(&self) -> bool {
        self.peer_has_closed || self.has_ended || self.failed.is_some()
    }

    /// Takes ciphertext that lies here or else reads some, decrypts it, and moves what comes out behind the first `filled`
    /// bytes of `out`. `false` when there was nothing.
    fn take_in<W: Wire>(
        &mut self,
        socket: &mut W,
        out: &mut [u8],
        filled: &mut usize,
    ) -> io::Result<bool> {
        if !self.unread.is_empty() {
            let unread = mem::take(&mut self.unread);
            return self.decrypt(&unread, out, filled).map(|()| true);
        }
        let mut arrived = ARRIVED.take();
        arrived.resize(CIPHERTEXT, 0);
        let outcome = match socket.read(&mut arrived) {
            Ok(0) => {
                self.has_ended = true;
                Ok(false)
            }
            Ok(read) => {
                self.is_drained = read < arrived.len();
                let arrived = arrived.get(..read).unwrap_or(&arrived);
                self.note_opening(arrived);
                self.decrypt(arrived, out, filled).map(|()| true)
            }
            Err(error) if is_blocked(&error) => {
                self.is_drained = true;
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        };
        ARRIVED.set(arrived);
        outcome
    }

    /// Decrypts until there is no room for what comes out; what is left lies here for the next time.
    fn decrypt(&mut self, ciphertext: &[u8], out: &mut [u8], filled: &mut usize) -> io::Result<()> {
        let mut rest = ciphertext;
        while !rest.is_empty() && self.waiting == 0 && !self.peer_has_closed {
            let taken = self.tls.read_tls(&mut rest)?;
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => return Err(self.failure(error)),
            };
            self.waiting = state.plaintext_bytes_to_read();
            self.peer_has_closed = state.peer_has_closed();
            self.take_out(out, filled);
            if taken == 0 {
                return Err(TlsFailure::from(TlsFault::Damaged).into());
            }
        }
        // Behind the end of TLS there is nothing.
        if !self.peer_has_closed {
            self.unread = rest.to_vec();
        }
        Ok(())
    }

    /// Moves plaintext behind the first `filled` bytes of `out`.
    fn take_out(&mut self, out: &mut [u8], filled: &mut usize) {
        if self.waiting == 0 {
            return;
        }
        let room = out.get_mut(*filled..).unwrap_or_default();
        // The only errors say that nothing is there.
        let taken = self.tls.reader().read(room).unwrap_or(0);
        self.waiting = self.waiting.saturating_sub(taken);
        *filled += taken;
    }

    /// Encrypts some of what lies behind the first `skipped` bytes of `pieces`. Returns how much.
    fn seal(&mut self, pieces: &[IoSlice<'_>], mut skipped: usize) -> io::Result<usize> {
        let mut rest = [IoSlice::new(&[]); PIECES_MAX];
        let mut free = rest.iter_mut();
        for piece in pieces {
            let unseen = piece.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(piece.len());
            if unseen.is_empty() {
                continue;
            }
            match free.next() {
                Some(slot) => *slot = IoSlice::new(unseen),
                None => break,
            }
        }
        let count = PIECES_MAX - free.len();
        if count == 0 {
            return Ok(0);
        }
        let rest = rest.get(..count).unwrap_or_default();
        self.tls.writer().write_vectored(rest)
    }

    /// Sends records as far as the socket takes them. Returns how many bytes that were, too.
    fn send<W: Wire>(&mut self, socket: &mut W) -> (usize, io::Result<()>) {
        let mut socket = Offered {
            socket,
            is_full: false,
        };
        let mut sent = 0;
        while self.tls.wants_write() {
            if socket.is_full {
                return (sent, Err(io::ErrorKind::WouldBlock.into()));
            }
            match self.tls.write_tls(&mut socket) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (sent, Err(error)),
            }
        }
        (sent, Ok(()))
    }

    /// Why the socket takes nothing more: the peer may have said so before it hung up.
    fn explained<W: Wire>(&mut self, socket: &mut W, error: io::Error) -> io::Error {
        match self.take_in(socket, &mut [], &mut 0) {
            Err(said) if said.get_ref().is_some() => said,
            _ => error,
        }
    }

    fn note_opening(&mut self, arrived: &[u8]) {
        if self.tls.is_handshaking() && self.opening.is_none() {
            self.opening = arrived.first_chunk().copied();
        }
    }

    fn failure(&self, error: Error) -> io::Error {
        let opening = self.opening.filter(|_| self.tls.is_handshaking());
        let fault = TlsFault::of(&error, self.role, opening);
        TlsFailure::new(fault, Some(error)).into()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("role", &self.role)
            .field("farewell", &self.farewell)
            .finish_non_exhaustive()
    }
}

/// A socket as rustls wants it, which notes when it took less than it was offered.
struct Offered<'a, W> {
    socket: &'a mut W,
    is_full: bool,
}

impl<W: Wire> Write for Offered<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
        let written = self.socket.write(pieces)?;
        self.is_full = written < offered;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn internal(error: Error) -> io::Error {
    TlsFailure::new(TlsFault::Internal, Some(error)).into()
}

/// A peer that hangs up in the handshake does so by a FIN or a reset, as it happens to have read what we sent.
fn in_handshake(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => TlsFailure::from(TlsFault::EndedInHandshake).into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
