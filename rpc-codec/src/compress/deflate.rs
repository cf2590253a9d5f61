//! Deflate, RFC 1951: what gzip and zlib are made of.
//!
//! The state of either direction is tens to hundreds of kilobytes, so a thread makes it once and resets it for each
//! body.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::CompressError;

/// For messages of a kilobyte nearly as small as the usual 6; 1 would be faster and clearly larger.
const LEVEL: u32 = 2;

/// The least by which the room for what comes out grows.
const ROOM_BYTES: usize = 1024;

/// What the library itself reads and writes around deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// Nothing.
    Bare,
    /// The header and the checksum of zlib.
    Zlib,
}

thread_local! {
    static BARE: RefCell<Compress> = RefCell::new(deflater(Wrapping::Bare));
    static ZLIB: RefCell<Compress> = RefCell::new(deflater(Wrapping::Zlib));
    /// A reset can change the wrapping of this direction, so one does for both.
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

fn deflater(wrapping: Wrapping) -> Compress {
    Compress::new(Compression::new(LEVEL), wrapping == Wrapping::Zlib)
}

/// Appends `body` to `packed`, or says that the room that `packed` has left is not enough.
pub(super) fn deflate(wrapping: Wrapping, body: &[u8], packed: &mut Vec<u8>) -> Option<()> {
    let state = match wrapping {
        Wrapping::Bare => &BARE,
        Wrapping::Zlib => &ZLIB,
    };
    state.with_borrow_mut(|deflater| {
        deflater.reset();
        deflate_all(deflater, body, packed)
    })
}

/// The room that packing wants for so many bytes at the worst, with header and trailer: blocks that are stored as they are
/// have five bytes each on top, and the shortest of them that the library makes are of some hundred bytes.
pub(super) fn deflated_bytes_max(length: usize) -> usize {
    length.saturating_add(length / 16).saturating_add(64)
}

fn deflate_all(deflater: &mut Compress, body: &[u8], packed: &mut Vec<u8>) -> Option<()> {
    loop {
        let consumed = usize::try_from(deflater.total_in()).ok()?;
        let written = packed.len();
        let status = deflater.compress_vec(body.get(consumed..)?, packed, FlushCompress::Finish);
        match status.ok()? {
            Status::StreamEnd => return Some(()),
            // It stops short when the room is used up.
            Status::Ok | Status::BufError if packed.len() == written => return None,
            Status::Ok | Status::BufError => {}
        }
    }
}

/// Appends what `deflated` begins with to `unpacked`, until it ends, and returns what follows it. All of `unpacked`
/// has at most `bytes_max` bytes then.
pub(super) fn inflate<'a>(
    wrapping: Wrapping,
    deflated: &'a [u8],
    unpacked: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<&'a [u8], CompressError> {
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(wrapping == Wrapping::Zlib);
        inflate_all(inflater, deflated, unpacked, bytes_max)
    })
}

fn inflate_all<'a>(
    inflater: &mut Decompress,
    deflated: &'a [u8],
    unpacked: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<&'a [u8], CompressError> {
    let allowed = bytes_max.saturating_sub(unpacked.len()) as u64;
    let mut rest = deflated;
    loop {
        let before = (inflater.total_in(), inflater.total_out());
        let result = if unpacked.len() < bytes_max {
            make_room(unpacked, bytes_max);
            inflater.decompress_vec(rest, unpacked, FlushDecompress::Finish)
        } else {
            // All that is allowed is there; a byte of room elsewhere tells whether that was all.
            inflater.decompress(rest, &mut [0], FlushDecompress::Finish)
        };
        let status = result.map_err(|_| CompressError::Corrupt)?;
        if inflater.total_out() > allowed {
            return Err(CompressError::TooLarge { max: bytes_max });
        }
        rest = usize::try_from(inflater.total_in())
            .ok()
            .and_then(|taken| deflated.get(taken..))
            .ok_or(CompressError::Corrupt)?;
        let stuck = before == (inflater.total_in(), inflater.total_out());
        match status {
            Status::StreamEnd => return Ok(rest),
            // There was room, so it was the input that ended too early.
            Status::Ok | Status::BufError if stuck => return Err(CompressError::Corrupt),
            Status::Ok | Status::BufError => {}
        }
    }
}

/// Makes room for at least one more byte and for no more than `bytes_max` in all.
fn make_room(unpacked: &mut Vec<u8>, bytes_max: usize) {
    if unpacked.len() == unpacked.capacity() {
        let more = unpacked.len().max(ROOM_BYTES);
        unpacked.reserve_exact(more.min(bytes_max.saturating_sub(unpacked.len())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_allocated_than_is_allowed() {
        for wrapping in [Wrapping::Bare, Wrapping::Zlib] {
            let mut bomb = Vec::with_capacity(10_000);
            deflate(wrapping, &vec![0; 100_000], &mut bomb).unwrap();
            let mut unpacked = Vec::new();
            let error = inflate(wrapping, &bomb, &mut unpacked, 99_999).unwrap_err();
            assert_eq!(error, CompressError::TooLarge { max: 99_999 });
            assert!(unpacked.capacity() <= 99_999);
        }
    }

    #[test]
    fn the_state_of_a_thread_changes_its_wrapping_and_forgets_what_was_broken() {
        let pack = |wrapping| {
            let mut packed = Vec::with_capacity(100);
            deflate(wrapping, b"body", &mut packed).unwrap();
            packed
        };
        let (bare, zlib) = (pack(Wrapping::Bare), pack(Wrapping::Zlib));
        for (wrapping, packed, broken) in [
            (Wrapping::Bare, &bare, &zlib[..3]),
            (Wrapping::Zlib, &zlib, &bare[..]),
            (Wrapping::Bare, &bare, &bare[..2]),
        ] {
            inflate(wrapping, broken, &mut Vec::new(), 100).unwrap_err();
            let mut unpacked = Vec::new();
            let rest = inflate(wrapping, packed, &mut unpacked, 100).unwrap();
            assert_eq!((&unpacked[..], rest), (&b"body"[..], &b""[..]));
        }
    }
}
