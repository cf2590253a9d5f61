//! Formats from one end to the other: who knows which, what is answered in which, and what is refused.

use std::time::Duration;

use rpc_testing::{Loopback, Mock};
use tern::{
    Bytes, Call, Channel, ChannelBuilder, Code, Compression, Context, Fixed, Format, Formats,
    Limits, Origin, Raw, Running, Server, Service, Status,
};
use tern_examples::greeter::{
    GREETER, Greeter, GreeterClient, GreeterServer, HelloReply, HelloRequest,
};

struct Polite;

impl Greeter for Polite {
    async fn say_hello(&self, _: &Context, request: HelloRequest) -> Result<HelloReply, Status> {
        let message = match request.name.parse() {
            Ok(length) => "x".repeat(length),
            Err(_) => format!("hello, {}", request.name),
        };
        Ok(HelloReply { message })
    }
}

fn serving(formats: Formats) -> Running {
    let server = Server::builder()
        .formats(formats)
        .service(GreeterServer::new(Polite));
    server.bind("127.0.0.1:0").unwrap().start().unwrap()
}

fn channel(server: &Running) -> ChannelBuilder {
    let channel = Channel::builder("demo.greeter.Greeter");
    channel
        .resolve(Fixed::new([server.address()]))
        .timeout(Duration::from_secs(5))
}

fn hello(name: &str) -> HelloRequest {
    HelloRequest {
        name: name.to_owned(),
    }
}

/// Sends these bytes as a message in that format.
fn ask(
    service: impl Service + 'static,
    format: Format,
    body: &'static [u8],
) -> Result<(Format, Bytes), Status> {
    let body = Raw(Bytes::from_static(body));
    let call = Call::<_, Raw, Raw>::new(service, &GREETER.methods[0], body);
    let response = call.format(format).wait_response()?;
    Ok((response.format(), response.into_body().0))
}

#[test]
fn a_reply_is_in_the_format_of_its_request() {
    let server = serving(Formats::default());
    let channel = channel(&server).build().unwrap();
    let greeter = GreeterClient::new(channel.clone());
    for format in [Format::Protobuf, Format::Json] {
        let reply = greeter
            .say_hello(hello("Ada"))
            .format(format)
            .wait_response()
            .unwrap();
        assert_eq!(reply.format(), format);
        assert_eq!(reply.body().message, "hello, Ada");
    }
    let (format, body) = ask(channel, Format::Json, br#"{"name":"Ada","more":1}"#).unwrap();
    assert_eq!(
        (format, &body[..]),
        (Format::Json, &br#"{"message":"hello, Ada"}"#[..])
    );
}

#[test]
fn no_bytes_are_the_empty_message_and_are_not_sent_for_it() {
    let server = serving(Formats::default());
    let channel = channel(&server).build().unwrap();
    let (_, body) = ask(channel.clone(), Format::Json, b"").unwrap();
    assert_eq!(body, r#"{"message":"hello, "}"#);
    let (format, body) = ask(channel, Format::Json, br#"{"name":"0"}"#).unwrap();
    assert_eq!(
        (format, &body[..]),
        (Format::Json, &br#"{"message":""}"#[..])
    );
}

#[test]
fn what_the_server_does_not_know_is_malformed_and_what_the_channel_does_not_is_not_sent() {
    let server = serving(Formats::none());
    let knowing = GreeterClient::new(channel(&server).build().unwrap());
    let refused = knowing
        .say_hello(hello("Ada"))
        .format(Format::Json)
        .wait()
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.origin()),
        (Code::Malformed, Origin::Remote)
    );
    assert!(refused.message().contains("JSON"), "{refused}");
    assert!(knowing.say_hello(hello("Ada")).wait().is_ok());

    let channel = channel(&server).formats(Formats::none()).build().unwrap();
    let ignorant = GreeterClient::new(channel);
    let refused = ignorant
        .say_hello(hello("Ada"))
        .format(Format::Json)
        .wait()
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.origin()),
        (Code::RequestUnencodable, Origin::Local)
    );
    assert!(refused.message().contains("`formats`"), "{refused}");
}

#[test]
fn json_is_packed_and_bounded_as_any_body_is() {
    let limits = Limits::default().with_frame_bytes_max(20_000);
    let server = Server::builder()
        .limits(limits.clone())
        .service(GreeterServer::new(Polite));
    let server = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let greeter = GreeterClient::new(channel(&server).build().unwrap());
    let ask = |name: &str| greeter.say_hello(hello(name)).format(Format::Json);
    let packed = ask("15000").compress(Compression::Gzip).wait().unwrap();
    assert_eq!(packed.message.len(), 15_000);
    let refused = ask("30000").wait().unwrap_err();
    assert_eq!(refused.code(), Code::Unencodable);
    assert!(
        refused.message().contains("longer than the 20000 bytes"),
        "{refused}"
    );

    let small = channel(&server).limits(limits).build().unwrap();
    let long = GreeterClient::new(small).say_hello(hello(&"y".repeat(30_000)));
    let refused = long.format(Format::Json).wait().unwrap_err();
    assert_eq!(refused.code(), Code::RequestUnencodable);
}

#[test]
fn a_loop_back_has_a_table_of_its_own() {
    let router = || tern::Router::new().mount(GreeterServer::new(Polite));
    let greeter = GreeterClient::new(Loopback::new(router()));
    let reply = greeter
        .say_hello(hello("Ada"))
        .format(Format::Json)
        .wait()
        .unwrap();
    assert_eq!(reply.message, "hello, Ada");

    let without = GreeterClient::new(Loopback::new(router()).formats(Formats::none()));
    let refused = without
        .say_hello(hello("Ada"))
        .format(Format::Json)
        .wait()
        .unwrap_err();
    assert_eq!(refused.code(), Code::RequestUnencodable);
}

/// Asks another in JSON.
struct Relay(Loopback);

impl Greeter for Relay {
    async fn say_hello(&self, cx: &Context, request: HelloRequest) -> Result<HelloReply, Status> {
        let greeter = GreeterClient::new(self.0.clone());
        greeter
            .say_hello(request)
            .within(cx)
            .format(Format::Json)
            .await
    }
}

#[test]
fn a_call_on_behalf_of_another_is_in_the_formats_of_its_own_channel() {
    let inner = Loopback::new(tern::Router::new().mount(GreeterServer::new(Polite)));
    let outer = tern::Router::new().mount(GreeterServer::new(Relay(inner)));
    let greeter = GreeterClient::new(Loopback::new(outer).formats(Formats::none()));
    assert_eq!(
        greeter.say_hello(hello("Ada")).wait().unwrap().message,
        "hello, Ada"
    );
}

#[test]
fn a_mock_is_asked_in_any_format() {
    let path = "/demo.greeter.Greeter/SayHello";
    let mock = Mock::new().on(path, |_: &Context, request: HelloRequest| {
        Ok(HelloReply {
            message: request.name,
        })
    });
    let greeter = GreeterClient::new(mock.clone());
    let reply = greeter.say_hello(hello("Ada")).format(Format::Json).wait();
    assert_eq!(reply.unwrap().message, "Ada");
    assert_eq!(mock.received::<HelloRequest>(path), [hello("Ada")]);
}
