//! The answering end of one event loop: what is told to it, and what it does about that.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rpc_codec::ProtocolError;
use rpc_codec::connection::{Connection, Inbound, ServerConnection, StreamGone, StreamId};
use rpc_core::spawn::JobHandle;
use rpc_core::{Cause, Deadline, Event, MethodDescriptor, Move, Shell};
use rpc_net::{CloseReason, Driver, End, IoOf, Key, Origin, Post};

use crate::attempt::Outcome;
use crate::calls::CallKey;
use crate::desk::{AT_ONCE, Desk};
use crate::dispatch::timed_out;
use crate::drain::Phase;
use crate::router::no_method;
use crate::routes::Routes;
use crate::shared::Shared;

/// What other threads send to a [`ServerDriver`].
#[derive(Debug)]
pub struct Mail(Note);

#[derive(Debug)]
enum Note {
    Done {
        call: CallKey,
        outcome: Outcome,
        shell: Option<Shell>,
    },
    Waits {
        call: CallKey,
        handle: JobHandle,
    },
    Moved {
        method: &'static MethodDescriptor,
        how: Move,
    },
    Stream {
        link: Key,
        stream: StreamId,
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

    /// A call has ended. `shell` is what its context left on the worker's thread.
    pub(crate) fn done(call: CallKey, outcome: Outcome, shell: Option<Shell>) -> Self {
        Self(Note::Done {
            call,
            outcome,
            shell,
        })
    }

    /// The handler of a call has to wait; dropping the handle drops it.
    pub(crate) fn waits(call: CallKey, handle: JobHandle) -> Self {
        Self(Note::Waits { call, handle })
    }

    /// A handler has done something with its stream.
    pub(crate) fn stream(link: Key, stream: StreamId) -> Self {
        Self(Note::Stream { link, stream })
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
    Watch,
    CloseWaitOver,
    Sweep,
    GraceOver,
    End,
}

/// The answering end of one event loop. It owns no socket, so the simulation runs it as well.
pub struct ServerDriver {
    /// Apart from the rest, so that a route can be looked at while a request is served.
    routes: Routes,
    pub(crate) desk: Desk,
}

impl ServerDriver {
    pub(crate) fn new(shared: Arc<Shared>, post: Post<Mail>) -> Self {
        let (routes, in_place) =
            shared
                .router
                .for_loop(&post, &shared.default_pool, &shared.clock, shared.timeout);
        let desk = Desk::new(shared, in_place, post);
        Self { routes, desk }
    }

    /// How many calls wait or run on pools.
    pub fn calls(&self) -> usize {
        self.desk.calls.len()
    }
}

impl Driver for ServerDriver {
    type Machine = ServerConnection;
    type Mail = Mail;
    type Due = Due;

    fn open(
        &mut self,
        origin: Origin,
        peer: Option<SocketAddr>,
        io: &mut IoOf<Self>,
    ) -> Option<ServerConnection> {
        if origin == Origin::Datagram {
            // No connection to observers, nor to the limit of connections: its socket has a limit of its own.
            let limits = Arc::clone(&self.desk.shared.datagram_limits);
            return Some(ServerConnection::new(limits, io.now()));
        }
        if !self.desk.shared.take_connection() {
            self.desk.shared.observe(&Event::ConnectionRefused { peer });
            return None;
        }
        self.desk.shared.observe(&Event::ConnectionOpened { peer });
        Some(ServerConnection::new(
            Arc::clone(&self.desk.shared.limits),
            io.now(),
        ))
    }

    fn opened(&mut self, link: Key, _: Origin, io: &mut IoOf<Self>) {
        self.desk.open(link, io);
    }

    fn event(&mut self, link: Key, inbound: Inbound<'_>, io: &mut IoOf<Self>) {
        if let Some(way) = self.routes.find(inbound.func(), inbound.callee()) {
            return self.desk.serve(link, inbound, way, io);
        }
        let status = no_method(inbound.func());
        let to = inbound.reply_to;
        self.desk.answer(link, to, None, AT_ONCE, Err(status), io);
    }

    fn news(&mut self, _: Key, StreamGone(token): StreamGone, io: &mut IoOf<Self>) {
        self.desk.drop_stream(token, io);
    }

    fn mail(&mut self, mail: Mail, io: &mut IoOf<Self>) {
        match mail.0 {
            Note::Done {
                call,
                outcome,
                shell,
            } => {
                if let Some(shell) = shell {
                    shell.leave();
                }
                self.desk.finish(call, outcome, io);
            }
            Note::Waits { call, handle } => self.desk.note_waiting(call, handle),
            Note::Stream { link, stream } => {
                if let Some((machine, _)) = io.write(link) {
                    machine.touch(stream);
                }
            }
            Note::Moved { method, how } => self.desk.shared.moved(method, how),
            Note::Drain { close_wait, grace } => self.desk.begin_draining(close_wait, grace, io),
            Note::Stop => {
                self.desk.cut(io);
                self.desk.phase = Phase::Ended;
            }
        }
    }

    fn due(&mut self, due: Due, io: &mut IoOf<Self>) {
        match due.0 {
            Alarm::Call(call) => {
                let deadline = self.desk.calls.get(call).and_then(|active| active.deadline);
                let status = timed_out(deadline.unwrap_or(Deadline::new(io.now(), Cause::Own)));
                self.desk.end(call, status, io);
            }
            Alarm::Watch => self.desk.watch_all(io),
            Alarm::CloseWaitOver => self.desk.stop_accepting(io),
            Alarm::Sweep => self.desk.sweep(io),
            Alarm::GraceOver => self.desk.cut(io),
            Alarm::End => self.desk.phase = Phase::Ended,
        }
    }

    fn closed(
        &mut self,
        link: Key,
        machine: ServerConnection,
        reason: CloseReason,
        io: &mut IoOf<Self>,
    ) {
        let calls = machine.in_flight() + machine.streams();
        let scope = self.desk.close(link, calls, io);
        if self.desk.shared.came_in_datagram(&machine) {
            return;
        }
        self.desk.shared.connection_ended();
        if let Some(scope) = scope {
            let peer = scope.peer();
            log_end(peer, reason);
            self.desk.shared.observe(&Event::ConnectionClosed {
                peer,
                reason: &reason.to_string(),
            });
        }
    }

    #[cfg(feature = "tls")]
    fn dismissed(
        &mut self,
        peer: SocketAddr,
        _: ServerConnection,
        reason: CloseReason,
        _: &mut IoOf<Self>,
    ) {
        self.desk.shared.connection_ended();
        log_failed_handshake(peer, reason);
        self.desk.shared.observe(&Event::ConnectionClosed {
            peer: Some(peer),
            reason: &reason.to_string(),
        });
    }

    fn connect_failed(&mut self, _: u64, _: io::Error, _: &mut IoOf<Self>) {}

    fn accept_failed(&mut self, error: &io::Error, _: &mut IoOf<Self>) {
        tracing::warn!(%error, "a connection could not be accepted");
        self.desk
            .shared
            .observe(&Event::AcceptFailed { kind: error.kind() });
    }

    fn end_of_turn(&mut self, _: &mut IoOf<Self>) {
        self.desk.hand_over();
    }

    fn end(&self) -> End {
        self.desk.phase.end()
    }
}

fn log_end(peer: Option<SocketAddr>, reason: CloseReason) {
    // A field that is not there is not shown: the peer at a Unix socket has no address.
    let peer = peer.map(tracing::field::display);
    match reason {
        CloseReason::Protocol(ProtocolError::Idle) => {
            tracing::debug!(peer, "idle connection closed");
        }
        CloseReason::Protocol(error) => tracing::warn!(peer, %error, "connection closed"),
        reason => tracing::debug!(peer, %reason, "connection ended"),
    }
}

/// Somebody who only looks whether the port is open is no trouble.
#[cfg(feature = "tls")]
fn log_failed_handshake(peer: SocketAddr, reason: CloseReason) {
    if reason == CloseReason::Tls(rpc_net::tls::TlsFault::EndedInHandshake) {
        tracing::debug!(%peer, %reason, "no TLS handshake");
    } else {
        tracing::warn!(%peer, %reason, "no TLS handshake");
    }
}

impl fmt::Debug for ServerDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerDriver")
            .field("calls", &self.desk.calls.len())
            .field("phase", &self.desk.phase)
            .finish_non_exhaustive()
    }
}
