//! A second reader of frames, written for comparison: slow, simple, and with nothing in common with the first.

use rpc_codec::frame::{self, Decoded};
use rpc_codec::{FrameKind, Limits};

/// What a stream of bytes came to: whole frames, and whether it broke off in nonsense behind them.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Read {
    pub(crate) frames: Vec<Frame>,
    pub(crate) broken: bool,
}

/// A frame in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) is_stream: bool,
    pub(crate) stream_frame_type: u8,
    pub(crate) stream_id: u32,
    pub(crate) version: u8,
    pub(crate) reserved: u8,
    pub(crate) head: Vec<u8>,
    pub(crate) rest: Vec<u8>,
}

impl Frame {
    /// Length of the whole frame.
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) fn bytes(&self) -> usize {
        16 + self.head.len() + self.rest.len()
    }
}

/// Reads all bytes at once, number by number.
pub(crate) fn read(mut bytes: &[u8], limits: &Limits) -> Read {
    let mut read = Read::default();
    while bytes.len() >= 16 {
        let number = |from: usize, to: usize| {
            bytes[from..to]
                .iter()
                .fold(0, |number, &byte| number * 256 + usize::from(byte))
        };
        let total = number(4, 8);
        let head = number(8, 10);
        let sound = number(0, 2) == 2352
            && (16..=limits.frame_bytes_max as usize).contains(&total)
            && 16 + head <= total
            && bytes[2] < 2;
        if !sound {
            read.broken = true;
            break;
        }
        if bytes.len() < total {
            break;
        }
        read.frames.push(Frame {
            is_stream: bytes[2] == 1,
            stream_frame_type: bytes[3],
            stream_id: u32::try_from(number(10, 14)).unwrap(),
            version: bytes[14],
            reserved: bytes[15],
            head: bytes[16..16 + head].to_vec(),
            rest: bytes[16 + head..total].to_vec(),
        });
        bytes = &bytes[total..];
    }
    // What is too short for a header may still be no beginning of one.
    read.broken |= bytes.len() >= 2 && bytes[..2] != [0x09, 0x30];
    read
}

/// Reads the same with the real decoder, from pieces that arrive one after the other. Says, too, when the decoder asks
/// for more bytes than it needs.
pub(crate) fn read_in_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Result<Read, String> {
    let mut read = Read::default();
    let mut buffer: Vec<u8> = Vec::new();
    let mut wanted = 0;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match frame::decode(&buffer, limits) {
                Err(_) => {
                    read.broken = true;
                    return Ok(read);
                }
                Ok(Decoded::NeedMore(0)) => return Err("asks for nothing".into()),
                Ok(Decoded::NeedMore(missing)) => {
                    wanted = buffer.len() + missing;
                    break;
                }
                Ok(Decoded::Frame(header)) => {
                    let total = header.total_len as usize;
                    let head_end = 16 + usize::from(header.head_len);
                    if total < wanted {
                        return Err(format!("asked for {wanted} bytes of a frame of {total}"));
                    }
                    wanted = 0;
                    read.frames.push(Frame {
                        is_stream: header.kind == FrameKind::Stream,
                        stream_frame_type: header.stream_frame_type,
                        stream_id: header.stream_id,
                        version: header.version,
                        reserved: header.reserved,
                        head: buffer[16..head_end].to_vec(),
                        rest: buffer[head_end..total].to_vec(),
                    });
                    buffer.drain(..total);
                }
            }
        }
    }
    Ok(read)
}
