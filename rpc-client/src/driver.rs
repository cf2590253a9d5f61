//! The asking end of one event loop: picks endpoints, keeps connections, and completes every call in time.
//!
//! The life of a call:
//!
//! ```text
//!               endpoint picked            connected, frame queued          answer
//!   Call ──▶ placed ─────────▶ waits for ──────────────────────▶ sent ─────────────▶ completed
//!              ▲               a connection                       │    deadline ───▶ completed (101, 102)
//!              │                    │ connecting failed           │    connection lost ─▶ completed (141)
//!              └────────────────────┴─────────────────────────────┘
//!                 certainly not run: is placed elsewhere            (a server that left in order)
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use rpc_codec::Limits;
use rpc_codec::connection::{Answer, ClientConnection, Connection};
use rpc_core::message::Exchange;
use rpc_core::{Address, Code, Deadline, Endpoint, EndpointId, Request, Response, Status};
use rpc_net::timer::TimerKey;
use rpc_net::{ByLink, CloseReason, Driver, End, IoOf, Key, Origin, Post};
use rpc_policy::Random;
use rpc_policy::balance::{Balancer, Hint, Outcome};

use crate::Config;
use crate::calls::{ActiveCall, CallKey, Calls, Sent};
use crate::in_time::in_time;
use crate::peer::{Peer, why_ended};
use crate::pending::Duty;
use crate::streams::outcome_of_stream;

/// What other threads send to a [`ClientDriver`].
#[derive(Debug)]
pub struct Mail(Note);

#[derive(Debug)]
enum Note {
    Call {
        duty: Duty,
        deadline: Option<Deadline>,
    },
    Stream(CallKey),
    Endpoints(Vec<Address>),
    Nothing,
    Close,
}

impl Mail {
    /// The service answers at these addresses, and no others.
    pub fn endpoints(addresses: impl IntoIterator<Item: Into<Address>>) -> Self {
        Self(Note::Endpoints(
            addresses.into_iter().map(Into::into).collect(),
        ))
    }

    /// Nobody makes calls any more.
    pub fn close() -> Self {
        Self(Note::Close)
    }

    /// Wakes the loop, which is all that is wanted.
    pub(crate) fn nothing() -> Self {
        Self(Note::Nothing)
    }

    /// A caller has done something with its stream.
    pub(crate) fn stream(call: CallKey) -> Self {
        Self(Note::Stream(call))
    }

    pub(crate) fn call(duty: Duty, deadline: Option<Deadline>) -> Self {
        Self(Note::Call { duty, deadline })
    }
}

/// What the timers of a [`ClientDriver`] carry.
#[derive(Debug)]
pub struct Due(Alarm);

#[derive(Debug)]
enum Alarm {
    Call(CallKey),
    /// Look which calls still have no answer.
    Look,
    Connect(u64),
}

/// The asking end of one event loop. It owns no socket, so the simulation runs it as well.
pub struct ClientDriver {
    pub(crate) config: Arc<Config>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) post: Post<Mail>,
    balancer: Box<dyn Balancer>,
    random: Random,
    /// In order, so that the same calls always take the same ways.
    pub(crate) peers: BTreeMap<EndpointId, Peer>,
    next_endpoint: u32,
    links: ByLink<EndpointId>,
    pub(crate) calls: Calls,
    attempts: BTreeMap<u64, Attempt>,
    next_ticket: u64,
    /// When calls that have no timer yet are looked at, if there may be some.
    next_look: Option<Instant>,
    /// Callers whose results are there.
    woken: Vec<Waker>,
    is_closed: bool,
}

/// An attempt to connect.
struct Attempt {
    endpoint: EndpointId,
    timer: TimerKey,
}

/// A further connection is made when those that are there have this many calls each.
const BUSY: usize = 128;
/// How long a call lasts before it is given a timer of its own, unless its time is shorter than that.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// How often a call that was certainly not run is placed elsewhere, beyond once for each endpoint.
const MOVES_MAX: usize = 3;

impl ClientDriver {
    pub(crate) fn new(
        config: Arc<Config>,
        balancer: Box<dyn Balancer>,
        random: Random,
        post: Post<Mail>,
    ) -> Self {
        Self {
            limits: Arc::new(config.limits.clone()),
            config,
            post,
            balancer,
            random,
            peers: BTreeMap::new(),
            next_endpoint: 0,
            links: ByLink::default(),
            calls: Calls::default(),
            attempts: BTreeMap::new(),
            next_ticket: 0,
            next_look: None,
            woken: Vec::new(),
            is_closed: false,
        }
    }

    /// How many calls are under way.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    fn begin(&mut self, duty: Duty, deadline: Option<Deadline>, io: &mut IoOf<Self>) {
        let call = ActiveCall::new(duty, deadline, io.now());
        let key = self.calls.insert(call);
        if let Some(deadline) = deadline {
            self.watch(key, deadline.at(), io);
        }
        self.place(key, Hint::default(), io);
    }

    /// Sees to it that a call ends in time. Most are answered long before, so they are given a timer only if they have
    /// lasted a while: until then all share one (`benches/benches/client.rs`, 8x64).
    fn watch(&mut self, key: CallKey, at: Instant, io: &mut IoOf<Self>) {
        let next_look = *self.next_look.get_or_insert_with(|| {
            let next_look = io.now() + LOOK_AFTER;
            io.set_timer(next_look, Due(Alarm::Look));
            next_look
        });
        if at <= next_look
            && let Some(call) = self.calls.get_mut(key)
        {
            call.timer = Some(io.set_timer(at, Due(Alarm::Call(key))));
        }
    }

    /// Gives all calls that have lasted until now a timer of their own, so nothing is looked at again before there are new
    /// ones.
    fn look(&mut self, io: &mut IoOf<Self>) {
        self.next_look = None;
        for (key, call) in self.calls.iter_mut() {
            if let (Some(deadline), None) = (call.deadline, call.timer) {
                call.timer = Some(io.set_timer(deadline.at(), Due(Alarm::Call(key))));
            }
        }
    }

    /// Finds an endpoint for a call, and sends it there or lets it wait for a connection.
    fn place(&mut self, key: CallKey, hint: Hint, io: &mut IoOf<Self>) {
        let now = io.now();
        // First those that stay; then, if there are no others, those that are about to stop.
        let stays = self.pick(hint, false, now);
        match stays.or_else(|| self.pick(hint, true, now)) {
            Some(id) => self.place_at(key, id, io),
            None => self.complete(key, Err(self.unreachable(now)), io),
        }
    }

    /// An endpoint that can be used now. The balancer knows nothing of those that rest or are about to stop, so its picks
    /// may be used up before one fits; then it is the first that does.
    fn pick(&mut self, mut hint: Hint, may_be_leaving: bool, now: Instant) -> Option<EndpointId> {
        for _ in 0..self.peers.len() {
            let id = self.balancer.pick(&hint, now)?;
            if self
                .peers
                .get(&id)
                .is_some_and(|peer| peer.is_usable(may_be_leaving, now))
            {
                return Some(id);
            }
            self.balancer.report(id, &Outcome::Abandoned, now);
            hint = Hint::avoiding(id);
        }
        let usable =
            |(id, peer): (&EndpointId, &Peer)| peer.is_usable(may_be_leaving, now).then_some(*id);
        self.peers.iter().find_map(usable)
    }

    fn place_at(&mut self, key: CallKey, id: EndpointId, io: &mut IoOf<Self>) {
        let (Some(call), Some(peer)) = (self.calls.get_mut(key), self.peers.get_mut(&id)) else {
            return;
        };
        call.endpoint = Some(id);
        call.placed_at = io.now();
        let lightest = peer.lightest(|link| {
            let is_open = io.is_open(link);
            io.machine(link)
                .filter(|_| is_open)
                .map(|machine| machine.in_flight() + machine.streams())
        });
        let wants_another = match lightest {
            Some((_, calls)) => {
                calls >= BUSY && peer.connections() < self.config.connections_per_endpoint
            }
            // One that is ending takes no calls, and does not keep another one from being made.
            None => peer.connecting == 0,
        };
        if lightest.is_none() {
            peer.waiting.push(key);
        }
        if wants_another {
            self.connect(id, io);
        }
        if let Some((link, _)) = lightest {
            self.send(key, link, io);
        }
    }

    fn send(&mut self, key: CallKey, link: Key, io: &mut IoOf<Self>) {
        let now = io.now();
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        let Some(peer) = call.endpoint.and_then(|id| self.peers.get_mut(&id)) else {
            return;
        };
        let state = call.duty.state();
        let request = state.request();
        let exchange = request.exchange();
        if exchange == Exchange::Stream {
            drop(state);
            return self.open_stream(key, link, io);
        }
        let started = if let Some(status) = full(link, request, &self.limits, io) {
            Err(status)
        } else if let Some((machine, output)) = io.write(link) {
            machine.start(key.to_token(), request, &mut peer.ids, output, now)
        } else {
            return;
        };
        drop(state);
        match started {
            Ok(id) => call.sent = Some(Sent::Call(link, id)),
            Err(status) => return self.complete(key, Err(status), io),
        }
        if exchange == Exchange::OneWay {
            self.complete(key, Ok(Response::empty()), io);
        }
    }

    fn connect(&mut self, id: EndpointId, io: &mut IoOf<Self>) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.connecting += 1;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let timer = io.set_timer(
            io.now() + self.limits.connect_timeout,
            Due(Alarm::Connect(ticket)),
        );
        self.attempts.insert(
            ticket,
            Attempt {
                endpoint: id,
                timer,
            },
        );
        io.connect(ticket, peer.endpoint.address.clone());
    }

    fn connecting_failed(&mut self, ticket: u64, error: &io::Error, io: &mut IoOf<Self>) {
        let Some(attempt) = self.attempts.remove(&ticket) else {
            return;
        };
        io.cancel_timer(attempt.timer);
        self.balancer
            .report(attempt.endpoint, &Outcome::Unreachable, io.now());
        let Some(peer) = self.peers.get_mut(&attempt.endpoint) else {
            return;
        };
        // What TLS has to say is told in full; of the system's errors the kind is enough.
        let inner = error.get_ref().map(ToString::to_string);
        let why = inner.unwrap_or_else(|| error.kind().to_string());
        tracing::debug!(address = %peer.endpoint.address, why, "cannot connect");
        let (backoff, random) = (&self.config.backoff, &self.random);
        peer.connecting_failed(why, io.now(), |failures| backoff.delay(failures, random));
        if peer.connecting > 0 {
            return;
        }
        // They were not sent, so they may go elsewhere.
        for key in std::mem::take(&mut peer.waiting) {
            self.move_elsewhere(key, io);
        }
    }

    /// Places a call that was certainly not run at another endpoint.
    fn move_elsewhere(&mut self, key: CallKey, io: &mut IoOf<Self>) {
        let now = io.now();
        let moves_max = self.peers.len() + MOVES_MAX;
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        let from = call.endpoint.take();
        call.sent = None;
        call.moves += 1;
        let gives_up = call.moves > moves_max;
        if let Some(id) = from {
            self.balancer.report(id, &Outcome::Abandoned, now);
        }
        if gives_up {
            return self.complete(key, Err(self.unreachable(now)), io);
        }
        self.place(key, from.map_or(Hint::default(), Hint::avoiding), io);
    }

    pub(crate) fn complete(
        &mut self,
        key: CallKey,
        result: Result<Response, Status>,
        io: &mut IoOf<Self>,
    ) {
        let Some(call) = self.calls.take(key) else {
            return;
        };
        if let Some(timer) = call.timer {
            io.cancel_timer(timer);
        }
        let now = io.now();
        let result = match call.deadline {
            Some(deadline) => in_time(result, deadline, now),
            None => result,
        };
        if let Some(id) = call.endpoint {
            let elapsed = now.saturating_duration_since(call.placed_at);
            let outcome = match call.sent {
                Some(Sent::Stream(..)) => outcome_of_stream(&result, elapsed),
                _ => Outcome::of(&result, elapsed),
            };
            self.balancer.report(id, &outcome, now);
        }
        self.woken.extend(call.duty.complete(result));
    }

    /// Wakes those whose results are there. It is done for all answers of a turn together: a caller who shares a core with
    /// the loop would otherwise take it away after the first, and come back for each of the others
    /// (`benches/benches/client.rs`, 64x1, system calls for each call).
    fn wake_callers(&mut self) {
        // One who waits for several calls at once is woken once.
        self.woken.dedup_by(|one, other| one.will_wake(other));
        for waker in self.woken.drain(..) {
            waker.wake();
        }
    }

    /// Retires a connection whose server said that it is about to stop, or whose endpoint is no longer the service's:
    /// no new calls for it, and an end to it once all that it was asked is answered.
    pub(crate) fn retire(&mut self, link: Key, io: &mut IoOf<Self>) {
        let Some(id) = self.links.get(link).copied() else {
            return;
        };
        let is_leaving = io.machine(link).is_some_and(|machine| machine.is_leaving());
        match self.peers.get_mut(&id) {
            Some(_) if !is_leaving => return,
            Some(peer) => peer.retire(link, io.now() + self.config.leaving_time),
            None => {}
        }
        if finish_if_idle(link, io)
            && let Some(peer) = self.peers.get_mut(&id)
        {
            peer.disconnected(link);
        }
    }

    fn set_endpoints(&mut self, addresses: &[Address], io: &mut IoOf<Self>) {
        let known = |peer: &Peer| addresses.contains(&peer.endpoint.address);
        let gone: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| !known(peer))
            .map(|(id, _)| *id)
            .collect();
        for address in addresses {
            if self
                .peers
                .values()
                .all(|peer| peer.endpoint.address != *address)
            {
                let id = EndpointId(self.next_endpoint);
                self.next_endpoint += 1;
                let endpoint = Endpoint::new(id, address.clone());
                let peer = Peer::new(endpoint, self.config.first_request_id);
                self.peers.insert(id, peer);
            }
        }
        for id in gone {
            self.forget_endpoint(id, io);
        }
        let endpoints: Vec<_> = self
            .peers
            .values()
            .map(|peer| peer.endpoint.clone())
            .collect();
        self.balancer.update(&endpoints);
    }

    /// Calls that were sent are waited for; those that wait for a connection go elsewhere.
    fn forget_endpoint(&mut self, id: EndpointId, io: &mut IoOf<Self>) {
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        for link in peer.links.into_iter().chain(peer.leaving) {
            finish_if_idle(link, io);
        }
        for key in peer.waiting {
            self.move_elsewhere(key, io);
        }
    }

    fn unreachable(&self, now: Instant) -> Status {
        if self.peers.is_empty() {
            return Status::new(Code::NoEndpoint, "the service has no endpoint");
        }
        let reasons: Vec<_> = self
            .peers
            .values()
            .take(4)
            .map(|peer| peer.trouble(now))
            .collect();
        Status::new(
            Code::Unreachable,
            format!("no endpoint can be reached: {}", reasons.join("; ")),
        )
    }
}

impl Driver for ClientDriver {
    type Machine = ClientConnection;
    type Mail = Mail;
    type Due = Due;

    fn open(
        &mut self,
        origin: Origin,
        _: Option<SocketAddr>,
        io: &mut IoOf<Self>,
    ) -> Option<ClientConnection> {
        let Origin::Connected(ticket) = origin else {
            return None;
        };
        let attempt = self.attempts.get(&ticket)?;
        let limits = self.peers.get(&attempt.endpoint)?.limits(&self.limits);
        Some(ClientConnection::new(limits, io.now()))
    }

    fn opened(&mut self, link: Key, origin: Origin, io: &mut IoOf<Self>) {
        let Origin::Connected(ticket) = origin else {
            return;
        };
        let Some(attempt) = self.attempts.remove(&ticket) else {
            return;
        };
        io.cancel_timer(attempt.timer);
        self.links.set(link, attempt.endpoint);
        let Some(peer) = self.peers.get_mut(&attempt.endpoint) else {
            return;
        };
        peer.connected(link);
        for key in std::mem::take(&mut peer.waiting) {
            self.send(key, link, io);
        }
        self.wake_callers();
    }

    fn event(&mut self, link: Key, answer: Answer, io: &mut IoOf<Self>) {
        self.complete(CallKey::from_token(answer.token), answer.result, io);
        self.retire(link, io);
    }

    fn news(&mut self, link: Key, answer: Answer, io: &mut IoOf<Self>) {
        self.event(link, answer, io);
        // News may come behind the end of the turn.
        self.wake_callers();
    }

    fn mail(&mut self, mail: Mail, io: &mut IoOf<Self>) {
        match mail.0 {
            Note::Call { duty, .. } if duty.is_abandoned() => {}
            Note::Call { duty, deadline } => self.begin(duty, deadline, io),
            Note::Stream(call) => self.touch(call, io),
            Note::Nothing => {}
            Note::Endpoints(addresses) => self.set_endpoints(&addresses, io),
            Note::Close => {
                self.is_closed = true;
                for key in io.keys() {
                    io.finish(key);
                }
            }
        }
    }

    fn due(&mut self, due: Due, io: &mut IoOf<Self>) {
        match due.0 {
            Alarm::Call(key) => {
                let sent = self.calls.get_mut(key).and_then(|call| call.sent);
                match sent {
                    Some(Sent::Call(link, id)) => {
                        if let Some(machine) = io.machine(link) {
                            machine.forget(id);
                        }
                        self.retire(link, io);
                    }
                    Some(Sent::Stream(link, id)) => self.cancel_stream(key, link, id, io),
                    None => {}
                }
                self.complete(
                    key,
                    Err(Status::new(Code::DeadlineExceeded, "no answer in time")),
                    io,
                );
            }
            Alarm::Look => self.look(io),
            Alarm::Connect(ticket) => {
                io.abandon_connect(ticket);
                self.connecting_failed(ticket, &io::ErrorKind::TimedOut.into(), io);
            }
        }
    }

    fn closed(
        &mut self,
        link: Key,
        mut machine: ClientConnection,
        reason: CloseReason,
        io: &mut IoOf<Self>,
    ) {
        let id = self.links.take(link);
        let mut to = String::new();
        if let Some(peer) = id.and_then(|id| self.peers.get_mut(&id)) {
            peer.disconnected(link);
            to = format!(" to {}", peer.endpoint.address);
        }
        // A server that left in order has answered all that it has run.
        let is_unrun = machine.is_leaving() && reason == CloseReason::Peer;
        let why = why_ended(reason, machine.has_heard());
        let mut orphans: Vec<_> = machine.forget_all().collect();
        orphans.sort_unstable();
        for key in orphans.into_iter().map(CallKey::from_token) {
            let sent = self.calls.get_mut(key).and_then(|call| call.sent);
            // A stream has taken its caller's messages along.
            if is_unrun && !matches!(sent, Some(Sent::Stream(..))) {
                self.move_elsewhere(key, io);
            } else {
                let text = format!("the connection{to} ended before the answer came: {why}");
                self.complete(key, Err(Status::new(Code::ConnectionLost, text)), io);
            }
        }
        self.wake_callers();
    }

    fn connect_failed(&mut self, ticket: u64, error: io::Error, io: &mut IoOf<Self>) {
        self.connecting_failed(ticket, &error, io);
        self.wake_callers();
    }

    fn accept_failed(&mut self, _: &io::Error, _: &mut IoOf<Self>) {}

    fn end_of_turn(&mut self, _: &mut IoOf<Self>) {
        self.wake_callers();
    }

    fn end(&self) -> End {
        if self.is_closed {
            End::WhenEmpty
        } else {
            End::Open
        }
    }
}

/// Ends a connection on which no answer is awaited. Returns whether it did.
fn finish_if_idle(link: Key, io: &mut IoOf<ClientDriver>) -> bool {
    let is_idle = io
        .machine(link)
        .is_some_and(|machine| machine.in_flight() == 0 && machine.streams() == 0);
    if is_idle {
        io.finish(link);
    }
    is_idle
}

/// Why a connection takes no further call, if so.
pub(crate) fn full(
    link: Key,
    request: &Request,
    limits: &Limits,
    io: &mut IoOf<ClientDriver>,
) -> Option<Status> {
    let calls = io.machine(link).map_or(0, |machine| machine.in_flight());
    let queued = io.queued_bytes(link);
    let is_full = calls >= limits.pending_calls_max
        || (queued > 0 && queued.saturating_add(request.body().len()) > limits.pending_bytes_max);
    is_full.then(|| {
        let text = format!(
            "{calls} calls and {queued} bytes wait on the connection already; the call was not sent"
        );
        Status::new(Code::ClientOverloaded, text).not_executed()
    })
}

impl fmt::Debug for ClientDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientDriver")
            .field("calls", &self.calls.len())
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}
