//! The answering end of one event loop: admits requests, has them served, and answers them in time.
//!
//! ```text
//!            Drain                close_wait is over             grace is over
//!   Serving ───────▶ CloseWait ──────────────────────▶ Draining ───────────────▶ Cut ──▶ (the loop ends)
//!                      accepts and answers,              answers; ends connections          answers what is left
//!                      marks its answers                 that have fallen quiet             with an error
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rpc_codec::Limits;
use rpc_codec::connection::{Connection, Inbound, ReplyTo, ServerConnection};
use rpc_core::mount::Dispatch;
use rpc_core::spawn::JobHandle;
use rpc_core::{
    Cause, Clock, Code, Context, Deadline, Event, Executor, Job, MethodDescriptor, Observer,
    Permit, Permits, Request, Scope, Status,
};
use rpc_net::timer::TimerKey;
use rpc_net::{CloseReason, Driver, End, IoOf, Key, Origin, Post};
use rpc_policy::admit::{Admit, Arrival, Guards};
use slab::Slab;

use crate::dispatch::{Inline, Outcome, Slot, Ticket, timed_out};
use crate::router::{Route, Router, no_method};

/// What all loops of a server share.
pub(crate) struct Shared {
    pub(crate) router: Router,
    pub(crate) admit: Guards,
    pub(crate) observer: Option<Box<dyn Observer>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) default_pool: Executor,
    pub(crate) clock: Clock,
    pub(crate) connections: AtomicUsize,
    pub(crate) connections_max: usize,
    pub(crate) calls: Arc<Permits>,
    pub(crate) bytes: AtomicUsize,
    pub(crate) bytes_max: usize,
    /// Calls that were cut off at the end.
    pub(crate) cut: AtomicUsize,
}

impl Shared {
    fn observe(&self, event: &Event<'_>) {
        if let Some(observer) = &self.observer {
            observer.observe(event);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("router", &self.router)
            .finish_non_exhaustive()
    }
}

/// What other threads send to a [`ServerDriver`].
#[derive(Debug)]
pub struct Mail(Note);

#[derive(Debug)]
enum Note {
    Done {
        call: CallKey,
        outcome: Outcome,
    },
    Drain {
        close_wait: Duration,
        grace: Duration,
    },
    Stop,
}

impl Mail {
    /// Leave: go on accepting for `close_wait`, and be done after `grace` at the latest.
    pub fn drain(close_wait: Duration, grace: Duration) -> Self {
        Self(Note::Drain { close_wait, grace })
    }

    /// Leave at once.
    pub fn stop() -> Self {
        Self(Note::Stop)
    }

    pub(crate) fn done(call: CallKey, outcome: Outcome) -> Self {
        Self(Note::Done { call, outcome })
    }
}

/// What the timers of a [`ServerDriver`] carry.
#[derive(Debug)]
pub struct Due(Alarm);

#[derive(Debug)]
enum Alarm {
    Call(CallKey),
    CloseWaitOver,
    Sweep,
    GraceOver,
    End,
}

/// Names one call that is under way on a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallKey {
    index: usize,
    /// Keeps a late result from answering a later call.
    number: u64,
}

/// The answering end of one event loop. It owns no socket, so the simulation runs it as well.
pub struct ServerDriver {
    shared: Arc<Shared>,
    post: Post<Mail>,
    calls: Slab<ActiveCall>,
    next_number: u64,
    /// By [`Key::index`].
    scopes: Vec<Option<Arc<Scope>>>,
    /// By place of the service.
    slots: Vec<Slot>,
    batches: Vec<Batch>,
    phase: Phase,
}

/// A call that waits or runs on a pool.
struct ActiveCall {
    number: u64,
    link: Key,
    reply_to: ReplyTo,
    method: &'static MethodDescriptor,
    arrival: Instant,
    deadline: Option<Deadline>,
    timer: Option<TimerKey>,
    bytes: usize,
    /// Dropping it drops what is left of the job.
    handle: JobHandle,
}

/// Jobs of one turn for one pool.
struct Batch {
    executor: Executor,
    jobs: Vec<Job>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    CloseWait,
    Draining,
    Cut,
    Ended,
}

/// How often a leaving server looks for connections that have fallen quiet.
const SWEEP: Duration = Duration::from_millis(50);
/// How long a connection has to be quiet until a leaving server ends it: a request may be on its way.
const QUIET: Duration = Duration::from_millis(100);
/// How long the last answers have to get out after the grace time.
const LAST_WORDS: Duration = Duration::from_millis(200);

impl ServerDriver {
    pub(crate) fn new(shared: Arc<Shared>, post: Post<Mail>) -> Self {
        let slots = (0..shared.router.services()).map(|_| None).collect();
        Self {
            shared,
            post,
            calls: Slab::new(),
            next_number: 0,
            scopes: Vec::new(),
            slots,
            batches: Vec::new(),
            phase: Phase::Serving,
        }
    }

    /// How many calls wait or run on pools.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether the deadline, the limits and the policies let the request in; else why not.
    fn admit(
        &self,
        inbound: &Inbound,
        method: &'static MethodDescriptor,
        deadline: Option<Deadline>,
        now: Instant,
    ) -> Result<(), Status> {
        let caller = inbound.caller();
        let mut arrival = Arrival::new(method);
        arrival.caller = std::str::from_utf8(&caller).unwrap_or_default();
        arrival.body_bytes = inbound.frame_bytes();
        arrival.calls_in_flight = self.shared.calls.taken();
        arrival.deadline = deadline;
        self.shared.admit.admit(&arrival, now)
    }

    fn deadline(&self, inbound: &Inbound, route: &Route, arrival: Instant) -> Option<Deadline> {
        let service = [self.shared.timeout, route.service_timeout]
            .into_iter()
            .flatten()
            .min();
        let caller = Deadline::timeout_from_millis(inbound.timeout_ms);
        Deadline::earliest(arrival, service, route.method_timeout, caller)
    }

    fn request(
        &self,
        key: Key,
        inbound: &Inbound,
        route: &Route,
        deadline: Option<Deadline>,
    ) -> Option<Request> {
        let scope = self.scopes.get(key.index())?.as_ref()?;
        let mut context = Context::new(Arc::clone(scope));
        context.set_metadata(inbound.metadata());
        context.set_caller(inbound.caller());
        context.set_callee(inbound.callee());
        context.set_marks(inbound.marks);
        if let Some(deadline) = deadline {
            context.narrow(deadline);
        }
        let mut request = Request::new(route.method, context, inbound.body());
        request.set_format(inbound.format);
        request.set_compression(inbound.compression);
        request.set_exchange(inbound.reply_to.exchange());
        request.set_attachment(inbound.attachment());
        Some(request)
    }

    /// Runs a request in place and answers it, unless its handler has to wait.
    fn serve_inline(
        &mut self,
        key: Key,
        inbound: Inbound,
        route: &Route,
        deadline: Option<Deadline>,
        io: &mut IoOf<Self>,
    ) {
        let Some(request) = self.request(key, &inbound, route, deadline) else {
            return;
        };
        let call = self.next_call_key();
        let ticket = || Ticket {
            post: self.post.clone(),
            call,
            executor: self.shared.default_pool.clone(),
            permits: [None, None],
        };
        let mut slot = self.slots.get_mut(route.place).and_then(Option::take);
        let served = Arc::clone(&route.service).inline(request, &mut slot, &ticket);
        if let Some(kept) = self.slots.get_mut(route.place) {
            *kept = slot;
        }
        match served {
            Inline::Done(outcome) => {
                self.answer(
                    key,
                    inbound.reply_to,
                    Some(route.method),
                    io.now(),
                    outcome,
                    io,
                );
            }
            Inline::Waits(job, handle) => {
                let executor = self.shared.default_pool.clone();
                let active = self.active(key, inbound, route.method, deadline, handle, io);
                self.start(call, active, &executor, job, io);
            }
        }
    }

    /// Hands a request to its pool.
    fn serve_on_pool(
        &mut self,
        key: Key,
        mut inbound: Inbound,
        route: &Route,
        executor: &Executor,
        deadline: Option<Deadline>,
        io: &mut IoOf<Self>,
    ) {
        let permits = match self.permits(executor, inbound.frame_bytes()) {
            Ok(permits) => permits,
            Err(status) => {
                return self.answer(
                    key,
                    inbound.reply_to,
                    Some(route.method),
                    io.now(),
                    Err(status),
                    io,
                );
            }
        };
        inbound.detach();
        let Some(request) = self.request(key, &inbound, route, deadline) else {
            return;
        };
        let call = self.next_call_key();
        let ticket = Ticket {
            post: self.post.clone(),
            call,
            executor: executor.clone(),
            permits,
        };
        let (job, handle) = Arc::clone(&route.service).job(request, ticket);
        let active = self.active(key, inbound, route.method, deadline, handle, io);
        self.start(call, active, executor, job, io);
    }

    /// Places for one call of `bytes`, on its pool and in the process.
    fn permits(&self, executor: &Executor, bytes: usize) -> Result<[Option<Permit>; 2], Status> {
        let taken = self.shared.bytes.load(Ordering::Relaxed);
        if taken > 0 && taken.saturating_add(bytes) > self.shared.bytes_max {
            return Err(Status::overloaded(
                "the bytes of calls under way have reached their limit",
            ));
        }
        let own = executor.permit();
        let all = Permits::take(&self.shared.calls);
        match (own, all) {
            (Some(own), Some(all)) => Ok([Some(own), Some(all)]),
            (None, _) => Err(Status::overloaded(format!(
                "pool `{}` is full",
                executor.name()
            ))),
            (_, None) => Err(Status::overloaded(
                "the calls under way have reached their limit",
            )),
        }
    }

    fn active(
        &self,
        link: Key,
        inbound: Inbound,
        method: &'static MethodDescriptor,
        deadline: Option<Deadline>,
        handle: JobHandle,
        io: &IoOf<Self>,
    ) -> ActiveCall {
        let bytes = inbound.frame_bytes();
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        ActiveCall {
            number: self.next_number,
            link,
            reply_to: inbound.reply_to,
            method,
            arrival: io.now(),
            deadline,
            timer: None,
            bytes,
            handle,
        }
    }

    /// Remembers a call and puts its job into the batch of its pool.
    fn start(
        &mut self,
        call: CallKey,
        mut active: ActiveCall,
        executor: &Executor,
        job: Job,
        io: &mut IoOf<Self>,
    ) {
        active.number = call.number;
        active.timer = active
            .deadline
            .map(|deadline| io.set_timer(deadline.at(), Due(Alarm::Call(call))));
        let index = self.calls.insert(active);
        debug_assert_eq!(index, call.index, "the key was made for this place");
        match self
            .batches
            .iter_mut()
            .find(|batch| batch.executor.is(executor))
        {
            Some(batch) => batch.jobs.push(job),
            None => self.batches.push(Batch {
                executor: executor.clone(),
                jobs: vec![job],
            }),
        }
    }

    fn next_call_key(&mut self) -> CallKey {
        self.next_number += 1;
        CallKey {
            index: self.calls.vacant_key(),
            number: self.next_number,
        }
    }

    /// Takes a call out of the books: it is about to be answered, or nobody waits any more.
    fn take(&mut self, call: CallKey, io: &mut IoOf<Self>) -> Option<ActiveCall> {
        self.calls
            .get(call.index)
            .filter(|active| active.number == call.number)?;
        let active = self.calls.remove(call.index);
        self.shared.bytes.fetch_sub(active.bytes, Ordering::Relaxed);
        if let Some(timer) = active.timer {
            io.cancel_timer(timer);
        }
        Some(active)
    }

    /// Ends a call with a status, whatever its handler does.
    fn end(&mut self, call: CallKey, status: Status, io: &mut IoOf<Self>) {
        if let Some(active) = self.take(call, io) {
            drop(active.handle);
            self.answer(
                active.link,
                active.reply_to,
                Some(active.method),
                active.arrival,
                Err(status),
                io,
            );
        }
    }

    fn finish(&mut self, call: CallKey, outcome: Outcome, io: &mut IoOf<Self>) {
        if let Some(active) = self.take(call, io) {
            active.handle.detach();
            self.answer(
                active.link,
                active.reply_to,
                Some(active.method),
                active.arrival,
                outcome,
                io,
            );
        }
    }

    fn answer(
        &self,
        key: Key,
        to: ReplyTo,
        method: Option<&'static MethodDescriptor>,
        arrival: Instant,
        outcome: Outcome,
        io: &mut IoOf<Self>,
    ) {
        let now = io.now();
        let code = outcome.as_ref().err().map(Status::code);
        let leaving = self.phase != Phase::Serving;
        if let Some((machine, output)) = io.write(key) {
            machine.respond(to, outcome, leaving, output, now);
        }
        self.shared.observe(&Event::CallEnded {
            method,
            code,
            elapsed: now.saturating_duration_since(arrival),
        });
    }

    fn begin_draining(&mut self, close_wait: Duration, grace: Duration, io: &mut IoOf<Self>) {
        if self.phase != Phase::Serving {
            return;
        }
        self.shared.observe(&Event::DrainStarted);
        self.phase = Phase::CloseWait;
        io.set_timer(io.now() + close_wait, Due(Alarm::CloseWaitOver));
        io.set_timer(io.now() + grace, Due(Alarm::GraceOver));
    }

    fn stop_accepting(&mut self, io: &mut IoOf<Self>) {
        if self.phase == Phase::CloseWait {
            self.phase = Phase::Draining;
            io.stop_listening();
            self.sweep(io);
        }
    }

    /// Ends connections on which nothing has happened for a while.
    fn sweep(&mut self, io: &mut IoOf<Self>) {
        if self.phase != Phase::Draining {
            return;
        }
        let since = io.now().checked_sub(QUIET).unwrap_or(io.now());
        for key in io.keys() {
            let is_quiet = io
                .machine(key)
                .is_some_and(|machine| machine.is_quiet_since(since));
            if is_quiet && io.queued_bytes(key) == 0 {
                io.finish(key);
            }
        }
        io.set_timer(io.now() + SWEEP, Due(Alarm::Sweep));
    }

    /// The grace time is over: answers what still runs, then ends every connection.
    fn cut(&mut self, io: &mut IoOf<Self>) {
        if matches!(self.phase, Phase::Cut | Phase::Ended) {
            return;
        }
        self.phase = Phase::Cut;
        io.stop_listening();
        let running: Vec<_> = self
            .calls
            .iter()
            .map(|(index, call)| CallKey {
                index,
                number: call.number,
            })
            .collect();
        self.shared.cut.fetch_add(running.len(), Ordering::Relaxed);
        for call in running {
            self.end(
                call,
                Status::new(Code::Internal, "the server is closing"),
                io,
            );
        }
        for key in io.keys() {
            io.finish(key);
        }
        io.set_timer(io.now() + LAST_WORDS, Due(Alarm::End));
    }
}

impl Driver for ServerDriver {
    type Machine = ServerConnection;
    type Mail = Mail;
    type Due = Due;

    fn open(
        &mut self,
        _: Origin,
        peer: SocketAddr,
        io: &mut IoOf<Self>,
    ) -> Option<ServerConnection> {
        if self.shared.connections.fetch_add(1, Ordering::Relaxed) >= self.shared.connections_max {
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
            self.shared.observe(&Event::ConnectionRefused { peer });
            return None;
        }
        self.shared.observe(&Event::ConnectionOpened { peer });
        Some(ServerConnection::new(
            Arc::clone(&self.shared.limits),
            io.now(),
        ))
    }

    fn opened(&mut self, key: Key, _: Origin, io: &mut IoOf<Self>) {
        let scope = Scope::new(
            self.shared.clock.clone(),
            Some(Arc::clone(io.timer())),
            io.peer(key),
        );
        if self.scopes.len() <= key.index() {
            self.scopes.resize_with(key.index() + 1, || None);
        }
        if let Some(place) = self.scopes.get_mut(key.index()) {
            *place = Some(Arc::new(scope));
        }
    }

    fn event(&mut self, key: Key, inbound: Inbound, io: &mut IoOf<Self>) {
        let shared = Arc::clone(&self.shared);
        let Some(route) = shared.router.route(inbound.func()) else {
            let status = no_method(inbound.func());
            return self.answer(key, inbound.reply_to, None, io.now(), Err(status), io);
        };
        let deadline = self.deadline(&inbound, route, io.now());
        if let Err(status) = self.admit(&inbound, route.method, deadline, io.now()) {
            return self.answer(
                key,
                inbound.reply_to,
                Some(route.method),
                io.now(),
                Err(status),
                io,
            );
        }
        match &route.dispatch {
            Dispatch::Inline => self.serve_inline(key, inbound, route, deadline, io),
            Dispatch::On(executor) => {
                self.serve_on_pool(key, inbound, route, executor, deadline, io);
            }
            _ => self.serve_on_pool(key, inbound, route, &shared.default_pool, deadline, io),
        }
    }

    fn mail(&mut self, mail: Mail, io: &mut IoOf<Self>) {
        match mail.0 {
            Note::Done { call, outcome } => self.finish(call, outcome, io),
            Note::Drain { close_wait, grace } => self.begin_draining(close_wait, grace, io),
            Note::Stop => {
                self.cut(io);
                self.phase = Phase::Ended;
            }
        }
    }

    fn due(&mut self, due: Due, io: &mut IoOf<Self>) {
        match due.0 {
            Alarm::Call(call) => {
                let deadline = self
                    .calls
                    .get(call.index)
                    .and_then(|active| active.deadline);
                let status = timed_out(deadline.unwrap_or(Deadline::new(io.now(), Cause::Own)));
                self.end(call, status, io);
            }
            Alarm::CloseWaitOver => self.stop_accepting(io),
            Alarm::Sweep => self.sweep(io),
            Alarm::GraceOver => self.cut(io),
            Alarm::End => self.phase = Phase::Ended,
        }
    }

    fn closed(
        &mut self,
        key: Key,
        machine: ServerConnection,
        reason: CloseReason,
        io: &mut IoOf<Self>,
    ) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        let scope = self.scopes.get_mut(key.index()).and_then(Option::take);
        if let Some(scope) = &scope {
            scope.end();
            if let Some(peer) = scope.peer() {
                log_end(peer, reason);
                self.shared.observe(&Event::ConnectionClosed {
                    peer,
                    reason: &reason.to_string(),
                });
            }
        }
        // Nobody waits for these any more: what is queued is dropped, what runs sees that it is cancelled.
        if machine.in_flight() > 0 {
            let orphans: Vec<_> = self
                .calls
                .iter()
                .filter(|(_, call)| call.link == key)
                .map(|(index, call)| CallKey {
                    index,
                    number: call.number,
                })
                .collect();
            for call in orphans {
                drop(self.take(call, io));
            }
        }
    }

    fn connect_failed(&mut self, _: u64, _: io::Error, _: &mut IoOf<Self>) {}

    fn accept_failed(&mut self, error: &io::Error, _: &mut IoOf<Self>) {
        tracing::warn!(%error, "a connection could not be accepted");
        self.shared
            .observe(&Event::AcceptFailed { kind: error.kind() });
    }

    fn end_of_turn(&mut self, _: &mut IoOf<Self>) {
        for batch in &mut self.batches {
            if !batch.jobs.is_empty() {
                batch.executor.spawner().spawn(&mut batch.jobs);
                batch.jobs.clear();
            }
        }
    }

    fn end(&self) -> End {
        match self.phase {
            Phase::Serving | Phase::CloseWait => End::Open,
            Phase::Draining | Phase::Cut => End::WhenEmpty,
            Phase::Ended => End::Now,
        }
    }
}

fn log_end(peer: SocketAddr, reason: CloseReason) {
    match reason {
        CloseReason::Protocol(rpc_codec::ProtocolError::Idle) => {
            tracing::debug!(%peer, "idle connection closed");
        }
        CloseReason::Protocol(error) => tracing::warn!(%peer, %error, "connection closed"),
        reason => tracing::debug!(%peer, %reason, "connection ended"),
    }
}

impl std::fmt::Debug for ServerDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerDriver")
            .field("calls", &self.calls.len())
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
