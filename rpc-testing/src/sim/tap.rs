//! Listens on one connection at its answering end: what was asked and what was answered.
//!
//! It sees what the loop really read and really wrote, and knows the frames from the codec and nothing else, so what the
//! drivers believe has no part in its judgement.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use rpc_codec::connection::NOBODYS_CALL;
use rpc_codec::frame::HEADER_BYTES;
use rpc_codec::{Decoded, FrameKind, Limits, RequestHead, ResponseHead, frame};

#[derive(Debug, Default)]
pub(super) struct Tap {
    asked: BytesMut,
    answered: BytesMut,
    /// Requests that were read in full and not answered yet, by id.
    open: BTreeMap<u32, usize>,
    has_crashed: bool,
    complaints: Vec<String>,
}

impl Tap {
    /// The answering end has read these bytes.
    pub(super) fn asked(&mut self, bytes: &[u8]) {
        self.asked.extend_from_slice(bytes);
        while let Some(head) = next_head(&mut self.asked) {
            match RequestHead::decode(&head) {
                Ok(head) if head.call_type == 0 => {
                    *self.open.entry(head.request_id).or_default() += 1;
                }
                _ => {}
            }
        }
    }

    /// The answering end has written these bytes.
    pub(super) fn answered(&mut self, bytes: &[u8]) {
        self.answered.extend_from_slice(bytes);
        while let Some(head) = next_head(&mut self.answered) {
            match ResponseHead::decode(&head) {
                Ok(head) => self.answer(head.request_id),
                Err(error) => self
                    .complaints
                    .push(format!("I1: an answer has a broken head: {error}")),
            }
        }
    }

    /// The process that has the connection is gone: what comes now is not its own doing.
    pub(super) fn crashed(&mut self) {
        self.has_crashed = true;
    }

    /// The answering end says, of its own accord, that it has written all. At the end of its grace time it may leave
    /// calls that it has not begun: after the mark of who leaves the FIN says just that.
    pub(super) fn finished(&mut self, is_cut: bool) {
        if self.has_crashed {
            return;
        }
        if !is_cut {
            let open = self.open.keys();
            let lost = open.map(|id| format!("I1, I7: call {id} was read, and then came a FIN"));
            self.complaints.extend(lost);
        }
        if !self.answered.is_empty() {
            let text = "I1: a FIN came in the middle of an answer";
            self.complaints.push(text.to_owned());
        }
    }

    /// Requests that were read and not answered.
    pub(super) fn unanswered(&self) -> usize {
        self.open.values().sum()
    }

    /// What should not have been, now that nothing is under way. On a connection that lives, every request that was read
    /// has an answer.
    pub(super) fn complaints(&self, lives: bool) -> impl Iterator<Item = String> {
        let open = self.open.keys().filter(move |_| lives);
        let silent = open.map(|id| format!("I1: call {id} was read and never answered"));
        self.complaints.iter().cloned().chain(silent)
    }

    fn answer(&mut self, id: u32) {
        match self.open.get_mut(&id) {
            Some(1) => drop(self.open.remove(&id)),
            Some(open) => *open -= 1,
            // That the server leaves.
            None if id == NOBODYS_CALL => {}
            None => self.complaints.push(format!(
                "I1: call {id} was answered and not asked, or answered twice"
            )),
        }
    }
}

/// Takes one frame from the front and returns its head.
fn next_head(bytes: &mut BytesMut) -> Option<BytesMut> {
    let Ok(Decoded::Frame(header)) = frame::decode(bytes, &Limits::default()) else {
        return None;
    };
    let mut frame = bytes.split_to(header.total_len as usize);
    if header.kind != FrameKind::Unary {
        return next_head(bytes);
    }
    frame.advance(HEADER_BYTES);
    frame.truncate(usize::from(header.head_len));
    Some(frame)
}
