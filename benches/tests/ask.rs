//! Every asking end gets right answers: who measures must not measure failures.

use std::time::Duration;

use tern::Server;
use tern_benches::ask::{Plan, Style};
use tern_benches::echo::{EchoServer, Echoing};
use tern_benches::process::ServerProcess;
use tern_benches::programs;

#[test]
fn every_style_of_our_client_is_answered() {
    let echo = EchoServer::new(Echoing).inline();
    let server = Server::builder().service(echo).bind("0.0.0.0:0").unwrap();
    let server = server.start().unwrap();
    let ours = Style::ALL.into_iter();
    for style in ours.filter(|style| *style != Style::Tonic) {
        ask(style, server.address().port());
    }
    server.stop().unwrap();
}

#[test]
fn tonic_is_answered() {
    let mut tonic = std::process::Command::new(programs!().tonic);
    tonic.arg("0.0.0.0:0");
    let server = ServerProcess::start(tonic).unwrap();
    ask(Style::Tonic, server.address().port());
}

/// Answers are checked where they are counted.
fn ask(style: Style, port: u16) {
    let plan = Plan {
        style,
        port,
        connections: 2,
        in_flight: 3,
        payload: 100,
    };
    let mut asker = plan.begin().unwrap();
    for _ in 0..2 {
        let report = asker.ask(Duration::from_millis(20)).report();
        assert!(report.calls >= 6, "{}: {report:?}", style.name());
    }
}
