//! TLS: peers that do not speak it, that never end a handshake, that are cut off, and those who change what is sent.

mod tls_support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tern::{Code, Limits};
use tls_support::certificates::Authority;
use tls_support::middleman::{Harm, Middleman};
use tls_support::{Observed, channel, failure, message};

/// A server with TLS, and who vouches for it.
fn secured(limits: Limits) -> (Observed, Authority) {
    let authority = Authority::new();
    let tls = authority.issue(&["127.0.0.1"]).server();
    (Observed::start(Some(tls), limits), authority)
}

#[test]
fn a_plain_client_on_a_tls_port_is_told_so() {
    let (server, _) = secured(Limits::default());
    let status = failure(&channel(server.address(), None));
    assert!(
        status.message().contains("it expects TLS on this port"),
        "{status}"
    );
    assert!(
        server
            .next_end()
            .starts_with("plain tRPC on a TLS port: turn TLS on in the client")
    );
}

#[test]
fn a_plain_client_with_much_to_say_is_told_so_too() {
    let (server, _) = secured(Limits::default());
    let echo = channel(server.address(), None);
    let status = echo.echo(message(8 << 20)).wait().unwrap_err();
    // Its request is still on its way when the server answers; without the words that would be a reset.
    assert!(
        status.message().contains("it expects TLS on this port"),
        "{status}"
    );
    assert!(server.next_end().starts_with("plain tRPC on a TLS port"));
}

#[test]
fn http_on_a_tls_port_is_told_apart() {
    let (server, _) = secured(Limits::default());
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(
        answer.get(..2),
        Some(&[0x15, 0x03][..]),
        "an alert: {answer:?}"
    );
    drop(stream);
    assert!(server.next_end().starts_with("plain HTTP on a TLS port"));
}

#[test]
fn a_tls_client_on_a_plain_port_is_told_so() {
    let authority = Authority::new();
    let server = Observed::start(None, Limits::default());
    let status = failure(&channel(server.address(), Some(authority.trusted())));
    assert_eq!(status.code(), Code::Unreachable);
    let expected =
        "before the TLS handshake was done: a server that does so does not speak TLS on this port";
    assert!(status.message().contains(expected), "{status}");
    assert!(
        server
            .next_end()
            .contains("the peer speaks TLS to a port without it")
    );
}

#[test]
fn a_server_that_answers_a_handshake_in_plain_trpc_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 16];
        stream.read_exact(&mut hello).unwrap();
        stream
            .write_all(&[0x09, 0x30, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0])
            .unwrap();
        hello
    });
    let status = failure(&channel(address, Some(Authority::new().trusted())));
    let expected = "the server does not speak TLS, it answered in plain tRPC";
    assert!(status.message().contains(expected), "{status}");
    assert_eq!(server.join().unwrap()[..2], [0x16, 0x03]);
}

#[test]
fn a_plain_client_of_a_server_that_leaves_without_a_word_is_told_what_is_likely() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 16]).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let status = failure(&channel(address, None));
    let expected = "without a word: it may speak TLS, or something else, on this port";
    assert!(status.message().contains(expected), "{status}");
    server.join().unwrap();
}

#[test]
fn handshakes_that_never_end_cost_their_own_connections_only() {
    let limits = Limits::default().with_handshake_timeout(Duration::from_millis(300));
    let (server, authority) = secured(limits);
    let beginning = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    let mut slow: Vec<_> = (0..50)
        .map(|length| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(&beginning[..length % 7]).unwrap();
            stream
        })
        .collect();
    let echo = channel(server.address(), Some(authority.trusted()));
    assert!(echo.echo(message(100)).wait().is_ok());
    for _ in &slow {
        assert_eq!(server.next_end(), "the TLS handshake took too long");
    }
    for stream in &mut slow {
        let mut last_words = Vec::new();
        let _ = stream.read_to_end(&mut last_words);
    }
    assert!(echo.echo(message(100)).wait().is_ok());
    assert_eq!(
        server.running.connections(),
        1,
        "their places are free again"
    );
}

#[test]
fn handshakes_take_places_of_the_server() {
    let authority = Authority::new();
    let mut config = tern::server::Config::default();
    config.connections_max = Some(2);
    let server = tern::Server::builder()
        .config(config)
        .tls(authority.issue(&["127.0.0.1"]).server())
        .service(tern_examples::echo::EchoServer::new(tls_support::Echoing))
        .bind("127.0.0.1:0")
        .and_then(tern::Server::start)
        .unwrap();
    let silent: Vec<_> = (0..2)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    let status = failure(&channel(server.address(), Some(authority.trusted())));
    assert_eq!(status.code(), Code::Unreachable, "{status}");
    drop(silent);
}

#[test]
fn what_was_changed_on_its_way_is_not_believed() {
    for to_server in [true, false] {
        let (server, authority) = secured(Limits::default());
        let middleman = Middleman::before(server.address(), Harm::Damage);
        let echo = channel(middleman.address, Some(authority.trusted()));
        assert!(echo.echo(message(100)).wait().is_ok());
        let way = [&middleman.to_client, &middleman.to_server][usize::from(to_server)];
        way.harm_after(100_000);
        let status = echo.echo(message(4 << 20)).wait().unwrap_err();
        assert_eq!(status.code(), Code::ConnectionLost);
        assert!(way.is_done.load(Ordering::SeqCst));
        let damage = "what the peer sent is not TLS, or was changed on its way";
        if to_server {
            server.wait_for_end(damage);
        } else {
            assert!(status.message().contains(damage), "{status}");
        }
        assert!(
            echo.echo(message(100)).wait().is_ok(),
            "on a new connection"
        );
    }
}

#[test]
fn an_answer_that_is_cut_off_within_a_record_is_no_answer() {
    let (server, authority) = secured(Limits::default());
    let middleman = Middleman::before(server.address(), Harm::Cut);
    let echo = channel(middleman.address, Some(authority.trusted()));
    assert!(echo.echo(message(100)).wait().is_ok());
    middleman.to_client.harm_after(100_000);
    let status = echo.echo(message(1 << 20)).wait().unwrap_err();
    assert_eq!(status.code(), Code::ConnectionLost);
    assert!(status.message().contains("close_notify"), "{status}");
}

#[test]
fn a_request_that_is_cut_off_within_a_record_is_no_request() {
    let (server, authority) = secured(Limits::default());
    let middleman = Middleman::before(server.address(), Harm::Cut);
    let echo = channel(middleman.address, Some(authority.trusted()));
    assert!(echo.echo(message(100)).wait().is_ok());
    middleman.to_server.harm_after(100_000);
    let status = echo.echo(message(1 << 20)).wait().unwrap_err();
    assert_eq!(status.code(), Code::ConnectionLost, "{status}");
    server.wait_for_end("close_notify");
}

#[test]
fn r18_a_reader_that_stops_is_cut_off() {
    let limits = Limits::default().with_write_stall(Duration::from_millis(500));
    let (server, authority) = secured(limits);
    let middleman = Middleman::before(server.address(), Harm::Stop);
    let echo = channel(middleman.address, Some(authority.trusted()));
    assert!(echo.echo(message(100)).wait().is_ok());
    middleman.to_client.harm_after(1);
    // More than any socket takes.
    let mut calls: Vec<_> = Vec::new();
    for _ in 0..4 {
        let echo = echo.clone();
        calls.push(thread::spawn(move || {
            echo.echo(message(9 << 20))
                .timeout(Duration::from_secs(2))
                .wait()
        }));
    }
    server.wait_for_end("the peer does not read what it is sent");
    for call in calls {
        assert!(call.join().unwrap().is_err());
    }
}
