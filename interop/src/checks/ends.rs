//! How connections end: in the midst of a frame, for idleness with a call in flight, and because a server leaves.

use std::future::IntoFuture;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rpc_codec::frame::HEADER_BYTES;
use tern::{Clock, Code, Limits, Origin, Request, Response, Server, Service, Status};

use super::calls::{
    Peers, all, builder, built, client, echo, expect_alive, expect_echo, expect_status,
};
use super::pattern;
use crate::check::Check;
use crate::go::{Case, Mode};
use crate::pb::{InteropClient, InteropServer};
use crate::service::Ours;
use crate::wire::{Request as Written, Wire};

/// All of them.
pub const CHECKS: [Check<Peers>; 6] = [
    check(
        "a request that is cut costs its connection alone",
        cut_request,
    ),
    check("an answer that is cut fails its call", cut_answer),
    check(
        "our client does not tire of a call in flight",
        our_client_waits,
    ),
    check(
        "our server does not tire of a call in flight",
        our_server_waits,
    ),
    check("their server tires of a call in flight", their_server_tires),
    check("our server leaves when it has answered", our_server_leaves),
];

const fn check(name: &'static str, run: fn(&Peers)) -> Check<Peers> {
    Check { name, run }
}

/// How long connections may be idle here. Calls that take longer are under way meanwhile.
const IDLE: Duration = Duration::from_millis(100);

/// Cut at each place that a parser may stand at, with a sound call before it on the same connection.
fn cut_request(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let other = client(server.address());
    expect_alive(&other);
    let whole = Written::echo(9, &pattern(1_000, 1), 0).bytes();
    for at in [
        1,
        HEADER_BYTES - 1,
        HEADER_BYTES,
        HEADER_BYTES + 10,
        whole.len() - 1,
    ] {
        let mut wire = Wire::connect(server.address());
        wire.expect_alive();
        wire.send(&whole[..at]);
        drop(wire);
        expect_alive(&other);
    }
}

/// Between our client and Go's server stands somebody who loses the last byte of the answer.
fn cut_answer(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let between = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        let mut client = Wire::over(stream);
        let (header, rest) = client.frame();
        let mut server = Wire::connect(server.address());
        server.send(&[&header.encode()[..], &rest].concat());
        let (header, rest) = server.frame();
        client.send(&[&header.encode()[..], &rest[..rest.len() - 1]].concat());
    });
    let client = client(address);
    let outcome = client.unary(echo(b"cut", 0)).wait();
    let status = expect_status(outcome, Code::ConnectionLost, Origin::Local);
    assert!(!status.is_retryable(), "it was run");
    between.join().expect("the answer was cut");
}

fn our_client_waits(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let limits = Limits::client().with_idle(IDLE);
    let client = InteropClient::new(built(builder(server.address()).limits(limits)));
    let reply = client.unary(echo(b"slow", 400)).wait();
    expect_echo(&reply.expect("an answer"), b"slow");
}

fn our_server_waits(peers: &Peers) {
    let limits = Limits::default().with_idle(IDLE);
    let server = Server::builder()
        .limits(limits)
        .service(InteropServer::new(Ours));
    let running = server.bind("127.0.0.1:0").and_then(Server::start);
    let running = running.expect("a free port");
    for mode in Mode::ALL {
        let cases = peers
            .go
            .client(running.address(), mode, peers.transport, &["slow"]);
        expect_ok(&cases);
    }
    running.stopper().stop_now();
    running.join().expect("no call is left");
}

/// Its timers know nothing of calls. Below a second tnet does not serve at all. The call has the code of a connection that is gone, and may have run.
fn their_server_tires(peers: &Peers) {
    let server = peers.go.server(peers.transport, &["--idle-ms", "1000"]);
    let client = client(server.address());
    let outcome = client.unary(echo(b"slow", 4_500)).wait();
    let status = expect_status(outcome, Code::ConnectionLost, Origin::Local);
    assert!(!status.is_retryable(), "it may have run");
    expect_alive(&client);
}

fn expect_ok(cases: &[Case]) {
    let failed: Vec<_> = cases.iter().filter(|case| case.outcome.is_err()).collect();
    assert!(failed.is_empty() && !cases.is_empty(), "{failed:#?}");
}

/// Counts the calls that have begun.
struct Counted(Arc<AtomicUsize>);

impl tern::Filter for Counted {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        next.call(request).await
    }
}

/// Calls of both clients are under way when the server is told to end: all of them are answered.
fn our_server_leaves(peers: &Peers) {
    const THEIRS: usize = 50;
    const OURS: usize = 50;
    for mode in Mode::ALL {
        let begun = Arc::<AtomicUsize>::default();
        let server = Server::builder()
            .filter(Counted(Arc::clone(&begun)))
            .drain(Duration::from_secs(30))
            .service(InteropServer::new(Ours));
        let running = server.bind("127.0.0.1:0").and_then(Server::start);
        let running = running.expect("a free port");
        let (address, Peers { go, transport }) = (running.address(), *peers);
        let theirs = thread::spawn(move || go.client(address, mode, transport, &["in_flight"]));
        let client = client(address);
        let ours = thread::spawn(move || {
            let call = |_| client.unary(echo(b"last", 500)).into_future();
            all((0..OURS).map(call).collect())
        });
        let clock = Clock::system();
        let give_up = clock.now() + Duration::from_secs(30);
        while begun.load(Ordering::SeqCst) < THEIRS + OURS && clock.now() < give_up {
            thread::park_timeout(Duration::from_millis(2));
        }
        running.stop().expect("no call was cut off");
        expect_ok(&theirs.join().expect("it says what came of it"));
        for (_, outcome) in ours.join().expect("it does not panic") {
            assert_eq!(outcome.expect("an answer").payload, b"last");
        }
        assert_eq!(begun.load(Ordering::SeqCst), THEIRS + OURS);
    }
}
