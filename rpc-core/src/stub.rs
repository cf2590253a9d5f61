//! What generated code calls, so that it holds no logic of its own. Not for hand-written code.

mod streams;

pub use crate::large_field::take_largest;
pub use prost;
pub use streams::{IncomingStream, IncomingUpload};

use crate::message::Message;
use crate::{Code, Context, Format, MessageType, Request, Response, Status, serialize};

/// An incoming call between the bytes and the handler.
#[derive(Debug)]
pub struct Incoming {
    context: Context,
    /// What the reply is written in, as the request was.
    format: Format,
    /// The type of the reply.
    of: &'static MessageType,
}

impl Incoming {
    /// Takes a request apart into the call and its message.
    ///
    /// # Errors
    ///
    /// When the body is not a message of that type, or nobody knows the format it is written in.
    pub fn open<M: Message>(request: Request) -> Result<(Self, M), Status> {
        let (format, method) = (request.format(), request.method());
        let (context, body) = request.into_parts();
        let table = || context.scope().formats();
        let message = serialize::decode(format, table, &method.request, body.into_bytes())?;
        let of = &method.reply;
        Ok((
            Self {
                context,
                format,
                of,
            },
            message,
        ))
    }

    /// What the call carries beside its message.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Makes the handler's result a response, in the format of the request.
    ///
    /// # Errors
    ///
    /// The handler's, or that the reply cannot be written.
    pub fn close<M: Message>(self, result: Result<M, Status>) -> Result<Response, Status> {
        let Self {
            context,
            format,
            of,
        } = self;
        let table = || context.scope().formats();
        let mut response = Response::new(serialize::into_body(result?, format, table, of)?);
        response.set_format(format);
        Ok(match context.into_trailer() {
            None => response,
            Some(trailer) => response.with_trailer(trailer),
        })
    }
}

/// The answer to a method that is in the table and not in the stub. It cannot happen with generated code.
pub fn no_such_method(request: &Request) -> Status {
    Status::new(
        Code::NoMethod,
        format!("{} is not served by this stub", request.method().path),
    )
}
