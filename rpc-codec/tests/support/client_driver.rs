//! The asking machine, with calls that start and are forgotten while answers of all kinds come in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rpc_codec::connection::{Answer, ClientConnection, Connection, RequestId, RequestIds, Shelf};
use rpc_codec::{Limits, ProtocolError};
use rpc_core::message::Exchange;
use rpc_core::method::{Idempotency, Shape};
use rpc_core::{Context, MethodDescriptor, Request};

use super::oracle::{RequestProtocol, ResponseProtocol};
use super::reference::{self, Frame};
use super::wire::{Wire, demand};

const FRAME_BYTES_MAX: usize = 3000;
const FRAME_TIME: Duration = Duration::from_secs(10);
const PENDING_MAX: usize = 6;
/// Calls started in one run; more would only take time.
const STARTED_MAX: usize = 40;

static METHOD: MethodDescriptor = MethodDescriptor {
    index: 0,
    name: "Hello",
    path: "/demo.Greeter/Hello",
    alias: None,
    service: "demo.Greeter",
    idempotency: Idempotency::Unknown,
    shape: Shape::Unary,
    request: rpc_core::MessageType::UNKNOWN,
    reply: rpc_core::MessageType::UNKNOWN,
};

/// Runs a script: four bytes that seed the driver's choices, then what the server sends. Says whether the connection
/// lived to the end of it.
///
/// What must hold: an answer goes to the call that waits for its id, and to no other; nobody waits twice under one id;
/// what nobody waits for is counted; and all that is written are whole frames that ask what was asked.
pub(crate) fn run(script: &[u8]) -> Result<bool, String> {
    let mut driver = Driver::new(script);
    for _ in 0..100 + script.len() {
        driver.step()?;
    }
    driver.finish()
}

struct Driver {
    wire: Wire,
    machine: ClientConnection,
    ids: RequestIds,
    /// The frames of the server that the machine has not shown to have taken, each with where it ends.
    frames: VecDeque<(usize, Frame)>,
    is_damaged: bool,
    received: usize,
    waiting: BTreeMap<RequestId, u64>,
    started: Vec<Started>,
    unclaimed: u64,
    end: Option<ProtocolError>,
}

/// A request that must be found in what was written.
struct Started {
    id: RequestId,
    payload: Vec<u8>,
    is_one_way: bool,
}

impl Driver {
    fn new(script: &[u8]) -> Self {
        let max = u32::try_from(FRAME_BYTES_MAX).expect("a small number");
        let limits = Limits::client()
            .with_frame_bytes_max(max)
            .with_frame_time(FRAME_TIME);
        let mut wire = Wire::new(script);
        let read = reference::read(&wire.coming, &limits);
        // The first ids are those of the corpus. Counting on from the last one does no harm.
        let first = if wire.random.once_in(8) {
            u32::MAX - 1
        } else {
            0
        };
        let mut end = 0;
        let frames = read.frames.into_iter().map(|frame| {
            end += frame.bytes();
            (end, frame)
        });
        Self {
            machine: ClientConnection::new(Arc::new(limits), wire.now),
            ids: RequestIds::starting_at(first),
            wire,
            frames: frames.collect(),
            is_damaged: read.broken,
            received: 0,
            waiting: BTreeMap::new(),
            started: Vec::new(),
            unclaimed: 0,
            end: None,
        }
    }

    fn step(&mut self) -> Result<(), String> {
        match self.wire.random.below(8) {
            0..3 if self.machine.wants_input(self.wire.output.len()) => self.receive(),
            3 => self.pass_time()?,
            4 | 5 if self.may_start() => self.start()?,
            6 => {
                let most = self.wire.random.below(200);
                self.wire.write(most);
            }
            7 if self.wire.random.once_in(4) => self.forget_one(),
            _ => {}
        }
        self.pump()?;
        demand(
            self.machine.in_flight() == self.waiting.len(),
            "in flight is what was started, not answered and not forgotten",
        )?;
        demand(
            self.machine.bytes_missing() <= FRAME_BYTES_MAX,
            "no more bytes are waited for than a frame may have",
        )
    }

    fn finish(mut self) -> Result<bool, String> {
        while self.end.is_none() && !self.wire.coming.is_empty() {
            demand(self.machine.wants_input(0), "answers are always welcome")?;
            self.receive();
            self.pump()?;
        }
        if self.end.is_none() {
            demand(!self.is_damaged, "damage ends the connection")?;
            demand(self.frames.is_empty(), "every complete frame is taken")?;
            self.machine.handle_eof();
            demand(self.machine.is_finished(), "no answer comes after the end")?;
        }
        let mut forgotten: Vec<_> = self.machine.forget_all().collect();
        forgotten.sort_unstable();
        let mut waiting: Vec<_> = self.waiting.values().copied().collect();
        waiting.sort_unstable();
        demand(forgotten == waiting, "who still waits is told so")?;
        demand(self.machine.in_flight() == 0, "nothing is left in flight")?;
        self.wire.write_all()?;
        self.check_requests()?;
        Ok(self.end.is_none())
    }

    fn receive(&mut self) {
        let before = self.wire.coming.len();
        self.wire.receive();
        self.received += before - self.wire.coming.len();
    }

    fn pass_time(&mut self) -> Result<(), String> {
        self.wire.pass_time();
        let asked_for = self.machine.poll_timeout();
        if self.end.is_some() {
            return Ok(());
        }
        let ended = self.machine.handle_timeout(self.wire.now);
        if ended.is_ok() && !self.is_damaged {
            demand(
                !self.wire.is_slow(FRAME_TIME),
                "a frame that takes too long ends the connection",
            )?;
        }
        if let Err(error) = ended {
            let in_time = asked_for.is_some_and(|at| at <= self.wire.now);
            demand(in_time, "a time-out comes no earlier than it was asked for")?;
            let is_due = match error {
                ProtocolError::Idle => self.waiting.is_empty() && self.wire.input.is_empty(),
                ProtocolError::FrameTooSlow => !self.wire.input.is_empty(),
                _ => false,
            };
            demand(is_due, "a connection ends by time for what it does")?;
            self.end = Some(error);
        }
        Ok(())
    }

    fn may_start(&self) -> bool {
        self.waiting.len() < PENDING_MAX && self.started.len() < STARTED_MAX
    }

    fn start(&mut self) -> Result<(), String> {
        let random = &mut self.wire.random;
        if random.once_in(16) {
            // As if the counter had come around.
            self.ids = RequestIds::starting_at(0);
        }
        let token = self.started.len() as u64;
        let length = *random.pick(&[0, 1, 40, 2000, FRAME_BYTES_MAX, 20_000]);
        let mut context = Context::background();
        if random.once_in(4) {
            context.metadata_mut().insert("key", "value");
        }
        let body = vec![random.byte(); length].into();
        let mut request: Request = Request::new(&METHOD, context, body);
        let is_one_way = random.once_in(4);
        if is_one_way {
            request.set_exchange(Exchange::OneWay);
        }
        if random.once_in(4) {
            request.set_attachment(Bytes::from_static(b"attached"));
        }
        let payload = [&request.body().to_bytes()[..], &request.attachment()[..]].concat();
        let queued = self.wire.output.len();
        let (output, now) = (&mut self.wire.output, self.wire.now);
        let started = self
            .machine
            .start(token, &request, &mut self.ids, output, now);
        let Ok(id) = started else {
            demand(payload.len() > 2900, "only what is too long is not sent")?;
            return demand(
                self.wire.output.len() == queued,
                "what is not sent is not written",
            );
        };
        self.started.push(Started {
            id,
            payload,
            is_one_way,
        });
        if !is_one_way {
            let before = self.waiting.insert(id, token);
            demand(before.is_none(), "nobody waits twice under one id")?;
        }
        Ok(())
    }

    fn forget_one(&mut self) {
        let ids: Vec<_> = self.waiting.keys().copied().collect();
        if !ids.is_empty() {
            let id = *self.wire.random.pick(&ids);
            self.machine.forget(id);
            self.waiting.remove(&id);
        }
    }

    fn pump(&mut self) -> Result<(), String> {
        loop {
            let before = self.wire.input.len();
            if self.end.is_none() {
                self.feed()?;
            }
            self.pass_over_unclaimed()?;
            self.wire.note_partial(before);
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
                Ok(Some(answer)) => self.take(answer)?,
                Ok(None) => break,
                Err(error) => {
                    demand(self.is_damaged, "what is not damaged is not refused")?;
                    self.end = Some(error);
                    break;
                }
            }
        }
        self.wire.input.extend_from_slice(input.rest());
        if self.end.is_some() {
            self.pass_over_unclaimed()?;
            demand(
                self.frames.is_empty(),
                "what comes before damage is taken first",
            )?;
        }
        Ok(())
    }

    /// An answer came out: it must be the next that somebody waits for.
    fn take(&mut self, answer: Answer) -> Result<(), String> {
        while let Some((_, frame)) = self.frames.pop_front() {
            let Some(token) = claim(&frame).and_then(|id| self.waiting.remove(&id)) else {
                self.unclaimed += 1;
                continue;
            };
            demand(answer.token == token, "an answer goes to who asked")?;
            return same(answer, &frame);
        }
        Err("an answer came out that nobody sent".into())
    }

    /// What has arrived and did not come out was nobody's.
    fn pass_over_unclaimed(&mut self) -> Result<(), String> {
        let taken = self.received - self.wire.input.len();
        while self.frames.front().is_some_and(|(end, _)| *end <= taken) {
            let (_, frame) = self.frames.pop_front().expect("it was looked at");
            let waited_for = claim(&frame).is_some_and(|id| self.waiting.contains_key(&id));
            demand(!waited_for, "an answer that is waited for comes out")?;
            self.unclaimed += 1;
        }
        demand(
            self.machine.unclaimed() == self.unclaimed,
            "what nobody waits for is counted",
        )
    }

    fn check_requests(&self) -> Result<(), String> {
        let written = reference::read(&self.wire.written, &Limits::default());
        let bytes: usize = written.frames.iter().map(Frame::bytes).sum();
        demand(
            !written.broken && bytes == self.wire.written.len(),
            "what is written are whole frames",
        )?;
        demand(
            written.frames.len() == self.started.len(),
            "a frame for each call",
        )?;
        for (frame, started) in written.frames.iter().zip(&self.started) {
            let head = RequestProtocol::decode(&frame.head[..]).map_err(|e| e.to_string())?;
            let is_asked = (head.request_id, frame.stream_id) == (started.id.0, started.id.0)
                && head.func == METHOD.path.as_bytes()
                && (head.call_type == 1) == started.is_one_way
                && frame.rest == started.payload;
            demand(is_asked, "what is asked is what was to be asked")?;
        }
        Ok(())
    }
}

/// The call that a frame answers, as the reference sees it.
fn claim(frame: &Frame) -> Option<RequestId> {
    if frame.is_stream {
        return None;
    }
    let id = ResponseProtocol::decode(&frame.head[..]).map(|head| head.request_id);
    Some(RequestId(id.unwrap_or(frame.stream_id)))
}

fn same(answer: Answer, frame: &Frame) -> Result<(), String> {
    let Ok(head) = ResponseProtocol::decode(&frame.head[..]) else {
        return demand(answer.result.is_err(), "nonsense is a failure");
    };
    let body_len = frame.rest.len().checked_sub(head.attachment_size as usize);
    match (answer.result, body_len) {
        (Ok(response), Some(body_len)) => {
            let is_whole = (head.ret, head.func_ret) == (0, 0)
                && *response.body() == frame.rest[..body_len]
                && response.attachment()[..] == frame.rest[body_len..];
            demand(is_whole, "an answer comes out as it was sent")
        }
        (Ok(_), None) => Err("an attachment was longer than its frame".into()),
        (Err(status), _) => {
            let failed = (head.ret, head.func_ret) != (0, 0) || body_len.is_none();
            demand(failed, "only failures fail")?;
            demand(
                status.message().len() <= 1200,
                "no text is longer than allowed",
            )
        }
    }
}
