//! Streams of our client on a server of tRPC-Go.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tern::stream::{Inbound, StreamCall};
use tern::{Channel, Code, Compression, Fixed, Limits, Shape, Status};

use super::pattern;
use crate::check::Check;
use crate::go::Go;
use crate::pb::{Order, Piece, StreamsClient};
use crate::streams::piece;

/// What a client is checked against: each check has a server of its own.
#[derive(Debug, Clone)]
pub struct StreamPeers {
    /// The peer.
    pub go: &'static Go,
}

/// All of them.
pub const CHECKS: [Check<StreamPeers>; 18] = [
    check("upload", |peers| on(peers, |to| upload(to, 10, 100))),
    check("download", |peers| on(peers, |to| download(to, 10, 100))),
    check("chat, one after the other", |peers| on(peers, ping_pong)),
    check("no message at all", nothing),
    check("messages without payload", |peers| {
        on(peers, |to| download(to, 3, 0));
    }),
    check("upload of 100,000", |peers| {
        on(peers, |to| upload(to, MANY, 500));
    }),
    check("download of 100,000", |peers| {
        on(peers, |to| download(to, MANY, 500));
    }),
    check("chat of 100,000 both ways", |peers| {
        on(peers, |to| chat(to, MANY, 500));
    }),
    check("messages larger than the window", |peers| {
        on(peers, |to| {
            upload(to, 3, 1 << 20);
            download(to, 3, 1 << 20);
            chat(to, 3, 1 << 20);
        });
    }),
    check(
        "a reader that stops, and a stream beside it",
        stopped_reader,
    ),
    check("business error behind two messages", business_error),
    check("business error while we send", error_while_sending),
    check("unknown method, 12", unknown),
    check("gzip", |peers| {
        on(peers, |to| packed(to, Compression::Gzip));
    }),
    check("deadline: 101, and the connection goes on", deadline),
    check("dropped, and the connection goes on", dropped),
    check("50 at once", several),
    check("no window at our end", |peers| {
        let server = peers.go.stream_server();
        without_window(server.address());
    }),
];

const fn check(name: &'static str, run: fn(&StreamPeers)) -> Check<StreamPeers> {
    Check { name, run }
}

const MANY: u32 = 100_000;

pub(super) type Client = StreamsClient<Channel>;

fn on(peers: &StreamPeers, run: impl FnOnce(&Client)) {
    let server = peers.go.stream_server();
    run(&client(server.address()));
}

pub(super) fn client(address: SocketAddr) -> Client {
    StreamsClient::new(channel(address))
}

/// One connection, so that what is said of streams beside each other holds.
pub(super) fn channel(address: SocketAddr) -> Channel {
    Channel::builder("tern.interop.v1.Streams")
        .resolve(Fixed::new([address]))
        .connections_per_endpoint(1)
        .build()
        .expect("an address and a thread")
}

pub(super) fn upload(to: &Client, pieces: u32, bytes: u32) {
    let mut upload = to.upload().open().wait().expect("the stream opens");
    for number in 0..pieces {
        upload
            .send(piece(number, bytes))
            .wait()
            .expect("it is taken");
    }
    let summary = upload.finish().wait().expect("the server counts");
    assert_eq!(summary.pieces, pieces);
    assert_eq!(summary.bytes, u64::from(pieces) * u64::from(bytes));
}

pub(super) fn order(pieces: u32, bytes: u32) -> Order {
    Order {
        pieces,
        bytes,
        ..Order::default()
    }
}

pub(super) fn download(to: &Client, pieces: u32, bytes: u32) {
    let opened = to.download(order(pieces, bytes)).open().wait();
    let mut inbound = opened.expect("the stream opens");
    expect_pieces(&mut inbound, pieces, bytes);
    expect_end(&mut inbound);
}

pub(super) fn expect_pieces(inbound: &mut Inbound<Piece>, pieces: u32, bytes: u32) {
    for number in 0..pieces {
        let got = inbound.next().wait();
        let got = got.unwrap_or_else(|status| panic!("piece {number}: {status}"));
        assert!(got == Some(piece(number, bytes)), "piece {number}");
    }
}

pub(super) fn expect_end(inbound: &mut Inbound<Piece>) {
    assert_eq!(inbound.next().wait().expect("an end in order"), None);
}

pub(super) fn ping_pong(to: &Client) {
    let (mut outbound, mut inbound) = to.chat().open().wait().expect("the stream opens");
    for number in 0..10 {
        outbound
            .send(piece(number, 100))
            .wait()
            .expect("it is taken");
        let got = inbound.next().wait().expect("it comes back");
        assert_eq!(got, Some(piece(number, 100)));
    }
    drop(outbound);
    expect_end(&mut inbound);
}

/// Sends and receives at the same time.
pub(super) fn chat(to: &Client, pieces: u32, bytes: u32) {
    let (mut outbound, mut inbound) = to.chat().open().wait().expect("the stream opens");
    let sender = thread::spawn(move || {
        for number in 0..pieces {
            outbound
                .send(piece(number, bytes))
                .wait()
                .expect("it is taken");
        }
    });
    expect_pieces(&mut inbound, pieces, bytes);
    expect_end(&mut inbound);
    sender.join().expect("all was sent");
}

fn nothing(peers: &StreamPeers) {
    on(peers, |to| {
        upload(to, 0, 0);
        download(to, 0, 0);
        chat(to, 0, 0);
    });
}

/// More than both ends hold between them waits at the server, and nothing is lost of it.
fn stopped_reader(peers: &StreamPeers) {
    on(peers, |to| {
        let opened = to.download(order(2_000, 1_000)).open().wait();
        let mut stopped = opened.expect("the stream opens");
        download(to, 2_000, 1_000);
        expect_pieces(&mut stopped, 2_000, 1_000);
        expect_end(&mut stopped);
    });
}

fn business_error(peers: &StreamPeers) {
    // A server of tRPC-Go makes one kind of all errors that have a code.
    on(peers, |to| expect_failure(&failed(to), 10_001, "quota"));
}

/// How a download ends whose handler fails with 10,001, "quota", behind two pieces.
pub(super) fn failed(to: &Client) -> Status {
    let order = Order {
        fail_code: 10_001,
        fail_message: "quota".to_owned(),
        ..order(2, 10)
    };
    let mut inbound = to.download(order).open().wait().expect("the stream opens");
    expect_pieces(&mut inbound, 2, 10);
    inbound.next().wait().expect_err("it fails")
}

fn expect_failure(status: &Status, number: i32, text: &str) {
    assert_eq!(status.code(), Code::Framework(number));
    assert_eq!(status.message(), text);
}

fn error_while_sending(peers: &StreamPeers) {
    on(peers, |to| {
        expect_failure(&failed_while_sending(to), -3, "enough");
        ping_pong(to);
    });
}

/// How a chat ends whose handler fails with -3, "enough", while pieces are on their way to it.
pub(super) fn failed_while_sending(to: &Client) -> Status {
    let (mut outbound, mut inbound) = to.chat().open().wait().expect("the stream opens");
    let failing = Piece {
        fail_code: -3,
        fail_message: "enough".to_owned(),
        ..Piece::default()
    };
    outbound.send(failing).wait().expect("it is taken");
    // How many of these are taken is a matter of luck. None of them harms the connection.
    let mut numbers = 1..1_000;
    while numbers
        .next()
        .is_some_and(|number| outbound.send(piece(number, 1_000)).wait().is_ok())
    {}
    inbound.next().wait().expect_err("it fails")
}

/// A stream that nobody serves.
pub(super) static NOPE: tern::MethodDescriptor = tern::MethodDescriptor {
    index: 0,
    name: "Nope",
    path: "/tern.interop.v1.Streams/Nope",
    alias: None,
    service: "tern.interop.v1.Streams",
    idempotency: tern::Idempotency::Unknown,
    shape: Shape::Duplex,
    request: tern::MessageType::UNKNOWN,
    reply: tern::MessageType::UNKNOWN,
};

/// Who announces 0 turns the control of the flow off for both ends.
pub(super) fn without_window(address: SocketAddr) {
    let channel = Channel::builder("tern.interop.v1.Streams")
        .resolve(Fixed::new([address]))
        .limits(Limits::client().without_stream_window())
        .build();
    let client = StreamsClient::new(channel.expect("an address and a thread"));
    upload(&client, 1_000, 500);
    download(&client, 1_000, 500);
    chat(&client, 1_000, 500);
}

fn unknown(peers: &StreamPeers) {
    let server = peers.go.stream_server();
    let channel = Channel::to("tern.interop.v1.Streams", server.address());
    let channel = channel.expect("an address and a thread");
    let call = StreamCall::<_, tern::stream::Duplex<Piece, Piece>>::duplex(channel.clone(), &NOPE);
    let status = call.open().wait().expect_err("nobody serves it");
    assert_eq!(status.code(), Code::NoMethod);
    ping_pong(&StreamsClient::new(channel));
}

fn packed(to: &Client, compression: Compression) {
    let mut upload = to
        .upload()
        .compress(compression)
        .open()
        .wait()
        .expect("the stream opens");
    for number in 0..50 {
        upload
            .send(piece(number, 5_000))
            .wait()
            .expect("it is taken");
    }
    let summary = upload.finish().wait().expect("the server counts");
    assert_eq!((summary.pieces, summary.bytes), (50, 250_000));
    let opened = to
        .download(order(50, 5_000))
        .compress(compression)
        .open()
        .wait();
    let mut inbound = opened.expect("the stream opens");
    expect_pieces(&mut inbound, 50, 5_000);
    expect_end(&mut inbound);
    let opened = to.chat().compress(compression).open().wait();
    let (mut outbound, mut inbound) = opened.expect("the stream opens");
    let incompressible = Piece {
        payload: pattern(3_000, 7),
        ..Piece::default()
    };
    outbound
        .send(incompressible.clone())
        .wait()
        .expect("it is taken");
    assert_eq!(
        inbound.next().wait().expect("it comes back"),
        Some(incompressible)
    );
}

fn deadline(peers: &StreamPeers) {
    on(peers, |to| {
        let opened = to.chat().timeout(Duration::from_millis(100)).open().wait();
        let (_outbound, mut inbound) = opened.expect("the stream opens");
        let status = inbound.next().wait().expect_err("nothing comes");
        assert_eq!(status.code(), Code::DeadlineExceeded);
        ping_pong(to);
    });
}

fn dropped(peers: &StreamPeers) {
    on(peers, |to| {
        for _ in 0..100 {
            let opened = to.download(order(100_000, 1_000)).open().wait();
            let mut inbound = opened.expect("the stream opens");
            expect_pieces(&mut inbound, 1, 1_000);
        }
        ping_pong(to);
    });
}

fn several(peers: &StreamPeers) {
    let server = peers.go.stream_server();
    let channel = Channel::builder("tern.interop.v1.Streams")
        .resolve(Fixed::new([server.address()]))
        .limits(Limits::client())
        .build();
    let client = StreamsClient::new(channel.expect("an address and a thread"));
    let threads: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || chat(&client, 100, 1_000))
        })
        .collect();
    for thread in threads {
        thread.join().expect("each of them passes");
    }
}
