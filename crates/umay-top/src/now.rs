//! What two readings of the same process say together: how much there is per second, and how long it takes.

use std::collections::BTreeMap;

use crate::reading::{Counts, Endpoint, Histogram, Reading, Route, Upstream};

/// What is going on. Rates are per second, over `seconds`.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// The later reading.
    pub reading: Reading,
    /// The time between the readings, by Umay's own clock.
    pub seconds: f64,
    /// HTTP requests that were answered.
    pub requests: f64,
    /// Of these, those answered with 5xx.
    pub errors: f64,
    /// How long they took.
    pub latency: Latency,
    /// Connections that were accepted.
    pub connections: f64,
    /// Connections that were refused.
    pub refused: f64,
    /// TLS handshakes with clients: done and failed.
    pub handshakes: [f64; 2],
    /// Bytes from clients and to clients: bodies and streams.
    pub bytes: [f64; 2],
    /// Cores in use.
    pub cpu: f64,
    /// The routes, in the order of the document.
    pub routes: Vec<RouteNow>,
    /// The upstreams, in the order of the document.
    pub upstreams: Vec<UpstreamNow>,
    /// What went wrong, by reason and where.
    pub failures: Vec<FailureNow>,
}

/// How long things took, in milliseconds; `None` if nothing was counted, infinity above the last bound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// The median.
    pub p50: Option<f64>,
    /// Nine of ten were as quick.
    pub p90: Option<f64>,
    /// 99 of 100 were as quick.
    pub p99: Option<f64>,
}

/// A route's rates.
#[derive(Clone, Debug, Default)]
pub struct RouteNow {
    /// Requests.
    pub requests: f64,
    /// By class of the answer's status: 4xx and 5xx.
    pub classes: [f64; 2],
    /// Bytes of bodies: of requests and of answers.
    pub bytes: [f64; 2],
    /// From a request's first byte to its answer's last.
    pub latency: Latency,
}

/// An upstream's rates.
#[derive(Clone, Debug, Default)]
pub struct UpstreamNow {
    /// Requests and streams.
    pub requests: f64,
    /// What endpoints failed, by their fault.
    pub failed: f64,
    /// Attempts after the first.
    pub retried: f64,
    /// To the first byte of answers.
    pub latency: Latency,
    /// Its endpoints: picks and failures.
    pub endpoints: Vec<[f64; 2]>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureNow {
    /// The reason's word.
    pub reason: String,
    /// The upstream whose attempts failed so; empty for what clients were refused.
    pub upstream: String,
    /// Per second.
    pub rate: f64,
    /// So far.
    pub total: u64,
}

impl Now {
    /// What happened between two readings. If they are not of the same process, or the later is not later, it is what
    /// has happened since the process started.
    pub fn between(old: &Reading, new: &Reading) -> Self {
        if old.process != new.process || old.uptime_ms >= new.uptime_ms {
            return Self::since_start(new);
        }
        Self::over(old, new)
    }

    /// What happened since the process started.
    pub fn since_start(new: &Reading) -> Self {
        Self::over(&Reading::default(), new)
    }

    fn over(old: &Reading, new: &Reading) -> Self {
        let seconds = new.uptime_ms.saturating_sub(old.uptime_ms) as f64 / 1000.0;
        let per = Per { seconds };
        let empty = Histogram::default();
        let old_routes: BTreeMap<_, _> = old.routes.iter().map(|r| (&r.name, r)).collect();
        let mut latency = vec![0; new.bounds_ms.len() + 1];
        let mut bytes = per.both(old.stream_bytes, new.stream_bytes);
        let routes: Vec<_> = new
            .routes
            .iter()
            .map(|route| {
                let old = old_routes.get(&route.name);
                let buckets = grown(old.map_or(&empty, |old| &old.latency), &route.latency);
                for (sum, count) in latency.iter_mut().zip(&buckets) {
                    *sum += count;
                }
                let now = per.route(old.copied(), route, &buckets, &new.bounds_ms);
                bytes = [bytes[0] + now.bytes[0], bytes[1] + now.bytes[1]];
                now
            })
            .collect();
        let old_upstreams: BTreeMap<_, _> = old.upstreams.iter().map(|u| (&u.name, u)).collect();
        let upstreams = new.upstreams.iter().map(|upstream| {
            let old = old_upstreams.get(&upstream.name);
            per.upstream(old.copied(), upstream, &new.bounds_ms)
        });
        let cpu = (new.cpu_s - old.cpu_s).max(0.0);
        Self {
            seconds,
            requests: per.second(old.requests, new.requests),
            errors: per.counts(&old.statuses, &new.statuses, |status| {
                status.starts_with('5')
            }),
            latency: Latency::of(&latency, &new.bounds_ms),
            connections: per.second(old.connections[1], new.connections[1]),
            refused: per.second(old.connections[2], new.connections[2]),
            handshakes: per.both(old.handshakes, new.handshakes),
            bytes,
            cpu: if seconds > 0.0 { cpu / seconds } else { 0.0 },
            routes,
            upstreams: upstreams.collect(),
            failures: per.failures(old, new),
            reading: new.clone(),
        }
    }
}

/// Makes rates of counters.
struct Per {
    seconds: f64,
}

impl Per {
    /// A counter that is smaller than it was belongs to something new of the same name, and began at zero.
    fn second(&self, old: u64, new: u64) -> f64 {
        if self.seconds > 0.0 {
            new.checked_sub(old).unwrap_or(new) as f64 / self.seconds
        } else {
            0.0
        }
    }

    fn both(&self, [a, b]: [u64; 2], [c, d]: [u64; 2]) -> [f64; 2] {
        [self.second(a, c), self.second(b, d)]
    }

    fn counts(&self, old: &Counts, new: &Counts, which: impl Fn(&str) -> bool) -> f64 {
        let counted = new.iter().filter(|(word, _)| which(word));
        counted
            .map(|(word, count)| self.second(old.get(word).copied().unwrap_or(0), *count))
            .sum()
    }

    fn route(
        &self,
        old: Option<&Route>,
        new: &Route,
        buckets: &[u64],
        bounds_ms: &[f64],
    ) -> RouteNow {
        let nothing = Route::default();
        let old = old.unwrap_or(&nothing);
        RouteNow {
            requests: self.second(old.requests, new.requests),
            classes: ["4xx", "5xx"]
                .map(|class| self.counts(&old.classes, &new.classes, |word| word == class)),
            bytes: self.both(old.bytes, new.bytes),
            latency: Latency::of(buckets, bounds_ms),
        }
    }

    fn upstream(&self, old: Option<&Upstream>, new: &Upstream, bounds_ms: &[f64]) -> UpstreamNow {
        let nothing = Upstream::default();
        let old = old.unwrap_or(&nothing);
        let known: BTreeMap<&String, &Endpoint> =
            old.endpoints.iter().map(|e| (&e.address, e)).collect();
        let endpoints = new.endpoints.iter().map(|endpoint| {
            let (picks, failures) = known
                .get(&endpoint.address)
                .map_or((0, 0), |old| (old.picks, old.failures));
            [
                self.second(picks, endpoint.picks),
                self.second(failures, endpoint.failures),
            ]
        });
        let endpoints: Vec<[f64; 2]> = endpoints.collect();
        UpstreamNow {
            requests: self.second(old.requests, new.requests),
            failed: endpoints.iter().map(|[_, failures]| failures).sum(),
            retried: self.second(old.retried, new.retried),
            latency: Latency::of(&grown(&old.latency, &new.latency), bounds_ms),
            endpoints,
        }
    }

    /// The busiest first, then those with the largest counts.
    fn failures(&self, old: &Reading, new: &Reading) -> Vec<FailureNow> {
        let none = Counts::new();
        let of = |old: &Counts, new: &Counts, upstream: &str| {
            let one = |(reason, total): (&String, &u64)| FailureNow {
                reason: reason.clone(),
                upstream: upstream.to_owned(),
                rate: self.second(old.get(reason).copied().unwrap_or(0), *total),
                total: *total,
            };
            new.iter().map(one).collect::<Vec<_>>()
        };
        let mut found = of(&old.refusals, &new.refusals, "");
        let before: BTreeMap<_, _> = old
            .upstreams
            .iter()
            .map(|u| (&u.name, &u.attempts))
            .collect();
        for upstream in &new.upstreams {
            let before = before.get(&upstream.name).copied().unwrap_or(&none);
            found.extend(of(before, &upstream.attempts, &upstream.name));
        }
        found.retain(|failure| failure.reason != "ok");
        found.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(b.total.cmp(&a.total)));
        found
    }
}

/// What came into each bucket. If one of them went back, all began at zero.
fn grown(old: &Histogram, new: &Histogram) -> Vec<u64> {
    let before = |at: usize| old.counts.get(at).copied().unwrap_or(0);
    let grown = new.counts.iter().enumerate();
    let grown: Option<Vec<u64>> = grown.map(|(at, n)| n.checked_sub(before(at))).collect();
    grown.unwrap_or_else(|| new.counts.clone())
}

impl Latency {
    /// From counts per bucket, the last of them above all bounds.
    pub(crate) fn of(counts: &[u64], bounds_ms: &[f64]) -> Self {
        let at = |share| quantile(counts, bounds_ms, share);
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
        }
    }
}

/// As if what is in a bucket were spread evenly over it.
fn quantile(counts: &[u64], bounds_ms: &[f64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = all as f64 * share;
    let (mut below, mut lower) = (0.0, 0.0);
    for (count, upper) in counts.iter().zip(bounds_ms) {
        let inside = *count as f64;
        if inside > 0.0 && below + inside >= wanted {
            return Some(lower + (upper - lower) * (wanted - below) / inside);
        }
        below += inside;
        lower = *upper;
    }
    Some(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reading(pid: u64, uptime_ms: u64, requests: u64, more: &Value) -> Reading {
        let mut document = json!({
            "pid": pid, "started": "x", "uptime_ms": uptime_ms, "latency_bounds_ms": [1, 10, 100],
            "totals": { "requests": requests, "statuses": { "200": requests, "502": requests / 10 },
                        "refusals": { "no_route": requests / 2 } },
            "routes": [{ "name": "r", "requests": requests, "bytes_out": requests * 100,
                         "latency": { "buckets": { "10": requests } } }],
            "upstreams": [{ "name": "u", "requests": requests, "attempts": { "ok": requests, "connect_refused": 4 },
                            "endpoints": [{ "address": "e", "picks": requests }] }],
        });
        if let (Some(to), Some(from)) = (document.as_object_mut(), more.as_object()) {
            to.extend(from.clone());
        }
        Reading::new(&document)
    }

    #[test]
    fn rates_are_by_the_clock_of_the_process() {
        let now = Now::between(
            &reading(1, 10_000, 1_000, &json!({})),
            &reading(1, 12_000, 1_500, &json!({})),
        );
        assert_eq!((now.seconds, now.requests, now.errors), (2.0, 250.0, 25.0));
        assert_eq!(now.bytes, [0.0, 25_000.0]);
        assert_eq!(now.latency.p50, Some(5.5));
        assert_eq!(now.routes[0].requests, 250.0);
        assert_eq!(now.upstreams[0].endpoints, [[250.0, 0.0]]);
        let failure = |n: usize| (&*now.failures[n].reason, now.failures[n].rate);
        assert_eq!(failure(0), ("no_route", 125.0));
        assert_eq!(failure(1), ("connect_refused", 0.0));
        assert_eq!(now.failures.len(), 2);
    }

    #[test]
    fn another_process_begins_anew() {
        let old = reading(1, 10_000, 1_000, &json!({}));
        for new in [
            reading(2, 2_000, 100, &json!({})),
            reading(1, 2_000, 100, &json!({})),
        ] {
            let now = Now::between(&old, &new);
            assert_eq!((now.seconds, now.requests), (2.0, 50.0));
        }
        let now = Now::between(&old, &old);
        assert_eq!((now.seconds, now.requests), (10.0, 100.0));
        assert_eq!(Now::since_start(&Reading::default()).requests, 0.0);
    }

    #[test]
    fn a_counter_that_went_back_counts_from_zero() {
        let old = reading(1, 10_000, 1_000, &json!({}));
        // The route was taken away by a reload, and given back by another.
        let again = json!({ "routes": [{ "name": "r", "requests": 30, "latency": { "buckets": { "1": 30 } } }] });
        let new = reading(1, 11_000, 1_500, &again);
        let now = Now::between(&old, &new);
        assert_eq!(now.routes[0].requests, 30.0);
        assert_eq!(now.routes[0].latency.p50, Some(0.5));
        assert_eq!(now.requests, 500.0);
        // One that is new has no past.
        let other = json!({ "routes": [{ "name": "s", "requests": 30 }] });
        let now = Now::between(&old, &reading(1, 11_000, 1_500, &other));
        assert_eq!(now.routes[0].requests, 30.0);
        assert_eq!(now.routes[0].latency, Latency::default());
    }

    #[test]
    fn quantiles_are_inside_their_bucket() {
        let bounds = [1.0, 10.0, 100.0];
        for (counts, share, expected) in [
            ([0, 0, 0, 0], 0.5, None),
            ([10, 0, 0, 0], 0.5, Some(0.5)),
            ([10, 0, 0, 0], 0.99, Some(0.99)),
            ([5, 5, 0, 0], 0.5, Some(1.0)),
            ([0, 10, 0, 0], 0.5, Some(5.5)),
            ([98, 0, 1, 1], 0.99, Some(100.0)),
            ([98, 0, 0, 2], 0.99, Some(f64::INFINITY)),
        ] {
            assert_eq!(quantile(&counts, &bounds, share), expected, "{counts:?}");
        }
    }
}
