//! One connection of a loop: its machine, what has arrived of the next frame, and what is to be written.
//!
//! ```text
//!            finish, damage, end of input          all written and answered        peer's FIN, or 1 s
//!   Open ────────────────────────────────▶ Finishing ─────────────────────▶ Lingering ────────────────▶ gone
//!    │ reads and writes                      │ writes only          FIN sent   │ reads and throws away
//!    └────────── error of the socket ────────┴─────────────────────────────────┴──────────────────────▶ gone
//! ```
//!
//! Lingering keeps the last answers safe: a socket that is closed while unread bytes lie in it is reset, and a reset
//! can overtake what the peer has not read yet.

use std::net::SocketAddr;
use std::time::Instant;

use rpc_codec::WriteQueue;

use crate::buffer::Tail;
use crate::io::CloseReason;
use crate::slab::Key;
use crate::timer::TimerKey;

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one socket, each asked for by itself"
)]
pub(crate) struct Link<M> {
    pub(crate) machine: M,
    pub(crate) peer: SocketAddr,
    /// What has arrived and was not taken.
    pub(crate) tail: Tail,
    /// Length of the last frame, if it was a large one: the next one may be like it.
    pub(crate) expected: u32,
    pub(crate) output: WriteQueue,
    /// Why the connection is about to end. It reads nothing more.
    pub(crate) finishing: Option<CloseReason>,
    /// The FIN has been sent; when to give up waiting for the peer's.
    pub(crate) lingering_until: Option<Instant>,
    /// The timer that looks after this connection, and when it fires.
    pub(crate) timer: Option<(TimerKey, Instant)>,
    /// Since when the peer has taken nothing of what waits to be written.
    pub(crate) stalled_since: Option<Instant>,
    /// Stands in the list of connections to be read.
    pub(crate) is_ready: bool,
    /// Stands in the list of connections to be written.
    pub(crate) is_dirty: bool,
    /// The peer has sent its FIN: read until it is met.
    pub(crate) is_hung_up: bool,
    /// The socket took less than it was offered: wait for it to become writable.
    pub(crate) is_blocked: bool,
    /// Nothing is read, for back-pressure.
    pub(crate) is_paused: bool,
}

impl<M> Link<M> {
    pub(crate) fn new(machine: M, peer: SocketAddr) -> Self {
        Self {
            machine,
            peer,
            tail: Tail::default(),
            expected: 0,
            output: WriteQueue::new(),
            finishing: None,
            lingering_until: None,
            timer: None,
            stalled_since: None,
            is_ready: false,
            is_dirty: false,
            is_hung_up: false,
            is_blocked: false,
            is_paused: false,
        }
    }

    pub(crate) fn mark_dirty(&mut self, key: Key, dirty: &mut Vec<Key>) {
        if !self.is_dirty {
            self.is_dirty = true;
            dirty.push(key);
        }
    }
}
