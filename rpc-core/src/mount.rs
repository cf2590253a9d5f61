//! [`Mount`]: a service with the choices made where it is mounted.

use std::time::Duration;

use crate::method::ANY;
use crate::{Executor, Filter, Service, ServiceDescriptor};

/// Where the handlers of a service run.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Dispatch {
    /// On the server's default pool: a handler may block.
    #[default]
    Default,
    /// On this pool.
    On(Executor),
    /// In place on the I/O thread: the fastest for handlers of a few microseconds, which must never block. A handler
    /// that has to wait for something is moved to the server's default pool.
    Inline,
    /// Where its measured time says: a method begins on the server's default pool, is moved onto the loops when it has
    /// proved to be short, and back when it is not. See [`Mount::auto`].
    Auto,
}

/// A service with the choices made where it is mounted: on which pool it runs and how long its methods may take.
/// Generated servers return one.
#[derive(Debug, Clone)]
#[must_use = "a service answers nothing until a server or router mounts it"]
pub struct Mount<S> {
    service: S,
    options: Options,
}

/// The choices of a [`Mount`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// What is mounted.
    pub descriptor: &'static ServiceDescriptor,
    /// How its callers name it, where its paths do not tell it apart.
    pub callee: Option<String>,
    /// Where its handlers run.
    pub dispatch: Dispatch,
    /// How long any of its methods may take.
    pub timeout: Option<Duration>,
    /// How long one of its methods may take, by name.
    pub method_timeouts: Vec<(&'static str, Duration)>,
    /// Where one of its methods runs, by name.
    pub method_dispatches: Vec<(&'static str, Dispatch)>,
    /// How long 99 of 100 runs of a method that finds its own place may take; see [`Mount::auto_budget`].
    pub auto_budget: Duration,
}

/// How long most runs of a method that finds its own place may take, unless it is told otherwise: about what handing a
/// request to a pool and back costs when everybody sleeps, and little beside the time that a round trip takes.
const AUTO_BUDGET: Duration = Duration::from_micros(20);

impl<S: Service> Mount<S> {
    /// Mounts `service`, whose methods `descriptor` lists.
    pub fn new(descriptor: &'static ServiceDescriptor, service: S) -> Self {
        let options = Options {
            descriptor,
            callee: None,
            dispatch: Dispatch::Default,
            timeout: None,
            method_timeouts: Vec::new(),
            method_dispatches: Vec::new(),
            auto_budget: AUTO_BUDGET,
        };
        Self { service, options }
    }

    /// Mounts `service` for every path that no other service has: a proxy, or whoever wants to see what is asked in vain.
    /// [`Request::path`](crate::Request::path) tells which path that is. One that is not text is still answered by
    /// [`Code::NoMethod`](crate::Code::NoMethod).
    ///
    /// Passing requests on needs no more than a channel:
    ///
    /// ```
    /// # use rpc_core::{Mount, Service};
    /// # fn example(channel: impl Service) -> Mount<impl Service> {
    /// Mount::any(channel)
    /// # }
    /// ```
    pub fn any(service: S) -> Self {
        Self::new(&ANY, service)
    }

    /// Names the service as its callers do, `trpc.app.server.service`. It matters where several services that are mounted
    /// together answer to one path: then a request goes to the one that it calls by name, and to the last of them if it
    /// calls none of them. Without different names a path that is mounted twice is an error when the server is bound.
    pub fn callee(mut self, name: impl Into<String>) -> Self {
        self.options.callee = Some(name.into());
        self
    }

    /// Runs the handlers on `pool`, except those of methods for which something else is said.
    pub fn on(mut self, pool: &impl AsRef<Executor>) -> Self {
        self.options.dispatch = Dispatch::On(pool.as_ref().clone());
        self
    }

    /// Runs the handlers in place on the I/O thread, except those of methods for which something else is said. They must
    /// never block.
    pub fn inline(mut self) -> Self {
        self.options.dispatch = Dispatch::Inline;
        self
    }

    /// Lets each method find its own place by its measured time, except methods for which something else is said.
    ///
    /// A method begins on the server's default pool. When at most one in a hundred of its first 1,000 runs took longer than
    /// the [budget](Mount::auto_budget) or had to wait, it is moved onto the event loops and saves two thread switches a
    /// request, as if it were [inline](Mount::inline). At the first run there that takes longer than five times the budget,
    /// or has to wait, it is moved back, and has to prove itself anew by twice as many runs as the last time, up to 64,000.
    /// What is measured is what would keep a loop: filters, decoding, handler, encoding; what the system takes from the
    /// loop's thread meanwhile is left out where the system tells. Observers are told of each move
    /// ([`Event::Moved`](crate::Event::Moved)), and so is the log, at `info`.
    ///
    /// The price is two readings of the clock for a request, and that a loop is kept once by each run that shows that the
    /// method does not belong there. A handler that blocks its thread for long now and then is better left on a pool, and
    /// one that calls `.wait()` has to be: on a loop that is refused.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rpc_core::{Mount, Service};
    /// # fn example(echo: Mount<impl Service>) -> Mount<impl Service> {
    /// echo.auto().auto_budget(Duration::from_micros(50))
    /// # }
    /// ```
    pub fn auto(mut self) -> Self {
        self.options.dispatch = Dispatch::Auto;
        self
    }

    /// How long 99 of 100 runs of a method that finds its own place may take, if it is to be moved onto the event loops.
    /// One that keeps a loop for five times as long leads back. Default: 20 µs. Of no effect on other methods.
    pub fn auto_budget(mut self, budget: Duration) -> Self {
        self.options.auto_budget = budget;
        self
    }

    /// Runs the method called `name` in the .proto file on `pool`, wherever the others run. A name that the service
    /// does not have is an error when the server is bound.
    ///
    /// ```
    /// # use rpc_core::{Executor, Mount, Service};
    /// # fn example(echo: Mount<impl Service>, slow: &Executor) -> Mount<impl Service> {
    /// echo.inline().method_on("Slow", slow)
    /// # }
    /// ```
    pub fn method_on(mut self, name: &'static str, pool: &impl AsRef<Executor>) -> Self {
        let dispatch = Dispatch::On(pool.as_ref().clone());
        self.options.method_dispatches.push((name, dispatch));
        self
    }

    /// Runs the method called `name` in the .proto file in place on the I/O thread, wherever the others run. It must
    /// never block. A name that the service does not have is an error when the server is bound.
    pub fn method_inline(mut self, name: &'static str) -> Self {
        let dispatch = Dispatch::Inline;
        self.options.method_dispatches.push((name, dispatch));
        self
    }

    /// Lets the method called `name` in the .proto file find its own place, wherever the others run; see [`Mount::auto`].
    /// A name that the service does not have is an error when the server is bound.
    pub fn method_auto(mut self, name: &'static str) -> Self {
        let dispatch = Dispatch::Auto;
        self.options.method_dispatches.push((name, dispatch));
        self
    }

    /// Bounds the time of every method, that of streams from their opening to their end.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Bounds the time of the method called `name` in the .proto file. A name that the service does not have is an
    /// error when the server is bound.
    pub fn method_timeout(mut self, name: &'static str, timeout: Duration) -> Self {
        self.options.method_timeouts.push((name, timeout));
        self
    }

    /// Puts a filter before this service only, inside of the server's filters.
    pub fn filter<F: Filter>(self, filter: F) -> Mount<impl Service + 'static>
    where
        S: 'static,
    {
        Mount {
            service: filter.around(self.service),
            options: self.options,
        }
    }

    /// The service and the choices.
    pub fn into_parts(self) -> (S, Options) {
        (self.service, self.options)
    }
}
