//! Every contestant answers what it is asked, in every protocol and shape: the load judges each answer.

use std::time::Duration;

use tern_benches::contestant::{self, Contestant};
use tern_benches::load::{Load, Pace, Plan};
use tern_benches::programs;

/// connections, in flight on each, payload
const SHAPES: [(usize, usize, usize); 5] = [
    (1, 1, 32),
    (8, 64, 32),
    (2, 16, 1024),
    (3, 4, 64 * 1024),
    (2, 2, 1024 * 1024),
];

#[test]
fn every_contestant_answers_rightly_in_every_shape() {
    for contestant in contestants() {
        let server = contestant.start(false).unwrap();
        for shape in SHAPES {
            let mut load =
                Load::connect(server.address(), plan(&*contestant, shape, Pace::Closed)).unwrap();
            let outcome = load.run(Duration::from_millis(150)).and_then(|outcome| {
                load.finish()?;
                Ok(outcome)
            });
            let who = format!("{} {shape:?}", contestant.name());
            assert!(
                outcome
                    .unwrap_or_else(|error| panic!("{who}: {error}"))
                    .requests
                    > 0,
                "{who}"
            );
        }
        server.end();
    }
}

#[test]
fn an_open_loop_asks_no_more_often_than_it_is_told() {
    for contestant in contestants() {
        let server = contestant.start(false).unwrap();
        let pace = Pace::Open {
            per_second: 1_000.0,
        };
        let mut load =
            Load::connect(server.address(), plan(&*contestant, (4, 16, 32), pace)).unwrap();
        let outcome = load.run(Duration::from_millis(300)).unwrap();
        load.finish().unwrap();
        server.end();
        // How many of those that were due are answered in time is the machine's affair; more would be ours.
        assert!(
            (1..=301).contains(&outcome.requests),
            "{}: {}",
            contestant.name(),
            outcome.requests
        );
    }
}

/// Those that this package brings along.
fn contestants() -> Vec<Box<dyn Contestant>> {
    let mut all = contestant::own(&programs!());
    all.retain_mut(|contestant| contestant.prepare().is_ok());
    assert!(all.len() > 2, "floor, tonic and Tern take part always");
    all
}

fn plan(contestant: &dyn Contestant, shape: (usize, usize, usize), pace: Pace) -> Plan {
    let (connections, in_flight, payload) = shape;
    Plan {
        protocol: contestant.protocol(),
        method: "Echo",
        connections,
        in_flight,
        payload,
        pace,
    }
}
