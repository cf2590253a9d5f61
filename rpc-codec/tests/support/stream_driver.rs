//! The machines with streams: frames of all kinds come in pieces, time passes, and those who use the streams do what they
//! like. The peer need not keep to any rule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use rpc_codec::connection::{
    Answer, ClientConnection, Connection, Inbound, ReplyTo, ServerConnection, Shelf, StreamGone,
};
use rpc_codec::stream::StreamId;
use rpc_codec::{Limits, ProtocolError, WriteQueue};
use rpc_core::message::Exchange;
use rpc_core::method::{Idempotency, Shape};
use rpc_core::stream::{Pipe, Terms};
use rpc_core::{Body, Code, Context as Cx, MethodDescriptor, Request, Response, Status};

use super::reference::{self, Frame};
use super::wire::{Wire, demand};

const FRAME_BYTES_MAX: usize = 600;
const WINDOW: usize = 300;
/// Steps of one run; more would only take time.
const STEPS_MAX: usize = 400;
const EMPTY_MAX: usize = 5;
const STREAMS_MAX: usize = 4;
const GLITCHES_MAX: u32 = 6;
/// The first id of a client of ours.
const FIRST_ID: u32 = 100;

static METHOD: MethodDescriptor = MethodDescriptor {
    index: 0,
    name: "Chat",
    path: "/demo.Greeter/Chat",
    alias: None,
    service: "demo.Greeter",
    idempotency: Idempotency::Unknown,
    shape: Shape::Duplex,
    request: rpc_core::MessageType::UNKNOWN,
    reply: rpc_core::MessageType::UNKNOWN,
};

/// Runs a script against an answering end: four bytes that seed the driver's choices, then what the peer sends. Says
/// whether the connection lived to the end of it.
///
/// What must hold: no more streams are open than may be; each ends once; no stream holds more unread than is allowed; on
/// each id, an INIT is written first, then messages, then one end; and all that is written are whole frames.
pub(crate) fn run_server(script: &[u8]) -> Result<bool, String> {
    let mut driver = Driver::new(script, Server::new);
    for _ in 0..(100 + script.len()).min(STEPS_MAX) {
        driver.step()?;
    }
    driver.finish()
}

/// Runs a script against an asking end, which opens streams by itself. The same must hold.
pub(crate) fn run_client(script: &[u8]) -> Result<bool, String> {
    let mut driver = Driver::new(script, Client::new);
    for _ in 0..(100 + script.len()).min(STEPS_MAX) {
        driver.step()?;
    }
    driver.finish()
}

/// A machine and whoever uses its streams.
trait End {
    type Machine: Connection;
    fn machine(&mut self) -> &mut Self::Machine;
    /// Something happened.
    fn event(
        &mut self,
        event: <Self::Machine as Connection>::Event<'_>,
        wire: &mut Rest<'_>,
    ) -> Result<(), String>;
    /// Something else happened.
    fn news(&mut self, news: <Self::Machine as Connection>::News) -> Result<(), String>;
    /// Its owner does something to stream `key`, or opens one.
    fn act(&mut self, wire: &mut Wire) -> Result<(), String>;
    /// Ends all that is open.
    fn end_all(&mut self, wire: &mut Wire) -> Result<(), String>;
    fn touch(&mut self, id: StreamId) -> Result<(), String>;
    fn users(&mut self) -> &mut BTreeMap<u64, User>;
    fn streams(&self) -> usize;
}

/// What is at hand while an event is looked at.
struct Rest<'a> {
    output: &'a mut WriteQueue,
    now: std::time::Instant,
}

/// One stream as those who use it see it.
struct User {
    id: StreamId,
    pipe: Option<Pipe>,
    to: Option<ReplyTo>,
}

struct Driver<E> {
    wire: Wire,
    end: E,
    died: bool,
    is_damaged: bool,
}

fn limits(limits: Limits) -> Arc<Limits> {
    let mut limits = limits
        .with_frame_bytes_max(u32::try_from(FRAME_BYTES_MAX).expect("a small number"))
        .with_connection_streams_max(STREAMS_MAX)
        .with_stream_empty_max(EMPTY_MAX)
        .with_stream_output_mark(2_000);
    limits.stream_window = u32::try_from(WINDOW).expect("a small number");
    limits.glitches_max = GLITCHES_MAX;
    Arc::new(limits)
}

impl<E: End> Driver<E> {
    fn new(script: &[u8], end: fn(&Wire) -> E) -> Self {
        let wire = Wire::new(script);
        let is_damaged = reference::read(
            &wire.coming,
            &Limits::default()
                .with_frame_bytes_max(u32::try_from(FRAME_BYTES_MAX).expect("a small number")),
        )
        .broken;
        Self {
            end: end(&wire),
            wire,
            died: false,
            is_damaged,
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let queued = self.wire.output.len();
        match self.wire.random.below(10) {
            0..3 if self.end.machine().wants_input(queued) => self.wire.receive(),
            3 => self.pass_time()?,
            4 | 5 => self.end.act(&mut self.wire)?,
            6 | 7 => self.use_one()?,
            8 => {
                let most = self.wire.random.below(400);
                self.wire.write(most);
            }
            _ => {}
        }
        self.pump()?;
        demand(
            self.end.streams() <= STREAMS_MAX,
            "no more streams than allowed",
        )
    }

    fn finish(mut self) -> Result<bool, String> {
        let mut rounds = 0;
        while !self.died && !self.wire.coming.is_empty() {
            rounds += 1;
            demand(rounds < 100_000, "it comes to an end")?;
            if self.end.machine().wants_input(0) {
                self.wire.receive();
            }
            for _ in 0..4 {
                self.use_one()?;
            }
            self.wire.write_all()?;
            self.pump()?;
        }
        if !self.died {
            demand(!self.is_damaged, "damage ends the connection")?;
        }
        self.end.end_all(&mut self.wire)?;
        self.end.machine().handle_eof();
        for _ in 0..50 {
            self.poll()?;
            self.wire.write_all()?;
        }
        check_written(&self.wire.written)?;
        Ok(!self.died)
    }

    fn pass_time(&mut self) -> Result<(), String> {
        self.wire.pass_time();
        if self.died {
            return Ok(());
        }
        let asked_for = self.end.machine().poll_timeout();
        let ended = self.end.machine().handle_timeout(self.wire.now);
        if let Err(error) = ended {
            let in_time = asked_for.is_some_and(|at| at <= self.wire.now);
            demand(in_time, "a time-out comes no earlier than it was asked for")?;
            if error == ProtocolError::Idle {
                demand(
                    self.end.streams() == 0,
                    "a connection with streams is not idle",
                )?;
            }
            self.died = true;
        }
        Ok(())
    }

    /// Whoever holds the other end of some pipe reads, writes, or drops something.
    fn use_one(&mut self) -> Result<(), String> {
        let random = &mut self.wire.random;
        let keys: Vec<_> = self.end.users().keys().copied().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let key = *random.pick(&keys);
        let choice = random.below(16);
        let length = *random.pick(&[0, 1, 40, 200, FRAME_BYTES_MAX]);
        let user = self.end.users().get_mut(&key).expect("it was listed");
        let id = user.id;
        let Some(pipe) = &user.pipe else {
            return Ok(());
        };
        let mut cx = Context::from_waker(Waker::noop());
        match choice {
            0..6 => {
                if let Poll::Ready(Some(Ok(message))) = pipe.reader.poll_next(&mut cx) {
                    demand(message.len() <= FRAME_BYTES_MAX, "a message fits a frame")?;
                }
            }
            6..12 => {
                let fits = length <= pipe.writer.terms().message_bytes_max;
                let has_room = matches!(pipe.writer.poll_room(&mut cx), Poll::Ready(Ok(())));
                // Once in a while somebody pays no heed to what fits.
                if has_room && (fits || choice == 6) {
                    pipe.writer.put(Bytes::from(vec![7; length]));
                }
            }
            12 => pipe.writer.end(Ok(())),
            13 => user.pipe = None,
            _ => {}
        }
        self.end.touch(id)
    }

    fn pump(&mut self) -> Result<(), String> {
        let before = self.wire.input.len();
        if !self.died {
            self.feed()?;
        }
        self.wire.note_partial(before);
        self.poll()
    }

    fn poll(&mut self) -> Result<(), String> {
        let queued = self.wire.output.len();
        let (output, now) = (&mut self.wire.output, self.wire.now);
        let said = self.end.machine().poll_output(output, now);
        demand(
            output.len() == queued + said,
            "the machine says how much it has said",
        )?;
        while let Some(news) = self.end.machine().poll_news() {
            self.end.news(news)?;
        }
        Ok(())
    }

    fn feed(&mut self) -> Result<(), String> {
        let bytes = self.wire.input.split().freeze();
        let mut input = self.wire.offer(&bytes);
        let mut shelf = Shelf::default();
        let (output, now) = (&mut self.wire.output, self.wire.now);
        loop {
            match self.end.machine().next_event(&mut input, &mut shelf, now) {
                Ok(Some(event)) => self.end.event(event, &mut Rest { output, now })?,
                Ok(None) => break,
                Err(ProtocolError::TooManyGlitches { .. }) => {
                    self.died = true;
                    break;
                }
                Err(_) => {
                    demand(self.is_damaged, "what is not damaged is not refused")?;
                    self.died = true;
                    break;
                }
            }
        }
        self.wire.input.extend_from_slice(input.rest());
        Ok(())
    }
}

struct Server {
    machine: ServerConnection,
    users: BTreeMap<u64, User>,
    next_token: u64,
    waits: Vec<ReplyTo>,
}

impl Server {
    fn new(wire: &Wire) -> Self {
        Self {
            machine: ServerConnection::new(limits(Limits::server()), wire.now),
            users: BTreeMap::new(),
            next_token: 0,
            waits: Vec::new(),
        }
    }
}

impl End for Server {
    type Machine = ServerConnection;

    fn machine(&mut self) -> &mut ServerConnection {
        &mut self.machine
    }

    fn event(&mut self, inbound: Inbound<'_>, rest: &mut Rest<'_>) -> Result<(), String> {
        if inbound.reply_to.exchange() == Exchange::Stream {
            self.waits.push(inbound.reply_to);
        } else {
            let result = Ok(Response::empty());
            self.machine
                .respond(inbound.reply_to, result, false, rest.output, rest.now);
        }
        Ok(())
    }

    fn news(&mut self, StreamGone(token): StreamGone) -> Result<(), String> {
        let gone = self.users.remove(&token);
        demand(
            gone.is_some(),
            "a stream goes once, and only if it was open",
        )
    }

    /// Accepts or refuses what was asked for, or answers.
    fn act(&mut self, wire: &mut Wire) -> Result<(), String> {
        if !self.waits.is_empty() {
            let at = wire.random.below(self.waits.len());
            let to = self.waits.swap_remove(at);
            if wire.random.once_in(4) {
                let result = Err(Status::new(Code::NoMethod, "none"));
                self.machine
                    .respond(to, result, false, &mut wire.output, wire.now);
                return Ok(());
            }
            let (token, terms) = (self.next_token, Terms::plain().clone());
            let waker = Waker::noop().clone();
            self.next_token += 1;
            let pipe = self
                .machine
                .open_stream(&to, token, terms, waker, &mut wire.output);
            if pipe.is_some() {
                let id = to.stream_id();
                let to = Some(to);
                self.users.insert(token, User { id, pipe, to });
            }
            return Ok(());
        }
        let keys: Vec<_> = self.users.keys().copied().collect();
        if !keys.is_empty() && wire.random.once_in(4) {
            let key = *wire.random.pick(&keys);
            self.answer(key, wire);
        }
        Ok(())
    }

    fn end_all(&mut self, wire: &mut Wire) -> Result<(), String> {
        let keys: Vec<_> = self.users.keys().copied().collect();
        for key in keys {
            self.answer(key, wire);
        }
        for to in std::mem::take(&mut self.waits) {
            let result = Err(Status::new(Code::NoMethod, "none"));
            self.machine
                .respond(to, result, false, &mut wire.output, wire.now);
        }
        Ok(())
    }

    fn touch(&mut self, id: StreamId) -> Result<(), String> {
        self.machine.touch(id);
        Ok(())
    }

    fn users(&mut self) -> &mut BTreeMap<u64, User> {
        &mut self.users
    }

    fn streams(&self) -> usize {
        self.machine.streams()
    }
}

impl Server {
    fn answer(&mut self, key: u64, wire: &mut Wire) {
        let user = self.users.remove(&key).expect("a stream");
        let to = user.to.expect("it is owed an end");
        let result = match wire.random.below(3) {
            0 => Ok(Response::empty()),
            1 => Err(Status::service(7, "no")),
            _ => Err(Status::internal("boom")),
        };
        self.machine
            .respond(to, result, false, &mut wire.output, wire.now);
    }
}

struct Client {
    machine: ClientConnection,
    users: BTreeMap<u64, User>,
    next_token: u64,
}

impl Client {
    fn new(wire: &Wire) -> Self {
        Self {
            machine: ClientConnection::new(limits(Limits::client()), wire.now),
            users: BTreeMap::new(),
            next_token: 0,
        }
    }

    fn end(&mut self, answer: &Answer) -> Result<(), String> {
        let ended = self.users.remove(&answer.token);
        demand(
            ended.is_some(),
            "a stream ends once, and only if it was open",
        )
    }
}

impl End for Client {
    type Machine = ClientConnection;

    fn machine(&mut self) -> &mut ClientConnection {
        &mut self.machine
    }

    fn event(&mut self, answer: Answer, _: &mut Rest<'_>) -> Result<(), String> {
        self.end(&answer)
    }

    fn news(&mut self, answer: Answer) -> Result<(), String> {
        self.end(&answer)
    }

    /// Opens a stream, or cancels one.
    fn act(&mut self, wire: &mut Wire) -> Result<(), String> {
        let keys: Vec<_> = self.users.keys().copied().collect();
        if !keys.is_empty() && wire.random.once_in(8) {
            let key = *wire.random.pick(&keys);
            let user = self.users.remove(&key).expect("a stream");
            self.machine
                .cancel_stream(user.id, Code::Cancelled, &mut wire.output);
            return Ok(());
        }
        let (ours, theirs) = Pipe::pair();
        let request = Request::new(&METHOD, Cx::background(), Body::new());
        let (terms, waker) = (Terms::plain().clone(), Waker::noop().clone());
        let (token, output) = (self.next_token, &mut wire.output);
        let opened = self
            .machine
            .open_stream(token, &request, ours, terms, waker, output, wire.now);
        match opened {
            Ok(id) => {
                demand(id.0 >= FIRST_ID, "no reserved id is used")?;
                let used = self.users.values().any(|user| user.id == id);
                demand(!used, "no id is used twice at a time")?;
                let (pipe, to) = (Some(theirs), None);
                self.users.insert(token, User { id, pipe, to });
                self.next_token += 1;
            }
            Err(_) => demand(
                self.users.len() == STREAMS_MAX,
                "only what is too much is refused",
            )?,
        }
        Ok(())
    }

    fn end_all(&mut self, wire: &mut Wire) -> Result<(), String> {
        for user in std::mem::take(&mut self.users).into_values() {
            self.machine
                .cancel_stream(user.id, Code::Cancelled, &mut wire.output);
        }
        demand(self.machine.streams() == 0, "who cancels all has none")
    }

    fn touch(&mut self, id: StreamId) -> Result<(), String> {
        match self.machine.touch(id) {
            Some(answer) => self.end(&answer),
            None => Ok(()),
        }
    }

    fn users(&mut self) -> &mut BTreeMap<u64, User> {
        &mut self.users
    }

    fn streams(&self) -> usize {
        self.machine.streams()
    }
}

/// What was written are whole frames, and on no stream does anything but a new one follow its end.
fn check_written(written: &[u8]) -> Result<(), String> {
    let read = reference::read(written, &Limits::default());
    let bytes: usize = read.frames.iter().map(Frame::bytes).sum();
    demand(
        !read.broken && bytes == written.len(),
        "what is written are whole frames",
    )?;
    let mut open = BTreeMap::new();
    for frame in read.frames.iter().filter(|frame| frame.is_stream) {
        let state = open.entry(frame.stream_id).or_insert("none");
        *state = match (*state, frame.stream_frame_type) {
            (_, 1) | ("open", 2 | 3) => "open",
            // A client that has half-closed still makes room, and may reset.
            ("open", 4) if frame.rest.is_empty() => "half",
            ("half", 3) => "half",
            ("open" | "half" | "none" | "closed", 4) => "closed",
            (state, other) => return Err(format!("type {other} on a stream that is {state}")),
        };
    }
    Ok(())
}
