//! What our client asks of every server, whoever made it.

use std::net::SocketAddr;
use std::time::Duration;

use tern::{Bytes, Cause, Channel, Clock, Code, Context, Deadline, Origin};

use super::calls::{client, echo, expect_status, pause};
use super::pattern;
use crate::pb::{InteropClient, UnaryResponse};

pub(super) fn own_deadline(address: SocketAddr) {
    let client = client(address);
    let clock = Clock::system();
    let start = clock.now();
    let call = client.unary(echo(b"slow", 2_000));
    let outcome = call.timeout(Duration::from_millis(100)).wait();
    let took = clock.now() - start;
    expect_status(outcome, Code::DeadlineExceeded, Origin::Local);
    assert!(took >= Duration::from_millis(100), "after {took:?}");
    assert!(took < Duration::from_secs(1), "after {took:?}");
    expect_alive(&client);
}

pub(super) fn inherited_deadline(address: SocketAddr) {
    let client = client(address);
    let mut cx = Context::background();
    let at = cx.now() + Duration::from_millis(100);
    cx.narrow(Deadline::new(at, Cause::Own));
    let late = client.unary(echo(b"slow", 2_000)).within(&cx).wait();
    expect_status(late, Code::InheritedDeadlineExceeded, Origin::Local);
    // Nothing is left by now, so nothing is sent.
    let later = client.unary(echo(b"fast", 0)).within(&cx).wait();
    expect_status(later, Code::InheritedDeadlineExceeded, Origin::Local);
    expect_alive(&client);
}

pub(super) fn deadline_on_the_wire(address: SocketAddr) {
    let client = client(address);
    let call = client.unary(echo(b"", 0));
    let response = call.timeout(Duration::from_millis(700)).wait_response();
    let response = response.expect("an answer");
    let left = response.metadata().text("app-left-ms");
    let left = left.and_then(|left| left.parse::<u64>().ok());
    let left = left.expect("the handler saw a deadline");
    assert!((1..=700).contains(&left), "{left} ms of 700 were left");
}

/// The answer that comes after all is dropped, and is not taken for that of another call.
pub(super) fn late_answer(address: SocketAddr) {
    let client = client(address);
    let late = client.unary(echo(b"late", 300));
    let outcome = late.timeout(Duration::from_millis(100)).wait();
    expect_status(outcome, Code::DeadlineExceeded, Origin::Local);
    // This one is under way while the late one arrives.
    let reply = client.unary(echo(b"in time", 500)).wait();
    expect_echo(&reply.expect("an answer"), b"in time");
    expect_alive(&client);
}

pub(super) fn metadata(address: SocketAddr) {
    let client = client(address);
    let sent: [(&str, &[u8]); 3] = [
        ("text", "plain text, ünïcödé".as_bytes()),
        ("bin", &[0x00, 0xff, 0x80, 0x0a]),
        ("empty", b""),
    ];
    let mut call = client.unary(echo(b"", 0));
    for (name, value) in sent {
        call = call.metadata(format!("app-{name}"), Bytes::from_static(value));
    }
    let response = call.wait_response().expect("an answer");
    for (name, value) in sent {
        let back = response.metadata().get(&format!("app-echo-{name}"));
        assert_eq!(back.map(|bytes| &bytes[..]), Some(value), "{name}");
    }
    let next = client.unary(echo(b"", 0)).wait_response();
    let next = next.expect("an answer");
    for (key, _) in next.metadata().iter() {
        assert!(!key.starts_with("app-echo"), "{key} was not sent");
    }
}

/// tRPC-Go sends back what it got, so this goes both ways.
pub(super) fn long_metadata(address: SocketAddr) {
    let value = Bytes::from(pattern(60_000, 5));
    let call = client(address).unary(echo(b"", 0));
    let response = call.metadata("long", value.clone()).wait_response();
    let response = response.expect("an answer");
    assert!(response.metadata().get("long") == Some(&value));
}

pub(super) fn idle(address: SocketAddr) {
    let client = client(address);
    expect_alive(&client);
    pause(Duration::from_millis(300));
    expect_alive(&client);
}

fn expect_alive(client: &InteropClient<Channel>) {
    let payload = pattern(16, 99);
    let reply = client.unary(echo(&payload, 0)).wait();
    expect_echo(&reply.expect("the next call works"), &payload);
}

fn expect_echo(reply: &UnaryResponse, payload: &[u8]) {
    assert_eq!(reply.payload.len(), payload.len(), "bytes of the payload");
    assert!(reply.payload == payload, "another payload came back");
}
