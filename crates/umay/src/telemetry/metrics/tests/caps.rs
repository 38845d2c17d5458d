//! How many series there are at most.

use std::sync::atomic::Ordering::Relaxed;

use super::*;

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

/// Routes and upstreams beyond the cap.
const MORE: usize = 20;
const ALL: f64 = (MOST_ROUTES + MORE) as f64;

/// What each of them counts once, or ten times.
const COUNTERS: [(&str, f64); 8] = [
    ("umay_http_requests_total", ALL),
    ("umay_http_request_bytes_total", ALL * 10.0),
    ("umay_http_request_duration_seconds_count", ALL),
    ("umay_upstream_requests_total", ALL),
    ("umay_upstream_attempts_total", ALL),
    ("umay_upstream_rests_total", ALL),
    ("umay_endpoint_picks_total", ALL),
    ("umay_discovery_updates_total", ALL),
];

fn sum(series: &Series, family: &str) -> f64 {
    let of = |key: &&String| key.split('{').next() == Some(family);
    series.keys().filter(of).map(|key| series[key]).sum()
}

#[test]
fn routes_and_upstreams_beyond_the_cap_are_counted_together_and_none_is_lost() {
    let registry = Registry::new(2);
    let mut routes = Vec::new();
    let mut upstreams = Vec::new();
    let mut discoveries = Vec::new();
    for number in 0..MOST_ROUTES + MORE {
        let name = format!("n{number}");
        let route = registry.route(&name);
        route.count(number % 2, &exchange(Method::Get, 200, 3));
        let upstream = registry.upstream(&name);
        upstream.requested(number % 2);
        upstream.attempted(number % 2, None);
        upstream.healing.rests.add(1);
        upstream.healing.budget.store(10, Relaxed);
        let endpoint = upstream.endpoint("10.0.0.1:80");
        endpoint.own(0).unwrap().picks.inc();
        let discovery = registry.discovery(&name);
        discovery.updated(Origin::Dns, Update::Changed);
        discovery.found(2);
        routes.push(route);
        upstreams.push((upstream, endpoint));
        discoveries.push(discovery);
    }
    let series = read(&registry);
    for (family, wanted) in COUNTERS {
        assert_eq!(sum(&series, family), wanted, "{family}");
        let of = series
            .keys()
            .filter(|key| key.split('{').next() == Some(family));
        assert_eq!(of.count(), MOST_ROUTES + 1, "{family}");
    }
    for (key, value) in [
        (r#"umay_http_request_bytes_total{route="_other"}"#, 200.0),
        (r#"umay_upstream_retry_budget{upstream="_other"}"#, 200.0),
        (
            r#"umay_endpoint_picks_total{upstream="_other",endpoint="_other"}"#,
            20.0,
        ),
        (
            r#"umay_upstream_endpoints{upstream="_other",standing="well"}"#,
            20.0,
        ),
        (r#"umay_discovery_endpoints{upstream="_other"}"#, 40.0),
    ] {
        assert_eq!(series.get(key), Some(&value), "{key}");
    }

    // No counter falls when those leave that were counted together; levels do.
    routes.truncate(MOST_ROUTES);
    upstreams.truncate(MOST_ROUTES);
    discoveries.truncate(MOST_ROUTES);
    let series = read(&registry);
    for (family, wanted) in COUNTERS {
        assert_eq!(sum(&series, family), wanted, "{family}");
    }
    assert_eq!(
        series[r#"umay_upstream_retry_budget{upstream="_other"}"#],
        0.0
    );

    // Who comes then has the place of one that left.
    drop((routes.pop(), upstreams.pop()));
    let (route, _upstream) = (registry.route("late"), registry.upstream("late"));
    route.count(0, &exchange(Method::Get, 200, 3));
    let series = read(&registry);
    assert_eq!(
        series[r#"umay_http_request_bytes_total{route="late"}"#],
        10.0
    );
    assert_eq!(
        series[r#"umay_upstream_requests_total{upstream="late"}"#],
        0.0
    );
}
