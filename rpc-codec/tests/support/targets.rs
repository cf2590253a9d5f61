//! One function for each parser and each machine. It takes any bytes and says whether they were accepted; it panics or
//! returns an error if what it drives did something it never may.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use rpc_codec::{CompressError, Limits, compress};
use rpc_core::Compression;

use super::random::Random;
use super::{client_driver, oracle, reference, server_driver};

/// A target by its name, which is that of its corpus and of its fuzzer, too.
pub(crate) type Target = (&'static str, fn(&[u8]) -> Result<bool, String>);

/// All of them.
pub(crate) const ALL: [Target; 6] = [
    ("frame_decoder", frame_decoder),
    ("request_head", oracle::compare_request),
    ("response_head", oracle::compare_response),
    ("gzip", gzip),
    ("server_connection", server_driver::run),
    ("client_connection", client_driver::run),
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

/// A packed body is refused, or is what another reader reads; never is it more than allowed.
fn gzip(bytes: &[u8]) -> Result<bool, String> {
    let bytes_max = 4096;
    let body = Bytes::copy_from_slice(bytes);
    match compress::decompress(Compression::Gzip, &body, bytes_max) {
        Ok(unpacked) if unpacked.len() > bytes_max => Err("more than is allowed".into()),
        // The empty body is one in every compression, though not a gzip member.
        Ok(unpacked) if bytes.is_empty() && unpacked.is_empty() => Ok(true),
        Ok(unpacked) => {
            let mut expected = Vec::new();
            MultiGzDecoder::new(bytes)
                .read_to_end(&mut expected)
                .map_err(|error| format!("only the other reader says {error}"))?;
            if unpacked == expected {
                Ok(true)
            } else {
                Err("it reads something else".into())
            }
        }
        Err(CompressError::TooLarge { .. } | CompressError::Corrupt) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}
