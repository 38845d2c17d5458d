//! What is counted per route.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use umay_core::message::Method;

use super::cell::{Counter, Histogram, LATENCY, Shards};
use super::places::{OTHER, Places, Series};

/// Status classes: `1xx` to `5xx`, and what is in none of them.
pub(super) const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Methods with a counter of their own: the known ones and [`Method::Other`].
pub(super) const METHODS: usize = Method::KNOWN.len() + 1;

/// What is known when a request is over.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// The status that was sent, or 499 if the client left before.
    pub status: u16,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// The trace in which it is recorded.
    pub trace_id: Option<u128>,
}

/// The metrics of one route. Made with the route table and dropped with the last table that has the
/// route, see [`super::Registry::route`].
#[derive(Debug)]
pub struct RouteMetrics {
    name: String,
    shards: Shards<RouteShard>,
    series: Series<LeftRoutes>,
}

/// What routes have counted that had no series of their own and are gone.
pub(super) type LeftRoutes = Arc<Mutex<RouteShard>>;

/// One worker's part of a route.
#[derive(Debug)]
pub(super) struct RouteShard {
    requests: [[Counter; CLASSES.len()]; METHODS],
    pub(super) duration: Histogram,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
}

impl RouteMetrics {
    pub(super) fn new(name: &str, workers: usize, places: &Places, left: &LeftRoutes) -> Self {
        Self {
            name: name.to_owned(),
            shards: Shards::new(workers),
            series: Series::take(places, left),
        }
    }

    /// Those that have series of their own, and one that has counted what all others have.
    pub(super) fn listed(all: Vec<Arc<Self>>, left: &LeftRoutes) -> Vec<Arc<Self>> {
        let (mut own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|r| r.series.is_own());
        let left = left.lock().unwrap_or_else(PoisonError::into_inner);
        if others.is_empty() && !left.is_used() {
            return own;
        }
        let other = Self {
            name: OTHER.to_owned(),
            shards: Shards::new(1),
            series: Series::free(),
        };
        let used = others.iter().flat_map(|route| route.shards());
        for shard in used.chain(left.is_used().then_some(&*left)) {
            if let Some(sum) = other.shards.own(0) {
                sum.absorb(shard);
            }
        }
        own.push(Arc::new(other));
        own
    }

    /// Counts a request. To be called on the worker with this index only.
    pub fn count(&self, worker: usize, exchange: &Exchange) {
        let Some(shard) = self.shards.own(worker) else {
            return;
        };
        if let Some(counter) = shard.cell(exchange.method, usize::from(exchange.status / 100)) {
            counter.inc();
        }
        shard.duration.observe(exchange.duration, exchange.trace_id);
        shard.bytes_in.add(exchange.bytes_in);
        shard.bytes_out.add(exchange.bytes_out);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The parts of the workers that have served the route.
    pub(super) fn shards(&self) -> impl Iterator<Item = &RouteShard> {
        self.shards.iter()
    }

    /// Requests by method and class (an index into [`CLASSES`]), over all workers.
    pub(super) fn requests(&self, method: Method, class: usize) -> u64 {
        self.shards()
            .filter_map(|shard| shard.cell(method, class))
            .map(Counter::get)
            .sum()
    }
}

impl Drop for RouteMetrics {
    fn drop(&mut self) {
        if let Series::Other(left) = &self.series {
            let left = left.lock().unwrap_or_else(PoisonError::into_inner);
            self.shards().for_each(|shard| left.absorb(shard));
        }
    }
}

impl Default for RouteShard {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            duration: Histogram::new(&LATENCY),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
        }
    }
}

impl RouteShard {
    fn is_used(&self) -> bool {
        self.requests.iter().flatten().any(|count| count.get() > 0)
    }

    fn absorb(&self, other: &Self) {
        let (own, their) = (
            self.requests.iter().flatten(),
            other.requests.iter().flatten(),
        );
        for (to, from) in own.zip(their) {
            to.absorb(from);
        }
        self.duration.absorb(&other.duration);
        self.bytes_in.absorb(&other.bytes_in);
        self.bytes_out.absorb(&other.bytes_out);
    }

    fn cell(&self, method: Method, class: usize) -> Option<&Counter> {
        let classes = self.requests.get(method as usize)?;
        classes.get(class).or_else(|| classes.first())
    }
}
