//! Streams: what the loop does for one beyond what it does for every call. To it a stream is a call that is answered when
//! the stream ends; what goes over it meanwhile passes between its pipe and its connection.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use rpc_codec::connection::StreamId;
use rpc_core::stream::Terms;
use rpc_core::{Address, Cause, Code, Deadline, Endpoint, Request, Response, Status};
use rpc_net::{Driver, IoOf, Key, Post};
use rpc_policy::balance::Outcome;

use crate::Config;
use crate::calls::{CallKey, Sent};
use crate::driver::{ClientDriver, Mail, full};

/// Sends a letter to the loop when a caller has done something with its stream.
struct Bell {
    post: Post<Mail>,
    call: CallKey,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A loop that has ended has no streams.
        let _ = self.post.send(Mail::stream(self.call));
    }
}

impl ClientDriver {
    /// Asks a server for a stream.
    pub(crate) fn open_stream(&mut self, key: CallKey, link: Key, io: &mut IoOf<Self>) {
        let now = io.now();
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        if call.duty.is_abandoned() {
            return self.complete(key, Err(given_up()), io);
        }
        let peer = call.endpoint.and_then(|id| self.peers.get(&id));
        let is_datagrams = peer.is_some_and(|peer| is_udp(&peer.endpoint));
        let mut state = call.duty.state();
        let bell = Bell {
            post: self.post.clone(),
            call: key,
        };
        let waker = Waker::from(Arc::new(bell));
        let refused = full(link, state.request(), &self.limits, io);
        let Some((machine, output)) = io.write(link) else {
            return;
        };
        let opened = match (refused, state.take_pipe()) {
            (Some(status), _) => Err(status),
            (None, _) if is_datagrams => Err(not_over_udp()),
            (None, None) => Err(not_twice()),
            (None, Some(pipe)) => {
                let request = state.request();
                let terms = terms(request, &self.config);
                machine.open_stream(key.to_token(), request, pipe, terms, waker, output, now)
            }
        };
        drop(state);
        match opened {
            Ok(id) => call.sent = Some(Sent::Stream(link, id)),
            Err(status) => self.complete(key, Err(status), io),
        }
    }

    /// A caller has done something with its stream.
    pub(crate) fn touch(&mut self, key: CallKey, io: &mut IoOf<Self>) {
        let sent = self.calls.get_mut(key).and_then(|call| call.sent);
        let Some(Sent::Stream(link, id)) = sent else {
            return;
        };
        let answer = io.write(link).and_then(|(machine, _)| machine.touch(id));
        if let Some(answer) = answer {
            self.event(link, answer, io);
        }
    }

    /// Ends a stream whose time is over, and tells the server whose that was.
    pub(crate) fn cancel_stream(
        &mut self,
        key: CallKey,
        link: Key,
        id: StreamId,
        io: &mut IoOf<Self>,
    ) {
        let deadline = self.calls.get_mut(key).and_then(|call| call.deadline);
        let code = match deadline.map(Deadline::cause) {
            Some(Cause::Caller) => Code::InheritedDeadlineExceeded,
            _ => Code::DeadlineExceeded,
        };
        if let Some((machine, output)) = io.write(link) {
            machine.cancel_stream(id, code, output);
        }
        self.retire(link, io);
    }
}

/// How the messages of a stream are written.
fn terms(request: &Request, config: &Config) -> Terms {
    let limits = &config.limits;
    Terms {
        format: request.format(),
        formats: Some(Arc::new(config.formats.clone())),
        compression: request.compression(),
        packing: Some(config.codecs.packing(limits.decompressed_bytes_max)),
        message_bytes_max: limits.stream_message_bytes_max(),
    }
}

/// What the end of a stream says about the endpoint. How long it lasted is its two ends' affair and says nothing.
pub(crate) fn outcome_of_stream(result: &Result<Response, Status>, elapsed: Duration) -> Outcome {
    match result {
        Err(status) if status.code() != Code::DeadlineExceeded => {
            match Outcome::of(result, elapsed) {
                failed @ Outcome::Failed { .. } => failed,
                _ => Outcome::Abandoned,
            }
        }
        _ => Outcome::Abandoned,
    }
}

fn is_udp(endpoint: &Endpoint) -> bool {
    matches!(endpoint.address, Address::Udp(_))
}

fn not_over_udp() -> Status {
    Status::new(
        Code::RequestInvalid,
        "streams need a connection: reach the service over TCP or a Unix socket",
    )
}

fn given_up() -> Status {
    Status::new(
        Code::Cancelled,
        "the caller gave the stream up before it was asked for",
    )
}

fn not_twice() -> Status {
    Status::new(
        Code::RequestInvalid,
        "a stream has been asked for without its pipe; a request that opens one is sent once",
    )
}
