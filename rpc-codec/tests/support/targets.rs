//! One function for each parser and each machine. It takes any bytes and says whether they were accepted; it panics or
//! returns an error if what it drives did something it never may.

use std::io::Read;
use std::ops::Range;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use rpc_codec::{Codecs, CompressError, Limits, datagram};
use rpc_core::Compression;

use super::random::Random;
use super::{
    client_driver, oracle, reference, server_driver, stream_driver, stream_oracle, unpack,
};

/// A target by its name, which is that of its corpus and of its fuzzer, too.
pub(crate) type Target = (&'static str, fn(&[u8]) -> Result<bool, String>);

/// All of them.
pub(crate) const ALL: &[Target] = &[
    ("frame_decoder", frame_decoder),
    ("datagram", one_frame),
    ("request_head", oracle::compare_request),
    ("response_head", oracle::compare_response),
    ("gzip", gzip),
    ("zlib", zlib),
    ("snappy", |bytes| {
        compare(Compression::Other(2), bytes, unpack::snappy)
    }),
    ("snappy_stream", |bytes| {
        compare(Compression::SnappyStream, bytes, unpack::snappy_stream)
    }),
    ("snappy_block", |bytes| {
        compare(Compression::SnappyBlock, bytes, unpack::snappy_block)
    }),
    ("lz4_frame", |bytes| {
        compare(Compression::Lz4Frame, bytes, unpack::lz4_frame)
    }),
    ("lz4_block", |bytes| {
        compare(Compression::Lz4Block, bytes, unpack::lz4_block)
    }),
    ("compress", compress),
    ("server_connection", server_driver::run),
    ("client_connection", client_driver::run),
    ("stream_meta", stream_oracle::compare),
    ("stream_server", stream_driver::run_server),
    ("stream_client", stream_driver::run_client),
    #[cfg(feature = "json")]
    ("json", super::json::run),
];

/// The frames in any bytes, which arrive in pieces, against a reader that shares nothing with ours.
fn frame_decoder(bytes: &[u8]) -> Result<bool, String> {
    let limits = Limits::default().with_frame_bytes_max(1000);
    let expected = reference::read(bytes, &limits);
    let pieces = bytes.chunks(1 + Random::of(bytes).below(40));
    let read = reference::read_in_pieces(pieces, &limits)?;
    if read == expected {
        Ok(!read.broken)
    } else {
        Err(format!("{read:?} against {expected:?}"))
    }
}

/// One whole unary frame, said field by field.
fn one_frame(bytes: &[u8]) -> Result<bool, String> {
    let limits = Limits::default().with_frame_bytes_max(1000);
    let number = |range: Range<usize>| {
        let field = bytes.get(range).unwrap_or_default().iter();
        field.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (magic, kind, total, head) = (number(0..2), number(2..3), number(4..8), number(8..10));
    let fits = (16..=1000).contains(&bytes.len()) && total == bytes.len() && 16 + head <= total;
    let expected = magic == 0x0930 && kind == 0 && fits;
    match datagram::check(bytes, &limits) {
        read if read.is_ok() == expected => Ok(expected),
        read => Err(format!("{read:?}, but {expected} was expected")),
    }
}

/// What a body may become.
const UNPACKED_MAX: usize = 4096;

fn gzip(bytes: &[u8]) -> Result<bool, String> {
    agree(Compression::Gzip, bytes, MultiGzDecoder::new)
}

fn zlib(bytes: &[u8]) -> Result<bool, String> {
    agree(Compression::Zlib, bytes, ZlibDecoder::new)
}

/// A packed body is refused, or is what another reader reads; never is it more than allowed.
fn agree<'a, R: Read>(
    compression: Compression,
    bytes: &'a [u8],
    reader: impl Fn(&'a [u8]) -> R,
) -> Result<bool, String> {
    match decompress(compression, bytes)? {
        // The empty body is one in every compression, though not in any of their formats.
        Ok(unpacked) if bytes.is_empty() && unpacked.is_empty() => Ok(true),
        Ok(unpacked) => {
            let mut expected = Vec::new();
            reader(bytes)
                .read_to_end(&mut expected)
                .map_err(|error| format!("only the other reader says {error}"))?;
            if unpacked == expected {
                Ok(true)
            } else {
                Err("it reads something else".into())
            }
        }
        Err(_) => Ok(false),
    }
}

/// A packed body is refused if the naive reader refuses it or if it is more than allowed, and else is what that one
/// reads.
fn compare(
    compression: Compression,
    bytes: &[u8],
    naive: fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<bool, String> {
    let expected = if bytes.is_empty() {
        Some(Vec::new())
    } else {
        naive(bytes)
    };
    match (decompress(compression, bytes)?, expected) {
        (Ok(unpacked), Some(expected)) if unpacked == expected => Ok(true),
        (Err(CompressError::TooLarge { .. }), Some(expected)) if expected.len() > UNPACKED_MAX => {
            Ok(false)
        }
        (Err(_), None) => Ok(false),
        (read, expected) => Err(format!("{read:?} against {expected:?}")),
    }
}

/// Whatever is packed is smaller, and comes out again as it went in. Accepted is what becomes smaller.
fn compress(bytes: &[u8]) -> Result<bool, String> {
    let mut random = Random::of(bytes);
    let compression = *random.pick(&[
        Compression::Gzip,
        Compression::Zlib,
        Compression::SnappyStream,
        Compression::SnappyBlock,
        Compression::Lz4Frame,
        Compression::Lz4Block,
    ]);
    let times = if random.once_in(32) {
        random.below(100)
    } else {
        1
    };
    let body = Bytes::from(bytes.repeat(times));
    let codecs = Codecs::default().with_bytes_min(0);
    let packed = codecs.compress(compression, &body);
    let Some(packed) = packed.map_err(|error| error.to_string())? else {
        return Ok(false);
    };
    let unpacked = codecs.decompress(compression, &packed, body.len());
    if packed.len() >= body.len() || unpacked.as_ref() != Ok(&body) {
        return Err(format!("{compression:?}: {packed:?} and {unpacked:?}"));
    }
    Ok(true)
}

/// Unpacks, and fails on what no input may lead to.
fn decompress(
    compression: Compression,
    bytes: &[u8],
) -> Result<Result<Bytes, CompressError>, String> {
    let body = Bytes::copy_from_slice(bytes);
    match Codecs::default().decompress(compression, &body, UNPACKED_MAX) {
        Ok(unpacked) if unpacked.len() > UNPACKED_MAX => Err("more than is allowed".into()),
        Err(error @ CompressError::Unsupported(_)) => Err(error.to_string()),
        result => Ok(result),
    }
}
