//! [`Channel::builder`]: where a service answers, and what stands before it.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rpc_codec::{Codecs, Formats, Limits};
use rpc_core::filter::{Open, Then};
use rpc_core::{Clock, Filter, Forwarding, Resolve, Scope, Timer};
use rpc_net::{Post, Reactor, Seat};
use rpc_policy::Random;
use rpc_policy::balance::{Balancer, HealthyFirst, LeastLoaded};

use crate::caller::Caller;
use crate::channel::{Shared, Transport};
use crate::driver::{ClientDriver, Mail};
use crate::{Channel, ChannelError, Config, Fixed, LocalLoop};

/// Makes a [`Channel`]. Reading order is execution order: filters, outermost first.
#[must_use = "call `build`"]
pub struct ChannelBuilder<F = Open> {
    service: String,
    resolve: Option<Box<dyn Resolve>>,
    balancer: Box<dyn Balancer>,
    filters: F,
    config: Config,
    clock: Clock,
    random: Random,
    #[cfg(feature = "tls")]
    tls: Option<rpc_net::tls::ClientTls>,
}

impl Channel {
    /// A channel to the service of that name at one address, with the default settings.
    ///
    /// # Errors
    ///
    /// Those of [`ChannelBuilder::build`].
    pub fn to(service: impl Into<String>, address: impl ToString) -> Result<Self, ChannelError> {
        Self::builder(service)
            .resolve(Fixed::new([address]))
            .build()
    }

    /// A channel to the service of that name. The name is what servers are told as the callee, and what a registry is
    /// asked for.
    pub fn builder(service: impl Into<String>) -> ChannelBuilder {
        ChannelBuilder {
            service: service.into(),
            resolve: None,
            balancer: Box::new(HealthyFirst::new(LeastLoaded::new(), Random::unseeded())),
            filters: Open,
            config: Config::default(),
            clock: Clock::system(),
            random: Random::unseeded(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl<F: Filter> ChannelBuilder<F> {
    /// Who says where the service answers.
    pub fn resolve(mut self, resolve: impl Resolve) -> Self {
        self.resolve = Some(Box::new(resolve));
        self
    }

    /// Who picks the endpoint of each call. Default: the one with the fewest calls, of those that can be reached.
    pub fn balance(mut self, balancer: impl Balancer) -> Self {
        self.balancer = Box::new(balancer);
        self
    }

    /// Puts a filter before the calls, inside of the filters that are there.
    pub fn filter<G: Filter>(self, filter: G) -> ChannelBuilder<Then<F, G>> {
        ChannelBuilder {
            service: self.service,
            resolve: self.resolve,
            balancer: self.balancer,
            filters: self.filters.then(filter),
            config: self.config,
            clock: self.clock,
            random: self.random,
            #[cfg(feature = "tls")]
            tls: self.tls,
        }
    }

    /// How long a call may take that does not say so itself and is no stream. Default: 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = Some(timeout);
        self
    }

    /// Lets calls that do not say otherwise wait for ever. A server that is stuck then takes its callers with it.
    pub fn without_timeout(mut self) -> Self {
        self.config.timeout = None;
        self
    }

    /// How this process calls itself to servers, `trpc.app.server.service`. Default: by the name of the server that a call
    /// is made [within](rpc_core::Call::within); without one as `trpc.client.{program}.service`.
    pub fn caller(mut self, caller: impl Into<String>) -> Self {
        self.config.caller = caller.into();
        self
    }

    /// What calls take along of the metadata of those that they are made [within](rpc_core::Call::within). Default:
    /// everything of the application's, and of the framework's what describes the whole chain of calls.
    pub fn forwarding(mut self, forwarding: Forwarding) -> Self {
        self.config.forwarding = forwarding;
        self
    }

    /// The id of the first request to each endpoint, for tests of what happens when ids begin anew. Default: 1.
    pub fn first_request_id(mut self, id: u32) -> Self {
        self.config.first_request_id = id;
        self
    }

    /// Connections to one endpoint, which all calls share; at least one. Default: 2.
    pub fn connections_per_endpoint(mut self, connections: usize) -> Self {
        self.config.connections_per_endpoint = connections.max(1);
        self
    }

    /// Lets the event loop of the channel look for answers and calls without sleeping until none has come for `duration`;
    /// then it sleeps until one does. Default: zero, it sleeps whenever there is nothing to do.
    ///
    /// The gain: an answer that comes within `duration` does not wait for a thread and its core to wake up. The price: while
    /// there is some traffic the channel keeps a whole core busy. See the same setting of servers, which pays for itself
    /// earlier, as more calls meet on a loop there.
    pub fn busy_poll(mut self, duration: Duration) -> Self {
        self.config.busy_poll = duration;
        self
    }

    /// Speaks TLS with all endpoints. Default: no TLS. A server that cannot prove who it is, or does not speak TLS, counts as
    /// one that cannot be reached, and its calls are not sent. The handshake belongs to the time to connect
    /// ([`Limits::connect_timeout`]).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: rpc_net::tls::ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What a peer may make us do, and how much may wait for it.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// How bodies are packed and unpacked. Default: all that the protocol has numbers for, from 1024 bytes on. Which of them
    /// a request is packed by is said by each [call](rpc_core::Call::compress); a response is unpacked by what it says.
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.config.codecs = codecs;
        self
    }

    /// In which formats messages may be. Default: protobuf, raw bytes, and JSON if it was built in. In which of them a
    /// request is written is said by each [call](rpc_core::Call::format); a response is read by what it says.
    pub fn formats(mut self, formats: Formats) -> Self {
        self.config.formats = formats;
        self
    }

    /// Replaces all settings.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Draws what is random from `random`, for simulations.
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Starts the event loop of the channel. Connections are made when calls need them.
    ///
    /// # Errors
    ///
    /// When nobody says where the service answers, or the operating system refuses a thread or descriptors.
    pub fn build(self) -> Result<Channel<F>, ChannelError> {
        let (channel, reactor, directory) = self.take_seat()?;
        thread::Builder::new()
            .name("tern-channel".into())
            .spawn(move || reactor.run())
            .map_err(|source| ChannelError::Loop { source })?;
        directory.watch()?;
        Ok(channel)
    }

    /// The channel, and its event loop for this thread to run: the cheapest way to make calls for a program that has one
    /// thread to make them on.
    ///
    /// # Errors
    ///
    /// Those of [`ChannelBuilder::build`].
    pub fn build_local(self) -> Result<(Channel<F>, LocalLoop), ChannelError> {
        let (channel, reactor, directory) = self.take_seat()?;
        let local = LocalLoop::new(reactor, directory.post.clone());
        directory.watch()?;
        Ok((channel, local))
    }

    fn take_seat(mut self) -> Result<(Channel<F>, Reactor<ClientDriver>, Directory), ChannelError> {
        let resolve = self.resolve.take().ok_or(ChannelError::NoAddress)?;
        let service = self.service.clone();
        let failed = |source| ChannelError::Loop { source };
        let seat = Seat::new().map_err(failed)?;
        let post = seat.post().clone();
        let clock = self.clock.clone();
        let busy_poll = self.config.busy_poll;
        #[cfg(feature = "tls")]
        let seat = seat.client_tls(self.tls.clone());
        let (channel, driver) =
            self.build_over(post.clone(), Arc::new(post.clone()), clock.clone());
        let reactor = seat
            .busy_poll(busy_poll)
            .seat(driver, clock, Vec::new(), Vec::new())
            .map_err(failed)?;
        let directory = Directory {
            service,
            resolve,
            post,
        };
        Ok((channel, reactor, directory))
    }

    /// The channel without a loop, for simulations: `post` and `timer` reach the loop that the driver is given to.
    /// Where the service answers is told by [`Mail::endpoints`].
    pub fn build_over(
        self,
        post: Post<Mail>,
        timer: Arc<dyn Timer>,
        clock: Clock,
    ) -> (Channel<F>, ClientDriver) {
        let config = Arc::new(self.config);
        let to_driver = post.clone();
        let channel = Channel::new(Shared {
            filters: self.filters,
            transport: Transport {
                post,
                codecs: config.codecs.clone(),
                formats: config
                    .formats
                    .clone()
                    .bounded(config.limits.decompressed_bytes_max),
                unpacked_max: config.limits.decompressed_bytes_max,
            },
            timeout: config.timeout,
            caller: Caller::new(&config.caller, self.service),
            forwarding: config.forwarding.clone(),
            scope: Arc::new(Scope::new(clock, Some(timer), None)),
        });
        (
            channel,
            ClientDriver::new(config, self.balancer, self.random, to_driver),
        )
    }
}

/// Where the service answers, and who is to be told.
struct Directory {
    service: String,
    resolve: Box<dyn Resolve>,
    post: Post<Mail>,
}

impl Directory {
    fn watch(self) -> Result<(), ChannelError> {
        let Self {
            service,
            resolve,
            post,
        } = self;
        let deliver = move |addresses| {
            // A loop that has ended needs no addresses.
            let _ = post.send(Mail::endpoints(addresses));
        };
        resolve
            .watch(Box::new(deliver))
            .map_err(|source| ChannelError::Resolve { service, source })
    }
}

impl<F> fmt::Debug for ChannelBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder")
            .field("service", &self.service)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
