//! From cells to series: sums over the workers, family by family.
//!
//! A series with labels from a closed set that has not counted yet is left out where the set is
//! large (reasons, statuses, methods); all others are there from the start.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use umay_core::message::Method;
use umay_core::reason::Reason;

use super::cell::{Counter, Gauge, Histogram, Outcomes};
use super::listener::ListenerMetrics;
use super::page::{Page, Summed};
use super::process::{Process, architecture};
use super::registry::Registry;
use super::route::{CLASSES, RouteMetrics, RouteShard};
use super::worker::{Detected, Statuses, TlsVersion, WorkerMetrics};

/// All workers' shards.
pub(super) struct Workers<'a>(&'a [Arc<WorkerMetrics>]);

impl Workers<'_> {
    pub(super) fn sum(&self, cell: impl Fn(&WorkerMetrics) -> u64) -> u64 {
        self.0.iter().map(|worker| cell(worker)).sum()
    }

    pub(super) fn count(&self, cell: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.sum(|worker| cell(worker).get())
    }

    pub(super) fn level(&self, cell: impl Fn(&WorkerMetrics) -> &Gauge) -> i64 {
        self.0.iter().map(|worker| cell(worker).get()).sum()
    }

    fn histogram(&self, cell: impl Fn(&WorkerMetrics) -> &Histogram) -> Option<Summed> {
        Summed::over(self.0.iter().map(|worker| cell(worker)))
    }

    /// One series per outcome that has been seen. What went well is called `ok`.
    fn outcomes(&self, cell: impl Fn(&WorkerMetrics) -> &Outcomes) -> Vec<(&'static str, u64)> {
        seen_outcomes(|outcome| self.sum(|worker| cell(worker).get(outcome)))
    }
}

/// One per status that has been seen; those that are out of range are called `other`.
pub(super) fn seen_statuses(count: impl Fn(u16) -> u64) -> Vec<(String, u64)> {
    Statuses::RANGE
        .chain(std::iter::once(0))
        .map(|status| (status, count(status)))
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| match status {
            0 => ("other".to_owned(), count),
            status => (status.to_string(), count),
        })
        .collect()
}

pub(super) fn seen_outcomes(count: impl Fn(Option<Reason>) -> u64) -> Vec<(&'static str, u64)> {
    let reasons = Reason::ALL.iter().map(|reason| Some(*reason));
    std::iter::once(None)
        .chain(reasons)
        .map(|outcome| (outcome.map_or("ok", Reason::as_str), count(outcome)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// One method per group of families.
impl Page<'_> {
    /// All that a process tells.
    pub(super) fn all(&mut self, registry: &Registry) {
        let workers = Workers(registry.workers());
        self.process(registry);
        self.configuration(&registry.config);
        self.traces(&registry.traces);
        self.pushes(&registry.pushes);
        self.connections(&workers);
        self.tls(&workers);
        self.certificates(&registry.certificates.load());
        self.http(&workers);
        self.listeners(&registry.live_listeners());
        self.routes(&registry.live_routes());
        self.tcp(&workers);
        self.pool(&workers);
        self.upstreams(&registry.live_upstreams());
        self.discoveries(&registry.live_discoveries());
    }

    fn process(&mut self, registry: &Registry) {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        self.info("umay_build", "The build that is running", &version);
        let (arch, os) = (architecture(), std::env::consts::OS);
        let target = [
            ("service_name", "umay"),
            ("service_version", env!("CARGO_PKG_VERSION")),
            ("host_arch", arch),
            ("os_type", os),
        ];
        self.info("target", "What is measured", &target);
        self.gauge(
            "process_start_time_seconds",
            "When the process started, since the Unix epoch",
            seconds(registry.started()),
        );
        let process = Process::read();
        if let Some(cpu) = process.cpu_seconds {
            self.counter("process_cpu_seconds", "User and system time", cpu);
        }
        let gauges = [
            (
                "process_open_fds",
                "Open file descriptors",
                process.open_fds,
            ),
            (
                "process_max_fds",
                "Limit on open file descriptors",
                process.max_fds,
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory",
                process.resident_bytes,
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                self.gauge(name, help, value);
            }
        }
        self.histogram(
            "umay_worker_lag_seconds",
            "How late the tick of a worker was, of which there are twenty a second; below a millisecond is as exact as timers are",
            Workers(registry.workers()).histogram(|w| &w.clock.lag),
        );
        let dropped = registry.access_log_dropped().get();
        self.counter(
            "umay_access_log_dropped",
            "Access log lines lost because the writer was behind or failed",
            dropped,
        )
    }

    fn connections(&mut self, workers: &Workers<'_>) {
        self.counter(
            "umay_connections_accepted",
            "Client connections accepted, those that a limit closes at once among them",
            workers.count(|w| &w.connections.accepted),
        );
        self.gauge(
            "umay_connections_active",
            "Client connections open",
            workers.level(|w| &w.connections.active),
        );
        self.counter(
            "umay_connections_refused",
            "Client connections closed at once because of a limit",
            workers.count(|w| &w.connections.refused),
        );
        self.counter(
            "umay_accept_errors",
            "Errors while accepting connections",
            workers.count(|w| &w.connections.accept_errors),
        );
        self.counters(
            "umay_refusals",
            "Requests and connections that Umay refused or cut, by reason word",
            workers
                .outcomes(|w| &w.refusals)
                .into_iter()
                .map(|(reason, count)| ([("reason", reason)], count)),
        );
        self.counters(
            "umay_protocol_detected",
            "What client connections turned out to speak, and once more inside of TLS",
            Detected::ALL.into_iter().map(|what| {
                let count = workers.sum(|w| w.detection.get(what));
                ([("protocol", what.as_str())], count)
            }),
        );
        self.histogram(
            "umay_protocol_detection_seconds",
            "Time from the accept, or the end of the TLS handshake, until it was known what a connection speaks",
            workers.histogram(|w| w.detection.duration()),
        )
    }

    fn tls(&mut self, workers: &Workers<'_>) {
        let done = [TlsVersion::Tls12, TlsVersion::Tls13]
            .into_iter()
            .flat_map(|version| {
                [("no", false), ("yes", true)].map(|(word, resumed)| {
                    let count = workers.sum(|w| w.tls.get(version, resumed));
                    (
                        [
                            ("version", version.as_str()),
                            ("resumed", word),
                            ("result", "ok"),
                        ],
                        count,
                    )
                })
            });
        let failures = workers.outcomes(|w| w.tls.failures());
        let failed = failures.iter().map(|(_, count)| count).sum();
        let failed = (
            [
                ("version", "unknown"),
                ("resumed", "no"),
                ("result", "failed"),
            ],
            failed,
        );
        self.counters(
            "umay_tls_handshakes",
            "TLS handshakes with clients",
            done.chain(std::iter::once(failed)),
        );
        self.counters(
            "umay_tls_failures",
            "TLS handshakes with clients that failed, by reason word",
            failures
                .into_iter()
                .map(|(reason, count)| ([("reason", reason)], count)),
        );
        self.histogram(
            "umay_tls_handshake_duration_seconds",
            "Time that completed TLS handshakes with clients took",
            workers.histogram(|w| w.tls.duration()),
        )
    }

    fn http(&mut self, workers: &Workers<'_>) {
        self.gauge(
            "umay_http_requests_in_flight",
            "HTTP requests whose answer, or the tunnel that began with it, is not over",
            workers.level(|w| &w.http.in_flight),
        );
        let statuses = seen_statuses(|status| workers.sum(|w| w.http.responses.get(status)));
        self.counters(
            "umay_http_responses",
            "Answers to HTTP requests by status; 499 stands for none, because the client left",
            statuses
                .iter()
                .map(|(code, count)| ([("code", code.as_str())], *count)),
        )
    }

    fn listeners(&mut self, listeners: &[Arc<ListenerMetrics>]) {
        self.histograms(
            "umay_http_overhead_seconds",
            "Time that Umay itself added to HTTP requests answered at the first attempt: what it took until the request was sent on, as far as it had come, and the answer passed on, as far as that had come; without waiting for the client, room, a connection or the endpoint",
            listeners.iter().map(|listener| {
                (
                    ("listener", listener.name()),
                    Summed::over(listener.shards().map(|s| &s.overhead)),
                )
            }),
        );
    }

    fn routes(&mut self, routes: &[Arc<RouteMetrics>]) {
        let methods = || {
            Method::KNOWN
                .into_iter()
                .chain(std::iter::once(Method::Other))
        };
        let requests = routes.iter().flat_map(|route| {
            methods().flat_map(move |method| {
                CLASSES.iter().enumerate().map(move |(class, word)| {
                    let labels = [
                        ("route", route.name()),
                        ("method", method.as_str()),
                        ("code_class", *word),
                    ];
                    (labels, route.requests(method, class))
                })
            })
        });
        self.counters(
            "umay_http_requests",
            "HTTP requests that found a route, by that, method and class of the answer's status",
            requests.filter(|(_, count)| *count > 0),
        );
        let bytes = |cell: fn(&RouteShard) -> &Counter| {
            routes.iter().map(move |route| {
                let count = route.shards().map(|shard| cell(shard).get()).sum::<u64>();
                ([("route", route.name())], count)
            })
        };
        self.counters(
            "umay_http_request_bytes",
            "Bytes of request bodies",
            bytes(|shard| &shard.bytes_in),
        );
        self.counters(
            "umay_http_response_bytes",
            "Bytes of response bodies",
            bytes(|shard| &shard.bytes_out),
        );
        self.histograms(
            "umay_http_request_duration_seconds",
            "Time from the first byte of a request to the last of its answer, or to the tunnel that begins with it",
            routes.iter().map(|route| {
                (
                    ("route", route.name()),
                    Summed::over(route.shards().map(|s| &s.duration)),
                )
            }),
        )
    }

    fn tcp(&mut self, workers: &Workers<'_>) {
        self.gauge(
            "umay_tcp_connections_active",
            "Raw streams and tunnels open",
            workers.level(|w| &w.tcp.active),
        );
        self.counters(
            "umay_tcp_connections",
            "Raw streams and tunnels that ended, by the reason word or ok",
            workers
                .outcomes(|w| w.tcp.outcomes())
                .into_iter()
                .map(|(reason, count)| ([("close_reason", reason)], count)),
        );
        let bytes = [
            ("in", workers.count(|w| &w.tcp.bytes_in)),
            ("out", workers.count(|w| &w.tcp.bytes_out)),
        ];
        self.counters(
            "umay_tcp_bytes",
            "Bytes carried by raw streams and tunnels: in from clients, out to clients",
            bytes
                .into_iter()
                .map(|(way, count)| ([("direction", way)], count)),
        );
        self.histogram(
            "umay_tcp_connection_duration_seconds",
            "How long raw streams and tunnels lived",
            workers.histogram(|w| w.tcp.duration()),
        )
    }
}
