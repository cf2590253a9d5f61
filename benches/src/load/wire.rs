//! [`Wire`]: one connection of a protocol, as bytes.

use std::fmt;
use std::io;

/// The calls that were answered, by slot.
pub type Answers = Vec<u32>;

/// One connection of a protocol. It is told which calls to make and what arrived, and says which calls were answered.
/// Requests are built beforehand: only what tells them apart is written anew.
pub trait Wire: fmt::Debug {
    /// Says what comes before all requests.
    fn open(&mut self, out: &mut Vec<u8>);

    /// Appends a request. Its answer is reported under `slot`, which is not in use.
    fn request(&mut self, slot: u32, out: &mut Vec<u8>);

    /// Takes what has arrived and says how much of it was used; the rest is shown again with what follows. `out` takes
    /// what has to be sent because of it.
    ///
    /// # Errors
    ///
    /// When an answer is not the one expected: another length, a failure, a call that nobody made.
    fn receive(
        &mut self,
        input: &[u8],
        answers: &mut Answers,
        out: &mut Vec<u8>,
    ) -> Result<usize, LoadError>;
}

/// Why a run of load is worth nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The operating system says so, or the server has closed a connection.
    Io(io::Error),
    /// The server answered something else than it should have.
    Answer(String),
    /// The server did not answer in time.
    Silence,
}

impl LoadError {
    pub(crate) fn answer(what: impl Into<String>) -> Self {
        Self::Answer(what.into())
    }
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Answer(what) => write!(f, "not the answer expected: {what}"),
            Self::Silence => f.write_str("the server does not answer"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}
