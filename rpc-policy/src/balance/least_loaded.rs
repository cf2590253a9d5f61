//! [`LeastLoaded`]: the endpoint where the fewest calls are under way.
//!
//! # The problem
//!
//! Endpoints differ, and the same one differs from minute to minute: a neighbour on the host, a cold cache, a pause to
//! collect garbage. Who deals calls out evenly piles them up in front of the slowest.
//!
//! # The algorithm
//!
//! Each endpoint's calls under way are counted, divided by its weight, and the least wins; of equals the next in turn
//! ("least connections" of the classic balancers, counted in calls). A slow endpoint answers less often, so its count
//! falls more slowly and it gets fewer calls, without anybody measuring a time.
//!
//! # Parameters
//!
//! None. The weights are those of the endpoints.
//!
//! # Worst case
//!
//! A pick looks at every endpoint, so this is for tens of them, not for thousands. The counts are those of this process:
//! what others send to an endpoint shows only in its slowness. An endpoint that refuses at once looks like a fast one
//! and draws calls; [`HealthyFirst`](super::HealthyFirst) keeps those out that cannot be reached. While hardly any call
//! is under way the counts are equal, so the weights have no effect. A call that is never reported counts for ever.

use std::cmp::Ordering;
use std::time::Instant;

use rpc_core::{Endpoint, EndpointId};

use super::{Balancer, Hint, Outcome};

/// Picks the endpoint with the fewest calls under way for its weight.
#[derive(Debug, Clone, Default)]
pub struct LeastLoaded {
    endpoints: Vec<Loaded>,
    /// Where the search begins, so that equals take turns.
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct Loaded {
    id: EndpointId,
    weight: u32,
    calls: u32,
}

impl LeastLoaded {
    /// A balancer without endpoints.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many calls are under way at an endpoint.
    pub fn calls_in_flight(&self, id: EndpointId) -> usize {
        let mut known = self.endpoints.iter().filter(|known| known.id == id);
        known.next().map_or(0, |known| known.calls as usize)
    }

    fn lightest(&self, avoid: Option<EndpointId>) -> Option<usize> {
        let (before, from) = self.endpoints.split_at_checked(self.next)?;
        let in_turn = from.iter().zip(self.next..).chain(before.iter().zip(0..));
        let mut lightest: Option<(&Loaded, usize)> = None;
        for (endpoint, place) in in_turn.filter(|(endpoint, _)| Some(endpoint.id) != avoid) {
            // Nothing is lighter than nothing, and whose turn it is has often nothing to do: then the pick costs one look
            // (`benches/benches/client.rs`, 64x1).
            if endpoint.calls == 0 {
                return Some(place);
            }
            if lightest.is_none_or(|(lightest, _)| endpoint.cmp_load(lightest).is_lt()) {
                lightest = Some((endpoint, place));
            }
        }
        lightest.map(|(_, place)| place)
    }
}

impl Balancer for LeastLoaded {
    fn update(&mut self, endpoints: &[Endpoint]) {
        let usable = endpoints.iter().filter(|endpoint| endpoint.weight > 0);
        let loaded = usable.map(|endpoint| Loaded {
            id: endpoint.id,
            weight: endpoint.weight,
            calls: u32::try_from(self.calls_in_flight(endpoint.id)).unwrap_or(u32::MAX),
        });
        self.endpoints = loaded.collect();
        self.next = 0;
    }

    fn pick(&mut self, hint: &Hint, _: Instant) -> Option<EndpointId> {
        let place = self.lightest(hint.avoid).or_else(|| self.lightest(None))?;
        self.next = (place + 1) % self.endpoints.len();
        let endpoint = self.endpoints.get_mut(place)?;
        endpoint.calls += 1;
        Some(endpoint.id)
    }

    fn report(&mut self, id: EndpointId, outcome: &Outcome, _: Instant) {
        let known = self.endpoints.iter_mut().find(|known| known.id == id);
        if let Some(endpoint) = known.filter(|_| outcome.ends_call()) {
            // An endpoint that was gone and came back hears of calls that it has forgotten. Stopping at 0 makes the
            // count right again as soon as nothing is under way.
            endpoint.calls = endpoint.calls.saturating_sub(1);
        }
    }
}

impl Loaded {
    /// Compares calls by weight, multiplied crosswise so that nothing is rounded.
    fn cmp_load(&self, other: &Self) -> Ordering {
        let own = u64::from(self.calls) * u64::from(other.weight);
        own.cmp(&(u64::from(other.calls) * u64::from(self.weight)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use proptest::prelude::*;
    use rpc_core::Clock;

    use super::*;
    use crate::balance::tests::endpoints;

    const ANSWERED: Outcome = Outcome::Answered {
        elapsed: Duration::ZERO,
    };

    /// Picks `many` times while `under_way` calls are kept open, oldest answered first; how often each was picked.
    fn shares(weights: &[u32], under_way: usize, many: usize) -> Vec<usize> {
        let now = Clock::system().now();
        let mut balancer = LeastLoaded::new();
        balancer.update(&endpoints(weights));
        let (mut open, mut shares) = (VecDeque::new(), vec![0; weights.len()]);
        for _ in 0..many {
            let id = balancer.pick(&Hint::default(), now).unwrap();
            shares[id.0 as usize] += 1;
            open.push_back(id);
            if open.len() > under_way {
                balancer.report(open.pop_front().unwrap(), &ANSWERED, now);
            }
        }
        shares
    }

    #[test]
    fn an_endpoint_that_does_not_answer_gets_no_more_than_its_place_in_the_queue() {
        let now = Clock::system().now();
        let mut balancer = LeastLoaded::new();
        balancer.update(&endpoints(&[100, 100]));
        let silent = EndpointId(0);
        for _ in 0..100 {
            let id = balancer.pick(&Hint::default(), now).unwrap();
            if id != silent {
                balancer.report(id, &ANSWERED, now);
            }
        }
        assert_eq!(balancer.calls_in_flight(silent), 1);
    }

    #[test]
    fn equals_take_turns() {
        assert_eq!(shares(&[100; 4], 0, 400), [100; 4]);
    }

    #[test]
    fn a_failed_connection_ends_no_call() {
        let now = Clock::system().now();
        let mut balancer = LeastLoaded::new();
        balancer.update(&endpoints(&[100]));
        let id = balancer.pick(&Hint::default(), now).unwrap();
        balancer.report(id, &Outcome::Unreachable, now);
        assert_eq!(balancer.calls_in_flight(id), 1);
        balancer.report(id, &Outcome::Abandoned, now);
        assert_eq!(balancer.calls_in_flight(id), 0);
    }

    #[test]
    fn an_update_keeps_the_counts_of_those_that_stay() {
        let now = Clock::system().now();
        let mut balancer = LeastLoaded::new();
        balancer.update(&endpoints(&[100]));
        let busy = balancer.pick(&Hint::default(), now).unwrap();
        balancer.update(&endpoints(&[100, 100]));
        assert_eq!(balancer.calls_in_flight(busy), 1);
        assert_ne!(balancer.pick(&Hint::default(), now), Some(busy));
    }

    #[test]
    fn the_place_where_a_call_has_failed_is_avoided_unless_it_is_the_only_one() {
        let now = Clock::system().now();
        let mut balancer = LeastLoaded::new();
        let hint = Hint::avoiding(EndpointId(0));
        balancer.update(&endpoints(&[100, 1]));
        assert!((0..4).all(|_| balancer.pick(&hint, now) == Some(EndpointId(1))));
        balancer.update(&endpoints(&[100, 0]));
        assert_eq!(balancer.pick(&hint, now), Some(EndpointId(0)));
    }

    proptest! {
        #[test]
        fn shares_follow_the_weights_within_two_percent(
            weights in prop::collection::vec(50_u32..200, 2..8),
        ) {
            let sum: u32 = weights.iter().sum();
            let shares = shares(&weights, 1_000, 10_000);
            for (share, weight) in shares.into_iter().zip(weights) {
                let fair = 10_000.0 * f64::from(weight) / f64::from(sum);
                let got = f64::from(u32::try_from(share).unwrap());
                prop_assert!((got - fair).abs() <= 200.0, "{} instead of {}", got, fair);
            }
        }
    }
}
