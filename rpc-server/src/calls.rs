//! The calls of one loop that wait or run on pools.

use std::time::Instant;

use rpc_codec::connection::ReplyTo;
use rpc_core::spawn::JobHandle;
use rpc_core::{Deadline, MethodDescriptor};
use rpc_net::Key;
use rpc_net::timer::TimerKey;
use slab::Slab;

/// Names one call that is under way on a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallKey {
    index: usize,
    /// Keeps a late result from answering a later call.
    number: u64,
}

impl CallKey {
    /// As one number, which a connection keeps for us.
    pub(crate) fn to_token(self) -> u64 {
        self.number << 32 | self.index as u64
    }
}

impl From<(usize, u64)> for CallKey {
    fn from((index, number): (usize, u64)) -> Self {
        Self { index, number }
    }
}

impl From<CallKey> for (usize, u64) {
    fn from(CallKey { index, number }: CallKey) -> Self {
        (index, number)
    }
}

/// A call that waits or runs on a pool.
#[derive(Debug)]
pub(crate) struct ActiveCall {
    pub(crate) link: Key,
    pub(crate) reply_to: ReplyTo,
    pub(crate) method: &'static MethodDescriptor,
    pub(crate) arrival: Instant,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) timer: Option<TimerKey>,
    /// Length of its request.
    pub(crate) bytes: usize,
    /// Dropping it drops what is left of the job. `None` until its handler has to wait.
    pub(crate) handle: Option<JobHandle>,
}

/// The calls of one loop, each until it is answered or nobody waits for it any more.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    active: Slab<(u64, ActiveCall)>,
    number: u64,
}

impl Calls {
    /// The key that the next call will have, if it is the next to be [inserted](Calls::insert).
    pub(crate) fn next_key(&mut self) -> CallKey {
        self.number += 1;
        CallKey {
            index: self.active.vacant_key(),
            number: self.number,
        }
    }

    pub(crate) fn insert(&mut self, key: CallKey, call: ActiveCall) {
        let index = self.active.insert((key.number, call));
        debug_assert_eq!(index, key.index, "the key was made for this place");
    }

    pub(crate) fn take(&mut self, key: CallKey) -> Option<ActiveCall> {
        self.get(key)?;
        Some(self.active.remove(key.index).1)
    }

    pub(crate) fn get(&self, key: CallKey) -> Option<&ActiveCall> {
        self.active
            .get(key.index)
            .filter(|(number, _)| *number == key.number)
            .map(|(_, call)| call)
    }

    pub(crate) fn get_mut(&mut self, key: CallKey) -> Option<&mut ActiveCall> {
        self.active
            .get_mut(key.index)
            .filter(|(number, _)| *number == key.number)
            .map(|(_, call)| call)
    }

    /// The call that gave this token to its connection, if it is still under way.
    pub(crate) fn by_token(&self, token: u64) -> Option<CallKey> {
        let index = usize::try_from(token & u64::from(u32::MAX)).ok()?;
        let number = self.active.get(index).map(|(number, _)| *number)?;
        let key = CallKey { index, number };
        (key.to_token() == token).then_some(key)
    }

    /// The calls that have a deadline and no timer.
    pub(crate) fn unwatched(&self) -> Vec<CallKey> {
        self.keys(|call| call.timer.is_none() && call.deadline.is_some())
    }

    /// The calls that came over one connection.
    pub(crate) fn of(&self, link: Key) -> Vec<CallKey> {
        self.keys(|call| call.link == link)
    }

    pub(crate) fn all(&self) -> Vec<CallKey> {
        self.keys(|_| true)
    }

    pub(crate) fn len(&self) -> usize {
        self.active.len()
    }

    fn keys(&self, is_meant: impl Fn(&ActiveCall) -> bool) -> Vec<CallKey> {
        let meant = self.active.iter().filter(|(_, (_, call))| is_meant(call));
        meant
            .map(|(index, (number, _))| CallKey {
                index,
                number: *number,
            })
            .collect()
    }
}
