//! Two machines, an asking and an answering one, wired back to back: many streams at once, bytes that are cut anywhere,
//! small windows, users and handlers that read, write and leave when they like. Seeded; `TERN_STREAM_SEEDS` asks for more.
//!
//! What must hold on each stream: what is read is what was written, in order and from the first message on; a direction
//! that ended in order was read whole; both ends agree about how the stream ended; no end holds more unread than its
//! window and one message; and when all is over, nothing is left anywhere.

#[path = "support/random.rs"]
#[allow(dead_code, reason = "not every test asks for everything")]
mod random;
#[path = "support/reference.rs"]
#[allow(dead_code, reason = "not every test asks for everything")]
mod reference;
#[path = "support/streams.rs"]
#[allow(dead_code, reason = "not every test asks for everything")]
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use random::Random;
use rpc_codec::connection::{
    Answer, ClientConnection, Connection, Input, ReplyTo, ServerConnection, Shelf, StreamGone,
};
use rpc_codec::stream::StreamId;
use rpc_codec::{Decoded, Limits, WriteQueue, frame};
use rpc_core::stream::{Pipe, Terms};
use rpc_core::{Body, Clock, Code, Context as Cx, Request, Response, Status};
use streams::{Bell, METHOD, next};

const FRAME_BYTES_MAX: u32 = 3_000;
/// The longest message that is written here.
const MESSAGE_MAX: usize = 2_000;
const STREAMS: usize = 6;
const STEPS: usize = 1_500;

#[test]
fn what_is_said_at_one_end_is_heard_at_the_other() {
    let seeds = std::env::var("TERN_STREAM_SEEDS");
    let seeds = seeds
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(400);
    let mut seen = Seen::default();
    for seed in 0..seeds {
        let mut pair = Pair::new(seed);
        for _ in 0..STEPS {
            pair.step();
        }
        pair.finish(&mut seen);
    }
    println!("{seen:?}");
    // Or nothing would have been tried.
    let least = usize::try_from(seeds).unwrap() / 8;
    for count in [
        seen.ok,
        seen.service,
        seen.framework,
        seen.cancelled,
        seen.given_up,
    ] {
        assert!(count > least, "{seen:?}");
    }
}

/// How streams ended.
#[derive(Debug, Default)]
struct Seen {
    messages: usize,
    ok: usize,
    service: usize,
    framework: usize,
    cancelled: usize,
    given_up: usize,
}

/// One direction as its users see it.
#[derive(Default)]
struct Said {
    /// Lengths of the messages that were written.
    written: Vec<usize>,
    /// How many were read.
    read: usize,
    /// Bytes that came to the machine of the reader.
    arrived: usize,
    /// Bytes that were read there.
    taken: usize,
}

impl Said {
    /// The next message to write.
    fn message(&mut self, length: usize) -> Bytes {
        let fill = u8::try_from(self.written.len() % 251).expect("a small number");
        self.written.push(length);
        Bytes::from(vec![fill; length])
    }

    /// A message was read: it must be the next one.
    fn note(&mut self, message: &Bytes) {
        assert!(
            self.read < self.written.len(),
            "a message that nobody wrote"
        );
        assert_eq!(message.len(), self.written[self.read], "in order");
        let fill = u8::try_from(self.read % 251).expect("a small number");
        assert!(message.iter().all(|byte| *byte == fill), "and whole");
        self.read += 1;
        self.taken += message.len();
    }

    fn is_all_read(&self) -> bool {
        self.read == self.written.len()
    }
}

/// How a handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok,
    Service,
    Framework,
}

/// One stream and the two who use it.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one stream, each asked for by itself"
)]
struct Talk {
    up: Said,
    down: Said,
    user: Option<Pipe>,
    /// The user has ended its direction.
    is_ended: bool,
    handler: Option<Pipe>,
    to: Option<ReplyTo>,
    outcome: Option<Outcome>,
    is_cancelled: bool,
    is_given_up: bool,
    is_gone: bool,
    answer: Option<Result<Response, Status>>,
    bells: [Option<Arc<Bell>>; 2],
}

/// Bytes on their way to one end, and those of them that are no whole frame there.
#[derive(Default)]
struct Wire {
    coming: Vec<u8>,
    rest: Vec<u8>,
}

struct Pair {
    random: Random,
    now: Instant,
    client: ClientConnection,
    server: ServerConnection,
    /// What each has to write: the client, the server.
    outputs: [WriteQueue; 2],
    /// What each has to read: the client, the server.
    wires: [Wire; 2],
    talks: BTreeMap<StreamId, Talk>,
    opened: usize,
    /// The windows of the client and the server; `None` if there are none.
    windows: Option<[usize; 2]>,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl Pair {
    fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let now = Clock::system().now();
        let mut limits = |limits: Limits| {
            let mut limits = limits
                .with_frame_bytes_max(FRAME_BYTES_MAX)
                .with_stream_output_mark(*random.pick(&[1, 100, 5_000]))
                .with_stream_unread_max(*random.pick(&[1_000, 20_000]));
            limits.stream_window = *random.pick(&[0, 1, 3, 50, 1_000, 65_535]);
            Arc::new(limits)
        };
        let (client, server) = (limits(Limits::client()), limits(Limits::server()));
        let windows = [client.stream_window as usize, server.stream_window as usize];
        Self {
            now,
            client: ClientConnection::new(client, now),
            server: ServerConnection::new(server, now),
            outputs: [WriteQueue::new(), WriteQueue::new()],
            wires: [Wire::default(), Wire::default()],
            talks: BTreeMap::new(),
            opened: 0,
            windows: (!windows.contains(&0)).then_some(windows),
            random,
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(1);
        let choice = self.random.below(40);
        match choice {
            0 => self.open(),
            1..16 => self.talk(),
            16..20 => self.answer_calls(choice % 2),
            20..30 => self.write_some(choice % 2),
            _ => self.receive_some(choice % 2),
        }
        self.look_at_bells();
    }

    fn open(&mut self) {
        if self.opened >= STREAMS {
            return;
        }
        self.opened += 1;
        let (ours, theirs) = Pipe::pair();
        let (bell, waker) = Bell::new();
        let request = Request::new(&METHOD, Cx::background(), Body::new());
        let (terms, output) = (Terms::plain().clone(), &mut self.outputs[CLIENT]);
        let token = self.opened as u64;
        let id = self
            .client
            .open_stream(token, &request, ours, terms, waker, output, self.now)
            .expect("there is room");
        let talk = Talk {
            user: Some(theirs),
            bells: [Some(bell), None],
            ..Talk::default()
        };
        assert!(self.talks.insert(id, talk).is_none());
    }

    /// One of those who use a stream does something.
    fn talk(&mut self) {
        if self.talks.is_empty() {
            return;
        }
        let ids: Vec<_> = self.talks.keys().copied().collect();
        let id = *self.random.pick(&ids);
        let length = *self.random.pick(&[0, 1, 7, 100, MESSAGE_MAX]);
        let talk = self.talks.get_mut(&id).expect("it was listed");
        match self.random.below(40) {
            0..10 => talk.user_writes(length),
            10..18 => talk.user_reads(),
            18..28 => talk.handler_writes(length),
            28..36 => talk.handler_reads(),
            36 => talk.user_ends(),
            37 if self.random.once_in(6) => self.cancel(id),
            38 if self.random.once_in(6) && talk.answer.is_none() => {
                talk.is_given_up |= talk.user.take().is_some();
            }
            39 if self.random.once_in(4) => {
                let outcomes = [Outcome::Ok, Outcome::Service, Outcome::Framework];
                let outcome = *self.random.pick(&outcomes);
                self.return_from(id, outcome);
            }
            _ => {}
        }
    }

    fn cancel(&mut self, id: StreamId) {
        let talk = self.talks.get_mut(&id).expect("a stream");
        if talk.answer.is_none() && !talk.is_given_up && !talk.is_cancelled {
            talk.is_cancelled = true;
            let output = &mut self.outputs[CLIENT];
            self.client.cancel_stream(id, Code::Cancelled, output);
        }
    }

    fn return_from(&mut self, id: StreamId, outcome: Outcome) {
        let talk = self.talks.get_mut(&id).expect("a stream");
        let Some(to) = talk.to.take() else {
            return;
        };
        talk.outcome = Some(outcome);
        // What a handler holds goes with it, mostly before its answer is there.
        talk.handler = None;
        let result = match outcome {
            Outcome::Ok => Ok(Response::empty()),
            Outcome::Service => Err(Status::service(7, "no")),
            Outcome::Framework => Err(Status::internal("boom")),
        };
        let output = &mut self.outputs[SERVER];
        self.server.respond(to, result, false, output, self.now);
    }

    /// Each loop looks at the streams that called it.
    fn answer_calls(&mut self, side: usize) {
        let ids: Vec<_> = self.talks.keys().copied().collect();
        for id in ids {
            let rang = self.talks[&id].bells[side]
                .as_ref()
                .is_some_and(|bell| bell.rang());
            if rang && side == CLIENT {
                let answer = self.client.touch(id);
                self.take_answers(answer);
            } else if rang {
                self.server.touch(id);
            }
        }
        self.poll(side);
    }

    fn poll(&mut self, side: usize) {
        let output = &mut self.outputs[side];
        if side == CLIENT {
            self.client.poll_output(output, self.now);
            let mut answers = Vec::new();
            answers.extend(std::iter::from_fn(|| self.client.poll_news()));
            self.take_answers(answers);
        } else {
            self.server.poll_output(output, self.now);
            while let Some(StreamGone(token)) = self.server.poll_news() {
                self.note_gone(token);
            }
        }
    }

    fn take_answers(&mut self, answers: impl IntoIterator<Item = Answer>) {
        for answer in answers {
            let id = id_of(answer.token);
            let talk = self.talks.get_mut(&id).expect("a stream that was opened");
            assert!(talk.answer.is_none(), "a stream ends once");
            assert!(!talk.is_cancelled, "who cancels gets no answer");
            talk.answer = Some(answer.result);
        }
    }

    fn note_gone(&mut self, token: u64) {
        let talk = self.talks.get_mut(&id_of(token)).expect("a stream");
        assert!(talk.to.is_some(), "who has answered is not told");
        assert!(!std::mem::replace(&mut talk.is_gone, true), "it goes once");
        // As when the driver drops a handler.
        talk.handler = None;
    }

    /// The socket of one end takes some bytes.
    fn write_some(&mut self, side: usize) {
        self.poll(side);
        let most = *self.random.pick(&[1, 20, 500, 100_000]);
        self.write(side, most);
    }

    fn write(&mut self, side: usize, most: usize) -> usize {
        let output = &mut self.outputs[side];
        let wire = &mut self.wires[1 - side];
        let before = wire.coming.len();
        output.with_slices(|pieces| {
            let mut left = most;
            for piece in pieces {
                let length = piece.len().min(left);
                wire.coming.extend_from_slice(&piece[..length]);
                left -= length;
            }
        });
        let taken = wire.coming.len() - before;
        output.advance(taken);
        taken
    }

    fn receive_some(&mut self, side: usize) {
        let most = *self.random.pick(&[1, 20, 500, 100_000]);
        self.receive(side, most);
    }

    fn receive(&mut self, side: usize, most: usize) -> usize {
        let is_wanted = if side == CLIENT {
            self.client.wants_input(self.outputs[side].len())
        } else {
            self.server.wants_input(self.outputs[side].len())
        };
        let wire = &mut self.wires[side];
        let length = most.min(wire.coming.len());
        if length == 0 || !is_wanted {
            return 0;
        }
        wire.rest.extend(wire.coming.drain(..length));
        let bytes = Bytes::from(std::mem::take(&mut wire.rest));
        self.count_arrivals(side, &bytes);
        let owned = self.random.once_in(2);
        let mut input = if owned {
            Input::owned(&bytes, bytes.len(), self.now)
        } else {
            Input::borrowed(&bytes, self.now)
        };
        let mut shelf = Shelf::default();
        if side == CLIENT {
            let mut answers = Vec::new();
            let machine = &mut self.client;
            while let Some(answer) = machine
                .next_event(&mut input, &mut shelf, self.now)
                .expect("a sound server")
            {
                answers.push(answer);
            }
            self.take_answers(answers);
        } else {
            while let Some(inbound) = self
                .server
                .next_event(&mut input, &mut shelf, self.now)
                .expect("a sound client")
            {
                self.accept(inbound.reply_to);
            }
            while let Some(StreamGone(token)) = self.server.poll_news() {
                self.note_gone(token);
            }
        }
        self.wires[side].rest = input.rest().to_vec();
        length
    }

    fn accept(&mut self, to: ReplyTo) {
        let id = to.stream_id();
        let (bell, waker) = Bell::new();
        let (terms, output) = (Terms::plain().clone(), &mut self.outputs[SERVER]);
        let token = token_of(id);
        let pipe = self.server.open_stream(&to, token, terms, waker, output);
        let talk = self
            .talks
            .get_mut(&id)
            .expect("a stream that was asked for");
        talk.handler = Some(pipe.expect("nobody gave it up yet"));
        talk.to = Some(to);
        talk.bells[SERVER] = Some(bell);
    }

    /// What arrives at an end and is not read there is bounded by its window.
    fn count_arrivals(&mut self, side: usize, mut bytes: &[u8]) {
        let limits = Limits::default();
        while let Ok(Decoded::Frame(header)) = frame::decode(bytes, &limits) {
            let (this, rest) = bytes.split_at(header.total_len as usize);
            bytes = rest;
            let talk = self.talks.get_mut(&StreamId(header.stream_id));
            if let (2, Some(talk)) = (header.stream_frame_type, talk) {
                let said = if side == CLIENT {
                    &mut talk.down
                } else {
                    &mut talk.up
                };
                said.arrived += this.len() - 16;
                let unread = said.arrived - said.taken;
                let is_read = [talk.user.is_some(), talk.handler.is_some()][side];
                if let (Some(windows), true) = (self.windows, is_read) {
                    assert!(
                        unread <= windows[side] + MESSAGE_MAX,
                        "{unread} bytes unread"
                    );
                }
            }
        }
    }

    /// Lets everybody say goodbye, and looks at what was heard.
    fn finish(mut self, seen: &mut Seen) {
        let ids: Vec<_> = self.talks.keys().copied().collect();
        for round in 0.. {
            assert!(round < 20_000, "it does not come to an end");
            let mut goes_on = false;
            for id in &ids {
                let talk = self.talks.get_mut(id).expect("a stream");
                talk.user_ends();
                talk.user_reads();
                talk.handler_reads();
                if talk.to.is_some() && talk.has_heard_all() {
                    self.return_from(*id, Outcome::Ok);
                }
            }
            for side in [CLIENT, SERVER] {
                self.answer_calls(side);
                goes_on |= self.write(side, usize::MAX) > 0;
                goes_on |= self.receive(side, usize::MAX) > 0;
                self.poll(side);
            }
            let is_over = self.client.streams() + self.server.streams() == 0;
            if is_over && !goes_on && self.talks.values_mut().all(Talk::has_read_all) {
                break;
            }
        }
        assert!(self.outputs.iter().all(WriteQueue::is_empty));
        assert!(
            self.wires
                .iter()
                .all(|wire| wire.coming.is_empty() && wire.rest.is_empty())
        );
        assert!(self.server.has_answered() && self.client.in_flight() == 0);
        assert_eq!(self.client.forget_all().count(), 0);
        for talk in self.talks.values() {
            talk.check(seen);
        }
    }

    fn look_at_bells(&mut self) {
        if self.random.once_in(3) {
            let side = self.random.below(2);
            self.answer_calls(side);
        }
    }
}

/// Streams are named by their number, which their token is, too.
fn id_of(token: u64) -> StreamId {
    StreamId(u32::try_from(token).expect("a small number") + 99)
}

fn token_of(id: StreamId) -> u64 {
    u64::from(id.0 - 99)
}

impl Talk {
    fn user_writes(&mut self, length: usize) {
        let Some(pipe) = self.user.as_ref().filter(|_| !self.is_ended) else {
            return;
        };
        if has_room(pipe) {
            let message = self.up.message(length);
            if !pipe.writer.put(message) {
                self.up.written.pop();
            }
        }
    }

    fn handler_writes(&mut self, length: usize) {
        let Some(pipe) = &self.handler else {
            return;
        };
        if has_room(pipe) {
            let message = self.down.message(length);
            if !pipe.writer.put(message) {
                self.down.written.pop();
            }
        }
    }

    fn user_reads(&mut self) {
        let Some(pipe) = &self.user else {
            return;
        };
        if let Poll::Ready(Some(Ok(message))) = next(&pipe.reader) {
            self.down.note(&message);
        }
    }

    fn handler_reads(&mut self) {
        let Some(pipe) = &self.handler else {
            return;
        };
        if let Poll::Ready(Some(Ok(message))) = next(&pipe.reader) {
            self.up.note(&message);
        }
    }

    fn user_ends(&mut self) {
        if let Some(pipe) = self.user.as_ref().filter(|_| !self.is_ended) {
            pipe.writer.end(Ok(()));
            self.is_ended = true;
        }
    }

    /// Whether a handler has heard its user out, who then must have been heard whole.
    fn has_heard_all(&mut self) -> bool {
        let Some(pipe) = &self.handler else {
            return true;
        };
        match next(&pipe.reader) {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(message))) => {
                self.up.note(&message);
                false
            }
            Poll::Ready(Some(Err(_))) => true,
            Poll::Ready(None) => {
                assert!(
                    self.is_ended && self.up.is_all_read(),
                    "an orderly end comes last"
                );
                true
            }
        }
    }

    /// Whether a user has read all that there is to read.
    fn has_read_all(&mut self) -> bool {
        let Some(pipe) = &self.user else {
            return true;
        };
        match next(&pipe.reader) {
            Poll::Ready(Some(Ok(message))) => {
                self.down.note(&message);
                false
            }
            _ => true,
        }
    }

    /// Both ends must agree.
    fn check(&self, seen: &mut Seen) {
        seen.messages += self.up.read + self.down.read;
        if self.is_cancelled {
            seen.cancelled += 1;
            assert!(self.answer.is_none());
            return;
        }
        let answer = self.answer.as_ref().expect("every stream has an end");
        let code = answer.as_ref().err().map(Status::code);
        if self.is_given_up && code == Some(Code::Cancelled) {
            seen.given_up += 1;
            return;
        }
        assert!(!self.is_gone, "only who leaves ends it for the handler");
        match (self.outcome, code) {
            (Some(Outcome::Ok), None) => seen.ok += 1,
            (Some(Outcome::Service), Some(Code::Service(7))) => seen.service += 1,
            (Some(Outcome::Framework), Some(Code::Internal)) => seen.framework += 1,
            ends => panic!("the ends do not agree: {ends:?}"),
        }
        if self.user.is_some() && self.outcome != Some(Outcome::Framework) {
            assert!(self.down.is_all_read(), "nothing is lost");
        }
    }
}

fn has_room(pipe: &Pipe) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(pipe.writer.poll_room(&mut cx), Poll::Ready(Ok(())))
}
