//! [`Secured`]: a wire with or without TLS on it.

use std::io::{self, IoSlice};

use rpc_core::PeerIdentity;

use super::session::Session;
use crate::wire::Wire;

/// A wire with or without TLS on it. Without, each use costs one look at that; with, what belongs to TLS lies behind a
/// pointer, so a table of wires hardly grows.
#[derive(Debug)]
pub(crate) struct Secured<W: Wire> {
    pub(crate) socket: W,
    session: Option<Box<Session>>,
}

impl<W: Wire> Secured<W> {
    pub(super) fn new(socket: W, session: Session) -> Self {
        Self {
            socket,
            session: Some(Box::new(session)),
        }
    }

    /// Goes on with the handshake; see [`Session::shake`].
    pub(super) fn shake(&mut self) -> io::Result<bool> {
        match &mut self.session {
            Some(session) => session.shake(&mut self.socket),
            None => Ok(true),
        }
    }

    /// Sends what is left of TLS, and then as little as can be said: the peer that failed a handshake is told why.
    pub(super) fn give_up(&mut self) {
        if let Some(session) = &mut self.session {
            session.finish(&mut self.socket);
        }
    }
}

impl<W: Wire> From<W> for Secured<W> {
    fn from(socket: W) -> Self {
        Self {
            socket,
            session: None,
        }
    }
}

impl<W: Wire> Wire for Secured<W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.session {
            None => self.socket.read(buffer),
            Some(session) => session.read(&mut self.socket, buffer),
        }
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.session {
            None => self.socket.write(pieces),
            Some(session) => session.write(&mut self.socket, pieces),
        }
    }

    fn finish(&mut self) {
        match &mut self.session {
            None => self.socket.finish(),
            Some(session) => session.finish(&mut self.socket),
        }
    }

    fn break_off(&mut self) {
        if let Some(session) = &mut self.session {
            session.break_off();
        }
        self.socket.break_off();
    }

    fn holds_input(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.holds_input())
    }

    fn holds_output(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.holds_output())
    }

    fn identity(&self) -> Option<PeerIdentity> {
        self.session.as_ref()?.identity()
    }
}

impl<W: Wire> Drop for Secured<W> {
    fn drop(&mut self) {
        if let Some(session) = &mut self.session {
            session.part(&mut self.socket);
        }
    }
}
