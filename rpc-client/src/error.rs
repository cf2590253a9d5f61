//! What keeps a channel from being made, for whoever runs the program.

use std::error::Error;
use std::fmt;
use std::io;

use rpc_core::Status;

/// Why a channel could not be made. Its `Debug` form reads like its `Display` form, because that is what a `main` that
/// returns it shows.
#[non_exhaustive]
pub enum ChannelError {
    /// Nothing says where the service answers.
    NoAddress,
    /// Whoever says where the service answers could not.
    Resolve {
        /// The service.
        service: String,
        /// Why.
        source: Status,
    },
    /// The operating system refuses what an event loop needs.
    Loop {
        /// What it says.
        source: io::Error,
    },
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => {
                f.write_str("nothing says where the service answers: give the channel `.resolve(Fixed::new([...]))`")
            }
            Self::Resolve { service, source } => write!(f, "no addresses for {service}: {}", source.message()),
            Self::Loop { source } => write!(f, "the channel's event loop cannot be started: {source}"),
        }
    }
}

impl fmt::Debug for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ChannelError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoAddress => None,
            Self::Resolve { source, .. } => Some(source),
            Self::Loop { source } => Some(source),
        }
    }
}
