//! Filters: one of our own on both ends, in the order they are added, and two ways to refuse a call.
//!
//! ```text
//! cargo run --release --example filter
//! ```

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};

use tern::{
    Channel, Compression, Context, Filter, Fixed, RateLimit, Request, Response, Server, Service,
    Status, filter,
};
use tern_examples::greeter::{Greeter, GreeterClient, GreeterServer, HelloReply, HelloRequest};

fn main() -> Result<(), Box<dyn Error>> {
    // Reading order is execution order, outermost first.
    let running = Server::builder()
        .filter(Trace::new("server"))
        .filter(filter::before(refuse_packed))
        .filter(RateLimit::per_second(1).burst(2))
        .service(GreeterServer::new(Polite).filter(Trace::new("service")))
        .bind("127.0.0.1:0")?
        .start()?;
    let channel = Channel::builder("demo.greeter.Greeter")
        .resolve(Fixed::new([running.address()]))
        .filter(Trace::new("client"))
        .build()?;
    let greeter = GreeterClient::new(channel);

    println!("two calls, as many as the limit lets through at once");
    for name in ["Ada", "Grace"] {
        let name = name.to_owned();
        let reply = greeter.say_hello(HelloRequest { name }).wait()?;
        println!("  -> {}", reply.message);
    }

    println!("a third one");
    let name = "Edsger".to_owned();
    show(greeter.say_hello(HelloRequest { name }).wait());

    println!("a name of a million bytes, packed");
    let name = "a".repeat(1_000_000);
    let call = greeter.say_hello(HelloRequest { name });
    show(call.compress(Compression::Gzip).wait());

    drop(greeter);
    Ok(running.stop()?)
}

/// Tells when a call passes, on its way in and on its way out. The first to see a call gives it an id, which travels
/// along as metadata: so the same filter works on both ends.
struct Trace {
    place: &'static str,
    calls: AtomicU32,
}

impl Trace {
    fn new(place: &'static str) -> Self {
        let calls = AtomicU32::new(1);
        Self { place, calls }
    }

    fn id(&self, request: &mut Request) -> String {
        if let Some(id) = request.metadata().text("request-id") {
            return id.to_owned();
        }
        let id = self.calls.fetch_add(1, Ordering::Relaxed).to_string();
        let metadata = request.context_mut().metadata_mut();
        metadata.insert("request-id", id.clone());
        id
    }
}

impl Filter for Trace {
    async fn call<S: Service>(&self, mut request: Request, next: &S) -> Result<Response, Status> {
        let id = self.id(&mut request);
        println!("  #{id} {:<7} in", self.place);
        let outcome = next.call(request).await;
        let result = match &outcome {
            Ok(_) => "answered".to_owned(),
            Err(status) => format!("{:?}", status.code()),
        };
        println!("  #{id} {:<7} out: {result}", self.place);
        outcome
    }
}

/// Wants bodies as they are. A body is unpacked inside of the filters, so nothing has been spent on it here.
fn refuse_packed(request: Request) -> Result<Request, Status> {
    match request.compression() {
        Compression::None => Ok(request),
        packed => Err(Status::invalid_argument(format!(
            "{} bytes of {packed:?} came, and nobody has unpacked them",
            request.body().len()
        ))),
    }
}

struct Polite;

impl Greeter for Polite {
    async fn say_hello(&self, _: &Context, request: HelloRequest) -> Result<HelloReply, Status> {
        println!("     handler runs for {}", request.name);
        let message = format!("hello, {}", request.name);
        Ok(HelloReply { message })
    }
}

fn show(outcome: Result<HelloReply, Status>) {
    match outcome {
        Ok(reply) => println!("  -> {}", reply.message),
        Err(status) => println!(
            "  -> {status}; certainly not run: {}",
            status.is_unexecuted()
        ),
    }
}
