//! Bodies made smaller, and back within a bound.
//!
//! A peer's hundred bytes can be a gigabyte once they are unpacked, so the bound is inside the unpacking: no more is
//! allocated than arrives, and never more than the bound. Heads and attachments are not compressed. A body of no bytes
//! is the empty message whatever its compression, and is never compressed here, because not every peer can unpack it.
//!
//! One file for each algorithm; each has `compress` and `decompress` with the signatures below.

mod gzip;

use std::error::Error;
use std::fmt;

use bytes::Bytes;
use rpc_core::Compression;

use crate::numbers;

/// Unpacks a body to at most `bytes_max` bytes. A plain body passes as it is: its frame has bounded it.
///
/// # Errors
///
/// When the compression is not known here, the body is not what it says, or there would be more.
pub fn decompress(
    compression: Compression,
    body: &Bytes,
    bytes_max: usize,
) -> Result<Bytes, CompressError> {
    match compression {
        _ if body.is_empty() => Ok(Bytes::new()),
        Compression::None => Ok(body.clone()),
        Compression::Gzip => gzip::decompress(body, bytes_max),
        Compression::Other(_) => Err(CompressError::Unsupported(numbers::content_encoding(
            compression,
        ))),
    }
}

/// Packs a body. `None` says that it would not become smaller: send it as it is, and say so.
///
/// # Errors
///
/// When the compression is not known here.
pub fn compress(compression: Compression, body: &Bytes) -> Result<Option<Bytes>, CompressError> {
    match compression {
        Compression::None => Ok(None),
        Compression::Gzip => Ok(gzip::compress(body)),
        Compression::Other(_) => Err(CompressError::Unsupported(numbers::content_encoding(
            compression,
        ))),
    }
}

/// Whether bodies can be packed and unpacked so.
pub fn is_supported(compression: Compression) -> bool {
    matches!(compression, Compression::None | Compression::Gzip)
}

/// Why a body cannot be packed or unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompressError {
    /// There is no such compression here; its number on the wire.
    Unsupported(u32),
    /// More would come out than is allowed.
    TooLarge {
        /// What is allowed, in bytes.
        max: usize,
    },
    /// The bytes are not a whole and unbroken piece of what they should be.
    Corrupt,
}

impl fmt::Display for CompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(number) => {
                write!(f, "content_encoding {number} is not supported here")
            }
            Self::TooLarge { max } => write!(
                f,
                "the body has more than the {max} bytes allowed once it is decompressed"
            ),
            Self::Corrupt => f.write_str("the compressed body is broken or incomplete"),
        }
    }
}

impl Error for CompressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_are_the_empty_body_in_every_compression() {
        for compression in [Compression::None, Compression::Gzip, Compression::Other(7)] {
            assert_eq!(decompress(compression, &Bytes::new(), 0), Ok(Bytes::new()));
        }
    }

    #[test]
    fn a_plain_body_is_shared_and_not_copied() {
        let body = Bytes::from_static(b"as it is");
        let same = decompress(Compression::None, &body, 100).unwrap();
        assert_eq!(same.as_ptr(), body.as_ptr());
        assert_eq!(compress(Compression::None, &body), Ok(None));
    }

    #[test]
    fn an_unknown_compression_is_refused() {
        let body = Bytes::from_static(b"bytes");
        let error = Err(CompressError::Unsupported(6));
        assert_eq!(decompress(Compression::Other(6), &body, 100), error);
        assert!(compress(Compression::Other(6), &body).is_err());
        assert!(!is_supported(Compression::Other(6)));
    }
}
