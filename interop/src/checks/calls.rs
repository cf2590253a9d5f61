//! Calls of our client on a server of tRPC-Go.

use std::future::{Future, IntoFuture, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tern::codec::compress::Snappy;
use tern::{
    Bytes, Call, Channel, ChannelBuilder, Clock, Code, Codecs, Compression, Fixed, Idempotency,
    Limits, MethodDescriptor, Origin, Shape, Status, park,
};

use super::{asked, pattern};
use crate::check::Check;
use crate::go::{Go, Transport};
use crate::pb::{InteropClient, UnaryRequest, UnaryResponse};

/// Where the servers come from: each check has one of its own.
#[derive(Debug, Clone, Copy)]
pub struct Peers {
    /// The peer.
    pub go: &'static Go,
    /// What its servers run on.
    pub transport: Transport,
}

/// All of them.
pub const CHECKS: [Check<Peers>; 30] = [
    check("empty", |peers| echo_of(*peers, 0)),
    check("small", |peers| echo_of(*peers, 32)),
    check("1 MiB", |peers| echo_of(*peers, 1 << 20)),
    check("nearly the longest frame", longest_frame),
    check("longer than Go reads", too_long),
    check("business error 10001", |peers| business(*peers, 10_001)),
    check("business error -7", |peers| business(*peers, -7)),
    check("unknown method", |peers| unknown(*peers, &NO_METHOD)),
    check("unknown service", |peers| unknown(*peers, &NO_SERVICE)),
    check("deadline: the call's own, 101", own_deadline),
    check("deadline: inherited, 102", inherited_deadline),
    check("deadline: the server's, 21", server_deadline),
    check("deadline on the wire", deadline_on_the_wire),
    check("an answer after the deadline", late_answer),
    check("metadata both ways", metadata),
    check("metadata of 60,000 bytes", long_metadata),
    check("metadata that Go cannot answer", too_long_metadata),
    check("gzip, 64 KiB", |peers| packed(*peers, GZIP, 64 << 10)),
    check("gzip, 10 bytes", |peers| packed(*peers, GZIP, 10)),
    check("gzip, empty", |peers| packed(*peers, GZIP, 0)),
    check("zlib", |peers| packed(*peers, Compression::Zlib, 1 << 20)),
    check("snappy stream", |peers| {
        packed(*peers, Compression::SnappyStream, 1 << 20);
    }),
    check("snappy block", |peers| {
        packed(*peers, Compression::SnappyBlock, 1 << 20);
    }),
    check("snappy under number 2, a stream", |peers| {
        packed(*peers, SNAPPY, 1 << 20);
    }),
    check("snappy under number 2, a block: ret 1", snappy_as_block),
    check("an attachment", attachment),
    check("1000 calls at once", concurrent),
    check("one-way, then a call", one_way),
    check("idle, then a call", idle),
    check("killed and started again", killed),
];

const fn check(name: &'static str, run: fn(&Peers)) -> Check<Peers> {
    Check { name, run }
}

pub(super) const GZIP: Compression = Compression::Gzip;

/// The number that means a stream to Go and a block to others.
pub(super) const SNAPPY: Compression = Compression::Other(2);

/// Of calls that do not say otherwise.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) const NO_METHOD: MethodDescriptor = MethodDescriptor {
    index: 0,
    name: "Nope",
    path: "/tern.interop.v1.Interop/Nope",
    alias: None,
    service: "tern.interop.v1.Interop",
    idempotency: Idempotency::Unknown,
    shape: Shape::Unary,
    request: tern::MessageType::UNKNOWN,
    reply: tern::MessageType::UNKNOWN,
};

pub(super) const NO_SERVICE: MethodDescriptor = MethodDescriptor {
    path: "/tern.interop.v1.Nope/Unary",
    service: "tern.interop.v1.Nope",
    name: "Unary",
    ..NO_METHOD
};

pub(super) fn builder(address: SocketAddr) -> ChannelBuilder {
    Channel::builder("tern.interop.v1.Interop")
        .resolve(Fixed::new([address]))
        .caller("trpc.interop.tern.Client")
        .timeout(TIMEOUT)
}

pub(super) fn built(builder: ChannelBuilder) -> Channel {
    builder.build().expect("an address and a thread")
}

pub(super) fn channel_with(address: SocketAddr, limits: Limits) -> Channel {
    built(builder(address).limits(limits))
}

pub(super) fn channel(address: SocketAddr) -> Channel {
    channel_with(address, Limits::client())
}

/// Packs whatever the size, and number 2 as this says.
pub(super) fn client_with(address: SocketAddr, snappy: Snappy) -> InteropClient<Channel> {
    let codecs = Codecs::default().with(2, snappy).with_bytes_min(0);
    InteropClient::new(built(builder(address).codecs(codecs)))
}

pub(super) fn client(address: SocketAddr) -> InteropClient<Channel> {
    InteropClient::new(channel(address))
}

pub(super) fn echo(payload: &[u8], delay_ms: u32) -> UnaryRequest {
    UnaryRequest {
        payload: payload.to_vec(),
        delay_ms,
        ..UnaryRequest::default()
    }
}

/// Calls with a small payload, which has to come back.
pub(super) fn expect_alive(client: &InteropClient<Channel>) {
    let payload = pattern(16, 99);
    let reply = client.unary(echo(&payload, 0)).wait();
    expect_echo(&reply.expect("the next call works"), &payload);
}

pub(super) fn expect_echo(reply: &UnaryResponse, payload: &[u8]) {
    assert_eq!(reply.served_by, "trpc-go");
    assert_eq!(reply.payload.len(), payload.len(), "bytes of the payload");
    assert!(reply.payload == payload, "another payload came back");
}

pub(super) fn expect_status<T: std::fmt::Debug>(
    outcome: Result<T, Status>,
    code: Code,
    origin: Origin,
) -> Status {
    let status = outcome.expect_err("the call fails");
    assert_eq!((status.code(), status.origin()), (code, origin), "{status}");
    status
}

/// Lets time pass, which is what the check is about.
pub(super) fn pause(duration: Duration) {
    let (_nobody, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(duration);
}

fn echo_of(peers: Peers, length: u32) {
    let server = peers.go.server(peers.transport, &[]);
    let payload = pattern(length as usize, length);
    let reply = client(server.address()).unary(echo(&payload, 0)).wait();
    expect_echo(&reply.expect("an answer"), &payload);
}

/// Heads and tags are what is missing to the 10 MiB that both ends allow.
fn longest_frame(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let payload = pattern(10 * 1024 * 1024 - 256, 3);
    let reply = client(server.address()).unary(echo(&payload, 0)).wait();
    expect_echo(&reply.expect("an answer"), &payload);
}

/// Our client does not send it, unless its limits are raised; then Go closes the connection.
fn too_long(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
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

fn business(peers: Peers, code: i32) {
    let server = peers.go.server(peers.transport, &[]);
    let client = client(server.address());
    let request = UnaryRequest {
        fail_code: code,
        fail_message: "balance too low: ünïcödé".to_owned(),
        ..UnaryRequest::default()
    };
    let outcome = client.unary(request).wait();
    let status = expect_status(outcome, Code::Service(code), Origin::Remote);
    assert_eq!(status.message(), "balance too low: ünïcödé");
    assert!(!status.is_retryable());
    expect_alive(&client);
}

fn unknown(peers: Peers, method: &'static MethodDescriptor) {
    let server = peers.go.server(peers.transport, &[]);
    let channel = channel(server.address());
    let call: Call<_, _, UnaryResponse> = Call::new(channel.clone(), method, echo(b"payload", 0));
    expect_status(call.wait(), Code::NoMethod, Origin::Remote);
    expect_alive(&InteropClient::new(channel));
}

fn own_deadline(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    asked::own_deadline(server.address());
}

fn inherited_deadline(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    asked::inherited_deadline(server.address());
}

fn server_deadline(peers: &Peers) {
    let server = peers.go.server(peers.transport, &["--timeout-ms", "60"]);
    let client = client(server.address());
    let outcome = client.unary(echo(b"slow", 2_000)).wait();
    expect_status(outcome, Code::ServerTimeout, Origin::Remote);
    expect_alive(&client);
}

fn deadline_on_the_wire(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    asked::deadline_on_the_wire(server.address());
}

fn late_answer(peers: &Peers) {
    let server = peers.go.server(peers.transport, &["--ignore-deadline"]);
    asked::late_answer(server.address());
}

fn metadata(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    asked::metadata(server.address());
}

fn long_metadata(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    asked::long_metadata(server.address());
}

/// Twice 40,000 bytes do not fit the head of an answer: Go answers ret 2 in its place.
fn too_long_metadata(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let client = client(server.address());
    let call = client.unary(echo(b"", 0));
    let outcome = call.metadata("app-long", pattern(40_000, 6)).wait();
    expect_status(outcome, Code::Unencodable, Origin::Remote);
    expect_alive(&client);
}

fn packed(peers: Peers, compression: Compression, length: usize) {
    let server = peers.go.server(peers.transport, &[]);
    let client = client_with(server.address(), Snappy::sent_as_stream());
    for payload in [b"compressible ".repeat(length), pattern(length, 7)] {
        let payload = &payload[..length];
        let call = client.unary(echo(payload, 0));
        let reply = call.compress(compression).wait();
        expect_echo(&reply.expect("an answer"), payload);
    }
}

/// Go answers that it cannot read it.
fn snappy_as_block(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let client = client_with(server.address(), Snappy::sent_as_block());
    let call = client.unary(echo(&b"compressible ".repeat(1_000), 0));
    let outcome = call.compress(SNAPPY).wait();
    expect_status(outcome, Code::Malformed, Origin::Remote);
    expect_alive(&client);
}

/// It comes back, and the message beside it is whole; more of that in [`super::carried`].
fn attachment(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let client = client(server.address());
    let call = client.unary(echo(b"beside it", 0));
    let call = call.attachment(Bytes::from(pattern(5_000, 8)));
    let response = call.wait_response().expect("an answer");
    expect_echo(response.body(), b"beside it");
    assert!(*response.attachment() == pattern(5_000, 8));
    expect_alive(&client);
}

fn concurrent(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
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
    let server = peers.go.server(peers.transport, &[]);
    let client = client(server.address());
    let sent = park::wait(client.unary(echo(b"one way", 0)).one_way());
    sent.expect("not an event loop").expect("it is sent");
    expect_alive(&client);
    // Go answers a one-way call that fails; that answer is nobody's.
    let fails = UnaryRequest {
        fail_code: 7,
        ..UnaryRequest::default()
    };
    let sent = park::wait(client.unary(fails).one_way());
    sent.expect("not an event loop").expect("it is sent");
    expect_alive(&client);
}

fn idle(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    asked::idle(server.address());
}

/// A killed server takes its calls with it, and a new one at its place is found again. It has an address that nobody
/// else uses here, so that nobody takes its port in between.
fn killed(peers: &Peers) {
    let free = SocketAddr::from(([127, 0, 0, 2], 0));
    let server = peers.go.try_server(free, peers.transport, &[]);
    let server = server.expect("a server on a free port");
    let address = server.address();
    let client = client(address);
    expect_alive(&client);
    let mut calls: Vec<_> = (0..20)
        .map(|_| client.unary(echo(b"slow", 60_000)).into_future())
        .collect();
    park::wait(poll_fn(|cx| {
        for call in &mut calls {
            assert!(call.as_mut().poll(cx).is_pending());
        }
        Poll::Ready(())
    }));
    // They were sent before this one, on the same connection.
    expect_alive(&client);
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

    let again = peers.go.try_server(address, peers.transport, &[]);
    let again = again.expect("its port is free again");
    expect_alive_soon(&client);
    drop(again);
}

/// Calls until a call works: after a failed attempt our client waits before it connects again.
fn expect_alive_soon(client: &InteropClient<Channel>) {
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

pub(super) type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Waits for all calls. The results are in the order in which they came, each with the number of its call.
pub(super) fn all<T>(calls: Vec<Answering<T>>) -> Vec<(usize, T)> {
    let mut waiting: Vec<_> = calls.into_iter().enumerate().collect();
    let mut ended = Vec::new();
    let finished = park::wait(poll_fn(|cx| {
        waiting.retain_mut(|(number, call)| match call.as_mut().poll(cx) {
            Poll::Ready(outcome) => {
                ended.push((*number, outcome));
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    finished.expect("not an event loop");
    ended
}
