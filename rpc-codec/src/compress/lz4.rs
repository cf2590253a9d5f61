//! lz4's blocks.
//!
//! ```text
//!  sequence:  token (1 byte)    high half: literals, 15 and more continue below; low half: the match's length less 4, likewise
//!             more of the count of literals: bytes to be added, the first below 255 is the last
//!             literals
//!             offset (2 bytes, little-endian, not 0), back from where the match goes to
//!             more of the match's length, as above
//! ```
//!
//! The last sequence ends with its literals. This is lz4/lz4's lz4_Block_format.md.

use std::cell::RefCell;

use bytes::Bytes;
use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, decompress_into_with_dict,
    get_maximum_output_size,
};

use super::{Codec, CompressError};

/// How far back a match can reach.
const WINDOW_BYTES: usize = 65_535;
const MATCH_BYTES_MIN: usize = 4;
/// Half of a token that says that there is more.
const MORE: u8 = 15;

/// What comes out of a block for each byte of it is at most this to tRPC-Go.
const GO_RATIO_MAX: usize = 10;

thread_local! {
    static TABLES: RefCell<Tables> = RefCell::new(Tables::default());
}

/// One lz4 block and nothing before it: `content_encoding` 7, which newer versions of tRPC-Go alone understand.
///
/// Nothing says how much comes out. tRPC-Go makes room for ten times what it got and fails when that is not enough, so a
/// body that packs better is sent as it is. Reading has no such bound: the sequences are counted first, which neither
/// copies nor allocates. The format has no checksum.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lz4Block;

impl Codec for Lz4Block {
    fn compress(&self, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, CompressError> {
        let mut packed = vec![0; packed_bytes_max(body.len())];
        let Some(length) = pack(body, &mut packed) else {
            return Ok(None);
        };
        packed.truncate(length);
        if body.len() > length.saturating_mul(GO_RATIO_MAX) {
            packed = literals(body);
        }
        packed.shrink_to_fit();
        Ok((packed.len() <= bytes_max).then(|| packed.into()))
    }

    fn decompress(&self, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError> {
        let mut unpacked = vec![0; length(packed, bytes_max)?];
        if unpack(packed, &[], &mut unpacked)? != unpacked.len() {
            return Err(CompressError::Corrupt);
        }
        Ok(unpacked.into())
    }
}

/// Where the packer notes what it has seen: 8 KiB for what is shorter than 64 KiB, 16 KiB for the rest.
#[derive(Default)]
struct Tables {
    small: Option<CompressTable>,
    large: Option<CompressTable>,
}

impl Tables {
    fn for_length(&mut self, length: usize) -> &mut CompressTable {
        if length < usize::from(u16::MAX) {
            self.small.get_or_insert_with(CompressTable::small)
        } else {
            self.large.get_or_insert_with(CompressTable::large)
        }
    }
}

/// The room that packing wants for so many bytes.
pub(super) fn packed_bytes_max(length: usize) -> usize {
    get_maximum_output_size(length)
}

/// Packs a body into a block at the beginning of `packed`, which has room for it however badly it packs, and returns its
/// length.
pub(super) fn pack(body: &[u8], packed: &mut [u8]) -> Option<usize> {
    TABLES.with_borrow_mut(|tables| {
        let table = tables.for_length(body.len());
        compress_into_with_table(body, packed, table).ok()
    })
}

/// A body as a block that is one run of literals: longer than the body, and read by everybody.
fn literals(body: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(packed_bytes_max(body.len()));
    match body.len().checked_sub(usize::from(MORE)) {
        None => block.extend(u8::try_from(body.len() << 4)),
        Some(mut more) => {
            block.push(MORE << 4);
            while more >= usize::from(u8::MAX) {
                block.push(u8::MAX);
                more -= usize::from(u8::MAX);
            }
            block.extend(u8::try_from(more));
        }
    }
    block.extend_from_slice(body);
    block
}

/// How many bytes a block becomes, if its sequences follow each other as they should.
pub(super) fn length(block: &[u8], bytes_max: usize) -> Result<usize, CompressError> {
    let mut length = 0_usize;
    let mut grow = |by: usize| {
        length = length.saturating_add(by);
        if length > bytes_max {
            return Err(CompressError::TooLarge { max: bytes_max });
        }
        Ok(length)
    };
    let mut rest = block;
    loop {
        let token = take(&mut rest)?;
        let literals = count(token >> 4, &mut rest)?;
        let (_, after) = rest
            .split_at_checked(literals)
            .ok_or(CompressError::Corrupt)?;
        let unpacked = grow(literals)?;
        if after.is_empty() {
            return Ok(unpacked);
        }
        let (_offset, after) = after
            .split_first_chunk::<2>()
            .ok_or(CompressError::Corrupt)?;
        rest = after;
        grow(count(token & 0x0f, &mut rest)?.saturating_add(MATCH_BYTES_MIN))?;
    }
}

/// A count that begins in a token and may go on behind it.
fn count(begin: u8, rest: &mut &[u8]) -> Result<usize, CompressError> {
    let mut sum = usize::from(begin);
    if begin == MORE {
        loop {
            let byte = take(rest)?;
            sum = sum.saturating_add(usize::from(byte));
            if byte != u8::MAX {
                break;
            }
        }
    }
    Ok(sum)
}

fn take(bytes: &mut &[u8]) -> Result<u8, CompressError> {
    let (&byte, rest) = bytes.split_first().ok_or(CompressError::Corrupt)?;
    *bytes = rest;
    Ok(byte)
}

/// Unpacks a block into the beginning of `unpacked` and says how far. Matches may reach back into what was `before`.
pub(super) fn unpack(
    block: &[u8],
    before: &[u8],
    unpacked: &mut [u8],
) -> Result<usize, CompressError> {
    let window = before.len().saturating_sub(WINDOW_BYTES);
    let before = before.get(window..).unwrap_or_default();
    let result = if before.is_empty() {
        decompress_into(block, unpacked)
    } else {
        decompress_into_with_dict(block, unpacked, before)
    };
    result.map_err(|_| CompressError::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::super::codec::shrunk;
    use super::*;

    const MAX: usize = 1 << 20;

    /// "ab", 20 bytes from two bytes before, and "c".
    const REPEATED: &[u8] = &[0x2f, b'a', b'b', 2, 0, 1, 0x10, b'c'];

    #[test]
    fn a_block_is_its_sequences() {
        let unpacked = Lz4Block.decompress(REPEATED, 23).unwrap();
        assert_eq!(unpacked, "ab".repeat(11) + "c");
        assert_eq!(
            Lz4Block.decompress(REPEATED, 22),
            Err(CompressError::TooLarge { max: 22 })
        );
    }

    #[test]
    fn counts_go_on_until_a_byte_that_is_not_255() {
        for literals in [14, 15, 16, 269, 270, 271, 1000] {
            let mut block = vec![if literals < 15 { 0xe0 } else { 0xf0 }];
            if let Some(more) = usize::checked_sub(literals, 15) {
                block.extend(vec![255; more / 255]);
                block.push(u8::try_from(more % 255).unwrap());
            }
            block.extend(vec![b'x'; literals]);
            assert_eq!(length(&block, MAX), Ok(literals));
            assert_eq!(Lz4Block.decompress(&block, MAX).unwrap().len(), literals);
        }
    }

    #[test]
    fn what_does_not_shrink_is_not_packed() {
        assert_eq!(shrunk(&Lz4Block, b"nothing twice"), None);
        let body: Vec<u8> = (0..100_000_u32)
            .flat_map(|i| (i / 9).to_be_bytes())
            .collect();
        for length in [100, 65_534, 65_535, 400_000] {
            let body = &body[..length];
            let packed = shrunk(&Lz4Block, body).expect("it shrinks");
            assert_eq!(Lz4Block.decompress(&packed, length).unwrap(), body);
        }
    }

    #[test]
    fn what_go_could_not_unpack_is_not_packed() {
        let with_zeros = |zeros| [&b"0123456789"[..], &vec![0; zeros]].concat();
        let packed = |zeros| shrunk(&Lz4Block, &with_zeros(zeros));
        let last = (100..1000).rev().find(|zeros| packed(*zeros).is_some());
        let last = last.expect("some pack less well than ten to one");
        let length = packed(last).unwrap().len();
        assert!(last + 10 <= 10 * length && last + 11 > 10 * length);
        assert_eq!(packed(10_000), None);
    }

    #[test]
    fn refuses_a_block_cut_anywhere_but_after_literals() {
        for cut in 0..REPEATED.len() {
            // A block may end with the literals of any sequence.
            let whole = if cut == 3 {
                Ok("ab".into())
            } else {
                Err(CompressError::Corrupt)
            };
            assert_eq!(
                Lz4Block.decompress(&REPEATED[..cut], MAX),
                whole,
                "{cut} bytes"
            );
        }
    }

    #[test]
    fn refuses_matches_from_nowhere() {
        for offset in [0, 3, 255] {
            let mut block = REPEATED.to_vec();
            block[3] = offset;
            assert_eq!(
                Lz4Block.decompress(&block, MAX),
                Err(CompressError::Corrupt)
            );
        }
    }

    #[test]
    fn a_match_may_begin_before_the_block_and_end_in_it() {
        let mut block = REPEATED.to_vec();
        block[3] = 5;
        let mut unpacked = [0; 23];
        assert_eq!(unpack(&block, b"xyz", &mut unpacked), Ok(23));
        assert_eq!(&unpacked, b"abxyzabxyzabxyzabxyzabc");
        assert!(unpack(&block, b"yz", &mut unpacked).is_err());
    }

    #[test]
    fn counting_a_bomb_costs_no_room() {
        let mut bomb = vec![255; 1 << 20];
        bomb[..4].copy_from_slice(&[0x1f, 0, 1, 0]);
        let end = bomb.len() - 2;
        bomb[end..].copy_from_slice(&[0, 0]);
        let length = length(&bomb, usize::MAX).unwrap();
        assert!(length > 267_000_000);
        assert_eq!(
            Lz4Block.decompress(&bomb, length - 1),
            Err(CompressError::TooLarge { max: length - 1 })
        );
    }
}
