//! The conformance kit with our server and client, and with those of tRPC-Go. Without Go the latter are skipped, unless
//! `TERN_REQUIRE_PEERS` is 1.

use std::path::Path;

use tern_conformance::case;
use tern_conformance::peer::Peer;
use tern_conformance::report::Terminal;
use tern_conformance::run;
use tern_interop::conformance::peers::{Go, OurServer, our_client};
use tern_interop::go::Mode;

fn agrees(peer: &Peer) {
    let results = run::run(&case::all().expect("sound cases"), peer);
    assert!(!results.cases.is_empty(), "no case is about {}", peer.name);
    assert!(results.red().is_empty(), "{}", Terminal(&results));
}

#[test]
fn our_server() {
    agrees(&OurServer::start().peer);
}

#[test]
fn our_client_on_the_kit() {
    agrees(&our_client(Path::new(env!("CARGO_BIN_EXE_tern-interop"))));
}

/// One after the other: a thousand streams and messages of megabytes are enough for one machine.
#[test]
fn both_ends_of_trpc_go() {
    let Some(go) = Go::find() else { return };
    agrees(&go.server().peer);
    agrees(&go.client(Mode::Pooled));
    agrees(&go.client(Mode::Multiplexed));
}

/// A disagreement of ours is a fault, whatever the reason.
#[test]
fn nothing_is_listed_of_ours() {
    let cases = case::all().expect("sound cases");
    let mut listed = cases.iter().filter(|case| case.known_of("tern").is_some());
    assert!(listed.next().is_none());
    assert!(cases.iter().all(|case| {
        let names = case.tolerated.iter().flat_map(|it| &it.peers);
        !names.into_iter().any(|name| name.starts_with("tern"))
    }));
}

/// A judge that finds nothing wrong is no judge. A disagreement of another peer is none of ours, and one that is listed
/// without need is found.
#[test]
fn a_server_that_is_not_what_it_is_called_is_found_out() {
    let server = OurServer::start();
    let other = Peer {
        name: "trpc-go".to_owned(),
        ..server.peer.clone()
    };
    let mut cases = case::all().expect("sound cases");
    cases.retain(|case| case.name.contains("FIN does not lose"));
    let results = run::run(&cases, &other);
    assert_eq!(results.red().len(), 1, "{}", Terminal(&results));
}
