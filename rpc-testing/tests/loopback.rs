//! A router as a channel.

mod support;

use rpc_core::{Code, Origin, Status, filter};
use rpc_server::Router;
use rpc_testing::Loopback;
use support::{DeskClient, add, echo, ms, note, read, sleepy};

#[test]
fn a_call_is_answered_without_a_port() {
    let client = DeskClient::new(Loopback::new(Router::new().mount(echo())));
    assert_eq!(client.ask(note("hello")).wait().unwrap(), note("hello"));
}

#[test]
fn r4_an_answer_that_comes_too_late_is_a_time_out() {
    let client = DeskClient::new(Loopback::new(Router::new().mount(sleepy(ms(10_000)))));
    let late = client.ask(note("")).timeout(ms(5)).wait().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    let in_time = DeskClient::new(Loopback::new(Router::new().mount(sleepy(ms(5)))));
    assert!(in_time.ask(note("")).wait().is_ok());
}

#[test]
fn a_channel_has_a_default_time() {
    let loopback = Loopback::new(Router::new().mount(sleepy(ms(10_000)))).timeout(ms(5));
    let late = DeskClient::new(loopback).ask(note("")).wait().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
}

#[test]
fn r6_the_time_of_a_mount_is_the_servers() {
    let mount = sleepy(ms(10_000)).timeout(ms(5));
    let client = DeskClient::new(Loopback::new(Router::new().mount(mount)));
    let status = client.ask(note("")).wait().unwrap_err();
    assert_eq!(status.code(), Code::ServerTimeout);
    assert_eq!(status.origin(), Origin::Remote);
}

#[test]
fn r8_a_call_made_for_another_inherits_its_time() {
    let inner = DeskClient::new(Loopback::new(Router::new().mount(sleepy(ms(10_000)))));
    let outer = answering!(|cx, note| {
        let inner = inner.clone();
        async move {
            let left = cx.deadline();
            let reply = inner.ask(note).within(cx).timeout(ms(60_000)).await;
            assert!(left.is_some());
            reply
        }
    });
    let client = DeskClient::new(Loopback::new(Router::new().mount(outer)));
    let status = client.ask(note("")).timeout(ms(20)).wait().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[test]
fn r8_nothing_is_sent_when_nothing_is_left() {
    let asked = support::Count::default();
    let count = asked.clone();
    let inner = DeskClient::new(Loopback::new(Router::new().mount(answering!(
        |_cx, note| {
            add(&count);
            async move { Ok(note) }
        }
    ))));
    let mut cx = rpc_core::Context::background();
    cx.narrow(rpc_core::Deadline::new(cx.now(), rpc_core::Cause::Own));
    let status = inner.ask(note("")).within(&cx).wait().unwrap_err();
    assert_eq!(status.code(), Code::InheritedDeadlineExceeded);
    let status = inner.ask(note("")).timeout(ms(0)).wait().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(read(&asked), 0);
}

#[test]
fn r12_a_panic_is_an_answer() {
    let client = DeskClient::new(Loopback::new(Router::new().mount(answering!(
        |_cx, note| {
            assert!(note.text != "boo", "on purpose");
            async move { Ok(note) }
        }
    ))));
    let status = client.ask(note("boo")).wait().unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("on purpose"), "{status}");
    assert!(client.ask(note("hello")).wait().is_ok());
}

#[test]
fn metadata_goes_there_and_comes_back() {
    let client = DeskClient::new(Loopback::new(Router::new().mount(answering!(
        |cx, note| {
            let name = cx
                .metadata()
                .text("app-name")
                .unwrap_or("nobody")
                .to_owned();
            cx.reply_metadata("app-greeting", format!("hello, {name}"));
            async move { Ok(note) }
        }
    ))));
    let call = client.ask(note("")).metadata("app-name", "tern");
    let response = call.wait_response().unwrap();
    assert_eq!(
        response.metadata().text("app-greeting"),
        Some("hello, tern")
    );
}

#[test]
fn a_status_arrives_as_it_would_over_a_wire() {
    let client = DeskClient::new(Loopback::new(Router::new().mount(answering!(
        |_cx, note| {
            async move {
                Err(match &note.text[..] {
                    "own" => Status::service(7, "seven"),
                    "passed on" => Status::new(Code::NoEndpoint, "nobody").from_remote(),
                    _ => Status::overloaded("full"),
                })
            }
        }
    ))));
    let of = |text| client.ask(note(text)).wait().unwrap_err();
    assert_eq!(of("own").code(), Code::Service(7));
    assert_eq!(of("own").message(), "seven");
    assert_eq!(of("own").origin(), Origin::Remote);
    assert_eq!(of("passed on").code(), Code::Service(131));
    assert!(of("full").is_retryable());
}

#[test]
fn an_unknown_method_is_said_to_be_one() {
    let client = DeskClient::new(Loopback::new(Router::new()));
    assert_eq!(
        client.ask(note("")).wait().unwrap_err().code(),
        Code::NoMethod
    );
}

#[test]
fn filters_stand_before_the_service() {
    let closed = filter::before(|_| Err(Status::unauthenticated("closed")));
    let client = DeskClient::new(Loopback::new(Router::new().mount_behind(closed, echo())));
    let status = client.ask(note("")).wait().unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[test]
fn packing_is_as_if_it_were_not_there() {
    let client = DeskClient::new(Loopback::new(Router::new().mount(echo())));
    let long = note(&"long ".repeat(1_000));
    let reply = client
        .ask(long.clone())
        .compress(rpc_core::Compression::Gzip)
        .wait();
    assert_eq!(reply.unwrap(), long);
}

#[test]
fn nobody_hears_of_a_one_way_call() {
    let client = DeskClient::new(Loopback::new(Router::new().mount(answering!(
        |_cx, _note| async move { Err(Status::internal("nobody hears this")) }
    ))));
    rpc_core::park::wait(client.ask(note("")).one_way())
        .unwrap()
        .unwrap();
}

#[test]
#[should_panic(expected = "two services answer to /test.Desk/Ask")]
fn what_does_not_fit_together_is_said_early() {
    drop(Loopback::new(Router::new().mount(echo()).mount(echo())));
}
