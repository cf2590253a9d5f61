//! [`Report`]: how the end of a call reaches its loop.

use rpc_core::{Permit, Shell};
use rpc_net::Post;

use crate::attempt::Outcome;
use crate::calls::CallKey;
use crate::driver::Mail;

/// What reports the end of a call. When it is dropped the places are given back, whatever became of the call.
pub(crate) struct Report {
    pub(crate) call: CallKey,
    pub(crate) permits: [Permit; 2],
}

impl Report {
    pub(crate) fn finish(self, post: &Post<Mail>, outcome: Outcome) {
        // First the places, then the answer: whoever sees the answer may count on the place.
        drop(self.permits);
        // A loop that has ended has no connection left to answer on.
        let _ = post.send(Mail::done(self.call, outcome, Shell::of_this_thread()));
    }
}
