//! [`Concurrency`]: so many calls at once.
//!
//! The policy is a [`ConcurrencyLimit`]; there are the parameter and the worst case. It is a filter and no guard at the
//! door, because a place is taken for as long as the call runs.

use rpc_core::{Filter, Request, Response, Service, Status};

use crate::concurrency::ConcurrencyLimit;

/// Lets at most so many calls run at once and refuses the others with [`Code::Overloaded`](rpc_core::Code::Overloaded):
/// they were not run, and may be tried elsewhere. Clones share one limit, so it may span several services.
///
/// A call that is dropped half-way gives its place back at once.
#[derive(Debug, Clone)]
#[must_use = "a limit does nothing until it is put before something"]
pub struct Concurrency {
    limit: ConcurrencyLimit,
}

impl Concurrency {
    /// At most `max` calls at once. 0 refuses every call.
    pub fn max(max: usize) -> Self {
        Self {
            limit: ConcurrencyLimit::new(max),
        }
    }

    /// How many calls are running.
    pub fn in_flight(&self) -> usize {
        self.limit.in_flight()
    }
}

impl Filter for Concurrency {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        let Some(_permit) = self.limit.enter() else {
            return Err(Status::overloaded("as many calls as may run at once do"));
        };
        next.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::future;
    use std::pin::pin;
    use std::task;

    use rpc_core::{Code, park};

    use super::*;
    use crate::filter::tests::{METHOD, context, request};

    struct Never;

    impl Service for Never {
        async fn call(&self, _: Request) -> Result<Response, Status> {
            future::pending().await
        }
    }

    #[test]
    fn a_call_holds_its_place_until_it_is_answered_or_dropped() {
        let (cx, _) = context();
        let limit = Concurrency::max(1);
        let limited = limit.clone().around(Never);
        {
            let mut running = pin!(limited.call(request(&METHOD, &cx)));
            let mut waking = task::Context::from_waker(task::Waker::noop());
            assert!(running.as_mut().poll(&mut waking).is_pending());
            assert_eq!(limit.in_flight(), 1);
            let refused = park::wait(limited.call(request(&METHOD, &cx))).unwrap();
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::Overloaded);
            assert!(refused.is_unexecuted());
        }
        assert_eq!(limit.in_flight(), 0);
    }
}
