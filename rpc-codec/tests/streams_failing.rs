//! What an answering end does with messages when a stream fails, and with its neighbours: found by the conformance kit.

#[path = "support/reference.rs"]
#[allow(dead_code, reason = "not every test asks for everything")]
mod reference;
#[path = "support/streams.rs"]
#[allow(dead_code, reason = "not every test asks for everything")]
mod streams;

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use rpc_codec::connection::{Connection, Input, ReplyTo, ServerConnection, Shelf};
use rpc_codec::stream::StreamId;
use rpc_codec::{Limits, WriteQueue};
use rpc_core::stream::{Pipe, Terms};
use rpc_core::{Clock, Code, Status};
use streams::{ID, TOKEN, WINDOW, all_told, ask, data, feedback};

struct Server {
    machine: ServerConnection,
    output: WriteQueue,
    now: Instant,
}

impl Server {
    fn new(limits: Limits) -> Self {
        let now = Clock::system().now();
        Self {
            machine: ServerConnection::new(Arc::new(limits), now),
            output: WriteQueue::new(),
            now,
        }
    }

    /// Opens a stream whose peer takes `window` bytes.
    fn open(&mut self, id: u32, window: u32) -> (ReplyTo, Pipe) {
        let (to, _) = self.hear(&ask(id, window));
        let to = to.expect("a stream that is asked for");
        let terms = Terms::plain().clone();
        let waker = Waker::noop().clone();
        let output = &mut self.output;
        let pipe = self.machine.open_stream(&to, TOKEN, terms, waker, output);
        assert_eq!(self.told(), "INIT 0");
        (to, pipe.expect("it is still wanted"))
    }

    /// Who is to be answered, and what is written.
    fn hear(&mut self, bytes: &[u8]) -> (Option<ReplyTo>, String) {
        let mut input = Input::borrowed(bytes, self.now);
        let mut shelf = Shelf::default();
        let mut to = None;
        while let Some(inbound) = self
            .machine
            .next_event(&mut input, &mut shelf, self.now)
            .expect("a connection that lives")
        {
            to = Some(inbound.reply_to);
        }
        (to, self.told())
    }

    fn fail(&mut self, to: ReplyTo, status: Status) -> String {
        let output = &mut self.output;
        self.machine
            .respond(to, Err(status), false, output, self.now);
        self.told()
    }

    fn told(&mut self) -> String {
        self.machine.touch(StreamId(ID));
        self.machine.poll_output(&mut self.output, self.now);
        all_told(&mut self.output)
    }
}

/// Whether they arrived was a matter of luck: of how fast the loop was.
#[test]
fn what_a_handler_said_goes_before_its_failure() {
    for code in [Code::Overloaded, Code::Internal, Code::Framework(999)] {
        let mut server = Server::new(Limits::server());
        let (to, pipe) = server.open(ID, WINDOW);
        pipe.writer.put(Bytes::from_static(b"one"));
        pipe.writer.put(Bytes::from_static(b"three"));
        let ret = rpc_codec::ret::number(code);
        let told = server.fail(to, Status::new(code, "told to"));
        assert_eq!(told, format!("DATA 3, DATA 5, RESET {ret}"));
    }
}

#[test]
fn a_failure_of_the_framework_does_not_wait_for_room() {
    let mut server = Server::new(Limits::server());
    let (to, pipe) = server.open(ID, 3);
    pipe.writer.put(Bytes::from_static(b"one"));
    pipe.writer.put(Bytes::from_static(b"three"));
    let told = server.fail(to, Status::new(Code::DeadlineExceeded, "late"));
    assert_eq!(told, "DATA 3, RESET 101");
    assert_eq!(server.machine.streams(), 0);
}

#[test]
fn a_failure_of_the_service_waits_for_room() {
    let mut server = Server::new(Limits::server());
    let (to, pipe) = server.open(ID, 3);
    pipe.writer.put(Bytes::from_static(b"one"));
    pipe.writer.put(Bytes::from_static(b"three"));
    assert_eq!(server.fail(to, Status::service(7, "no")), "DATA 3");
    let late = Bytes::from_static(b"too late");
    assert!(!pipe.writer.put(late), "who goes on writing is stopped");
    let (_, told) = server.hear(&feedback(ID, 3));
    assert_eq!(told, "DATA 5, RESET 7 of the service");
}

/// With the limits as they are the connection used to stop being read before the stream had gone too far.
#[test]
fn a_peer_that_minds_no_window_loses_its_stream_and_not_its_connection() {
    let mut server = Server::new(Limits::server());
    let (_to, _unread) = server.open(ID, WINDOW);
    let message = data(ID, &vec![1; 4 << 20]);
    // The window and two frames have room for five of them.
    for number in 0..5 {
        assert_eq!(server.hear(&message).1, "");
        assert!(server.machine.wants_input(0), "not after {number}");
    }
    assert_eq!(server.hear(&message).1, "RESET 211");
    assert!(server.machine.wants_input(0));
}
