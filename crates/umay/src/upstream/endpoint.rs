//! One endpoint as the whole process shares it: who it is, how busy it is, and how it has done.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use umay_core::balance::{self, hash, mix};
use umay_core::latency::Latency;
use umay_core::model;

use crate::telemetry::metrics::EndpointMetrics;

/// The share has not begun to grow.
const NEW: u64 = u64::MAX;

/// One address that can serve.
#[derive(Debug)]
pub struct Endpoint {
    /// A hash of scheme, host, port and address: the same in every process.
    pub id: u64,
    /// Who it is and how it is spoken to.
    pub address: model::Endpoint,
    /// Where to connect to; empty if its name is to be resolved then.
    pub addresses: Vec<SocketAddr>,
    /// `host:port`, for logs, and `@` with the address if the host is a name.
    pub label: String,
    /// What is counted of it.
    pub metrics: Arc<EndpointMetrics>,
    /// A [`Latency`]. One word for all workers; whoever loses the race for it loses a sample.
    latency: AtomicU64,
    /// Gateway failures in a row.
    row: AtomicU32,
    /// It wants no requests before this, in milliseconds of the upstream's clock.
    rests_until: AtomicU64,
    /// When its share began to grow, in milliseconds of the upstream's clock; 0 if it is grown.
    began: AtomicU64,
    /// Requests and streams in flight, counted only if there is a cap on them.
    requests: AtomicU32,
    /// Connections, in use or not, counted only if there is a cap on them.
    connections: AtomicU32,
}

impl Endpoint {
    /// An endpoint; `metrics` gives its own, by its label. It is new until it begins.
    pub fn new(
        address: model::Endpoint,
        addresses: Vec<SocketAddr>,
        metrics: impl FnOnce(&str) -> Arc<EndpointMetrics>,
    ) -> Self {
        let label = label(&address, &addresses);
        Self {
            id: id(&address, &addresses),
            address,
            addresses,
            metrics: metrics(&label),
            label,
            latency: AtomicU64::default(),
            row: AtomicU32::default(),
            rests_until: AtomicU64::default(),
            began: AtomicU64::new(NEW),
            requests: AtomicU32::default(),
            connections: AtomicU32::default(),
        }
    }

    /// What a cookie calls it: tells nobody who it is without knowing it already.
    pub fn token(&self) -> u64 {
        mix(self.id)
    }

    /// Requests and streams that it serves now, for all workers.
    pub fn in_flight(&self) -> u64 {
        self.metrics.in_flight()
    }

    /// Gateway failures in a row, up to now.
    pub fn row(&self) -> u32 {
        self.row.load(Relaxed)
    }

    /// How long it is expected to take, at `now` of the upstream's clock.
    pub fn latency(&self, now: u64) -> f64 {
        Latency::from_bits(self.latency.load(Relaxed)).at(now as u32)
    }

    /// When it wants requests again, on the upstream's clock; the past if it does.
    pub fn rests_until(&self) -> u64 {
        self.rests_until.load(Relaxed)
    }

    /// The part of its share that it may have while it is new: grows evenly during `slow_start`.
    pub fn ramp(&self, slow_start: Duration, now: u64) -> f64 {
        let began = self.began.load(Relaxed);
        if slow_start.is_zero() || began == 0 || began == NEW {
            return 1.0;
        }
        balance::ramp(Duration::from_millis(now.saturating_sub(began)), slow_start)
    }

    /// True if it has not begun.
    pub(crate) fn is_new(&self) -> bool {
        self.began.load(Relaxed) == NEW
    }

    /// It has its whole share at once.
    pub(crate) fn grow_at_once(&self) {
        self.began.store(0, Relaxed);
    }

    /// Its share grows from now on; what was held against it before is forgotten.
    pub(crate) fn begin(&self, now: u64) {
        self.began.store(now.max(1), Relaxed);
        self.row.store(0, Relaxed);
        self.latency.store(0, Relaxed);
    }

    /// Takes room for a request, if there is some below `cap`.
    pub(super) fn take_request(&self, cap: u32) -> bool {
        take(&self.requests, cap)
    }

    /// Gives the room of a request back.
    pub(super) fn leave_request(&self) {
        self.requests.fetch_sub(1, Relaxed);
    }

    /// True if there is no room for another request below `cap`.
    pub(super) fn is_full(&self, cap: u32) -> bool {
        self.requests.load(Relaxed) >= cap
    }

    /// Takes room for a connection, if there is some below `cap`.
    pub(super) fn take_connection(&self, cap: u32) -> bool {
        take(&self.connections, cap)
    }

    /// True if there is no room for another connection below `cap`.
    pub(super) fn is_cramped(&self, cap: u32) -> bool {
        self.connections.load(Relaxed) >= cap
    }

    /// Gives the room of a connection back.
    pub(super) fn leave_connection(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// It has answered, or taken a stream.
    pub(super) fn did_well(&self) {
        if self.row() != 0 {
            self.row.store(0, Relaxed);
        }
    }

    /// It has failed as a gateway's endpoint can. Returns how often in a row.
    pub(super) fn did_badly(&self) -> u32 {
        self.row.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// Remembers how long it took to answer, or to fail.
    pub(super) fn took(&self, sample: Duration, failed: bool, now: u64) {
        let old = self.latency.load(Relaxed);
        let (latency, now) = (Latency::from_bits(old), now as u32);
        let new = if failed {
            latency.with_failure(sample, now)
        } else {
            latency.with(sample, now)
        };
        let new = new.to_bits();
        // Another worker's sample is as good as this one.
        let _ = self
            .latency
            .compare_exchange_weak(old, new, Relaxed, Relaxed);
    }

    /// It wants no requests for so long. Returns false if that was known.
    pub(super) fn rest(&self, until: u64, now: u64) -> bool {
        let before = self.rests_until.fetch_max(until, Relaxed);
        before <= now
    }
}

/// `host:port`, and behind a name that may have several addresses `@` and which one.
fn label(address: &model::Endpoint, addresses: &[SocketAddr]) -> String {
    let (host, port) = (&address.host, address.port);
    match (host.parse::<IpAddr>(), addresses) {
        (Ok(ip), _) => SocketAddr::new(ip, port).to_string(),
        (Err(_), [address]) => format!("{host}:{port}@{}", address.ip()),
        (Err(_), _) => format!("{host}:{port}"),
    }
}

/// Adds one unless that would exceed `cap`.
pub(super) fn take(count: &AtomicU32, cap: u32) -> bool {
    let more = |have: u32| (have < cap).then_some(have + 1);
    count.fetch_update(Relaxed, Relaxed, more).is_ok()
}

/// Who an endpoint is, in short.
fn id(address: &model::Endpoint, addresses: &[SocketAddr]) -> u64 {
    let mut text = format!("{:?} {} {}", address.scheme, address.host, address.port);
    for address in addresses {
        // Writing to a string cannot fail.
        let _ = write!(text, " {address}");
    }
    hash(text.as_bytes())
}
