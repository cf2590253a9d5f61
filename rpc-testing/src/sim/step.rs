//! How the world goes on: who has something to do does it, in an order drawn from the seed; when nobody has, the clock
//! moves.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rpc_net::{Action, Origin};

use super::host::{self, News};
use super::net::{self, Attempt, Happening, Ready, Side};
use super::{IDLE_STEPS_MAX, Sim};

impl Sim {
    /// Does all that there is to do at this point in time.
    pub(super) fn settle(&mut self) {
        let mut progress = self.progress();
        let mut idle = 0;
        loop {
            self.let_happen();
            self.take_up_jobs();
            if !self.step() {
                return;
            }
            let before = std::mem::replace(&mut progress, self.progress());
            idle = if before == progress { idle + 1 } else { 0 };
            assert!(
                idle < IDLE_STEPS_MAX,
                "I8: a loop turns without end, and nothing happens"
            );
        }
    }

    /// Lets one of those who have something to do do it; which one is drawn from the seed. `false` if there is none.
    fn step(&mut self) -> bool {
        let now = self.now();
        let hosts = self.hosts.iter().enumerate();
        let busy: Vec<_> = hosts
            .filter(|(_, host)| host.has_work(now))
            .map(|(n, _)| n)
            .collect();
        let (jobs, woken) = (self.jobs.len(), self.tasks.get_mut().woken());
        let all = busy.len() + jobs + woken;
        if all == 0 {
            return false;
        }
        let drawn = usize::try_from(self.net.state().below(all as u64)).unwrap_or_default();
        if let Some(process) = busy.get(drawn) {
            self.turn(*process);
        } else if drawn < busy.len() + jobs {
            self.run_job(drawn - busy.len());
        } else {
            self.poll_task(drawn - busy.len() - jobs);
        }
        true
    }

    fn turn(&mut self, process: usize) {
        let now = self.now();
        self.net.state().trace.step(now, "turn", process as u64);
        let host = &mut self.hosts[process];
        host.bell.store(false, Ordering::SeqCst);
        let time = host.time(now);
        if let Some(engine) = &mut host.engine {
            engine.set_time(time);
        }
        self.meet(process);
        let host = &mut self.hosts[process];
        let Some(engine) = &mut host.engine else {
            return;
        };
        for readiness in std::mem::take(&mut host.readiness) {
            match readiness.what {
                Ready::Read { hung_up } => engine.readable(readiness.key, hung_up),
                Ready::Write => engine.writable(readiness.key),
                Ready::Both => {
                    engine.readable(readiness.key, true);
                    engine.writable(readiness.key);
                }
            }
        }
        engine.turn(time);
        let actions = engine.take_actions();
        let is_done = engine.is_done();
        for action in actions {
            self.act(process, action);
        }
        if is_done {
            self.end(process);
        }
    }

    /// Lets a process learn what became of connections.
    fn meet(&mut self, process: usize) {
        let host = &mut self.hosts[process];
        for news in std::mem::take(&mut host.news) {
            match news {
                News::Accepted(wire, peer) => {
                    let adopted = host.adopt(wire, peer, Origin::Accepted);
                    self.net.state().set_key(adopted);
                }
                News::Connected(attempt, wire) if !host.has_abandoned(attempt.ticket) => {
                    let origin = Origin::Connected(attempt.ticket);
                    let adopted = host.adopt(wire, attempt.address, origin);
                    self.net.state().set_key(adopted);
                }
                News::Refused(attempt) if !host.has_abandoned(attempt.ticket) => {
                    if let Some(engine) = &mut host.engine {
                        engine.connect_failed(attempt.ticket, io::ErrorKind::ConnectionRefused);
                    }
                }
                // Dropping a wire tells the other end.
                News::Connected(..) | News::Refused(_) => {}
            }
        }
    }

    fn act(&mut self, process: usize, action: Action) {
        match action {
            Action::Connect { ticket, address } => {
                let attempt = Attempt {
                    process,
                    ticket,
                    address: address.socket().expect("simulated processes have no other"),
                };
                self.net
                    .state()
                    .schedule_after_delay(Happening::Knocks(attempt));
            }
            Action::Abandon { ticket } => self.hosts[process].abandoned.push(ticket),
            Action::StopListening => self.hosts[process].is_listening = false,
        }
    }

    /// A process has ended by itself.
    fn end(&mut self, process: usize) {
        let host = &mut self.hosts[process];
        host.is_listening = false;
        host.news.clear();
        host.readiness.clear();
        if let Some(mut engine) = host.engine.take() {
            engine.stop();
        }
        self.net.state().progress += 1;
    }

    fn run_job(&mut self, place: usize) {
        let job = self.jobs.remove(place);
        {
            let now = self.now();
            let mut net = self.net.state();
            net.trace.step(now, "job", place as u64);
            net.progress += 1;
        }
        job.run();
    }

    fn poll_task(&mut self, place: usize) {
        let done = self.tasks.get_mut().poll(place);
        let now = self.now();
        let mut net = self.net.state();
        if let Some(number) = done {
            net.trace.step(now, "result", number as u64);
            net.progress += 1;
        }
    }

    /// Moves what was spawned to where workers find it, or lets it wait for a worker that is slow.
    fn take_up_jobs(&mut self) {
        let now = self.now();
        for pool in &mut self.pools {
            if pool.stalled_until.is_some_and(|until| now < until) {
                continue;
            }
            for job in pool.queue.jobs().drain(..) {
                let mut net = self.net.state();
                match &self.stalls {
                    Some((times, stall)) if net.once_in(*times) => {
                        let at = now + net.random.between(stall.start, stall.end);
                        net.schedule(at, Happening::Job(job));
                    }
                    _ => self.jobs.push(job),
                }
            }
        }
    }

    fn let_happen(&mut self) {
        loop {
            // A statement of its own, so that the lock is given back before anything is done.
            let happening = self.net.state().pop();
            match happening {
                Some(happening) => self.happen(happening),
                None => return,
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(end, cargo) => {
                let told = self.net.state().arrive(end, cargo);
                self.hand_on(told);
            }
            Happening::Readable(end) => {
                let told = self
                    .net
                    .state()
                    .readiness(end, Ready::Read { hung_up: false });
                self.hand_on(told);
            }
            Happening::Writable(end) => {
                let told = self.net.state().readiness(end, Ready::Write);
                self.hand_on(told);
            }
            Happening::Knocks(attempt) => self.knock(attempt),
            Happening::Connected(attempt, wire) => {
                let news = News::Connected(attempt, wire);
                self.hosts[attempt.process].tell(news);
            }
            Happening::Refused(attempt) => {
                self.hosts[attempt.process].tell(News::Refused(attempt));
            }
            Happening::Job(job) => self.jobs.push(job),
            Happening::Wake => {}
        }
    }

    fn hand_on(&mut self, told: Option<net::Readiness>) {
        if let Some(readiness) = told {
            self.hosts[readiness.process].readiness.push(readiness);
        }
    }

    /// Somebody asks for a connection.
    fn knock(&mut self, attempt: Attempt) {
        let found = self
            .hosts
            .iter()
            .position(|host| host.address == attempt.address);
        let mut ways = found.into_iter().chain([attempt.process]);
        if ways.any(|process| self.net.state().is_cut_off(process)) {
            // Nobody says anything; who asked gives up some time.
            return;
        }
        if let Some(process) = found {
            self.hosts[process].knocks += 1;
        }
        let open = found.filter(|process| self.hosts[*process].is_listening);
        let Some(process) = open else {
            return self
                .net
                .state()
                .schedule_after_delay(Happening::Refused(attempt));
        };
        let (asking, answering) = self.net.connect(attempt.process, process);
        debug_assert_eq!(asking.end.side, Side::Asking);
        let peer = self.hosts[attempt.process].address;
        self.hosts[process].tell(News::Accepted(answering, peer));
        self.net
            .state()
            .schedule_after_delay(Happening::Connected(attempt, asking));
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        let now = self.now();
        let timers = self.hosts.iter().filter_map(|host| host.next_at(now));
        timers.chain(self.net.state().next_at()).min()
    }

    pub(super) fn set_time(&mut self, at: Instant) {
        let by = at.saturating_duration_since(self.now());
        self.hand.advance(by);
        for host in &self.hosts {
            if let Some((_, hand)) = &host.clock {
                // It falls behind for good.
                hand.advance(by / host::STANDING);
            }
        }
    }

    fn progress(&self) -> u64 {
        self.net.state().progress
    }
}
