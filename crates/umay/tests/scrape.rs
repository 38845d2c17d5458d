//! `/metrics` read by a real Prometheus in each of its formats: classic and native histograms, exemplars.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use umay_test::collector::Collector;
use umay_test::programs::{self, Program};
use umay_test::{Conn, GET, Server, Umay, Value, eventually, ok, umay};

/// How long the endpoint takes for an answer.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(30);
const REQUESTS: usize = 5;

/// A Umay that tells a collector of all requests, and has served some.
fn busy(collector: &Collector) -> (Umay, Server) {
    let server = Server::http(|_| {
        std::thread::sleep(PAUSE);
        ok("late")
    });
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = [\"http://{}\"]\n{}",
        server.addr(),
        collector.toml()
    );
    let mut conn = Conn::connect(umay.addr()).unwrap();
    for _ in 0..REQUESTS {
        assert_eq!(conn.ask(GET).unwrap().status(), 200);
    }
    (umay, server)
}

/// A Prometheus with these features that looks at it often.
fn watch(features: &str, umay: &Umay) -> Program {
    programs::prometheus_with(
        features,
        &format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\n\
             scrape_configs:\n  - job_name: umay\n    static_configs: [{{ targets: [\"{}\"] }}]\n",
            umay.admin()
        ),
        &[],
    )
}

/// What its API answers.
fn ask(prometheus: &Program, path: &str, query: &str) -> Vec<Value> {
    let url = format!("http://{}/api/v1/{path}", prometheus.addr);
    let query = format!("query={query}");
    let answer = programs::curl(["--data-urlencode", &query, "-G", &url]);
    let answer: Value = answer.parse().unwrap_or_default();
    let data = &answer["data"];
    let found = data.get("result").unwrap_or(data).as_array();
    found.cloned().unwrap_or_default()
}

/// The number that a query has in the end.
fn number(prometheus: &Program, query: &str, is_good: impl Fn(f64) -> bool) {
    let mut last = Vec::new();
    eventually(query, || {
        last = ask(prometheus, "query", query);
        let value = last.first()?["value"][1].as_str()?.parse().ok()?;
        is_good(value).then_some(())
    });
}

fn exemplars(prometheus: &Program, series: &str) -> Vec<String> {
    eventually("exemplars", || {
        let path = "query_exemplars?start=1&end=9999999999";
        let found = ask(prometheus, path, series);
        let all: Vec<_> = found
            .iter()
            .flat_map(|series| series["exemplars"].as_array().cloned().unwrap_or_default())
            .filter_map(|one| Some(one["labels"]["trace_id"].as_str()?.to_owned()))
            .collect();
        (!all.is_empty()).then_some(all)
    })
}

#[test]
fn native_histograms_are_understood() {
    let collector = Collector::http();
    let (umay, _server) = busy(&collector);
    let prometheus = watch("native-histograms", &umay);
    let duration = "umay_http_request_duration_seconds{route=\"default\"}";
    let all = REQUESTS as f64;
    number(
        &prometheus,
        &format!("histogram_count({duration})"),
        |count| count == all,
    );
    // The endpoint's pause is the least of it; a bucket's bounds are less than a tenth apart.
    let pause = PAUSE.as_secs_f64();
    let median = format!("histogram_quantile(0.5, {duration})");
    number(&prometheus, &median, |median| median > pause / 1.1);
    let below = format!("histogram_fraction(0, {}, {duration})", pause / 1.1);
    number(&prometheus, &below, |share| share == 0.0);
    let listener = "umay_http_overhead_seconds";
    number(
        &prometheus,
        &format!("histogram_count({listener})"),
        |count| count == all,
    );
    // The pause is not what Umay adds.
    let share = format!("histogram_fraction(0, {pause}, {listener})");
    number(&prometheus, &share, |share| share > 0.5);
    // The other kinds come with it.
    number(
        &prometheus,
        "umay_http_responses_total{code=\"200\"}",
        |count| count == all,
    );
    number(&prometheus, "umay_build_info", |one| one == 1.0);
}

#[test]
fn exemplars_are_traces_that_the_collector_knows() {
    let collector = Collector::http();
    let (umay, _server) = busy(&collector);
    let prometheus = watch("exemplar-storage", &umay);
    let known: Vec<_> = eventually("all spans", || {
        let spans = collector.spans();
        let all = spans.len() == 2 * REQUESTS;
        all.then(|| spans.into_iter().map(|span| span.trace_id).collect())
    });
    for series in [
        "umay_http_request_duration_seconds_bucket",
        "umay_http_overhead_seconds_bucket",
        "umay_upstream_request_duration_seconds_bucket",
    ] {
        for trace_id in exemplars(&prometheus, series) {
            assert!(known.contains(&trace_id), "{series}: {trace_id}");
        }
    }
    // In text the classic buckets are read as ever, whatever the format.
    let bucket = "umay_http_request_duration_seconds_bucket{route=\"default\", le=\"+Inf\"}";
    number(&prometheus, bucket, |count| count == REQUESTS as f64);
}
