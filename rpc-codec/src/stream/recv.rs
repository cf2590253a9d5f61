//! What has come on a stream: its messages go into a pipe, and the peer is told how many of them were taken out.

use std::task::Waker;

use bytes::Bytes;
use rpc_core::Status;
use rpc_core::stream::{Unread, Writer};

use super::window::RecvWindow;
use crate::Limits;

/// The receiving half of a stream.
#[derive(Debug)]
pub(crate) struct Inlet {
    pub(crate) writer: Writer,
    window: RecvWindow,
    /// Whether nothing more will come, so that the peer need not be told of room.
    is_over: bool,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It waits to be read.
    Kept,
    /// Nobody will read it. The peer may send another in its place.
    Dropped,
    /// There is more unread than the peer may send.
    TooMuch,
}

impl Inlet {
    pub(crate) fn new(writer: Writer, window: RecvWindow) -> Self {
        Self {
            writer,
            window,
            is_over: false,
        }
    }

    /// The flow is controlled as both ends have said.
    pub(crate) fn set_window(&mut self, window: RecvWindow) {
        self.window = window;
    }

    /// A message has come.
    pub(crate) fn put(&mut self, message: Bytes, limits: &Limits) -> Put {
        let length = message.len();
        if !self.writer.put(message) {
            self.window.note_taken(length);
            return Put::Dropped;
        }
        let unread = self.writer.unread();
        let is_too_much = self.window.is_controlled() && unread.bytes > self.bytes_max(limits);
        if is_too_much || unread.empty > limits.stream_empty_max {
            Put::TooMuch
        } else {
            Put::Kept
        }
    }

    /// What to tell the peer now, if it is time; otherwise `waker` is woken when it is, or when nobody reads any more. If
    /// `is_urgent`, for any message that is taken.
    pub(crate) fn feedback(&mut self, waker: &Waker, is_urgent: bool) -> Option<u32> {
        let mark = if is_urgent {
            1
        } else if self.window.is_controlled() {
            self.window.mark()
        } else {
            usize::MAX
        };
        if let Some(taken) = self.writer.take_credit(mark, waker) {
            self.window.note_taken(taken);
        }
        if self.is_over {
            return None;
        }
        self.window.feedback()
    }

    /// No message follows.
    pub(crate) fn end(&mut self, how: Result<(), Status>) {
        self.is_over = true;
        self.writer.end(how);
    }

    /// What waits to be read.
    pub(crate) fn unread(&self) -> Unread {
        self.writer.unread()
    }

    /// Whether the flow is controlled.
    pub(crate) fn is_controlled(&self) -> bool {
        self.window.is_controlled()
    }

    /// How many bytes more than the window wait to be read.
    pub(crate) fn excess(&self, unread: Unread) -> usize {
        unread.bytes.saturating_sub(self.window.announced())
    }

    /// How many bytes more than its window a stream may hold unread: a peer may overshoot it by a message, and some do by
    /// one more.
    pub(crate) fn beyond_max(limits: &Limits) -> usize {
        let frame = usize::try_from(limits.frame_bytes_max).unwrap_or(usize::MAX);
        frame.saturating_mul(2)
    }

    fn bytes_max(&self, limits: &Limits) -> usize {
        let window = self.window.announced();
        window.saturating_add(Self::beyond_max(limits))
    }
}
