//! Exemplars: for each bucket the last request in it that is recorded in a trace.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One that was observed, and where to read more about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace.
    pub trace_id: u128,
    /// What was observed.
    pub took: Duration,
    /// When, since 1970.
    pub when: Duration,
}

/// The place of one exemplar, with one writer. Readers see all of it or nothing.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Odd while it is being written; 0 if it never was.
    version: AtomicU64,
    trace_high: AtomicU64,
    trace_low: AtomicU64,
    took: AtomicU64,
    when: AtomicU64,
}

impl Slot {
    pub(super) fn put(&self, trace_id: u128, took: u64) {
        let when = SystemTime::now().duration_since(UNIX_EPOCH);
        let when = u64::try_from(when.unwrap_or_default().as_nanos()).unwrap_or(0);
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version | 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.trace_high
            .store((trace_id >> 64) as u64, Ordering::Relaxed);
        self.trace_low.store(trace_id as u64, Ordering::Relaxed);
        self.took.store(took, Ordering::Relaxed);
        self.when.store(when, Ordering::Relaxed);
        self.version
            .store((version | 1).wrapping_add(1), Ordering::Release);
    }

    /// What was put last; `None` if nothing was, or something is being put again and again.
    pub(super) fn get(&self) -> Option<Exemplar> {
        for _ in 0..16 {
            let before = self.version.load(Ordering::Acquire);
            let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
            let exemplar = Exemplar {
                trace_id: u128::from(read(&self.trace_high)) << 64
                    | u128::from(read(&self.trace_low)),
                took: Duration::from_nanos(read(&self.took)),
                when: Duration::from_nanos(read(&self.when)),
            };
            fence(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            if before & 1 == 0 && self.version.load(Ordering::Relaxed) == before {
                return Some(exemplar);
            }
            std::hint::spin_loop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_sees_all_of_it_or_nothing() {
        let slot = Slot::default();
        assert_eq!(slot.get(), None);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 1..=200_000_u64 {
                    let half = u128::from(number);
                    slot.put(half << 64 | half, number);
                }
            });
            let mut seen = 0;
            while !writer.is_finished() {
                if let Some(exemplar) = slot.get() {
                    let number = exemplar.took.as_nanos();
                    assert_eq!(exemplar.trace_id, number << 64 | number);
                    seen += 1;
                }
            }
            assert!(seen > 0);
        });
        assert_eq!(slot.get().unwrap().took, Duration::from_nanos(200_000));
    }
}
