//! What a worker counts for itself.

use std::time::Duration;

use umay_core::reason::Reason;

use super::cell::{Counter, Gauge, Histogram, LATENCY, LIFETIME, Outcomes};

/// The shard of one worker. Aligned so that no cell shares a cache line (or the pair of lines that
/// is fetched together) with another worker's.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// Connections from clients.
    pub connections: ConnectionMetrics,
    /// Protocol detection.
    pub detection: DetectionMetrics,
    /// TLS handshakes with clients.
    pub tls: TlsMetrics,
    /// HTTP.
    pub http: HttpMetrics,
    /// TCP: raw streams and tunnels.
    pub tcp: TcpMetrics,
    /// Connections to endpoints.
    pub pool: PoolMetrics,
    /// Requests and connections that Umay refused or cut, by reason.
    pub refusals: Outcomes,
    /// Attempts after the first.
    pub retries: Counter,
    /// Its clock.
    pub clock: ClockMetrics,
}

/// A worker's clock.
#[derive(Debug)]
pub struct ClockMetrics {
    /// How late its ticks are: whatever the worker does is delayed by as much.
    pub lag: Histogram,
}

impl Default for ClockMetrics {
    fn default() -> Self {
        Self {
            lag: Histogram::new(&LATENCY),
        }
    }
}

/// Connections from clients.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    /// Accepted, whatever became of them.
    pub accepted: Counter,
    /// Open now.
    pub active: Gauge,
    /// Closed at once because of a limit.
    pub refused: Counter,
    /// Errors of `accept` itself, such as running out of file descriptors.
    pub accept_errors: Counter,
}

/// What a connection turned out to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// TLS.
    Tls,
    /// HTTP/1.
    Http1,
    /// HTTP/2, by its preface.
    Http2,
    /// MQTT.
    Mqtt,
    /// Something else.
    Opaque,
    /// Nothing: the client was silent for as long as detection waits.
    Timeout,
}

impl Detected {
    pub(super) const ALL: [Self; 6] = [
        Self::Tls,
        Self::Http1,
        Self::Http2,
        Self::Mqtt,
        Self::Opaque,
        Self::Timeout,
    ];

    /// The label: `tls`, `http1`, `http2`, `mqtt`, `opaque`, `timeout`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Mqtt => "mqtt",
            Self::Opaque => "opaque",
            Self::Timeout => "timeout",
        }
    }
}

/// Protocol detection.
#[derive(Debug)]
pub struct DetectionMetrics {
    counts: [Counter; Detected::ALL.len()],
    duration: Histogram,
}

impl Default for DetectionMetrics {
    fn default() -> Self {
        Self {
            counts: Default::default(),
            duration: Histogram::new(&LATENCY),
        }
    }
}

impl DetectionMetrics {
    /// Counts a verdict and the time from the accept (or the handshake's end) to it.
    pub fn done(&self, what: Detected, took: Duration) {
        if let Some(count) = self.counts.get(what as usize) {
            count.inc();
        }
        self.duration.observe(took, None);
    }

    pub(super) fn get(&self, what: Detected) -> u64 {
        self.counts.get(what as usize).map_or(0, Counter::get)
    }

    pub(super) fn duration(&self) -> &Histogram {
        &self.duration
    }
}

/// The versions of TLS that Umay speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    /// The word for labels and logs: `1.2`, `1.3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// TLS handshakes with clients.
#[derive(Debug)]
pub struct TlsMetrics {
    /// Version 1.2, 1.2 resumed, 1.3, 1.3 resumed.
    done: [Counter; 4],
    /// Handshakes that failed, by reason; none of them went well.
    failed: Outcomes,
    duration: Histogram,
}

impl Default for TlsMetrics {
    fn default() -> Self {
        Self {
            done: Default::default(),
            failed: Outcomes::default(),
            duration: Histogram::new(&LATENCY),
        }
    }
}

impl TlsMetrics {
    /// Counts a handshake that was completed.
    pub fn done(&self, version: TlsVersion, resumed: bool, took: Duration) {
        if let Some(count) = self.done.get(Self::place(version, resumed)) {
            count.inc();
        }
        self.duration.observe(took, None);
    }

    /// Counts a handshake that failed.
    pub fn failed(&self, reason: Reason) {
        self.failed.count(Some(reason));
    }

    /// Handshakes that failed, by reason.
    pub(super) fn failures(&self) -> &Outcomes {
        &self.failed
    }

    pub(super) fn get(&self, version: TlsVersion, resumed: bool) -> u64 {
        self.done
            .get(Self::place(version, resumed))
            .map_or(0, Counter::get)
    }

    pub(super) fn duration(&self) -> &Histogram {
        &self.duration
    }

    fn place(version: TlsVersion, resumed: bool) -> usize {
        version as usize * 2 + usize::from(resumed)
    }
}

/// HTTP, whatever the route.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    /// Requests whose answer is not complete.
    pub in_flight: Gauge,
    /// Answers by status.
    pub responses: Statuses,
}

/// A counter per HTTP status, and one for those out of range.
#[derive(Debug)]
pub struct Statuses {
    counts: [Counter; 500],
    other: Counter,
}

impl Default for Statuses {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| Counter::default()),
            other: Counter::default(),
        }
    }
}

impl Statuses {
    /// The statuses that are told apart.
    pub(super) const RANGE: std::ops::RangeInclusive<u16> = 100..=599;

    /// Counts an answer.
    pub fn count(&self, status: u16) {
        self.cell(status).inc();
    }

    /// How many had this status; 0 stands for all that are out of range.
    pub fn get(&self, status: u16) -> u64 {
        self.cell(status).get()
    }

    fn cell(&self, status: u16) -> &Counter {
        usize::from(status)
            .checked_sub(usize::from(*Self::RANGE.start()))
            .and_then(|place| self.counts.get(place))
            .unwrap_or(&self.other)
    }
}

/// TCP: raw streams and tunnels.
#[derive(Debug)]
pub struct TcpMetrics {
    /// Open now.
    pub active: Gauge,
    /// Bytes from clients to endpoints; to be added as they move.
    pub bytes_in: Counter,
    /// Bytes from endpoints to clients; to be added as they move.
    pub bytes_out: Counter,
    closed: Outcomes,
    duration: Histogram,
}

impl Default for TcpMetrics {
    fn default() -> Self {
        Self {
            active: Gauge::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            closed: Outcomes::default(),
            duration: Histogram::new(&LIFETIME),
        }
    }
}

impl TcpMetrics {
    /// Counts an end; `None` means that both sides were done.
    pub fn closed(&self, reason: Option<Reason>, lived: Duration) {
        self.closed.count(reason);
        self.duration.observe(lived, None);
    }

    pub(super) fn outcomes(&self) -> &Outcomes {
        &self.closed
    }

    pub(super) fn duration(&self) -> &Histogram {
        &self.duration
    }
}

/// Connections to endpoints.
#[derive(Debug, Default)]
pub struct PoolMetrics {
    /// Opened.
    pub opened: Counter,
    /// Taken from the pool instead of being opened.
    pub reused: Counter,
    /// Closed, for whatever reason.
    pub closed: Counter,
    /// In the pool now.
    pub idle: Gauge,
}
