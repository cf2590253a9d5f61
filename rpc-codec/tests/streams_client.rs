//! Streams of an asking end: every frame in every state, and how they end for their users.

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
use rpc_codec::connection::{Answer, ClientConnection, Connection, DRAIN_MARK, Input, Shelf};
use rpc_codec::stream::{CLOSE, CloseMeta, INIT, InitMeta, StreamId};
use rpc_codec::{Limits, WriteQueue, numbers};
use rpc_core::stream::{Pipe, Terms};
use rpc_core::{Body, Clock, Code, Compression, Context as Cx, Format, Request};
use streams::{
    Bell, ID, METHOD, TOKEN, WINDOW, all_told, answer, close, data, frame, incoming, next, read,
};

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
        let request = Request::new(&METHOD, Cx::background(), Body::new());
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
        while let Some(answer) = self.machine.poll_news() {
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
    let reset_by_service = CloseMeta {
        func_ret: 7,
        ..CloseMeta::reset(7, "")
    };
    for (end, told, read) in [
        (CloseMeta::default(), "ok", "end"),
        (failed, "Service(7)", "Service(7)"),
        (CloseMeta::reset(31, ""), "Internal", "Internal"),
        (reset_by_service, "Service(7)", "Service(7)"),
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
    let request = Request::new(&METHOD, Cx::background(), Body::new());
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
