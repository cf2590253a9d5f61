//! Bytes beside the message, from a caller to a handler and back, wherever the handler runs.

mod support;

use rpc_core::{
    Bytes, Call, Code, Context, Format, Message, Mount, Raw, Request, Response, Service, Status,
};
use rpc_policy::filter::Retry;
use rpc_server::Router;
use rpc_testing::{Loopback, Mock, Sim};
use support::{Count, DESK, DeskClient, Note, add, ms, note, read};

fn pattern(length: usize) -> Bytes {
    let byte = |place: usize| place.wrapping_mul(31).to_le_bytes()[0];
    (0..length).map(byte).collect()
}

/// Sends back what comes beside the message, and says how long it was.
fn mirror() -> Mount<impl Service + 'static> {
    answering!(|cx, note| async move {
        let length = cx.attachment().len();
        cx.reply_attachment(cx.attachment().clone());
        match &note.text[..] {
            "fail" => Err(Status::service(7, "as told")),
            "wait" => {
                cx.sleep(ms(5)).await;
                Ok(counted(length))
            }
            "nothing" => Ok(Note::default()),
            _ => Ok(counted(length)),
        }
    })
}

fn counted(length: usize) -> Note {
    Note {
        number: length as u64,
        text: String::new(),
    }
}

#[test]
fn a_handler_reads_and_sends_attachments_wherever_it_runs() {
    let places = [
        ("pool", Router::new().mount(mirror())),
        ("in place", Router::new().mount(mirror().inline())),
    ];
    for (name, router) in places {
        let mut sim = Sim::seeded(1);
        let server = sim.server(router);
        let desk = DeskClient::new(sim.client(server));
        for length in [0, 1, 5_000, 40_000, 300_000] {
            for text in ["", "wait", "nothing"] {
                let call = desk.ask(note(text)).attachment(pattern(length));
                // A virtual wire cuts what is long into many pieces.
                let call = call.timeout(ms(60_000));
                let response = sim.run(async move { call.response().await }).unwrap();
                assert!(
                    *response.attachment() == pattern(length),
                    "{name}, {text}, {length}"
                );
                let count = if text == "nothing" { 0 } else { length as u64 };
                assert_eq!(response.body().number, count);
            }
        }
        let call = desk.ask(note("fail")).attachment(pattern(100));
        assert_eq!(sim.run(call).unwrap_err().code(), Code::Service(7));
        let call = desk.ask(note(""));
        let response = sim.run(async move { call.response().await }).unwrap();
        assert!(
            response.attachment().is_empty(),
            "nothing is left of the last call"
        );
        assert_eq!(sim.complaints(), [""; 0]);
    }
}

#[test]
fn a_loop_back_carries_attachments_and_copies_none() {
    let desk = DeskClient::new(Loopback::new(Router::new().mount(mirror())));
    let attachment = pattern(100);
    let call = desk.ask(note("wait")).attachment(attachment.clone());
    let response = call.wait_response().unwrap();
    assert_eq!(response.attachment().as_ptr(), attachment.as_ptr());
    assert_eq!(response.body().number, 100);
}

#[test]
fn a_mock_reads_and_sends_attachments() {
    let mock = Mock::new().on("/test.Desk/Ask", |cx: &Context, note: Note| {
        cx.reply_attachment(cx.attachment().slice(1..));
        Ok(note)
    });
    let desk = DeskClient::new(mock.clone());
    let call = desk.ask(note("")).attachment(Bytes::from_static(b"abc"));
    let response = call.wait_response().unwrap();
    assert_eq!(response.attachment(), "bc");
    assert_eq!(mock.requests()[0].attachment(), "abc");
}

/// An attempt that is made again has all that the first had.
#[test]
fn a_retry_sends_the_attachment_again() {
    let attempts = Count::default();
    let count = attempts.clone();
    let mut sim = Sim::seeded(1);
    let server = sim.server(Router::new().mount(answering!(|cx, note| {
        add(&count);
        let is_first = read(&count) == 1;
        async move {
            cx.reply_attachment(cx.attachment().clone());
            if is_first {
                Err(Status::overloaded("once"))
            } else {
                Ok(note)
            }
        }
    })));
    let retry = Retry::budget(1.0).seeded(3);
    let desk = DeskClient::new(sim.client_of(&[server], |builder| builder.filter(retry)));
    let call = desk.ask(note("")).attachment(pattern(50_000));
    let response = sim.run(async move { call.response().await }).unwrap();
    assert!(*response.attachment() == pattern(50_000));
    assert_eq!(read(&attempts), 2);
}

/// Who asks on behalf of another does not send what that one was sent.
#[test]
fn an_attachment_belongs_to_its_call_alone() {
    let mock = Mock::new().on("/test.Desk/Ask", |_: &Context, note: Note| Ok(note));
    let next = DeskClient::new(mock.clone());
    let router = Router::new().mount(answering!(|cx, note| {
        let next = next.clone();
        async move { next.ask(note).within(cx).await }
    }));
    let desk = DeskClient::new(Loopback::new(router));
    let call = desk.ask(note("")).attachment(pattern(10));
    let response = call.wait_response().unwrap();
    assert!(response.attachment().is_empty());
    assert!(mock.requests()[0].attachment().is_empty());
}

#[test]
fn a_one_way_call_takes_its_attachment_along() {
    let mut sim = Sim::seeded(1);
    let bytes = Count::default();
    let count = bytes.clone();
    let server = sim.server(Router::new().mount(answering!(|cx, note| {
        count.fetch_add(cx.attachment().len(), std::sync::atomic::Ordering::SeqCst);
        cx.reply_attachment(cx.attachment().clone());
        async move { Ok(note) }
    })));
    let desk = DeskClient::new(sim.client(server));
    let call = desk.ask(note("")).attachment(pattern(40_000));
    sim.run(async move { call.one_way().await }).unwrap();
    sim.advance(ms(100));
    assert_eq!(read(&bytes), 40_000);
    assert_eq!(sim.complaints(), [""; 0]);

    let mock = Mock::new().on("/test.Desk/Ask", |_: &Context, note: Note| Ok(note));
    DeskClient::new(mock.clone())
        .ask(note(""))
        .wait_one_way()
        .unwrap();
    assert_eq!(mock.requests().len(), 1);
}

/// A service that is written without stubs is given the whole request.
#[test]
fn a_service_without_stub_finds_the_attachment_in_its_request() {
    struct Plain;

    impl Service for Plain {
        async fn call(&self, request: Request) -> Result<Response, Status> {
            let mut response = Response::new(request.body().clone());
            response.set_format(Format::Raw);
            response.set_attachment(request.attachment().clone());
            Ok(response)
        }
    }

    let mut sim = Sim::seeded(1);
    let server = sim.server(Router::new().mount(Mount::new(&DESK, Plain)));
    let channel = sim.client(server);
    let call: Call<_, Raw, Raw> = Call::new(channel, &DESK.methods[0], Raw(pattern(9)));
    let call = call.format(Format::Raw).attachment(pattern(33_000));
    let response = sim.run(async move { call.response().await }).unwrap();
    assert!(*response.attachment() == pattern(33_000));
    assert_eq!(
        Raw::decode(Format::Raw, response.body().0.clone())
            .unwrap()
            .0,
        pattern(9)
    );
}
