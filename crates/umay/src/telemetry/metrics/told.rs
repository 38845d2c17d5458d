//! From cells to the status document: the same sums as on `/metrics`, as JSON.
//!
//! What is counted by a word of a large set (reasons, statuses, buckets) is an object that has the words which have
//! been counted.

use serde_json::{Map, Value, json};
use umay_core::message::Method;
use umay_core::reason::Reason;

use super::cell::{Counter, Gauge, Histogram, LATENCY, Outcomes};
use super::encode::{seen_outcomes, seen_statuses};
use super::process::Process;
use super::registry::Registry;
use super::route::{CLASSES, RouteMetrics, RouteShard};
use super::upstream::UpstreamMetrics;
use super::worker::{Detected, TlsVersion, WorkerMetrics};

impl Registry {
    /// What the kernel knows of the process; null where it cannot be asked.
    pub fn process_told(&self) -> Value {
        let process = Process::read();
        json!({
            "cpu_s": process.cpu_seconds,
            "memory_bytes": process.resident_bytes,
            "open_fds": process.open_fds,
            "max_fds": process.max_fds,
        })
    }

    /// What has been counted since the start, whatever the route and the upstream.
    pub fn totals_told(&self) -> Value {
        let sum = |cell: &dyn Fn(&WorkerMetrics) -> u64| -> u64 {
            self.workers().iter().map(|worker| cell(worker)).sum()
        };
        let count = |cell: fn(&WorkerMetrics) -> &Counter| sum(&|w| cell(w).get());
        let level = |cell: fn(&WorkerMetrics) -> &Gauge| -> i64 {
            let levels = self.workers().iter().map(|worker| cell(worker).get());
            // Each is read at another moment, so the sum can be off, even below zero.
            levels.sum::<i64>().max(0)
        };
        let outcomes = |cell: fn(&WorkerMetrics) -> &Outcomes| {
            object(seen_outcomes(|outcome| sum(&|w| cell(w).get(outcome))))
        };
        let statuses = seen_statuses(|status| sum(&|w| w.http.responses.get(status)));
        let requests: u64 = statuses.iter().map(|(_, count)| count).sum();
        let tls = |version, resumed| sum(&|w| w.tls.get(version, resumed));
        let (tls12, tls13) = (TlsVersion::Tls12, TlsVersion::Tls13);
        json!({
            "connections": {
                "accepted": count(|w| &w.connections.accepted),
                "active": level(|w| &w.connections.active),
                "refused": count(|w| &w.connections.refused),
                "accept_errors": count(|w| &w.connections.accept_errors),
            },
            "protocols": object(Detected::ALL.map(|what| (what.as_str(), sum(&|w| w.detection.get(what))))),
            "tls": {
                "handshakes": tls(tls12, false) + tls(tls12, true) + tls(tls13, false) + tls(tls13, true),
                "resumed": tls(tls12, true) + tls(tls13, true),
                "failed": Reason::ALL.iter().map(|reason| sum(&|w| w.tls.failures().get(Some(*reason)))).sum::<u64>(),
            },
            "requests": requests,
            "in_flight": level(|w| &w.http.in_flight),
            "statuses": object(statuses),
            "streams": {
                "active": level(|w| &w.tcp.active),
                "ended": outcomes(|w| w.tcp.outcomes()),
                "bytes_in": count(|w| &w.tcp.bytes_in),
                "bytes_out": count(|w| &w.tcp.bytes_out),
            },
            "refusals": outcomes(|w| &w.refusals),
            "retries": count(|w| &w.retries),
            "endpoint_connections": {
                "opened": count(|w| &w.pool.opened),
                "reused": count(|w| &w.pool.reused),
                "closed": count(|w| &w.pool.closed),
                "idle": level(|w| &w.pool.idle),
            },
            "log_lines_lost": self.access_log_dropped().get(),
        })
    }

    /// Configurations that were served, and refused, since the start.
    pub fn reloads_told(&self) -> (u64, u64) {
        self.config.reloads()
    }

    /// The upper bounds of latencies' buckets, in milliseconds. Above the last is `+Inf`.
    pub fn latency_bounds() -> impl Iterator<Item = f64> {
        LATENCY.bounds.iter().map(|bound| milliseconds(*bound))
    }
}

impl RouteMetrics {
    /// What has been counted of a route, to be added to what else is told of it.
    pub fn tell(&self, told: &mut Map<String, Value>) {
        let methods = || Method::KNOWN.into_iter().chain([Method::Other]);
        let classes = CLASSES.iter().enumerate().map(|(class, word)| {
            let count: u64 = methods().map(|method| self.requests(method, class)).sum();
            (*word, count)
        });
        let classes: Vec<_> = classes.collect();
        let requests: u64 = classes.iter().map(|(_, count)| count).sum();
        let bytes = |cell: fn(&RouteShard) -> &Counter| -> u64 {
            self.shards().map(|shard| cell(shard).get()).sum()
        };
        add(
            told,
            [
                ("requests", requests.into()),
                ("classes", object(classes)),
                ("bytes_in", bytes(|shard| &shard.bytes_in).into()),
                ("bytes_out", bytes(|shard| &shard.bytes_out).into()),
                ("latency", histogram(self.shards().map(|s| &s.duration))),
            ],
        );
    }
}

impl UpstreamMetrics {
    /// What has been counted of an upstream, to be added to what else is told of it.
    pub fn tell(&self, told: &mut Map<String, Value>) {
        let outcomes =
            seen_outcomes(|outcome| self.shards().map(|s| s.attempts.get(outcome)).sum());
        let healing = &self.healing;
        let level =
            |cell: &std::sync::atomic::AtomicU64| cell.load(std::sync::atomic::Ordering::Relaxed);
        add(
            told,
            [
                ("requests", self.requests().into()),
                ("attempts", object(outcomes)),
                ("waiting", healing.waiting().max(0).into()),
                ("waited", healing.queued.get().into()),
                ("limit", level(&healing.limit).into()),
                (
                    "retries",
                    json!({
                        "retried": healing.retried.get(),
                        "budget_spent": healing.budget_spent.get(),
                        "budget": level(&healing.budget),
                    }),
                ),
                (
                    "hedges",
                    json!({ "sent": healing.hedged.get(), "won": healing.hedges_won.get() }),
                ),
                (
                    "ejections",
                    (healing.ejected_row.get() + healing.ejected_rate.get()).into(),
                ),
                ("readmissions", healing.readmitted.get().into()),
                ("rests", healing.rests.get().into()),
                ("latency", histogram(self.shards().map(|s| &s.first_byte))),
                ("connect", histogram(self.shards().map(|s| &s.connect))),
            ],
        );
    }
}

fn add<const N: usize>(told: &mut Map<String, Value>, members: [(&str, Value); N]) {
    for (name, value) in members {
        told.insert(name.to_owned(), value);
    }
}

/// Counts by their words; what has not been counted is left out.
fn object<K: Into<String>>(counts: impl IntoIterator<Item = (K, u64)>) -> Value {
    let counted = counts.into_iter().filter(|(_, count)| *count > 0);
    let members = counted.map(|(word, count)| (word.into(), count.into()));
    Value::Object(members.collect())
}

/// Buckets by their upper bound in milliseconds, each with its own count.
fn histogram<'a>(shards: impl Iterator<Item = &'a Histogram>) -> Value {
    let (mut counts, mut nanos) = ([0; 18], 0_u64);
    let mut bounds = &LATENCY.bounds;
    for shard in shards {
        let (more, sum) = shard.read();
        bounds = &shard.scale().bounds;
        for (count, more) in counts.iter_mut().zip(more) {
            *count += more;
        }
        nanos = nanos.wrapping_add(sum);
    }
    let words = bounds.iter().map(|bound| milliseconds(*bound).to_string());
    let words = words.chain(std::iter::once("+Inf".to_owned()));
    json!({
        "count": counts.iter().sum::<u64>(),
        "sum_ms": milliseconds(nanos),
        "buckets": object(words.zip(counts)),
    })
}

fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
