//! Incoming streams between the bytes and the handler, one way in for each shape.

use crate::message::Message;
use crate::stream::{Inbound, Outbound, Pipe, Terms, Writer, encoded};
use crate::{Code, Context, MessageType, Request, Response, Status};

/// An incoming stream whose handler writes its messages itself, or has none.
#[derive(Debug)]
pub struct IncomingStream {
    context: Context,
}

impl IncomingStream {
    /// Takes a request apart whose caller sends one message and receives many. Waits for that one.
    ///
    /// # Errors
    ///
    /// When the request opens no stream; when there is no message in it, or not one of that type.
    pub async fn server_stream<Q: Message, P: Message>(
        request: Request,
    ) -> Result<(Self, Q, Outbound<P>), Status> {
        let method = request.method();
        let (context, pipe) = opened(request)?;
        let mut inbound = Inbound::of_caller(pipe.reader, &method.request);
        let Some(message) = inbound.next().await? else {
            let text =
                "the caller ended its side of the stream without the one message that opens it";
            return Err(Status::new(Code::Malformed, text));
        };
        let outbound = Outbound::to_caller(pipe.writer, &method.reply);
        Ok((Self { context }, message, outbound))
    }

    /// Takes a request apart whose caller sends and receives many messages.
    ///
    /// # Errors
    ///
    /// When the request opens no stream.
    pub fn duplex<Q: Message, P: Message>(
        request: Request,
    ) -> Result<(Self, Inbound<Q>, Outbound<P>), Status> {
        let method = request.method();
        let (context, pipe) = opened(request)?;
        let inbound = Inbound::of_caller(pipe.reader, &method.request);
        let outbound = Outbound::to_caller(pipe.writer, &method.reply);
        Ok((Self { context }, inbound, outbound))
    }

    /// What the call carries beside its messages.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Makes the handler's result the end of the stream.
    ///
    /// # Errors
    ///
    /// The handler's.
    pub fn close(self, result: Result<(), Status>) -> Result<Response, Status> {
        result.map(|()| end(self.context))
    }
}

/// An incoming stream that the handler answers by one message.
#[derive(Debug)]
pub struct IncomingUpload {
    context: Context,
    writer: Writer,
    of: &'static MessageType,
}

impl IncomingUpload {
    /// Takes a request apart whose caller sends many messages and receives one.
    ///
    /// # Errors
    ///
    /// When the request opens no stream.
    pub fn open<Q: Message>(request: Request) -> Result<(Self, Inbound<Q>), Status> {
        let method = request.method();
        let (context, pipe) = opened(request)?;
        let call = Self {
            context,
            writer: pipe.writer,
            of: &method.reply,
        };
        Ok((call, Inbound::of_caller(pipe.reader, &method.request)))
    }

    /// What the call carries beside its messages.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Writes the handler's reply and makes it the end of the stream. Behind an error nothing is written.
    ///
    /// # Errors
    ///
    /// The handler's, or that the reply cannot be written.
    pub fn close<P: Message>(self, result: Result<P, Status>) -> Result<Response, Status> {
        let reply = encoded(&self.writer, &result?, self.of)?;
        // One message is taken in any case; a caller who is gone reads nothing.
        let _is_read = self.writer.put(reply);
        self.writer.end(Ok(()));
        Ok(end(self.context))
    }
}

/// The stream that a request opens, and the call that it is.
fn opened(mut request: Request) -> Result<(Context, Pipe), Status> {
    let pipe = request.take_pipe().ok_or_else(|| {
        let text = format!(
            "{} is called by a stream, and this call opens none",
            request.method().path
        );
        Status::new(Code::NoMethod, text)
    })?;
    // Whoever brought the stream has said so by now, unless nothing lies between caller and handler.
    let terms = Terms {
        format: request.format(),
        formats: request.context().scope().shared_formats(),
        ..Terms::plain().clone()
    };
    pipe.reader.set_terms(terms.clone());
    pipe.writer.set_terms(terms);
    pipe.writer.open();
    let (context, _) = request.into_parts();
    Ok((context, pipe))
}

fn end(context: Context) -> Response {
    let response = Response::empty();
    match context.into_trailer() {
        None => response,
        Some(trailer) => response.with_trailer(trailer),
    }
}
