//! What memory a stream holds while much passes over it, counted where memory is asked for.

use std::alloc::System;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tern::stream::{Inbound, Outbound};
use tern::{Channel, Context, Server, Status};
use tern_examples::echo::{Echo, EchoClient, EchoMessage, EchoServer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGES: usize = 100_000;
const LENGTH: usize = 1_024;
/// From here on nothing grows.
const WARM: usize = 10_000;
/// How often is looked.
const EVERY: usize = 500;
/// What may be held at a time by both ends together: in each direction a window and a lane at either end, buffers of the
/// loops, and shelves that are kept whole for the last message on them. 1.3 MiB today, a hundredth of what passes.
const BYTES_MAX: usize = 2 << 20;

struct Echoing;

impl Echo for Echoing {
    async fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    async fn slow(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    async fn chat(
        &self,
        _: &Context,
        mut inbound: Inbound<EchoMessage>,
        mut outbound: Outbound<EchoMessage>,
    ) -> Result<(), Status> {
        while let Some(message) = inbound.next().await? {
            outbound.send(message).await?;
        }
        Ok(())
    }
}

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated)
}

#[test]
fn r16_a_hundred_thousand_messages_each_way_hold_no_more_than_windows_do() {
    let server = Server::builder()
        .reactors(1)
        .service(EchoServer::new(Echoing));
    let server = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let echo = EchoClient::new(Channel::to("echo.v1.Echo", server.address()).unwrap());
    let before = held();
    let (mut outbound, mut inbound) = echo.chat().open().wait().unwrap();
    let sender = thread::spawn(move || {
        for number in 0..MESSAGES {
            let mut payload = vec![0; LENGTH];
            payload[..8].copy_from_slice(&number.to_be_bytes());
            let message = EchoMessage {
                payload,
                delay_ms: 0,
            };
            outbound.send(message).wait().unwrap();
        }
    });
    let (early, late) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for number in 0..MESSAGES {
        let message = inbound.next().wait().unwrap().unwrap();
        assert_eq!(message.payload[..8], number.to_be_bytes());
        assert_eq!(message.payload.len(), LENGTH);
        if number % EVERY == 0 {
            let most = if number < WARM { &early } else { &late };
            most.fetch_max(held().saturating_sub(before), Ordering::Relaxed);
        }
    }
    assert_eq!(inbound.next().wait().unwrap(), None);
    sender.join().unwrap();
    let [early, late] = [early, late].map(AtomicUsize::into_inner);
    println!("at most {early} bytes up to message {WARM}, {late} behind it");
    assert!(early <= BYTES_MAX && late <= BYTES_MAX, "{early}, {late}");
    drop(inbound);
    server.stop().unwrap();
}
