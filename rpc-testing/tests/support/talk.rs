//! A service of streams written by hand, as the generator would: one method of each shape, and one without.

use std::future::Future;
use std::pin::Pin;

use rpc_core::stream::{ClientStream, Duplex, ServerStream, StreamCall};
use rpc_core::{
    Call, Idempotency, MethodDescriptor, Mount, Request, Response, Service, ServiceDescriptor,
    Shape, Status,
};

use super::Note;

pub(crate) static TALK: ServiceDescriptor = ServiceDescriptor {
    name: "test.Talk",
    methods: &[
        method(0, "Sum", "/test.Talk/Sum", Shape::ClientStream),
        method(1, "Count", "/test.Talk/Count", Shape::ServerStream),
        method(2, "Chat", "/test.Talk/Chat", Shape::Duplex),
        method(3, "Ask", "/test.Talk/Ask", Shape::Unary),
    ],
};

const fn method(
    index: usize,
    name: &'static str,
    path: &'static str,
    shape: Shape,
) -> MethodDescriptor {
    MethodDescriptor {
        index,
        name,
        path,
        alias: None,
        service: "test.Talk",
        idempotency: Idempotency::Idempotent,
        shape,
        request: rpc_core::MessageType::UNKNOWN,
        reply: rpc_core::MessageType::UNKNOWN,
    }
}

/// What serving a request becomes.
pub(crate) type Served = Pin<Box<dyn Future<Output = Result<Response, Status>> + Send>>;

/// Mounts one function for all methods.
pub(crate) fn talk<F>(serve: F) -> Mount<impl Service + 'static>
where
    F: Fn(Request) -> Served + Send + Sync + 'static,
{
    struct Stub<F>(F);

    impl<F: Fn(Request) -> Served + Send + Sync> Service for Stub<F> {
        async fn call(&self, request: Request) -> Result<Response, Status> {
            (self.0)(request).await
        }
    }

    Mount::new(&TALK, Stub(serve))
}

/// A talk that is one `async` block.
#[macro_export]
macro_rules! talking {
    (|$request:ident| $body:expr) => {
        $crate::support::talk::talk(move |$request| Box::pin($body))
    };
}

/// Calls a talk.
#[derive(Clone)]
pub(crate) struct TalkClient<S> {
    service: S,
}

impl<S: Service + Clone + 'static> TalkClient<S> {
    pub(crate) fn new(service: S) -> Self {
        Self { service }
    }

    pub(crate) fn sum(&self) -> StreamCall<S, ClientStream<Note, Note>> {
        StreamCall::client_stream(self.service.clone(), &TALK.methods[0])
    }

    pub(crate) fn count(&self, note: Note) -> StreamCall<S, ServerStream<Note, Note>> {
        StreamCall::server_stream(self.service.clone(), &TALK.methods[1], note)
    }

    pub(crate) fn chat(&self) -> StreamCall<S, Duplex<Note, Note>> {
        StreamCall::duplex(self.service.clone(), &TALK.methods[2])
    }

    pub(crate) fn ask(&self, note: Note) -> Call<S, Note, Note> {
        Call::new(self.service.clone(), &TALK.methods[3], note)
    }
}
