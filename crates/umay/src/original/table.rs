//! A set that all workers read and write without a lock, and that forgets rather than grows.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

/// A set of hashes. Each has one place, which the last one takes: what is in it was put into it, and
/// what was put into it may have had to go.
#[derive(Debug)]
pub struct Table {
    slots: Box<[AtomicU64]>,
    /// Keyed by chance, so that nobody can aim at a place.
    hasher: RandomState,
}

impl Table {
    /// An empty set with room for so many.
    pub fn new(room: usize) -> Self {
        Self {
            slots: (0..room).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Puts something in. The key takes it out again.
    pub fn insert(&self, what: &impl Hash) -> NonZeroU64 {
        let key = self.key(what);
        if let Some(slot) = self.slot(key) {
            slot.store(key.get(), Ordering::Release);
        }
        key
    }

    /// True if it is in there.
    pub fn contains(&self, what: &impl Hash) -> bool {
        let key = self.key(what);
        self.slot(key)
            .is_some_and(|slot| slot.load(Ordering::Acquire) == key.get())
    }

    /// Takes out what has this key.
    pub fn remove(&self, key: NonZeroU64) {
        if let Some(slot) = self.slot(key) {
            // Another one may have its place by now, and keeps it.
            let _ = slot.compare_exchange(key.get(), 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// The key that something has, or would have.
    pub fn key(&self, what: &impl Hash) -> NonZeroU64 {
        NonZeroU64::new(self.hasher.hash_one(what)).unwrap_or(NonZeroU64::MIN)
    }

    fn slot(&self, key: NonZeroU64) -> Option<&AtomicU64> {
        let room = u64::try_from(self.slots.len()).ok()?;
        let at = key.get().checked_rem(room)?;
        self.slots.get(usize::try_from(at).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let table = Table::new(64);
        assert!(!table.contains(&1));
        let key = table.insert(&1);
        assert!(table.contains(&1));
        table.remove(key);
        assert!(!table.contains(&1));
    }

    #[test]
    fn the_last_one_has_the_place() {
        let table = Table::new(1);
        let first = table.insert(&1);
        table.insert(&2);
        assert!(!table.contains(&1) && table.contains(&2));
        // The first one's end is not the second one's.
        table.remove(first);
        assert!(table.contains(&2));
    }

    #[test]
    fn no_room_is_no_fault() {
        let table = Table::new(0);
        table.insert(&1);
        assert!(!table.contains(&1));
    }
}
