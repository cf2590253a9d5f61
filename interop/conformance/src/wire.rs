//! Connections on which frames are written and read as they are, and where to find peers.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::time::Duration;

use crate::frame::{self, FIXED_BYTES, Frame, From};
use crate::time::{now, pause};

/// How long a peer may take to accept a connection, or to take the bytes of a frame.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a listener looks whether somebody came.
const GLANCE: Duration = Duration::from_millis(2);

/// Where a server listens: `HOST:PORT`, or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A socket in the file system.
    #[cfg(unix)]
    Unix(std::path::PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        #[cfg(unix)]
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| format!("{text:?} is no address: use IP:PORT or unix:PATH"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What came next.
#[derive(Debug)]
pub enum Next {
    /// A frame.
    Frame(Box<Frame>),
    /// Nothing in time.
    Silence,
    /// The connection ended between two frames, or was reset.
    End,
    /// Something that is no frame.
    Broken(String),
}

/// A connection to the peer under test.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    from: From,
    input: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// When nobody accepts in time.
    pub fn to(address: &Address) -> Result<Self, String> {
        let stream = match address {
            Address::Tcp(address) => TcpStream::connect_timeout(address, PATIENCE).map(Stream::Tcp),
            #[cfg(unix)]
            Address::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
        };
        let stream = stream.map_err(|error| format!("{address} cannot be reached: {error}"))?;
        Self::new(stream, From::Server)
    }

    fn new(stream: Stream, from: From) -> Result<Self, String> {
        let set = match &stream {
            // What is sent in two pieces is to arrive in two.
            Stream::Tcp(tcp) => tcp
                .set_nonblocking(false)
                .and_then(|()| tcp.set_nodelay(true))
                .and_then(|()| tcp.set_write_timeout(Some(PATIENCE))),
            #[cfg(unix)]
            Stream::Unix(unix) => unix.set_write_timeout(Some(PATIENCE)),
        };
        set.map_err(|error| format!("a socket without its options: {error}"))?;
        Ok(Self {
            stream,
            from,
            input: Vec::new(),
        })
    }

    /// Writes bytes. That the peer has closed by now is no failure: it may be what the case is about, and the next
    /// reading tells.
    ///
    /// # Errors
    ///
    /// When the peer does not take them in time.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = match &mut self.stream {
            Stream::Tcp(tcp) => tcp.write_all(bytes),
            #[cfg(unix)]
            Stream::Unix(unix) => unix.write_all(bytes),
        };
        match sent {
            Err(error) if is_time_out(&error) => Err(format!(
                "the peer does not read: {} bytes wait",
                bytes.len()
            )),
            _ => Ok(()),
        }
    }

    /// The next frame, if it comes before the peer has been silent for `patience`.
    pub fn next(&mut self, patience: Duration) -> Next {
        loop {
            match self.cut() {
                Ok(Some(frame)) => return Next::Frame(Box::new(frame)),
                Ok(None) => {}
                Err(error) => return Next::Broken(error),
            }
            match self.read(patience) {
                Ok(0) if self.input.is_empty() => return Next::End,
                Ok(0) => return Next::Broken("the connection ended within a frame".to_owned()),
                Ok(_) => {}
                Err(error) if is_time_out(&error) => return Next::Silence,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Next::End,
            }
        }
    }

    /// Waits until so many bytes have come that no frame has been made of.
    ///
    /// # Errors
    ///
    /// When the peer sends less.
    pub fn await_bytes(&mut self, bytes: u64, patience: Duration) -> Result<(), String> {
        while (self.input.len() as u64) < bytes {
            if !matches!(self.read(patience), Ok(1..)) {
                return Err(format!("only {} of {bytes} bytes came", self.input.len()));
            }
        }
        Ok(())
    }

    /// Sends the FIN; frames can still come.
    pub fn finish(&mut self) {
        // One that has ended already cannot be finished.
        let _ = match &self.stream {
            Stream::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
            #[cfg(unix)]
            Stream::Unix(unix) => unix.shutdown(Shutdown::Write),
        };
    }

    fn cut(&mut self) -> Result<Option<Frame>, String> {
        let Some(fixed) = self.input.first_chunk::<FIXED_BYTES>() else {
            return Ok(None);
        };
        let total = frame::length(fixed)?;
        if self.input.len() < total {
            return Ok(None);
        }
        let rest = self.input.split_off(total);
        let whole = std::mem::replace(&mut self.input, rest);
        Frame::read(&whole, self.from).map(Some)
    }

    fn read(&mut self, patience: Duration) -> io::Result<usize> {
        // Zero would mean for ever.
        let patience = Some(patience.max(Duration::from_millis(1)));
        let mut piece = vec![0; 64 << 10];
        let read = match &mut self.stream {
            Stream::Tcp(tcp) => {
                tcp.set_read_timeout(patience)?;
                tcp.read(&mut piece)?
            }
            #[cfg(unix)]
            Stream::Unix(unix) => {
                unix.set_read_timeout(patience)?;
                unix.read(&mut piece)?
            }
        };
        self.input.extend(piece.into_iter().take(read));
        Ok(read)
    }
}

/// Where a client under test is to connect.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    /// Listens on a free port of the loop-back.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn new() -> Result<Self, String> {
        let bound = TcpListener::bind("127.0.0.1:0");
        let inner = bound.map_err(|error| format!("no free port: {error}"))?;
        let set = inner.set_nonblocking(true);
        set.map_err(|error| format!("a listener without its options: {error}"))?;
        Ok(Self { inner })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn address(&self) -> Result<SocketAddr, String> {
        self.inner.local_addr().map_err(|error| error.to_string())
    }

    /// The next connection.
    ///
    /// # Errors
    ///
    /// When nobody connects within `patience`.
    pub fn accept(&self, patience: Duration) -> Result<Connection, String> {
        let start = now();
        loop {
            match self.inner.accept() {
                Ok((stream, _)) => return Connection::new(Stream::Tcp(stream), From::Client),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("nobody can be accepted: {error}")),
            }
            if now() - start >= patience {
                return Err("the client did not connect".to_owned());
            }
            pause(GLANCE);
        }
    }
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for text in ["127.0.0.1:80", "[::1]:9", "unix:/run/x.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert!(
            "host:80"
                .parse::<Address>()
                .unwrap_err()
                .contains("host:80")
        );
    }
}
