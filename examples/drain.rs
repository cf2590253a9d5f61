//! A server leaves while it is called, and no call fails.
//!
//! ```text
//! cargo run --release --example drain
//! ```
//!
//! Here `Running::stop` tells the server to end. `Server::run_until(terminate())` does the same on SIGTERM.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tern::stream::{Inbound, Outbound};
use tern::{Channel, ChannelError, Clock, Context, Event, Fixed, Observer};
use tern::{Running, ServeError, Server, Status};
use tern_examples::echo::{Echo, EchoClient, EchoMessage, EchoServer, chat_back};

const CALLERS: usize = 4;
const SLOW: Duration = Duration::from_millis(800);

fn main() -> Result<(), Box<dyn Error>> {
    let (begins, begun) = mpsc::channel();
    let (left, served_left) = serve("left", &begins)?;
    let (right, served_right) = serve("right", &begins)?;
    let both = connect(&[&left, &right])?;
    let only_left = connect(&[&left])?;

    println!("{CALLERS} callers call left and right without a pause");
    let is_over = Arc::<AtomicBool>::default();
    let (answer, answered) = mpsc::channel();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| start_caller(both.clone(), Arc::clone(&is_over), answer.clone()))
        .collect();
    wait_for_calls(2_000, &answered);

    println!("left begins a call of {} ms", SLOW.as_millis());
    let slow = thread::spawn(move || {
        let call = only_left.slow(EchoMessage::default());
        call.timeout(SLOW * 5).wait()
    });
    begun.recv()?;
    println!("left is told to stop");
    let clock = Clock::system();
    let start = clock.now();
    left.stop()?;
    let elapsed = (clock.now() - start).as_millis();
    println!("left has ended after {elapsed} ms, and cut off nothing");
    slow.join().expect("it does not panic")?;
    println!("the slow call has its answer");

    wait_for_calls(2_000, &answered);
    println!("the callers go on with right");
    is_over.store(true, Ordering::Relaxed);
    let failed: usize = callers
        .into_iter()
        .map(|caller| caller.join().expect("it does not panic"))
        .sum();
    right.stop()?;
    let [left, right] = [served_left, served_right].map(|served| served.load(Ordering::Relaxed));
    println!("calls answered: {left} by left, {right} by right");
    println!("failed calls: {failed}");
    Ok(())
}

/// A server of that name, and how many calls it has answered.
fn serve(
    name: &'static str,
    begins: &Sender<()>,
) -> Result<(Running, Arc<AtomicUsize>), ServeError> {
    let begins = begins.clone();
    let served = Arc::<AtomicUsize>::default();
    let observer = Phases {
        name,
        served: Arc::clone(&served),
    };
    let running = Server::builder()
        .observer(observer)
        .reactors(1)
        .close_wait(Duration::from_millis(200))
        .drain(Duration::from_secs(5))
        .service(EchoServer::new(Echoing { begins }))
        .bind("127.0.0.1:0")?
        .start()?;
    Ok((running, served))
}

struct Echoing {
    begins: Sender<()>,
}

impl Echo for Echoing {
    async fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    async fn slow(&self, cx: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        // Nobody has to listen.
        let _ = self.begins.send(());
        cx.sleep(SLOW).await;
        Ok(message)
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

/// Counts what a server answers, and tells how it leaves.
struct Phases {
    name: &'static str,
    served: Arc<AtomicUsize>,
}

impl Observer for Phases {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::DrainStarted => {
                println!("{}: every answer says from now on that I leave", self.name);
            }
            Event::CallEnded { method, code, .. } if code.is_none() => {
                self.served.fetch_add(1, Ordering::Relaxed);
                if method.is_some_and(|method| method.name == "Slow") {
                    println!("{}: the call that was under way is answered", self.name);
                }
            }
            _ => {}
        }
    }
}

fn connect(servers: &[&Running]) -> Result<EchoClient<Channel>, ChannelError> {
    let addresses = Fixed::new(servers.iter().map(|server| server.address()));
    let channel = Channel::builder("echo.v1.Echo").resolve(addresses);
    Ok(EchoClient::new(channel.build()?))
}

/// Makes one call after the other, and says in the end how many have failed.
fn start_caller(
    echo: EchoClient<Channel>,
    is_over: Arc<AtomicBool>,
    answer: Sender<()>,
) -> JoinHandle<usize> {
    thread::spawn(move || {
        let mut failed = 0;
        while !is_over.load(Ordering::Relaxed) {
            match echo.echo(EchoMessage::default()).wait() {
                Ok(_) => drop(answer.send(())),
                Err(status) => {
                    println!("a call failed: {status}");
                    failed += 1;
                }
            }
        }
        failed
    })
}

/// Waits until so many more calls have been answered.
fn wait_for_calls(calls: usize, answered: &Receiver<()>) {
    // What was answered while nobody looked does not count.
    answered.try_iter().for_each(drop);
    answered.iter().take(calls).for_each(drop);
}
