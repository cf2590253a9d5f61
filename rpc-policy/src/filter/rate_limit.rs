//! [`RateLimit`]: so many calls a second.
//!
//! The policy is a [`TokenBucket`]; there are the algorithm and its worst case. All calls share one bucket, whoever
//! makes them.
//!
//! # Parameters
//!
//! * [`RateLimit::per_second`], in calls a second over time. No default. 0 refuses every call.
//! * [`RateLimit::burst`], in calls at once after a pause. Default: the calls of 100 ms, and at least one.

use std::time::Instant;

use rpc_core::{Filter, Request, Response, Service, Status};

use crate::admit::{Admit, Arrival};
use crate::token_bucket::TokenBucket;

/// Lets so many calls a second through and refuses the others with [`Code::RateLimited`](rpc_core::Code::RateLimited):
/// they were not run, and may be tried elsewhere.
///
/// It stands at the door of a server as an [`Admit`], where a refusal costs least, or in a chain of filters at either
/// end.
///
/// ```
/// use rpc_core::{Clock, Code, MethodDescriptor};
/// use rpc_policy::{Admit, Arrival};
/// use rpc_policy::filter::RateLimit;
///
/// # static METHOD: MethodDescriptor = MethodDescriptor {
/// #     index: 0,
/// #     name: "SayHello",
/// #     path: "/demo.greeter.Greeter/SayHello",
/// #     alias: None,
/// #     service: "demo.greeter.Greeter",
/// #     idempotency: rpc_core::Idempotency::Unknown,
/// #     shape: rpc_core::Shape::Unary,
/// #     request: rpc_core::MessageType::UNKNOWN,
/// #     reply: rpc_core::MessageType::UNKNOWN,
/// # };
/// let limit = RateLimit::per_second(50_000).burst(1);
/// let now = Clock::system().now();
/// assert!(limit.admit(&Arrival::new(&METHOD), now).is_ok());
/// let refused = limit.admit(&Arrival::new(&METHOD), now).unwrap_err();
/// assert_eq!(refused.code(), Code::RateLimited);
/// ```
#[derive(Debug)]
#[must_use = "a limit does nothing until it is put before something"]
pub struct RateLimit {
    rate: u32,
    bucket: TokenBucket,
}

impl RateLimit {
    /// Lets `rate` calls a second through over time. Rates above a million are met less and less exactly, but never
    /// exceeded: the time between two calls is counted in whole nanoseconds.
    pub fn per_second(rate: u32) -> Self {
        Self::new(rate, (rate / 10).max(1))
    }

    /// How many calls may come at once after a pause. 0 refuses every call.
    pub fn burst(self, burst: u32) -> Self {
        Self::new(self.rate, burst)
    }

    fn new(rate: u32, burst: u32) -> Self {
        // Otherwise the burst would be granted once even when the rate is 0.
        let burst = if rate == 0 { 0 } else { burst };
        Self {
            rate,
            bucket: TokenBucket::new(TokenBucket::interval(rate), burst),
        }
    }

    fn pass(&self, now: Instant) -> Result<(), Status> {
        self.bucket
            .take(now)
            .map_err(|_| Status::rate_limited("more calls a second than are let through"))
    }
}

impl Admit for RateLimit {
    fn admit(&self, _: &Arrival<'_>, now: Instant) -> Result<(), Status> {
        self.pass(now)
    }
}

impl Filter for RateLimit {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        self.pass(request.context().now())?;
        next.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpc_core::{Bytes, Code, park};

    use super::*;
    use crate::filter::tests::{METHOD, context, request};

    struct Echo;

    impl Service for Echo {
        async fn call(&self, request: Request) -> Result<Response, Status> {
            Ok(Response::new(request.into_body()))
        }
    }

    #[test]
    fn refuses_what_is_above_the_rate_as_not_run() {
        let (cx, hand) = context();
        let limited = RateLimit::per_second(10).burst(2).around(Echo);
        let call = || park::wait(limited.call(request(&METHOD, &cx))).unwrap();
        assert!(call().is_ok() && call().is_ok());
        let refused = call().unwrap_err();
        assert_eq!(refused.code(), Code::RateLimited);
        assert!(refused.is_unexecuted());
        hand.advance(Duration::from_millis(100));
        assert_eq!(call().unwrap().into_body(), Bytes::new());
    }

    #[test]
    fn the_burst_is_a_tenth_of_a_second_unless_said() {
        let (cx, _) = context();
        let passed = |limit: RateLimit| (0..100).filter(|_| limit.pass(cx.now()).is_ok()).count();
        assert_eq!(passed(RateLimit::per_second(500)), 50);
        assert_eq!(passed(RateLimit::per_second(3)), 1);
        assert_eq!(passed(RateLimit::per_second(3).burst(7)), 7);
        assert_eq!(passed(RateLimit::per_second(0).burst(7)), 0);
    }
}
