//! [`Service`]: turns a [`Request`] into a [`Response`] or a [`Status`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::forwarding::{Forwarding, STANDARD};
use crate::serialize::{FormatTable, ProtobufOnly};
use crate::{Request, Response, Status};

/// Turns a request into a response or a status. The router, the client's channel, the loop-back of a test and a mock
/// are all services; so is a handler behind its filters.
///
/// There is no readiness to ask for: who cannot serve refuses with a [`Status`].
pub trait Service: Send + Sync {
    /// Serves one request.
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Status>> + Send;

    /// What a call through this service, made within another, takes along of that one's metadata. A channel says what it
    /// was told; a service around a service passes on what that one says.
    fn forwarding(&self) -> &Forwarding {
        &STANDARD
    }

    /// The formats beside protobuf in which messages may be sent through this service. Default: none; a service that
    /// stands before another passes on what that one has.
    fn formats(&self) -> &dyn FormatTable {
        &ProtobufOnly
    }

    /// The same service behind a pointer, for tables that hold different ones.
    fn boxed(self) -> BoxService
    where
        Self: Sized + 'static,
    {
        BoxService(Arc::new(self))
    }
}

impl<S: Service> Service for Arc<S> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Status>> + Send {
        S::call(self, request)
    }

    fn forwarding(&self) -> &Forwarding {
        S::forwarding(self)
    }

    fn formats(&self) -> &dyn FormatTable {
        S::formats(self)
    }
}

/// A service behind a pointer. Each call costs one allocation.
#[derive(Clone)]
pub struct BoxService(Arc<dyn Erased>);

impl Service for BoxService {
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Status>> + Send {
        self.0.call(request)
    }

    fn forwarding(&self) -> &Forwarding {
        self.0.forwarding()
    }

    fn formats(&self) -> &dyn FormatTable {
        self.0.formats()
    }

    fn boxed(self) -> BoxService {
        self
    }
}

impl fmt::Debug for BoxService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxService")
    }
}

/// The future of a boxed service.
pub(crate) type BoxFuture<'a> = Pin<Box<dyn Future<Output = Result<Response, Status>> + Send + 'a>>;

pub(crate) trait Erased: Send + Sync {
    fn call(&self, request: Request) -> BoxFuture<'_>;
    fn forwarding(&self) -> &Forwarding;
    fn formats(&self) -> &dyn FormatTable;
}

impl<S: Service> Erased for S {
    fn call(&self, request: Request) -> BoxFuture<'_> {
        Box::pin(Service::call(self, request))
    }

    fn forwarding(&self) -> &Forwarding {
        Service::forwarding(self)
    }

    fn formats(&self) -> &dyn FormatTable {
        Service::formats(self)
    }
}
