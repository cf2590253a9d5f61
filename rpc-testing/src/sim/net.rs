//! The virtual network: connections, the bytes on their way, and when they arrive.
//!
//! ```text
//!   one end                                   the other end
//!   write ──▶ cut into pieces ──▶ on its way ──▶ inbox ──▶ cut into pieces ──▶ read
//!               (grain, window)    (latency,                (grain)
//!                                   order kept)
//! ```
//!
//! A FIN travels like bytes do. A reset does too, and may take away what lies unread in the inbox. Who closes a
//! connection with unread bytes in its inbox resets it, and so does who is sent bytes after that, as with TCP.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use rpc_core::Clock;
use rpc_net::{Key, Wire};
use rpc_policy::Random;

use super::fault::{Fault, Forger};
use super::tap::Tap;
use super::trace::Trace;

/// What all wires of a simulation share. One thread uses it, so nobody ever waits for the lock.
#[derive(Clone)]
pub(super) struct Net(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) random: Random,
    pub(super) latency: Range<Duration>,
    pub(super) fault: Option<Fault>,
    pub(super) trace: Trace,
    /// Grows with whatever happens, so that whoever turns without end can be told from who works.
    pub(super) progress: u64,
    clock: Clock,
    links: Vec<Link>,
    agenda: BTreeMap<(Instant, u64), Happening>,
    next: u64,
    /// When the grace time of processes that leave is over. From then on they may end calls that they have not begun.
    graces: BTreeMap<usize, Instant>,
    /// Processes that nothing reaches and nothing leaves.
    unreachable: Vec<usize>,
    /// What has come to them meanwhile.
    held: Vec<Happening>,
}

/// What happens at a point in time.
pub(super) enum Happening {
    /// Something comes to the end of a connection.
    Arrives(End, Cargo),
    /// An end can be read from again.
    Readable(End),
    /// An end can be written to again.
    Writable(End),
    /// A connection is asked for.
    Knocks(Attempt),
    /// It was made: this is the end of who asked.
    Connected(Attempt, SimWire),
    /// It was not.
    Refused(Attempt),
    /// A job that a worker was slow to take up.
    Job(rpc_core::Job),
    /// Something may have to be done: a process goes on.
    Wake,
}

/// What travels.
#[derive(Debug)]
pub(super) enum Cargo {
    Data(Bytes),
    Fin,
    Reset,
}

/// An attempt to connect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) process: usize,
    pub(super) ticket: u64,
    pub(super) address: SocketAddr,
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) link: usize,
    pub(super) side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Asking,
    Answering,
}

impl End {
    fn other(self) -> Self {
        let side = match self.side {
            Side::Asking => Side::Answering,
            Side::Answering => Side::Asking,
        };
        Self { side, ..self }
    }

    fn number(self) -> u64 {
        self.link as u64 * 2 + self.side as u64
    }
}

/// What the loop of a process is to be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readiness {
    pub(super) process: usize,
    pub(super) key: Key,
    pub(super) what: Ready,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Ready {
    Read {
        hung_up: bool,
    },
    Write,
    /// The connection was reset: who reads and who writes learn of it.
    Both,
}

struct Link {
    ends: [Socket; 2],
    tap: Tap,
    forger: Option<Forger>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Socket {
    process: usize,
    key: Option<Key>,
    inbox: VecDeque<Bytes>,
    /// Bytes in the inbox.
    unread: usize,
    /// Bytes that were sent to this end and not read yet, on their way or in the inbox.
    owed: usize,
    has_fin: bool,
    /// A FIN was sent from here.
    is_finished: bool,
    is_reset: bool,
    is_closed: bool,
    /// Who writes waits for room.
    wants_room: bool,
    /// Nothing that is sent from here arrives before what was sent earlier.
    sent_until: Instant,
    /// The largest piece that is read or written at a time.
    grain: usize,
    window: usize,
}

/// The smallest and the largest number of bytes on their way in one direction.
const WINDOWS: Range<u64> = 4 * 1024..128 * 1024;
/// In how many reads and writes one finds nothing, though there may be something.
const SPURIOUS: u64 = 24;
/// How long until such a one may try again, at most.
const AGAIN: Duration = Duration::from_micros(300);

impl Net {
    pub(super) fn new(clock: Clock, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::seeded(seed),
            latency: Duration::from_micros(100)..Duration::from_millis(1),
            fault: None,
            trace: Trace::new(),
            progress: 0,
            clock,
            links: Vec::new(),
            agenda: BTreeMap::new(),
            next: 0,
            graces: BTreeMap::new(),
            unreachable: Vec::new(),
            held: Vec::new(),
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection between two processes: its answering end, and the number of its asking end.
    pub(super) fn connect(&self, asking: usize, answering: usize) -> (SimWire, SimWire) {
        let mut state = self.state();
        let link = state.links.len();
        let ends = [asking, answering].map(|process| state.socket(process));
        let forger = state.fault.and_then(Forger::of);
        let tap = Tap::default();
        state.links.push(Link { ends, tap, forger });
        let wire = |side| SimWire {
            end: End { link, side },
            net: self.clone(),
        };
        (wire(Side::Asking), wire(Side::Answering))
    }
}

impl State {
    /// A number from 0 up to and not including `below`.
    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.random.next_u64() % below.max(1)
    }

    /// Whether what happens once in `times` happens now.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn delay(&mut self) -> Duration {
        self.random.between(self.latency.start, self.latency.end)
    }

    pub(super) fn schedule(&mut self, at: Instant, happening: Happening) {
        self.next += 1;
        self.agenda.insert((at, self.next), happening);
    }

    /// What comes after one delay.
    pub(super) fn schedule_after_delay(&mut self, happening: Happening) {
        let at = self.now() + self.delay();
        self.schedule(at, happening);
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// The next thing that happens by now.
    pub(super) fn pop(&mut self) -> Option<Happening> {
        let now = self.now();
        let entry = self.agenda.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        self.progress += 1;
        Some(entry.remove())
    }

    /// Notes by which key its loop knows an end.
    pub(super) fn set_key(&mut self, adopted: Option<(End, Key)>) {
        if let Some((end, key)) = adopted {
            self.socket_mut(end).key = Some(key);
        }
    }

    /// A process leaves, and is to be gone at that time.
    pub(super) fn leaves(&mut self, process: usize, grace_over: Instant) {
        self.graces.entry(process).or_insert(grace_over);
    }

    /// A process has begun anew.
    pub(super) fn begins(&mut self, process: usize) {
        self.graces.remove(&process);
    }

    /// Nothing reaches the process, and nothing leaves it, until [`State::reach`].
    pub(super) fn cut_off(&mut self, process: usize) {
        self.unreachable.push(process);
    }

    /// What was held back arrives.
    pub(super) fn reach(&mut self, process: usize) {
        self.unreachable.retain(|other| *other != process);
        let now = self.now();
        for happening in std::mem::take(&mut self.held) {
            self.schedule(now, happening);
        }
    }

    pub(super) fn is_cut_off(&self, process: usize) -> bool {
        self.unreachable.contains(&process)
    }

    /// All connections of the process are reset, at both ends.
    pub(super) fn reset_all(&mut self, process: usize) -> Vec<Readiness> {
        let mut told = Vec::new();
        for link in 0..self.links.len() {
            for side in [Side::Asking, Side::Answering] {
                let end = End { link, side };
                let socket = self.socket_mut(end);
                if socket.process != process || socket.is_closed || socket.is_reset {
                    continue;
                }
                socket.is_reset = true;
                told.extend(self.readiness(end, Ready::Both));
                self.send(end, Cargo::Reset);
            }
        }
        told
    }

    /// The process is gone: its connections are closed, without a word of its own.
    pub(super) fn close_all(&mut self, process: usize) {
        for link in 0..self.links.len() {
            for side in [Side::Asking, Side::Answering] {
                let end = End { link, side };
                if self.socket_mut(end).process == process {
                    self.links[link].tap.crashed();
                    self.close(end);
                }
            }
        }
    }

    /// What went over the wires and should not have.
    pub(super) fn complaints(&self) -> Vec<String> {
        let links = self.links.iter().enumerate();
        links
            .flat_map(|(number, link)| {
                let lives = link.ends.iter().all(Socket::lives);
                let complaints = link.tap.complaints(lives);
                complaints.map(move |text| format!("connection {number}: {text}"))
            })
            .collect()
    }

    /// Requests that were read and wait for their answer on connections that live.
    pub(super) fn unanswered(&self) -> usize {
        let living = self
            .links
            .iter()
            .filter(|link| link.ends.iter().all(Socket::lives));
        living.map(|link| link.tap.unanswered()).sum()
    }

    /// Something comes to an end.
    pub(super) fn arrive(&mut self, end: End, cargo: Cargo) -> Option<Readiness> {
        let apart = [end, end.other()].map(|end| self.socket_mut(end).process);
        if apart.iter().any(|process| self.is_cut_off(*process)) {
            self.held.push(Happening::Arrives(end, cargo));
            return None;
        }
        self.trace.arrival(self.clock.now(), end.number(), &cargo);
        let takes_unread = self.once_in(2);
        let socket = self.socket_mut(end);
        if socket.is_reset {
            return None;
        }
        if socket.is_closed {
            if matches!(cargo, Cargo::Data(_)) {
                socket.is_reset = true;
                self.send(end, Cargo::Reset);
            }
            return None;
        }
        let what = match cargo {
            Cargo::Data(_) => Ready::Read { hung_up: false },
            Cargo::Fin => Ready::Read { hung_up: true },
            Cargo::Reset => Ready::Both,
        };
        match cargo {
            Cargo::Data(bytes) => {
                socket.unread += bytes.len();
                socket.inbox.push_back(bytes);
            }
            Cargo::Fin => socket.has_fin = true,
            Cargo::Reset => {
                socket.is_reset = true;
                if takes_unread {
                    socket.inbox.clear();
                    socket.unread = 0;
                }
            }
        }
        self.readiness(end, what)
    }

    pub(super) fn readiness(&self, end: End, what: Ready) -> Option<Readiness> {
        let socket = &self.links[end.link].ends[end.side as usize];
        let (process, key) = (socket.process, socket.key?);
        Some(Readiness { process, key, what })
    }

    fn socket(&mut self, process: usize) -> Socket {
        let grain = match self.below(8) {
            0 => 1 + self.below(16),
            1 => 1 + self.below(1000),
            _ => u64::from(u32::MAX),
        };
        let window = WINDOWS.start + self.below(WINDOWS.end - WINDOWS.start);
        Socket {
            process,
            key: None,
            inbox: VecDeque::new(),
            unread: 0,
            owed: 0,
            has_fin: false,
            is_finished: false,
            is_reset: false,
            is_closed: false,
            wants_room: false,
            sent_until: self.now(),
            grain: usize::try_from(grain).unwrap_or(usize::MAX),
            window: usize::try_from(window).unwrap_or(usize::MAX),
        }
    }

    fn socket_mut(&mut self, end: End) -> &mut Socket {
        &mut self.links[end.link].ends[end.side as usize]
    }

    /// Sends something from an end to the other one.
    fn send(&mut self, from: End, cargo: Cargo) {
        let at = self.now() + self.delay();
        let socket = self.socket_mut(from);
        socket.sent_until = socket.sent_until.max(at);
        let at = socket.sent_until;
        if let Cargo::Data(bytes) = &cargo {
            let length = bytes.len();
            self.socket_mut(from.other()).owed += length;
        }
        self.schedule(at, Happening::Arrives(from.other(), cargo));
    }

    fn again(&mut self, happening: Happening) {
        let at = self.now() + self.random.between(Duration::ZERO, AGAIN);
        self.schedule(at, happening);
    }

    fn read(&mut self, end: End, buffer: &mut [u8]) -> io::Result<usize> {
        let is_spurious = self.once_in(SPURIOUS);
        let socket = self.socket_mut(end);
        if socket.unread == 0 {
            return match (socket.is_reset, socket.has_fin) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (false, true) => Ok(0),
                (false, false) => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        if is_spurious {
            self.again(Happening::Readable(end));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = buffer.len().min(socket.grain).min(socket.unread);
        let mut read = 0;
        while read < most {
            let Some(front) = socket.inbox.front_mut() else {
                break;
            };
            let piece = front.len().min(most - read);
            buffer[read..read + piece].copy_from_slice(&front[..piece]);
            front.advance(piece);
            if front.is_empty() {
                socket.inbox.pop_front();
            }
            read += piece;
        }
        socket.unread -= read;
        socket.owed -= read;
        let has_more = socket.unread > 0 || socket.has_fin || socket.is_reset;
        if end.side == Side::Answering {
            self.links[end.link].tap.asked(&buffer[..read]);
        }
        self.progress += 1;
        if has_more {
            // A read that brought less than was asked for says that nothing is left.
            let now = self.now();
            self.schedule(now, Happening::Readable(end));
        }
        let writer = self.socket_mut(end.other());
        if std::mem::take(&mut writer.wants_room) {
            self.again(Happening::Writable(end.other()));
        }
        Ok(read)
    }

    fn write(&mut self, end: End, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let is_spurious = self.once_in(SPURIOUS);
        let owed = self.socket_mut(end.other()).owed;
        let socket = self.socket_mut(end);
        if socket.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if socket.is_finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
        let room = socket.window.saturating_sub(owed);
        let taken = offered.min(socket.grain).min(room);
        if room == 0 {
            socket.wants_room = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if is_spurious {
            self.again(Happening::Writable(end));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if taken == room && taken < offered {
            socket.wants_room = true;
        } else if taken < offered {
            let now = self.now();
            self.schedule(now, Happening::Writable(end));
        }
        self.progress += 1;
        let bytes = front(pieces, taken);
        let link = &mut self.links[end.link];
        let bytes = match (&mut link.forger, end.side) {
            (Some(forger), Side::Answering) => forger.forge(&bytes),
            _ => bytes,
        };
        if end.side == Side::Answering {
            link.tap.answered(&bytes);
        }
        if !bytes.is_empty() {
            self.send(end, Cargo::Data(bytes));
        }
        Ok(taken)
    }

    fn finish(&mut self, end: End) {
        let socket = self.socket_mut(end);
        if socket.is_finished || socket.is_reset || socket.is_closed {
            return;
        }
        socket.is_finished = true;
        let (process, is_orderly) = (socket.process, !socket.has_fin);
        let now = self.now();
        let is_cut = self.graces.get(&process).is_some_and(|at| *at <= now);
        if end.side == Side::Answering && is_orderly {
            self.links[end.link].tap.finished(is_cut);
        }
        self.send(end, Cargo::Fin);
    }

    fn break_off(&mut self, end: End) {
        let socket = self.socket_mut(end);
        if !socket.is_reset && !socket.is_closed {
            socket.is_reset = true;
            self.send(end, Cargo::Reset);
        }
    }

    fn close(&mut self, end: End) {
        let socket = self.socket_mut(end);
        if socket.is_closed {
            return;
        }
        let is_reset = socket.is_reset;
        let loses = socket.unread > 0;
        if !is_reset && !loses {
            self.finish(end);
        }
        self.socket_mut(end).is_closed = true;
        if !is_reset && loses {
            self.socket_mut(end).is_reset = true;
            self.send(end, Cargo::Reset);
        }
    }
}

impl Socket {
    /// Whether bytes can still go both ways.
    fn lives(&self) -> bool {
        !self.is_closed && !self.is_reset && !self.has_fin && !self.is_finished
    }
}

/// The first `length` bytes of all pieces.
fn front(pieces: &[IoSlice<'_>], length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(length);
    for piece in pieces {
        let missing = length - bytes.len();
        bytes.extend_from_slice(&piece[..piece.len().min(missing)]);
    }
    bytes.freeze()
}

/// One end of a virtual connection. Dropping it closes it.
pub(super) struct SimWire {
    pub(super) end: End,
    net: Net,
}

impl Wire for SimWire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.net.state().read(self.end, buffer)
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.net.state().write(self.end, pieces)
    }

    fn finish(&mut self) {
        self.net.state().finish(self.end);
    }

    fn break_off(&mut self) {
        self.net.state().break_off(self.end);
    }
}

impl Drop for SimWire {
    fn drop(&mut self) {
        self.net.state().close(self.end);
    }
}
