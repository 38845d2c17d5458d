//! What is counted of finding out who the endpoints of an upstream are.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::cell::SharedCounter;

/// The discovery of one upstream, see [`super::Registry::discovery`]. Belongs to no worker.
#[derive(Debug)]
pub struct DiscoveryMetrics {
    name: String,
    made: Instant,
    updates: [[SharedCounter; Update::ALL.len()]; Origin::ALL.len()],
    endpoints: AtomicI64,
    /// Milliseconds from `made` to the last good answer, plus one; 0 before the first.
    good: AtomicU64,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The addresses of a name.
    Dns,
    /// SRV records.
    Srv,
    /// A file.
    File,
    /// Consul.
    Consul,
    /// etcd.
    Etcd,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Something that was not known.
    Changed,
    /// What was known already.
    Unchanged,
    /// Nothing that can be used.
    Failed,
}

impl Origin {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [Self::Dns, Self::Srv, Self::File, Self::Consul, Self::Etcd];

    /// Its word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Srv => "srv",
            Self::File => "file",
            Self::Consul => "consul",
            Self::Etcd => "etcd",
        }
    }
}

impl Update {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Changed, Self::Unchanged, Self::Failed];

    /// Its word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

impl DiscoveryMetrics {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            made: Instant::now(),
            updates: Default::default(),
            endpoints: AtomicI64::new(0),
            good: AtomicU64::new(0),
        }
    }

    /// Counts an answer, or that there was none.
    pub fn updated(&self, origin: Origin, result: Update) {
        if let Some(counter) = self.counter(origin, result) {
            counter.add(1);
        }
    }

    /// So many endpoints are known now.
    pub fn found(&self, endpoints: usize) {
        let endpoints = i64::try_from(endpoints).unwrap_or(i64::MAX);
        self.endpoints.store(endpoints, Relaxed);
    }

    /// At `since`, all that was asked had been answered well.
    pub fn good(&self, since: Instant) {
        let millis = since.saturating_duration_since(self.made).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX - 1);
        self.good.store(millis.saturating_add(1), Relaxed);
    }

    /// Answers so far.
    pub fn updates(&self, origin: Origin, result: Update) -> u64 {
        self.counter(origin, result).map_or(0, SharedCounter::get)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn endpoints(&self) -> i64 {
        self.endpoints.load(Relaxed)
    }

    /// Time since the last good answer; `None` before the first.
    pub fn age(&self) -> Option<Duration> {
        let millis = self.good.load(Relaxed).checked_sub(1)?;
        let elapsed = self.made.elapsed();
        Some(elapsed.saturating_sub(Duration::from_millis(millis)))
    }

    fn counter(&self, origin: Origin, result: Update) -> Option<&SharedCounter> {
        self.updates.get(origin as usize)?.get(result as usize)
    }
}
