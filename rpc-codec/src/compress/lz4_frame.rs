//! lz4's frames.
//!
//! ```text
//!  offset  bytes  little-endian
//!       0      4  magic   04 22 4d 18
//!       4      1  flags   bits 6-7: 01   5 blocks stand alone   4 blocks have checksums   3 length is there
//!                              2 checksum at the end   1: 0   0 a dictionary is needed
//!       5      1  blocks  bits 4-6: none becomes more than 4: 64 KiB  5: 256 KiB  6: 1 MiB  7: 4 MiB; the others: 0
//!              8  length of what comes out, if the flags say so
//!              1  second byte of the xxHash32 of what stands between the magic and here
//!                 blocks:  length (4), its highest bit for bytes as they are; the bytes; their xxHash32 (4), if so flagged
//!              4  zeros
//!              4  xxHash32 of what came out, if the flags say so
//! ```
//!
//! Blocks that do not stand alone may repeat what came out of those before them. Frames may follow each other, and frames
//! that begin with `5x 2a 4d 18` and their length are passed over. This is lz4/lz4's lz4_Frame_format.md.

use bytes::Bytes;

use super::checksum::xxh32;
use super::{Codec, CompressError, lz4};

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// Of frames to be passed over: the lowest four bits may be any.
const SKIPPED: u32 = 0x184d_2a50;

const VERSION: u8 = 0b0100_0000;
const VERSION_AND_RESERVED: u8 = 0b1100_0010;
const ALONE: u8 = 0b0010_0000;
const BLOCK_CHECKSUM: u8 = 0b0001_0000;
const CONTENT_LENGTH: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const DICTIONARY: u8 = 0b0000_0001;

/// What we write.
const FLAGS: u8 = VERSION | ALONE | CONTENT_LENGTH | CONTENT_CHECKSUM;

/// The highest bit of a block's length.
const STORED: u32 = 1 << 31;

/// The code for the largest blocks, and how many bytes those of each code have at most.
const CODE_MAX: u8 = 7;
const CODES: [(u8, usize); 4] = [(4, 64 << 10), (5, 256 << 10), (6, 1 << 20), (7, 4 << 20)];

/// Before the blocks, and behind them.
const HEADER_BYTES: usize = 15;
const TRAILER_BYTES: usize = 8;
/// Before each block.
const LENGTH_BYTES: usize = 4;

/// A frame of lz4: `content_encoding` 6, which tRPC-Cpp understands, and newer versions of tRPC-Go.
///
/// One frame is written, whose blocks stand alone and are no larger than the body needs, with its length and a checksum.
/// Whatever a peer may write is read, except for frames that need a dictionary: linked blocks (tRPC-Cpp), any size of
/// blocks, with checksums or without (tRPC-Go has them), frames in a row. Bytes behind a frame that are no frame are
/// refused, as by tRPC-Cpp.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lz4Frame;

impl Codec for Lz4Frame {
    fn compress(&self, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, CompressError> {
        Ok(frame(body, bytes_max))
    }

    fn decompress(&self, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError> {
        let mut unpacked = vec![0; length(packed, bytes_max)?];
        fill(packed, &mut unpacked)?;
        Ok(unpacked.into())
    }
}

/// A body as one frame, or that it would become longer than that.
fn frame(body: &[u8], bytes_max: usize) -> Option<Bytes> {
    let (code, block_bytes) = CODES
        .into_iter()
        .find(|(code, bytes)| body.len() <= *bytes || *code == CODE_MAX)?;
    let room = lz4::packed_bytes_max(block_bytes.min(body.len()));
    let mut packed = Vec::with_capacity(HEADER_BYTES + body.len() + room + TRAILER_BYTES);
    packed.extend_from_slice(&MAGIC);
    packed.extend_from_slice(&[FLAGS, code << 4]);
    packed.extend_from_slice(&(body.len() as u64).to_le_bytes());
    packed.push(second_byte(xxh32(packed.get(MAGIC.len()..)?)));
    for block in body.chunks(block_bytes) {
        append_block(block, &mut packed)?;
        if packed.len() > bytes_max {
            return None;
        }
    }
    packed.extend_from_slice(&[0; LENGTH_BYTES]);
    packed.extend_from_slice(&xxh32(body).to_le_bytes());
    packed.shrink_to_fit();
    (packed.len() <= bytes_max).then(|| packed.into())
}

fn append_block(block: &[u8], packed: &mut Vec<u8>) -> Option<()> {
    let begin = packed.len();
    let content = begin + LENGTH_BYTES;
    packed.resize(content + lz4::packed_bytes_max(block.len()), 0);
    let length = lz4::pack(block, packed.get_mut(content..)?)?;
    packed.truncate(content + length);
    let mut length = u32::try_from(length).ok()?;
    if packed.len() - content >= block.len() {
        packed.truncate(content);
        packed.extend_from_slice(block);
        length = u32::try_from(block.len()).ok()? | STORED;
    }
    let place = packed.get_mut(begin..content)?;
    place.copy_from_slice(&length.to_le_bytes());
    Some(())
}

/// How many bytes the frames become, if their blocks are what they should be and no more than `bytes_max` come out.
fn length(packed: &[u8], bytes_max: usize) -> Result<usize, CompressError> {
    let mut pieces = Pieces::of(packed);
    let (mut length, mut begin) = (0_usize, 0);
    while let Some(piece) = pieces.step()? {
        match piece {
            Piece::Begin => begin = length,
            Piece::Block { block, header, .. } => {
                length += block.length(header, bytes_max - length, bytes_max)?;
            }
            Piece::End { header, .. } => {
                let came_out = (length - begin) as u64;
                if header.length.is_some_and(|named| named != came_out) {
                    return Err(CompressError::Corrupt);
                }
            }
        }
    }
    Ok(length)
}

/// Unpacks the frames into `unpacked`, which has just the [`length`] of them.
fn fill(packed: &[u8], unpacked: &mut [u8]) -> Result<(), CompressError> {
    let mut pieces = Pieces::of(packed);
    let (mut done, mut begin) = (0, 0);
    while let Some(piece) = pieces.step()? {
        match piece {
            Piece::Begin => begin = done,
            Piece::Block {
                block,
                header,
                checksum,
            } => {
                if checksum.is_some_and(|checksum| checksum != xxh32(block.bytes())) {
                    return Err(CompressError::Corrupt);
                }
                let (before, room) = unpacked
                    .split_at_mut_checked(done)
                    .ok_or(CompressError::Corrupt)?;
                let reach = if header.stand_alone { done } else { begin };
                let before = before.get(reach..).unwrap_or_default();
                done += block.unpack(before, room)?;
            }
            Piece::End { checksum, .. } => {
                let content = unpacked.get(begin..done).unwrap_or_default();
                if checksum.is_some_and(|checksum| checksum != xxh32(content)) {
                    return Err(CompressError::Corrupt);
                }
            }
        }
    }
    Ok(())
}

/// Frames, cut into what they consist of.
struct Pieces<'a> {
    rest: &'a [u8],
    /// Of the frame that has begun.
    header: Option<Header>,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    stand_alone: bool,
    has_block_checksums: bool,
    has_checksum: bool,
    length: Option<u64>,
    block_bytes_max: usize,
}

enum Piece<'a> {
    Begin,
    Block {
        block: Block<'a>,
        header: Header,
        checksum: Option<u32>,
    },
    End {
        header: Header,
        checksum: Option<u32>,
    },
}

enum Block<'a> {
    Packed(&'a [u8]),
    Stored(&'a [u8]),
}

impl<'a> Pieces<'a> {
    fn of(packed: &'a [u8]) -> Self {
        Self {
            rest: packed,
            header: None,
        }
    }

    fn step(&mut self) -> Result<Option<Piece<'a>>, CompressError> {
        match self.header {
            Some(header) => self.block(header).map(Some),
            None if self.rest.is_empty() => Ok(None),
            None => {
                self.header = self.begin()?;
                // A frame that is passed over begins and has nothing in it.
                Ok(Some(Piece::Begin))
            }
        }
    }

    /// The header of a frame; `None` for a frame that is passed over.
    fn begin(&mut self) -> Result<Option<Header>, CompressError> {
        let magic = self.number()?;
        if magic & !0xf == SKIPPED {
            let length = self.number()?;
            self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
            return Ok(None);
        }
        if magic.to_le_bytes() != MAGIC {
            return Err(CompressError::Corrupt);
        }
        let described = self.rest;
        let &[flags, blocks] = self.array()?;
        if flags & VERSION_AND_RESERVED != VERSION || flags & DICTIONARY != 0 || blocks & 0x8f != 0
        {
            return Err(CompressError::Corrupt);
        }
        let code = CODES.into_iter().find(|(code, _)| *code == blocks >> 4);
        let (_, block_bytes_max) = code.ok_or(CompressError::Corrupt)?;
        let length = if flags & CONTENT_LENGTH == 0 {
            None
        } else {
            Some(u64::from_le_bytes(*self.array()?))
        };
        let described = described
            .len()
            .checked_sub(self.rest.len())
            .and_then(|length| described.get(..length));
        let &[checksum] = self.array()?;
        if described.map(|bytes| second_byte(xxh32(bytes))) != Some(checksum) {
            return Err(CompressError::Corrupt);
        }
        Ok(Some(Header {
            stand_alone: flags & ALONE != 0,
            has_block_checksums: flags & BLOCK_CHECKSUM != 0,
            has_checksum: flags & CONTENT_CHECKSUM != 0,
            length,
            block_bytes_max,
        }))
    }

    /// The next block of a frame, or its end.
    fn block(&mut self, header: Header) -> Result<Piece<'a>, CompressError> {
        let length = self.number()?;
        if length == 0 {
            self.header = None;
            let checksum = self.checksum(header.has_checksum)?;
            return Ok(Piece::End { header, checksum });
        }
        let bytes = self.take(usize::try_from(length & !STORED).unwrap_or(usize::MAX))?;
        let block = if length & STORED == 0 {
            Block::Packed(bytes)
        } else {
            Block::Stored(bytes)
        };
        let checksum = self.checksum(header.has_block_checksums)?;
        Ok(Piece::Block {
            block,
            header,
            checksum,
        })
    }

    fn checksum(&mut self, is_there: bool) -> Result<Option<u32>, CompressError> {
        is_there.then(|| self.number()).transpose()
    }

    fn number(&mut self) -> Result<u32, CompressError> {
        self.array().copied().map(u32::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], CompressError> {
        let (array, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(CompressError::Corrupt)?;
        self.rest = rest;
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], CompressError> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(CompressError::Corrupt)?;
        self.rest = rest;
        Ok(bytes)
    }
}

impl<'a> Block<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Packed(bytes) | Self::Stored(bytes) => bytes,
        }
    }

    /// How many bytes come out, if no more are than a block may have and than are `left` of what is allowed.
    fn length(
        &self,
        header: Header,
        left: usize,
        bytes_max: usize,
    ) -> Result<usize, CompressError> {
        let length = match self {
            Self::Packed(block) => lz4::length(block, left.min(header.block_bytes_max)),
            Self::Stored(bytes) => Ok(bytes.len()),
        };
        match length {
            Ok(length) if length <= header.block_bytes_max.min(left) => Ok(length),
            Err(CompressError::Corrupt) => Err(CompressError::Corrupt),
            _ if left < header.block_bytes_max => Err(CompressError::TooLarge { max: bytes_max }),
            _ => Err(CompressError::Corrupt),
        }
    }

    /// Unpacks into the beginning of `room`, and says how far.
    fn unpack(&self, before: &[u8], room: &mut [u8]) -> Result<usize, CompressError> {
        match self {
            Self::Packed(block) => lz4::unpack(block, before, room),
            Self::Stored(bytes) => {
                let place = room.get_mut(..bytes.len());
                place.ok_or(CompressError::Corrupt)?.copy_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }
}

fn second_byte(hash: u32) -> u8 {
    let [_, second, ..] = hash.to_le_bytes();
    second
}

#[cfg(test)]
mod tests {
    use super::super::codec::shrunk;
    use super::*;

    const MAX: usize = 1 << 20;

    /// A frame with these flags and these blocks, each with its length and, if flagged, its checksum.
    fn framed(flags: u8, blocks: &[Vec<u8>], content: &[u8]) -> Vec<u8> {
        let mut frame = MAGIC.to_vec();
        frame.extend([VERSION | flags, 4 << 4]);
        if flags & CONTENT_LENGTH != 0 {
            frame.extend((content.len() as u64).to_le_bytes());
        }
        frame.push(second_byte(xxh32(&frame[4..])));
        for block in blocks {
            frame.extend(block);
            if flags & BLOCK_CHECKSUM != 0 {
                frame.extend(xxh32(&block[4..]).to_le_bytes());
            }
        }
        frame.extend([0; 4]);
        if flags & CONTENT_CHECKSUM != 0 {
            frame.extend(xxh32(content).to_le_bytes());
        }
        frame
    }

    fn stored(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap() | STORED;
        [&length.to_le_bytes()[..], bytes].concat()
    }

    fn packed(block: &[u8]) -> Vec<u8> {
        let length = u32::try_from(block.len()).unwrap();
        [&length.to_le_bytes()[..], block].concat()
    }

    /// Four bytes from so far back, and "!".
    fn back(offset: u8) -> Vec<u8> {
        packed(&[0x00, offset, 0, 0x10, b'!'])
    }

    fn unpacked(frame: &[u8]) -> Result<Bytes, CompressError> {
        Lz4Frame.decompress(frame, MAX)
    }

    #[test]
    fn every_legal_description_is_read() {
        let blocks = [stored(b"stored, "), packed(b"\x60packed")];
        let content = b"stored, packed";
        for bits in 0..16 {
            let flags = bits << 2;
            let frame = framed(flags, &blocks, content);
            assert_eq!(unpacked(&frame).unwrap(), &content[..], "{flags:08b}");
            assert!(Lz4Frame.decompress(&frame, content.len()).is_ok());
            assert_eq!(
                Lz4Frame.decompress(&frame, content.len() - 1),
                Err(CompressError::TooLarge { max: 13 })
            );
        }
    }

    #[test]
    fn blocks_that_do_not_stand_alone_repeat_what_came_before() {
        let blocks = [stored(b"0123456789"), back(10), back(3)];
        assert_eq!(
            unpacked(&framed(0, &blocks, b"")).unwrap(),
            "01234567890123!23!2!"
        );
        let alone = framed(ALONE, &blocks, b"");
        assert_eq!(unpacked(&alone), Err(CompressError::Corrupt));
        let elsewhere = [framed(0, &blocks[..1], b""), framed(0, &blocks[1..], b"")].concat();
        assert_eq!(unpacked(&elsewhere), Err(CompressError::Corrupt));
    }

    #[test]
    fn frames_follow_each_other_and_some_are_passed_over() {
        let skipped = [&[0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let one = framed(CONTENT_LENGTH | CONTENT_CHECKSUM, &[stored(b"con")], b"con");
        let two = framed(CONTENT_LENGTH | CONTENT_CHECKSUM, &[stored(b"cat")], b"cat");
        let frames = [skipped.clone(), one, skipped.clone(), two, skipped].concat();
        assert_eq!(Lz4Frame.decompress(&frames, 6).unwrap(), "concat");
        assert_eq!(
            Lz4Frame.decompress(&frames, 5),
            Err(CompressError::TooLarge { max: 5 })
        );
    }

    #[test]
    fn blocks_are_no_larger_than_the_frame_says() {
        let most = stored(&vec![7; 64 << 10]);
        assert_eq!(
            unpacked(&framed(ALONE, &[most], b"")).unwrap().len(),
            64 << 10
        );
        let more = stored(&vec![7; (64 << 10) + 1]);
        assert_eq!(
            unpacked(&framed(ALONE, &[more], b"")),
            Err(CompressError::Corrupt)
        );
        let mut block = vec![0; lz4::packed_bytes_max(100_000)];
        let length = lz4::pack(&vec![7; 100_000], &mut block).unwrap();
        let more = packed(&block[..length]);
        assert_eq!(
            unpacked(&framed(ALONE, &[more], b"")),
            Err(CompressError::Corrupt)
        );
    }

    #[test]
    fn refuses_a_frame_cut_anywhere_or_followed_by_something_else() {
        let all = BLOCK_CHECKSUM | CONTENT_LENGTH | CONTENT_CHECKSUM;
        let frame = framed(all, &[stored(b"0123"), back(4)], b"01230123!");
        assert!(unpacked(&frame).is_ok());
        for length in 1..frame.len() {
            assert_eq!(
                unpacked(&frame[..length]),
                Err(CompressError::Corrupt),
                "{length} bytes"
            );
        }
        for garbage in [&b"\0"[..], b"\0\0\0\0", b"garbage"] {
            let followed = [&frame[..], garbage].concat();
            assert_eq!(unpacked(&followed), Err(CompressError::Corrupt));
        }
    }

    #[test]
    fn refuses_a_frame_with_a_bit_wrong_anywhere() {
        let all = BLOCK_CHECKSUM | CONTENT_LENGTH | CONTENT_CHECKSUM;
        let frame = framed(all, &[stored(b"0123"), back(4)], b"01230123!");
        for bit in 0..frame.len() * 8 {
            let mut frame = frame.clone();
            frame[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unpacked(&frame), Err(CompressError::Corrupt), "bit {bit}");
        }
    }

    #[test]
    fn refuses_what_is_reserved_and_what_needs_a_dictionary() {
        for (flags, blocks) in [
            (0x00, 0x40),
            (0x80, 0x40),
            (0x42, 0x40),
            (0x40, 0x30),
            (0x40, 0xc0),
            (0x40, 0x41),
        ] {
            let checksum = second_byte(xxh32(&[flags, blocks]));
            let frame = [&MAGIC[..], &[flags, blocks, checksum, 0, 0, 0, 0]].concat();
            assert_eq!(
                unpacked(&frame),
                Err(CompressError::Corrupt),
                "{flags:08b} {blocks:08b}"
            );
        }
        let described = [VERSION | DICTIONARY, 4 << 4, 1, 2, 3, 4];
        let checksum = second_byte(xxh32(&described));
        let frame = [&MAGIC[..], &described, &[checksum, 0, 0, 0, 0]].concat();
        assert_eq!(unpacked(&frame), Err(CompressError::Corrupt));
    }

    #[test]
    fn a_frame_has_blocks_as_large_as_its_body_needs() {
        let body: Vec<u8> = (0..1_200_000_u32)
            .flat_map(|i| (i / 9).to_be_bytes())
            .collect();
        for (length, code) in [
            (100, 4),
            (65_536, 4),
            (65_537, 5),
            (300_000, 6),
            (1_048_577, 7),
            (4_800_000, 7),
        ] {
            let body = &body[..length];
            let packed = shrunk(&Lz4Frame, body).expect("it shrinks");
            assert_eq!(packed[5] >> 4, code, "{length} bytes");
            assert_eq!(Lz4Frame.decompress(&packed, length).unwrap(), body);
        }
        assert_eq!(shrunk(&Lz4Frame, b"nothing twice"), None);
    }

    #[test]
    fn a_block_that_does_not_shrink_is_stored() {
        let mut random = 1_u32;
        let noise = std::iter::repeat_with(|| {
            random = random.wrapping_mul(0x915f_77f5).wrapping_add(1);
            random.to_be_bytes()[0]
        });
        let large = 4 << 20;
        let body: Vec<u8> = noise.take(large).chain(vec![0; 100_000]).collect();
        let packed = shrunk(&Lz4Frame, &body).expect("the second block shrinks");
        let stored = u32::from_le_bytes(packed[HEADER_BYTES..][..4].try_into().unwrap());
        assert_eq!(stored, STORED | (4 << 20));
        assert_eq!(Lz4Frame.decompress(&packed, body.len()).unwrap(), body);
        assert_eq!(shrunk(&Lz4Frame, &body[..large]), None);
    }
}
