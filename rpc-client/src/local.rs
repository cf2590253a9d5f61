//! [`LocalLoop`]: the event loop of a channel on the thread that makes the calls.
//!
//! A channel has a thread of its own for its loop, so a call that is waited for costs two hand-overs: the caller wakes the
//! loop and sleeps, the loop wakes the caller and sleeps. Who has one thread and nothing else to do meanwhile can run the
//! loop on it instead, and no thread ever waits for another (`benches/benches/client.rs`, `local` beside `blocking`).

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use rpc_core::park::{self, OnLoop};
use rpc_net::{Post, Reactor};

use crate::driver::{ClientDriver, Mail};

/// The event loop of a channel, run by the thread that made it. Made by
/// [`ChannelBuilder::build_local`](crate::ChannelBuilder::build_local).
///
/// The loop moves only inside of [`LocalLoop::run`]: between two of them nothing is sent or received, and calls that other
/// threads make through the channel have to wait. While it lives, [`Call::wait`](rpc_core::Call::wait) is refused on this
/// thread, because it would keep the loop from moving. Dropping it ends the connections and all calls.
///
/// ```no_run
/// # use rpc_client::{Channel, ChannelError, Fixed};
/// # fn main() -> Result<(), ChannelError> {
/// let (channel, mut local) = Channel::builder("demo.greeter").resolve(Fixed::new(["10.0.0.7:8000"])).build_local()?;
/// // let greeter = GreeterClient::new(channel);
/// // let reply = local.run(greeter.say_hello(hello))?;
/// # drop((channel, local));
/// # Ok(()) }
/// ```
pub struct LocalLoop {
    reactor: Reactor<ClientDriver>,
    bell: Arc<Bell>,
    /// Keeps this on its thread, too.
    _on_loop: OnLoop,
}

impl LocalLoop {
    pub(crate) fn new(reactor: Reactor<ClientDriver>, post: Post<Mail>) -> Self {
        let bell = Bell {
            rung: AtomicBool::new(false),
            here: thread::current().id(),
            post,
        };
        Self {
            reactor,
            bell: Arc::new(bell),
            _on_loop: park::on_loop(),
        }
    }

    /// Runs the loop until `future` is done: a call, or whatever makes several. It may wait for other threads and other
    /// channels as well.
    pub fn run<F: IntoFuture>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future.into_future());
        let waker = Waker::from(Arc::clone(&self.bell));
        let mut cx = Context::from_waker(&waker);
        self.bell.rung.store(true, Ordering::Relaxed);
        loop {
            if self.bell.rung.swap(false, Ordering::Acquire)
                && let Poll::Ready(output) = future.as_mut().poll(&mut cx)
            {
                return output;
            }
            let may_wait = !self.bell.rung.load(Ordering::Relaxed);
            let turn = self.reactor.turn(may_wait);
            turn.expect("a poller that was made works");
        }
    }
}

impl Drop for LocalLoop {
    fn drop(&mut self) {
        self.reactor.stop();
    }
}

impl fmt::Debug for LocalLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLoop")
            .field("reactor", &self.reactor)
            .finish_non_exhaustive()
    }
}

/// Says that the future is to be polled. The loop's own thread will see it; it is woken only for others.
struct Bell {
    rung: AtomicBool,
    here: ThreadId,
    post: Post<Mail>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::Release) && thread::current().id() != self.here {
            // A loop that is gone polls nothing any more.
            let _ = self.post.send(Mail::nothing());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use rpc_core::time::Alarm;
    use rpc_core::{Bytes, Call, Code, Idempotency, MethodDescriptor, Raw, Shape};

    use super::*;
    use crate::{Channel, Fixed};

    static METHOD: MethodDescriptor = MethodDescriptor {
        index: 0,
        name: "Echo",
        path: "/test.Echo/Echo",
        alias: None,
        service: "test.Echo",
        idempotency: Idempotency::Unknown,
        shape: Shape::Unary,
        request: rpc_core::MessageType::UNKNOWN,
        reply: rpc_core::MessageType::UNKNOWN,
    };

    fn channel_to(address: SocketAddr) -> (Channel, LocalLoop) {
        let builder = Channel::builder("test.echo").resolve(Fixed::new([address]));
        builder.build_local().unwrap()
    }

    fn call(channel: &Channel) -> Call<Channel, Raw, Raw> {
        Call::new(channel.clone(), &METHOD, Raw(Bytes::new()))
    }

    /// An address where nobody listens.
    fn nowhere() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    #[test]
    fn a_call_is_run_to_its_end() {
        let (channel, mut local) = channel_to(nowhere());
        let failed = local.run(call(&channel)).unwrap_err();
        assert_eq!(failed.code(), Code::Unreachable, "{failed}");
    }

    #[test]
    fn waiting_is_refused_where_it_would_keep_the_loop_from_moving() {
        let (channel, local) = channel_to(nowhere());
        assert_eq!(
            call(&channel).wait().unwrap_err().code(),
            Code::RequestInvalid
        );
        drop(local);
        assert_eq!(call(&channel).wait().unwrap_err().code(), Code::Cancelled);
    }

    #[test]
    fn other_threads_are_served_and_heard_while_the_loop_is_run() {
        let (channel, mut local) = channel_to(nowhere());
        let done = Arc::new(Alarm::default());
        let other = {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                let failed = call(&channel).wait().unwrap_err();
                done.ring();
                failed.code()
            })
        };
        local.run(std::future::poll_fn(|cx| done.poll_rung(cx)));
        assert_eq!(other.join().unwrap(), Code::Unreachable);
    }

    #[test]
    fn a_call_that_the_loop_never_looked_at_ends_with_it() {
        let (channel, local) = channel_to(nowhere());
        let mut pending = pin!(call(&channel).into_future());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pending.as_mut().poll(&mut cx).is_pending());
        drop(local);
        let Poll::Ready(Err(status)) = pending.as_mut().poll(&mut cx) else {
            panic!("the call still waits");
        };
        assert_eq!(status.code(), Code::Cancelled);
    }
}
