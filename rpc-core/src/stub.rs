//! What generated code calls, so that it holds no logic of its own. Not for hand-written code.

mod streams;

pub use prost;
pub use streams::{IncomingStream, IncomingUpload};

use crate::message::{self, Message};
use crate::{Code, Context, Format, MessageType, Request, Response, Status, serialize};

/// An incoming call between the bytes and the handler.
#[derive(Debug)]
pub struct Incoming {
    context: Context,
    /// Present if the call is not in protobuf. Behind a pointer, as hardly a call has one and all are moved with it.
    other: Option<Box<Other>>,
}

/// What has to be known for a reply that is not protobuf.
#[derive(Debug)]
struct Other {
    format: Format,
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
        if matches!(format, Format::Protobuf) {
            let message = M::decode(Format::Protobuf, body)?;
            let call = Self {
                context,
                other: None,
            };
            return Ok((call, message));
        }
        let table = || context.scope().formats();
        let message = serialize::decode(format, table, &method.request, body)?;
        let of = &method.reply;
        let other = Some(Box::new(Other { format, of }));
        Ok((Self { context, other }, message))
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
        let Self { context, other } = self;
        let response = match other {
            None => Response::new(message::encode(&result?, Format::Protobuf)?),
            Some(other) => {
                let table = || context.scope().formats();
                let body = serialize::encode(&result?, other.format, table, other.of)?;
                let mut response = Response::new(body);
                response.set_format(other.format);
                response
            }
        };
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
