//! The service that is measured.

use std::thread;
use std::time::Duration;

use tern::{Clock, Context, Status};

tern::include_stubs!("bench.v1");

/// How long [`Echoing`] blocks its thread in `Block`.
pub const BLOCK: Duration = Duration::from_millis(200);

/// Returns what it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Echoing;

impl Echo for Echoing {
    async fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    async fn block(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        sit_out(BLOCK);
        Ok(message)
    }
}

impl blocking::Echo for Echoing {
    fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    fn block(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        sit_out(BLOCK);
        Ok(message)
    }
}

/// Keeps this thread from doing anything else, as a call to something slow does.
pub fn sit_out(time: Duration) {
    let clock = Clock::system();
    let until = clock.now() + time;
    loop {
        let left = until.saturating_duration_since(clock.now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}
