//! Both ends against tRPC-Java. Without Java and Maven these are skipped, unless `TERN_REQUIRE_PEERS` is 1.

use tern::codec::compress::Snappy;
use tern::{Codecs, Limits, Server};
use tern_interop::check::Check;
use tern_interop::checks::java_calls::{self, Peers};
use tern_interop::checks::{java_ends, java_quirks, java_streams};
use tern_interop::go::{Case, Go};
use tern_interop::java::Java;
use tern_interop::ours::{Handlers, OurServer, Variant};
use tern_interop::pb::InteropServer;
use tern_interop::service::Ours;

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
fn how_their_connections_end() {
    all_hold(&java_ends::CHECKS);
}

#[test]
fn our_client_on_their_streams() {
    all_hold(&java_streams::CHECKS);
}

/// What a server of theirs may tell in place of its handler's failure, when a piece comes behind that.
const PIECE_BEHIND_A_FAILURE: &str = "receive data failed: FAIL_CANCELLED";

/// With every kind of handlers, and on their own server: what fails there is not our fault.
#[test]
fn their_client_on_our_streams() {
    let Some(java) = Java::find() else { return };
    let theirs = java.server(&["--streams"]);
    let ours = Variant::ALL.map(Variant::start);
    let limits = Limits::server().without_stream_window();
    let builder = Server::builder().limits(limits);
    let without_window = Variant::new(Handlers::Async, 2).start_from(builder);
    let mut servers: Vec<_> = ours.iter().map(OurServer::address).collect();
    servers.extend([without_window.address(), theirs.address()]);
    let mut names: Vec<_> = Variant::ALL.iter().map(Variant::to_string).collect();
    names.extend(["without a window", "their own"].map(str::to_owned));
    for (name, address) in names.iter().zip(servers) {
        let cases = java.stream_client(address);
        let is_known = |reason: &String| {
            address == theirs.address() && reason.ends_with(PIECE_BEHIND_A_FAILURE)
        };
        let fails = |case: &&Case| case.outcome.as_ref().is_err_and(|reason| !is_known(reason));
        let failed: Vec<_> = cases.iter().filter(fails).collect();
        assert!(failed.is_empty(), "{name}: {failed:#?}");
    }
}
