//! What callers of random streams mean to do, and handlers that do what they are told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use rpc_core::stream::{Inbound, Outbound};
use rpc_core::stub::{IncomingStream, IncomingUpload};
use rpc_core::{Code, Context, Mount, Request, Response, Service, Status};
use rpc_testing::SimClient;

use super::talk::TalkClient;
use super::{Note, ms};
use crate::talking;

/// How callers' messages ended for handlers: by stream, how many there were.
pub(crate) type Ends = Arc<Mutex<BTreeMap<u64, u64>>>;

/// What a handler does at a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Panics,
    Fails,
    Returns,
}

/// What a handler's own failure is.
pub(crate) const OWN: Code = Code::Service(7);

#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) is_shut: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    pub(crate) fn set(&self, is_shut: bool) {
        self.is_shut.set(is_shut);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    pub(crate) async fn pass(&self) {
        poll_fn(|cx| {
            if self.is_shut.get() {
                self.waiting.borrow_mut().push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) messages: Cell<u64>,
    pub(crate) has_said_all: Cell<bool>,
}

/// What a caller has read, and how it ended. `None` when it had enough.
pub(crate) type Read = (Vec<u64>, Option<Result<(), Status>>);

/// What a caller means to do.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) number: u64,
    pub(crate) length: u64,
    pub(crate) turn: Option<(u64, Turn)>,
    /// Of each message.
    pub(crate) bytes: u64,
    /// How long the handler waits at some messages, in milliseconds.
    pub(crate) wait: Option<u64>,
}

impl Plan {
    /// What a handler is told to do, in front of what makes the message long.
    fn note(&self, number: u64) -> Note {
        let turn = self.turn.filter(|(at, _)| *at == number);
        let word = match turn {
            Some((_, Turn::Panics)) => "boo".to_owned(),
            Some((_, Turn::Fails)) => "fail".to_owned(),
            Some((_, Turn::Returns)) => "enough".to_owned(),
            None => match self.wait {
                Some(wait) if number % 8 == 3 => format!("wait-{wait}"),
                _ => "go".to_owned(),
            },
        };
        let text = format!(
            "{word} {}",
            "x".repeat(usize::try_from(self.bytes).unwrap())
        );
        Note { number, text }
    }

    pub(crate) async fn sum(
        self,
        talk: TalkClient<SimClient>,
        timeout: Option<Duration>,
        sent: Rc<Sent>,
    ) -> Read {
        let mut call = talk.sum().metadata("app-number", self.number.to_string());
        if let Some(timeout) = timeout {
            call = call.timeout(timeout);
        }
        let mut upload = match call.open().await {
            Ok(upload) => upload,
            Err(status) => return (Vec::new(), Some(Err(status))),
        };
        for number in 0..self.length {
            if upload.send(self.note(number)).await.is_err() {
                break;
            }
            sent.messages.set(number + 1);
        }
        // Also what was broken off above: how it ended is told below.
        sent.has_said_all.set(sent.messages.get() == self.length);
        match upload.finish().await {
            Ok(sum) => (vec![sum.number], Some(Ok(()))),
            Err(status) => (Vec::new(), Some(Err(status))),
        }
    }

    pub(crate) async fn count(
        self,
        talk: TalkClient<SimClient>,
        timeout: Option<Duration>,
        gate: Rc<Gate>,
    ) -> Read {
        let mut asked = self.note(self.length);
        if let Some((at, turn)) = self.turn {
            asked.text = format!("{at} {turn:?} {}", self.bytes);
        } else {
            asked.text = format!("{} None {}", self.length, self.bytes);
        }
        let mut call = talk.count(asked);
        if let Some(timeout) = timeout {
            call = call.timeout(timeout);
        }
        match call.open().await {
            Ok(inbound) => read_all(inbound, &gate).await,
            Err(status) => (Vec::new(), Some(Err(status))),
        }
    }

    pub(crate) async fn send_all(self, mut outbound: Outbound<Note>, sent: &Sent) {
        for number in 0..self.length {
            if outbound.send(self.note(number)).await.is_err() {
                return;
            }
            sent.messages.set(number + 1);
        }
        sent.has_said_all.set(true);
    }
}

pub(crate) async fn read_all(mut inbound: Inbound<Note>, gate: &Gate) -> Read {
    let mut numbers = Vec::new();
    loop {
        gate.pass().await;
        match inbound.next().await {
            Ok(Some(note)) => numbers.push(note.number),
            Ok(None) => return (numbers, Some(Ok(()))),
            Err(status) => return (numbers, Some(Err(status))),
        }
    }
}

/// Handlers of every shape, which do what their messages say.
pub(crate) fn handlers(ends: Ends) -> Mount<impl Service + 'static> {
    talking!(|request| serve(request, Arc::clone(&ends)))
}

async fn serve(request: Request, ends: Ends) -> Result<Response, Status> {
    let number = request.metadata().text("app-number");
    let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
    match request.method().name {
        "Count" => {
            let (call, asked, mut outbound) =
                IncomingStream::server_stream::<Note, Note>(request).await?;
            let result = count(asked, &mut outbound).await;
            call.close(result)
        }
        "Sum" => {
            let (call, mut inbound) = IncomingUpload::open::<Note>(request)?;
            let (mut sum, mut met) = (0, 0);
            while let Some(note) = inbound.next().await? {
                match turn(call.context(), &note).await {
                    Some(Ok(())) => {
                        return call.close(Ok(Note {
                            number: sum,
                            ..note
                        }));
                    }
                    Some(Err(status)) => return call.close::<Note>(Err(status)),
                    None => {}
                }
                sum += note.number;
                met += 1;
            }
            ends.lock().unwrap().insert(number, met);
            call.close(Ok(Note {
                number: sum,
                text: String::new(),
            }))
        }
        _ => {
            let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Note, Note>(request)?;
            let mut met = 0;
            while let Some(note) = inbound.next().await? {
                if let Some(end) = turn(call.context(), &note).await {
                    return call.close(end);
                }
                outbound.send(note).await?;
                met += 1;
            }
            ends.lock().unwrap().insert(number, met);
            call.close(Ok(()))
        }
    }
}

async fn count(asked: Note, outbound: &mut Outbound<Note>) -> Result<(), Status> {
    let mut words = asked.text.split(' ');
    let until: u64 = words.next().and_then(|at| at.parse().ok()).unwrap();
    let turn = words.next().unwrap_or_default();
    let bytes = words.next().and_then(|bytes| bytes.parse().ok()).unwrap();
    let text = "x".repeat(bytes);
    for number in 0..until {
        let text = text.clone();
        outbound.send(Note { number, text }).await?;
    }
    match turn {
        "Panics" => panic::resume_unwind(Box::new("on purpose")),
        "Fails" => Err(Status::new(OWN, "on purpose")),
        _ => Ok(()),
    }
}

/// Does what a message says. Returns whether the stream is over by that.
async fn turn(cx: &Context, note: &Note) -> Option<Result<(), Status>> {
    let word = note.text.split(' ').next().unwrap_or_default();
    if let Some(wait) = word.strip_prefix("wait-") {
        cx.sleep(ms(wait.parse().unwrap())).await;
    }
    match word {
        // As a panic does, but without a word on the console.
        "boo" => panic::resume_unwind(Box::new("on purpose")),
        "fail" => Some(Err(Status::new(OWN, "on purpose"))),
        "enough" => Some(Ok(())),
        _ => None,
    }
}
