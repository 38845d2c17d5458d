//! The books that a script keeps of what it does, and how the page is held to them.

use std::collections::BTreeMap;

use umay_test::scrape::{Labels, Scrape};
use umay_test::{Umay, eventually};

use super::invariants;

/// Counts that do not follow from the script: the kernel's, and those of connections to endpoints, of which each
/// worker has its own; they have a test of their own in `upstreams`.
const NOT_SCRIPTED: [&str; 5] = [
    "process_cpu_seconds_total",
    "umay_discovery_updates_total",
    "umay_upstream_connections_opened_total",
    "umay_upstream_connections_reused_total",
    "umay_upstream_connections_closed_total",
];

/// What has to stand on the page: a value for each series that has counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    counts: BTreeMap<(String, Labels), f64>,
    /// Requests and streams that got a connection to an endpoint, new or not.
    pub(crate) links: f64,
    /// Requests that found no route.
    pub(crate) lost: f64,
}

impl Ledger {
    /// Something was done `times` times that this series counts.
    pub(crate) fn note(&mut self, name: &str, labels: &[(&str, &str)], times: usize) {
        let labels = labels.iter();
        let labels = labels.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let key = (name.to_owned(), labels.collect());
        *self.counts.entry(key).or_default() += times as f64;
    }

    /// A connection came, which spoke all this.
    pub(crate) fn came(&mut self, protocols: &[&str]) {
        self.note("umay_connections_accepted_total", &[], 1);
        for protocol in protocols {
            let labels = [("protocol", *protocol)];
            self.note("umay_protocol_detected_total", &labels, 1);
        }
    }

    /// Something was refused or cut.
    pub(crate) fn refused(&mut self, reason: &str) {
        self.note("umay_refusals_total", &[("reason", reason)], 1);
    }

    /// A handshake went well.
    pub(crate) fn shook(&mut self, version: &str, resumed: &str) {
        let labels = [("version", version), ("resumed", resumed), ("result", "ok")];
        self.note("umay_tls_handshakes_total", &labels, 1);
    }

    /// A handshake failed.
    pub(crate) fn unshaken(&mut self, reason: &str) {
        let labels = [
            ("version", "unknown"),
            ("resumed", "no"),
            ("result", "failed"),
        ];
        self.note("umay_tls_handshakes_total", &labels, 1);
        self.note("umay_tls_failures_total", &[("reason", reason)], 1);
        self.refused(reason);
    }

    /// A request was answered, or would have been.
    pub(crate) fn answered(&mut self, route: Option<&str>, method: &str, status: u16) {
        let (code, class) = (status.to_string(), format!("{}xx", status / 100));
        self.note("umay_http_responses_total", &[("code", &code)], 1);
        let Some(route) = route else {
            self.lost += 1.0;
            return;
        };
        let labels = [("route", route), ("method", method), ("code_class", &class)];
        self.note("umay_http_requests_total", &labels, 1);
    }

    /// Bodies of a request and its answer.
    pub(crate) fn carried(&mut self, route: &str, up: usize, down: usize) {
        let route = [("route", route)];
        self.note("umay_http_request_bytes_total", &route, up);
        self.note("umay_http_response_bytes_total", &route, down);
    }

    /// A request or a stream was to be given to an endpoint.
    pub(crate) fn wanted(&mut self, upstream: &str) {
        let labels = [("upstream", upstream)];
        self.note("umay_upstream_requests_total", &labels, 1);
    }

    /// It was given to one.
    pub(crate) fn given(&mut self, upstream: &str, endpoint: &str, outcome: &str) {
        let labels = [("upstream", upstream), ("endpoint", endpoint)];
        self.note("umay_endpoint_picks_total", &labels, 1);
        let labels = [("upstream", upstream), ("outcome", outcome)];
        self.note("umay_upstream_attempts_total", &labels, 1);
    }

    /// That spoke against the endpoint.
    pub(crate) fn blamed(&mut self, upstream: &str, endpoint: &str) {
        let labels = [("upstream", upstream), ("endpoint", endpoint)];
        self.note("umay_endpoint_failures_total", &labels, 1);
    }

    /// A raw stream or a tunnel has ended.
    pub(crate) fn streamed(&mut self, close_reason: &str, up: usize, down: usize) {
        let labels = [("close_reason", close_reason)];
        self.note("umay_tcp_connections_total", &labels, 1);
        self.note("umay_tcp_bytes_total", &[("direction", "in")], up);
        self.note("umay_tcp_bytes_total", &[("direction", "out")], down);
    }

    /// Connections that were accepted so far.
    fn accepted(&self) -> f64 {
        let key = (
            "umay_connections_accepted_total".to_owned(),
            Labels::default(),
        );
        self.counts.get(&key).copied().unwrap_or_default()
    }

    /// Waits until all clients are gone and holds the page to the books: each series has counted what the script did, and
    /// none has counted anything else.
    #[track_caller]
    pub(crate) fn audit(&self, umay: &Umay) -> Scrape {
        let page = at_rest(umay, self.accepted());
        let mut wrong = Vec::new();
        let mut counted = BTreeMap::new();
        for (name, family) in page.families() {
            let name = format!("{name}_total");
            if family.kind != "counter" || NOT_SCRIPTED.contains(&&*name) {
                continue;
            }
            for sample in page.samples(&name) {
                counted.insert((name.clone(), sample.labels.clone()), sample.value);
            }
        }
        for (series, wanted) in &self.counts {
            let value = counted.remove(series).unwrap_or_default();
            if value != *wanted {
                wrong.push(format!("{series:?} is {value}, not {wanted}"));
            }
        }
        let more = counted.iter().filter(|(_, value)| **value != 0.0);
        wrong.extend(more.map(|(series, value)| format!("{series:?} is {value}, not 0")));
        let links = page.sum("umay_upstream_connections_opened_total", &[])
            + page.sum("umay_upstream_connections_reused_total", &[]);
        if links != self.links {
            wrong.push(format!("{links} had a connection, not {}", self.links));
        }
        wrong.extend(invariants::broken(&page, self.lost));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        page
    }
}

/// Waits until so many connections have come and all are gone; what is left to be seen after that is idle connections
/// to endpoints.
#[track_caller]
pub(crate) fn at_rest(umay: &Umay, accepted: f64) -> Scrape {
    let mut last = Scrape::default();
    let came = |page: &Scrape| page.sum("umay_connections_accepted_total", &[]);
    let what = format!("{accepted} connections to come and go");
    let open = || {
        let page = umay.scrape();
        let open = page.sum("umay_connections_active", &[]);
        let found = (came(&page), open);
        last = page;
        (found.0 >= accepted && open == 0.0).then_some(())
    };
    eventually(&what, open);
    drop(last);
    // What was counted last was counted before the last connection was gone.
    let page = umay.scrape();
    for gauge in [
        "umay_connections_active",
        "umay_http_requests_in_flight",
        "umay_tcp_connections_active",
        "umay_endpoint_in_flight",
        "umay_upstream_queue",
    ] {
        for sample in page.samples(gauge) {
            assert_eq!(sample.value, 0.0, "{gauge} {:?}", sample.labels);
        }
    }
    page
}
