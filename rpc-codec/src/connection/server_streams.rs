//! The streams of an answering end: which are asked for, which are open, and how they end.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use rpc_core::stream::{Pipe, Terms};
use rpc_core::{Code, Metadata, Response, Status};

use super::DRAIN_MARK;
use super::inbound::{Inbound, ReplyTo};
use super::input::{Frame, Shelf};
use crate::frame::{FrameHeader, HEADER_BYTES};
use crate::limits::StreamErrors;
use crate::stream::recv::{Inlet, Put};
use crate::stream::send::{Look, Outlet};
use crate::stream::state::{Incoming, ServerState, Step};
use crate::stream::table::{News, Stream, Table};
use crate::stream::window::{RecvWindow, SendWindow};
use crate::stream::write::{put_close, put_init, put_refusal};
use crate::stream::{
    CLOSE, CloseMeta, DATA, FEEDBACK, FeedbackMeta, INIT, InitMeta, InitResponse, StreamId,
};
use crate::{Limits, WriteQueue, ret};

/// What a frame that cannot be read is answered with.
const MALFORMED: i32 = 1;
/// What a stream is reset with that asks too much.
const OVERLOADED: i32 = 22;
/// What streams fail with when the connection is lost.
const LOST: i32 = 201;
/// What a stream is reset with of which too much waits, and one whose message fits no frame.
const TOO_MUCH: i32 = 211;
/// What a stream is reset with on which nothing happens.
const IDLE: i32 = 255;
/// What a stream is reset with that breaks the rules.
const VIOLATION: i32 = 1000;

/// The streams of one answering end.
#[derive(Debug)]
pub(super) struct ServerStreams {
    table: Table<ServerState>,
    /// Those that nobody has accepted or refused yet. The table of open streams and this one together are as long as
    /// [`Limits::connection_streams_max`] says.
    asked: Vec<Asked>,
    /// Tokens of streams that ended before they were answered.
    gone: VecDeque<u64>,
    /// Tells a stream from one that had its id before.
    serial: u32,
}

/// A stream that a peer asks for.
#[derive(Debug)]
struct Asked {
    id: StreamId,
    serial: u32,
    window: u32,
    content_type: u32,
    content_encoding: u32,
}

/// What a frame was.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    /// It was in order, or too late to matter.
    Fine,
    /// The peer did something wrong.
    Wrong,
    /// It asks for a stream.
    Asks(Inbound<'a>),
}

/// A frame and what is needed to deal with it.
pub(super) struct Hearing<'a, 'b> {
    pub(super) header: FrameHeader,
    pub(super) frame: Frame<'a>,
    pub(super) arrived_at: Instant,
    pub(super) limits: &'b Limits,
    pub(super) now: Instant,
}

impl<'a> Hearing<'a, '_> {
    pub(super) fn id(&self) -> StreamId {
        StreamId(self.header.stream_id)
    }

    pub(super) fn payload(&self) -> &'a [u8] {
        self.frame.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }
}

impl Default for ServerStreams {
    fn default() -> Self {
        Self {
            table: Table::new(LOST),
            asked: Vec::new(),
            gone: VecDeque::new(),
            serial: 0,
        }
    }
}

impl ServerStreams {
    /// A frame has come.
    pub(super) fn hear<'a>(&mut self, hearing: &Hearing<'a, '_>, shelf: &mut Shelf) -> Heard<'a> {
        match hearing.header.stream_frame_type {
            INIT => self.hear_init(hearing),
            DATA => self.hear_data(hearing, shelf),
            FEEDBACK => self.hear_feedback(hearing),
            CLOSE => self.hear_close(hearing),
            _ => self.hear_nonsense(hearing.id()),
        }
    }

    /// Accepts a stream that is asked for.
    pub(super) fn open(
        &mut self,
        to: &ReplyTo,
        stream: (u64, Terms, Waker),
        limits: &Limits,
        output: &mut WriteQueue,
        now: Instant,
    ) -> Option<Pipe> {
        let (token, mut terms, waker) = stream;
        let asked = self.take_asked(to)?;
        let id = asked.id;
        // Who turns the control of the flow off does so for both ends.
        let window = if asked.window == 0 {
            0
        } else {
            limits.stream_window
        };
        let answer = InitMeta {
            response: Some(InitResponse::default()),
            window,
            content_type: asked.content_type,
            content_encoding: asked.content_encoding,
            ..InitMeta::default()
        };
        self.table.write_control(output);
        put_init(id, &answer, &Metadata::new(), u32::MAX, output);
        let (ours, theirs) = Pipe::pair();
        let bytes_max = limits.message_bytes_fit();
        terms.message_bytes_max = terms.message_bytes_max.min(bytes_max);
        ours.writer.set_terms(terms.clone());
        ours.reader.set_terms(terms);
        ours.writer.open();
        let send_window = if window == 0 { 0 } else { asked.window };
        let send = Outlet::new(ours.reader, SendWindow::new(send_window), bytes_max);
        let recv = Inlet::new(ours.writer, RecvWindow::new(window));
        let mut stream = Stream::new(ServerState::Open, token, send, recv, waker, now);
        stream.serial = asked.serial;
        self.table.insert(id, stream, limits);
        Some(theirs)
    }

    /// Ends a stream, or refuses one that is asked for. Returns whether the peer finds a mark of `leaving` in that.
    pub(super) fn answer(
        &mut self,
        to: &ReplyTo,
        result: Result<Response, Status>,
        leaving: bool,
        limits: &Limits,
        output: &mut WriteQueue,
    ) -> bool {
        let id = to.stream_id();
        self.table.write_control(output);
        if self.take_asked(to).is_some() {
            let status = result.err().unwrap_or_else(answered_unopened);
            let ret = match ret::to_wire(&status) {
                returned if returned.ret != 0 => returned.ret,
                returned => returned.func_ret,
            };
            put_refusal(id, ret, limits.cut(status.message()), output);
            self.table.remember(id);
            return false;
        }
        let known = self.table.get_mut(id);
        let Some(stream) = known.filter(|stream| stream.serial == to.serial()) else {
            return false;
        };
        let ending = Ending::of(result, leaving, limits);
        stream.ending = Some(ending.payload);
        stream.send.stop(ending.is_hasty);
        self.table.touch(id);
        leaving
    }

    /// Writes what there is to write.
    pub(super) fn poll_output(&mut self, limits: &Limits, output: &mut WriteQueue, now: Instant) {
        while let Some(News { id, what }) = self.table.pump(limits, output, now) {
            match what {
                Look::TooLong => self.reset(id, TOO_MUCH, "a message does not fit a frame"),
                Look::Shut => self.reset(id, LOST, "the peer will make no room for a message"),
                _ => self.end_if_answered(id, output),
            }
        }
        self.table.write_control(output);
        self.table.reconsider(limits);
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, limits: &Limits, now: Instant) {
        while let Some((id, why)) = self.table.next_overdue(limits, now) {
            self.reset(id, IDLE, why);
        }
    }

    /// The peer will send nothing more.
    pub(super) fn handle_eof(&mut self) {
        for stream in self.table.iter_mut() {
            if stream.state == ServerState::Open {
                let text = "the peer ended the connection before its messages";
                stream.recv.end(Err(Status::new(ret::code(LOST), text)));
            }
        }
        self.table.note_deaf();
    }

    /// Resets all that are open or asked for. Who has not been answered is gone.
    pub(super) fn reset_all(&mut self, ret: i32, why: &str) {
        let asked = self.asked.drain(..).map(|asked| asked.id);
        let ids: Vec<_> = self.table.ids().chain(asked).collect();
        for id in ids {
            self.reset(id, ret, why);
        }
    }

    /// Whether some message waits for the socket alone.
    pub(super) fn has_more(&self) -> bool {
        self.table.has_more()
    }

    pub(super) fn touch(&mut self, id: StreamId) {
        self.table.touch(id);
    }

    /// The peer has sent what cannot be read: nothing will be heard of its streams any more.
    pub(super) fn handle_damage(&mut self) {
        self.reset_all(LOST, "the connection ends, for what came on it is damaged");
    }

    /// The next stream that ended before it was answered.
    pub(super) fn next_gone(&mut self) -> Option<u64> {
        self.gone.pop_front()
    }

    /// How many are open or asked for.
    pub(super) fn len(&self) -> usize {
        self.table.len() + self.asked.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.table.overdue_at()
    }

    fn hear_init<'a>(&mut self, hearing: &Hearing<'a, '_>) -> Heard<'a> {
        let id = hearing.id();
        if self.table.contains(id) || self.asked.iter().any(|asked| asked.id == id) {
            // What the peer takes to be open under this id cannot be known.
            return self.violation(id, "a stream was opened under the id of one that is open");
        }
        let meta = match InitMeta::decode(hearing.payload()) {
            Ok(meta) => meta,
            Err(error) => return self.unreadable(id, "the opening of the stream", &error),
        };
        let streams = self.len();
        if streams >= hearing.limits.connection_streams_max {
            let text = format!("{streams} streams are open on the connection, as many as may be");
            put_refusal(id, OVERLOADED, &text, self.table.control());
            self.table.remember(id);
            return Heard::Fine;
        }
        self.serial = self.serial.wrapping_add(1);
        self.asked.push(Asked {
            id,
            serial: self.serial,
            window: meta.window,
            content_type: meta.content_type,
            content_encoding: meta.content_encoding,
        });
        let to = ReplyTo::of_stream(id, self.serial, &meta);
        Heard::Asks(Inbound::of_stream(
            to,
            &meta,
            hearing.frame,
            hearing.arrived_at,
        ))
    }

    fn hear_data<'a>(&mut self, hearing: &Hearing<'a, '_>, shelf: &mut Shelf) -> Heard<'a> {
        let id = hearing.id();
        if let Some(heard) = self.step(hearing, Incoming::Data) {
            return heard;
        }
        let Some(stream) = self.table.get_mut(id) else {
            return Heard::Fine;
        };
        let message = hearing.frame.keep(hearing.payload(), shelf);
        match stream.recv.put(message, hearing.limits) {
            Put::Kept => {
                let length = hearing.payload().len();
                self.table.note_arrival(length, hearing.limits);
            }
            Put::Dropped => self.table.touch(id),
            Put::TooMuch => {
                self.reset(id, TOO_MUCH, "more messages wait to be read than may");
                return Heard::Wrong;
            }
        }
        Heard::Fine
    }

    fn hear_feedback<'a>(&mut self, hearing: &Hearing<'a, '_>) -> Heard<'a> {
        let id = hearing.id();
        if let Some(heard) = self.step(hearing, Incoming::Feedback) {
            return heard;
        }
        let meta = match FeedbackMeta::decode(hearing.payload()) {
            Ok(meta) => meta,
            Err(error) => return self.unreadable(id, "a feedback", &error),
        };
        let known = self.table.get_mut(id);
        if known.is_some_and(|stream| !stream.send.grant(meta.increment)) {
            return self.violation(id, "the window of the stream was opened beyond 2147483647");
        }
        self.table.touch(id);
        Heard::Fine
    }

    fn hear_close<'a>(&mut self, hearing: &Hearing<'a, '_>) -> Heard<'a> {
        let id = hearing.id();
        let meta = match CloseMeta::decode(hearing.payload()) {
            Ok(meta) => meta,
            Err(error) if self.table.contains(id) => {
                return self.unreadable(id, "the end of the stream", &error);
            }
            Err(_) => CloseMeta::reset(MALFORMED, ""),
        };
        let incoming = if meta.is_reset() {
            // Before it was accepted, it is given up before it was open.
            self.asked.retain(|asked| asked.id != id);
            Incoming::Reset
        } else {
            Incoming::Close
        };
        if let Some(heard) = self.step(hearing, incoming) {
            return heard;
        }
        if incoming == Incoming::Close {
            if let Some(stream) = self.table.get_mut(id) {
                stream.recv.end(Ok(()));
            }
        } else if let Some(stream) = self.table.remove(id) {
            self.lose(&stream, reset_by_peer(&meta, hearing.limits));
        }
        Heard::Fine
    }

    fn hear_nonsense<'a>(&mut self, id: StreamId) -> Heard<'a> {
        if !self.is_known(id) && self.table.was_closed(id) {
            return Heard::Fine;
        }
        self.reset(id, MALFORMED, "a frame of an unknown type");
        Heard::Wrong
    }

    /// Lets a stream take its step. What is returned is the end of it; otherwise the stream is there, and the frame may be
    /// looked at.
    fn step<'a>(&mut self, hearing: &Hearing<'a, '_>, incoming: Incoming) -> Option<Heard<'a>> {
        let id = hearing.id();
        let Some(stream) = self.table.get_mut(id) else {
            return Some(self.hear_stray(id, incoming));
        };
        match stream.state.on(incoming) {
            Step::To(state) => {
                stream.state = state;
                stream.active_at = hearing.now;
                None
            }
            Step::Over => None,
            Step::Violation => {
                Some(self.violation(id, "a frame came behind the end of the stream"))
            }
        }
    }

    /// A frame of a stream that is not open.
    fn hear_stray<'a>(&mut self, id: StreamId, incoming: Incoming) -> Heard<'a> {
        if self.asked.iter().any(|asked| asked.id == id) {
            return self.violation(id, "a frame came before the stream was accepted");
        }
        // It may have crossed a CLOSE of ours, which is never answered.
        if matches!(incoming, Incoming::Close | Incoming::Reset) || self.table.was_closed(id) {
            return Heard::Fine;
        }
        self.violation(id, "there is no stream of that id")
    }

    fn violation<'a>(&mut self, id: StreamId, why: &str) -> Heard<'a> {
        self.reset(id, VIOLATION, why);
        Heard::Wrong
    }

    fn unreadable<'a>(
        &mut self,
        id: StreamId,
        what: &str,
        error: &dyn std::fmt::Display,
    ) -> Heard<'a> {
        self.reset(id, MALFORMED, &format!("{what} cannot be read: {error}"));
        Heard::Wrong
    }

    /// Resets a stream, whether it is open or not.
    fn reset(&mut self, id: StreamId, ret: i32, why: &str) {
        self.asked.retain(|asked| asked.id != id);
        if let Some(stream) = self.table.reset(id, ret, why) {
            self.lose(&stream, Status::new(ret::code(ret), why.to_owned()));
        }
    }

    /// Tells those who serve a stream that it is over. Who has answered it knows.
    fn lose(&mut self, stream: &Stream<ServerState>, status: Status) {
        stream.recv.writer.fail(status);
        if stream.ending.is_none() {
            self.gone.push_back(stream.token);
        }
    }

    fn end_if_answered(&mut self, id: StreamId, output: &mut WriteQueue) {
        let ending = self
            .table
            .get_mut(id)
            .and_then(|stream| stream.ending.take());
        if let Some(payload) = ending {
            put_close(id, &payload, output);
            self.table.remove(id);
        }
    }

    fn is_known(&self, id: StreamId) -> bool {
        self.table.contains(id) || self.asked.iter().any(|asked| asked.id == id)
    }

    fn take_asked(&mut self, to: &ReplyTo) -> Option<Asked> {
        let is_meant = |asked: &Asked| (asked.id, asked.serial) == (to.stream_id(), to.serial());
        let place = self.asked.iter().position(is_meant)?;
        Some(self.asked.swap_remove(place))
    }
}

/// How a stream ends on the wire.
struct Ending {
    /// Of a CLOSE.
    payload: Vec<u8>,
    /// Whether it does not wait for the peer to make room: what was said before it goes as far as there is some.
    is_hasty: bool,
}

impl Ending {
    fn of(result: Result<Response, Status>, leaving: bool, limits: &Limits) -> Self {
        let mut metadata = Metadata::new();
        let outcome = result.map(|mut response| {
            metadata = std::mem::take(response.metadata_mut());
        });
        if leaving {
            metadata.insert(DRAIN_MARK, "1");
        }
        match outcome {
            Ok(()) => {
                let payload = encode(&CloseMeta::default(), &metadata);
                if payload.len() <= limits.message_bytes_fit() {
                    return Self {
                        payload,
                        is_hasty: false,
                    };
                }
                let text = "the metadata behind the stream does not fit a frame";
                Self::failed(&Status::new(Code::Unencodable, text), leaving, limits)
            }
            Err(status) => Self::failed(&status, leaving, limits),
        }
    }

    fn failed(status: &Status, leaving: bool, limits: &Limits) -> Self {
        let mut metadata = Metadata::new();
        if leaving {
            metadata.insert(DRAIN_MARK, "1");
        }
        let text = limits.cut(status.message());
        let returned = ret::to_wire(status);
        let is_framework = returned.ret != 0;
        let meta = match limits.stream_errors {
            _ if is_framework => CloseMeta::reset(returned.ret, text),
            StreamErrors::Reset => CloseMeta {
                func_ret: returned.func_ret,
                ..CloseMeta::reset(returned.func_ret, text)
            },
            StreamErrors::Close => CloseMeta {
                msg: text.as_bytes(),
                func_ret: returned.func_ret,
                ..CloseMeta::default()
            },
        };
        Self {
            payload: encode(&meta, &metadata),
            is_hasty: is_framework,
        }
    }
}

fn encode(meta: &CloseMeta<'_>, metadata: &Metadata) -> Vec<u8> {
    let mut payload = Vec::new();
    meta.encode(metadata, &mut payload);
    payload
}

fn reset_by_peer(meta: &CloseMeta<'_>, limits: &Limits) -> Status {
    let ret = if meta.ret == 0 { VIOLATION } else { meta.ret };
    ret::from_wire(ret, 0, meta.msg, limits).unwrap_or_else(|| Status::new(ret::code(ret), ""))
}

#[cold]
fn answered_unopened() -> Status {
    Status::internal("the stream was answered before it was opened")
}
