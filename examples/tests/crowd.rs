//! Many connections with many calls each, answered out of order.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tern::Message;
use tern::Metadata;
use tern::codec::frame::{self, Decoded, FrameHeader, FrameKind, HEADER_BYTES};
use tern::codec::{Limits, RequestHead, ResponseHead};
use tern::{Bytes, Format};
use tern_examples::echo::EchoMessage;

mod support;

const CONNECTIONS: u32 = 1_000;
const CALLS: u32 = 16;

#[test]
fn a_thousand_connections_with_sixteen_calls_each_get_their_own_answers() {
    let server = support::EchoServer::start("127.0.0.1:0", &["--reactors", "2"]);
    let mut connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| Connection::open(&server.address, number))
        .collect();
    // Every call is on its way before the first answer is read.
    for connection in &mut connections {
        connection.ask();
    }
    let overtakings: usize = connections.iter_mut().map(Connection::read_answers).sum();
    assert!(
        overtakings > 1_000,
        "answers are to come out of order; {overtakings} calls were overtaken"
    );
}

struct Connection {
    stream: TcpStream,
    number: u32,
}

impl Connection {
    fn open(address: &str, number: u32) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("not zero");
        Self { stream, number }
    }

    /// Sends all calls at once. The first ones take longest.
    fn ask(&mut self) {
        let mut frames = Vec::new();
        for call in 0..CALLS {
            let delay_ms = 1 + (CALLS - call) * 3;
            let message = EchoMessage {
                payload: self.payload(call),
                delay_ms,
            };
            frames.extend(request(self.id(call), "/echo.v1.Echo/Slow", &message));
        }
        self.stream.write_all(&frames).expect("the server reads");
    }

    /// Reads an answer to each call and returns how many were overtaken by a later one.
    fn read_answers(&mut self) -> usize {
        let mut open: HashSet<u32> = (0..CALLS).map(|call| self.id(call)).collect();
        let mut overtakings = 0;
        while !open.is_empty() {
            let (id, message) = response(&mut self.stream);
            assert!(
                open.remove(&id),
                "an answer to {id}, which was not asked or has been answered"
            );
            assert_eq!(
                message.payload,
                self.payload(id % CALLS),
                "the answer to another call"
            );
            overtakings += open.iter().filter(|earlier| **earlier < id).count();
        }
        overtakings
    }

    fn id(&self, call: u32) -> u32 {
        self.number * CALLS + call
    }

    fn payload(&self, call: u32) -> Vec<u8> {
        format!("connection {}, call {call}", self.number).into_bytes()
    }
}

fn request(id: u32, func: &str, message: &EchoMessage) -> Vec<u8> {
    let body = tern::message::encode(message, Format::Protobuf).expect("a small message");
    let head = RequestHead {
        request_id: id,
        timeout_ms: 30_000,
        func: func.as_bytes(),
        ..RequestHead::default()
    };
    let metadata = Metadata::new();
    let head_len = u16::try_from(head.encoded_len(&metadata)).expect("a small head");
    let header = FrameHeader {
        kind: FrameKind::Unary,
        stream_frame_type: 0,
        total_len: u32::try_from(HEADER_BYTES + usize::from(head_len) + body.len())
            .expect("a small frame"),
        head_len,
        stream_id: id,
        version: 1,
        reserved: 0,
    };
    let mut bytes = header.encode().to_vec();
    head.encode(&metadata, &mut bytes);
    bytes.extend_from_slice(&body);
    bytes
}

fn response(stream: &mut TcpStream) -> (u32, EchoMessage) {
    let mut frame = vec![0; HEADER_BYTES];
    stream.read_exact(&mut frame).expect("an answer");
    let header = match frame::decode(&frame, &Limits::default()).expect("a frame") {
        Decoded::Frame(header) => header,
        Decoded::NeedMore(missing) => {
            let length = frame.len();
            frame.resize(length + missing, 0);
            stream
                .read_exact(&mut frame[length..])
                .expect("the rest of it");
            let Decoded::Frame(header) =
                frame::decode(&frame, &Limits::default()).expect("a frame")
            else {
                panic!("{missing} bytes were said to be missing")
            };
            header
        }
    };
    let body_start = HEADER_BYTES + usize::from(header.head_len);
    let head = ResponseHead::decode(&frame[HEADER_BYTES..body_start]).expect("a head");
    assert_eq!(
        (head.ret, head.func_ret),
        (0, 0),
        "{}",
        String::from_utf8_lossy(head.error_msg)
    );
    assert_eq!(
        head.request_id, header.stream_id,
        "both ids are the request's"
    );
    let body = Bytes::copy_from_slice(&frame[body_start..]);
    (
        head.request_id,
        Message::decode(Format::Protobuf, body).expect("a message"),
    )
}
