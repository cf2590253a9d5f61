//! [`Random`]: a small generator that threads may share.
//!
//! Clients that lost one server at the same moment must not come back at the same moment. For that any number will do
//! that differs from client to client; nothing here is a secret, and nothing here is fit for one.
//!
//! The algorithm is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
//! Its state is a counter that grows by a constant, and its output a mix of the bits of that counter. So sharing it
//! between threads takes one atomic addition and no lock, and the same seed gives the same numbers.
//!
//! The worst case is a contended addition: threads that draw all the time share a cache line.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Draws numbers that look random. The same seed gives the same numbers in the same order.
#[derive(Debug)]
pub struct Random {
    counter: AtomicU64,
}

impl Random {
    /// A generator that starts from `seed`, for tests and simulations.
    pub const fn seeded(seed: u64) -> Self {
        Self {
            counter: AtomicU64::new(seed),
        }
    }

    /// A generator that starts where nobody knows: each process, and each generator in it, draws other numbers.
    pub fn unseeded() -> Self {
        // The keys of std's hash maps come from the system; the hash of nothing under fresh keys is a number as good
        // as theirs.
        Self::seeded(RandomState::new().hash_one(()))
    }

    /// A number from all of `u64`.
    pub fn next_u64(&self) -> u64 {
        let counter = self.counter.fetch_add(GAMMA, Ordering::Relaxed);
        mix(counter.wrapping_add(GAMMA))
    }

    /// A duration from `min` to `max`, both included; `min` if they are the wrong way round. All nanoseconds between
    /// them are equally likely. Spans of more than 584 years are cut.
    pub fn between(&self, min: Duration, max: Duration) -> Duration {
        let span = u64::try_from(max.saturating_sub(min).as_nanos()).unwrap_or(u64::MAX);
        // The high half of the product is even over the span up to one part in 2^64 / span.
        let product = u128::from(self.next_u64()) * (u128::from(span) + 1);
        let offset = u64::try_from(product >> 64).expect("the high half of a product has 64 bits");
        min.saturating_add(Duration::from_nanos(offset))
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::unseeded()
    }
}

/// The finishing function of the paper, in the variant by which Java's SplittableRandom and most others know it.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// 2^64 divided by the golden ratio, made odd: the counter visits all numbers before it repeats one.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn draws_the_published_numbers() {
        let random = Random::seeded(1_234_567);
        let drawn: Vec<_> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn two_unseeded_generators_differ() {
        let (one, other) = (Random::unseeded(), Random::unseeded());
        assert_ne!(one.next_u64(), other.next_u64());
    }

    #[test]
    fn both_ends_of_a_span_are_drawn() {
        let random = Random::seeded(7);
        let (min, max) = (Duration::from_nanos(5), Duration::from_nanos(7));
        let drawn: Vec<_> = (0..100).map(|_| random.between(min, max)).collect();
        assert!(drawn.contains(&min) && drawn.contains(&max));
    }

    proptest! {
        #[test]
        fn a_duration_lies_between_its_bounds(seed: u64, min in 0..u64::MAX, span in 0..u64::MAX) {
            let min = Duration::from_nanos(min);
            let max = min + Duration::from_nanos(span);
            let drawn = Random::seeded(seed).between(min, max);
            prop_assert!(min <= drawn && drawn <= max);
        }
    }
}
