//! [`Server::builder`]: what a server serves, and how.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use rpc_codec::{Codecs, Formats, Limits};
use rpc_core::filter::{Open, Then};
use rpc_core::{Address, Clock, Executor, Filter, Mount, Observer, Permits, Service};
use rpc_net::{ListenOptions, Post, Sharing, address};
use rpc_policy::admit::{Admit, Guards};

use crate::doors::Doors;
use crate::driver::{Mail, ServerDriver};
use crate::shared::Shared;
use crate::{Config, Pool, Router, ServeError, Server};

/// Makes a [`Server`]. Reading order is execution order: what admits stands at the door, then the filters, outermost
/// first, then the services.
///
/// Filters come before services; to add one behind a service would not put it before that service, so there is no way
/// to write it:
///
/// ```compile_fail
/// # use rpc_server::Server;
/// # fn example<S: rpc_core::Service + 'static>(service: rpc_core::Mount<S>, filter: impl rpc_core::Filter) {
/// Server::builder().service(service).filter(filter);
/// # }
/// ```
///
/// ```
/// # use rpc_server::Server;
/// # fn example<S: rpc_core::Service + 'static>(service: rpc_core::Mount<S>, filter: impl rpc_core::Filter) {
/// Server::builder().filter(filter).service(service);
/// # }
/// ```
#[must_use = "call `bind`"]
pub struct ServerBuilder<F = Open, Stage = Filters> {
    filters: F,
    config: Config,
    router: Router,
    admit: Guards,
    observer: Option<Box<dyn Observer>>,
    pool: Option<Executor>,
    addresses: Vec<Result<Address, ServeError>>,
    listening: ListenOptions,
    clock: Clock,
    #[cfg(feature = "tls")]
    tls: Option<rpc_net::tls::ServerTls>,
    stage: PhantomData<Stage>,
}

/// The stage of a [`ServerBuilder`] that takes filters.
#[derive(Debug, Clone, Copy)]
pub struct Filters;

/// The stage of a [`ServerBuilder`] that has services.
#[derive(Debug, Clone, Copy)]
pub struct Services;

impl Server {
    /// A server without services.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            filters: Open,
            config: Config::default(),
            router: Router::new(),
            admit: Guards::new(),
            observer: None,
            pool: None,
            addresses: Vec::new(),
            listening: ListenOptions::default(),
            clock: Clock::system(),
            #[cfg(feature = "tls")]
            tls: None,
            stage: PhantomData,
        }
    }
}

impl<F: Filter + Clone> ServerBuilder<F, Filters> {
    /// Puts a filter before all services, inside of the filters that are there.
    pub fn filter<G: Filter>(self, filter: G) -> ServerBuilder<Then<F, Arc<G>>, Filters> {
        let filters = self.filters.clone().then(Arc::new(filter));
        self.into_stage(filters)
    }
}

impl<F: Filter + Clone, Stage> ServerBuilder<F, Stage> {
    /// Serves a service.
    pub fn service<S: Service + 'static>(mut self, mount: Mount<S>) -> ServerBuilder<F, Services> {
        self.router = self.router.mount_behind(self.filters.clone(), mount);
        let filters = self.filters.clone();
        self.into_stage(filters)
    }

    /// Decides at the door, from the head alone, before anything is queued. Those added first decide first.
    pub fn admit(mut self, admit: impl Admit) -> Self {
        self.admit.push(admit);
        self
    }

    /// Tells `observer` what happens. Default: nobody is told.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Runs services that name no pool on `pool`. Default: a pool called `worker` with four threads for each core.
    pub fn pool(mut self, pool: &impl AsRef<Executor>) -> Self {
        self.pool = Some(pool.as_ref().clone());
        self
    }

    /// Replaces all settings.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Names the server as others do, `trpc.app.server.service`: so it calls itself in calls that its handlers make
    /// [within](rpc_core::Call::within) theirs, unless their channel has a name of its own. Default: none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Sends the metadata of each request back in its response, with what the handler adds, as peers in Go, C++ and Java
    /// do. Default: a response has what the handler puts there, and nothing else. What fails carries none either way.
    pub fn response_metadata_echo(mut self) -> Self {
        self.config.response_metadata_echo = true;
        self
    }

    /// Bounds the time of every call that is no stream, counted from its arrival. Default: what the caller gives. Streams are
    /// bounded where they are [mounted](rpc_core::Mount::timeout), and by their callers.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = Some(timeout);
        self
    }

    /// How many event loops serve connections. Default: half the cores, at least 1.
    pub fn reactors(mut self, reactors: usize) -> Self {
        self.config.reactors = reactors;
        self
    }

    /// Lets each event loop look for more without sleeping until nothing has come for `duration`; then it sleeps until
    /// something does. Default: zero, it sleeps whenever there is nothing to do.
    ///
    /// The gain: a request that comes within `duration` of the last one does not wait for a thread and its core to wake up,
    /// which is most of the time of a lone call on an idle machine. The price: a loop that has some traffic keeps a whole
    /// core busy, and takes it from whoever else could use it; a loop that has none sleeps. Some 50 µs are a good beginning,
    /// on machines with cores to spare.
    pub fn busy_poll(mut self, duration: Duration) -> Self {
        self.config.busy_poll = duration;
        self
    }

    /// How many threads the default pool has. Default: four for each core, at least 8.
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = workers;
        self
    }

    /// What a peer may make us do.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// How bodies are packed and unpacked. Default: all that the protocol has numbers for, from 1024 bytes on.
    ///
    /// A response is packed as its request was, if that makes it smaller.
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.config.codecs = codecs;
        self
    }

    /// In which formats messages may be. Default: protobuf, raw bytes, and JSON if it was built in.
    ///
    /// A response is written in the format of its request.
    pub fn formats(mut self, formats: Formats) -> Self {
        self.config.formats = formats;
        self
    }

    /// How long the server takes at most from being told to end until the end. Default: 10 s.
    pub fn drain(mut self, grace: Duration) -> Self {
        self.config.grace = grace;
        self.config.close_wait = self.config.close_wait.min(grace);
        self
    }

    /// How long a server that was told to end goes on accepting. Default: 500 ms.
    pub fn close_wait(mut self, close_wait: Duration) -> Self {
        self.config.close_wait = close_wait;
        self
    }

    /// Uses another clock than the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Speaks TLS on all addresses of this server, and turns away whoever does not. Default: no TLS.
    ///
    /// A connection takes one of the places of the server from its first moment on. Until its handshake is done, for which it
    /// has [`Limits::handshake_timeout`], it counts neither as idle nor as busy.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: rpc_net::tls::ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Lets other servers of this user, which say the same, listen on the same addresses: a successor may be there
    /// before its predecessor has left. Default: an address that is in use is an error. A Unix socket is taken over: from
    /// then on new connections are the successor's. An abstract name cannot be shared.
    pub fn share_addresses(mut self) -> Self {
        self.listening.sharing = Sharing::Shared;
        self
    }

    /// The permissions of the files of Unix sockets: whoever may write to the file may connect. Default: 0o600, this
    /// user alone; 0o660 lets its group in, 0o666 everybody on the machine. Abstract names have none: every process of
    /// the machine, or of the container, may connect to them.
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.listening.unix_mode = mode;
        self
    }

    /// Listens on `address` too: a host and a port of TCP (`0.0.0.0:8000`, `[::]:8000`, where port 0 takes a free one), a
    /// Unix socket (`unix:/run/x.sock`, and `unix:@name` on Linux), or UDP (`udp://0.0.0.0:8000`).
    ///
    /// The file of a Unix socket is removed when the server stops accepting; one that a server left which died is replaced.
    ///
    /// UDP is for calls of at most 65,507 bytes each way, head and all: a longer answer becomes
    /// [`Code::Unencodable`](rpc_core::Code::Unencodable). What is lost stays lost, and who asks may not be who they say. On a
    /// host with several addresses name the one that is asked, for answers may leave by another one otherwise.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "both `\"0.0.0.0:80\"` and a `SocketAddr` read well"
    )]
    pub fn listen(mut self, address: impl ToString) -> Self {
        self.addresses.push(parse(&address.to_string()));
        self
    }

    /// Listens on `address`, and on those given by [`ServerBuilder::listen`]. From here on connections are accepted by
    /// the operating system; they are served once the server runs.
    ///
    /// # Errors
    ///
    /// Names the address, the method or the setting that is wrong, and says what the operating system says.
    pub fn bind(self, address: impl ToString) -> Result<Server, ServeError> {
        let mut builder = self.listen(address);
        let mut doors = Doors::default();
        for address in std::mem::take(&mut builder.addresses) {
            doors.open(&address?, builder.listening, &builder.config.limits)?;
        }
        if builder.router.services() == 0 {
            let missing =
                "the server has no service: add one by `.service(...)` before `.bind(...)`";
            return Err(ServeError::Nothing { missing });
        }
        let (config, clock) = (builder.config.clone(), builder.clock.clone());
        Ok(Server::new(builder.into_shared()?, config, clock, doors))
    }

    /// The answering end without sockets, for simulations: a driver is made for each loop, given how to reach it.
    ///
    /// # Errors
    ///
    /// Names the method or the setting that is wrong.
    pub fn into_driver(self) -> Result<impl Fn(Post<Mail>) -> ServerDriver, ServeError> {
        let shared = self.into_shared()?;
        Ok(move |post| ServerDriver::new(Arc::clone(&shared), post))
    }

    /// The same builder with these filters, in another stage.
    fn into_stage<G, Next>(self, filters: G) -> ServerBuilder<G, Next> {
        ServerBuilder {
            filters,
            config: self.config,
            router: self.router,
            admit: self.admit,
            observer: self.observer,
            pool: self.pool,
            addresses: self.addresses,
            listening: self.listening,
            clock: self.clock,
            #[cfg(feature = "tls")]
            tls: self.tls,
            stage: PhantomData,
        }
    }

    fn into_shared(self) -> Result<Arc<Shared>, ServeError> {
        self.config.check()?;
        self.router.check()?;
        let Config { codecs, limits, .. } = &self.config;
        self.router.bodies().bind(codecs.clone(), limits);
        let workers = self.config.workers;
        let default_pool = self.pool.unwrap_or_else(|| {
            Pool::builder("worker")
                .threads(workers)
                .build()
                .as_ref()
                .clone()
        });
        let connections_max = self.config.connections();
        let bytes_max = self.config.limits.decompressed_bytes_max;
        let formats = self.config.formats.bounded(bytes_max);
        Ok(Arc::new(Shared {
            router: self.router,
            name: self.config.name,
            echoes_metadata: self.config.response_metadata_echo,
            admit: self.admit,
            observer: self.observer,
            formats: Arc::new(formats),
            datagram_limits: Arc::new(self.config.limits.for_datagrams()),
            limits: Arc::new(self.config.limits),
            timeout: self.config.timeout,
            default_pool,
            clock: self.clock,
            #[cfg(feature = "tls")]
            tls: self.tls,
            connections: AtomicUsize::new(0),
            connections_max,
            calls: Permits::new(self.config.calls_max),
            bytes: AtomicUsize::new(0),
            bytes_max: self.config.bytes_max,
            is_leaving: AtomicBool::new(false),
            cut: AtomicUsize::new(0),
        }))
    }
}

/// Serves what `router` has mounted, with the default settings.
impl From<Router> for ServerBuilder<Open, Services> {
    fn from(router: Router) -> Self {
        let mut builder = Server::builder();
        builder.router = router;
        builder.into_stage(Open)
    }
}

impl<F, Stage> std::fmt::Debug for ServerBuilder<F, Stage> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("config", &self.config)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

fn parse(given: &str) -> Result<Address, ServeError> {
    address::look_up(given).map_err(|source| ServeError::Address {
        given: given.to_owned(),
        source,
    })
}
