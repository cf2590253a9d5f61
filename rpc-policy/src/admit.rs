//! [`Admit`]: whether a call comes in at all.
//!
//! A server that has more to do than it can must refuse, and a refusal is worth the less the more was spent on it. So
//! guards stand at the door: they see the head of a request, before anything is unpacked, decoded or queued, and they
//! answer at once. They run on I/O threads, where whatever takes long keeps a whole loop waiting.
//!
//! ```
//! use std::time::Instant;
//! use rpc_core::Status;
//! use rpc_policy::{Admit, Arrival};
//!
//! /// Nobody may send more than this at once.
//! struct SmallOnly { body_bytes_max: usize }
//!
//! impl Admit for SmallOnly {
//!     fn admit(&self, arrival: &Arrival<'_>, _: Instant) -> Result<(), Status> {
//!         if arrival.body_bytes > self.body_bytes_max {
//!             return Err(Status::invalid_argument("the body is too large"));
//!         }
//!         Ok(())
//!     }
//! }
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use rpc_core::{Deadline, MethodDescriptor, Status};

/// Decides at the door whether a call comes in.
pub trait Admit: Send + Sync + 'static {
    /// Lets a call in, or refuses it. Called on I/O threads for every call: it must neither block nor take long.
    ///
    /// # Errors
    ///
    /// Why the call is refused; the caller is sent it, and the call is not run. A refusal that has to do with load is
    /// [`Status::rate_limited`] or [`Status::overloaded`], by which the caller knows that it may try elsewhere.
    fn admit(&self, arrival: &Arrival<'_>, now: Instant) -> Result<(), Status>;
}

impl<T: Admit + ?Sized> Admit for Arc<T> {
    fn admit(&self, arrival: &Arrival<'_>, now: Instant) -> Result<(), Status> {
        T::admit(self, arrival, now)
    }
}

impl<T: Admit + ?Sized> Admit for Box<T> {
    fn admit(&self, arrival: &Arrival<'_>, now: Instant) -> Result<(), Status> {
        T::admit(self, arrival, now)
    }
}

/// What is known of a call from its head alone.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Arrival<'a> {
    /// Which method is called.
    pub method: &'static MethodDescriptor,
    /// How the caller calls itself, see [`Arrival::caller`]; it need not be text.
    pub caller_bytes: &'a [u8],
    /// The length of the body as it arrived, still compressed if it is.
    pub body_bytes: usize,
    /// The calls that the server has taken and not yet answered, without this one.
    pub calls_in_flight: usize,
    /// When nobody waits for the answer any more.
    pub deadline: Option<Deadline>,
}

impl<'a> Arrival<'a> {
    /// The arrival of a call of `method` of which nothing else is known yet.
    pub fn new(method: &'static MethodDescriptor) -> Self {
        Self {
            method,
            caller_bytes: b"",
            body_bytes: 0,
            calls_in_flight: 0,
            deadline: None,
        }
    }

    /// How the caller calls itself; empty if it does not, or not in text. The caller chose it, so it proves nothing, and
    /// nothing may be kept for each value that is seen.
    pub fn caller(&self) -> &'a str {
        std::str::from_utf8(self.caller_bytes).unwrap_or_default()
    }
}

/// Guards one behind the other: a call comes in if all of them let it. Without guards all calls do.
///
/// They are asked in the order in which they were added, up to the first that refuses. What the earlier ones counted for
/// the call, such as a token, stays counted; so the ones that refuse most belong in front.
#[derive(Default)]
pub struct Guards(Vec<Box<dyn Admit>>);

impl Guards {
    /// No guards.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one behind those that are there.
    pub fn push(&mut self, guard: impl Admit) {
        self.0.push(Box::new(guard));
    }
}

impl Admit for Guards {
    fn admit(&self, arrival: &Arrival<'_>, now: Instant) -> Result<(), Status> {
        self.0
            .iter()
            .try_for_each(|guard| guard.admit(arrival, now))
    }
}

impl fmt::Debug for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guards({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rpc_core::{Clock, Code};

    use super::*;
    use crate::filter::tests::METHOD;

    struct Counting(AtomicUsize, Option<Code>);

    impl Admit for Counting {
        fn admit(&self, _: &Arrival<'_>, _: Instant) -> Result<(), Status> {
            self.0.fetch_add(1, Ordering::Relaxed);
            self.1.map_or(Ok(()), |code| Err(Status::new(code, "")))
        }
    }

    #[test]
    fn guards_are_asked_in_order_up_to_the_first_that_refuses() {
        let guards = [None, Some(Code::Overloaded), Some(Code::Internal)]
            .map(|code| Arc::new(Counting(AtomicUsize::new(0), code)));
        let mut door = Guards::new();
        for guard in &guards {
            door.push(Arc::clone(guard));
        }
        let refused = door.admit(&Arrival::new(&METHOD), Clock::system().now());
        assert_eq!(refused.unwrap_err().code(), Code::Overloaded);
        let asked = guards.map(|guard| guard.0.load(Ordering::Relaxed));
        assert_eq!(asked, [1, 1, 0]);
    }

    #[test]
    fn without_guards_everybody_comes_in() {
        let now = Clock::system().now();
        assert!(Guards::new().admit(&Arrival::new(&METHOD), now).is_ok());
    }
}
