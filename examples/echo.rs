//! A plain server for measurements and black-box tests: `/echo.v1.Echo/Echo`, `/echo.v1.Echo/Slow` and the stream
//! `/echo.v1.Echo/Chat`.
//!
//! ```text
//! cargo run --release --example echo -- 127.0.0.1:8000
//! ```

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tern::server::PoolBuilder;
use tern::stream::{Inbound, Outbound};
use tern::{Context, Pool, Server, Status, terminate};
use tern_examples::echo::{Echo, EchoMessage, EchoServer, blocking};

const USAGE: &str = "\
usage: echo ADDR [options]

  ADDR                        where to listen, for example 127.0.0.1:8000; port 0 takes a free one
  --dispatch pool|inline      run Echo on a pool of threads (default) or in place on the I/O thread
  --handler blocking|async    which of the two handler traits to implement (default: async)
  --reactors N                event loops (default: half the cores)
  --workers N                 threads of the pool (default: four for each core, at least 8)

Serves /echo.v1.Echo/Echo and /echo.v1.Echo/Slow, which waits `delay_ms` (300 when absent) and therefore always runs
on the pool, as does the stream /echo.v1.Echo/Chat, which returns each message. SIGTERM or Ctrl-C ends it in order, a second one at once.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse(env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(());
    };
    let stop = terminate();
    let pool = options.pool().build();
    let mut server = Server::builder().pool(&pool);
    if let Some(reactors) = options.reactors {
        server = server.reactors(reactors);
    }
    let server = match (options.is_blocking, options.is_inline) {
        (false, false) => server.service(EchoServer::new(Echoing)),
        (false, true) => server.service(EchoServer::new(Echoing).method_inline("Echo")),
        (true, false) => server.service(EchoServer::blocking(Echoing)),
        (true, true) => server.service(EchoServer::blocking(Echoing).method_inline("Echo")),
    };
    let server = server.bind(&options.address)?;
    for address in server.addresses() {
        println!("listening {address}");
    }
    Ok(server.run_until(stop)?)
}

/// Returns what it is sent.
struct Echoing;

impl Echo for Echoing {
    async fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    async fn slow(&self, cx: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        cx.sleep(delay(&message)).await;
        Ok(message)
    }

    async fn chat(
        &self,
        _: &Context,
        mut inbound: Inbound<EchoMessage>,
        mut outbound: Outbound<EchoMessage>,
    ) -> Result<(), Status> {
        while let Some(message) = inbound.next().await? {
            outbound.send(message).await?;
        }
        Ok(())
    }
}

impl blocking::Echo for Echoing {
    fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    fn slow(&self, cx: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        // Parks a thread of the pool. On an I/O thread, which would wait for itself, it is refused.
        tern::park::wait(cx.sleep(delay(&message)))
            .ok_or_else(|| Status::internal("a blocking handler cannot wait on an I/O thread"))?;
        Ok(message)
    }

    fn chat(
        &self,
        _: &Context,
        mut inbound: Inbound<EchoMessage>,
        mut outbound: Outbound<EchoMessage>,
    ) -> Result<(), Status> {
        while let Some(message) = inbound.next().wait()? {
            outbound.send(message).wait()?;
        }
        Ok(())
    }
}

fn delay(message: &EchoMessage) -> Duration {
    Duration::from_millis(match message.delay_ms {
        0 => 300,
        millis => u64::from(millis),
    })
}

struct Options {
    address: String,
    is_inline: bool,
    is_blocking: bool,
    reactors: Option<usize>,
    workers: Option<usize>,
}

impl Options {
    /// `None` when help was asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            address: String::new(),
            is_inline: false,
            is_blocking: false,
            reactors: None,
            workers: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or(format!("{argument} needs a value\n\n{USAGE}"))
            };
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                "--dispatch" => options.is_inline = choice(&argument, &value()?, "pool", "inline")?,
                "--handler" => {
                    options.is_blocking = choice(&argument, &value()?, "async", "blocking")?;
                }
                "--reactors" => options.reactors = Some(count(&argument, &value()?)?),
                "--workers" => options.workers = Some(count(&argument, &value()?)?),
                address if options.address.is_empty() && !address.starts_with('-') => {
                    options.address = argument;
                }
                other => return Err(format!("unknown argument `{other}`\n\n{USAGE}")),
            }
        }
        if options.address.is_empty() {
            return Err(format!("no address given\n\n{USAGE}"));
        }
        Ok(Some(options))
    }

    fn pool(&self) -> PoolBuilder {
        // As many as the process takes, so that whoever measures meets no limit but their own.
        let pool = Pool::builder("worker").permits(65_536);
        match self.workers {
            Some(workers) => pool.threads(workers),
            None => pool,
        }
    }
}

/// Whether the value is the second of two words.
fn choice(option: &str, value: &str, first: &str, second: &str) -> Result<bool, String> {
    match value {
        value if value == first => Ok(false),
        value if value == second => Ok(true),
        other => Err(format!("{option} is {first} or {second}, not `{other}`")),
    }
}

fn count(option: &str, value: &str) -> Result<usize, String> {
    let count = value.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("{option} is a number of at least 1, not `{value}`"))
}
