//! Listening on Unix sockets: names that outlive their servers, and who may connect.
//!
//! A path stays when its server dies, and nobody can listen there again until it is removed. So what lies there is
//! asked: a socket that refuses has no server any more and is replaced. A new socket is made under a name of its own and
//! then moved over the old one, so there is no moment without a socket at the path.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mio::net::UnixListener;
use rpc_core::Address;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::socket::{BACKLOG, Sharing};

/// The file of a Unix socket. Dropping it removes the file, unless another server has put its own there.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: Arc<Path>,
    identity: Identity,
}

/// Which file lies at a path. A file keeps this for as long as a socket is bound to it, whatever its name becomes.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "the file of a Unix socket cannot be removed");
        }
    }
}

/// Listens at `path`, for those whom `mode` lets write to the file.
///
/// # Errors
///
/// When another server listens there and does not share, when what is there is no socket, or when the directory is not
/// there or not for this user to write to.
pub(crate) fn listen(
    path: &Arc<Path>,
    sharing: Sharing,
    mode: u32,
) -> io::Result<(UnixListener, SocketFile)> {
    let old = old_socket(path, sharing)?;
    let place = old.as_ref().map(|old| beside(path, old));
    if let Some(place) = &place {
        // Left by a process of the same number that died here.
        let _ = fs::remove_file(place);
    }
    let bound_to = place.as_deref().unwrap_or(path);
    let socket = bound(&SockAddr::unix(bound_to)?)?;
    // From here on it is removed if anything fails.
    let mut file = SocketFile {
        path: bound_to.into(),
        identity: identity(bound_to)?,
    };
    // Nobody can connect before the permissions are set, for the socket does not listen before.
    fs::set_permissions(bound_to, Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    if let Some(place) = &place {
        // Another server may have found the same old socket.
        if identity(path).ok() != old {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::rename(place, path)?;
        file.path = Arc::clone(path);
    }
    Ok((into_listener(socket), file))
}

/// Listens under an abstract name. It goes with its socket, has no permissions, and belongs to one at a time.
///
/// # Errors
///
/// When another server has the name.
pub(crate) fn listen_abstract(name: &str) -> io::Result<UnixListener> {
    let socket = bound(&abstract_address(name)?)?;
    socket.listen(BACKLOG)?;
    Ok(into_listener(socket))
}

/// Begins to connect to a Unix socket.
///
/// # Errors
///
/// When nobody listens there, this user may not, or too many wait there already.
pub(crate) fn connect(address: &Address) -> io::Result<Socket> {
    let address = match address {
        Address::Unix(path) => SockAddr::unix(path)?,
        Address::Abstract(name) => abstract_address(name)?,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address) {
        Ok(()) => Ok(socket),
        // Unlike a TCP socket, one of Unix does not go on trying.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::ResourceBusy.into())
        }
        Err(error) => Err(error),
    }
}

/// The socket that lies at `path` and may be replaced, if there is one.
fn old_socket(path: &Path, sharing: Sharing) -> io::Result<Option<Identity>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let text = "a file that is no socket is there: remove it, or listen elsewhere";
            Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
        }
        Ok(_) if sharing == Sharing::Alone && is_in_use(path)? => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Ok(found) => Ok(Some(Identity::of(&found))),
    }
}

/// Whether somebody listens at `path`. Asked without waiting: a server that is too busy to accept is there all the same.
fn is_in_use(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let outcome = socket.connect(&SockAddr::unix(path)?);
    Ok(!outcome.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        )
    }))
}

fn bound(address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn into_listener(socket: Socket) -> UnixListener {
    UnixListener::from_std(StdListener::from(socket))
}

/// A name for the successor of `old` in the directory of `path`, of this process alone. It is short, because addresses
/// are.
fn beside(path: &Path, old: &Identity) -> PathBuf {
    path.with_file_name(format!(".{:x}.{:x}", std::process::id(), old.inode))
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|found| Identity::of(&found))
}

fn abstract_address(name: &str) -> io::Result<SockAddr> {
    SockAddr::unix(format!("\0{name}"))
}
