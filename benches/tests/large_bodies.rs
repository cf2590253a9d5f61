//! How many bytes the two ends ask the allocator for to carry 1 MiB there and back, once they are warm: in a field of the
//! message, or attached to it.
//!
//! A copy of one, at any of the four places where it passes, would ask for its length. The buffers that frames are read into
//! are kept and used again. What is asked for is for the beginning of a frame that came before it was known to be a large one.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tern::{Bytes, Channel, Context, Mount, Running, Server, Service, Status};
use tern_benches::echo::{Echo, EchoClient, EchoMessage, EchoServer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LENGTH: usize = 1 << 20;
const CALLS: usize = 200;
const WARM_UP: usize = 50;

/// For each call, at both ends together. Some 100 KB were seen; one copy is twice this.
const BYTES_MAX: usize = LENGTH / 2;

/// Sends back what is attached.
struct Mirror;

impl Echo for Mirror {
    async fn echo(&self, cx: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        cx.reply_attachment(cx.attachment().clone());
        Ok(message)
    }

    async fn block(&self, cx: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        self.echo(cx, message).await
    }
}

/// One test, because the counter counts for the whole process.
#[test]
fn what_is_large_is_not_copied_by_either_end() {
    for (name, mount) in [
        ("in place", start(EchoServer::new(Mirror).inline())),
        ("pool", start(EchoServer::new(Mirror))),
    ] {
        let channel = Channel::to("trpc.bench.echo.Echo", mount.address()).unwrap();
        let client = EchoClient::new(channel);
        let large = Bytes::from(vec![0x5a; LENGTH]);
        let ways = [
            ("message", [&large, &Bytes::new()]),
            ("attachment", [&Bytes::new(), &large]),
        ];
        for (way, [payload, attachment]) in ways {
            call(&client, payload, attachment, WARM_UP);
            let region = Region::new(ALLOCATOR);
            call(&client, payload, attachment, CALLS);
            let stats = region.change();
            let grown = usize::try_from(stats.bytes_reallocated.max(0)).unwrap();
            let bytes = (stats.bytes_allocated + grown) / CALLS;
            println!("{name}, {way}: {bytes} bytes for each call (at most {BYTES_MAX})");
            assert!(bytes <= BYTES_MAX, "{name}, {way}: {bytes}, {stats:?}");
        }
        drop(client);
        mount.stop().unwrap();
    }
}

fn call<S>(client: &EchoClient<S>, payload: &Bytes, attachment: &Bytes, calls: usize)
where
    S: Service + Clone + 'static,
{
    for _ in 0..calls {
        let payload = payload.clone();
        let call = client.echo(EchoMessage {
            payload: payload.clone(),
        });
        let response = call.attachment(attachment.clone()).wait_response().unwrap();
        assert!(response.attachment() == attachment);
        assert!(response.body().payload == payload);
    }
}

fn start<S: Service + 'static>(service: Mount<S>) -> Running {
    let server = Server::builder().reactors(1).workers(2).service(service);
    server.bind("127.0.0.1:0").unwrap().start().unwrap()
}
