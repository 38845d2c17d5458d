//! The cells: counters, gauges and histograms with one writer each.
//!
//! A cell belongs to the worker whose shard it is in. Only that worker may write it: two writers
//! would lose each other's additions (nothing worse). Anyone may read it at any time.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use umay_core::reason::Reason;

use super::exemplar::{Exemplar, Slot};
use super::native::{FINE, Native, Scale};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        // One writer: a load and a store suffice, and cost a fifth of a locked add.
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Adds what another has counted.
    pub(super) fn absorb(&self, other: &Self) {
        self.add(other.get());
    }
}

/// A counter with any number of writers, for what is rare or belongs to no worker.
#[derive(Clone, Debug, Default)]
pub struct SharedCounter(Arc<AtomicU64>);

impl SharedCounter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds one.
    pub fn up(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Takes one away.
    pub fn down(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// Adds one until the guard is dropped.
    pub fn hold(&self) -> Held<'_> {
        self.up();
        Held(self)
    }

    /// The present value.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// One unit of a [`Gauge`], given back when dropped.
#[derive(Debug)]
#[must_use = "the gauge goes down when this is dropped"]
pub struct Held<'a>(&'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

/// For requests, connects and handshakes: OpenTelemetry's bounds for `http.server.request.duration`,
/// and finer ones below for a proxy that adds less than a millisecond. Fine buckets from 1 µs to 68 minutes.
pub static LATENCY: Scale = Scale {
    bounds: [
        500 * US,
        MS,
        2_500 * US,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        75 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        750 * MS,
        S,
        2_500 * MS,
        5 * S,
        7_500 * MS,
        10 * S,
    ],
    lowest: -20,
};

/// For the time that Umay itself takes, which is to stay far below 50 ms. Fine buckets as for [`LATENCY`].
pub static OVERHEAD: Scale = Scale {
    bounds: [
        25 * US,
        50 * US,
        75 * US,
        100 * US,
        150 * US,
        250 * US,
        500 * US,
        750 * US,
        MS,
        2_500 * US,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        S,
    ],
    lowest: -20,
};

/// For connections, which live from milliseconds to days. Fine buckets from 0.24 ms to 12 days.
pub static LIFETIME: Scale = Scale {
    bounds: [
        10 * MS,
        50 * MS,
        100 * MS,
        500 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
        30 * S,
        60 * S,
        120 * S,
        300 * S,
        900 * S,
        1_800 * S,
        3_600 * S,
        14_400 * S,
        86_400 * S,
    ],
    lowest: -12,
};

/// How long things took, in buckets.
#[derive(Debug)]
pub struct Histogram {
    scale: &'static Scale,
    counts: [Counter; 18],
    /// Nanoseconds; overflows after five centuries.
    sum: Counter,
    /// Of the fine buckets.
    zero: Counter,
    fine: [Counter; FINE],
    /// One for each of `counts`; made for the first.
    exemplars: OnceLock<Box<[Slot; 18]>>,
}

impl Histogram {
    /// An empty histogram with these bounds.
    pub fn new(scale: &'static Scale) -> Self {
        Self {
            scale,
            counts: Default::default(),
            sum: Counter::default(),
            zero: Counter::default(),
            fine: std::array::from_fn(|_| Counter::default()),
            exemplars: OnceLock::new(),
        }
    }

    /// Counts one duration, and remembers the trace, if there is one, in which more is told about it.
    pub fn observe(&self, took: Duration, trace_id: Option<u128>) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.count(nanos);
        if let Some(trace_id) = trace_id {
            let slots = self.exemplars.get_or_init(Box::default);
            if let Some(slot) = slots.get(bucket) {
                slot.put(trace_id, nanos);
            }
        }
    }

    fn count(&self, nanos: u64) -> usize {
        let bounds = &self.scale.bounds;
        let bucket = bounds.iter().position(|bound| nanos <= *bound);
        let bucket = bucket.unwrap_or(bounds.len());
        if let Some(count) = self.counts.get(bucket) {
            count.inc();
        }
        self.sum.add(nanos);
        let fine = self.scale.fine(nanos).and_then(|fine| self.fine.get(fine));
        fine.unwrap_or(&self.zero).inc();
        bucket
    }

    /// How its buckets lie.
    pub(super) fn scale(&self) -> &'static Scale {
        self.scale
    }

    /// Counts per bucket (not cumulated), the last of them above all bounds, and the sum in nanoseconds.
    pub(super) fn read(&self) -> ([u64; 18], u64) {
        let mut counts = [0; 18];
        for (to, from) in counts.iter_mut().zip(&self.counts) {
            *to = from.get();
        }
        (counts, self.sum.get())
    }

    /// Adds the counts of the fine buckets.
    pub(super) fn read_native(&self, to: &mut Native) {
        to.add(&self.zero, &self.fine);
    }

    /// The last exemplar of a bucket.
    pub(super) fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        self.exemplars.get()?.get(bucket)?.get()
    }

    /// Adds all that another has counted, whose scale is the same.
    pub(super) fn absorb(&self, other: &Self) {
        let pairs = self.counts.iter().zip(&other.counts);
        let pairs = pairs.chain(self.fine.iter().zip(&other.fine));
        let pairs = pairs.chain([(&self.sum, &other.sum), (&self.zero, &other.zero)]);
        for (to, from) in pairs {
            to.absorb(from);
        }
    }
}

/// How things ended: well, or with one of the reasons.
#[derive(Debug, Default)]
pub struct Outcomes {
    well: Counter,
    reasons: Reasons,
}

/// One counter per reason.
#[derive(Debug)]
struct Reasons([Counter; Reason::ALL.len()]);

impl Default for Reasons {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Outcomes {
    /// Counts an end; `None` is a good one.
    pub fn count(&self, outcome: Option<Reason>) {
        self.cell(outcome).inc();
    }

    /// How many ended so; `None` is well.
    pub fn get(&self, outcome: Option<Reason>) -> u64 {
        self.cell(outcome).get()
    }

    /// Adds what others were.
    pub(super) fn absorb(&self, other: &Self) {
        self.well.absorb(&other.well);
        for (to, from) in self.reasons.0.iter().zip(&other.reasons.0) {
            to.absorb(from);
        }
    }

    fn cell(&self, outcome: Option<Reason>) -> &Counter {
        outcome
            .and_then(|reason| self.reasons.0.get(reason as usize))
            .unwrap_or(&self.well)
    }
}

/// One `T` per worker, made when the worker first needs it: most of ten thousand routes are asleep.
#[derive(Debug)]
pub(super) struct Shards<T>(Box<[OnceLock<Box<Padded<T>>>]>);

/// Keeps the cells of two workers out of each other's cache lines (two, for they are fetched in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Shards<T> {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| OnceLock::new()).collect())
    }

    /// The part of this worker, which alone may write to it; `None` if there is no such worker.
    pub(super) fn own(&self, worker: usize) -> Option<&T> {
        let shard = self.0.get(worker)?.get_or_init(Box::default);
        Some(&shard.0)
    }

    /// The parts that there are.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0
            .iter()
            .filter_map(|slot| slot.get().map(|shard| &shard.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_holds() {
        let counter = Counter::default();
        counter.inc();
        counter.add(41);
        assert_eq!(counter.get(), 42);

        let gauge = Gauge::default();
        let first = gauge.hold();
        let second = gauge.hold();
        assert_eq!(gauge.get(), 2);
        drop(first);
        assert_eq!(gauge.get(), 1);
        drop(second);
        assert_eq!(gauge.get(), 0);
        gauge.down();
        assert_eq!(gauge.get(), -1);
    }

    #[test]
    fn a_bucket_includes_its_bound() {
        for scale in [&LATENCY, &OVERHEAD, &LIFETIME] {
            assert!(scale.bounds.is_sorted());
            for (i, bound) in scale.bounds.iter().enumerate() {
                for (nanos, bucket) in [(*bound - 1, i), (*bound, i), (*bound + 1, i + 1)] {
                    let histogram = Histogram::new(scale);
                    histogram.observe(Duration::from_nanos(nanos), None);
                    let (counts, sum) = histogram.read();
                    assert_eq!(counts[bucket], 1, "{nanos} ns");
                    assert_eq!(counts.iter().sum::<u64>(), 1);
                    assert_eq!(sum, nanos);
                }
            }
        }
        let endless = Histogram::new(&LATENCY);
        endless.observe(Duration::MAX, None);
        assert_eq!(endless.read().0[17], 1);
    }

    #[test]
    fn every_reason_has_its_own_counter() {
        let outcomes = Outcomes::default();
        outcomes.count(None);
        for (i, reason) in Reason::ALL.iter().enumerate() {
            for _ in 0..=i {
                outcomes.count(Some(*reason));
            }
        }
        assert_eq!(outcomes.get(None), 1);
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(outcomes.get(Some(*reason)), i as u64 + 1);
        }
    }
}
