//! Streams through a loop-back.

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rpc_core::stream::{Inbound, Outbound, StreamCall};
use rpc_core::stub::{Incoming, IncomingStream, IncomingUpload};
use rpc_core::{
    Call, Cause, Code, Context, Deadline, Filter, Format, Message, Mount, Origin, Request,
    Response, Service, Status, filter, park,
};
use rpc_server::Router;
use rpc_testing::Loopback;
use support::talk::{TALK, TalkClient};
use support::{Count, Note, add, ms, note, read};

fn client(mount: Mount<impl Service + 'static>) -> TalkClient<Loopback> {
    TalkClient::new(Loopback::new(Router::new().mount(mount)))
}

fn numbered(number: u64) -> Note {
    Note {
        number,
        text: String::new(),
    }
}

/// Says whatever it is told again.
fn echo() -> Mount<impl Service + 'static> {
    talking!(|request| async move {
        let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Note, Note>(request)?;
        let result = repeat(&mut inbound, &mut outbound).await;
        call.close(result)
    })
}

async fn repeat(inbound: &mut Inbound<Note>, outbound: &mut Outbound<Note>) -> Result<(), Status> {
    while let Some(note) = inbound.next().await? {
        outbound.send(note).await?;
    }
    Ok(())
}

/// How many messages are between two counts, at most.
#[derive(Clone, Default)]
struct Gap {
    sent: Count,
    received: Count,
    most: Count,
}

impl Gap {
    fn sent(&self) {
        let sent = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
        let gap = sent.saturating_sub(read(&self.received));
        self.most.fetch_max(gap, Ordering::SeqCst);
    }
}

/// As many as wait in one direction, one in the hands of the writer and one in those of the reader.
const GAP_MAX: usize = 1024 + 2;

#[test]
fn a_hundred_thousand_messages_pass_each_way_and_few_are_under_way() {
    const MESSAGES: u64 = 100_000;
    let (there, back) = (Gap::default(), Gap::default());
    let (handler_there, handler_back) = (there.clone(), back.clone());
    let client = client(talking!(|request| {
        let (there, back) = (handler_there.clone(), handler_back.clone());
        async move {
            let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Note, Note>(request)?;
            while let Some(note) = inbound.next().await? {
                add(&there.received);
                outbound.send(note).await?;
                back.sent();
            }
            call.close(Ok(()))
        }
    }));
    let (mut outbound, mut inbound) = client.chat().open().wait().unwrap();
    let counted = there.clone();
    let sender = thread::spawn(move || {
        for number in 0..MESSAGES {
            outbound.send(numbered(number)).wait().unwrap();
            counted.sent();
        }
    });
    for number in 0..MESSAGES {
        let note = inbound.next().wait().unwrap().unwrap();
        assert_eq!(note.number, number);
        add(&back.received);
    }
    assert_eq!(inbound.next().wait().unwrap(), None);
    sender.join().unwrap();
    for gap in [there, back] {
        assert_eq!(read(&gap.sent), 100_000);
        assert!(read(&gap.most) <= GAP_MAX, "{} under way", read(&gap.most));
    }
}

#[test]
fn long_messages_are_bounded_by_their_bytes() {
    let gap = Gap::default();
    let handlers = gap.clone();
    let client = client(talking!(|request| {
        let gap = handlers.clone();
        async move {
            let (call, mut inbound) = IncomingUpload::open::<Note>(request)?;
            while inbound.next().await?.is_some() {
                add(&gap.received);
            }
            call.close(Ok(note("all")))
        }
    }));
    let mut upload = client.sum().open().wait().unwrap();
    let long = note(&"x".repeat(32 * 1024));
    for _ in 0..500 {
        upload.send(long.clone()).wait().unwrap();
        gap.sent();
    }
    assert_eq!(upload.finish().wait().unwrap(), note("all"));
    // 64 KiB wait, and one message of any length is always taken.
    assert!(read(&gap.most) <= 4, "{} under way", read(&gap.most));
}

#[test]
fn a_caller_who_stops_reading_stops_the_handler() {
    let sent = Count::default();
    let count = sent.clone();
    let client = client(talking!(|request| {
        let count = count.clone();
        async move {
            let (call, upto, mut outbound) =
                IncomingStream::server_stream::<Note, Note>(request).await?;
            for number in 0..upto.number {
                outbound.send(numbered(number)).await?;
                add(&count);
            }
            call.close(Ok(()))
        }
    }));
    let mut inbound = client.count(numbered(50_000)).open().wait().unwrap();
    for number in 0..10_000 {
        assert_eq!(inbound.next().wait().unwrap(), Some(numbered(number)));
        let ahead = read(&sent).saturating_sub(usize::try_from(number).unwrap());
        assert!(ahead <= GAP_MAX, "{ahead} ahead");
    }
    assert_eq!(inbound.messages().count(), 40_000);
}

#[test]
fn an_error_in_the_middle_comes_behind_what_was_sent() {
    let client = client(talking!(|request| async move {
        let (call, _, mut outbound) = IncomingStream::server_stream::<Note, Note>(request).await?;
        for number in 0..3 {
            outbound.send(numbered(number)).await?;
        }
        call.close(Err(Status::service(7, "seven")))
    }));
    let mut inbound = client.count(note("")).open().wait().unwrap();
    for number in 0..3 {
        assert_eq!(inbound.next().wait().unwrap(), Some(numbered(number)));
    }
    let status = inbound.next().wait().unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Service(7), "seven")
    );
    assert_eq!(status.origin(), Origin::Remote);
    assert!(inbound.trailer().is_empty());
}

#[test]
fn r12_a_panic_ends_the_stream() {
    let client = client(talking!(|request| async move {
        let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Note, Note>(request)?;
        while let Some(note) = inbound.next().await? {
            assert!(note.text != "boo", "on purpose");
            outbound.send(note).await?;
        }
        call.close(Ok(()))
    }));
    let (mut outbound, mut inbound) = client.chat().open().wait().unwrap();
    outbound.send(note("hello")).wait().unwrap();
    outbound.send(note("boo")).wait().unwrap();
    assert_eq!(inbound.next().wait().unwrap(), Some(note("hello")));
    let status = inbound.next().wait().unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("on purpose"), "{status}");
}

#[test]
fn a_handler_may_return_while_its_caller_still_sends() {
    let client = client(talking!(|request| async move {
        let (call, mut inbound) = IncomingUpload::open::<Note>(request)?;
        let first = inbound.next().await?.unwrap_or_default();
        drop(inbound);
        let reply = match &first.text[..] {
            "" => Err(Status::invalid_argument("the first message is empty")),
            _ => Ok(first),
        };
        call.close(reply)
    }));
    for text in ["enough", ""] {
        let mut upload = client.sum().open().wait().unwrap();
        upload.send(note(text)).wait().unwrap();
        // Nobody reads these, so sending fails at some time and does not wait for ever.
        let failed = (0..).find_map(|_| upload.send(note("more")).wait().err());
        let code = failed.unwrap().code();
        assert!(
            matches!(code, Code::Cancelled | Code::InvalidArgument),
            "{code}"
        );
        let reply = upload.finish().wait();
        match text {
            "" => assert_eq!(reply.unwrap_err().code(), Code::InvalidArgument),
            _ => assert_eq!(reply.unwrap(), note("enough")),
        }
    }
}

#[test]
fn a_handler_goes_on_when_its_caller_has_said_all() {
    let client = client(talking!(|request| async move {
        let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Note, Note>(request)?;
        let mut sum = 0;
        while let Some(note) = inbound.next().await? {
            sum += note.number;
        }
        for number in [sum, sum + 1] {
            outbound.send(numbered(number)).await?;
        }
        call.close(Ok(()))
    }));
    let (mut outbound, mut inbound) = client.chat().open().wait().unwrap();
    for number in [1, 2, 3] {
        outbound.send(numbered(number)).wait().unwrap();
    }
    drop(outbound);
    let answers = inbound.messages().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(answers, [numbered(6), numbered(7)]);
}

/// Tells when it is dropped.
struct Dropped(mpsc::Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Longer than any machine needs; a test that waits for all of it has failed.
const FOR_EVER: Duration = Duration::from_secs(30);

/// A handler that never returns, and what tells when it is dropped.
fn endless() -> (Mount<impl Service + 'static>, mpsc::Receiver<()>) {
    let (sender, dropped) = mpsc::channel();
    let mount = talking!(|request| {
        let sender = sender.clone();
        async move {
            let _dropped = Dropped(sender);
            let (_call, _inbound, _outbound) = IncomingStream::duplex::<Note, Note>(request)?;
            std::future::pending().await
        }
    });
    (mount, dropped)
}

#[test]
fn a_stream_without_handles_is_given_up() {
    let (mount, dropped) = endless();
    let client = client(mount);
    let (outbound, inbound) = client.chat().open().wait().unwrap();
    drop(outbound);
    assert!(dropped.try_recv().is_err(), "one handle is left");
    drop(inbound);
    dropped.recv_timeout(FOR_EVER).unwrap();
}

/// A handler of plain code, which tells how the first two messages were read.
fn telling() -> (Mount<impl Service + 'static>, mpsc::Receiver<[Told; 2]>) {
    let (sender, ends) = mpsc::channel();
    let mount = talking!(|request| {
        let sender = sender.clone();
        async move {
            let (call, mut inbound) = IncomingUpload::open::<Note>(request)?;
            // Plain code is not dropped: what it reads has to tell it.
            let first = inbound.next().wait();
            let second = inbound.next().wait();
            let told = [first, second].map(|it| it.map_err(|status| status.code()));
            sender.send(told).unwrap();
            call.close(Ok(note("")))
        }
    });
    (mount, ends)
}

type Told = Result<Option<Note>, Code>;

#[test]
fn an_upload_that_is_dropped_is_not_finished() {
    let (mount, ends) = telling();
    let mut upload = client(mount).sum().open().wait().unwrap();
    upload.send(note("half")).wait().unwrap();
    drop(upload);
    let told = ends.recv_timeout(FOR_EVER).unwrap();
    assert_eq!(told, [Ok(Some(note("half"))), Err(Code::ConnectionLost)]);
}

#[test]
fn a_caller_who_leaves_half_way_has_not_said_all() {
    fn leave(client: &TalkClient<Loopback>) -> Result<(), Status> {
        let (mut outbound, mut inbound) = client.chat().open().wait()?;
        outbound.send(note("half")).wait()?;
        inbound
            .trailer()
            .text("nothing")
            .ok_or(Status::internal("leaves"))?;
        drop(outbound);
        inbound.next().wait().map(drop)
    }
    let (mount, ends) = telling();
    leave(&client(mount)).unwrap_err();
    let told = ends.recv_timeout(FOR_EVER).unwrap();
    assert_eq!(told, [Ok(Some(note("half"))), Err(Code::ConnectionLost)]);
}

/// Enough for a stream to open. On a machine that is too busy for that it is over before, which is told by the same code.
const A_WHILE: Duration = ms(200);

#[test]
fn r4_a_deadline_ends_the_whole_stream() {
    let (mount, dropped) = endless();
    let client = client(mount);
    let status = match client.chat().timeout(A_WHILE).open().wait() {
        Ok((_outbound, mut inbound)) => {
            // Also while nobody waits for it.
            dropped.recv_timeout(FOR_EVER).unwrap();
            inbound.next().wait().unwrap_err()
        }
        Err(status) => status,
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.origin(), Origin::Local);
}

#[test]
fn r4_who_waits_for_room_is_told_that_the_time_is_over() {
    let (mount, _dropped) = endless();
    let client = client(mount);
    let opened = client.chat().timeout(A_WHILE).open().wait();
    let failed = opened.map(|(mut outbound, _inbound)| {
        let failed = (0..).find_map(|_| outbound.send(note("x")).wait().err());
        failed.unwrap()
    });
    let status = failed.unwrap_or_else(|status| status);
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[test]
fn r8_a_stream_made_for_another_call_inherits_its_time() {
    let (mount, dropped) = endless();
    let client = client(mount);
    let mut cx = Context::background();
    cx.narrow(Deadline::new(cx.now() + A_WHILE, Cause::Own));
    let status = match client.chat().within(&cx).open().wait() {
        Ok((_outbound, mut inbound)) => {
            let status = inbound.next().wait().unwrap_err();
            dropped.recv_timeout(FOR_EVER).unwrap();
            status
        }
        Err(status) => status,
    };
    assert_eq!(status.code(), Code::InheritedDeadlineExceeded);
}

#[test]
fn r8_no_stream_is_begun_when_nothing_is_left() {
    let (mount, dropped) = endless();
    let client = client(mount);
    let mut cx = Context::background();
    cx.narrow(Deadline::new(cx.now(), Cause::Own));
    let status = client.chat().within(&cx).open().wait().unwrap_err();
    assert_eq!(status.code(), Code::InheritedDeadlineExceeded);
    assert!(dropped.try_recv().is_err(), "it was not even begun");
}

#[test]
fn the_default_time_of_a_channel_is_not_for_streams() {
    let slow = talking!(|request| async move {
        let (call, first, mut outbound) =
            IncomingStream::server_stream::<Note, Note>(request).await?;
        assert!(call.context().deadline().is_none());
        call.context().sleep(ms(30)).await;
        outbound.send(first).await?;
        call.close(Ok(()))
    });
    let loopback = Loopback::new(Router::new().mount(slow)).timeout(ms(1));
    let mut inbound = TalkClient::new(loopback)
        .count(note("late"))
        .open()
        .wait()
        .unwrap();
    assert_eq!(inbound.next().wait().unwrap(), Some(note("late")));
}

/// Writes down when a call begins and how it ends.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Filter for Diary {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        self.write(format!("opens {}", request.method().name));
        let result = next.call(request).await;
        match &result {
            Ok(response) => self.write(format!("ends with {:?}", response.metadata())),
            Err(status) => self.write(format!("fails: {:?}", status.code())),
        }
        result
    }
}

#[test]
fn filters_of_both_ends_see_a_stream_open_and_close() {
    let (server_side, client_side) = (Diary::default(), Diary::default());
    let handler = server_side.clone();
    let mount = talking!(|request| {
        let diary = handler.clone();
        async move {
            let (call, mut inbound) = IncomingUpload::open::<Note>(request)?;
            let mut last = note("");
            while let Some(note) = inbound.next().await? {
                diary.write(note.text.clone());
                last = note;
            }
            call.context().reply_metadata("app-last", last.text.clone());
            let reply = match &last.text[..] {
                "bad" => Err(Status::service(3, "bad")),
                _ => Ok(last),
            };
            call.close(reply)
        }
    });
    let loopback = Loopback::new(Router::new().mount_behind(server_side.clone(), mount));
    let client = TalkClient::new(client_side.clone().around(loopback).boxed());
    for (text, end) in [
        ("good", "ends with {\"app-last\": b\"good\"}"),
        ("bad", "fails: Service(3)"),
    ] {
        let mut upload = client.sum().open().wait().unwrap();
        upload.send(note(text)).wait().unwrap();
        assert_eq!(client_side.read(), ["opens Sum"]);
        let _ = upload.finish().wait();
        assert_eq!(client_side.read(), [end]);
        assert_eq!(server_side.read(), ["opens Sum", text, end]);
    }
}

#[test]
fn a_filter_that_refuses_keeps_the_stream_from_opening() {
    let closed = filter::before(|_| Err(Status::unauthenticated("closed")));
    let router = Router::new().mount_behind(closed, echo());
    let client = TalkClient::new(Loopback::new(router));
    let status = client.chat().open().wait().unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = client.count(note("")).open().wait().unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[test]
fn metadata_comes_with_the_opening_and_goes_with_the_end() {
    let client = client(talking!(|request| async move {
        let name = request
            .metadata()
            .text("app-name")
            .unwrap_or("nobody")
            .to_owned();
        let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Note, Note>(request)?;
        repeat(&mut inbound, &mut outbound).await?;
        call.context()
            .reply_metadata("app-greeting", format!("bye, {name}"));
        call.close(Ok(()))
    }));
    let chat = client.chat().metadata("app-name", "tern");
    let (mut outbound, mut inbound) = chat.open().wait().unwrap();
    outbound.send(note("hello")).wait().unwrap();
    assert_eq!(inbound.next().wait().unwrap(), Some(note("hello")));
    assert!(inbound.trailer().is_empty(), "before the end");
    drop(outbound);
    assert_eq!(inbound.next().wait().unwrap(), None);
    assert_eq!(inbound.trailer().text("app-greeting"), Some("bye, tern"));

    let upload = TalkClient::new(Loopback::new(Router::new().mount(talking!(
        |request| async move {
            let (call, _inbound) = IncomingUpload::open::<Note>(request)?;
            call.context().reply_metadata("app-read", "none");
            call.close(Ok(note("done")))
        }
    ))));
    let response = upload
        .sum()
        .open()
        .wait()
        .unwrap()
        .finish()
        .wait_response()
        .unwrap();
    assert_eq!(response.metadata().text("app-read"), Some("none"));
    assert_eq!(response.body(), &note("done"));
}

#[test]
fn plain_code_talks_to_plain_code() {
    let client = client(talking!(|request| async move {
        match request.method().name {
            "Sum" => {
                let (call, mut inbound) = IncomingUpload::open::<Note>(request)?;
                let notes = inbound.messages().collect::<Result<Vec<_>, _>>()?;
                call.close(Ok(numbered(notes.iter().map(|note| note.number).sum())))
            }
            "Count" => {
                let (call, upto, mut outbound) =
                    IncomingStream::server_stream::<Note, Note>(request).await?;
                let sent = (0..upto.number).try_for_each(|it| outbound.send(numbered(it)).wait());
                call.close(sent)
            }
            _ => {
                let (call, mut inbound, mut outbound) =
                    IncomingStream::duplex::<Note, Note>(request)?;
                while let Some(note) = inbound.next().wait()? {
                    outbound.send(note).wait()?;
                }
                call.close(Ok(()))
            }
        }
    }));
    let mut upload = client.sum().open().wait().unwrap();
    for number in 0..5_000 {
        upload.send(numbered(number)).wait().unwrap();
    }
    assert_eq!(upload.finish().wait().unwrap(), numbered(12_497_500));

    let mut inbound = client.count(numbered(5_000)).open().wait().unwrap();
    let numbers = inbound.messages().map(|note| note.unwrap().number);
    assert!(numbers.eq(0..5_000));

    let (mut outbound, mut inbound) = client.chat().open().wait().unwrap();
    let sender = thread::spawn(move || {
        (0..5_000).try_for_each(|number| outbound.send(numbered(number)).wait())
    });
    let numbers = inbound.messages().map(|note| note.unwrap().number);
    assert!(numbers.eq(0..5_000));
    sender.join().unwrap().unwrap();
}

#[test]
fn waiting_on_a_loop_is_refused() {
    let client = client(echo());
    let _loop = park::on_loop();
    let status = client.chat().open().wait().unwrap_err();
    assert_eq!(status.code(), Code::RequestInvalid);
}

#[test]
fn a_method_is_called_by_its_shape_alone() {
    let calls = Count::default();
    let count = calls.clone();
    let loopback = Loopback::new(Router::new().mount(talking!(|request| {
        add(&count);
        async move {
            let (call, note) = Incoming::open::<Note>(request)?;
            call.close(Ok(note))
        }
    })));
    let unary: Call<_, Note, Note> = Call::new(loopback.clone(), &TALK.methods[2], note(""));
    assert_eq!(unary.wait().unwrap_err().code(), Code::NoMethod);
    let stream: StreamCall<_, rpc_core::stream::Duplex<Note, Note>> =
        StreamCall::duplex(loopback.clone(), &TALK.methods[3]);
    let status = stream.open().wait().unwrap_err();
    assert_eq!(status.code(), Code::NoMethod);
    assert!(status.message().contains("/test.Talk/Ask"), "{status}");
    assert_eq!(read(&calls), 0);
    assert!(TalkClient::new(loopback).ask(note("")).wait().is_ok());
}

#[test]
fn a_message_longer_than_a_frame_is_not_sent_and_the_stream_goes_on() {
    let client = client(echo());
    let (mut outbound, mut inbound) = client.chat().open().wait().unwrap();
    let status = outbound
        .send(note(&"x".repeat(11 << 20)))
        .wait()
        .unwrap_err();
    assert_eq!(status.code(), Code::RequestUnencodable);
    let text = status.message();
    assert!(
        text.contains("11534341") && text.contains("10485744"),
        "{text}"
    );
    outbound.send(note("short")).wait().unwrap();
    assert_eq!(inbound.next().wait().unwrap(), Some(note("short")));
}

#[test]
fn both_ends_write_in_the_format_of_the_opening() {
    /// Is written as the format it is written in.
    #[derive(Debug, PartialEq)]
    struct Written(String);

    impl Message for Written {
        fn encode(&self, format: Format, out: &mut bytes::BytesMut) -> Result<(), Status> {
            out.extend_from_slice(format!("{} {format:?}", self.0).as_bytes());
            Ok(())
        }

        fn decode(format: Format, body: rpc_core::Bytes) -> Result<Self, Status> {
            Ok(Self(format!(
                "{} {format:?}",
                String::from_utf8_lossy(&body)
            )))
        }
    }

    let loopback = Loopback::new(Router::new().mount(talking!(|request| async move {
        let (call, mut inbound, mut outbound) =
            IncomingStream::duplex::<Written, Written>(request)?;
        while let Some(message) = inbound.next().await? {
            outbound.send(message).await?;
        }
        call.close(Ok(()))
    })));
    let chat: StreamCall<_, rpc_core::stream::Duplex<Written, Written>> =
        StreamCall::duplex(loopback, &TALK.methods[2]);
    let (mut outbound, mut inbound) = chat.format(Format::Json).open().wait().unwrap();
    outbound.send(Written("hi".into())).wait().unwrap();
    let read = inbound.next().wait().unwrap().unwrap();
    assert_eq!(read.0, "hi Json Json Json Json");
}
