//! The whole registry, read back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umay_core::message::Method;
use umay_core::reason::Reason;
use umay_test::scrape::Scrape;

use super::*;
use crate::telemetry::protobuf::bytes;

mod caps;
mod messages;

/// Series (name with labels) and their values.
type Series = BTreeMap<String, f64>;

/// Reads OpenMetrics text strictly, and keeps series as they are written.
fn parse(text: &str) -> Series {
    let page = Scrape::read(text).unwrap_or_else(|why| panic!("{why}"));
    for (name, family) in page.families() {
        assert!(!family.help.is_empty(), "{name}");
        if family.kind == "histogram" {
            let count = |suffix: &str| page.samples(&format!("{name}{suffix}")).len();
            assert_eq!(count("_bucket"), 18 * count("_count"), "{name}");
        }
    }
    for (label, _) in page.labels() {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
        assert!(label.bytes().all(is_plain), "{label}");
    }
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| line.split(" # {").next().unwrap_or(line));
    let series = samples.map(|sample| sample.rsplit_once(' ').unwrap());
    let series = series.map(|(key, value)| (key.to_owned(), value.parse().unwrap()));
    series.collect()
}

fn read(registry: &Arc<Registry>) -> Series {
    parse(&text(registry, Format::OpenMetrics))
}

fn text(registry: &Registry, format: Format) -> String {
    String::from_utf8(registry.encode(format)).unwrap()
}

fn exchange(method: Method, status: u16, millis: u64) -> Exchange {
    Exchange {
        method,
        status,
        duration: Duration::from_millis(millis),
        bytes_in: 10,
        bytes_out: 100,
        trace_id: None,
    }
}

#[test]
fn an_idle_registry_is_well_formed() {
    let series = read(&Registry::new(2));
    assert_eq!(series["umay_connections_accepted_total"], 0.0);
    assert_eq!(
        series[r#"umay_protocol_detected_total{protocol="mqtt"}"#],
        0.0
    );
    assert_eq!(
        series[&format!(
            "umay_build_info{{version=\"{}\"}}",
            env!("CARGO_PKG_VERSION")
        )],
        1.0
    );
    assert!(series["process_resident_memory_bytes"] > 0.0);
    assert!(
        !series
            .keys()
            .any(|key| key.starts_with("umay_refusals_total"))
    );
}

#[test]
fn workers_are_summed() {
    let registry = Registry::new(2);
    for index in 0..2 {
        let worker = registry.worker(index).unwrap();
        worker.connections.accepted.add(3);
        worker.connections.active.up();
        worker.refusals.count(Some(Reason::NoRoute));
        worker
            .detection
            .done(Detected::Http1, Duration::from_micros(700));
        worker
            .tls
            .done(TlsVersion::Tls13, true, Duration::from_millis(3));
        worker.http.responses.count(204);
        worker.http.responses.count(777);
        worker.tcp.bytes_out.add(5);
        worker.tcp.closed(None, Duration::from_secs(7));
        worker
            .tcp
            .closed(Some(Reason::IdleTimeout), Duration::from_secs(4000));
        worker.pool.idle.up();
        worker.retries.inc();
    }
    let tls = &registry.worker(0).unwrap().tls;
    tls.failed(Reason::HandshakeTimeout);
    registry.access_log_dropped().add(9);
    assert!(registry.worker(2).is_none());

    let series = read(&registry);
    for (key, value) in [
        ("umay_connections_accepted_total", 6.0),
        ("umay_connections_active", 2.0),
        (r#"umay_refusals_total{reason="no_route"}"#, 2.0),
        (r#"umay_protocol_detected_total{protocol="http1"}"#, 2.0),
        (
            r#"umay_protocol_detection_seconds_bucket{le="0.0005"}"#,
            0.0,
        ),
        (r#"umay_protocol_detection_seconds_bucket{le="0.001"}"#, 2.0),
        ("umay_protocol_detection_seconds_sum", 0.0014),
        (
            r#"umay_tls_handshakes_total{version="1.3",resumed="yes",result="ok"}"#,
            2.0,
        ),
        (
            r#"umay_tls_handshakes_total{version="unknown",resumed="no",result="failed"}"#,
            1.0,
        ),
        (
            r#"umay_tls_failures_total{reason="handshake_timeout"}"#,
            1.0,
        ),
        (r#"umay_http_responses_total{code="204"}"#, 2.0),
        (r#"umay_http_responses_total{code="other"}"#, 2.0),
        (r#"umay_tcp_bytes_total{direction="out"}"#, 10.0),
        (r#"umay_tcp_connections_total{close_reason="ok"}"#, 2.0),
        (
            r#"umay_tcp_connections_total{close_reason="idle_timeout"}"#,
            2.0,
        ),
        (
            r#"umay_tcp_connection_duration_seconds_bucket{le="5.0"}"#,
            0.0,
        ),
        (
            r#"umay_tcp_connection_duration_seconds_bucket{le="10.0"}"#,
            2.0,
        ),
        ("umay_upstream_connections_idle", 2.0),
        ("umay_retries_total", 2.0),
        ("umay_access_log_dropped_total", 9.0),
    ] {
        assert_eq!(series.get(key), Some(&value), "{key}");
    }
}

#[test]
fn routes_and_upstreams_have_their_series() {
    let registry = Registry::new(2);
    let route = registry.route("a \"b\"\\\nc");
    route.count(0, &exchange(Method::Get, 200, 2));
    route.count(1, &exchange(Method::Get, 204, 20));
    route.count(1, &exchange(Method::Other, 999, 20));
    route.count(2, &exchange(Method::Get, 200, 2));
    let asleep = registry.route("asleep");
    let upstream = registry.upstream("app");
    upstream.attempted(0, None);
    upstream.attempted(1, Some(Reason::ConnectRefused));
    upstream.connected(1, Duration::from_millis(1));
    upstream.answered(0, Duration::from_millis(8), None);

    let series = read(&registry);
    let named = r#"route="a \"b\"\\\nc""#;
    for (key, value) in [
        (
            format!(r#"umay_http_requests_total{{{named},method="GET",code_class="2xx"}}"#),
            2.0,
        ),
        (
            format!(r#"umay_http_requests_total{{{named},method="_OTHER",code_class="other"}}"#),
            1.0,
        ),
        (format!("umay_http_request_bytes_total{{{named}}}"), 30.0),
        (format!("umay_http_response_bytes_total{{{named}}}"), 300.0),
        (
            format!("umay_http_request_duration_seconds_count{{{named}}}"),
            3.0,
        ),
        (
            format!(r#"umay_http_request_duration_seconds_bucket{{le="0.0025",{named}}}"#),
            1.0,
        ),
        (
            r#"umay_http_request_bytes_total{route="asleep"}"#.to_owned(),
            0.0,
        ),
        (
            r#"umay_upstream_attempts_total{upstream="app",outcome="ok"}"#.to_owned(),
            1.0,
        ),
        (
            r#"umay_upstream_attempts_total{upstream="app",outcome="connect_refused"}"#.to_owned(),
            1.0,
        ),
        (
            r#"umay_upstream_connect_duration_seconds_count{upstream="app"}"#.to_owned(),
            1.0,
        ),
        (
            r#"umay_upstream_request_duration_seconds_sum{upstream="app"}"#.to_owned(),
            0.008,
        ),
    ] {
        assert_eq!(series.get(&key), Some(&value), "{key}");
    }
    assert!(
        !series
            .keys()
            .any(|k| k.starts_with("umay_http_request_duration") && k.contains("asleep"))
    );
    drop(asleep);
}

#[test]
fn discovery_has_its_series() {
    let registry = Registry::new(1);
    let discovery = registry.discovery("app");
    discovery.updated(Origin::Srv, Update::Changed);
    discovery.updated(Origin::Etcd, Update::Failed);
    discovery.updated(Origin::Etcd, Update::Failed);
    discovery.found(3);
    let series = read(&registry);
    for (key, value) in [
        (
            r#"umay_discovery_updates_total{upstream="app",source="srv",result="changed"}"#,
            Some(1.0),
        ),
        (
            r#"umay_discovery_updates_total{upstream="app",source="etcd",result="failed"}"#,
            Some(2.0),
        ),
        (
            r#"umay_discovery_updates_total{upstream="app",source="dns",result="failed"}"#,
            None,
        ),
        (r#"umay_discovery_endpoints{upstream="app"}"#, Some(3.0)),
        // Nothing was answered well yet.
        (r#"umay_discovery_age_seconds{upstream="app"}"#, None),
    ] {
        assert_eq!(series.get(key).copied(), value, "{key}");
    }
    discovery.good(Instant::now());
    let age = read(&registry)[r#"umay_discovery_age_seconds{upstream="app"}"#];
    assert!((0.0..60.0).contains(&age), "{age}");
    drop(discovery);
    assert!(!read(&registry).keys().any(|key| key.contains("discovery")));
}

#[test]
fn a_route_lives_as_long_as_a_table_holds_it() {
    let registry = Registry::new(1);
    let old = registry.route("r");
    old.count(0, &exchange(Method::Get, 200, 1));
    let new = registry.route("r");
    drop(old);
    new.count(0, &exchange(Method::Get, 200, 1));
    let key = r#"umay_http_requests_total{route="r",method="GET",code_class="2xx"}"#;
    assert_eq!(read(&registry)[key], 2.0);
    drop(new);
    assert!(!read(&registry).contains_key(key));
    let again = registry.route("r");
    again.count(0, &exchange(Method::Get, 200, 1));
    assert_eq!(read(&registry)[key], 1.0);
}

#[test]
fn the_older_format_names_families_as_their_series() {
    let registry = Registry::new(1);
    let text = text(&registry, Format::Classic);
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    assert!(
        text.contains("# TYPE umay_retries_total counter\numay_retries_total 0\n"),
        "{text}"
    );
    assert!(
        text.contains("# HELP umay_retries_total Attempts after the first\n"),
        "{text}"
    );
    assert!(text.contains("# TYPE umay_build_info gauge\n"));
    assert!(text.contains("# TYPE umay_tls_handshake_duration_seconds histogram\n"));
}

#[test]
fn exemplars_lead_to_the_last_trace_of_a_bucket() {
    let registry = Registry::new(2);
    let route = registry.route("app");
    let mut slow = exchange(Method::Get, 200, 20);
    slow.trace_id = Some(7);
    route.count(0, &slow);
    slow.trace_id = Some(0xabc);
    route.count(1, &slow);
    slow.trace_id = None;
    route.count(1, &slow);
    let page = text(&registry, Format::OpenMetrics);
    let lines: Vec<_> = page.lines().filter(|line| line.contains(" # {")).collect();
    let [line] = lines[..] else {
        panic!("{lines:?}");
    };
    let wanted = "umay_http_request_duration_seconds_bucket{le=\"0.025\",route=\"app\"} 3 # {trace_id=\"00000000000000000000000000000abc\"} 0.02 ";
    let when = line.strip_prefix(wanted).expect(line);
    assert!(when.parse::<f64>().unwrap() > 1.7e9, "{line}");
    // The older format has none.
    assert!(!text(&registry, Format::Classic).contains(" # {"));
    let messages = registry.encode(Format::Protobuf);
    let mut sought = Vec::new();
    bytes(&mut sought, 1, b"trace_id");
    bytes(&mut sought, 2, b"00000000000000000000000000000abc");
    assert!(messages.windows(sought.len()).any(|part| part == sought));
}

#[test]
fn what_umay_adds_is_told_by_listener() {
    let registry = Registry::new(2);
    let listener = registry.listener("public");
    listener.added(0, Duration::from_micros(30), None);
    listener.added(1, Duration::from_millis(30), Some(5));
    let series = read(&registry);
    for (bound, below) in [
        ("2.5e-05", 0.0),
        ("5e-05", 1.0),
        ("0.025", 1.0),
        ("0.05", 2.0),
    ] {
        let key = format!(r#"umay_http_overhead_seconds_bucket{{le="{bound}",listener="public"}}"#);
        assert_eq!(series.get(&key), Some(&below), "{key}");
    }
    assert!(text(&registry, Format::OpenMetrics).contains("trace_id"));
}
