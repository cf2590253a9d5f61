//! [`Router`]: finds the service that a path belongs to.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rpc_core::filter::Open;
use rpc_core::mount::{Dispatch, Options};
use rpc_core::{
    Cause, Clock, Code, Deadline, Executor, Filter, MethodDescriptor, Mount, Request, Response,
    Service, Status,
};
use rpc_net::Post;

use crate::ServeError;
use crate::bodies::Bodies;
use crate::dispatch::{Hosted, hosted, timed_out};
use crate::driver::Mail;
use crate::in_place::InPlace;
use crate::on_pool::Counter;
use crate::place::Settling;
use crate::routes::{Routes, Way};

/// Finds the service that a path belongs to. It is a service itself: a test calls it without any port through
/// `rpc_testing::Loopback`.
#[derive(Debug, Default)]
pub struct Router {
    /// The routes of each path, in the order in which they were mounted: mostly one. Of several each has a callee.
    routes: HashMap<&'static [u8], Vec<Route>, foldhash::fast::RandomState>,
    /// By their place in the order in which they were mounted.
    services: Vec<Arc<dyn Hosted>>,
    bodies: Bodies,
    mistake: Option<Mistake>,
}

/// Where one path leads.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) method: &'static MethodDescriptor,
    /// How its callers name it, if they have to.
    pub(crate) callee: Option<Arc<str>>,
    pub(crate) service: Arc<dyn Hosted>,
    /// The place of the service among those mounted.
    pub(crate) place: usize,
    pub(crate) dispatch: Dispatch,
    /// Present if the method finds its own place.
    pub(crate) settling: Option<Arc<Settling>>,
    pub(crate) service_timeout: Option<Duration>,
    pub(crate) method_timeout: Option<Duration>,
}

impl Route {
    /// Whether it is this one that `callee` names.
    pub(crate) fn is_called(&self, callee: &[u8]) -> bool {
        let own = self.callee.as_deref();
        own.is_some_and(|own| own.as_bytes() == callee)
    }

    /// What each call is given by a server that gives `server` to all of them.
    fn timeout(&self, server: Option<Duration>) -> Option<Duration> {
        // How long a stream lasts is for its two ends to say. Only what was said where its service was mounted means it.
        let server = server.filter(|_| !self.method.shape.is_stream());
        let all = [server, self.service_timeout, self.method_timeout];
        all.into_iter().flatten().min()
    }

    /// Whether requests are served on the loop now.
    pub(crate) fn is_in_place(&self) -> bool {
        match &self.settling {
            Some(settling) => settling.is_on_loop(),
            None => matches!(self.dispatch, Dispatch::Inline),
        }
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
        let service = hosted(filter, service, self.bodies.clone());
        self.add(&options, &service);
        self.services.push(service);
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
        self.services.len()
    }

    /// The routes and services of one event loop, whose workers answer by `post`. Methods that run on no pool of their own
    /// run on `default_pool`, and no call lasts longer than `timeout`.
    pub(crate) fn for_loop(
        &self,
        post: &Post<Mail>,
        default_pool: &Executor,
        clock: &Clock,
        timeout: Option<Duration>,
    ) -> (Routes, Vec<Box<dyn InPlace>>) {
        let way = |route: &Route, is_any| {
            let executor = match &route.dispatch {
                Dispatch::On(executor) => executor,
                _ => default_pool,
            };
            let counter = Counter {
                post: post.clone(),
                executor: executor.clone(),
                settling: route.settling.clone(),
                clock: clock.clone(),
            };
            Way {
                route: route.clone(),
                executor: executor.clone(),
                work: route.service.on_pool(counter),
                timeout: route.timeout(timeout),
                is_any,
                rivals: Vec::new(),
            }
        };
        let ways = self.routes.iter().filter_map(|(path, routes)| {
            let is_any = *path == ANY_PATH;
            let (last, rivals) = routes.split_last()?;
            let mut last = way(last, is_any);
            last.rivals = rivals.iter().map(|rival| way(rival, is_any)).collect();
            Some((*path, last))
        });
        let in_place = self.services.iter().map(|service| service.in_place());
        (ways.collect(), in_place.collect())
    }

    /// How bodies are packed and unpacked from now on.
    pub(crate) fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    fn route(&self, path: &[u8], callee: &[u8]) -> Option<&Route> {
        let routes = self.routes.get(path)?;
        let called = routes.iter().find(|route| route.is_called(callee));
        called.or(routes.last())
    }

    fn add(&mut self, options: &Options, service: &Arc<dyn Hosted>) {
        let timed = options.method_timeouts.iter().map(|(name, _)| *name);
        let placed = options.method_dispatches.iter().map(|(name, _)| *name);
        for method in timed.chain(placed) {
            if options.descriptor.method(method).is_none() {
                let service = options.descriptor.name;
                self.mistake
                    .get_or_insert(Mistake::NoSuchMethod { service, method });
            }
        }
        let callee = options.callee.as_deref().map(Arc::from);
        for method in options.descriptor.methods {
            let dispatch = chosen(&options.method_dispatches, method).unwrap_or(&options.dispatch);
            let dispatch = match dispatch {
                // Handlers of streams wait for their peers, so none of them stays on a loop.
                Dispatch::Inline | Dispatch::Auto if method.shape.is_stream() => &Dispatch::Default,
                dispatch => dispatch,
            };
            let settles = matches!(dispatch, Dispatch::Auto);
            let route = Route {
                method,
                callee: callee.clone(),
                service: Arc::clone(service),
                place: self.services.len(),
                dispatch: dispatch.clone(),
                settling: settles.then(|| Settling::new(method, options.auto_budget)),
                service_timeout: options.timeout,
                method_timeout: chosen(&options.method_timeouts, method).copied(),
            };
            for path in std::iter::once(method.path).chain(method.alias) {
                let routes = self.routes.entry(path.as_bytes()).or_default();
                if routes.iter().any(|other| !can_be_told_apart(other, &route)) {
                    self.mistake.get_or_insert(Mistake::DuplicatePath(path));
                }
                routes.push(route.clone());
            }
        }
    }
}

impl Service for Router {
    async fn call(&self, mut request: Request) -> Result<Response, Status> {
        let (_, callee) = request.context().name_bytes();
        let path = request.path().as_bytes();
        let route = self.route(path, callee);
        let route = route
            .or_else(|| self.route(ANY_PATH, callee))
            .ok_or_else(|| no_method(path))?;
        // Stubs go by the method.
        if !std::ptr::eq(request.method(), route.method) {
            request.set_method(route.method);
        }
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
        let deadline = request.context().deadline();
        let own = deadline.filter(|deadline| deadline.cause() == Cause::Own);
        let Some(own) = own else {
            // What the caller gave is for the caller to watch.
            return route.service.call(request).await;
        };
        let mut time_out = request.context().sleep(own.remaining(now));
        let mut served = route.service.call(request);
        poll_fn(|cx| match served.as_mut().poll(cx) {
            Poll::Pending => Pin::new(&mut time_out)
                .poll(cx)
                .map(|()| Err(timed_out(own))),
            ready @ Poll::Ready(_) => ready,
        })
        .await
    }
}

/// Where requests lead that lead nowhere else.
pub(crate) const ANY_PATH: &[u8] = b"*";

/// Whether both may have one path: their callers name them differently.
fn can_be_told_apart(one: &Route, other: &Route) -> bool {
    match (&one.callee, &other.callee) {
        (Some(one), Some(other)) => one != other,
        _ => false,
    }
}

/// What was said for a method by its name; what was said last holds.
fn chosen<'a, T>(choices: &'a [(&'static str, T)], method: &MethodDescriptor) -> Option<&'a T> {
    let mut latest_first = choices.iter().rev();
    latest_first.find_map(|(name, choice)| (*name == method.name).then_some(choice))
}

/// The answer to a path that nobody serves.
pub(crate) fn no_method(path: &[u8]) -> Status {
    let shown = String::from_utf8_lossy(path.get(..path.len().min(256)).unwrap_or_default());
    Status::new(Code::NoMethod, format!("{shown:?} is not served here"))
}

#[cfg(test)]
mod tests {
    use rpc_core::{Idempotency, ServiceDescriptor, Shape};
    use rpc_net::mailbox::Mailbox;

    use super::*;
    use crate::Pool;

    static ECHO: ServiceDescriptor = ServiceDescriptor {
        name: "test.Echo",
        methods: &[
            method(0, "Echo", "/test.Echo/Echo"),
            method(1, "Slow", "/test.Echo/Slow"),
        ],
    };

    const fn method(index: usize, name: &'static str, path: &'static str) -> MethodDescriptor {
        MethodDescriptor {
            index,
            name,
            path,
            alias: None,
            service: "test.Echo",
            idempotency: Idempotency::Unknown,
            shape: Shape::Unary,
            request: rpc_core::MessageType::UNKNOWN,
            reply: rpc_core::MessageType::UNKNOWN,
        }
    }

    struct Silent;

    impl Service for Silent {
        async fn call(&self, _: Request) -> Result<Response, Status> {
            Ok(Response::empty())
        }
    }

    /// The name of the pool, or where else the method runs.
    fn place(router: &Router, path: &str) -> String {
        match &router.route(path.as_bytes(), b"").unwrap().dispatch {
            Dispatch::On(pool) => pool.name().to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_method_runs_where_it_is_told_and_the_others_where_the_service_does() {
        let pool = Pool::builder("slow").threads(1).build();
        let inline = Mount::new(&ECHO, Silent).method_on("Slow", &pool).inline();
        let router = Router::new().mount(inline);
        router.check().unwrap();
        assert_eq!(place(&router, "/test.Echo/Echo"), "Inline");
        assert_eq!(place(&router, "/test.Echo/Slow"), "slow");

        let pooled = Mount::new(&ECHO, Silent).on(&pool).method_inline("Echo");
        let router = Router::new().mount(pooled);
        assert_eq!(place(&router, "/test.Echo/Echo"), "Inline");
        assert_eq!(place(&router, "/test.Echo/Slow"), "slow");
    }

    #[test]
    fn what_is_said_last_for_a_method_holds() {
        let pool = Pool::builder("slow").threads(1).build();
        let mount = Mount::new(&ECHO, Silent).method_inline("Slow");
        let router = Router::new().mount(mount.method_on("Slow", &pool));
        assert_eq!(place(&router, "/test.Echo/Slow"), "slow");
        assert_eq!(place(&router, "/test.Echo/Echo"), "Default");
    }

    #[test]
    fn only_methods_that_find_their_own_place_are_measured() {
        let mount = Mount::new(&ECHO, Silent).inline().method_auto("Slow");
        let router = Router::new().mount(mount);
        let is_measured = |path: &[u8]| router.route(path, b"").unwrap().settling.is_some();
        assert!(is_measured(b"/test.Echo/Slow"));
        assert!(!is_measured(b"/test.Echo/Echo"));
        let is_in_place = |path: &[u8]| router.route(path, b"").unwrap().is_in_place();
        assert!(
            !is_in_place(b"/test.Echo/Slow"),
            "before it has proved to be short"
        );
        assert!(is_in_place(b"/test.Echo/Echo"));
    }

    #[test]
    fn loops_find_one_place_for_a_method_together() {
        let router = Router::new().mount(Mount::new(&ECHO, Silent).auto());
        let path = b"/test.Echo/Echo";
        let (pool, clock) = (Pool::builder("test").threads(1).build(), Clock::system());
        let (_mailbox, sender) = Mailbox::new(Arc::new(|| ()));
        let post = Post::new(sender);
        let routes = || router.for_loop(&post, pool.as_ref(), &clock, None).0;
        let settling = |routes: &mut Routes| {
            let way = routes.find(path, b"").unwrap();
            way.route.settling.clone().unwrap()
        };
        let mut loops = [routes(), routes()];
        let [first, second] = &mut loops;
        assert!(Arc::ptr_eq(&settling(first), &settling(second)));
    }

    #[test]
    fn any_path_is_one_of_text() {
        let router = Router::new()
            .mount(Mount::new(&ECHO, Silent))
            .mount(Mount::any(Silent));
        let (pool, clock) = (Pool::builder("test").threads(1).build(), Clock::system());
        let (_mailbox, sender) = Mailbox::new(Arc::new(|| ()));
        let (mut routes, _) = router.for_loop(&Post::new(sender), pool.as_ref(), &clock, None);
        let mut is_any = |path: &[u8]| routes.find(path, b"").map(|way| way.is_any);
        assert_eq!(is_any(b"/test.Echo/Echo"), Some(false));
        assert_eq!(is_any(b"/test.Echo/Nope"), Some(true));
        assert_eq!(is_any(b"/test.Echo/\xff"), None);
        assert_eq!(is_any(b"/test.Echo/Echo"), Some(false));
    }

    #[test]
    fn the_shortest_of_all_times_is_a_methods() {
        let ms = Duration::from_millis;
        let of = |service, method: Option<Duration>, server| {
            let mut mount = Mount::new(&ECHO, Silent);
            if let Some(service) = service {
                mount = mount.timeout(service);
            }
            if let Some(method) = method {
                mount = mount.method_timeout("Slow", method);
            }
            let router = Router::new().mount(mount);
            router
                .route(b"/test.Echo/Slow", b"")
                .unwrap()
                .timeout(server)
        };
        assert_eq!(of(None, None, None), None);
        assert_eq!(of(Some(ms(800)), None, None), Some(ms(800)));
        assert_eq!(of(Some(ms(800)), Some(ms(50)), None), Some(ms(50)));
        assert_eq!(of(Some(ms(50)), Some(ms(500)), None), Some(ms(50)));
        assert_eq!(of(Some(ms(800)), Some(ms(500)), Some(ms(60))), Some(ms(60)));
        assert_eq!(of(None, None, Some(ms(60))), Some(ms(60)));
    }

    #[test]
    fn a_choice_for_a_method_that_is_not_there_names_it() {
        let second = Duration::from_secs(1);
        for mount in [
            Mount::new(&ECHO, Silent).method_inline("echo"),
            Mount::new(&ECHO, Silent).method_auto("echo"),
            Mount::new(&ECHO, Silent).method_timeout("echo", second),
        ] {
            let mistake = Router::new().mount(mount).check().unwrap_err().to_string();
            assert!(mistake.contains("`echo`"), "{mistake}");
            assert!(mistake.contains("test.Echo"), "{mistake}");
        }
    }
}
