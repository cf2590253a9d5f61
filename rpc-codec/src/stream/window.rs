//! Windows: how many bytes of messages may be on their way, as plain numbers.
//!
//! Each end says in its INIT how many bytes it takes before the application has taken any, and in each FEEDBACK how many
//! more it takes because the application took some. What counts is the payload of DATA as it is on the wire. Messages are
//! not cut, so one that is longer than what is left of the window is sent all the same as long as anything is left: the
//! window falls below zero, and the sender waits until it has climbed out. A receiver never takes that for a fault.
//!
//! When either end names 0, neither direction is controlled.
//!
//! ```text
//!   send    1 ──message of 5──▶ -4 ──message──▶ waits ──FEEDBACK 8──▶ 4 ──▶ goes on
//!   receive taken by the application ≥ window / 4  ──▶ FEEDBACK of all that was taken
//! ```

/// The most that a window may grow to, unless it began larger. A peer that counts the bytes of unpacked messages as taken
/// makes it grow slowly; one that makes it grow beyond this is out of its mind.
const SUM_MAX: i64 = i32::MAX as i64;

/// What the peer lets us send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SendWindow {
    /// `None` where the flow is not controlled.
    left: Option<i64>,
    max: i64,
}

impl SendWindow {
    /// A window as the peer announced it.
    pub(crate) fn new(announced: u32) -> Self {
        let announced = i64::from(announced);
        Self {
            left: (announced > 0).then_some(announced),
            max: announced.max(SUM_MAX),
        }
    }

    /// A window that holds nothing back.
    pub(crate) fn unlimited() -> Self {
        Self::new(0)
    }

    /// Takes a message out of the window. `false`, and nothing taken, when it has to wait.
    pub(crate) fn take(&mut self, length: usize) -> bool {
        let Some(left) = &mut self.left else {
            return true;
        };
        if *left <= 0 {
            return false;
        }
        // No message is so long that this would not do.
        *left = left.saturating_sub_unsigned(length as u64);
        true
    }

    /// The peer takes so many bytes more. `false` when they would be more than make sense.
    #[must_use]
    pub(crate) fn grant(&mut self, increment: u32) -> bool {
        let Some(left) = &mut self.left else {
            return true;
        };
        let sum = left.saturating_add(i64::from(increment));
        if sum > self.max {
            return false;
        }
        *left = sum;
        true
    }

    /// Whether a message has to wait.
    pub(crate) fn is_shut(&self) -> bool {
        self.left.is_some_and(|left| left <= 0)
    }
}

/// What we let the peer send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecvWindow {
    /// 0 where the flow is not controlled.
    window: u32,
    /// Bytes that the application took and the peer was not told of.
    taken: u64,
}

impl RecvWindow {
    /// A window as we announced it.
    pub(crate) fn new(announced: u32) -> Self {
        Self {
            window: announced,
            taken: 0,
        }
    }

    /// Whether the flow is controlled.
    pub(crate) fn is_controlled(&self) -> bool {
        self.window > 0
    }

    /// The window as it was announced.
    pub(crate) fn announced(&self) -> usize {
        self.window as usize
    }

    /// How many bytes the application takes before the peer is told.
    pub(crate) fn mark(&self) -> usize {
        (self.window as usize / 4).max(1)
    }

    /// The application took so many bytes.
    pub(crate) fn note_taken(&mut self, length: usize) {
        if self.is_controlled() {
            self.taken = self.taken.saturating_add(length as u64);
        }
    }

    /// What to tell the peer now, if it is time. What does not fit one frame is told by the next.
    pub(crate) fn feedback(&mut self) -> Option<u32> {
        if !self.is_controlled() || self.taken < self.mark() as u64 {
            return None;
        }
        let told = u32::try_from(self.taken).unwrap_or(u32::MAX);
        self.taken -= u64::from(told);
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_of_any_length_passes_while_a_byte_is_left() {
        let mut window = SendWindow::new(10);
        assert!(window.take(9) && !window.is_shut());
        assert!(window.take(usize::MAX >> 1));
        assert!(window.is_shut() && !window.take(0));
        let mut window = SendWindow::new(10);
        assert!(
            window.take(10) && !window.take(0),
            "exactly nothing is left"
        );
        assert!(window.grant(1) && window.take(0) && window.take(4));
        assert!(window.grant(3) && window.is_shut());
        assert!(window.grant(1) && !window.is_shut());
    }

    #[test]
    fn nothing_is_held_back_where_the_flow_is_not_controlled() {
        let mut window = SendWindow::unlimited();
        assert!(window.take(usize::MAX) && window.take(usize::MAX) && !window.is_shut());
        assert!(window.grant(u32::MAX) && window.grant(u32::MAX));
        let mut window = RecvWindow::new(0);
        window.note_taken(usize::MAX);
        assert_eq!(window.feedback(), None);
    }

    #[test]
    fn a_window_grows_to_what_makes_sense_and_not_a_byte_further() {
        let mut window = SendWindow::new(1);
        assert!(window.grant(i32::MAX as u32 - 1));
        assert!(window.grant(0) && !window.grant(1) && window.take(1) && window.grant(1));
        // One that began larger may come back to where it was.
        let mut window = SendWindow::new(u32::MAX);
        assert!(!window.grant(1) && window.take(5) && window.grant(5) && !window.grant(1));
    }

    #[test]
    fn a_peer_is_told_at_a_quarter() {
        let mut window = RecvWindow::new(65_535);
        window.note_taken(16_382);
        assert_eq!(window.feedback(), None);
        window.note_taken(1);
        assert_eq!(window.feedback(), Some(16_383));
        assert_eq!(window.feedback(), None);
        let mut window = RecvWindow::new(3);
        assert_eq!((window.mark(), window.feedback()), (1, None));
        window.note_taken(u32::MAX as usize + 7);
        assert_eq!(window.feedback(), Some(u32::MAX));
        assert_eq!(window.feedback(), Some(7));
        assert_eq!(window.feedback(), None);
    }
}
