//! [`Router`]: finds the service that a path belongs to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rpc_codec::Limits;
use rpc_core::filter::Open;
use rpc_core::mount::{Dispatch, Options};
use rpc_core::{
    Cause, Code, Deadline, Filter, MethodDescriptor, Mount, Request, Response, Service, Status,
};

use crate::ServeError;
use crate::dispatch::{Hosted, hosted};

/// Finds the service that a path belongs to. It is a service itself: a test calls it without any port through
/// `rpc_testing::Loopback`.
#[derive(Debug, Default)]
pub struct Router {
    routes: HashMap<&'static [u8], Route, foldhash::fast::RandomState>,
    services: usize,
    /// What bodies may grow to when they are unpacked. Known when the server is bound, after services are mounted.
    unpacked_max: UnpackedMax,
    mistake: Option<Mistake>,
}

/// Where one path leads.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) method: &'static MethodDescriptor,
    pub(crate) service: Arc<dyn Hosted>,
    /// The place of the service among those mounted.
    pub(crate) place: usize,
    pub(crate) dispatch: Dispatch,
    pub(crate) service_timeout: Option<Duration>,
    pub(crate) method_timeout: Option<Duration>,
}

/// The bound that all services of a router share.
pub(crate) type UnpackedMax = Arc<AtomicUsizeWithDefault>;

/// A number of bytes that is set once.
#[derive(Debug)]
pub(crate) struct AtomicUsizeWithDefault(AtomicUsize);

impl Default for AtomicUsizeWithDefault {
    fn default() -> Self {
        Self(AtomicUsize::new(Limits::default().decompressed_bytes_max))
    }
}

impl AtomicUsizeWithDefault {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Kept until somebody can be told.
#[derive(Debug, Clone, Copy)]
enum Mistake {
    DuplicatePath(&'static str),
    NoSuchMethod {
        service: &'static str,
        method: &'static str,
    },
}

impl Router {
    /// A router without services.
    pub fn new() -> Self {
        Self::default()
    }

    /// Mounts a service: it answers to the paths and aliases of its methods.
    pub fn mount<S: Service + 'static>(self, mount: Mount<S>) -> Self {
        self.mount_behind(Open, mount)
    }

    /// Mounts a service behind a filter.
    pub fn mount_behind<F: Filter, S: Service + 'static>(
        mut self,
        filter: F,
        mount: Mount<S>,
    ) -> Self {
        let (service, options) = mount.into_parts();
        let service = hosted(filter, service, Arc::clone(&self.unpacked_max));
        self.add(&options, &service);
        self.services += 1;
        self
    }

    /// Says whether what was mounted fits together.
    ///
    /// # Errors
    ///
    /// Names the path or method at fault.
    pub fn check(&self) -> Result<(), ServeError> {
        match self.mistake {
            None => Ok(()),
            Some(Mistake::DuplicatePath(path)) => Err(ServeError::DuplicatePath { path }),
            Some(Mistake::NoSuchMethod { service, method }) => {
                Err(ServeError::NoSuchMethod { service, method })
            }
        }
    }

    /// How many services are mounted.
    pub fn services(&self) -> usize {
        self.services
    }

    pub(crate) fn set_unpacked_max(&self, bytes: usize) {
        self.unpacked_max.0.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn route(&self, path: &[u8]) -> Option<&Route> {
        self.routes.get(path)
    }

    fn add(&mut self, options: &Options, service: &Arc<dyn Hosted>) {
        for (name, _) in &options.method_timeouts {
            if options.descriptor.method(name).is_none() {
                let service = options.descriptor.name;
                self.mistake.get_or_insert(Mistake::NoSuchMethod {
                    service,
                    method: name,
                });
            }
        }
        for method in options.descriptor.methods {
            let timeout = options
                .method_timeouts
                .iter()
                .rev()
                .find(|(name, _)| *name == method.name);
            let route = Route {
                method,
                service: Arc::clone(service),
                place: self.services,
                dispatch: options.dispatch.clone(),
                service_timeout: options.timeout,
                method_timeout: timeout.map(|(_, timeout)| *timeout),
            };
            for path in std::iter::once(method.path).chain(method.alias) {
                if self.routes.insert(path.as_bytes(), route.clone()).is_some() {
                    self.mistake.get_or_insert(Mistake::DuplicatePath(path));
                }
            }
        }
    }
}

impl Service for Router {
    async fn call(&self, mut request: Request) -> Result<Response, Status> {
        let path = request.method().path;
        let route = self
            .route(path.as_bytes())
            .ok_or_else(|| no_method(path.as_bytes()))?;
        let now = request.context().now();
        for timeout in [
            route.service_timeout,
            route.method_timeout,
            request.timeout(),
        ]
        .into_iter()
        .flatten()
        {
            request
                .context_mut()
                .narrow(Deadline::new(now + timeout, Cause::Own));
        }
        route.service.call(request).await
    }
}

/// The answer to a path that nobody serves.
pub(crate) fn no_method(path: &[u8]) -> Status {
    let shown = String::from_utf8_lossy(path.get(..path.len().min(256)).unwrap_or_default());
    Status::new(Code::NoMethod, format!("{shown:?} is not served here"))
}
