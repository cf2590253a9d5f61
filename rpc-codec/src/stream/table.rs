//! The streams of one connection: what either end does with all of them.
//!
//! ```text
//!   touched   streams to be looked at: FEEDBACK first, then whether there is anything to send or end
//!   ready     streams with a message that may go, in turn: one message of each, while the socket keeps up
//!   closed    the last ids that are over, whose late frames mean nothing
//! ```
//!
//! So FEEDBACK and CLOSE of one stream go before the messages of all others, and no stream goes before its turn.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::Instant;

use rpc_core::stream::Terms;
use rpc_core::{Code, Status};

use super::StreamId;
use super::recv::Inlet;
use super::send::{Look, Outlet};
use super::write::{put_data, put_feedback, put_reset};
use crate::{Limits, WriteQueue};

/// How many ids are remembered of streams that are over.
const CLOSED_MAX: usize = 1024;
/// What a message costs at least: the overhead of tiny ones is their real cost.
const CHARGE_MIN: usize = 256;

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream<S> {
    pub(crate) state: S,
    /// The owner's name for it.
    pub(crate) token: u64,
    /// Tells it from a stream that had its id before. Of use at an answering end only, where peers choose ids.
    pub(crate) serial: u32,
    pub(crate) send: Outlet,
    pub(crate) recv: Inlet,
    waker: Waker,
    /// The last time a frame came or went.
    pub(crate) active_at: Instant,
    /// Whether messages may be sent at all.
    pub(crate) may_send: bool,
    /// What is to be written behind the last message: the payload of a CLOSE.
    pub(crate) ending: Option<Vec<u8>>,
    /// How messages are written that come, as far as the peer does not say otherwise.
    pub(crate) terms: Option<Box<Terms>>,
    is_touched: bool,
    is_ready: bool,
}

impl<S> Stream<S> {
    pub(crate) fn new(
        state: S,
        token: u64,
        send: Outlet,
        recv: Inlet,
        waker: Waker,
        now: Instant,
    ) -> Self {
        Self {
            state,
            token,
            serial: 0,
            send,
            recv,
            waker,
            active_at: now,
            may_send: true,
            ending: None,
            terms: None,
            is_touched: false,
            is_ready: false,
        }
    }

    /// Whether nobody reads what comes and nobody writes any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.recv.writer.is_abandoned() && self.send.has_ended(&self.waker)
    }

    fn look(&mut self, now: Instant) -> Look {
        if self.may_send {
            let is_last = self.ending.is_some();
            self.send.look(&self.waker, is_last, now)
        } else {
            Look::Nothing
        }
    }

    /// When it has been silent, or has waited for the peer's window, for too long.
    fn overdue_at(&self, limits: &Limits) -> Instant {
        let idle_at = self.active_at + limits.stream_idle;
        match self.send.blocked_since() {
            Some(since) => idle_at.min(since + limits.stream_blocked),
            None => idle_at,
        }
    }
}

/// Where [`Table::pump`] leaves the rest to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) id: StreamId,
    /// Never a message, nor nothing. Shut only if the window can never open again.
    pub(crate) what: Look,
}

/// The streams of one connection.
#[derive(Debug)]
pub(crate) struct Table<S> {
    streams: BTreeMap<StreamId, Stream<S>>,
    touched: VecDeque<StreamId>,
    ready: VecDeque<StreamId>,
    closed: VecDeque<StreamId>,
    /// Frames that have no stream any more, or none yet.
    control: WriteQueue,
    /// No stream is overdue before.
    overdue_at: Option<Instant>,
    /// What has come since what waits unread was last weighed.
    unweighed: usize,
    /// Whether so much waits unread that the peer has to wait.
    is_full: bool,
    /// Whether the peer will send nothing more.
    is_deaf: bool,
    /// What streams fail with when the connection is lost.
    lost: i32,
}

impl<S> Table<S> {
    /// A table without streams. Those that it loses with the connection fail with `lost`.
    pub(crate) fn new(lost: i32) -> Self {
        Self {
            streams: BTreeMap::new(),
            touched: VecDeque::new(),
            ready: VecDeque::new(),
            closed: VecDeque::new(),
            control: WriteQueue::new(),
            overdue_at: None,
            unweighed: 0,
            is_full: false,
            is_deaf: false,
            lost,
        }
    }

    pub(crate) fn insert(&mut self, id: StreamId, stream: Stream<S>, limits: &Limits) {
        self.note_due(stream.overdue_at(limits));
        self.closed.retain(|closed| *closed != id);
        self.streams.insert(id, stream);
        self.touch(id);
    }

    /// Takes a stream out, and remembers its id.
    pub(crate) fn remove(&mut self, id: StreamId) -> Option<Stream<S>> {
        self.remember(id);
        self.streams.remove(&id)
    }

    /// Takes a stream out if it is there.
    pub(crate) fn remove_known(&mut self, id: StreamId) -> Option<Stream<S>> {
        let stream = self.streams.remove(&id)?;
        self.remember(id);
        Some(stream)
    }

    /// Remembers the id of a stream that is over.
    pub(crate) fn remember(&mut self, id: StreamId) {
        if self.closed.len() >= CLOSED_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back(id);
    }

    /// Resets a stream, whether it is known or not, and takes it out if it is.
    pub(crate) fn reset(&mut self, id: StreamId, ret: i32, msg: &str) -> Option<Stream<S>> {
        put_reset(id, ret, msg, &mut self.control);
        self.remove(id)
    }

    /// Where frames go that have no stream.
    pub(crate) fn control(&mut self) -> &mut WriteQueue {
        &mut self.control
    }

    /// Sees to it that a stream is looked at.
    pub(crate) fn touch(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if !stream.is_touched {
            stream.is_touched = true;
            self.touched.push_back(id);
        }
    }

    /// The peer will send nothing more: what waits for its window waits for nothing.
    pub(crate) fn note_deaf(&mut self) {
        self.is_deaf = true;
        self.touch_all();
    }

    /// A message has come.
    pub(crate) fn note_arrival(&mut self, bytes: usize, limits: &Limits) {
        self.unweighed = self.unweighed.saturating_add(bytes.max(CHARGE_MIN));
        if self.unweighed > limits.stream_unread_max / 4 {
            self.weigh(limits);
        }
    }

    /// Appends the frames that wait without a stream.
    pub(crate) fn write_control(&mut self, output: &mut WriteQueue) {
        if !self.control.is_empty() {
            output.append(&mut self.control);
        }
    }

    /// Writes what there is to write, up to the mark, or up to a stream with which the owner has to do something. Call it
    /// again then.
    pub(crate) fn pump(
        &mut self,
        limits: &Limits,
        output: &mut WriteQueue,
        now: Instant,
    ) -> Option<News> {
        self.write_control(output);
        while let Some(id) = self.touched.pop_front() {
            let is_urgent = self.is_full;
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            stream.is_touched = false;
            while let Some(increment) = stream.recv.feedback(&stream.waker, is_urgent) {
                put_feedback(id, increment, output);
                stream.active_at = now;
            }
            if let Some(news) = self.look(id, limits, now) {
                return Some(news);
            }
        }
        while output.len() < limits.stream_output_mark {
            let id = self.ready.pop_front()?;
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            stream.is_ready = false;
            if let Some(message) = stream.send.take() {
                put_data(id, &message, output);
                stream.active_at = now;
            }
            if let Some(news) = self.look(id, limits, now) {
                return Some(news);
            }
        }
        None
    }

    /// Whether some message waits for the socket alone.
    pub(crate) fn has_more(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Looks again at what waits unread, if the peer has to wait for that.
    pub(crate) fn reconsider(&mut self, limits: &Limits) {
        if self.is_full {
            self.weigh(limits);
        }
    }

    /// A stream that has been silent or shut for too long, and why that is too long.
    pub(crate) fn next_overdue(
        &mut self,
        limits: &Limits,
        now: Instant,
    ) -> Option<(StreamId, &'static str)> {
        if self.overdue_at.is_none_or(|at| now < at) {
            return None;
        }
        let mut next = None;
        for (id, stream) in &self.streams {
            let at = stream.overdue_at(limits);
            if now >= at {
                return Some((*id, overdue_for(stream, limits, now)));
            }
            next = Some(next.map_or(at, |next: Instant| next.min(at)));
        }
        self.overdue_at = next;
        None
    }

    /// When to ask for [those](Table::next_overdue).
    pub(crate) fn overdue_at(&self) -> Option<Instant> {
        self.overdue_at.filter(|_| !self.is_empty())
    }

    /// Fails all streams, for the connection is lost, and returns their tokens.
    pub(crate) fn lose_all(&mut self) -> Vec<u64> {
        let streams = std::mem::take(&mut self.streams);
        let lost = || Status::new(Code::Framework(self.lost), LOST);
        streams
            .into_values()
            .map(|stream| {
                stream.recv.writer.fail(lost());
                stream.token
            })
            .collect()
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream<S>> {
        self.streams.get_mut(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = StreamId> {
        self.streams.keys().copied()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream<S>> {
        self.streams.values_mut()
    }

    pub(crate) fn contains(&self, id: StreamId) -> bool {
        self.streams.contains_key(&id)
    }

    /// Whether a stream of that id was open here not long ago.
    pub(crate) fn was_closed(&self, id: StreamId) -> bool {
        self.closed.contains(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Whether so much waits unread that the peer has to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Puts a stream in its place by what it has to send.
    fn look(&mut self, id: StreamId, limits: &Limits, now: Instant) -> Option<News> {
        let stream = self.streams.get_mut(&id)?;
        let what = stream.look(now);
        match what {
            Look::Message => {
                if !stream.is_ready {
                    stream.is_ready = true;
                    self.ready.push_back(id);
                }
                None
            }
            Look::Nothing => None,
            Look::Shut if !self.is_deaf => {
                let at = stream.overdue_at(limits);
                self.note_due(at);
                None
            }
            what => Some(News { id, what }),
        }
    }

    fn note_due(&mut self, at: Instant) {
        self.overdue_at = Some(self.overdue_at.map_or(at, |due| due.min(at)));
    }

    fn touch_all(&mut self) {
        for (id, stream) in &mut self.streams {
            if !stream.is_touched {
                stream.is_touched = true;
                self.touched.push_back(*id);
            }
        }
    }

    /// Decides whether the peer has to wait for what is unread: on streams without control of their flow all of it, on the
    /// others what is beyond their windows. It goes on at half.
    fn weigh(&mut self, limits: &Limits) {
        self.unweighed = 0;
        let (mut uncontrolled, mut beyond) = (0_usize, 0_usize);
        for stream in self.streams.values() {
            let unread = stream.recv.unread();
            if stream.recv.is_controlled() {
                beyond = beyond.saturating_add(stream.recv.excess(unread));
            } else {
                let overhead = unread.messages.saturating_mul(CHARGE_MIN);
                uncontrolled = uncontrolled.saturating_add(unread.bytes.saturating_add(overhead));
            }
        }
        let was_full = self.is_full;
        let share = if was_full { 2 } else { 1 };
        // One stream that goes too far is reset; its neighbours need not wait for it.
        let beyond_max = limits.connection_bytes_max.max(Inlet::beyond_max(limits));
        self.is_full =
            uncontrolled > limits.stream_unread_max / share || beyond > beyond_max / share;
        if self.is_full && !was_full {
            // From now on it matters at once what is taken.
            self.touch_all();
        }
    }
}

/// Whoever holds the other ends is told.
impl<S> Drop for Table<S> {
    fn drop(&mut self) {
        self.lose_all();
    }
}

const LOST: &str = "the connection ended before the stream did";

fn overdue_for<S>(stream: &Stream<S>, limits: &Limits, now: Instant) -> &'static str {
    let since = stream.send.blocked_since();
    if since.is_some_and(|since| now >= since + limits.stream_blocked) {
        "the peer made no room for a message within the time that a stream may be blocked"
    } else {
        "no frame came or went within the time that a stream may be idle"
    }
}
