//! [`Channel`]: a service whose handler is somewhere else.

use std::fmt;
use std::future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rpc_codec::{Codecs, Formats};
use rpc_core::filter::Open;
use rpc_core::message::Exchange;
use rpc_core::serialize::FormatTable;
use rpc_core::{
    Cause, Code, Compression, Deadline, Filter, Forwarding, Request, Response, Scope, Service,
    Status,
};
use rpc_net::Post;

use crate::caller::Caller;
use crate::driver::Mail;
use crate::pending::Pending;

/// A service whose handler is somewhere else: filters, then an endpoint, then a connection. Clones share all of it;
/// when the last is gone the connections are closed.
pub struct Channel<F = Open> {
    shared: Arc<Shared<F>>,
}

pub(crate) struct Shared<F> {
    pub(crate) filters: F,
    pub(crate) transport: Transport,
    pub(crate) timeout: Option<Duration>,
    /// How this channel calls itself and the service.
    pub(crate) caller: Caller,
    pub(crate) forwarding: Forwarding,
    pub(crate) scope: Arc<Scope>,
}

impl<F> Shared<F> {
    /// How long a call may take that does not say so itself. A stream lasts as long as there is something to say.
    fn timeout_of(&self, request: &Request) -> Option<Duration> {
        match request.exchange() {
            Exchange::Unary | Exchange::OneWay => self.timeout,
            Exchange::Stream => None,
        }
    }
}

impl<F> Channel<F> {
    pub(crate) fn new(shared: Shared<F>) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl<F: Filter> Service for Channel<F> {
    async fn call(&self, mut request: Request) -> Result<Response, Status> {
        let shared = &*self.shared;
        let timeout = request.timeout().or_else(|| shared.timeout_of(&request));
        let context = request.context_mut();
        context.enter(&shared.scope);
        let now = context.now();
        if let Some(at) = timeout.and_then(|timeout| now.checked_add(timeout)) {
            context.narrow(Deadline::new(at, Cause::Own));
        }
        if let Some(deadline) = context.deadline().filter(|deadline| deadline.is_over(now)) {
            return Err(out_of_time(deadline));
        }
        shared.caller.sign(context);
        shared.filters.call(request, &shared.transport).await
    }

    fn forwarding(&self) -> &Forwarding {
        &self.shared.forwarding
    }

    fn formats(&self) -> &dyn FormatTable {
        &self.shared.transport.formats
    }
}

impl<F> Clone for Channel<F> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<F> fmt::Debug for Channel<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("callee", &self.shared.caller.callee())
            .finish_non_exhaustive()
    }
}

/// The innermost part of a channel: each call through it picks an endpoint anew.
pub(crate) struct Transport {
    pub(crate) post: Post<Mail>,
    pub(crate) codecs: Codecs,
    pub(crate) formats: Formats,
    pub(crate) unpacked_max: usize,
}

impl Service for Transport {
    async fn call(&self, mut request: Request) -> Result<Response, Status> {
        pack(&mut request, &self.codecs)?;
        let deadline = request.context().deadline();
        let waiting = future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let (pending, duty) = Pending::new(request, waiting);
        self.post
            .send(Mail::call(duty, deadline))
            .map_err(|_| Status::new(Code::Cancelled, "the channel's event loop has ended"))?;
        unpack(pending.await?, &self.codecs, self.unpacked_max)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // A loop that has ended is closed already.
        let _ = self.post.send(Mail::close());
    }
}

/// Packs a body if that was asked for and makes it smaller.
fn pack(request: &mut Request, codecs: &Codecs) -> Result<(), Status> {
    // That of a stream says how its messages are packed.
    if request.compression() == Compression::None || request.exchange() == Exchange::Stream {
        return Ok(());
    }
    let packed = codecs
        .compress(request.compression(), &request.body().to_bytes())
        .map_err(|error| {
            Status::new(
                Code::RequestUnencodable,
                format!("the request cannot be packed: {error}"),
            )
        })?;
    match packed {
        Some(packed) => *request.body_mut() = packed.into(),
        None => request.set_compression(Compression::None),
    }
    Ok(())
}

fn unpack(mut response: Response, codecs: &Codecs, max: usize) -> Result<Response, Status> {
    if response.compression() != Compression::None {
        let body = response.body().to_bytes();
        let unpacked = codecs.decompress(response.compression(), &body, max);
        let unpacked = unpacked.map_err(|error| {
            Status::new(
                Code::ResponseMalformed,
                format!("the response cannot be unpacked: {error}"),
            )
        })?;
        *response.body_mut() = unpacked.into();
        response.set_compression(Compression::None);
    }
    Ok(response)
}

/// Nothing is left of the time, so nothing is sent.
fn out_of_time(deadline: Deadline) -> Status {
    match deadline.cause() {
        Cause::Own => Status::new(
            Code::DeadlineExceeded,
            "no time is given for the call; it was not sent",
        ),
        Cause::Caller => {
            let text =
                "nothing is left of the time inherited from the caller; the call was not sent";
            Status::new(Code::InheritedDeadlineExceeded, text)
        }
    }
}
