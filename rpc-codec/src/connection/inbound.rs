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
    head: RequestHead<'a>,
    frame: Frame<'a>,
    head_bytes: &'a [u8],
    body: &'a [u8],
    attachment: &'a [u8],
}

impl<'a> Inbound<'a> {
    /// Reads the head of a unary frame. A head that cannot be read is answered under the id that the fixed header has.
    #[inline]
    pub(super) fn read(
        header: FrameHeader,
        frame: Frame<'a>,
        arrived_at: Instant,
    ) -> Result<Self, (ReplyTo, Status)> {
        let after_header = frame.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let (head_bytes, after_head) = after_header
            .split_at_checked(usize::from(header.head_len))
            .unwrap_or_default();
        let head = match RequestHead::decode(head_bytes) {
            Ok(head) => head,
            Err(error) => return Err(unreadable(ReplyTo::unread(header), &error)),
        };
        let reply_to = ReplyTo::new(header, &head, frame.bytes.len());
        let body_len = match head.body_len(after_head.len()) {
            Ok(length) => length,
            Err(error) => return Err(unreadable(reply_to, &error)),
        };
        if head.call_type > 1 {
            return Err(neither_unary_nor_one_way(reply_to, head.call_type));
        }
        let (body, attachment) = after_head.split_at_checked(body_len).unwrap_or_default();
        Ok(Self {
            reply_to,
            arrived_at,
            head,
            frame,
            head_bytes,
            body,
            attachment,
        })
    }

    /// The opening of a stream, which has neither a body nor a timeout.
    pub(super) fn of_stream(
        reply_to: ReplyTo,
        meta: &InitMeta<'a>,
        frame: Frame<'a>,
        payload: &'a [u8],
        arrived_at: Instant,
    ) -> Self {
        let request = meta.request.unwrap_or_default();
        Self {
            reply_to,
            arrived_at,
            head: RequestHead {
                caller: request.caller,
                callee: request.callee,
                func: request.func,
                message_type: request.message_type,
                has_metadata: request.has_metadata,
                content_type: meta.content_type,
                content_encoding: meta.content_encoding,
                ..RequestHead::default()
            },
            frame,
            head_bytes: payload,
            body: &[],
            attachment: &[],
        }
    }

    /// The name of the method, as it stands in the frame.
    pub fn func(&self) -> &'a [u8] {
        self.head.func
    }

    /// How the caller calls itself.
    pub fn caller(&self) -> &'a [u8] {
        self.head.caller
    }

    /// How the caller calls us.
    pub fn callee(&self) -> &'a [u8] {
        self.head.callee
    }

    /// The time that the caller gave us, in milliseconds; 0 if none.
    pub fn timeout_ms(&self) -> u32 {
        self.head.timeout_ms
    }

    /// How the body is written.
    pub fn format(&self) -> Format {
        numbers::format(self.head.content_type)
    }

    /// How the body is compressed.
    pub fn compression(&self) -> Compression {
        numbers::compression(self.head.content_encoding)
    }

    /// The marks of the chain of calls.
    pub fn marks(&self) -> Marks {
        Marks(self.head.message_type)
    }

    /// The metadata, to be read when somebody asks.
    #[inline]
    pub fn metadata(&self, shelf: &mut Shelf) -> Metadata {
        if self.head.has_metadata {
            let head = self.frame.keep(self.head_bytes, shelf);
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
        self.frame.keep(self.body, shelf)
    }

    /// Whether there is an attachment.
    #[inline]
    pub fn has_attachment(&self) -> bool {
        !self.attachment.is_empty()
    }

    /// The attachment: a piece of the buffer that the frame was read into, if both are large, or else a copy.
    #[inline]
    pub fn attachment(&self, shelf: &mut Shelf) -> Bytes {
        self.frame.keep(self.attachment, shelf)
    }

    /// Length of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        self.frame.bytes.len()
    }
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
    pub(super) fn of_stream(id: StreamId, serial: u32) -> Self {
        Self {
            request_id: serial,
            stream_id: id.0,
            version: 0,
            exchange: Exchange::Stream,
            marks: Marks::default(),
            content_type: 0,
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
