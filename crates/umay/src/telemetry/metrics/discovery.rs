//! What is counted of finding out who the endpoints of an upstream are.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::cell::SharedCounter;
use super::places::{OTHER, Places, Series};

/// The discovery of one upstream, see [`super::Registry::discovery`]. Belongs to no worker.
#[derive(Debug)]
pub struct DiscoveryMetrics {
    name: String,
    made: Instant,
    updates: [[SharedCounter; Update::ALL.len()]; Origin::ALL.len()],
    endpoints: AtomicI64,
    /// Milliseconds from `made` to the last good answer, plus one; 0 before the first.
    good: AtomicU64,
    series: Series<Arc<Self>>,
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
    /// What is counted of the discovery of an upstream, in one of `places` or with others.
    pub(super) fn new(name: &str, places: &Places, left: &Arc<Self>) -> Self {
        let mut made = Self::sum_of_none(name);
        made.series = Series::take(places, left);
        made
    }

    /// What is left of those that were counted together, before there was any.
    pub(super) fn none_left() -> Arc<Self> {
        Arc::new(Self::sum_of_none(OTHER))
    }

    /// Those that have series of their own, and one that has counted what all others have. Its endpoints are those
    /// of all, its age that of the oldest.
    pub(super) fn listed(all: Vec<Arc<Self>>, left: &Self) -> Vec<Arc<Self>> {
        let (mut own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|d| d.series.is_own());
        let mut other = Self::sum_of_none(OTHER);
        other.absorb(left);
        for one in &others {
            other.absorb(one);
            *other.endpoints.get_mut() += one.endpoints();
        }
        let age = others.iter().filter_map(|one| one.age()).max();
        if let Some(made) = age.and_then(|age| other.made.checked_sub(age)) {
            other.made = made;
            other.good(made);
        }
        if !others.is_empty() || other.updates.iter().flatten().any(|count| count.get() > 0) {
            own.push(Arc::new(other));
        }
        own
    }

    fn absorb(&self, other: &Self) {
        let (own, their) = (
            self.updates.iter().flatten(),
            other.updates.iter().flatten(),
        );
        for (to, from) in own.zip(their) {
            to.add(from.get());
        }
    }

    fn sum_of_none(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            made: Instant::now(),
            updates: Default::default(),
            endpoints: AtomicI64::new(0),
            good: AtomicU64::new(0),
            series: Series::free(),
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

impl Drop for DiscoveryMetrics {
    fn drop(&mut self) {
        if let Series::Other(left) = &self.series {
            left.absorb(self);
        }
    }
}
