//! Futures around handlers that add nothing to the size of what they hold: a request is moved for each future that it
//! passes through, and the memory of all of them together is what a call costs.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use rpc_core::{Code, MethodDescriptor, Request, Response, Service, Status};

/// What a request became.
pub(crate) type Outcome = Result<Response, Status>;

pin_project! {
    /// A future that may have failed before it began.
    #[project = AttemptProjection]
    pub(crate) enum Attempt<F> {
        Begun { #[pin] future: F },
        Failed { status: Option<Status> },
    }
}

impl<F> Attempt<F> {
    /// One that has not failed.
    pub(crate) fn begin(future: F) -> Self {
        Self::Begun { future }
    }
}

impl<F> From<Result<F, Status>> for Attempt<F> {
    fn from(begun: Result<F, Status>) -> Self {
        match begun {
            Ok(future) => Self::begin(future),
            Err(status) => Self::Failed {
                status: Some(status),
            },
        }
    }
}

impl<F: Future<Output = Outcome>> Future for Attempt<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.project() {
            AttemptProjection::Begun { future } => future.poll(cx),
            AttemptProjection::Failed { status } => match status.take() {
                Some(status) => Poll::Ready(Err(status)),
                None => Poll::Pending,
            },
        }
    }
}

pin_project! {
    /// A future whose panics end in a status.
    pub(crate) struct Contained<F> {
        method: &'static MethodDescriptor,
        #[pin]
        future: Attempt<F>,
    }
}

/// Calls a service and contains what panics, in making the future or in polling it.
pub(crate) fn contained<S: Service>(
    service: &S,
    request: Request,
) -> Contained<impl Future<Output = Outcome> + Send> {
    let method = request.method();
    let begun = catch_unwind(AssertUnwindSafe(|| service.call(request)));
    Contained {
        method,
        future: begun.map_err(|_| panicked(method)).into(),
    }
}

impl<F: Future<Output = Outcome>> Future for Contained<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let method = self.method;
        let future = self.project().future;
        catch_unwind(AssertUnwindSafe(|| future.poll(cx)))
            .unwrap_or_else(|_| Poll::Ready(Err(panicked(method))))
    }
}

/// What the caller of a handler that panicked is told. What it panicked with stays here.
pub(crate) const PANICKED: &str = "the handler panicked";

#[cold]
fn panicked(method: &MethodDescriptor) -> Status {
    tracing::error!(method = method.path, "a handler or filter panicked");
    Status::new(Code::Internal, PANICKED)
}
