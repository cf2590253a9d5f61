//! gzip, RFC 1952.
//!
//! ```text
//!  offset  bytes  little-endian
//!       0      2  magic   1f 8b
//!       2      1  method  8: deflate
//!       3      1  flags   1 text  2 head checksum  4 extra  8 name  16 comment
//!       4      4  mtime   0 when we write
//!       8      1  extra flags
//!       9      1  system  255, unknown, when we write
//!      10         extra: two bytes length, then as many; name and comment: bytes up to a zero; checksum: two bytes
//!                 deflate, RFC 1951
//!      -8      4  crc32 of what was packed
//!      -4      4  its length modulo 2^32
//! ```
//!
//! One such member follows another without anything between or after them. We write one, and read any number.
//!
//! The library cannot reset a decoder so that it expects another gzip header, but it can reset one of bare deflate,
//! which is why headers and trailers are read here.

use bytes::Bytes;
use flate2::Crc;

use super::deflate::{Wrapping, deflate, deflated_bytes_max, inflate};
use super::{Codec, CompressError};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
const HEADER: [u8; 10] = [MAGIC[0], MAGIC[1], DEFLATE, 0, 0, 0, 0, 0, 0, 255];
const TRAILER_BYTES: usize = 8;

const HEAD_CHECKSUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

/// gzip, RFC 1952: `content_encoding` 1, which every peer understands.
///
/// One member without a name or a time is written, as readers in C++ and Java need not look for a second. Any number of
/// them is read, as tRPC-Go does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gzip;

impl Codec for Gzip {
    fn compress(&self, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, CompressError> {
        Ok(member(body, bytes_max))
    }

    fn decompress(&self, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError> {
        let mut unpacked = Vec::with_capacity(first_guess(packed).min(bytes_max));
        let mut rest = packed;
        while !rest.is_empty() {
            rest = after_member(rest, &mut unpacked, bytes_max)?;
        }
        Ok(unpacked.into())
    }
}

/// A body as one member, or that it would become longer than that.
fn member(body: &[u8], bytes_max: usize) -> Option<Bytes> {
    if bytes_max < HEADER.len() + TRAILER_BYTES {
        return None;
    }
    // No room for more than that: what does not fit is of no use.
    let mut packed = Vec::with_capacity(deflated_bytes_max(body.len()).min(bytes_max));
    packed.extend_from_slice(&HEADER);
    deflate(Wrapping::Bare, body, &mut packed)?;
    packed.extend_from_slice(&trailer_of(body));
    packed.shrink_to_fit();
    (packed.len() <= bytes_max).then(|| packed.into())
}

/// How much will come out, as the last four bytes say, if that is believable: so that an honest body is allocated once
/// and fits, and a lie costs no more than four times what was sent.
fn first_guess(packed: &[u8]) -> usize {
    let named = packed
        .last_chunk()
        .map_or(0, |&bytes| u32::from_le_bytes(bytes));
    let named = usize::try_from(named).unwrap_or(usize::MAX);
    named.min(packed.len().saturating_mul(4))
}

/// Unpacks one member and returns what follows it.
fn after_member<'a>(
    packed: &'a [u8],
    unpacked: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<&'a [u8], CompressError> {
    let deflated = after_header(packed).ok_or(CompressError::Corrupt)?;
    let begin = unpacked.len();
    let after = inflate(Wrapping::Bare, deflated, unpacked, bytes_max)?;
    let (trailer, rest) = after
        .split_first_chunk::<TRAILER_BYTES>()
        .ok_or(CompressError::Corrupt)?;
    if *trailer != trailer_of(unpacked.get(begin..).unwrap_or_default()) {
        return Err(CompressError::Corrupt);
    }
    Ok(rest)
}

/// Steps over a member's header. `None` if it is not one, or not whole.
fn after_header(packed: &[u8]) -> Option<&[u8]> {
    let (&[m0, m1, method, flags, ..], mut rest) =
        packed.split_first_chunk::<{ HEADER.len() }>()?;
    if [m0, m1] != MAGIC || method != DEFLATE || flags & RESERVED != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (&length, extra) = rest.split_first_chunk()?;
        rest = extra.get(usize::from(u16::from_le_bytes(length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let zero = rest.iter().position(|&byte| byte == 0)?;
            (_, rest) = rest.split_at_checked(zero)?.1.split_first()?;
        }
    }
    if flags & HEAD_CHECKSUM != 0 {
        let header = packed.get(..packed.len().checked_sub(rest.len())?)?;
        let [c0, c1, ..] = checksum(header).to_le_bytes();
        rest = rest.strip_prefix(&[c0, c1])?;
    }
    Some(rest)
}

/// The last eight bytes of a member.
fn trailer_of(body: &[u8]) -> [u8; TRAILER_BYTES] {
    let [c0, c1, c2, c3] = checksum(body).to_le_bytes();
    let [l0, l1, l2, l3, ..] = (body.len() as u64).to_le_bytes();
    [c0, c1, c2, c3, l0, l1, l2, l3]
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::super::codec::shrunk;
    use super::*;

    const MAX: usize = 1 << 20;

    fn packed(body: &[u8]) -> Vec<u8> {
        let mut deflater = Compress::new(Compression::new(6), false);
        let mut packed = HEADER.to_vec();
        packed.reserve(body.len() + 100);
        deflater
            .compress_vec(body, &mut packed, FlushCompress::Finish)
            .unwrap();
        packed.extend_from_slice(&trailer_of(body));
        packed
    }

    /// A member of "body" with these flags set and these bytes after the ten that are fixed.
    fn with_header(flags: u8, more: &[u8]) -> Vec<u8> {
        let mut member = packed(b"body");
        member[3] = flags;
        member.splice(HEADER.len()..HEADER.len(), more.iter().copied());
        member
    }

    fn decompress(packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError> {
        Gzip.decompress(packed, bytes_max)
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let bytes = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state.to_be_bytes()[0]
        });
        bytes.take(length).collect()
    }

    #[test]
    fn one_member_without_a_name_or_a_time() {
        let body = "over and over ".repeat(10);
        let packed = shrunk(&Gzip, body.as_bytes()).unwrap();
        assert_eq!(packed[..10], HEADER);
        assert_eq!(decompress(&packed, MAX).unwrap(), body);
    }

    #[test]
    fn what_does_not_shrink_is_not_packed() {
        assert_eq!(shrunk(&Gzip, b""), None);
        assert_eq!(shrunk(&Gzip, b"too short to gain anything"), None);
        assert_eq!(shrunk(&Gzip, &noise(5000)), None);
    }

    #[test]
    fn all_that_is_allowed_passes_and_one_byte_more_does_not() {
        for length in [1, 63, 64, 4096, 70_000] {
            let packed = packed(&vec![7; length]);
            assert_eq!(decompress(&packed, length).unwrap().len(), length);
            assert_eq!(
                decompress(&packed, length - 1),
                Err(CompressError::TooLarge { max: length - 1 })
            );
        }
        assert_eq!(decompress(&packed(b""), 0).unwrap().len(), 0);
    }

    #[test]
    fn the_bound_holds_for_all_members_together() {
        let two = [packed(b"con"), packed(b"cat")].concat();
        assert_eq!(decompress(&two, 6).unwrap(), &b"concat"[..]);
        assert_eq!(decompress(&two, 5), Err(CompressError::TooLarge { max: 5 }));
    }

    #[test]
    fn a_body_that_names_its_length_is_allocated_once() {
        let body = noise(3000);
        let packed = packed(&body);
        let first = first_guess(&packed);
        assert_eq!(first, body.len());
        let mut unpacked = Vec::with_capacity(first);
        after_member(&packed, &mut unpacked, MAX).unwrap();
        assert_eq!((unpacked.len(), unpacked.capacity()), (3000, 3000));
    }

    #[test]
    fn headers_may_carry_names_and_comments() {
        for (flags, more) in [
            (0, &b""[..]),
            (1, b""),
            (EXTRA, b"\x03\0abc"),
            (NAME, b"a name\0"),
            (COMMENT, b"\0"),
            (EXTRA | NAME | COMMENT, b"\0\0name\0comment\0"),
        ] {
            let mut member = with_header(flags, more);
            assert_eq!(decompress(&member, MAX).unwrap(), &b"body"[..]);
            let header_len = HEADER.len() + more.len();
            member[3] |= HEAD_CHECKSUM;
            let [c0, c1, ..] = checksum(&member[..header_len]).to_le_bytes();
            member.splice(header_len..header_len, [c0, c1]);
            assert_eq!(decompress(&member, MAX).unwrap(), &b"body"[..]);
            member[header_len] ^= 1;
            assert_eq!(decompress(&member, MAX), Err(CompressError::Corrupt));
        }
    }

    #[test]
    fn refuses_headers_that_are_broken() {
        for (at, byte) in [(0, 0), (1, 0), (2, 7), (3, 0x20), (3, 0x80)] {
            let mut member = packed(b"body");
            member[at] = byte;
            assert_eq!(decompress(&member, MAX), Err(CompressError::Corrupt));
        }
        let endless_name = [&HEADER[..3], &[NAME], &HEADER[4..], b"name"].concat();
        assert_eq!(decompress(&endless_name, MAX), Err(CompressError::Corrupt));
    }

    #[test]
    fn refuses_a_member_cut_anywhere() {
        let member = packed(b"a body of some length, a body of some length");
        for length in 1..member.len() {
            assert_eq!(
                decompress(&member[..length], MAX),
                Err(CompressError::Corrupt),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn refuses_a_wrong_checksum_a_wrong_length_and_anything_behind() {
        let member = packed(b"body");
        for from_end in 1..=TRAILER_BYTES {
            let mut member = member.clone();
            let at = member.len() - from_end;
            member[at] ^= 0x10;
            assert_eq!(decompress(&member, MAX), Err(CompressError::Corrupt));
        }
        for garbage in [&b"\0"[..], b"garbage behind it"] {
            let member = [&member[..], garbage].concat();
            assert_eq!(decompress(&member, MAX), Err(CompressError::Corrupt));
        }
    }

    #[test]
    fn a_thread_goes_on_after_a_broken_body() {
        let member = packed(b"body");
        decompress(&member[..member.len() - 9], MAX).unwrap_err();
        assert_eq!(decompress(&member, MAX).unwrap(), &b"body"[..]);
    }
}
