//! A loop that finds out in one turn that a stream is over and that its socket has failed.

mod support;

use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rpc_codec::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use rpc_codec::stream::{CLOSE, CloseMeta, INIT, InitMeta, InitRequest};
use rpc_core::stub::IncomingStream;
use rpc_core::{Clock, Metadata, Timer};
use rpc_net::mailbox::Mailbox;
use rpc_net::{Engine, Origin, Post, Wire};
use rpc_server::Server;
use support::Note;
use support::talk::TALK;

/// A socket that brings what it is given and takes everything, until it is said to fail.
#[derive(Clone, Default)]
struct Failing(Arc<Mutex<Socket>>);

#[derive(Default)]
struct Socket {
    arrived: VecDeque<Vec<u8>>,
    fails: bool,
}

impl Wire for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let arrived = self.0.lock().unwrap().arrived.pop_front();
        let arrived = arrived.ok_or(io::ErrorKind::WouldBlock)?;
        buffer[..arrived.len()].copy_from_slice(&arrived);
        Ok(arrived.len())
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.0.lock().unwrap().fails {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(pieces.iter().map(|piece| piece.len()).sum())
    }

    fn finish(&mut self) {}

    fn break_off(&mut self) {}
}

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

fn ask(id: u32) -> Vec<u8> {
    let request = InitRequest {
        func: TALK.methods[2].path.as_bytes(),
        ..InitRequest::default()
    };
    let meta = InitMeta {
        request: Some(request),
        ..InitMeta::default()
    };
    let mut payload = Vec::new();
    meta.encode(&Metadata::new(), &mut payload);
    frame(INIT, id, &payload)
}

fn reset(id: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    CloseMeta::reset(161, "").encode(&Metadata::new(), &mut payload);
    frame(CLOSE, id, &payload)
}

#[test]
fn r10_a_stream_that_was_reset_before_its_socket_failed_is_told_of_all_the_same() {
    let mount = talking!(|request| async move {
        let _stream = IncomingStream::duplex::<Note, Note>(request)?;
        pending().await
    });
    let (clock, _hand) = Clock::manual();
    let make = Server::builder().clock(clock.clone()).service(mount);
    let make = make.into_driver().unwrap();
    let (mailbox, sender) = Mailbox::new(Arc::new(|| {}));
    let post = Post::new(sender);
    let timer: Arc<dyn Timer> = Arc::new(post.clone());
    let load = Arc::default();
    let mut engine = Engine::new(make(post), mailbox, timer, clock.now(), load);

    let wire = Failing::default();
    let socket = Arc::clone(&wire.0);
    let peer = SocketAddr::from(([10, 0, 0, 1], 9));
    let key = engine.adopt(wire, peer, Origin::Accepted).unwrap();
    let arrives = |engine: &mut Engine<_, _>, bytes: &[Vec<u8>]| {
        socket.lock().unwrap().arrived.push_back(bytes.concat());
        engine.readable(key, false);
        engine.turn(clock.now());
    };
    arrives(&mut engine, &[ask(100)]);
    assert_eq!(engine.driver().calls(), 1);
    // The answer to the second opening is what cannot be written.
    socket.lock().unwrap().fails = true;
    arrives(&mut engine, &[ask(101), reset(101), reset(100)]);
    assert_eq!(engine.driver().calls(), 0);
}
