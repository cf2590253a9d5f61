//! [`ConcurrencyLimit`]: so many calls at once.
//!
//! # The problem
//!
//! What a call holds while it runs (memory, a connection of a database, a place in somebody's queue) is there in a fixed
//! number. A limit on the rate does not protect it: when calls become slow, the same rate means more of them at once.
//!
//! # The algorithm
//!
//! A count of the calls inside, as in a semaphore that never lets anybody wait. By Little's law a limit of `max` calls
//! that take `t` each lets `max / t` of them through.
//!
//! # Parameters
//!
//! * `max`, in calls. No default: it is the number of whatever is to be protected. 0 lets nobody in.
//!
//! # Worst case
//!
//! Never more than `max` inside. Of several threads that ask for the last place at the same moment all may be refused,
//! because each counts itself before it looks.

use std::sync::Arc;

use rpc_core::{Permit, Permits};

/// Lets at most so many calls in at once. Clones share one limit.
#[derive(Debug, Clone)]
pub struct ConcurrencyLimit {
    permits: Arc<Permits>,
}

impl ConcurrencyLimit {
    /// At most `max` calls at once.
    pub fn new(max: usize) -> Self {
        Self {
            permits: Arc::new(Permits::new(max)),
        }
    }

    /// A place for one call, which is free again when the permit is dropped. `None` when all are taken. Never waits.
    pub fn enter(&self) -> Option<Permit> {
        self.permits.take()
    }

    /// How many calls are inside.
    pub fn in_flight(&self) -> usize {
        self.permits.taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_call_has_ended() {
        let limit = ConcurrencyLimit::new(1);
        let inside = limit.enter().unwrap();
        assert!(limit.clone().enter().is_none());
        drop(inside);
        assert_eq!(limit.in_flight(), 0);
        assert!(limit.enter().is_some());
    }

    #[test]
    fn zero_lets_nobody_in() {
        assert!(ConcurrencyLimit::new(0).enter().is_none());
    }
}
