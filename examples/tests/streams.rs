//! Streams over sockets: generated stubs at both ends, and a process that is killed.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use tern::stream::{Inbound, Outbound};
use tern::{Channel, Code, Context, Fixed, Pool, Running, Server, Status};
use tern_examples::echo::{Echo, EchoClient, EchoMessage, EchoServer, blocking};

mod support;

/// Longer than any machine needs; a test that waits for all of it has failed.
const FOR_EVER: Duration = Duration::from_secs(60);
/// Bytes of a payload in most tests.
const LENGTH: usize = 1_000;

fn message(number: usize) -> EchoMessage {
    let mut payload = vec![7; LENGTH];
    payload[..8].copy_from_slice(&(number as u64).to_be_bytes());
    EchoMessage {
        payload,
        delay_ms: 0,
    }
}

fn client(server: &Running) -> EchoClient<Channel> {
    EchoClient::new(Channel::to("echo.v1.Echo", server.address()).unwrap())
}

/// Returns what it hears. At the first message that says a delay it does something else: 1 sends for ever, 2 waits for
/// ever.
#[derive(Clone)]
struct Parrot {
    sent: Arc<AtomicUsize>,
    dropped: Sender<()>,
}

/// Tells when it is dropped.
struct Dropped(Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn parrot() -> (Parrot, Receiver<()>) {
    let (dropped, is_dropped) = mpsc::channel();
    let sent = Arc::default();
    (Parrot { sent, dropped }, is_dropped)
}

impl Echo for Parrot {
    async fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    async fn slow(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    async fn chat(
        &self,
        _: &Context,
        mut inbound: Inbound<EchoMessage>,
        mut outbound: Outbound<EchoMessage>,
    ) -> Result<(), Status> {
        let _dropped = Dropped(self.dropped.clone());
        while let Some(message) = inbound.next().await? {
            match message.delay_ms {
                0 => outbound.send(message).await?,
                1 => loop {
                    outbound.send(message.clone()).await?;
                    self.sent.fetch_add(1, Ordering::SeqCst);
                },
                _ => pending().await,
            }
        }
        Ok(())
    }
}

impl blocking::Echo for Parrot {
    fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    fn slow(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    fn chat(
        &self,
        _: &Context,
        mut inbound: Inbound<EchoMessage>,
        mut outbound: Outbound<EchoMessage>,
    ) -> Result<(), Status> {
        while let Some(message) = inbound.next().wait()? {
            outbound.send(message).wait()?;
        }
        Ok(())
    }
}

fn start(parrot: Parrot) -> Running {
    let server = Server::builder().service(EchoServer::new(parrot));
    server.bind("127.0.0.1:0").unwrap().start().unwrap()
}

/// Sends so many messages and reads them again, on two threads.
fn exchange(echo: &EchoClient<Channel>, messages: usize) {
    let (mut outbound, mut inbound) = echo.chat().open().wait().unwrap();
    let sender = thread::spawn(move || {
        for number in 0..messages {
            outbound.send(message(number)).wait().unwrap();
        }
    });
    for number in 0..messages {
        assert_eq!(inbound.next().wait().unwrap(), Some(message(number)));
    }
    assert_eq!(inbound.next().wait().unwrap(), None);
    sender.join().unwrap();
}

#[test]
fn r18_a_reader_that_stops_stops_the_writer_and_nobody_else() {
    // A window of 65,535 bytes, a lane of 64 KiB, and one message on each side of both edges.
    const MOST: usize = 2 * 65_536 / LENGTH + 4;
    let (parrot, _dropped) = parrot();
    let sent = Arc::clone(&parrot.sent);
    let server = start(parrot);
    let echo = client(&server);
    let (mut outbound, mut unread) = echo.chat().open().wait().unwrap();
    let endless = EchoMessage {
        delay_ms: 1,
        ..message(0)
    };
    outbound.send(endless.clone()).wait().unwrap();
    // Calls and another stream go on beside it, over the same connection.
    while sent.load(Ordering::SeqCst) < 2 * 65_536 / LENGTH - 4 {
        assert_eq!(echo.echo(message(1)).wait().unwrap(), message(1));
    }
    exchange(&echo, 2_000);
    assert_eq!(server.connections(), 1);
    let count = sent.load(Ordering::SeqCst);
    assert!(count <= MOST, "{count} messages were taken, not {MOST}");
    // It stood, and goes on.
    for _ in 0..1_000 {
        assert_eq!(unread.next().wait().unwrap().as_ref(), Some(&endless));
    }
    let ahead = sent.load(Ordering::SeqCst) - 1_000;
    assert!(ahead <= MOST, "{ahead} messages ahead");
    drop((outbound, unread));
    server.stop().unwrap();
}

#[test]
fn r10_dropped_handles_drop_a_handler_that_waits_and_free_its_permit() {
    let (parrot, dropped) = parrot();
    let server = start(parrot);
    let echo = client(&server);
    for _ in 0..20 {
        let (mut outbound, inbound) = echo.chat().open().wait().unwrap();
        let waits = EchoMessage {
            delay_ms: 2,
            ..message(0)
        };
        outbound.send(waits).wait().unwrap();
        drop((outbound, inbound));
        dropped.recv_timeout(FOR_EVER).unwrap();
    }
    // The permit goes right behind the future; the calls are only there to let some time pass.
    let is_free = (0..10_000).any(|_| {
        echo.echo(message(1)).wait().unwrap();
        server.calls_in_flight() == 0
    });
    assert!(is_free, "{} permits are taken", server.calls_in_flight());
    server.stop().unwrap();
}

#[test]
fn a_thousand_streams_share_one_connection() {
    const STREAMS: usize = 1_000;
    let (parrot, _dropped) = parrot();
    let server = start(parrot);
    let channel = Channel::builder("echo.v1.Echo")
        .resolve(Fixed::new([server.address()]))
        .connections_per_endpoint(1);
    let echo = EchoClient::new(channel.build().unwrap());
    let mut chats: Vec<_> = (0..STREAMS)
        .map(|_| echo.chat().open().wait().unwrap())
        .collect();
    assert_eq!(server.connections(), 1);
    for round in 0..3 {
        for (number, (outbound, _)) in chats.iter_mut().enumerate() {
            outbound.send(message(number + round)).wait().unwrap();
        }
        for (number, (_, inbound)) in chats.iter_mut().enumerate() {
            let answer = inbound.next().wait().unwrap();
            assert_eq!(answer, Some(message(number + round)));
        }
    }
    for (outbound, mut inbound) in chats {
        drop(outbound);
        assert_eq!(inbound.next().wait().unwrap(), None);
    }
    server.stop().unwrap();
}

#[test]
fn blocking_handlers_serve_as_many_streams_as_they_have_threads() {
    let (parrot, _dropped) = parrot();
    let pool = Pool::builder("streams").threads(8).build();
    let server = Server::builder().service(EchoServer::blocking(parrot).on(&pool));
    let server = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let echo = client(&server);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| exchange(&echo, 500));
        }
    });
    server.stop().unwrap();
}

#[test]
fn r23_a_server_that_is_stopped_waits_for_a_stream_that_ends_in_time() {
    let (parrot, _dropped) = parrot();
    let server = start(parrot);
    let echo = client(&server);
    let (mut outbound, mut inbound) = echo.chat().open().wait().unwrap();
    let stopped = thread::spawn(move || server.stop());
    for number in 0..500 {
        outbound.send(message(number)).wait().unwrap();
        assert_eq!(inbound.next().wait().unwrap(), Some(message(number)));
    }
    drop(outbound);
    assert_eq!(inbound.next().wait().unwrap(), None);
    stopped.join().unwrap().unwrap();
}

#[test]
fn r24_a_server_that_is_stopped_resets_a_stream_that_does_not_end() {
    let (parrot, dropped) = parrot();
    let server = Server::builder()
        .close_wait(Duration::from_millis(10))
        .drain(Duration::from_millis(300))
        .service(EchoServer::new(parrot));
    let server = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let echo = client(&server);
    let (_outbound, mut inbound) = echo.chat().open().wait().unwrap();
    let stopped = thread::spawn(move || server.stop());
    let end = inbound.next().wait().unwrap_err();
    assert_eq!(end.code(), Code::Internal, "{end}");
    dropped.recv_timeout(FOR_EVER).unwrap();
    // It says that not all was finished in time.
    stopped.join().unwrap().unwrap_err();
}

#[test]
fn a_server_that_is_killed_ends_its_streams() {
    let mut server = support::EchoServer::start("127.0.0.1:0", &[]);
    let echo = EchoClient::new(Channel::to("echo.v1.Echo", &server.address).unwrap());
    let mut chats: Vec<_> = (0..10)
        .map(|_| echo.chat().open().wait().unwrap())
        .collect();
    for (outbound, inbound) in &mut chats {
        outbound.send(message(1)).wait().unwrap();
        assert_eq!(inbound.next().wait().unwrap(), Some(message(1)));
    }
    server.kill();
    for (mut outbound, mut inbound) in chats {
        let end = inbound.next().wait().unwrap_err();
        assert_eq!(end.code(), Code::ConnectionLost, "{end}");
        let end = outbound.send(message(2)).wait().unwrap_err();
        assert_eq!(end.code(), Code::ConnectionLost, "{end}");
    }
}
