//! Both ends against tRPC-Go over TLS, one-way and mutual. Without Go these are skipped, unless `TERN_REQUIRE_PEERS` is 1.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tern::tls::ClientTls;
use tern::{Channel, Code, Fixed, Server};
use tern_interop::go::{Go, Mode, Transport};
use tern_interop::ours::{Handlers, Variant};
use tern_interop::pb::{InteropClient, UnaryRequest};
use tern_interop::secured::{Certificates, Proof};

const PROOFS: [Proof; 2] = [Proof::OneWay, Proof::Mutual];

/// What their client checks of us over TLS: all but the deadlines, which are counted in milliseconds and know nothing of
/// TLS.
const CASES: &[&str] = &[
    "empty",
    "small",
    "large",
    "business_error",
    "unknown_method",
    "deadline_on_the_wire",
    "metadata",
    "gzip",
    "zlib",
    "snappy_block",
    "concurrent",
    "idle_reuse",
    "oneway",
];

/// Their client on our server.
fn their_client_passes(transport: Transport, mode: Mode) {
    let Some(go) = Go::find() else { return };
    for proof in PROOFS {
        let certificates = Certificates::make();
        let builder = Server::builder().tls(certificates.our_server(proof));
        let server = Variant::new(Handlers::Async, 2).start_from(builder);
        let arguments = certificates.their_client(proof);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let cases = go.client_with(server.address(), mode, transport, CASES, &arguments);
        let failed: Vec<_> = cases.iter().filter(|case| case.outcome.is_err()).collect();
        assert!(failed.is_empty(), "{proof:?}: {failed:#?}");
    }
}

#[test]
fn their_pooled_client_over_tnet() {
    their_client_passes(Transport::Tnet, Mode::Pooled);
}

/// It says so itself, whoever the server is.
#[test]
fn their_multiplexed_client_over_tnet_cannot_do_it() {
    let Some(go) = Go::find() else { return };
    let certificates = Certificates::make();
    let arguments = certificates.their_server(Proof::OneWay);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let server = go.server(Transport::Tnet, &arguments);
    let arguments = certificates.their_client(Proof::OneWay);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (mode, transport) = (Mode::Multiplexed, Transport::Tnet);
    let cases = go.client_with(server.address(), mode, transport, &["small"], &arguments);
    let outcome = cases[0].outcome.as_ref().unwrap_err();
    assert!(outcome.contains("must implements tnet.Conn"), "{outcome}");
}

#[test]
fn their_pooled_client_over_go_net() {
    their_client_passes(Transport::GoNet, Mode::Pooled);
}

#[test]
fn their_multiplexed_client_over_go_net() {
    their_client_passes(Transport::GoNet, Mode::Multiplexed);
}

#[test]
fn our_client_on_their_server() {
    let Some(go) = Go::find() else { return };
    for transport in Transport::ALL {
        for proof in PROOFS {
            let certificates = Certificates::make();
            let arguments = certificates.their_server(proof);
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let server = go.server(transport, &arguments);
            let client = client(server.address(), Some(certificates.our_client(proof)));
            for length in [0, 32, 1 << 20, (10 << 20) - 1024] {
                echoes(&client, length);
            }
            let callers: Vec<_> = (0..32)
                .map(|caller| {
                    let client = client.clone();
                    thread::spawn(move || (0..32).for_each(|call| echoes(&client, caller * call)))
                })
                .collect();
            for caller in callers {
                caller.join().unwrap();
            }
            let failed = client.unary(UnaryRequest {
                fail_code: 10_001,
                fail_message: "no".into(),
                ..UnaryRequest::default()
            });
            assert_eq!(
                failed.wait().unwrap_err().message(),
                "no",
                "{transport}, {proof:?}"
            );
        }
    }
}

#[test]
fn their_server_turns_away_a_client_of_ours_that_it_does_not_know() {
    let Some(go) = Go::find() else { return };
    for transport in Transport::ALL {
        let certificates = Certificates::make();
        let arguments = certificates.their_server(Proof::Mutual);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let server = go.server(transport, &arguments);
        let without = client(
            server.address(),
            Some(certificates.our_client(Proof::OneWay)),
        );
        let status = without.unary(UnaryRequest::default()).wait().unwrap_err();
        assert_eq!(status.code(), Code::ConnectionLost, "{transport}: {status}");
        assert!(
            status.message().contains("certificate"),
            "{transport}: {status}"
        );
        let stranger = Certificates::make().our_client(Proof::OneWay);
        let stranger = client(server.address(), Some(stranger));
        let status = stranger.unary(UnaryRequest::default()).wait().unwrap_err();
        assert_eq!(status.code(), Code::Unreachable, "{transport}: {status}");
        assert!(
            status.message().contains("certificate"),
            "{transport}: {status}"
        );
        let plain = client(server.address(), None);
        let status = plain.unary(UnaryRequest::default()).wait().unwrap_err();
        assert!(status.message().contains("TLS"), "{transport}: {status}");
    }
}

fn client(address: SocketAddr, tls: Option<ClientTls>) -> InteropClient<Channel> {
    let builder = Channel::builder("trpc.interop.v1.Interop")
        .resolve(Fixed::new([address]))
        .timeout(Duration::from_secs(20));
    let builder = match tls {
        Some(tls) => builder.tls(tls),
        None => builder,
    };
    InteropClient::new(builder.build().unwrap())
}

fn echoes(client: &InteropClient<Channel>, length: usize) {
    let payload: Vec<_> = (0..length)
        .map(|place| u8::try_from(place % 251).unwrap())
        .collect();
    let request = UnaryRequest {
        payload: payload.clone(),
        ..UnaryRequest::default()
    };
    let reply = client.unary(request).wait().unwrap();
    assert!(reply.payload == payload, "{length} bytes");
    assert_eq!(reply.served_by, "trpc-go");
}
