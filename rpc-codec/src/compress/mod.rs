//! Bodies made smaller, and back within a bound.
//!
//! A peer's hundred bytes can be a gigabyte once they are unpacked, so the bound is inside the unpacking: no more is
//! allocated than the bound, and nothing because of a number that was not compared with it. Where a format cannot grow
//! by more than some factor, a number that would need more is refused, too. Heads and attachments are not compressed.
//!
//! The states that cost most, of deflate and the tables of snappy and lz4, are kept from one body to the next by each
//! thread that packs or unpacks.
//!
//! # Layout
//!
//! * `codecs` – [`Codecs`]: which number stands for what
//! * `codec` – [`Codec`]: what a compression is
//! * `gzip`, `zlib`, and `deflate` below both
//! * `snappy`, `snappy_stream` – blocks, and blocks in a row with checksums
//! * `lz4`, `lz4_frame` – likewise
//! * `checksum` – those of snappy and lz4

mod checksum;
mod codec;
mod codecs;
mod deflate;
mod gzip;
mod lz4;
mod lz4_frame;
mod snappy;
mod snappy_stream;
mod zlib;

use std::error::Error;
use std::fmt;

pub use codec::Codec;
pub use codecs::Codecs;
pub use gzip::Gzip;
pub use lz4::Lz4Block;
pub use lz4_frame::Lz4Frame;
pub use snappy::{Snappy, SnappyBlock};
pub use snappy_stream::SnappyStream;
pub use zlib::Zlib;

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
    /// Nothing is packed so, because peers disagree about what it would mean.
    Ambiguous,
    /// This cannot be packed so.
    Unpackable,
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
            Self::Ambiguous => f.write_str(
                "peers disagree about what this compression is: use another, or tell the codecs which of its formats \
                 the peer reads",
            ),
            Self::Unpackable => f.write_str("it cannot be packed by this compression"),
        }
    }
}

impl Error for CompressError {}
