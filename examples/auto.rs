//! Methods find their own place: a short one moves onto the event loop, a long one stays on the pool.
//!
//! ```text
//! cargo run --release --example auto
//! ```
//!
//! Echo is short, but for one request that makes it work for 20 ms. Slow always works for 2 ms. The budget is larger here
//! than it should be, so that the story is the same on any machine, however busy.

use std::error::Error;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use tern::stream::{Inbound, Outbound};
use tern::{
    Channel, Clock, Context, Event, Fixed, MethodDescriptor, Move, Observer, Server, Status,
};
use tern_examples::echo::{EchoClient, EchoMessage, EchoServer, blocking};

const BUDGET: Duration = Duration::from_millis(1);

/// More calls than any move here takes, however busy the machine is.
const CALLS_MAX: usize = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let (sender, moves) = mpsc::channel();
    let running = Server::builder()
        .reactors(1)
        .observer(Moves(Mutex::new(sender)))
        .service(EchoServer::blocking(Working).auto().auto_budget(BUDGET))
        .bind("127.0.0.1:0")?
        .start()?;
    let server = Fixed::new([running.address()]);
    let channel = Channel::builder("echo.v1.Echo").resolve(server).build()?;
    let client = Client {
        echo: EchoClient::new(channel),
        moves,
    };

    println!("in the beginning: {}", client.threads()?);
    println!("{}", client.echo_until(Move::is_to_loop)?);
    println!("from now on: {}", client.threads()?);

    println!("a request that takes Echo 20 ms: {}", client.echo(20)?);
    println!("{}", client.echo_until(|how| !how.is_to_loop())?);
    println!("from now on: {}", client.threads()?);

    println!("{}", client.echo_until(Move::is_to_loop)?);
    println!("in the end: {}", client.threads()?);
    Ok(running.stop()?)
}

struct Client {
    echo: EchoClient<Channel>,
    moves: Receiver<(&'static MethodDescriptor, Move)>,
}

impl Client {
    /// Calls `Echo`, which works for so long, and learns on which thread it ran.
    fn echo(&self, delay_ms: u32) -> Result<String, Status> {
        let payload = Vec::new();
        let message = EchoMessage { payload, delay_ms };
        let reply = self.echo.echo(message).wait()?;
        Ok(String::from_utf8_lossy(&reply.payload).into_owned())
    }

    /// Where both methods run.
    fn threads(&self) -> Result<String, Status> {
        let slow = self.echo.slow(EchoMessage::default()).wait()?;
        let slow = String::from_utf8_lossy(&slow.payload);
        Ok(format!("Echo on {}, Slow on {slow}", self.echo(0)?))
    }

    /// Calls `Echo` until the server tells of such a move.
    fn echo_until(&self, is_awaited: fn(Move) -> bool) -> Result<String, Box<dyn Error>> {
        for _ in 0..CALLS_MAX {
            let mut moves = self.moves.try_iter();
            if let Some((method, how)) = moves.find(|(_, how)| is_awaited(*how)) {
                return Ok(format!("{} is moved {how}", method.name));
            }
            self.echo(0)?;
        }
        Err("it was not moved".into())
    }
}

/// Works for as long as it is told, and says on which thread.
struct Working;

impl blocking::Echo for Working {
    fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        work_for(Duration::from_millis(message.delay_ms.into()));
        Ok(named_after_this_thread())
    }

    fn slow(&self, _: &Context, _: EchoMessage) -> Result<EchoMessage, Status> {
        work_for(Duration::from_millis(2));
        Ok(named_after_this_thread())
    }

    fn chat(
        &self,
        _: &Context,
        mut inbound: Inbound<EchoMessage>,
        mut outbound: Outbound<EchoMessage>,
    ) -> Result<(), Status> {
        while let Some(message) = inbound.next().wait()? {
            outbound.send(message).wait()?;
        }
        Ok(())
    }
}

fn work_for(time: Duration) {
    let clock = Clock::system();
    let until = clock.now() + time;
    while clock.now() < until {
        std::hint::spin_loop();
    }
}

fn named_after_this_thread() -> EchoMessage {
    let thread = thread::current();
    EchoMessage {
        payload: thread.name().unwrap_or_default().into(),
        delay_ms: 0,
    }
}

/// Passes on what the server tells of moves.
struct Moves(Mutex<Sender<(&'static MethodDescriptor, Move)>>);

impl Observer for Moves {
    fn observe(&self, event: &Event<'_>) {
        if let (Event::Moved { method, how }, Ok(sender)) = (event, self.0.lock()) {
            // Nobody has to listen.
            let _ = sender.send((*method, *how));
        }
    }
}
