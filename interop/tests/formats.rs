//! Our client on a server of tRPC-Go, in other formats than protobuf. Without Go these are skipped, unless
//! `TERN_REQUIRE_PEERS` is 1.

use tern_interop::checks::calls::Peers;
use tern_interop::checks::formats;
use tern_interop::go::{Go, Transport};

fn all_hold(transport: Transport) {
    let Some(go) = Go::find() else { return };
    let peers = Peers { go, transport };
    let failed: Vec<_> = formats::CHECKS
        .iter()
        .filter_map(|check| Some((check.name, check.outcome(&peers).err()?)))
        .collect();
    assert!(failed.is_empty(), "{transport}: {failed:#?}");
}

#[test]
fn our_formats_on_their_server_over_tnet() {
    all_hold(Transport::Tnet);
}

#[test]
fn our_formats_on_their_server_over_go_net() {
    all_hold(Transport::GoNet);
}
