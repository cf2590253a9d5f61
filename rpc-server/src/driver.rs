//! The answering end of one event loop: admits requests, has them served, and answers them in time.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rpc_codec::ProtocolError;
use rpc_codec::connection::{Connection, Inbound, ReplyTo, ServerConnection};
use rpc_core::mount::Dispatch;
use rpc_core::spawn::JobHandle;
use rpc_core::{
    Cause, Compression, Context, Deadline, Event, Executor, Job, MethodDescriptor, Move, Request,
    Scope, Status,
};
use rpc_net::{ByLink, CloseReason, Driver, End, IoOf, Key, Origin, Post};
use rpc_policy::admit::{Admit, Arrival};

use crate::calls::{ActiveCall, CallKey, Calls};
use crate::dispatch::{Inline, Outcome, Slot, Ticket, answered_at, timed_out};
use crate::drain::Phase;
use crate::place::{Stopwatch, Watch};
use crate::router::{Route, Router, no_method};
use crate::shared::Shared;

/// What other threads send to a [`ServerDriver`].
#[derive(Debug)]
pub struct Mail(Note);

#[derive(Debug)]
enum Note {
    Done {
        call: CallKey,
        outcome: Outcome,
    },
    Moved {
        method: &'static MethodDescriptor,
        how: Move,
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

    /// A worker's run has moved a method.
    pub(crate) fn moved(method: &'static MethodDescriptor, how: Move) -> Self {
        Self(Note::Moved { method, how })
    }
}

/// What the timers of a [`ServerDriver`] carry.
#[derive(Debug)]
pub struct Due(pub(crate) Alarm);

#[derive(Debug)]
pub(crate) enum Alarm {
    Call(CallKey),
    CloseWaitOver,
    Sweep,
    GraceOver,
    End,
}

/// The answering end of one event loop. It owns no socket, so the simulation runs it as well.
pub struct ServerDriver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) calls: Calls,
    pub(crate) phase: Phase,
    pub(crate) stopwatch: Stopwatch,
    post: Post<Mail>,
    router: Arc<Router>,
    scopes: ByLink<Arc<Scope>>,
    /// By place of the service.
    slots: Vec<Slot>,
    batches: Vec<Batch>,
    /// Where small requests stand that go to pools.
    shelf: BytesMut,
}

/// A request that found its method.
struct Arrived<'a> {
    link: Key,
    inbound: Inbound,
    route: &'a Route,
    deadline: Option<Deadline>,
}

/// Jobs of one turn for one pool: they are handed over together, with one wake-up.
struct Batch {
    executor: Executor,
    jobs: Vec<Job>,
}

impl ServerDriver {
    pub(crate) fn new(shared: Arc<Shared>, post: Post<Mail>) -> Self {
        let router = Arc::new(shared.router.for_loop());
        let slots = (0..router.services()).map(|_| None).collect();
        Self {
            router,
            shared,
            calls: Calls::default(),
            phase: Phase::Serving,
            stopwatch: Stopwatch::default(),
            post,
            scopes: ByLink::default(),
            slots,
            batches: Vec::new(),
            shelf: BytesMut::new(),
        }
    }

    /// How many calls wait or run on pools.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Ends a call with a status, whatever its handler does.
    pub(crate) fn end(&mut self, call: CallKey, status: Status, io: &mut IoOf<Self>) {
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

    /// Answers a call with what its handler made of it, unless that comes too late: then the timer answers, and whether a
    /// handler whose own calls ran out of the same time says so a moment before makes no difference to the caller.
    fn finish(&mut self, call: CallKey, outcome: Outcome, io: &mut IoOf<Self>) {
        let deadline = self.calls.get(call).and_then(|active| active.deadline);
        if deadline.is_some_and(|deadline| deadline.is_over(io.now())) {
            return;
        }
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

    /// Asks those at the door.
    fn admit(&self, arrived: &Arrived<'_>, now: Instant) -> Result<(), Status> {
        let mut arrival = Arrival::new(arrived.route.method);
        arrival.caller = std::str::from_utf8(arrived.inbound.caller()).unwrap_or_default();
        arrival.body_bytes = arrived.inbound.frame_bytes();
        arrival.calls_in_flight = self.shared.calls.taken();
        arrival.deadline = arrived.deadline;
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

    fn request(&self, arrived: &mut Arrived<'_>) -> Option<Request> {
        let scope = self.scopes.get(arrived.link)?;
        let inbound = &mut arrived.inbound;
        let mut context = Context::new(Arc::clone(scope));
        context.set_metadata(inbound.metadata());
        context.set_names(inbound.names());
        context.set_marks(inbound.marks);
        if let Some(deadline) = arrived.deadline {
            context.narrow(deadline);
        }
        let attachment = inbound.attachment();
        let mut request = Request::new(arrived.route.method, context, inbound.take_body());
        request.set_format(inbound.format);
        request.set_compression(inbound.compression);
        request.set_exchange(inbound.reply_to.exchange());
        request.set_attachment(attachment);
        Some(request)
    }

    /// Runs a request in place and answers it, unless its handler has to wait.
    fn serve_inline(&mut self, mut arrived: Arrived<'_>, io: &mut IoOf<Self>) {
        let Some(request) = self.request(&mut arrived) else {
            return;
        };
        let route = arrived.route;
        let call = self.calls.next_key();
        let begin = self.begin_run(route);
        let ticket = || Ticket {
            post: self.post.clone(),
            call,
            executor: self.shared.default_pool.clone(),
            permits: self.shared.overdraw(&self.shared.default_pool),
            watch: None,
        };
        let mut slot = self.slots.get_mut(route.place).and_then(Option::take);
        let served = Arc::clone(&route.service).inline(request, &mut slot, &ticket);
        self.end_run(route, begin, &served);
        if let Some(kept) = self.slots.get_mut(route.place) {
            *kept = slot;
        }
        match served {
            Inline::Done(outcome) => {
                let to = arrived.inbound.reply_to;
                self.answer(arrived.link, to, Some(route.method), io.now(), outcome, io);
            }
            Inline::Waits(job, handle) => {
                let executor = self.shared.default_pool.clone();
                self.start(call, arrived, &executor, job, handle, io);
            }
        }
    }

    /// Hands a request to its pool.
    fn serve_on_pool(
        &mut self,
        mut arrived: Arrived<'_>,
        executor: &Executor,
        io: &mut IoOf<Self>,
    ) {
        let permits = match self.shared.permits(executor, arrived.inbound.frame_bytes()) {
            Ok(permits) => permits,
            Err(status) => return self.refuse(arrived, status, io),
        };
        arrived.inbound.detach(&mut self.shelf);
        let Some(request) = self.request(&mut arrived) else {
            return;
        };
        let call = self.calls.next_key();
        let ticket = Ticket {
            post: self.post.clone(),
            call,
            executor: executor.clone(),
            permits,
            watch: Watch::new(
                arrived.route.settling.as_ref(),
                arrived.inbound.compression,
                &self.shared.clock,
            ),
        };
        let (job, handle) = Arc::clone(&arrived.route.service).job(request, ticket);
        self.start(call, arrived, executor, job, handle, io);
    }

    /// Remembers a call and puts its job into the batch of its pool.
    fn start(
        &mut self,
        call: CallKey,
        arrived: Arrived<'_>,
        executor: &Executor,
        job: Job,
        handle: JobHandle,
        io: &mut IoOf<Self>,
    ) {
        let bytes = arrived.inbound.frame_bytes();
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        let timer = arrived
            .deadline
            .map(|deadline| io.set_timer(answered_at(deadline), Due(Alarm::Call(call))));
        let active = ActiveCall {
            link: arrived.link,
            reply_to: arrived.inbound.reply_to,
            method: arrived.route.method,
            arrival: arrived.inbound.arrived_at,
            deadline: arrived.deadline,
            timer,
            bytes,
            handle,
        };
        self.calls.insert(call, active);
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

    /// Takes a call out of the books: it is about to be answered, or nobody waits any more.
    fn take(&mut self, call: CallKey, io: &mut IoOf<Self>) -> Option<ActiveCall> {
        let active = self.calls.take(call)?;
        self.shared.bytes.fetch_sub(active.bytes, Ordering::Relaxed);
        if let Some(timer) = active.timer {
            io.cancel_timer(timer);
        }
        Some(active)
    }

    fn refuse(&self, arrived: Arrived<'_>, status: Status, io: &mut IoOf<Self>) {
        let to = arrived.inbound.reply_to;
        self.answer(
            arrived.link,
            to,
            Some(arrived.route.method),
            io.now(),
            Err(status),
            io,
        );
    }

    fn answer(
        &self,
        link: Key,
        to: ReplyTo,
        method: Option<&'static MethodDescriptor>,
        arrival: Instant,
        outcome: Outcome,
        io: &mut IoOf<Self>,
    ) {
        let now = io.now();
        let code = outcome.as_ref().err().map(Status::code);
        if let Some((machine, output)) = io.write(link) {
            machine.respond(to, outcome, self.phase.is_leaving(), output, now);
        }
        let elapsed = now.saturating_duration_since(arrival);
        self.shared.observe(&Event::CallEnded {
            method,
            code,
            elapsed,
        });
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
        if !self.shared.take_connection() {
            self.shared.observe(&Event::ConnectionRefused { peer });
            return None;
        }
        self.shared.observe(&Event::ConnectionOpened { peer });
        Some(ServerConnection::new(
            Arc::clone(&self.shared.limits),
            io.now(),
        ))
    }

    fn opened(&mut self, link: Key, _: Origin, io: &mut IoOf<Self>) {
        let scope = Scope::new(
            self.shared.clock.clone(),
            Some(Arc::clone(io.timer())),
            io.peer(link),
        );
        self.scopes.set(link, Arc::new(scope));
    }

    fn event(&mut self, link: Key, inbound: Inbound, io: &mut IoOf<Self>) {
        let router = Arc::clone(&self.router);
        let Some(route) = router.route(inbound.func()) else {
            let status = no_method(inbound.func());
            return self.answer(link, inbound.reply_to, None, io.now(), Err(status), io);
        };
        let deadline = self.deadline(&inbound, route, inbound.arrived_at);
        let arrived = Arrived {
            link,
            inbound,
            route,
            deadline,
        };
        // What was held back until nobody waits for it is not begun.
        if let Some(deadline) = deadline.filter(|deadline| deadline.is_over(io.now())) {
            return self.refuse(arrived, timed_out(deadline), io);
        }
        if let Err(status) = self.admit(&arrived, io.now()) {
            return self.refuse(arrived, status, io);
        }
        match &route.dispatch {
            // What a packed body grows to is unknown, so it is unpacked on a pool, never on the loop.
            _ if route.is_in_place() && arrived.inbound.compression == Compression::None => {
                self.serve_inline(arrived, io);
            }
            Dispatch::On(executor) => self.serve_on_pool(arrived, executor, io),
            _ => {
                let pool = self.shared.default_pool.clone();
                self.serve_on_pool(arrived, &pool, io);
            }
        }
    }

    fn mail(&mut self, mail: Mail, io: &mut IoOf<Self>) {
        match mail.0 {
            Note::Done { call, outcome } => self.finish(call, outcome, io),
            Note::Moved { method, how } => self.shared.moved(method, how),
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
                let deadline = self.calls.get(call).and_then(|active| active.deadline);
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
        link: Key,
        machine: ServerConnection,
        reason: CloseReason,
        io: &mut IoOf<Self>,
    ) {
        self.shared.connection_ended();
        if let Some(scope) = self.scopes.take(link) {
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
            for call in self.calls.of(link) {
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
                batch.executor.spawn(&mut batch.jobs);
                batch.jobs.clear();
            }
        }
    }

    fn end(&self) -> End {
        self.phase.end()
    }
}

fn log_end(peer: SocketAddr, reason: CloseReason) {
    match reason {
        CloseReason::Protocol(ProtocolError::Idle) => {
            tracing::debug!(%peer, "idle connection closed");
        }
        CloseReason::Protocol(error) => tracing::warn!(%peer, %error, "connection closed"),
        reason => tracing::debug!(%peer, %reason, "connection ended"),
    }
}

impl fmt::Debug for ServerDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerDriver")
            .field("calls", &self.calls.len())
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
