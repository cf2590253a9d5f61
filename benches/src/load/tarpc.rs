//! tarpc over TCP with bincode, as far as one method needs it.
//!
//! ```text
//!  request                                   answer
//!  4  length of what follows, big-endian     4  length of what follows, big-endian
//!  1  0: a request                           3  id
//!  2  deadline: seconds, nanoseconds         1  0: it went well
//! 16  trace id                               1  0: the first method
//!  1  span id                                …  length of the payload
//!  1  1: not sampled                            payload
//!  3  id
//!  1  0: the first method
//!  …  length of the payload
//!     payload
//! ```
//!
//! Integers take one byte up to 250; above, a byte says how many follow, and they are little-endian.

use super::frames::Frames;
use super::wire::{Answers, LoadError, Wire};

/// Ids are slots beyond this, so that they all take three bytes.
const ID_BASE: u32 = 256;
/// Says that an integer is in the two bytes that follow, or the four.
const TWO_BYTES: u8 = 251;
const FOUR_BYTES: u8 = 252;

const LENGTH_BYTES: usize = 4;
/// Where the id of a request stands, behind the byte that says how long it is.
const REQUEST_ID: usize = LENGTH_BYTES + 1 + 2 + 16 + 1 + 1 + 1;
/// Where the length of an answer's payload stands.
const PAYLOAD: usize = LENGTH_BYTES + 3 + 1 + 1;

/// Speaks tarpc.
#[derive(Debug)]
pub struct Tarpc {
    template: Vec<u8>,
    /// Length of an answer, and how the length of its payload is written.
    answer: usize,
    payload: Vec<u8>,
    frames: Frames,
}

impl Tarpc {
    /// Calls the first method of a service with a payload of that length.
    pub fn new(payload: usize) -> Self {
        let mut written = Vec::new();
        put_integer(payload, &mut written);
        let mut template = vec![0; LENGTH_BYTES];
        // A request that has ten seconds, as tarpc's own clients give it.
        template.extend_from_slice(&[0, 10, 0]);
        template.extend_from_slice(&[0x17; 16]);
        template.extend_from_slice(&[1, 1]);
        template.extend_from_slice(&[TWO_BYTES, 0, 0]);
        template.push(0);
        template.extend_from_slice(&written);
        template.resize(template.len() + payload, 0x5a);
        let length = (template.len() - LENGTH_BYTES) as u32;
        template[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        Self {
            template,
            answer: PAYLOAD + written.len() + payload,
            payload: written,
            frames: Frames::default(),
        }
    }
}

impl Wire for Tarpc {
    fn open(&mut self, _: &mut Vec<u8>) {}

    fn request(&mut self, slot: u32, out: &mut Vec<u8>) {
        let id = (slot + ID_BASE) as u16;
        let start = out.len() + REQUEST_ID;
        out.extend_from_slice(&self.template);
        out[start..start + 2].copy_from_slice(&id.to_le_bytes());
    }

    fn receive(
        &mut self,
        input: &[u8],
        answers: &mut Answers,
        _: &mut Vec<u8>,
    ) -> Result<usize, LoadError> {
        let head = |rest: &[u8]| head(rest, self.answer, &self.payload);
        self.frames.receive(input, answers, head)
    }
}

fn head(input: &[u8], expected: usize, payload: &[u8]) -> Result<Option<(u32, usize)>, LoadError> {
    let Some(head) = input.get(..PAYLOAD + payload.len()) else {
        return Ok(None);
    };
    let [
        l0,
        l1,
        l2,
        l3,
        kind,
        i0,
        i1,
        outcome,
        method,
        ref written @ ..,
    ] = *head
    else {
        return Ok(None);
    };
    let length = LENGTH_BYTES + u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if (length, kind, outcome, method) != (expected, TWO_BYTES, 0, 0) || written != payload {
        return Err(LoadError::answer(format!(
            "{length} bytes instead of {expected}, which begin with {head:?}"
        )));
    }
    let id = u32::from(u16::from_le_bytes([i0, i1]));
    let slot = id.checked_sub(ID_BASE);
    let slot = slot.ok_or_else(|| LoadError::answer(format!("id {id}")))?;
    Ok(Some((slot, length)))
}

fn put_integer(value: usize, out: &mut Vec<u8>) {
    match value {
        0..=250 => out.push(value as u8),
        251..=0xffff => {
            out.push(TWO_BYTES);
            out.extend_from_slice(&(value as u16).to_le_bytes());
        }
        _ => {
            out.push(FOUR_BYTES);
            out.extend_from_slice(&(value as u32).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_its_id_and_judged_by_its_length() {
        let mut tarpc = Tarpc::new(3);
        let mut answers = Answers::new();
        let good = [0, 0, 0, 9, TWO_BYTES, 5, 1, 0, 0, 3, 1, 2, 3];
        let mut take =
            |input: &[u8], answers: &mut Answers| tarpc.receive(input, answers, &mut Vec::new());
        assert_eq!(take(&good[..6], &mut answers).unwrap(), 0);
        assert_eq!(take(&good[..11], &mut answers).unwrap(), 11);
        assert_eq!(take(&good[11..], &mut answers).unwrap(), 2);
        assert_eq!(answers, [5]);
        for (place, what) in [(3, "length"), (4, "id"), (7, "outcome"), (9, "payload")] {
            let mut bad = good;
            bad[place] += 1;
            assert!(take(&bad, &mut answers).is_err(), "{what}");
        }
    }

    #[test]
    fn requests_differ_in_their_ids_alone() {
        let mut tarpc = Tarpc::new(1024);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        tarpc.request(0, &mut first);
        tarpc.request(1, &mut second);
        assert_eq!(first[REQUEST_ID - 1..=REQUEST_ID + 1], [TWO_BYTES, 0, 1]);
        assert_eq!(second[REQUEST_ID - 1..=REQUEST_ID + 1], [TWO_BYTES, 1, 1]);
        second[REQUEST_ID] = 0;
        assert_eq!(first, second);
        assert_eq!(first.len(), REQUEST_ID + 2 + 1 + 3 + 1024);
    }
}
