//! How often the loop of a server asks the kernel for something, for each message of a stream that is echoed, with 64 in
//! flight: counted under `strace`, as `benches/tests/syscalls.rs` does for calls.
//!
//! A turn is one wait, one read and one write, however many messages it moves, and the handler's answers to a batch come
//! back in a few turns: 0.14 calls for each message on a quiet machine, 0.26 on a busy one. The bound leaves room for one on
//! which the handler's thread is interrupted all the time, and none for a call with each message.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tern::codec::Limits;
use tern::codec::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use tern::codec::stream::{DATA, INIT, InitMeta, InitRequest};
use tern::{Bytes, Format, Metadata, message};
use tern_examples::echo::EchoMessage;

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 10;
const MORE_ROUNDS: usize = 400;
/// Calls of the loop for each message at most.
const CALLS_MAX: f64 = 0.8;

#[test]
#[expect(clippy::cast_precision_loss, reason = "there are not that many")]
fn a_message_of_a_stream_has_no_system_call_of_its_own() {
    if !can_trace() {
        return;
    }
    let [less, more] = [ROUNDS, ROUNDS + MORE_ROUNDS].map(calls);
    let messages = (MORE_ROUNDS * IN_FLIGHT) as f64;
    let each: BTreeMap<_, _> = more
        .iter()
        .map(|(name, calls)| {
            let before = less.get(name).copied().unwrap_or(0);
            (name, calls.saturating_sub(before) as f64 / messages)
        })
        .collect();
    let all: f64 = each.values().sum();
    println!("{all:.3} calls for each message (at most {CALLS_MAX}): {each:.3?}");
    assert!(all <= CALLS_MAX, "{all}: {each:.3?}");
}

/// What the loop of a server has called, which has echoed so many batches.
fn calls(rounds: usize) -> BTreeMap<String, usize> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stream-syscalls");
    // What an earlier run left, if there was one.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let mut strace = Command::new("strace")
        .args(["-ff", "-qq", "-s", "0", "-o"])
        .arg(folder.join("thread"))
        .arg(example("echo"))
        .args(["127.0.0.1:0", "--reactors", "1", "--workers", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = strace.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening ").unwrap();
    echo(address, rounds);
    let id = strace.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let kill = Command::new("kill").args(["-9", children.trim()]).status();
    assert!(kill.unwrap().success());
    strace.wait().unwrap();
    let files = fs::read_dir(&folder).unwrap().flatten();
    let mut threads = files.map(|file| count(&fs::read_to_string(file.path()).unwrap()));
    threads
        .find(|calls| calls.contains_key("epoll_wait"))
        .expect("a server has a loop")
}

/// Counts lines like `recvfrom(9, ""..., 65536) = 112`.
fn count(trace: &str) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    for (name, _) in trace.lines().filter_map(|line| line.split_once('(')) {
        *calls.entry(name.to_owned()).or_default() += 1;
    }
    calls
}

/// Sends batches on a stream whose flow is not controlled, and waits for each to come back.
fn echo(address: &str, rounds: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let request = InitRequest {
        func: b"/echo.v1.Echo/Chat",
        ..InitRequest::default()
    };
    let meta = InitMeta {
        request: Some(request),
        ..InitMeta::default()
    };
    let mut payload = Vec::new();
    meta.encode(&Metadata::new(), &mut payload);
    stream.write_all(&frame(INIT, &payload)).unwrap();
    assert_eq!(read(&mut stream), INIT);
    let message = EchoMessage {
        payload: vec![7; 32],
        delay_ms: 0,
    };
    let body: Bytes = message::encode(&message, Format::Protobuf).unwrap();
    let batch = frame(DATA, &body).repeat(IN_FLIGHT);
    for _ in 0..rounds {
        stream.write_all(&batch).unwrap();
        for _ in 0..IN_FLIGHT {
            assert_eq!(read(&mut stream), DATA);
        }
    }
}

fn frame(frame_type: u8, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        kind: FrameKind::Stream,
        stream_frame_type: frame_type,
        total_len: u32::try_from(HEADER_BYTES + payload.len()).unwrap(),
        head_len: 0,
        stream_id: 100,
        version: 0,
        reserved: 0,
    };
    [&header.encode()[..], payload].concat()
}

/// Reads a frame, and says of which type it is.
fn read(stream: &mut TcpStream) -> u8 {
    let mut fixed = [0; HEADER_BYTES];
    stream.read_exact(&mut fixed).unwrap();
    let header = FrameHeader::decode(&fixed, &Limits::default()).unwrap();
    let mut payload = vec![0; header.total_len as usize - HEADER_BYTES];
    stream.read_exact(&mut payload).unwrap();
    header.stream_frame_type
}

/// Whether a program of ours can be traced here. Says so if not.
fn can_trace() -> bool {
    let mut strace = Command::new("strace");
    strace
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null());
    let can = strace.status().is_ok_and(|status| status.success());
    if !can {
        let is_required = env::var_os("TERN_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(
            !is_required,
            "TERN_REQUIRE_PEERS is set, and strace is not here or may not trace"
        );
        println!("LEFT OUT: counting system calls needs strace, and there is none here");
    }
    can
}

/// Where cargo puts the examples, seen from where it puts this test.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let profile = test.parent().and_then(Path::parent);
    let profile = profile.expect("tests are in target/PROFILE/deps");
    profile.join("examples").join(name)
}
