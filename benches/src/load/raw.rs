//! Frames of sixteen bytes and a payload: what a protocol costs at the very least.
//!
//! ```text
//!  offset  bytes  big-endian
//!       0      4  length of the whole frame
//!       4      4  id
//!       8      8  0
//!      16         payload
//! ```

use std::io;

use super::frames::Frames;
use super::wire::{Answers, LoadError, Wire};

/// Length of a frame's header.
pub const HEADER_BYTES: usize = 16;

/// The longest frame: more is damage.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// How many bytes of `input` are whole frames.
///
/// # Errors
///
/// When a length cannot be one.
pub fn whole(input: &[u8]) -> io::Result<usize> {
    let mut whole = 0;
    while let Some(length) = length(&input[whole..])? {
        if input.len() - whole < length {
            break;
        }
        whole += length;
    }
    Ok(whole)
}

/// How many bytes the frame at the beginning of `input` lacks, or its header.
///
/// # Errors
///
/// When its length cannot be one.
pub fn missing(input: &[u8]) -> io::Result<usize> {
    Ok(length(input)?
        .unwrap_or(HEADER_BYTES)
        .saturating_sub(input.len()))
}

/// The length of the frame at the beginning of `input`; `None` while its header is not there.
fn length(input: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = input.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [l0, l1, l2, l3, ..] = *header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if (HEADER_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        Ok(Some(length))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Speaks raw frames.
#[derive(Debug)]
pub struct Raw {
    template: Vec<u8>,
    frames: Frames,
}

impl Raw {
    /// Sends frames with a payload of that length.
    pub fn new(payload: usize) -> Self {
        let length = HEADER_BYTES + payload;
        let mut template = vec![0x5a; length];
        template[..HEADER_BYTES].fill(0);
        template[..4].copy_from_slice(&(length as u32).to_be_bytes());
        Self {
            template,
            frames: Frames::default(),
        }
    }
}

impl Wire for Raw {
    fn open(&mut self, _: &mut Vec<u8>) {}

    fn request(&mut self, slot: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.template);
        out[start + 4..start + 8].copy_from_slice(&slot.to_be_bytes());
    }

    fn receive(
        &mut self,
        input: &[u8],
        answers: &mut Answers,
        _: &mut Vec<u8>,
    ) -> Result<usize, LoadError> {
        let expected = self.template.len();
        let head = |rest: &[u8]| match length(rest)? {
            None => Ok(None),
            Some(length) if length != expected => Err(LoadError::answer(format!(
                "a frame of {length} bytes instead of {expected}"
            ))),
            Some(length) => Ok(Some((
                u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]),
                length,
            ))),
        };
        self.frames.receive(input, answers, head)
    }
}
