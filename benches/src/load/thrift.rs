//! Thrift in framed binary, as far as one method needs it.
//!
//! ```text
//!  offset  bytes  big-endian
//!       0      4  length of what follows
//!       4      4  0x8001, 0, and what it is: 1 a call, 2 an answer, 3 a failure
//!       8      4  length of the name
//!      12      4  echo
//!      16      4  id
//!      20      3  a structure: 12, field 1 of a call or 0 of an answer
//!      23      3  bytes: 11, field 1
//!      26      4  length of the payload
//!      30         payload, and two bytes of 0 that end both structures
//! ```

use super::frames::Frames;
use super::wire::{Answers, LoadError, Wire};

const NAME: &[u8; 4] = b"echo";
const HEAD_BYTES: usize = 30;
const ID: usize = 16;
const CALL: u8 = 1;
const ANSWER: u8 = 2;

/// Speaks Thrift.
#[derive(Debug)]
pub struct Thrift {
    template: Vec<u8>,
    /// What an answer begins with, but for its id.
    answer: [u8; HEAD_BYTES],
    frames: Frames,
}

impl Thrift {
    /// Calls the method with a payload of that length.
    pub fn new(payload: usize) -> Self {
        let mut template = head(CALL, payload).to_vec();
        template.resize(HEAD_BYTES + payload, 0x5a);
        template.extend_from_slice(&[0, 0]);
        Self {
            template,
            answer: head(ANSWER, payload),
            frames: Frames::default(),
        }
    }
}

impl Wire for Thrift {
    fn open(&mut self, _: &mut Vec<u8>) {}

    fn request(&mut self, slot: u32, out: &mut Vec<u8>) {
        let start = out.len() + ID;
        out.extend_from_slice(&self.template);
        out[start..start + 4].copy_from_slice(&slot.to_be_bytes());
    }

    fn receive(
        &mut self,
        input: &[u8],
        answers: &mut Answers,
        _: &mut Vec<u8>,
    ) -> Result<usize, LoadError> {
        let length = self.template.len();
        let head = |rest: &[u8]| {
            let Some(head) = rest.first_chunk::<HEAD_BYTES>() else {
                return Ok(None);
            };
            let mut expected = self.answer;
            expected[ID..ID + 4].copy_from_slice(&head[ID..ID + 4]);
            if *head != expected {
                return Err(LoadError::answer(format!(
                    "{head:?} instead of {expected:?}"
                )));
            }
            let id = [head[ID], head[ID + 1], head[ID + 2], head[ID + 3]];
            Ok(Some((u32::from_be_bytes(id), length)))
        };
        self.frames.receive(input, answers, head)
    }
}

/// What a call or an answer begins with; its id is 0.
fn head(kind: u8, payload: usize) -> [u8; HEAD_BYTES] {
    let field = u8::from(kind == CALL);
    let length = (HEAD_BYTES + payload + 2 - 4) as u32;
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4..8].copy_from_slice(&[0x80, 1, 0, kind]);
    head[8..12].copy_from_slice(&4_u32.to_be_bytes());
    head[12..16].copy_from_slice(NAME);
    head[20..23].copy_from_slice(&[12, 0, field]);
    head[23..26].copy_from_slice(&[11, 0, 1]);
    head[26..].copy_from_slice(&(payload as u32).to_be_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_its_id_and_judged_by_its_length() {
        let mut thrift = Thrift::new(3);
        let mut good = head(ANSWER, 3).to_vec();
        good[ID + 3] = 7;
        good.extend_from_slice(&[1, 2, 3, 0, 0]);
        let mut answers = Answers::new();
        let mut take =
            |input: &[u8], answers: &mut Answers| thrift.receive(input, answers, &mut Vec::new());
        assert_eq!(take(&good[..29], &mut answers).unwrap(), 0);
        assert_eq!(take(&good[..31], &mut answers).unwrap(), 31);
        assert_eq!(take(&good[31..], &mut answers).unwrap(), 4);
        assert_eq!(answers, [7]);
        for (place, what) in [
            (3, "length"),
            (7, "failure"),
            (22, "field"),
            (29, "payload"),
        ] {
            let mut bad = good.clone();
            bad[place] += 1;
            assert!(take(&bad, &mut answers).is_err(), "{what}");
        }
    }
}
