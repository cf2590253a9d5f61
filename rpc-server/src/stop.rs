//! What tells a server to end.

use std::io;

use rpc_net::signal::{self, Terminations};

/// Tells a server to end, when it says so.
pub trait StopSignal: Send + 'static {
    /// Blocks until the server is to end: the first time in order, the second time at once.
    ///
    /// # Errors
    ///
    /// When it never will, because the operating system does not let it listen.
    fn wait(&mut self) -> io::Result<()>;
}

impl<F: FnMut() -> io::Result<()> + Send + 'static> StopSignal for F {
    fn wait(&mut self) -> io::Result<()> {
        self()
    }
}

/// SIGTERM and SIGINT: the first ends the server in order, the second at once. From this call on they no longer end the
/// process by themselves, so make it before anybody is told that the server is there.
pub fn terminate() -> Terminate {
    Terminate {
        signals: signal::on_terminate().map_err(Some),
    }
}

/// Made by [`terminate`].
#[derive(Debug)]
#[must_use = "pass it to `Server::run_until`"]
pub struct Terminate {
    /// The error is kept until somebody waits, and given once.
    signals: Result<Terminations, Option<io::Error>>,
}

impl StopSignal for Terminate {
    fn wait(&mut self) -> io::Result<()> {
        match &mut self.signals {
            Ok(signals) => signals
                .next()
                .map(drop)
                .ok_or_else(|| io::ErrorKind::Interrupted.into()),
            Err(error) => Err(error.take().unwrap_or_else(|| io::ErrorKind::Other.into())),
        }
    }
}
