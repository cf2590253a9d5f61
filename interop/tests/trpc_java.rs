//! Both ends against tRPC-Java. Without Java and Maven these are skipped, unless `TERN_REQUIRE_PEERS` is 1.

use tern_interop::check::Check;
use tern_interop::checks::java_calls::{self, Peers};
use tern_interop::checks::java_quirks;
use tern_interop::go::Go;
use tern_interop::java::Java;
use tern_interop::ours::{Handlers, Variant};

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

/// What Tern does not do yet, or not with these methods: their client on their own server.
#[test]
fn what_is_ready_for_later() {
    let Some(java) = Java::find() else { return };
    let unary = java.server(&[]);
    let streams = java.server(&["--streams"]);
    let shapes = ["stream_collect", "stream_repeat", "stream_chat"];
    let ends = ["stream_large", "stream_failure", "stream_unknown"];
    let cases = java.client(streams.address(), 1, &[shapes, ends].concat());
    let cases = [cases, java.client(unary.address(), 1, &["json"])].concat();
    let failed: Vec<_> = cases.iter().filter(|case| case.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
