use tern::{Channel, Context, Fixed, Server, Status};

tern::include_stubs!("demo.greeter");

struct Polite;

impl Greeter for Polite {
    async fn say_hello(&self, _: &Context, request: HelloRequest) -> Result<HelloReply, Status> {
        let message = format!("hello, {}", request.name);
        Ok(HelloReply { message })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().service(GreeterServer::new(Polite));
    let running = server.bind("127.0.0.1:0")?.start()?;

    let fixed = Fixed::new([running.address()]);
    let greeter = GreeterClient::new(Channel::builder("demo.greeter").resolve(fixed).build()?);
    let hello = HelloRequest { name: "you".into() };
    println!("{}", greeter.say_hello(hello).wait()?.message);

    Ok(running.stop()?)
}
