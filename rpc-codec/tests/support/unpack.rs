//! snappy and lz4 read naively, a byte at a time, by readers that share nothing with ours. `None` is what they refuse.

use std::hash::Hasher;

use twox_hash::XxHash32;

/// More than any test wants to come out.
const BYTES_MAX: usize = 1 << 20;

const STREAM: &[u8] = b"\xff\x06\0\0sNaPpY";

/// A block of snappy.
pub(crate) fn snappy_block(block: &[u8]) -> Option<Vec<u8>> {
    let mut rest = block;
    let mut announced = 0;
    for shift in [0, 7, 14, 21, 28, 35] {
        let byte = u64::from(take(&mut rest, 1)?[0]);
        announced |= (byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    if announced > u64::from(u32::MAX) || block.len() - rest.len() > 5 {
        return None;
    }
    let mut unpacked = Vec::new();
    while !rest.is_empty() {
        let tag = take(&mut rest, 1)?[0];
        let top = usize::from(tag >> 2);
        let (length, offset) = match tag & 3 {
            0 if top < 60 => (top + 1, None),
            0 => (number(take(&mut rest, top - 59)?) + 1, None),
            1 => {
                let low = number(take(&mut rest, 1)?);
                ((top & 7) + 4, Some((top >> 3) << 8 | low))
            }
            2 => (top + 1, Some(number(take(&mut rest, 2)?))),
            _ => (top + 1, Some(number(take(&mut rest, 4)?))),
        };
        match offset {
            None => unpacked.extend(take(&mut rest, length)?),
            Some(offset) => repeat(&mut unpacked, 0, offset, length)?,
        }
    }
    (unpacked.len() as u64 == announced).then_some(unpacked)
}

/// A stream of snappy.
pub(crate) fn snappy_stream(stream: &[u8]) -> Option<Vec<u8>> {
    let mut rest = stream.strip_prefix(STREAM)?;
    let mut unpacked = Vec::new();
    while !rest.is_empty() {
        let kind = take(&mut rest, 1)?[0];
        let length = number(take(&mut rest, 3)?);
        let mut content = take(&mut rest, length)?;
        match kind {
            0 | 1 => {
                let checksum = number(take(&mut content, 4)?);
                let bytes = if kind == 0 {
                    snappy_block(content)?
                } else {
                    content.to_vec()
                };
                let masked = crc32c(&bytes).rotate_right(15).wrapping_add(0xa282_ead8);
                if bytes.len() > 65_536 || checksum != masked as usize {
                    return None;
                }
                unpacked.extend(bytes);
            }
            2..0x80 => return None,
            0xff if content != &STREAM[4..] => return None,
            _ => {}
        }
    }
    Some(unpacked)
}

/// What number 2 stands for: the one or the other.
pub(crate) fn snappy(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.starts_with(STREAM) {
        snappy_stream(bytes)
    } else {
        snappy_block(bytes)
    }
}

/// A block of lz4.
pub(crate) fn lz4_block(block: &[u8]) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    append_lz4_block(block, &mut unpacked, 0)?;
    Some(unpacked)
}

/// Frames of lz4, one behind the other.
pub(crate) fn lz4_frame(frames: &[u8]) -> Option<Vec<u8>> {
    let mut rest = frames;
    let mut unpacked = Vec::new();
    while !rest.is_empty() {
        let magic = number(take(&mut rest, 4)?);
        if magic & !0xf == 0x184d_2a50 {
            let length = number(take(&mut rest, 4)?);
            take(&mut rest, length)?;
        } else if magic == 0x184d_2204 {
            append_lz4_frame(&mut rest, &mut unpacked)?;
        } else {
            return None;
        }
    }
    Some(unpacked)
}

fn append_lz4_frame(rest: &mut &[u8], unpacked: &mut Vec<u8>) -> Option<()> {
    let described = *rest;
    let [flags, blocks] = *take(rest, 2)? else {
        return None;
    };
    let has = |bit: u8| flags & (1 << bit) != 0;
    let length = if has(3) {
        Some(number(take(rest, 8)?))
    } else {
        None
    };
    let described = &described[..described.len() - rest.len()];
    let sound = flags >> 6 == 1 && !has(1) && !has(0) && blocks & 0x8f == 0 && blocks >> 4 >= 4;
    if !sound || take(rest, 1)?[0] != xxh32(described).to_be_bytes()[2] {
        return None;
    }
    let block_max = 1 << (8 + 2 * (blocks >> 4));
    let begin = unpacked.len();
    loop {
        let length = number(take(rest, 4)?);
        if length == 0 {
            break;
        }
        let bytes = take(rest, length & 0x7fff_ffff)?;
        if has(4) && number(take(rest, 4)?) != xxh32(bytes) as usize {
            return None;
        }
        let before = unpacked.len();
        if length >> 31 == 1 {
            unpacked.extend(bytes);
        } else {
            append_lz4_block(bytes, unpacked, if has(5) { before } else { begin })?;
        }
        if unpacked.len() - before > block_max {
            return None;
        }
    }
    let content = &unpacked[begin..];
    if has(2) && number(take(rest, 4)?) != xxh32(content) as usize {
        return None;
    }
    length
        .is_none_or(|length| length == content.len())
        .then_some(())
}

/// Matches reach back to `from`.
fn append_lz4_block(block: &[u8], unpacked: &mut Vec<u8>, from: usize) -> Option<()> {
    let mut rest = block;
    loop {
        let token = usize::from(take(&mut rest, 1)?[0]);
        let literals = more(token >> 4, &mut rest)?;
        unpacked.extend(take(&mut rest, literals)?);
        if rest.is_empty() {
            return Some(());
        }
        let offset = number(take(&mut rest, 2)?);
        let length = 4 + more(token & 15, &mut rest)?;
        repeat(unpacked, from, offset, length)?;
    }
}

fn more(begin: usize, rest: &mut &[u8]) -> Option<usize> {
    let mut sum = begin;
    let mut goes_on = begin == 15;
    while goes_on {
        let byte = take(rest, 1)?[0];
        sum += usize::from(byte);
        goes_on = byte == 255;
    }
    Some(sum)
}

fn repeat(unpacked: &mut Vec<u8>, from: usize, offset: usize, length: usize) -> Option<()> {
    let reach = unpacked.len() - from;
    if offset == 0 || offset > reach || unpacked.len() + length > BYTES_MAX {
        return None;
    }
    for _ in 0..length {
        unpacked.push(unpacked[unpacked.len() - offset]);
    }
    Some(())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &[u8]) -> usize {
    let fold = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
    bytes.iter().rev().fold(0, fold)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), bit);
    !bytes.iter().fold(!0, byte)
}

fn xxh32(bytes: &[u8]) -> u32 {
    let mut hasher = XxHash32::with_seed(0);
    hasher.write(bytes);
    u32::try_from(hasher.finish()).expect("32 bits")
}
