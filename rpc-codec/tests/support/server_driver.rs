//! The answering machine, fed in pieces, while time passes and handlers finish when they like.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use rpc_codec::connection::{Connection, Inbound, ReplyTo, ServerConnection, Shelf};
use rpc_codec::stream::InitMeta;
use rpc_codec::{Limits, ProtocolError};
use rpc_core::message::Exchange;
use rpc_core::{Code, Response, Status};

use super::oracle::{RequestProtocol, ResponseProtocol};
use super::reference::{self, Frame};
use super::wire::{Wire, demand};

const FRAME_BYTES_MAX: usize = 3000;
const CALLS_MAX: usize = 4;
const BYTES_MAX: usize = 2000;
const GLITCHES_MAX: u32 = 6;
const FRAME_TIME: Duration = Duration::from_secs(10);

/// Runs a script: four bytes that seed the driver's choices, then what the peer sends. Says whether the connection
/// lived to the end of it.
///
/// What must hold: each complete request comes out once, in order and whole, or is refused; each that is owed an answer
/// gets one, under its ids; nobody else gets any; no more is held than the limits allow; a connection that waits for
/// nothing reads on; and all that is written are whole frames.
pub(crate) fn run(script: &[u8]) -> Result<bool, String> {
    let mut driver = Driver::new(script);
    for _ in 0..100 + script.len() {
        driver.step()?;
    }
    driver.finish()
}

struct Driver {
    wire: Wire,
    machine: ServerConnection,
    /// The frames of the peer that the machine has not shown to have taken.
    frames: VecDeque<Frame>,
    is_damaged: bool,
    /// Requests in the hands of handlers, each with the answer's ids and the bytes it holds.
    owed: Vec<(ReplyTo, Due, usize)>,
    due: Vec<Due>,
    due_on_streams: Vec<u32>,
    /// Ids on which a stream was refused or reset: what else comes there means nothing.
    closed_streams: BTreeSet<u32>,
    glitches: u32,
    /// Whether the machine holds more bytes than it may, or did and is not down to half of that again.
    is_over_budget: bool,
    /// Since when the machine wants what the peer sends; `None` while it does not.
    reads_since: Option<Instant>,
    end: Option<ProtocolError>,
}

/// An answer that the peer must find.
#[derive(Debug)]
struct Due {
    request_id: u32,
    stream_id: u32,
    version: u8,
    /// What follows its head; `None` if it is to say that the call failed.
    payload: Option<Bytes>,
}

/// What becomes of a frame, as the reference sees it.
enum Fate {
    Call { due: Due, is_one_way: bool },
    Refused { due: Option<Due> },
    Stream,
}

impl Driver {
    fn new(script: &[u8]) -> Self {
        let mut limits = Limits::server()
            .with_frame_bytes_max(u32::try_from(FRAME_BYTES_MAX).expect("a small number"))
            .with_connection_calls_max(CALLS_MAX)
            .with_connection_bytes_max(BYTES_MAX)
            .with_frame_time(FRAME_TIME);
        limits.glitches_max = GLITCHES_MAX;
        let wire = Wire::new(script);
        let read = reference::read(&wire.coming, &limits);
        Self {
            machine: ServerConnection::new(Arc::new(limits), wire.now),
            wire,
            frames: read.frames.into(),
            is_damaged: read.broken,
            owed: Vec::new(),
            due: Vec::new(),
            due_on_streams: Vec::new(),
            closed_streams: BTreeSet::new(),
            glitches: 0,
            is_over_budget: false,
            reads_since: None,
            end: None,
        }
    }

    fn step(&mut self) -> Result<(), String> {
        match self.wire.random.below(8) {
            0..3 if self.machine.wants_input(self.wire.output.len()) => self.wire.receive(),
            3 => self.pass_time()?,
            4 | 5 => self.answer_one(),
            6 => {
                let most = self.wire.random.below(200);
                self.wire.write(most);
            }
            _ => {}
        }
        self.pump()?;
        self.check_bounds()
    }

    /// Answers everything, lets everything arrive, and looks at what came out.
    fn finish(mut self) -> Result<bool, String> {
        loop {
            while !self.owed.is_empty() {
                self.answer_one();
                self.pump()?;
            }
            self.wire.write_all()?;
            if self.end.is_some() || self.wire.coming.is_empty() {
                break;
            }
            demand(
                self.machine.wants_input(0),
                "a connection that waits for nothing reads on",
            )?;
            self.wire.receive();
            self.pump()?;
        }
        demand(
            self.machine.in_flight() == 0,
            "nothing is in flight once all is answered",
        )?;
        if self.end.is_none() {
            demand(!self.is_damaged, "damage ends the connection")?;
            let left = self.pass_over_refused();
            demand(left.is_none(), "every complete request comes out")?;
            self.machine.handle_eof();
            demand(
                self.machine.is_finished(),
                "a connection without calls ends with its peer",
            )?;
        }
        self.check_answers()?;
        Ok(self.end.is_none())
    }

    fn pass_time(&mut self) -> Result<(), String> {
        self.wire.pass_time();
        let asked_for = self.machine.poll_timeout();
        if self.end.is_some() {
            return Ok(());
        }
        let ended = self.machine.handle_timeout(self.wire.now);
        // The time that a frame may take runs while we read.
        let is_slow = self.reads_since.is_some_and(|since| {
            self.wire.is_slow(FRAME_TIME) && self.wire.now >= since + FRAME_TIME
        });
        if ended.is_ok() && !self.is_damaged {
            demand(!is_slow, "a frame that takes too long ends the connection")?;
        }
        if let Err(error) = ended {
            let in_time = asked_for.is_some_and(|at| at <= self.wire.now);
            demand(in_time, "a time-out comes no earlier than it was asked for")?;
            let is_due = match error {
                ProtocolError::Idle => self.owed.is_empty() && self.wire.input.is_empty(),
                ProtocolError::FrameTooSlow => is_slow,
                _ => false,
            };
            demand(is_due, "a connection ends by time for what it does")?;
            self.end = Some(error);
        }
        Ok(())
    }

    /// Does what an event loop does after each turn: takes events until there are none, and feeds what is left.
    fn pump(&mut self) -> Result<(), String> {
        loop {
            let before = self.wire.input.len();
            if self.end.is_none() {
                self.feed()?;
            }
            let queued = self.wire.output.len();
            let said = self
                .machine
                .poll_output(&mut self.wire.output, self.wire.now);
            demand(
                self.wire.output.len() == queued + said,
                "the machine says how much it has said",
            )?;
            self.wire.note_partial(before);
            self.reads_since = self
                .machine
                .wants_input(0)
                .then(|| self.reads_since.unwrap_or(self.wire.now));
            if self.end.is_some() || self.wire.input.len() == before {
                return Ok(());
            }
        }
    }

    /// Offers what has arrived, and takes what comes out.
    fn feed(&mut self) -> Result<(), String> {
        let bytes = self.wire.input.split().freeze();
        let mut input = self.wire.offer(&bytes);
        let mut shelf = Shelf::default();
        loop {
            match self
                .machine
                .next_event(&mut input, &mut shelf, self.wire.now)
            {
                Ok(Some(inbound)) if inbound.reply_to.exchange() == Exchange::Stream => {
                    self.refuse_stream(inbound)?;
                }
                Ok(Some(inbound)) => self.take(inbound, &mut shelf)?,
                Ok(None) => break,
                Err(error) => {
                    self.note_damage(error)?;
                    break;
                }
            }
        }
        self.wire.input.extend_from_slice(input.rest());
        Ok(())
    }

    fn refuse_stream(&mut self, inbound: Inbound<'_>) -> Result<(), String> {
        demand(
            self.machine.streams() == 1,
            "a stream that is asked for counts",
        )?;
        let status = Status::new(Code::NoMethod, "no streams here");
        let (machine, wire) = (&mut self.machine, &mut self.wire);
        machine.respond(
            inbound.reply_to,
            Err(status),
            false,
            &mut wire.output,
            wire.now,
        );
        demand(self.machine.streams() == 0, "one that was refused does not")
    }

    fn note_damage(&mut self, error: ProtocolError) -> Result<(), String> {
        let next_call = self.pass_over_refused();
        if let ProtocolError::TooManyGlitches { .. } = error {
            demand(
                self.glitches > GLITCHES_MAX,
                "only too many faults are too many",
            )?;
        } else {
            demand(self.is_damaged, "what is not damaged is not refused")?;
            demand(
                next_call.is_none(),
                "what comes before damage is taken first",
            )?;
        }
        self.end = Some(error);
        Ok(())
    }

    /// A request came out: it must be the next that the reference knows.
    fn take(&mut self, inbound: Inbound<'_>, shelf: &mut Shelf) -> Result<(), String> {
        demand(
            self.owed.is_empty() || self.held() < BYTES_MAX,
            "nothing comes out while too many bytes are held",
        )?;
        let Some((frame, due, is_one_way)) = self.pass_over_refused() else {
            return Err("a request came out that nobody sent".into());
        };
        let head = RequestProtocol::decode(&frame.head[..]).map_err(|error| error.to_string())?;
        let body_len = frame.rest.len() - head.attachment_size as usize;
        let whole = inbound.func() == head.func
            && inbound.caller() == head.caller
            && inbound.callee() == head.callee
            && inbound.timeout_ms() == head.timeout
            && inbound.marks().0 == head.message_type
            && inbound.body(shelf) == frame.rest[..body_len]
            && inbound.attachment(shelf) == frame.rest[body_len..];
        demand(whole, "a request comes out as it was sent")?;
        let mut metadata = inbound.metadata(shelf);
        for entry in &head.trans_info {
            demand(
                metadata.remove(&entry.key).is_some() || metadata.get(&entry.key).is_none(),
                "metadata comes out as it was sent",
            )?;
        }
        demand(metadata.is_empty(), "no metadata is invented")?;
        demand(
            (inbound.reply_to.exchange() == Exchange::OneWay) == is_one_way,
            "one-way is what was sent one-way",
        )?;
        let bytes = inbound.frame_bytes();
        self.owed.push((inbound.reply_to, due, bytes));
        self.is_over_budget |= self.held() >= BYTES_MAX;
        Ok(())
    }

    /// Takes frames that are refused off the list, up to the next that comes out as a call, if there is one.
    fn pass_over_refused(&mut self) -> Option<(Frame, Due, bool)> {
        while let Some(frame) = self.frames.pop_front() {
            match fate(&frame) {
                Fate::Call { due, is_one_way } => return Some((frame, due, is_one_way)),
                Fate::Refused { due } => {
                    self.due.extend(due);
                    self.glitches += 1;
                }
                Fate::Stream => self.note_stream(&frame),
            }
        }
        None
    }

    /// A stream that is asked for is refused, and what belongs to none is reset, once.
    fn note_stream(&mut self, frame: &Frame) {
        let id = frame.stream_id;
        let payload = [&frame.head[..], &frame.rest[..]].concat();
        let is_sound = match frame.stream_frame_type {
            1 => InitMeta::decode(&payload).is_ok(),
            4 => return,
            _ if self.closed_streams.contains(&id) => return,
            _ => false,
        };
        self.closed_streams.insert(id);
        self.due_on_streams.push(id);
        self.glitches += u32::from(!is_sound);
    }

    /// A handler finishes: any of them, with any outcome.
    fn answer_one(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        let at = self.wire.random.below(self.owed.len());
        let (to, mut due, _) = self.owed.swap_remove(at);
        self.is_over_budget &= self.held() >= BYTES_MAX / 2;
        let (result, payload) = self.outcome();
        due.payload = payload;
        if to.exchange() == Exchange::Unary {
            self.due.push(due);
        }
        let leaving = self.wire.random.once_in(8);
        let (machine, wire) = (&mut self.machine, &mut self.wire);
        machine.respond(to, result, leaving, &mut wire.output, wire.now);
    }

    /// What a handler returns, and what of it the peer must find: nothing if it says no or too much.
    fn outcome(&mut self) -> (Result<Response, Status>, Option<Bytes>) {
        let random = &mut self.wire.random;
        let length = *random.pick(&[0, 1, 40, 2000, FRAME_BYTES_MAX, 20_000]);
        if random.once_in(4) {
            return (Err(Status::internal("x".repeat(length))), None);
        }
        let mut response: Response = Response::new(vec![random.byte(); length].into());
        if random.once_in(4) {
            response.set_attachment(Bytes::from_static(b"attached"));
        }
        let metadata_length = *random.pick(&[0, 0, 0, 0, 0, 0, 5, 70_000]);
        if metadata_length > 0 {
            let value = vec![b'v'; metadata_length];
            response.metadata_mut().insert("key", value);
        }
        let fits = length + metadata_length < FRAME_BYTES_MAX;
        let payload = [&response.body().to_bytes()[..], &response.attachment()[..]].concat();
        (Ok(response), fits.then(|| payload.into()))
    }

    fn check_bounds(&self) -> Result<(), String> {
        let calls = self.owed.len();
        demand(
            self.machine.in_flight() == calls,
            "in flight is what came out and was not answered",
        )?;
        demand(calls <= CALLS_MAX, "no more calls than allowed")?;
        demand(
            calls == 0 || !self.is_over_budget || !self.machine.wants_input(0),
            "a connection that held too much is read again at half of that",
        )?;
        demand(
            self.machine.bytes_missing() <= FRAME_BYTES_MAX,
            "no more bytes are waited for than a frame may have",
        )
    }

    /// What the requests in the hands of handlers hold, tiny ones rounded up as the machine does.
    fn held(&self) -> usize {
        self.owed.iter().map(|(.., bytes)| (*bytes).max(256)).sum()
    }

    /// What was written are whole frames; each answers what was asked, once.
    fn check_answers(&mut self) -> Result<(), String> {
        let written = reference::read(&self.wire.written, &Limits::default());
        let bytes: usize = written.frames.iter().map(Frame::bytes).sum();
        demand(
            !written.broken && bytes == self.wire.written.len(),
            "what is written are whole frames",
        )?;
        // Where the connection ended early, refusals of the last frames may be missing.
        self.pass_over_refused();
        for frame in written.frames {
            if frame.is_stream {
                let asked = self
                    .due_on_streams
                    .iter()
                    .position(|id| *id == frame.stream_id);
                let asked = asked.ok_or("a stream is answered that is nobody's")?;
                self.due_on_streams.swap_remove(asked);
                continue;
            }
            let head = ResponseProtocol::decode(&frame.head[..]).map_err(|e| e.to_string())?;
            let asked = self.due.iter().position(|due| due.fits(&head, &frame));
            let asked = asked.ok_or_else(|| format!("nobody asked for {head:?}"))?;
            self.due.swap_remove(asked);
        }
        let all_answered =
            (self.due.is_empty() && self.due_on_streams.is_empty()) || self.end.is_some();
        demand(
            all_answered,
            "everybody who asked for an answer has got one",
        )
    }
}

impl Due {
    fn fits(&self, head: &ResponseProtocol, frame: &Frame) -> bool {
        let ids = (head.request_id, frame.stream_id, frame.version);
        if ids != (self.request_id, self.stream_id, self.version) {
            return false;
        }
        let failed = head.ret != 0 || head.func_ret != 0;
        match &self.payload {
            None => failed && frame.rest.is_empty(),
            Some(payload) => !failed && frame.rest[..] == payload[..],
        }
    }
}

fn fate(frame: &Frame) -> Fate {
    if frame.is_stream {
        return Fate::Stream;
    }
    let unread = Due {
        request_id: frame.stream_id,
        stream_id: frame.stream_id,
        version: frame.version,
        payload: None,
    };
    let head = match RequestProtocol::decode(&frame.head[..]) {
        Ok(head) if !frame.head.is_empty() => head,
        _ => return Fate::Refused { due: Some(unread) },
    };
    let due = Due {
        request_id: head.request_id,
        ..unread
    };
    let is_one_way = head.call_type == 1;
    if head.attachment_size as usize > frame.rest.len() {
        Fate::Refused {
            due: (!is_one_way).then_some(due),
        }
    } else if head.call_type > 1 {
        Fate::Refused { due: Some(due) }
    } else {
        Fate::Call { due, is_one_way }
    }
}
