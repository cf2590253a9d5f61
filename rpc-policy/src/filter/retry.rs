//! [`Retry`]: once more, within a budget.
//!
//! The policies are [`Backoff`] and [`RetryBudget`]; there are the algorithms, and what they cost at worst. This filter
//! adds the question which failures are worth it:
//!
//! * A call that was certainly not run is tried again, whatever it would have done.
//! * When the connection was lost under way, nobody knows whether the call was run. It is tried again only if its method
//!   may run twice ([`Idempotency::may_run_twice`](rpc_core::Idempotency::may_run_twice)).
//! * A stream is opened once, whatever becomes of it: what was sent on it cannot be sent again.
//! * Anything else is the answer. Time that ran out leaves none to try again in.
//!
//! # Parameters
//!
//! * [`Retry::budget`], in retries for each call. No default; 0.1 is usual. Ten retries a second come on top.
//! * [`Retry::attempts_max`], in attempts for each call, the first one included. Default 3.
//! * [`Retry::backoff`], the time between attempts. Default: up to 100 ms, then up to 160 ms.
//!
//! # Worst case
//!
//! A call takes as long as its attempts and the waits between them, but never outlives its deadline: a wait that would
//! end after it is not begun.

use std::time::Duration;

use rpc_core::message::Exchange;
use rpc_core::{
    Code, Context, Filter, MethodDescriptor, Origin, Request, Response, Service, Status,
};

use crate::random::Random;
use crate::retry::{Backoff, RetryBudget};

/// Tries again while the failure is worth retrying and the budget allows it. Belongs to the asking end, outside of
/// whatever picks an endpoint, so that each attempt may go elsewhere.
///
/// ```
/// use std::time::Duration;
/// use rpc_policy::Backoff;
/// use rpc_policy::filter::Retry;
///
/// let retry = Retry::budget(0.1)
///     .attempts_max(3)
///     .backoff(Backoff::default().first(Duration::from_millis(5)));
/// ```
#[derive(Debug)]
#[must_use = "a filter does nothing until it is put before something"]
pub struct Retry {
    budget: RetryBudget,
    backoff: Backoff,
    attempts_max: u32,
    random: Random,
}

impl Retry {
    /// Allows `ratio` retries for each call on average: 0.1 is one for ten calls. Ten a second are allowed in any case.
    pub fn budget(ratio: f64) -> Self {
        Self::within(RetryBudget::new(ratio))
    }

    /// Allows the retries of a budget of one's own making.
    pub fn within(budget: RetryBudget) -> Self {
        Self {
            budget,
            backoff: Backoff::default(),
            attempts_max: 3,
            random: Random::unseeded(),
        }
    }

    /// How often a call is sent at most, the first time included. 0 and 1 both mean never again.
    pub fn attempts_max(mut self, attempts_max: u32) -> Self {
        self.attempts_max = attempts_max;
        self
    }

    /// How long to wait between attempts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Draws the waits from this seed, so that a test or simulation can be repeated.
    pub fn seeded(mut self, seed: u64) -> Self {
        self.random = Random::seeded(seed);
        self
    }

    /// How long to wait before the call is sent again; `None` if `status` is its answer.
    fn next_attempt(
        &self,
        attempt: u32,
        method: &MethodDescriptor,
        context: &Context,
        status: &Status,
    ) -> Option<Duration> {
        let delay = self.backoff.delay(attempt, &self.random);
        let has_time = delay < context.remaining() && !context.is_cancelled();
        // The budget comes last: what it grants is spent.
        let granted =
            is_worth_it(status, method) && has_time && self.budget.withdraw(context.now());
        granted.then_some(delay)
    }
}

impl Filter for Retry {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        if request.exchange() == Exchange::Stream {
            // Its messages are gone once they are sent, so there is nothing to send again.
            return next.call(request).await;
        }
        self.budget.deposit(request.context().now());
        for attempt in 1..self.attempts_max {
            let status = match next.call(request.clone()).await {
                Err(status) => status,
                answered => return answered,
            };
            match self.next_attempt(attempt, request.method(), request.context(), &status) {
                Some(delay) => request.context().sleep(delay).await,
                None => return Err(status),
            }
        }
        next.call(request).await
    }
}

fn is_worth_it(status: &Status, method: &MethodDescriptor) -> bool {
    // A peer may pass on that a connection of its own was lost. That is its answer to us.
    let lost = status.origin() == Origin::Local
        && matches!(status.code(), Code::ConnectionLost | Code::ResponseLost);
    status.is_retryable() || (lost && method.idempotency.may_run_twice())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use rpc_core::stream::Pipe;
    use rpc_core::{Cause, Deadline, park};

    use super::*;
    use crate::filter::tests::{IDEMPOTENT, METHOD, context, request};

    /// Fails as often as it has statuses, then answers. Writes down when it was called.
    #[derive(Default)]
    struct Script {
        failures: Mutex<Vec<Status>>,
        calls: Mutex<Vec<Instant>>,
    }

    impl Script {
        fn failing(times: usize, status: &Status) -> Self {
            Self {
                failures: Mutex::new(vec![status.clone(); times]),
                calls: Mutex::default(),
            }
        }

        fn called(&self) -> usize {
            self.calls.lock().unwrap().len()
        }
    }

    impl Service for Script {
        async fn call(&self, request: Request) -> Result<Response, Status> {
            self.calls.lock().unwrap().push(request.context().now());
            match self.failures.lock().unwrap().pop() {
                Some(status) => Err(status),
                None => Ok(Response::empty()),
            }
        }
    }

    fn call(retry: &Retry, request: Request, next: &Script) -> Result<(), Code> {
        let result = park::wait(retry.call(request, next)).unwrap();
        result.map(drop).map_err(|status| status.code())
    }

    fn retry() -> Retry {
        Retry::budget(0.1).seeded(7)
    }

    fn lost() -> Status {
        Status::new(Code::ConnectionLost, "")
    }

    #[test]
    fn r26_what_was_not_run_is_tried_again_up_to_twice() {
        let (cx, _) = context();
        let next = Script::failing(2, &Status::overloaded("").from_remote());
        assert_eq!(call(&retry(), request(&METHOD, &cx), &next), Ok(()));
        assert_eq!(next.called(), 3);
        let next = Script::failing(3, &Status::new(Code::Unreachable, ""));
        let failed = call(&retry(), request(&METHOD, &cx), &next);
        assert_eq!(failed, Err(Code::Unreachable));
        assert_eq!(next.called(), 3);
    }

    #[test]
    fn r26_a_lost_connection_is_tried_again_only_where_the_method_may_run_twice() {
        let (cx, _) = context();
        let next = Script::failing(1, &lost());
        let failed = call(&retry(), request(&METHOD, &cx), &next);
        assert_eq!((failed, next.called()), (Err(Code::ConnectionLost), 1));
        let next = Script::failing(1, &lost());
        assert_eq!(call(&retry(), request(&IDEMPOTENT, &cx), &next), Ok(()));
        let next = Script::failing(1, &lost().not_executed());
        assert_eq!(call(&retry(), request(&METHOD, &cx), &next), Ok(()));
    }

    #[test]
    fn r26_what_the_peer_passes_on_is_an_answer() {
        let (cx, _) = context();
        for code in [Code::Unreachable, Code::ConnectionLost, Code::NoEndpoint] {
            let next = Script::failing(1, &Status::new(code, "").from_remote());
            let failed = call(&retry(), request(&IDEMPOTENT, &cx), &next);
            assert_eq!((failed, next.called()), (Err(code), 1));
        }
    }

    #[test]
    fn other_failures_are_the_answer() {
        let (cx, _) = context();
        for code in [Code::DeadlineExceeded, Code::Internal, Code::Service(7)] {
            let next = Script::failing(1, &Status::new(code, ""));
            let failed = call(&retry(), request(&IDEMPOTENT, &cx), &next);
            assert_eq!((failed, next.called()), (Err(code), 1));
        }
    }

    #[test]
    fn a_stream_is_opened_once_and_keeps_its_end() {
        /// Fails, and looks whether the request has its end of the stream.
        struct Refusal(Mutex<Vec<bool>>);

        impl Service for Refusal {
            async fn call(&self, mut request: Request) -> Result<Response, Status> {
                let has_pipe = request.take_pipe().is_some();
                self.0.lock().unwrap().push(has_pipe);
                Err(Status::overloaded(""))
            }
        }

        let (cx, _) = context();
        let mut opening = request(&IDEMPOTENT, &cx);
        let (_ours, theirs) = Pipe::pair();
        opening.set_pipe(theirs);
        let next = Refusal(Mutex::default());
        let failed = park::wait(retry().call(opening, &next)).unwrap();
        assert_eq!(failed.unwrap_err().code(), Code::Overloaded);
        assert_eq!(*next.0.lock().unwrap(), [true]);
    }

    #[test]
    fn r26_no_retry_begins_that_could_not_end_before_the_deadline() {
        let (mut cx, _) = context();
        let start = cx.now();
        let deadline = start + Duration::from_millis(150);
        cx.narrow(Deadline::new(deadline, Cause::Own));
        let retry = retry().attempts_max(1_000);
        let next = Script::failing(1_000, &Status::overloaded(""));
        let failed = call(&retry, request(&METHOD, &cx), &next);
        assert_eq!(failed, Err(Code::Overloaded));
        assert!(next.called() > 1);
        assert!(next.calls.lock().unwrap().iter().all(|at| *at < deadline));
        assert!(cx.now() < deadline, "slept in vain");
    }

    #[test]
    fn nobody_is_called_again_for_a_caller_who_is_gone() {
        let (cx, _) = context();
        cx.scope().end();
        let next = Script::failing(1, &Status::overloaded(""));
        let failed = call(&retry(), request(&METHOD, &cx), &next);
        assert_eq!((failed, next.called()), (Err(Code::Overloaded), 1));
    }

    #[test]
    fn the_waits_are_jittered_and_bounded() {
        let (cx, _) = context();
        let next = Script::failing(2, &Status::overloaded(""));
        assert_eq!(call(&retry(), request(&METHOD, &cx), &next), Ok(()));
        let calls = next.calls.lock().unwrap();
        let waits = [calls[1] - calls[0], calls[2] - calls[1]];
        assert!(waits[0] <= Duration::from_millis(100));
        assert!(waits[1] <= Duration::from_millis(160));
        assert_ne!(waits, [Duration::ZERO; 2]);
    }

    #[test]
    fn i10_when_everything_fails_one_call_in_ten_is_retried() {
        let (cx, hand) = context();
        let retry = Retry::within(RetryBudget::new(0.1).per_second(0))
            .backoff(Backoff::default().first(Duration::ZERO));
        let next = Script::failing(10_000, &Status::overloaded(""));
        for _ in 0..1_000 {
            hand.advance(Duration::from_millis(5));
            let _ = call(&retry, request(&METHOD, &cx), &next);
        }
        assert_eq!(next.called(), 1_100);
    }

    #[test]
    fn one_attempt_is_the_least() {
        let (cx, _) = context();
        for attempts_max in [0, 1] {
            let next = Script::default();
            let retry = retry().attempts_max(attempts_max);
            assert_eq!(call(&retry, request(&METHOD, &cx), &next), Ok(()));
            assert_eq!(next.called(), 1);
        }
    }
}
