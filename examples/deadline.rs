//! One budget for a whole chain of calls: caller -> A -> B -> C, three servers, each behind a real socket.
//!
//! ```text
//! cargo run --release --example deadline
//! ```
//!
//! The caller gives 200 ms and C needs 500. Nobody on the way says anything about time: `within(cx)` is enough for each
//! call to inherit what is left, and for all four to stop at the same moment. The caller sees that its own time ran out
//! (101 in the numbers of tRPC), B that it was its caller's (102).

use std::error::Error;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use tern::{
    Channel, ChannelError, Clock, Context, Fixed, Mount, Running, ServeError, Server, Service,
    Status,
};
use tern_examples::relay::{Answer, Question, Relay, RelayClient, RelayServer, blocking};

const BUDGET: Duration = Duration::from_millis(200);
const C_NEEDS: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn Error>> {
    let (b_tells, from_b) = mpsc::channel();
    let (c_tells, from_c) = mpsc::channel();
    let c = start(RelayServer::new(C { tell: c_tells }))?;
    let b = start(RelayServer::blocking(B {
        next: connect(c.address())?,
        tell: b_tells,
    }))?;
    let a = start(RelayServer::new(A {
        next: connect(b.address())?,
    }))?;
    let caller = connect(a.address())?;

    let [budget, needs] = [BUDGET, C_NEEDS].map(|time| time.as_millis());
    println!("caller -> A -> B -> C: {budget} ms for all of it, and C needs {needs}");
    let clock = Clock::system();
    let start = clock.now();
    let question = Question {
        text: "what takes so long?".into(),
    };
    match caller.ask(question).timeout(BUDGET).wait() {
        Ok(answer) => println!("the caller is answered: {}", answer.text),
        Err(status) => {
            let elapsed = (clock.now() - start).as_millis();
            println!("caller, after {elapsed} ms: {}", show(&status));
        }
    }
    // They all learn of it at the same moment; we listen to one after the other.
    for line in from_b.iter().take(2).chain(from_c.iter().take(1)) {
        println!("{line}");
    }

    drop(caller);
    for server in [a, b, c] {
        server.stop()?;
    }
    Ok(())
}

/// Passes the question on. The deadline drops the future while it waits, so there is nothing to clean up.
struct A {
    next: RelayClient<Channel>,
}

impl Relay for A {
    async fn ask(&self, cx: &Context, question: Question) -> Result<Answer, Status> {
        println!("A has {} ms left and asks B", cx.remaining().as_millis());
        self.next.ask(question).within(cx).await
    }
}

/// Passes the question on in plain code, which cannot be dropped half-way: it sees how its call ends.
struct B {
    next: RelayClient<Channel>,
    tell: Sender<String>,
}

impl blocking::Relay for B {
    fn ask(&self, cx: &Context, question: Question) -> Result<Answer, Status> {
        println!("B has {} ms left and asks C", cx.remaining().as_millis());
        let status = match self.next.ask(question.clone()).within(cx).wait() {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        tell(&self.tell, format!("B: {}", show(&status)));
        let again = self.next.ask(question).within(cx).wait();
        let text = again.as_ref().map_or_else(show, |_| "answered".to_owned());
        tell(&self.tell, format!("B, once more: {text}"));
        again
    }
}

/// Needs longer than anybody waits.
struct C {
    tell: Sender<String>,
}

impl Relay for C {
    async fn ask(&self, cx: &Context, question: Question) -> Result<Answer, Status> {
        println!("C has {} ms left and starts", cx.remaining().as_millis());
        let _work = Work {
            cx,
            start: cx.now(),
            tell: self.tell.clone(),
        };
        cx.sleep(C_NEEDS).await;
        Ok(Answer {
            text: format!("{}: nothing does", question.text),
        })
    }
}

/// What C holds while it works. It is dropped with the handler.
struct Work<'a> {
    cx: &'a Context,
    start: Instant,
    tell: Sender<String>,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let elapsed = (self.cx.now() - self.start).as_millis();
        let text = format!("C: dropped after {elapsed} ms of work, as nobody waits any more");
        tell(&self.tell, text);
    }
}

fn start(mount: Mount<impl Service + 'static>) -> Result<Running, ServeError> {
    // Nobody has to find out that these servers leave, so they need not wait when they do.
    let server = Server::builder().service(mount).close_wait(Duration::ZERO);
    server.bind("127.0.0.1:0")?.start()
}

fn connect(address: SocketAddr) -> Result<RelayClient<Channel>, ChannelError> {
    let channel = Channel::builder("demo.relay.Relay").resolve(Fixed::new([address]));
    Ok(RelayClient::new(channel.build()?))
}

fn show(status: &Status) -> String {
    format!("{:?} ({})", status.code(), status.message())
}

fn tell(listener: &Sender<String>, line: String) {
    // Who has gone on listens no more.
    let _ = listener.send(line);
}
