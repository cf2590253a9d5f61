//! Golden frames: bytes that every implementation of the protocol agrees about. And bodies that others packed.

#[path = "support/hex.rs"]
mod hex;

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use rpc_codec::frame::{self, Decoded, FrameHeader, FrameKind, HEADER_BYTES};
use rpc_codec::stream::{CloseMeta, FeedbackMeta, InitMeta, InitRequest, InitResponse};
use rpc_codec::{Codecs, Limits, RequestHead, ResponseHead, numbers};
use rpc_core::{Compression, Metadata};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/trpc-frames.json")).expect("the file is JSON")
}

fn frames(kind: &str) -> Vec<Value> {
    let mut frames = vectors()["frames"].as_array().expect("frames").clone();
    frames.retain(|frame| frame["kind"] == kind);
    frames
}

fn name(frame: &Value) -> &str {
    frame["name"].as_str().expect("a name")
}

fn bytes(value: &Value) -> Bytes {
    hex::bytes(value.as_str().expect("hexadecimal digits")).into()
}

fn number<N: TryFrom<i64>>(value: &Value) -> N {
    value
        .as_i64()
        .and_then(|number| N::try_from(number).ok())
        .unwrap_or_else(|| panic!("{value} is not a number that fits"))
}

fn text(value: &Value) -> &[u8] {
    value.as_str().expect("text").as_bytes()
}

/// Metadata as a vector lists it, in no particular order.
fn metadata(value: &Value) -> Metadata {
    let pairs = value.as_object().expect("trans_info").iter();
    pairs
        .map(|(key, value)| (key.clone(), bytes(value)))
        .collect()
}

fn assert_same_metadata(left: &Metadata, right: &Metadata, name: &str) {
    assert_eq!(left.len(), right.len(), "{name}");
    for (key, value) in left.iter() {
        assert_eq!(right.get(key), Some(value), "{name}: {key}");
    }
}

fn expected_header(frame: &Value) -> FrameHeader {
    let fixed = &frame["decoded"]["fixed"];
    assert_eq!(fixed["magic"], "0x0930");
    FrameHeader {
        kind: match fixed["frame_type"].as_u64() {
            Some(0) => FrameKind::Unary,
            Some(1) => FrameKind::Stream,
            _ => panic!("a valid frame of an unknown type"),
        },
        stream_frame_type: number(&fixed["stream_frame_type"]),
        total_len: number(&fixed["total_len"]),
        head_len: number(&fixed["header_len"]),
        stream_id: number(&fixed["stream_id"]),
        version: number(&fixed["version_byte"]),
        reserved: number(&fixed["reserved_byte"]),
    }
}

fn expected_request(request: &Value) -> RequestHead<'_> {
    RequestHead {
        version: number(&request["version"]),
        call_type: number(&request["call_type"]),
        request_id: number(&request["request_id"]),
        timeout_ms: number(&request["timeout"]),
        caller: text(&request["caller"]),
        callee: text(&request["callee"]),
        func: text(&request["func"]),
        message_type: number(&request["message_type"]),
        has_metadata: !metadata(&request["trans_info"]).is_empty(),
        content_type: number(&request["content_type"]),
        content_encoding: number(&request["content_encoding"]),
        attachment_size: number(&request["attachment_size"]),
    }
}

fn expected_response(response: &Value) -> ResponseHead<'_> {
    ResponseHead {
        version: number(&response["version"]),
        call_type: number(&response["call_type"]),
        request_id: number(&response["request_id"]),
        ret: number(&response["ret"]),
        func_ret: number(&response["func_ret"]),
        error_msg: text(&response["error_msg"]),
        message_type: number(&response["message_type"]),
        has_metadata: !metadata(&response["trans_info"]).is_empty(),
        content_type: number(&response["content_type"]),
        content_encoding: number(&response["content_encoding"]),
        attachment_size: number(&response["attachment_size"]),
    }
}

/// Reads the header and cuts the frame into head and the rest.
fn split(frame: &Value) -> (FrameHeader, Bytes, Bytes) {
    let mut wire = bytes(&frame["hex"]);
    let Ok(Decoded::Frame(header)) = frame::decode(&wire, &Limits::default()) else {
        panic!("{} is not a frame", name(frame));
    };
    assert_eq!(header.total_len as usize, wire.len(), "{}", name(frame));
    let mut rest = wire.split_off(HEADER_BYTES);
    let body = rest.split_off(usize::from(header.head_len));
    (header, rest, body)
}

#[test]
fn every_valid_frame_begins_with_a_sound_header() {
    let frames = frames("valid");
    for frame in &frames {
        let (header, ..) = split(frame);
        let expected = expected_header(frame);
        assert_eq!(header, expected, "{}", name(frame));
        let wire = bytes(&frame["hex"]);
        assert_eq!(
            expected.encode()[..],
            wire[..HEADER_BYTES],
            "{}",
            name(frame)
        );
    }
    let streams = frames
        .iter()
        .filter(|frame| expected_header(frame).kind == FrameKind::Stream);
    let streams = streams.count();
    println!("{} headers, {streams} of them of streams", frames.len());
    assert_eq!((frames.len(), streams), (24, 11));
}

#[test]
fn every_valid_unary_frame_is_read_as_it_was_meant() {
    let (mut requests, mut responses) = (0, 0);
    for frame in &frames("valid") {
        let name = name(frame);
        let decoded = &frame["decoded"];
        let (_, head, rest) = split(frame);
        let body_len = if let Some(request) = decoded.get("request") {
            requests += 1;
            let read = RequestHead::decode(&head).unwrap();
            assert_eq!(read, expected_request(request), "{name}");
            let body_len = read.body_len(rest.len());
            let read = Metadata::unread(head, RequestHead::read_metadata);
            assert_same_metadata(&read, &metadata(&request["trans_info"]), name);
            body_len
        } else if let Some(response) = decoded.get("response") {
            responses += 1;
            let read = ResponseHead::decode(&head).unwrap();
            assert_eq!(read, expected_response(response), "{name}");
            let body_len = read.body_len(rest.len());
            let read = Metadata::unread(head, ResponseHead::read_metadata);
            assert_same_metadata(&read, &metadata(&response["trans_info"]), name);
            body_len
        } else {
            continue;
        };
        let (body, attachment) = rest.split_at(body_len.unwrap());
        assert_eq!(body, bytes(&decoded["body_hex"]), "{name}");
        assert_eq!(attachment, bytes(&decoded["attachment_hex"]), "{name}");
    }
    println!("{requests} requests, {responses} responses");
    assert_eq!((requests, responses), (6, 7));
}

#[test]
fn what_we_write_is_what_everybody_else_writes() {
    let mut written = 0;
    for frame in &frames("valid") {
        let decoded = &frame["decoded"];
        let Some(head) = decoded.get("request").or(decoded.get("response")) else {
            continue;
        };
        let entries = metadata(&head["trans_info"]);
        if entries.len() > 1 || head["content_encoding"] != 0 {
            continue;
        }
        let mut encoded = BytesMut::new();
        if decoded.get("request").is_some() {
            expected_request(head).encode(&entries, &mut encoded);
        } else {
            expected_response(head).encode(&entries, &mut encoded);
        }
        let mut wire = BytesMut::new();
        wire.extend_from_slice(&expected_header(frame).encode());
        wire.extend_from_slice(&encoded);
        wire.extend_from_slice(&bytes(&decoded["body_hex"]));
        wire.extend_from_slice(&bytes(&decoded["attachment_hex"]));
        assert_eq!(wire, bytes(&frame["hex"]), "{}", name(frame));
        written += 1;
    }
    println!("{written} frames written");
    assert_eq!(written, 12);
}

/// The payload of a frame of a stream as we would write it from what the vector says, if it has one of ours.
fn rewritten(decoded: &Value) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    if let Some(init) = decoded.get("init") {
        let request = init.get("request_meta").map(|meta| InitRequest {
            caller: text(&meta["caller"]),
            callee: text(&meta["callee"]),
            func: text(&meta["func"]),
            message_type: number(&meta["message_type"]),
            has_metadata: !metadata(&meta["trans_info"]).is_empty(),
        });
        let response = init.get("response_meta").map(|meta| InitResponse {
            ret: number(&meta["ret"]),
            error_msg: text(&meta["error_msg"]),
        });
        let entries = init
            .get("request_meta")
            .map_or_else(Metadata::new, |meta| metadata(&meta["trans_info"]));
        let meta = InitMeta {
            request,
            response,
            window: number(&init["init_window_size"]),
            content_type: number(&init["content_type"]),
            content_encoding: number(&init["content_encoding"]),
        };
        assert_eq!(InitMeta::decode(&bytes(&decoded["payload_hex"])), Ok(meta));
        meta.encode(&entries, &mut payload);
    } else if let Some(feedback) = decoded.get("feedback") {
        let increment = number(&feedback["window_size_increment"]);
        let read = FeedbackMeta::decode(&bytes(&decoded["payload_hex"]));
        assert_eq!(read, Ok(FeedbackMeta { increment }));
        FeedbackMeta { increment }.encode(&mut payload);
    } else if let Some(close) = decoded.get("close") {
        let entries = metadata(&close["trans_info"]);
        let meta = CloseMeta {
            close_type: number(&close["close_type"]),
            ret: number(&close["ret"]),
            msg: text(&close["msg"]),
            message_type: number(&close["message_type"]),
            has_metadata: !entries.is_empty(),
            func_ret: number(&close["func_ret"]),
        };
        let raw = bytes(&decoded["payload_hex"]);
        assert_eq!(CloseMeta::decode(&raw), Ok(meta));
        let read = Metadata::unread(raw, CloseMeta::read_metadata);
        assert_same_metadata(&read, &entries, "close");
        meta.encode(&entries, &mut payload);
    } else {
        return None;
    }
    Some(payload)
}

#[test]
fn frames_of_streams_are_read_and_written_as_everybody_else_does() {
    let mut rewritten_frames = 0;
    for frame in &frames("valid") {
        let Some(payload) = rewritten(&frame["decoded"]) else {
            continue;
        };
        let expected = bytes(&frame["decoded"]["payload_hex"]);
        assert_eq!(payload, expected, "{}", name(frame));
        rewritten_frames += 1;
    }
    assert_eq!(rewritten_frames, 9);
}

#[test]
fn every_invalid_frame_is_met_as_it_should_be() {
    let (mut closed, mut answered, mut left_to_the_stream) = (0, 0, 0);
    for frame in &frames("invalid") {
        let name = name(frame);
        let wire = bytes(&frame["hex"]);
        match frame["expect"].as_str().expect("what to expect") {
            "close_connection" => {
                assert!(frame::decode(&wire, &Limits::default()).is_err(), "{name}");
                closed += 1;
            }
            "decode_error_ret_1" => {
                let (_, head, rest) = split(frame);
                let body_len =
                    RequestHead::decode(&head).and_then(|head| head.body_len(rest.len()));
                assert!(body_len.is_err(), "{name}");
                answered += 1;
            }
            "reset_stream_or_close_connection" => {
                let (header, ..) = split(frame);
                assert_eq!(header.kind, FrameKind::Stream, "{name}");
                assert!(header.stream_frame_type > 4, "{name}");
                left_to_the_stream += 1;
            }
            other => panic!("{name} expects {other}"),
        }
    }
    println!("{closed} close the connection, {answered} are answered, {left_to_the_stream} reset");
    assert_eq!((closed, answered, left_to_the_stream), (5, 3, 1));
}

#[test]
fn bodies_that_others_packed_are_unpacked() {
    let vectors = vectors();
    let bodies = vectors["compressed_bodies"].as_array().expect("bodies");
    for vector in bodies {
        let compression = numbers::compression(number(&vector["content_encoding"]));
        let unpacked = Codecs::default().decompress(compression, &bytes(&vector["hex"]), 1024);
        assert_eq!(
            unpacked,
            Ok(bytes(&vector["decoded_hex"])),
            "{}",
            name(vector)
        );
    }
    assert_eq!(bodies.len(), 9);
}

#[test]
fn what_each_library_made_of_a_body_is_that_body() {
    let folders = [
        ("zlib", Compression::Zlib),
        ("snappy_block", Compression::SnappyBlock),
        ("snappy_stream", Compression::SnappyStream),
        ("lz4_frame", Compression::Lz4Frame),
        ("lz4_block", Compression::Lz4Block),
    ];
    let (mut texts, mut noises, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
    for (folder, compression) in folders {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        for entry in fs::read_dir(corpus.join(folder)).expect("the corpus is there") {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy();
            let bodies = match file.split('_').next() {
                Some("text") => &mut texts,
                Some("noise") => &mut noises,
                Some("zeros") => &mut zeros,
                _ => continue,
            };
            let packed = fs::read(&path).unwrap().into();
            let unpacked = Codecs::default().decompress(compression, &packed, 100_000);
            bodies.push(unpacked.unwrap_or_else(|error| panic!("{folder}/{file}: {error}")));
        }
    }
    let found = (texts.len(), noises.len(), zeros.len());
    println!("texts, noises, zeros: {found:?}");
    assert_eq!(found, (13, 8, 4));
    assert!(texts.iter().all(|text| *text == texts[0]));
    assert!(texts[0].starts_with(b"item 0: weight 0 g") && texts[0].ends_with(b".\n"));
    assert!(
        noises
            .iter()
            .all(|noise| *noise == noises[0] && noise.len() == 300)
    );
    assert!(zeros.iter().all(|zeros| *zeros == vec![0; 100_000]));
}

#[test]
fn a_packed_body_in_a_frame_is_unpacked() {
    let frames = frames("valid");
    let frame = frames
        .iter()
        .find(|frame| frame["decoded"]["request"]["content_encoding"] == 1)
        .expect("one frame has a packed body");
    let body = bytes(&frame["decoded"]["body_hex"]);
    let unpacked = Codecs::default().decompress(Compression::Gzip, &body, 7);
    assert_eq!(unpacked.unwrap(), &b"\x0a\x05hello"[..]);
}
