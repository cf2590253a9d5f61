//! Bugs planted on purpose, to see that checks would notice them.

use bytes::{Bytes, BytesMut};
use rpc_codec::frame::HEADER_BYTES;
use rpc_codec::{Decoded, Limits, frame};

/// A bug that is planted into a simulation, to see that a test would notice it. See [`crate::Sim::plant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Some answers vanish on their way out of the server.
    LosesAnswers,
    /// Some answers are sent twice.
    RepeatsAnswers,
    /// Some answers carry the message of another call's.
    MixesAnswers,
    /// The clocks of servers stand still most of the time, so that a deadline is never there.
    StandingClock,
}

/// Changes what a server writes.
#[derive(Debug)]
pub(super) struct Forger {
    fault: Fault,
    written: BytesMut,
    frames: usize,
    last_body: Bytes,
}

/// One in so many answers is forged.
const EVERY: usize = 7;

impl Forger {
    pub(super) fn of(fault: Fault) -> Option<Self> {
        (fault != Fault::StandingClock).then(|| Self {
            fault,
            written: BytesMut::new(),
            frames: 0,
            last_body: Bytes::new(),
        })
    }

    /// What is sent in place of `bytes`.
    pub(super) fn forge(&mut self, bytes: &[u8]) -> Bytes {
        self.written.extend_from_slice(bytes);
        let mut forged = BytesMut::new();
        while let Ok(Decoded::Frame(header)) = frame::decode(&self.written, &Limits::default()) {
            let mut answer = self.written.split_to(header.total_len as usize);
            let body = HEADER_BYTES + usize::from(header.head_len);
            self.frames += 1;
            let is_turn = self.frames.is_multiple_of(EVERY);
            let own_body = Bytes::copy_from_slice(&answer[body..]);
            match self.fault {
                Fault::LosesAnswers if is_turn => continue,
                Fault::RepeatsAnswers if is_turn => forged.extend_from_slice(&answer),
                Fault::MixesAnswers if is_turn && own_body.len() == self.last_body.len() => {
                    answer[body..].copy_from_slice(&self.last_body);
                }
                _ => {}
            }
            self.last_body = own_body;
            forged.extend_from_slice(&answer);
        }
        forged.freeze()
    }
}
