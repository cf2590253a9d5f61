//! The streams of an asking end: which were asked for, which are open, and how they ended.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use rpc_core::stream::{Pipe, Terms};
use rpc_core::{Code, Metadata, Request, Response, Status};

use super::client::Answer;
use super::input::{Frame, Shelf};
use super::{DRAIN_MARK, outgoing};
use crate::frame::{FrameHeader, HEADER_BYTES};
use crate::stream::recv::{Inlet, Put};
use crate::stream::send::{Look, Outlet};
use crate::stream::state::{ClientState, Incoming, Step};
use crate::stream::table::{News, Stream, Table};
use crate::stream::window::{RecvWindow, SendWindow};
use crate::stream::write::{put_close, put_init, put_reset};
use crate::stream::{
    CLOSE, CloseMeta, DATA, FEEDBACK, FeedbackMeta, INIT, InitMeta, InitRequest, StreamId,
};
use crate::{Limits, WriteQueue, numbers, ret};

/// What a frame that cannot be read is answered with.
const MALFORMED: i32 = 1;
/// What streams fail with when the connection is lost.
const LOST: i32 = 301;
/// What a stream is reset with of which too much waits, and one whose message fits no frame.
const TOO_MUCH: i32 = 311;
/// What a stream fails with that sends what cannot be read.
const UNREADABLE: i32 = 322;
/// What a stream is reset with on which nothing happens.
const IDLE: i32 = 355;
/// What a stream is reset with that breaks the rules.
const VIOLATION: i32 = 1000;

/// Ids below are reserved.
const FIRST_ID: u32 = 100;

/// The streams of one asking end.
#[derive(Debug)]
pub(super) struct ClientStreams {
    table: Table<ClientState>,
    /// How streams ended for which no frame of the server says so.
    answers: VecDeque<Answer>,
    next_id: u32,
}

/// A frame and what is needed to deal with it.
pub(super) struct Hearing<'a, 'b> {
    pub(super) header: FrameHeader,
    pub(super) frame: Frame<'a>,
    pub(super) limits: &'b Limits,
    pub(super) now: Instant,
}

impl<'a> Hearing<'a, '_> {
    fn id(&self) -> StreamId {
        StreamId(self.header.stream_id)
    }

    fn payload(&self) -> &'a [u8] {
        self.frame.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }
}

/// A stream that is about to be asked for.
pub(super) struct Opening<'a> {
    pub(super) token: u64,
    pub(super) request: &'a Request,
    pub(super) pipe: Pipe,
    pub(super) terms: Terms,
    pub(super) waker: Waker,
}

impl Default for ClientStreams {
    fn default() -> Self {
        Self {
            table: Table::new(LOST),
            answers: VecDeque::new(),
            next_id: FIRST_ID,
        }
    }
}

impl ClientStreams {
    /// Asks for a stream.
    pub(super) fn open(
        &mut self,
        opening: Opening<'_>,
        limits: &Limits,
        output: &mut WriteQueue,
        now: Instant,
    ) -> Result<StreamId, Status> {
        let (token, pipe, waker) = (opening.token, opening.pipe, opening.waker);
        let mut terms = opening.terms;
        let id = match self.ask(opening.request, &terms, limits, output, now) {
            Ok(id) => id,
            Err(status) => {
                pipe.writer.fail(status.clone());
                return Err(status);
            }
        };
        let bytes_max = limits.message_bytes_fit();
        terms.message_bytes_max = terms.message_bytes_max.min(bytes_max);
        pipe.reader.set_terms(terms.clone());
        // What the server grants is not known yet, and nothing is sent before it is.
        let send = Outlet::new(pipe.reader, SendWindow::unlimited(), bytes_max);
        let recv = Inlet::new(pipe.writer, RecvWindow::new(limits.stream_window));
        let mut stream = Stream::new(ClientState::InitSent, token, send, recv, waker, now);
        stream.may_send = false;
        stream.terms = Some(Box::new(terms));
        self.table.insert(id, stream, limits);
        Ok(id)
    }

    /// A frame has come. Returns whether it was anybody's. Sets `leaving` if it says so.
    pub(super) fn hear(
        &mut self,
        hearing: &Hearing<'_, '_>,
        shelf: &mut Shelf,
        leaving: &mut bool,
    ) -> bool {
        if !self.table.contains(hearing.id()) {
            return false;
        }
        match hearing.header.stream_frame_type {
            INIT => self.hear_init(hearing),
            DATA => self.hear_data(hearing, shelf),
            FEEDBACK => self.hear_feedback(hearing),
            CLOSE => self.hear_close(hearing, shelf, leaving),
            _ => self.unreadable(hearing.id(), "a frame of an unknown type"),
        }
        true
    }

    /// Ends a stream that nobody wants any more.
    pub(super) fn cancel(&mut self, id: StreamId, code: Code, output: &mut WriteQueue) {
        self.table.write_control(output);
        if let Some(stream) = self.table.remove_known(id) {
            let text = "the caller gave the stream up";
            put_reset(id, ret::number(code), text, output);
            stream.recv.writer.fail(Status::new(code, text));
        }
    }

    /// Whoever holds the other end of a pipe has done something. If that was to give it up, this is the answer.
    pub(super) fn touch(&mut self, id: StreamId) -> Option<Answer> {
        self.table.touch(id);
        if self.table.get_mut(id)?.is_given_up() {
            self.give_up(id)
        } else {
            None
        }
    }

    /// Writes what there is to write.
    pub(super) fn poll_output(&mut self, limits: &Limits, output: &mut WriteQueue, now: Instant) {
        while let Some(News { id, what }) = self.table.pump(limits, output, now) {
            match what {
                Look::TooLong => self.reset(id, TOO_MUCH, "a message does not fit a frame"),
                Look::Broke => {
                    let answer = self.give_up(id);
                    self.answers.extend(answer);
                }
                _ => self.half_close(id, output),
            }
        }
        self.table.write_control(output);
        self.table.reconsider(limits);
    }

    /// Whether some message waits for the socket alone.
    pub(super) fn has_more(&self) -> bool {
        self.table.has_more()
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, limits: &Limits, now: Instant) {
        while let Some((id, why)) = self.table.next_overdue(limits, now) {
            self.reset(id, IDLE, why);
        }
    }

    /// Fails all streams, for the connection is lost, and returns their tokens.
    pub(super) fn lose_all(&mut self) -> Vec<u64> {
        let mut tokens = self.table.lose_all();
        tokens.extend(self.answers.drain(..).map(|answer| answer.token));
        tokens
    }

    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.table.overdue_at()
    }

    /// Writes an INIT.
    fn ask(
        &mut self,
        request: &Request,
        terms: &Terms,
        limits: &Limits,
        output: &mut WriteQueue,
        now: Instant,
    ) -> Result<StreamId, Status> {
        let streams = self.len();
        if streams >= limits.connection_streams_max {
            let text = format!("{streams} streams are open on the connection, as many as may be");
            return Err(Status::new(Code::ClientOverloaded, text).not_executed());
        }
        let context = request.context();
        // The time itself does not travel: whoever owns the clock cancels.
        outgoing::timeout_ms(context, now)?;
        let (caller, callee) = context.name_bytes();
        let meta = InitMeta {
            request: Some(InitRequest {
                caller,
                callee,
                func: request.method().path.as_bytes(),
                message_type: context.marks().0,
                has_metadata: false,
            }),
            response: None,
            window: limits.stream_window,
            content_type: numbers::content_type(terms.format),
            content_encoding: numbers::content_encoding(terms.compression),
        };
        let id = self.free_id();
        self.table.write_control(output);
        let bytes_max = limits.frame_bytes_max;
        if !put_init(id, &meta, context.metadata(), bytes_max, output) {
            let text = format!(
                "the request is too long: its metadata does not fit a frame of {bytes_max} bytes"
            );
            return Err(Status::new(Code::RequestUnencodable, text));
        }
        self.next_id = id.0.wrapping_add(1);
        Ok(id)
    }

    /// The next id that no stream has and that is not reserved. There are more ids than streams.
    fn free_id(&self) -> StreamId {
        let mut id = StreamId(self.next_id.max(FIRST_ID));
        while self.table.contains(id) {
            id = StreamId(id.0.wrapping_add(1).max(FIRST_ID));
        }
        id
    }

    fn hear_init(&mut self, hearing: &Hearing<'_, '_>) {
        let id = hearing.id();
        let Ok(meta) = InitMeta::decode(hearing.payload()) else {
            return self.unreadable(id, "the answer to the opening of the stream");
        };
        let response = meta.response.unwrap_or_default();
        let refusal = ret::from_wire(response.ret, 0, response.error_msg, hearing.limits);
        let incoming = if refusal.is_some() {
            Incoming::Refusal
        } else {
            Incoming::Init
        };
        match (self.step(hearing, incoming), refusal) {
            (Some(Step::Over), Some(status)) => self.end(id, Err(status)),
            (Some(Step::To(_)), _) => self.opened(id, &meta, hearing.limits),
            _ => {}
        }
    }

    /// The server has agreed.
    fn opened(&mut self, id: StreamId, meta: &InitMeta<'_>, limits: &Limits) {
        let Some(stream) = self.table.get_mut(id) else {
            return;
        };
        // Who turns the control of the flow off does so for both ends.
        let is_controlled = meta.window > 0 && limits.stream_window > 0;
        let both = |window| if is_controlled { window } else { 0 };
        stream.send.set_window(SendWindow::new(both(meta.window)));
        let window = RecvWindow::new(both(limits.stream_window));
        stream.recv.set_window(window);
        stream.may_send = true;
        if let Some(mut terms) = stream.terms.take() {
            // Some servers say 0 and go on as they were asked to.
            if meta.content_type != 0 {
                terms.format = numbers::format(meta.content_type);
            }
            if meta.content_encoding != 0 {
                terms.compression = numbers::compression(meta.content_encoding);
            }
            stream.recv.writer.set_terms(*terms);
        }
        stream.recv.writer.open();
        self.table.touch(id);
    }

    fn hear_data(&mut self, hearing: &Hearing<'_, '_>, shelf: &mut Shelf) {
        let id = hearing.id();
        let Some(Step::To(_)) = self.step(hearing, Incoming::Data) else {
            return;
        };
        let Some(stream) = self.table.get_mut(id) else {
            return;
        };
        let message = hearing.frame.keep(hearing.payload(), shelf);
        match stream.recv.put(message, hearing.limits) {
            Put::Kept => {
                let length = hearing.payload().len();
                self.table.note_arrival(length, hearing.limits);
            }
            Put::Dropped => self.table.touch(id),
            Put::TooMuch => self.reset(id, TOO_MUCH, "more messages wait to be read than may"),
        }
    }

    fn hear_feedback(&mut self, hearing: &Hearing<'_, '_>) {
        let id = hearing.id();
        let Some(Step::To(_)) = self.step(hearing, Incoming::Feedback) else {
            return;
        };
        let Ok(meta) = FeedbackMeta::decode(hearing.payload()) else {
            return self.unreadable(id, "a feedback");
        };
        let known = self.table.get_mut(id);
        if known.is_some_and(|stream| !stream.send.grant(meta.increment)) {
            let text = "the window of the stream was opened beyond 2147483647";
            return self.reset(id, VIOLATION, text);
        }
        self.table.touch(id);
    }

    fn hear_close(&mut self, hearing: &Hearing<'_, '_>, shelf: &mut Shelf, leaving: &mut bool) {
        let id = hearing.id();
        let Ok(meta) = CloseMeta::decode(hearing.payload()) else {
            return self.unreadable(id, "the end of the stream");
        };
        let mut metadata = Metadata::new();
        if meta.has_metadata {
            let payload = hearing.frame.keep(hearing.payload(), shelf);
            metadata = Metadata::unread(payload, CloseMeta::read_metadata);
        }
        let mark = metadata.get(DRAIN_MARK);
        *leaving |= mark.is_some_and(|mark| &mark[..] == b"1");
        let was_open = self
            .table
            .get_mut(id)
            .is_some_and(|stream| stream.state != ClientState::InitSent);
        let incoming = if meta.is_reset() {
            Incoming::Reset
        } else {
            Incoming::Close
        };
        let Some(Step::Over) = self.step(hearing, incoming) else {
            return;
        };
        let failure = closed_with(&meta, was_open, hearing.limits);
        let result = failure.map_or_else(|| Ok(trailer(metadata)), Err);
        self.end(id, result);
    }

    /// Lets a stream take its step; resets it when there is none to take.
    fn step(&mut self, hearing: &Hearing<'_, '_>, incoming: Incoming) -> Option<Step<ClientState>> {
        let id = hearing.id();
        let stream = self.table.get_mut(id)?;
        let step = stream.state.on(incoming);
        match step {
            Step::To(state) => {
                stream.state = state;
                stream.active_at = hearing.now;
            }
            Step::Over => {}
            Step::Violation => {
                let text = "the server sent a frame that may not come at this time";
                self.reset(id, VIOLATION, text);
            }
        }
        Some(step)
    }

    /// The user has said all that there was to say, or gives the stream up.
    fn half_close(&mut self, id: StreamId, output: &mut WriteQueue) {
        let Some(stream) = self.table.get_mut(id) else {
            return;
        };
        if stream.is_given_up() {
            let answer = self.give_up(id);
            self.answers.extend(answer);
        } else if stream.state.may_send() {
            stream.state = ClientState::LocalClosed;
            put_close(id, &[], output);
        }
    }

    /// The server has ended a stream.
    fn end(&mut self, id: StreamId, result: Result<Response, Status>) {
        let Some(stream) = self.table.remove_known(id) else {
            return;
        };
        let how = result.as_ref().map(|_| ()).map_err(Status::clone);
        let mut recv = stream.recv;
        recv.end(how);
        let token = stream.token;
        self.answers.push_back(Answer { token, result });
    }

    /// Nobody holds the other end of a pipe any more.
    fn give_up(&mut self, id: StreamId) -> Option<Answer> {
        let text = "the caller gave the stream up";
        let stream = self.table.reset(id, ret::number(Code::Cancelled), text)?;
        let status = Status::new(Code::Cancelled, text);
        stream.recv.writer.fail(status.clone());
        Some(Answer {
            token: stream.token,
            result: Err(status),
        })
    }

    fn unreadable(&mut self, id: StreamId, what: &str) {
        let text = format!("{what} cannot be read");
        if let Some(stream) = self.table.reset(id, MALFORMED, &text) {
            self.fail(&stream, Status::new(ret::code(UNREADABLE), text));
        }
    }

    /// Resets a stream that is open.
    fn reset(&mut self, id: StreamId, ret: i32, why: &str) {
        if let Some(stream) = self.table.reset(id, ret, why) {
            self.fail(&stream, Status::new(ret::code(ret), why.to_owned()));
        }
    }

    fn fail(&mut self, stream: &Stream<ClientState>, status: Status) {
        stream.recv.writer.fail(status.clone());
        self.answers.push_back(Answer {
            token: stream.token,
            result: Err(status),
        });
    }
}

fn trailer(metadata: Metadata) -> Response {
    let mut response = Response::empty();
    if !metadata.is_empty() {
        *response.metadata_mut() = metadata;
    }
    response
}

/// How a CLOSE says that the stream failed. One that comes before the stream is open is a failure whatever it says. A reset
/// by the framework has no number of the service, so one that has the same number twice is the service's
/// ([`StreamErrors::Reset`](crate::StreamErrors::Reset)).
fn closed_with(meta: &CloseMeta<'_>, was_open: bool, limits: &Limits) -> Option<Status> {
    let is_failure = meta.is_reset() || (!was_open && meta.func_ret == 0);
    let ret = match meta.ret {
        0 if is_failure => VIOLATION,
        ret if meta.is_reset() && ret == meta.func_ret => 0,
        ret => ret,
    };
    ret::from_wire(ret, meta.func_ret, meta.msg, limits)
}
