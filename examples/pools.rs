//! A pool of its own keeps a slow service from delaying a fast one.
//!
//! ```text
//! cargo run --release --example pools
//! ```
//!
//! Reports block a thread for 200 ms each. Their pool has four places; prices have threads of their own.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use tern::{Channel, ChannelError, Clock, Context, Fixed, Pool, Running, Server, Status, park};
use tern_examples::shop::{
    Item, Month, Price, Prices, PricesClient, PricesServer, Report, ReportsClient, ReportsServer,
    blocking,
};

const PLACES: usize = 4;
const REPORT: Duration = Duration::from_millis(200);

fn main() -> Result<(), Box<dyn Error>> {
    let slow = Pool::builder("reports")
        .threads(PLACES)
        .permits(PLACES)
        .build();
    let fast = Pool::builder("prices").threads(2).build();
    let (begins, begun) = mpsc::channel();
    let running = Server::builder()
        .service(PricesServer::new(Catalogue).on(&fast))
        .service(ReportsServer::blocking(Archive { begins }).on(&slow))
        .bind("127.0.0.1:0")?
        .start()?;
    let prices = PricesClient::new(connect("demo.shop.Prices", &running)?);
    let reports = ReportsClient::new(connect("demo.shop.Reports", &running)?);

    println!("prices alone: {}", measure(&prices)?);

    println!("{PLACES} callers want reports of {} ms", REPORT.as_millis());
    let is_over = Arc::<AtomicBool>::default();
    let callers: Vec<_> = (0..PLACES)
        .map(|_| spawn_caller(&reports, &is_over))
        .collect();
    begun.iter().take(PLACES).for_each(drop);

    let clock = Clock::system();
    let start = clock.now();
    match reports.make(Month { number: 1 }).wait() {
        Ok(report) => println!("one more has got a place: {}", report.text),
        Err(status) => {
            let elapsed = (clock.now() - start).as_micros();
            println!("one more, after {elapsed} us: {status}");
        }
    }
    println!("prices beside reports: {}", measure(&prices)?);

    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().expect("it does not panic")?;
    }
    println!("every report that was begun has been delivered");
    Ok(running.stop()?)
}

/// Knows its prices by heart.
struct Catalogue;

impl Prices for Catalogue {
    async fn get(&self, _: &Context, item: Item) -> Result<Price, Status> {
        let cents = 100 * item.name.len() as u64;
        Ok(Price { cents })
    }
}

/// Keeps a thread for as long as a report takes, as a driver of a data base would.
struct Archive {
    begins: Sender<()>,
}

impl blocking::Reports for Archive {
    fn make(&self, cx: &Context, month: Month) -> Result<Report, Status> {
        // Nobody has to listen.
        let _ = self.begins.send(());
        park::wait(cx.sleep(REPORT)).ok_or_else(|| Status::internal("on an I/O thread"))?;
        Ok(Report {
            text: format!("nothing was sold in month {}", month.number),
        })
    }
}

fn connect(service: &str, running: &Running) -> Result<Channel, ChannelError> {
    let server = Fixed::new([running.address()]);
    Channel::builder(service).resolve(server).build()
}

/// Wants one report after the other.
fn spawn_caller(
    reports: &ReportsClient<Channel>,
    is_over: &Arc<AtomicBool>,
) -> thread::JoinHandle<Result<(), Status>> {
    let (reports, is_over) = (reports.clone(), Arc::clone(is_over));
    thread::spawn(move || {
        while !is_over.load(Ordering::Relaxed) {
            let call = reports.make(Month { number: 2 });
            call.timeout(Duration::from_secs(5)).wait()?;
        }
        Ok(())
    })
}

/// Asks for a price often enough to tell how long it takes.
fn measure(prices: &PricesClient<Channel>) -> Result<String, Status> {
    let clock = Clock::system();
    let mut times = Vec::new();
    for _ in 0..5_000 {
        let name = "tea".to_owned();
        let start = clock.now();
        prices.get(Item { name }).wait()?;
        times.push(clock.now() - start);
    }
    times.sort();
    let [p50, p99] = [50, 99].map(|percent| times[times.len() * percent / 100].as_micros());
    Ok(format!("p50 {p50} us, p99 {p99} us"))
}
