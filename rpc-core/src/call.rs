//! [`Call`]: a call to be made, lazy until it is awaited or waited for.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::message::{Exchange, Message};
use crate::metadata::Key;
use crate::{
    Body, Clock, Code, Compression, Context, Format, Marks, MethodDescriptor, Request, Response,
    Scope, Service, Status, chain, park, serialize,
};

/// A call to be made: generated clients return one. It does nothing until it is awaited, on any executor, or
/// [waited for](Call::wait), on a plain thread.
///
/// ```no_run
/// # use rpc_core::{Call, Context, Raw, Service, Status};
/// # use std::time::Duration;
/// # async fn example(call: impl Fn() -> Call<rpc_core::BoxService, Raw, Raw>, cx: &Context) -> Result<(), Status> {
/// let reply = call().within(cx).timeout(Duration::from_millis(50)).await?;
/// let reply = call().wait()?; // on a plain thread
/// # Ok(()) }
/// ```
#[must_use = "a call does nothing until it is awaited or waited for"]
pub struct Call<S, Q, P> {
    service: S,
    method: &'static MethodDescriptor,
    message: Q,
    context: Option<Context>,
    timeout: Option<Duration>,
    metadata: Vec<(Key, Bytes)>,
    marks: Marks,
    attachment: Bytes,
    format: Format,
    compression: Compression,
    reply: PhantomData<fn() -> P>,
}

impl<S: Service, Q: Message + Sync, P: Message> Call<S, Q, P> {
    /// A call of `method` with `message`, through `service`.
    pub fn new(service: S, method: &'static MethodDescriptor, message: Q) -> Self {
        Self {
            service,
            method,
            message,
            context: None,
            timeout: None,
            metadata: Vec::new(),
            marks: Marks::default(),
            attachment: Bytes::new(),
            format: Format::Protobuf,
            compression: Compression::None,
            reply: PhantomData,
        }
    }

    /// Makes the call on behalf of another: it inherits what is left of that one's deadline, its marks, and of its metadata
    /// what the channel's [`Forwarding`](crate::Forwarding) takes along.
    pub fn within(mut self, cx: &Context) -> Self {
        self.context = Some(cx.heir());
        self
    }

    /// Bounds the call's time. Without it the channel's default holds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends `key` with `value` along.
    pub fn metadata(mut self, key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Says how important the call is, and those that are made on its behalf: the larger, the more. Without it the call is
    /// as important as the one that it is made [within](Call::within), or 0.
    pub fn priority(self, priority: u8) -> Self {
        self.metadata(chain::PRIORITY, vec![priority])
    }

    /// Marks the call as test traffic of that key, and all that are made on its behalf.
    pub fn dyed(self, key: impl Into<String>) -> Self {
        self.marks(Marks::DYED)
            .metadata(chain::DYEING_KEY, key.into())
    }

    /// Sets these marks, beside those that it inherits.
    pub fn marks(mut self, marks: Marks) -> Self {
        self.marks = self.marks | marks;
        self
    }

    /// Sends bytes beside the message, neither written in a format nor compressed. Large ones, of more than 16 KiB, are not
    /// copied on their way to the socket. The handler finds them by [`Context::attachment`].
    pub fn attachment(mut self, attachment: Bytes) -> Self {
        self.attachment = attachment;
        self
    }

    /// Writes the message in another format than protobuf: one that the channel knows, as the reply will be in it, too.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Compresses the message, if it is long enough for that and becomes smaller.
    pub fn compress(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Makes the call and parks this thread until it is answered.
    ///
    /// # Errors
    ///
    /// Why the call failed; [`Code::RequestInvalid`] on the thread of an event loop, which would wait for itself.
    pub fn wait(self) -> Result<P, Status> {
        self.wait_response().map(Response::into_body)
    }

    /// Like [`Call::wait`], with all that came beside the reply.
    ///
    /// # Errors
    ///
    /// Those of [`Call::wait`].
    pub fn wait_response(self) -> Result<Response<P>, Status> {
        park::wait_or_refuse(self.response())
    }

    /// Makes the call; the future's result has all that came beside the reply.
    ///
    /// # Errors
    ///
    /// Why the call failed.
    pub async fn response(self) -> Result<Response<P>, Status> {
        let of = &self.method.reply;
        let (service, request) = self.into_request(Exchange::Unary)?;
        let response = service.call(request).await?;
        let format = response.format();
        let mut decoded = Ok(());
        let decode = |body: Body| {
            serialize::decode::<P>(format, || service.formats(), of, body.into_bytes())
        };
        let response = response.map_body(|body| match decode(body) {
            Ok(message) => Some(message),
            Err(status) => {
                decoded = Err(Status::new(
                    Code::ResponseMalformed,
                    status.message().to_owned(),
                ));
                None
            }
        });
        decoded?;
        Ok(response.map_body(|body| body.expect("decoded above")))
    }

    /// Sends the request and does not wait for an answer: it is never answered, and nobody learns whether it arrived. Ready
    /// once a connection has it.
    ///
    /// # Errors
    ///
    /// When it could not be handed to a connection.
    pub async fn one_way(self) -> Result<(), Status> {
        let (service, request) = self.into_request(Exchange::OneWay)?;
        service.call(request).await.map(drop)
    }

    /// Like [`Call::one_way`], for a plain thread.
    ///
    /// # Errors
    ///
    /// Those of [`Call::one_way`]; [`Code::RequestInvalid`] on the thread of an event loop, which would wait for itself.
    pub fn wait_one_way(self) -> Result<(), Status> {
        park::wait_or_refuse(self.one_way())
    }

    fn into_request(self, exchange: Exchange) -> Result<(S, Request), Status> {
        let table = || self.service.formats();
        let body = serialize::into_body(self.message, self.format, table, &self.method.request)
            .map_err(|status| Status::new(Code::RequestUnencodable, status.message().to_owned()))?;
        let mut context = match self.context {
            Some(mut context) => {
                context.forward(self.service.forwarding());
                context
            }
            None => background(),
        };
        if self.marks != Marks::default() {
            context.set_marks(context.marks() | self.marks);
        }
        for (key, value) in self.metadata {
            context.metadata_mut().insert(key, value);
        }
        let mut request = Request::new(self.method, context, body);
        request.set_format(self.format);
        request.set_compression(self.compression);
        request.set_attachment(self.attachment);
        request.set_exchange(exchange);
        request.set_timeout(self.timeout);
        Ok((self.service, request))
    }
}

/// The context of a call that is made on behalf of no other. The scope is only the place until a channel gives the call
/// its own, so calls of a thread share one (`benches/tests/client_allocations.rs`).
pub(crate) fn background() -> Context {
    thread_local! {
        static SCOPE: Arc<Scope> = Arc::new(Scope::new(Clock::system(), None, None));
    }
    match SCOPE.try_with(Arc::clone) {
        // Whoever ends it means that call alone.
        Ok(scope) if !scope.has_ended() => Context::new(&scope),
        _ => Context::background(),
    }
}

impl<S, Q, P> IntoFuture for Call<S, Q, P>
where
    S: Service + 'static,
    Q: Message + Sync,
    P: Message,
{
    type Output = Result<P, Status>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.response().await.map(Response::into_body) })
    }
}

impl<S, Q, P> fmt::Debug for Call<S, Q, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method.path)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
