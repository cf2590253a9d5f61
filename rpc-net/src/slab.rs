//! The connections of one loop, under keys that do not fit whoever comes after them.

use std::net::SocketAddr;

use slab::Slab;

use crate::link::Link;

/// Names a connection of one loop. A key outlives its connection without ever naming another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// As one number, for the operating system's event queue.
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_u64(number: u64) -> Self {
        Self {
            index: low_half(number),
            generation: low_half(number >> 32),
        }
    }

    /// Its place in tables that have one entry for each connection. Places are used again; keys are not.
    fn index(self) -> usize {
        self.index as usize
    }
}

/// What somebody knows of each connection, beside the connection itself.
#[derive(Debug)]
pub struct ByLink<T> {
    /// By [`Key::index`].
    places: Vec<Option<T>>,
}

impl<T> Default for ByLink<T> {
    fn default() -> Self {
        Self { places: Vec::new() }
    }
}

impl<T> ByLink<T> {
    /// Notes `value` for a connection, in place of what was known of an earlier one.
    pub fn set(&mut self, key: Key, value: T) {
        if self.places.len() <= key.index() {
            self.places.resize_with(key.index() + 1, || None);
        }
        if let Some(place) = self.places.get_mut(key.index()) {
            *place = Some(value);
        }
    }

    /// Forgets a connection and returns what was known of it.
    pub fn take(&mut self, key: Key) -> Option<T> {
        self.places.get_mut(key.index()).and_then(Option::take)
    }

    /// What is known of a connection.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key.index()).and_then(Option::as_ref)
    }

    /// What is known of a connection, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key.index()).and_then(Option::as_mut)
    }
}

fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("masked")
}

/// The connections, each with the generation of its key.
pub(crate) struct Links<M> {
    slots: Slab<(u32, Link<M>)>,
    /// 31 bits, so that a key as a number leaves one bit for others.
    generation: u32,
}

impl<M> Default for Links<M> {
    fn default() -> Self {
        Self {
            slots: Slab::new(),
            generation: 0,
        }
    }
}

impl<M> Links<M> {
    pub(crate) fn insert(&mut self, machine: M, peer: SocketAddr) -> Key {
        self.generation = (self.generation + 1) & (u32::MAX >> 1);
        let index = self
            .slots
            .insert((self.generation, Link::new(machine, peer)));
        Key {
            index: u32::try_from(index).expect("descriptors are far fewer"),
            generation: self.generation,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Link<M>> {
        self.get(key)?;
        Some(self.slots.remove(key.index()).1)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Link<M>> {
        self.slots
            .get(key.index())
            .and_then(|(generation, link)| (*generation == key.generation).then_some(link))
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Link<M>> {
        self.slots
            .get_mut(key.index())
            .and_then(|(generation, link)| (*generation == key.generation).then_some(link))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.slots.iter().map(|(index, (generation, _))| Key {
            index: u32::try_from(index).expect("inserted as one"),
            generation: *generation,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_names_a_later_connection() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut links = Links::default();
        let first = links.insert("first", peer);
        assert!(links.remove(first).is_some());
        let second = links.insert("second", peer);
        assert_eq!(first.index(), second.index());
        assert!(links.get(first).is_none());
        assert_eq!(links.get(second).map(|link| link.machine), Some("second"));
        assert_eq!(Key::from_u64(second.to_u64()), second);
    }
}
