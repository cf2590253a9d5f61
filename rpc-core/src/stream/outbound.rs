//! [`Outbound`]: where the messages of this end of a stream go in.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread;

use super::Writer;
use super::lane::nobody_reads;
use super::running::{Half, Running};
use crate::message::Message;
use crate::{Bytes, Code, Compression, MessageType, Status, park, serialize};

/// Where the messages of this end of a stream go in.
///
/// A handler is given one for what it has to say; that it is dropped says nothing, the stream ends when the handler
/// returns. A caller gets one by opening a [`StreamCall`](super::StreamCall); dropping it says that no message follows,
/// and the handler may go on answering. What is dropped by a panic, or as the last handle of its stream, says nothing of
/// the kind: the stream is given up.
#[must_use = "dropping it says that no message follows"]
pub struct Outbound<T> {
    writer: Writer,
    /// What formats have to know of the type.
    of: &'static MessageType,
    /// Present at the asking end.
    call: Option<Running>,
    /// Whether being dropped is the orderly end of this direction.
    pub(super) ends_in_order: bool,
    message: PhantomData<fn(T)>,
}

impl<T: Message> Outbound<T> {
    /// Where a handler's messages go in.
    pub(crate) fn to_caller(writer: Writer, of: &'static MessageType) -> Self {
        Self::new(writer, of, None)
    }

    /// Where the messages for the handler that `call` reaches go in.
    pub(super) fn to_handler(writer: Writer, of: &'static MessageType, call: Running) -> Self {
        Self::new(writer, of, Some(call))
    }

    fn new(writer: Writer, of: &'static MessageType, call: Option<Running>) -> Self {
        Self {
            writer,
            of,
            call,
            ends_in_order: true,
            message: PhantomData,
        }
    }

    /// Sends a message as soon as there is room for it, to be awaited on any executor or [waited for](Sending::wait) on
    /// a plain thread. That it was sent does not mean that anybody has read it. A future that is dropped before it is
    /// done has sent nothing.
    ///
    /// # Errors
    ///
    /// When nobody will read it, because the stream has ended; when the message cannot be written, or is longer than the
    /// stream takes, and then the stream goes on without it.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "who sends a message is done with it"
    )]
    pub fn send(&mut self, message: T) -> Sending<'_, T> {
        let message = self.encoded(&message).map(Some);
        Sending {
            outbound: self,
            message,
        }
    }

    /// Writes a message whether there is room or not, and says whether anybody may still read it.
    pub(super) fn put(&self, message: &T) -> Result<bool, Status> {
        Ok(self.writer.put(self.encoded(message)?))
    }

    fn encoded(&self, message: &T) -> Result<Bytes, Status> {
        encoded(&self.writer, message, self.of).map_err(|status| match self.call {
            None => status,
            Some(_) => Status::new(Code::RequestUnencodable, status.message().to_owned()),
        })
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let room = self.writer.poll_room(cx);
        let Some(call) = &self.call else {
            return room;
        };
        if matches!(room, Poll::Ready(Ok(()))) {
            return room;
        }
        match call.poll(Half::Writes, cx) {
            Poll::Ready(Err(status)) => Poll::Ready(Err(status)),
            Poll::Ready(Ok(_)) => Poll::Ready(Err(nobody_reads())),
            // That may have been what made the other end read.
            Poll::Pending => self.writer.poll_room(cx),
        }
    }
}

/// A message as it is sent, packed if the stream's are.
pub(crate) fn encoded<T: Message>(
    writer: &Writer,
    message: &T,
    of: &'static MessageType,
) -> Result<Bytes, Status> {
    let terms = writer.terms();
    let mut encoded = serialize::encode(message, terms.format, || terms.table(), of)?;
    if let Some(packing) = &terms.packing {
        // Nothing says of a message whether it is packed, so all are but the empty one.
        if terms.compression != Compression::None && !encoded.is_empty() {
            encoded = packing.pack(terms.compression, &encoded)?;
        }
    }
    if encoded.len() > terms.message_bytes_max {
        let text = format!(
            "a message of {} bytes is longer than the {} that a message of this stream may have: send it in parts, or \
             raise the limit on both ends",
            encoded.len(),
            terms.message_bytes_max
        );
        return Err(Status::new(Code::Unencodable, text));
    }
    Ok(encoded)
}

impl<T> Drop for Outbound<T> {
    fn drop(&mut self) {
        // A caller who left half-way by `?` drops both handles, and the handler must not take what it has for all.
        let is_given_up = self.call.as_ref().is_some_and(Running::is_last);
        if self.ends_in_order && !is_given_up && !thread::panicking() {
            self.writer.end(Ok(()));
        }
    }
}

impl<T> fmt::Debug for Outbound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

/// A message on its way into an [`Outbound`]. Made by [`Outbound::send`].
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited or waited for"]
pub struct Sending<'a, T> {
    outbound: &'a mut Outbound<T>,
    /// `None` once it has been sent.
    message: Result<Option<Bytes>, Status>,
}

impl<T: Message> Sending<'_, T> {
    /// Parks this thread until there is room for the message.
    ///
    /// # Errors
    ///
    /// Those of [`Outbound::send`]; [`Code::RequestInvalid`] on the thread of an event loop, which would wait for itself.
    pub fn wait(self) -> Result<(), Status> {
        park::wait_or_refuse(self)
    }
}

impl<T: Message> Future for Sending<'_, T> {
    type Output = Result<(), Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(status) = &self.message {
            return Poll::Ready(Err(status.clone()));
        }
        ready!(self.outbound.poll_room(cx))?;
        let sent = match &mut self.message {
            Ok(message) => message.take(),
            Err(_) => None,
        };
        match sent.map(|message| self.outbound.writer.put(message)) {
            Some(false) => Poll::Ready(Err(nobody_reads())),
            _ => Poll::Ready(Ok(())),
        }
    }
}
