//! [`Filter`]: stands before a [`Service`]. The same filters work on both ends.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::service::{BoxFuture, Erased};
use crate::{Forwarding, Request, Response, Service, Status};

/// Stands before a service. Calling `next` never, once or three times is the whole expressive power.
///
/// ```
/// use rpc_core::{Filter, Request, Response, Service, Status};
///
/// /// Lets nobody in who does not say the word.
/// struct Password(&'static str);
///
/// impl Filter for Password {
///     async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
///         match request.metadata().text("password") {
///             Some(word) if word == self.0 => next.call(request).await,
///             _ => Err(Status::unauthenticated("the password is missing or wrong")),
///         }
///     }
/// }
/// ```
pub trait Filter: Send + Sync + 'static {
    /// Handles one request, with the help of `next` or without.
    fn call<S: Service>(
        &self,
        request: Request,
        next: &S,
    ) -> impl Future<Output = Result<Response, Status>> + Send;

    /// This filter and, inside of it, `inner`.
    fn then<F: Filter>(self, inner: F) -> Then<Self, F>
    where
        Self: Sized,
    {
        Then { outer: self, inner }
    }

    /// The service that `service` becomes behind this filter.
    fn around<S: Service + 'static>(self, service: S) -> impl Service + 'static
    where
        Self: Sized,
    {
        Filtered {
            filter: self,
            service,
        }
    }

    /// The same filter behind a pointer, for chains that are made at run time.
    fn boxed(self) -> DynFilter
    where
        Self: Sized,
    {
        DynFilter(Arc::new(self))
    }
}

impl<F: Filter> Filter for Arc<F> {
    fn call<S: Service>(
        &self,
        request: Request,
        next: &S,
    ) -> impl Future<Output = Result<Response, Status>> + Send {
        F::call(self, request, next)
    }
}

/// The filter that does nothing: the start of a chain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl Filter for Open {
    fn call<S: Service>(
        &self,
        request: Request,
        next: &S,
    ) -> impl Future<Output = Result<Response, Status>> + Send {
        next.call(request)
    }

    fn around<S: Service + 'static>(self, service: S) -> impl Service + 'static {
        service
    }
}

/// Two filters, one inside the other. Made by [`Filter::then`].
#[derive(Debug, Clone, Copy)]
pub struct Then<O, I> {
    outer: O,
    inner: I,
}

impl<O: Filter, I: Filter> Filter for Then<O, I> {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        self.outer
            .call(
                request,
                &Inside {
                    filter: &self.inner,
                    next,
                },
            )
            .await
    }

    /// Each filter around what is inside of it: so no future but their own stands between them, and a request is moved
    /// once for each filter (`benches/benches/micro.rs`, `filters`).
    fn around<S: Service + 'static>(self, service: S) -> impl Service + 'static {
        self.outer.around(self.inner.around(service))
    }
}

/// A service behind a filter.
struct Filtered<F, S> {
    filter: F,
    service: S,
}

impl<F: Filter, S: Service> Service for Filtered<F, S> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Status>> + Send {
        self.filter.call(request, &self.service)
    }

    fn forwarding(&self) -> &Forwarding {
        self.service.forwarding()
    }
}

/// The rest of a chain as its outer part sees it.
struct Inside<'a, F, S> {
    filter: &'a F,
    next: &'a S,
}

impl<F: Filter, S: Service> Service for Inside<'_, F, S> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Status>> + Send {
        self.filter.call(request, self.next)
    }
}

/// A filter that looks at requests: it passes each on, changed or not, or refuses it.
///
/// ```
/// use rpc_core::{Status, filter};
///
/// let no_strangers = filter::before(|request| match request.context().caller() {
///     "" => Err(Status::unauthenticated("who calls?")),
///     _ => Ok(request),
/// });
/// ```
pub fn before<F>(look: F) -> Before<F>
where
    F: Fn(Request) -> Result<Request, Status> + Send + Sync + 'static,
{
    Before(look)
}

/// A filter that looks at results: it passes each on, changed or not.
pub fn after<F>(look: F) -> After<F>
where
    F: Fn(Result<Response, Status>) -> Result<Response, Status> + Send + Sync + 'static,
{
    After(look)
}

/// Made by [`before`].
#[derive(Clone, Copy)]
pub struct Before<F>(F);

impl<F> Filter for Before<F>
where
    F: Fn(Request) -> Result<Request, Status> + Send + Sync + 'static,
{
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        next.call((self.0)(request)?).await
    }
}

impl<F> fmt::Debug for Before<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Before")
    }
}

/// Made by [`after`].
#[derive(Clone, Copy)]
pub struct After<F>(F);

impl<F> Filter for After<F>
where
    F: Fn(Result<Response, Status>) -> Result<Response, Status> + Send + Sync + 'static,
{
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        (self.0)(next.call(request).await)
    }
}

impl<F> fmt::Debug for After<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("After")
    }
}

/// A filter behind a pointer. Each call through it costs two allocations.
#[derive(Clone)]
pub struct DynFilter(Arc<dyn ErasedFilter>);

impl Filter for DynFilter {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        self.0.call(request, Next(next)).await
    }

    fn boxed(self) -> DynFilter {
        self
    }
}

impl fmt::Debug for DynFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DynFilter")
    }
}

trait ErasedFilter: Send + Sync {
    fn call<'a>(&'a self, request: Request, next: Next<'a>) -> BoxFuture<'a>;
}

impl<F: Filter> ErasedFilter for F {
    fn call<'a>(&'a self, request: Request, next: Next<'a>) -> BoxFuture<'a> {
        Box::pin(async move { Filter::call(self, request, &next).await })
    }
}

/// The rest of a chain behind a pointer.
struct Next<'a>(&'a dyn Erased);

impl Service for Next<'_> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Status>> + Send {
        self.0.call(request)
    }
}
