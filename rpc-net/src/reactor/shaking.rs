//! How a reactor leads its connections through the handshake of TLS: they are watched under tokens of their own, and
//! handed to the engine once they can be used.

use std::net::SocketAddr;
use std::time::Instant;

use mio::Interest;

use super::{Dealt, HANDSHAKES, Reactor, stream_of, token};
use crate::io::{Driver, Origin};
use crate::stream::Stream;
use crate::tls::handshakes::{Shaken, until};
use crate::tls::{ClientTls, ServerTls};

/// Whom a handshake is with.
pub(super) enum Party<M> {
    /// With one who was accepted: its machine, which counts it at the driver, and what counts it at the loop.
    Client(M, Dealt),
    /// With one whom the driver asked for, by this ticket.
    Server(u64),
}

impl<D: Driver> Reactor<D> {
    pub(super) fn begin_with_client(
        &mut self,
        tls: &ServerTls,
        stream: Stream,
        peer: SocketAddr,
        dealt: Dealt,
    ) {
        let Some(machine) = self.engine.open(Some(peer), Origin::Accepted) else {
            return;
        };
        let until = until(&machine, self.clock.now());
        let party = Party::Client(machine, dealt);
        match self.handshakes.with_client(tls, stream, peer, party, until) {
            Ok(place) => self.watch_handshake(place, true),
            Err(failed) => self.settle_handshake(failed),
        }
    }

    pub(super) fn begin_with_server(
        &mut self,
        tls: &ClientTls,
        stream: Stream,
        address: SocketAddr,
        ticket: u64,
    ) {
        let party = Party::Server(ticket);
        match self.handshakes.with_server(tls, stream, address, party) {
            Ok(place) => self.watch_handshake(place, false),
            Err(failed) => self.settle_handshake(failed),
        }
    }

    /// Watches the socket of a handshake that begins, and lets it say its first words.
    fn watch_handshake(&mut self, place: usize, is_new: bool) {
        let Some(wire) = self.handshakes.wire_mut(place) else {
            return;
        };
        let (registry, stream) = (self.poll.registry(), stream_of(wire));
        let token = token(HANDSHAKES | place as u64);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let watched = if is_new {
            registry.register(stream, token, interest)
        } else {
            registry.reregister(stream, token, interest)
        };
        match watched {
            Ok(()) => self.go_on_with_handshake(place),
            Err(error) => {
                if let Some(failed) = self.handshakes.fail(place, error) {
                    self.settle_handshake(failed);
                }
            }
        }
    }

    pub(super) fn go_on_with_handshake(&mut self, place: usize) {
        if let Some(shaken) = self.handshakes.drive(place, self.clock.now()) {
            self.settle_handshake(shaken);
        }
    }

    /// Goes on with those that the poller will not tell of, and ends those that are late.
    pub(super) fn look_after_handshakes(&mut self, now: Instant) {
        for place in self.handshakes.take_unread() {
            self.go_on_with_handshake(place);
        }
        while let Some(late) = self.handshakes.expired(now) {
            self.settle_handshake(late);
        }
    }

    fn settle_handshake(&mut self, shaken: Shaken<Stream, Party<D::Machine>>) {
        let Shaken {
            peer,
            party,
            outcome,
        } = shaken;
        let key = match (party, outcome) {
            (Party::Client(machine, dealt), Ok(wire)) => {
                // The engine counts it from here on.
                drop(dealt);
                let origin = Origin::Accepted;
                Some(self.engine.adopt_open(machine, wire, Some(peer), origin))
            }
            (Party::Client(machine, _), Err(error)) => {
                self.engine.dismiss(machine, peer, &error);
                None
            }
            (Party::Server(ticket), Ok(wire)) => {
                self.engine.adopt(wire, peer, Origin::Connected(ticket))
            }
            (Party::Server(ticket), Err(error)) => {
                self.engine.connect_failed(ticket, error);
                None
            }
        };
        if let Some(key) = key {
            self.watch(key, Some(peer), false);
        }
    }
}
