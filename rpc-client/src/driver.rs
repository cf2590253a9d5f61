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

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rpc_codec::connection::{Answer, ClientConnection, Connection, RequestId, RequestIds};
use rpc_core::message::Exchange;
use rpc_core::{Bytes, Cause, Code, Deadline, Endpoint, EndpointId, Request, Response, Status};
use rpc_net::timer::TimerKey;
use rpc_net::{CloseReason, Driver, End, IoOf, Key, Origin};
use rpc_policy::Random;
use rpc_policy::balance::{Balancer, Hint, Outcome};
use slab::Slab;

use crate::Config;
use crate::pending::Slot;

/// What other threads send to a [`ClientDriver`].
#[derive(Debug)]
pub struct Mail(Note);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all mail is calls, and a box would cost each an allocation"
)]
enum Note {
    Call { request: Request, slot: Arc<Slot> },
    Endpoints(Vec<SocketAddr>),
    Close,
}

impl Mail {
    /// The service answers at these addresses, and no others.
    pub fn endpoints(addresses: Vec<SocketAddr>) -> Self {
        Self(Note::Endpoints(addresses))
    }

    /// Nobody makes calls any more.
    pub fn close() -> Self {
        Self(Note::Close)
    }

    pub(crate) fn call(request: Request, slot: Arc<Slot>) -> Self {
        Self(Note::Call { request, slot })
    }
}

/// What the timers of a [`ClientDriver`] carry.
#[derive(Debug)]
pub struct Due(Alarm);

#[derive(Debug)]
enum Alarm {
    Call(CallKey),
    Connect(u64),
}

/// Names one call that is under way on a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CallKey {
    index: u32,
    /// Keeps what is late from ending a later call.
    number: u32,
}

impl CallKey {
    fn to_token(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.index)
    }

    fn from_token(token: u64) -> Self {
        Self {
            index: low_half(token),
            number: low_half(token >> 32),
        }
    }
}

fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("masked")
}

/// The asking end of one event loop. It owns no socket, so the simulation runs it as well.
pub struct ClientDriver {
    config: Arc<Config>,
    limits: Arc<rpc_codec::Limits>,
    balancer: Box<dyn Balancer>,
    random: Random,
    peers: HashMap<EndpointId, Peer>,
    next_endpoint: u32,
    /// By [`Key::index`].
    links: Vec<Option<EndpointId>>,
    calls: Slab<ActiveCall>,
    next_number: u32,
    attempts: HashMap<u64, Attempt>,
    next_ticket: u64,
    is_closed: bool,
}

/// One endpoint and the connections to it.
struct Peer {
    endpoint: Endpoint,
    links: Vec<Key>,
    /// Connections to a server that said it is about to stop.
    leaving: Vec<Key>,
    connecting: usize,
    /// Calls that wait for a connection.
    waiting: Vec<CallKey>,
    ids: RequestIds,
    /// Attempts to connect that failed since the last that did not.
    failures: u32,
    retry_at: Option<Instant>,
    last_error: Option<io::ErrorKind>,
    avoid_until: Option<Instant>,
}

/// An attempt to connect.
struct Attempt {
    endpoint: EndpointId,
    timer: TimerKey,
}

struct ActiveCall {
    number: u32,
    request: Request,
    slot: Arc<Slot>,
    timer: Option<TimerKey>,
    /// Where it waits or was sent.
    endpoint: Option<EndpointId>,
    sent: Option<(Key, RequestId)>,
    placed_at: Instant,
    /// How often it was placed elsewhere.
    moves: usize,
}

/// A further connection is made when those that are there have this many calls each.
const BUSY: usize = 128;
/// How often a call that was certainly not run is placed elsewhere, beyond once for each endpoint.
const MOVES_MAX: usize = 3;

impl ClientDriver {
    pub(crate) fn new(config: Arc<Config>, balancer: Box<dyn Balancer>, random: Random) -> Self {
        Self {
            limits: Arc::new(config.limits.clone()),
            config,
            balancer,
            random,
            peers: HashMap::new(),
            next_endpoint: 0,
            links: Vec::new(),
            calls: Slab::new(),
            next_number: 0,
            attempts: HashMap::new(),
            next_ticket: 0,
            is_closed: false,
        }
    }

    /// How many calls are under way.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    fn begin(&mut self, request: Request, slot: Arc<Slot>, io: &mut IoOf<Self>) {
        self.next_number = self.next_number.wrapping_add(1);
        let deadline = request.context().deadline();
        let call = ActiveCall {
            number: self.next_number,
            request,
            slot,
            timer: None,
            endpoint: None,
            sent: None,
            placed_at: io.now(),
            moves: 0,
        };
        let index = u32::try_from(self.calls.insert(call)).expect("memory ends first");
        let key = CallKey {
            index,
            number: self.next_number,
        };
        if let Some(deadline) = deadline {
            let timer = io.set_timer(deadline.at(), Due(Alarm::Call(key)));
            if let Some(call) = self.calls.get_mut(index as usize) {
                call.timer = Some(timer);
            }
        }
        self.place(key, Hint::default(), io);
    }

    /// Finds an endpoint for a call, and sends it there or lets it wait for a connection.
    fn place(&mut self, key: CallKey, hint: Hint, io: &mut IoOf<Self>) {
        let now = io.now();
        let mut hint = hint;
        // First those that stay; then, if there are no others, those that are about to stop.
        for may_be_leaving in [false, true] {
            for _ in 0..self.peers.len() {
                let Some(id) = self.balancer.pick(&hint, now) else {
                    break;
                };
                let usable = self
                    .peers
                    .get(&id)
                    .is_some_and(|peer| peer.is_usable(may_be_leaving, now));
                if usable {
                    return self.place_at(key, id, io);
                }
                self.balancer.report(id, &Outcome::Abandoned, now);
                hint = Hint::avoiding(id);
            }
        }
        self.complete(key, Err(self.unreachable(now)), io);
    }

    fn place_at(&mut self, key: CallKey, id: EndpointId, io: &mut IoOf<Self>) {
        let Some(call) = self.call_mut(key) else {
            return;
        };
        call.endpoint = Some(id);
        call.placed_at = io.now();
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let lightest = peer.links.iter().chain(&peer.leaving).copied();
        let in_flight =
            |key: Key, io: &mut IoOf<Self>| io.machine(key).map_or(usize::MAX, |m| m.in_flight());
        let lightest =
            lightest.min_by_key(|link| (peer.leaving.contains(link), in_flight(*link, io)));
        let load = lightest.map_or(usize::MAX, |link| in_flight(link, io));
        let connections = peer.links.len() + peer.connecting;
        if load >= BUSY && connections < self.config.connections_per_endpoint {
            self.connect(id, io);
        }
        match lightest {
            Some(link) => self.send(key, link, io),
            None => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.waiting.push(key);
                }
            }
        }
    }

    fn send(&mut self, key: CallKey, link: Key, io: &mut IoOf<Self>) {
        let now = io.now();
        let Some(call) = self.calls.get_mut(key.index as usize) else {
            return;
        };
        let Some(peer) = call.endpoint.and_then(|id| self.peers.get_mut(&id)) else {
            return;
        };
        if let Some(status) = full(link, &call.request, &self.limits, io) {
            return self.complete(key, Err(status), io);
        }
        let Some((machine, output)) = io.write(link) else {
            return;
        };
        match machine.start(key.to_token(), &call.request, &mut peer.ids, output, now) {
            Ok(id) => call.sent = Some((link, id)),
            Err(status) => return self.complete(key, Err(status), io),
        }
        if call.request.exchange() == Exchange::OneWay {
            self.complete(key, Ok(Response::new(Bytes::new())), io);
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
        io.connect(ticket, peer.endpoint.address);
    }

    fn connecting_failed(&mut self, ticket: u64, kind: io::ErrorKind, io: &mut IoOf<Self>) {
        let Some(attempt) = self.attempts.remove(&ticket) else {
            return;
        };
        io.cancel_timer(attempt.timer);
        self.balancer
            .report(attempt.endpoint, &Outcome::Unreachable, io.now());
        let Some(peer) = self.peers.get_mut(&attempt.endpoint) else {
            return;
        };
        tracing::debug!(address = %peer.endpoint.address, %kind, "cannot connect");
        peer.connecting = peer.connecting.saturating_sub(1);
        peer.failures = peer.failures.saturating_add(1);
        peer.last_error = Some(kind);
        peer.retry_at = Some(io.now() + self.config.backoff.delay(peer.failures, &self.random));
        if peer.connecting > 0 || !peer.links.is_empty() {
            return;
        }
        // They were not sent, so they may go elsewhere.
        for key in std::mem::take(&mut peer.waiting) {
            self.move_elsewhere(key, io);
        }
    }

    /// Places a call that was certainly not run at another endpoint.
    fn move_elsewhere(&mut self, key: CallKey, io: &mut IoOf<Self>) {
        let moves_max = self.peers.len() + MOVES_MAX;
        let now = io.now();
        let Some(call) = self.call_mut(key) else {
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

    fn complete(&mut self, key: CallKey, result: Result<Response, Status>, io: &mut IoOf<Self>) {
        if self.call_mut(key).is_none() {
            return;
        }
        let call = self.calls.remove(key.index as usize);
        if let Some(timer) = call.timer {
            io.cancel_timer(timer);
        }
        if let Some(id) = call.endpoint {
            let now = io.now();
            let elapsed = now.saturating_duration_since(call.placed_at);
            self.balancer
                .report(id, &Outcome::of(&result, elapsed), now);
        }
        let result = match call.request.context().deadline() {
            Some(deadline) => result.map_err(|status| whose_time(status, deadline)),
            None => result,
        };
        call.slot.complete(result);
    }

    /// Retires a connection whose server said that it is about to stop, or whose endpoint is no longer the service's:
    /// no new calls for it, and an end to it once all that it was asked is answered.
    fn retire(&mut self, link: Key, io: &mut IoOf<Self>) {
        let Some(id) = self.links.get(link.index()).copied().flatten() else {
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
            peer.leaving.retain(|other| *other != link);
        }
    }

    fn set_endpoints(&mut self, addresses: &[SocketAddr], io: &mut IoOf<Self>) {
        let gone: Vec<_> = self
            .peers
            .values()
            .filter(|peer| !addresses.contains(&peer.endpoint.address))
            .map(|peer| peer.endpoint.id)
            .collect();
        for address in addresses {
            if self
                .peers
                .values()
                .all(|peer| peer.endpoint.address != *address)
            {
                let id = EndpointId(self.next_endpoint);
                self.next_endpoint += 1;
                self.peers
                    .insert(id, Peer::new(Endpoint::new(id, *address)));
            }
        }
        for id in gone {
            self.forget_endpoint(id, io);
        }
        let mut endpoints: Vec<_> = self
            .peers
            .values()
            .map(|peer| peer.endpoint.clone())
            .collect();
        endpoints.sort_by_key(|endpoint| endpoint.id);
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
        let mut peers: Vec<_> = self.peers.values().collect();
        peers.sort_by_key(|peer| peer.endpoint.id);
        if peers.is_empty() {
            return Status::new(Code::NoEndpoint, "the service has no endpoint");
        }
        let reasons: Vec<_> = peers.iter().take(4).map(|peer| peer.trouble(now)).collect();
        Status::new(
            Code::Unreachable,
            format!("no endpoint can be reached: {}", reasons.join("; ")),
        )
    }

    fn call_mut(&mut self, key: CallKey) -> Option<&mut ActiveCall> {
        self.calls
            .get_mut(key.index as usize)
            .filter(|call| call.number == key.number)
    }
}

impl Driver for ClientDriver {
    type Machine = ClientConnection;
    type Mail = Mail;
    type Due = Due;

    fn open(
        &mut self,
        origin: Origin,
        _: SocketAddr,
        io: &mut IoOf<Self>,
    ) -> Option<ClientConnection> {
        let Origin::Connected(ticket) = origin else {
            return None;
        };
        let attempt = self.attempts.get(&ticket)?;
        self.peers.get(&attempt.endpoint)?;
        Some(ClientConnection::new(Arc::clone(&self.limits), io.now()))
    }

    fn opened(&mut self, link: Key, origin: Origin, io: &mut IoOf<Self>) {
        let Origin::Connected(ticket) = origin else {
            return;
        };
        let Some(attempt) = self.attempts.remove(&ticket) else {
            return;
        };
        io.cancel_timer(attempt.timer);
        if self.links.len() <= link.index() {
            self.links.resize(link.index() + 1, None);
        }
        if let Some(place) = self.links.get_mut(link.index()) {
            *place = Some(attempt.endpoint);
        }
        let Some(peer) = self.peers.get_mut(&attempt.endpoint) else {
            return;
        };
        peer.connecting = peer.connecting.saturating_sub(1);
        peer.failures = 0;
        peer.retry_at = None;
        peer.links.push(link);
        for key in std::mem::take(&mut peer.waiting) {
            if self.call_mut(key).is_some() {
                self.send(key, link, io);
            }
        }
    }

    fn event(&mut self, link: Key, answer: Answer, io: &mut IoOf<Self>) {
        self.complete(CallKey::from_token(answer.token), answer.result, io);
        self.retire(link, io);
    }

    fn mail(&mut self, mail: Mail, io: &mut IoOf<Self>) {
        match mail.0 {
            Note::Call { request, slot } if !slot.is_abandoned() => self.begin(request, slot, io),
            Note::Call { .. } => {}
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
                let Some(call) = self.call_mut(key) else {
                    return;
                };
                if let Some((link, id)) = call.sent {
                    if let Some(machine) = io.machine(link) {
                        machine.forget(id);
                    }
                    self.retire(link, io);
                }
                self.complete(
                    key,
                    Err(Status::new(Code::DeadlineExceeded, "no answer in time")),
                    io,
                );
            }
            Alarm::Connect(ticket) => {
                io.abandon_connect(ticket);
                self.connecting_failed(ticket, io::ErrorKind::TimedOut, io);
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
        let id = self.links.get_mut(link.index()).and_then(Option::take);
        let mut address = None;
        if let Some(peer) = id.and_then(|id| self.peers.get_mut(&id)) {
            peer.links.retain(|other| *other != link);
            peer.leaving.retain(|other| *other != link);
            address = Some(peer.endpoint.address);
        }
        // A server that left in order has answered all that it has run.
        let is_unrun = machine.is_leaving() && reason == CloseReason::Peer;
        for token in machine.forget_all() {
            let key = CallKey::from_token(token);
            if is_unrun {
                self.move_elsewhere(key, io);
            } else {
                let peer = address.map_or_else(String::new, |address| format!(" to {address}"));
                let text = format!("the connection{peer} ended before the answer came: {reason}");
                self.complete(key, Err(Status::new(Code::ConnectionLost, text)), io);
            }
        }
    }

    fn connect_failed(&mut self, ticket: u64, error: io::Error, io: &mut IoOf<Self>) {
        self.connecting_failed(ticket, error.kind(), io);
    }

    fn accept_failed(&mut self, _: &io::Error, _: &mut IoOf<Self>) {}

    fn end_of_turn(&mut self, io: &mut IoOf<Self>) {
        // Calls that wait are sent by the first connection; where none is under way, one is made.
        let idle: Vec<_> = self
            .peers
            .values()
            .filter(|peer| {
                !peer.waiting.is_empty() && peer.connecting == 0 && peer.links.is_empty()
            })
            .map(|peer| peer.endpoint.id)
            .collect();
        for id in idle {
            self.connect(id, io);
        }
    }

    fn end(&self) -> End {
        if self.is_closed {
            End::WhenEmpty
        } else {
            End::Open
        }
    }
}

impl Peer {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            links: Vec::new(),
            leaving: Vec::new(),
            connecting: 0,
            waiting: Vec::new(),
            ids: RequestIds::starting_at(1),
            failures: 0,
            retry_at: None,
            last_error: None,
            avoid_until: None,
        }
    }

    /// Sends no new calls over `link`, and none at all before `until` while there are other endpoints.
    fn retire(&mut self, link: Key, until: Instant) {
        if let Some(place) = self.links.iter().position(|other| *other == link) {
            self.links.swap_remove(place);
            self.leaving.push(link);
            self.avoid_until = Some(until);
        }
    }

    /// Whether a call may be placed here now.
    fn is_usable(&self, may_be_leaving: bool, now: Instant) -> bool {
        let is_leaving = self.avoid_until.is_some_and(|until| now < until);
        let rests = self.retry_at.is_some_and(|at| now < at);
        let is_there = !self.links.is_empty() || !self.leaving.is_empty() || self.connecting > 0;
        (may_be_leaving || !is_leaving) && (is_there || !rests)
    }

    /// What keeps calls from being placed here, for people.
    fn trouble(&self, now: Instant) -> String {
        let address = self.endpoint.address;
        let why = self
            .last_error
            .map_or_else(|| "not tried".to_owned(), |kind| kind.to_string());
        match self.retry_at.map(|at| at.saturating_duration_since(now)) {
            Some(wait) => format!("{address}: {why}, next attempt in {} ms", wait.as_millis()),
            None => format!("{address}: {why}"),
        }
    }
}

/// Ends a connection on which no answer is awaited. Returns whether it did.
fn finish_if_idle(link: Key, io: &mut IoOf<ClientDriver>) -> bool {
    let is_idle = io
        .machine(link)
        .is_some_and(|machine| machine.in_flight() == 0);
    if is_idle {
        io.finish(link);
    }
    is_idle
}

/// Why a connection takes no further call, if so.
fn full(
    link: Key,
    request: &Request,
    limits: &rpc_codec::Limits,
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

/// Says whose time it was that ran out.
fn whose_time(status: Status, deadline: Deadline) -> Status {
    let is_ours =
        status.code() == Code::DeadlineExceeded && status.origin() == rpc_core::Origin::Local;
    match deadline.cause() {
        Cause::Caller if is_ours => Status::new(
            Code::InheritedDeadlineExceeded,
            "no answer within the time inherited from the caller",
        ),
        _ => status,
    }
}

impl std::fmt::Debug for ClientDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientDriver")
            .field("calls", &self.calls.len())
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}
