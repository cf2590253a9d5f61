//! Policies as filters: each brings its policy the traffic and the time, and carries out the verdict.
//!
//! Filters are named for what they do to calls, policies for the idea behind it.
//!
//! # Layout
//!
//! * [`rate_limit`] – [`RateLimit`]: so many calls a second
//! * [`concurrency`] – [`Concurrency`]: so many calls at once
//! * [`retry`] – [`Retry`]: once more, within a budget

pub mod concurrency;
pub mod rate_limit;
pub mod retry;

pub use concurrency::Concurrency;
pub use rate_limit::RateLimit;
pub use retry::Retry;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use rpc_core::method::{Idempotency, Shape};
    use rpc_core::scope::Scope;
    use rpc_core::time::Alarm;
    use rpc_core::{Body, Clock, Context, ManualClock, MethodDescriptor, Request, Timer};

    pub(crate) static METHOD: MethodDescriptor = method(Idempotency::Unknown);
    pub(crate) static IDEMPOTENT: MethodDescriptor = method(Idempotency::Idempotent);

    const fn method(idempotency: Idempotency) -> MethodDescriptor {
        MethodDescriptor {
            index: 0,
            name: "Do",
            path: "/test.Service/Do",
            alias: None,
            service: "test.Service",
            idempotency,
            shape: Shape::Unary,
            request: rpc_core::MessageType::UNKNOWN,
            reply: rpc_core::MessageType::UNKNOWN,
        }
    }

    /// A context whose time moves only by hand, or when somebody sleeps: then it jumps to the end of the sleep.
    pub(crate) fn context() -> (Context, ManualClock) {
        let (clock, hand) = Clock::manual();
        let timer = Arc::new(Impatient(hand.clone()));
        let scope = Scope::new(clock, Some(timer), None);
        (Context::new(&Arc::new(scope)), hand)
    }

    pub(crate) fn request(method: &'static MethodDescriptor, context: &Context) -> Request {
        Request::new(method, context.clone(), Body::new())
    }

    struct Impatient(ManualClock);

    impl Timer for Impatient {
        fn ring_at(&self, at: std::time::Instant, alarm: Arc<Alarm>) {
            self.0.advance(at.saturating_duration_since(self.0.now()));
            alarm.ring();
        }
    }
}
