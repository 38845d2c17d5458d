//! What is counted per endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use umay_core::roster::Standing;

use super::cell::{Counter, Gauge, Shards, SharedCounter};
use super::places::{OTHER, Series};

/// It is no longer one of the upstream's, but serves what is open yet.
const LEFT: u8 = u8::MAX;

/// The metrics of one endpoint, see [`super::UpstreamMetrics::endpoint`]. They live as long as it does.
#[derive(Debug)]
pub struct EndpointMetrics {
    label: String,
    /// Its place in [`Standing::ALL`]; [`LEFT`] if it has left.
    standing: AtomicU8,
    shards: Shards<EndpointShard>,
    series: Series<Arc<Left>>,
}

/// What those counted that were among [`OTHER`] and have left, for a counter must not fall.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) picks: SharedCounter,
    pub(super) failed: SharedCounter,
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
    pub(super) fn new(label: &str, workers: usize, series: Series<Arc<Left>>) -> Self {
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
            Series::Own { .. } => &self.label,
        }
    }
}
