//! The connections of one loop, under keys that do not fit whoever comes after them.

use crate::link::Link;
use crate::pages::Slab;

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
    fn place(self) -> usize {
        self.index as usize
    }
}

/// What somebody knows of each connection, beside the connection itself.
#[derive(Debug)]
pub struct ByLink<T> {
    /// By [`Key::place`].
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
        let missing = (key.place() + 1).saturating_sub(self.places.len());
        if missing > self.places.capacity() - self.places.len() {
            // An eighth at a time: what doubles is half empty when thousands of connections are idle.
            self.places
                .reserve_exact(missing.max(self.places.len() / 8).max(PLACES_MIN));
        }
        if missing > 0 {
            self.places.resize_with(key.place() + 1, || None);
        }
        if let Some(place) = self.places.get_mut(key.place()) {
            *place = Some(value);
        }
    }

    /// Forgets a connection and returns what was known of it.
    pub fn take(&mut self, key: Key) -> Option<T> {
        self.places.get_mut(key.place()).and_then(Option::take)
    }

    /// What is known of a connection.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key.place()).and_then(Option::as_ref)
    }

    /// What is known of a connection, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key.place()).and_then(Option::as_mut)
    }
}

/// Places that a table begins with.
const PLACES_MIN: usize = 16;

fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("masked")
}

/// The connections, each with the generation of its key.
pub(crate) struct Links<M> {
    places: Slab<Link<M>>,
    /// 31 bits, so that a key as a number leaves one bit for others.
    generation: u32,
}

impl<M> Default for Links<M> {
    fn default() -> Self {
        Self {
            places: Slab::default(),
            generation: 0,
        }
    }
}

impl<M> Links<M> {
    pub(crate) fn insert(&mut self, machine: M) -> Key {
        self.generation = (self.generation + 1) & (u32::MAX >> 1);
        Key {
            index: self.places.insert(Link::new(machine, self.generation)),
            generation: self.generation,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Link<M>> {
        self.places
            .remove_if(key.index, |link| link.generation == key.generation)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Link<M>> {
        self.places
            .get(key.index)
            .filter(|link| link.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Link<M>> {
        self.places
            .get_mut(key.index)
            .filter(|link| link.generation == key.generation)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.places.iter().map(|(index, link)| Key {
            index,
            generation: link.generation,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_names_a_later_connection() {
        let mut links = Links::default();
        let first = links.insert("first");
        assert!(links.remove(first).is_some());
        let second = links.insert("second");
        assert_eq!(first.index, second.index);
        assert!(links.get(first).is_none());
        assert_eq!(links.get(second).map(|link| link.machine), Some("second"));
        assert_eq!(Key::from_u64(second.to_u64()), second);
    }
}
