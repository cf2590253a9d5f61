//! Requests to end, as SIGTERM and SIGINT bring them, for the one thread that waits for them.
//!
//! Nothing is installed before [`on_terminate`] is called. No other signal is touched, those of faults least of all.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{self, Signals};

/// Begins to take SIGTERM and SIGINT, which would otherwise end the process at once.
///
/// Each [`Terminations`] gets every signal, so two servers of one process both learn of it. What was taken stays taken:
/// once the last of them is dropped, SIGTERM and SIGINT do nothing at all. A process that lives on after its servers
/// should keep one and go on asking it.
///
/// # Errors
///
/// When no pipe can be made.
pub fn on_terminate() -> io::Result<Terminations> {
    Signals::new([SIGTERM, SIGINT]).map(|signals| Terminations { signals })
}

/// The requests to end, one after the other: `next` blocks until there is one, and returns `None` once a
/// [`Handle`] has closed it. Signals of one kind that come faster than they are asked for count as one.
#[derive(Debug)]
pub struct Terminations {
    signals: Signals,
}

impl Terminations {
    /// What ends the waiting from another thread.
    pub fn handle(&self) -> Handle {
        Handle {
            handle: self.signals.handle(),
        }
    }
}

impl Iterator for Terminations {
    type Item = Termination;

    fn next(&mut self) -> Option<Termination> {
        self.signals.forever().next().map(|signal| match signal {
            SIGINT => Termination::Interrupt,
            _ => Termination::Terminate,
        })
    }
}

/// Who asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Termination {
    /// SIGTERM: whoever runs services here.
    Terminate,
    /// SIGINT: somebody at a terminal.
    Interrupt,
}

/// Ends the waiting of a [`Terminations`] from another thread.
#[derive(Debug, Clone)]
pub struct Handle {
    handle: iterator::Handle,
}

impl Handle {
    /// Makes `next` return `None` from now on, also where it is waiting. Closing twice changes nothing.
    pub fn close(&self) {
        self.handle.close();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use signal_hook::low_level::raise;

    use super::*;

    // One test, because signals are for the whole process.
    #[test]
    fn a_signal_reaches_everyone_who_waits_until_they_are_closed() {
        let mut first = on_terminate().unwrap();
        let mut second = on_terminate().unwrap();
        raise(SIGTERM).unwrap();
        assert_eq!(first.next(), Some(Termination::Terminate));
        assert_eq!(second.next(), Some(Termination::Terminate));

        raise(SIGINT).unwrap();
        assert_eq!(first.next(), Some(Termination::Interrupt));

        let handle = first.handle();
        let waiting = thread::spawn(move || first.next());
        handle.close();
        handle.close();
        assert_eq!(waiting.join().unwrap(), None);
        assert_eq!(second.next(), Some(Termination::Interrupt));
    }
}
