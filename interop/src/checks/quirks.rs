//! What tRPC-Go does otherwise than one would think. Should one of these fail, Go has changed, and `docs/interop.md` is
//! to be changed with it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rpc_codec::frame::HEADER_BYTES;
use rpc_codec::{Codecs, FrameHeader, FrameKind, RequestHead, ResponseHead};
use tern::{Compression, Metadata};

use super::calls::Peers;
use crate::check::Check;
use crate::go::{Mode, Transport};
use crate::wire::{Request, Wire};

/// All of them.
pub const CHECKS: [Check<Peers>; 13] = [
    check("the answer to id 0 has an empty head", empty_head),
    check("the version byte comes back as it was", version),
    check("metadata comes back unasked", metadata),
    check("answers are packed whatever their size", gzip),
    check("the caller's deadline is met with silence", silence),
    check("a one-way call that fails is answered", one_way),
    check("an attachment that lies is met with silence", attachment),
    check("no head: ret 1 with id 0", no_head),
    check("a FIN loses the answers in flight", fin),
    check("its client goes by bytes 10 to 13", correlation),
    check("its client rounds its time down", rounded_down),
    check("JSON with unknown fields: ret 1", unknown_fields),
    check("JSON without a body is the empty message", no_json),
];

const fn check(name: &'static str, run: fn(&Peers)) -> Check<Peers> {
    Check { name, run }
}

fn empty_head(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    let response = wire.call(&Request::echo(0, b"payload", 0));
    assert_eq!(response.header.head_len, 0);
    assert_eq!(response.payload(), b"payload");
}

fn version(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    for version in [0, 1, 9] {
        let request = Request {
            version,
            ..Request::echo(1, b"payload", 0)
        };
        assert_eq!(wire.call(&request).header.version, version);
    }
}

fn metadata(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        metadata: [("mine", "value")].into_iter().collect(),
        ..Request::echo(1, b"payload", 0)
    };
    let response = wire.call(&request);
    assert_eq!(response.metadata.text("mine"), Some("value"));
}

fn gzip(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    // No body, which is the empty message in any compression: the answer has nine bytes before it is packed.
    let request = Request {
        content_encoding: 1,
        ..Request::echo(1, b"", 0)
    };
    assert!(request.body.is_empty());
    let response = wire.call(&request);
    assert_eq!(response.content_encoding, 1);
    let plain = Codecs::default().decompress(Compression::Gzip, &response.body, 1 << 20);
    let plain = plain.expect("gzip");
    assert!(plain.len() < response.body.len(), "{plain:?}");
}

fn silence(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        timeout_ms: 50,
        ..Request::echo(1, b"too late", 100)
    };
    wire.send(&request.bytes());
    // This answer comes long after the time of the other.
    let response = wire.call(&Request::echo(2, b"in time", 400));
    assert_eq!(response.request_id, 2);
    wire.expect_alive();
}

fn unknown_fields(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    let json = |id, text: &'static [u8]| Request {
        func: "/tern.interop.v1.Formats/Echo",
        content_type: 2,
        body: text.into(),
        ..Request::echo(id, b"", 0)
    };
    wire.call(&json(1, br#"{"from_the_future":1}"#))
        .expect_ret(1);
    let known = wire.call(&json(2, br#"{"small":1}"#));
    assert_eq!((known.ret, known.func_ret), (0, 0), "{}", known.message);
}

fn no_json(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        func: "/tern.interop.v1.Formats/Echo",
        content_type: 2,
        ..Request::echo(1, b"", 0)
    };
    assert!(request.body.is_empty());
    let response = wire.call(&request);
    assert_eq!(
        (response.ret, response.func_ret),
        (0, 0),
        "{}",
        response.message
    );
    assert!(response.body.starts_with(b"{"), "{:?}", response.body);
}

fn one_way(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        call_type: 1,
        func: "/tern.interop.v1.Interop/Nope",
        ..Request::echo(1, b"payload", 0)
    };
    let response = wire.call(&request);
    response.expect_ret(12);
    assert_eq!(response.request_id, 1);
    wire.expect_alive();
}

fn attachment(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    let request = Request {
        attachment_size: 1_000,
        ..Request::echo(1, b"payload", 0)
    };
    wire.send(&request.bytes());
    let response = wire.call(&Request::echo(2, b"later", 200));
    assert_eq!(response.request_id, 2);
}

fn no_head(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    wire.send(&frame(77, &[], &[]));
    let response = wire.response();
    response.expect_ret(1);
    let ids = (response.request_id, response.header.stream_id);
    assert_eq!(ids, (0, 77));
    wire.expect_alive();
}

fn fin(peers: &Peers) {
    let server = peers.go.server(peers.transport, &[]);
    let mut wire = Wire::connect(server.address());
    wire.send(&Request::echo(1, b"lost", 200).bytes());
    wire.finish();
    wire.expect_end();
}

/// A server that answers as those of C++ and Java do, with the id in the head alone, serves the pooled client; the
/// multiplexed one waits until its time is over, and over tnet it calls that a failure of the network.
fn correlation(peers: &Peers) {
    let server = ZeroStreamIds::start();
    let run = |mode| {
        let only = ["small"];
        let mut cases = peers
            .go
            .client(server.address, mode, peers.transport, &only);
        cases.remove(0).outcome
    };
    assert_eq!(run(Mode::Pooled), Ok(()));
    let reason = run(Mode::Multiplexed).expect_err("the answer is not found");
    let code = match peers.transport {
        Transport::Tnet => "code:141",
        Transport::GoNet => "code:101",
    };
    assert!(reason.contains(code), "{reason}");
    assert!(reason.contains("deadline exceeded") || reason.contains("timeout"));
}

/// Of 100 ms it sends 99, so a server that answers at the deadline can be ahead of the client's own timer.
fn rounded_down(peers: &Peers) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let sent = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        let (header, rest) = Wire::over(stream).frame();
        let head = RequestHead::decode(&rest[..usize::from(header.head_len)]);
        head.expect("Go writes sound heads").timeout_ms
    });
    // It gets no answer, so the case fails.
    let (mode, cases) = (Mode::Pooled, ["client_timeout"]);
    peers.go.client(address, mode, peers.transport, &cases);
    let sent = sent.join().expect("a request");
    assert!((90..100).contains(&sent), "{sent} ms of 100");
}

/// A server that returns payloads at once, in answers whose bytes 10 to 13 are 0.
struct ZeroStreamIds {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl ZeroStreamIds {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                thread::spawn(move || serve(stream));
            }
        });
        Self { address, is_over }
    }
}

impl Drop for ZeroStreamIds {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Whoever accepts looks up.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream) {
    let mut wire = Wire::over(stream);
    while let Ok(Some((header, rest))) = wire.next_frame() {
        let (head, body) = rest.split_at(usize::from(header.head_len));
        let request = RequestHead::decode(head).expect("Go writes sound heads");
        let head = ResponseHead {
            request_id: request.request_id,
            ..ResponseHead::default()
        };
        let mut bytes = Vec::new();
        head.encode(&Metadata::new(), &mut bytes);
        // The payload is field 1 of the request as of the response; the other fields are not set.
        wire.send(&frame(0, &bytes, body));
    }
}

fn frame(stream_id: u32, head: &[u8], body: &[u8]) -> Vec<u8> {
    let total = HEADER_BYTES + head.len() + body.len();
    let header = FrameHeader {
        kind: FrameKind::Unary,
        stream_frame_type: 0,
        total_len: u32::try_from(total).expect("short"),
        head_len: u16::try_from(head.len()).expect("short"),
        stream_id,
        version: 1,
        reserved: 0,
    };
    [&header.encode()[..], head, body].concat()
}
