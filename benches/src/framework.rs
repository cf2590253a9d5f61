//! What a framework does around a handler, so that it is measured with it: filters and metrics as services have them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tern::observe::{Event, Observer};
use tern::{Filter, Request, Response, Service, Status};

/// Counts requests and failures.
#[derive(Debug, Default)]
pub struct Counted {
    requests: AtomicU64,
    failures: AtomicU64,
}

impl Filter for Counted {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let outcome = next.call(request).await;
        if outcome.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

/// Measures how long what is inside takes, with a clock read on each side.
#[derive(Debug, Default)]
pub struct Timed {
    times: Histogram,
}

impl Filter for Timed {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        let clock = request.context().scope().clock().clone();
        let begin = clock.now();
        let outcome = next.call(request).await;
        self.times.add(clock.now().saturating_duration_since(begin));
        outcome
    }
}

/// Refuses callers that are on a list: looks at the head and the metadata of each request.
#[derive(Debug)]
pub struct Checked;

impl Filter for Checked {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        let is_banned = request.context().caller() == "trpc.banned.client.Service";
        if is_banned || request.metadata().text("banned").is_some() {
            return Err(Status::invalid_argument("this caller is not served"));
        }
        next.call(request).await
    }
}

/// Keeps the times of each method's calls.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By the method's place in its service.
    methods: [Histogram; 8],
    failures: AtomicU64,
}

impl Observer for Metrics {
    fn observe(&self, event: &Event<'_>) {
        let Event::CallEnded {
            method,
            code,
            elapsed,
        } = event
        else {
            return;
        };
        let place = method.map_or(0, |method| method.index);
        if let Some(times) = self.methods.get(place) {
            times.add(*elapsed);
        }
        if code.is_some() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts times by their power of two in nanoseconds.
#[derive(Debug)]
struct Histogram([AtomicU64; 64]);

impl Default for Histogram {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; 64])
    }
}

impl Histogram {
    fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.0.get((nanos | 1).ilog2() as usize) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }
}
