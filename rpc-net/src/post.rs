//! How other threads reach a driver: by letters to its loop.

use std::sync::Arc;
use std::time::Instant;

use rpc_core::Timer;
use rpc_core::time::Alarm;

use crate::mailbox::{Gone, Sender};

/// What lies in the mailbox of a loop.
#[derive(Debug)]
pub enum Letter<M> {
    /// For the driver.
    Mail(M),
    /// For the loop's timer wheel.
    Alarm(Instant, Arc<Alarm>),
}

/// Reaches the driver of one loop from any thread. The loop is woken once for all that is sent while it is busy.
#[derive(Debug)]
pub struct Post<M> {
    sender: Sender<Letter<M>>,
}

impl<M> Post<M> {
    /// Sends through `sender`.
    pub fn new(sender: Sender<Letter<M>>) -> Self {
        Self { sender }
    }

    /// Sends `mail` to the driver.
    ///
    /// # Errors
    ///
    /// Gives the mail back when the loop has ended.
    pub fn send(&self, mail: M) -> Result<(), M> {
        self.sender
            .send(Letter::Mail(mail))
            .map_err(|Gone(letter)| match letter {
                Letter::Mail(mail) => mail,
                Letter::Alarm(..) => unreachable!("mail was sent"),
            })
    }
}

impl<M> Clone for Post<M> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
        }
    }
}

impl<M: Send> Timer for Post<M> {
    fn ring_at(&self, at: Instant, alarm: Arc<Alarm>) {
        // A loop that has ended rings at once: whoever sleeps must not sleep for ever.
        if let Err(Gone(Letter::Alarm(_, alarm))) = self.sender.send(Letter::Alarm(at, alarm)) {
            alarm.ring();
        }
    }
}
