//! Both ends against tRPC-Go. Without Go these are skipped, unless `TERN_REQUIRE_PEERS` is 1.

use tern::{Limits, Server};
use tern_interop::check::Check;
use tern_interop::checks::calls::{self, Peers};
use tern_interop::checks::streams::{self, StreamPeers};
use tern_interop::checks::{carried, ends, quirks};
use tern_interop::go::{Go, Mode, Transport};
use tern_interop::ours::{Handlers, Variant};

/// The client of tRPC-Go on our server, with one and with two event loops.
fn their_client_passes(handlers: Handlers, mode: Mode, transport: Transport) {
    let Some(go) = Go::find() else { return };
    for reactors in [1, 2] {
        let variant = Variant::new(handlers, reactors);
        let server = variant.start();
        let cases = go.client(server.address(), mode, transport, &[]);
        let failed: Vec<_> = cases.iter().filter(|case| case.outcome.is_err()).collect();
        assert!(failed.is_empty(), "{variant}: {failed:#?}");
    }
}

#[test]
fn their_pooled_client_on_async_handlers() {
    their_client_passes(Handlers::Async, Mode::Pooled, Transport::Tnet);
}

#[test]
fn their_multiplexed_client_on_async_handlers() {
    their_client_passes(Handlers::Async, Mode::Multiplexed, Transport::Tnet);
}

#[test]
fn their_pooled_client_on_handlers_in_place() {
    their_client_passes(Handlers::Inline, Mode::Pooled, Transport::Tnet);
}

#[test]
fn their_multiplexed_client_on_handlers_in_place() {
    their_client_passes(Handlers::Inline, Mode::Multiplexed, Transport::Tnet);
}

#[test]
fn their_pooled_client_on_blocking_handlers() {
    their_client_passes(Handlers::Blocking, Mode::Pooled, Transport::Tnet);
}

#[test]
fn their_multiplexed_client_on_blocking_handlers() {
    their_client_passes(Handlers::Blocking, Mode::Multiplexed, Transport::Tnet);
}

#[test]
fn their_pooled_client_over_go_net() {
    their_client_passes(Handlers::Async, Mode::Pooled, Transport::GoNet);
}

#[test]
fn their_multiplexed_client_over_go_net() {
    their_client_passes(Handlers::Async, Mode::Multiplexed, Transport::GoNet);
}

/// Checks that bring a server of tRPC-Go each.
fn all_hold(checks: &[Check<Peers>], transport: Transport) {
    let Some(go) = Go::find() else { return };
    let peers = Peers { go, transport };
    let failed: Vec<_> = checks
        .iter()
        .filter_map(|check| Some((check.name, check.outcome(&peers).err()?)))
        .collect();
    assert!(failed.is_empty(), "{transport}: {failed:#?}");
}

#[test]
fn our_client_on_their_server_over_tnet() {
    all_hold(&calls::CHECKS, Transport::Tnet);
}

#[test]
fn our_client_on_their_server_over_go_net() {
    all_hold(&calls::CHECKS, Transport::GoNet);
}

#[test]
fn what_our_client_sends_beside_the_message_over_tnet() {
    all_hold(&carried::CHECKS, Transport::Tnet);
}

#[test]
fn what_our_client_sends_beside_the_message_over_go_net() {
    all_hold(&carried::CHECKS, Transport::GoNet);
}

#[test]
fn how_connections_end_over_tnet() {
    all_hold(&ends::CHECKS, Transport::Tnet);
}

#[test]
fn how_connections_end_over_go_net() {
    all_hold(&ends::CHECKS, Transport::GoNet);
}

#[test]
fn their_quirks_over_tnet() {
    all_hold(&quirks::CHECKS, Transport::Tnet);
}

#[test]
fn their_quirks_over_go_net() {
    all_hold(&quirks::CHECKS, Transport::GoNet);
}

/// The client of tRPC-Go on our streams: 100,000 messages each way, through windows of 64 KiB.
fn their_streams_pass(handlers: Handlers, reactors: usize) {
    let Some(go) = Go::find() else { return };
    let server = Variant::new(handlers, reactors).start();
    let cases = go.stream_client(server.address(), &[]);
    let failed: Vec<_> = cases.iter().filter(|case| case.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn their_streams_on_async_handlers() {
    their_streams_pass(Handlers::Async, 1);
}

#[test]
fn their_streams_on_handlers_mounted_in_place() {
    their_streams_pass(Handlers::Inline, 2);
}

#[test]
fn their_streams_on_blocking_handlers() {
    their_streams_pass(Handlers::Blocking, 2);
}

/// What we announce as our window turns the control of the flow off for both ends.
#[test]
fn their_streams_without_windows() {
    let Some(go) = Go::find() else { return };
    let limits = Limits::server().without_stream_window();
    let builder = Server::builder().limits(limits);
    let server = Variant::new(Handlers::Async, 2).start_from(builder);
    let cases = go.stream_client(server.address(), &["--many", "2000"]);
    let failed: Vec<_> = cases.iter().filter(|case| case.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn our_streams_on_their_server() {
    let Some(go) = Go::find() else { return };
    let peers = StreamPeers { go };
    let failed: Vec<_> = streams::CHECKS
        .iter()
        .filter_map(|check| Some((check.name, check.outcome(&peers).err()?)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
