//! [`Address`]: where a server listens and a client connects to.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// Where a server listens and a client connects to. Its text is what the builders take:
///
/// ```
/// use std::net::SocketAddr;
///
/// use rpc_core::Address;
///
/// let at = SocketAddr::from(([127, 0, 0, 1], 8000));
/// assert_eq!(Address::from(at).to_string(), "127.0.0.1:8000");
/// assert_eq!(Address::Udp(at).to_string(), "udp://127.0.0.1:8000");
/// assert_eq!(Address::unix("/run/x.sock").to_string(), "unix:/run/x.sock");
/// assert_eq!(Address::Abstract("x".into()).to_string(), "unix:@x");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Address {
    /// A host and a port of TCP: `127.0.0.1:8000`.
    Tcp(SocketAddr),
    /// A host and a port of UDP: `udp://127.0.0.1:8000`.
    Udp(SocketAddr),
    /// A Unix stream socket at a path: `unix:/run/x.sock`.
    Unix(Arc<Path>),
    /// A Unix stream socket under an abstract name, which Linux has: `unix:@name`.
    Abstract(Arc<str>),
}

impl Address {
    /// A Unix stream socket at `path`.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::Unix(path.as_ref().into())
    }

    /// Host and port, of an address that has them.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => Some(*address),
            Self::Unix(_) | Self::Abstract(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}
