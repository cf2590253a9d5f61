//! A rolling restart under load loses no call.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tern::{Channel, Fixed, Status};
use tern_examples::echo::{EchoClient, EchoMessage};

mod support;

const ROUNDS: usize = 10;
const CALLERS: usize = 8;

#[test]
fn r23_ten_rolling_restarts_under_load_fail_no_call() {
    restart_under_load(["127.0.0.1:0", "127.0.0.1:0"]);
}

#[test]
fn r23_ten_rolling_restarts_at_unix_sockets_fail_no_call() {
    let path = |number: usize| {
        let name = format!("tern-restart-{}-{number}.sock", std::process::id());
        format!("unix:{}", std::env::temp_dir().join(name).display())
    };
    restart_under_load([&path(0), &path(1)]);
}

fn restart_under_load(at: [&str; 2]) {
    let mut servers = at.map(|address| support::EchoServer::start(address, &[]));
    let addresses = servers.each_ref().map(|server| server.address.clone());
    let channel = Channel::builder("echo.v1.Echo")
        .resolve(Fixed::new(addresses.clone()))
        .timeout(Duration::from_secs(10))
        .build()
        .expect("addresses that were printed");
    let echo = EchoClient::new(channel);
    let (stop, calls) = (AtomicBool::new(false), AtomicUsize::new(0));

    let failures: Vec<Status> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                scope.spawn({
                    let (echo, stop, calls) = (echo.clone(), &stop, &calls);
                    move || call_until(stop, calls, &echo, caller)
                })
            })
            .collect();
        for round in 0..ROUNDS {
            let before = calls.load(Ordering::Relaxed);
            while calls.load(Ordering::Relaxed) < before + 200 {
                thread::yield_now();
            }
            let place = round % 2;
            servers[place].terminate();
            let status = servers[place].wait();
            assert!(
                status.success(),
                "round {round}: the server ended with {status}"
            );
            servers[place] = support::EchoServer::start(&addresses[place], &[]);
        }
        stop.store(true, Ordering::Relaxed);
        callers
            .into_iter()
            .flat_map(|caller| caller.join().expect("callers count and do not panic"))
            .collect()
    });

    for server in &mut servers {
        server.terminate();
        server.wait();
    }
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls > ROUNDS * 200, "only {calls} calls were made");
    assert!(
        failures.is_empty(),
        "{} of {calls} calls failed, the first with {}",
        failures.len(),
        failures[0]
    );
}

/// Makes calls, every fourth of them a slow one, and returns what failed.
fn call_until(
    stop: &AtomicBool,
    calls: &AtomicUsize,
    echo: &EchoClient<Channel>,
    caller: usize,
) -> Vec<Status> {
    let mut failures = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let payload = format!("caller {caller}, call {number}").into_bytes();
        let message = EchoMessage {
            payload: payload.clone(),
            delay_ms: 20,
        };
        let outcome = if number % 4 == 0 {
            echo.slow(message).wait()
        } else {
            echo.echo(message).wait()
        };
        match outcome {
            Ok(reply) => assert_eq!(reply.payload, payload, "the answer to another call"),
            Err(status) => failures.push(status),
        }
        calls.fetch_add(1, Ordering::Relaxed);
    }
    failures
}
