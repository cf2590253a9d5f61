//! How often the client asks the allocator for memory for each call, once it is warm.
//!
//! Client and server share this process and its counting allocator; the server allocates nothing while it is counted. The
//! payloads are `Bytes`, which cost none. A call that is waited for, or whose response is awaited, costs none either;
//! `.await` on the call itself boxes its future. What is above that are shelves for small bodies, of 16 KiB each.

use std::alloc::System;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::task::Poll;
use std::thread;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tern::codec::frame::{FrameHeader, HEADER_BYTES};
use tern::codec::{Limits, RequestHead, ResponseHead};
use tern::{Channel, Metadata, Retry, park};
use tern_benches::echo::{EchoClient, EchoMessage};

mod support;

use support::Bounds;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLS: usize = 8_000;
const WARM_UP: usize = 2_000;

/// Name, how calls are made, bytes of payload, calls in flight, allocations for each call at most.
type Case<'a> = (&'a str, &'a dyn Fn(usize, usize, usize), usize, usize, f64);

/// One test, because the counter counts for the whole process.
#[test]
fn a_warm_client_allocates_no_more_for_a_call_than_it_does_today() {
    let address = start_server();
    let plain = EchoClient::new(Channel::to("trpc.bench.echo.Echo", address).unwrap());
    let retrying = Channel::builder("trpc.bench.echo.Echo")
        .resolve(tern::Fixed::new([address]))
        .filter(Retry::budget(0.1))
        .build()
        .unwrap();
    let retrying = EchoClient::new(retrying);
    let wait = |payload, _, calls| {
        for _ in 0..calls {
            check(plain.echo(message(payload)).wait(), payload);
        }
    };
    let awaited = |payload, in_flight, calls| {
        in_lanes(in_flight, calls, || async {
            check(plain.echo(message(payload)).await, payload);
        });
    };
    let response = |payload, in_flight, calls| {
        in_lanes(in_flight, calls, || async {
            let response = plain.echo(message(payload)).response().await;
            check(response.map(tern::Response::into_body), payload);
        });
    };
    let retried = |payload, in_flight, calls| {
        in_lanes(in_flight, calls, || async {
            check(retrying.echo(message(payload)).await, payload);
        });
    };
    let cases: [Case<'_>; 8] = [
        ("wait", &wait, 32, 1, 0.1),
        ("wait", &wait, 1024, 1, 0.1),
        ("await", &awaited, 32, 1, 1.1),
        ("await", &awaited, 32, 64, 1.1),
        ("await", &awaited, 1024, 64, 1.3),
        ("response", &response, 32, 1, 0.1),
        ("response", &response, 32, 64, 0.1),
        ("await, retry", &retried, 32, 64, 1.1),
    ];
    let mut bounds = Bounds::default();
    for (name, call, payload, in_flight, bound) in cases {
        call(payload, in_flight, WARM_UP);
        let region = Region::new(ALLOCATOR);
        call(payload, in_flight, CALLS);
        let stats = region.change();
        let what = format!("{name}, {payload} B, {in_flight} in flight");
        bounds.check(&what, stats, CALLS, bound);
    }
    bounds.assert_kept();
}

static PAYLOAD: tern::Bytes = tern::Bytes::from_static(&[0x5a; 4096]);

fn message(payload: usize) -> EchoMessage {
    EchoMessage {
        payload: PAYLOAD.slice(..payload),
    }
}

fn check(reply: Result<EchoMessage, tern::Status>, payload: usize) {
    let reply = reply.unwrap().payload;
    assert!(reply.len() == payload && reply.iter().all(|byte| *byte == 0x5a));
}

/// Makes calls one after the other in each of so many lanes, which share this thread. Each lane lives as long as all its
/// calls, and all are polled whenever one is woken, so that nothing is allocated here.
fn in_lanes<F: Future<Output = ()>>(lanes: usize, calls: usize, call: impl Fn() -> F) {
    let lane = || async {
        for _ in 0..calls / lanes {
            call().await;
        }
    };
    let mut running: Vec<_> = (0..lanes).map(|_| Some(Box::pin(lane()))).collect();
    let all = std::future::poll_fn(|cx| {
        for lane in &mut running {
            if lane
                .as_mut()
                .is_some_and(|lane| lane.as_mut().poll(cx).is_ready())
            {
                *lane = None;
            }
        }
        if running.iter().all(Option::is_none) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    park::wait(all).expect("not on a loop");
}

/// A server that returns what it is sent and allocates nothing for it.
fn start_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let limits = Limits::default();
    let mut input = vec![0; 256 * 1024];
    let mut output = Vec::with_capacity(256 * 1024);
    let mut filled = 0;
    while let Ok(read @ 1..) = stream.read(&mut input[filled..]) {
        filled += read;
        let mut taken = 0;
        while let Some(length) = answer(&input[taken..filled], &limits, &mut output) {
            taken += length;
        }
        input.copy_within(taken..filled, 0);
        filled -= taken;
        stream.write_all(&output).unwrap();
        output.clear();
    }
}

/// Answers the first request of `input`, if all of it is there, and says how long that was.
fn answer(input: &[u8], limits: &Limits, output: &mut Vec<u8>) -> Option<usize> {
    let header = FrameHeader::decode(input.first_chunk::<HEADER_BYTES>()?, limits).unwrap();
    let frame = input.get(..header.total_len as usize)?;
    let body_start = HEADER_BYTES + usize::from(header.head_len);
    let (head, body) = frame.split_at(body_start);
    let head = RequestHead::decode(&head[HEADER_BYTES..]).unwrap();
    let reply = ResponseHead {
        request_id: head.request_id,
        ..ResponseHead::default()
    };
    let metadata = Metadata::new();
    let head_len = reply.encoded_len(&metadata);
    let header = FrameHeader {
        total_len: u32::try_from(HEADER_BYTES + head_len + body.len()).unwrap(),
        head_len: u16::try_from(head_len).unwrap(),
        ..header
    };
    output.extend_from_slice(&header.encode());
    reply.encode(&metadata, output);
    output.extend_from_slice(body);
    Some(frame.len())
}
