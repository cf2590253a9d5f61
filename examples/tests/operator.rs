//! What whoever runs a server meets: errors that name what is wrong, and signals.

use std::time::Duration;

use tern::{Channel, Clock, Code, Context, Fixed, ServeError, Server, Status};
use tern_examples::echo::{EchoClient, EchoMessage};
use tern_examples::greeter::{Greeter, GreeterServer, HelloReply, HelloRequest};

mod support;

struct Silent;

impl Greeter for Silent {
    async fn say_hello(&self, _: &Context, _: HelloRequest) -> Result<HelloReply, Status> {
        Ok(HelloReply::default())
    }
}

fn bind(address: &str) -> Result<Server, ServeError> {
    Server::builder()
        .service(GreeterServer::new(Silent))
        .bind(address)
}

#[test]
fn an_address_that_is_none_is_named_with_the_remedy() {
    let error = bind("8000").unwrap_err().to_string();
    assert!(
        error.contains("`8000`") && error.contains("unix:/run/x.sock"),
        "{error}"
    );
}

#[test]
fn a_port_in_use_is_named() {
    let first = bind("127.0.0.1:0").unwrap();
    let address = &first.addresses()[0];
    let error = bind(&address.to_string()).unwrap_err();
    assert!(matches!(error, ServeError::Listen { .. }));
    let text = format!("{error:?}");
    assert!(
        text.contains(&address.to_string()) && text.contains("another program"),
        "{text}"
    );
}

#[test]
fn a_service_that_is_mounted_twice_is_named_by_its_path() {
    let twice = Server::builder()
        .service(GreeterServer::new(Silent))
        .service(GreeterServer::new(Silent));
    let error = twice.bind("127.0.0.1:0").unwrap_err().to_string();
    assert!(error.contains("/demo.greeter.Greeter/SayHello"), "{error}");
}

#[test]
fn a_server_without_services_says_what_is_missing() {
    let error = Server::builder()
        .bind("127.0.0.1:0")
        .unwrap_err()
        .to_string();
    assert!(error.contains(".service("), "{error}");
}

#[test]
fn a_time_out_for_a_method_that_is_not_there_is_an_error() {
    let mount = GreeterServer::new(Silent).method_timeout("SayHallo", Duration::from_secs(1));
    let error = Server::builder()
        .service(mount)
        .bind("127.0.0.1:0")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("SayHallo") && error.contains("demo.greeter.Greeter"),
        "{error}"
    );
}

#[test]
fn a_setting_of_zero_is_an_error_and_not_unlimited() {
    let none = Server::builder()
        .reactors(0)
        .service(GreeterServer::new(Silent));
    assert!(
        none.bind("127.0.0.1:0")
            .unwrap_err()
            .to_string()
            .contains("`reactors`")
    );
}

#[test]
fn one_server_listens_on_several_addresses() {
    let server = Server::builder()
        .service(GreeterServer::new(Silent))
        .listen("127.0.0.1:0")
        .bind("127.0.0.1:0")
        .unwrap();
    assert_eq!(server.addresses().len(), 2);
    let running = server.start().unwrap();
    for address in running.addresses() {
        let channel = Channel::builder("demo.greeter.Greeter")
            .resolve(Fixed::new([address]))
            .build()
            .unwrap();
        let greeter = tern_examples::greeter::GreeterClient::new(channel);
        assert!(
            greeter.say_hello(HelloRequest::default()).wait().is_ok(),
            "{address}"
        );
    }
    running.stop().unwrap();
}

#[test]
fn a_peer_that_speaks_http_is_recognised() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let status = echo(&address.to_string())
        .echo(EchoMessage::default())
        .wait()
        .unwrap_err();
    assert_eq!(status.code(), Code::ConnectionLost);
    assert!(
        status.message().contains("18516") && status.message().contains("HTTP"),
        "{status}"
    );
}

#[test]
fn r23_a_call_under_way_is_finished_after_sigterm() {
    let mut server = support::EchoServer::start("127.0.0.1:0", &[]);
    let echo = echo(&server.address);
    let message = EchoMessage {
        payload: b"under way".to_vec(),
        delay_ms: 700,
    };
    assert!(echo.echo(message.clone()).wait().is_ok(), "it is connected");
    let reply = std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            echo.slow(message.clone())
                .timeout(Duration::from_secs(5))
                .wait()
        });
        while !call.is_finished() {
            // The call is under way once another one on the same connection has been answered after it.
            if echo.echo(EchoMessage::default()).wait().is_ok() {
                server.terminate();
                break;
            }
        }
        call.join().unwrap()
    });
    assert_eq!(reply.unwrap().payload, b"under way");
    assert!(server.wait().success());
}

#[test]
fn r24_idle_connections_do_not_delay_the_end() {
    let clock = Clock::system();
    let mut server = support::EchoServer::start("127.0.0.1:0", &[]);
    let idle = std::net::TcpStream::connect(&server.address).unwrap();
    let start = clock.now();
    server.terminate();
    assert!(server.wait().success());
    assert!(
        clock.now() - start < Duration::from_secs(8),
        "far less than the grace time of 10 s"
    );
    drop(idle);
}

#[test]
fn r24_a_second_signal_ends_at_once() {
    let clock = Clock::system();
    let mut server = support::EchoServer::start("127.0.0.1:0", &[]);
    let echo = echo(&server.address);
    assert!(
        echo.echo(EchoMessage::default()).wait().is_ok(),
        "it is connected"
    );
    let start = clock.now();
    std::thread::scope(|scope| {
        let endless = EchoMessage {
            payload: Vec::new(),
            delay_ms: 60_000,
        };
        let call = scope.spawn(|| echo.slow(endless).timeout(Duration::from_secs(30)).wait());
        while !call.is_finished() {
            // The first answer with a mark shows that the first signal has arrived.
            server.terminate();
            if echo
                .echo(EchoMessage::default())
                .timeout(Duration::from_secs(1))
                .wait()
                .is_err()
            {
                break;
            }
        }
        assert!(call.join().unwrap().is_err(), "it was cut off");
    });
    assert!(
        !server.wait().success(),
        "calls were cut off, and the exit status says so"
    );
    assert!(
        clock.now() - start < Duration::from_secs(8),
        "far less than the grace time of 10 s"
    );
}

fn echo(address: &str) -> EchoClient<Channel> {
    EchoClient::new(
        Channel::builder("echo.v1.Echo")
            .resolve(Fixed::new([address]))
            .build()
            .unwrap(),
    )
}
