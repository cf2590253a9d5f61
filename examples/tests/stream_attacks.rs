//! Frames of streams that no client should send, written by hand to a server on a socket.

use std::future::pending;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use tern::codec::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use tern::codec::stream::{
    CLOSE, CloseMeta, DATA, FEEDBACK, FeedbackMeta, INIT, InitMeta, InitRequest,
};
use tern::codec::{Limits, RequestHead};
use tern::stream::{Inbound, Outbound};
use tern::{Context, Metadata, Running, Server, Status};
use tern_examples::echo::{Echo, EchoMessage, EchoServer};

/// Longer than any machine needs; a test that waits for all of it has failed.
const FOR_EVER: Duration = Duration::from_secs(60);
const WINDOW: u32 = 65_535;

/// Waits for ever on each stream, and tells when it is dropped. A call stands until the test comes to the barrier.
struct Deaf {
    /// Says one thing only, so that no window is ever in its way.
    is_quiet: bool,
    dropped: Sender<()>,
    barrier: Arc<Barrier>,
}

struct Dropped(Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Echo for Deaf {
    async fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    async fn slow(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        // What no inline handler should do: its loop stands meanwhile.
        self.barrier.wait();
        self.barrier.wait();
        Ok(message)
    }

    async fn chat(
        &self,
        _: &Context,
        inbound: Inbound<EchoMessage>,
        mut outbound: Outbound<EchoMessage>,
    ) -> Result<(), Status> {
        let _dropped = Dropped(self.dropped.clone());
        let payload = vec![7; 30_000];
        let long = EchoMessage {
            payload,
            delay_ms: 0,
        };
        // As many as there is room for.
        while outbound.send(long.clone()).await.is_ok() && !self.is_quiet {}
        let _inbound = inbound;
        pending().await
    }
}

struct Target {
    server: Running,
    dropped: Receiver<()>,
    barrier: Arc<Barrier>,
}

fn start(limits: Limits) -> Target {
    start_with(limits, false)
}

fn start_with(limits: Limits, is_quiet: bool) -> Target {
    let (sender, dropped) = mpsc::channel();
    let barrier = Arc::new(Barrier::new(2));
    let deaf = Deaf {
        is_quiet,
        dropped: sender,
        barrier: Arc::clone(&barrier),
    };
    let server = Server::builder()
        .reactors(1)
        .limits(limits)
        .service(EchoServer::new(deaf).method_inline("Slow"));
    let server = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    Target {
        server,
        dropped,
        barrier,
    }
}

impl Target {
    fn connect(&self) -> Wire {
        let stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(FOR_EVER)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire(stream)
    }
}

struct Wire(TcpStream);

fn frame(frame_type: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        kind: FrameKind::Stream,
        stream_frame_type: frame_type,
        total_len: u32::try_from(HEADER_BYTES + payload.len()).unwrap(),
        head_len: 0,
        stream_id: id,
        version: 0,
        reserved: 0,
    };
    [&header.encode()[..], payload].concat()
}

fn init(id: u32, window: u32) -> Vec<u8> {
    let request = InitRequest {
        func: b"/echo.v1.Echo/Chat",
        ..InitRequest::default()
    };
    let meta = InitMeta {
        request: Some(request),
        window,
        ..InitMeta::default()
    };
    let mut payload = Vec::new();
    meta.encode(&Metadata::new(), &mut payload);
    frame(INIT, id, &payload)
}

fn call(id: u32, func: &str) -> Vec<u8> {
    let head = RequestHead {
        request_id: id,
        func: func.as_bytes(),
        ..RequestHead::default()
    };
    let mut bytes = Vec::new();
    head.encode(&Metadata::new(), &mut bytes);
    let header = FrameHeader {
        kind: FrameKind::Unary,
        stream_frame_type: 0,
        total_len: u32::try_from(HEADER_BYTES + bytes.len()).unwrap(),
        head_len: u16::try_from(bytes.len()).unwrap(),
        stream_id: id,
        version: 0,
        reserved: 0,
    };
    [&header.encode()[..], &bytes].concat()
}

/// What comes back, as far as it is of interest here.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Opened(u32),
    Refused(u32, i32),
    Data(u32),
    Reset(u32, i32),
    Answer,
    End,
}

impl Wire {
    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn next(&mut self) -> Said {
        let mut fixed = [0; HEADER_BYTES];
        if self.0.read_exact(&mut fixed).is_err() {
            return Said::End;
        }
        let header = FrameHeader::decode(&fixed, &Limits::default()).unwrap();
        let mut payload = vec![0; header.total_len as usize - HEADER_BYTES];
        self.0.read_exact(&mut payload).unwrap();
        let id = header.stream_id;
        match (header.kind, header.stream_frame_type) {
            (FrameKind::Unary, _) => Said::Answer,
            (_, INIT) => match InitMeta::decode(&payload).unwrap().response.unwrap().ret {
                0 => Said::Opened(id),
                ret => Said::Refused(id, ret),
            },
            (_, DATA) => Said::Data(id),
            (_, CLOSE) => Said::Reset(id, CloseMeta::decode(&payload).unwrap().ret),
            (_, other) => panic!("a frame of type {other}"),
        }
    }

    /// The next that is no message.
    fn next_but_data(&mut self) -> Said {
        loop {
            match self.next() {
                Said::Data(_) => {}
                said => return said,
            }
        }
    }

    fn open(&mut self, id: u32) {
        self.send(&init(id, WINDOW));
        assert_eq!(self.next_but_data(), Said::Opened(id));
    }

    fn expect_alive(&mut self) {
        self.send(&call(7, "/echo.v1.Echo/Echo"));
        assert_eq!(self.next_but_data(), Said::Answer);
    }
}

#[test]
fn r17_messages_without_bytes_are_counted_and_one_too_many_resets() {
    let target = start(Limits::default());
    let mut wire = target.connect();
    wire.open(100);
    wire.open(101);
    let empty = frame(DATA, 100, &[]);
    wire.send(&empty.repeat(1_000));
    wire.expect_alive();
    wire.send(&empty.repeat(500));
    assert_eq!(wire.next_but_data(), Said::Reset(100, 211));
    target.dropped.recv_timeout(FOR_EVER).unwrap();
    wire.expect_alive();
    assert!(target.dropped.try_recv().is_err(), "the other stream lives");
}

#[test]
fn r16_more_than_windows_and_frames_allow_resets_and_the_connection_lives() {
    let target = start(Limits::default().with_frame_bytes_max(32 * 1024));
    let mut wire = target.connect();
    wire.open(100);
    let message = frame(DATA, 100, &vec![1; 16 * 1024]);
    // A window, and two frames of the longest that may be.
    wire.send(&message.repeat(7));
    wire.expect_alive();
    wire.send(&message.repeat(3));
    assert_eq!(wire.next_but_data(), Said::Reset(100, 211));
    target.dropped.recv_timeout(FOR_EVER).unwrap();
    wire.expect_alive();
}

#[test]
fn a_window_that_is_opened_out_of_all_proportion_resets() {
    let target = start(Limits::default());
    let mut wire = target.connect();
    wire.open(100);
    let mut payload = Vec::new();
    let increment = i32::MAX as u32;
    FeedbackMeta { increment }.encode(&mut payload);
    // What was sent meanwhile may have made room for the first.
    wire.send(&frame(FEEDBACK, 100, &payload).repeat(2));
    assert_eq!(wire.next_but_data(), Said::Reset(100, 1000));
    target.dropped.recv_timeout(FOR_EVER).unwrap();
    wire.expect_alive();
}

#[test]
fn r17_streams_beyond_the_limit_are_refused_with_22() {
    let target = start(Limits::default().with_connection_streams_max(50));
    let mut wire = target.connect();
    (100..150).for_each(|id| wire.open(id));
    for id in 150..2_150 {
        wire.send(&init(id, WINDOW));
        assert_eq!(wire.next_but_data(), Said::Refused(id, 22));
    }
    wire.expect_alive();
    assert_eq!(target.server.calls_in_flight(), 50);
}

#[test]
fn r11_frames_of_streams_that_are_not_there_end_their_connection_and_no_other() {
    let target = start(Limits::default().with_glitches_max(100));
    let mut other = target.connect();
    other.open(100);
    let mut wire = target.connect();
    wire.open(100);
    let strays: Vec<u8> = (1_000..1_200)
        .flat_map(|id| frame(DATA, id, b"stray"))
        .collect();
    wire.send(&strays);
    let mut resets = 0;
    loop {
        match wire.next_but_data() {
            Said::End => break,
            Said::Reset(100, 201) => {}
            said => {
                assert_eq!(said, Said::Reset(1_000 + resets, 1000));
                resets += 1;
            }
        }
    }
    assert!((100..=101).contains(&resets), "{resets} resets");
    target.dropped.recv_timeout(FOR_EVER).unwrap();
    other.expect_alive();
    assert!(target.dropped.try_recv().is_err(), "other streams live");
}

#[test]
fn r11_damage_drops_handlers_that_would_wait_for_ever() {
    let target = start_with(Limits::default(), true);
    let mut wire = target.connect();
    for id in 100..110 {
        wire.open(id);
        assert_eq!(wire.next(), Said::Data(id));
    }
    wire.send(b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n");
    for _ in 0..10 {
        target.dropped.recv_timeout(FOR_EVER).unwrap();
    }
    while wire.next() != Said::End {}
    let mut other = target.connect();
    other.expect_alive();
}

/// The reset and the loss of the connection are found in one turn: what was read has happened all the same.
#[test]
fn r10_a_stream_that_is_reset_as_its_connection_fails_drops_its_handler() {
    let target = start(Limits::default());
    let mut other = target.connect();
    other.expect_alive();
    for _ in 0..10 {
        let mut wire = target.connect();
        // The first has no window and fills the socket, as nothing is read from here on but until both are heard of.
        wire.send(&[init(100, 0), init(101, WINDOW)].concat());
        let mut heard = [false; 2];
        while heard != [true; 2] {
            match wire.next() {
                Said::Data(100) => heard[0] = true,
                Said::Data(101) => heard[1] = true,
                _ => {}
            }
        }
        other.send(&call(8, "/echo.v1.Echo/Slow"));
        target.barrier.wait();
        let mut payload = Vec::new();
        CloseMeta::reset(161, "").encode(&Metadata::new(), &mut payload);
        wire.send(&[frame(CLOSE, 100, &payload), frame(CLOSE, 101, &payload)].concat());
        // With bytes unread this is a reset of the connection.
        drop(wire);
        target.barrier.wait();
        assert_eq!(other.next(), Said::Answer);
        for _ in 0..2 {
            target.dropped.recv_timeout(FOR_EVER).unwrap();
        }
    }
}
