//! [`Upload`]: many messages there, one back.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{Inbound, Outbound, Sending};
use crate::message::Message;
use crate::{Code, Response, Status, park};

/// What a caller has of a stream of its own messages that is answered by one. Made by opening a
/// [`StreamCall`](super::StreamCall).
///
/// Dropping it without [`Upload::finish`] gives the stream up: to the handler that is not the end of the messages.
#[derive(Debug)]
#[must_use = "dropping it gives the stream up; `finish` brings the reply"]
pub struct Upload<Q, P> {
    outbound: Outbound<Q>,
    inbound: Inbound<P>,
}

impl<Q: Message, P: Message> Upload<Q, P> {
    pub(super) fn new(mut outbound: Outbound<Q>, inbound: Inbound<P>) -> Self {
        outbound.ends_in_order = false;
        Self { outbound, inbound }
    }

    /// Sends a message as soon as there is room for it, as [`Outbound::send`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Outbound::send`]. A handler that has returned reads no more: [`Upload::finish`] says what it returned.
    pub fn send(&mut self, message: Q) -> Sending<'_, Q> {
        self.outbound.send(message)
    }

    /// Says that no message follows. The result is the reply, to be awaited on any executor or
    /// [waited for](Finish::wait) on a plain thread. If it is dropped before that, the stream is given up.
    ///
    /// # Errors
    ///
    /// The handler's, or why the call failed; when there is no reply, or more than one.
    pub fn finish(self) -> Finish<P> {
        let Self {
            mut outbound,
            inbound,
        } = self;
        outbound.ends_in_order = true;
        drop(outbound);
        Finish {
            inbound,
            reply: None,
        }
    }
}

/// The reply to an [`Upload`]. Made by [`Upload::finish`].
#[must_use = "dropping it before the reply is there gives the stream up"]
pub struct Finish<P> {
    inbound: Inbound<P>,
    reply: Option<P>,
}

// A reply is never pinned.
impl<P> Unpin for Finish<P> {}

impl<P: Message> Finish<P> {
    /// Parks this thread until the reply is there.
    ///
    /// # Errors
    ///
    /// Those of [`Upload::finish`]; [`Code::RequestInvalid`] on the thread of an event loop, which would wait for
    /// itself.
    pub fn wait(self) -> Result<P, Status> {
        park::wait_or_refuse(self)
    }

    /// Like [`Finish::wait`], with the metadata that came beside the reply.
    ///
    /// # Errors
    ///
    /// Those of [`Finish::wait`].
    pub fn wait_response(self) -> Result<Response<P>, Status> {
        park::wait_or_refuse(self.response())
    }

    /// The reply with the metadata that came beside it.
    ///
    /// # Errors
    ///
    /// Those of [`Upload::finish`].
    pub async fn response(mut self) -> Result<Response<P>, Status> {
        let reply = poll_fn(|cx| self.poll_reply(cx)).await?;
        match self.inbound.into_end() {
            Some(Ok(end)) => Ok(end.map_body(|_| reply)),
            Some(Err(status)) => Err(status),
            None => Ok(Response::new(reply)),
        }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<P, Status>> {
        loop {
            let message = ready!(Pin::new(&mut self.inbound.next()).poll(cx))?;
            match (self.reply.take(), message) {
                (None, Some(reply)) => self.reply = Some(reply),
                // How the stream ended counts more than what was said before: some handlers fail behind their reply.
                (Some(reply), None) => return Poll::Ready(Ok(reply)),
                (None, None) => return Poll::Ready(Err(no_reply())),
                (Some(_), Some(_)) => return Poll::Ready(Err(second_reply())),
            }
        }
    }
}

impl<P: Message> Future for Finish<P> {
    type Output = Result<P, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_reply(cx)
    }
}

impl<P> fmt::Debug for Finish<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finish")
            .field("inbound", &self.inbound)
            .field("has_reply", &self.reply.is_some())
            .finish_non_exhaustive()
    }
}

/// What the protocol calls the end of reading, at the asking end.
const READ_END: Code = Code::Framework(351);
/// What it calls having read nothing.
const READ_EMPTY: Code = Code::Framework(353);

fn second_reply() -> Status {
    let text = "the method is answered by one message, and a second one came: do both ends have the same .proto file?";
    Status::new(READ_END, text)
}

fn no_reply() -> Status {
    let text = "the method is answered by one message, and the stream ended in order without: do both ends have the \
                same .proto file?";
    Status::new(READ_EMPTY, text)
}
