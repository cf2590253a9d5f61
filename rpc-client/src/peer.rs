//! One endpoint and the connections to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_codec::Limits;
use rpc_codec::connection::RequestIds;
use rpc_core::{Address, Endpoint};
use rpc_net::{CloseReason, Key};

use crate::calls::CallKey;

/// One endpoint and the connections to it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    pub(crate) links: Vec<Key>,
    /// Connections to a server that said it is about to stop.
    pub(crate) leaving: Vec<Key>,
    pub(crate) connecting: usize,
    /// Calls that wait for a connection.
    pub(crate) waiting: Vec<CallKey>,
    pub(crate) ids: RequestIds,
    /// Attempts to connect that failed since the last that did not.
    failures: u32,
    retry_at: Option<Instant>,
    last_error: Option<String>,
    avoid_until: Option<Instant>,
}

impl Peer {
    /// An endpoint whose requests are numbered from `first_id` on.
    pub(crate) fn new(endpoint: Endpoint, first_id: u32) -> Self {
        Self {
            endpoint,
            links: Vec::new(),
            leaving: Vec::new(),
            connecting: 0,
            waiting: Vec::new(),
            ids: RequestIds::starting_at(first_id),
            failures: 0,
            retry_at: None,
            last_error: None,
            avoid_until: None,
        }
    }

    /// What holds on a connection to it, of what holds on all.
    pub(crate) fn limits(&self, limits: &Arc<Limits>) -> Arc<Limits> {
        match self.endpoint.address {
            Address::Udp(_) => Arc::new(limits.for_datagrams()),
            _ => Arc::clone(limits),
        }
    }

    /// Notes a connection that was made.
    pub(crate) fn connected(&mut self, link: Key) {
        self.connecting = self.connecting.saturating_sub(1);
        self.failures = 0;
        self.retry_at = None;
        self.links.push(link);
    }

    /// Notes an attempt to connect that failed. `delay` says how long to wait after that many failures.
    pub(crate) fn connecting_failed(
        &mut self,
        error: String,
        now: Instant,
        delay: impl FnOnce(u32) -> Duration,
    ) {
        self.connecting = self.connecting.saturating_sub(1);
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error);
        self.retry_at = Some(now + delay(self.failures));
    }

    /// Forgets a connection that has ended.
    pub(crate) fn disconnected(&mut self, link: Key) {
        self.links.retain(|other| *other != link);
        self.leaving.retain(|other| *other != link);
    }

    /// Sends no new calls over `link`, and none at all before `until` while there are other endpoints.
    pub(crate) fn retire(&mut self, link: Key, until: Instant) {
        if let Some(place) = self.links.iter().position(|other| *other == link) {
            self.links.swap_remove(place);
            self.leaving.push(link);
            self.avoid_until = Some(until);
        }
    }

    /// The connection with the fewest calls, and how many those are; `in_flight` says so, or `None` for one that is ending.
    /// One whose server is about to stop is the last resort.
    pub(crate) fn lightest(
        &self,
        mut in_flight: impl FnMut(Key) -> Option<usize>,
    ) -> Option<(Key, usize)> {
        let mut among = |links: &[Key]| {
            let open = links
                .iter()
                .filter_map(|link| Some((*link, in_flight(*link)?)));
            open.min_by_key(|(_, calls)| *calls)
        };
        among(&self.links).or_else(|| among(&self.leaving))
    }

    /// Connections that take new calls, and those under way.
    pub(crate) fn connections(&self) -> usize {
        self.links.len() + self.connecting
    }

    /// Whether a call may be placed here now.
    pub(crate) fn is_usable(&self, may_be_leaving: bool, now: Instant) -> bool {
        let is_leaving = self.avoid_until.is_some_and(|until| now < until);
        let rests = self.retry_at.is_some_and(|at| now < at);
        let is_there = self.connections() > 0 || !self.leaving.is_empty();
        (may_be_leaving || !is_leaving) && (is_there || !rests)
    }

    /// What keeps calls from being placed here, for people.
    pub(crate) fn trouble(&self, now: Instant) -> String {
        let address = &self.endpoint.address;
        let why = self.last_error.as_deref().unwrap_or("not tried");
        match self.retry_at.map(|at| at.saturating_duration_since(now)) {
            Some(wait) => format!("{address}: {why}, next attempt in {} ms", wait.as_millis()),
            None => format!("{address}: {why}"),
        }
    }
}

/// Why a connection ended, for people. A server that speaks something else may say nothing at all before it goes.
pub(crate) fn why_ended(reason: CloseReason, has_heard: bool) -> String {
    if reason == CloseReason::Peer && !has_heard {
        format!("{reason} without a word: it may speak TLS, or something else, on this port")
    } else {
        reason.to_string()
    }
}
