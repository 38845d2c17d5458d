//! The page for people, whatever the document.

use serde_json::{Value, json};

use umay_top::duration;

use super::page::{POLICY, render};

fn page(status: &Value) -> String {
    render(status)
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
    let check = |days: Value, cell: &str| {
        let certificate = json!({"names": ["a"], "not_after": "2026-12-14", "days_left": days});
        let html = page(&json!({ "certificates": [certificate] }));
        assert!(html.contains(cell), "{cell} not in {html}");
    };
    check(json!(-1), "<td class=\"bad\">2026-12-14 (expired)</td>");
    check(
        json!(0),
        "<td class=\"busy\">2026-12-14 (within a day)</td>",
    );
    check(json!(1), "<td class=\"busy\">2026-12-14 (1 day left)</td>");
    check(
        json!(20),
        "<td class=\"busy\">2026-12-14 (20 days left)</td>",
    );
    check(json!(21), "<td>2026-12-14 (21 days left)</td>");
    check(json!("soon"), "<td>2026-12-14</td>");
    check(json!(null), "<td>2026-12-14</td>");
}

#[test]
fn problems_say_what_to_do() {
    let html = page(&json!({"problems": [
        {"severity": "error", "about": "process", "what": "it <starts>", "hint": "wait"},
        {"severity": "warning", "about": "upstream app", "what": "w", "hint": "h"},
    ]}));
    for part in [
        "<div class=\"problem bad\"><b>process</b>: it &lt;starts&gt;<small>wait</small></div>",
        "<div class=\"problem busy\"><b>upstream app</b>: w<small>h</small></div>",
    ] {
        assert!(html.contains(part), "{part} not in {html}");
    }
}

/// The policy names the script and the style by what they hash to, and they are whole: nothing in them ends them.
#[test]
fn the_policy_fits_the_page() {
    let html = page(&json!({}));
    for (start, end) in [("<script>", "</script>"), ("<style>", "</style>")] {
        let (_, rest) = html.split_once(start).unwrap();
        let (text, _) = rest.split_once(end).unwrap();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "{start}");
        assert_eq!(html.matches(start).count(), 1);
    }
    assert!(!POLICY.contains("unsafe"));
    assert!(!html.contains("style="));
    assert!(!html.contains("http://www.w3.org/1999"));
}

#[test]
fn everything_is_shown() {
    let html = page(&json!({
        "version": "0.1.0", "uptime_s": 3700, "stage": "ready", "workers": 2,
        "listeners": [{"name": "web", "addr": "127.0.0.1:8443", "tls": true}],
        "routes": [{"name": "all", "to": ["app", "other"]}],
        "upstreams": [{"name": "app", "balance": "ewma", "endpoints": [
            {"address": "127.0.0.1:3000", "standing": "well", "why": "", "in_flight": 7,
             "latency_ms": 1.25, "picks": 12, "failures": 3},
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
        "<td>all</td><td>–</td><td>app, other</td><td>–</td>",
        "<td>app</td><td>ewma</td><td class=\"busy\">1 of 2 well</td><td></td>",
        "<td>app</td><td>127.0.0.1:3000</td><td class=\"good\">well</td><td class=\"n\">1.25 ms</td>\
         <td class=\"n\">7</td><td class=\"n\">12</td><td class=\"n\">3</td>",
        "<td>app</td><td>127.0.0.1:3001</td><td class=\"busy\">–</td><td class=\"n\">–</td>",
        "<h2>Certificates</h2>\n<p>None.</p>",
        "href=\"/metrics\"",
    ] {
        assert!(html.contains(part), "{part} not in {html}");
    }
}

#[test]
fn endpoints_tell_why_they_are_left_out() {
    let check = |standing: &str, why: &str, cell: &str| {
        let endpoint = json!({"address": "a", "standing": standing, "why": why});
        let html = page(&json!({"upstreams": [{"name": "app", "endpoints": [endpoint]}]}));
        assert!(html.contains(cell), "{cell} not in {html}");
    };
    check("well", "", "<td>1 of 1 well</td>");
    check(
        "ill",
        "connect: refused",
        "<td class=\"bad\">ill: connect: refused</td>",
    );
    check(
        "ejected",
        "5 failures in a row",
        "<td class=\"bad\">ejected: 5 failures in a row</td>",
    );
    check("draining", "", "<td class=\"busy\">draining</td>");
}

#[test]
fn discovery_tells_its_problem_and_its_age() {
    let check = |discovery: Value, cell: &str| {
        let upstream = json!({"name": "app", "endpoints": [], "discovery": discovery});
        let html = page(&json!({ "upstreams": [upstream] }));
        assert!(html.contains(cell), "{cell} not in {html}");
    };
    check(
        json!({"known": true, "problem": null, "age_s": null}),
        "<td>none</td><td></td>",
    );
    check(
        json!({"known": true, "problem": null, "age_s": 61}),
        "<td> (last good answer 1 min 1 s ago)</td>",
    );
    check(
        json!({"known": false, "problem": null, "age_s": null}),
        "<td class=\"busy\">not answered yet</td>",
    );
    check(
        json!({"known": true, "problem": "no <answer>", "age_s": 3}),
        "<td class=\"bad\">no &lt;answer&gt; (last good answer 3 s ago)</td>",
    );
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
        "problems": [{"severity": evil, "about": evil, "what": evil, "hint": evil}],
        "connections": evil,
        "listeners": [{"name": evil, "addr": evil, "tls": evil}],
        "routes": [{"name": evil, "matches": evil, "to": evil, "requests": evil}],
        "upstreams": [{"name": evil, "balance": [evil],
            "discovery": {"known": evil, "problem": evil, "age_s": evil},
            "endpoints": [{"address": evil, "in_flight": evil, "standing": evil, "why": evil,
                           "latency_ms": evil, "picks": evil, "failures": evil}]}],
        "certificates": [{"names": [evil], "not_after": evil, "files": {evil: evil}}],
    }));
    assert_eq!(html.matches("<script").count(), 1);
    assert!(!html.contains("alert('"));
    assert_eq!(html.matches("&lt;script&gt;").count(), 28);
}
