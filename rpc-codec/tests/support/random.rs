//! Numbers that look random and are the same each time, and damage done with them.

/// A generator (xorshift). Equal seeds give equal numbers.
pub(crate) struct Random(u64);

impl Random {
    /// Any seed will do.
    pub(crate) fn seeded(seed: u64) -> Self {
        // The state must not be 0, and seeds that are neighbours should not begin alike.
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    /// Seeded by what was read, so that an input decides all that is done with it.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let fold = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self::seeded(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[4]
    }

    /// One of the list, which is not empty.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn piece_of(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let seed = self.pick(seeds);
        let from = self.below(seed.len() + 1);
        let to = (from + self.below(24)).min(seed.len());
        seed[from..to].to_vec()
    }
}

/// One of the seeds, damaged in one to four places.
pub(crate) fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(seeds).clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.byte()),
            2 => {
                bytes.splice(at..(at + 1 + random.below(8)).min(bytes.len()), []);
            }
            3 => {
                let piece = random.piece_of(seeds);
                bytes.splice(at..at, piece);
            }
            4 => {
                let copy = bytes[at..(at + 16).min(bytes.len())].to_vec();
                bytes.extend(copy);
            }
            5 => {
                let edge = *random.pick(&[0, 1, 0x7f, 0x80, 0xfe, 0xff]);
                change(&mut bytes, at, |_| edge);
            }
            6 => {
                let value = random.byte();
                change(&mut bytes, at, |_| value);
            }
            _ => {
                let bit = 1 << random.below(8);
                change(&mut bytes, at, |byte| byte ^ bit);
            }
        }
    }
    bytes
}

fn change(bytes: &mut [u8], at: usize, change: impl Fn(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
}
