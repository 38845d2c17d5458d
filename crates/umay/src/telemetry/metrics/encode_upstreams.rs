//! The same for upstreams and endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use umay_core::roster::Standing;

use super::cell::{Counter, SharedCounter};
use super::discovery::{DiscoveryMetrics, Origin, Update};
use super::encode::{Workers, seen_outcomes};
use super::endpoint::{EndpointMetrics, EndpointShard, Left, OTHER};
use super::page::{Page, Summed};
use super::upstream::{Healing, UpstreamMetrics};

impl Page<'_> {
    pub(super) fn pool(&mut self, workers: &Workers<'_>) {
        self.counter(
            "umay_upstream_connections_opened",
            "Connections to endpoints opened",
            workers.count(|w| &w.pool.opened),
        );
        self.counter(
            "umay_upstream_connections_reused",
            "Times that a connection to an endpoint was taken from the pool",
            workers.count(|w| &w.pool.reused),
        );
        self.counter(
            "umay_upstream_connections_closed",
            "Connections to endpoints closed",
            workers.count(|w| &w.pool.closed),
        );
        self.gauge(
            "umay_upstream_connections_idle",
            "Connections to endpoints waiting in the pool",
            workers.level(|w| &w.pool.idle),
        );
        self.counter(
            "umay_retries",
            "Attempts after the first",
            workers.count(|w| &w.retries),
        )
    }

    pub(super) fn upstreams(&mut self, upstreams: &[Arc<UpstreamMetrics>]) {
        let attempts = upstreams.iter().flat_map(|upstream| {
            seen_outcomes(|outcome| upstream.shards().map(|s| s.attempts.get(outcome)).sum())
                .into_iter()
                .map(|(outcome, count)| {
                    ([("upstream", upstream.name()), ("outcome", outcome)], count)
                })
        });
        self.counters(
            "umay_upstream_attempts",
            "Requests and connections given to endpoints, by the reason word or ok",
            attempts,
        );
        self.histograms(
            "umay_upstream_connect_duration_seconds",
            "Time to open a connection to an endpoint, with TLS",
            upstreams.iter().map(|u| {
                (
                    ("upstream", u.name()),
                    Summed::over(u.shards().map(|s| &s.connect)),
                )
            }),
        );
        self.histograms(
            "umay_upstream_request_duration_seconds",
            "Time from a request sent to the first byte of its answer",
            upstreams.iter().map(|u| {
                (
                    ("upstream", u.name()),
                    Summed::over(u.shards().map(|s| &s.first_byte)),
                )
            }),
        );
        self.healing(upstreams);
        self.endpoints(upstreams)
    }

    fn healing(&mut self, upstreams: &[Arc<UpstreamMetrics>]) {
        self.counters(
            "umay_upstream_requests",
            "Requests and streams that were to be given to an endpoint",
            upstreams
                .iter()
                .map(|u| ([("upstream", u.name())], u.requests())),
        );
        self.counters(
            "umay_upstream_ejections",
            "Endpoints that were ejected for failures in a row, or for too many in a while",
            two(upstreams, "cause", |h| {
                [
                    ("consecutive", &h.ejected_row),
                    ("success_rate", &h.ejected_rate),
                ]
            }),
        );
        self.counters(
            "umay_upstream_readmissions",
            "Endpoints that get requests again after an ejection",
            upstreams
                .iter()
                .map(|u| ([("upstream", u.name())], u.healing.readmitted.get())),
        );
        self.counters(
            "umay_upstream_retries",
            "Requests that were tried elsewhere, or were not because the budget was spent",
            two(upstreams, "result", |h| {
                [("retried", &h.retried), ("budget_spent", &h.budget_spent)]
            }),
        );
        self.counters(
            "umay_upstream_hedges",
            "Late requests that were asked for a second time, and those where the second answer came first",
            two(upstreams, "result", |h| {
                [("sent", &h.hedged), ("won", &h.hedges_won)]
            }),
        );
        self.counters(
            "umay_upstream_rests",
            "Times that an endpoint asked to be left alone (Retry-After)",
            upstreams
                .iter()
                .map(|u| ([("upstream", u.name())], u.healing.rests.get())),
        );
        self.counters(
            "umay_upstream_queued",
            "Requests that had to wait for room",
            upstreams
                .iter()
                .map(|u| ([("upstream", u.name())], u.healing.queued.get())),
        );
        for (name, help, value) in [
            (
                "umay_upstream_queue",
                "Requests that wait for room",
                (|h: &Healing| h.waiting()) as fn(&Healing) -> i64,
            ),
            (
                "umay_upstream_retry_budget",
                "Retries that the budget would allow now",
                |h| level(&h.budget),
            ),
            (
                "umay_upstream_requests_limit",
                "Requests that may be in flight; 0 is no limit",
                |h| level(&h.limit),
            ),
        ] {
            let series = upstreams.iter();
            let series = series.map(|u| ([("upstream", u.name())], value(&u.healing)));
            self.gauges(name, help, series);
        }
    }

    fn endpoints(&mut self, upstreams: &[Arc<UpstreamMetrics>]) {
        let all: Vec<_> = upstreams.iter().map(|u| (&**u, u.endpoints())).collect();
        let standings = all.iter().flat_map(|(upstream, endpoints)| {
            Standing::ALL.into_iter().map(move |standing| {
                let labels = [
                    ("upstream", upstream.name()),
                    ("standing", standing.as_str()),
                ];
                let so = endpoints.iter().filter(|e| e.standing() == Some(standing));
                (labels, i64::try_from(so.count()).unwrap_or(0))
            })
        });
        self.gauges(
            "umay_upstream_endpoints",
            "Endpoints by how they are",
            standings,
        );
        for (name, help, cell, left) in [
            (
                "umay_endpoint_picks",
                "Requests and streams given to an endpoint",
                (|shard| &shard.picks) as fn(&EndpointShard) -> &Counter,
                (|left| &left.picks) as fn(&Left) -> &SharedCounter,
            ),
            (
                "umay_endpoint_failures",
                "Of these, those that failed by its fault: no connection, a reset, 502, 503, 504",
                |shard| &shard.failed,
                |left| &left.failed,
            ),
        ] {
            let series = by_label(&all, |endpoint| endpoint.sum(cell), |l| left(l).get());
            self.counters(name, help, series);
        }
        let busy = by_label(&all, EndpointMetrics::in_flight, |_| 0);
        self.gauges(
            "umay_endpoint_in_flight",
            "Requests and streams that an endpoint serves",
            busy.into_iter()
                .map(|(labels, count)| (labels, i64::try_from(count).unwrap_or(i64::MAX))),
        )
    }

    pub(super) fn discoveries(&mut self, discoveries: &[Arc<DiscoveryMetrics>]) {
        let updates = discoveries.iter().flat_map(|discovery| {
            Origin::ALL.into_iter().flat_map(move |origin| {
                Update::ALL.into_iter().map(move |result| {
                    let labels = [
                        ("upstream", discovery.name()),
                        ("source", origin.as_str()),
                        ("result", result.as_str()),
                    ];
                    (labels, discovery.updates(origin, result))
                })
            })
        });
        self.counters(
            "umay_discovery_updates",
            "Answers about endpoints, by what was asked and what came of it",
            updates.filter(|(_, count)| *count > 0),
        );
        self.gauges(
            "umay_discovery_endpoints",
            "Endpoints that are known now, one for each address",
            discoveries
                .iter()
                .map(|d| ([("upstream", d.name())], d.endpoints())),
        );
        self.gauges(
            "umay_discovery_age_seconds",
            "Time since all that was asked about endpoints had been answered well",
            discoveries
                .iter()
                .filter_map(|d| Some(([("upstream", d.name())], d.age()?.as_secs_f64()))),
        )
    }
}

type EndpointLabels<'a> = [(&'static str, &'a str); 2];

/// One value per label; endpoints with the same label are one. `left` is added for those that have left [`OTHER`].
fn by_label<'a>(
    all: &'a [(&'a UpstreamMetrics, Vec<Arc<EndpointMetrics>>)],
    value: impl Fn(&EndpointMetrics) -> u64,
    left: impl Fn(&Left) -> u64,
) -> Vec<(EndpointLabels<'a>, u64)> {
    let mut series: Vec<(EndpointLabels<'a>, u64)> = Vec::new();
    for (upstream, endpoints) in all {
        for endpoint in endpoints {
            let labels = [
                ("upstream", upstream.name()),
                ("endpoint", endpoint.label()),
            ];
            match series.last_mut() {
                Some((last, sum)) if *last == labels => *sum += value(endpoint),
                _ => series.push((labels, value(endpoint))),
            }
        }
        let left = left(upstream.left());
        if left > 0 {
            let labels = [("upstream", upstream.name()), ("endpoint", OTHER)];
            match series.iter_mut().rev().find(|(have, _)| *have == labels) {
                Some((_, sum)) => *sum += left,
                None => series.push((labels, left)),
            }
        }
    }
    series
}

/// Two counters of each upstream, told apart by a label.
fn two<'a>(
    upstreams: &'a [Arc<UpstreamMetrics>],
    label: &'a str,
    cells: fn(&Healing) -> [(&'static str, &SharedCounter); 2],
) -> impl Iterator<Item = ([(&'a str, &'a str); 2], u64)> {
    upstreams.iter().flat_map(move |upstream| {
        cells(&upstream.healing)
            .map(|(word, count)| ([("upstream", upstream.name()), (label, word)], count.get()))
    })
}

fn level(cell: &AtomicU64) -> i64 {
    i64::try_from(cell.load(Relaxed)).unwrap_or(i64::MAX)
}
