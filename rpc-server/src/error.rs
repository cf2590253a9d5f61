//! What keeps a server from serving, for its operator.

use std::error::Error;
use std::fmt;
use std::io;

use rpc_core::Address;
use rpc_net::address;

/// Why a server does not serve, or did not end as it should. Its `Debug` form reads like its `Display` form, because
/// that is what a `main` that returns it shows.
#[non_exhaustive]
pub enum ServeError {
    /// The text is not an address to listen on.
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The address cannot be listened on.
    Listen {
        /// Which.
        address: Address,
        /// What the operating system says.
        source: io::Error,
    },
    /// Two services answer to the same path, and are not told apart by different names of their callees.
    DuplicatePath {
        /// The path.
        path: &'static str,
    },
    /// A time-out or a place to run was chosen for a method that the service does not have.
    NoSuchMethod {
        /// The service.
        service: &'static str,
        /// The method.
        method: &'static str,
    },
    /// A setting has a value that makes no sense.
    Setting {
        /// Which.
        name: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// There is nothing to serve.
    Nothing {
        /// What is missing, and the remedy.
        missing: &'static str,
    },
    /// The operating system refuses what an event loop needs.
    Loop {
        /// What it was.
        what: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// The server has ended, and calls were cut off: they were still running when the grace time was over, or when
    /// it was told a second time to end.
    Cut {
        /// How many.
        calls: usize,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { given, source } => {
                write!(
                    f,
                    "`{given}` is not an address to listen on ({source}): {}",
                    address::FORMS
                )
            }
            Self::Listen { address, source } => match source.kind() {
                io::ErrorKind::PermissionDenied if address.socket().is_none() => {
                    write!(
                        f,
                        "cannot listen on {address}: not permitted, this user has to be able to write to its directory ({source})"
                    )
                }
                io::ErrorKind::AddrInUse => {
                    write!(
                        f,
                        "cannot listen on {address}: another program does ({source})"
                    )
                }
                io::ErrorKind::PermissionDenied => {
                    write!(
                        f,
                        "cannot listen on {address}: not permitted, ports below 1024 need a privilege ({source})"
                    )
                }
                io::ErrorKind::AddrNotAvailable => {
                    write!(
                        f,
                        "cannot listen on {address}: this machine does not have that address ({source})"
                    )
                }
                _ => write!(f, "cannot listen on {address}: {source}"),
            },
            Self::DuplicatePath { path } => {
                write!(
                    f,
                    "two services answer to {path}: mount each service once, give aliases that differ, or tell the services \
                     apart by `.callee(...)`"
                )
            }
            Self::NoSuchMethod { service, method } => {
                write!(
                    f,
                    "a time-out or a place to run was chosen for `{method}`, but {service} has no method of that name"
                )
            }
            Self::Setting { name, expected } => {
                write!(f, "the setting `{name}` has to be {expected}")
            }
            Self::Nothing { missing } => f.write_str(missing),
            Self::Loop { what, source } => write!(f, "{what}: {source}"),
            Self::Cut { calls } => write!(
                f,
                "calls that were still running when the server ended, and were cut off: {calls}"
            ),
        }
    }
}

impl fmt::Debug for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ServeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Address { source, .. }
            | Self::Listen { source, .. }
            | Self::Loop { source, .. } => Some(source),
            _ => None,
        }
    }
}
