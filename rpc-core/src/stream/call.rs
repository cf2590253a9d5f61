//! [`StreamCall`]: a stream to be opened, lazy until it is.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use super::running::Running;
use super::{Inbound, Outbound, Pipe, Upload};
use crate::call::background;
use crate::message::Message;
use crate::metadata::Key;
use crate::{
    Body, Bytes, Compression, Context, Format, MethodDescriptor, Request, Service, Status, park,
};

/// A stream to be opened: generated clients return one. It does nothing until it is [opened](StreamCall::open).
///
/// What opening gives depends on the method's shape, `K`: an [`Inbound`] for [`ServerStream`], an [`Upload`] for
/// [`ClientStream`], both an [`Outbound`] and an [`Inbound`] for [`Duplex`].
#[must_use = "a stream is not there until it is opened"]
pub struct StreamCall<S, K> {
    service: S,
    method: &'static MethodDescriptor,
    kind: K,
    context: Option<Context>,
    timeout: Option<Duration>,
    metadata: Vec<(Key, Bytes)>,
    format: Format,
    compression: Compression,
}

impl<S: Service + 'static, Q: Message, P: Message> StreamCall<S, ServerStream<Q, P>> {
    /// A call of `method` with `request`, through `service`, that is answered by many messages.
    pub fn server_stream(service: S, method: &'static MethodDescriptor, request: Q) -> Self {
        let reply = PhantomData;
        Self::new(service, method, ServerStream { request, reply })
    }
}

impl<S: Service + 'static, Q: Message, P: Message> StreamCall<S, ClientStream<Q, P>> {
    /// A call of `method` with many messages, through `service`, that is answered by one.
    pub fn client_stream(service: S, method: &'static MethodDescriptor) -> Self {
        Self::new(service, method, ClientStream(PhantomData))
    }
}

impl<S: Service + 'static, Q: Message, P: Message> StreamCall<S, Duplex<Q, P>> {
    /// A call of `method` with many messages, through `service`, that is answered by many.
    pub fn duplex(service: S, method: &'static MethodDescriptor) -> Self {
        Self::new(service, method, Duplex(PhantomData))
    }
}

impl<S: Service + 'static, K: Kind> StreamCall<S, K> {
    fn new(service: S, method: &'static MethodDescriptor, kind: K) -> Self {
        Self {
            service,
            method,
            kind,
            context: None,
            timeout: None,
            metadata: Vec::new(),
            format: Format::Protobuf,
            compression: Compression::None,
        }
    }

    /// Opens the stream on behalf of another call: it inherits what is left of that one's deadline, its metadata and
    /// marks.
    pub fn within(mut self, cx: &Context) -> Self {
        self.context = Some(cx.child());
        self
    }

    /// Bounds the time of the whole stream, from its opening to its end. Without it, and without a deadline inherited
    /// by [`StreamCall::within`], a stream lasts as long as it likes: the default of a channel is for other calls.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends `key` with `value` along when the stream is opened.
    pub fn metadata(mut self, key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Writes the messages of both ends in another format than protobuf.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Compresses every message of both ends, also those that become longer by it. Not every peer can do that for
    /// streams: those in C++ cannot.
    pub fn compress(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Opens the stream, when the result is awaited on any executor or [waited for](Opening::wait) on a plain thread.
    ///
    /// # Errors
    ///
    /// Why the stream was refused, or the call failed.
    pub fn open(self) -> Opening<S, K> {
        Opening(State::Lazy(self))
    }

    fn start(self) -> Opened<K> {
        let mut context = self.context.unwrap_or_else(background);
        for (key, value) in self.metadata {
            context.metadata_mut().insert(key, value);
        }
        let (ours, theirs) = Pipe::pair();
        let mut request = Request::new(self.method, context, Body::new());
        request.set_format(self.format);
        request.set_compression(self.compression);
        request.set_timeout(self.timeout);
        request.set_pipe(theirs);
        let service = self.service;
        let call = Running::new(Box::pin(async move { service.call(request).await }));
        Opened {
            kind: self.kind,
            outbound: Outbound::to_handler(ours.writer, &self.method.request, call.clone()),
            inbound: Inbound::of_handler(ours.reader, &self.method.reply, call),
        }
    }
}

impl<S, K> fmt::Debug for StreamCall<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamCall")
            .field("method", &self.method.path)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A stream that is being opened. Made by [`StreamCall::open`]; it does nothing until it is awaited or waited for, and
/// dropping it gives the stream up.
#[must_use = "a stream is not there until its opening is awaited or waited for"]
pub struct Opening<S, K: Kind>(State<S, K>);

enum State<S, K: Kind> {
    Lazy(StreamCall<S, K>),
    Begun(Opened<K>),
    Done,
}

/// Both ends of a stream that nobody has accepted yet.
struct Opened<K: Kind> {
    kind: K,
    outbound: Outbound<K::Sent>,
    inbound: Inbound<K::Received>,
}

// Nothing in there is ever pinned: the call is boxed.
impl<S, K: Kind> Unpin for Opening<S, K> {}

impl<S: Service + 'static, K: Kind> Opening<S, K> {
    /// Parks this thread until the other end has accepted the stream.
    ///
    /// # Errors
    ///
    /// Those of [`StreamCall::open`]; [`Code::RequestInvalid`](crate::Code::RequestInvalid) on the thread of an event
    /// loop, which would wait for itself.
    pub fn wait(self) -> Result<K::Handles, Status> {
        park::wait_or_refuse(self)
    }
}

impl<S: Service + 'static, K: Kind> Future for Opening<S, K> {
    type Output = Result<K::Handles, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Self::Output> {
        let mut opened = match std::mem::replace(&mut self.0, State::Done) {
            State::Lazy(call) => call.start(),
            State::Begun(opened) => opened,
            State::Done => panic!("polled after it was done"),
        };
        match opened.inbound.poll_open(cx) {
            Poll::Ready(Ok(())) => {
                let Opened {
                    kind,
                    outbound,
                    inbound,
                } = opened;
                Poll::Ready(kind.handles(outbound, inbound))
            }
            Poll::Ready(Err(status)) => Poll::Ready(Err(status)),
            Poll::Pending => {
                self.0 = State::Begun(opened);
                Poll::Pending
            }
        }
    }
}

impl<S, K: Kind> fmt::Debug for Opening<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening")
    }
}

/// What a caller has of a stream: [`ServerStream`], [`ClientStream`] or [`Duplex`], the counterparts of
/// [`Shape`](crate::Shape). There are no others.
pub trait Kind: sealed::Sealed + Sized + Send + 'static {
    /// What the caller sends.
    type Sent: Message;
    /// What it receives.
    type Received: Message;
    /// What it is given when the stream is open.
    type Handles;

    /// Makes what the caller is given of both directions, once the stream is open.
    #[doc(hidden)]
    fn handles(
        self,
        outbound: Outbound<Self::Sent>,
        inbound: Inbound<Self::Received>,
    ) -> Result<Self::Handles, Status>;
}

mod sealed {
    #[expect(unnameable_types, reason = "so that nobody else implements it")]
    pub trait Sealed {}
}

/// One message there, many back.
#[derive(Debug)]
pub struct ServerStream<Q, P> {
    request: Q,
    reply: PhantomData<fn() -> P>,
}

impl<Q, P> sealed::Sealed for ServerStream<Q, P> {}

impl<Q: Message, P: Message> Kind for ServerStream<Q, P> {
    type Sent = Q;
    type Received = P;
    type Handles = Inbound<P>;

    fn handles(self, mut outbound: Outbound<Q>, inbound: Inbound<P>) -> Result<Inbound<P>, Status> {
        // A request that cannot be written is not the end of those that could.
        outbound.ends_in_order = false;
        // A stream may be over by now, and nobody read the request: what there is to read says how.
        let _is_read = outbound.put(&self.request)?;
        outbound.ends_in_order = true;
        Ok(inbound)
    }
}

/// Many messages there, one back.
#[derive(Debug)]
pub struct ClientStream<Q, P>(PhantomData<fn(Q) -> P>);

impl<Q, P> sealed::Sealed for ClientStream<Q, P> {}

impl<Q: Message, P: Message> Kind for ClientStream<Q, P> {
    type Sent = Q;
    type Received = P;
    type Handles = Upload<Q, P>;

    fn handles(self, outbound: Outbound<Q>, inbound: Inbound<P>) -> Result<Upload<Q, P>, Status> {
        Ok(Upload::new(outbound, inbound))
    }
}

/// Many messages of both, at the same time.
#[derive(Debug)]
pub struct Duplex<Q, P>(PhantomData<fn(Q) -> P>);

impl<Q, P> sealed::Sealed for Duplex<Q, P> {}

impl<Q: Message, P: Message> Kind for Duplex<Q, P> {
    type Sent = Q;
    type Received = P;
    type Handles = (Outbound<Q>, Inbound<P>);

    fn handles(
        self,
        outbound: Outbound<Q>,
        inbound: Inbound<P>,
    ) -> Result<(Outbound<Q>, Inbound<P>), Status> {
        Ok((outbound, inbound))
    }
}
