//! [`HealthyFirst`]: keeps endpoints that fail out of another balancer, and lets them come back.
//!
//! # The problem
//!
//! An endpoint that died goes on being picked until the registry notices, which takes seconds, and every call to it is
//! lost. An endpoint that came back should be used again, but not by a hundred calls at once that find out that it did
//! not.
//!
//! # The algorithm
//!
//! An endpoint is out after a few failed calls in a row or one failed attempt to connect. When its time has come it gets
//! one call, as a trial: an answer brings it back in, a failure keeps it out for longer (the half-open state of a circuit
//! breaker, after Nygard, "Release it!", 2007; consecutive failures and growing times of ejection as in Envoy's outlier
//! detection). If all endpoints are out, the fault is more likely on this side, and all are used as if they were in.
//!
//! # Parameters
//!
//! | | meaning | unit | default |
//! |---|---|---|---|
//! | [`HealthyFirst::failures_max`] | failed calls in a row that put an endpoint out | calls, at least 1 | 3 |
//! | [`HealthyFirst::out_for`] | how long it stays out, trial by trial | [`Backoff`] | 1 s, times 1.6 up to 10 s |
//!
//! Of each time between half and all of it is waited, so that clients do not make their trials together.
//!
//! # Worst case
//!
//! An endpoint that takes calls and never answers costs `failures_max` calls and those that are picked before the first
//! of these have run out of time; after that one call for each trial, so one in 5 to 10 s. An endpoint that answers
//! every third call is never put out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rpc_core::{Endpoint, EndpointId};

use super::{Balancer, Hint, Outcome};
use crate::random::Random;
use crate::retry::Backoff;

/// Lets another balancer choose among the endpoints that work; among all, if none does.
///
/// ```
/// use rpc_policy::Random;
/// use rpc_policy::balance::{HealthyFirst, RoundRobin};
///
/// let random = Random::unseeded();
/// let start = random.next_u64();
/// let balancer = HealthyFirst::new(RoundRobin::starting_at(start), random).failures_max(5);
/// ```
#[derive(Debug)]
pub struct HealthyFirst<B> {
    inner: B,
    members: BTreeMap<EndpointId, Member>,
    rules: Rules,
    /// When the next endpoint is due for a trial. Known beforehand, so that a pick costs one comparison while all is
    /// well.
    next_trial: Option<Instant>,
}

impl<B: Balancer> HealthyFirst<B> {
    /// Watches over the endpoints of `inner`.
    pub fn new(inner: B, random: Random) -> Self {
        Self {
            inner,
            members: BTreeMap::new(),
            rules: Rules {
                failures_max: 3,
                out_for: Backoff::default().first(Duration::from_secs(1)),
                random,
            },
            next_trial: None,
        }
    }

    /// How many failed calls in a row put an endpoint out; at least one.
    pub fn failures_max(mut self, failures_max: u32) -> Self {
        self.rules.failures_max = failures_max.max(1);
        self
    }

    /// How long an endpoint stays out: after the first time, after a trial that failed, and so on.
    pub fn out_for(mut self, out_for: Backoff) -> Self {
        self.rules.out_for = out_for;
        self
    }

    /// Whether an endpoint is in. Those that are unknown are not.
    pub fn is_in(&self, id: EndpointId) -> bool {
        self.members
            .get(&id)
            .is_some_and(|member| member.health.is_in())
    }

    /// Begins the trial of an endpoint whose time has come.
    fn try_one(&mut self, avoid: Option<EndpointId>, now: Instant) -> Option<EndpointId> {
        let mut candidates = self.members.iter_mut();
        let (id, member) = candidates.find(|(id, member)| {
            Some(**id) != avoid && member.health.trial_at().is_some_and(|at| at <= now)
        })?;
        member.health.begin_trial(now, &self.rules);
        let id = *id;
        self.plan_trial();
        Some(id)
    }

    fn plan_trial(&mut self) {
        let usable = self
            .members
            .values()
            .filter(|member| member.endpoint.weight > 0);
        self.next_trial = usable.filter_map(|member| member.health.trial_at()).min();
    }

    /// Tells the inner balancer which endpoints it may pick.
    fn tell_inner(&mut self) {
        let is_usable = |member: &&Member| member.health.is_in() && member.endpoint.weight > 0;
        let all = self.members.values();
        let endpoints: Vec<_> = if self.members.values().any(|member| is_usable(&member)) {
            all.filter(is_usable).map(Member::endpoint).collect()
        } else {
            all.map(Member::endpoint).collect()
        };
        self.inner.update(&endpoints);
    }
}

impl<B: Balancer> Balancer for HealthyFirst<B> {
    fn update(&mut self, endpoints: &[Endpoint]) {
        let mut before = std::mem::take(&mut self.members);
        let members = endpoints.iter().map(|endpoint| {
            let known = before.remove(&endpoint.id);
            let member = Member {
                endpoint: endpoint.clone(),
                health: known.map_or(Health::IN, |known| known.health),
            };
            (endpoint.id, member)
        });
        self.members = members.collect();
        self.plan_trial();
        self.tell_inner();
    }

    fn pick(&mut self, hint: &Hint, now: Instant) -> Option<EndpointId> {
        let is_trial_due = self.next_trial.is_some_and(|at| at <= now);
        let on_trial = is_trial_due
            .then(|| self.try_one(hint.avoid, now))
            .flatten();
        on_trial.or_else(|| self.inner.pick(hint, now))
    }

    fn report(&mut self, id: EndpointId, outcome: &Outcome, now: Instant) {
        self.inner.report(id, outcome, now);
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let was_in = member.health.is_in();
        member.health.hear(outcome, now, &self.rules);
        let is_in = member.health.is_in();
        if !(was_in && is_in) {
            self.plan_trial();
        }
        if was_in != is_in {
            self.tell_inner();
        }
    }
}

#[derive(Debug)]
struct Member {
    endpoint: Endpoint,
    health: Health,
}

impl Member {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }
}

#[derive(Debug)]
struct Rules {
    failures_max: u32,
    out_for: Backoff,
    random: Random,
}

impl Rules {
    /// When an endpoint that has been put out for the `times`th time may be tried.
    fn out_until(&self, times: u32, now: Instant) -> Instant {
        now + self.out_for.delay_at_least_half(times, &self.random)
    }
}

/// ```text
///              too many failures in a row,
///              or no connection               its time has come
///   .------.  ------------------------>  .-----.  ------------>  .---------.
///   |  In  |                             | Out |                 | OnTrial |
///   '------'  <------------------------  '-----'  <------------  '---------'
///      ^         late answer of a call            failed, or abandoned  |
///      |                                                                |
///      '----------------------------------------------------------------'
///                                  answered
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// Calls may go there.
    In { failures_in_row: u32 },
    /// None may.
    Out { times: u32, until: Instant },
    /// One call is there. If nothing is heard of it, another one may try from `until` on.
    OnTrial { times: u32, until: Instant },
}

impl Health {
    const IN: Self = Self::In { failures_in_row: 0 };

    fn hear(&mut self, outcome: &Outcome, now: Instant, rules: &Rules) {
        *self = match (*self, outcome) {
            (_, Outcome::Answered { .. }) => Self::IN,
            (Self::In { failures_in_row }, Outcome::Failed { .. })
                if failures_in_row + 1 < rules.failures_max =>
            {
                Self::In {
                    failures_in_row: failures_in_row + 1,
                }
            }
            (Self::In { .. }, Outcome::Failed { .. } | Outcome::Unreachable) => Self::Out {
                times: 1,
                until: rules.out_until(1, now),
            },
            // Calls that were under way when it was put out say nothing new.
            (unmoved @ (Self::In { .. } | Self::Out { .. }), _) => unmoved,
            // The trial showed nothing, so the next call may be one.
            (Self::OnTrial { times, .. }, Outcome::Abandoned) => Self::Out { times, until: now },
            (Self::OnTrial { times, .. }, Outcome::Failed { .. } | Outcome::Unreachable) => {
                let times = times.saturating_add(1);
                let until = rules.out_until(times, now);
                Self::Out { times, until }
            }
        }
    }

    fn begin_trial(&mut self, now: Instant, rules: &Rules) {
        if let Self::Out { times, .. } | Self::OnTrial { times, .. } = *self {
            let until = rules.out_until(times, now);
            *self = Self::OnTrial { times, until };
        }
    }

    fn trial_at(self) -> Option<Instant> {
        match self {
            Self::In { .. } => None,
            Self::Out { until, .. } | Self::OnTrial { until, .. } => Some(until),
        }
    }

    fn is_in(self) -> bool {
        matches!(self, Self::In { .. })
    }
}

#[cfg(test)]
mod tests {
    use rpc_core::Clock;

    use super::*;
    use crate::balance::RoundRobin;
    use crate::balance::tests::endpoints;

    const ANSWERED: Outcome = Outcome::Answered {
        elapsed: Duration::ZERO,
    };
    const FAILED: Outcome = Outcome::Failed {
        elapsed: Duration::ZERO,
    };
    const SICK: EndpointId = EndpointId(0);
    const WELL: EndpointId = EndpointId(1);

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn balancer(weights: &[u32]) -> (HealthyFirst<RoundRobin>, Instant) {
        let mut balancer = HealthyFirst::new(RoundRobin::default(), Random::seeded(7));
        balancer.update(&endpoints(weights));
        (balancer, Clock::system().now())
    }

    fn picked(balancer: &mut HealthyFirst<RoundRobin>, at: Instant) -> Vec<EndpointId> {
        (0..6)
            .map(|_| balancer.pick(&Hint::default(), at).unwrap())
            .collect()
    }

    fn count(picks: &[EndpointId], id: EndpointId) -> usize {
        picks.iter().filter(|pick| **pick == id).count()
    }

    #[test]
    fn r27_three_failed_calls_in_a_row_put_an_endpoint_out() {
        let (mut balancer, now) = balancer(&[100, 100]);
        for outcome in [FAILED, FAILED, ANSWERED, FAILED, FAILED] {
            balancer.report(SICK, &outcome, now);
            assert!(balancer.is_in(SICK));
        }
        balancer.report(SICK, &FAILED, now);
        assert_eq!(picked(&mut balancer, now), [WELL; 6]);
    }

    #[test]
    fn r27_one_failed_connect_puts_an_endpoint_out() {
        let (mut balancer, now) = balancer(&[100, 100]);
        balancer.report(SICK, &Outcome::Unreachable, now);
        assert_eq!(picked(&mut balancer, now), [WELL; 6]);
    }

    #[test]
    fn cancelled_calls_say_nothing() {
        let (mut balancer, now) = balancer(&[100, 100]);
        (0..10).for_each(|_| balancer.report(SICK, &Outcome::Abandoned, now));
        assert!(balancer.is_in(SICK));
    }

    #[test]
    fn comes_back_by_one_call_that_is_answered() {
        let (mut balancer, now) = balancer(&[100, 100]);
        balancer.report(SICK, &Outcome::Unreachable, now);
        assert_eq!(count(&picked(&mut balancer, now + ms(499)), SICK), 0);
        let later = now + ms(1_000);
        assert_eq!(count(&picked(&mut balancer, later), SICK), 1);
        balancer.report(SICK, &ANSWERED, later);
        assert_eq!(count(&picked(&mut balancer, later), SICK), 3);
    }

    #[test]
    fn a_trial_that_fails_keeps_it_out_for_longer() {
        let (mut balancer, mut now) = balancer(&[100, 100]);
        balancer.report(SICK, &Outcome::Unreachable, now);
        for ceiling in [1_000, 1_600, 2_560, 4_096, 6_554, 10_000, 10_000] {
            assert_eq!(
                count(&picked(&mut balancer, now + ms(ceiling / 2 - 1)), SICK),
                0
            );
            now += ms(ceiling);
            assert_eq!(count(&picked(&mut balancer, now), SICK), 1);
            balancer.report(SICK, &FAILED, now);
        }
    }

    #[test]
    fn calls_that_fail_after_it_was_put_out_do_not_keep_it_out_for_longer() {
        let (mut balancer, now) = balancer(&[100, 100]);
        balancer.report(SICK, &Outcome::Unreachable, now);
        balancer.report(SICK, &FAILED, now + ms(400));
        balancer.report(SICK, &Outcome::Unreachable, now + ms(499));
        assert_eq!(count(&picked(&mut balancer, now + ms(1_000)), SICK), 1);
    }

    #[test]
    fn a_trial_that_showed_nothing_is_repeated() {
        let (mut balancer, now) = balancer(&[100, 100]);
        balancer.report(SICK, &Outcome::Unreachable, now);
        let later = now + ms(1_000);
        assert_eq!(count(&picked(&mut balancer, later), SICK), 1);
        balancer.report(SICK, &Outcome::Abandoned, later);
        assert_eq!(count(&picked(&mut balancer, later), SICK), 1);
        // The second is never heard of.
        assert_eq!(count(&picked(&mut balancer, later + ms(1_000)), SICK), 1);
    }

    #[test]
    fn when_all_are_out_all_are_tried() {
        let (mut balancer, now) = balancer(&[100, 100]);
        balancer.report(SICK, &Outcome::Unreachable, now);
        balancer.report(WELL, &Outcome::Unreachable, now);
        assert_eq!(count(&picked(&mut balancer, now), SICK), 3);
        balancer.report(WELL, &ANSWERED, now);
        assert_eq!(picked(&mut balancer, now), [WELL; 6]);
    }

    #[test]
    fn an_update_forgets_nobody_who_stays_and_everybody_who_left() {
        let (mut balancer, now) = balancer(&[100, 100]);
        balancer.report(SICK, &Outcome::Unreachable, now);
        balancer.update(&endpoints(&[100, 100, 100]));
        assert_eq!(count(&picked(&mut balancer, now), SICK), 0);
        balancer.update(&endpoints(&[]));
        assert_eq!(balancer.pick(&Hint::default(), now), None);
        balancer.update(&endpoints(&[100, 100]));
        assert!(balancer.is_in(SICK));
    }

    #[test]
    fn a_trial_avoids_the_call_that_has_just_failed_there() {
        let (mut balancer, now) = balancer(&[100, 100]);
        balancer.report(SICK, &Outcome::Unreachable, now);
        let hint = Hint::avoiding(SICK);
        assert_eq!(balancer.pick(&hint, now + ms(1_000)), Some(WELL));
        let next = balancer.pick(&Hint::default(), now + ms(1_000));
        assert_eq!(next, Some(SICK));
    }

    #[test]
    fn nobody_is_tried_who_shall_get_no_more_calls() {
        let (mut balancer, now) = balancer(&[100, 100]);
        balancer.report(SICK, &Outcome::Unreachable, now);
        balancer.update(&endpoints(&[0, 100]));
        assert_eq!(picked(&mut balancer, now + ms(5_000)), [WELL; 6]);
    }
}
