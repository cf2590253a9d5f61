//! [`Routes`]: the routes of one event loop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::{Executor, Work};

use crate::router::{ANY_PATH, Route};

/// Where one path leads on one loop.
pub(crate) struct Way {
    pub(crate) route: Route,
    /// The pool that serves what is not served in place.
    pub(crate) executor: Executor,
    /// How it does that.
    pub(crate) work: Arc<dyn Work>,
    /// What the server gives each call, whatever its caller gives.
    pub(crate) timeout: Option<Duration>,
    /// Whether it leads on from any path.
    pub(crate) is_any: bool,
    /// Other services that answer to the path, if they are called by name. Mostly there is none.
    pub(crate) rivals: Vec<Way>,
}

impl Way {
    /// The way to whom the callee names, or this one.
    #[cold]
    fn called(&self, callee: &[u8]) -> &Self {
        let mut rivals = self.rivals.iter();
        rivals
            .find(|rival| rival.route.is_called(callee))
            .unwrap_or(self)
    }
}

/// The routes of one event loop. A table of its own, because whoever calls is likely to call the same method again: the
/// last route is looked at first, which is a comparison instead of a hash and a comparison.
pub(crate) struct Routes {
    list: Vec<(&'static [u8], Way)>,
    places: HashMap<&'static [u8], usize, foldhash::fast::RandomState>,
    recent: usize,
}

impl Routes {
    /// Where `path` leads those who call `callee`.
    #[inline]
    pub(crate) fn find(&mut self, path: &[u8], callee: &[u8]) -> Option<&Way> {
        let is_recent = self
            .list
            .get(self.recent)
            .is_some_and(|(recent, _)| *recent == path);
        if !is_recent {
            let place = self.places.get(path);
            self.recent = *place.or_else(|| self.any(path))?;
        }
        let (_, way) = self.list.get(self.recent)?;
        Some(if way.rivals.is_empty() {
            way
        } else {
            way.called(callee)
        })
    }

    /// Where paths lead that lead nowhere else, if they are text.
    #[cold]
    fn any(&self, path: &[u8]) -> Option<&usize> {
        std::str::from_utf8(path).ok()?;
        self.places.get(ANY_PATH)
    }
}

impl FromIterator<(&'static [u8], Way)> for Routes {
    fn from_iter<I: IntoIterator<Item = (&'static [u8], Way)>>(ways: I) -> Self {
        let list: Vec<_> = ways.into_iter().collect();
        let places = list.iter().enumerate();
        Self {
            places: places.map(|(place, (path, _))| (*path, place)).collect(),
            list,
            recent: 0,
        }
    }
}
