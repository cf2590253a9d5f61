//! UDP: sockets that bring one frame in each datagram.
//!
//! At the answering end one socket serves all peers, and each request is a connection of its own that has brought one frame
//! and its end of input: it lives until it is answered, so nothing is kept of a peer, whose address may be forged. At the asking end each connection is a socket that hears its server alone.
//!
//! What does not fit into the send buffer of the answering end is lost, as it could be anywhere on its way; a socket must
//! not keep the loop, nor memory for a peer that does not read.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use rpc_codec::Limits;
use rpc_codec::datagram::{self, Frames};
use rpc_core::Address;
use socket2::{Domain, Protocol, Socket, Type};

use crate::socket::Sharing;
use crate::wire::DatagramWire;

/// Datagrams read from one socket in one turn of a loop. More would keep its connections waiting.
pub const DATAGRAMS_PER_TURN: usize = 64;

/// The room for one datagram: more than one can have.
pub(crate) const DATAGRAM_ROOM: usize = 65_536;

/// A bound socket that takes requests.
#[derive(Debug)]
pub struct DatagramListener {
    pub(crate) bound: Arc<Bound>,
    address: Address,
    limits: Limits,
    /// There may be more to read; the system does not say so twice.
    pub(crate) is_readable: bool,
}

/// What the requests of one socket share.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: UdpSocket,
    dropped: Arc<AtomicU64>,
}

impl DatagramListener {
    /// Binds `address`; port 0 takes a free one. Of `limits` it heeds the longest frame, and as many calls as one
    /// connection may have in flight are taken from the socket: the others wait in its buffer, and beyond that are lost.
    ///
    /// # Errors
    ///
    /// When the address is in use, not of this host, or not for this user to take.
    pub fn bind(address: SocketAddr, sharing: Sharing, limits: &Limits) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // SO_REUSEADDR would let anybody take the datagrams away.
        #[cfg(target_os = "linux")]
        socket.set_reuse_port(sharing == Sharing::Shared)?;
        #[cfg(not(target_os = "linux"))]
        let _ = sharing;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(StdSocket::from(socket));
        let address = Address::Udp(socket.local_addr()?);
        let dropped = Arc::default();
        Ok(Self {
            bound: Arc::new(Bound { socket, dropped }),
            address,
            limits: limits.for_datagrams(),
            is_readable: true,
        })
    }

    /// The address that it is bound to, with the port that was taken.
    pub fn local_addr(&self) -> &Address {
        &self.address
    }

    /// How many datagrams were dropped: requests that were not one whole unary frame, and answers that could not be sent.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bound.dropped)
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let bound = Arc::get_mut(&mut self.bound).expect("nothing was received yet");
        registry.register(&mut bound.socket, token, Interest::READABLE)
    }

    /// Whether there may be something to read, and room for it.
    pub(crate) fn has_work(&self) -> bool {
        // Each request holds on to the socket until it is answered.
        let in_flight = Arc::strong_count(&self.bound) - 1;
        self.is_readable && in_flight < self.limits.connection_calls_max
    }

    /// Reads the next request, up to [`DATAGRAM_ROOM`] bytes of it. `None` if there is none now. What is not one whole
    /// frame is counted, and said to be of no length.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let (length, peer) = match self.bound.socket.recv_from(buffer) {
            Ok(received) => received,
            Err(error) => {
                // Any other error was of something that was sent, and is told but once.
                self.is_readable = error.kind() != io::ErrorKind::WouldBlock;
                return None;
            }
        };
        let datagram = buffer.get(..length).unwrap_or_default();
        if let Err(why) = datagram::check(datagram, &self.limits) {
            self.bound.count_dropped();
            tracing::debug!(%peer, %why, "a datagram was dropped");
            return Some((0, peer));
        }
        Some((length, peer))
    }
}

impl Bound {
    fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Carries the answer to one request.
#[derive(Debug)]
pub(crate) struct AnsweringWire {
    bound: Arc<Bound>,
    peer: SocketAddr,
    /// For an answer that lies in several pieces.
    scratch: Vec<u8>,
}

impl AnsweringWire {
    pub(crate) fn new(listener: &DatagramListener, peer: SocketAddr) -> Self {
        Self {
            bound: Arc::clone(&listener.bound),
            peer,
            scratch: Vec::new(),
        }
    }
}

impl DatagramWire for AnsweringWire {
    /// Takes all there is, whatever becomes of it: see the [module](self).
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut frames = Frames::new(pieces);
        while let Some(frame) = frames.next(&mut self.scratch) {
            if let Err(error) = self.bound.socket.send_to(frame, self.peer) {
                self.bound.count_dropped();
                tracing::debug!(peer = %self.peer, %error, "an answer was dropped");
            }
        }
        Ok(pieces.iter().map(|piece| piece.len()).sum())
    }
}

/// Carries all calls of one connection at the asking end.
#[derive(Debug)]
pub(crate) struct AskingWire {
    socket: Arc<UdpSocket>,
    /// For a request that lies in several pieces.
    scratch: Vec<u8>,
}

impl AskingWire {
    pub(crate) fn new(socket: Arc<UdpSocket>) -> Self {
        Self {
            socket,
            scratch: Vec::new(),
        }
    }
}

impl DatagramWire for AskingWire {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut frames = Frames::new(pieces);
        let mut sent = 0;
        while let Some(frame) = frames.next(&mut self.scratch) {
            match self.socket.send(frame) {
                Ok(_) => sent += frame.len(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}

/// A socket that sends to `peer` and hears nobody else.
///
/// # Errors
///
/// When there is no way to the address, or no descriptor or port left.
pub(crate) fn connect(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(peer)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpc_codec::{FrameHeader, FrameKind};

    use super::*;

    fn frame(id: u32, length: u32) -> Vec<u8> {
        let header = FrameHeader {
            kind: FrameKind::Unary,
            stream_frame_type: 0,
            total_len: length,
            head_len: 0,
            stream_id: id,
            version: 1,
            reserved: 0,
        };
        let mut bytes = header.encode().to_vec();
        bytes.resize(length as usize, 7);
        bytes
    }

    fn any_port() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    fn listener(limits: &Limits) -> DatagramListener {
        DatagramListener::bind(any_port(), Sharing::Alone, limits).unwrap()
    }

    fn peer() -> StdSocket {
        let peer = StdSocket::bind(any_port()).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        peer
    }

    fn to(listener: &DatagramListener) -> SocketAddr {
        listener.local_addr().socket().unwrap()
    }

    #[test]
    fn each_frame_is_a_datagram_however_they_are_queued() {
        let server = peer();
        let socket = connect(server.local_addr().unwrap()).unwrap();
        let mut wire = AskingWire::new(Arc::new(socket));
        let frames = [frame(1, 16), frame(2, 40_000), frame(3, 20)];
        let bytes = frames.concat();
        let (front, back) = bytes.split_at(16 + 16);
        let pieces = [IoSlice::new(front), IoSlice::new(back)];
        assert_eq!(wire.send(&pieces).unwrap(), bytes.len());
        let mut buffer = vec![0; DATAGRAM_ROOM];
        for frame in &frames {
            let length = server.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..length], frame[..]);
        }
    }

    #[test]
    fn a_frame_that_is_not_offered_whole_waits() {
        let server = peer();
        let socket = connect(server.local_addr().unwrap()).unwrap();
        let mut wire = AskingWire::new(Arc::new(socket));
        let bytes = [frame(1, 20), frame(2, 20)].concat();
        assert_eq!(wire.send(&[IoSlice::new(&bytes[..39])]).unwrap(), 20);
        assert_eq!(wire.send(&[IoSlice::new(&bytes[20..])]).unwrap(), 20);
    }

    #[test]
    fn nothing_is_taken_beyond_what_may_be_in_flight() {
        let mut listener = listener(&Limits::default().with_connection_calls_max(1));
        let peer = peer();
        for id in 0..2 {
            peer.send_to(&frame(id, 20), to(&listener)).unwrap();
        }
        let mut buffer = vec![0; DATAGRAM_ROOM];
        let (length, from) = listener.receive(&mut buffer).unwrap();
        assert_eq!((length, from), (20, peer.local_addr().unwrap()));
        let wire = AnsweringWire::new(&listener, from);
        assert!(!listener.has_work(), "one is in flight");
        drop(wire);
        assert!(listener.has_work());
        assert_eq!(listener.receive(&mut buffer).unwrap().0, 20);
        assert_eq!(listener.receive(&mut buffer), None);
        assert!(!listener.has_work(), "it is drained");
    }

    #[test]
    fn an_answer_that_cannot_be_sent_is_counted_and_forgotten() {
        let listener = listener(&Limits::default());
        // No datagram has room for it.
        let bytes = frame(1, 65_508);
        let mut wire = AnsweringWire::new(&listener, peer().local_addr().unwrap());
        assert_eq!(wire.send(&[IoSlice::new(&bytes)]).unwrap(), bytes.len());
        assert_eq!(listener.dropped().load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_address_belongs_to_one_socket_unless_all_say_otherwise() {
        let limits = Limits::default();
        let bind = |address, sharing| DatagramListener::bind(address, sharing, &limits);
        let alone = listener(&limits);
        for sharing in [Sharing::Alone, Sharing::Shared] {
            let error = bind(to(&alone), sharing).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
        let shared = bind(any_port(), Sharing::Shared).unwrap();
        let successor = bind(to(&shared), Sharing::Shared);
        assert_eq!(successor.is_ok(), cfg!(target_os = "linux"));
    }
}
