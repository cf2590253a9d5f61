//! What a connection costs a server that has been used once and is silent, counted where memory is asked for.
//!
//! Server and client share this process and its counting allocator; the client keeps nothing for a connection but its
//! descriptor, in room that it has from the beginning. Connections come and ask one after the other, so that nothing
//! grows with how many do so at once, and their number fills whole pages of the loop's tables
//! (`rpc-net/src/pages.rs`): every run counts the same.
//!
//! `benches/benches/compare.rs` measures the same from outside, with what the allocator adds: 8 bytes for each
//! allocation, and up to 15 for rounding.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tern::{Pool, Running, Server};
use tern_benches::echo::{EchoServer, Echoing};
use tern_benches::load::Wire;
use tern_benches::load::trpc::Trpc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Connections that are there before anything is counted: a page of them.
const WARM: usize = 64;
/// Connections that are counted: six pages. Both ends of all of them are fewer descriptors than a process has anywhere.
const IDLE: usize = 384;
/// Bytes of a connection at most: what holds today and a little more.
const BYTES_MAX: usize = 240;
/// Allocations of its own that a connection holds at most: its scope and the site of that.
const ALLOCATIONS_MAX: usize = 1;
/// Allocations of all of them together at most: pages, and what chance leaves.
const PAGES_MAX: usize = 40;

#[test]
fn an_idle_connection_costs_no_more_than_it_does_today() {
    let server = server();
    let mut client = Client::default();
    client.open(server.address(), WARM);
    let region = Region::new(ALLOCATOR);
    client.open(server.address(), IDLE);
    let change = region.change();
    let bytes = change.bytes_allocated - change.bytes_deallocated;
    let allocations = change.allocations - change.deallocations;
    println!(
        "{} bytes for each connection, {allocations} allocations for all {IDLE}",
        bytes / IDLE
    );
    assert!(bytes <= BYTES_MAX * IDLE);
    assert!(allocations <= ALLOCATIONS_MAX * IDLE + PAGES_MAX);
    drop(client);
    server.stop().unwrap();
}

fn server() -> Running {
    let pool = Pool::builder("worker").threads(1).build();
    let server = Server::builder()
        .reactors(1)
        .pool(&pool)
        .service(EchoServer::new(Echoing).inline());
    server.bind("127.0.0.1:0").unwrap().start().unwrap()
}

/// Holds connections.
struct Client {
    request: Vec<u8>,
    answer: Vec<u8>,
    connections: Vec<TcpStream>,
}

impl Default for Client {
    fn default() -> Self {
        let mut request = Vec::new();
        Trpc::new("Echo", 32, 0).request(0, &mut request);
        Self {
            request,
            answer: vec![0; 1024],
            connections: Vec::with_capacity(WARM + IDLE),
        }
    }
}

impl Client {
    /// Opens so many connections and makes one call on each. One more on the first of all shows that the server is done
    /// with the last.
    fn open(&mut self, address: SocketAddr, connections: usize) {
        for _ in 0..connections {
            let stream = TcpStream::connect(address).unwrap();
            self.connections.push(stream);
            self.call(self.connections.len() - 1);
        }
        self.call(0);
    }

    fn call(&mut self, connection: usize) {
        let mut stream = &self.connections[connection];
        stream.write_all(&self.request).unwrap();
        let mut arrived = 0;
        while !self.is_whole(arrived) {
            let read = stream.read(&mut self.answer[arrived..]).unwrap();
            assert_ne!(read, 0, "the server ends the connection");
            arrived += read;
        }
    }

    /// Whether that many bytes are an answer, as the fixed header says.
    fn is_whole(&self, arrived: usize) -> bool {
        let length = [4, 5, 6, 7].map(|at| self.answer[at]);
        arrived >= 16 && arrived >= u32::from_be_bytes(length) as usize
    }
}
