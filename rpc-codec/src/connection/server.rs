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
use std::task::Waker;
use std::time::Instant;

use rpc_core::message::Exchange;
use rpc_core::stream::{Pipe, Terms};
use rpc_core::{Code, Compression, Format, Marks, Metadata, Response, Status};

use super::framing::{Framing, Glitches, TooLong, lengths, put_head};
use super::inbound::{Inbound, ReplyTo, StreamGone};
use super::input::{Frame, Input, Shelf};
use super::server_streams::{Heard, Hearing, ServerStreams};
use super::{Connection, DRAIN_MARK};
use crate::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use crate::head::{RequestHead, ResponseHead};
use crate::limits::cut;
use crate::stream::StreamId;
use crate::{Limits, ProtocolError, WriteQueue, numbers, ret};

/// The id of a call that no client is likely to wait for, as it is the last that a client comes to. A leaving server answers it
/// to tell peers that wait for nothing.
pub const NOBODYS_CALL: u32 = u32::MAX;

/// The answering end of one connection.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one connection, each asked for by itself"
)]
pub struct ServerConnection {
    limits: Arc<Limits>,
    framing: Framing,
    /// Apart, because few connections have any of it and idle ones are many.
    rare: Option<Box<Rare>>,
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

/// What few connections have: streams, and faults of the peer.
#[derive(Debug, Default)]
struct Rare {
    streams: ServerStreams,
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
            rare: None,
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
        if to.exchange == Exchange::Stream {
            return self.end_stream(&to, result, leaving, output, now);
        }
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

    /// Accepts the stream that a request asks for: tells the peer, and returns the end for whoever serves it. `None` when
    /// the peer has given the stream up meanwhile, or `to` asks for none.
    ///
    /// The stream is open until it is [answered](ServerConnection::respond) or [gone](StreamGone), which names
    /// it by `token`. Messages are written on `terms` in both directions. `waker` is woken when there is something to do
    /// for it: [touch](ServerConnection::touch) it then, and ask for output.
    pub fn open_stream(
        &mut self,
        to: &ReplyTo,
        token: u64,
        terms: Terms,
        waker: Waker,
        output: &mut WriteQueue,
    ) -> Option<Pipe> {
        let (limits, now) = (&self.limits, self.active_at);
        let streams = &mut self.rare.as_mut()?.streams;
        streams.open(to, (token, terms, waker), limits, output, now)
    }

    /// Says that the other end of a stream's pipe has done something. Ask for output then.
    pub fn touch(&mut self, id: StreamId) {
        if let Some(rare) = &mut self.rare {
            rare.streams.touch(id);
        }
    }

    /// Resets all streams that are still there, those among them that were answered and whose last messages wait for the
    /// peer: there is no time left. Ask for output then.
    pub fn cut_streams(&mut self, code: Code, why: &str) {
        if let Some(rare) = &mut self.rare {
            rare.streams.reset_all(ret::number(code), why);
        }
    }

    /// How many streams are open, or asked for.
    pub fn streams(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.streams.len())
    }

    /// Tells a peer that waits for nothing that we are about to stop, by an answer to a call that nobody made: peers drop
    /// those. A request that crosses the FIN which follows is lost, and who has heard this knows that it was not run.
    pub fn tell_of_leaving(&mut self, output: &mut WriteQueue, now: Instant) {
        let nobody = ReplyTo::unread(FrameHeader::unary(NOBODYS_CALL, 0));
        let nothing = Response::empty();
        write_answer(&nobody, Ok(nothing), true, &self.limits, output);
        self.has_told = true;
        self.active_at = now;
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
        self.has_answered() && !self.holds_back && !self.framing.has_partial()
    }

    #[inline(never)]
    fn end_stream(
        &mut self,
        to: &ReplyTo,
        result: Result<Response, Status>,
        leaving: bool,
        output: &mut WriteQueue,
        now: Instant,
    ) {
        self.active_at = now;
        if let Some(rare) = &mut self.rare {
            self.has_told |= leaving;
            rare.streams
                .answer(to, result, leaving, &self.limits, output);
        }
    }

    fn has_streams(&self) -> bool {
        self.rare
            .as_ref()
            .is_some_and(|rare| !rare.streams.is_empty())
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
        let mut head = RequestHead::default();
        let body_len = match Inbound::read_head(header, frame, &mut head) {
            Ok(length) => length,
            Err((to, status)) => {
                self.refuse(&to, status);
                return None;
            }
        };
        let inbound = Inbound::new(header, frame, &head, body_len, arrived_at);
        self.in_flight += 1;
        self.bytes_in_flight = self.bytes_in_flight.saturating_add(inbound.reply_to.charge);
        self.over_budget |= self.bytes_in_flight >= self.limits.connection_bytes_max;
        Some(inbound)
    }

    /// Answers a request that never reaches a handler.
    #[cold]
    fn refuse(&mut self, to: &ReplyTo, status: Status) {
        let refusals = &mut self.rare.get_or_insert_default().refusals;
        write_answer(to, Err(status), false, &self.limits, refusals);
        self.glitch();
    }

    #[inline(never)]
    fn stream<'a>(&mut self, hearing: &Hearing<'a, '_>, shelf: &mut Shelf) -> Option<Inbound<'a>> {
        let rare = self.rare.get_or_insert_default();
        match rare.streams.hear(hearing, shelf) {
            Heard::Fine => {}
            Heard::Wrong => self.glitch(),
            Heard::Asks(inbound) => return Some(inbound),
        }
        None
    }

    fn glitch(&mut self) {
        let (max, window) = (self.limits.glitches_max, self.limits.glitch_window);
        let rare = self.rare.get_or_insert_default();
        if let Err(error) = rare.glitches.add(self.active_at, max, window) {
            rare.fatal = Some(error);
        }
    }

    /// Whether neither faults nor full streams keep frames away.
    fn takes_frames(&self) -> bool {
        match &self.rare {
            Some(rare) => rare.fatal.is_none() && !rare.streams.is_full(),
            None => true,
        }
    }

    /// When the first of all times comes that are watched here.
    fn first_of_timeouts(&self) -> Instant {
        let streams = self.rare.as_ref().map(|rare| &rare.streams);
        let streams_at = streams.and_then(ServerStreams::overdue_at);
        let first = self.too_slow_at().into_iter().chain(streams_at).min();
        first.unwrap_or(self.active_at + self.limits.idle)
    }

    fn fatal(&self) -> Option<ProtocolError> {
        self.rare.as_ref().and_then(|rare| rare.fatal)
    }
}

impl Connection for ServerConnection {
    type Event<'a> = Inbound<'a>;
    type News = StreamGone;

    #[inline]
    fn next_event<'a>(
        &mut self,
        input: &mut Input<'a>,
        shelf: &mut Shelf,
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
                FrameKind::Stream => {
                    let limits = &Arc::clone(&self.limits);
                    let hearing = Hearing {
                        header,
                        frame,
                        arrived_at: input.arrived_at(),
                        limits,
                        now,
                    };
                    let inbound = self.stream(&hearing, shelf);
                    if inbound.is_some() {
                        return Ok(inbound);
                    }
                }
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
        if let Some(rare) = &mut self.rare {
            rare.streams.handle_eof();
        }
    }

    /// Handlers of calls end by themselves. Those of streams may wait for ever for what the peer does next.
    fn handle_damage(&mut self) {
        self.half_closed = true;
        if let Some(rare) = &mut self.rare {
            rare.streams.handle_damage();
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if self.too_slow_at().is_some_and(|at| now >= at) {
            return Err(ProtocolError::FrameTooSlow);
        }
        if self.is_idle() && now >= self.active_at + self.limits.idle {
            return Err(ProtocolError::Idle);
        }
        if let Some(rare) = &mut self.rare {
            rare.streams.handle_timeout(&self.limits, now);
        }
        Ok(())
    }

    #[inline]
    fn may_speak(&self) -> bool {
        self.rare.is_some()
    }

    fn poll_output(&mut self, output: &mut WriteQueue, now: Instant) -> usize {
        let Some(rare) = &mut self.rare else {
            return 0;
        };
        let before = output.len();
        if !rare.refusals.is_empty() {
            output.append(&mut rare.refusals);
        }
        let was_full = rare.streams.is_full();
        rare.streams.poll_output(&self.limits, output, now);
        if was_full && !rare.streams.is_full() && self.framing.has_partial() {
            self.framing.restart(now);
        }
        output.len().saturating_sub(before)
    }

    #[inline]
    fn poll_news(&mut self) -> Option<StreamGone> {
        let token = self.rare.as_mut()?.streams.next_gone()?;
        Some(StreamGone(token))
    }

    fn has_more(&self) -> bool {
        self.rare
            .as_ref()
            .is_some_and(|rare| rare.streams.has_more())
    }

    #[inline]
    fn poll_timeout(&self) -> Option<Instant> {
        if self.rare.is_none() && !self.framing.has_partial() {
            // With calls in flight this may be early; the time is asked for again then.
            return Some(self.active_at + self.limits.idle);
        }
        Some(self.first_of_timeouts())
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
            && self.takes_frames()
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
        self.in_flight == 0 && !self.has_streams()
    }

    fn is_finished(&self) -> bool {
        self.half_closed && self.has_answered() && !self.holds_back
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
        Ok(ref response) if !leaving && write_plain(to, response, limits, output) => Ok(()),
        Ok(response) => write_success(to, response, leaving, limits, output),
        Err(status) => Err(status),
    };
    if let Err(status) = outcome {
        write_failure(to, &status, leaving, limits, output);
    }
}

/// Writes a response of which the head says no more than which request it answers, as most are. `false` if it has more to
/// say, or is too long. Header and head are made on the stack and appended at once, where [`put_head`] has to look for
/// room with each piece.
#[inline]
fn write_plain(
    to: &ReplyTo,
    response: &Response,
    limits: &Limits,
    output: &mut WriteQueue,
) -> bool {
    let is_plain = to.marks == Marks::default()
        && response.format() == Format::Protobuf
        && response.compression() == Compression::None
        && response.metadata().is_empty()
        && response.attachment().is_empty();
    if !is_plain {
        return false;
    }
    let (head, length) = ResponseHead::of_id(to.request_id);
    let lengths = lengths(HEADER_BYTES + length, response.body().len(), limits);
    let Ok((head_len, total_len)) = lengths else {
        return false;
    };
    let header = FrameHeader {
        total_len,
        head_len,
        ..to.header()
    };
    output.put_with(|out| {
        // More than counts, and then less again: a copy whose length is known takes no call.
        let end = out.len() + HEADER_BYTES + length;
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(&head);
        out.truncate(end);
    });
    output.put_body(response.body());
    true
}

#[inline(never)]
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
        mark_as_last(&mut response, &head);
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
        output.put_bytes(response.attachment());
    }
    Ok(())
}

/// Rather than fail a call that would have been answered, the peer is not told.
#[cold]
fn mark_as_last(response: &mut Response, head: &ResponseHead<'_>) {
    let metadata = response.metadata_mut();
    metadata.insert(DRAIN_MARK, "1");
    if head.encoded_len(metadata) > usize::from(u16::MAX) {
        metadata.remove(DRAIN_MARK);
    }
}

#[cold]
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
