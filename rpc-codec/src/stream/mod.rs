//! Stream frames. Streams are not served yet; what a peer sends of them is refused in a way that it understands.

use bytes::BufMut;

use crate::WriteQueue;
use crate::frame::{FrameHeader, FrameKind};

/// Names one stream on one connection. The end that opens it chooses the number: from 100 on, one more each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// Opens a stream, and answers that.
pub const INIT: u8 = 1;
/// Carries one message.
pub const DATA: u8 = 2;
/// Makes room for more.
pub const FEEDBACK: u8 = 3;
/// Ends one direction, or both.
pub const CLOSE: u8 = 4;

/// The payload of an INIT that refuses: `response_meta { ret: 12, error_msg: "streams are not served here" }`.
const NO_METHOD: &[u8] = b"\x12\x1f\x08\x0c\x12\x1bstreams are not served here";
/// The payload of a CLOSE that resets a stream nobody knows: `close_type: 1, ret: 1000`.
const UNKNOWN_STREAM: &[u8] = b"\x08\x01\x10\xe8\x07";
/// The payload of a CLOSE that answers a frame nobody understands: `close_type: 1, ret: 1`.
const MALFORMED: &[u8] = b"\x08\x01\x10\x01";

/// Refuses a stream frame. Returns whether the peer did something wrong, beyond asking for what is not there.
pub(crate) fn refuse(header: FrameHeader, output: &mut WriteQueue) -> bool {
    let (stream_frame_type, payload, is_wrong) = match header.stream_frame_type {
        INIT => (INIT, NO_METHOD, false),
        // It may have crossed a CLOSE of ours, and is never answered.
        CLOSE => return false,
        DATA | FEEDBACK => (CLOSE, UNKNOWN_STREAM, true),
        _ => (CLOSE, MALFORMED, true),
    };
    let length = u32::try_from(payload.len()).expect("the payloads above are short");
    let answer = FrameHeader {
        kind: FrameKind::Stream,
        stream_frame_type,
        total_len: 16 + length,
        head_len: 0,
        stream_id: header.stream_id,
        version: 0,
        reserved: 0,
    };
    output.put_with(|out| {
        out.put_slice(&answer.encode());
        out.put_slice(payload);
    });
    is_wrong
}
