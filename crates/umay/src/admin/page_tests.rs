//! The page for people, whatever the document.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::page::{day_of, duration, render};

/// 2026-11-23T00:00:00Z.
const DAY: u64 = 20_780;

fn page(status: &Value) -> String {
    render(status, UNIX_EPOCH + Duration::from_secs(DAY * 86_400 + 5))
}

#[test]
fn days_are_counted() {
    let check = |time, day| assert_eq!(day_of(time), day, "{time}");
    check("1970-01-01T00:00:00Z", Some(0));
    check("1969-12-31T23:59:59Z", Some(-1));
    check("2000-02-29T12:00:00Z", Some(11_016));
    check("2000-03-01", Some(11_017));
    check("2100-03-01T00:00:00+02:00", Some(47_541));
    check("2026-11-23T10:00:00Z", Some(DAY as i64));
    for wrong in [
        "",
        "soon",
        "2026-13-01T",
        "2026-00-01T",
        "2026-01-32T",
        "éééééééééé",
    ] {
        check(wrong, None);
    }
}

#[test]
fn durations_have_two_units() {
    let check = |seconds, text| assert_eq!(duration(seconds), text);
    check(0, "0 s");
    check(59, "59 s");
    check(60, "1 min 0 s");
    check(3_599, "59 min 59 s");
    check(3_600, "1 h 0 min");
    check(86_399, "23 h 59 min");
    check(273_600, "3 d 4 h");
}

#[test]
fn certificates_tell_how_long_they_live() {
    let check = |not_after: Value, cell: &str| {
        let html = page(&json!({"certificates": [{"names": ["a"], "not_after": not_after}]}));
        assert!(html.contains(cell), "{cell} not in {html}");
    };
    check(
        json!("2026-11-22T23:59:59Z"),
        "<td class=\"bad\">2026-11-22T23:59:59Z (expired)</td>",
    );
    check(
        json!("2026-11-23T23:59:59Z"),
        "<td class=\"busy\">2026-11-23T23:59:59Z (today)</td>",
    );
    check(json!("2026-11-24T00:00:00Z"), "(1 day left)");
    check(
        json!("2026-12-14T00:00:00Z"),
        "<td class=\"busy\">2026-12-14T00:00:00Z (21 days left)</td>",
    );
    check(
        json!("2026-12-15T00:00:00Z"),
        "<td>2026-12-15T00:00:00Z (22 days left)</td>",
    );
    check(json!("whenever"), "<td>whenever</td>");
    check(json!(null), "<td>–</td>");
}

#[test]
fn everything_is_shown() {
    let html = page(&json!({
        "version": "0.1.0", "uptime_s": 3700, "stage": "ready", "workers": 2,
        "listeners": [{"name": "web", "addr": "127.0.0.1:8443", "tls": true}],
        "routes": [{"name": "all", "to": ["app", "other"]}],
        "upstreams": [{"name": "app", "balance": "ewma", "endpoints": [
            {"address": "127.0.0.1:3000", "in_flight": 7},
            {"address": "127.0.0.1:3001"},
        ]}],
        "certificates": [],
    }));
    for part in [
        "0.1.0",
        "<strong class=\"good\">ready</strong>",
        "up 1 h 1 min",
        "workers: 2",
        "<td>web</td><td>127.0.0.1:8443</td><td>yes</td>",
        "<td>all</td><td>app, other</td>",
        "<td>app</td><td>ewma</td>",
        "127.0.0.1:3000<br>127.0.0.1:3001<br>",
        "7<br>–<br>",
        "<h2>Certificates</h2>\n<p>None.</p>",
        "href=\"/metrics\"",
    ] {
        assert!(html.contains(part), "{part} not in {html}");
    }
}

#[test]
fn anything_makes_a_page() {
    let documents = [
        json!(null),
        json!([]),
        json!("text"),
        json!({}),
        json!({"listeners": 1, "routes": "x", "upstreams": {}, "certificates": null}),
        json!({"listeners": [1, null, []], "upstreams": [{"endpoints": 3}], "certificates": [{}]}),
        json!({"uptime_s": "long", "stage": 7, "version": null, "workers": {"n": 1}}),
    ];
    for document in documents {
        let html = page(&document);
        assert!(html.ends_with("</html>\n"), "{document}");
    }
    assert!(!page(&json!({})).contains("<table>"));
}

#[test]
fn nothing_is_injected() {
    let evil = "\"><script>alert('x')</script>&";
    let html = page(&json!({
        "version": evil, "uptime_s": evil, "stage": evil, "workers": evil,
        "listeners": [{"name": evil, "addr": evil, "tls": evil}],
        "routes": [{"name": evil, "to": evil}],
        "upstreams": [{"name": evil, "balance": [evil], "endpoints": [{"address": evil, "in_flight": evil}]}],
        "certificates": [{"names": [evil], "not_after": evil, "files": {evil: evil}}],
    }));
    assert!(!html.contains("<script"));
    assert!(!html.contains("alert('"));
    assert_eq!(html.matches("&lt;script&gt;").count(), 16);
}
