//! What tests of streams have in common: frames to send, and a look at those that were written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use rpc_codec::stream::{
    CLOSE, CloseMeta, DATA, FEEDBACK, FeedbackMeta, INIT, InitMeta, InitRequest, InitResponse,
};
use rpc_codec::{FrameHeader, FrameKind, Limits, WriteQueue};
use rpc_core::method::{Idempotency, MethodDescriptor, Shape};
use rpc_core::stream::{Pipe, Reader};
use rpc_core::{Metadata, Status};

use super::reference::{self, Frame};

/// The stream of most tests.
pub(crate) const ID: u32 = 100;
/// The window that peers announce.
pub(crate) const WINDOW: u32 = 65_535;
/// What drivers call the stream.
pub(crate) const TOKEN: u64 = 77;

pub(crate) static METHOD: MethodDescriptor = MethodDescriptor {
    index: 0,
    name: "Chat",
    path: "/demo.Greeter/Chat",
    alias: None,
    service: "demo.Greeter",
    idempotency: Idempotency::Unknown,
    shape: Shape::Duplex,
    request: rpc_core::MessageType::UNKNOWN,
    reply: rpc_core::MessageType::UNKNOWN,
};

/// A frame of a stream as bytes.
pub(crate) fn frame(frame_type: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        kind: FrameKind::Stream,
        stream_frame_type: frame_type,
        total_len: u32::try_from(16 + payload.len()).expect("a short payload"),
        head_len: 0,
        stream_id: id,
        version: 0,
        reserved: 0,
    };
    [&header.encode()[..], payload].concat()
}

pub(crate) fn data(id: u32, message: &[u8]) -> Vec<u8> {
    frame(DATA, id, message)
}

pub(crate) fn feedback(id: u32, increment: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    FeedbackMeta { increment }.encode(&mut payload);
    frame(FEEDBACK, id, &payload)
}

pub(crate) fn close(id: u32, meta: &CloseMeta<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    meta.encode(&Metadata::new(), &mut payload);
    frame(CLOSE, id, &payload)
}

/// An INIT that asks for a stream.
pub(crate) fn ask(id: u32, window: u32) -> Vec<u8> {
    let request = InitRequest {
        func: METHOD.path.as_bytes(),
        ..InitRequest::default()
    };
    init(id, Some(request), None, window)
}

/// An INIT that accepts one, or refuses it.
pub(crate) fn answer(id: u32, window: u32, ret: i32) -> Vec<u8> {
    let response = InitResponse {
        ret,
        error_msg: b"why",
    };
    init(id, None, Some(response), window)
}

fn init(
    id: u32,
    request: Option<InitRequest<'_>>,
    response: Option<InitResponse<'_>>,
    window: u32,
) -> Vec<u8> {
    let meta = InitMeta {
        request,
        response,
        window,
        ..InitMeta::default()
    };
    let mut payload = Vec::new();
    meta.encode(&Metadata::new(), &mut payload);
    frame(INIT, id, &payload)
}

/// Takes all bytes out of a queue, which are whole frames.
pub(crate) fn written(output: &mut WriteQueue) -> Vec<Frame> {
    let mut bytes = Vec::new();
    while !output.is_empty() {
        let before = bytes.len();
        output.with_slices(|pieces| {
            for piece in pieces {
                bytes.extend_from_slice(piece);
            }
        });
        output.advance(bytes.len() - before);
    }
    let limits = Limits::default().with_frame_bytes_max(u32::MAX);
    let read = reference::read(&bytes, &limits);
    let length: usize = read.frames.iter().map(Frame::bytes).sum();
    assert!(!read.broken && length == bytes.len(), "whole frames");
    read.frames
}

/// A frame in a word or two.
pub(crate) fn told(frame: &Frame) -> String {
    if !frame.is_stream {
        return "UNARY".into();
    }
    match frame.stream_frame_type {
        INIT => {
            let meta = InitMeta::decode(&frame.rest).expect("an INIT of ours");
            match (meta.request, meta.response) {
                (Some(_), None) => "INIT?".into(),
                (None, Some(response)) => format!("INIT {}", response.ret),
                _ => "INIT that is neither".into(),
            }
        }
        DATA => format!("DATA {}", frame.rest.len()),
        FEEDBACK => {
            let meta = FeedbackMeta::decode(&frame.rest).expect("a FEEDBACK of ours");
            format!("FEEDBACK {}", meta.increment)
        }
        CLOSE => {
            let meta = CloseMeta::decode(&frame.rest).expect("a CLOSE of ours");
            match (meta.close_type, meta.ret, meta.func_ret) {
                (0, 0, 0) => "CLOSE".into(),
                (0, 0, number) => format!("CLOSE func {number}"),
                (1, ret, 0) => format!("RESET {ret}"),
                (1, ret, func_ret) if ret == func_ret => format!("RESET {ret} of the service"),
                other => format!("CLOSE that cannot be: {other:?}"),
            }
        }
        other => format!("type {other}"),
    }
}

/// All frames that were written, in words.
pub(crate) fn all_told(output: &mut WriteQueue) -> String {
    let words: Vec<_> = written(output).iter().map(told).collect();
    words.join(", ")
}

/// Counts how often a loop was called.
#[derive(Default)]
pub(crate) struct Bell(AtomicUsize);

impl Bell {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::<Self>::default();
        (Arc::clone(&bell), Waker::from(bell))
    }

    /// Whether it rang since this was asked last.
    pub(crate) fn rang(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) > 0
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The next thing that a reader has, without waiting for it.
pub(crate) fn next(reader: &Reader) -> Poll<Option<Result<Bytes, Status>>> {
    reader.poll_next(&mut Context::from_waker(Waker::noop()))
}

/// What may come, in the order of the rows of the tables below.
pub(crate) fn incoming() -> Vec<Vec<u8>> {
    let by_service = CloseMeta {
        func_ret: 7,
        ..CloseMeta::default()
    };
    vec![
        ask(ID, WINDOW),
        answer(ID, WINDOW, 0),
        answer(ID, 0, 12),
        data(ID, b"hello"),
        feedback(ID, 5),
        feedback(ID, u32::MAX),
        close(ID, &CloseMeta::default()),
        close(ID, &by_service),
        close(ID, &CloseMeta::reset(31, "boom")),
        close(ID, &CloseMeta::reset(0, "plain")),
        frame(5, ID, b""),
        frame(INIT, ID, b"\xff"),
        frame(FEEDBACK, ID, b"\xff"),
        frame(CLOSE, ID, b"\xff"),
    ]
}

/// What is read next, in a word.
pub(crate) fn read(pipe: &Pipe) -> String {
    match next(&pipe.reader) {
        Poll::Pending => "waits".into(),
        Poll::Ready(None) => "end".into(),
        Poll::Ready(Some(Ok(message))) => format!("message of {}", message.len()),
        Poll::Ready(Some(Err(status))) => format!("{:?}", status.code()),
    }
}
