//! What is counted per upstream.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use umay_core::reason::Reason;

use super::cell::{Counter, Histogram, LATENCY, Outcomes, Shards, SharedCounter};
use super::endpoint::{EndpointMetrics, Left};
use super::places::{Kinds, OTHER, Places, Series};

/// The metrics of one upstream, see [`super::Registry::upstream`]. Methods that take a worker's index
/// are to be called on that worker only.
#[derive(Debug)]
pub struct UpstreamMetrics {
    name: String,
    workers: usize,
    shards: Shards<UpstreamShard>,
    endpoints: Mutex<Vec<Weak<EndpointMetrics>>>,
    /// For its endpoints; `None` if it has none itself.
    places: Option<Places>,
    left: Arc<Left>,
    /// How it heals.
    pub healing: Healing,
    series: Series<LeftUpstreams>,
}

/// What upstreams have counted that had no series of their own and are gone.
pub(super) type LeftUpstreams = Arc<Mutex<UpstreamMetrics>>;

/// What happens rarely enough to have one place for all workers.
#[derive(Debug, Default)]
pub struct Healing {
    /// Endpoints ejected because of failures in a row.
    pub ejected_row: SharedCounter,
    /// Endpoints ejected because too many requests failed.
    pub ejected_rate: SharedCounter,
    /// Endpoints that got requests again.
    pub readmitted: SharedCounter,
    /// Requests that were tried again.
    pub retried: SharedCounter,
    /// Requests that were not, because the budget was spent.
    pub budget_spent: SharedCounter,
    /// Requests that were asked for a second time because the answer was late.
    pub hedged: SharedCounter,
    /// Of these, those where the second answer was the first to come.
    pub hedges_won: SharedCounter,
    /// Times that an endpoint asked for rest (`Retry-After`).
    pub rests: SharedCounter,
    /// Requests that had to wait for room.
    pub queued: SharedCounter,
    /// Requests that wait for room now.
    pub waiting: AtomicI64,
    /// Retries that the budget would allow now.
    pub budget: AtomicU64,
    /// Requests that may be in flight; 0 is no limit.
    pub limit: AtomicU64,
}

/// One worker's part of an upstream.
#[derive(Debug)]
pub(super) struct UpstreamShard {
    pub(super) requests: Counter,
    pub(super) attempts: Outcomes,
    pub(super) connect: Histogram,
    pub(super) first_byte: Histogram,
}

impl UpstreamMetrics {
    /// The metrics of an upstream in one of `places`, or counted with others.
    pub(super) fn new(name: &str, workers: usize, places: &Kinds, left: &LeftUpstreams) -> Self {
        let mut made = Self::sum_of_none(name, workers);
        made.series = Series::take(&places.upstreams, left);
        if made.series.is_own() {
            made.places = Some(places.endpoints.clone());
        } else {
            made.left = Arc::clone(&lock(left).left);
        }
        made
    }

    fn sum_of_none(name: &str, workers: usize) -> Self {
        Self {
            name: name.to_owned(),
            workers,
            shards: Shards::new(workers),
            endpoints: Mutex::default(),
            places: None,
            left: Arc::default(),
            healing: Healing::default(),
            series: Series::free(),
        }
    }

    /// What is left of upstreams that were counted together, before there was any.
    pub(super) fn none_left() -> LeftUpstreams {
        Arc::new(Mutex::new(Self::sum_of_none(OTHER, 1)))
    }

    /// Those that have series of their own, and one that has counted what all others have.
    pub(super) fn listed(all: Vec<Arc<Self>>, left: &LeftUpstreams) -> Vec<Arc<Self>> {
        let (mut own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|u| u.series.is_own());
        let left = lock(left);
        if others.is_empty() && !left.is_used() {
            return own;
        }
        let mut other = Self::sum_of_none(OTHER, 1);
        other.left = Arc::clone(&left.left);
        other.absorb(&left);
        for upstream in &others {
            other.absorb(upstream);
            other.healing.add_levels(&upstream.healing);
            let endpoints = other.endpoints.get_mut();
            let endpoints = endpoints.unwrap_or_else(PoisonError::into_inner);
            endpoints.extend(upstream.endpoints().iter().map(Arc::downgrade));
        }
        own.push(Arc::new(other));
        own
    }

    fn is_used(&self) -> bool {
        self.shards().next().is_some()
    }

    /// Adds what another has counted, but for its levels and its endpoints.
    fn absorb(&self, other: &Self) {
        if let Some(sum) = self.shards.own(0) {
            other.shards().for_each(|shard| sum.absorb(shard));
        }
        self.healing.absorb(&other.healing);
    }

    /// The metrics of a new endpoint.
    pub fn endpoint(&self, label: &str) -> Arc<EndpointMetrics> {
        let series = match &self.places {
            Some(places) => Series::take(places, &self.left),
            None => Series::Other(Arc::clone(&self.left)),
        };
        let metrics = Arc::new(EndpointMetrics::new(label, self.workers, series));
        let mut endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        endpoints.retain(|known| known.strong_count() > 0);
        endpoints.push(Arc::downgrade(&metrics));
        metrics
    }

    /// Those of an endpoint that clients choose: it is counted, but has no series of its own, or they would choose
    /// how many series there are.
    pub fn unlisted(&self, label: &str) -> Arc<EndpointMetrics> {
        Arc::new(EndpointMetrics::new(label, self.workers, Series::free()))
    }

    /// Counts a request or stream, before it is given to any endpoint.
    pub fn requested(&self, worker: usize) {
        if let Some(shard) = self.shards.own(worker) {
            shard.requests.inc();
        }
    }

    /// Requests and streams so far.
    pub fn requests(&self) -> u64 {
        self.shards.iter().map(|shard| shard.requests.get()).sum()
    }

    /// Counts a request or connection that was given to an endpoint; `None` means that it went well.
    pub fn attempted(&self, worker: usize, outcome: Option<Reason>) {
        if let Some(shard) = self.shards.own(worker) {
            shard.attempts.count(outcome);
        }
    }

    /// Counts a connection that was opened: TCP connect and TLS handshake together.
    pub fn connected(&self, worker: usize, took: Duration) {
        if let Some(shard) = self.shards.own(worker) {
            shard.connect.observe(took, None);
        }
    }

    /// Counts the time from a request sent to the first byte of its answer, and the trace in which that is
    /// recorded.
    pub fn answered(&self, worker: usize, took: Duration, trace_id: Option<u128>) {
        if let Some(shard) = self.shards.own(worker) {
            shard.first_byte.observe(took, trace_id);
        }
    }

    /// What was counted by endpoints without series of their own that have left.
    pub(super) fn left(&self) -> &Left {
        &self.left
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The parts of the workers that have used the upstream.
    pub(super) fn shards(&self) -> impl Iterator<Item = &UpstreamShard> {
        self.shards.iter()
    }

    /// The endpoints that there are, by label. One that was replaced by another of the same label counts as
    /// one with it.
    pub(super) fn endpoints(&self) -> Vec<Arc<EndpointMetrics>> {
        let endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut live: Vec<_> = endpoints.iter().filter_map(Weak::upgrade).collect();
        live.sort_by(|a, b| a.label().cmp(b.label()));
        live
    }
}

impl Drop for UpstreamMetrics {
    fn drop(&mut self) {
        if let Series::Other(left) = &self.series {
            lock(left).absorb(self);
        }
    }
}

fn lock(left: &LeftUpstreams) -> MutexGuard<'_, UpstreamMetrics> {
    left.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UpstreamShard {
    fn absorb(&self, other: &Self) {
        self.requests.absorb(&other.requests);
        self.attempts.absorb(&other.attempts);
        self.connect.absorb(&other.connect);
        self.first_byte.absorb(&other.first_byte);
    }
}

impl Healing {
    fn counters(&self) -> [&SharedCounter; 9] {
        [
            &self.ejected_row,
            &self.ejected_rate,
            &self.readmitted,
            &self.retried,
            &self.budget_spent,
            &self.hedged,
            &self.hedges_won,
            &self.rests,
            &self.queued,
        ]
    }

    fn absorb(&self, other: &Self) {
        for (to, from) in self.counters().iter().zip(other.counters()) {
            to.add(from.get());
        }
    }

    fn add_levels(&self, other: &Self) {
        self.waiting.fetch_add(other.waiting(), Relaxed);
        for (to, from) in [(&self.budget, &other.budget), (&self.limit, &other.limit)] {
            to.fetch_add(from.load(Relaxed), Relaxed);
        }
    }

    /// What waits now; 0 while the counts are being changed.
    pub(super) fn waiting(&self) -> i64 {
        self.waiting.load(Relaxed)
    }
}

impl Default for UpstreamShard {
    fn default() -> Self {
        Self {
            requests: Counter::default(),
            attempts: Outcomes::default(),
            connect: Histogram::new(&LATENCY),
            first_byte: Histogram::new(&LATENCY),
        }
    }
}
