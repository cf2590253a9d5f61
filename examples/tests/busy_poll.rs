//! Loops that stay awake do all that loops do which sleep.

use std::time::Duration;

use tern::{Channel, Code, Context, Fixed, Server, Status};
use tern_examples::greeter::{Greeter, GreeterClient, GreeterServer, HelloReply, HelloRequest};

/// Longer than this test: once the first bytes have come, no loop sleeps.
const AWAKE: Duration = Duration::from_secs(600);

#[test]
fn loops_that_stay_awake_serve_keep_time_and_end() {
    let running = Server::builder()
        .busy_poll(AWAKE)
        .service(GreeterServer::new(Sleepy))
        .bind("127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap();
    let channel = Channel::builder("demo.greeter.Greeter")
        .resolve(Fixed::new([running.address()]))
        .busy_poll(AWAKE)
        .without_timeout()
        .build()
        .unwrap();
    let greeter = GreeterClient::new(channel);
    let hello = |name: &str| greeter.say_hello(HelloRequest { name: name.into() });

    assert_eq!(hello("0").wait().unwrap().message, "slept for 0 ms");
    assert_eq!(hello("20").wait().unwrap().message, "slept for 20 ms");
    let in_vain = hello("3600000").timeout(Duration::from_millis(20)).wait();
    assert_eq!(in_vain.unwrap_err().code(), Code::DeadlineExceeded);
    running.stop().unwrap();
}

/// Sleeps for as many milliseconds as the name says.
struct Sleepy;

impl Greeter for Sleepy {
    async fn say_hello(&self, cx: &Context, request: HelloRequest) -> Result<HelloReply, Status> {
        let millis = request.name.parse().unwrap_or_default();
        cx.sleep(Duration::from_millis(millis)).await;
        let message = format!("slept for {millis} ms");
        Ok(HelloReply { message })
    }
}
