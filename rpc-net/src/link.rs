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

use std::io;
use std::time::Instant;

use rpc_codec::connection::Connection;
use rpc_codec::{WriteBuffer, WriteQueue};

use crate::buffer::Tail;
use crate::io::{CloseReason, lend};
use crate::slab::Key;
use crate::timer::TimerKey;
use crate::wire::Wire;

/// Thousands of idle ones are what most servers hold most of the time, so what few connections have stands apart
/// (`benches/tests/idle.rs`).
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one socket, each asked for by itself"
)]
pub(crate) struct Link<M> {
    pub(crate) machine: M,
    /// What has arrived and was not taken.
    pub(crate) tail: Tail,
    pub(crate) output: WriteQueue,
    /// The timer that looks after this connection, and when it fires.
    pub(crate) timer: Option<(TimerKey, Instant)>,
    trouble: Option<Box<Trouble>>,
    /// Of its key.
    pub(crate) generation: u32,
    /// Length of the last frame, if it was a large one: the next one may be like it.
    pub(crate) expected: u32,
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

/// What is known of a connection that ends, or whose peer is slow to take what it asked for.
#[derive(Debug, Default)]
struct Trouble {
    /// Why the connection is about to end. It reads nothing more.
    finishing: Option<CloseReason>,
    /// The FIN has been sent; when to give up waiting for the peer's.
    lingering_until: Option<Instant>,
    /// Since when the peer has taken nothing of what waits to be written.
    stalled_since: Option<Instant>,
}

impl<M> Link<M> {
    pub(crate) fn new(machine: M, generation: u32) -> Self {
        Self {
            machine,
            tail: Tail::default(),
            output: WriteQueue::new(),
            timer: None,
            trouble: None,
            generation,
            expected: 0,
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

    /// Begins to end the connection, unless that has begun for another reason.
    pub(crate) fn finish(&mut self, reason: CloseReason) {
        let trouble = self.trouble.get_or_insert_default();
        trouble.finishing.get_or_insert(reason);
    }

    /// The FIN has been sent: waits for the peer's.
    pub(crate) fn linger(&mut self, until: Instant) {
        self.trouble.get_or_insert_default().lingering_until = Some(until);
    }

    /// The peer has taken nothing of what waits to be written.
    pub(crate) fn note_stall(&mut self, now: Instant) {
        let trouble = self.trouble.get_or_insert_default();
        trouble.stalled_since.get_or_insert(now);
    }

    /// The peer has taken some of what waits to be written.
    pub(crate) fn note_progress(&mut self, now: Instant) {
        if !self.output.is_empty() {
            self.trouble.get_or_insert_default().stalled_since = Some(now);
        } else if let Some(trouble) = &mut self.trouble {
            trouble.stalled_since = None;
            self.trouble.take_if(|trouble| trouble.finishing.is_none());
        }
    }

    /// Why the connection is about to end, if it is.
    pub(crate) fn finishing(&self) -> Option<CloseReason> {
        self.trouble.as_ref()?.finishing
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.finishing().is_some()
    }

    /// When to give up waiting for the peer's FIN, once ours has been sent.
    pub(crate) fn lingering_until(&self) -> Option<Instant> {
        self.trouble.as_ref()?.lingering_until
    }

    /// Since when the peer has taken nothing of what waits to be written.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.trouble.as_ref()?.stalled_since
    }
}

impl<M: Connection> Link<M> {
    /// Lets the machine say what it has to say of its own accord, which few have. Without a buffer that is lent the queue
    /// would make itself one in each turn, and let it grow (`examples/tests/stream_memory.rs`).
    #[inline(never)]
    pub(crate) fn let_speak(&mut self, spares: &mut Vec<WriteBuffer>, now: Instant) {
        lend(&mut self.output, spares);
        self.machine.poll_output(&mut self.output, now);
    }

    /// When the connection is to be looked after: mostly that is for its machine alone to say.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        if self.trouble.is_none() {
            return self.machine.poll_timeout();
        }
        let machine_at = if self.is_finishing() {
            None
        } else {
            self.machine.poll_timeout()
        };
        let all = [machine_at, self.stalls_at(), self.lingering_until()];
        all.into_iter().flatten().min()
    }

    /// When a peer that takes nothing of what it asked for has had its time.
    pub(crate) fn stalls_at(&self) -> Option<Instant> {
        self.stalled_since()
            .map(|since| since + self.machine.limits().write_stall)
    }

    /// Whether there is room by now for frames that came long ago.
    pub(crate) fn is_held_back_no_more(&self) -> bool {
        self.tail.is_unseen() && self.machine.has_room()
    }
}

impl<M> Link<M> {
    /// Writes what is queued, as far as the socket takes it.
    #[inline]
    pub(crate) fn write_out<W: Wire>(&mut self, wire: &mut W, now: Instant) -> io::Result<()> {
        while (!self.output.is_empty() || wire.holds_output()) && !self.is_blocked {
            let (offered, outcome) = self.output.with_slices(|pieces| {
                let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
                (offered, wire.write(pieces))
            });
            match outcome {
                Ok(written) => {
                    self.output.advance(written);
                    self.note_progress(now);
                    self.is_blocked = written < offered;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.note_stall(now);
                    self.is_blocked = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
