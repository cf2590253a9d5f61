//! [`Loopback`]: a router as a channel, without a port.

mod streams;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rpc_codec::{Codecs, Formats, Limits, ret};
use rpc_core::message::Exchange;
use rpc_core::serialize::FormatTable;
use rpc_core::stream::Terms;
use rpc_core::time::Sleep;
use rpc_core::{
    Cause, Clock, Code, Compression, Context, Deadline, Format, Request, Response, Scope, Service,
    Site, Status,
};
use rpc_server::Router;

use crate::clock::Ringer;
use streams::{OnThread, Outcome};

/// A router as a channel: give it to a generated client, and calls run the handler where they are awaited or waited for,
/// behind the filters and with the time-outs it was mounted with.
///
/// What a handler sees and what a caller gets are as if a wire lay between them: metadata, marks and attachments travel,
/// deadlines become the caller's, what a handler returns as a status arrives as one that was sent, a panic arrives as
/// [`Code::Internal`]. What is not there is what belongs to a server and not to its services: policies at the door, pools
/// and their bounds. A handler that blocks blocks whoever calls, unless it serves a stream: as both ends of one move at the
/// same time, its handler runs on a thread of its own. Dropping all handles of a stream drops the handler.
///
/// ```
/// use rpc_core::{Call, Code, Idempotency, MethodDescriptor, Shape, Raw};
/// use rpc_server::Router;
/// use rpc_testing::Loopback;
/// # static SAY: MethodDescriptor = MethodDescriptor {
/// #     index: 0, name: "Say", path: "/demo.Nobody/Say", alias: None, service: "demo.Nobody",
/// #     idempotency: Idempotency::Unknown,
/// #     shape: Shape::Unary,
/// #     request: rpc_core::MessageType::UNKNOWN,
/// #     reply: rpc_core::MessageType::UNKNOWN,
/// # };
///
/// let channel = Loopback::new(Router::new());
/// let call = Call::<_, Raw, Raw>::new(channel, &SAY, Raw("hello".into()));
/// assert_eq!(call.wait().unwrap_err().code(), Code::NoMethod);
/// ```
///
/// Streams pass it as calls do:
///
/// ```
/// # use rpc_core::stream::{Inbound, StreamCall, ServerStream};
/// # use rpc_core::stub::IncomingStream;
/// # use rpc_core::{Idempotency, MethodDescriptor, Mount, Raw, Request, Response, Service, ServiceDescriptor, Shape, Status};
/// # use rpc_server::Router;
/// # use rpc_testing::Loopback;
/// # static PARROT: ServiceDescriptor = ServiceDescriptor {
/// #     name: "demo.Parrot",
/// #     methods: &[MethodDescriptor {
/// #         index: 0, name: "Repeat", path: "/demo.Parrot/Repeat", alias: None, service: "demo.Parrot",
/// #         idempotency: Idempotency::Unknown,
/// #         shape: Shape::ServerStream,
/// #         request: rpc_core::MessageType::UNKNOWN,
/// #         reply: rpc_core::MessageType::UNKNOWN,
/// #     }],
/// # };
/// # struct Parrot;
/// # impl Service for Parrot {
/// #     async fn call(&self, request: Request) -> Result<Response, Status> {
/// #         let (call, word, mut outbound) = IncomingStream::server_stream::<Raw, Raw>(request).await?;
/// #         outbound.send(word.clone()).await?;
/// #         outbound.send(word).await?;
/// #         call.close(Ok(()))
/// #     }
/// # }
/// # struct Client(Loopback);
/// # impl Client {
/// #     fn repeat(&self, word: Raw) -> StreamCall<Loopback, ServerStream<Raw, Raw>> {
/// #         StreamCall::server_stream(self.0.clone(), &PARROT.methods[0], word)
/// #     }
/// # }
/// let client = Client(Loopback::new(Router::new().mount(Mount::new(&PARROT, Parrot))));
/// let mut words = client.repeat(Raw("hello".into())).open().wait()?;
/// assert_eq!(words.next().wait()?.unwrap().0, "hello");
/// assert_eq!(words.messages().count(), 1);
/// # Ok::<(), Status>(())
/// ```
#[derive(Clone)]
pub struct Loopback {
    router: Arc<Router>,
    scope: Arc<Scope>,
    formats: Formats,
    limits: Arc<Limits>,
    timeout: Option<Duration>,
    caller: String,
    callee: String,
}

impl Loopback {
    /// A channel to what `router` serves. Calls that do not say otherwise may take 1 s, as on any channel.
    ///
    /// # Panics
    ///
    /// When what was mounted does not fit together, as [`Router::check`] says.
    pub fn new(router: Router) -> Self {
        if let Err(error) = router.check() {
            panic!("{error}");
        }
        let formats = Formats::default();
        Self {
            router: Arc::new(router),
            scope: scope(&formats),
            formats,
            limits: Arc::new(Limits::default()),
            timeout: Some(Duration::from_secs(1)),
            caller: String::new(),
            callee: String::new(),
        }
    }

    /// Who calls whom, by the names that services have among each other. Default: nobody says.
    pub fn names(mut self, caller: impl Into<String>, callee: impl Into<String>) -> Self {
        (self.caller, self.callee) = (caller.into(), callee.into());
        self
    }

    /// How long a call may take that does not say so itself and is no stream. Default: 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets calls that do not say otherwise take as long as they like.
    pub fn without_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// In which formats messages may be, at both ends. Default: protobuf, raw bytes, and JSON if it was built in.
    pub fn formats(mut self, formats: Formats) -> Self {
        self.scope = scope(&formats);
        self.formats = formats;
        self
    }

    /// What a failure would be after a wire: only its numbers and its text get through.
    fn carried(&self, status: &Status) -> Status {
        let returned = ret::to_wire(status);
        let text = status.message().as_bytes();
        let sent = ret::from_wire(returned.ret, returned.func_ret, text, &self.limits);
        sent.expect("a failure has a number other than 0")
    }

    /// Serves a stream that has arrived. Its time ends it even while nobody waits for it; whoever does has the same time.
    fn streamed(&self, mut request: Request) -> impl Future<Output = Outcome> + use<> {
        if let Some(pipe) = request.take_pipe() {
            let frame = usize::try_from(self.limits.frame_bytes_max).unwrap_or(usize::MAX);
            let terms = Terms {
                format: request.format(),
                formats: Some(Arc::new(self.formats.clone())),
                message_bytes_max: frame.saturating_sub(FRAME_HEADER),
                ..Terms::plain().clone()
            };
            pipe.reader.set_terms(terms.clone());
            pipe.writer.set_terms(terms);
            request.set_pipe(pipe);
        }
        let router = Arc::clone(&self.router);
        let time_out = time_out(request.context());
        OnThread::run(async move { within(time_out, router.call(request)).await.ok() })
    }

    /// The request as the other end sees it: what is left of the time is its caller's, and nothing is packed.
    fn arrived(&self, mut request: Request) -> Request {
        let attachment = request.attachment().clone();
        let pipe = request.take_pipe();
        let other_path = request.other_path().map(str::to_owned);
        let format = request.format();
        let sent = request.context();
        let mut context = Context::new(sent.scope());
        // A call on behalf of another keeps the scope of that one, whose formats need not be those of this channel.
        if format != Format::Protobuf && !Arc::ptr_eq(sent.scope(), &self.scope) {
            context.set_formats(Arc::new(self.formats.clone()));
        }
        context.set_metadata(sent.metadata().clone());
        context.set_marks(sent.marks());
        if let Some(deadline) = sent.deadline() {
            context.narrow(deadline.inherited());
        }
        *request.context_mut() = context;
        request.set_attachment(attachment);
        if let Some(pipe) = pipe {
            request.set_pipe(pipe);
        }
        if let Some(path) = other_path {
            request.set_path(path);
        }
        request.set_timeout(None);
        request.set_compression(Compression::None);
        request
    }

    fn unpacked(&self, mut response: Response) -> Result<Response, Status> {
        let packed_as = response.compression();
        if packed_as != Compression::None {
            let max = self.limits.decompressed_bytes_max;
            let body = response.body().to_bytes();
            let unpacked = Codecs::default()
                .decompress(packed_as, &body, max)
                .map_err(|error| Status::new(Code::ResponseMalformed, error.to_string()))?;
            *response.body_mut() = unpacked.into();
            response.set_compression(Compression::None);
        }
        Ok(response)
    }
}

impl Service for Loopback {
    fn formats(&self) -> &dyn FormatTable {
        &self.formats
    }

    async fn call(&self, mut request: Request) -> Result<Response, Status> {
        let exchange = request.exchange();
        let is_stream = exchange == Exchange::Stream;
        if request.method().shape.is_stream() != is_stream {
            return Err(self.carried(&of_another_shape(&request)));
        }
        let default = self.timeout.filter(|_| !is_stream);
        let timeout = request.timeout().or(default);
        let context = request.context_mut();
        context.enter(&self.scope);
        let now = context.now();
        if let Some(at) = timeout.and_then(|timeout| now.checked_add(timeout)) {
            context.narrow(Deadline::new(at, Cause::Own));
        }
        if let Some(deadline) = context.deadline().filter(|deadline| deadline.is_over(now)) {
            return Err(out_of_time(deadline));
        }
        let time_out = time_out(request.context());
        let mut request = self.arrived(request);
        request.context_mut().set_names(&self.caller, &self.callee);
        let result = if is_stream {
            within(time_out, self.streamed(request)).await?
        } else {
            within(time_out, self.router.call(request)).await?
        };
        match result {
            // Nobody is told what became of it.
            _ if exchange == Exchange::OneWay => Ok(Response::empty()),
            Ok(response) => self.unpacked(response),
            Err(status) => Err(self.carried(&status)),
        }
    }
}

impl fmt::Debug for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loopback")
            .field("router", &self.router)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Where calls through a loop-back take place.
fn scope(formats: &Formats) -> Arc<Scope> {
    let site = Site::new(Clock::system(), Some(Arc::new(Ringer::default())));
    let site = site.with_formats(Arc::new(formats.clone()));
    Arc::new(Scope::at(&Arc::new(site), None))
}

/// What a frame has beside the message of a stream.
const FRAME_HEADER: usize = 16;

/// When a call has no time left.
type TimeOut = Option<(Deadline, Sleep)>;

fn time_out(context: &Context) -> TimeOut {
    let deadline = context.deadline()?;
    Some((deadline, context.sleep(context.remaining())))
}

/// What `future` becomes.
///
/// # Errors
///
/// When the time is over first.
async fn within<T>(time_out: TimeOut, future: impl Future<Output = T>) -> Result<T, Status> {
    let Some((deadline, time_out)) = time_out else {
        return Ok(future.await);
    };
    let (mut time_out, mut future) = (pin!(time_out), pin!(future));
    poll_fn(|cx| match time_out.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(Err(out_of_time(deadline))),
        Poll::Pending => future.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// The answer to a stream of a method without, and the other way round.
fn of_another_shape(request: &Request) -> Status {
    let path = request.method().path;
    let text = if request.method().shape.is_stream() {
        format!("{path} is called by a stream, and this call opens none")
    } else {
        format!("{path} is not called by a stream")
    };
    Status::new(Code::NoMethod, text)
}

fn out_of_time(deadline: Deadline) -> Status {
    match deadline.cause() {
        Cause::Own => Status::new(Code::DeadlineExceeded, "no answer in time"),
        Cause::Caller => Status::new(
            Code::InheritedDeadlineExceeded,
            "no answer within the time inherited from the caller",
        ),
    }
}
