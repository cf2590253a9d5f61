//! Does a slow pool hold up a fast one?
//!
//! One server: a fast method on one pool, and on another a method whose handler blocks its thread for 200 ms. The fast
//! method is called alone, and while all threads of the slow pool are blocked and calls queue before it; in turns, so
//! that what disturbs the machine disturbs both. Up to noise the times are the same.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tern::{Pool, Server};
use tern_benches::echo::{EchoServer, Echoing, sit_out};
use tern_benches::figures::{Figures, short};
use tern_benches::load::{Load, LoadError, Outcome, Pace, Plan, Protocol};
use tern_benches::machine;
use tern_benches::report::Table;

const ROUNDS: usize = 7;
const WARM_UP: Duration = Duration::from_millis(200);
const WINDOW: Duration = Duration::from_secs(1);
/// Threads of the slow pool, and calls that are kept waiting or running there.
const SLOW_THREADS: usize = 4;
const SLOW_CALLS: usize = 16;
/// Above this ratio of the 99th percentiles something is wrong with more than the machine.
const ABSURD: f64 = 3.0;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let fast = Pool::builder("fast").build();
    let slow = Pool::builder("slow").threads(SLOW_THREADS).build();
    let service = EchoServer::blocking(Echoing).on(&fast);
    let server = Server::builder()
        .service(service.method_on("Block", &slow))
        .bind("127.0.0.1:0")?
        .start()?;
    println!("{}\n", machine::description());
    println!(
        "The fast method, 4 connections with 4 calls in flight on each, alone and beside a slow pool whose {SLOW_THREADS}"
    );
    println!(
        "threads are blocked for 200 ms by each of the {SLOW_CALLS} calls that wait or run there:\n"
    );

    let mut table = Table::new(&[
        "round",
        "alone p50 µs",
        "p99 µs",
        "req/s",
        "beside p50 µs",
        "p99 µs",
        "req/s",
    ]);
    let [mut p50, mut p99, mut rate] = [const { Figures::new() }; 3];
    for round in 1..=ROUNDS {
        let alone = measure(server.address())?;
        let beside = beside_slow(server.address(), || measure(server.address()))?;
        let quantiles = |part| [&beside, &alone].map(|outcome| outcome.quantile_us(part));
        p50.push(ratio(quantiles(0.5)));
        p99.push(ratio(quantiles(0.99)));
        rate.push(beside.rate() / alone.rate());
        let cells = [alone, beside].map(|outcome| {
            [
                outcome.quantile_us(0.5),
                outcome.quantile_us(0.99),
                outcome.rate(),
            ]
            .map(short)
        });
        table.row(
            [round.to_string()]
                .into_iter()
                .chain(cells.into_iter().flatten()),
        );
    }
    println!("{table}\nBeside the slow pool against alone, median and range of the rounds:\n");
    println!("  p50    {p50}\n  p99    {p99}\n  req/s  {rate}\n");
    println!(
        "Ratios around 1 are expected, some way up and down: other programs and the two loads share these CPUs."
    );
    drop(server.stop());
    if p99.median().is_none_or(|median| median > ABSURD) {
        println!(
            "A median of more than {ABSURD} for p99 is not noise: the slow pool holds up the fast one."
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn ratio([beside, alone]: [f64; 2]) -> f64 {
    beside / alone
}

fn measure(address: SocketAddr) -> Result<Outcome, LoadError> {
    let mut load = Load::connect(address, plan("Echo", 4, 4))?;
    load.run(WARM_UP)?;
    let outcome = load.run(WINDOW)?;
    load.finish()?;
    Ok(outcome)
}

/// Does `work` while the slow pool has more to do than it can.
fn beside_slow<T>(
    address: SocketAddr,
    work: impl FnOnce() -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let mut load = Load::connect(address, plan("Block", 2, SLOW_CALLS / 2))?;
            while !is_done.load(Ordering::Relaxed) {
                load.run(Duration::from_millis(100))?;
            }
            load.finish()
        });
        sit_out(WARM_UP);
        let worked = work();
        is_done.store(true, Ordering::Relaxed);
        slow.join().expect("it only returns errors")?;
        worked
    })
}

fn plan(method: &'static str, connections: usize, in_flight: usize) -> Plan {
    Plan {
        protocol: Protocol::Trpc { timeout_ms: 0 },
        method,
        connections,
        in_flight,
        payload: 32,
        pace: Pace::Closed,
    }
}
