//! Tern as it is measured: the echo service, bare or with everything that a framework does around a handler.
//!
//! ```text
//! bench-echo 127.0.0.1:0 --inline --framework
//! ```

use std::env;
use std::error::Error;

use tern::{Pool, Server, terminate};
use tern_benches::echo::{EchoServer, Echoing};
use tern_benches::framework::{Checked, Counted, Metrics, Timed};

const USAGE: &str = "\
usage: bench-echo ADDR [options]

  --inline       run the handler in place on the I/O thread; default: on a pool
  --blocking     implement the trait of plain functions; default: async functions
  --workers N    threads of the pool; default: as many as Tern takes
  --reactors N   event loops; default: as many as Tern takes
  --framework    four filters, a limiter at the door, metrics for each method";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().ok_or(USAGE)?;
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--inline" => options.is_inline = true,
            "--blocking" => options.is_blocking = true,
            "--framework" => options.is_framework = true,
            "--workers" => options.workers = Some(arguments.next().ok_or(USAGE)?.parse()?),
            "--reactors" => options.reactors = Some(arguments.next().ok_or(USAGE)?.parse()?),
            _ => return Err(USAGE.into()),
        }
    }
    let stop = terminate();
    let server = options.server(&address)?;
    for address in server.addresses() {
        println!("listening {address}");
    }
    Ok(server.run_until(stop)?)
}

#[derive(Default)]
struct Options {
    is_inline: bool,
    is_blocking: bool,
    is_framework: bool,
    workers: Option<usize>,
    reactors: Option<usize>,
}

impl Options {
    fn server(&self, address: &str) -> Result<Server, tern::ServeError> {
        let pool = self.pool();
        let builder = Server::builder().pool(&pool);
        let builder = match self.reactors {
            Some(reactors) => builder.reactors(reactors),
            None => builder,
        };
        if self.is_framework {
            let builder = builder
                .admit(tern::RateLimit::per_second(100_000_000).burst(10_000_000))
                .observer(Metrics::default())
                .filter(Counted::default())
                .filter(Timed::default())
                .filter(tern::Concurrency::max(65_536))
                .filter(Checked);
            return match (self.is_blocking, self.is_inline) {
                (false, false) => builder.service(EchoServer::new(Echoing)),
                (false, true) => builder.service(EchoServer::new(Echoing).inline()),
                (true, false) => builder.service(EchoServer::blocking(Echoing)),
                (true, true) => builder.service(EchoServer::blocking(Echoing).inline()),
            }
            .bind(address);
        }
        match (self.is_blocking, self.is_inline) {
            (false, false) => builder.service(EchoServer::new(Echoing)),
            (false, true) => builder.service(EchoServer::new(Echoing).inline()),
            (true, false) => builder.service(EchoServer::blocking(Echoing)),
            (true, true) => builder.service(EchoServer::blocking(Echoing).inline()),
        }
        .bind(address)
    }

    fn pool(&self) -> Pool {
        // As many calls as the process takes, so that whoever measures meets no limit but their own.
        let pool = Pool::builder("worker").permits(65_536);
        match self.workers {
            Some(workers) => pool.threads(workers).build(),
            None => pool.build(),
        }
    }
}
