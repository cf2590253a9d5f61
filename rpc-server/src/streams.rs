//! Streams: what a loop does for one beyond what it does for every call. A stream is a call that lasts: its handler runs on
//! a pool with a permit, and its end is answered like any other.

use std::sync::Arc;
use std::task::{Wake, Waker};

use rpc_codec::connection::{Inbound, ReplyTo, StreamId};
use rpc_core::message::Exchange;
use rpc_core::stream::Terms;
use rpc_core::{Code, Request, Status};
use rpc_net::{IoOf, Key, Post};

use crate::calls::CallKey;
use crate::desk::Desk;
use crate::driver::{Mail, ServerDriver};
use crate::router::Route;

/// Sends a letter to the loop when a handler has done something with its stream.
struct Bell {
    post: Post<Mail>,
    link: Key,
    stream: StreamId,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A loop that has ended has no streams.
        let _ = self.post.send(Mail::stream(self.link, self.stream));
    }
}

impl Desk {
    /// Whether a method is called in the way it is meant to be, as a stream or not.
    ///
    /// # Errors
    ///
    /// What the caller is told if it is not, or if the messages of its stream could not be read.
    pub(crate) fn check_way(&self, inbound: &Inbound<'_>, route: &Route) -> Result<(), Status> {
        let path = route.method.path;
        let refused = |text: String| Err(Status::new(Code::NoMethod, text));
        match (is_stream(inbound), route.method.shape.is_stream()) {
            (true, false) => refused(format!("{path} is not called as a stream")),
            (false, true) => refused(format!("{path} is called as a stream only")),
            (true, true) => self.shared.router.bodies().check(inbound.compression()),
            (false, false) => Ok(()),
        }
    }

    /// Opens the stream that a request asks for, and gives its handler's end to the request. `false` when the peer has given
    /// it up already.
    pub(crate) fn open_stream(
        &self,
        link: Key,
        to: &ReplyTo,
        call: CallKey,
        request: &mut Request,
        io: &mut IoOf<ServerDriver>,
    ) -> bool {
        let bell = Bell {
            post: self.post.clone(),
            link,
            stream: to.stream_id(),
        };
        let limits = &self.shared.limits;
        let terms = Terms {
            format: request.format(),
            formats: Some(self.shared.formats.clone()),
            compression: request.compression(),
            packing: Some(self.shared.router.bodies().for_streams()),
            message_bytes_max: limits.stream_message_bytes_max(),
        };
        let waker = Waker::from(Arc::new(bell));
        let pipe = io.write(link).and_then(|(machine, output)| {
            machine.open_stream(to, call.to_token(), terms, waker, output)
        });
        pipe.map(|pipe| request.set_pipe(pipe)).is_some()
    }

    /// What a stream may hold unread, beside the request that opened it: it counts as bytes under way from the start.
    pub(crate) fn stream_bytes(&self, inbound: &Inbound<'_>) -> usize {
        if is_stream(inbound) {
            usize::try_from(self.shared.limits.stream_window).unwrap_or(usize::MAX)
        } else {
            0
        }
    }

    /// The peer has given a stream up: nobody waits for its handler any more.
    pub(crate) fn drop_stream(&mut self, token: u64, io: &mut IoOf<ServerDriver>) {
        if let Some(call) = self.calls.by_token(token) {
            self.abandon(call, io);
        }
    }
}

/// Whether a request opens a stream.
pub(crate) fn is_stream(inbound: &Inbound<'_>) -> bool {
    inbound.reply_to.exchange() == Exchange::Stream
}
