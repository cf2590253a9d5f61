//! snappy's stream: blocks in a row, with checksums.
//!
//! ```text
//!  chunk:  type (1 byte)  length of what follows (3, little-endian)
//!
//!    ff       identifier, begins each stream and may come again: "sNaPpY"
//!    00       checksum (4, little-endian), then a block
//!    01       checksum (4, little-endian), then bytes as they are
//!    02..7f   reserved; who does not know them cannot read the stream
//!    80..fe   reserved or padding; to be passed over
//! ```
//!
//! The checksum is CRC-32C of the chunk's bytes as they come out, turned right by 15 bits, plus a constant. A chunk becomes
//! at most 65,536 bytes. This is google/snappy's framing_format.txt.

use bytes::Bytes;
use snap::raw::max_compress_len;

use super::checksum::crc32c;
use super::snappy;
use super::{Codec, CompressError};

/// What every stream begins with.
pub(super) const IDENTIFIER: [u8; 10] = *b"\xff\x06\0\0sNaPpY";

const NAME: &[u8] = b"sNaPpY";
const PACKED: u8 = 0x00;
const STORED: u8 = 0x01;
const SKIPPED: std::ops::RangeInclusive<u8> = 0x80..=0xfe;
const AGAIN: u8 = 0xff;

/// The most that comes out of one chunk.
const CHUNK_BYTES: usize = 65_536;
/// Of a chunk's beginning: type, length and checksum.
const CHUNK_HEADER_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;

/// A stream of snappy: `content_encoding` 4, which tRPC-Go alone understands, and what it means by
/// [number 2](super::Snappy).
#[derive(Debug, Clone, Copy, Default)]
pub struct SnappyStream;

impl Codec for SnappyStream {
    fn compress(&self, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, CompressError> {
        let chunks = body.len().div_ceil(CHUNK_BYTES);
        let room = CHUNK_HEADER_BYTES + max_compress_len(CHUNK_BYTES.min(body.len()));
        let mut packed = Vec::with_capacity(body.len() + chunks * CHUNK_HEADER_BYTES + room);
        packed.extend_from_slice(&IDENTIFIER);
        for bytes in body.chunks(CHUNK_BYTES) {
            if append_chunk(bytes, &mut packed).is_none() || packed.len() > bytes_max {
                return Ok(None);
            }
        }
        packed.shrink_to_fit();
        Ok((packed.len() <= bytes_max).then(|| packed.into()))
    }

    fn decompress(&self, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError> {
        let mut unpacked = vec![0; length(packed, bytes_max)?];
        let mut room = &mut unpacked[..];
        for chunk in Chunks::of(packed)? {
            let chunk = chunk?;
            let (bytes, after) = std::mem::take(&mut room)
                .split_at_mut_checked(chunk.length()?)
                .ok_or(CompressError::Corrupt)?;
            chunk.unpack(bytes)?;
            room = after;
        }
        Ok(unpacked.into())
    }
}

/// Appends one chunk, or says that its length does not fit, which cannot be.
fn append_chunk(bytes: &[u8], packed: &mut Vec<u8>) -> Option<()> {
    let begin = packed.len();
    let block = begin + CHUNK_HEADER_BYTES;
    packed.resize(block + max_compress_len(bytes.len()), 0);
    let length = snappy::pack(bytes, packed.get_mut(block..)?)?;
    packed.truncate(block + length);
    // An eighth has to be saved, or reading would cost more than it is worth: the rule of every other writer.
    let kind = if length < bytes.len() - bytes.len() / 8 {
        PACKED
    } else {
        packed.truncate(block);
        packed.extend_from_slice(bytes);
        STORED
    };
    let length = u32::try_from(packed.len() - block + CHECKSUM_BYTES).ok()?;
    let [l0, l1, l2, 0] = length.to_le_bytes() else {
        return None;
    };
    let [c0, c1, c2, c3] = masked(bytes).to_le_bytes();
    let header = [kind, l0, l1, l2, c0, c1, c2, c3];
    packed.get_mut(begin..block)?.copy_from_slice(&header);
    Some(())
}

/// How many bytes a stream becomes, from what its chunks say and can become.
fn length(packed: &[u8], bytes_max: usize) -> Result<usize, CompressError> {
    let mut length = 0_usize;
    for chunk in Chunks::of(packed)? {
        length = length.saturating_add(chunk?.length()?);
        if length > bytes_max {
            return Err(CompressError::TooLarge { max: bytes_max });
        }
    }
    Ok(length)
}

/// The chunks of a stream that become bytes.
struct Chunks<'a> {
    rest: &'a [u8],
}

struct Chunk<'a> {
    checksum: u32,
    content: Content<'a>,
}

enum Content<'a> {
    Packed(&'a [u8]),
    Stored(&'a [u8]),
}

impl<'a> Chunks<'a> {
    fn of(packed: &'a [u8]) -> Result<Self, CompressError> {
        let rest = packed.strip_prefix(&IDENTIFIER);
        let rest = rest.ok_or(CompressError::Corrupt)?;
        Ok(Self { rest })
    }

    /// The next chunk that becomes bytes; those that are passed over are passed over.
    fn step(&mut self) -> Result<Option<Chunk<'a>>, CompressError> {
        while let Some((&kind, rest)) = self.rest.split_first() {
            let (length, rest) = rest.split_first_chunk().ok_or(CompressError::Corrupt)?;
            let &[l0, l1, l2] = length;
            let length = u32::from_le_bytes([l0, l1, l2, 0]) as usize;
            let (content, rest) = rest
                .split_at_checked(length)
                .ok_or(CompressError::Corrupt)?;
            self.rest = rest;
            match kind {
                PACKED => return Chunk::new(content, Content::Packed).map(Some),
                STORED => return Chunk::new(content, Content::Stored).map(Some),
                AGAIN if content == NAME => {}
                kind if SKIPPED.contains(&kind) => {}
                _ => return Err(CompressError::Corrupt),
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, CompressError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

impl<'a> Chunk<'a> {
    fn new(
        bytes: &'a [u8],
        content: impl Fn(&'a [u8]) -> Content<'a>,
    ) -> Result<Self, CompressError> {
        let (checksum, bytes) = bytes.split_first_chunk().ok_or(CompressError::Corrupt)?;
        Ok(Self {
            checksum: u32::from_le_bytes(*checksum),
            content: content(bytes),
        })
    }

    /// How many bytes come out.
    fn length(&self) -> Result<usize, CompressError> {
        let length = match self.content {
            Content::Packed(block) => snappy::length(block)?,
            Content::Stored(bytes) => bytes.len(),
        };
        if length > CHUNK_BYTES {
            return Err(CompressError::Corrupt);
        }
        Ok(length)
    }

    /// Fills `unpacked`, which has the right length.
    fn unpack(&self, unpacked: &mut [u8]) -> Result<(), CompressError> {
        match self.content {
            Content::Packed(block) => snappy::unpack(block, unpacked)?,
            Content::Stored(bytes) => unpacked.copy_from_slice(bytes),
        }
        if masked(unpacked) != self.checksum {
            return Err(CompressError::Corrupt);
        }
        Ok(())
    }
}

/// The checksum of a chunk. It is masked because a checksum over bytes that hold their own checksum is a poor one.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::super::codec::shrunk;
    use super::*;

    const MAX: usize = 1 << 20;

    fn chunk(kind: u8, content: &[u8]) -> Vec<u8> {
        let [l0, l1, l2, _] = u32::try_from(content.len()).unwrap().to_le_bytes();
        [&[kind, l0, l1, l2], content].concat()
    }

    fn stored(bytes: &[u8]) -> Vec<u8> {
        chunk(STORED, &[&masked(bytes).to_le_bytes()[..], bytes].concat())
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut block = vec![0; max_compress_len(bytes.len())];
        let length = snappy::pack(bytes, &mut block).unwrap();
        let checksum = masked(bytes).to_le_bytes();
        chunk(PACKED, &[&checksum[..], &block[..length]].concat())
    }

    fn stream(chunks: &[Vec<u8>]) -> Vec<u8> {
        [&IDENTIFIER[..], &chunks.concat()].concat()
    }

    fn unpacked(chunks: &[Vec<u8>]) -> Result<Bytes, CompressError> {
        SnappyStream.decompress(&stream(chunks), MAX)
    }

    #[test]
    fn chunks_of_all_kinds_become_one_body() {
        let body = unpacked(&[
            stored(b"as it is, "),
            chunk(0xfe, b"padding"),
            packed(b"packed, "),
            IDENTIFIER.to_vec(),
            stored(b""),
            chunk(0x80, b""),
            packed(&b"packed ".repeat(3)),
        ]);
        assert_eq!(body.unwrap(), "as it is, packed, packed packed packed ");
        assert_eq!(unpacked(&[]).unwrap(), "");
    }

    #[test]
    fn a_chunk_has_no_more_than_64_kib() {
        let most = vec![7; CHUNK_BYTES];
        assert_eq!(unpacked(&[stored(&most)]).unwrap(), most);
        assert_eq!(unpacked(&[packed(&most)]).unwrap(), most);
        let more = vec![7; CHUNK_BYTES + 1];
        for chunk in [stored(&more), packed(&more)] {
            assert_eq!(unpacked(&[chunk]), Err(CompressError::Corrupt));
        }
    }

    #[test]
    fn the_bound_holds_for_all_chunks_together() {
        let two = stream(&[stored(b"con"), packed(b"cat")]);
        assert_eq!(SnappyStream.decompress(&two, 6).unwrap(), "concat");
        assert_eq!(
            SnappyStream.decompress(&two, 5),
            Err(CompressError::TooLarge { max: 5 })
        );
    }

    #[test]
    fn what_packs_in_part_is_stored_in_part() {
        let mut random = 1_u32;
        let noise = std::iter::repeat_with(|| {
            random = random.wrapping_mul(0x915f_77f5).wrapping_add(1);
            random.to_be_bytes()[0]
        });
        let noise: Vec<u8> = noise.take(CHUNK_BYTES).collect();
        let body = [noise.clone(), vec![0; CHUNK_BYTES], noise.clone()].concat();
        let packed = shrunk(&SnappyStream, &body).unwrap();
        let kinds: Vec<_> = Chunks::of(&packed)
            .unwrap()
            .map(|chunk| matches!(chunk.unwrap().content, Content::Packed(_)))
            .collect();
        assert_eq!(kinds, [false, true, false]);
        assert_eq!(SnappyStream.decompress(&packed, body.len()).unwrap(), body);
        assert_eq!(shrunk(&SnappyStream, &noise), None);
        assert_eq!(shrunk(&SnappyStream, b"short"), None);
    }

    #[test]
    fn refuses_a_stream_cut_in_a_chunk() {
        let whole = stream(&[packed(&b"packed ".repeat(3)), stored(b"as it is")]);
        let ends = [IDENTIFIER.len(), whole.len() - stored(b"as it is").len()];
        for length in 0..whole.len() {
            let is_whole = SnappyStream.decompress(&whole[..length], MAX).is_ok();
            assert_eq!(is_whole, ends.contains(&length), "{length} bytes");
        }
    }

    #[test]
    fn refuses_wrong_checksums_unknown_chunks_and_other_names() {
        let mut wrong = stored(b"as it is");
        wrong[4] ^= 1;
        for chunk in [
            wrong,
            chunk(0x02, b""),
            chunk(0x7f, b"reserved"),
            chunk(0xff, b"SnApPy"),
            chunk(PACKED, b"abc"),
            chunk(STORED, b"abc"),
        ] {
            assert_eq!(unpacked(&[chunk]), Err(CompressError::Corrupt));
        }
        let nameless = stored(b"as it is");
        let error = SnappyStream.decompress(&nameless, MAX);
        assert_eq!(error, Err(CompressError::Corrupt));
    }
}
