//! [`Frames`]: answers that say at their beginning whom they answer and how long they are.

use super::wire::{Answers, LoadError};

/// Takes whole answers and parts of them: what follows the beginning of one is only counted, so that nothing is kept.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The answer under way: whom it answers, and what of it is still to come.
    under_way: Option<(u32, usize)>,
}

impl Frames {
    /// Takes what has arrived and says how much of it was used. `head` judges the beginning of an answer and tells whom
    /// it answers and its length as a whole; `None` while too little of it is there.
    pub(super) fn receive(
        &mut self,
        input: &[u8],
        answers: &mut Answers,
        head: impl Fn(&[u8]) -> Result<Option<(u32, usize)>, LoadError>,
    ) -> Result<usize, LoadError> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let under_way = match self.under_way {
                Some(under_way) => Some(under_way),
                None => head(rest)?,
            };
            let Some((slot, left)) = under_way else {
                return Ok(taken);
            };
            if rest.len() < left {
                self.under_way = Some((slot, left - rest.len()));
                return Ok(input.len());
            }
            taken += left;
            self.under_way = None;
            answers.push(slot);
        }
    }
}
