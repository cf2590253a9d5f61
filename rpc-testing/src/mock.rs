//! [`Mock`]: a service that answers as the test says, and remembers what it was asked.

mod streams;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpc_codec::Formats;
use rpc_core::message::Exchange;
use rpc_core::serialize::{self, FormatTable};
use rpc_core::stub::Incoming;
use rpc_core::{
    Bytes, Code, Context, Format, Message, MethodDescriptor, Request, Response, Service, Status,
};

use streams::StreamAnswer;

/// A service that answers as the test says, for testing those who call: give it to a generated client.
///
/// ```
/// use rpc_core::{Call, Code, Context, Idempotency, MethodDescriptor, Shape, Raw, Status};
/// use rpc_testing::Mock;
/// # static SAY: MethodDescriptor = MethodDescriptor {
/// #     index: 0, name: "Say", path: "/demo.Parrot/Say", alias: None, service: "demo.Parrot",
/// #     idempotency: Idempotency::Unknown,
/// #     shape: Shape::Unary,
/// #     request: rpc_core::MessageType::UNKNOWN,
/// #     reply: rpc_core::MessageType::UNKNOWN,
/// # };
/// # fn say<S: rpc_core::Service>(service: S, text: &'static str) -> Call<S, Raw, Raw> {
/// #     Call::new(service, &SAY, Raw(text.into()))
/// # }
///
/// let mock = Mock::new().on("/demo.Parrot/Say", |_: &Context, said: Raw| match &said.0[..] {
///     b"" => Err(Status::invalid_argument("nothing was said")),
///     _ => Ok(said),
/// });
/// assert_eq!(say(mock.clone(), "hello").wait().unwrap().0, "hello");
/// assert_eq!(say(mock.clone(), "").wait().unwrap_err().code(), Code::InvalidArgument);
/// assert_eq!(mock.received::<Raw>("/demo.Parrot/Say").len(), 2);
/// ```
///
/// Streams are answered by [`Mock::on_server_stream`], [`Mock::on_client_stream`] and [`Mock::on_duplex`].
///
/// It knows the formats that servers know by default. Clones share what they answer and what they remember.
#[derive(Clone, Default)]
pub struct Mock {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<HashMap<&'static str, Answer>>,
    requests: Mutex<Vec<Request>>,
    /// The messages that came by streams.
    streamed: Mutex<Vec<Streamed>>,
    formats: Formats,
}

#[derive(Clone)]
enum Answer {
    Unary(Arc<UnaryAnswer>),
    Stream(Arc<StreamAnswer>),
}

type UnaryAnswer = dyn Fn(Request) -> Result<Response, Status> + Send + Sync;

/// A message of a stream as it came.
struct Streamed {
    method: &'static MethodDescriptor,
    format: Format,
    message: Bytes,
}

impl Mock {
    /// A service that knows no path.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers calls of `path` by `answer`, in place of what answered them before.
    pub fn on<Q: Message, P: Message>(
        self,
        path: &'static str,
        answer: impl Fn(&Context, Q) -> Result<P, Status> + Send + Sync + 'static,
    ) -> Self {
        let answer = move |request| {
            let (call, message) = Incoming::open(request)?;
            let reply = answer(call.context(), message);
            call.close(reply)
        };
        self.answered(path, Answer::Unary(Arc::new(answer)))
    }

    fn answered(self, path: &'static str, answer: Answer) -> Self {
        lock(&self.shared.answers).insert(path, answer);
        self
    }

    /// All requests that came for any path, oldest first. Those that opened streams have no body.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// The messages that came for `path`, as requests or by streams, oldest first.
    ///
    /// # Panics
    ///
    /// When one of them is no such message.
    pub fn received<Q: Message>(&self, path: &str) -> Vec<Q> {
        let requests = self.requests().into_iter();
        let unary = requests.filter(|request| request.exchange() != Exchange::Stream);
        let unary = unary.filter(|request| request.method().path == path);
        let unary = unary.map(|request| {
            let of = &request.method().request;
            (request.format(), of, request.into_body().into_bytes())
        });
        let streamed = lock(&self.shared.streamed);
        let streamed = streamed
            .iter()
            .filter(|streamed| streamed.method.path == path);
        let streamed = streamed.map(|it| (it.format, &it.method.request, it.message.clone()));
        unary
            .chain(streamed)
            .map(|(format, of, message)| {
                let read = serialize::decode::<Q>(format, || &self.shared.formats, of, message);
                read.unwrap_or_else(|status| {
                    panic!("a message for {path} is of another type: {status}")
                })
            })
            .collect()
    }
}

impl Service for Mock {
    fn formats(&self) -> &dyn FormatTable {
        &self.shared.formats
    }

    async fn call(&self, mut request: Request) -> Result<Response, Status> {
        if request.format() != Format::Protobuf {
            let formats = Arc::new(self.shared.formats.clone());
            request.context_mut().set_formats(formats);
        }
        let path = request.method().path;
        lock(&self.shared.requests).push(request.clone());
        // The lock is given back first: what answers may call the mock.
        let answer = lock(&self.shared.answers).get(path).cloned();
        match answer {
            Some(Answer::Unary(answer)) => answer(request),
            Some(Answer::Stream(answer)) => answer(request, Arc::clone(&self.shared)).await,
            None => Err(Status::new(
                Code::NoMethod,
                format!("the mock was not told what to answer to {path}"),
            )),
        }
    }
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock")
            .field("requests", &lock(&self.shared.requests).len())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
