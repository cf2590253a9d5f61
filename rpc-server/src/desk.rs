//! Where the requests of one event loop are served: admitted, handed to where they run, and answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_codec::connection::{Inbound, ReplyTo};
use rpc_core::spawn::JobHandle;
use rpc_core::{
    Claim, Compression, Context, Deadline, Event, Executor, Job, MethodDescriptor, Request, Scope,
    Site, Status,
};
use rpc_net::timer::TimerKey;
use rpc_net::{ByLink, IoOf, Key, Post};
use rpc_policy::admit::{Admit, Arrival};

use crate::attempt::Outcome;
use crate::calls::{ActiveCall, CallKey, Calls};
use crate::dispatch::{answered_at, timed_out};
use crate::drain::Phase;
use crate::driver::{Alarm, Due, Mail, ServerDriver};
use crate::in_place::{InPlace, Served, Ticket};
use crate::place::Stopwatch;
use crate::report::Report;
use crate::routes::Way;
use crate::shared::Shared;
use crate::streams::is_stream;

/// Everything of a [`ServerDriver`] but its routes.
pub(crate) struct Desk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) calls: Calls,
    pub(crate) phase: Phase,
    pub(crate) stopwatch: Stopwatch,
    pub(crate) post: Post<Mail>,
    /// Where all connections of this loop are; there from the first one on.
    site: Option<Arc<Site>>,
    scopes: ByLink<Arc<Scope>>,
    /// By place of the service.
    in_place: Vec<Box<dyn InPlace>>,
    batches: Vec<Batch>,
    /// Bytes of requests that were begun less those that have ended, since all loops were told.
    bytes: isize,
    /// Calls without a timer are about to get one.
    will_watch: bool,
}

/// How long a call lasts until it gets a timer of its own.
const WATCH_AFTER: Duration = Duration::from_millis(20);

/// How long a call lasts that is answered in the turn that began it: within a turn no time passes.
pub(crate) const AT_ONCE: Duration = Duration::ZERO;

/// What was found out about a request. Apart from the request, which is large and stays where it is.
#[derive(Clone, Copy)]
struct Found<'a> {
    link: Key,
    way: &'a Way,
    deadline: Option<Deadline>,
}

/// Jobs of one turn for one pool: they are handed over together, with one wake-up.
struct Batch {
    executor: Executor,
    jobs: Vec<Job>,
}

impl Desk {
    pub(crate) fn new(
        shared: Arc<Shared>,
        in_place: Vec<Box<dyn InPlace>>,
        post: Post<Mail>,
    ) -> Self {
        Self {
            shared,
            calls: Calls::default(),
            phase: Phase::Serving,
            stopwatch: Stopwatch::default(),
            post,
            site: None,
            scopes: ByLink::default(),
            in_place,
            batches: Vec::new(),
            bytes: 0,
            will_watch: false,
        }
    }

    /// Calls of this connection have begun to be possible.
    pub(crate) fn open(&mut self, link: Key, io: &IoOf<ServerDriver>) {
        let site = self.site.get_or_insert_with(|| {
            let (clock, timer) = (self.shared.clock.clone(), Arc::clone(io.timer()));
            let formats = Arc::clone(&self.shared.formats);
            let site = Site::new(clock, Some(timer)).with_formats(formats);
            Arc::new(site.named(self.shared.name.clone()))
        });
        let mut scope = Scope::at(site, io.peer(link));
        if let Some(identity) = io.identity(link) {
            scope = scope.with_identity(identity);
        }
        self.scopes.set(link, Arc::new(scope));
    }

    /// The connection is gone: nobody waits for its calls any more. What is queued of them is dropped, what runs sees that
    /// it is cancelled. Returns what its calls shared.
    pub(crate) fn close(
        &mut self,
        link: Key,
        calls: usize,
        io: &mut IoOf<ServerDriver>,
    ) -> Option<Arc<Scope>> {
        let scope = self.scopes.take(link);
        if let Some(scope) = &scope {
            scope.end();
        }
        if calls > 0 {
            for call in self.calls.of(link) {
                self.abandon(call, io);
            }
        }
        self.shared.count_bytes(std::mem::take(&mut self.bytes));
        scope
    }

    /// Serves a request, or says why not.
    pub(crate) fn serve(
        &mut self,
        link: Key,
        inbound: Inbound<'_>,
        way: &Way,
        io: &mut IoOf<ServerDriver>,
    ) {
        let caller = Deadline::timeout_from_millis(inbound.timeout_ms());
        let deadline = Deadline::earliest(inbound.arrived_at, way.timeout, caller);
        let found = Found {
            link,
            way,
            deadline,
        };
        // What was held back until nobody waits for it is not begun.
        if let Some(deadline) = deadline.filter(|deadline| deadline.is_over(io.now())) {
            return self.refuse(inbound.reply_to, found, timed_out(deadline), io);
        }
        if let Err(status) = self.admit(&inbound, found, io.now()) {
            return self.refuse(inbound.reply_to, found, status, io);
        }
        // What a packed body grows to is unknown, so it is unpacked on a pool, never on the loop.
        let is_plain = inbound.compression() == Compression::None;
        if way.route.is_in_place() && is_plain && !is_stream(&inbound) {
            self.serve_inline(inbound, found, io);
        } else {
            self.serve_on_pool(inbound, found, io);
        }
    }

    /// Hands over what was collected for pools, and tells the other loops how many bytes are under way.
    pub(crate) fn hand_over(&mut self) {
        self.shared.count_bytes(std::mem::take(&mut self.bytes));
        for batch in &mut self.batches {
            if !batch.jobs.is_empty() {
                batch.executor.spawn(&mut batch.jobs);
                batch.jobs.clear();
            }
        }
    }

    /// Ends a call with a status, whatever its handler does.
    pub(crate) fn end(&mut self, call: CallKey, status: Status, io: &mut IoOf<ServerDriver>) {
        if let Some(mut active) = self.take(call, io) {
            drop(active.handle.take());
            self.conclude(active, Err(status), io);
        }
    }

    /// Answers a call with what its handler made of it, unless that comes too late: then the timer answers, and whether a
    /// handler whose own calls ran out of the same time says so a moment before makes no difference to the caller.
    pub(crate) fn finish(&mut self, call: CallKey, outcome: Outcome, io: &mut IoOf<ServerDriver>) {
        let deadline = self.calls.get(call).and_then(|active| active.deadline);
        if deadline.is_some_and(|deadline| deadline.is_over(io.now())) {
            return;
        }
        if let Some(mut active) = self.take(call, io) {
            if let Some(handle) = active.handle.take() {
                handle.detach();
            }
            self.conclude(active, outcome, io);
        }
    }

    /// Answers a call that is not in the books any more.
    fn conclude(&self, active: ActiveCall, outcome: Outcome, io: &mut IoOf<ServerDriver>) {
        let elapsed = io.now().saturating_duration_since(active.arrival);
        let (to, method) = (active.reply_to, Some(active.method));
        self.answer(active.link, to, method, elapsed, outcome, io);
    }

    /// Asks those at the door.
    fn admit(&self, inbound: &Inbound<'_>, found: Found<'_>, now: Instant) -> Result<(), Status> {
        let mut arrival = Arrival::new(found.way.route.method);
        arrival.caller_bytes = inbound.caller();
        arrival.body_bytes = inbound.frame_bytes();
        arrival.calls_in_flight = self.shared.calls.taken();
        arrival.deadline = found.deadline;
        self.shared.admit.admit(&arrival, now)
    }

    fn request(
        &self,
        scope: &Arc<Scope>,
        inbound: &Inbound<'_>,
        found: Found<'_>,
        io: &mut IoOf<ServerDriver>,
    ) -> Request {
        let shelf = io.shelf();
        let mut context = Context::new(scope);
        if inbound.has_metadata() {
            context.set_metadata(inbound.metadata(shelf));
        }
        context.set_names(inbound.caller(), inbound.callee());
        context.set_marks(inbound.marks());
        if let Some(deadline) = found.deadline {
            context.narrow(deadline);
        }
        let body = inbound.body(shelf).into();
        let mut request = Request::new(found.way.route.method, context, body);
        request.set_format(inbound.format());
        request.set_compression(inbound.compression());
        request.set_exchange(inbound.reply_to.exchange());
        if inbound.has_attachment() {
            request.set_attachment(inbound.attachment(shelf));
        }
        if found.way.is_any {
            request.set_path(String::from_utf8_lossy(inbound.func()));
        }
        if self.shared.echoes_metadata {
            request.context().reply_with_own_metadata();
        }
        request
    }

    /// Runs a request in place and answers it, unless its handler has to wait.
    fn serve_inline(
        &mut self,
        inbound: Inbound<'_>,
        found: Found<'_>,
        io: &mut IoOf<ServerDriver>,
    ) {
        let Some(scope) = self.scopes.get(found.link) else {
            return;
        };
        let request = self.request(scope, &inbound, found, io);
        let route = &found.way.route;
        let call = self.calls.next_key();
        let begin = self.begin_run(route);
        let (post, shared) = (&self.post, &self.shared);
        let ticket = || Ticket {
            post: post.clone(),
            executor: shared.default_pool.clone(),
            report: Report {
                call,
                permits: shared.overdraw(&shared.default_pool),
            },
        };
        let Some(service) = self.in_place.get_mut(route.place) else {
            return;
        };
        let served = service.serve(request, &ticket);
        self.end_run(route, begin, &served);
        match served {
            Served::Done(outcome) => {
                let (to, method) = (inbound.reply_to, Some(route.method));
                self.answer(found.link, to, method, AT_ONCE, outcome, io);
            }
            Served::Waits(job, handle) => {
                self.start(call, inbound, found, Some(handle), io);
                let executor = self.shared.default_pool.clone();
                self.push(&executor, job);
            }
        }
    }

    /// Hands a request to its pool.
    fn serve_on_pool(
        &mut self,
        inbound: Inbound<'_>,
        found: Found<'_>,
        io: &mut IoOf<ServerDriver>,
    ) {
        let way = found.way;
        if let Err(status) = self.check_way(&inbound, &way.route) {
            return self.refuse(inbound.reply_to, found, status, io);
        }
        let bytes = self.bytes_of(&inbound);
        let permits = match self.shared.permits(&way.executor, self.bytes, bytes) {
            Ok(permits) => permits,
            Err(status) => return self.refuse(inbound.reply_to, found, status, io),
        };
        let Some(scope) = self.scopes.get(found.link) else {
            return;
        };
        let mut request = self.request(scope, &inbound, found, io);
        let call = self.calls.next_key();
        if is_stream(&inbound)
            && !self.open_stream(found.link, &inbound.reply_to, call, &mut request, io)
        {
            return;
        }
        self.start(call, inbound, found, None, io);
        let claim = Claim {
            call: call.into(),
            permits,
        };
        self.push(
            &way.executor,
            Job::begin(Arc::clone(&way.work), request, claim),
        );
    }

    /// Remembers a call.
    fn start(
        &mut self,
        call: CallKey,
        inbound: Inbound<'_>,
        found: Found<'_>,
        handle: Option<JobHandle>,
        io: &mut IoOf<ServerDriver>,
    ) {
        let bytes = self.bytes_of(&inbound);
        self.bytes = self.bytes.saturating_add_unsigned(bytes);
        let timer = found
            .deadline
            .and_then(|deadline| self.watch(call, deadline, io));
        let active = ActiveCall {
            link: found.link,
            reply_to: inbound.reply_to,
            method: found.way.route.method,
            arrival: inbound.arrived_at,
            deadline: found.deadline,
            timer,
            bytes,
            handle,
        };
        self.calls.insert(call, active);
    }

    /// Sees to it that a call is answered at its deadline. Most are answered long before, so a call gets a timer of its own
    /// only when its time is short or it has lasted for a while (`benches/benches/compare.rs`, pool at 8x64).
    fn watch(
        &mut self,
        call: CallKey,
        deadline: Deadline,
        io: &mut IoOf<ServerDriver>,
    ) -> Option<TimerKey> {
        let at = answered_at(deadline);
        if at <= io.now() + 2 * WATCH_AFTER {
            return Some(io.set_timer(at, Due(Alarm::Call(call))));
        }
        if !self.will_watch {
            self.will_watch = true;
            io.set_timer(io.now() + WATCH_AFTER, Due(Alarm::Watch));
        }
        None
    }

    /// Gives a timer to each call that has none.
    pub(crate) fn watch_all(&mut self, io: &mut IoOf<ServerDriver>) {
        self.will_watch = false;
        for call in self.calls.unwatched() {
            if let Some(active) = self.calls.get_mut(call)
                && let Some(deadline) = active.deadline
            {
                let due = Due(Alarm::Call(call));
                active.timer = Some(io.set_timer(answered_at(deadline), due));
            }
        }
    }

    /// Remembers how to drop a handler that waits. One that nobody waits for any more is dropped at once.
    pub(crate) fn note_waiting(&mut self, call: CallKey, handle: JobHandle) {
        if let Some(active) = self.calls.get_mut(call) {
            active.handle = Some(handle);
        }
    }

    /// Puts a job into the batch of its pool.
    fn push(&mut self, executor: &Executor, job: Job) {
        let mut batches = self.batches.iter_mut();
        match batches.find(|batch| batch.executor.is(executor)) {
            Some(batch) => batch.jobs.push(job),
            None => self.batches.push(Batch {
                executor: executor.clone(),
                jobs: vec![job],
            }),
        }
    }

    /// What a call may keep in memory, as far as its caller can make it.
    fn bytes_of(&self, inbound: &Inbound<'_>) -> usize {
        let bytes = inbound.frame_bytes();
        bytes.saturating_add(self.stream_bytes(inbound))
    }

    /// Drops a call for which nobody waits any more.
    pub(crate) fn abandon(&mut self, call: CallKey, io: &mut IoOf<ServerDriver>) {
        drop(self.take(call, io));
    }

    /// Takes a call out of the books: it is about to be answered, or nobody waits any more.
    fn take(&mut self, call: CallKey, io: &mut IoOf<ServerDriver>) -> Option<ActiveCall> {
        let active = self.calls.take(call)?;
        self.bytes = self.bytes.saturating_sub_unsigned(active.bytes);
        if let Some(timer) = active.timer {
            io.cancel_timer(timer);
        }
        Some(active)
    }

    fn refuse(&self, to: ReplyTo, found: Found<'_>, status: Status, io: &mut IoOf<ServerDriver>) {
        let method = Some(found.way.route.method);
        self.answer(found.link, to, method, AT_ONCE, Err(status), io);
    }

    pub(crate) fn answer(
        &self,
        link: Key,
        to: ReplyTo,
        method: Option<&'static MethodDescriptor>,
        elapsed: Duration,
        outcome: Outcome,
        io: &mut IoOf<ServerDriver>,
    ) {
        let now = io.now();
        let code = outcome.as_ref().err().map(Status::code);
        if let Some((machine, output)) = io.write(link) {
            machine.respond(to, outcome, self.phase.is_leaving(), output, now);
        }
        if let Some(observer) = &self.shared.observer {
            observer.observe(&Event::CallEnded {
                method,
                code,
                elapsed,
            });
        }
    }
}
