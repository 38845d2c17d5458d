//! What is counted per endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

use umay_core::roster::Standing;

use super::cell::{Counter, Gauge, Shards, SharedCounter};

/// So many endpoints of the process have series of their own, those that came first; the others are counted together
/// as [`OTHER`] of their upstream. With three series each that is 6,000 lines, which a scrape every few seconds
/// can bear; discovery can find more endpoints than that, and new ones with every rollout.
pub const MOST_ENDPOINTS: usize = 2000;

/// The label of all endpoints of an upstream that have no series of their own. No endpoint is called so: each has a port.
pub(super) const OTHER: &str = "_other";

/// It is no longer one of the upstream's, but serves what is open yet.
const LEFT: u8 = u8::MAX;

/// The metrics of one endpoint, see [`super::UpstreamMetrics::endpoint`]. They live as long as it does.
#[derive(Debug)]
pub struct EndpointMetrics {
    label: String,
    /// Its place in [`Standing::ALL`]; [`LEFT`] if it has left.
    standing: AtomicU8,
    shards: Shards<EndpointShard>,
    series: Series,
}

/// Where an endpoint is counted.
#[derive(Debug)]
pub(super) enum Series {
    /// Nowhere: clients choose it.
    None,
    /// In series of its own.
    Own { _place: Place },
    /// With others.
    Other(Arc<Left>),
}

/// What those counted that were among [`OTHER`] and have left, for a counter must not fall.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) picks: SharedCounter,
    pub(super) failed: SharedCounter,
}

/// How many places of [`MOST_ENDPOINTS`] are taken, in the whole process.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<AtomicUsize>);

/// One of the places, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Places);

impl Places {
    /// Takes a place for an endpoint, or counts it with those that found none.
    pub(super) fn take(&self, left: &Arc<Left>) -> Series {
        let more = |taken| (taken < MOST_ENDPOINTS).then_some(taken + 1);
        match self.0.fetch_update(Relaxed, Relaxed, more) {
            Ok(_) => Series::Own {
                _place: Place(self.clone()),
            },
            Err(_) => Series::Other(Arc::clone(left)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

impl Drop for EndpointMetrics {
    fn drop(&mut self) {
        if let Series::Other(left) = &self.series {
            left.picks.add(self.sum(|shard| &shard.picks));
            left.failed.add(self.sum(|shard| &shard.failed));
        }
    }
}

/// One worker's part of an endpoint.
#[derive(Debug, Default)]
pub struct EndpointShard {
    /// Requests and streams that it serves now.
    pub in_flight: Gauge,
    /// Requests and streams that were given to it.
    pub picks: Counter,
    /// Those that went well.
    pub ok: Counter,
    /// Those that failed as a gateway's endpoint can.
    pub failed: Counter,
}

impl EndpointMetrics {
    pub(super) fn new(label: &str, workers: usize, series: Series) -> Self {
        Self {
            label: label.to_owned(),
            standing: AtomicU8::default(),
            shards: Shards::new(workers),
            series,
        }
    }

    /// The part of this worker, which alone may write to it.
    pub fn own(&self, worker: usize) -> Option<&EndpointShard> {
        self.shards.own(worker)
    }

    /// One of the counters, summed over the workers.
    pub fn sum(&self, cell: impl Fn(&EndpointShard) -> &Counter) -> u64 {
        self.shards.iter().map(|shard| cell(shard).get()).sum()
    }

    /// Requests and streams that it serves now.
    pub fn in_flight(&self) -> u64 {
        let counts = self.shards.iter().map(|shard| shard.in_flight.get());
        // Each count is read at another moment, so the sum can be off, even below zero.
        u64::try_from(counts.sum::<i64>()).unwrap_or(0)
    }

    /// Notes how it is.
    pub fn set_standing(&self, standing: Standing) {
        let place = Standing::ALL.iter().position(|have| *have == standing);
        let place = place.and_then(|place| u8::try_from(place).ok());
        self.standing.store(place.unwrap_or(0), Relaxed);
    }

    /// Notes that it has left.
    pub fn leave(&self) {
        self.standing.store(LEFT, Relaxed);
    }

    /// How it is; `None` if it has left.
    pub fn standing(&self) -> Option<Standing> {
        let place = usize::from(self.standing.load(Relaxed));
        Standing::ALL.get(place).copied()
    }

    /// Its label, or [`OTHER`].
    pub(super) fn label(&self) -> &str {
        match self.series {
            Series::Other(_) => OTHER,
            Series::None | Series::Own { .. } => &self.label,
        }
    }
}
