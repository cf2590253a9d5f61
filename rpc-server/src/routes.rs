//! [`Routes`]: the routes of one event loop.

use std::collections::HashMap;

use crate::router::Route;

/// The routes of one event loop. A table of its own, because whoever calls is likely to call the same method again: the
/// last route is looked at first, which is a comparison instead of a hash and a comparison.
#[derive(Debug)]
pub(crate) struct Routes {
    list: Vec<(&'static [u8], Route)>,
    places: HashMap<&'static [u8], usize, foldhash::fast::RandomState>,
    recent: usize,
}

impl Routes {
    /// Where `path` leads.
    #[inline]
    pub(crate) fn find(&mut self, path: &[u8]) -> Option<&Route> {
        let is_recent = self
            .list
            .get(self.recent)
            .is_some_and(|(recent, _)| *recent == path);
        if !is_recent {
            self.recent = *self.places.get(path)?;
        }
        self.list.get(self.recent).map(|(_, route)| route)
    }
}

impl FromIterator<(&'static [u8], Route)> for Routes {
    fn from_iter<I: IntoIterator<Item = (&'static [u8], Route)>>(routes: I) -> Self {
        let list: Vec<_> = routes.into_iter().collect();
        let places = list.iter().enumerate();
        Self {
            places: places.map(|(place, (path, _))| (*path, place)).collect(),
            list,
            recent: 0,
        }
    }
}
