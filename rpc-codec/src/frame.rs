//! The sixteen bytes before everything else, and where a frame ends.
//!
//! ```text
//!  offset  bytes  big-endian, always sixteen bytes in both directions
//!       0      2  magic              0x0930
//!       2      1  kind               0 unary, 1 stream
//!       3      1  stream frame type  0 in unary frames; 1 init, 2 data, 3 feedback, 4 close
//!       4      4  total length       of the whole frame, these sixteen bytes among them
//!       8      2  head length        of the protobuf head; 0 in stream frames
//!      10      4  stream id          in unary frames the request id, or 0
//!      14      1  version            1: the four bytes before carry the request id; 0: they may not
//!      15      1  reserved           0
//!
//!  unary   [16][head][body][attachment]      the head says how long the attachment is, the body is what remains
//!  stream  [16][payload]
//! ```

use crate::{Limits, ProtocolError};

/// Length of a frame's header.
pub const HEADER_BYTES: usize = 16;

/// What a frame begins with.
pub const MAGIC: u16 = 0x0930;

/// The longest head, as its length has sixteen bits. Whoever writes a head checks this first.
pub const HEAD_BYTES_MAX: usize = 65_535;

/// [`HEADER_BYTES`], where lengths are those of the wire.
const HEADER_LEN: u32 = 16;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A whole request or response.
    Unary,
    /// A part of a stream.
    Stream,
}

/// The header of a frame. What [`FrameHeader::decode`] returns has passed its checks; [`FrameHeader::encode`] writes
/// whatever it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame carries.
    pub kind: FrameKind,
    /// Which part of a stream; without meaning in unary frames.
    pub stream_frame_type: u8,
    /// Bytes of the whole frame, header included.
    pub total_len: u32,
    /// Bytes of the protobuf head that follows.
    pub head_len: u16,
    /// The stream's id, or in unary frames the request's, if the peer fills it.
    pub stream_id: u32,
    /// Whether `stream_id` carries the request id (1) or may not (0). Any value is served.
    pub version: u8,
    /// 0. Any value is served.
    pub reserved: u8,
}

impl FrameHeader {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// When it cannot be a header of this protocol or the frame is longer than `limits` allow. The position in the
    /// stream of bytes is lost then, so the connection has to be closed. Checked in this order: magic, a length of at
    /// least sixteen, the longest frame, a head within the frame, a known kind.
    pub fn decode(bytes: &[u8; HEADER_BYTES], limits: &Limits) -> Result<Self, ProtocolError> {
        let [m0, m1, kind, stream_frame_type, t0, t1, t2, t3, rest @ ..] = *bytes;
        let [h0, h1, s0, s1, s2, s3, version, reserved] = rest;
        let magic = u16::from_be_bytes([m0, m1]);
        let total_len = u32::from_be_bytes([t0, t1, t2, t3]);
        let head_len = u16::from_be_bytes([h0, h1]);
        if magic != MAGIC {
            return Err(ProtocolError::Magic { found: magic });
        }
        let Some(after_header) = total_len.checked_sub(HEADER_LEN) else {
            return Err(ProtocolError::LengthTooSmall { found: total_len });
        };
        if total_len > limits.frame_bytes_max {
            return Err(ProtocolError::FrameTooLong {
                found: total_len,
                max: limits.frame_bytes_max,
            });
        }
        if u32::from(head_len) > after_header {
            return Err(ProtocolError::HeadPastFrame {
                head_len,
                total_len,
            });
        }
        let kind = match kind {
            0 => FrameKind::Unary,
            1 => FrameKind::Stream,
            found => return Err(ProtocolError::FrameType { found }),
        };
        Ok(Self {
            kind,
            stream_frame_type,
            total_len,
            head_len,
            stream_id: u32::from_be_bytes([s0, s1, s2, s3]),
            version,
            reserved,
        })
    }

    /// The header of a unary frame whose lengths are not known yet.
    pub(crate) fn unary(stream_id: u32, version: u8) -> Self {
        Self {
            kind: FrameKind::Unary,
            stream_frame_type: 0,
            total_len: 0,
            head_len: 0,
            stream_id,
            version,
            reserved: 0,
        }
    }

    /// The header as bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let [m0, m1] = MAGIC.to_be_bytes();
        let [t0, t1, t2, t3] = self.total_len.to_be_bytes();
        let [h0, h1] = self.head_len.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream_id.to_be_bytes();
        let kind = match self.kind {
            FrameKind::Unary => 0,
            FrameKind::Stream => 1,
        };
        [
            m0,
            m1,
            kind,
            self.stream_frame_type,
            t0,
            t1,
            t2,
            t3,
            h0,
            h1,
            s0,
            s1,
            s2,
            s3,
            self.version,
            self.reserved,
        ]
    }
}

/// How far the bytes at hand reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// A whole frame lies at the start of the input: [`FrameHeader::total_len`] bytes of it.
    Frame(FrameHeader),
    /// At least that many bytes are missing, never 0: those of the header first, then those of the frame.
    NeedMore(usize),
}

/// Says whether `input` begins with a whole frame. Nothing is copied and nothing is kept: the same question may be asked
/// again when more has arrived.
///
/// # Errors
///
/// Those of [`FrameHeader::decode`], as soon as sixteen bytes are there: a frame that would be too long is refused
/// before its body is waited for. A wrong magic is refused as soon as it is there, as the first words of a peer that speaks
/// something else may be its last.
pub fn decode(input: &[u8], limits: &Limits) -> Result<Decoded, ProtocolError> {
    let Some(bytes) = input.first_chunk::<HEADER_BYTES>() else {
        return need_header(input);
    };
    let header = FrameHeader::decode(bytes, limits)?;
    let total_len = usize::try_from(header.total_len).unwrap_or(usize::MAX);
    Ok(match total_len.saturating_sub(input.len()) {
        0 => Decoded::Frame(header),
        missing => Decoded::NeedMore(missing),
    })
}

/// What is missing of a header that is not all there, if it may become one.
#[cold]
fn need_header(input: &[u8]) -> Result<Decoded, ProtocolError> {
    match input.first_chunk().map(|magic| u16::from_be_bytes(*magic)) {
        Some(found) if found != MAGIC => Err(ProtocolError::Magic { found }),
        _ => Ok(Decoded::NeedMore(HEADER_BYTES.saturating_sub(input.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: FrameHeader = FrameHeader {
        kind: FrameKind::Stream,
        stream_frame_type: 4,
        total_len: 16,
        head_len: 0,
        stream_id: 100,
        version: 0,
        reserved: 0,
    };

    fn read(header: FrameHeader) -> Result<FrameHeader, ProtocolError> {
        FrameHeader::decode(&header.encode(), &Limits::default())
    }

    #[test]
    fn a_header_survives_the_way_there_and_back() {
        let header = FrameHeader {
            kind: FrameKind::Unary,
            stream_frame_type: 3,
            total_len: 0x0001_0203,
            head_len: 0x0405,
            stream_id: 0x0607_0809,
            version: 10,
            reserved: 11,
        };
        assert_eq!(
            header.encode(),
            [9, 0x30, 0, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
        );
        assert_eq!(read(header), Ok(header));
    }

    #[test]
    fn refuses_a_frame_longer_than_the_limit() {
        let limits = Limits::default();
        let exact = FrameHeader {
            total_len: limits.frame_bytes_max,
            ..SMALLEST
        };
        assert_eq!(read(exact), Ok(exact));
        let longer = FrameHeader {
            total_len: limits.frame_bytes_max + 1,
            ..SMALLEST
        };
        assert_eq!(
            read(longer),
            Err(ProtocolError::FrameTooLong {
                found: 10_485_761,
                max: 10_485_760
            })
        );
    }

    #[test]
    fn refuses_a_length_that_leaves_out_the_header() {
        assert_eq!(read(SMALLEST), Ok(SMALLEST));
        let header = FrameHeader {
            total_len: 15,
            ..SMALLEST
        };
        assert_eq!(
            read(header),
            Err(ProtocolError::LengthTooSmall { found: 15 })
        );
    }

    #[test]
    fn refuses_a_head_past_its_frame() {
        let header = FrameHeader {
            total_len: 18,
            head_len: 2,
            ..SMALLEST
        };
        assert_eq!(read(header), Ok(header));
        let header = FrameHeader {
            head_len: 3,
            ..header
        };
        assert_eq!(
            read(header),
            Err(ProtocolError::HeadPastFrame {
                head_len: 3,
                total_len: 18
            })
        );
    }

    #[test]
    fn the_first_fault_in_the_stated_order_is_the_one_reported() {
        let mut bytes = [0xff; HEADER_BYTES];
        let mut first_fault = |changes: &[(usize, u8)]| {
            for &(at, byte) in changes {
                bytes[at] = byte;
            }
            FrameHeader::decode(&bytes, &Limits::default()).unwrap_err()
        };
        assert_eq!(
            first_fault(&[]),
            ProtocolError::Magic { found: 0xffff },
            "before the length"
        );
        let magic = [(0, 0x09), (1, 0x30), (4, 0), (5, 0), (6, 0), (7, 0)];
        assert_eq!(
            first_fault(&magic),
            ProtocolError::LengthTooSmall { found: 0 }
        );
        assert!(matches!(
            first_fault(&[(4, 0xff)]),
            ProtocolError::FrameTooLong { .. }
        ));
        assert!(matches!(
            first_fault(&[(4, 0), (7, 16)]),
            ProtocolError::HeadPastFrame { .. }
        ));
        assert_eq!(
            first_fault(&[(8, 0), (9, 0)]),
            ProtocolError::FrameType { found: 0xff }
        );
    }

    #[test]
    fn says_how_many_bytes_are_missing() {
        let limits = Limits::default();
        let header = FrameHeader {
            total_len: 20,
            ..SMALLEST
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(b"body and the next frame");
        for given in 0..16 {
            assert_eq!(
                decode(&bytes[..given], &limits),
                Ok(Decoded::NeedMore(16 - given))
            );
        }
        for given in 16..20 {
            assert_eq!(
                decode(&bytes[..given], &limits),
                Ok(Decoded::NeedMore(20 - given))
            );
        }
        for given in 20..bytes.len() {
            assert_eq!(decode(&bytes[..given], &limits), Ok(Decoded::Frame(header)));
        }
    }

    #[test]
    fn a_wrong_magic_is_refused_as_soon_as_it_is_there() {
        assert_eq!(decode(b"G", &Limits::default()), Ok(Decoded::NeedMore(15)));
        for given in [&b"GET / HTTP/1.1"[..], b"GET / HTTP/1.1\r\n"] {
            assert_eq!(
                decode(given, &Limits::default()),
                Err(ProtocolError::Magic { found: 0x4745 })
            );
        }
    }

    #[test]
    fn everything_else_waits_for_sixteen_bytes() {
        let bad = [0x09, 0x30, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let refused = Err(ProtocolError::LengthTooSmall { found: 0 });
        assert_eq!(decode(&bad, &Limits::default()), refused);
        let waits = Ok(Decoded::NeedMore(1));
        assert_eq!(decode(&bad[..15], &Limits::default()), waits);
    }
}
