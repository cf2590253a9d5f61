//! The answering end of one connection.
//!
//! ```text
//!              handle_eof                 last answer
//!   Open ──────────────────▶ HalfClosed ───────────────▶ (the owner closes)
//!    │  the peer may go on        │  the peer sends nothing
//!    │  sending requests          │  more and still reads
//!    └──── damage in the stream ──┴──▶ Err, after all complete frames were taken
//! ```

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rpc_core::message::Exchange;
use rpc_core::{Code, Compression, Format, Marks, Metadata, Response, Status};

use super::framing::{Framing, Glitches, TooLong, put_head};
use super::input::{Frame, Input, Shelf};
use super::{Connection, DRAIN_MARK};
use crate::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use crate::head::{RequestHead, ResponseHead};
use crate::limits::cut;
use crate::{Limits, ProtocolError, WriteQueue, numbers, ret, stream};

/// What an item costs at least in the byte budget: the overhead of tiny ones is their real cost.
const CHARGE_MIN: usize = 256;

/// The answering end of one connection.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one connection, each asked for by itself"
)]
pub struct ServerConnection {
    limits: Arc<Limits>,
    framing: Framing,
    /// Apart, because few peers commit any and idle connections are many.
    faults: Option<Box<Faults>>,
    bytes_in_flight: usize,
    /// The last time the peer sent something or was answered.
    active_at: Instant,
    in_flight: u32,
    half_closed: bool,
    /// Whether an answer has told the peer that we are about to stop.
    has_told: bool,
    /// Whether requests wait in the input for room.
    holds_back: bool,
    /// Whether reading stopped for the byte budget; it goes on at the lower mark only.
    over_budget: bool,
}

/// What a peer did wrong.
#[derive(Debug, Default)]
struct Faults {
    glitches: Glitches,
    /// Answers to requests that never reach a handler.
    refusals: WriteQueue,
    /// Why the connection is beyond repair though its stream of bytes is whole.
    fatal: Option<ProtocolError>,
}

impl ServerConnection {
    /// A connection that was accepted at `now`.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        Self {
            limits,
            framing: Framing::default(),
            faults: None,
            bytes_in_flight: 0,
            active_at: now,
            in_flight: 0,
            half_closed: false,
            has_told: false,
            holds_back: false,
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
        if self.framing.has_partial() && !self.wants_input(0) {
            self.framing.restart(now);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(to.charge);
        self.over_budget &= self.bytes_in_flight >= self.limits.connection_bytes_resume;
        self.active_at = now;
        self.has_told |= leaving && to.exchange == Exchange::Unary;
        write_answer(&to, result, leaving, &self.limits, output);
    }

    /// Whether an answer has told the peer that we are about to stop, so that a FIN surprises nobody.
    pub fn has_told_of_leaving(&self) -> bool {
        self.has_told
    }

    /// Whether no call is under way, no frame has begun to arrive, and nothing happened since `since`.
    pub fn is_quiet_since(&self, since: Instant) -> bool {
        self.is_idle() && self.active_at <= since
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && !self.holds_back && !self.framing.has_partial()
    }

    /// When the frame under way has taken too long, unless it is we who do not read it.
    fn too_slow_at(&self) -> Option<Instant> {
        let at = self.framing.too_slow_at(&self.limits)?;
        self.wants_input(0).then_some(at)
    }

    #[inline]
    fn unary<'a>(
        &mut self,
        header: FrameHeader,
        frame: Frame<'a>,
        arrived_at: Instant,
    ) -> Option<Inbound<'a>> {
        match Inbound::read(header, frame, arrived_at) {
            Ok(inbound) => {
                self.in_flight += 1;
                self.bytes_in_flight = self.bytes_in_flight.saturating_add(inbound.reply_to.charge);
                self.over_budget |= self.bytes_in_flight >= self.limits.connection_bytes_max;
                Some(inbound)
            }
            Err((to, status)) => {
                let refusals = &mut self.faults.get_or_insert_default().refusals;
                write_answer(&to, Err(status), false, &self.limits, refusals);
                self.glitch();
                None
            }
        }
    }

    fn stream(&mut self, header: FrameHeader) {
        let refusals = &mut self.faults.get_or_insert_default().refusals;
        if stream::refuse(header, refusals) {
            self.glitch();
        }
    }

    fn glitch(&mut self) {
        let (max, window) = (self.limits.glitches_max, self.limits.glitch_window);
        let faults = self.faults.get_or_insert_default();
        if let Err(error) = faults.glitches.add(self.active_at, max, window) {
            faults.fatal = Some(error);
        }
    }

    fn fatal(&self) -> Option<ProtocolError> {
        self.faults.as_ref().and_then(|faults| faults.fatal)
    }
}

impl Connection for ServerConnection {
    type Event<'a> = Inbound<'a>;

    #[inline]
    fn next_event<'a>(
        &mut self,
        input: &mut Input<'a>,
        _: &mut Shelf,
        now: Instant,
    ) -> Result<Option<Inbound<'a>>, ProtocolError> {
        self.active_at = now;
        loop {
            if let Some(error) = self.fatal() {
                return Err(error);
            }
            let header = self.framing.peek(input, &self.limits, now)?;
            self.holds_back = header.is_some() && !self.has_room();
            let Some(header) = header.filter(|_| !self.holds_back) else {
                return Ok(None);
            };
            let frame = self.framing.take(header, input);
            match header.kind {
                FrameKind::Unary => {
                    let inbound = self.unary(header, frame, input.arrived_at());
                    if inbound.is_some() {
                        return Ok(inbound);
                    }
                }
                FrameKind::Stream => self.stream(header),
            }
        }
    }

    fn holds_back(&self) -> bool {
        self.holds_back
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.in_flight() < self.limits.connection_calls_max
            && (self.bytes_in_flight < self.limits.connection_bytes_max || self.in_flight == 0)
    }

    /// The peer may still read: what it asked before is answered.
    fn handle_eof(&mut self) {
        self.half_closed = true;
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if self.too_slow_at().is_some_and(|at| now >= at) {
            return Err(ProtocolError::FrameTooSlow);
        }
        if self.is_idle() && now >= self.active_at + self.limits.idle {
            return Err(ProtocolError::Idle);
        }
        Ok(())
    }

    fn poll_output(&mut self, output: &mut WriteQueue) -> usize {
        let Some(faults) = &mut self.faults else {
            return 0;
        };
        let length = faults.refusals.len();
        if length > 0 {
            output.append(&mut faults.refusals);
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
        !self.holds_back
            && !self.half_closed
            && self.fatal().is_none()
            && self.in_flight() < self.limits.connection_calls_max
            && (charged < bytes_max || (self.in_flight == 0 && queued == 0))
    }

    fn bytes_missing(&self) -> usize {
        self.framing.bytes_missing()
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    #[inline]
    fn in_flight(&self) -> usize {
        self.in_flight as usize
    }

    fn has_answered(&self) -> bool {
        self.in_flight == 0
    }

    fn is_finished(&self) -> bool {
        self.half_closed && self.in_flight == 0 && !self.holds_back
    }
}

/// One request that arrived, still where it lies, and the duty to answer it.
#[derive(Debug)]
pub struct Inbound<'a> {
    /// Owed to the peer; see [`ServerConnection::respond`].
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
    fn read(
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
            Metadata::unread(head, RequestHead::read_metadata)
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
    if leaving {
        tell_of_leaving(&mut response, &head);
    }
    let payload = response
        .body()
        .len()
        .saturating_add(response.attachment().len());
    put_head(to.header(), payload, limits, output, |out| {
        head.encode(response.metadata(), out);
    })
    .map_err(|what| match what {
        TooLong::Head => too_long("its metadata does not fit the head"),
        TooLong::Frame => too_long(&format!(
            "{payload} bytes do not fit a frame of {} at most",
            limits.frame_bytes_max
        )),
    })?;
    output.put_body(response.body());
    if attachment_size > 0 {
        output.put_body(response.attachment());
    }
    Ok(())
}

/// Rather than fail a call that would have been answered, the peer is not told.
#[cold]
fn tell_of_leaving(response: &mut Response, head: &ResponseHead<'_>) {
    let metadata = response.metadata_mut();
    metadata.insert(DRAIN_MARK, "1");
    if head.encoded_len(metadata) > usize::from(u16::MAX) {
        metadata.remove(DRAIN_MARK);
    }
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
    // The text was cut so that it fits. It is short beside any limit that lets a request in.
    let written = put_head(to.header(), 0, &Limits::default(), output, |out| {
        head.encode(&metadata, out);
    });
    debug_assert_eq!(written, Ok(()), "the text was cut to fit");
}

/// The longest text that fits a head whatever else stands there.
const MESSAGE_BYTES_FIT: usize = 60_000;

impl ReplyTo {
    fn header(&self) -> FrameHeader {
        FrameHeader::unary(self.stream_id, self.version)
    }
}
