//! [`RoundRobin`]: one endpoint after the other.
//!
//! # The problem
//!
//! Calls that are much alike, to endpoints that are much alike, should be spread evenly, at next to no cost.
//!
//! # The algorithm
//!
//! The oldest there is: a place in the list that moves on with each pick. After each cycle every endpoint has had exactly
//! as many calls as every other.
//!
//! # Parameters
//!
//! * `start`, the place at which the first cycle begins, modulo the number of endpoints. Default 0. Processes that
//!   start together should each pass another number ([`Random::next_u64`](crate::Random::next_u64)), or their first calls
//!   all go to the same endpoint.
//!
//! # Worst case
//!
//! It is blind to load: an endpoint that is ten times slower than the others gets its full share and holds ten times as
//! many calls. Weights other than 0 are ignored.

use std::time::Instant;

use rpc_core::{Endpoint, EndpointId};

use super::{Balancer, Hint, Outcome};

/// Picks one endpoint after the other.
#[derive(Debug, Clone, Default)]
pub struct RoundRobin {
    endpoints: Vec<EndpointId>,
    next: u64,
}

impl RoundRobin {
    /// Begins at place `start` of the list, modulo its length.
    pub fn starting_at(start: u64) -> Self {
        Self {
            endpoints: Vec::new(),
            next: start,
        }
    }

    fn step(&mut self) -> Option<EndpointId> {
        let count = u64::try_from(self.endpoints.len()).ok()?;
        let place = self.next.checked_rem(count)?;
        self.next = place + 1;
        self.endpoints.get(usize::try_from(place).ok()?).copied()
    }
}

impl Balancer for RoundRobin {
    fn update(&mut self, endpoints: &[Endpoint]) {
        let usable = endpoints.iter().filter(|endpoint| endpoint.weight > 0);
        self.endpoints.clear();
        self.endpoints.extend(usable.map(|endpoint| endpoint.id));
    }

    fn pick(&mut self, hint: &Hint, _: Instant) -> Option<EndpointId> {
        match self.step() {
            Some(id) if hint.avoid == Some(id) => self.step(),
            picked => picked,
        }
    }

    fn report(&mut self, _: EndpointId, _: &Outcome, _: Instant) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rpc_core::Clock;

    use super::*;
    use crate::balance::tests::endpoints;

    fn picks(balancer: &mut RoundRobin, many: usize) -> Vec<u32> {
        let now = Clock::system().now();
        (0..many)
            .map(|_| balancer.pick(&Hint::default(), now).unwrap().0)
            .collect()
    }

    #[test]
    fn goes_round_from_where_it_is_told_to_start() {
        let mut balancer = RoundRobin::starting_at(u64::MAX);
        balancer.update(&endpoints(&[100, 100, 100, 100]));
        let start = u32::try_from(u64::MAX % 4).unwrap();
        assert_eq!(
            picks(&mut balancer, 5),
            [0, 1, 2, 3, 4].map(|i| (start + i) % 4)
        );
    }

    #[test]
    fn without_endpoints_there_is_nothing_to_pick() {
        let now = Clock::system().now();
        let mut balancer = RoundRobin::default();
        assert_eq!(balancer.pick(&Hint::default(), now), None);
        balancer.update(&endpoints(&[0, 0]));
        assert_eq!(balancer.pick(&Hint::default(), now), None);
    }

    #[test]
    fn the_place_where_a_call_has_failed_is_avoided_unless_it_is_the_only_one() {
        let now = Clock::system().now();
        let mut balancer = RoundRobin::default();
        balancer.update(&endpoints(&[100, 100]));
        let avoid = EndpointId(0);
        let hint = Hint::avoiding(avoid);
        assert!((0..4).all(|_| balancer.pick(&hint, now) == Some(EndpointId(1))));
        balancer.update(&endpoints(&[100]));
        assert_eq!(balancer.pick(&hint, now), Some(avoid));
    }

    proptest! {
        #[test]
        fn every_cycle_is_exactly_fair(count in 1_usize..20, cycles in 1_usize..20, start: u64) {
            let mut balancer = RoundRobin::starting_at(start);
            balancer.update(&endpoints(&vec![100; count]));
            let picks = picks(&mut balancer, count * cycles);
            for id in 0..u32::try_from(count).unwrap() {
                prop_assert_eq!(picks.iter().filter(|pick| **pick == id).count(), cycles);
            }
        }
    }
}
