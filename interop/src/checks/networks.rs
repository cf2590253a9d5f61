//! Calls of our client on a server of tRPC-Go, over Unix sockets and UDP.

use std::net::UdpSocket;
use std::time::Duration;

use tern::{
    Address, Call, Channel, Code, Compression, Fixed, Idempotency, MethodDescriptor, Origin,
    Status, park,
};

use super::pattern;
use crate::check::Check;
use crate::go::Go;
use crate::networks::Network;
use crate::pb::{InteropClient, UnaryRequest, UnaryResponse};

/// Where the servers come from: each check has one of its own.
#[derive(Debug, Clone, Copy)]
pub struct Peers {
    /// The peer.
    pub go: &'static Go,
    /// What carries the frames.
    pub network: Network,
}

/// Those of both.
pub const CHECKS: [Check<Peers>; 7] = [
    check("empty", |peers| echo_of(*peers, 0)),
    check("60,000 bytes", |peers| echo_of(*peers, 60_000)),
    check("business error", business),
    check("unknown method", unknown),
    check("gzip, 200 KiB of zeroes", packed),
    check("deadline: the call's own, 101", own_deadline),
    check("one-way, then 100 calls", one_way),
];

/// Those of Unix sockets alone.
pub const ON_UNIX: [Check<Peers>; 1] = [check("1 MiB", |peers| echo_of(*peers, 1 << 20))];

/// Those of UDP alone.
pub const ON_UDP: [Check<Peers>; 3] = [
    check("a request that does not fit: 121", too_large_request),
    check("an answer that does not fit is lost", too_large_answer),
    check("trailing bytes are dropped", trailing),
];

const fn check(name: &'static str, run: fn(&Peers)) -> Check<Peers> {
    Check { name, run }
}

const NO_METHOD: MethodDescriptor = MethodDescriptor {
    index: 0,
    name: "Nope",
    path: "/tern.interop.v1.Interop/Nope",
    alias: None,
    service: "tern.interop.v1.Interop",
    idempotency: Idempotency::Unknown,
    shape: tern::Shape::Unary,
    request: tern::MessageType::UNKNOWN,
    reply: tern::MessageType::UNKNOWN,
};

fn channel(address: &Address) -> Channel {
    Channel::builder("tern.interop.v1.Interop")
        .resolve(Fixed::new([address]))
        .caller("trpc.interop.tern.Client")
        .timeout(Duration::from_secs(5))
        .build()
        .expect("an address and a thread")
}

fn client(address: &Address) -> InteropClient<Channel> {
    InteropClient::new(channel(address))
}

fn echo(payload: &[u8]) -> UnaryRequest {
    UnaryRequest {
        payload: payload.to_vec(),
        ..UnaryRequest::default()
    }
}

fn expect_echo(outcome: Result<UnaryResponse, Status>, payload: &[u8]) {
    let reply = outcome.expect("an answer");
    assert_eq!(reply.served_by, "trpc-go");
    assert!(reply.payload == payload, "another payload came back");
}

fn expect_alive(client: &InteropClient<Channel>) {
    let payload = pattern(16, 99);
    expect_echo(client.unary(echo(&payload)).wait(), &payload);
}

fn expect_status<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, origin: Origin) {
    let status = outcome.expect_err("the call fails");
    assert_eq!((status.code(), status.origin()), (code, origin), "{status}");
}

fn echo_of(peers: Peers, length: u32) {
    let server = peers.go.server_over(peers.network);
    let payload = pattern(length as usize, length);
    let outcome = client(&server.address).unary(echo(&payload)).wait();
    expect_echo(outcome, &payload);
}

fn business(peers: &Peers) {
    let server = peers.go.server_over(peers.network);
    let client = client(&server.address);
    let request = UnaryRequest {
        fail_code: 10_001,
        fail_message: "balance too low".to_owned(),
        ..UnaryRequest::default()
    };
    let outcome = client.unary(request).wait();
    expect_status(outcome, Code::Service(10_001), Origin::Remote);
    expect_alive(&client);
}

fn unknown(peers: &Peers) {
    let server = peers.go.server_over(peers.network);
    let channel = channel(&server.address);
    let call: Call<_, _, UnaryResponse> = Call::new(channel.clone(), &NO_METHOD, echo(b"payload"));
    expect_status(call.wait(), Code::NoMethod, Origin::Remote);
    expect_alive(&InteropClient::new(channel));
}

fn packed(peers: &Peers) {
    let server = peers.go.server_over(peers.network);
    let payload = vec![0; 200 << 10];
    let call = client(&server.address).unary(echo(&payload));
    expect_echo(call.compress(Compression::Gzip).wait(), &payload);
}

fn own_deadline(peers: &Peers) {
    let server = peers.go.server_over(peers.network);
    let client = client(&server.address);
    let slow = UnaryRequest {
        delay_ms: 1_000,
        ..UnaryRequest::default()
    };
    let call = client.unary(slow).timeout(Duration::from_millis(100));
    expect_status(call.wait(), Code::DeadlineExceeded, Origin::Local);
    expect_alive(&client);
}

fn one_way(peers: &Peers) {
    let server = peers.go.server_over(peers.network);
    let client = client(&server.address);
    let sent = client.unary(echo(b"one-way")).one_way();
    let sent = park::wait(sent).expect("not an event loop");
    sent.expect("it is sent");
    for number in 0..100 {
        let payload = pattern(100, number);
        expect_echo(client.unary(echo(&payload)).wait(), &payload);
    }
}

fn too_large_request(peers: &Peers) {
    let server = peers.go.server_over(peers.network);
    let client = client(&server.address);
    let outcome = client.unary(echo(&pattern(65_507, 1))).wait();
    expect_status(outcome, Code::RequestUnencodable, Origin::Local);
    expect_alive(&client);
}

/// Metadata comes back twice, so the answer is longer than the request. Go cannot send it and says nothing.
fn too_large_answer(peers: &Peers) {
    let server = peers.go.server_over(peers.network);
    let client = client(&server.address);
    let call = client.unary(echo(&pattern(60_000, 1)));
    let call = call.metadata("app-long", vec![7; 5_000]);
    let outcome = call.timeout(Duration::from_millis(300)).wait();
    expect_status(outcome, Code::DeadlineExceeded, Origin::Local);
    expect_alive(&client);
}

fn trailing(peers: &Peers) {
    let server = peers.go.server_over(peers.network);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let to = server.address.socket().expect("a host and a port");
    socket.connect(to).expect("a way to it");
    let patience = Some(Duration::from_secs(5));
    socket.set_read_timeout(patience).expect("it is not zero");
    let path = b"/tern.interop.v1.Interop/Unary";
    for (id, behind) in [(1, &b"x"[..]), (2, b"")] {
        let mut head = vec![0x18, id, 0x3a, 30];
        head.extend_from_slice(path);
        let head_len = u8::try_from(head.len()).expect("a short head");
        let total = 16 + head_len;
        let header = [
            9, 0x30, 0, 0, 0, 0, 0, total, 0, head_len, 0, 0, 0, id, 1, 0,
        ];
        let datagram = [&header[..], &head, behind].concat();
        socket.send(&datagram).expect("it is sent");
    }
    let mut answer = [0; 1024];
    let length = socket.recv(&mut answer).expect("the second is answered");
    assert!(length > 16);
    assert_eq!(answer[10..14], [0, 0, 0, 2], "the first was answered");
}
