//! The whole registry, read back with a strict little parser.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umay_core::message::Method;
use umay_core::reason::Reason;

use super::*;
use crate::telemetry::protobuf::{Field, Reader, bytes, number, packed, signed, zigzag};

/// Series (name with labels) and their values.
type Series = BTreeMap<String, f64>;

/// Reads OpenMetrics text as strictly as this crate's output allows (OpenMetrics 1.0, section 3.4.2).
fn parse(text: &str) -> Series {
    let body = text.strip_suffix("# EOF\n").expect("an end mark, last");
    let mut series = Series::new();
    let mut families = BTreeMap::new();
    let mut current: Option<(String, String)> = None;
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(!text.is_empty(), "{line}");
            current = Some((name.to_owned(), String::new()));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            let family = current.as_mut().unwrap();
            assert_eq!(family.0, name);
            family.1 = kind.to_owned();
            assert!(
                families.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{name} twice"
            );
        } else {
            let (family, kind) = current.as_ref().unwrap();
            let (sample, _exemplar) = line.split_once(" # {").unwrap_or((line, ""));
            let (key, value) = sample.rsplit_once(' ').unwrap();
            let name = key.split('{').next().unwrap();
            let suffix = name.strip_prefix(family.as_str()).expect(line);
            let allowed: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_sum", "_count", "_bucket"],
                other => panic!("{other}"),
            };
            assert!(allowed.contains(&suffix), "{line}");
            if let Some(labels) = key.strip_prefix(name).filter(|l| !l.is_empty()) {
                check_labels(labels);
            }
            let value = value.parse().unwrap();
            assert!(
                series.insert(key.to_owned(), value).is_none(),
                "{key} twice"
            );
        }
    }
    check_histograms(&families, &series);
    series
}

fn check_labels(labels: &str) {
    let mut rest = labels.strip_prefix('{').unwrap();
    loop {
        let (name, after) = rest.split_once("=\"").expect(labels);
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{labels}"
        );
        let mut escaped = false;
        let end = after
            .find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })
            .expect(labels);
        rest = &after[end + 1..];
        if rest == "}" {
            return;
        }
        rest = rest.strip_prefix(',').expect(labels);
    }
}

fn check_histograms(families: &BTreeMap<String, String>, series: &Series) {
    for (name, _) in families.iter().filter(|(_, kind)| *kind == "histogram") {
        let prefix = format!("{name}_count");
        for (key, count) in series.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let labels = key[prefix.len()..].trim_matches(['{', '}']);
            let mut buckets: Vec<(f64, f64)> = series
                .iter()
                .filter(|(key, _)| {
                    key.starts_with(&format!("{name}_bucket{{le=")) && key.contains(labels)
                })
                .map(|(key, value)| {
                    let bound = key.split('"').nth(1).unwrap();
                    (bound.parse().unwrap(), *value)
                })
                .collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert_eq!(buckets.len(), 18, "{key}");
            assert!(
                buckets.is_sorted_by(|a, b| a.1 <= b.1),
                "{key} is not cumulated"
            );
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)));
        }
    }
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
    upstream.answered(0, Duration::from_millis(8));

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

/// Fields of a message with this number.
fn all<'a>(message: &'a [u8], number: u64) -> impl Iterator<Item = Field<'a>> {
    let fields = Reader::new(message).filter(move |(have, _)| *have == number);
    fields.map(|(_, field)| field)
}

fn message(outer: &[u8], number: u64) -> &[u8] {
    match all(outer, number).next() {
        Some(Field::Bytes(bytes)) => bytes,
        other => panic!("{number}: {other:?}"),
    }
}

#[test]
fn protocol_buffers_have_classic_and_native_buckets() {
    let registry = Registry::new(2);
    for (index, micros) in [(0, 700), (0, 710), (1, 125_000), (1, 0)] {
        let worker = registry.worker(index).unwrap();
        worker
            .detection
            .done(Detected::Http1, Duration::from_micros(micros));
    }
    let page = registry.encode(Format::Protobuf);
    let mut reader = Reader::new(&page);
    let families: Vec<_> = std::iter::from_fn(|| reader.delimited()).collect();
    let named = |name: &str| {
        let named = families.iter().filter(|f| message(f, 1) == name.as_bytes());
        let named: Vec<_> = named.copied().collect();
        assert_eq!(named.len(), 1, "{name}");
        named[0]
    };
    let counter = named("umay_retries_total");
    assert_eq!(message(counter, 2), b"Attempts after the first");
    // Nothing is written of a type that is 0, which is a counter.
    assert_eq!(all(counter, 3).next(), None);
    let value = message(message(counter, 4), 3);
    assert_eq!(all(value, 1).next(), Some(Field::Number(0)));
    assert_eq!(
        all(named("umay_build_info"), 3).next(),
        Some(Field::Number(1))
    );

    let family = named("umay_protocol_detection_seconds");
    assert_eq!(all(family, 3).next(), Some(Field::Number(4)));
    let histogram = message(message(family, 4), 7);
    assert_eq!(all(histogram, 1).next(), Some(Field::Number(4)));
    let below: Vec<_> = all(histogram, 3)
        .map(|bucket| match bucket {
            Field::Bytes(bucket) => all(bucket, 1).next(),
            Field::Number(_) => None,
        })
        .collect();
    assert_eq!(below.len(), 18);
    assert_eq!(below[0], Some(Field::Number(1)));
    assert_eq!(below[1], Some(Field::Number(3)));
    assert_eq!(below[17], Some(Field::Number(4)));
    // Schema 3, one zero, up to 2^-20 seconds.
    assert_eq!(all(histogram, 5).next(), Some(Field::Number(6)));
    let zero = 2_f64.powi(-20).to_bits();
    assert_eq!(all(histogram, 6).next(), Some(Field::Number(zero)));
    assert_eq!(all(histogram, 7).next(), Some(Field::Number(1)));
    // 0.7 and 0.71 ms lie in the bucket that ends at 2^(-83/8) s, and 125 ms in that which ends at 2^-3 s.
    let spans: Vec<_> = all(histogram, 12).collect();
    let run = |offset: i64| {
        let mut run = Vec::new();
        signed(&mut run, 1, offset);
        number(&mut run, 2, 1);
        run
    };
    let (first, second) = (run(-83), run(-24 + 82));
    assert_eq!(spans, [Field::Bytes(&first), Field::Bytes(&second)]);
    let mut deltas = Vec::new();
    packed(&mut deltas, 13, [zigzag(2), zigzag(-1)]);
    assert_eq!(message(histogram, 13), message(&deltas, 13), "{deltas:?}");
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
fn endpoints_beyond_the_cap_are_counted_together_and_none_is_lost() {
    const MORE: usize = 300;
    let registry = Registry::new(2);
    let upstreams = [registry.upstream("a"), registry.upstream("b")];
    let mut endpoints = Vec::new();
    let mut picked = 0;
    for number in 0..MOST_ENDPOINTS + MORE {
        let endpoint = upstreams[number % 2].endpoint(&format!("10.0.0.1:{number}"));
        let shard = endpoint.own(number / 2 % 2).unwrap();
        shard.picks.add(number as u64 + 1);
        picked += number as u64 + 1;
        endpoints.push(endpoint);
    }
    let picks = || -> Vec<(String, f64)> {
        let series = read(&registry).into_iter();
        series
            .filter(|(key, _)| key.starts_with("umay_endpoint_picks_total"))
            .collect()
    };
    let sum = |series: &[(String, f64)]| series.iter().map(|(_, count)| count).sum::<f64>();
    let other = |series: &[(String, f64)]| {
        let other = series.iter().filter(|(key, _)| key.contains("_other"));
        other.map(|(_, count)| *count).sum::<f64>()
    };

    let all = picks();
    // Those of their own, and one for the others of each upstream.
    assert_eq!(all.len(), MOST_ENDPOINTS + 2);
    assert_eq!(sum(&all), picked as f64);

    // A counter must not fall when one of the others leaves, not even the last.
    endpoints.truncate(MOST_ENDPOINTS);
    let without = picks();
    assert_eq!(sum(&without), picked as f64);
    assert_eq!(other(&without), other(&all));

    // The place of one that leaves is free for one that comes; who comes after it finds none.
    endpoints.pop();
    let one = upstreams[0].endpoint("10.0.0.2:1");
    let two = upstreams[0].endpoint("10.0.0.2:2");
    one.own(0).unwrap().picks.inc();
    two.own(0).unwrap().picks.inc();
    let after = picks();
    let found = |label: &str| after.iter().any(|(key, _)| key.contains(label));
    assert!(found("10.0.0.2:1\"") && !found("10.0.0.2:2\""));
    assert_eq!(other(&after), other(&all) + 1.0);
}
