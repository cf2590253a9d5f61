//! Both ends against tRPC-Go over Unix sockets and UDP. Without Go these are skipped, unless `TERN_REQUIRE_PEERS` is 1.

use tern_interop::check::Check;
use tern_interop::checks::networks::{CHECKS, ON_UDP, ON_UNIX, Peers};
use tern_interop::go::Go;
use tern_interop::networks::{Network, OurServer};

fn their_client_passes(network: Network) -> Option<OurServer> {
    let go = Go::find()?;
    let server = OurServer::start(network);
    for mode in network.modes() {
        let cases = go.client_over(network, *mode, &server.address);
        assert_eq!(cases.len(), network.cases().len());
        let failed: Vec<_> = cases.iter().filter(|case| case.outcome.is_err()).collect();
        assert!(failed.is_empty(), "{network}, {mode}: {failed:#?}");
    }
    Some(server)
}

#[test]
fn their_client_over_unix_sockets() {
    their_client_passes(Network::Unix);
}

#[test]
fn their_client_over_udp() {
    if let Some(server) = their_client_passes(Network::Udp) {
        assert_eq!(server.dropped(), 1, "the one with a byte behind its frame");
    }
}

fn our_client_passes(network: Network, of_its_own: &[Check<Peers>]) {
    let Some(go) = Go::find() else { return };
    let peers = Peers { go, network };
    let failed: Vec<_> = CHECKS
        .iter()
        .chain(of_its_own)
        .filter_map(|check| Some((check.name, check.outcome(&peers).err()?)))
        .collect();
    assert!(failed.is_empty(), "{network}: {failed:#?}");
}

#[test]
fn our_client_over_unix_sockets() {
    our_client_passes(Network::Unix, &ON_UNIX);
}

#[test]
fn our_client_over_udp() {
    our_client_passes(Network::Udp, &ON_UDP);
}
