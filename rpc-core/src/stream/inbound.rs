//! [`Inbound`]: the messages that the other end of a stream sends.

use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::Reader;
use super::running::{Half, Running};
use crate::message::Message;
use crate::{Bytes, Code, Compression, MessageType, Metadata, Response, Status, park, serialize};

/// The messages that the other end of a stream sends, in their order.
///
/// A handler is given one for the messages of its caller; a caller gets one by opening a [`StreamCall`](super::StreamCall).
/// Messages that nobody takes are not sent for long: the other end waits when a window full of them is under way.
///
/// A caller who drops all handles of a stream gives it up.
#[must_use = "a stream whose handles are dropped is given up"]
pub struct Inbound<T> {
    reader: Reader,
    /// What formats have to know of the type.
    of: &'static MessageType,
    /// Present at the asking end, where the call's result is how the stream ended.
    call: Option<Running>,
    end: Option<Result<Response, Status>>,
    /// Whether [`Inbound::poll_next`] has told how it ended.
    is_told: bool,
    message: PhantomData<fn() -> T>,
}

impl<T: Message> Inbound<T> {
    /// The messages of a caller, for a handler.
    pub(crate) fn of_caller(reader: Reader, of: &'static MessageType) -> Self {
        Self::new(reader, of, None)
    }

    /// The messages of the handler that `call` has reached.
    pub(super) fn of_handler(reader: Reader, of: &'static MessageType, call: Running) -> Self {
        Self::new(reader, of, Some(call))
    }

    fn new(reader: Reader, of: &'static MessageType, call: Option<Running>) -> Self {
        Self {
            reader,
            of,
            call,
            end: None,
            is_told: false,
            message: PhantomData,
        }
    }

    /// The next message, to be awaited on any executor or [waited for](Next::wait) on a plain thread; `None` when there
    /// will be no other. Dropping the future loses no message.
    ///
    /// # Errors
    ///
    /// How the stream ended, behind its last message, if not in order: to a caller that is the handler's status or why
    /// the call failed, to a handler that the caller is gone. It is said again by each later call. A message that
    /// cannot be read is an error too, and behind it the stream goes on.
    #[expect(
        clippy::should_implement_trait,
        reason = "what a stream calls it; `messages` is the iterator"
    )]
    pub fn next(&mut self) -> Next<'_, T> {
        Next(self)
    }

    /// What is left of the stream as an iterator that waits, for plain threads. It ends behind the first error that ends
    /// the stream; [`Inbound::next`] says what the errors are.
    pub fn messages(&mut self) -> Messages<'_, T> {
        Messages {
            inbound: self,
            is_refused: false,
        }
    }

    /// The next message for adapters to other traits: `None` when there will be no other, and behind the error that
    /// ended the stream.
    ///
    /// ```
    /// # use std::pin::Pin;
    /// # use std::task::{Context, Poll};
    /// # use rpc_core::{Message, Status, stream::Inbound};
    /// # trait Stream { type Item; fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>>; }
    /// struct Adapted<T>(Inbound<T>);
    ///
    /// impl<T: Message> Stream for Adapted<T> {
    ///     type Item = Result<T, Status>;
    ///
    ///     fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
    ///         self.0.poll_next(cx)
    ///     }
    /// }
    /// ```
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Status>>> {
        if self.is_told {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_message(cx)).transpose();
        self.is_told = self.end.is_some();
        Poll::Ready(next)
    }

    /// The metadata that came with the end of the stream: to a caller, behind the last message, what its handler sent
    /// back beside the messages. Empty before that, after an error, and to a handler.
    pub fn trailer(&self) -> &Metadata {
        static NONE: Metadata = Metadata::new();
        match &self.end {
            Some(Ok(response)) => response.metadata(),
            _ => &NONE,
        }
    }

    /// Ready when the other end has accepted the stream, or has ended it without.
    ///
    /// # Errors
    ///
    /// Why it was refused.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Whether it is ready says little: it also is when the stream has ended without having been open.
        let _ = self.reader.poll_open(cx);
        if self.reader.is_open() {
            return Poll::Ready(Ok(()));
        }
        let Some(call) = &self.call else {
            return Poll::Ready(Ok(()));
        };
        let over = call.poll(Half::Reads, cx);
        // That may have been what opened it. One that has failed since is told by its end, behind its messages.
        if self.reader.is_open() {
            return Poll::Ready(Ok(()));
        }
        over.map_ok(drop)
    }

    /// How the stream ended, once it has: the result of its call.
    pub(super) fn into_end(self) -> Option<Result<Response, Status>> {
        self.end
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<T>, Status>> {
        if self.end.is_none() {
            if let Some(message) = ready!(self.poll_bytes(cx)) {
                return Poll::Ready(self.decoded(message).map(Some));
            }
        }
        Poll::Ready(match &self.end {
            Some(Err(status)) => Err(status.clone()),
            _ => Ok(None),
        })
    }

    /// The next message as it was sent; behind the last, the end is noted.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut read = self.reader.poll_next(cx);
        if let Poll::Ready(Some(Ok(message))) = read {
            return Poll::Ready(Some(message));
        }
        let end = match &self.call {
            None => match ready!(read) {
                Some(Err(status)) => Err(status),
                _ => Ok(Response::empty()),
            },
            Some(call) => {
                let over = call.poll(Half::Reads, cx);
                // That may have been what made the other end write, or end.
                if read.is_pending() {
                    read = self.reader.poll_next(cx);
                }
                if let Poll::Ready(Some(Ok(message))) = read {
                    return Poll::Ready(Some(message));
                }
                // However the messages ended: the call's result says more.
                ready!(over)
            }
        };
        self.end = Some(end);
        Poll::Ready(None)
    }

    fn decoded(&self, message: Bytes) -> Result<T, Status> {
        let terms = self.reader.terms();
        let read = match &terms.packing {
            // The empty message is not packed.
            Some(packing) if terms.compression != Compression::None && !message.is_empty() => {
                packing.unpack(terms.compression, &message)
            }
            _ => Ok(message),
        };
        let read = read.and_then(|message| {
            serialize::decode(terms.format, || terms.table(), self.of, message)
        });
        match &self.call {
            None => read,
            Some(_) => read.map_err(|status| {
                Status::new(Code::ResponseMalformed, status.message().to_owned())
            }),
        }
    }
}

impl<T> fmt::Debug for Inbound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("reader", &self.reader)
            .field("has_ended", &self.end.is_some())
            .finish_non_exhaustive()
    }
}

/// The next message of an [`Inbound`]. Made by [`Inbound::next`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited or waited for"]
pub struct Next<'a, T>(&'a mut Inbound<T>);

impl<T: Message> Next<'_, T> {
    /// Parks this thread until the message is there.
    ///
    /// # Errors
    ///
    /// Those of [`Inbound::next`]; [`Code::RequestInvalid`] on the thread of an event loop, which would wait for itself.
    pub fn wait(self) -> Result<Option<T>, Status> {
        park::wait_or_refuse(self)
    }
}

impl<T: Message> Future for Next<'_, T> {
    type Output = Result<Option<T>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_message(cx)
    }
}

/// What is left of an [`Inbound`], for plain threads. Made by [`Inbound::messages`].
#[derive(Debug)]
#[must_use = "an iterator does nothing unless it is iterated over"]
pub struct Messages<'a, T> {
    inbound: &'a mut Inbound<T>,
    /// Whether this thread must not wait.
    is_refused: bool,
}

impl<T: Message> Iterator for Messages<'_, T> {
    type Item = Result<T, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_refused {
            return None;
        }
        let next = park::wait(poll_fn(|cx| self.inbound.poll_next(cx)));
        next.unwrap_or_else(|| {
            self.is_refused = true;
            Some(Err(park::refused()))
        })
    }
}
