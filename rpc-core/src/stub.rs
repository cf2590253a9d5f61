//! What generated code calls, so that it holds no logic of its own. Not for hand-written code.

mod streams;

pub use prost;
pub use streams::{IncomingStream, IncomingUpload};

use crate::message::{self, Message};
use crate::{Code, Context, Format, Request, Response, Status};

/// An incoming call between the bytes and the handler.
#[derive(Debug)]
pub struct Incoming {
    context: Context,
    format: Format,
}

impl Incoming {
    /// Takes a request apart into the call and its message.
    ///
    /// # Errors
    ///
    /// When the body is not a message of that type.
    pub fn open<M: Message>(request: Request) -> Result<(Self, M), Status> {
        let format = request.format();
        let (context, body) = request.into_parts();
        let message = M::decode(format, body)?;
        Ok((Self { context, format }, message))
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
        let body = message::encode(&result?, self.format)?;
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
