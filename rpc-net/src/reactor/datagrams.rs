//! The sockets of UDP in a loop: which of them have something to read, and whom that is for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::UdpSocket;
use mio::{Interest, Registry};

use super::{DATAGRAM_DOORS, DATAGRAM_LINKS, Reactor, token};
use crate::io::{Driver, Origin};
use crate::slab::Key;
use crate::udp::{
    self, AnsweringWire, AskingWire, DATAGRAM_ROOM, DATAGRAMS_PER_TURN, DatagramListener,
};

/// The sockets of UDP in a loop.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    doors: Vec<DatagramListener>,
    links: Vec<AskingLink>,
    next_link: u64,
    /// Where a datagram is read to; empty in a loop without such sockets.
    buffer: Vec<u8>,
}

/// A connection of the asking end.
#[derive(Debug)]
struct AskingLink {
    number: u64,
    key: Key,
    socket: Arc<UdpSocket>,
    is_readable: bool,
}

impl Datagrams {
    pub(super) fn listen(
        mut doors: Vec<DatagramListener>,
        registry: &Registry,
    ) -> io::Result<Self> {
        for (door, number) in doors.iter_mut().zip(DATAGRAM_DOORS..) {
            door.register(registry, token(number))?;
        }
        Ok(Self {
            doors,
            ..Self::default()
        })
    }

    /// Whether there may be something to read without the system saying so again.
    pub(super) fn has_work(&self) -> bool {
        self.doors.iter().any(DatagramListener::has_work)
            || self.links.iter().any(|link| link.is_readable)
    }

    fn is_unused(&self) -> bool {
        self.doors.is_empty() && self.links.is_empty()
    }

    pub(super) fn door_readable(&mut self, index: usize) {
        if let Some(door) = self.doors.get_mut(index) {
            door.is_readable = true;
        }
    }

    /// Notes that a connection can be read. Returns which, for it may be written to as well.
    pub(super) fn link_ready(&mut self, number: u64) -> Option<Key> {
        let mut links = self.links.iter_mut();
        let link = links.find(|link| link.number == number)?;
        link.is_readable = true;
        Some(link.key)
    }

    /// Takes nothing more. Answers that are owed keep their sockets.
    pub(super) fn stop_listening(&mut self) -> Vec<DatagramListener> {
        std::mem::take(&mut self.doors)
    }

    fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(DATAGRAM_ROOM, 0);
        buffer
    }
}

impl<D: Driver> Reactor<D> {
    /// Reads what has come, a bounded number of datagrams from each socket.
    pub(super) fn receive_datagrams(&mut self) {
        if self.datagrams.is_unused() {
            return;
        }
        // Their ends are not told, and a socket is to go with its connection.
        let engine = &self.engine;
        self.datagrams.links.retain(|link| engine.has(link.key));
        if !self.datagrams.has_work() {
            return;
        }
        let mut buffer = self.datagrams.buffer();
        let mut doors = std::mem::take(&mut self.datagrams.doors);
        for door in &mut doors {
            self.receive_requests(door, &mut buffer);
        }
        self.datagrams.doors = doors;
        let mut links = std::mem::take(&mut self.datagrams.links);
        for link in links.iter_mut().filter(|link| link.is_readable) {
            self.receive_answers(link, &mut buffer);
        }
        self.datagrams.links = links;
        self.datagrams.buffer = buffer;
    }

    fn receive_requests(&mut self, door: &mut DatagramListener, buffer: &mut [u8]) {
        for _ in 0..DATAGRAMS_PER_TURN {
            if !door.has_work() {
                return;
            }
            let Some((length, peer)) = door.receive(buffer) else {
                return;
            };
            if let Some(datagram) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) {
                let wire = AnsweringWire::new(door, peer);
                self.engine.adopt_request(wire, peer, datagram);
            }
        }
    }

    fn receive_answers(&mut self, link: &mut AskingLink, buffer: &mut [u8]) {
        for _ in 0..DATAGRAMS_PER_TURN {
            match link.socket.recv(buffer) {
                Ok(length) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    self.engine.receive_answer(link.key, datagram);
                }
                Err(error) => {
                    link.is_readable = false;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        // Nobody listens there, says the host that was asked.
                        self.engine.drop_link(link.key, error.kind());
                    }
                    return;
                }
            }
        }
    }

    /// A connection over UDP is there as soon as its socket is.
    pub(super) fn connect_datagrams(&mut self, ticket: u64, peer: SocketAddr) -> io::Result<()> {
        let mut socket = udp::connect(peer)?;
        let number = self.datagrams.next_link;
        self.datagrams.next_link = (number + 1) % DATAGRAM_LINKS_MAX;
        self.poll.registry().register(
            &mut socket,
            token(DATAGRAM_LINKS | number),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let socket = Arc::new(socket);
        let wire = AskingWire::new(Arc::clone(&socket));
        let origin = Origin::Connected(ticket);
        if let Some(key) = self.engine.adopt_datagrams(wire, peer, origin) {
            self.datagrams.links.push(AskingLink {
                number,
                key,
                socket,
                is_readable: false,
            });
        }
        Ok(())
    }

    /// Takes one turn's worth of what waits, then nothing more.
    pub(super) fn stop_receiving(&mut self) {
        let mut buffer = self.datagrams.buffer();
        for mut door in self.datagrams.stop_listening() {
            self.receive_requests(&mut door, &mut buffer);
        }
        self.datagrams.buffer = buffer;
    }
}

/// Numbers of connections at a time. They are used again after so many, long after the first is gone.
const DATAGRAM_LINKS_MAX: u64 = 1 << 32;
