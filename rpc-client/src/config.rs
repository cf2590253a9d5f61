//! The settings of a channel, with their defaults.

use std::time::Duration;

use rpc_codec::{Codecs, Formats, Limits};
use rpc_core::Forwarding;
use rpc_policy::Backoff;

/// The settings of a channel.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What a peer may make us do, and how much may wait for it.
    pub limits: Limits,
    /// How bodies are packed and unpacked. Default: all that the protocol has numbers for.
    pub codecs: Codecs,
    /// In which formats messages may be. Default: protobuf, raw bytes, and JSON if it was built in.
    pub formats: Formats,
    /// How long a call may take that does not say so itself. Default: 1 s. `None` is for ever, and has to be asked for.
    pub timeout: Option<Duration>,
    /// Connections to one endpoint; all calls share them. A further one is made only when those that are there are
    /// busy. Default: 2.
    pub connections_per_endpoint: usize,
    /// How long to wait before connecting again to an endpoint that could not be reached. Default: 100 ms growing by
    /// 1.6 up to 10 s, with full jitter.
    pub backoff: Backoff,
    /// How long the event loop of the channel looks for answers and calls without sleeping when it has nothing to do.
    /// Default: zero, it sleeps at once. See [`ChannelBuilder::busy_poll`](crate::ChannelBuilder::busy_poll).
    pub busy_poll: Duration,
    /// How the process calls itself to servers, `trpc.app.server.service`. Default: empty, which stands for the name of
    /// the server that a call is made within, and for `trpc.client.{program}.service` where that has none.
    pub caller: String,
    /// What calls take along of the metadata of those that they are made within. Default: everything of the application's,
    /// and of the framework's what describes the whole chain of calls.
    pub forwarding: Forwarding,
    /// The id of the first request to each endpoint. Ids begin anew after 2^32 of them, which a test may not want to wait
    /// for. Default: 1.
    pub first_request_id: u32,
    /// How long a server that said it is about to stop gets no new calls while another one is there. Default: 2 s.
    pub leaving_time: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::client(),
            codecs: Codecs::default(),
            formats: Formats::default(),
            timeout: Some(Duration::from_secs(1)),
            connections_per_endpoint: 2,
            backoff: Backoff::default(),
            busy_poll: Duration::ZERO,
            caller: String::new(),
            forwarding: Forwarding::new(),
            first_request_id: 1,
            leaving_time: Duration::from_secs(2),
        }
    }
}
