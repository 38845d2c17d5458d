//! What is counted per listener.

use std::time::Duration;

use super::cell::{Histogram, OVERHEAD, Shards};

/// The metrics of one listener, see [`super::Registry::listener`].
#[derive(Debug)]
pub struct ListenerMetrics {
    name: String,
    shards: Shards<ListenerShard>,
}

/// One worker's part of a listener.
#[derive(Debug)]
pub(super) struct ListenerShard {
    pub(super) overhead: Histogram,
}

impl ListenerMetrics {
    pub(super) fn new(name: &str, workers: usize) -> Self {
        let shards = Shards::new(workers);
        // There are few listeners: their series are there from the start.
        shards.own(0);
        Self {
            name: name.to_owned(),
            shards,
        }
    }

    /// Counts the time that Umay itself took for a request, and the trace in which that is recorded. To be
    /// called on the worker with this index only.
    pub fn added(&self, worker: usize, took: Duration, trace_id: Option<u128>) {
        if let Some(shard) = self.shards.own(worker) {
            shard.overhead.observe(took, trace_id);
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The parts of the workers that have served the listener.
    pub(super) fn shards(&self) -> impl Iterator<Item = &ListenerShard> {
        self.shards.iter()
    }
}

impl Default for ListenerShard {
    fn default() -> Self {
        Self {
            overhead: Histogram::new(&OVERHEAD),
        }
    }
}
