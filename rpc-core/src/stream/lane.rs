//! One direction of a stream within a process: a queue of messages between whoever writes and whoever reads.
//!
//! Neither end ever blocks in here. An end that a person's code holds waits by the ordinary means of futures; the end
//! of an event loop leaves a waker that sends a letter, and looks again when the letter comes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::Terms;
use crate::{Code, Status};

/// A writer waits when this many bytes are unread; one message of any size is always taken. As much as the window
/// that peers grant by default: more would only wait here instead of there.
const BYTES_MAX: usize = 64 * 1024;
/// A writer waits when this many messages are unread, however small they are.
const MESSAGES_MAX: usize = 1024;

/// The two halves of one direction.
pub(super) fn lane() -> (Writer, Reader) {
    let lane = Arc::new(Lane::default());
    (Writer(Arc::clone(&lane)), Reader(lane))
}

/// The end of a direction that messages go in at.
pub struct Writer(Arc<Lane>);

/// The end of a direction that messages come out of.
pub struct Reader(Arc<Lane>);

/// Messages that were written and not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unread {
    /// How many.
    pub messages: usize,
    /// How many of them have no bytes at all.
    pub empty: usize,
    /// How many bytes they have together.
    pub bytes: usize,
}

#[derive(Default)]
struct Lane {
    terms: OnceLock<Terms>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Bytes>,
    unread: Unread,
    /// Bytes read since the writer last asked.
    credit: usize,
    /// The writer is woken when it has this much credit.
    credit_mark: Option<usize>,
    is_open: bool,
    /// What the writer said last: that there is no more, or why.
    end: Option<Result<(), Status>>,
    is_reader_gone: bool,
    reading: Option<Waker>,
    writing: Option<Waker>,
}

impl State {
    fn has_room(&self) -> bool {
        self.unread.bytes < BYTES_MAX && self.unread.messages < MESSAGES_MAX
    }

    /// Whether a writer that had to wait may go on: at half, so that it does not come back for each message.
    fn has_much_room(&self) -> bool {
        self.unread.bytes <= BYTES_MAX / 2 && self.unread.messages <= MESSAGES_MAX / 2
    }

    fn take(&mut self) -> Option<Bytes> {
        let message = self.messages.pop_front()?;
        self.unread.messages -= 1;
        self.unread.empty -= usize::from(message.is_empty());
        self.unread.bytes -= message.len();
        self.credit += message.len();
        Some(message)
    }

    /// Whom a message that was taken concerns.
    fn writer_to_wake(&mut self) -> Option<Waker> {
        let is_due = match self.credit_mark {
            Some(mark) => self.credit >= mark,
            None => self.has_much_room(),
        };
        if is_due { self.writing.take() } else { None }
    }
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Writer {
    /// Says how messages in this direction are written. Of effect once, before the first message.
    pub fn set_terms(&self, terms: Terms) {
        let _ = self.0.terms.set(terms);
    }

    /// How messages in this direction are written.
    pub fn terms(&self) -> &Terms {
        self.0.terms.get().unwrap_or(Terms::plain())
    }

    /// Says that the stream is open, for a reader that [waits](Reader::poll_open) for that.
    pub fn open(&self) {
        let waker = {
            let mut state = self.0.state();
            state.is_open = true;
            state.reading.take()
        };
        wake(waker);
    }

    /// Writes a message, whether there is room or not: whoever calls this bounds it by other means. Returns whether
    /// anybody may still read it.
    pub fn put(&self, message: Bytes) -> bool {
        let waker = {
            let mut state = self.0.state();
            if state.is_reader_gone || state.end.is_some() {
                return false;
            }
            state.unread.messages += 1;
            state.unread.empty += usize::from(message.is_empty());
            state.unread.bytes += message.len();
            state.messages.push_back(message);
            state.reading.take()
        };
        wake(waker);
        true
    }

    /// Ready when there is room for a message.
    ///
    /// # Errors
    ///
    /// When nobody will read it.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let mut state = self.0.state();
        if state.is_reader_gone || state.end.is_some() {
            return Poll::Ready(Err(nobody_reads()));
        }
        if state.has_room() {
            return Poll::Ready(Ok(()));
        }
        state.writing = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Says that no message follows, or why none does. The first word holds.
    pub fn end(&self, how: Result<(), Status>) {
        let waker = {
            let mut state = self.0.state();
            state.end.get_or_insert(how);
            state.reading.take()
        };
        wake(waker);
    }

    /// Says that no message follows and why, and throws away what was not read.
    pub fn fail(&self, status: Status) {
        let (waker, unread) = {
            let mut state = self.0.state();
            state.end = Some(Err(status));
            state.unread = Unread::default();
            (state.reading.take(), std::mem::take(&mut state.messages))
        };
        drop(unread);
        wake(waker);
    }

    /// What was written and not read.
    pub fn unread(&self) -> Unread {
        self.0.state().unread
    }

    /// Whether the reader is gone.
    pub fn is_abandoned(&self) -> bool {
        self.0.state().is_reader_gone
    }

    /// Takes the number of bytes that were read since this was last asked, if they are as many as `mark`. Otherwise
    /// `waker` is woken when they are, or when the reader is gone.
    pub fn take_credit(&self, mark: usize, waker: &Waker) -> Option<usize> {
        let mut state = self.0.state();
        state.credit_mark = Some(mark);
        state.writing = Some(waker.clone());
        if state.credit < mark {
            return None;
        }
        Some(std::mem::take(&mut state.credit))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(Err(Status::new(
            Code::ConnectionLost,
            "the other end of the stream is gone",
        )));
    }
}

impl Reader {
    /// Says how messages in this direction are written. Of effect once, before the first message.
    pub fn set_terms(&self, terms: Terms) {
        let _ = self.0.terms.set(terms);
    }

    /// How messages in this direction are written.
    pub fn terms(&self) -> &Terms {
        self.0.terms.get().unwrap_or(Terms::plain())
    }

    /// Ready when the stream has been opened, or will never be.
    pub fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state();
        if state.is_open || state.end.is_some() {
            return Poll::Ready(());
        }
        state.reading = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether the stream has been opened, be it over by now or not.
    pub fn is_open(&self) -> bool {
        self.0.state().is_open
    }

    /// The next message; `None` when there will be no other.
    ///
    /// # Errors
    ///
    /// Behind the last message, when the direction did not end in order.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let (next, waker) = {
            let mut state = self.0.state();
            match state.take() {
                Some(message) => (Some(Ok(message)), state.writer_to_wake()),
                None => match &state.end {
                    Some(Ok(())) => (None, None),
                    Some(Err(status)) => (Some(Err(status.clone())), None),
                    None => {
                        state.reading = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                },
            }
        };
        wake(waker);
        Poll::Ready(next)
    }

    /// Ready when the writer has said that nothing follows, though messages may still wait to be read.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state();
        if state.end.is_some() {
            return Poll::Ready(());
        }
        state.reading = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes no message beyond those that wait to be read now: whoever writes is told that nobody reads.
    pub fn stop(&self) {
        let waker = {
            let mut state = self.0.state();
            state.end.get_or_insert(Ok(()));
            state.writing.take()
        };
        wake(waker);
    }

    /// How many bytes the next message has, if it is there.
    pub fn next_len(&self) -> Option<usize> {
        self.0.state().messages.front().map(Bytes::len)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let (waker, unread) = {
            let mut state = self.0.state();
            state.is_reader_gone = true;
            // What nobody will read makes room all the same.
            state.credit += state.unread.bytes;
            state.unread = Unread::default();
            (state.writing.take(), std::mem::take(&mut state.messages))
        };
        drop(unread);
        wake(waker);
    }
}

pub(super) fn nobody_reads() -> Status {
    Status::new(
        Code::Cancelled,
        "the stream has ended; reading from it says why",
    )
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("unread", &self.unread())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("unread", &self.0.state().unread)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Count {
        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counting() -> (Arc<Count>, Waker) {
        let count = Arc::<Count>::default();
        (Arc::clone(&count), Waker::from(count))
    }

    fn next(reader: &Reader, waker: &Waker) -> Poll<Option<Result<Bytes, Status>>> {
        reader.poll_next(&mut Context::from_waker(waker))
    }

    fn message(length: usize) -> Bytes {
        Bytes::from(vec![7; length])
    }

    #[test]
    fn a_reader_is_woken_once_for_what_it_waited_for() {
        let (writer, reader) = lane();
        let (count, waker) = counting();
        assert!(next(&reader, &waker).is_pending());
        assert!(writer.put(message(1)));
        assert!(writer.put(message(2)));
        assert_eq!(count.woken(), 1);
        for length in [1, 2] {
            assert!(matches!(next(&reader, &waker), Poll::Ready(Some(Ok(m))) if m.len() == length));
        }
        writer.end(Ok(()));
        assert!(matches!(next(&reader, &waker), Poll::Ready(None)));
    }

    #[test]
    fn a_writer_waits_for_half_of_the_room() {
        let (writer, reader) = lane();
        let (count, waker) = counting();
        let mut cx = Context::from_waker(&waker);
        while writer.poll_room(&mut cx).is_ready() {
            assert!(writer.put(message(BYTES_MAX / 8)));
        }
        assert_eq!(writer.unread().messages, 8);
        for read in 1..=4 {
            assert_eq!(count.woken(), 0, "after {read}");
            assert!(next(&reader, Waker::noop()).is_ready());
        }
        assert_eq!(count.woken(), 1);
        assert!(writer.poll_room(&mut cx).is_ready());
    }

    #[test]
    fn messages_without_bytes_take_room_too() {
        let (writer, _reader) = lane();
        let mut cx = Context::from_waker(Waker::noop());
        let mut written = 0;
        while writer.poll_room(&mut cx).is_ready() {
            assert!(writer.put(Bytes::new()));
            written += 1;
        }
        assert_eq!(written, MESSAGES_MAX);
        assert_eq!(writer.unread().empty, MESSAGES_MAX);
    }

    #[test]
    fn credit_is_what_was_read_and_is_told_at_its_mark() {
        let (writer, reader) = lane();
        let (count, waker) = counting();
        assert_eq!(writer.take_credit(100, &waker), None);
        for _ in 0..3 {
            assert!(writer.put(message(40)));
        }
        for woken in [0, 0, 1] {
            assert!(next(&reader, Waker::noop()).is_ready());
            assert_eq!(count.woken(), woken);
        }
        assert_eq!(writer.take_credit(100, &waker), Some(120));
        assert_eq!(writer.take_credit(100, &waker), None);
        drop(reader);
        assert_eq!(count.woken(), 2);
        assert!(writer.is_abandoned());
        assert!(!writer.put(message(1)));
    }

    #[test]
    fn what_was_written_before_the_end_is_read_before_it_unless_it_failed() {
        let (writer, reader) = lane();
        assert!(writer.put(message(1)));
        writer.end(Err(Status::new(Code::Cancelled, "enough")));
        assert!(!writer.put(message(1)));
        assert!(matches!(
            next(&reader, Waker::noop()),
            Poll::Ready(Some(Ok(_)))
        ));
        assert!(matches!(
            next(&reader, Waker::noop()),
            Poll::Ready(Some(Err(_)))
        ));

        let (writer, reader) = lane();
        assert!(writer.put(message(1)));
        writer.fail(Status::new(Code::Cancelled, "at once"));
        assert!(matches!(
            next(&reader, Waker::noop()),
            Poll::Ready(Some(Err(_)))
        ));
        assert_eq!(writer.unread(), Unread::default());
    }

    #[test]
    fn what_a_reader_leaves_unread_is_credit_too() {
        let (writer, reader) = lane();
        let (count, waker) = counting();
        assert!(writer.put(message(40)) && writer.put(message(2)));
        assert_eq!(writer.take_credit(42, &waker), None);
        drop(reader);
        assert_eq!(count.woken(), 1);
        assert_eq!(writer.take_credit(42, &waker), Some(42));
    }

    #[test]
    fn an_end_is_known_before_the_messages_in_front_of_it_are_read() {
        let (writer, reader) = lane();
        let (count, waker) = counting();
        let mut cx = Context::from_waker(&waker);
        assert!(writer.put(message(1)));
        assert!(reader.poll_ended(&mut cx).is_pending());
        writer.end(Ok(()));
        assert_eq!(count.woken(), 1);
        assert!(reader.poll_ended(&mut cx).is_ready());
        assert!(matches!(next(&reader, &waker), Poll::Ready(Some(Ok(_)))));
    }

    #[test]
    fn who_writes_where_reading_has_stopped_is_told_and_what_was_written_is_read() {
        let (writer, reader) = lane();
        let (count, waker) = counting();
        let mut cx = Context::from_waker(&waker);
        assert!(writer.put(message(BYTES_MAX)));
        assert!(writer.poll_room(&mut cx).is_pending());
        reader.stop();
        assert_eq!(count.woken(), 1);
        assert!(matches!(writer.poll_room(&mut cx), Poll::Ready(Err(_))));
        assert!(!writer.put(message(1)));
        assert!(matches!(next(&reader, &waker), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(next(&reader, &waker), Poll::Ready(None)));
    }

    #[test]
    fn a_writer_that_is_dropped_says_so() {
        let (writer, reader) = lane();
        drop(writer);
        let Poll::Ready(Some(Err(status))) = next(&reader, Waker::noop()) else {
            panic!("the end is not there");
        };
        assert_eq!(status.code(), Code::ConnectionLost);
    }
}
