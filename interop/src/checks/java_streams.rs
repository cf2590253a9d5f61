//! Streams of our client on a server of tRPC-Java, which serves them on a port of their own.

use std::thread;
use std::time::Duration;

use tern::stream::{Duplex, StreamCall};
use tern::{Code, Origin, Status};

use super::java_calls::Peers;
use super::streams::{
    Client, NOPE, channel, chat, client, download, expect_end, expect_pieces, failed,
    failed_while_sending, order, ping_pong, upload, without_window,
};
use crate::check::Check;
use crate::pb::{Piece, StreamsClient};

/// All of them.
pub const CHECKS: [Check<Peers>; 14] = [
    check("upload of 1,000", |peers| {
        on(peers, |to| upload(to, MANY, 500));
    }),
    check("download of 1,000", |peers| {
        on(peers, |to| download(to, MANY, 500));
    }),
    check("chat of 1,000 both ways", |peers| {
        on(peers, |to| chat(to, MANY, 500));
    }),
    check("chat, one after the other", |peers| on(peers, ping_pong)),
    check("no message at all", |peers| {
        on(peers, |to| {
            upload(to, 0, 0);
            download(to, 0, 0);
            chat(to, 0, 0);
        });
    }),
    check("messages without payload", |peers| {
        on(peers, |to| download(to, 3, 0));
    }),
    check("messages larger than the window", |peers| {
        on(peers, |to| {
            upload(to, 3, 300_000);
            download(to, 3, 300_000);
            chat(to, 3, 300_000);
        });
    }),
    check(
        "a reader that stops, and a stream beside it",
        stopped_reader,
    ),
    check("20 at once", several),
    check("business error behind two messages", business_error),
    check("business error while we send", error_while_sending),
    check("deadline: 101, and the connection goes on", deadline),
    check("unknown method", unknown),
    check("no window at our end", |peers| {
        let server = peers.java.server(&["--streams"]);
        without_window(server.address());
    }),
];

const MANY: u32 = 1_000;

const fn check(name: &'static str, run: fn(&Peers)) -> Check<Peers> {
    Check { name, run }
}

fn on(peers: &Peers, run: impl FnOnce(&Client)) {
    let server = peers.java.server(&["--streams"]);
    run(&client(server.address()));
}

/// More than both ends hold between them waits at the server, and nothing is lost of it.
fn stopped_reader(peers: &Peers) {
    on(peers, |to| {
        let opened = to.download(order(MANY, 1_000)).open().wait();
        let mut stopped = opened.expect("the stream opens");
        download(to, MANY, 1_000);
        expect_pieces(&mut stopped, MANY, 1_000);
        expect_end(&mut stopped);
    });
}

fn several(peers: &Peers) {
    on(peers, |to| {
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let client = to.clone();
                thread::spawn(move || chat(&client, 50, 1_000))
            })
            .collect();
        for thread in threads {
            thread.join().expect("each of them passes");
        }
    });
}

/// Each failure of a handler is 1000 to a client, and the service's own number is lost.
fn expect_failure(status: &Status, text: &str) {
    assert_eq!(
        (status.code(), status.origin()),
        (Code::Framework(1000), Origin::Remote)
    );
    assert!(status.message().contains(text), "{status}");
}

fn business_error(peers: &Peers) {
    on(peers, |to| expect_failure(&failed(to), "quota"));
}

fn error_while_sending(peers: &Peers) {
    on(peers, |to| {
        expect_failure(&failed_while_sending(to), "enough");
        ping_pong(to);
    });
}

fn deadline(peers: &Peers) {
    on(peers, |to| {
        let opened = to.chat().timeout(Duration::from_millis(300)).open().wait();
        let (_outbound, mut inbound) = opened.expect("the stream opens");
        let status = inbound.next().wait().expect_err("nothing comes");
        assert_eq!(status.code(), Code::DeadlineExceeded);
        ping_pong(to);
    });
}

/// 999, where others say 12.
fn unknown(peers: &Peers) {
    let server = peers.java.server(&["--streams"]);
    let channel = channel(server.address());
    let call = StreamCall::<_, Duplex<Piece, Piece>>::duplex(channel.clone(), &NOPE);
    let status = call.open().wait().expect_err("nobody serves it");
    assert_eq!(status.code(), Code::Framework(999));
    ping_pong(&StreamsClient::new(channel));
}
