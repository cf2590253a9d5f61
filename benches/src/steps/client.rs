//! The client's driver behind a generated client, and a server that answers from a template.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use prost::Message;
use rpc_net::mailbox::Mailbox;
use rpc_net::{Action, Engine, Key, Origin, Post};
use tern::client::driver::{ClientDriver, Mail};
use tern::codec::ResponseHead;
use tern::codec::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use tern::policy::Random;
use tern::{Channel, Clock, ManualClock, Metadata, Status};

use super::{Case, Memory, STEP, Steps};
use crate::echo::{EchoClient, EchoMessage};

/// Turns in which a call is sent, and its answer is read, at most.
const TURNS_MAX: usize = 8;

type Answer = Result<EchoMessage, Status>;
type UnderWay = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A channel with its loop.
pub(super) struct Stepped {
    engine: Engine<ClientDriver, Memory>,
    /// Connections, in the order in which they were asked for.
    keys: Vec<Key>,
    address: SocketAddr,
    hand: ManualClock,
    client: EchoClient<Channel>,
    server: Template,
    message: EchoMessage,
    in_flight: usize,
    calls: Vec<UnderWay>,
}

impl Stepped {
    pub(super) fn new(case: Case) -> Result<Self, Box<dyn Error>> {
        let (clock, hand) = Clock::manual();
        // The loop takes a turn whether it is called or not.
        let (mailbox, sender) = Mailbox::new(Arc::new(|| {}));
        let post = Post::new(sender);
        let (channel, driver) = Channel::builder("bench.v1.Echo")
            .random(Random::seeded(1))
            .connections_per_endpoint(case.connections)
            .build_over(post.clone(), Arc::new(post.clone()), clock);
        let engine = Engine::new(
            driver,
            mailbox,
            Arc::new(post.clone()),
            hand.now(),
            Arc::default(),
        );
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        post.send(Mail::endpoints(vec![address]))
            .map_err(|_| "the loop has ended")?;
        let message = EchoMessage {
            payload: vec![0x5a; case.payload].into(),
        };
        let mut stepped = Self {
            engine,
            keys: Vec::new(),
            address,
            hand,
            client: EchoClient::new(channel),
            server: Template::new(&message.encode_to_vec()),
            message,
            in_flight: case.requests(),
            calls: Vec::new(),
        };
        stepped.step()?;
        Ok(stepped)
    }

    fn turn(&mut self) {
        self.engine.turn(self.hand.now());
        for action in self.engine.take_actions() {
            if let Action::Connect { ticket, .. } = action {
                let origin = Origin::Connected(ticket);
                self.keys
                    .extend(self.engine.adopt(Memory::default(), self.address, origin));
            }
        }
    }

    /// Plays the server: answers what was written.
    fn answer(&mut self) -> Result<(), Box<dyn Error>> {
        for key in &self.keys {
            let wire = self
                .engine
                .wire_mut(*key)
                .ok_or("a connection was closed")?;
            if wire.answer(|requests, out| self.server.answer(requests, out))? {
                self.engine.readable(*key, false);
            }
        }
        Ok(())
    }

    /// Polls all calls. Those that are done are gone afterwards.
    fn poll(&mut self) -> Result<(), Box<dyn Error>> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut outcome = Ok(());
        self.calls
            .retain_mut(|call| match call.as_mut().poll(&mut cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(message)) if message == self.message => false,
                Poll::Ready(Ok(_)) => {
                    outcome = Err("another message came back".into());
                    false
                }
                Poll::Ready(Err(status)) => {
                    outcome = Err(status.into());
                    false
                }
            });
        outcome
    }
}

impl Steps for Stepped {
    fn step(&mut self) -> Result<(), Box<dyn Error>> {
        self.hand.advance(STEP);
        for _ in 0..self.in_flight {
            self.calls
                .push(self.client.echo(self.message.clone()).into_future());
        }
        // What is made of a call before it is polled is nothing; the first time sends it.
        self.poll()?;
        for _ in 0..TURNS_MAX {
            self.turn();
            self.answer()?;
            if !self.engine.has_work() {
                continue;
            }
            self.turn();
            self.poll()?;
            if self.calls.is_empty() {
                return Ok(());
            }
        }
        Err("calls were not answered".into())
    }
}

impl fmt::Debug for Stepped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepped")
            .field("connections", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// Answers every request with the same message: only the id is written anew, so that what is counted is the client.
struct Template(Vec<u8>);

/// Where the id stands in the header of a frame.
const STREAM_ID: usize = 10;
/// Where the length stands in the header of a frame.
const TOTAL_LEN: usize = 4;
/// Where the id stands in the head of an answer: behind the tag of field 3, the first that is not 0.
const REQUEST_ID: usize = HEADER_BYTES + 1;
/// An id of as many bytes as there can be.
const LONGEST_ID: u32 = u32::MAX;

impl Template {
    fn new(body: &[u8]) -> Self {
        let head = ResponseHead {
            request_id: LONGEST_ID,
            ..ResponseHead::default()
        };
        let metadata = Metadata::new();
        let head_len = head.encoded_len(&metadata);
        let header = FrameHeader {
            kind: FrameKind::Unary,
            stream_frame_type: 0,
            total_len: (HEADER_BYTES + head_len + body.len()) as u32,
            head_len: head_len as u16,
            stream_id: LONGEST_ID,
            version: 1,
            reserved: 0,
        };
        let mut frame = header.encode().to_vec();
        head.encode(&metadata, &mut frame);
        frame.extend_from_slice(body);
        Self(frame)
    }

    /// Answers each request. Returns whether there was one.
    fn answer(&self, mut requests: &[u8], out: &mut Vec<u8>) -> Result<bool, &'static str> {
        let is_any = !requests.is_empty();
        while !requests.is_empty() {
            let length = number(requests, TOTAL_LEN)? as usize;
            let id = number(requests, STREAM_ID)?;
            requests = requests
                .get(length..)
                .filter(|_| length > 0)
                .ok_or("half a request")?;
            let frame = out.len();
            out.extend_from_slice(&self.0);
            out[frame + STREAM_ID..frame + STREAM_ID + 4].copy_from_slice(&id.to_be_bytes());
            for (place, byte) in out[frame + REQUEST_ID..frame + REQUEST_ID + 5]
                .iter_mut()
                .enumerate()
            {
                // All bytes but the last say that another follows.
                *byte = (id >> (7 * place)) as u8 & 0x7f | if place < 4 { 0x80 } else { 0 };
            }
        }
        Ok(is_any)
    }
}

fn number(bytes: &[u8], at: usize) -> Result<u32, &'static str> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes
        .map(|bytes| u32::from_be_bytes(*bytes))
        .ok_or("half a header")
}
