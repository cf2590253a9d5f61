//! snappy's blocks, and the number that means two things.
//!
//! ```text
//!  a block:  length of what comes out (a varint of at most 32 bits), then elements
//!
//!  the lowest bits of an element's first byte
//!    00  literal  1 to 60 bytes, the length before them, or in 1 to 4 bytes of its own
//!    01  copy     4 to 11 bytes, offset below 2048        2 bytes in all
//!    10  copy     1 to 64 bytes, offset below 65,536      3 bytes in all
//!    11  copy     1 to 64 bytes, any offset               5 bytes in all
//! ```
//!
//! So three bytes become 64 at best, and an announced length above that is a lie. This is google/snappy's
//! format_description.txt.

use std::cell::RefCell;
use std::sync::OnceLock;

use bytes::Bytes;
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::snappy_stream::{self, SnappyStream};
use super::{Codec, CompressError};

/// The most that comes out of the copies that pack best, and their length.
const COPY_BYTES: (u64, u64) = (64, 3);

thread_local! {
    /// Up to 34 KiB.
    static ENCODER: RefCell<Encoder> = RefCell::new(Encoder::new());
}

/// One block of snappy: `content_encoding` 5, which tRPC-Go and tRPC-Cpp understand. To peers in Java the same bytes are
/// [number 2](Snappy).
///
/// The format has no checksum.
#[derive(Debug, Clone, Copy, Default)]
pub struct SnappyBlock;

impl Codec for SnappyBlock {
    fn compress(&self, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, CompressError> {
        let mut packed = vec![0; max_compress_len(body.len())];
        let Some(length) = pack(body, &mut packed) else {
            return Ok(None);
        };
        packed.truncate(length);
        packed.shrink_to_fit();
        Ok((length <= bytes_max).then(|| packed.into()))
    }

    fn decompress(&self, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError> {
        let length = length(packed)?;
        if length > bytes_max {
            return Err(CompressError::TooLarge { max: bytes_max });
        }
        let mut unpacked = vec![0; length];
        unpack(packed, &mut unpacked)?;
        Ok(unpacked.into())
    }
}

/// The deprecated `content_encoding` 2, which is called snappy and is two formats: tRPC-Go means a
/// [stream](SnappyStream) by it (`codec/compress_snappy.go`), tRPC-Cpp and tRPC-Java mean a [block](SnappyBlock).
///
/// Reading takes both. What begins with the ten bytes of a stream is one: as a block they would be a literal of one byte
/// and then a copy from where nothing is. Writing needs to be told; whoever can should use number 5 instead, and for
/// peers in Java gzip does as well.
#[derive(Debug, Clone, Copy)]
pub struct Snappy {
    sent: Sent,
}

#[derive(Debug, Clone, Copy)]
enum Sent {
    Never,
    AsBlock,
    AsStream,
}

impl Snappy {
    /// Is read in both formats and never sent: a response to a request that came so is sent as it is. Only the messages
    /// of a stream go back in the format that its own have come in, for there they cannot go as they are.
    pub fn read_only() -> Self {
        Self { sent: Sent::Never }
    }

    /// Is sent as tRPC-Cpp and tRPC-Java read it.
    pub fn sent_as_block() -> Self {
        Self {
            sent: Sent::AsBlock,
        }
    }

    /// Is sent as tRPC-Go reads it.
    pub fn sent_as_stream() -> Self {
        Self {
            sent: Sent::AsStream,
        }
    }
}

/// Which of its two formats a peer means by number 2, once it has sent something so.
#[derive(Debug, Default)]
pub(super) struct Heard(OnceLock<Sent>);

impl Heard {
    /// A message has come, packed.
    pub(super) fn note(&self, packed: &[u8]) {
        if self.0.get().is_none() && !packed.is_empty() {
            let is_stream = packed.starts_with(&snappy_stream::IDENTIFIER);
            let format = if is_stream {
                Sent::AsStream
            } else {
                Sent::AsBlock
            };
            // Whoever was first has seen the same peer.
            let _ = self.0.set(format);
        }
    }

    /// Packs as the peer does.
    pub(super) fn compress(&self, message: &[u8]) -> Result<Option<Bytes>, CompressError> {
        let sent = self.0.get().copied().unwrap_or(Sent::Never);
        Snappy { sent }.compress(message, usize::MAX)
    }
}

impl Codec for Snappy {
    fn compress(&self, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, CompressError> {
        match self.sent {
            Sent::Never => Err(CompressError::Ambiguous),
            Sent::AsBlock => SnappyBlock.compress(body, bytes_max),
            Sent::AsStream => SnappyStream.compress(body, bytes_max),
        }
    }

    fn decompress(&self, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError> {
        if packed.starts_with(&snappy_stream::IDENTIFIER) {
            SnappyStream.decompress(packed, bytes_max)
        } else {
            SnappyBlock.decompress(packed, bytes_max)
        }
    }
}

/// Packs a body into a block at the beginning of `packed`, which has room for it however badly it packs, and returns its
/// length. `None` if a block cannot have so many bytes.
pub(super) fn pack(body: &[u8], packed: &mut [u8]) -> Option<usize> {
    ENCODER.with_borrow_mut(|encoder| encoder.compress(body, packed).ok())
}

/// How many bytes a block says that it becomes, if it can.
pub(super) fn length(block: &[u8]) -> Result<usize, CompressError> {
    // A varint of 32 bits ends with its fifth byte; the library would go on and lose what does not fit.
    let ends = block.iter().take(5).any(|byte| byte & 0x80 == 0);
    let length = decompress_len(block).map_err(|_| CompressError::Corrupt)?;
    let (unpacked, packed) = COPY_BYTES;
    let possible = (block.len() as u64).saturating_mul(unpacked) / packed;
    if !ends || length as u64 > possible {
        return Err(CompressError::Corrupt);
    }
    Ok(length)
}

/// Unpacks a block into `unpacked`, which has just the length that the block names.
pub(super) fn unpack(block: &[u8], unpacked: &mut [u8]) -> Result<(), CompressError> {
    let written = Decoder::new().decompress(block, unpacked);
    match written {
        Ok(length) if length == unpacked.len() => Ok(()),
        _ => Err(CompressError::Corrupt),
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::shrunk;
    use super::*;

    const MAX: usize = 1 << 20;

    /// A literal "ab", and a copy of 64 bytes from two bytes before.
    const REPEATED: &[u8] = &[66, 1 << 2, b'a', b'b', 63 << 2 | 2, 2, 0];

    #[test]
    fn a_block_is_its_length_and_its_elements() {
        let unpacked = SnappyBlock.decompress(REPEATED, 66).unwrap();
        assert_eq!(unpacked, "ab".repeat(33));
        assert_eq!(
            SnappyBlock.decompress(REPEATED, 65),
            Err(CompressError::TooLarge { max: 65 })
        );
    }

    #[test]
    fn what_does_not_shrink_is_not_packed() {
        assert_eq!(shrunk(&SnappyBlock, b"nothing twice"), None);
        let body = "over and over ".repeat(10);
        let packed = shrunk(&SnappyBlock, body.as_bytes()).unwrap();
        assert!(packed.len() < body.len());
        assert_eq!(SnappyBlock.decompress(&packed, MAX).unwrap(), body);
    }

    #[test]
    fn a_length_that_cannot_be_is_not_believed() {
        // 2^32 - 1, what is above, and 66 in six bytes; then 64/3 of what is there, and one more.
        for announced in [
            &b"\xff\xff\xff\xff\x0f"[..],
            b"\xff\xff\xff\xff\x1f",
            b"\xc2\x80\x80\x80\x80\0",
        ] {
            let lie = [announced, &REPEATED[1..]].concat();
            assert_eq!(length(&lie), Err(CompressError::Corrupt));
        }
        let mut block = [0; 7];
        block[..2].copy_from_slice(&[0x80 | 0x15, 1]);
        assert_eq!(length(&block), Ok(149));
        block[0] += 1;
        assert_eq!(length(&block), Err(CompressError::Corrupt));
    }

    #[test]
    fn refuses_a_block_cut_anywhere_and_elements_that_reach_too_far() {
        for cut in 0..REPEATED.len() {
            assert_eq!(
                SnappyBlock.decompress(&REPEATED[..cut], MAX),
                Err(CompressError::Corrupt),
                "{cut} bytes"
            );
        }
        for (at, byte) in [(0, 65), (0, 67), (1, 2 << 2), (5, 0), (5, 3), (6, 1)] {
            let mut block = REPEATED.to_vec();
            block[at] = byte;
            assert_eq!(
                SnappyBlock.decompress(&block, MAX),
                Err(CompressError::Corrupt),
                "byte {at}"
            );
        }
    }

    #[test]
    fn number_2_is_read_either_way_and_sent_as_told() {
        let body = "over and over ".repeat(10);
        let block = shrunk(&SnappyBlock, body.as_bytes()).unwrap();
        let stream = shrunk(&SnappyStream, body.as_bytes()).unwrap();
        for packed in [&block, &stream] {
            assert_eq!(Snappy::read_only().decompress(packed, MAX).unwrap(), body);
        }
        for (codec, sent) in [
            (Snappy::read_only(), Err(CompressError::Ambiguous)),
            (Snappy::sent_as_block(), Ok(Some(block))),
            (Snappy::sent_as_stream(), Ok(Some(stream))),
        ] {
            assert_eq!(codec.compress(body.as_bytes(), body.len()), sent);
        }
    }

    #[test]
    fn no_block_begins_like_a_stream() {
        let begin = snappy_stream::IDENTIFIER;
        let announced = length(&[&begin[..], &[0; 1000]].concat()).unwrap();
        assert_eq!(announced, 895);
        for rest in [vec![0; 100], vec![0xff; 5000], b"a".repeat(895)] {
            let block = [&begin[..], &rest].concat();
            let error = SnappyBlock.decompress(&block, MAX).unwrap_err();
            assert_eq!(error, CompressError::Corrupt);
        }
    }
}
