//! How many series there are at most: so many routes, upstreams and endpoints have series of their own, those
//! that came first; the others are counted together as [`OTHER`], a name that the configuration does not allow.
//!
//! A configuration may have ten thousand routes and discovery may find as many endpoints, and new ones with
//! every rollout; a scrape every few seconds could not bear a hundred series for each. What has series
//! of its own keeps them for as long as it lives. What was counted together stays counted, or a counter
//! would fall.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub use umay_core::model::OTHER;

/// Routes with series of their own: about 25 lines each.
pub const MOST_ROUTES: usize = 1000;

/// Upstreams with series of their own: about 70 lines each.
pub const MOST_UPSTREAMS: usize = 1000;

/// Endpoints of the process with series of their own: three lines each.
pub const MOST_ENDPOINTS: usize = 2000;

/// The places that there are, in the whole process, for things of one kind.
#[derive(Clone, Debug)]
pub(super) struct Places {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// The places of all kinds.
#[derive(Debug)]
pub(super) struct Kinds {
    pub(super) routes: Places,
    pub(super) upstreams: Places,
    pub(super) discoveries: Places,
    pub(super) endpoints: Places,
}

impl Default for Kinds {
    fn default() -> Self {
        Self {
            routes: Places::new(MOST_ROUTES),
            upstreams: Places::new(MOST_UPSTREAMS),
            discoveries: Places::new(MOST_UPSTREAMS),
            endpoints: Places::new(MOST_ENDPOINTS),
        }
    }
}

/// One of the places, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

/// Where something is counted.
#[derive(Debug)]
pub(super) enum Series<L> {
    /// In series of its own, or in none at all.
    Own { _place: Option<Place> },
    /// With others; this is what those have counted that are gone.
    Other(L),
}

impl<L: Clone> Series<L> {
    /// In a place of its own if there is one left, else with others.
    pub(super) fn take(places: &Places, left: &L) -> Self {
        match places.take() {
            Some(place) => Self::Own {
                _place: Some(place),
            },
            None => Self::Other(left.clone()),
        }
    }

    /// Needs no place.
    pub(super) fn free() -> Self {
        Self::Own { _place: None }
    }

    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }
}

impl Places {
    fn new(most: usize) -> Self {
        Self {
            most,
            taken: Arc::default(),
        }
    }

    /// Takes a place; `None` if there is none left.
    fn take(&self) -> Option<Place> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Relaxed, Relaxed, more);
        taken.ok().map(|_| Place(Arc::clone(&self.taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
