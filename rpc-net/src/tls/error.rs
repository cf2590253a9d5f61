//! What is wrong with the settings of TLS, for whoever runs the program.

use std::error::Error;
use std::fmt;
use std::io;

/// Why certificates or keys cannot be used. Its `Debug` form reads like its `Display` form, because that is what a `main`
/// that returns it shows.
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    Unreadable {
        /// Which.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A text is not PEM.
    Malformed {
        /// The file, or what the text is for.
        origin: String,
        /// The line on which the damaged section begins, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A text is PEM, and what is needed is not in it.
    Missing {
        /// The file, or what the text is for.
        origin: String,
        /// What was looked for.
        expected: &'static str,
        /// What is there, with lines.
        found: String,
    },
    /// A private key does not belong to the certificate.
    KeyMismatch {
        /// Where the certificate is from.
        certificate: String,
        /// Where the key is from.
        key: String,
    },
    /// A certificate or key cannot be used.
    Unusable {
        /// Where it is from.
        origin: String,
        /// What it is: a certificate, a key.
        what: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The text is no name of a server.
    ServerName {
        /// What was given.
        given: String,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, source } => match source.kind() {
                io::ErrorKind::NotFound => write!(
                    f,
                    "{file}: there is no such file ({source}): paths are relative to where the program was started"
                ),
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "{file}: not permitted to be read ({source}): let the user of this program read it"
                ),
                _ => write!(f, "{file}: cannot be read: {source}"),
            },
            Self::Malformed {
                origin,
                line,
                problem,
            } => write!(
                f,
                "{origin}, line {line}: the section that begins here is not PEM: {problem}"
            ),
            Self::Missing {
                origin,
                expected,
                found,
            } => write!(f, "{origin}: no {expected} in it: {found}"),
            Self::KeyMismatch { certificate, key } => write!(
                f,
                "the key of {key} is not that of the first certificate of {certificate}: the server's own certificate \
                 comes first, those that vouch for it follow, and the key is the one it was made with"
            ),
            Self::Unusable {
                origin,
                what,
                source,
            } => write!(f, "{origin}: the {what} cannot be used: {source}"),
            Self::ServerName { given } => write!(
                f,
                "`{given}` is no name of a server: write a host name or an IP address, without a port"
            ),
        }
    }
}

impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Unusable { source, .. } => Some(&**source),
            _ => None,
        }
    }
}
