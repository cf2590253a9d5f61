//! Sockets as the event loops want them: never blocking, not inherited by child processes, with the options that keep
//! latency low and find out about peers that died without a word.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsFd;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Whether an address belongs to one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// To one: a second one is refused, so a server started twice by mistake says so.
    #[default]
    Alone,
    /// To all of this user who say so (SO_REUSEPORT, on Linux): a successor may listen before its predecessor has left,
    /// and the kernel deals new connections out to both meanwhile.
    Shared,
}

/// Listens on `address`; port 0 takes a free one.
///
/// # Errors
///
/// When the address is in use, not of this host, or not for this user to take.
pub fn listener(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    // Otherwise connections of the predecessor that wait for their last packets would keep the address for a minute.
    socket.set_reuse_address(true)?;
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(sharing == Sharing::Shared)?;
    #[cfg(not(target_os = "linux"))]
    let _ = sharing;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(StdListener::from(socket)))
}

/// Begins to connect to `address`, tuned as by [`tune`]. The stream becomes writable when it is decided whether that
/// worked; [`is_connected`] tells.
///
/// # Errors
///
/// When there is no way to the address, or no descriptor or port left.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    tune(&stream)?;
    Ok(stream)
}

/// Whether a stream that was told to connect is connected by now. Ask when it becomes writable; `false` means to wait for
/// the next time.
///
/// # Errors
///
/// When the connection could not be made. A stream that is connected to itself counts as refused: a port for outgoing
/// connections may be the very one that is called, and if nobody listens there TCP lets the two ends of one socket
/// shake hands. Who reconnects to a dead server on the same host for long enough would find itself.
pub fn is_connected<S: AsFd>(stream: &S) -> io::Result<bool> {
    let stream = SockRef::from(stream);
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(peer) if stream.local_addr()? == peer => Err(io::ErrorKind::ConnectionRefused.into()),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets what every connection wants, whichever end made it: no waiting for more bytes before a packet is sent
/// (`TCP_NODELAY`), a question to a silent peer after 30 s and then every 10 s up to three times, and the end after
/// 30 s in which the peer has not acknowledged what was sent (`TCP_USER_TIMEOUT`, on Linux). A dead peer is noticed
/// after 60 s at most.
///
/// # Errors
///
/// When the system refuses, as some do once the peer has reset the connection.
pub fn tune<S: AsFd>(stream: &S) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

/// Connections that wait to be accepted. The system cuts it to its own limit; on Linux that is `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4_096;

const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mio::{Events, Interest, Poll, Token};

    use super::*;

    fn any_port() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    /// Waits until `stream` is writable, for a second at most.
    fn wait_for(stream: &mut TcpStream) {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(1);
        poll.registry()
            .register(stream, Token(0), Interest::WRITABLE)
            .unwrap();
        poll.poll(&mut events, Some(Duration::from_secs(1)))
            .unwrap();
        assert!(!events.is_empty(), "nothing happened for a second");
    }

    #[test]
    fn an_address_belongs_to_one_listener_unless_all_say_otherwise() {
        let alone = listener(any_port(), Sharing::Alone).unwrap();
        let address = alone.local_addr().unwrap();
        for sharing in [Sharing::Alone, Sharing::Shared] {
            let error = listener(address, sharing).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
        let shared = listener(any_port(), Sharing::Shared).unwrap();
        let successor = listener(shared.local_addr().unwrap(), Sharing::Shared);
        assert_eq!(successor.is_ok(), cfg!(target_os = "linux"));
    }

    #[test]
    fn both_ends_are_tuned_and_never_block() {
        let listener = listener(any_port(), Sharing::Alone).unwrap();
        let blocked = listener.accept().unwrap_err();
        assert_eq!(blocked.kind(), io::ErrorKind::WouldBlock);
        let mut stream = connect(listener.local_addr().unwrap()).unwrap();
        wait_for(&mut stream);
        assert!(is_connected(&stream).unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.nonblocking().unwrap());
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }

    #[test]
    fn a_port_where_nobody_listens_is_refused() {
        let address = listener(any_port(), Sharing::Alone)
            .unwrap()
            .local_addr()
            .unwrap();
        let refused = match connect(address) {
            Err(error) => error,
            Ok(mut stream) => {
                wait_for(&mut stream);
                is_connected(&stream).unwrap_err()
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_stream_that_found_itself_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&any_port().into()).unwrap();
        let own = socket.local_addr().unwrap();
        socket.connect(&own).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(socket.into());
        let refused = is_connected(&stream).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
