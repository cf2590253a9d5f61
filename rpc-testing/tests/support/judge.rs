//! What tests over virtual wires make of calls.

use std::sync::{Arc, Mutex};

use rpc_core::{Code, Event, Observer, Status};
use rpc_policy::filter::Retry;
use rpc_testing::Started;

use super::Note;

pub(crate) type Called = Started<Result<Note, Status>>;

pub(crate) fn code(result: Result<Note, Status>) -> Code {
    result.expect_err("a failure").code()
}

/// A note that says which call it belongs to, long enough to be cut.
pub(crate) fn numbered(number: u64) -> Note {
    let times = usize::try_from(number % 50).unwrap();
    Note {
        number,
        text: "text ".repeat(times),
    }
}

/// Writes down with which codes calls end at a server.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<Vec<Option<Code>>>>);

impl Ends {
    pub(crate) fn take(&self) -> Vec<Option<Code>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Ends {
    fn observe(&self, event: &Event<'_>) {
        if let Event::CallEnded { code, .. } = event {
            self.0.lock().unwrap().push(*code);
        }
    }
}

pub(crate) fn retry() -> Retry {
    Retry::budget(0.1).seeded(3)
}
