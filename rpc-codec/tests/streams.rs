//! Streams, one connection at a time: every frame in every state, and what holds their flow back.

#[path = "support/hex.rs"]
mod hex;
#[path = "support/reference.rs"]
#[allow(dead_code, reason = "not every test asks for everything")]
mod reference;
#[path = "support/streams.rs"]
#[allow(dead_code, reason = "not every test asks for everything")]
mod streams;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc_codec::connection::{
    Answer, Arrival, ClientConnection, Connection, DRAIN_MARK, Input, ReplyTo, ServerConnection,
    Shelf,
};
use rpc_codec::stream::{CLOSE, CloseMeta, FEEDBACK, INIT, InitMeta, StreamId};
use rpc_codec::{Limits, ProtocolError, StreamErrors, WriteQueue, numbers};
use rpc_core::message::Exchange;
use rpc_core::stream::{Pipe, Terms};
use rpc_core::{Clock, Code, Compression, Context as Cx, Format, Request, Response, Status};
use streams::{
    Bell, METHOD, all_told, answer, ask, close, data, feedback, frame, next, told, written,
};

const ID: u32 = 100;
const WINDOW: u32 = 65_535;

/// What may come, in the order of the rows of the tables below.
fn incoming() -> Vec<Vec<u8>> {
    let by_service = CloseMeta {
        func_ret: 7,
        ..CloseMeta::default()
    };
    vec![
        ask(ID, WINDOW),
        answer(ID, WINDOW, 0),
        answer(ID, 0, 12),
        data(ID, b"hello"),
        feedback(ID, 5),
        feedback(ID, u32::MAX),
        close(ID, &CloseMeta::default()),
        close(ID, &by_service),
        close(ID, &CloseMeta::reset(31, "boom")),
        close(ID, &CloseMeta::reset(0, "plain")),
        frame(5, ID, b""),
        frame(INIT, ID, b"\xff"),
        frame(FEEDBACK, ID, b"\xff"),
        frame(CLOSE, ID, b"\xff"),
    ]
}

/// An answering end and what its driver would hold.
struct Server {
    machine: ServerConnection,
    output: WriteQueue,
    now: Instant,
    to: Option<ReplyTo>,
    pipe: Option<Pipe>,
    bell: Arc<Bell>,
    waker: Waker,
}

const TOKEN: u64 = 77;

impl Server {
    fn new(limits: Limits) -> Self {
        let now = Clock::system().now();
        let (bell, waker) = Bell::new();
        Self {
            machine: ServerConnection::new(Arc::new(limits), now),
            output: WriteQueue::new(),
            now,
            to: None,
            pipe: None,
            bell,
            waker,
        }
    }

    /// One with an open stream, whose INIT has been looked at.
    fn open(limits: Limits, window: u32) -> Self {
        let mut server = Self::new(limits);
        assert_eq!(server.hear(&ask(ID, window)), "asks");
        server.accept();
        server
    }

    fn accept(&mut self) {
        let to = self.to.as_ref().expect("a stream that is asked for");
        let terms = Terms::plain().clone();
        self.pipe =
            self.machine
                .open_stream(to, TOKEN, terms, self.waker.clone(), &mut self.output);
        assert_eq!(self.flush(), "INIT 0");
    }

    /// What comes of these bytes, in words: events first, then what is written.
    fn hear(&mut self, bytes: &[u8]) -> String {
        let mut words = Vec::new();
        let mut input = Input::borrowed(bytes, self.now);
        let mut shelf = Shelf::default();
        while let Some(arrival) = self
            .machine
            .next_event(&mut input, &mut shelf, self.now)
            .expect("a connection that lives")
        {
            match arrival {
                Arrival::Request(inbound) => {
                    assert_eq!(inbound.reply_to.exchange(), Exchange::Stream);
                    self.to = Some(inbound.reply_to);
                    words.push("asks".to_owned());
                }
                Arrival::StreamGone(token) => {
                    assert_eq!(token, TOKEN);
                    words.push("gone".to_owned());
                }
            }
        }
        words.extend(Some(self.flush()).filter(|said| !said.is_empty()));
        words.join(", ")
    }

    fn flush(&mut self) -> String {
        if self.bell.rang() {
            self.machine.touch(StreamId(ID));
        }
        self.machine.poll_output(&mut self.output, self.now);
        all_told(&mut self.output)
    }

    fn respond(&mut self, result: Result<Response, Status>) -> String {
        let to = self.to.take().expect("a stream");
        self.machine
            .respond(to, result, false, &mut self.output, self.now);
        self.flush()
    }

    /// What is read next on the stream, in a word.
    fn reads(&self) -> String {
        let pipe = self.pipe.as_ref().expect("an open stream");
        read(pipe)
    }
}

fn read(pipe: &Pipe) -> String {
    match next(&pipe.reader) {
        Poll::Pending => "waits".into(),
        Poll::Ready(None) => "end".into(),
        Poll::Ready(Some(Ok(message))) => format!("message of {}", message.len()),
        Poll::Ready(Some(Err(status))) => format!("{:?}", status.code()),
    }
}

/// An answering end in every state, and what comes of every frame there.
#[test]
fn every_frame_in_every_state_of_an_answering_end() {
    type Make = fn() -> Server;
    const RESET: &str = "RESET 1000";
    let none: Make = || Server::new(Limits::server());
    let asked: Make = || {
        let mut server = Server::new(Limits::server());
        assert_eq!(server.hear(&ask(ID, WINDOW)), "asks");
        server
    };
    let open: Make = || Server::open(Limits::server(), WINDOW);
    let remote_closed: Make = || {
        let mut server = Server::open(Limits::server(), WINDOW);
        assert_eq!(server.hear(&close(ID, &CloseMeta::default())), "");
        server
    };
    // The handler has returned, and a message waits for the window.
    let answered: Make = || {
        let mut server = Server::open(Limits::server(), 1);
        let pipe = server.pipe.take().unwrap();
        pipe.writer.put(Bytes::from_static(b"one"));
        pipe.writer.put(Bytes::from_static(b"two"));
        drop(pipe);
        assert_eq!(server.respond(Ok(Response::new(Bytes::new()))), "DATA 3");
        server
    };
    let closed: Make = || {
        let mut server = Server::open(Limits::server(), WINDOW);
        assert_eq!(server.respond(Ok(Response::new(Bytes::new()))), "CLOSE");
        server
    };
    let gone = "gone, RESET 1000";
    let bad = "gone, RESET 1";
    // ask, accept, refuse, DATA, FEEDBACK, too much of it, CLOSE, func_ret, RESET 31, RESET 0, type 5, damaged INIT,
    // FEEDBACK, CLOSE
    let table: [(&str, Make, [&str; 14]); 6] = [
        (
            "none",
            none,
            [
                "asks", "asks", "asks", RESET, RESET, RESET, "", "", "", "", "RESET 1", "RESET 1",
                RESET, "",
            ],
        ),
        (
            "asked",
            asked,
            [
                RESET, RESET, RESET, RESET, RESET, RESET, RESET, RESET, "", "", "RESET 1", RESET,
                RESET, "",
            ],
        ),
        (
            "open",
            open,
            [
                gone, gone, gone, "", "", gone, "", "", "gone", "gone", bad, gone, bad, bad,
            ],
        ),
        (
            "remote closed",
            remote_closed,
            [
                gone, gone, gone, gone, "", gone, gone, gone, "gone", "gone", bad, gone, bad, bad,
            ],
        ),
        (
            "answered",
            answered,
            [
                RESET,
                RESET,
                RESET,
                "",
                "DATA 3, CLOSE",
                "RESET 1000",
                "",
                "",
                "",
                "",
                "RESET 1",
                RESET,
                "RESET 1",
                "RESET 1",
            ],
        ),
        (
            "closed",
            closed,
            [
                "asks", "asks", "asks", "", "", "", "", "", "", "", "", "RESET 1", "", "",
            ],
        ),
    ];
    for (state, make, reactions) in table {
        let frames = incoming();
        assert_eq!(frames.len(), reactions.len());
        for (number, (bytes, reaction)) in frames.iter().zip(reactions).enumerate() {
            let mut server = make();
            assert_eq!(server.hear(bytes), reaction, "{state}, frame {number}");
            // What was reset is answered no more, and neither is what comes behind it.
            if reaction.contains("RESET") || reaction.contains("gone") {
                assert_eq!(server.machine.streams(), 0, "{state}, frame {number}");
                assert_eq!(server.hear(&data(ID, b"late")), "");
                if server.to.is_some() {
                    assert_eq!(server.respond(Ok(Response::new(Bytes::new()))), "");
                }
            }
            assert_eq!(server.hear(&ask(ID + 1, WINDOW)), "asks", "it lives on");
        }
    }
}

#[test]
fn the_handler_learns_how_the_peer_ended() {
    let cases: [(Vec<u8>, &str); 4] = [
        (close(ID, &CloseMeta::default()), "end"),
        (close(ID, &CloseMeta::reset(161, "")), "Cancelled"),
        (close(ID, &CloseMeta::reset(0, "")), "Framework(1000)"),
        (ask(ID, 1), "Framework(1000)"),
    ];
    for (bytes, end) in cases {
        let mut server = Server::open(Limits::server(), WINDOW);
        server.hear(&data(ID, b"hello"));
        assert_eq!(server.reads(), "message of 5");
        server.hear(&bytes);
        assert_eq!(server.reads(), end);
    }
    let mut server = Server::open(Limits::server(), WINDOW);
    server.machine.handle_eof();
    assert_eq!(server.reads(), "Framework(201)");
    let server = Server::open(Limits::server(), WINDOW);
    drop(server.machine);
    assert_eq!(read(server.pipe.as_ref().unwrap()), "Framework(201)");
}

#[test]
fn a_stream_ends_as_it_was_answered() {
    let cases: [(fn() -> Status, &str); 4] = [
        (|| Status::internal("boom"), "RESET 31"),
        (|| Status::service(7, "no"), "DATA 5, CLOSE func 7"),
        (
            || Status::new(Code::Overloaded, "").from_remote(),
            "DATA 5, CLOSE func 22",
        ),
        (|| Status::new(Code::Framework(0), ""), "RESET 999"),
    ];
    for (status, told) in cases {
        let mut server = Server::open(Limits::server(), WINDOW);
        let pipe = server.pipe.take().unwrap();
        pipe.writer.put(Bytes::from_static(b"hello"));
        assert_eq!(server.respond(Err(status())), told);
        assert_eq!(server.machine.streams(), 0);
        assert!(!pipe.writer.put(Bytes::new()), "nobody reads it");
    }
    let limits = Limits::server().with_stream_errors(StreamErrors::Reset);
    let mut server = Server::open(limits, WINDOW);
    server
        .pipe
        .as_ref()
        .unwrap()
        .writer
        .put(Bytes::from_static(b"hello"));
    let status = Status::service(7, "no");
    assert_eq!(server.respond(Err(status)), "DATA 5, RESET 7");
}

#[test]
fn refusals_say_why_and_leave_nothing_behind() {
    for (status, told) in [
        (Status::new(Code::NoMethod, "none"), "INIT 12"),
        (Status::service(7, "no"), "INIT 7"),
    ] {
        let mut server = Server::new(Limits::server());
        assert_eq!(server.hear(&ask(ID, WINDOW)), "asks");
        assert_eq!(server.respond(Err(status)), told);
        assert!(server.machine.has_answered() && server.machine.streams() == 0);
        for late in [
            data(ID, b""),
            feedback(ID, 1),
            close(ID, &CloseMeta::default()),
        ] {
            assert_eq!(server.hear(&late), "");
        }
    }
}

#[test]
fn one_stream_more_than_allowed_is_refused_as_overload() {
    let mut server = Server::new(Limits::server().with_connection_streams_max(2));
    assert_eq!(server.hear(&ask(1, WINDOW)), "asks");
    assert_eq!(server.hear(&ask(2, WINDOW)), "asks");
    assert_eq!(server.hear(&ask(3, WINDOW)), "INIT 22");
    assert_eq!(server.hear(&data(3, b"")), "", "it is told once");
    assert_eq!(
        server.respond(Err(Status::new(Code::NoMethod, ""))),
        "INIT 12"
    );
    assert_eq!(server.hear(&ask(4, WINDOW)), "asks");
}

#[test]
fn a_late_answer_does_not_end_a_stream_that_has_the_same_id() {
    let mut server = Server::open(Limits::server(), WINDOW);
    let first = server.to.take().unwrap();
    assert_eq!(server.hear(&close(ID, &CloseMeta::reset(161, ""))), "gone");
    assert_eq!(server.hear(&ask(ID, WINDOW)), "asks");
    server.accept();
    let result = Err(Status::internal("late"));
    server
        .machine
        .respond(first, result, false, &mut server.output, server.now);
    assert_eq!(server.flush(), "");
    assert_eq!(server.machine.streams(), 1);
    assert_eq!(server.respond(Ok(Response::new(Bytes::new()))), "CLOSE");
}

#[test]
fn metadata_goes_behind_the_last_message_and_so_does_the_drain_mark() {
    let mut server = Server::open(Limits::server(), WINDOW);
    let mut response = Response::new(Bytes::new());
    response.metadata_mut().insert("app-cost", "37");
    let to = server.to.take().unwrap();
    server
        .machine
        .respond(to, Ok(response), true, &mut server.output, server.now);
    assert!(server.machine.has_told_of_leaving());
    server.machine.poll_output(&mut server.output, server.now);
    let frames = written(&mut server.output);
    let read = CloseMeta::read_metadata(&frames[0].rest.clone().into());
    let read: Vec<_> = read
        .iter()
        .map(|(key, value)| (key.as_str(), &value[..]))
        .collect();
    assert_eq!(read, [("app-cost", &b"37"[..]), (DRAIN_MARK, &b"1"[..])]);
}

#[test]
fn metadata_that_fits_no_frame_fails_the_stream() {
    let limits = Limits::server().with_frame_bytes_max(300);
    let mut server = Server::open(limits, WINDOW);
    let mut response = Response::new(Bytes::new());
    response.metadata_mut().insert("key", vec![b'v'; 300]);
    assert_eq!(server.respond(Ok(response)), "RESET 2");
}

#[test]
fn a_message_waits_for_the_window_and_may_overshoot_it() {
    let mut server = Server::open(Limits::server(), 3);
    let pipe = server.pipe.take().unwrap();
    for length in [2, 9, 0, 4] {
        pipe.writer.put(Bytes::from(vec![1; length]));
    }
    assert_eq!(server.flush(), "DATA 2, DATA 9");
    assert_eq!(server.hear(&feedback(ID, 8)), "", "exactly nothing is left");
    assert_eq!(server.hear(&feedback(ID, 1)), "DATA 0, DATA 4");
    pipe.writer.put(Bytes::new());
    assert_eq!(server.flush(), "");
    assert_eq!(server.respond(Ok(Response::new(Bytes::new()))), "");
    assert_eq!(server.hear(&feedback(ID, 4)), "DATA 0, CLOSE");
}

#[test]
fn nothing_is_counted_when_either_end_says_0() {
    for (limits, window) in [
        (Limits::server(), 0),
        (Limits::server().without_stream_window(), 5),
    ] {
        let mut server = Server::open(limits, window);
        let pipe = server.pipe.take().unwrap();
        for _ in 0..3 {
            pipe.writer.put(Bytes::from(vec![1; 50_000]));
        }
        assert_eq!(server.flush(), "DATA 50000, DATA 50000, DATA 50000");
        assert_eq!(server.hear(&feedback(ID, u32::MAX)), "", "it is no matter");
        for _ in 0..3 {
            assert_eq!(server.hear(&data(ID, &[1; 50_000])), "");
            assert!(next(&pipe.reader).is_ready());
        }
        assert_eq!(server.flush(), "");
    }
}

#[test]
fn the_peer_is_told_of_a_quarter_of_its_window_when_it_was_taken() {
    let mut server = Server::open(Limits::server(), WINDOW);
    for _ in 0..2 {
        assert_eq!(server.hear(&data(ID, &[1; 8_191])), "");
    }
    assert_eq!(server.hear(&data(ID, &[1; 9])), "");
    for said in ["", "", "FEEDBACK 16391"] {
        assert!(server.reads().starts_with("message"));
        assert_eq!(server.flush(), said);
    }
    // Of what nobody reads it is told at once.
    server.pipe.take();
    assert_eq!(server.flush(), "");
    assert_eq!(server.hear(&data(ID, &[1; 16_384])), "FEEDBACK 16384");
    // And when it has nothing to say any more, it need not know.
    let mut server = Server::open(Limits::server(), WINDOW);
    server.hear(&data(ID, &[1; 20_000]));
    server.hear(&close(ID, &CloseMeta::default()));
    assert_eq!(server.reads(), "message of 20000");
    assert_eq!(
        (server.flush(), server.reads()),
        (String::new(), "end".into())
    );
}

#[test]
fn more_unread_than_a_peer_may_send_resets_the_stream() {
    let limits = Limits::server().with_frame_bytes_max(70_000);
    let mut server = Server::open(limits, WINDOW);
    // The window and two frames.
    for _ in 0..2 {
        assert_eq!(server.hear(&data(ID, &[1; 69_984])), "");
    }
    assert_eq!(server.hear(&data(ID, &[1; 65_567])), "");
    assert_eq!(server.hear(&data(ID, b"1")), "gone, RESET 211");
    assert_eq!(server.reads(), "Framework(211)");

    let limits = Limits::server().with_stream_empty_max(3);
    let mut server = Server::open(limits, WINDOW);
    for _ in 0..3 {
        assert_eq!(server.hear(&data(ID, b"")), "");
    }
    assert_eq!(server.hear(&data(ID, b"")), "gone, RESET 211");
}

#[test]
fn without_windows_the_connection_is_what_waits() {
    let limits = Limits::server()
        .without_stream_window()
        .with_stream_unread_max(100_000);
    let mut server = Server::open(limits, WINDOW);
    let mut messages = 0;
    while server.machine.wants_input(0) {
        server.hear(&data(ID, &[1; 10_000]));
        messages += 1;
        assert!(messages < 20, "it does not wait");
    }
    assert!(messages >= 10, "it waits for {messages} messages");
    let mut read = 0;
    while !server.machine.wants_input(0) {
        assert!(server.reads().starts_with("message"));
        server.flush();
        read += 1;
    }
    let unread = (messages - read) * 10_000;
    assert!((30_000..=50_000).contains(&unread), "{unread} are left");
}

#[test]
fn a_stream_on_which_nothing_happens_is_reset() {
    let mut server = Server::open(Limits::server(), WINDOW);
    let opened = server.now;
    server.now += Duration::from_secs(200);
    assert_eq!(server.hear(&data(ID, b"hello")), "");
    assert!(
        server
            .machine
            .poll_timeout()
            .is_some_and(|at| at <= opened + Duration::from_secs(300))
    );
    server.now = opened + Duration::from_secs(300);
    server.machine.handle_timeout(server.now).unwrap();
    assert!(server.machine.poll_event().is_none(), "it was not silent");
    let due = server.machine.poll_timeout().unwrap();
    assert_eq!(due, opened + Duration::from_secs(500));
    server.now = due;
    server.machine.handle_timeout(due).unwrap();
    assert!(matches!(
        server.machine.poll_event(),
        Some(Arrival::StreamGone(TOKEN))
    ));
    assert_eq!(server.flush(), "RESET 255");
    assert_eq!(server.reads(), "Framework(255)");
    // From here on the connection is idle.
    assert_eq!(server.machine.handle_timeout(due), Err(ProtocolError::Idle));
}

#[test]
fn a_stream_that_waits_too_long_for_the_window_is_reset() {
    let mut server = Server::open(Limits::server(), 1);
    let pipe = server.pipe.take().unwrap();
    for _ in 0..2 {
        pipe.writer.put(Bytes::from_static(b"12"));
    }
    assert_eq!(server.flush(), "DATA 2");
    // An answer does not free it: it still has a message to send.
    assert_eq!(server.respond(Ok(Response::new(Bytes::new()))), "");
    assert!(!server.machine.has_answered());
    let due = server.machine.poll_timeout().unwrap();
    assert_eq!(due, server.now + Duration::from_secs(60));
    server.now = due;
    server.machine.handle_timeout(due).unwrap();
    assert_eq!(server.flush(), "RESET 255");
    assert!(server.machine.poll_event().is_none(), "it was answered");
    assert!(server.machine.has_answered());
}

#[test]
fn a_window_that_can_never_open_again_is_not_waited_for() {
    let mut server = Server::open(Limits::server(), 1);
    let pipe = server.pipe.take().unwrap();
    for _ in 0..2 {
        pipe.writer.put(Bytes::from_static(b"12"));
    }
    assert_eq!(server.hear(&close(ID, &CloseMeta::default())), "DATA 2");
    server.machine.handle_eof();
    assert!(!server.machine.is_finished());
    assert_eq!(server.flush(), "RESET 201");
    assert!(matches!(
        server.machine.poll_event(),
        Some(Arrival::StreamGone(TOKEN))
    ));
    assert!(server.machine.is_finished());
}

#[test]
fn streams_take_turns_and_ends_go_first() {
    let mut server = Server::new(Limits::server().with_stream_output_mark(40));
    let mut pipes = Vec::new();
    let mut duties = Vec::new();
    for id in [1, 2, 3] {
        assert!(server.hear(&ask(id, WINDOW)).starts_with("asks"));
        let to = server.to.take().unwrap();
        let (terms, waker) = (Terms::plain().clone(), Waker::noop().clone());
        let pipe = server
            .machine
            .open_stream(&to, u64::from(id), terms, waker, &mut server.output);
        pipes.push(pipe.unwrap());
        duties.push(to);
    }
    assert_eq!(server.flush(), "INIT 0");
    for pipe in &pipes[..2] {
        for _ in 0..3 {
            pipe.writer.put(Bytes::from_static(b"1234"));
        }
    }
    for id in [1, 2] {
        server.machine.touch(StreamId(id));
    }
    let result = Ok(Response::new(Bytes::new()));
    let to = duties.pop().unwrap();
    server
        .machine
        .respond(to, result, false, &mut server.output, server.now);
    let mut ids = Vec::new();
    loop {
        server.machine.poll_output(&mut server.output, server.now);
        assert!(server.output.len() < 40 + 20 + 16, "it stops at the mark");
        let frames = written(&mut server.output);
        if frames.is_empty() {
            break;
        }
        ids.extend(frames.iter().map(|frame| (told(frame), frame.stream_id)));
    }
    let expected = [
        ("CLOSE", 3),
        ("DATA 4", 1),
        ("DATA 4", 2),
        ("DATA 4", 1),
        ("DATA 4", 2),
    ];
    for ((told, id), expected) in ids.iter().zip(expected) {
        assert_eq!((told.as_str(), *id), expected);
    }
    assert_eq!(ids.len(), 7);
}

#[test]
fn a_flood_of_frames_that_belong_to_nothing_ends_the_connection() {
    let mut limits = Limits::server();
    limits.glitches_max = 5;
    let now = Clock::system().now();
    let mut machine = ServerConnection::new(Arc::new(limits), now);
    let flood: Vec<u8> = (0..20).flat_map(|id| data(id, b"x")).collect();
    let mut input = Input::borrowed(&flood, now);
    let end = machine.next_event(&mut input, &mut Shelf::default(), now);
    assert_eq!(end.err(), Some(ProtocolError::TooManyGlitches { max: 5 }));
}

#[test]
fn an_init_says_what_a_request_would() {
    let request = hex::bytes(
        "093001010000007100000000006400000a5b0a17747270632e746573742e636c69656e742e43616c6c6572121c747270632e746573742e68\
         656c6c6f776f726c642e477265657465721a222f747270632e746573742e68656c6c6f776f726c642e477265657465722f436861741\
         8ffff03",
    );
    let answer = hex::bytes("09300101000000160000000000640000120018ffff03");
    let now = Clock::system().now();
    let mut machine = ServerConnection::new(Arc::new(Limits::server()), now);
    let mut shelf = Shelf::default();
    let mut input = Input::borrowed(&request, now);
    let event = machine.next_event(&mut input, &mut shelf, now).unwrap();
    let Some(Arrival::Request(inbound)) = event else {
        panic!("it asks for a stream");
    };
    assert_eq!(inbound.func(), b"/trpc.test.helloworld.Greeter/Chat");
    assert_eq!(inbound.caller(), b"trpc.test.client.Caller");
    assert_eq!(inbound.callee(), b"trpc.test.helloworld.Greeter");
    assert!(inbound.metadata(&mut shelf).is_empty() && inbound.body(&mut shelf).is_empty());
    assert_eq!((inbound.timeout_ms(), inbound.marks().0), (0, 0));
    assert_eq!(
        (inbound.format(), inbound.compression()),
        (Format::Protobuf, Compression::None)
    );
    assert_eq!(inbound.reply_to.stream_id(), StreamId(100));
    let mut output = WriteQueue::new();
    let (terms, waker) = (Terms::plain().clone(), Waker::noop().clone());
    let pipe = machine.open_stream(&inbound.reply_to, 1, terms, waker, &mut output);
    assert!(pipe.is_some());
    output.with_slices(|pieces| assert_eq!(pieces[0][..], answer));
    let to = inbound.reply_to;
    machine.respond(to, Ok(Response::new(Bytes::new())), false, &mut output, now);
    output.advance(usize::MAX);
    machine.poll_output(&mut output, now);
    let end = hex::bytes("09300104000000100000000000640000");
    output.with_slices(|pieces| assert_eq!(pieces[0][..], end));
}

/// An asking end and what its driver and its user would hold.
struct Client {
    machine: ClientConnection,
    output: WriteQueue,
    now: Instant,
    id: StreamId,
    pipe: Option<Pipe>,
    bell: Arc<Bell>,
}

impl Client {
    /// One that has asked for a stream.
    fn new(limits: Limits) -> Self {
        Self::with(limits, Terms::plain().clone())
    }

    fn with(limits: Limits, terms: Terms) -> Self {
        let now = Clock::system().now();
        let (bell, waker) = Bell::new();
        let mut machine = ClientConnection::new(Arc::new(limits), now);
        let mut output = WriteQueue::new();
        let (ours, theirs) = Pipe::pair();
        let request = Request::new(&METHOD, Cx::background(), Bytes::new());
        let id = machine
            .open_stream(TOKEN, &request, ours, terms, waker, &mut output, now)
            .expect("there is room for one");
        let mut client = Self {
            machine,
            output,
            now,
            id,
            pipe: Some(theirs),
            bell,
        };
        assert_eq!(client.flush(), "INIT?");
        client
    }

    fn open(limits: Limits, window: u32) -> Self {
        let mut client = Self::new(limits);
        assert_eq!(client.hear(&answer(ID, window, 0)), "");
        client
    }

    fn hear(&mut self, bytes: &[u8]) -> String {
        let mut words = Vec::new();
        let mut input = Input::borrowed(bytes, self.now);
        let mut shelf = Shelf::default();
        while let Some(answer) = self
            .machine
            .next_event(&mut input, &mut shelf, self.now)
            .expect("a connection that lives")
        {
            words.push(result(&answer));
        }
        words.extend(Some(self.flush()).filter(|said| !said.is_empty()));
        words.join(", ")
    }

    /// What comes of what the user did: the end of the stream, and what is written.
    fn flush(&mut self) -> String {
        let mut words = Vec::new();
        if self.bell.rang() {
            words.extend(self.machine.touch(self.id).as_ref().map(result));
        }
        self.machine.poll_output(&mut self.output, self.now);
        while let Some(answer) = self.machine.poll_event() {
            words.push(result(&answer));
        }
        words.extend(Some(all_told(&mut self.output)).filter(|said| !said.is_empty()));
        words.join(", ")
    }

    fn reads(&self) -> String {
        read(self.pipe.as_ref().expect("a user"))
    }
}

fn result(answer: &Answer) -> String {
    assert_eq!(answer.token, TOKEN);
    match &answer.result {
        Ok(_) => "ok".into(),
        Err(status) => format!("{:?}", status.code()),
    }
}

#[test]
fn every_frame_in_every_state_of_an_asking_end() {
    type Make = fn() -> Client;
    let init_sent: Make = || Client::new(Limits::client());
    let open: Make = || Client::open(Limits::client(), WINDOW);
    let local_closed: Make = || {
        let mut client = Client::open(Limits::client(), WINDOW);
        client.pipe.as_ref().unwrap().writer.end(Ok(()));
        assert_eq!(client.flush(), "CLOSE");
        client
    };
    let closed: Make = || {
        let mut client = Client::open(Limits::client(), WINDOW);
        assert_eq!(client.hear(&close(ID, &CloseMeta::default())), "ok");
        client
    };
    let broken = "Framework(1000), RESET 1000";
    let bad = "Framework(322), RESET 1";
    let (plain, service, boom) = ("Framework(1000)", "Service(7)", "Internal");
    let table: [(&str, Make, [&str; 14]); 4] = [
        (
            "init sent",
            init_sent,
            [
                "", "", "NoMethod", broken, broken, broken, plain, service, boom, plain, bad, bad,
                broken, bad,
            ],
        ),
        (
            "open",
            open,
            [
                broken, broken, broken, "", "", broken, "ok", service, boom, plain, bad, bad, bad,
                bad,
            ],
        ),
        (
            "local closed",
            local_closed,
            [
                broken, broken, broken, "", "", broken, "ok", service, boom, plain, bad, bad, bad,
                bad,
            ],
        ),
        ("closed", closed, [""; 14]),
    ];
    for (state, make, reactions) in table {
        for (number, (bytes, reaction)) in incoming().iter().zip(reactions).enumerate() {
            let mut client = make();
            assert_eq!(client.hear(bytes), reaction, "{state}, frame {number}");
            let is_over = !reaction.is_empty() || state == "closed";
            assert_eq!(
                client.machine.streams(),
                usize::from(!is_over),
                "{state}, frame {number}"
            );
            if is_over {
                let unclaimed = client.machine.unclaimed();
                assert_eq!(client.hear(bytes), "", "{state}, frame {number}, again");
                assert_eq!(client.machine.unclaimed(), unclaimed + 1);
            }
        }
    }
}

#[test]
fn nothing_is_sent_before_the_server_has_agreed() {
    let mut client = Client::new(Limits::client());
    let mut cx = Context::from_waker(Waker::noop());
    let pipe = client.pipe.take().unwrap();
    pipe.writer.put(Bytes::from_static(b"early"));
    pipe.writer.end(Ok(()));
    assert_eq!(client.flush(), "");
    assert!(pipe.reader.poll_open(&mut cx).is_pending());
    assert_eq!(client.hear(&answer(ID, WINDOW, 0)), "DATA 5, CLOSE");
    assert!(pipe.reader.poll_open(&mut cx).is_ready());
}

#[test]
fn what_came_before_the_end_is_read_before_it() {
    let failed = CloseMeta {
        func_ret: 7,
        ..CloseMeta::default()
    };
    for (end, told, read) in [
        (CloseMeta::default(), "ok", "end"),
        (failed, "Service(7)", "Service(7)"),
        (CloseMeta::reset(31, ""), "Internal", "Internal"),
    ] {
        let mut client = Client::open(Limits::client(), WINDOW);
        assert_eq!(client.hear(&data(ID, b"hello")), "");
        assert_eq!(client.hear(&close(ID, &end)), told);
        assert_eq!(client.reads(), "message of 5");
        assert_eq!(client.reads(), read);
        assert_eq!(client.flush(), "", "no feedback behind the end");
    }
}

#[test]
fn what_comes_is_read_on_the_terms_that_the_server_names() {
    let terms = Terms {
        format: Format::Json,
        compression: Compression::Gzip,
        ..Terms::plain().clone()
    };
    for (named, expected) in [
        ((0, 0), (Format::Json, Compression::Gzip)),
        ((4, 0), (Format::Raw, Compression::Gzip)),
        ((0, 5), (Format::Json, Compression::SnappyBlock)),
    ] {
        let mut client = Client::with(Limits::client(), terms.clone());
        let meta = InitMeta {
            response: Some(rpc_codec::stream::InitResponse::default()),
            content_type: named.0,
            content_encoding: named.1,
            ..InitMeta::default()
        };
        let mut payload = Vec::new();
        meta.encode(&rpc_core::Metadata::new(), &mut payload);
        client.hear(&frame(INIT, ID, &payload));
        let pipe = client.pipe.as_ref().unwrap();
        let read = pipe.reader.terms();
        assert_eq!((read.format, read.compression), expected);
        let write = pipe.writer.terms();
        assert_eq!(
            (write.format, write.compression),
            (Format::Json, Compression::Gzip)
        );
        let fit = Limits::client().message_bytes_fit();
        assert_eq!(
            (read.message_bytes_max, write.message_bytes_max),
            (fit, fit)
        );
    }
    assert_eq!(numbers::content_encoding(Compression::SnappyBlock), 5);
}

#[test]
fn a_user_who_drops_both_halves_gives_the_stream_up() {
    // Whichever goes first, and whether or not a message waits for the window.
    for (window, opens) in [(WINDOW, true), (1, true), (1, false)] {
        for reader_first in [true, false] {
            let mut client = if opens {
                Client::open(Limits::client(), window)
            } else {
                Client::new(Limits::client())
            };
            let Pipe { reader, writer } = client.pipe.take().unwrap();
            for _ in 0..2 {
                writer.put(Bytes::from_static(b"12"));
            }
            client.flush();
            writer.end(Ok(()));
            let said = client.flush();
            let mut ends = said.matches("CLOSE").count();
            let mut told = String::new();
            let halves: [Box<dyn std::any::Any>; 2] = if reader_first {
                [Box::new(reader), Box::new(writer)]
            } else {
                [Box::new(writer), Box::new(reader)]
            };
            for half in halves {
                drop(half);
                let said = client.flush();
                ends += said.matches("CLOSE").count();
                told.push_str(&said);
            }
            assert_eq!(
                told, "Cancelled, RESET 161",
                "{window} {opens} {reader_first}"
            );
            assert_eq!(ends, usize::from(window == WINDOW));
            assert_eq!(client.machine.streams(), 0);
        }
    }
}

#[test]
fn a_writer_that_breaks_off_breaks_the_stream_off() {
    let mut client = Client::open(Limits::client(), WINDOW);
    let Pipe { reader, writer } = client.pipe.take().unwrap();
    drop(writer);
    assert_eq!(client.flush(), "Cancelled, RESET 161");
    assert!(matches!(next(&reader), Poll::Ready(Some(Err(_)))));
}

#[test]
fn a_stream_that_is_cancelled_is_forgotten() {
    for (code, told) in [
        (Code::Cancelled, "RESET 161"),
        (Code::DeadlineExceeded, "RESET 101"),
        (Code::InheritedDeadlineExceeded, "RESET 102"),
    ] {
        let mut client = Client::open(Limits::client(), WINDOW);
        client
            .machine
            .cancel_stream(client.id, code, &mut client.output);
        assert_eq!(client.flush(), told);
        assert_eq!(client.reads(), format!("{code:?}"));
        assert_eq!(client.machine.streams(), 0);
        client
            .machine
            .cancel_stream(client.id, code, &mut client.output);
        assert_eq!(client.flush(), "");
    }
}

#[test]
fn streams_are_lost_with_their_connection() {
    let mut client = Client::open(Limits::client(), WINDOW);
    client.hear(&data(ID, b"unread"));
    assert_eq!(client.machine.forget_all().collect::<Vec<_>>(), [TOKEN]);
    assert_eq!(client.reads(), "Framework(301)");
    let client = Client::new(Limits::client());
    drop(client.machine);
    assert_eq!(read(client.pipe.as_ref().unwrap()), "Framework(301)");
}

#[test]
fn a_silent_server_is_given_up() {
    let mut client = Client::new(Limits::client());
    let due = client.machine.poll_timeout().unwrap();
    assert_eq!(due, client.now + Duration::from_secs(300));
    client.machine.handle_timeout(due).unwrap();
    assert_eq!(client.flush(), "Framework(355), RESET 355");
}

#[test]
fn ids_begin_at_100_and_no_more_are_given_than_may_be_open() {
    let now = Clock::system().now();
    let limits = Limits::client().with_connection_streams_max(3);
    let mut machine = ClientConnection::new(Arc::new(limits), now);
    let mut output = WriteQueue::new();
    let request = Request::new(&METHOD, Cx::background(), Bytes::new());
    let mut open = |token| {
        let (ours, theirs) = Pipe::pair();
        let (terms, waker) = (Terms::plain().clone(), Waker::noop().clone());
        let opened = machine.open_stream(token, &request, ours, terms, waker, &mut output, now);
        (opened, theirs)
    };
    let streams: Vec<_> = (0..3).map(&mut open).collect();
    let ids: Vec<_> = streams
        .iter()
        .map(|(id, _)| id.as_ref().unwrap().0)
        .collect();
    assert_eq!(ids, [100, 101, 102]);
    let (refused, theirs) = open(3);
    let status = refused.unwrap_err();
    assert!(status.code() == Code::ClientOverloaded && status.is_unexecuted());
    assert_eq!(read(&theirs), "ClientOverloaded");
}

#[test]
fn a_leaving_server_says_so_at_the_end_of_a_stream() {
    let mut client = Client::open(Limits::client(), WINDOW);
    let mut payload = Vec::new();
    let metadata = [(DRAIN_MARK, "1"), ("app-cost", "37")]
        .into_iter()
        .collect();
    CloseMeta::default().encode(&metadata, &mut payload);
    let bytes = frame(CLOSE, ID, &payload);
    let mut input = Input::borrowed(&bytes, client.now);
    let answer = client
        .machine
        .next_event(&mut input, &mut Shelf::default(), client.now)
        .unwrap()
        .unwrap();
    let response = answer.result.unwrap();
    assert_eq!(
        response.metadata().get("app-cost"),
        Some(&Bytes::from_static(b"37"))
    );
    assert!(client.machine.is_leaving());
}
