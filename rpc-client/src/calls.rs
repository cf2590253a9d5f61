//! The calls of one loop that are under way.

use std::time::Instant;

use rpc_codec::connection::{RequestId, StreamId};
use rpc_core::{Deadline, EndpointId};
use rpc_net::Key;
use rpc_net::timer::TimerKey;
use slab::Slab;

use crate::pending::Duty;

/// Names one call that is under way on a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallKey {
    index: u32,
    /// Keeps what is late from ending a later call.
    number: u32,
}

impl CallKey {
    /// As one number, which a connection keeps for us.
    pub(crate) fn to_token(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_token(token: u64) -> Self {
        Self {
            index: low_half(token),
            number: low_half(token >> 32),
        }
    }
}

fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("masked")
}

/// How a call went out, and over which connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sent {
    Call(Key, RequestId),
    Stream(Key, StreamId),
}

/// A call that has not been completed.
#[derive(Debug)]
pub(crate) struct ActiveCall {
    pub(crate) duty: Duty,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) timer: Option<TimerKey>,
    /// Where it waits or was sent.
    pub(crate) endpoint: Option<EndpointId>,
    pub(crate) sent: Option<Sent>,
    pub(crate) placed_at: Instant,
    /// How often it was placed elsewhere.
    pub(crate) moves: usize,
}

impl ActiveCall {
    pub(crate) fn new(duty: Duty, deadline: Option<Deadline>, now: Instant) -> Self {
        Self {
            duty,
            deadline,
            timer: None,
            endpoint: None,
            sent: None,
            placed_at: now,
            moves: 0,
        }
    }
}

/// The calls of one loop, each until it is completed.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    active: Slab<(u32, ActiveCall)>,
    number: u32,
}

impl Calls {
    pub(crate) fn insert(&mut self, call: ActiveCall) -> CallKey {
        self.number = self.number.wrapping_add(1);
        let index = self.active.insert((self.number, call));
        CallKey {
            index: u32::try_from(index).expect("memory ends first"),
            number: self.number,
        }
    }

    pub(crate) fn get_mut(&mut self, key: CallKey) -> Option<&mut ActiveCall> {
        let place = self.active.get_mut(key.index as usize);
        place
            .filter(|(number, _)| *number == key.number)
            .map(|(_, call)| call)
    }

    pub(crate) fn take(&mut self, key: CallKey) -> Option<ActiveCall> {
        self.get_mut(key)?;
        Some(self.active.remove(key.index as usize).1)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (CallKey, &mut ActiveCall)> {
        self.active.iter_mut().map(|(index, (number, call))| {
            let index = u32::try_from(index).expect("memory ends first");
            let number = *number;
            (CallKey { index, number }, call)
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.active.len()
    }
}
