//! Where requests lead: by path, by the name of whom they call, and where else nobody serves them.

mod support;

use rpc_core::method::{ANY, ServiceDescriptor};
use rpc_core::{
    Bytes, Call, Code, Idempotency, MethodDescriptor, Mount, Raw, Request, Response, Service,
    Shape, Status,
};
use rpc_server::{Router, Server};
use rpc_testing::{Loopback, Sim};
use support::{DESK, DeskClient, echo, note};

static ALIASED: ServiceDescriptor = ServiceDescriptor {
    name: "test.Aliased",
    methods: &[MethodDescriptor {
        index: 0,
        name: "Ask",
        path: "/test.Aliased/Ask",
        alias: Some("/v1/ask"),
        service: "test.Aliased",
        idempotency: Idempotency::Unknown,
        shape: Shape::Unary,
        request: rpc_core::MessageType::UNKNOWN,
        reply: rpc_core::MessageType::UNKNOWN,
    }],
};

/// Answers with its own name, and with what it sees of the request.
struct Named(&'static str);

impl Service for Named {
    async fn call(&self, request: Request) -> Result<Response, Status> {
        let said = format!("{} {} {}", self.0, request.method().name, request.path());
        Ok(Response::new(said.into()))
    }
}

fn call<S: Service>(service: S, path: &str) -> Call<Onto<S>, Raw, Raw> {
    let onto = Onto {
        service,
        path: path.to_owned(),
    };
    Call::new(onto, &ANY.methods[0], Raw::default())
}

/// Sends its requests onto one path, as a client without stubs does.
struct Onto<S> {
    service: S,
    path: String,
}

impl<S: Service> Service for Onto<S> {
    async fn call(&self, mut request: Request) -> Result<Response, Status> {
        request.set_path(&self.path);
        self.service.call(request).await
    }
}

fn text(reply: Result<Raw, Status>) -> String {
    String::from_utf8(reply.unwrap().0.to_vec()).unwrap()
}

#[test]
fn a_method_answers_to_its_path_and_to_its_alias() {
    let router = || Router::new().mount(Mount::new(&ALIASED, Named("aliased")));
    let mut sim = Sim::seeded(1);
    let server = sim.server(router());
    let channel = sim.client(server);
    for path in ["/test.Aliased/Ask", "/v1/ask"] {
        let expected = "aliased Ask";
        let served = text(sim.run(call(channel.clone(), path)));
        assert!(served.starts_with(expected), "{served}");
        let served = text(call(Loopback::new(router()), path).wait());
        assert!(served.starts_with(expected), "{served}");
    }
    let status = sim.run(call(channel, "/v1/Ask")).unwrap_err();
    assert_eq!(status.code(), Code::NoMethod);
}

/// Two logical services at one address, which have the same methods. A virtual channel calls `sim`.
#[test]
fn of_two_services_with_one_path_the_one_that_is_called_answers() {
    let router = |first: &str, second: &str| {
        let first = Mount::new(&DESK, Named("first")).callee(first);
        let second = Mount::new(&DESK, Named("second")).callee(second);
        Router::new().mount(first).mount(second.inline())
    };
    for (first, second, expected) in [
        ("sim", "trpc.app.two.Desk", "first"),
        ("trpc.app.one.Desk", "sim", "second"),
        ("trpc.app.one.Desk", "trpc.app.two.Desk", "second"),
    ] {
        let expected = format!("{expected} Ask /test.Desk/Ask");
        let mut sim = Sim::seeded(1);
        let server = sim.server(router(first, second));
        let channel = sim.client(server);
        for _ in 0..2 {
            let said = sim.run(call(channel.clone(), "/test.Desk/Ask"));
            assert_eq!(text(said), expected);
        }
        let loopback = Loopback::new(router(first, second)).names("", "sim");
        assert_eq!(text(call(loopback, "/test.Desk/Ask").wait()), expected);
    }
}

#[test]
fn services_with_one_path_and_no_names_are_a_mistake() {
    let mount = || Mount::new(&DESK, Named(""));
    for router in [
        Router::new().mount(mount()).mount(mount()),
        Router::new().mount(mount().callee("a")).mount(mount()),
        Router::new().mount(mount()).mount(mount().callee("a")),
        Router::new()
            .mount(mount().callee("a"))
            .mount(mount().callee("a")),
        Router::new()
            .mount(Mount::any(Named("")))
            .mount(Mount::any(Named(""))),
    ] {
        let mistake = router.check().unwrap_err().to_string();
        assert!(mistake.contains(".callee("), "{mistake}");
    }
    let told_apart = Router::new()
        .mount(mount().callee("a"))
        .mount(mount().callee("b"));
    told_apart.check().unwrap();
}

#[test]
fn what_nobody_serves_is_for_whoever_serves_any_path() {
    let router = || Router::new().mount(echo()).mount(Mount::any(Named("any")));
    let mut sim = Sim::seeded(1);
    let server = sim.server(router());
    let channel = sim.client(server);
    for path in ["/test.Desk/Nope", "/other.Service/Method", "", "*"] {
        let expected = format!("any * {path}");
        assert_eq!(text(sim.run(call(channel.clone(), path))), expected);
        assert_eq!(text(call(Loopback::new(router()), path).wait()), expected);
    }
    let desk = DeskClient::new(channel);
    assert_eq!(sim.run(desk.ask(note("mine"))).unwrap(), note("mine"));
}

/// A proxy is a channel that is mounted: what passes through it is as if it were not there.
#[test]
fn a_proxy_passes_on_what_it_does_not_know() {
    let mut sim = Sim::seeded(1);
    let behind = sim.server(Router::new().mount(answering!(|cx, note| async move {
        let told = cx
            .metadata()
            .text("app-told")
            .unwrap_or_default()
            .to_owned();
        cx.reply_metadata("app-heard", told);
        cx.reply_attachment(cx.attachment().clone());
        match &note.text[..] {
            "fail" => Err(Status::service(7, "as told")),
            _ => Ok(note),
        }
    })));
    let onwards = sim.client(behind);
    let proxy = sim.server(Server::builder().service(Mount::any(onwards)));
    let desk = DeskClient::new(sim.client(proxy));

    let call = desk.ask(note("hello")).metadata("app-told", "it");
    let call = call.attachment(Bytes::from(vec![7; 50_000]));
    let response = sim.run(async move { call.response().await }).unwrap();
    assert_eq!(response.body(), &note("hello"));
    assert_eq!(response.metadata().text("app-heard"), Some("it"));
    assert_eq!(response.attachment().len(), 50_000);
    let status = sim.run(desk.ask(note("fail"))).unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Service(7), "as told")
    );
    assert_eq!(sim.complaints(), [""; 0]);
}

/// Filters and time-outs stand before any path as before those that are known.
#[test]
fn whoever_serves_any_path_is_mounted_like_others() {
    let refuse = rpc_core::filter::before(|request: Request| {
        Err(Status::service(9, request.path().to_owned()))
    });
    let router = Router::new().mount(Mount::any(Named("any")).filter(refuse).inline());
    let mut sim = Sim::seeded(1);
    let server = sim.server(router);
    let channel = sim.client(server);
    let status = sim.run(call(channel, "/a.B/C")).unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Service(9), "/a.B/C")
    );
}
