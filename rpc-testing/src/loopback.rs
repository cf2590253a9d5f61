//! [`Loopback`]: a router as a channel, without a port.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rpc_codec::{Codecs, Formats, Limits, ret};
use rpc_core::message::Exchange;
use rpc_core::serialize::FormatTable;
use rpc_core::time::Sleep;
use rpc_core::{
    Bytes, Cause, Clock, Code, Compression, Context, Deadline, Format, Request, Response, Scope,
    Service, Site, Status,
};
use rpc_server::Router;

use crate::clock::Ringer;

/// A router as a channel: give it to a generated client, and calls run the handler where they are awaited or waited for,
/// behind the filters and with the time-outs it was mounted with.
///
/// What a handler sees and what a caller gets are as if a wire lay between them: metadata and marks travel, deadlines
/// become the caller's, what a handler returns as a status arrives as one that was sent, a panic arrives as
/// [`Code::Internal`]. What is not there is what belongs to a server and not to its services: policies at the door, pools
/// and their bounds. A handler that blocks blocks whoever calls.
///
/// ```
/// use rpc_core::{Call, Code, Idempotency, MethodDescriptor, Raw};
/// use rpc_server::Router;
/// use rpc_testing::Loopback;
/// # static SAY: MethodDescriptor = MethodDescriptor {
/// #     index: 0, name: "Say", path: "/demo.Nobody/Say", alias: None, service: "demo.Nobody",
/// #     idempotency: Idempotency::Unknown,
/// #     request: rpc_core::MessageType::UNKNOWN,
/// #     reply: rpc_core::MessageType::UNKNOWN,
/// # };
///
/// let channel = Loopback::new(Router::new());
/// let call = Call::<_, Raw, Raw>::new(channel, &SAY, Raw("hello".into()));
/// assert_eq!(call.wait().unwrap_err().code(), Code::NoMethod);
/// ```
#[derive(Clone)]
pub struct Loopback {
    router: Arc<Router>,
    scope: Arc<Scope>,
    formats: Formats,
    limits: Arc<Limits>,
    timeout: Option<Duration>,
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
        }
    }

    /// How long a call may take that does not say so itself. Default: 1 s.
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

    /// The request as the other end sees it: what is left of the time is its caller's, and nothing is packed.
    fn arrived(&self, mut request: Request) -> Request {
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
        request.set_timeout(None);
        request.set_compression(Compression::None);
        request
    }

    fn unpacked(&self, mut response: Response) -> Result<Response, Status> {
        let packed_as = response.compression();
        if packed_as != Compression::None {
            let max = self.limits.decompressed_bytes_max;
            let unpacked = Codecs::default().decompress(packed_as, response.body(), max);
            *response.body_mut() = unpacked
                .map_err(|error| Status::new(Code::ResponseMalformed, error.to_string()))?;
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
        let timeout = request.timeout().or(self.timeout);
        let context = request.context_mut();
        context.enter(&self.scope);
        let now = context.now();
        if let Some(at) = timeout.and_then(|timeout| now.checked_add(timeout)) {
            context.narrow(Deadline::new(at, Cause::Own));
        }
        let deadline = context.deadline();
        if let Some(deadline) = deadline.filter(|deadline| deadline.is_over(now)) {
            return Err(out_of_time(deadline));
        }
        let exchange = request.exchange();
        let context = request.context();
        let time_out = deadline.map(|deadline| (deadline, context.sleep(deadline.remaining(now))));
        let served = self.router.call(self.arrived(request));
        let result = match time_out {
            None => served.await,
            Some((deadline, time_out)) => match before(time_out, served).await {
                Some(result) => result,
                None => return Err(out_of_time(deadline)),
            },
        };
        match result {
            // Nobody is told what became of it.
            _ if exchange == Exchange::OneWay => Ok(Response::new(Bytes::new())),
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

/// What `future` becomes, unless `time_out` is there first.
async fn before<T>(time_out: Sleep, future: impl Future<Output = T>) -> Option<T> {
    let (mut time_out, mut future) = (pin!(time_out), pin!(future));
    poll_fn(|cx| match time_out.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx).map(Some),
    })
    .await
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
