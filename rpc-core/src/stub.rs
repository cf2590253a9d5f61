//! What generated code calls, so that it holds no logic of its own. Not for hand-written code.

pub use prost;

use crate::message::Message;
use crate::{Code, Context, Format, MethodDescriptor, Request, Response, Status, serialize};

/// An incoming call between the bytes and the handler.
#[derive(Debug)]
pub struct Incoming {
    context: Context,
    method: &'static MethodDescriptor,
    format: Format,
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
        let message = serialize::decode(format, table, &method.request, body)?;
        let call = Self {
            context,
            method,
            format,
        };
        Ok((call, message))
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
        let table = || self.context.scope().formats();
        let body = serialize::encode(&result?, self.format, table, &self.method.reply)?;
        let mut response = Response::new(body);
        response.set_format(self.format);
        Ok(match self.context.into_trailer() {
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
