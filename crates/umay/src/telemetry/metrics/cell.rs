//! The cells: counters, gauges and histograms with one writer each.
//!
//! A cell belongs to the worker whose shard it is in. Only that worker may write it: two writers
//! would lose each other's additions (nothing worse). Anyone may read it at any time.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use umay_core::reason::Reason;

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

/// Upper bounds of a histogram's buckets in nanoseconds, ascending; above the last is `+Inf`.
pub type Buckets = [u64; 17];

const fn micros(bounds: [u64; 17]) -> Buckets {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q] = bounds;
    let u = 1_000;
    [
        a * u,
        b * u,
        c * u,
        d * u,
        e * u,
        f * u,
        g * u,
        h * u,
        i * u,
        j * u,
        k * u,
        l * u,
        m * u,
        n * u,
        o * u,
        p * u,
        q * u,
    ]
}

/// For requests, connects and handshakes: OpenTelemetry's bounds for `http.server.request.duration`,
/// and finer ones below for a proxy that adds less than a millisecond.
pub static LATENCY: Buckets = micros([
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000,
    1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
]);

/// For connections, which live from milliseconds to days.
pub static LIFETIME: Buckets = micros([
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    900_000_000,
    1_800_000_000,
    3_600_000_000,
    14_400_000_000,
    86_400_000_000,
]);

/// How long things took, in buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static Buckets,
    counts: [Counter; 18],
    /// Nanoseconds; overflows after five centuries.
    sum: Counter,
}

impl Histogram {
    /// An empty histogram with these bounds.
    pub fn new(bounds: &'static Buckets) -> Self {
        Self {
            bounds,
            counts: Default::default(),
            sum: Counter::default(),
        }
    }

    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.iter().position(|bound| nanos <= *bound);
        if let Some(count) = self.counts.get(bucket.unwrap_or(self.bounds.len())) {
            count.inc();
        }
        self.sum.add(nanos);
    }

    /// Upper bounds of the buckets.
    pub(super) fn bounds(&self) -> &'static Buckets {
        self.bounds
    }

    /// Counts per bucket (not cumulated), the last of them above all bounds, and the sum in nanoseconds.
    pub(super) fn read(&self) -> ([u64; 18], u64) {
        let mut counts = [0; 18];
        for (to, from) in counts.iter_mut().zip(&self.counts) {
            *to = from.get();
        }
        (counts, self.sum.get())
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
        for bounds in [&LATENCY, &LIFETIME] {
            assert!(bounds.is_sorted());
            for (i, bound) in bounds.iter().enumerate() {
                for (nanos, bucket) in [(*bound - 1, i), (*bound, i), (*bound + 1, i + 1)] {
                    let histogram = Histogram::new(bounds);
                    histogram.observe(Duration::from_nanos(nanos));
                    let (counts, sum) = histogram.read();
                    assert_eq!(counts[bucket], 1, "{nanos} ns");
                    assert_eq!(counts.iter().sum::<u64>(), 1);
                    assert_eq!(sum, nanos);
                }
            }
        }
        let endless = Histogram::new(&LATENCY);
        endless.observe(Duration::MAX);
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
