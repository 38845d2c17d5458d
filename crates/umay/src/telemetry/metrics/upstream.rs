//! What is counted per upstream.

use std::time::Duration;

use umay_core::reason::Reason;

use super::cell::{Histogram, LATENCY, Outcomes, Shards};

/// The metrics of one upstream, see [`super::Registry::upstream`]. Its methods are to be called on
/// the worker with the given index only.
#[derive(Debug)]
pub struct UpstreamMetrics {
    name: String,
    shards: Shards<UpstreamShard>,
}

/// One worker's part of an upstream.
#[derive(Debug)]
pub(super) struct UpstreamShard {
    pub(super) attempts: Outcomes,
    pub(super) connect: Histogram,
    pub(super) first_byte: Histogram,
}

impl UpstreamMetrics {
    pub(super) fn new(name: &str, workers: usize) -> Self {
        Self {
            name: name.to_owned(),
            shards: Shards::new(workers),
        }
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
            shard.connect.observe(took);
        }
    }

    /// Counts the time from a request sent to the first byte of its answer.
    pub fn answered(&self, worker: usize, took: Duration) {
        if let Some(shard) = self.shards.own(worker) {
            shard.first_byte.observe(took);
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The parts of the workers that have used the upstream.
    pub(super) fn shards(&self) -> impl Iterator<Item = &UpstreamShard> {
        self.shards.iter()
    }
}

impl Default for UpstreamShard {
    fn default() -> Self {
        Self {
            attempts: Outcomes::default(),
            connect: Histogram::new(&LATENCY),
            first_byte: Histogram::new(&LATENCY),
        }
    }
}
