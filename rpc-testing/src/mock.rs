//! [`Mock`]: a service that answers as the test says, and remembers what it was asked.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpc_codec::Formats;
use rpc_core::serialize::{self, FormatTable};
use rpc_core::stub::Incoming;
use rpc_core::{Code, Context, Format, Message, Request, Response, Service, Status};

/// A service that answers as the test says, for testing those who call: give it to a generated client.
///
/// ```
/// use rpc_core::{Call, Code, Context, Idempotency, MethodDescriptor, Raw, Status};
/// use rpc_testing::Mock;
/// # static SAY: MethodDescriptor = MethodDescriptor {
/// #     index: 0, name: "Say", path: "/demo.Parrot/Say", alias: None, service: "demo.Parrot",
/// #     idempotency: Idempotency::Unknown,
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
/// It knows the formats that servers know by default. Clones share what they answer and what they remember.
#[derive(Clone, Default)]
pub struct Mock {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<HashMap<&'static str, Arc<Answer>>>,
    requests: Mutex<Vec<Request>>,
    formats: Formats,
}

type Answer = dyn Fn(Request) -> Result<Response, Status> + Send + Sync;

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
        lock(&self.shared.answers).insert(path, Arc::new(answer));
        self
    }

    /// All requests that came for any path, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// The messages of the requests that came for `path`, oldest first.
    ///
    /// # Panics
    ///
    /// When one of them is no such message.
    pub fn received<Q: Message>(&self, path: &str) -> Vec<Q> {
        let requests = self.requests().into_iter();
        let of_path = requests.filter(|request| request.method().path == path);
        of_path
            .map(|request| {
                let (format, of) = (request.format(), &request.method().request);
                let body = request.into_body();
                let read = serialize::decode::<Q>(format, || &self.shared.formats, of, body);
                read.unwrap_or_else(|status| {
                    panic!("a request for {path} is of another type: {status}")
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
            Some(answer) => answer(request),
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
