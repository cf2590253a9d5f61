//! What tRPC-Java does otherwise than one would think. Should one of these fail, Java has changed, and
//! `docs/interop.md` is to be changed with it.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use rpc_codec::frame::HEADER_BYTES;
use rpc_codec::{FrameHeader, FrameKind, RequestHead};
use tern::codec::StreamErrors;
use tern::{Bytes, Clock, Codecs, Compression, Limits, Server};

use super::java_calls::Peers;
use crate::check::Check;
use crate::go::{Mode, Transport};
use crate::ours::{Handlers, Variant};
use crate::pb::UnaryRequest;
use crate::wire::{self, Request, Wire};

/// All of them.
pub const CHECKS: [Check<Peers>; 30] = [
    check("answers have 0 in bytes 10 to 15", fixed_header),
    check("ids of 32 bits come back, above its own 31", ids),
    check("metadata comes back unasked", metadata),
    check("answers are packed as the server is told", packed),
    check("answers below 65,535 bytes are plain", plain),
    check("the caller's deadline does not end a handler", late),
    check("it ends a wait in the queue: ret 21", queued),
    check("an unknown exception: 999 and 999", uncaught),
    check("a one-way call without a method is answered", one_way),
    check("a one-way call that fails is not", one_way_failing),
    check("no head: ret 12", no_head),
    check("a frame of streams is read as unary", stream_frame),
    check("a head that cannot be read ends it", unreadable_head),
    check("a head past its frame ends it", head_past_frame),
    check("a length of 15 ends it", too_short),
    check("an attachment that lies ends it", attachment),
    check("a body that cannot be read: ret 1", unreadable_body),
    check("an unknown content_type is met with silence", format),
    check("an unknown content_encoding: ret 1", compression),
    check("no body, said to be packed", nothing_packed),
    check("a FIN loses the answers in flight", fin),
    check("a quiet connection ends with calls in flight", idle),
    check("what comes while it ends is refused: ret 22", ending),
    check("its client leaves bytes 10 to 15 empty", client_header),
    check("its client is not told that a connection is cut", cut),
    check("its client writes a head that is too long", long_head),
    check("streams: a unary frame makes it mute", stream_unary),
    check("streams: an unknown method, ret 999", stream_unknown),
    check(
        "streams: its client reads CLOSE with func_ret as success",
        stream_func_ret,
    ),
    check(
        "Go's multiplexed client gets no answer from it",
        go_multiplexed,
    ),
];

const fn check(name: &'static str, run: fn(&Peers)) -> Check<Peers> {
    Check { name, run }
}

fn fixed_header(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    let response = wire.call(&Request::echo(7, b"payload", 0));
    assert_eq!(response.request_id, 7);
    let header = response.header;
    let rest = (header.stream_id, header.version, header.reserved);
    assert_eq!(rest, (0, 0, 0));
    assert_eq!(response.payload(), b"payload");
}

fn ids(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    for id in [0, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0, 1] {
        let response = wire.call(&Request::echo(id, b"payload", 0));
        assert_eq!(response.request_id, id);
        assert_eq!(response.payload(), b"payload");
    }
}

fn metadata(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        metadata: [("mine", "value")].into_iter().collect(),
        ..Request::echo(1, b"payload", 0)
    };
    let response = wire.call(&request);
    assert_eq!(response.metadata.text("mine"), Some("value"));
}

/// A request that is not packed gets a packed answer.
fn packed(peers: &Peers) {
    for (name, number) in [("gzip", 1), ("snappy", 2)] {
        let arguments = ["--compress", name];
        let server = peers.java.server(&arguments);
        let mut wire = Wire::connect(server.address());
        let long = wire.call(&Request::echo(1, &b"a".repeat(66_000), 0));
        assert_eq!(long.content_encoding, number);
        assert!(long.body.len() < 10_000, "{} bytes", long.body.len());
        let short = wire.call(&Request::echo(2, &b"a".repeat(65_000), 0));
        assert_eq!(short.content_encoding, 0);
    }
}

/// A packed request gets a plain answer, unless the server is told otherwise.
fn plain(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    let message = UnaryRequest {
        payload: vec![b'a'; 100_000],
        ..UnaryRequest::default()
    };
    let packed = Codecs::default().compress(Compression::Gzip, &wire::body(&message));
    let request = Request {
        content_encoding: 1,
        body: packed.expect("gzip").expect("it shrinks"),
        ..Request::echo(1, b"", 0)
    };
    let response = wire.call(&request);
    assert_eq!(response.content_encoding, 0);
    assert_eq!(response.payload().len(), 100_000);
}

fn late(peers: &Peers) {
    for arguments in [&[][..], &["--threads", "2"]] {
        let server = peers.java.server(arguments);
        let mut wire = Wire::connect(server.address());
        let request = Request {
            timeout_ms: 500,
            ..Request::echo(1, b"too late", 800)
        };
        assert_eq!(wire.call(&request).payload(), b"too late");
    }
}

fn queued(peers: &Peers) {
    let server = peers.java.server(&["--threads", "1"]);
    let mut wire = Wire::connect(server.address());
    let first = Request::echo(1, b"in front", 300).bytes();
    let second = Request {
        timeout_ms: 50,
        ..Request::echo(2, b"behind", 0)
    };
    wire.send(&[first, second.bytes()].concat());
    let response = wire.response();
    assert_eq!(response.request_id, 1);
    let response = wire.response();
    assert_eq!(response.request_id, 2);
    response.expect_ret(21);
}

fn failing() -> UnaryRequest {
    UnaryRequest {
        fail_code: 5,
        fail_message: "boom".to_owned(),
        ..UnaryRequest::default()
    }
}

fn uncaught(peers: &Peers) {
    let server = peers.java.server(&["--uncaught"]);
    let mut wire = Wire::connect(server.address());
    let response = wire.call(&Request::new(1, &failing()));
    let results = (response.ret, response.func_ret, &response.message[..]);
    assert_eq!(results, (999, 999, "boom"));
    assert!(response.body.is_empty());
    wire.expect_alive();
}

fn one_way(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        call_type: 1,
        func: "/tern.interop.v1.Interop/Nope",
        ..Request::echo(1, b"payload", 0)
    };
    let response = wire.call(&request);
    response.expect_ret(12);
    assert_eq!(response.request_id, 1);
    wire.expect_alive();
}

fn one_way_failing(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        call_type: 1,
        ..Request::new(1, &failing())
    };
    wire.send(&request.bytes());
    // An answer to the first would be there before this one.
    let response = wire.call(&Request::echo(2, b"later", 200));
    assert_eq!(response.request_id, 2);
}

fn no_head(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    wire.send(&frame(FrameKind::Unary, 0, 77, 0, 0));
    let response = wire.response();
    response.expect_ret(12);
    assert_eq!(response.request_id, 0);
    wire.expect_alive();
}

/// What opens a stream.
const INIT: u8 = 1;

/// Its port for unary calls does not look at the kind of a frame: that of an INIT has no head.
fn stream_frame(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    wire.send(&frame(FrameKind::Stream, INIT, 100, 0, 0));
    let response = wire.response();
    response.expect_ret(12);
    wire.expect_alive();
}

fn unreadable_head(peers: &Peers) {
    let server = peers.java.server(&[]);
    // Twelve bytes of 0xff are no head.
    let mut bytes = frame(FrameKind::Unary, 0, 1, 12, 12);
    bytes[HEADER_BYTES..].fill(0xff);
    ends(server.address(), &bytes);
}

fn head_past_frame(peers: &Peers) {
    let server = peers.java.server(&[]);
    ends(server.address(), &frame(FrameKind::Unary, 0, 1, 100, 4));
}

fn too_short(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut bytes = frame(FrameKind::Unary, 0, 1, 0, 0);
    bytes[7] = 15;
    ends(server.address(), &bytes);
}

fn attachment(peers: &Peers) {
    let server = peers.java.server(&[]);
    let request = Request {
        attachment_size: 1_000,
        ..Request::echo(1, b"payload", 0)
    };
    ends(server.address(), &request.bytes());
}

fn unreadable_body(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        body: Bytes::from_static(&[0xff; 9]),
        ..Request::echo(1, b"", 0)
    };
    wire.call(&request).expect_ret(1);
    wire.expect_alive();
}

/// It cannot write the answer that says so.
fn format(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        content_type: 99,
        ..Request::echo(1, b"payload", 0)
    };
    wire.send(&request.bytes());
    let response = wire.call(&Request::echo(2, b"later", 200));
    assert_eq!(response.request_id, 2);
}

fn compression(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        content_encoding: 99,
        ..Request::echo(1, b"payload", 0)
    };
    wire.call(&request).expect_ret(1);
    wire.expect_alive();
}

/// With gzip that is the empty message, with snappy it is damaged.
fn nothing_packed(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    let request = |content_encoding| Request {
        content_encoding,
        ..Request::echo(1, b"", 0)
    };
    assert!(request(1).body.is_empty());
    assert_eq!(wire.call(&request(1)).payload(), b"");
    wire.call(&request(2)).expect_ret(1);
    wire.expect_alive();
}

fn fin(peers: &Peers) {
    let server = peers.java.server(&[]);
    let mut wire = Wire::connect(server.address());
    wire.send(&Request::echo(1, b"lost", 200).bytes());
    wire.finish();
    expect_gone(&mut wire);
}

fn idle(peers: &Peers) {
    let server = peers.java.server(&["--idle-ms", "100"]);
    let mut wire = Wire::connect(server.address());
    wire.send(&Request::echo(1, b"lost", 2_000).bytes());
    let clock = Clock::system();
    let start = clock.now();
    expect_gone(&mut wire);
    let took = clock.now() - start;
    assert!(took < Duration::from_millis(1_500), "after {took:?}");
}

/// Its pool of threads ends first, so what still arrives is refused as if the queue were full.
fn ending(peers: &Peers) {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = peers.java.process(free, &["--threads", "4"]);
    let server = server.expect("a server on a free port");
    let mut wire = Wire::connect(server.address());
    wire.send(&Request::echo(1, b"held", 2_000).bytes());
    // It was handed to the pool before this one.
    wire.expect_alive();
    server.terminate();
    let mut id = 1;
    let refused = loop {
        id += 1;
        let response = wire.call(&Request::echo(id, b"more", 0));
        assert_eq!(response.request_id, id, "the held call is answered first");
        // Until the signal has reached the pool, calls are served.
        if response.ret != 0 {
            break response;
        }
    };
    refused.expect_ret(22);
    assert_eq!(refused.message, "queue size full");
    let held = wire.response();
    assert_eq!((held.request_id, &held.payload()[..]), (1, &b"held"[..]));
    expect_gone(&mut wire);
    assert!(server.ends(), "it does not end");
}

fn client_header(peers: &Peers) {
    let (header, head, _) = first_request(*peers, "small", |_| {});
    let rest = (header.stream_id, header.version, header.reserved);
    assert_eq!(rest, (0, 0, 0));
    let head = RequestHead::decode(&head).expect("Java writes sound heads");
    // It takes nothing off, and as little does it round.
    assert_eq!(head.timeout_ms, 3_000);
    assert_eq!(head.func, b"/tern.interop.v1.Interop/Unary");
    assert_eq!(head.request_id >> 31, 0);
}

/// The call waits until its own time is over, and is a time-out then.
fn cut(peers: &Peers) {
    let (_, _, outcome) = first_request(*peers, "small", drop);
    let reason = outcome.expect_err("the connection was cut");
    assert!(reason.contains("request timeout > 3000 ms"), "{reason}");
}

/// The length of a head has 16 bits: what does not fit is cut off the length, and not off the head.
fn long_head(peers: &Peers) {
    let (header, _, _) = first_request(*peers, "too_long_metadata", drop);
    let beyond = u32::from(header.head_len) + 65_536;
    assert!(header.total_len >= 16 + beyond, "{header:?}");
    assert!((70_000..70_500).contains(&beyond), "{header:?}");
}

/// Runs a case of the client against a listener that reads one request, and does with the connection as it is told.
fn first_request(
    peers: Peers,
    case: &str,
    then: fn(Wire),
) -> (FrameHeader, Bytes, Result<(), String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let read = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        let mut wire = Wire::over(stream);
        let (header, rest) = wire.frame();
        then(wire);
        (header, rest.slice(..usize::from(header.head_len)))
    });
    let mut cases = peers.java.client(address, 1, &[case]);
    let (header, head) = read.join().expect("a request");
    (header, head, cases.remove(0).outcome)
}

/// Streams have a port of their own. What is unary there is not answered, nor what comes after it, and the connection
/// stays.
fn stream_unary(peers: &Peers) {
    let server = peers.java.server(&["--streams"]);
    let init = unknown_stream();
    let mut wire = Wire::connect(server.address());
    wire.send(&init);
    wire.frame();
    wire.send(&Request::echo(1, b"unary", 0).bytes());
    wire.send(&init);
    expect_mute(&mut wire);
}

fn stream_unknown(peers: &Peers) {
    let server = peers.java.server(&["--streams"]);
    let mut wire = Wire::connect(server.address());
    wire.send(&unknown_stream());
    let (header, payload) = wire.frame();
    let kind = (header.kind, header.stream_frame_type, header.stream_id);
    assert_eq!(kind, (FrameKind::Stream, INIT, 100));
    // response_meta { ret: 999, error_msg: .. }
    assert_eq!((payload[0], &payload[2..5]), (0x12, &b"\x08\xe7\x07"[..]));
}

/// That is what C++ sends, and we do only when told: by default our RESET is understood.
fn stream_func_ret(peers: &Peers) {
    let outcome = |how| {
        let limits = Limits::server().with_stream_errors(how);
        let builder = Server::builder().limits(limits);
        let server = Variant::new(Handlers::Async, 1).start_from(builder);
        let mut cases = peers.java.client(server.address(), 1, &["stream_failure"]);
        cases.remove(0).outcome
    };
    assert_eq!(outcome(StreamErrors::Reset), Ok(()));
    let reason = outcome(StreamErrors::Close).expect_err("it sees no failure");
    assert!(reason.contains("the stream ended well"), "{reason}");
}

/// An INIT: request_meta { func: "/Nope" }
fn unknown_stream() -> Vec<u8> {
    let mut bytes = frame(FrameKind::Stream, INIT, 100, 0, 9);
    bytes[HEADER_BYTES..].copy_from_slice(b"\x0a\x07\x1a\x05/Nope");
    bytes
}

/// It goes by bytes 10 to 13, which are 0 in what a server of tRPC-Java answers.
fn go_multiplexed(peers: &Peers) {
    let Some(go) = peers.go else { return };
    let server = peers.java.server(&[]);
    let run = |mode| {
        let mut cases = go.client(server.address(), mode, Transport::Tnet, &["small"]);
        cases.remove(0).outcome
    };
    assert_eq!(run(Mode::Pooled), Ok(()));
    let reason = run(Mode::Multiplexed).expect_err("the answer is not found");
    assert!(reason.contains("deadline exceeded"), "{reason}");
}

/// Sends bytes that end the connection without an answer.
fn ends(address: SocketAddr, bytes: &[u8]) {
    let mut wire = Wire::connect(address);
    wire.send(bytes);
    expect_gone(&mut wire);
}

/// The connection ends without an answer, by a FIN or by a reset.
fn expect_gone(wire: &mut Wire) {
    use std::io::ErrorKind::{ConnectionReset, WouldBlock};
    match wire.next_frame() {
        Ok(None) => {}
        Ok(Some((header, _))) => panic!("an answer instead of the end: {header:?}"),
        Err(error) if error.kind() == ConnectionReset => {}
        Err(error) if error.kind() == WouldBlock => panic!("the connection lives"),
        Err(error) => panic!("no end of the stream: {error}"),
    }
}

/// Nothing comes for a while, and the connection is there.
fn expect_mute(wire: &mut Wire) {
    wire.patience(Duration::from_millis(500));
    match wire.next_frame() {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        other => panic!("it is not mute: {other:?}"),
    }
}

/// A frame with `rest` bytes of 0 behind its header.
fn frame(kind: FrameKind, frame_type: u8, stream_id: u32, head_len: u16, rest: usize) -> Vec<u8> {
    let header = FrameHeader {
        kind,
        stream_frame_type: frame_type,
        total_len: u32::try_from(HEADER_BYTES + rest).expect("short"),
        head_len,
        stream_id,
        version: 1,
        reserved: 0,
    };
    [&header.encode()[..], &vec![0; rest]].concat()
}
