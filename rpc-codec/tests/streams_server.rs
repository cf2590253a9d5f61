//! Streams of an answering end: every frame in every state, and what holds their flow back.

#[path = "support/hex.rs"]
mod hex;
#[path = "support/reference.rs"]
#[allow(dead_code, reason = "not every test asks for everything")]
mod reference;
#[path = "support/streams.rs"]
#[allow(dead_code, reason = "not every test asks for everything")]
mod streams;

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc_codec::connection::{
    Connection, DRAIN_MARK, Input, ReplyTo, ServerConnection, Shelf, StreamGone,
};
use rpc_codec::stream::{CloseMeta, StreamId};
use rpc_codec::{Decoded, Limits, ProtocolError, StreamErrors, WriteQueue};
use rpc_core::message::Exchange;
use rpc_core::stream::{Pipe, Terms};
use rpc_core::{Clock, Code, Compression, Format, Response, Status};
use streams::{
    Bell, ID, TOKEN, WINDOW, all_told, ask, close, data, feedback, frame, incoming, next, read,
    told, written,
};

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
        while let Some(inbound) = self
            .machine
            .next_event(&mut input, &mut shelf, self.now)
            .expect("a connection that lives")
        {
            assert_eq!(inbound.reply_to.exchange(), Exchange::Stream);
            self.to = Some(inbound.reply_to);
            words.push("asks".to_owned());
        }
        while let Some(StreamGone(token)) = self.machine.poll_news() {
            assert_eq!(token, TOKEN);
            words.push("gone".to_owned());
        }
        words.extend(Some(self.flush()).filter(|said| !said.is_empty()));
        words.join(", ")
    }

    /// Offers a part of a frame, which is nothing yet.
    fn hear_partial(&mut self, bytes: &[u8]) -> String {
        let mut input = Input::borrowed(bytes, self.now);
        let event = self
            .machine
            .next_event(&mut input, &mut Shelf::default(), self.now);
        assert!(matches!(event, Ok(None)) && input.rest() == bytes);
        self.flush()
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

/// An answering end in every state, and what comes of every frame there.
#[test]
#[expect(clippy::too_many_lines, reason = "it is one table")]
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
        assert_eq!(server.respond(Ok(Response::empty())), "DATA 3");
        server
    };
    let closed: Make = || {
        let mut server = Server::open(Limits::server(), WINDOW);
        assert_eq!(server.respond(Ok(Response::empty())), "CLOSE");
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
                    assert_eq!(server.respond(Ok(Response::empty())), "");
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
    let cases = [
        (Status::internal("boom"), "DATA 5, RESET 31"),
        (Status::service(7, "no"), "DATA 5, RESET 7 of the service"),
        (
            Status::new(Code::Overloaded, "").from_remote(),
            "DATA 5, RESET 22 of the service",
        ),
        (Status::new(Code::Framework(0), ""), "DATA 5, RESET 999"),
    ];
    for (status, told) in cases {
        let mut server = Server::open(Limits::server(), WINDOW);
        let pipe = server.pipe.take().unwrap();
        pipe.writer.put(Bytes::from_static(b"hello"));
        assert_eq!(server.respond(Err(status)), told);
        assert_eq!(server.machine.streams(), 0);
        assert!(!pipe.writer.put(Bytes::new()), "nobody reads it");
    }
    let limits = Limits::server().with_stream_errors(StreamErrors::Close);
    let mut server = Server::open(limits, WINDOW);
    server
        .pipe
        .as_ref()
        .unwrap()
        .writer
        .put(Bytes::from_static(b"hello"));
    let status = Status::service(7, "no");
    assert_eq!(server.respond(Err(status)), "DATA 5, CLOSE func 7");
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
    assert_eq!(server.respond(Ok(Response::empty())), "CLOSE");
}

#[test]
fn metadata_goes_behind_the_last_message_and_so_does_the_drain_mark() {
    let mut server = Server::open(Limits::server(), WINDOW);
    let mut response = Response::empty();
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
    let mut response = Response::empty();
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
    assert_eq!(server.respond(Ok(Response::empty())), "");
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
            assert_eq!(server.hear(&data(ID, &vec![1; 50_000])), "");
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
    server.hear(&data(ID, &vec![1; 20_000]));
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
        assert_eq!(server.hear(&data(ID, &vec![1; 69_984])), "");
    }
    assert_eq!(server.hear(&data(ID, &vec![1; 65_567])), "");
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
    assert!(server.machine.poll_news().is_none(), "it was not silent");
    let due = server.machine.poll_timeout().unwrap();
    assert_eq!(due, opened + Duration::from_secs(500));
    server.now = due;
    server.machine.handle_timeout(due).unwrap();
    assert!(matches!(
        server.machine.poll_news(),
        Some(StreamGone(TOKEN))
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
    assert_eq!(server.respond(Ok(Response::empty())), "");
    assert!(!server.machine.has_answered());
    let due = server.machine.poll_timeout().unwrap();
    assert_eq!(due, server.now + Duration::from_secs(60));
    server.now = due;
    server.machine.handle_timeout(due).unwrap();
    assert_eq!(server.flush(), "RESET 255");
    assert!(server.machine.poll_news().is_none(), "it was answered");
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
        server.machine.poll_news(),
        Some(StreamGone(TOKEN))
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
    let result = Ok(Response::empty());
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
    let Some(inbound) = event else {
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
    machine.respond(to, Ok(Response::empty()), false, &mut output, now);
    output.advance(usize::MAX);
    machine.poll_output(&mut output, now);
    let end = hex::bytes("09300104000000100000000000640000");
    output.with_slices(|pieces| assert_eq!(pieces[0][..], end));
}

#[test]
fn any_cut_of_the_bytes_gives_the_same_stream() {
    let frames = [
        feedback(ID, 5),
        data(ID, b"hello"),
        data(ID, b""),
        data(ID + 1, b"nobody's"),
        frame(9, ID + 2, b""),
        data(ID, &[7; 500]),
        close(ID, &CloseMeta::default()),
        data(ID, b"behind the end"),
        ask(ID + 3, 4),
    ];
    let bytes = frames.concat();
    let heard = |piece: usize| {
        let mut server = Server::open(Limits::server(), 1);
        let writer = &server.pipe.as_ref().unwrap().writer;
        for _ in 0..3 {
            writer.put(Bytes::from_static(b"down"));
        }
        let mut words = vec![server.flush()];
        let mut rest = Vec::new();
        let mut reads = Vec::new();
        for piece in bytes.chunks(piece) {
            rest.extend_from_slice(piece);
            // Frame by frame, as what is written depends on what has come so far.
            while let Ok(Decoded::Frame(header)) =
                rpc_codec::frame::decode(&rest, &Limits::server())
            {
                let after = rest.split_off(header.total_len as usize);
                words.push(server.hear(&rest));
                rest = after;
                reads.push(server.reads());
            }
            words.push(server.hear_partial(&rest));
        }
        words.retain(|said| !said.is_empty());
        (words, reads)
    };
    let whole = heard(usize::MAX);
    assert_eq!(whole.0.len(), 6, "{whole:?}");
    for piece in 1..60 {
        assert_eq!(heard(piece), whole, "pieces of {piece}");
    }
}
