//! [`Arrival`]: what comes in at an answering end, still where it lies.

use std::time::Instant;

use bytes::Bytes;
use rpc_core::message::Exchange;
use rpc_core::{Code, Compression, Format, Marks, Metadata, Status};

use super::input::{Frame, Shelf};
use crate::frame::{FrameHeader, HEADER_BYTES};
use crate::head::RequestHead;
use crate::numbers;
use crate::stream::{InitMeta, StreamId};

/// What an item costs at least in the byte budget: the overhead of tiny ones is their real cost.
const CHARGE_MIN: usize = 256;

/// The stream that was opened with this token is over for the peer: drop what serves it. An answer that comes all the same
/// does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamGone(pub u64);

/// One request that arrived, still where it lies, and the duty to answer it. One whose [exchange](ReplyTo::exchange) is a
/// stream is [opened](super::ServerConnection::open_stream) or refused.
#[derive(Debug)]
pub struct Inbound<'a> {
    /// Owed to the peer; see [`ServerConnection::respond`](super::ServerConnection::respond).
    pub reply_to: ReplyTo,
    /// When its last byte was read. Times count from here, however long the request was held back.
    pub arrived_at: Instant,
    // No more of the head than is asked for, and places instead of pieces: a request is moved on its way to the driver.
    caller: &'a [u8],
    callee: &'a [u8],
    func: &'a [u8],
    timeout_ms: u32,
    content_encoding: u32,
    has_metadata: bool,
    frame: Frame<'a>,
    /// Where in the frame the head ends and the body begins.
    head_end: u32,
    /// Where the body ends and the attachment begins.
    body_end: u32,
}

impl<'a> Inbound<'a> {
    /// Reads the head of a unary frame, and says how many of the bytes behind it are body. What is wrong is found here, before
    /// there is a request that would have to be moved past it. A head that cannot be read is answered under the id that
    /// the fixed header has.
    #[inline]
    pub(super) fn read_head(
        header: FrameHeader,
        frame: Frame<'a>,
        head: &mut RequestHead<'a>,
    ) -> Result<usize, (ReplyTo, Status)> {
        let after_header = frame.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let (head_bytes, after_head) = after_header
            .split_at_checked(usize::from(header.head_len))
            .unwrap_or_default();
        if let Err(error) = head.read(head_bytes) {
            return Err(unreadable(ReplyTo::unread(header), &error));
        }
        let reply_to = || ReplyTo::new(header, head, frame.bytes.len());
        let body_len = match head.body_len(after_head.len()) {
            Ok(length) => length,
            Err(error) => return Err(unreadable(reply_to(), &error)),
        };
        if head.call_type > 1 {
            return Err(neither_unary_nor_one_way(reply_to(), head.call_type));
        }
        Ok(body_len)
    }

    /// The request of a unary frame whose head has been read.
    #[inline]
    pub(super) fn new(
        header: FrameHeader,
        frame: Frame<'a>,
        head: &RequestHead<'a>,
        body_len: usize,
        arrived_at: Instant,
    ) -> Self {
        let head_end = HEADER_BYTES.saturating_add(usize::from(header.head_len));
        Self {
            reply_to: ReplyTo::new(header, head, frame.bytes.len()),
            arrived_at,
            caller: head.caller,
            callee: head.callee,
            func: head.func,
            timeout_ms: head.timeout_ms,
            content_encoding: head.content_encoding,
            has_metadata: head.has_metadata,
            frame,
            head_end: place(head_end),
            body_end: place(head_end.saturating_add(body_len)),
        }
    }

    /// The opening of a stream, which has neither a body nor a timeout.
    pub(super) fn of_stream(
        reply_to: ReplyTo,
        meta: &InitMeta<'a>,
        frame: Frame<'a>,
        arrived_at: Instant,
    ) -> Self {
        let request = meta.request.unwrap_or_default();
        let end = place(frame.bytes.len());
        Self {
            reply_to,
            arrived_at,
            caller: request.caller,
            callee: request.callee,
            func: request.func,
            timeout_ms: 0,
            content_encoding: meta.content_encoding,
            has_metadata: request.has_metadata,
            frame,
            head_end: end,
            body_end: end,
        }
    }

    /// The name of the method, as it stands in the frame.
    pub fn func(&self) -> &'a [u8] {
        self.func
    }

    /// How the caller calls itself.
    pub fn caller(&self) -> &'a [u8] {
        self.caller
    }

    /// How the caller calls us.
    pub fn callee(&self) -> &'a [u8] {
        self.callee
    }

    /// The time that the caller gave us, in milliseconds; 0 if none.
    pub fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }

    /// How the body is written.
    pub fn format(&self) -> Format {
        numbers::format(self.reply_to.content_type)
    }

    /// How the body is compressed.
    pub fn compression(&self) -> Compression {
        numbers::compression(self.content_encoding)
    }

    /// The marks of the chain of calls.
    pub fn marks(&self) -> Marks {
        self.reply_to.marks
    }

    /// Whether there is metadata.
    #[inline]
    pub fn has_metadata(&self) -> bool {
        self.has_metadata
    }

    /// The metadata, to be read when somebody asks.
    #[inline]
    pub fn metadata(&self, shelf: &mut Shelf) -> Metadata {
        if self.has_metadata {
            let head = self.piece(HEADER_BYTES, self.head_end as usize);
            let head = self.frame.keep(head, shelf);
            let read = match self.reply_to.exchange {
                Exchange::Stream => InitMeta::read_metadata,
                _ => RequestHead::read_metadata,
            };
            Metadata::unread(head, read)
        } else {
            Metadata::new()
        }
    }

    /// The body, compressed as [`Inbound::compression`] says.
    #[inline]
    pub fn body(&self, shelf: &mut Shelf) -> Bytes {
        let body = self.piece(self.head_end as usize, self.body_end as usize);
        self.frame.keep(body, shelf)
    }

    /// Whether there is an attachment.
    #[inline]
    pub fn has_attachment(&self) -> bool {
        (self.body_end as usize) < self.frame.bytes.len()
    }

    /// The attachment: a piece of the buffer that the frame was read into, if both are large, or else a copy.
    #[inline]
    pub fn attachment(&self, shelf: &mut Shelf) -> Bytes {
        let attachment = self.piece(self.body_end as usize, self.frame.bytes.len());
        self.frame.keep(attachment, shelf)
    }

    /// Length of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        self.frame.bytes.len()
    }

    fn piece(&self, from: usize, to: usize) -> &'a [u8] {
        self.frame.bytes.get(from..to).unwrap_or_default()
    }
}

/// A place in a frame, whose length has 32 bits.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cold]
fn unreadable(to: ReplyTo, error: &dyn std::fmt::Display) -> (ReplyTo, Status) {
    let text = format!("the head of the request cannot be read: {error}");
    (to, Status::new(Code::Malformed, text))
}

#[cold]
fn neither_unary_nor_one_way(to: ReplyTo, call_type: u32) -> (ReplyTo, Status) {
    let text = format!("call type {call_type} is neither unary (0) nor one-way (1)");
    (to, Status::new(Code::Malformed, text))
}

/// The duty to answer one request. Whoever holds it answers once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "every request is owed an answer: hand this to `ServerConnection::respond`"]
pub struct ReplyTo {
    /// Of a stream, its serial number.
    pub(super) request_id: u32,
    /// Bytes 10 to 13 of the request, which clients in Go tell answers apart by.
    stream_id: u32,
    version: u8,
    pub(super) exchange: Exchange,
    pub(super) marks: Marks,
    pub(super) content_type: u32,
    pub(super) charge: usize,
}

impl ReplyTo {
    pub(super) fn new(header: FrameHeader, head: &RequestHead<'_>, frame_bytes: usize) -> Self {
        Self {
            request_id: head.request_id,
            exchange: if head.call_type == 1 {
                Exchange::OneWay
            } else {
                Exchange::Unary
            },
            marks: Marks(head.message_type),
            content_type: head.content_type,
            charge: frame_bytes.max(CHARGE_MIN),
            ..Self::unread(header)
        }
    }

    /// What is known of a request whose head cannot be read.
    pub(super) fn unread(header: FrameHeader) -> Self {
        Self {
            request_id: header.stream_id,
            stream_id: header.stream_id,
            version: header.version,
            exchange: Exchange::Unary,
            marks: Marks::default(),
            content_type: 0,
            charge: 0,
        }
    }

    /// The duty to accept or refuse a stream, and to end it.
    pub(super) fn of_stream(id: StreamId, serial: u32, meta: &InitMeta<'_>) -> Self {
        let marks = meta.request.map_or(0, |request| request.message_type);
        Self {
            request_id: serial,
            stream_id: id.0,
            version: 0,
            exchange: Exchange::Stream,
            marks: Marks(marks),
            content_type: meta.content_type,
            charge: 0,
        }
    }

    /// Tells a stream from one that had its id before.
    pub(super) fn serial(&self) -> u32 {
        self.request_id
    }

    /// Whether anybody waits for the answer.
    pub fn exchange(&self) -> Exchange {
        self.exchange
    }

    /// The header of its answer.
    pub(super) fn header(&self) -> FrameHeader {
        FrameHeader::unary(self.stream_id, self.version)
    }

    /// The stream that is asked for, if one is.
    pub fn stream_id(&self) -> StreamId {
        StreamId(self.stream_id)
    }
}
