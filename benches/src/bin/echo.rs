//! Tern as it is measured: the echo service, bare or with everything that a framework does around a handler.
//!
//! ```text
//! bench-echo 127.0.0.1:0 --inline --framework
//! ```

use std::env;
use std::error::Error;
use std::time::Duration;

use tern::mount::Dispatch;
use tern::server::builder::Services;
use tern::{Filter, Mount, Pool, Server, ServerBuilder, Service, terminate};
use tern_benches::echo::{EchoServer, Echoing};
use tern_benches::framework::{Checked, Counted, Metrics, Timed};

const USAGE: &str = "\
usage: bench-echo ADDR [options]

  --inline       run the handler in place on the I/O thread; default: on a pool
  --auto         let the method find its own place
  --blocking     implement the trait of plain functions; default: async functions
  --workers N    threads of the pool; default: as many as Tern takes
  --reactors N   event loops; default: as many as Tern takes
  --spin         let event loops look for more for 50 us before they sleep
  --framework    four filters, a limiter at the door, metrics for each method";

/// How long loops stay awake that are told to.
const SPIN: Duration = Duration::from_micros(50);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().ok_or(USAGE)?;
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--inline" => options.dispatch = Dispatch::Inline,
            "--auto" => options.dispatch = Dispatch::Auto,
            "--spin" => options.busy_poll = SPIN,
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
    dispatch: Dispatch,
    busy_poll: Duration,
    is_blocking: bool,
    is_framework: bool,
    workers: Option<usize>,
    reactors: Option<usize>,
}

impl Options {
    fn server(&self, address: &str) -> Result<Server, tern::ServeError> {
        let pool = self.pool();
        let builder = Server::builder().pool(&pool).busy_poll(self.busy_poll);
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
            return self.mounted(builder).bind(address);
        }
        self.mounted(builder).bind(address)
    }

    fn mounted<F: Filter + Clone>(&self, builder: ServerBuilder<F>) -> ServerBuilder<F, Services> {
        if self.is_blocking {
            builder.service(self.placed(EchoServer::blocking(Echoing)))
        } else {
            builder.service(self.placed(EchoServer::new(Echoing)))
        }
    }

    fn placed<S: Service>(&self, mount: Mount<S>) -> Mount<S> {
        match self.dispatch {
            Dispatch::Inline => mount.inline(),
            Dispatch::Auto => mount.auto(),
            _ => mount,
        }
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
