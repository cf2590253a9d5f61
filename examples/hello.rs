//! A generated service, called over a real socket.
//!
//! ```text
//! cargo run --release --example hello                            # server and client in one process
//! cargo run --release --example hello serve 127.0.0.1:8000       # in one terminal
//! cargo run --release --example hello call 127.0.0.1:8000 Tern   # in another
//! ```

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use tern::{Channel, Clock, Context, Fixed, Server, Status, terminate};
use tern_examples::greeter::{Greeter, GreeterClient, GreeterServer, HelloReply, HelloRequest};

const USAGE: &str = "\
usage: hello                     serve and call in one process
       hello serve ADDR          serve until SIGTERM or Ctrl-C
       hello call ADDR [NAME]    call a server once";

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
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => both(),
        ["serve", address] => serve(address),
        ["call", address] => call(address, "you there"),
        ["call", address, name] => call(address, name),
        ["-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}

/// The service: one method, one line that matters.
struct Polite;

impl Greeter for Polite {
    async fn say_hello(&self, cx: &Context, request: HelloRequest) -> Result<HelloReply, Status> {
        if request.name.is_empty() {
            return Err(Status::invalid_argument("name is empty"));
        }
        // Who answered goes back beside the reply, as metadata.
        let thread = thread::current()
            .name()
            .unwrap_or("a thread without a name")
            .to_owned();
        cx.reply_metadata("answered-by", thread);
        cx.reply_metadata("time-left-ms", cx.remaining().as_millis().to_string());
        Ok(HelloReply {
            message: format!("hello, {}", request.name),
        })
    }
}

fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let stop = terminate();
    let server = Server::builder()
        .service(GreeterServer::new(Polite))
        .bind(address)?;
    println!("listening {}", server.addresses()[0]);
    Ok(server.run_until(stop)?)
}

fn call(address: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let channel = Channel::builder("demo.greeter.Greeter")
        .resolve(Fixed::new([address]))
        .build()?;
    show(&GreeterClient::new(channel), name)
}

fn both() -> Result<(), Box<dyn Error>> {
    let running = Server::builder()
        .service(GreeterServer::new(Polite))
        .bind("127.0.0.1:0")?
        .start()?;
    let address = running.address();
    println!("{} is served on {address}", GreeterServer::DESCRIPTOR.name);
    let channel = Channel::builder("demo.greeter.Greeter")
        .resolve(Fixed::new([address]))
        .build()?;
    let greeter = GreeterClient::new(channel);
    show(&greeter, "Tern")?;
    measure(&greeter)?;
    match greeter.say_hello(HelloRequest::default()).wait() {
        Err(status) => println!("without a name -> {status}"),
        Ok(reply) => println!("without a name -> {}", reply.message),
    }
    drop(greeter);
    running.stop()?;
    println!("the server has answered all calls and ended");
    Ok(())
}

/// Calls once and shows what came back.
fn show<S: tern::Service + Clone + 'static>(
    greeter: &GreeterClient<S>,
    name: &str,
) -> Result<(), Box<dyn Error>> {
    let clock = Clock::system();
    let start = clock.now();
    let request = HelloRequest {
        name: name.to_owned(),
    };
    let response = greeter
        .say_hello(request)
        .timeout(Duration::from_millis(500))
        .wait_response()?;
    let elapsed = since(start, &clock);
    println!("{name} -> \"{}\"", response.body().message);
    println!("  first call, connecting included: {elapsed:?}");
    println!(
        "  answered by thread: {}",
        response.metadata().text("answered-by").unwrap_or("?")
    );
    println!(
        "  time left in the handler: {} ms of 500",
        response.metadata().text("time-left-ms").unwrap_or("?")
    );
    Ok(())
}

/// Calls often enough to tell how long a call takes.
fn measure<S: tern::Service + Clone + 'static>(greeter: &GreeterClient<S>) -> Result<(), Status> {
    let clock = Clock::system();
    let mut times = Vec::new();
    for number in 0..2_000 {
        let start = clock.now();
        greeter
            .say_hello(HelloRequest {
                name: number.to_string(),
            })
            .wait()?;
        times.push(since(start, &clock));
    }
    times.sort();
    println!(
        "2000 calls, one after the other: p50 {:?}, p99 {:?}",
        times[999], times[1979]
    );
    Ok(())
}

fn since(start: Instant, clock: &Clock) -> Duration {
    let elapsed = clock.now() - start;
    Duration::from_micros(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
}
