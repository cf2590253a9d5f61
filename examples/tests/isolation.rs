//! Nothing is global: servers and channels that are made differently live in one process.

use std::time::Duration;

use tern::{
    Channel, Code, Context, Filter, Fixed, Limits, Pool, Request, Response, Server, Service, Status,
};
use tern_examples::greeter::{Greeter, GreeterClient, GreeterServer, HelloReply, HelloRequest};

#[test]
fn two_servers_that_are_made_differently_live_in_one_process() {
    let small = Limits::default().with_frame_bytes_max(1024);
    let strict = Server::builder()
        .filter(Signed("strict"))
        .limits(small)
        .timeout(Duration::from_millis(50))
        .service(GreeterServer::new(Slow(Duration::from_millis(500))))
        .bind("127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap();
    let pool = Pool::builder("easy").threads(1).build();
    let easy = Server::builder()
        .filter(Signed("easy"))
        .service(GreeterServer::new(Slow(Duration::ZERO)).on(&pool))
        .bind("127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap();
    let (to_strict, to_easy) = (client(strict.address()), client(easy.address()));
    let long_name = HelloRequest {
        name: "x".repeat(4096),
    };

    assert_eq!(
        to_strict.say_hello(hello()).wait().unwrap_err().code(),
        Code::ServerTimeout
    );
    assert_eq!(
        to_strict
            .say_hello(long_name.clone())
            .wait()
            .unwrap_err()
            .code(),
        Code::ConnectionLost
    );
    let reply = to_easy.say_hello(hello()).wait_response().unwrap();
    assert_eq!(reply.metadata().text("signed-by"), Some("easy"));
    assert_eq!(
        to_easy.say_hello(long_name).wait().unwrap().message.len(),
        4096
    );

    strict.stop().unwrap();
    assert!(
        to_easy.say_hello(hello()).wait().is_ok(),
        "stopping one server leaves the other alone"
    );
    easy.stop().unwrap();
}

fn client(address: std::net::SocketAddr) -> GreeterClient<Channel> {
    GreeterClient::new(
        Channel::builder("demo.greeter.Greeter")
            .resolve(Fixed::new([address]))
            .build()
            .unwrap(),
    )
}

fn hello() -> HelloRequest {
    HelloRequest { name: "you".into() }
}

/// Takes its time and returns the name.
struct Slow(Duration);

impl Greeter for Slow {
    async fn say_hello(&self, cx: &Context, request: HelloRequest) -> Result<HelloReply, Status> {
        cx.sleep(self.0).await;
        Ok(HelloReply {
            message: request.name,
        })
    }
}

/// Puts a name on every response.
struct Signed(&'static str);

impl Filter for Signed {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        let mut response = next.call(request).await?;
        response.metadata_mut().insert("signed-by", self.0);
        Ok(response)
    }
}
