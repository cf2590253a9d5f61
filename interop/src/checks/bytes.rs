//! Frames written by hand, sound and broken, on our server.

use std::net::SocketAddr;

use rpc_codec::frame::HEADER_BYTES;
use rpc_codec::{FrameHeader, FrameKind, Limits, stream};
use tern::Bytes;

use super::pattern;
use crate::check::Check;
use crate::pb::UnaryRequest;
use crate::wire::{Request, Response, Wire};

/// All of them; each is told where our server listens.
pub const CHECKS: [Check<SocketAddr>; 24] = [
    check("bytes 10 to 13 and the version come back", fixed_header),
    check("the first call of a C++ client", all_zero),
    check("a request split at every byte", split),
    check("a request byte by byte", byte_by_byte),
    check("answers overtake each other", out_of_order),
    check("two calls in flight with one id", duplicate_ids),
    check("a frame of exactly the limit", longest_frame),
    check("a frame beyond the limit ends it", too_long),
    check("a wrong magic ends it", wrong_magic),
    check("a length of 15 ends it", too_short),
    check("a head past its frame ends it", head_past_frame),
    check("frame type 2 ends it", unknown_kind),
    check("HTTP ends it", http),
    check("a bad frame behind a good one", good_then_bad),
    check("no head: ret 1", no_head),
    check("a head that cannot be read: ret 1", unreadable_head),
    check("an attachment that is not there: ret 1", lying_attachment),
    check("an unknown content_type: ret 1", unknown_format),
    check("an unknown content_encoding: ret 1", unknown_compression),
    check("an unknown method: ret 12", unknown_method),
    check("the caller's time: ret 24", caller_timeout),
    check("one-way is never answered", one_way),
    check("half-closed is still answered", half_close),
    check("frames of streams that are not there", streams),
];

const fn check(name: &'static str, run: fn(&SocketAddr)) -> Check<SocketAddr> {
    Check { name, run }
}

fn fixed_header(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    for (stream_id, version) in [(7, 1), (0, 0), (0xdead_beef, 1), (0xffff_ffff, 0)] {
        let request = Request {
            stream_id,
            version,
            ..Request::echo(7, b"payload", 0)
        };
        let response = wire.call(&request);
        let header = response.header;
        assert_eq!((header.stream_id, header.version), (stream_id, version));
        assert_eq!((header.stream_frame_type, header.reserved), (0, 0));
        assert_eq!(response.request_id, 7);
        assert_eq!(response.payload(), b"payload");
    }
}

/// A C++ client counts from 0, so its first id is absent from the head, and it leaves bytes 10 to 14 empty.
fn all_zero(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    for id in 0..3 {
        let request = Request {
            stream_id: 0,
            version: 0,
            ..Request::echo(id, b"hello", 0)
        };
        let response = wire.call(&request);
        let header = response.header;
        let ids = (response.request_id, header.stream_id, header.version);
        assert_eq!(ids, (id, 0, 0));
        assert_eq!(response.payload(), b"hello");
    }
}

fn split(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    let length = Request::echo(1, b"in two pieces", 0).bytes().len();
    for (at, id) in (1..length).zip(1..) {
        let bytes = Request::echo(id, b"in two pieces", 0).bytes();
        let (first, second) = bytes.split_at(at);
        wire.send(first);
        wire.send(second);
        let response = wire.response();
        assert_eq!(response.request_id, id, "split at {at}");
        assert_eq!(response.payload(), b"in two pieces");
    }
}

fn byte_by_byte(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    for byte in Request::echo(1, b"drop by drop", 0).bytes() {
        wire.send(&[byte]);
    }
    assert_eq!(wire.response().payload(), b"drop by drop");
}

fn out_of_order(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    let slow = Request::echo(1, b"slow", 300).bytes();
    let fast = Request::echo(2, b"fast", 0).bytes();
    wire.send(&[slow, fast].concat());
    let first = wire.response();
    assert_eq!((first.request_id, &first.payload()[..]), (2, &b"fast"[..]));
    let second = wire.response();
    assert_eq!(
        (second.request_id, &second.payload()[..]),
        (1, &b"slow"[..])
    );
}

fn duplicate_ids(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    let later = Request::echo(5, b"later", 200).bytes();
    let sooner = Request::echo(5, b"sooner", 50).bytes();
    wire.send(&[later, sooner].concat());
    for expected in ["sooner", "later"] {
        let response = wire.response();
        assert_eq!(response.request_id, 5);
        assert_eq!(response.payload(), expected.as_bytes());
    }
    wire.expect_alive();
}

fn longest_frame(address: &SocketAddr) {
    let limit = Limits::default().frame_bytes_max as usize;
    let around = Request::echo(1, &pattern(limit / 2, 1), 0).bytes().len() - limit / 2;
    let payload = pattern(limit - around, 2);
    let request = Request::echo(1, &payload, 0);
    assert_eq!(request.bytes().len(), limit);
    let response = Wire::connect(*address).call(&request);
    assert!(response.payload() == payload, "another payload came back");
}

/// Sends a header that ends the connection, alone: the body need not arrive.
fn ends(address: SocketAddr, change: impl FnOnce(&mut [u8; HEADER_BYTES])) {
    let mut fixed = FrameHeader {
        kind: FrameKind::Unary,
        stream_frame_type: 0,
        total_len: 100,
        head_len: 20,
        stream_id: 1,
        version: 1,
        reserved: 0,
    }
    .encode();
    change(&mut fixed);
    let mut wire = Wire::connect(address);
    wire.send(&fixed);
    wire.expect_end();
}

fn too_long(address: &SocketAddr) {
    let total = Limits::default().frame_bytes_max + 1;
    ends(*address, |fixed| {
        fixed[4..8].copy_from_slice(&total.to_be_bytes());
    });
    ends(*address, |fixed| fixed[4..8].fill(0xff));
}

fn wrong_magic(address: &SocketAddr) {
    ends(*address, |fixed| fixed[1] = 0x31);
    ends(*address, |fixed| fixed[..2].fill(0));
}

fn too_short(address: &SocketAddr) {
    ends(*address, |fixed| {
        fixed[4..8].copy_from_slice(&[0, 0, 0, 15]);
    });
    ends(*address, |fixed| fixed[4..8].fill(0));
}

fn head_past_frame(address: &SocketAddr) {
    // 16 and 85 are one more than the 100 of the frame.
    ends(*address, |fixed| fixed[8..10].copy_from_slice(&[0, 85]));
    ends(*address, |fixed| fixed[8..10].fill(0xff));
}

fn unknown_kind(address: &SocketAddr) {
    ends(*address, |fixed| fixed[2] = 2);
    ends(*address, |fixed| fixed[2] = 255);
}

fn http(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wire.expect_end();
}

/// What came before the damage is answered, also when that takes a while.
fn good_then_bad(address: &SocketAddr) {
    for delay_ms in [0, 100] {
        let mut wire = Wire::connect(*address);
        let good = Request::echo(1, b"good", delay_ms).bytes();
        let mut bad = Request::echo(2, b"bad", 0).bytes();
        bad[2] = 2;
        wire.send(&[good, bad].concat());
        let response = wire.response();
        assert_eq!(response.request_id, 1);
        assert_eq!(response.payload(), b"good");
        wire.expect_end();
    }
}

/// Sends a frame whose fixed header is sound, and wants ret 1 under the id that stands there.
fn refused(address: SocketAddr, frame: &[u8], stream_id: u32) {
    let mut wire = Wire::connect(address);
    wire.send(frame);
    let response = wire.response();
    response.expect_ret(1);
    let ids = (response.request_id, response.header.stream_id);
    assert_eq!(ids, (stream_id, stream_id));
    wire.expect_alive();
}

/// A unary frame with `head` for its head.
fn frame_with(head: &[u8], stream_id: u32) -> Vec<u8> {
    let header = FrameHeader {
        kind: FrameKind::Unary,
        stream_frame_type: 0,
        total_len: u32::try_from(HEADER_BYTES + head.len()).expect("short"),
        head_len: u16::try_from(head.len()).expect("short"),
        stream_id,
        version: 1,
        reserved: 0,
    };
    [&header.encode()[..], head].concat()
}

fn no_head(address: &SocketAddr) {
    refused(*address, &frame_with(&[], 4711), 4711);
}

fn unreadable_head(address: &SocketAddr) {
    // Field 7, the func, is said to have 127 bytes; then a number that never ends; then a wire type of no kind.
    refused(*address, &frame_with(&[0x3a, 0x7f, b'/'], 1), 1);
    refused(*address, &frame_with(&[0xff; 11], 2), 2);
    refused(*address, &frame_with(&[0x3f], 3), 3);
}

fn lying_attachment(address: &SocketAddr) {
    let sound = Request::echo(9, b"0123456789", 0);
    for attachment_size in [13, 1000, u32::MAX] {
        let request = Request {
            attachment_size,
            ..sound.clone()
        };
        assert!(attachment_size as usize > request.body.len());
        refused(*address, &request.bytes(), 9);
    }
}

/// Wants ret 1 for a request whose head can be read.
fn malformed(address: SocketAddr, request: &Request) {
    let mut wire = Wire::connect(address);
    let response = wire.call(request);
    response.expect_ret(1);
    assert_eq!(response.request_id, request.request_id);
    assert_eq!(response.header.stream_id, request.stream_id);
    wire.expect_alive();
}

fn unknown_format(address: &SocketAddr) {
    for content_type in [1, 77, 128, u32::MAX] {
        let request = Request {
            content_type,
            ..Request::echo(3, b"payload", 0)
        };
        malformed(*address, &request);
    }
}

fn unknown_compression(address: &SocketAddr) {
    for content_encoding in [9, 200, u32::MAX] {
        let request = Request {
            content_encoding,
            ..Request::echo(3, b"payload", 0)
        };
        malformed(*address, &request);
    }
    // Known, and not what the body is.
    for content_encoding in 1..=7 {
        let request = Request {
            content_encoding,
            ..Request::echo(3, b"payload", 0)
        };
        malformed(*address, &request);
    }
    let request = Request {
        body: Bytes::from_static(b"\xff\xff\xff"),
        ..Request::echo(3, b"", 0)
    };
    malformed(*address, &request);
}

fn unknown_method(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    for func in [
        "/tern.interop.v1.Interop/Nope",
        "/tern.interop.v1.Interop/unary",
        "/tern.interop.v1.Nope/Unary",
        "tern.interop.v1.Interop/Unary",
        "",
    ] {
        let request = Request {
            func,
            ..Request::echo(3, b"payload", 0)
        };
        wire.call(&request).expect_ret(12);
    }
    wire.expect_alive();
}

fn caller_timeout(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    let request = Request {
        timeout_ms: 50,
        ..Request::echo(8, b"too late", 2_000)
    };
    let response = wire.call(&request);
    response.expect_ret(24);
    assert_eq!(response.request_id, 8);
    wire.expect_alive();
}

/// Not even when it fails: in each of these ways the next answer is that to the next call.
fn one_way(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    let fails = UnaryRequest {
        fail_code: 7,
        fail_message: "nobody hears this".to_owned(),
        ..UnaryRequest::default()
    };
    let sound = Request::echo(1, b"one way", 0);
    let requests = [
        sound.clone(),
        Request::new(2, &fails),
        Request {
            func: "/tern.interop.v1.Interop/Nope",
            ..sound.clone()
        },
        Request {
            content_type: 77,
            ..sound.clone()
        },
        Request {
            content_encoding: 9,
            ..sound.clone()
        },
        Request {
            attachment_size: 1000,
            ..sound.clone()
        },
        Request {
            timeout_ms: 20,
            ..Request::echo(3, b"too late", 60)
        },
    ];
    for request in requests {
        let request = Request {
            call_type: 1,
            ..request
        };
        wire.send(&request.bytes());
        wire.expect_alive();
    }
    // By the time of this answer, all of the above have ended.
    assert_eq!(
        wire.call(&Request::echo(4, b"slow", 150)).payload(),
        b"slow"
    );
}

fn half_close(address: &SocketAddr) {
    for delay_ms in [0, 200] {
        let mut wire = Wire::connect(*address);
        for id in 1..=3 {
            wire.send(&Request::echo(id, b"last words", delay_ms).bytes());
        }
        wire.finish();
        let mut ids: Vec<u32> = (0..3)
            .map(|_| {
                let response: Response = wire.response();
                assert_eq!(response.payload(), b"last words");
                response.request_id
            })
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3]);
        wire.expect_end();
    }
}

fn stream_frame(stream_frame_type: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        kind: FrameKind::Stream,
        stream_frame_type,
        total_len: u32::try_from(HEADER_BYTES + payload.len()).expect("short"),
        head_len: 0,
        stream_id,
        version: 0,
        reserved: 0,
    };
    [&header.encode()[..], payload].concat()
}

/// An INIT of a method that is not there is answered by an INIT with ret 12, whatever else does not belong to a stream by
/// a RESET, and a CLOSE by nothing.
fn streams(address: &SocketAddr) {
    let mut wire = Wire::connect(*address);
    // request_meta { func: "/a.B/C" }, a window of 65,535
    let init = b"\x0a\x08\x1a\x06/a.B/C\x18\xff\xff\x03";
    wire.send(&stream_frame(stream::INIT, 100, init));
    let (header, payload) = wire.frame();
    assert_eq!(
        (header.kind, header.stream_frame_type, header.stream_id),
        (FrameKind::Stream, stream::INIT, 100)
    );
    // response_meta { ret: 12, … }
    let meta = usize::from(payload[1]);
    assert_eq!((payload[0], &payload[2..4]), (0x12, &[0x08, 12][..]));
    assert_eq!(payload.len(), 2 + meta, "no window, the stream is refused");

    // A stream that is not there is said to be so once.
    for (kind, id) in [(stream::DATA, 101), (stream::FEEDBACK, 102)] {
        wire.send(&stream_frame(kind, id, b""));
        let (header, payload) = wire.frame();
        assert_eq!(
            (header.kind, header.stream_frame_type, header.stream_id),
            (FrameKind::Stream, stream::CLOSE, id)
        );
        // close_type RESET, ret 1000, and a text
        assert_eq!(payload.get(..5), Some(&[0x08, 1, 0x10, 0xe8, 0x07][..]));
    }
    wire.send(&stream_frame(stream::CLOSE, 101, b""));
    wire.expect_alive();
}
