//! Both ends against tRPC-Java. Without Java and Maven these are skipped, unless `TERN_REQUIRE_PEERS` is 1.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tern::codec::compress::Snappy;
use tern::{Codecs, Context, Pool, Server, Status};
use tern_interop::check::Check;
use tern_interop::checks::java_calls::{self, Peers};
use tern_interop::checks::{java_quirks, java_streams};
use tern_interop::go::Go;
use tern_interop::java::Java;
use tern_interop::ours::{Handlers, OurServer, Variant};
use tern_interop::pb::{InteropServer, UnaryRequest, UnaryResponse, blocking};
use tern_interop::service::Ours;

/// How long the client may take until its calls have begun.
const PATIENCE: Duration = Duration::from_secs(30);

/// The client of tRPC-Java on our server, with one and with two event loops, and as many connections.
fn their_client_passes(handlers: Handlers) {
    let Some(java) = Java::find() else { return };
    for count in [1, 2] {
        let variant = Variant::new(handlers, count);
        let server = variant.start();
        let connections = u32::try_from(count).expect("a few");
        let cases = java.client(server.address(), connections, &[]);
        let failed: Vec<_> = cases.iter().filter(|case| case.outcome.is_err()).collect();
        assert!(failed.is_empty(), "{variant}: {failed:#?}");
    }
}

#[test]
fn their_client_on_async_handlers() {
    their_client_passes(Handlers::Async);
}

#[test]
fn their_client_on_handlers_in_place() {
    their_client_passes(Handlers::Inline);
}

#[test]
fn their_client_on_blocking_handlers() {
    their_client_passes(Handlers::Blocking);
}

/// Answers in blocks of snappy, which a server of ours sends when it is told that these peers mean them by number 2.
#[test]
fn their_client_gets_blocks_of_snappy() {
    let Some(java) = Java::find() else { return };
    let running = Server::builder()
        .codecs(Codecs::default().with(2, Snappy::sent_as_block()))
        .service(InteropServer::new(Ours).inline())
        .bind("127.0.0.1:0")
        .and_then(Server::start)
        .expect("a free port and a thread");
    let cases = java.client(running.address(), 1, &["snappy_2", "snappy_2_small"]);
    let failed: Vec<_> = cases.iter().filter(|case| case.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    running.stop().expect("it ends in order");
}

/// A server of ours that is told to end answers what it holds.
#[test]
fn their_calls_are_answered_while_we_end() {
    let Some(java) = Java::find() else { return };
    let started = Arc::new(Started::default());
    let pool = Pool::builder("held").threads(20).build();
    let running = Server::builder()
        .pool(&pool)
        .service(InteropServer::blocking(Counted(Arc::clone(&started))))
        .bind("127.0.0.1:0")
        .and_then(Server::start)
        .expect("a free port and a few threads");
    let address = running.address();
    let client = std::thread::spawn(move || java.client(address, 2, &["held"]));
    started.wait_for(20);
    running.stop().expect("it ends in order");
    let cases = client.join().expect("the client runs");
    assert_eq!(cases[0].outcome, Ok(()));
}

/// Our service, which counts the calls that have begun.
struct Counted(Arc<Started>);

impl blocking::Interop for Counted {
    fn unary(&self, cx: &Context, request: UnaryRequest) -> Result<UnaryResponse, Status> {
        self.0.one_more();
        blocking::Interop::unary(&Ours, cx, request)
    }
}

#[derive(Default)]
struct Started {
    calls: Mutex<u32>,
    changed: Condvar,
}

impl Started {
    fn one_more(&self) {
        *self.calls.lock().expect("nobody panics with it") += 1;
        self.changed.notify_one();
    }

    fn wait_for(&self, calls: u32) {
        let begun = self.calls.lock().expect("nobody panics with it");
        let waited = self
            .changed
            .wait_timeout_while(begun, PATIENCE, |begun| *begun < calls);
        let (begun, _) = waited.expect("nobody panics with it");
        assert_eq!(*begun, calls, "calls have begun");
    }
}

fn all_hold(checks: &[Check<Peers>]) {
    let Some(java) = Java::find() else { return };
    let go = Go::find();
    let peers = Peers { java, go };
    let failed: Vec<_> = checks
        .iter()
        .filter_map(|check| Some((check.name, check.outcome(&peers).err()?)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn our_client_on_their_server() {
    all_hold(&java_calls::CHECKS);
}

#[test]
fn their_quirks() {
    all_hold(&java_quirks::CHECKS);
}

#[test]
fn our_client_on_their_streams() {
    all_hold(&java_streams::CHECKS);
}

/// With every kind of handlers, and on their own server: what fails there is not our fault.
#[test]
fn their_client_on_our_streams() {
    let Some(java) = Java::find() else { return };
    let theirs = java.server(&["--streams"]);
    let ours = Variant::ALL.map(Variant::start);
    let names = Variant::ALL.map(|variant| variant.to_string());
    let addresses = ours.iter().map(OurServer::address);
    let servers = names.iter().map(String::as_str).zip(addresses);
    for (name, address) in servers.chain([("theirs", theirs.address())]) {
        let cases = java.stream_client(address);
        let failed: Vec<_> = cases.iter().filter(|case| case.outcome.is_err()).collect();
        assert!(failed.is_empty(), "{name}: {failed:#?}");
    }
}
