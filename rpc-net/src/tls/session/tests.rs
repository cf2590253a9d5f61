//! Two sessions over wires that take and give as little as they like.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;
use rpc_codec::WriteQueue;

use super::super::Pem;
use super::*;

/// A certificate that vouches for itself, and its key. It proves nothing to anybody else, and lasts for 1000 years.
const SELF_SIGNED: &str = include_str!("self-signed.pem");

/// What one direction holds at most.
const CAPACITY: usize = 20_000;

type Way = Arc<Mutex<Direction>>;

#[derive(Default)]
struct Direction {
    bytes: VecDeque<u8>,
    is_finished: bool,
}

/// One end of a virtual wire.
struct End {
    from: Way,
    to: Way,
    /// How much is read or written at a time, one after the other; 0 is nothing this time.
    steps: Vec<usize>,
    reads: usize,
    writes: usize,
}

impl Wire for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        let step = self.steps[self.reads % self.steps.len()];
        let mut from = self.from.lock().unwrap();
        let count = step.min(from.bytes.len()).min(buffer.len());
        if count == 0 && !(from.is_finished && from.bytes.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (place, byte) in buffer.iter_mut().zip(from.bytes.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes += 1;
        let step = self.steps[self.writes % self.steps.len()];
        let mut to = self.to.lock().unwrap();
        assert!(!to.is_finished, "something was written behind the end");
        let bytes: Vec<_> = pieces.iter().flat_map(|piece| piece.iter()).collect();
        let room = CAPACITY.saturating_sub(to.bytes.len());
        let count = step.min(room).min(bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        to.bytes.extend(bytes.into_iter().take(count));
        Ok(count)
    }

    fn finish(&mut self) {
        self.to.lock().unwrap().is_finished = true;
    }

    fn break_off(&mut self) {}
}

/// One side: its session, what it has to say and what it has heard.
struct Side {
    socket: End,
    session: Session,
    queue: WriteQueue,
    heard: Vec<u8>,
    room: usize,
}

impl Side {
    /// Writes and reads once, as the engine does. Whether the other side has ended.
    fn turn(&mut self) -> bool {
        let Self {
            socket,
            session,
            queue,
            ..
        } = self;
        match queue.with_slices(|pieces| session.write(socket, pieces)) {
            Ok(taken) => queue.advance(taken),
            Err(error) => assert!(is_blocked(&error), "{error}"),
        }
        if queue.is_empty() {
            let all = !session.holds_output() || session.farewell == Farewell::Waits;
            assert!(all, "bytes left the queue before the socket took them");
        }
        let mut buffer = vec![0; self.room];
        match self.session.read(&mut self.socket, &mut buffer) {
            Ok(0) => return true,
            Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
            Err(error) => assert!(is_blocked(&error), "{error}"),
        }
        false
    }
}

fn pair(steps: [Vec<usize>; 2], room: usize) -> [Side; 2] {
    let pem = || Pem::text(SELF_SIGNED);
    let server = ServerTls::from_pem(pem(), pem()).unwrap();
    let client = ClientTls::with_roots(pem()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let sessions = [
        Session::with_server(&client, address).unwrap(),
        Session::with_client(&server).unwrap(),
    ];
    let ways: [Way; 2] = std::array::from_fn(|_| Way::default());
    let mut places = [(0, 1), (1, 0)].into_iter();
    let mut steps = steps.into_iter();
    sessions.map(|session| {
        let (from, to) = places.next().unwrap();
        Side {
            socket: End {
                from: Arc::clone(&ways[from]),
                to: Arc::clone(&ways[to]),
                steps: steps.next().unwrap(),
                reads: 0,
                writes: 0,
            },
            session,
            queue: WriteQueue::new(),
            heard: Vec::new(),
            room,
        }
    })
}

/// Shakes hands.
fn shaken(mut sides: [Side; 2]) -> [Side; 2] {
    loop {
        let are_done = sides
            .each_mut()
            .map(|side| side.session.shake(&mut side.socket).unwrap());
        if are_done == [true; 2] {
            return sides;
        }
    }
}

fn bytes(length: usize, first: u8) -> Vec<u8> {
    (0..=250)
        .cycle()
        .skip(usize::from(first))
        .take(length)
        .collect()
}

fn steps() -> impl Strategy<Value = Vec<usize>> {
    let step = prop_oneof![Just(0), 1..40_usize, 40..5_000_usize, Just(CAPACITY)];
    // At least one that moves something.
    (prop::collection::vec(step, 0..12), 1..CAPACITY).prop_map(|(mut steps, last)| {
        steps.push(last.max(50));
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_goes_in_comes_out_however_little_the_wires_take(
        client_steps in steps(),
        server_steps in steps(),
        room in 1..70_000_usize,
        pieces in prop::collection::vec(0..40_000_usize, 1..6),
    ) {
        let mut sides = shaken(pair([client_steps, server_steps], room.max(64)));
        let mut sent = [Vec::new(), Vec::new()];
        for (number, length) in pieces.iter().enumerate() {
            let piece = bytes(*length, u8::try_from(number).unwrap());
            sides[number % 2].queue.put_bytes(&Bytes::from(piece.clone()));
            sent[number % 2].extend(piece);
        }
        while sides[0].heard.len() < sent[1].len() || sides[1].heard.len() < sent[0].len() {
            for side in &mut sides {
                prop_assert!(!side.turn(), "nobody has ended it");
            }
        }
        prop_assert!(sides[0].heard == sent[1] && sides[1].heard == sent[0]);
        while !sides.iter().all(|side| side.queue.is_empty()) {
            for side in &mut sides {
                side.turn();
            }
        }

        let [mut client, mut server] = sides;
        client.session.finish(&mut client.socket);
        while !server.turn() {
            client.turn();
        }
    }
}

#[test]
fn an_end_without_the_end_of_tls_is_an_error() {
    let [client, mut server] = shaken(pair([vec![CAPACITY], vec![CAPACITY]], 100));
    client.socket.to.lock().unwrap().is_finished = true;
    let error = server
        .session
        .read(&mut server.socket, &mut [0; 100])
        .unwrap_err();
    assert_eq!(error.to_string(), TlsFault::Truncated.to_string());
}

#[test]
fn plaintext_that_nobody_takes_is_not_piled_up() {
    let [mut client, mut server] = shaken(pair([vec![CAPACITY], vec![CAPACITY]], 100));
    client.queue.put_bytes(&Bytes::from(bytes(1 << 20, 0)));
    for _ in 0..200 {
        client.turn();
        server.turn();
    }
    assert_eq!(server.heard.len(), 200 * 100);
    let held = server.session.unread.len() + server.session.waiting;
    assert!(held <= CIPHERTEXT + 3 * 16 * 1024, "{held} bytes");
    assert!(
        client.queue.len() > 1 << 19,
        "back-pressure reaches the other end"
    );
}

#[test]
fn records_that_wait_for_the_socket_are_bounded() {
    let [mut client, _server] = shaken(pair([vec![CAPACITY], vec![CAPACITY]], 100));
    client.queue.put_bytes(&Bytes::from(bytes(1 << 20, 0)));
    for _ in 0..50 {
        client.turn();
    }
    assert!(client.session.owed <= SEALED_MAX);
    let given_up = (1 << 20) - client.queue.len();
    assert!(
        given_up <= CAPACITY,
        "{given_up} bytes were taken by a socket that holds {CAPACITY}"
    );
}
