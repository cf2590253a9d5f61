//! Calls of our client on a server of tRPC-Java.

use std::future::{IntoFuture, poll_fn};
use std::net::SocketAddr;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tern::codec::compress::Snappy;
use tern::{Bytes, Call, Clock, Code, Compression, Format, Limits, MethodDescriptor, Origin, park};

use super::calls::{
    GZIP, NO_METHOD, NO_SERVICE, SNAPPY, TIMEOUT, all, builder, built, channel, channel_with,
    client, client_with, echo, expect_status, pause,
};
use super::{asked, pattern};
use crate::check::Check;
use crate::go::Go;
use crate::java::Java;
use crate::pb::{InteropClient, UnaryRequest, UnaryResponse};

/// Where the servers come from: each check has one of its own.
#[derive(Debug, Clone, Copy)]
pub struct Peers {
    /// The peer.
    pub java: &'static Java,
    /// For what the two do to each other; where there is no Go, that is left out.
    pub go: Option<&'static Go>,
}

/// All of them.
pub const CHECKS: [Check<Peers>; 39] = [
    check("empty", |peers| echo_of(*peers, 0)),
    check("small", |peers| echo_of(*peers, 32)),
    check("1 MiB", |peers| echo_of(*peers, 1 << 20)),
    check("nearly the longest frame", |peers| {
        echo_of(*peers, 10 * 1024 * 1024 - 256);
    }),
    check("longer than Java reads", too_long),
    check("business error 10001", |peers| business(*peers, 10_001)),
    check("business error -7", |peers| business(*peers, -7)),
    check("an exception nobody knows: ret 999", uncaught),
    check("unknown method", |peers| unknown(*peers, &NO_METHOD)),
    check("unknown service", |peers| unknown(*peers, &NO_SERVICE)),
    check("a full queue: ret 22", full_queue),
    check("deadline: the call's own, 101", own_deadline),
    check("deadline: inherited, 102", inherited_deadline),
    check("deadline: the server's, in its queue, 21", server_deadline),
    check("deadline on the wire", deadline_on_the_wire),
    check("an answer after the deadline", late_answer),
    check("metadata both ways", metadata),
    check("metadata of 60,000 bytes", long_metadata),
    check("metadata that Java cannot answer", too_long_metadata),
    check("gzip, 64 KiB", |peers| packed(*peers, GZIP, 64 << 10)),
    check("gzip, 10 bytes", |peers| packed(*peers, GZIP, 10)),
    check("gzip, empty", |peers| packed(*peers, GZIP, 0)),
    check("snappy under number 2, a block", |peers| {
        packed(*peers, SNAPPY, 1 << 20);
    }),
    check("snappy under number 2, a stream: ret 1", |peers| {
        unreadable(*peers, SNAPPY);
    }),
    check("zlib: ret 1", |peers| unreadable(*peers, Compression::Zlib)),
    check("snappy block under number 5: ret 1", |peers| {
        unreadable(*peers, Compression::SnappyBlock);
    }),
    check("its answers in gzip", |peers| packs(*peers, "gzip")),
    check("its answers in snappy", |peers| packs(*peers, "snappy")),
    check("an attachment both ways", attachment),
    check("an attachment without a message", lone_attachment),
    check("JSON", json),
    check("1000 calls at once", concurrent),
    check("1000 calls at once, on threads", concurrent_on_threads),
    check("ids begin anew", ids_begin_anew),
    check("one-way, then a call", one_way),
    check("idle, then a call", idle),
    check("idle until Java hangs up, then a call", hung_up),
    check("killed and started again", killed),
    check("told to end under load", told_to_end),
];

const fn check(name: &'static str, run: fn(&Peers)) -> Check<Peers> {
    Check { name, run }
}

fn expect_echo(reply: &UnaryResponse, payload: &[u8]) {
    assert_eq!(reply.served_by, "trpc-java");
    assert_eq!(reply.payload.len(), payload.len(), "bytes of the payload");
    assert!(reply.payload == payload, "another payload came back");
}

/// Calls with a small payload, which has to come back.
fn expect_alive(client: &InteropClient<tern::Channel>) {
    let payload = pattern(16, 99);
    let reply = client.unary(echo(&payload, 0)).wait();
    expect_echo(&reply.expect("the next call works"), &payload);
}

fn echo_of(peers: Peers, length: u32) {
    let server = peers.java.server(&[]);
    let payload = pattern(length as usize, length);
    let call = client(server.address()).unary(echo(&payload, 0));
    let reply = call.timeout(Duration::from_secs(20)).wait();
    expect_echo(&reply.expect("an answer"), &payload);
}

/// Our client does not send it, unless its limits are raised; then Java closes the connection.
fn too_long(peers: &Peers) {
    let server = peers.java.server(&[]);
    let payload = pattern(10 * 1024 * 1024, 4);
    let careful = client(server.address());
    let outcome = careful.unary(echo(&payload, 0)).wait();
    expect_status(outcome, Code::RequestUnencodable, Origin::Local);
    expect_alive(&careful);

    let limits = Limits::client().with_frame_bytes_max(16 * 1024 * 1024);
    let limits = limits.with_pending_bytes_max(32 * 1024 * 1024);
    let careless = InteropClient::new(channel_with(server.address(), limits));
    let outcome = careless.unary(echo(&payload, 0)).wait();
    expect_status(outcome, Code::ConnectionLost, Origin::Local);
    expect_alive(&careless);
}

/// It has ids of 31 bits for its own calls, and ours come back all the same.
fn ids_begin_anew(peers: &Peers) {
    let server = peers.java.server(&[]);
    let builder = builder(server.address()).first_request_id(u32::MAX - 25);
    let client = InteropClient::new(built(builder));
    let payloads: Vec<_> = (0..50).map(|number| pattern(100, number)).collect();
    let calls = payloads.iter().zip((0..).map(|number| number * 7 % 21));
    let calls =
        calls.map(|(payload, delay_ms)| client.unary(echo(payload, delay_ms)).into_future());
    let ended = all(calls.collect());
    for (number, outcome) in &ended {
        expect_echo(outcome.as_ref().expect("an answer"), &payloads[*number]);
    }
    assert_eq!(ended.len(), payloads.len());
}

fn json(peers: &Peers) {
    let server = peers.java.server(&[]);
    let client = client(server.address());
    for length in [0, 1, 100_000] {
        let payload = pattern(length, 19);
        let call = client.unary(echo(&payload, 1)).format(Format::Json);
        expect_echo(&call.wait().expect("an answer"), &payload);
    }
}

fn failing(code: i32) -> UnaryRequest {
    UnaryRequest {
        fail_code: code,
        fail_message: "balance too low: ünïcödé".to_owned(),
        ..UnaryRequest::default()
    }
}

/// Handlers of both kinds.
fn business(peers: Peers, code: i32) {
    for arguments in [&[][..], &["--threads", "2"]] {
        let server = peers.java.server(arguments);
        let client = client(server.address());
        let outcome = client.unary(failing(code)).wait();
        let status = expect_status(outcome, Code::Service(code), Origin::Remote);
        assert_eq!(status.message(), "balance too low: ünïcödé");
        assert!(!status.is_retryable());
        expect_alive(&client);
    }
}

/// Java sets `func_ret` to 999 too; `ret` wins.
fn uncaught(peers: &Peers) {
    for arguments in [&["--uncaught"][..], &["--uncaught", "--threads", "2"]] {
        let server = peers.java.server(arguments);
        let client = client(server.address());
        let outcome = client.unary(failing(5)).wait();
        let status = expect_status(outcome, Code::Framework(999), Origin::Remote);
        assert_eq!(status.message(), "balance too low: ünïcödé");
        expect_alive(&client);
    }
}

fn unknown(peers: Peers, method: &'static MethodDescriptor) {
    let server = peers.java.server(&[]);
    let channel = channel(server.address());
    let call: Call<_, _, UnaryResponse> = Call::new(channel.clone(), method, echo(b"payload", 0));
    expect_status(call.wait(), Code::NoMethod, Origin::Remote);
    expect_alive(&InteropClient::new(channel));
}

/// One thread and one place before it: of ten calls at once two are served.
fn full_queue(peers: &Peers) {
    let server = peers.java.server(&["--threads", "1", "--queue", "1"]);
    let client = client(server.address());
    let calls = (0..10).map(|_| client.unary(echo(b"busy", 300)).into_future());
    let ended = all(calls.collect());
    let (served, refused): (Vec<_>, Vec<_>) =
        ended.into_iter().partition(|(_, outcome)| outcome.is_ok());
    assert!(!served.is_empty() && !refused.is_empty());
    for (_, outcome) in refused {
        let status = expect_status(outcome, Code::Overloaded, Origin::Remote);
        assert!(status.is_retryable(), "it was not run");
    }
    expect_alive(&client);
}

fn own_deadline(peers: &Peers) {
    let server = peers.java.server(&[]);
    asked::own_deadline(server.address());
}

fn inherited_deadline(peers: &Peers) {
    let server = peers.java.server(&[]);
    asked::inherited_deadline(server.address());
}

/// Java looks at it once, before a handler is run: the call that waited for the only thread has lost its time there.
fn server_deadline(peers: &Peers) {
    let server = peers
        .java
        .server(&["--threads", "1", "--timeout-ms", "500"]);
    let client = client(server.address());
    let calls = (0..2).map(|_| client.unary(echo(b"slow", 1_000)).into_future());
    let ended = all(calls.collect());
    let (served, late): (Vec<_>, Vec<_>) =
        ended.into_iter().partition(|(_, outcome)| outcome.is_ok());
    assert_eq!((served.len(), late.len()), (1, 1));
    for (_, outcome) in late {
        expect_status(outcome, Code::ServerTimeout, Origin::Remote);
    }
    expect_alive(&client);
}

fn deadline_on_the_wire(peers: &Peers) {
    let server = peers.java.server(&[]);
    asked::deadline_on_the_wire(server.address());
}

/// The answer that comes after all is dropped, and is not taken for that of another call.
fn late_answer(peers: &Peers) {
    let server = peers.java.server(&[]);
    asked::late_answer(server.address());
}

fn metadata(peers: &Peers) {
    let server = peers.java.server(&[]);
    asked::metadata(server.address());
}

/// tRPC-Java sends back what it got, so this goes both ways.
fn long_metadata(peers: &Peers) {
    let server = peers.java.server(&[]);
    asked::long_metadata(server.address());
}

/// Twice 40,000 bytes do not fit the head of an answer. Java writes them all the same, under a length that is 65,536
/// short, so the id cannot be read: the call waits until its own time is over.
fn too_long_metadata(peers: &Peers) {
    let server = peers.java.server(&[]);
    let client = client(server.address());
    let call = client.unary(echo(b"", 0));
    let call = call.metadata("app-long", pattern(40_000, 6));
    let outcome = call.timeout(Duration::from_millis(500)).wait();
    expect_status(outcome, Code::DeadlineExceeded, Origin::Local);
    expect_alive(&client);
}

fn packed(peers: Peers, compression: Compression, length: usize) {
    let server = peers.java.server(&[]);
    let client = client_with(server.address(), Snappy::sent_as_block());
    for payload in [b"compressible ".repeat(length), pattern(length, 7)] {
        let payload = &payload[..length];
        let call = client.unary(echo(payload, 0));
        let reply = call.compress(compression).wait();
        expect_echo(&reply.expect("an answer"), payload);
    }
}

/// Java answers that it cannot read it.
fn unreadable(peers: Peers, compression: Compression) {
    let server = peers.java.server(&[]);
    let client = client_with(server.address(), Snappy::sent_as_stream());
    let call = client.unary(echo(&b"compressible ".repeat(1_000), 0));
    let outcome = call.compress(compression).wait();
    let status = expect_status(outcome, Code::Malformed, Origin::Remote);
    assert_eq!(status.message(), "codec error");
    expect_alive(&client);
}

/// A server that packs its answers, whatever came, and whatever their size.
fn packs(peers: Peers, compressor: &str) {
    let server = peers
        .java
        .server(&["--compress", compressor, "--compress-min", "1"]);
    let client = client(server.address());
    for length in [0, 10, 64 << 10, 1 << 20] {
        for payload in [b"compressible ".repeat(length), pattern(length, 7)] {
            let payload = &payload[..length];
            let reply = client.unary(echo(payload, 0)).wait();
            expect_echo(&reply.expect("an answer"), payload);
        }
    }
}

fn attachment(peers: &Peers) {
    let server = peers.java.server(&[]);
    let client = client(server.address());
    let attachment = Bytes::from(pattern(5_000, 8));
    let call = client.unary(echo(b"beside it", 0));
    let response = call.attachment(attachment.clone()).wait_response();
    let response = response.expect("an answer");
    expect_echo(response.body(), b"beside it");
    assert!(*response.attachment() == attachment, "another came back");
    let next = client.unary(echo(b"alone", 0)).wait_response();
    assert!(next.expect("an answer").attachment().is_empty());
}

fn lone_attachment(peers: &Peers) {
    let server = peers.java.server(&[]);
    let attachment = Bytes::from(pattern(1 << 20, 9));
    let call = client(server.address()).unary(UnaryRequest::default());
    let response = call.attachment(attachment.clone()).wait_response();
    let response = response.expect("an answer");
    expect_echo(response.body(), b"");
    assert!(*response.attachment() == attachment, "another came back");
}

fn concurrent(peers: &Peers) {
    at_once(*peers, &[]);
}

fn concurrent_on_threads(peers: &Peers) {
    at_once(*peers, &["--threads", "50"]);
}

fn at_once(peers: Peers, arguments: &[&str]) {
    let server = peers.java.server(arguments);
    let client = client(server.address());
    let payloads: Vec<_> = (0..1_000)
        .map(|number| pattern(16 + number as usize, number))
        .collect();
    let calls = payloads.iter().zip(pattern(payloads.len(), 9));
    let calls = calls.map(|(payload, random)| {
        let call = client.unary(echo(payload, u32::from(random % 21)));
        call.timeout(Duration::from_secs(20)).into_future()
    });
    let ended = all(calls.collect());
    for (number, outcome) in &ended {
        let reply = outcome.as_ref().expect("an answer");
        expect_echo(reply, &payloads[*number]);
    }
    assert_eq!(ended.len(), payloads.len());
    assert!(
        !ended.is_sorted_by_key(|(number, _)| *number),
        "no answer overtook another"
    );
}

fn one_way(peers: &Peers) {
    let server = peers.java.server(&[]);
    let channel = channel(server.address());
    let client = InteropClient::new(channel.clone());
    let sent = park::wait(client.unary(echo(b"one way", 0)).one_way());
    sent.expect("not an event loop").expect("it is sent");
    expect_alive(&client);
    // Java answers a one-way call of a method that it does not have; that answer is nobody's.
    let call: Call<_, _, UnaryResponse> = Call::new(channel, &NO_METHOD, echo(b"lost", 0));
    let sent = park::wait(call.one_way());
    sent.expect("not an event loop").expect("it is sent");
    expect_alive(&client);
}

fn idle(peers: &Peers) {
    let server = peers.java.server(&[]);
    asked::idle(server.address());
}

/// Java ends what has been idle for its time, and our client connects again for the next call.
fn hung_up(peers: &Peers) {
    let server = peers.java.server(&["--idle-ms", "500"]);
    let client = client(server.address());
    expect_alive(&client);
    pause(Duration::from_millis(2_500));
    expect_alive(&client);
}

/// Starts so many slow calls, and returns when the server has them.
fn under_way(
    client: &InteropClient<tern::Channel>,
    count: usize,
    delay_ms: u32,
) -> Vec<super::calls::Answering<Result<UnaryResponse, tern::Status>>> {
    let mut calls: Vec<_> = (0..count)
        .map(|_| client.unary(echo(b"slow", delay_ms)).into_future())
        .collect();
    park::wait(poll_fn(|cx| {
        for call in &mut calls {
            assert!(call.as_mut().poll(cx).is_pending());
        }
        Poll::Ready(())
    }));
    // They were sent before this one, on the same connection.
    expect_alive(client);
    calls
}

/// A killed server takes its calls with it, and a new one at its place is found again. It has an address that nobody
/// else uses here, so that nobody takes its port in between.
fn killed(peers: &Peers) {
    let free = SocketAddr::from(([127, 0, 0, 3], 0));
    let server = peers
        .java
        .process(free, &[])
        .expect("a server on a free port");
    let address = server.address();
    let client = client(address);
    expect_alive(&client);
    let calls = under_way(&client, 20, 60_000);
    server.kill();
    let ended = all(calls);
    assert_eq!(ended.len(), 20);
    for (_, outcome) in ended {
        let status = expect_status(outcome, Code::ConnectionLost, Origin::Local);
        assert!(!status.is_retryable(), "they may have run");
    }
    let outcome = client.unary(echo(b"nobody there", 0)).wait();
    let status = expect_status(outcome, Code::Unreachable, Origin::Local);
    assert!(status.is_retryable(), "it was not sent");

    let again = peers
        .java
        .process(address, &[])
        .expect("its port is free again");
    expect_alive_soon(&client);
    drop(again);
}

/// Calls until a call works: after a failed attempt our client waits before it connects again.
fn expect_alive_soon(client: &InteropClient<tern::Channel>) {
    let clock = Clock::system();
    let give_up = clock.now() + TIMEOUT;
    loop {
        let outcome = client.unary(echo(b"again", 0)).wait();
        if outcome.is_ok() || clock.now() >= give_up {
            return expect_echo(&outcome.expect("the new server is found"), b"again");
        }
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Java answers what its threads hold, refuses with 22 what comes after, and then ends.
fn told_to_end(peers: &Peers) {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = peers.java.process(free, &["--threads", "30"]);
    let server = server.expect("a server on a free port");
    let client = client(server.address());
    let calls = under_way(&client, 20, 700);
    server.terminate();
    let ended = all(calls);
    for (_, outcome) in ended {
        expect_echo(&outcome.expect("it was held when the end came"), b"slow");
    }
    assert!(server.ends(), "it does not end");
    let outcome = client.unary(echo(b"nobody there", 0)).wait();
    expect_status(outcome, Code::Unreachable, Origin::Local);
}
