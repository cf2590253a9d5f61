//! A service written by hand, as the generator would: what the tests of this package call and serve.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod judge;
pub(crate) mod plan;
pub(crate) mod talk;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::stub::{self, Incoming};
use rpc_core::{
    Call, Context, Idempotency, MethodDescriptor, Mount, Request, Response, Service,
    ServiceDescriptor, Shape, Status,
};

/// What is asked and answered.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Note {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(string, tag = "2")]
    pub(crate) text: String,
}

/// A note with this text.
pub(crate) fn note(text: &str) -> Note {
    Note {
        number: 0,
        text: text.to_owned(),
    }
}

pub(crate) static DESK: ServiceDescriptor = ServiceDescriptor {
    name: "test.Desk",
    methods: &[
        method(0, "Ask", "/test.Desk/Ask", Idempotency::Unknown),
        method(1, "Read", "/test.Desk/Read", Idempotency::NoSideEffects),
    ],
};

const fn method(
    index: usize,
    name: &'static str,
    path: &'static str,
    idempotency: Idempotency,
) -> MethodDescriptor {
    MethodDescriptor {
        index,
        name,
        path,
        alias: None,
        service: "test.Desk",
        idempotency,
        shape: Shape::Unary,
        request: rpc_core::MessageType::UNKNOWN,
        reply: rpc_core::MessageType::UNKNOWN,
    }
}

/// What a handler becomes.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Result<Note, Status>> + Send + 'a>>;

/// Mounts a desk: both methods are answered by one function.
pub(crate) fn desk<F>(answer: F) -> Mount<impl Service + 'static>
where
    F: for<'a> Fn(&'a Context, Note) -> Answer<'a> + Send + Sync + 'static,
{
    struct Stub<F>(F);

    impl<F> Service for Stub<F>
    where
        F: for<'a> Fn(&'a Context, Note) -> Answer<'a> + Send + Sync + 'static,
    {
        async fn call(&self, request: Request) -> Result<Response, Status> {
            match request.method().index {
                0 | 1 => {
                    let (call, note) = Incoming::open(request)?;
                    let reply = (self.0)(call.context(), note).await;
                    call.close(reply)
                }
                _ => Err(stub::no_such_method(&request)),
            }
        }
    }

    Mount::new(&DESK, Stub(answer))
}

/// A desk that is one `async` closure of `cx` and `note`.
#[macro_export]
macro_rules! answering {
    (|$cx:ident, $note:ident| $body:expr) => {
        $crate::support::desk(move |$cx, $note| Box::pin($body))
    };
}

/// Answers with what was asked.
pub(crate) fn echo() -> Mount<impl Service + 'static> {
    answering!(|_cx, note| async move { Ok(note) })
}

/// Answers with what was asked, after `time`.
pub(crate) fn sleepy(time: Duration) -> Mount<impl Service + 'static> {
    answering!(|cx, note| async move {
        cx.sleep(time).await;
        Ok(note)
    })
}

/// Calls a desk.
#[derive(Clone)]
pub(crate) struct DeskClient<S> {
    service: S,
}

impl<S: Service + Clone> DeskClient<S> {
    pub(crate) fn new(service: S) -> Self {
        Self { service }
    }

    /// A call that must not run twice.
    pub(crate) fn ask(&self, note: Note) -> Call<S, Note, Note> {
        Call::new(self.service.clone(), &DESK.methods[0], note)
    }

    /// A call that may.
    pub(crate) fn read(&self, note: Note) -> Call<S, Note, Note> {
        Call::new(self.service.clone(), &DESK.methods[1], note)
    }
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Counts from several handlers.
pub(crate) type Count = Arc<std::sync::atomic::AtomicUsize>;

/// What a count has come to.
pub(crate) fn read(count: &Count) -> usize {
    count.load(std::sync::atomic::Ordering::SeqCst)
}

/// One more.
pub(crate) fn add(count: &Count) {
    count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
}
