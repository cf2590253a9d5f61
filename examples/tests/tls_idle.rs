//! What a connection with TLS costs a server that has been used once and is silent, counted where memory is asked for. Its
//! clients are processes of their own, so that nothing of theirs is counted: this very program, told to be one.

mod tls_support;

use std::alloc::System;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tern::Server;
use tern::tls::ClientTls;
use tern_examples::echo::EchoServer;
use tls_support::certificates::{Authority, Folder};
use tls_support::{Echoing, channel, message};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Connections of one client process.
const CONNECTIONS: usize = 64;
/// What an idle connection may cost.
const BYTES_MAX: usize = 8 * 1024;
/// Tells this program to be a client: the address of the server and the file with its authority.
const CLIENT: &str = "TERN_TLS_IDLE_CLIENT";

#[test]
fn r16_an_idle_connection_with_tls_costs_at_most_8_kib() {
    if let Ok(told) = env::var(CLIENT) {
        return be_client(&told);
    }
    let authority = Authority::new();
    let folder = Folder::new();
    let roots = folder.replace("roots.pem", &authority.pem);
    let server = Server::builder()
        .reactors(1)
        .tls(authority.issue(&["127.0.0.1"]).server())
        .service(EchoServer::new(Echoing).inline())
        .bind("127.0.0.1:0")
        .and_then(Server::start)
        .unwrap();
    let told = format!("{} {}", server.address(), roots.display());
    let mut warm = Client::start(&told);
    let region = Region::new(ALLOCATOR);
    let mut counted = Client::start(&told);
    let change = region.change();
    assert_eq!(server.connections(), 2 * CONNECTIONS);
    let bytes = change.bytes_allocated - change.bytes_deallocated;
    println!("{} bytes for each connection", bytes / CONNECTIONS);
    assert!(bytes <= BYTES_MAX * CONNECTIONS);
    for client in [&mut warm, &mut counted] {
        client.end();
    }
    server.stop().unwrap();
}

/// Makes connections, one call on each, says so, and stays until its input ends.
fn be_client(told: &str) {
    let (address, roots) = told.split_once(' ').unwrap();
    let address: SocketAddr = address.parse().unwrap();
    assert!(fs::exists(roots).unwrap());
    let tls = ClientTls::with_roots(roots).unwrap();
    let _connected: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let echo = channel(address, Some(tls.clone()));
            assert!(echo.echo(message(32)).wait().is_ok());
            echo
        })
        .collect();
    println!("\nconnected");
    io::stdout().flush().unwrap();
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

/// What it says is read to its end: whoever cannot write complains.
struct Client(Child, Lines<BufReader<ChildStdout>>);

impl Client {
    /// Returns once its connections are there.
    fn start(told: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .arg("--nocapture")
            .env(CLIENT, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap() == "connected"),
            "the client says why not"
        );
        Self(child, lines)
    }

    fn end(&mut self) {
        drop(self.0.stdin.take());
        self.1.by_ref().for_each(drop);
        let _ = self.0.wait();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
