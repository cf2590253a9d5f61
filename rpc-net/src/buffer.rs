//! The read buffer that all connections of a loop share.

use std::io;

use bytes::BytesMut;

use crate::engine::Wire;

/// What one read asks for at most; it bounds how long one connection can keep the loop.
pub(crate) const READ_MAX: usize = 64 * 1024;
/// How much is allocated at a time. Frames are cut from it without copying, and it is reused once they are gone.
const BUFFER: usize = 256 * 1024;
/// A frame longer than this is read into a buffer of its own.
const LARGE: usize = 64 * 1024;

/// One buffer for all connections: an idle connection owns none, and a busy loop stays within its cache
/// (`benches/benches/compare.rs`, bytes per idle connection).
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    /// Initialised in full, so that a read needs no unsafe code; what is handed out is split off its front.
    spare: BytesMut,
}

/// What a read brought.
#[derive(Debug)]
pub(crate) struct Filled {
    /// All unconsumed bytes of the connection, those of earlier reads in front.
    pub(crate) input: BytesMut,
    /// How many are new; 0 at the end of the stream.
    pub(crate) read: usize,
    /// Whether the socket had no more than that.
    pub(crate) is_drained: bool,
}

impl ReadBuffer {
    /// Reads once from `wire`. `earlier` holds the bytes that arrived before, which are moved to the front of what is
    /// returned; `missing` says how much the frame under way lacks.
    pub(crate) fn fill<W: Wire>(
        &mut self,
        wire: &mut W,
        earlier: &mut BytesMut,
        missing: usize,
    ) -> io::Result<Filled> {
        if missing > 0 && earlier.len() + missing > LARGE {
            return fill_own(wire, earlier, missing);
        }
        let kept = earlier.len();
        self.make_room(kept + READ_MAX);
        let window = self
            .spare
            .get_mut(kept..kept + READ_MAX)
            .unwrap_or_default();
        let offered = window.len();
        let read = wire.read(window)?;
        if let Some(front) = self.spare.get_mut(..kept) {
            front.copy_from_slice(earlier);
        }
        *earlier = BytesMut::new();
        let input = self.spare.split_to(kept + read);
        Ok(Filled {
            input,
            read,
            is_drained: read < offered,
        })
    }

    fn make_room(&mut self, needed: usize) {
        if self.spare.len() >= needed {
            return;
        }
        // Takes the old allocation back if nothing that was cut from it is left, else makes a new one.
        self.spare.clear();
        self.spare.reserve(BUFFER.max(needed));
        self.spare.resize(BUFFER.max(needed), 0);
    }
}

/// Reads into the connection's own buffer, which grows with what has really arrived.
fn fill_own<W: Wire>(wire: &mut W, earlier: &mut BytesMut, missing: usize) -> io::Result<Filled> {
    let kept = earlier.len();
    let window = missing.min(kept.max(READ_MAX)).min(8 * READ_MAX);
    earlier.resize(kept + window, 0);
    let outcome = wire.read(earlier.get_mut(kept..).unwrap_or_default());
    earlier.truncate(kept + outcome.as_ref().map_or(0, |read| *read));
    let read = outcome?;
    Ok(Filled {
        input: std::mem::take(earlier),
        read,
        is_drained: read < window,
    })
}
