//! Streams with nothing between caller and handler: the handler runs where its caller waits.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use rpc_core::stream::{Inbound, Outbound, Packing, StreamCall, Terms};
use rpc_core::stub::{IncomingStream, IncomingUpload};
use rpc_core::{
    Body, Bytes, Code, Compression, Format, Idempotency, MethodDescriptor, Raw, Request, Response,
    Service, Shape, Status, park,
};

static ECHO: MethodDescriptor = method("/test.Talk/Echo", Shape::Duplex);
static COUNT: MethodDescriptor = method("/test.Talk/Count", Shape::ServerStream);
static SUM: MethodDescriptor = method("/test.Talk/Sum", Shape::ClientStream);

const fn method(path: &'static str, shape: Shape) -> MethodDescriptor {
    MethodDescriptor {
        index: 0,
        name: "Talk",
        path,
        alias: None,
        service: "test.Talk",
        idempotency: Idempotency::Unknown,
        shape,
        request: rpc_core::MessageType::UNKNOWN,
        reply: rpc_core::MessageType::UNKNOWN,
    }
}

/// A service that is one function.
#[derive(Clone)]
struct Serving<F>(F);

impl<F, R> Service for Serving<F>
where
    F: Fn(Request) -> R + Send + Sync,
    R: Future<Output = Result<Response, Status>> + Send,
{
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Status>> + Send {
        (self.0)(request)
    }
}

async fn echo(request: Request) -> Result<Response, Status> {
    let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Raw, Raw>(request)?;
    while let Some(message) = inbound.next().await? {
        outbound.send(message).await?;
    }
    call.close(Ok(()))
}

type Both = (Outbound<Raw>, Inbound<Raw>);

fn open<R>(serve: impl Fn(Request) -> R + Send + Sync + 'static) -> Result<Both, Status>
where
    R: Future<Output = Result<Response, Status>> + Send,
{
    StreamCall::duplex(Serving(serve), &ECHO).open().wait()
}

fn raw(text: &str) -> Raw {
    Raw(Bytes::copy_from_slice(text.as_bytes()))
}

/// Both, as they go on by turns.
async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut of_a, mut of_b) = (None, None);
    poll_fn(move |cx| {
        poll_once(&mut of_a, a.as_mut(), cx);
        poll_once(&mut of_b, b.as_mut(), cx);
        match (of_a.take(), of_b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (of_a, of_b) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

fn poll_once<T>(
    output: &mut Option<T>,
    future: Pin<&mut impl Future<Output = T>>,
    cx: &mut Context<'_>,
) {
    if output.is_none() {
        if let Poll::Ready(done) = future.poll(cx) {
            *output = Some(done);
        }
    }
}

#[test]
fn a_handler_runs_where_either_half_waits() {
    let (mut outbound, mut inbound) = open(echo).unwrap();
    let send = async move {
        for number in 0..20_000 {
            outbound.send(raw(&number.to_string())).await?;
        }
        Ok::<_, Status>(())
    };
    let receive = async move {
        let mut received = 0;
        while let Some(message) = inbound.next().await? {
            assert_eq!(message, raw(&received.to_string()));
            received += 1;
        }
        Ok::<_, Status>(received)
    };
    let (sent, received) = park::wait(both(send, receive)).unwrap();
    sent.unwrap();
    assert_eq!(received.unwrap(), 20_000);
}

#[test]
fn halves_on_two_threads_lose_no_wake_up() {
    for _ in 0..50 {
        let (mut outbound, mut inbound) = open(echo).unwrap();
        let sender = std::thread::spawn(move || {
            (0..3_000).try_for_each(|number: u32| outbound.send(raw(&number.to_string())).wait())
        });
        let received = inbound.messages().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(received.len(), 3_000);
        sender.join().unwrap().unwrap();
    }
}

#[test]
fn a_writer_waits_for_a_reader() {
    async fn deaf(request: Request) -> Result<Response, Status> {
        let (_call, _inbound, _outbound) = IncomingStream::duplex::<Raw, Raw>(request)?;
        std::future::pending().await
    }
    let (mut outbound, _inbound) = open(deaf).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut sent = 0;
    while pin!(outbound.send(raw("x"))).poll(&mut cx).is_ready() {
        sent += 1;
    }
    assert_eq!(sent, 1024);
}

#[test]
fn a_stream_that_is_refused_does_not_open() {
    let refused = open(|_| async { Err(Status::unauthenticated("who are you?")) });
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

#[test]
fn nothing_happens_before_a_stream_is_opened() {
    let calls = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&calls);
    let serve = move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        echo(request)
    };
    let opening =
        StreamCall::<_, rpc_core::stream::Duplex<Raw, Raw>>::duplex(Serving(serve), &ECHO).open();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let _handles = opening.wait().unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn an_error_comes_behind_the_messages_and_stays() {
    async fn failing(request: Request) -> Result<Response, Status> {
        let (call, _inbound, mut outbound) = IncomingStream::duplex::<Raw, Raw>(request)?;
        outbound.send(raw("one")).await?;
        outbound.send(raw("two")).await?;
        call.close(Err(Status::service(7, "no more")))
    }
    let (mut outbound, mut inbound) = open(failing).unwrap();
    assert_eq!(inbound.next().wait().unwrap(), Some(raw("one")));
    assert_eq!(inbound.next().wait().unwrap(), Some(raw("two")));
    for _ in 0..2 {
        let status = inbound.next().wait().unwrap_err();
        assert_eq!(status.code(), Code::Service(7));
    }
    let status = outbound.send(raw("x")).wait().unwrap_err();
    assert_eq!(status.code(), Code::Service(7), "who sends is told too");
}

#[test]
fn an_adapter_is_told_the_end_once() {
    async fn failing(request: Request) -> Result<Response, Status> {
        let (call, _inbound, mut outbound) = IncomingStream::duplex::<Raw, Raw>(request)?;
        outbound.send(raw("one")).await?;
        call.close(Err(Status::internal("no more")))
    }
    let (_outbound, mut inbound) = open(failing).unwrap();
    let told: Vec<_> = inbound
        .messages()
        .map(|it| it.map_err(|status| status.code()))
        .collect();
    assert_eq!(told, [Ok(raw("one")), Err(Code::Internal)]);
}

#[test]
fn a_call_that_panics_fails_for_both_halves() {
    async fn boo(request: Request) -> Result<Response, Status> {
        let (call, mut inbound, _outbound) = IncomingStream::duplex::<Raw, Raw>(request)?;
        assert_eq!(inbound.next().await?, None, "on purpose");
        call.close(Ok(()))
    }
    let (mut outbound, mut inbound) = open(boo).unwrap();
    outbound.send(raw("boo")).wait().unwrap();
    let reader = std::thread::spawn(move || {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(inbound.next().wait());
        }));
        assert!(panicked.is_err());
        inbound.next().wait()
    });
    assert_eq!(reader.join().unwrap().unwrap_err().code(), Code::Internal);
    let status = outbound.send(raw("anybody?")).wait().unwrap_err();
    assert_eq!(status.code(), Code::Internal);
}

#[test]
fn a_message_that_cannot_be_read_is_not_the_end() {
    #[derive(PartialEq, prost::Message)]
    struct Text {
        #[prost(string, tag = "1")]
        text: String,
    }
    async fn strict(request: Request) -> Result<Response, Status> {
        let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Text, Raw>(request)?;
        loop {
            let reply = match inbound.next().await {
                Ok(None) => return call.close(Ok(())),
                Ok(Some(text)) => raw(&text.text),
                Err(status) => raw(&format!("{:?}", status.code())),
            };
            outbound.send(reply).await?;
        }
    }
    let (mut outbound, mut inbound) = open(strict).unwrap();
    outbound.send(raw("\x0a\x05hello")).wait().unwrap();
    outbound.send(raw("\x0a\x05hi")).wait().unwrap();
    outbound.send(raw("")).wait().unwrap();
    drop(outbound);
    let replies = inbound.messages().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(replies, [raw("hello"), raw("Malformed"), raw("")]);

    let (mut outbound, mut inbound) =
        StreamCall::<_, rpc_core::stream::Duplex<Raw, Text>>::duplex(Serving(echo), &ECHO)
            .open()
            .wait()
            .unwrap();
    outbound.send(raw("\x0a\x05hi")).wait().unwrap();
    outbound.send(raw("\x0a\x02hi")).wait().unwrap();
    let status = inbound.next().wait().unwrap_err();
    assert_eq!(status.code(), Code::ResponseMalformed);
    let text = inbound.next().wait().unwrap().unwrap();
    assert_eq!(text.text, "hi");
}

/// Writes each byte twice.
#[derive(Debug)]
struct Doubled;

impl Packing for Doubled {
    fn pack(&self, _: Compression, message: &Bytes) -> Result<Bytes, Status> {
        Ok(message.iter().flat_map(|byte| [*byte, *byte]).collect())
    }

    fn unpack(&self, _: Compression, message: &Bytes) -> Result<Bytes, Status> {
        Ok(message.iter().step_by(2).copied().collect())
    }
}

/// What brings streams to `echo` and says how they are written.
fn with_terms(terms: Terms) -> Result<Both, Status> {
    open(move |mut request| {
        let pipe = request.take_pipe().unwrap();
        pipe.reader.set_terms(terms.clone());
        pipe.writer.set_terms(terms.clone());
        request.set_pipe(pipe);
        echo(request)
    })
}

#[test]
fn messages_are_packed_and_measured_as_they_are_sent() {
    let terms = Terms {
        compression: Compression::Gzip,
        packing: Some(Arc::new(Doubled)),
        message_bytes_max: 10,
        ..Terms::plain().clone()
    };
    let (mut outbound, mut inbound) = with_terms(terms).unwrap();
    outbound.send(raw("12345")).wait().unwrap();
    let status = outbound.send(raw("123456")).wait().unwrap_err();
    assert_eq!(status.code(), Code::RequestUnencodable);
    let text = status.message();
    assert!(
        text.contains("12 bytes") && text.contains("the 10"),
        "{text}"
    );
    // The empty message stays empty, and the stream goes on.
    outbound.send(raw("")).wait().unwrap();
    drop(outbound);
    let replies = inbound.messages().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(replies, [raw("12345"), raw("")]);
}

#[test]
fn what_is_not_packed_is_left_alone() {
    let terms = Terms {
        packing: Some(Arc::new(Doubled)),
        message_bytes_max: 5,
        ..Terms::plain().clone()
    };
    let (mut outbound, mut inbound) = with_terms(terms).unwrap();
    outbound.send(raw("12345")).wait().unwrap();
    assert_eq!(inbound.next().wait().unwrap(), Some(raw("12345")));
}

#[test]
fn a_stream_is_opened_with_what_was_said_of_it() {
    async fn telling(request: Request) -> Result<Response, Status> {
        let said = format!(
            "{:?} {:?} {:?} {:?}",
            request.format(),
            request.compression(),
            request.timeout(),
            request.metadata().text("app-name"),
        );
        let (call, inbound) = IncomingUpload::open::<Raw>(request)?;
        drop(inbound);
        call.context().reply_metadata("app-said", said);
        call.close(Ok(raw("")))
    }
    let upload = StreamCall::<_, rpc_core::stream::ClientStream<Raw, Raw>>::client_stream(
        Serving(telling),
        &SUM,
    )
    .format(Format::Json)
    .compress(Compression::Zlib)
    .timeout(std::time::Duration::from_millis(7))
    .metadata("app-name", "tern");
    let response = upload
        .open()
        .wait()
        .unwrap()
        .finish()
        .wait_response()
        .unwrap();
    assert_eq!(
        response.metadata().text("app-said"),
        Some("Json Zlib Some(7ms) Some(\"tern\")")
    );
}

#[test]
fn one_reply_is_neither_none_nor_two() {
    for (replies, code) in [(0, 353), (2, 351)] {
        let serve = move |request| async move {
            let (call, _inbound, mut outbound) = IncomingStream::duplex::<Raw, Raw>(request)?;
            for _ in 0..replies {
                outbound.send(raw("reply")).await?;
            }
            call.close(Ok(()))
        };
        let upload: StreamCall<_, rpc_core::stream::ClientStream<Raw, Raw>> =
            StreamCall::client_stream(Serving(serve), &SUM);
        let status = upload.open().wait().unwrap().finish().wait().unwrap_err();
        assert_eq!(status.code(), Code::Framework(code));
    }
}

#[test]
fn the_end_wins_over_a_reply_before_it() {
    async fn two_faced(request: Request) -> Result<Response, Status> {
        let (call, _inbound, mut outbound) = IncomingStream::duplex::<Raw, Raw>(request)?;
        outbound.send(raw("all is well")).await?;
        call.close(Err(Status::service(9, "it is not")))
    }
    let upload: StreamCall<_, rpc_core::stream::ClientStream<Raw, Raw>> =
        StreamCall::client_stream(Serving(two_faced), &SUM);
    let status = upload.open().wait().unwrap().finish().wait().unwrap_err();
    assert_eq!(status.code(), Code::Service(9));
}

#[test]
fn a_server_stream_needs_its_request() {
    async fn counting(request: Request) -> Result<Response, Status> {
        let (call, _first, _outbound) = IncomingStream::server_stream::<Raw, Raw>(request).await?;
        call.close(Ok(()))
    }
    let (outbound, mut inbound) = open(counting).unwrap();
    drop(outbound);
    assert_eq!(inbound.next().wait().unwrap_err().code(), Code::Malformed);

    let asked: StreamCall<_, rpc_core::stream::ServerStream<Raw, Raw>> =
        StreamCall::server_stream(Serving(counting), &COUNT, raw("ten"));
    assert_eq!(asked.open().wait().unwrap().next().wait().unwrap(), None);
}

#[test]
fn a_request_without_a_stream_has_no_such_method() {
    let request = || Request::new(&ECHO, rpc_core::Context::background(), Body::new());
    let status = park::wait(echo(request())).unwrap().unwrap_err();
    assert_eq!(status.code(), Code::NoMethod);
    assert!(status.message().contains("/test.Talk/Echo"), "{status}");
}

#[test]
fn a_caller_who_is_gone_is_no_end_of_messages() {
    let (sender, ends) = std::sync::mpsc::channel();
    let serve = move |request| {
        let sender = sender.clone();
        async move {
            let (call, mut inbound) = IncomingUpload::open::<Raw>(request)?;
            sender
                .send(inbound.next().await.map_err(|status| status.code()))
                .unwrap();
            call.close(Ok(raw("")))
        }
    };
    let request = || {
        let mut request = Request::new(&SUM, rpc_core::Context::background(), Body::new());
        let (ours, theirs) = rpc_core::stream::Pipe::pair();
        request.set_pipe(theirs);
        (request, ours)
    };
    let (opening, ours) = request();
    drop(ours);
    let _ = park::wait(serve(opening)).unwrap();
    assert_eq!(ends.recv().unwrap(), Err(Code::ConnectionLost));
    let (opening, ours) = request();
    ours.writer.end(Ok(()));
    let _ = park::wait(serve(opening)).unwrap();
    assert_eq!(ends.recv().unwrap(), Ok(None));
}

#[test]
fn a_panic_of_who_sends_is_no_end_of_messages() {
    let (mut outbound, mut inbound) = open(echo).unwrap();
    let sender = std::thread::spawn(move || {
        outbound.send(raw("half of it")).wait().unwrap();
        panic!("on purpose");
    });
    assert!(sender.join().is_err());
    assert_eq!(inbound.next().wait().unwrap(), Some(raw("half of it")));
    assert_eq!(
        inbound.next().wait().unwrap_err().code(),
        Code::ConnectionLost
    );
}

#[test]
fn waiting_on_a_loop_is_refused() {
    let (mut outbound, mut inbound) = open(echo).unwrap();
    let upload: StreamCall<_, rpc_core::stream::ClientStream<Raw, Raw>> =
        StreamCall::client_stream(Serving(echo), &SUM);
    let upload = upload.open().wait().unwrap();
    let _loop = park::on_loop();
    let refused = [
        open(echo).map(drop),
        outbound.send(raw("x")).wait(),
        inbound.next().wait().map(drop),
        upload.finish().wait().map(drop),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().code(), Code::RequestInvalid);
    }
    let told: Vec<_> = inbound
        .messages()
        .map(|it| it.map_err(|status| status.code()))
        .collect();
    assert_eq!(told, [Err(Code::RequestInvalid)]);
}
