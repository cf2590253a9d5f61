//! What both ends do with frames: cut them out of what arrives, watch how long one takes to do so, and write them.

use std::time::{Duration, Instant};

use super::input::{Frame, Input};
use crate::frame::{self, Decoded, FrameHeader, HEADER_BYTES};
use crate::{Limits, ProtocolError, WriteQueue};

/// Cuts frames out of a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// Apart, because an idle connection has none.
    partial: Option<Box<Partial>>,
}

/// A frame that has begun to arrive.
#[derive(Debug)]
struct Partial {
    since: Instant,
    /// Length of the whole frame; 0 while its header is not complete.
    total: u32,
    missing: u32,
}

impl Framing {
    /// The header of the frame that `input` begins with, if all of it is there.
    #[inline]
    pub(super) fn peek(
        &mut self,
        input: &Input<'_>,
        limits: &Limits,
        now: Instant,
    ) -> Result<Option<FrameHeader>, ProtocolError> {
        match frame::decode(input.rest(), limits)? {
            Decoded::Frame(header) => Ok(Some(header)),
            Decoded::NeedMore(missing) => {
                self.note_partial(input.rest(), missing, limits, now);
                Ok(None)
            }
        }
    }

    /// Takes the frame that was [looked at](Framing::peek).
    #[inline]
    pub(super) fn take<'a>(&mut self, header: FrameHeader, input: &mut Input<'a>) -> Frame<'a> {
        self.partial = None;
        input.take(header.total_len as usize)
    }

    pub(super) fn has_partial(&self) -> bool {
        self.partial.is_some()
    }

    pub(super) fn bytes_missing(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |partial| partial.missing as usize)
    }

    /// Gives the frame under way its full time again, because it was not read until now.
    pub(super) fn restart(&mut self, now: Instant) {
        if let Some(partial) = &mut self.partial {
            partial.since = now;
        }
    }

    /// When the frame under way has taken too long.
    pub(super) fn too_slow_at(&self, limits: &Limits) -> Option<Instant> {
        self.partial.as_ref().map(|partial| {
            let mebibytes = partial.total >> 20;
            partial.since + limits.frame_time + limits.frame_time_per_mib.saturating_mul(mebibytes)
        })
    }

    fn note_partial(&mut self, rest: &[u8], missing: usize, limits: &Limits, now: Instant) {
        if rest.is_empty() {
            // Where nothing came, what is under way is so still.
            return;
        }
        let total = rest
            .first_chunk::<HEADER_BYTES>()
            .and_then(|bytes| FrameHeader::decode(bytes, limits).ok())
            .map_or(0, |header| header.total_len);
        // Until the header is there nothing tells how much the frame lacks.
        let missing = if total == 0 { 0 } else { missing };
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let partial = self.partial.get_or_insert_with(|| {
            Box::new(Partial {
                since: now,
                total,
                missing,
            })
        });
        (partial.total, partial.missing) = (total, missing);
    }
}

/// Why a frame cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooLong {
    /// Its head has more bytes than a header can say.
    Head,
    /// It has more bytes than the limits allow.
    Frame,
}

/// Appends header and head of a unary frame, which `payload` bytes will follow. The lengths in `header` are filled in: to
/// write the head first and then say how long it came out saves measuring it. What is too long is not written.
#[inline]
pub(super) fn put_head(
    header: FrameHeader,
    payload: usize,
    limits: &Limits,
    output: &mut WriteQueue,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), TooLong> {
    output.put_with(|out| {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        write(out);
        let written = out.len().saturating_sub(start);
        let outcome = lengths(written, payload, limits).map(|(head_len, total_len)| FrameHeader {
            total_len,
            head_len,
            ..header
        });
        let place = out
            .get_mut(start..)
            .and_then(|bytes| bytes.first_chunk_mut());
        match (outcome, place) {
            (Ok(header), Some(place)) => *place = header.encode(),
            _ => out.truncate(start),
        }
        outcome.map(|_| ())
    })
}

/// The lengths of a head and its frame.
pub(super) fn lengths(
    header_and_head: usize,
    payload: usize,
    limits: &Limits,
) -> Result<(u16, u32), TooLong> {
    let head_len = header_and_head.saturating_sub(HEADER_BYTES);
    let head_len = u16::try_from(head_len).map_err(|_| TooLong::Head)?;
    let total_len = u32::try_from(header_and_head.saturating_add(payload))
        .ok()
        .filter(|total| *total <= limits.frame_bytes_max)
        .ok_or(TooLong::Frame)?;
    Ok((head_len, total_len))
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
