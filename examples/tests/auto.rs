//! Methods that find their own place: moved onto the loops once they have proved to be short, and back when they are not.
//!
//! The server's clock stands still unless a handler moves it, so handlers decide how long they take, and nothing here
//! depends on how fast the machine is.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tern::stream::{Inbound, Outbound};
use tern::{
    Channel, Clock, Compression, Context, Event, Fixed, ManualClock, Mount, Move, Observer,
    Running, Server, Service, Status, park,
};
use tern_examples::echo::{Echo, EchoClient, EchoMessage, EchoServer, chat_back};

#[test]
fn a_short_method_is_moved_onto_the_loop_and_back_by_one_long_run() {
    let stage = Stage::new(|work| EchoServer::new(work).auto());
    stage.calls_on("worker", 1_000);
    assert_eq!(stage.moved(), to_loop(1_000, Duration::ZERO));

    stage.calls_on("io-0", 500);
    assert!(stage.call(long()).starts_with("io-0"));
    let took = Duration::from_millis(1);
    assert_eq!(stage.moved(), Move::TooLong { took });

    stage.calls_on("worker", 2_000);
    assert_eq!(stage.moved(), to_loop(2_000, Duration::ZERO));
    stage.calls_on("io-0", 1);
    stage.end();
}

#[test]
fn a_run_that_waits_is_answered_and_moves_its_method_back() {
    let stage = Stage::new(|work| EchoServer::new(work).auto());
    stage.calls_on("worker", 1_000);
    assert!(stage.moved().is_to_loop());
    assert!(!stage.call(waiting()).is_empty());
    assert_eq!(stage.moved(), Move::HadToWait);
    stage.calls_on("worker", 1);
    stage.end();
}

#[test]
fn a_method_that_is_long_or_waits_too_often_is_never_moved() {
    for seldom in [long(), waiting()] {
        let stage = Stage::new(|work| EchoServer::new(work).auto());
        for _ in 0..60 {
            stage.calls_on("worker", 49);
            assert!(stage.call(seldom.clone()).starts_with("worker"));
        }
        stage.end();
    }
}

#[test]
fn how_long_is_long_is_for_the_mount_to_say() {
    let stage = Stage::new(|work| {
        EchoServer::new(work)
            .method_auto("Echo")
            .auto_budget(Duration::from_millis(1))
    });
    for _ in 0..1_000 {
        assert!(stage.call(long()).starts_with("worker"));
    }
    assert_eq!(stage.moved(), to_loop(1_000, Duration::from_millis(1)));
    assert!(stage.call(long()).starts_with("io-0"));
    stage.end();
}

#[test]
fn packed_bodies_stay_on_the_pool_and_prove_nothing() {
    let stage = Stage::new(|work| EchoServer::new(work).auto());
    for _ in 0..1_000 {
        assert!(stage.call_packed().starts_with("worker"));
    }
    stage.calls_on("worker", 1_000);
    assert!(stage.moved().is_to_loop());
    assert!(stage.call_packed().starts_with("worker"));
    stage.calls_on("io-0", 1);
    stage.end();
}

#[test]
fn a_run_is_not_charged_with_what_ran_beside_it() {
    let stage = Stage::new(|work| EchoServer::new(work).inline().method_auto("Echo"));
    stage.calls_on("worker", 1_000);
    assert!(stage.moved().is_to_loop());
    // Together, so that the loop has them in its hands together: each `Slow` takes ten times what a run may.
    let calls = (0..200).map(|_| [stage.begin_slow(long()), stage.begin(short())]);
    let threads = park::wait(all(calls.flatten().collect())).unwrap();
    assert!(threads.iter().all(|thread| thread == "io-0"));
    stage.calls_on("io-0", 1);
    stage.end();
}

/// A server of one loop with a clock of its own, and a channel of one connection to it.
struct Stage {
    running: Running,
    echo: EchoClient<Channel>,
    moves: Receiver<Move>,
}

impl Stage {
    fn new<S>(mount: impl FnOnce(Clockwork) -> Mount<S>) -> Self
    where
        S: Service + 'static,
    {
        let (clock, hand) = Clock::manual();
        let (sender, moves) = mpsc::channel();
        let running = Server::builder()
            .clock(clock)
            .reactors(1)
            .observer(Moves(Mutex::new(sender)))
            .service(mount(Clockwork { hand }))
            .bind("127.0.0.1:0")
            .unwrap()
            .start()
            .unwrap();
        let channel = Channel::builder("echo.v1.Echo")
            .resolve(Fixed::new([running.address()]))
            .connections_per_endpoint(1)
            .without_timeout()
            .build()
            .unwrap();
        Self {
            running,
            echo: EchoClient::new(channel),
            moves,
        }
    }

    /// Calls `Echo`, and learns on which thread it ran.
    fn call(&self, message: EchoMessage) -> String {
        thread_in(&self.echo.echo(message).wait().unwrap())
    }

    fn call_packed(&self) -> String {
        let payload = vec![0; 4_096];
        let message = EchoMessage { payload, ..short() };
        let call = self.echo.echo(message).compress(Compression::Gzip);
        thread_in(&call.wait().unwrap())
    }

    /// Makes short calls of `Echo`, one after the other; all run on threads whose names begin so.
    fn calls_on(&self, threads: &str, calls: usize) {
        for number in 0..calls {
            let thread = self.call(short());
            assert!(thread.starts_with(threads), "{number}: {thread}");
        }
    }

    /// Begins a call of `Slow`; a future that says on which thread it ran.
    fn begin_slow(&self, message: EchoMessage) -> Begun {
        let call = self.echo.slow(message);
        Box::pin(async { thread_in(&call.await.unwrap()) })
    }

    fn begin(&self, message: EchoMessage) -> Begun {
        let call = self.echo.echo(message);
        Box::pin(async { thread_in(&call.await.unwrap()) })
    }

    /// The next move; there is or will be one.
    fn moved(&self) -> Move {
        self.moves.recv().unwrap()
    }

    /// Ends the server. No move is left that nobody asked for.
    fn end(self) {
        // At once: by its own clock the time to leave would never be over.
        self.running.stopper().stop_now();
        self.running.join().unwrap();
        assert_eq!(self.moves.try_iter().collect::<Vec<_>>(), []);
    }
}

type Begun = Pin<Box<dyn Future<Output = String>>>;

async fn all(mut begun: Vec<Begun>) -> Vec<String> {
    let mut done = Vec::new();
    poll_fn(|cx| {
        begun.retain_mut(|call| match call.as_mut().poll(cx) {
            Poll::Ready(thread) => {
                done.push(thread);
                false
            }
            Poll::Pending => true,
        });
        if begun.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    done
}

fn thread_in(reply: &EchoMessage) -> String {
    String::from_utf8(reply.payload.clone()).unwrap()
}

fn short() -> EchoMessage {
    EchoMessage::default()
}

fn long() -> EchoMessage {
    EchoMessage {
        delay_ms: 1,
        ..short()
    }
}

fn waiting() -> EchoMessage {
    EchoMessage {
        payload: WAIT.to_vec(),
        ..short()
    }
}

/// What a message says whose handler has to wait.
const WAIT: &[u8] = b"wait";

fn to_loop(runs: u32, longest: Duration) -> Move {
    Move::ToLoop { runs, longest }
}

/// Takes as long as it is told by the server's clock, and says on which thread it runs.
struct Clockwork {
    hand: ManualClock,
}

impl Echo for Clockwork {
    async fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        let delay = Duration::from_millis(message.delay_ms.into());
        self.hand.advance(delay);
        if message.payload == WAIT {
            step_aside().await;
        }
        let thread = thread::current();
        let payload = thread.name().unwrap_or_default().into();
        Ok(EchoMessage {
            payload,
            delay_ms: 0,
        })
    }

    async fn slow(&self, cx: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        self.echo(cx, message).await
    }

    async fn chat(
        &self,
        _: &Context,
        inbound: Inbound<EchoMessage>,
        outbound: Outbound<EchoMessage>,
    ) -> Result<(), Status> {
        chat_back(inbound, outbound).await
    }
}

/// Is not ready the first time it is asked.
async fn step_aside() {
    let mut has_waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Passes moves on.
struct Moves(Mutex<Sender<Move>>);

impl Observer for Moves {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Moved { method, how } = event {
            assert_eq!(method.name, "Echo");
            // A test that has ended does not listen.
            let _ = self.0.lock().unwrap().send(*how);
        }
    }
}
