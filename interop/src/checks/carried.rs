//! What our client sends beside the message to a server of tRPC-Go: attachments, metadata, marks, names, ids.

use std::future::IntoFuture;
use std::time::Duration;

use tern::{Bytes, Code, Context, Marks, Origin, chain};

use super::calls::{
    Peers, all, builder, built, client, echo, expect_alive, expect_echo, expect_status,
};
use super::pattern;
use crate::check::Check;
use crate::pb::{InteropClient, UnaryRequest};

/// All of them.
pub const CHECKS: [Check<Peers>; 12] = [
    check("an attachment beside a message", |peers| {
        attached(*peers, 100, 5_000);
    }),
    check("an attachment alone", |peers| attached(*peers, 0, 5_000)),
    check("an empty attachment", |peers| attached(*peers, 100, 0)),
    check("an attachment of 1 MiB", |peers| {
        attached(*peers, 100, 1 << 20);
    }),
    check("an attachment up to the longest frame", |peers| {
        attached(*peers, 100, LONGEST);
    }),
    check(
        "an attachment past the longest frame: 121",
        too_long_attachment,
    ),
    check("an attachment of a call that fails", failing),
    check("one-way with an attachment, ok and failing", one_way),
    check("metadata that fits no head: 121", too_long_metadata),
    check("dyeing, marks and names", marks_and_names),
    check("marks go along with the chain", chain_of_calls),
    check("ids begin anew", ids_begin_anew),
];

const fn check(name: &'static str, run: fn(&Peers)) -> Check<Peers> {
    Check { name, run }
}

/// What heads and a short message leave of 10 MiB.
const LONGEST: usize = 10 * 1024 * 1024 - 512;

const PATIENCE: Duration = Duration::from_secs(20);

fn attached(peers: Peers, payload: usize, length: usize) {
    let server = peers.go.server(peers.transport, &[]);
    let client = client(server.address());
    let (payload, attachment) = (pattern(payload, 1), Bytes::from(pattern(length, 2)));
    let call = client.unary(echo(&payload, 0)).timeout(PATIENCE);
    let response = call.attachment(attachment.clone()).wait_response();
    let response = response.expect("an answer");
    expect_echo(response.body(), &payload);
    assert_eq!(response.attachment().len(), length);
    assert!(
        *response.attachment() == attachment,
        "another one came back"
    );
    expect_alive(&client);
}

fn too_long_attachment(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let client = client(server.address());
    let call = client.unary(echo(b"beside it", 0)).timeout(PATIENCE);
    let outcome = call.attachment(pattern(10 * 1024 * 1024, 3).into()).wait();
    let status = expect_status(outcome, Code::RequestUnencodable, Origin::Local);
    assert!(status.message().contains("10485760"), "{status}");
    expect_alive(&client);
}

fn fails() -> UnaryRequest {
    UnaryRequest {
        fail_code: 7,
        fail_message: "as told".to_owned(),
        ..UnaryRequest::default()
    }
}

/// tRPC-Go may name an attachment that it does not send; the failure is read all the same.
fn failing(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let client = client(server.address());
    for length in [10, 100_000] {
        let call = client.unary(fails()).attachment(pattern(length, 4).into());
        let status = expect_status(call.wait(), Code::Service(7), Origin::Remote);
        assert_eq!(status.message(), "as told");
        expect_alive(&client);
    }
}

fn one_way(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let client = client(server.address());
    for request in [echo(b"one way", 0), fails()] {
        let call = client.unary(request).attachment(pattern(50_000, 5).into());
        call.wait_one_way().expect("it is sent");
        expect_alive(&client);
    }
}

fn too_long_metadata(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let client = client(server.address());
    let call = client.unary(echo(b"", 0));
    let outcome = call.metadata("long", pattern(70_000, 6)).wait();
    let status = expect_status(outcome, Code::RequestUnencodable, Origin::Local);
    assert!(status.message().contains("metadata"), "{status}");
    expect_alive(&client);
}

fn marks_and_names(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let call = client(server.address()).unary(echo(b"", 0));
    let call = call.dyed("blue").marks(Marks(0x8000_0010)).priority(0xff);
    let call = call
        .metadata("look", "")
        .metadata(chain::ENV, "test,stable");
    let response = call.wait_response().expect("an answer");
    let seen = |key| response.metadata().text(key).unwrap_or("nothing");
    assert_eq!(seen("app-seen-marks"), 0x8000_0011_u32.to_string());
    assert_eq!(seen("app-seen-dyeing"), "blue");
    assert_eq!(seen("app-seen-env"), "test,stable");
    assert_eq!(seen("app-seen-caller"), "trpc.interop.tern.Client");
    assert_eq!(seen("app-seen-callee"), "tern.interop.v1.Interop");
    // It is sent back as it came: one raw byte.
    let priority = response.metadata().get(chain::PRIORITY);
    assert_eq!(priority.map(|value| &value[..]), Some(&[0xff][..]));
}

fn chain_of_calls(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut cx = Context::background();
    cx.dye("green");
    cx.metadata_mut().insert("app-kept", "");
    cx.metadata_mut().set_user_ip([192, 0, 2, 7].into());
    let call = client(server.address()).unary(echo(b"", 0)).within(&cx);
    let response = call.metadata("look", "").wait_response();
    let response = response.expect("an answer");
    let metadata = response.metadata();
    assert_eq!(metadata.text("app-seen-dyeing"), Some("green"));
    assert_eq!(metadata.text("app-echo-kept"), Some(""));
    assert_eq!(metadata.get(chain::USER_IP), None, "it is not for the next");
}

fn ids_begin_anew(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let builder = builder(server.address()).first_request_id(u32::MAX - 25);
    let client = InteropClient::new(built(builder));
    let payloads: Vec<_> = (0..50).map(|number| pattern(100, number)).collect();
    let calls = payloads.iter().zip(pattern(payloads.len(), 9));
    let calls = calls.map(|(payload, random)| {
        let call = client.unary(echo(payload, u32::from(random % 21)));
        call.timeout(PATIENCE).into_future()
    });
    let ended = all(calls.collect());
    for (number, outcome) in &ended {
        expect_echo(outcome.as_ref().expect("an answer"), &payloads[*number]);
    }
    assert_eq!(ended.len(), payloads.len());
    expect_alive(&client);
}
