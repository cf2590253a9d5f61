//! The answering end of one connection.
//!
//! ```text
//!              handle_eof                 last answer
//!   Open ──────────────────▶ HalfClosed ───────────────▶ (the owner closes)
//!    │  the peer may go on        │  the peer sends nothing
//!    │  sending requests          │  more and still reads
//!    └──── damage in the stream ──┴──▶ Err, after all complete frames were taken
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use rpc_core::message::Exchange;
use rpc_core::{Code, Compression, Format, Marks, Metadata, Names, Response, Status};

use super::framing::{Framing, Glitches};
use super::{Connection, DRAIN_MARK};
use crate::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use crate::head::{RequestHead, ResponseHead};
use crate::limits::cut;
use crate::{Limits, ProtocolError, WriteQueue, numbers, ret, stream};

/// What an item costs at least in the byte budget: the overhead of tiny ones is their real cost.
const CHARGE_MIN: usize = 256;

/// Frames up to this size may share a read buffer with others.
const SHARED_MAX: usize = 64 * 1024;
/// Frames up to this size are put on a shelf when they are taken out of it.
const SHELVED_MAX: usize = 4 * 1024;
/// What one slow call can keep at most, together with those that have long been answered.
const SHELF: usize = 16 * 1024;

/// The answering end of one connection.
#[derive(Debug)]
pub struct ServerConnection {
    limits: Arc<Limits>,
    framing: Framing,
    glitches: Glitches,
    /// Answers to requests that never reach a handler.
    refusals: WriteQueue,
    /// Why the connection is beyond repair though its stream of bytes is whole.
    fatal: Option<ProtocolError>,
    in_flight: usize,
    bytes_in_flight: usize,
    /// The last time the peer sent something or was answered.
    active_at: Instant,
    half_closed: bool,
    /// Whether reading stopped for the byte budget; it goes on at the lower mark only.
    over_budget: bool,
}

impl ServerConnection {
    /// A connection that was accepted at `now`.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        Self {
            limits,
            framing: Framing::default(),
            glitches: Glitches::default(),
            refusals: WriteQueue::new(),
            fatal: None,
            in_flight: 0,
            bytes_in_flight: 0,
            active_at: now,
            half_closed: false,
            over_budget: false,
        }
    }

    /// Answers a request. `leaving` marks the answer as that of a server which is about to stop.
    ///
    /// An answer that does not fit a frame becomes [`Code::Unencodable`]. A one-way request is not answered, whatever
    /// happened to it.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "answering uses the duty to answer up"
    )]
    pub fn respond(
        &mut self,
        to: ReplyTo,
        result: Result<Response, Status>,
        leaving: bool,
        output: &mut WriteQueue,
        now: Instant,
    ) {
        if !self.wants_input(0) {
            self.framing.restart(now);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(to.charge);
        self.over_budget &= self.bytes_in_flight >= self.limits.connection_bytes_resume;
        self.active_at = now;
        write_answer(&to, result, leaving, &self.limits, output);
    }

    /// Whether no call is under way, no frame has begun to arrive, and nothing happened since `since`.
    pub fn is_quiet_since(&self, since: Instant) -> bool {
        self.in_flight == 0
            && !self.framing.has_frames()
            && !self.framing.has_partial()
            && self.active_at <= since
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.limits.connection_calls_max
            && (self.bytes_in_flight < self.limits.connection_bytes_max || self.in_flight == 0)
    }

    /// When the frame under way has taken too long, unless it is we who do not read it.
    fn too_slow_at(&self) -> Option<Instant> {
        if !self.wants_input(0) {
            return None;
        }
        self.framing.too_slow_at(&self.limits)
    }

    fn unary(&mut self, header: FrameHeader, frame: Bytes) -> Option<Inbound> {
        let arrived_at = self.framing.complete_at(self.active_at);
        match Inbound::read(header, frame, arrived_at) {
            Ok(inbound) => {
                self.in_flight += 1;
                self.bytes_in_flight = self.bytes_in_flight.saturating_add(inbound.reply_to.charge);
                self.over_budget |= self.bytes_in_flight >= self.limits.connection_bytes_max;
                Some(inbound)
            }
            Err((to, status)) => {
                write_answer(&to, Err(status), false, &self.limits, &mut self.refusals);
                self.glitch();
                None
            }
        }
    }

    fn stream(&mut self, header: FrameHeader) {
        if stream::refuse(header, &mut self.refusals) {
            self.glitch();
        }
    }

    fn glitch(&mut self) {
        let (max, window) = (self.limits.glitches_max, self.limits.glitch_window);
        if let Err(error) = self.glitches.add(self.active_at, max, window) {
            self.fatal = Some(error);
        }
    }
}

impl Connection for ServerConnection {
    type Event = Inbound;

    fn handle_input(&mut self, input: &mut BytesMut, now: Instant) -> Result<(), ProtocolError> {
        if let Some(error) = self.fatal {
            return Err(error);
        }
        self.active_at = now;
        self.framing.take(input, &self.limits, now)
    }

    /// The peer may still read: what it asked before is answered.
    fn handle_eof(&mut self) {
        self.half_closed = true;
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if self.too_slow_at().is_some_and(|at| now >= at) {
            return Err(ProtocolError::FrameTooSlow);
        }
        let is_idle =
            self.in_flight == 0 && !self.framing.has_partial() && !self.framing.has_frames();
        if is_idle && now >= self.active_at + self.limits.idle {
            return Err(ProtocolError::Idle);
        }
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Inbound> {
        while self.has_room() && self.fatal.is_none() {
            let (header, frame) = self.framing.next(&self.limits)?;
            match header.kind {
                FrameKind::Unary => {
                    if let Some(inbound) = self.unary(header, frame) {
                        return Some(inbound);
                    }
                }
                FrameKind::Stream => self.stream(header),
            }
        }
        None
    }

    fn poll_output(&mut self, output: &mut WriteQueue) -> usize {
        let length = self.refusals.len();
        if length > 0 {
            output.append(&mut self.refusals);
        }
        length
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.too_slow_at() {
            Some(at) => Some(at),
            // With calls in flight this may be early; the time is asked for again then.
            None => Some(self.active_at + self.limits.idle),
        }
    }

    fn wants_input(&self, queued: usize) -> bool {
        let charged = self.bytes_in_flight.saturating_add(queued);
        let bytes_max = if self.over_budget {
            self.limits.connection_bytes_resume
        } else {
            self.limits.connection_bytes_max
        };
        !self.framing.has_frames()
            && !self.half_closed
            && self.fatal.is_none()
            && self.in_flight < self.limits.connection_calls_max
            && (charged < bytes_max || (self.in_flight == 0 && queued == 0))
    }

    fn bytes_missing(&self) -> usize {
        self.framing.bytes_missing()
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn has_answered(&self) -> bool {
        self.in_flight == 0
    }

    fn is_finished(&self) -> bool {
        self.half_closed && self.in_flight == 0 && !self.framing.has_frames()
    }
}

/// One request that arrived: its bytes, where in them everything stands, and the duty to answer it.
#[derive(Debug)]
pub struct Inbound {
    frame: Bytes,
    /// Owed to the peer; see [`ServerConnection::respond`].
    pub reply_to: ReplyTo,
    /// The time that the caller gave us, in milliseconds; 0 if none.
    pub timeout_ms: u32,
    /// When its last byte was read. Times count from here, however long the request was held back.
    pub arrived_at: Instant,
    /// How the body is written.
    pub format: Format,
    /// How the body is compressed.
    pub compression: Compression,
    /// The marks of the chain of calls.
    pub marks: Marks,
    has_metadata: bool,
    func: Range<usize>,
    caller: Range<usize>,
    callee: Range<usize>,
    head: Range<usize>,
    body: Range<usize>,
    frame_bytes: usize,
}

impl Inbound {
    /// Reads the head of a unary frame. A head that cannot be read is answered under the id that the fixed header has.
    fn read(
        header: FrameHeader,
        frame: Bytes,
        arrived_at: Instant,
    ) -> Result<Self, (ReplyTo, Status)> {
        let head_range = HEADER_BYTES..HEADER_BYTES + usize::from(header.head_len);
        let head_bytes = frame.get(head_range.clone()).unwrap_or_default();
        let refuse = |reply_to, error: &dyn std::fmt::Display| {
            let text = format!("the head of the request cannot be read: {error}");
            (reply_to, Status::new(Code::Malformed, text))
        };
        let head = match RequestHead::decode(head_bytes) {
            Ok(head) => head,
            Err(error) => return Err(refuse(ReplyTo::unread(header), &error)),
        };
        let reply_to = ReplyTo::new(header, &head, frame.len());
        let body_end = match head.body_len(frame.len().saturating_sub(head_range.end)) {
            Ok(length) => head_range.end + length,
            Err(error) => return Err(refuse(reply_to, &error)),
        };
        if head.call_type > 1 {
            let text = format!(
                "call type {} is neither unary (0) nor one-way (1)",
                head.call_type
            );
            return Err((reply_to, Status::new(Code::Malformed, text)));
        }
        Ok(Self {
            timeout_ms: head.timeout_ms,
            arrived_at,
            format: numbers::format(head.content_type),
            compression: numbers::compression(head.content_encoding),
            marks: Marks(head.message_type),
            has_metadata: head.has_metadata,
            func: range_in(&frame, head.func),
            caller: range_in(&frame, head.caller),
            callee: range_in(&frame, head.callee),
            head: head_range.clone(),
            body: head_range.end..body_end,
            frame_bytes: frame.len(),
            reply_to,
            frame,
        })
    }

    /// The name of the method, as it stands in the frame.
    pub fn func(&self) -> &[u8] {
        self.frame.get(self.func.clone()).unwrap_or_default()
    }

    /// How the caller calls itself.
    pub fn caller(&self) -> &[u8] {
        self.frame.get(self.caller.clone()).unwrap_or_default()
    }

    /// Who calls whom.
    pub fn names(&self) -> Names {
        if self.caller.is_empty() && self.callee.is_empty() {
            return Names::default();
        }
        Names::within(self.frame.clone(), self.caller.clone(), self.callee.clone())
    }

    /// The metadata, to be read when somebody asks.
    pub fn metadata(&self) -> Metadata {
        if self.has_metadata {
            Metadata::unread(self.slice(&self.head), RequestHead::read_metadata)
        } else {
            Metadata::new()
        }
    }

    /// The body, compressed as [`Inbound::compression`] says.
    pub fn body(&self) -> Bytes {
        self.slice(&self.body)
    }

    /// The body as the last piece that is taken: the frame becomes it, which saves counting one user more.
    pub fn take_body(&mut self) -> Bytes {
        let mut body = std::mem::take(&mut self.frame);
        body.truncate(self.body.end);
        body.advance(self.body.start.min(body.len()));
        body
    }

    /// The attachment.
    pub fn attachment(&self) -> Bytes {
        self.slice(&(self.body.end..self.frame.len()))
    }

    /// Length of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Moves a frame out of the read buffer, so that a call which waits for long does not keep that, with all its
    /// neighbours. Small frames go to `shelf`, a buffer for a few of them, which spares each an allocation of its own; a
    /// large one has had its own buffer from the start.
    pub fn detach(&mut self, shelf: &mut BytesMut) {
        let length = self.frame.len();
        if length > SHARED_MAX {
            return;
        }
        if length > SHELVED_MAX {
            self.frame = Bytes::copy_from_slice(&self.frame);
            return;
        }
        if shelf.capacity() < length {
            shelf.reserve(SHELF);
        }
        shelf.extend_from_slice(&self.frame);
        self.frame = shelf.split().freeze();
    }

    fn slice(&self, range: &Range<usize>) -> Bytes {
        if range.is_empty() || range.end > self.frame.len() {
            return Bytes::new();
        }
        self.frame.slice(range.clone())
    }
}

/// The duty to answer one request. Whoever holds it answers once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "every request is owed an answer: hand this to `ServerConnection::respond`"]
pub struct ReplyTo {
    request_id: u32,
    /// Bytes 10 to 13 of the request, which clients in Go tell answers apart by.
    stream_id: u32,
    version: u8,
    exchange: Exchange,
    marks: Marks,
    content_type: u32,
    charge: usize,
}

impl ReplyTo {
    fn new(header: FrameHeader, head: &RequestHead<'_>, frame_bytes: usize) -> Self {
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
    fn unread(header: FrameHeader) -> Self {
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

    /// Whether anybody waits for the answer.
    pub fn exchange(&self) -> Exchange {
        self.exchange
    }
}

fn write_answer(
    to: &ReplyTo,
    result: Result<Response, Status>,
    leaving: bool,
    limits: &Limits,
    output: &mut WriteQueue,
) {
    if to.exchange == Exchange::OneWay {
        return;
    }
    let outcome = match result {
        Ok(response) => write_success(to, response, leaving, limits, output),
        Err(status) => Err(status),
    };
    if let Err(status) = outcome {
        write_failure(to, &status, leaving, limits, output);
    }
}

fn write_success(
    to: &ReplyTo,
    mut response: Response,
    leaving: bool,
    limits: &Limits,
    output: &mut WriteQueue,
) -> Result<(), Status> {
    if leaving {
        response.metadata_mut().insert(DRAIN_MARK, "1");
    }
    let too_long = |what: &str| {
        Status::new(
            Code::Unencodable,
            format!("the response is too long: {what}"),
        )
    };
    let attachment_size =
        u32::try_from(response.attachment().len()).map_err(|_| too_long("its attachment"))?;
    // Some peers refuse an empty body that claims to be compressed.
    let compression = if response.body().is_empty() {
        Compression::None
    } else {
        response.compression()
    };
    let head = ResponseHead {
        request_id: to.request_id,
        message_type: to.marks.0,
        content_type: numbers::content_type(response.format()),
        content_encoding: numbers::content_encoding(compression),
        attachment_size,
        ..ResponseHead::default()
    };
    let head_len = u16::try_from(head.encoded_len(response.metadata()))
        .map_err(|_| too_long("its metadata does not fit the head"))?;
    let payload = response
        .body()
        .len()
        .saturating_add(response.attachment().len());
    let total_len = total_len(head_len, payload, limits).ok_or_else(|| {
        too_long(&format!(
            "{payload} bytes do not fit a frame of {} at most",
            limits.frame_bytes_max
        ))
    })?;
    output.put_with(|out| {
        out.extend_from_slice(&to.header(total_len, head_len).encode());
        head.encode(response.metadata(), out);
    });
    output.put_body(response.body());
    if attachment_size > 0 {
        output.put_body(response.attachment());
    }
    Ok(())
}

fn write_failure(
    to: &ReplyTo,
    status: &Status,
    leaving: bool,
    limits: &Limits,
    output: &mut WriteQueue,
) {
    let returned = ret::to_wire(status);
    let mut metadata = Metadata::new();
    if leaving {
        metadata.insert(DRAIN_MARK, "1");
    }
    let text = cut(
        status.message(),
        limits.message_bytes_max.min(MESSAGE_BYTES_FIT),
    );
    let head = ResponseHead {
        request_id: to.request_id,
        ret: returned.ret,
        func_ret: returned.func_ret,
        error_msg: text.as_bytes(),
        message_type: to.marks.0,
        content_type: to.content_type,
        ..ResponseHead::default()
    };
    let head_len = u16::try_from(head.encoded_len(&metadata)).expect("the text was cut to fit");
    let total_len = HEADER_LEN + u32::from(head_len);
    output.put_with(|out| {
        out.extend_from_slice(&to.header(total_len, head_len).encode());
        head.encode(&metadata, out);
    });
}

/// [`HEADER_BYTES`] as frames count.
const HEADER_LEN: u32 = 16;
const _: () = assert!(HEADER_LEN as usize == HEADER_BYTES);

/// The longest text that fits a head whatever else stands there.
const MESSAGE_BYTES_FIT: usize = 60_000;

impl ReplyTo {
    fn header(&self, total_len: u32, head_len: u16) -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Unary,
            stream_frame_type: 0,
            total_len,
            head_len,
            stream_id: self.stream_id,
            version: self.version,
            reserved: 0,
        }
    }
}

/// The length of a whole frame, if it is one that may be sent.
pub(super) fn total_len(head_len: u16, payload: usize, limits: &Limits) -> Option<u32> {
    let total = (HEADER_BYTES + usize::from(head_len)).checked_add(payload)?;
    u32::try_from(total)
        .ok()
        .filter(|total| *total <= limits.frame_bytes_max)
}

/// Where `part`, which was cut from `whole`, stands in it.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    if part.is_empty() {
        0..0
    } else {
        start..start.saturating_add(part.len())
    }
}
