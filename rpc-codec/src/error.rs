//! What peers do wrong: [`ProtocolError`] ends a connection, [`HeadError`] ends a call.

use std::error::Error;
use std::fmt;

use crate::frame::{HEADER_BYTES, MAGIC};

/// Why a connection is closed. It says what was read and what was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame begins with something else than [`MAGIC`].
    Magic {
        /// The first two bytes.
        found: u16,
    },
    /// A frame says that it is shorter than its own header.
    LengthTooSmall {
        /// The length it names.
        found: u32,
    },
    /// A frame is longer than [`crate::Limits::frame_bytes_max`].
    FrameTooLong {
        /// The length it names.
        found: u32,
        /// What is allowed.
        max: u32,
    },
    /// A frame's head would end after the frame.
    HeadPastFrame {
        /// The head's length.
        head_len: u16,
        /// The frame's.
        total_len: u32,
    },
    /// A frame is neither unary nor of a stream.
    FrameType {
        /// What it says it is.
        found: u8,
    },
    /// More faults within [`crate::Limits::glitch_window`] than are forgiven.
    TooManyGlitches {
        /// What is forgiven.
        max: u32,
    },
    /// A frame took longer to arrive than [`crate::Limits::frame_time`].
    FrameTooSlow,
    /// The peer took none of the bytes that wait for it during [`crate::Limits::write_stall`].
    TooSlowReader,
    /// Nothing happened on the connection during [`crate::Limits::idle`]. Nobody's fault.
    Idle,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic { found } => {
                write!(
                    f,
                    "magic {found} (0x{found:04x}) instead of {MAGIC} (0x{MAGIC:04x})"
                )?;
                match stranger(found) {
                    Some(guess) => write!(f, ": {guess}"),
                    None => Ok(()),
                }
            }
            Self::LengthTooSmall { found } => write!(
                f,
                "a frame of {found} bytes, and its header alone has {HEADER_BYTES}"
            ),
            Self::FrameTooLong { found, max } => {
                write!(f, "a frame of {found} bytes, and {max} are allowed")
            }
            Self::HeadPastFrame {
                head_len,
                total_len,
            } => write!(
                f,
                "a head of {head_len} bytes in a frame of {total_len}, {HEADER_BYTES} of which are its header"
            ),
            Self::FrameType { found } => write!(
                f,
                "frame type {found}, and there are only 0 (unary) and 1 (stream)"
            ),
            Self::TooManyGlitches { max } => {
                write!(f, "more than {max} faulty frames in a short time")
            }
            Self::FrameTooSlow => {
                f.write_str("a frame took longer to arrive than a frame of its length may")
            }
            Self::TooSlowReader => f.write_str("the peer does not read what it is sent"),
            Self::Idle => f.write_str("nothing happened on the connection for too long"),
        }
    }
}

impl Error for ProtocolError {}

/// Who begins a conversation with these two bytes, and what to do about it.
fn stranger(magic: u16) -> Option<&'static str> {
    let calls_in_http = "an HTTP client calls a port that speaks tRPC: send it to an HTTP port";
    match &magic.to_be_bytes() {
        b"GE" | b"PO" | b"HE" | b"PU" | b"PA" | b"DE" | b"OP" => Some(calls_in_http),
        b"PR" => Some(
            "an HTTP/2 client, or a proxy that announces its client, calls a port that speaks tRPC: send the client \
             to an HTTP port, or turn the PROXY protocol off",
        ),
        b"HT" => {
            Some("the peer answers in HTTP: the address is an HTTP server's, use its tRPC port")
        }
        [0x16, 0x03] => {
            Some("the peer speaks TLS to a port without it: turn TLS on here, or off there")
        }
        [0x15, 0x03] => Some(
            "the peer answers with a TLS alert: it expects TLS on this port, so turn TLS on here, or use another port",
        ),
        b"SS" => Some("the peer speaks SSH: the address or the port is wrong"),
        _ => None,
    }
}

/// Why the protobuf head of a frame cannot be used. The frame's end is known, so the connection can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// There is no head at all, and a request needs one to say what it calls.
    Empty,
    /// The head ends in the middle of a field.
    Truncated,
    /// A number does not fit into 64 bits.
    VarintTooLong,
    /// A field's number is 0 or too large.
    FieldNumber,
    /// A wire type that does not exist.
    WireType {
        /// What was read.
        found: u32,
    },
    /// A known field, of the head or of a metadata entry, comes in the wire type of another.
    WrongWireType {
        /// The field's number.
        field: u32,
    },
    /// A group in an unknown field ends without having begun, or the other way about.
    UnbalancedGroup,
    /// Groups in an unknown field are nested too deeply.
    TooDeep,
    /// A key of the metadata is not UTF-8.
    InvalidUtf8Key,
    /// The attachment would be longer than what follows the head.
    AttachmentPastFrame {
        /// The attachment's length, as the head says.
        size: u32,
        /// How many bytes follow the head.
        left: usize,
    },
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("the frame has no head"),
            Self::Truncated => f.write_str("the head ends in the middle of a field"),
            Self::VarintTooLong => {
                f.write_str("the head has a number that does not fit into 64 bits")
            }
            Self::FieldNumber => {
                f.write_str("the head has a field whose number is 0 or above 536870911")
            }
            Self::WireType { found } => write!(
                f,
                "the head has a field of wire type {found}, which does not exist"
            ),
            Self::WrongWireType { field } => {
                write!(
                    f,
                    "field {field} of the head or of a metadata entry has the wrong wire type"
                )
            }
            Self::UnbalancedGroup => {
                f.write_str("the head has a group that does not end where it should")
            }
            Self::TooDeep => f.write_str("the head has groups nested too deeply"),
            Self::InvalidUtf8Key => f.write_str("a metadata key is not UTF-8"),
            Self::AttachmentPastFrame { size, left } => write!(
                f,
                "an attachment of {size} bytes where {left} follow the head"
            ),
        }
    }
}

impl Error for HeadError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(magic: [u8; 2]) -> String {
        let found = u16::from_be_bytes(magic);
        ProtocolError::Magic { found }.to_string()
    }

    #[test]
    fn an_http_peer_is_recognised_by_its_first_two_letters() {
        assert!(text(*b"HT").starts_with("magic 18516 (0x4854)"));
        for letters in [
            b"GE", b"PO", b"HT", b"HE", b"PU", b"PA", b"DE", b"OP", b"PR",
        ] {
            assert!(text(*letters).contains("HTTP"), "{letters:?}");
        }
    }

    #[test]
    fn tls_and_ssh_peers_are_recognised() {
        assert!(text([0x16, 0x03]).contains("TLS"));
        assert!(text([0x15, 0x03]).contains("TLS"));
        assert!(text(*b"SS").contains("SSH"));
    }

    #[test]
    fn an_unknown_stranger_is_not_guessed_at() {
        assert_eq!(
            text([0x09, 0x31]),
            "magic 2353 (0x0931) instead of 2352 (0x0930)"
        );
    }

    #[test]
    fn errors_are_small() {
        assert!(size_of::<ProtocolError>() <= 12);
        assert!(size_of::<HeadError>() <= 16);
    }
}
