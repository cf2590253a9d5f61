//! What both ends do with incoming bytes: cut frames, and watch how long one takes to arrive.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::frame::{self, Decoded, FrameHeader, HEADER_BYTES};
use crate::{Limits, ProtocolError};

/// Cuts frames out of a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// Complete frames that have not been looked at.
    frames: Bytes,
    /// When the last of them was complete.
    complete_at: Option<Instant>,
    partial: Option<Partial>,
}

/// A frame that has begun to arrive.
#[derive(Debug, Clone, Copy)]
struct Partial {
    since: Instant,
    /// Length of the whole frame; 0 while its header is not complete.
    total: usize,
    missing: usize,
}

impl Framing {
    /// Takes complete frames from the front of `input`.
    pub(super) fn take(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        if !self.frames.is_empty() {
            return Ok(());
        }
        let mut complete = 0;
        let outcome = loop {
            let rest = input.get(complete..).unwrap_or_default();
            match frame::decode(rest, limits) {
                Ok(Decoded::Frame(header)) => complete += header.total_len as usize,
                Ok(Decoded::NeedMore(missing)) => {
                    self.note_partial(rest, missing, limits, now, complete > 0);
                    break Ok(());
                }
                // The frames before the damage come first; the caller meets it again once they are taken.
                Err(_) if complete > 0 => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.frames = input.split_to(complete).freeze();
        self.complete_at = Some(now);
        outcome
    }

    /// The next complete frame: its header, and all of its bytes.
    pub(super) fn next(&mut self, limits: &Limits) -> Option<(FrameHeader, Bytes)> {
        let Ok(Decoded::Frame(header)) = frame::decode(&self.frames, limits) else {
            return None;
        };
        Some((header, self.frames.split_to(header.total_len as usize)))
    }

    /// When the frames that are taken now were complete; `now` if there were none.
    pub(super) fn complete_at(&self, now: Instant) -> Instant {
        self.complete_at.unwrap_or(now)
    }

    pub(super) fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    pub(super) fn has_partial(&self) -> bool {
        self.partial.is_some()
    }

    pub(super) fn bytes_missing(&self) -> usize {
        self.partial.map_or(0, |partial| partial.missing)
    }

    /// Gives the frame under way its full time again, because it was not read until now.
    pub(super) fn restart(&mut self, now: Instant) {
        if let Some(partial) = &mut self.partial {
            partial.since = now;
        }
    }

    /// When the frame under way has taken too long.
    pub(super) fn too_slow_at(&self, limits: &Limits) -> Option<Instant> {
        self.partial.map(|partial| {
            let mebibytes = u32::try_from(partial.total >> 20).unwrap_or(u32::MAX);
            partial.since + limits.frame_time + limits.frame_time_per_mib.saturating_mul(mebibytes)
        })
    }

    fn note_partial(
        &mut self,
        rest: &[u8],
        missing: usize,
        limits: &Limits,
        now: Instant,
        begins_now: bool,
    ) {
        if rest.is_empty() {
            // Where nothing came, what is under way is so still.
            if begins_now {
                self.partial = None;
            }
            return;
        }
        let total = rest
            .first_chunk::<HEADER_BYTES>()
            .and_then(|bytes| FrameHeader::decode(bytes, limits).ok())
            .map_or(0, |header| header.total_len as usize);
        let since = match self.partial {
            Some(partial) if !begins_now => partial.since,
            _ => now,
        };
        // Until the header is there nothing tells how much the frame lacks.
        let missing = if total == 0 { 0 } else { missing };
        self.partial = Some(Partial {
            since,
            total,
            missing,
        });
    }
}

/// Counts what a peer does wrong within a window of time.
#[derive(Debug, Default)]
pub(super) struct Glitches {
    count: u32,
    window_start: Option<Instant>,
}

impl Glitches {
    /// Counts one more, and says when there have been too many.
    pub(super) fn add(
        &mut self,
        now: Instant,
        max: u32,
        window: Duration,
    ) -> Result<(), ProtocolError> {
        match self.window_start {
            Some(start) if now.saturating_duration_since(start) < window => {}
            _ => {
                self.window_start = Some(now);
                self.count = 0;
            }
        }
        self.count = self.count.saturating_add(1);
        if self.count > max {
            Err(ProtocolError::TooManyGlitches { max })
        } else {
            Ok(())
        }
    }
}
