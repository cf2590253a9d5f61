//! Tern's client, as its users write.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use tern::client::LocalLoop;
use tern::{Channel, ChannelBuilder, Fixed, Status, park};
use tokio::runtime::Runtime;

use super::lanes::Lanes;
use super::{Asker, Plan, Tally};
use crate::echo::{EchoClient, EchoMessage};

fn builder(plan: Plan) -> ChannelBuilder {
    Channel::builder("trpc.bench.echo.Echo")
        .resolve(Fixed::new(plan.addresses()))
        .connections_per_endpoint(1)
        .timeout(Duration::from_secs(5))
}

fn connect(plan: Plan) -> Result<EchoClient<Channel>, Box<dyn Error>> {
    Ok(EchoClient::new(builder(plan).build()?))
}

/// One call after the other.
async fn lane(
    plan: Plan,
    echo: EchoClient<Channel>,
    tally: Arc<Mutex<Tally>>,
    mut begin: Option<Instant>,
) {
    while let Some(since) = begin {
        let reply = echo.echo(plan.message()).await;
        plan.check(&reply.expect("answered"));
        begin = tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(since);
    }
}

fn shared(window: Duration) -> (Arc<Mutex<Tally>>, Option<Instant>) {
    let tally = Tally::over(window);
    let begin = tally.begin;
    (Arc::new(Mutex::new(tally)), Some(begin))
}

fn alone(tally: Arc<Mutex<Tally>>) -> Tally {
    let tally = Arc::into_inner(tally).expect("all others are done");
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Futures on one thread.
#[derive(Debug)]
pub struct Async {
    plan: Plan,
    echo: EchoClient<Channel>,
}

impl Async {
    pub(super) fn connect(plan: Plan) -> Result<Self, Box<dyn Error>> {
        let echo = connect(plan)?;
        Ok(Self { plan, echo })
    }
}

impl Asker for Async {
    fn ask(&mut self, window: Duration) -> Tally {
        let (tally, begin) = shared(window);
        let lane = |_| lane(self.plan, self.echo.clone(), Arc::clone(&tally), begin);
        park::wait(Lanes::new((0..self.plan.calls()).map(lane))).expect("not on a loop");
        alone(tally)
    }
}

/// Futures on the thread of the loop.
#[derive(Debug)]
pub struct Local {
    plan: Plan,
    echo: EchoClient<Channel>,
    event_loop: LocalLoop,
}

impl Local {
    pub(super) fn connect(plan: Plan) -> Result<Self, Box<dyn Error>> {
        let (channel, event_loop) = builder(plan).build_local()?;
        let echo = EchoClient::new(channel);
        Ok(Self {
            plan,
            echo,
            event_loop,
        })
    }
}

impl Asker for Local {
    fn ask(&mut self, window: Duration) -> Tally {
        let (tally, begin) = shared(window);
        let lane = |_| lane(self.plan, self.echo.clone(), Arc::clone(&tally), begin);
        let lanes = Lanes::new((0..self.plan.calls()).map(lane));
        self.event_loop.run(lanes);
        alone(tally)
    }
}

/// Tasks of a runtime.
#[derive(Debug)]
pub struct Tokio {
    plan: Plan,
    echo: EchoClient<Channel>,
    runtime: Runtime,
}

impl Tokio {
    pub(super) fn connect(plan: Plan) -> Result<Self, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let echo = connect(plan)?;
        Ok(Self {
            plan,
            echo,
            runtime,
        })
    }
}

impl Asker for Tokio {
    fn ask(&mut self, window: Duration) -> Tally {
        let (tally, begin) = shared(window);
        self.runtime.block_on(async {
            let lane = |_| lane(self.plan, self.echo.clone(), Arc::clone(&tally), begin);
            let tasks: Vec<_> = (0..self.plan.calls()).map(lane).map(tokio::spawn).collect();
            for task in tasks {
                task.await.expect("no call fails");
            }
        });
        alone(tally)
    }
}

/// Threads that wait. They stay between two windows: the CPU time of threads that have ended is not seen any more.
#[derive(Debug)]
pub struct Blocking {
    threads: Vec<(Sender<Duration>, Receiver<Tally>)>,
}

impl Blocking {
    pub(super) fn connect(plan: Plan) -> Result<Self, Box<dyn Error>> {
        let echo = connect(plan)?;
        let threads = (0..plan.calls()).map(|_| {
            let echo = echo.clone();
            let (window, windows) = mpsc::channel();
            let (tally, tallies) = mpsc::channel();
            thread::spawn(move || {
                for window in windows {
                    // Nobody waits for it when the process ends.
                    let _ = tally.send(wait_for_each(plan, &echo, window));
                }
            });
            (window, tallies)
        });
        Ok(Self {
            threads: threads.collect(),
        })
    }
}

impl Asker for Blocking {
    fn ask(&mut self, window: Duration) -> Tally {
        let mut sum = Tally::over(window);
        for (thread, _) in &self.threads {
            thread.send(window).expect("no call fails");
        }
        for (_, tallies) in &self.threads {
            sum.add(&tallies.recv().expect("no call fails"));
        }
        sum
    }
}

fn wait_for_each(plan: Plan, echo: &EchoClient<Channel>, window: Duration) -> Tally {
    let mut tally = Tally::over(window);
    let mut begin = Some(tally.begin);
    while let Some(since) = begin {
        let reply = echo.echo(plan.message()).wait();
        plan.check(&reply.expect("answered"));
        begin = tally.note(since);
    }
    tally
}

/// Batches.
#[derive(Debug)]
pub struct Pipelined {
    plan: Plan,
    echo: EchoClient<Channel>,
}

impl Pipelined {
    pub(super) fn connect(plan: Plan) -> Result<Self, Box<dyn Error>> {
        let echo = connect(plan)?;
        Ok(Self { plan, echo })
    }
}

impl Asker for Pipelined {
    fn ask(&mut self, window: Duration) -> Tally {
        let mut tally = Tally::over(window);
        let mut begin = Some(tally.begin);
        while let Some(since) = begin {
            let call = |_| Some(self.echo.echo(self.plan.message()).into_future());
            let mut batch: Vec<_> = (0..self.plan.calls()).map(call).collect();
            park::wait(std::future::poll_fn(|cx| {
                poll_all(&mut batch, cx, |reply| {
                    self.plan.check(&reply.expect("answered"));
                    begin = tally.note(since);
                })
            }))
            .expect("not on a loop");
        }
        tally
    }
}

type Pending = Pin<Box<dyn Future<Output = Result<EchoMessage, Status>> + Send>>;

/// Ready when all are.
fn poll_all(
    calls: &mut [Option<Pending>],
    cx: &mut Context<'_>,
    mut answered: impl FnMut(Result<EchoMessage, Status>),
) -> Poll<()> {
    let mut left = 0;
    for place in calls {
        let Some(call) = place else { continue };
        match call.as_mut().poll(cx) {
            Poll::Ready(reply) => {
                *place = None;
                answered(reply);
            }
            Poll::Pending => left += 1,
        }
    }
    if left == 0 {
        Poll::Ready(())
    } else {
        Poll::Pending
    }
}
