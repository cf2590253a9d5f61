//! How often the server asks the allocator for memory for each request, once it is warm.
//!
//! Server and client share this process and its counting allocator; the client allocates nothing while it is counted.
//! The message's field is `Bytes`, which costs none (a `Vec` would cost one). Neither does the framework, in place or on a
//! pool. What is above zero are shelves for small bodies, of 16 KiB each, when more bodies are in flight than fit on one.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tern::{Concurrency, Mount, Pool, RateLimit, Running, Server, Service};
use tern_benches::echo::{EchoServer, Echoing};
use tern_benches::framework::{Checked, Counted, Metrics, Timed};
use tern_benches::load::Wire;
use tern_benches::load::trpc::Trpc;

mod support;

use support::Bounds;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 16_000;
const WARM_UP: usize = 2_000;

/// Name, server, bytes of payload, requests in flight, allocations for each request at most.
type Case<'a> = (&'a str, &'a dyn Fn() -> Running, usize, usize, f64);

/// One test, because the counter counts for the whole process.
#[test]
fn a_warm_server_allocates_no_more_for_a_request_than_it_does_today() {
    let inline = || bare(EchoServer::new(Echoing).inline());
    let inline_blocking = || bare(EchoServer::blocking(Echoing).inline());
    let inline_framework = || framework(EchoServer::new(Echoing).inline());
    let pool = || bare(EchoServer::new(Echoing));
    let pool_blocking = || bare(EchoServer::blocking(Echoing));
    let pool_framework = || framework(EchoServer::new(Echoing));
    let cases: [Case<'_>; 13] = [
        ("inline", &inline, 32, 1, 0.05),
        ("inline", &inline, 32, 64, 0.05),
        ("inline", &inline, 1024, 1, 0.05),
        ("inline", &inline, 1024, 64, 0.05),
        ("inline-blocking", &inline_blocking, 32, 64, 0.05),
        ("inline-framework", &inline_framework, 32, 1, 0.05),
        ("inline-framework", &inline_framework, 32, 64, 0.05),
        ("pool", &pool, 32, 1, 0.1),
        ("pool", &pool, 32, 64, 0.1),
        ("pool", &pool, 1024, 64, 0.3),
        ("pool-blocking", &pool_blocking, 32, 64, 0.1),
        ("pool-framework", &pool_framework, 32, 1, 0.1),
        ("pool-framework", &pool_framework, 32, 64, 0.1),
    ];
    let mut bounds = Bounds::default();
    for (name, server, payload, in_flight, bound) in cases {
        let server = server();
        let mut client = Client::connect(server.address(), payload, in_flight);
        client.call(WARM_UP);
        let region = Region::new(ALLOCATOR);
        client.call(REQUESTS);
        let stats = region.change();
        drop(client);
        server.stop().unwrap();
        let what = format!("{name}, {payload} B, {in_flight} in flight");
        bounds.check(&what, stats, REQUESTS, bound);
    }
    bounds.assert_kept();
}

fn bare<S: Service + 'static>(service: Mount<S>) -> Running {
    let server = Server::builder().reactors(1).pool(&pool()).service(service);
    server.bind("127.0.0.1:0").unwrap().start().unwrap()
}

fn framework<S: Service + 'static>(service: Mount<S>) -> Running {
    let server = Server::builder()
        .reactors(1)
        .pool(&pool())
        .admit(RateLimit::per_second(100_000_000).burst(10_000_000))
        .observer(Metrics::default())
        .filter(Counted::default())
        .filter(Timed::default())
        .filter(Concurrency::max(1024))
        .filter(Checked)
        .service(service);
    server.bind("127.0.0.1:0").unwrap().start().unwrap()
}

fn pool() -> Pool {
    Pool::builder("worker").threads(2).build()
}

/// Sends the same requests again and again.
struct Client {
    stream: TcpStream,
    requests: Vec<u8>,
    responses: Vec<u8>,
    in_flight: usize,
}

impl Client {
    fn connect(address: SocketAddr, payload: usize, in_flight: usize) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut wire = Trpc::new("Echo", payload, 5_000);
        let mut requests = Vec::new();
        (0..in_flight).for_each(|slot| wire.request(u32::try_from(slot).unwrap(), &mut requests));
        // Answers are of one length each, which the first time shows.
        stream.write_all(&requests).unwrap();
        let mut responses = vec![0; requests.len() + 1024];
        let (mut length, mut answers) = (0, Vec::new());
        while answers.len() < in_flight {
            length += stream.read(&mut responses[length..]).unwrap();
            answers.clear();
            let mut judge = Trpc::new("Echo", payload, 0);
            judge
                .receive(&responses[..length], &mut answers, &mut Vec::new())
                .unwrap();
        }
        responses.truncate(length);
        Self {
            stream,
            requests,
            responses,
            in_flight,
        }
    }

    fn call(&mut self, requests: usize) {
        for _ in 0..requests / self.in_flight {
            self.stream.write_all(&self.requests).unwrap();
            self.stream.read_exact(&mut self.responses).unwrap();
        }
    }
}
