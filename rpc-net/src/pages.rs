//! [`Slab`]: values under small numbers, in pages.
//!
//! What doubles when it is full leaves half of its places empty in the worst case, and copies all that it holds while
//! the allocator still has the old half: with thousands of idle connections either costs more than what a connection
//! needs. Here no value moves when others come, and at most one page is not full.

use std::array;

/// Values under numbers that it gives out, and gives out again once their values are gone.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    pages: Vec<Box<[Option<T>; PAGE]>>,
    /// Numbers that have been given back. The last is the first to be used again, because its place is in the cache.
    free: Vec<u32>,
    /// Numbers from here on have never been given out.
    fresh: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
            fresh: 0,
        }
    }
}

impl<T> Slab<T> {
    /// Keeps a value and returns its number.
    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| self.next_fresh());
        if let Some(place) = self.place(number) {
            *place = Some(value);
        }
        number
    }

    /// Takes a value out.
    #[inline]
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        self.remove_if(number, |_| true)
    }

    /// Takes a value out if it is the one that is meant.
    #[inline]
    pub(crate) fn remove_if(
        &mut self,
        number: u32,
        is_meant: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let value = self.place(number)?.take_if(|value| is_meant(value))?;
        self.free.push(number);
        Some(value)
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let (page, place) = split(number);
        self.pages.get(page)?.get(place)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.place(number)?.as_mut()
    }

    /// How many values there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        (self.fresh as usize).saturating_sub(self.free.len())
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let places = self.pages.iter().flat_map(|page| page.iter());
        (0..)
            .zip(places)
            .filter_map(|(number, place)| Some((number, place.as_ref()?)))
    }

    /// A number that has never been given out, and room for its value.
    #[cold]
    fn next_fresh(&mut self) -> u32 {
        let number = self.fresh;
        self.fresh = number.checked_add(1).expect("memory holds far fewer");
        if split(number).0 == self.pages.len() {
            self.pages.push(Box::new(array::from_fn(|_| None)));
        }
        number
    }

    #[inline]
    fn place(&mut self, number: u32) -> Option<&mut Option<T>> {
        let (page, place) = split(number);
        self.pages.get_mut(page)?.get_mut(place)
    }
}

/// Places of a page: enough that a page's own cost does not count, and few enough that one that is not full does not.
const PAGE: usize = 64;

#[inline]
fn split(number: u32) -> (usize, usize) {
    (number as usize / PAGE, number as usize % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_values_stay_where_they_are() {
        let mut slab = Slab::default();
        let addresses = |slab: &Slab<i32>| -> Vec<*const i32> {
            slab.iter()
                .map(|(_, value)| std::ptr::from_ref(value))
                .collect()
        };
        let numbers: Vec<u32> = (0..1000).map(|value| slab.insert(value)).collect();
        let before = addresses(&slab);
        assert_eq!(slab.remove(numbers[500]), Some(500));
        assert_eq!(slab.remove(numbers[500]), None);
        assert_eq!((slab.len(), slab.get(numbers[500])), (999, None));
        assert_eq!(slab.insert(-1), numbers[500]);
        assert_eq!(slab.get_mut(numbers[500]), Some(&mut -1));
        assert!((0..10_000).all(|_| slab.insert(0) >= 1000));
        assert_eq!(addresses(&slab)[..1000], before);
    }

    #[test]
    fn no_more_than_a_page_is_not_in_use() {
        let mut slab = Slab::default();
        for count in 1..1000 {
            slab.insert(0_u64);
            assert!(slab.pages.len() * PAGE - count < PAGE);
        }
    }
}
