//! What is to be sent on a stream: its messages come out of a pipe, as fast as the peer's window lets them.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use rpc_core::stream::Reader;

use super::window::SendWindow;

/// The sending half of a stream.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) reader: Reader,
    window: SendWindow,
    /// The next message, taken out of the pipe to see whether there is one.
    held: Option<Bytes>,
    source: Source,
    /// Since when the next message has waited for the peer's window.
    blocked_since: Option<Instant>,
    /// Whether no message waits for the peer's window any more: the first that would have to is not sent.
    is_hasty: bool,
    /// The longest message that fits a frame.
    bytes_max: usize,
}

/// Whoever writes into the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Flows,
    Ended,
    /// It ended, and not in order.
    Broke,
}

/// What there is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A message that may go.
    Message,
    /// A message that has to wait for the peer's window.
    Shut,
    /// Nothing for now; the waker will be woken.
    Nothing,
    /// Nothing any more.
    Ended,
    /// Nothing any more, and that was not meant so.
    Broke,
    /// A message that does not fit a frame.
    TooLong,
}

impl Outlet {
    pub(crate) fn new(reader: Reader, window: SendWindow, bytes_max: usize) -> Self {
        Self {
            reader,
            window,
            held: None,
            source: Source::Flows,
            blocked_since: None,
            is_hasty: false,
            bytes_max,
        }
    }

    /// The peer has said how much it takes.
    pub(crate) fn set_window(&mut self, window: SendWindow) {
        self.window = window;
    }

    /// Says what there is to send. If `is_last`, what is not in the pipe now will not be sent.
    pub(crate) fn look(&mut self, waker: &Waker, is_last: bool, now: Instant) -> Look {
        if self.held.is_none() && self.source == Source::Flows {
            match self.reader.poll_next(&mut Context::from_waker(waker)) {
                Poll::Ready(Some(Ok(message))) => self.held = Some(message),
                Poll::Ready(None) => self.source = Source::Ended,
                Poll::Ready(Some(Err(_))) => self.source = Source::Broke,
                Poll::Pending if is_last => self.source = Source::Ended,
                Poll::Pending => {}
            }
        }
        match (&self.held, self.source) {
            (Some(message), _) if message.len() > self.bytes_max => Look::TooLong,
            (Some(_), _) if self.window.is_shut() && self.is_hasty => Look::Ended,
            (Some(_), _) if self.window.is_shut() => {
                self.blocked_since.get_or_insert(now);
                Look::Shut
            }
            (Some(_), _) => Look::Message,
            (None, Source::Flows) => Look::Nothing,
            (None, Source::Ended) => Look::Ended,
            (None, Source::Broke) => Look::Broke,
        }
    }

    /// Takes nothing more out of the pipe than what is in it now; if `is_hasty`, only as far as the peer's window goes.
    pub(crate) fn stop(&mut self, is_hasty: bool) {
        self.is_hasty = is_hasty;
        self.reader.stop();
    }

    /// Takes the message that was seen, if the window lets it go.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let length = self.held.as_ref()?.len();
        if self.window.take(length) {
            self.held.take()
        } else {
            None
        }
    }

    /// The peer takes so many bytes more. `false` when they are more than make sense.
    #[must_use]
    pub(crate) fn grant(&mut self, increment: u32) -> bool {
        let is_sound = self.window.grant(increment);
        if !self.window.is_shut() {
            self.blocked_since = None;
        }
        is_sound
    }

    /// Since when the next message has waited for the peer's window.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Whether whoever writes is done, though messages may still wait. `waker` is woken when that comes true.
    pub(crate) fn has_ended(&self, waker: &Waker) -> bool {
        self.source != Source::Flows
            || self
                .reader
                .poll_ended(&mut Context::from_waker(waker))
                .is_ready()
    }
}
