//! What belongs to a chain of calls: names, marks, and of the metadata what goes along.

mod support;

use std::sync::{Arc, Mutex};

use rpc_core::{Bytes, Call, Code, Context, Forwarding, Marks, Metadata, Origin, Service, chain};
use rpc_server::{Router, Server};
use rpc_testing::{Loopback, Mock, Sim, SimServer};
use support::{DeskClient, Note, echo, ms, note};

/// What the last handler of a chain saw.
#[derive(Debug, Clone, Default)]
struct Seen {
    caller: String,
    callee: String,
    marks: Marks,
    metadata: Metadata,
}

type Sight = Arc<Mutex<Seen>>;

fn look(cx: &Context, sight: &Sight) {
    *sight.lock().unwrap() = Seen {
        caller: cx.caller().to_owned(),
        callee: cx.callee().to_owned(),
        marks: cx.marks(),
        metadata: cx.metadata().clone(),
    };
}

fn seen(sight: &Sight) -> Seen {
    sight.lock().unwrap().clone()
}

fn keys(metadata: &Metadata) -> Vec<&str> {
    metadata.iter().map(|(key, _)| key).collect()
}

/// A server that looks at what it is sent.
fn last(sim: &mut Sim, sight: &Sight) -> SimServer {
    let sight = Arc::clone(sight);
    sim.server(Router::new().mount(answering!(|cx, note| {
        look(cx, &sight);
        async move { Ok(note) }
    })))
}

/// A server that asks `next` on behalf of whoever asks it, and adds a key of its own.
fn relay<S: Service + Clone + 'static>(sim: &mut Sim, name: &str, next: S) -> SimServer {
    let next = DeskClient::new(next);
    let mount = answering!(|cx, note| {
        let next = next.clone();
        async move { next.ask(note).within(cx).metadata("app-added", "2").await }
    });
    sim.server(Server::builder().name(name).service(mount))
}

/// Calls through one server to the last.
fn through(
    name: &str,
    forwarding: Forwarding,
    call: impl Fn(&DeskClient<rpc_testing::SimClient>) -> Call<rpc_testing::SimClient, Note, Note>,
) -> Seen {
    let mut sim = Sim::seeded(1);
    let sight = Sight::default();
    let last = last(&mut sim, &sight);
    let next = sim.client_of(&[last], |builder| builder.caller("").forwarding(forwarding));
    let relay = relay(&mut sim, name, next);
    let desk = DeskClient::new(sim.client(relay));
    sim.run(call(&desk)).unwrap();
    seen(&sight)
}

#[test]
fn a_server_calls_others_by_its_own_name() {
    let name = "trpc.app.relay.Desk";
    let seen = through(name, Forwarding::new(), |desk| desk.ask(note("")));
    assert_eq!((&seen.caller[..], &seen.callee[..]), (name, "sim"));
}

#[test]
fn whoever_has_no_name_is_called_after_the_program() {
    let nameless = through("", Forwarding::new(), |desk| desk.ask(note("")));
    assert!(
        nameless.caller.starts_with("trpc.client.chain-"),
        "{}",
        nameless.caller
    );
    assert!(nameless.caller.ends_with(".service"), "{}", nameless.caller);

    let (mut sim, sight) = (Sim::seeded(1), Sight::default());
    let last = last(&mut sim, &sight);
    let named = sim.client_of(&[last], |builder| builder.caller("trpc.a.b.c"));
    sim.run(DeskClient::new(named).ask(note(""))).unwrap();
    assert_eq!(seen(&sight).caller, "trpc.a.b.c");
}

/// Every key that may be sent, with values that are not text, or not there.
fn with_all(desk: &DeskClient<rpc_testing::SimClient>) -> Call<rpc_testing::SimClient, Note, Note> {
    desk.ask(note(""))
        .metadata("app-text", "1")
        .metadata("app-empty", "")
        .metadata("app-bytes", Bytes::from_static(&[0, 0xff]))
        .metadata(chain::USER_IP, "192.0.2.7")
        .metadata(chain::ENV, "")
        .metadata("trpc-caller-set-name", "set")
        .priority(7)
        .dyed("blue")
        .marks(Marks::TRACED | Marks(0x8000_0000))
}

#[test]
fn metadata_of_applications_and_of_the_chain_goes_along_with_all_marks() {
    let seen = through("", Forwarding::new(), with_all);
    let expected = [
        "app-text",
        "app-empty",
        "app-bytes",
        chain::ENV,
        chain::PRIORITY,
        chain::DYEING_KEY,
        "app-added",
    ];
    assert_eq!(keys(&seen.metadata), expected);
    let metadata = &seen.metadata;
    assert_eq!(metadata.get("app-empty").map(Bytes::len), Some(0));
    assert_eq!(metadata.get("app-absent"), None);
    assert_eq!(
        metadata.get("app-bytes").map(|value| &value[..]),
        Some(&[0, 0xff][..])
    );
    assert_eq!((metadata.env(), metadata.priority()), (Some(""), 7));
    assert_eq!(
        (metadata.dyeing_key(), metadata.user_ip()),
        (Some("blue"), None)
    );
    assert_eq!(seen.marks, Marks(0x8000_0003));
}

#[test]
fn a_channel_says_what_else_goes_along_and_what_does_not() {
    let forwarding = Forwarding::new()
        .allow(chain::USER_IP)
        .deny("app-text")
        .deny(chain::DYEING_KEY)
        // What a call is given itself is not held back.
        .deny("app-added");
    let seen = through("", forwarding, with_all);
    let expected = [
        "app-empty",
        "app-bytes",
        chain::USER_IP,
        chain::ENV,
        chain::PRIORITY,
        "app-added",
    ];
    assert_eq!(keys(&seen.metadata), expected);
    assert_eq!(seen.metadata.user_ip(), Some([192, 0, 2, 7].into()));
    assert_eq!(seen.marks, Marks(0x8000_0002), "the mark goes with its key");

    let seen = through("", Forwarding::nothing().allow("app-text"), with_all);
    assert_eq!(keys(&seen.metadata), ["app-text", "app-added"]);
}

#[test]
fn a_filter_in_a_channel_does_not_hide_what_goes_along() {
    let forwarding = || Forwarding::nothing().allow("app-text");
    let mut sim = Sim::seeded(1);
    let sight = Sight::default();
    let last = last(&mut sim, &sight);
    let next = sim.client_of(&[last], |builder| builder.forwarding(forwarding()));
    for next in [next.clone().boxed(), Arc::new(next.boxed()).boxed()] {
        assert_eq!(next.forwarding(), &forwarding());
    }
}

#[test]
fn a_call_that_is_made_on_behalf_of_none_takes_nothing_along() {
    let mock = Mock::new().on("/test.Desk/Ask", |_: &Context, note: Note| Ok(note));
    DeskClient::new(mock.clone()).ask(note("")).wait().unwrap();
    let [request] = &mock.requests()[..] else {
        panic!("one request");
    };
    assert!(request.metadata().is_empty());
    assert_eq!(request.context().marks(), Marks::default());
}

#[test]
fn an_answer_has_what_the_handler_puts_there_unless_the_server_echoes() {
    for (echoes, expected) in [
        (false, &["app-b", "app-c"][..]),
        (true, &["app-a", "app-b", "trpc-env", "app-c"][..]),
    ] {
        let mut sim = Sim::seeded(1);
        let mount = answering!(|cx, note| {
            cx.reply_metadata("app-b", "set");
            cx.reply_metadata("app-c", "set");
            async move { Ok(note) }
        });
        let builder = Server::builder();
        let builder = if echoes {
            builder.response_metadata_echo()
        } else {
            builder
        };
        let server = sim.server(builder.service(mount));
        let desk = DeskClient::new(sim.client(server));
        let call = desk.ask(note("")).metadata("app-a", "sent");
        let call = call.metadata("app-b", "sent").metadata("trpc-env", "");
        let response = sim.run(async move { call.response().await }).unwrap();
        assert_eq!(keys(response.metadata()), expected);
        assert_eq!(response.metadata().text("app-b"), Some("set"));

        let call = desk.ask(note(""));
        let response = sim.run(async move { call.response().await }).unwrap();
        assert_eq!(
            keys(response.metadata()),
            ["app-b", "app-c"],
            "of this call alone"
        );
    }
}

/// Twice what fits a head, from whom it is too much, and what comes next on the same connection.
#[test]
fn metadata_that_does_not_fit_a_head_costs_its_call_and_no_other() {
    let mut sim = Sim::seeded(1);
    let mount = answering!(|cx, note| {
        let length = note.text.parse().unwrap_or(0);
        cx.reply_metadata("long", vec![b'x'; length]);
        async move { Ok(note) }
    });
    let server = sim.server(Router::new().mount(mount));
    let desk = DeskClient::new(sim.client(server));
    sim.run(desk.ask(note("60000")).metadata("long", vec![0; 60_000]))
        .unwrap();

    let call = desk.ask(note("")).metadata("long", vec![0; 70_000]);
    let status = sim.run(call).unwrap_err();
    assert_eq!(status.code(), Code::RequestUnencodable);
    assert_eq!(status.origin(), Origin::Local);
    assert!(status.message().contains("metadata"), "{status}");

    let status = sim.run(desk.ask(note("70000"))).unwrap_err();
    assert_eq!(status.code(), Code::Unencodable);
    assert_eq!(status.origin(), Origin::Remote);
    assert!(status.message().contains("metadata"), "{status}");
    sim.run(desk.ask(note(""))).unwrap();
    assert_eq!(sim.complaints(), [""; 0]);
}

/// More calls at a time than are left until ids begin anew.
#[test]
fn ids_begin_anew_with_calls_in_flight() {
    let mut sim = Sim::seeded(1).latency(ms(1)..ms(50));
    let server = sim.server(Router::new().mount(echo()));
    let client = sim.client_of(&[server], |builder| builder.first_request_id(u32::MAX - 20));
    let desk = DeskClient::new(client);
    let numbered = |number| Note {
        number,
        ..Note::default()
    };
    let calls: Vec<_> = (0..60)
        .map(|number| sim.start(desk.ask(numbered(number))))
        .collect();
    sim.advance(ms(500));
    for (number, call) in (0..).zip(&calls) {
        assert_eq!(sim.result(call).unwrap().unwrap(), numbered(number));
    }
    assert_eq!(sim.complaints(), [""; 0]);
}

#[test]
fn a_loop_back_carries_marks_and_names() {
    let sight = Sight::default();
    let looking = Arc::clone(&sight);
    let router = Router::new().mount(answering!(|cx, note| {
        look(cx, &looking);
        async move { Ok(note) }
    }));
    let desk = DeskClient::new(Loopback::new(router).names("one", "other"));
    desk.ask(note("")).dyed("blue").wait().unwrap();
    let seen = seen(&sight);
    assert_eq!((&seen.caller[..], &seen.callee[..]), ("one", "other"));
    assert_eq!(
        (seen.marks, seen.metadata.dyeing_key()),
        (Marks::DYED, Some("blue"))
    );
}
