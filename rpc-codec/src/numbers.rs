//! How the wire numbers formats and compressions.
//!
//! A number that is not in these tables is kept as it came: whether it can be served is decided where the body is
//! read, and a body of no bytes can be read whatever its number.

use rpc_core::{Compression, Format};

const PROTOBUF: u32 = 0;
pub(crate) const JSON: u32 = 2;
pub(crate) const RAW: u32 = 4;

const PLAIN: u32 = 0;
const GZIP: u32 = 1;
// 2 is two compressions, see `compress::Snappy`, so it has no name.
const ZLIB: u32 = 3;
const SNAPPY_STREAM: u32 = 4;
const SNAPPY_BLOCK: u32 = 5;
const LZ4_FRAME: u32 = 6;
const LZ4_BLOCK: u32 = 7;

/// The format that a head's `content_type` names.
pub fn format(content_type: u32) -> Format {
    match content_type {
        PROTOBUF => Format::Protobuf,
        JSON => Format::Json,
        RAW => Format::Raw,
        other => Format::Other(other),
    }
}

/// A format as `content_type`.
pub fn content_type(format: Format) -> u32 {
    match format {
        Format::Protobuf => PROTOBUF,
        Format::Json => JSON,
        Format::Raw => RAW,
        Format::Other(number) => number,
    }
}

/// The compression that a head's `content_encoding` names.
pub fn compression(content_encoding: u32) -> Compression {
    match content_encoding {
        PLAIN => Compression::None,
        GZIP => Compression::Gzip,
        ZLIB => Compression::Zlib,
        SNAPPY_STREAM => Compression::SnappyStream,
        SNAPPY_BLOCK => Compression::SnappyBlock,
        LZ4_FRAME => Compression::Lz4Frame,
        LZ4_BLOCK => Compression::Lz4Block,
        other => Compression::Other(other),
    }
}

/// A compression as `content_encoding`.
pub fn content_encoding(compression: Compression) -> u32 {
    match compression {
        Compression::None => PLAIN,
        Compression::Gzip => GZIP,
        Compression::Zlib => ZLIB,
        Compression::SnappyStream => SNAPPY_STREAM,
        Compression::SnappyBlock => SNAPPY_BLOCK,
        Compression::Lz4Frame => LZ4_FRAME,
        Compression::Lz4Block => LZ4_BLOCK,
        Compression::Other(number) => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_the_way_there_and_back() {
        for number in (0..=300).chain([u32::MAX]) {
            assert_eq!(content_type(format(number)), number);
            assert_eq!(content_encoding(compression(number)), number);
        }
    }
}
