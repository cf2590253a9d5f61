//! Frames in datagrams: one in each, whole.
//!
//! A datagram that is anything else says nothing about the next one, and its sender may not be who it claims to be. So it
//! is dropped, and no state is made for it before its header has been looked at.

use std::fmt;
use std::io::IoSlice;

use crate::frame::{self, Decoded, FrameHeader, FrameKind, HEADER_BYTES};
use crate::{Limits, ProtocolError};

/// The longest frame that fits a datagram: 65,535 bytes less the headers of IPv4 and UDP.
pub const DATAGRAM_BYTES_MAX: u32 = 65_507;

/// Makes sure that a datagram is one whole unary frame. Whether its head can be read is for the connection to say, which
/// answers one that cannot.
///
/// # Errors
///
/// Says what else it is.
pub fn check(datagram: &[u8], limits: &Limits) -> Result<(), NotOneFrame> {
    let decoded = frame::decode(datagram, limits).map_err(NotOneFrame::Damaged)?;
    let header = match decoded {
        Decoded::Frame(header) => header,
        Decoded::NeedMore(missing) => return Err(NotOneFrame::CutShort { missing }),
    };
    match datagram.len().saturating_sub(header.total_len as usize) {
        0 if header.kind == FrameKind::Stream => Err(NotOneFrame::OfStream),
        0 => Ok(()),
        trailing => Err(NotOneFrame::Trailing { trailing }),
    }
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOneFrame {
    /// It does not begin with the header of a frame.
    Damaged(ProtocolError),
    /// It ends before its frame does.
    CutShort {
        /// Bytes that are missing, at least.
        missing: usize,
    },
    /// It goes on behind its frame.
    Trailing {
        /// Bytes behind the frame.
        trailing: usize,
    },
    /// It is a frame of a stream, which need a connection.
    OfStream,
}

impl fmt::Display for NotOneFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(error) => error.fmt(f),
            Self::CutShort { missing } => write!(f, "the frame lacks {missing} bytes"),
            Self::Trailing { trailing } => write!(f, "{trailing} bytes stand behind the frame"),
            Self::OfStream => f.write_str("streams need a connection"),
        }
    }
}

impl std::error::Error for NotOneFrame {}

/// Frames of our own that wait to be sent, one at a time.
#[derive(Debug)]
pub struct Frames<'a> {
    pieces: &'a [IoSlice<'a>],
    /// How much of the first piece has been taken.
    taken: usize,
}

impl<'a> Frames<'a> {
    /// Those in `pieces`, the first of which begins with a header.
    pub fn new(pieces: &'a [IoSlice<'a>]) -> Self {
        Self { pieces, taken: 0 }
    }

    /// The next whole frame, if there is one: where it lies, or in `scratch` if it lies in several pieces.
    pub fn next<'b>(&mut self, scratch: &'b mut Vec<u8>) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        while self.front()?.is_empty() {
            self.pieces = self.pieces.get(1..)?;
            self.taken = 0;
        }
        let header = self.front()?.first_chunk::<HEADER_BYTES>()?;
        let limits = Limits::default().with_frame_bytes_max(u32::MAX);
        let length = FrameHeader::decode(header, &limits).ok()?.total_len as usize;
        if let Some(frame) = self.front()?.get(..length) {
            self.taken += length;
            return Some(frame);
        }
        scratch.clear();
        while scratch.len() < length {
            let front = self.front()?;
            let missing = length.saturating_sub(scratch.len()).min(front.len());
            scratch.extend_from_slice(front.get(..missing)?);
            self.taken += missing;
            if missing == front.len() {
                self.pieces = self.pieces.get(1..)?;
                self.taken = 0;
            }
        }
        Some(scratch)
    }

    fn front(&self) -> Option<&'a [u8]> {
        let pieces: &'a [IoSlice<'a>] = self.pieces;
        pieces.first()?.get(self.taken..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: FrameKind, length: u32) -> Vec<u8> {
        let header = FrameHeader {
            kind,
            total_len: length,
            ..FrameHeader::unary(1, 1)
        };
        let mut bytes = header.encode().to_vec();
        bytes.resize(length as usize, 7);
        bytes
    }

    #[test]
    fn one_whole_unary_frame_passes_and_nothing_else() {
        let limits = Limits::default().for_datagrams();
        let whole = frame(FrameKind::Unary, 40);
        assert_eq!(check(&whole, &limits), Ok(()));
        let longest = frame(FrameKind::Unary, DATAGRAM_BYTES_MAX);
        assert_eq!(check(&longest, &limits), Ok(()));
        let trailing = [&whole[..], &[0]].concat();
        let cases = [
            (&[][..], NotOneFrame::CutShort { missing: 16 }),
            (&whole[..15], NotOneFrame::CutShort { missing: 1 }),
            (&whole[..39], NotOneFrame::CutShort { missing: 1 }),
            (&trailing, NotOneFrame::Trailing { trailing: 1 }),
            (&frame(FrameKind::Stream, 40), NotOneFrame::OfStream),
        ];
        for (datagram, why) in cases {
            assert_eq!(check(datagram, &limits), Err(why));
        }
        let too_long = frame(FrameKind::Unary, DATAGRAM_BYTES_MAX + 1);
        for datagram in [&b"GET / HTTP/1.1\r\n"[..], &too_long] {
            let outcome = check(datagram, &limits);
            assert!(matches!(outcome, Err(NotOneFrame::Damaged(_))));
        }
    }

    #[test]
    fn two_frames_are_one_too_many() {
        let limits = Limits::default().for_datagrams();
        let two = [frame(FrameKind::Unary, 20), frame(FrameKind::Unary, 20)].concat();
        let why = NotOneFrame::Trailing { trailing: 20 };
        assert_eq!(check(&two, &limits), Err(why));
    }

    #[test]
    fn frames_are_told_apart_wherever_they_are_split() {
        let frames = [20, 16, 50, 33].map(|length| frame(FrameKind::Unary, length));
        let bytes = frames.concat();
        // Headers are never split: they are written in one go.
        let splits = [&[][..], &[16], &[20, 52], &[36, 60, 86], &[36, 52, 53, 60]];
        for split in splits {
            let mut from = 0;
            let mut pieces = Vec::new();
            for to in split.iter().copied().chain([bytes.len()]) {
                pieces.push(IoSlice::new(&bytes[from..to]));
                pieces.push(IoSlice::new(&[]));
                from = to;
            }
            let mut queue = Frames::new(&pieces);
            let mut scratch = Vec::new();
            for frame in &frames {
                assert_eq!(queue.next(&mut scratch), Some(&frame[..]), "{split:?}");
            }
            assert_eq!(queue.next(&mut scratch), None);
        }
    }

    #[test]
    fn a_frame_whose_end_is_not_there_waits() {
        let bytes = frame(FrameKind::Unary, 40);
        for pieces in [&[&bytes[..39]][..], &[&bytes[..16], &bytes[16..20]]] {
            let pieces: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            assert_eq!(Frames::new(&pieces).next(&mut Vec::new()), None);
        }
    }
}
