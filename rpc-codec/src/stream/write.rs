//! How frames of streams are written.

use bytes::Bytes;
use rpc_core::Metadata;

use super::meta::{CloseMeta, FeedbackMeta, InitMeta, InitResponse};
use super::{CLOSE, DATA, FEEDBACK, INIT, StreamId};
use crate::WriteQueue;
use crate::frame::{FrameHeader, FrameKind, HEADER_BYTES};

/// What a frame has beside its payload.
const HEADER_LEN: u32 = 16;

/// Appends one message, which fits a frame.
pub(crate) fn put_data(id: StreamId, message: &Bytes, output: &mut WriteQueue) {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let header = header(DATA, id, length.saturating_add(HEADER_LEN));
    output.put_with(|out| out.extend_from_slice(&header.encode()));
    output.put_bytes(message);
}

/// Appends a FEEDBACK.
pub(crate) fn put_feedback(id: StreamId, increment: u32, output: &mut WriteQueue) {
    put(FEEDBACK, id, u32::MAX, output, |out| {
        FeedbackMeta { increment }.encode(out);
    });
}

/// Appends a CLOSE that resets the stream.
pub(crate) fn put_reset(id: StreamId, ret: i32, msg: &str, output: &mut WriteQueue) {
    put(CLOSE, id, u32::MAX, output, |out| {
        CloseMeta::reset(ret, msg).encode(&Metadata::new(), out);
    });
}

/// Appends a CLOSE with a payload that has been written elsewhere.
pub(crate) fn put_close(id: StreamId, payload: &[u8], output: &mut WriteQueue) {
    put(CLOSE, id, u32::MAX, output, |out| {
        out.extend_from_slice(payload);
    });
}

/// Appends an INIT that refuses.
pub(crate) fn put_refusal(id: StreamId, ret: i32, msg: &str, output: &mut WriteQueue) {
    let meta = InitMeta {
        response: Some(InitResponse {
            ret,
            error_msg: msg.as_bytes(),
        }),
        ..InitMeta::default()
    };
    put_init(id, &meta, &Metadata::new(), u32::MAX, output);
}

/// Appends an INIT, unless it is longer than `bytes_max`. Returns whether it did.
pub(crate) fn put_init(
    id: StreamId,
    meta: &InitMeta<'_>,
    metadata: &Metadata,
    bytes_max: u32,
    output: &mut WriteQueue,
) -> bool {
    put(INIT, id, bytes_max, output, |out| {
        meta.encode(metadata, out);
    })
}

fn put(
    frame_type: u8,
    id: StreamId,
    bytes_max: u32,
    output: &mut WriteQueue,
    write: impl FnOnce(&mut Vec<u8>),
) -> bool {
    output.put_with(|out| {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        write(out);
        let total_len = u32::try_from(out.len().saturating_sub(start))
            .ok()
            .filter(|total| *total <= bytes_max);
        let place = out
            .get_mut(start..)
            .and_then(|bytes| bytes.first_chunk_mut());
        if let (Some(total_len), Some(place)) = (total_len, place) {
            *place = header(frame_type, id, total_len).encode();
            return true;
        }
        out.truncate(start);
        false
    })
}

fn header(frame_type: u8, id: StreamId, total_len: u32) -> FrameHeader {
    FrameHeader {
        kind: FrameKind::Stream,
        stream_frame_type: frame_type,
        total_len,
        head_len: 0,
        stream_id: id.0,
        version: 0,
        reserved: 0,
    }
}
