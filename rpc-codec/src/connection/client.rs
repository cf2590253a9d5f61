//! The asking end of one connection.
//!
//! ```text
//!            an answer with the drain mark          the last answer
//!   Open ───────────────────────────────▶ Leaving ─────────────────▶ (the owner closes)
//!    │  takes new calls                      │  takes new calls only from
//!    │                                       │  whoever has no other way
//!    └───── damage in the stream ────────────┴──▶ Err, after all complete frames were taken
//! ```

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use rpc_core::message::Exchange;
use rpc_core::stream::{Pipe, Terms};
use rpc_core::{Code, Metadata, Request, Response, Status};

use super::client_streams::{ClientStreams, Hearing, Opening};
use super::framing::Framing;
use super::input::{Frame, Input, Shelf};
use super::outgoing::Outgoing;
use super::{Connection, DRAIN_MARK};
use crate::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use crate::head::ResponseHead;
use crate::stream::StreamId;
use crate::{Limits, ProtocolError, WriteQueue, numbers, ret};

/// Names one call on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u32);

/// Hands out request ids: one counter for all connections to an endpoint, so that an answer which was meant for an
/// earlier connection never fits a call of a later one.
#[derive(Debug, Clone, Default)]
pub struct RequestIds {
    next: u32,
}

impl RequestIds {
    /// Ids from `first` on.
    pub fn starting_at(first: u32) -> Self {
        Self { next: first }
    }

    fn next(&mut self, pending: &Pending) -> RequestId {
        loop {
            let id = RequestId(self.next);
            self.next = self.next.wrapping_add(1);
            if !pending.contains_key(&id) {
                return id;
            }
        }
    }
}

/// The asking end of one connection: calls go in with a token of the owner's, and answers come out with it.
#[derive(Debug)]
pub struct ClientConnection {
    limits: Arc<Limits>,
    framing: Framing,
    outgoing: Outgoing,
    pending: Pending,
    /// Apart, because few connections have any.
    streams: Option<Box<ClientStreams>>,
    leaving: bool,
    ended: bool,
    /// Whether a whole frame has ever come.
    has_heard: bool,
    /// Answers that nobody waited for: late ones, or nonsense.
    unclaimed: u64,
    active_at: Instant,
}

type Pending = HashMap<RequestId, u64, BuildHasherDefault<IdHasher>>;

/// An answer to a call.
#[derive(Debug)]
pub struct Answer {
    /// The token that the call was started with.
    pub token: u64,
    /// The response, its body as it came, or why the call failed.
    pub result: Result<Response, Status>,
}

impl ClientConnection {
    /// A connection that was made at `now`.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        Self {
            limits,
            framing: Framing::default(),
            outgoing: Outgoing::default(),
            pending: Pending::default(),
            streams: None,
            leaving: false,
            ended: false,
            has_heard: false,
            unclaimed: 0,
            active_at: now,
        }
    }

    /// Starts a call: gives it an id and writes its frame. The body is sent as it is, in the format and compression
    /// that the request names. A one-way request is forgotten at once.
    ///
    /// # Errors
    ///
    /// When the request does not fit a frame, or its time has run out. Nothing is written then.
    pub fn start(
        &mut self,
        token: u64,
        request: &Request,
        ids: &mut RequestIds,
        output: &mut WriteQueue,
        now: Instant,
    ) -> Result<RequestId, Status> {
        let id = ids.next(&self.pending);
        self.outgoing
            .write(id, request, &self.limits, output, now)?;
        if request.exchange() == Exchange::Unary {
            self.pending.insert(id, token);
        }
        self.active_at = now;
        Ok(id)
    }

    /// Forgets a call: its answer will be dropped.
    pub fn forget(&mut self, id: RequestId) {
        self.pending.remove(&id);
    }

    /// Forgets all calls and returns their tokens. Streams are calls, too: whoever reads them is told that the connection
    /// is lost.
    pub fn forget_all(&mut self) -> impl Iterator<Item = u64> + use<> {
        let streams = self.streams.take();
        let lost = streams.map_or_else(Vec::new, |mut streams| streams.lose_all());
        std::mem::take(&mut self.pending).into_values().chain(lost)
    }

    /// Opens a stream: gives it an id and asks the server for it. What is written to the other end of `pipe` is sent once
    /// the server has agreed, which [`rpc_core::stream::Writer::open`] tells the reader there. How the stream ends comes
    /// out as an [`Answer`] with `token`, behind its last message.
    ///
    /// Messages are sent on `terms`; those that come are on what the server says of them, as far as it does. `waker` is
    /// woken when there is something to do for the stream: [touch](ClientConnection::touch) it then, and ask for output.
    ///
    /// # Errors
    ///
    /// When the request does not fit a frame, its time has run out, or as many streams are open as may be
    /// ([`Limits::connection_streams_max`]). Nothing is written then.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of them are other people's, and none belongs with another"
    )]
    pub fn open_stream(
        &mut self,
        token: u64,
        request: &Request,
        pipe: Pipe,
        terms: Terms,
        waker: Waker,
        output: &mut WriteQueue,
        now: Instant,
    ) -> Result<StreamId, Status> {
        let opening = Opening {
            token,
            request,
            pipe,
            terms,
            waker,
        };
        let streams = self.streams.get_or_insert_default();
        let id = streams.open(opening, &self.limits, output, now)?;
        self.active_at = now;
        Ok(id)
    }

    /// Ends a stream that nobody wants any more, and tells the server why: [`Code::Cancelled`],
    /// [`Code::DeadlineExceeded`] or [`Code::InheritedDeadlineExceeded`]. No answer comes out for it.
    pub fn cancel_stream(&mut self, id: StreamId, code: Code, output: &mut WriteQueue) {
        if let Some(streams) = &mut self.streams {
            streams.cancel(id, code, output);
        }
    }

    /// Says that the other end of a stream's pipe has done something. Ask for output then. When both halves of that end are
    /// gone, so is the stream, and this is its answer.
    #[must_use = "this may be the only answer"]
    pub fn touch(&mut self, id: StreamId) -> Option<Answer> {
        self.streams.as_mut()?.touch(id)
    }

    /// How many streams are open, or about to be.
    pub fn streams(&self) -> usize {
        self.streams.as_ref().map_or(0, |streams| streams.len())
    }

    /// Whether the server has ever said anything that we understood.
    pub fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// Whether the server said that it is about to stop.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// How many answers came that nobody waited for.
    pub fn unclaimed(&self) -> u64 {
        self.unclaimed
    }

    fn unary(
        &mut self,
        header: FrameHeader,
        frame: Frame<'_>,
        shelf: &mut Shelf,
    ) -> Option<Answer> {
        let after_header = frame.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let (head_bytes, after_head) = after_header
            .split_at_checked(usize::from(header.head_len))
            .unwrap_or_default();
        let mut head = ResponseHead::default();
        if let Err(error) = head.read(head_bytes) {
            return self.unreadable(header, &error);
        }
        let metadata = head.has_metadata.then(|| {
            let head = frame.keep(head_bytes, shelf);
            Metadata::unread(head, ResponseHead::read_metadata)
        });
        let mark = metadata.as_ref().and_then(|all| all.get(DRAIN_MARK));
        self.leaving |= mark.is_some_and(|mark| &mark[..] == b"1");
        let Some(token) = self.pending.remove(&RequestId(head.request_id)) else {
            self.unclaimed += 1;
            return None;
        };
        let result = match ret::from_wire(head.ret, head.func_ret, head.error_msg, &self.limits) {
            Some(status) => Err(status),
            None => read_success(&head, frame, after_head, metadata, shelf),
        };
        Some(Answer { token, result })
    }

    #[inline(never)]
    fn stream(
        &mut self,
        header: FrameHeader,
        frame: Frame<'_>,
        shelf: &mut Shelf,
        now: Instant,
    ) -> Option<Answer> {
        let hearing = Hearing {
            header,
            frame,
            limits: &self.limits,
            now,
        };
        let is_claimed = match &mut self.streams {
            Some(streams) => streams.hear(&hearing, shelf, &mut self.leaving),
            None => false,
        };
        self.unclaimed += u64::from(!is_claimed);
        self.poll_news()
    }

    /// Whether nobody waits for anything.
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.streams() == 0 && !self.framing.has_partial()
    }

    /// When the frame under way has taken too long, unless it is we who do not read it.
    fn too_slow_at(&self) -> Option<Instant> {
        let at = self.framing.too_slow_at(&self.limits)?;
        self.wants_input(0).then_some(at)
    }

    /// The head says nothing; the fixed header names the call, if the peer fills it.
    fn unreadable(&mut self, header: FrameHeader, error: &dyn std::fmt::Display) -> Option<Answer> {
        let Some(token) = self.pending.remove(&RequestId(header.stream_id)) else {
            self.unclaimed += 1;
            return None;
        };
        let text = format!("the head of the response cannot be read: {error}");
        Some(Answer {
            token,
            result: Err(Status::new(Code::ResponseMalformed, text)),
        })
    }
}

impl Connection for ClientConnection {
    type Event<'a> = Answer;
    type News = Answer;

    fn next_event(
        &mut self,
        input: &mut Input<'_>,
        shelf: &mut Shelf,
        now: Instant,
    ) -> Result<Option<Answer>, ProtocolError> {
        self.active_at = now;
        while let Some(header) = self.framing.peek(input, &self.limits, now)? {
            let frame = self.framing.take(header, input);
            self.has_heard = true;
            match header.kind {
                FrameKind::Unary => {
                    let answer = self.unary(header, frame, shelf);
                    if answer.is_some() {
                        return Ok(answer);
                    }
                }
                FrameKind::Stream => {
                    let answer = self.stream(header, frame, shelf, now);
                    if answer.is_some() {
                        return Ok(answer);
                    }
                }
            }
        }
        Ok(None)
    }

    fn holds_back(&self) -> bool {
        false
    }

    /// Answers are always welcome.
    fn has_room(&self) -> bool {
        true
    }

    /// No answer can come any more.
    fn handle_eof(&mut self) {
        self.ended = true;
        // Who leaves in order tells everything first. An answer that breaks off belongs to a call that was run.
        self.leaving &= !self.framing.has_partial();
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if self.too_slow_at().is_some_and(|at| now >= at) {
            return Err(ProtocolError::FrameTooSlow);
        }
        if self.is_idle() && now >= self.active_at + self.limits.idle {
            return Err(ProtocolError::Idle);
        }
        if let Some(streams) = &mut self.streams {
            streams.handle_timeout(&self.limits, now);
        }
        Ok(())
    }

    fn may_speak(&self) -> bool {
        self.streams.is_some()
    }

    fn poll_output(&mut self, output: &mut WriteQueue, now: Instant) -> usize {
        let Some(streams) = &mut self.streams else {
            return 0;
        };
        let before = output.len();
        let was_full = streams.is_full();
        streams.poll_output(&self.limits, output, now);
        if was_full && !streams.is_full() && self.framing.has_partial() {
            self.framing.restart(now);
        }
        output.len().saturating_sub(before)
    }

    fn poll_news(&mut self) -> Option<Answer> {
        self.streams.as_mut()?.next_answer()
    }

    fn has_more(&self) -> bool {
        self.streams
            .as_ref()
            .is_some_and(|streams| streams.has_more())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let streams_at = self.streams.as_ref().and_then(|all| all.overdue_at());
        match (self.too_slow_at(), streams_at) {
            (Some(at), Some(streams_at)) => Some(at.min(streams_at)),
            (Some(at), None) | (None, Some(at)) => Some(at),
            (None, None) => Some(self.active_at + self.limits.idle),
        }
    }

    /// Answers are always welcome, unless streams are full of what nobody has read.
    fn wants_input(&self, _: usize) -> bool {
        match &self.streams {
            Some(streams) => !streams.is_full(),
            None => true,
        }
    }

    fn bytes_missing(&self) -> usize {
        self.framing.bytes_missing()
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// A server asks for nothing.
    fn has_answered(&self) -> bool {
        true
    }

    fn is_finished(&self) -> bool {
        self.ended
    }
}

fn read_success(
    head: &ResponseHead<'_>,
    frame: Frame<'_>,
    after_head: &[u8],
    metadata: Option<Metadata>,
    shelf: &mut Shelf,
) -> Result<Response, Status> {
    let body_len = head.body_len(after_head.len()).map_err(|error| {
        Status::new(
            Code::ResponseMalformed,
            format!("the response cannot be read: {error}"),
        )
    })?;
    let (body, attachment) = after_head.split_at_checked(body_len).unwrap_or_default();
    let mut response = Response::new(frame.keep(body, shelf).into());
    response.set_format(numbers::format(head.content_type));
    response.set_compression(numbers::compression(head.content_encoding));
    if !attachment.is_empty() {
        response.set_attachment(frame.keep(attachment, shelf));
    }
    if let Some(metadata) = metadata {
        *response.metadata_mut() = metadata;
    }
    Ok(response)
}

/// Spreads ids by one multiplication. Only ids of our own making are ever inserted, so nobody can choose them badly.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
