//! What stands behind the columns of the matrix: the checks and cases of each peer, under the names that `matrix.json` has.

use std::net::SocketAddr;

use tern::{Limits, Server};

use crate::check::Check;
use crate::checks::streams::StreamPeers;
use crate::checks::{
    calls, carried, ends, formats, java_calls, java_ends, java_streams, quirks, streams,
};
use crate::conformance::Everybody;
use crate::go::{Case, Go, Mode, Transport};
use crate::java::Java;
use crate::matrix::Marks;
use crate::ours::{Handlers, OurServer, Variant};

/// Messages of the streams that are run a second time, without windows.
const FEWER: &str = "2000";

/// Runs everything that the matrix counts, beside what the kit has found.
///
/// # Panics
///
/// When a peer cannot be built or started.
pub fn marks(found: &Everybody) -> Marks {
    let mut marks = Marks::default();
    marks.add_kit("kit on our server", &found.our_server);
    marks.add_kit("kit on our client", &found.our_client);
    if let Some(go) = Go::find() {
        go_as_client(&mut marks, go);
        go_as_server(&mut marks, go);
    }
    if let Some(java) = Java::find() {
        java_at_both_ends(&mut marks, java);
    }
    marks
}

/// Our server with windows and without.
fn ours() -> [(&'static str, OurServer); 2] {
    let variant = Variant::new(Handlers::Async, 2);
    let limits = Limits::server().without_stream_window();
    let without = variant.start_from(Server::builder().limits(limits));
    [("", variant.start()), ("window 0: ", without)]
}

fn go_as_client(marks: &mut Marks, go: &'static Go) {
    let [(_, server), (without_window, without)] = ours();
    let peers = calls::Peers {
        go,
        transport: Transport::Tnet,
    };
    for mode in Mode::ALL {
        let source = format!("go {mode}");
        let cases = go.client(server.address(), mode, peers.transport, &[]);
        add_cases(marks, &source, "", &cases);
        // These are about their client, in both modes.
        let about_them = ["our server does not tire of a call in flight", LEAVES];
        add(marks, &source, "", &ends::CHECKS, &peers, |check| {
            about_them.contains(&check.name)
        });
    }
    // Their streams are multiplexed, whatever the calls are.
    let streams = |address: SocketAddr, many| go.stream_client(address, &["--many", many]);
    let source = format!("go {}", Mode::Multiplexed);
    add_cases(marks, &source, "", &streams(server.address(), "100000"));
    let cases = streams(without.address(), FEWER);
    add_cases(marks, &source, without_window, &cases);
}

fn go_as_server(marks: &mut Marks, go: &'static Go) {
    let peers = calls::Peers {
        go,
        transport: Transport::Tnet,
    };
    for checks in [
        &calls::CHECKS[..],
        &carried::CHECKS,
        &ends::CHECKS,
        &formats::CHECKS,
        &quirks::CHECKS,
    ] {
        add(marks, "on go", "", checks, &peers, |_| true);
    }
    let peers = StreamPeers { go };
    add(
        marks,
        "on go",
        "streams: ",
        &streams::CHECKS,
        &peers,
        |_| true,
    );
}

fn java_at_both_ends(marks: &mut Marks, java: &'static Java) {
    for (prefix, server) in ours() {
        if prefix.is_empty() {
            let cases = java.client(server.address(), 2, &[]);
            add_cases(marks, "java", "", &cases);
        }
        add_cases(marks, "java", prefix, &java.stream_client(server.address()));
    }
    let go = Go::find();
    let peers = java_calls::Peers { java, go };
    add(marks, "java", "", &java_ends::CHECKS, &peers, |_| true);
    add(marks, "on java", "", &java_calls::CHECKS, &peers, |_| true);
    add(
        marks,
        "on java",
        "streams: ",
        &java_streams::CHECKS,
        &peers,
        |_| true,
    );
}

/// What both modes of tRPC-Go's client, and tRPC-Java's, see of a server that is told to end.
const LEAVES: &str = "our server leaves when it has answered";

fn add_cases(marks: &mut Marks, source: &str, prefix: &str, cases: &[Case]) {
    let cases = cases.iter().map(|case| {
        let name = format!("{prefix}{}", case.name);
        (name, case.outcome.is_ok())
    });
    marks.add(source, cases);
}

fn add<Target: Clone + Send + 'static>(
    marks: &mut Marks,
    source: &str,
    prefix: &str,
    checks: &[Check<Target>],
    target: &Target,
    is_meant: impl Fn(&Check<Target>) -> bool,
) {
    let meant = checks.iter().filter(|check| is_meant(check));
    let outcomes = meant.map(|check| {
        let name = format!("{prefix}{}", check.name);
        (name, check.outcome(target).is_ok())
    });
    marks.add(source, outcomes);
}
