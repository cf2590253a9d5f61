//! [`Mailbox`]: the inbox of an event loop, with many senders and one receiver.
//!
//! Threads that have something for an event loop must wake it, and a wake-up costs a system call: more than all the
//! rest of the hand-over. So senders and receiver share a flag that says "a wake-up is under way". Only the sender who
//! raises it wakes; those who find it raised know that the loop is about to look. However many messages pile up while
//! the loop is busy, they cost one wake-up.
//!
//! # Why no wake-up is lost
//!
//! A sender first pushes its message and then raises the flag. The receiver first lowers the flag and then looks for
//! messages. Both change the flag by a swap, and all swaps of one flag have one order:
//!
//! * If a sender's swap comes after the receiver's, it either finds the flag lowered and wakes, or finds it raised by
//!   another sender who came after the receiver as well and wakes. A wake-up that begins after the flag was lowered
//!   makes the receiver look again.
//! * If it comes before the receiver's, then the receiver's swap, which acquires, reads what the sender's swap, which
//!   releases, or a later one of that chain wrote. So the push happened before the look, and the look finds the
//!   message.
//!
//! The receiver must swap and not merely store: a store reads nothing, and would put no push before the look.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel as channel;

/// Wakes the thread of an event loop, so that it looks into its [`Mailbox`].
pub trait Wake: Send + Sync + 'static {
    /// Makes the loop take a turn: the present wait ends, or the next one does not begin. Must not block.
    fn wake(&self);
}

impl Wake for mio::Waker {
    fn wake(&self) {
        // The only errors are those of a descriptor that is not ours any more. The sender cannot do anything about it.
        if let Err(error) = mio::Waker::wake(self) {
            tracing::error!(%error, "an event loop cannot be woken");
        }
    }
}

impl<F: Fn() + Send + Sync + 'static> Wake for F {
    fn wake(&self) {
        self();
    }
}

/// The receiving end: belongs to one event loop.
///
/// A mailbox has no bound of its own. What is in it is bounded by the permits of those who send: each call in flight
/// holds one and has at most a few messages on their way.
///
/// Messages of one sender arrive in the order they were sent.
pub struct Mailbox<T> {
    messages: channel::Receiver<T>,
    bell: Arc<Bell>,
}

impl<T> Mailbox<T> {
    /// An empty mailbox whose senders wake the loop by `wake`.
    pub fn new(wake: Arc<dyn Wake>) -> (Self, Sender<T>) {
        let (sender, receiver) = channel::unbounded();
        let bell = Arc::new(Bell {
            under_way: AtomicBool::new(false),
            wake,
        });
        let mailbox = Self {
            messages: receiver,
            bell: Arc::clone(&bell),
        };
        let sender = Sender {
            messages: sender,
            bell,
        };
        (mailbox, sender)
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Appends all messages that are there to `into`. Those that arrive meanwhile may be left for the next time; they
    /// bring their own wake-up, so the loop may sleep after this.
    pub fn drain(&mut self, into: &mut Vec<T>) {
        self.bell.hush();
        // Counted after the flag was lowered, so that senders who never pause cannot keep the loop in here.
        let there = self.messages.len();
        into.extend(self.messages.try_iter().take(there));
    }

    /// Takes one message. The loop may sleep only after this has returned `None`: for the messages behind the one that
    /// was taken no further wake-up comes.
    pub fn try_recv(&mut self) -> Option<T> {
        self.bell.hush();
        self.messages.try_recv().ok()
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("len", &self.messages.len())
            .finish_non_exhaustive()
    }
}

/// A sending end. Clones send to the same mailbox.
pub struct Sender<T> {
    messages: channel::Sender<T>,
    bell: Arc<Bell>,
}

impl<T> Sender<T> {
    /// Sends a message and wakes the loop unless it is being woken. Never blocks.
    ///
    /// That a message was sent does not mean that it is read: a loop that ends drops what is in its mailbox.
    ///
    /// # Errors
    ///
    /// When the receiver is gone; the message comes back.
    pub fn send(&self, message: T) -> Result<(), Gone<T>> {
        self.messages
            .send(message)
            .map_err(|channel::SendError(message)| Gone(message))?;
        self.bell.ring();
        Ok(())
    }

    /// Sends a batch of messages with at most one wake-up. Never blocks.
    ///
    /// # Errors
    ///
    /// When the receiver is gone; the messages that were not sent come back.
    pub fn send_all(&self, messages: impl IntoIterator<Item = T>) -> Result<(), Gone<Vec<T>>> {
        let mut messages = messages.into_iter();
        let Some(first) = messages.next() else {
            return Ok(());
        };
        let sent = self
            .messages
            .send(first)
            .and_then(|()| messages.try_for_each(|message| self.messages.send(message)));
        self.bell.ring();
        sent.map_err(|channel::SendError(message)| {
            Gone([message].into_iter().chain(messages).collect())
        })
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
            bell: Arc::clone(&self.bell),
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// The receiver is gone; here is what could not be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Gone<T>(pub T);

impl<T> fmt::Debug for Gone<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gone")
    }
}

impl<T> fmt::Display for Gone<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop has ended")
    }
}

impl<T> Error for Gone<T> {}

/// Wakes once for all messages that come before the loop looks.
struct Bell {
    under_way: AtomicBool,
    wake: Arc<dyn Wake>,
}

impl Bell {
    /// After a push: wakes unless somebody does.
    fn ring(&self) {
        if !self.under_way.swap(true, Ordering::AcqRel) {
            self.wake.wake();
        }
    }

    /// Before a look: from now on a message brings a new wake-up.
    fn hush(&self) {
        self.under_way.swap(false, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread::{self, Thread};

    use super::*;

    fn counted<T>() -> (Mailbox<T>, Sender<T>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&wakes);
        let (mailbox, sender) = Mailbox::new(Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        (mailbox, sender, wakes)
    }

    #[test]
    fn messages_that_pile_up_cost_one_wake_up() {
        let (mut mailbox, sender, wakes) = counted();
        sender.send(1).unwrap();
        sender.clone().send(2).unwrap();
        sender.send_all([3, 4]).unwrap();
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        let mut messages = Vec::new();
        mailbox.drain(&mut messages);
        assert_eq!(messages, [1, 2, 3, 4]);
    }

    #[test]
    fn a_message_after_a_look_brings_a_new_wake_up() {
        let (mut mailbox, sender, wakes) = counted();
        sender.send(1).unwrap();
        assert_eq!(mailbox.try_recv(), Some(1));
        sender.send(2).unwrap();
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
        assert_eq!(mailbox.try_recv(), Some(2));
        assert_eq!(mailbox.try_recv(), None);
    }

    #[test]
    fn an_empty_batch_wakes_nobody() {
        let (_mailbox, sender, wakes) = counted::<()>();
        sender.send_all([]).unwrap();
        assert_eq!(wakes.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn what_cannot_be_sent_comes_back() {
        let (mailbox, sender, wakes) = counted();
        drop(mailbox);
        assert_eq!(sender.send(7), Err(Gone(7)));
        assert_eq!(sender.send_all([1, 2, 3]), Err(Gone(vec![1, 2, 3])));
        assert!(wakes.load(Ordering::SeqCst) <= 1);
    }

    #[test]
    fn messages_left_unread_are_dropped_with_the_mailbox() {
        let (mailbox, sender, _) = counted();
        let message = Arc::new(());
        sender.send(Arc::clone(&message)).unwrap();
        drop(mailbox);
        assert_eq!(Arc::strong_count(&message), 1);
    }

    /// Lets a thread sleep until it is woken, without a time-out that would hide a lost wake-up.
    struct Alarm {
        woken: AtomicBool,
        thread: Thread,
    }

    impl Wake for Alarm {
        fn wake(&self) {
            self.woken.store(true, Ordering::SeqCst);
            self.thread.unpark();
        }
    }

    impl Alarm {
        fn sleep(&self) {
            while !self.woken.swap(false, Ordering::SeqCst) {
                thread::park();
            }
        }
    }

    /// Four senders, a receiver that sleeps whenever it has looked: this test hangs if a wake-up is lost.
    fn stress(look: impl Fn(&mut Mailbox<(usize, usize)>, &mut Vec<(usize, usize)>)) {
        const SENDERS: usize = 4;
        const MESSAGES: usize = 50_000;
        let alarm = Arc::new(Alarm {
            woken: AtomicBool::new(false),
            thread: thread::current(),
        });
        let (mut mailbox, sender) = Mailbox::new(Arc::<Alarm>::clone(&alarm));
        let senders: Vec<_> = (0..SENDERS)
            .map(|id| {
                let sender = sender.clone();
                thread::spawn(move || {
                    let (single, batched) = (0..MESSAGES / 2, MESSAGES / 2..MESSAGES);
                    single.for_each(|n| sender.send((id, n)).unwrap());
                    for n in batched.step_by(10) {
                        sender.send_all((n..n + 10).map(|n| (id, n))).unwrap();
                    }
                })
            })
            .collect();
        let mut next = [0; SENDERS];
        let mut messages = Vec::new();
        while next != [MESSAGES; SENDERS] {
            alarm.sleep();
            look(&mut mailbox, &mut messages);
            for (id, n) in messages.drain(..) {
                assert_eq!(n, next[id], "out of order");
                next[id] += 1;
            }
        }
        for sender in senders {
            sender.join().unwrap();
        }
    }

    #[test]
    fn no_wake_up_is_lost_by_a_receiver_that_drains() {
        stress(Mailbox::drain);
    }

    #[test]
    fn no_wake_up_is_lost_by_a_receiver_that_takes_one_by_one() {
        stress(|mailbox, into| into.extend(std::iter::from_fn(|| mailbox.try_recv())));
    }
}
