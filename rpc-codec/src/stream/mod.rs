//! Stream frames. Streams are not served yet; what a peer sends of them is refused in a way that it understands.

use bytes::{BufMut, BytesMut};

use crate::WriteQueue;
use crate::frame::{FrameHeader, FrameKind, HEADER_BYTES};

/// The types of stream frames.
pub const INIT: u8 = 1;
/// One message.
pub const DATA: u8 = 2;
/// Room for more.
pub const FEEDBACK: u8 = 3;
/// The end of one direction, or of both.
pub const CLOSE: u8 = 4;

const RET_DECODE: u8 = 1;
const RET_NO_METHOD: u8 = 12;
const RET_UNKNOWN_STREAM: u16 = 1000;

/// Refuses a stream frame. Returns whether the peer did something wrong, beyond asking for what is not there.
pub(crate) fn refuse(header: FrameHeader, output: &mut WriteQueue) -> bool {
    match header.stream_frame_type {
        INIT => {
            write(header, INIT, output, |out| {
                // response_meta { ret, error_msg }; no window.
                let text = b"streams are not served here";
                out.put_slice(&[
                    0x12,
                    4 + text.len() as u8,
                    0x08,
                    RET_NO_METHOD,
                    0x12,
                    text.len() as u8,
                ]);
                out.put_slice(text);
            });
            false
        }
        // A CLOSE may have crossed ours, and is never answered.
        CLOSE => false,
        DATA | FEEDBACK => {
            write(header, CLOSE, output, |out| {
                let ret = RET_UNKNOWN_STREAM;
                out.put_slice(&[0x08, 1, 0x10, (ret & 0x7f) as u8 | 0x80, (ret >> 7) as u8]);
            });
            true
        }
        _ => {
            write(header, CLOSE, output, |out| {
                out.put_slice(&[0x08, 1, 0x10, RET_DECODE])
            });
            true
        }
    }
}

fn write(
    to: FrameHeader,
    stream_frame_type: u8,
    output: &mut WriteQueue,
    payload: impl FnOnce(&mut BytesMut),
) {
    let mut bytes = BytesMut::with_capacity(64);
    payload(&mut bytes);
    let header = FrameHeader {
        kind: FrameKind::Stream,
        stream_frame_type,
        total_len: (HEADER_BYTES + bytes.len()) as u32,
        head_len: 0,
        stream_id: to.stream_id,
        version: 0,
        reserved: 0,
    };
    output.put_with(|out| {
        out.put_slice(&header.encode());
        out.put_slice(&bytes);
    });
}
