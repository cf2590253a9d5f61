//! tRPC, as far as one unary method needs it.

use tern::Metadata;
use tern::codec::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use tern::codec::{Limits, RequestHead, ResponseHead};

use super::frames::Frames;
use super::message;
use super::wire::{Answers, LoadError, Wire};

/// Ids are slots beyond this, so that they all take two bytes in the head.
const ID_BASE: u32 = 128;
/// Where the id stands in the frame's header.
const STREAM_ID: usize = 10;
/// Where the id stands in the head: behind the tag of field 3, the first that is not 0.
const REQUEST_ID: usize = HEADER_BYTES + 1;
const FRAME_BYTES_MAX: u32 = 64 << 20;

/// Speaks tRPC.
#[derive(Debug)]
pub struct Trpc {
    template: Vec<u8>,
    body: usize,
    limits: Limits,
    frames: Frames,
}

impl Trpc {
    /// Calls `method` of the service with a payload of that length. A `timeout_ms` of 0 is none.
    pub fn new(method: &str, payload: usize, timeout_ms: u32) -> Self {
        let func = format!("/bench.v1.Echo/{method}");
        let head = RequestHead {
            request_id: ID_BASE,
            timeout_ms,
            caller: b"trpc.bench.load.Client",
            callee: b"trpc.bench.echo.Echo",
            func: func.as_bytes(),
            ..RequestHead::default()
        };
        let metadata = Metadata::new();
        let body = message::encode(payload);
        let head_len = head.encoded_len(&metadata);
        let header = FrameHeader {
            kind: FrameKind::Unary,
            stream_frame_type: 0,
            total_len: (HEADER_BYTES + head_len + body.len()) as u32,
            head_len: head_len as u16,
            stream_id: ID_BASE,
            version: 1,
            reserved: 0,
        };
        let mut template = header.encode().to_vec();
        head.encode(&metadata, &mut template);
        template.extend_from_slice(&body);
        Self {
            template,
            body: body.len(),
            limits: Limits::default().with_frame_bytes_max(FRAME_BYTES_MAX),
            frames: Frames::default(),
        }
    }
}

impl Wire for Trpc {
    fn open(&mut self, _: &mut Vec<u8>) {}

    fn request(&mut self, slot: u32, out: &mut Vec<u8>) {
        let id = slot + ID_BASE;
        let frame = out.len();
        out.extend_from_slice(&self.template);
        out[frame + STREAM_ID..frame + STREAM_ID + 4].copy_from_slice(&id.to_be_bytes());
        out[frame + REQUEST_ID] = (id & 0x7f) as u8 | 0x80;
        out[frame + REQUEST_ID + 1] = (id >> 7) as u8;
    }

    fn receive(
        &mut self,
        input: &[u8],
        answers: &mut Answers,
        _: &mut Vec<u8>,
    ) -> Result<usize, LoadError> {
        let head = |rest: &[u8]| head(rest, self.body, &self.limits);
        self.frames.receive(input, answers, head)
    }
}

/// Reads the head of the answer at the beginning of `input`: whom it answers, and how long it is as a whole.
fn head(input: &[u8], expected: usize, limits: &Limits) -> Result<Option<(u32, usize)>, LoadError> {
    let Some(bytes) = input.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let damaged = |error: &dyn std::fmt::Display| LoadError::answer(error.to_string());
    let header = FrameHeader::decode(bytes, limits).map_err(|error| damaged(&error))?;
    let body_start = HEADER_BYTES + usize::from(header.head_len);
    let Some(head) = input.get(HEADER_BYTES..body_start) else {
        return Ok(None);
    };
    let head = ResponseHead::decode(head).map_err(|error| damaged(&error))?;
    let length = header.total_len as usize;
    if (head.ret, head.func_ret, length - body_start) != (0, 0, expected) {
        return Err(LoadError::answer(format!(
            "ret {}, func_ret {}, {:?}, a body of {} bytes instead of {}",
            head.ret,
            head.func_ret,
            String::from_utf8_lossy(head.error_msg),
            length - body_start,
            expected
        )));
    }
    let slot = head.request_id.checked_sub(ID_BASE);
    let slot = slot.filter(|_| header.stream_id == head.request_id);
    let slot = slot.ok_or_else(|| LoadError::answer(format!("id {}", head.request_id)))?;
    Ok(Some((slot, length)))
}
