//! How often memory is asked for with each message of a stream, once it is warm: both ends together, with 64 messages in
//! flight, from the caller to the handler and back.
//!
//! The payloads are `Bytes` and messages are they, so what is counted is the framework's. A message costs no allocation
//! of its own at either end; what is left are the buffers that many small ones are cut from (`Shelf`, 16 KiB; bodies that
//! are written, 32 KiB) and blocks of letters to the loops.

use std::alloc::System;
use std::net::SocketAddr;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tern::stream::{Duplex, Inbound, Outbound, StreamCall};
use tern::stub::IncomingStream;
use tern::{
    Bytes, Channel, Idempotency, MessageType, MethodDescriptor, Mount, Pool, Raw, Request,
    Response, Server, Service, ServiceDescriptor, Shape, Status,
};

mod support;

use support::Bounds;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const IN_FLIGHT: usize = 64;
const WARM_UP: usize = 20_000;
const MESSAGES: usize = 50_000;

static TALK: ServiceDescriptor = ServiceDescriptor {
    name: "bench.v1.Talk",
    methods: &[MethodDescriptor {
        index: 0,
        name: "Chat",
        path: "/bench.v1.Talk/Chat",
        alias: None,
        service: "bench.v1.Talk",
        idempotency: Idempotency::Unknown,
        shape: Shape::Duplex,
        request: MessageType::UNKNOWN,
        reply: MessageType::UNKNOWN,
    }],
};

/// Returns what it hears.
struct Echo;

impl Service for Echo {
    async fn call(&self, request: Request) -> Result<Response, Status> {
        let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Raw, Raw>(request)?;
        while let Some(message) = inbound.next().await? {
            outbound.send(message).await?;
        }
        call.close(Ok(()))
    }
}

#[test]
fn a_warm_stream_allocates_for_many_messages_together() {
    let pool = Pool::builder("worker").threads(1).build();
    let server = Server::builder()
        .reactors(1)
        .pool(&pool)
        .service(Mount::new(&TALK, Echo));
    let server = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let mut bounds = Bounds::default();
    // 0.03 and 0.39: of 1 KiB, 15 fit a shelf and 31 a buffer, at each of the two ends, and each of these is two pieces.
    for (length, bound) in [(32, 0.1), (1_024, 0.5)] {
        let mut chat = Chat::open(server.address(), length);
        chat.exchange(WARM_UP);
        let region = Region::new(ALLOCATOR);
        chat.exchange(MESSAGES);
        let what = format!("{length} B, {IN_FLIGHT} in flight");
        bounds.check(&what, region.change(), MESSAGES, bound);
    }
    bounds.assert_kept();
    server.stop().unwrap();
}

struct Chat {
    outbound: Outbound<Raw>,
    inbound: Inbound<Raw>,
    payload: Bytes,
}

impl Chat {
    fn open(address: SocketAddr, length: usize) -> Self {
        let channel = Channel::to("bench.v1.Talk", address).unwrap();
        let chat: StreamCall<_, Duplex<Raw, Raw>> = StreamCall::duplex(channel, &TALK.methods[0]);
        let (outbound, inbound) = chat.open().wait().unwrap();
        Self {
            outbound,
            inbound,
            payload: vec![7; length].into(),
        }
    }

    /// Sends so many messages, and reads each before it is one too many in flight.
    fn exchange(&mut self, messages: usize) {
        for sent in 0..messages + IN_FLIGHT {
            if sent >= IN_FLIGHT {
                let message = self.inbound.next().wait().unwrap();
                assert!(message.is_some_and(|Raw(payload)| payload == self.payload));
            }
            if sent < messages {
                let message = Raw(self.payload.clone());
                self.outbound.send(message).wait().unwrap();
            }
        }
    }
}
