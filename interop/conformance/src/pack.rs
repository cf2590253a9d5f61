//! Compression by the wire's numbers, with the libraries that are the reference for each format.

use std::io::{Read, Write};

use flate2::Compression;

/// Nothing that a case expects is longer when it is unpacked.
const UNPACKED_MAX: u64 = 64 << 20;

/// Packs `bytes` as `encoding` says. Numbers that nobody knows leave them as they are, so that cases can send those; the
/// deprecated 2 is written as a block, as C++ and Java do, and 20 as a stream, as Go does.
///
/// # Errors
///
/// When the library fails.
pub fn pack(encoding: u64, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let packed = match encoding {
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
        3 => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
        4 | 20 => {
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).and_then(|()| {
                encoder
                    .into_inner()
                    .map_err(snap::write::IntoInnerError::into_error)
            })
        }
        2 | 5 => {
            return snap::raw::Encoder::new()
                .compress_vec(bytes)
                .map_err(|error| error.to_string());
        }
        6 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            let written = encoder.write_all(bytes);
            return written
                .map_err(|error| error.to_string())
                .and_then(|()| encoder.finish().map_err(|error| error.to_string()));
        }
        7 => return Ok(lz4_flex::block::compress(bytes)),
        _ => Ok(bytes.to_vec()),
    };
    packed.map_err(|error| error.to_string())
}

/// Unpacks `bytes`; none are none in every encoding.
///
/// # Errors
///
/// When they are not what `encoding` says, or when nobody knows that number.
pub fn unpack(encoding: u64, bytes: &[u8]) -> Result<Vec<u8>, String> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let is_stream = bytes.starts_with(b"\xff\x06\x00\x00sNaPpY");
    match encoding {
        0 => Ok(bytes.to_vec()),
        1 => read(flate2::read::GzDecoder::new(bytes)),
        3 => read(flate2::read::ZlibDecoder::new(bytes)),
        2 if is_stream => read(snap::read::FrameDecoder::new(bytes)),
        4 => read(snap::read::FrameDecoder::new(bytes)),
        2 | 5 => snap::raw::Decoder::new()
            .decompress_vec(bytes)
            .map_err(|error| error.to_string()),
        6 => read(lz4_flex::frame::FrameDecoder::new(bytes)),
        7 => {
            // The block does not tell its length; nobody may shrink by more than ten.
            let bound = bytes.len().saturating_mul(10) + 64;
            lz4_flex::block::decompress(bytes, bound).map_err(|error| error.to_string())
        }
        other => Err(format!("nobody knows content_encoding {other}")),
    }
}

fn read(packed: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = packed.take(UNPACKED_MAX).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{blob, vectors};

    #[test]
    fn each_encoding_is_undone() {
        for encoding in 0..=7 {
            let bytes = blob::fill(5000);
            let packed = pack(encoding, &bytes).unwrap();
            assert_eq!(unpack(encoding, &packed), Ok(bytes), "{encoding}");
            assert_eq!(unpack(encoding, b""), Ok(Vec::new()), "{encoding}");
        }
        assert!(unpack(99, b"x").is_err());
    }

    #[test]
    fn the_golden_bodies_are_read() {
        for (name, encoding, packed, plain) in vectors::compressed_bodies() {
            assert_eq!(unpack(encoding, &packed), Ok(plain), "{name}");
        }
    }
}
