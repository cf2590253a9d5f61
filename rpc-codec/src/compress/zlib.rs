//! zlib, RFC 1950.
//!
//! ```text
//!  offset  bytes  big-endian
//!       0      1  method and window   78 mostly: deflate, 32 KiB
//!       1      1  flags               bit 5: a preset dictionary is needed
//!       2         deflate, RFC 1951
//!      -4      4  adler32 of what was packed
//! ```

use bytes::Bytes;

use super::deflate::{Wrapping, deflate, deflated_bytes_max, inflate};
use super::{Codec, CompressError};

/// zlib, RFC 1950: `content_encoding` 3, which tRPC-Go and tRPC-Cpp understand.
///
/// Not bare deflate: header and checksum are there. Bytes behind the checksum are refused, and so is a body for which
/// one would need a preset dictionary.
#[derive(Debug, Clone, Copy, Default)]
pub struct Zlib;

impl Codec for Zlib {
    fn compress(&self, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, CompressError> {
        // No room for more than that: what does not fit is of no use.
        let mut packed = Vec::with_capacity(deflated_bytes_max(body.len()).min(bytes_max));
        let packs = deflate(Wrapping::Zlib, body, &mut packed).is_some();
        packed.shrink_to_fit();
        Ok((packs && packed.len() <= bytes_max).then(|| packed.into()))
    }

    fn decompress(&self, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError> {
        // Nothing says how much will come out. Text shrinks to a half or a third.
        let guess = packed.len().saturating_mul(3);
        let mut unpacked = Vec::with_capacity(guess.min(bytes_max));
        let rest = inflate(Wrapping::Zlib, packed, &mut unpacked, bytes_max)?;
        if rest.is_empty() {
            Ok(unpacked.into())
        } else {
            Err(CompressError::Corrupt)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::shrunk;
    use super::*;

    const MAX: usize = 1 << 20;

    /// Made by zlib itself (Python's), at level 9.
    const BODY: &[u8] = b"x\xdaK\xcaO\xa9\x04\x00\x04\x1a\x01\xaf";

    #[test]
    fn reads_what_zlib_writes() {
        assert_eq!(Zlib.decompress(BODY, MAX).unwrap(), &b"body"[..]);
        assert_eq!(Zlib.decompress(BODY, 4).unwrap(), &b"body"[..]);
        assert_eq!(
            Zlib.decompress(BODY, 3),
            Err(CompressError::TooLarge { max: 3 })
        );
    }

    #[test]
    fn begins_with_a_header_and_shrinks_or_is_nothing() {
        let body = "over and over ".repeat(10);
        let packed = shrunk(&Zlib, body.as_bytes()).unwrap();
        assert_eq!((packed[0] & 0x0f, packed[0] >> 4), (8, 7));
        assert_eq!(Zlib.decompress(&packed, body.len()).unwrap(), body);
        assert_eq!(shrunk(&Zlib, b"too short"), None);
    }

    #[test]
    fn refuses_what_is_cut_damaged_or_followed() {
        for length in 0..BODY.len() {
            assert_eq!(
                Zlib.decompress(&BODY[..length], MAX),
                Err(CompressError::Corrupt),
                "{length} bytes"
            );
        }
        for at in [0, 1, 2, 8, 11] {
            let mut body = BODY.to_vec();
            body[at] ^= 0x40;
            assert_eq!(
                Zlib.decompress(&body, MAX),
                Err(CompressError::Corrupt),
                "byte {at}"
            );
        }
        let followed = [BODY, b"\0"].concat();
        assert_eq!(Zlib.decompress(&followed, MAX), Err(CompressError::Corrupt));
    }

    #[test]
    fn refuses_bare_deflate_and_a_preset_dictionary() {
        let bare = &BODY[2..BODY.len() - 4];
        assert_eq!(Zlib.decompress(bare, MAX), Err(CompressError::Corrupt));
        // Made by Python's `zlib.compressobj(zdict=b"body body")`.
        let needs_one = b"x\xbb\x11;\x03}K\x821\x00\x11;\x03}";
        assert_eq!(Zlib.decompress(needs_one, MAX), Err(CompressError::Corrupt));
    }
}
