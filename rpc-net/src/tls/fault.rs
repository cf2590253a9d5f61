//! [`TlsFault`]: why a connection is not, or no longer, to be used.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as Tls};

/// Which end we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

/// Why a connection is not, or no longer, to be used, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsFault {
    /// A client sends what begins no handshake.
    PlainClient {
        /// The first two bytes.
        found: u16,
    },
    /// A server answers the handshake with what is not TLS.
    PlainServer {
        /// The first two bytes.
        found: u16,
    },
    /// The peer ended the connection before the handshake was done.
    EndedInHandshake,
    /// The handshake took longer than [`rpc_codec::Limits::handshake_timeout`].
    HandshakeTimedOut,
    /// A client gave no certificate, and one is required.
    NoClientCertificate,
    /// Nobody whom we trust vouches for the peer's certificate.
    UnknownIssuer,
    /// The server's certificate is for other names than the one that was called.
    WrongName,
    /// The peer's certificate is no longer valid.
    Expired,
    /// The peer's certificate is not valid yet.
    NotValidYet,
    /// The peer's certificate cannot be used, for another reason.
    BadCertificate,
    /// The two ends have no version, cipher or signature in common.
    NothingInCommon,
    /// The peer ended TLS with an alert.
    Alert {
        /// Its number, as RFC 8446 has them in section 6.
        number: u8,
    },
    /// The connection ended without the words by which TLS ends, so something may be missing.
    Truncated,
    /// What the peer sent is not what TLS allows, or was changed on its way.
    Damaged,
    /// Our own end failed.
    Internal,
}

impl TlsFault {
    /// What an error means. `opening` is how the peer began to speak, if it is in its first words.
    pub(super) fn of(error: &Tls, role: Role, opening: Option<[u8; 2]>) -> Self {
        match error {
            Tls::InvalidCertificate(error) => Self::of_certificate(error),
            Tls::NoCertificatesPresented => Self::NoClientCertificate,
            Tls::AlertReceived(alert) => Self::Alert {
                number: (*alert).into(),
            },
            Tls::PeerIncompatible(_) => Self::NothingInCommon,
            Tls::FailedToGetCurrentTime | Tls::FailedToGetRandomBytes | Tls::EncryptError => {
                Self::Internal
            }
            _ => match (opening.filter(|opening| is_strange(*opening)), role) {
                (Some(found), Role::Server) => Self::PlainClient {
                    found: u16::from_be_bytes(found),
                },
                (Some(found), Role::Client) => Self::PlainServer {
                    found: u16::from_be_bytes(found),
                },
                (None, _) => Self::Damaged,
            },
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotValidYet
            }
            _ => Self::BadCertificate,
        }
    }
}

/// Whether these bytes begin no record of TLS.
fn is_strange(opening: [u8; 2]) -> bool {
    !matches!(opening, [0x14..=0x17, 0x03])
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainClient { found } => write!(
                f,
                "{} on a TLS port: turn TLS on in the client, or serve it on a port without TLS",
                plain(*found)
            ),
            Self::PlainServer { found } => write!(
                f,
                "the server does not speak TLS, it answered in {}: turn TLS off in the channel, or on in the server",
                plain(*found)
            ),
            Self::EndedInHandshake => f.write_str(
                "the peer ended the connection before the TLS handshake was done: a server that does so does not speak \
                 TLS on this port, a client does not trust us",
            ),
            Self::HandshakeTimedOut => f.write_str("the TLS handshake took too long"),
            Self::NoClientCertificate => f.write_str(
                "the client gave no certificate, and one is required: give its channel an identity",
            ),
            Self::UnknownIssuer => f.write_str(
                "nobody whom we trust vouches for the peer's certificate: give the roots of whoever signed it",
            ),
            Self::WrongName => f.write_str(
                "the server's certificate is for another name: set the server name that is in it, or have the name or \
                 address that is called put into it",
            ),
            Self::Expired => f.write_str("the peer's certificate has expired"),
            Self::NotValidYet => {
                f.write_str("the peer's certificate is not valid yet, or our clock is wrong")
            }
            Self::BadCertificate => f.write_str("the peer's certificate cannot be used"),
            Self::NothingInCommon => {
                f.write_str("the peer has no version or cipher of TLS in common with us")
            }
            Self::Alert { number } => {
                write!(f, "the peer ended TLS with alert {number}")?;
                match meaning(AlertDescription::from(*number)) {
                    Some(meaning) => write!(f, ": {meaning}"),
                    None => Ok(()),
                }
            }
            Self::Truncated => f.write_str(
                "the connection ended without the end of TLS (close_notify), so something may be missing",
            ),
            Self::Damaged => {
                f.write_str("what the peer sent is not TLS, or was changed on its way")
            }
            Self::Internal => f.write_str("TLS failed at our end"),
        }
    }
}

impl Error for TlsFault {}

/// Whose language these two bytes begin.
fn plain(found: u16) -> String {
    match &found.to_be_bytes() {
        [0x09, 0x30] => "plain tRPC".to_owned(),
        b"GE" | b"PO" | b"HE" | b"PU" | b"PA" | b"DE" | b"OP" | b"PR" | b"HT" => {
            "plain HTTP".to_owned()
        }
        b"SS" => "SSH".to_owned(),
        [first, second] => format!("something that begins with 0x{first:02x}{second:02x}"),
    }
}

/// What a peer means by an alert, if that helps whoever reads it.
fn meaning(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not accept our certificate"
        }
        AlertDescription::UnknownCA => "it does not know who signed our certificate",
        AlertDescription::CertificateExpired => "our certificate has expired",
        AlertDescription::CertificateRequired => "it requires a certificate of ours",
        AlertDescription::AccessDenied => "it knows us, and does not let us in",
        AlertDescription::HandshakeFailure => {
            "it has no cipher in common with us, or requires a certificate of ours"
        }
        AlertDescription::ProtocolVersion => "it has no version of TLS in common with us",
        AlertDescription::UnrecognisedName => "it does not know the name that we called",
        AlertDescription::UnexpectedMessage | AlertDescription::DecodeError => {
            "it did not understand what we sent"
        }
        AlertDescription::BadRecordMac => "what we sent was changed on its way",
        AlertDescription::DecryptError => {
            "a signature does not hold, that under our certificate or under what we sent"
        }
        AlertDescription::InternalError => "it failed by itself",
        _ => return None,
    })
}

/// A fault with what rustls says of it, as an error of a socket carries it.
#[derive(Debug)]
pub(crate) struct TlsFailure {
    pub(crate) fault: TlsFault,
    detail: Option<Tls>,
}

impl TlsFailure {
    pub(super) fn new(fault: TlsFault, detail: Option<Tls>) -> Self {
        Self { fault, detail }
    }
}

impl From<TlsFault> for TlsFailure {
    fn from(fault: TlsFault) -> Self {
        Self::new(fault, None)
    }
}

impl From<TlsFailure> for io::Error {
    fn from(failure: TlsFailure) -> Self {
        let kind = match failure.fault {
            TlsFault::Truncated | TlsFault::EndedInHandshake => io::ErrorKind::UnexpectedEof,
            TlsFault::HandshakeTimedOut => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, failure)
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of an alert or of damage rustls knows no more than the fault says.
        match (&self.detail, self.fault) {
            (
                Some(detail),
                TlsFault::WrongName
                | TlsFault::UnknownIssuer
                | TlsFault::Expired
                | TlsFault::NotValidYet
                | TlsFault::BadCertificate
                | TlsFault::NothingInCommon
                | TlsFault::Internal,
            ) => write!(f, "{} ({detail})", self.fault),
            (_, fault) => write!(f, "{fault}"),
        }
    }
}

impl Error for TlsFailure {}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    fn of(role: Role, opening: [u8; 2]) -> String {
        let error = Tls::InvalidMessage(InvalidMessage::InvalidContentType);
        TlsFault::of(&error, role, Some(opening)).to_string()
    }

    #[test]
    fn a_plain_peer_is_recognised_by_its_first_two_bytes() {
        assert!(of(Role::Server, [0x09, 0x30]).starts_with("plain tRPC on a TLS port"));
        assert!(of(Role::Server, *b"GE").starts_with("plain HTTP on a TLS port"));
        assert!(of(Role::Server, [1, 2]).contains("0x0102 on a TLS port"));
        let answer = of(Role::Client, [0x09, 0x30]);
        assert!(answer.starts_with("the server does not speak TLS, it answered in plain tRPC"));
        assert!(of(Role::Client, *b"HT").contains("it answered in plain HTTP"));
    }

    #[test]
    fn damage_behind_a_sound_beginning_is_damage() {
        assert_eq!(
            of(Role::Server, [0x16, 0x03]),
            TlsFault::Damaged.to_string()
        );
    }

    #[test]
    fn an_alert_says_what_the_peer_means() {
        assert!(
            TlsFault::Alert { number: 48 }
                .to_string()
                .contains("48: it does not know who")
        );
        assert!(
            TlsFault::Alert { number: 250 }
                .to_string()
                .ends_with("alert 250")
        );
    }

    #[test]
    fn faults_are_small() {
        assert!(size_of::<TlsFault>() <= 4);
    }
}
