//! What a [`Mock`] answers to streams.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rpc_core::stream::Inbound;
use rpc_core::stub::{IncomingStream, IncomingUpload};
use rpc_core::{
    Context, Format, Message, MethodDescriptor, Raw, Request, Response, Status, serialize,
};

use super::{Answer, Mock, Shared, Streamed, lock};

/// Serves one stream.
pub(super) type StreamAnswer = dyn Fn(Request, Arc<Shared>) -> Served + Send + Sync;

type Served = Pin<Box<dyn Future<Output = Result<Response, Status>> + Send>>;

impl Mock {
    /// Answers streams of `path` that have one request: each is sent the messages that `answer` returns.
    pub fn on_server_stream<Q: Message, P: Message, I>(
        self,
        path: &'static str,
        answer: impl Fn(&Context, Q) -> Result<I, Status> + Send + Sync + 'static,
    ) -> Self
    where
        I: IntoIterator<Item = P, IntoIter: Send> + Send,
    {
        let answer = Arc::new(answer);
        self.on_stream(path, move |request, shared| {
            let answer = Arc::clone(&answer);
            async move {
                let (method, format) = (request.method(), request.format());
                let (call, message, mut outbound) =
                    IncomingStream::server_stream::<Raw, P>(request).await?;
                let message = shared.remember(method, format, message)?;
                let replies = answer(call.context(), message)?;
                for reply in replies {
                    outbound.send(reply).await?;
                }
                call.close(Ok(()))
            }
        })
    }

    /// Answers streams of `path` that have one reply: what `answer` makes of all messages of a stream.
    pub fn on_client_stream<Q: Message, P: Message>(
        self,
        path: &'static str,
        answer: impl Fn(&Context, Vec<Q>) -> Result<P, Status> + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        self.on_stream(path, move |request, shared| {
            let answer = Arc::clone(&answer);
            async move {
                let (method, format) = (request.method(), request.format());
                let (call, mut inbound) = IncomingUpload::open::<Raw>(request)?;
                let mut messages = Vec::new();
                while let Some(message) = shared.next(method, format, &mut inbound).await? {
                    messages.push(message);
                }
                let reply = answer(call.context(), messages);
                call.close(reply)
            }
        })
    }

    /// Answers streams of `path` that have many messages of both: each message is answered by those that `answer`
    /// returns. The first error ends the stream.
    pub fn on_duplex<Q: Message, P: Message, I>(
        self,
        path: &'static str,
        answer: impl Fn(&Context, Q) -> Result<I, Status> + Send + Sync + 'static,
    ) -> Self
    where
        I: IntoIterator<Item = P, IntoIter: Send> + Send,
    {
        let answer = Arc::new(answer);
        self.on_stream(path, move |request, shared| {
            let answer = Arc::clone(&answer);
            async move {
                let (method, format) = (request.method(), request.format());
                let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Raw, P>(request)?;
                while let Some(message) = shared.next(method, format, &mut inbound).await? {
                    let replies = answer(call.context(), message)?;
                    for reply in replies {
                        outbound.send(reply).await?;
                    }
                }
                call.close(Ok(()))
            }
        })
    }

    fn on_stream<F>(
        self,
        path: &'static str,
        serve: impl Fn(Request, Arc<Shared>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Response, Status>> + Send + 'static,
    {
        let serve = move |request, shared| -> Served { Box::pin(serve(request, shared)) };
        self.answered(path, Answer::Stream(Arc::new(serve)))
    }
}

impl Shared {
    /// The next message of a stream, which is remembered.
    async fn next<Q: Message>(
        &self,
        method: &'static MethodDescriptor,
        format: Format,
        inbound: &mut Inbound<Raw>,
    ) -> Result<Option<Q>, Status> {
        let message = inbound.next().await?;
        message
            .map(|message| self.remember(method, format, message))
            .transpose()
    }

    fn remember<Q: Message>(
        &self,
        method: &'static MethodDescriptor,
        format: Format,
        message: Raw,
    ) -> Result<Q, Status> {
        lock(&self.streamed).push(Streamed {
            method,
            format,
            message: message.0.clone(),
        });
        serialize::decode(format, || &self.formats, &method.request, message.0)
    }
}
