//! [`Balancer`]: which endpoint gets the next call.
//!
//! A balancer is told of endpoints and outcomes and answers with endpoints. It opens no connection and reads no clock, so
//! balancers can be put into one another: [`HealthyFirst`] takes endpoints that fail from any other one, and one of your
//! own may do the same for zones or versions.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use rpc_core::{Endpoint, EndpointId};
//! use rpc_policy::balance::{Balancer, Hint, Outcome};
//!
//! /// Stays in the caller's zone while the zone has a usable endpoint.
//! struct ZoneFirst<B> { zone: String, near: B, all: B }
//!
//! impl<B: Balancer> Balancer for ZoneFirst<B> {
//!     fn update(&mut self, endpoints: &[Endpoint]) {
//!         let is_near = |endpoint: &&Endpoint| endpoint.label("zone") == Some(&self.zone);
//!         self.near.update(&endpoints.iter().filter(is_near).cloned().collect::<Vec<_>>());
//!         self.all.update(endpoints);
//!     }
//!     fn pick(&mut self, hint: &Hint, now: Instant) -> Option<EndpointId> {
//!         self.near.pick(hint, now).or_else(|| self.all.pick(hint, now))
//!     }
//!     fn report(&mut self, id: EndpointId, outcome: &Outcome, now: Instant) {
//!         self.near.report(id, outcome, now);
//!         self.all.report(id, outcome, now);
//!     }
//! }
//! ```
//!
//! # Layout
//!
//! * [`round_robin`] – one after the other
//! * [`least_loaded`] – where the fewest calls are under way
//! * [`health`] – keeps endpoints that fail out of another balancer, and lets them come back

pub mod health;
pub mod least_loaded;
pub mod round_robin;

use std::time::{Duration, Instant};

use rpc_core::{Code, Endpoint, EndpointId, Origin, Response, Status};

pub use health::HealthyFirst;
pub use least_loaded::LeastLoaded;
pub use round_robin::RoundRobin;

/// Decides which endpoint gets the next call.
///
/// An endpoint of weight 0 is one that shall get no more calls; no balancer picks it.
pub trait Balancer: Send + 'static {
    /// Replaces the set of endpoints. What is known of those that stay is kept.
    fn update(&mut self, endpoints: &[Endpoint]);

    /// Picks an endpoint for a call; `None` if there is none. Who asks sends the call there and reports what became of
    /// it, once and in every case.
    fn pick(&mut self, hint: &Hint, now: Instant) -> Option<EndpointId>;

    /// Hears what became of a call, or of an attempt to connect. Reports on endpoints that are gone are ignored.
    fn report(&mut self, id: EndpointId, outcome: &Outcome, now: Instant);
}

impl<B: Balancer + ?Sized> Balancer for Box<B> {
    fn update(&mut self, endpoints: &[Endpoint]) {
        B::update(self, endpoints);
    }

    fn pick(&mut self, hint: &Hint, now: Instant) -> Option<EndpointId> {
        B::pick(self, hint, now)
    }

    fn report(&mut self, id: EndpointId, outcome: &Outcome, now: Instant) {
        B::report(self, id, outcome, now);
    }
}

/// What a balancer may know of the call that it picks an endpoint for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Hint {
    /// Where the same call has just failed: it is picked only if there is no other.
    pub avoid: Option<EndpointId>,
}

impl Hint {
    /// A call that has just failed at `id`.
    pub fn avoiding(id: EndpointId) -> Self {
        Self { avoid: Some(id) }
    }
}

/// What became of a call at an endpoint, or of an attempt to connect to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The endpoint answered, be it with an error.
    Answered {
        /// From the pick to the answer.
        elapsed: Duration,
    },
    /// The endpoint did not answer in time, the connection was lost, or the answer was nonsense.
    Failed {
        /// From the pick to the failure.
        elapsed: Duration,
    },
    /// The call ended before the endpoint could show anything: it was cancelled, or never sent.
    Abandoned,
    /// A connection could not be made. This ends no call: those that waited for the connection are reported by
    /// themselves.
    Unreachable,
}

impl Outcome {
    /// What a call's result says about the endpoint it was sent to.
    ///
    /// Time that ran out speaks against the endpoint only if it was the call's own. What a caller left of its time may be
    /// too short for anybody.
    pub fn of(result: &Result<Response, Status>, elapsed: Duration) -> Self {
        let Err(status) = result else {
            return Self::Answered { elapsed };
        };
        match (status.origin(), status.code()) {
            (Origin::Remote, _) => Self::Answered { elapsed },
            (
                Origin::Local,
                Code::DeadlineExceeded
                | Code::ConnectionLost
                | Code::ResponseLost
                | Code::ResponseMalformed
                | Code::Unreachable,
            ) => Self::Failed { elapsed },
            _ => Self::Abandoned,
        }
    }

    /// Whether this is the end of a call that was picked for.
    pub fn ends_call(self) -> bool {
        self != Self::Unreachable
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    /// Endpoints 0, 1, 2 and so on, with these weights.
    pub(super) fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8_000));
        let numbered = (0..).zip(weights).map(|(id, weight)| {
            let mut endpoint = Endpoint::new(EndpointId(id), address);
            endpoint.weight = *weight;
            endpoint
        });
        numbered.collect()
    }

    fn outcome(code: Code, origin: Origin) -> Outcome {
        let status = Status::new(code, "");
        let status = match origin {
            Origin::Local => status,
            Origin::Remote => status.from_remote(),
        };
        Outcome::of(&Err(status), Duration::ZERO)
    }

    #[test]
    fn an_error_that_the_endpoint_sent_shows_that_it_lives() {
        let elapsed = Duration::ZERO;
        for code in [Code::Overloaded, Code::ServerTimeout, Code::ConnectionLost] {
            assert_eq!(outcome(code, Origin::Remote), Outcome::Answered { elapsed });
        }
    }

    #[test]
    fn silence_speaks_against_an_endpoint_and_our_own_refusals_do_not() {
        let elapsed = Duration::ZERO;
        for code in [Code::DeadlineExceeded, Code::ConnectionLost] {
            assert_eq!(outcome(code, Origin::Local), Outcome::Failed { elapsed });
        }
        for code in [
            Code::InheritedDeadlineExceeded,
            Code::Cancelled,
            Code::ClientOverloaded,
        ] {
            assert_eq!(outcome(code, Origin::Local), Outcome::Abandoned);
        }
    }
}
