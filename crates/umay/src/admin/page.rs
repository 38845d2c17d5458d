//! The page for people, written from the document that `/status` gives.
//!
//! The document is taken as it comes: a part that is missing is left out, and a value of another
//! type than expected is shown as it is.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::side::Html;

/// Certificates that end within so many days are marked.
const SOON: i64 = 21;

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="10">
<title>Umay</title>
<style>
:root { color-scheme: light dark; --line: #8883; --faint: #8886; --good: #1a7f4b; --busy: #b35900; --bad: #c62828; }
@media (prefers-color-scheme: dark) { :root { --good: #4cc38a; --busy: #ffa657; --bad: #ff7b72; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; }
h1 small { font-size: 1rem; font-weight: normal; opacity: .7; }
h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { font-weight: normal; opacity: .7; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
.good { color: var(--good); } .busy { color: var(--busy); } .bad { color: var(--bad); }
nav { margin-top: 2rem; border-top: 1px solid var(--faint); padding-top: .5rem; }
nav a { margin-right: 1rem; }
</style>
</head>
<body>
"#;

const TAIL: &str = r#"<nav><a href="/status">status as JSON</a><a href="/metrics">metrics</a><a href="/readyz">readyz</a><a href="/livez">livez</a></nav>
</body>
</html>
"#;

/// Writes the page. `now` is for how long certificates still live.
pub(super) fn render(status: &Value, now: SystemTime) -> String {
    let mut page = Html::default();
    page.markup(HEAD);
    summary(&mut page, status);
    table(
        &mut page,
        "Listeners",
        &["name", "address", "TLS"],
        status.get("listeners"),
        |page, listener| {
            cell(page, listener.get("name"));
            cell(page, listener.get("addr"));
            let tls = match listener.get("tls") {
                Some(Value::Bool(true)) => "yes",
                Some(Value::Bool(false)) => "no",
                _ => NOTHING,
            };
            page.markup("<td>").text(tls).markup("</td>");
        },
    );
    table(
        &mut page,
        "Routes",
        &["name", "to"],
        status.get("routes"),
        |page, route| {
            cell(page, route.get("name"));
            cell(page, route.get("to"));
        },
    );
    table(
        &mut page,
        "Upstreams",
        &["name", "balance", "endpoints", "discovery"],
        status.get("upstreams"),
        upstream,
    );
    endpoints(&mut page, status.get("upstreams"));
    table(
        &mut page,
        "Certificates",
        &["names", "expires", "files"],
        status.get("certificates"),
        |page, certificate| {
            cell(page, certificate.get("names"));
            expiry(page, certificate.get("not_after"), now);
            cell(page, certificate.get("files"));
        },
    );
    page.markup(TAIL);
    page.finish()
}

/// Shown where the document says nothing.
const NOTHING: &str = "–";

fn summary(page: &mut Html, status: &Value) {
    page.markup("<h1>Umay");
    if let Some(version) = status.get("version") {
        page.markup(" <small>").text(&words(version));
        page.markup("</small>");
    }
    page.markup("</h1>\n<p>");
    if let Some(stage) = status.get("stage") {
        page.markup(match stage.as_str() {
            Some("ready") => "<strong class=\"good\">",
            _ => "<strong class=\"busy\">",
        });
        page.text(&words(stage)).markup("</strong>");
    }
    if let Some(uptime) = status.get("uptime_s") {
        let uptime = uptime
            .as_f64()
            .map_or_else(|| words(uptime), |s| duration(s as u64));
        page.markup(" · up ").text(&uptime);
    }
    if let Some(workers) = status.get("workers") {
        page.markup(" · workers: ").text(&words(workers));
    }
    page.markup("</p>\n");
}

/// A section with a table; none if the document has no such part.
fn table(
    page: &mut Html,
    title: &'static str,
    columns: &[&'static str],
    rows: Option<&Value>,
    row: impl Fn(&mut Html, &Value),
) {
    let Some(rows) = rows.and_then(Value::as_array) else {
        return;
    };
    page.markup("<h2>").markup(title).markup("</h2>\n");
    if rows.is_empty() {
        page.markup("<p>None.</p>\n");
        return;
    }
    page.markup("<div class=\"wide\"><table>\n<tr>");
    for column in columns {
        page.markup("<th scope=\"col\">").markup(column);
        page.markup("</th>");
    }
    page.markup("</tr>\n");
    for value in rows {
        page.markup("<tr>");
        row(page, value);
        page.markup("</tr>\n");
    }
    page.markup("</table></div>\n");
}

fn cell(page: &mut Html, value: Option<&Value>) {
    let text = value.map_or_else(|| NOTHING.to_owned(), words);
    page.markup("<td>").text(&text).markup("</td>");
}

/// The cells of an upstream: how many of its endpoints are well, and whether more are being found.
fn upstream(page: &mut Html, upstream: &Value) {
    cell(page, upstream.get("name"));
    cell(page, upstream.get("balance"));
    let endpoints = upstream.get("endpoints").and_then(Value::as_array);
    match endpoints {
        None => cell(page, None),
        Some(endpoints) => {
            let all = endpoints.len();
            let well = endpoints
                .iter()
                .filter(|endpoint| is_well(endpoint))
                .count();
            page.markup(if well == all {
                "<td>"
            } else {
                "<td class=\"busy\">"
            });
            let text = match all {
                0 => "none".to_owned(),
                _ => format!("{well} of {all} well"),
            };
            page.text(&text).markup("</td>");
        }
    }
    let discovery = upstream.get("discovery");
    let part = |name| discovery.and_then(|discovery| discovery.get(name));
    if let Some(problem) = part("problem").filter(|problem| !problem.is_null()) {
        page.markup("<td class=\"bad\">").text(&words(problem));
    } else if part("known") == Some(&Value::Bool(false)) {
        page.markup("<td class=\"busy\">").text("not answered yet");
    } else {
        page.markup("<td>");
    }
    if let Some(age) = part("age_s").and_then(Value::as_u64) {
        let age = duration(age);
        page.text(&format!(" (last good answer {age} ago)"));
    }
    page.markup("</td>");
}

fn is_well(endpoint: &Value) -> bool {
    endpoint.get("standing").and_then(Value::as_str) == Some("well")
}

/// A table with the endpoints of all upstreams.
fn endpoints(page: &mut Html, upstreams: Option<&Value>) {
    let Some(upstreams) = upstreams.and_then(Value::as_array) else {
        return;
    };
    let mut all = Vec::new();
    for upstream in upstreams {
        let endpoints = upstream.get("endpoints").and_then(Value::as_array);
        for endpoint in endpoints.into_iter().flatten() {
            all.push(json!({ "upstream": upstream.get("name"), "endpoint": endpoint }));
        }
    }
    let columns = [
        "upstream",
        "endpoint",
        "standing",
        "latency",
        "in flight",
        "picks",
        "failures",
    ];
    table(page, "Endpoints", &columns, Some(&Value::Array(all)), row);
}

/// The cells of an endpoint.
fn row(page: &mut Html, row: &Value) {
    cell(page, row.get("upstream"));
    let Some(endpoint) = row.get("endpoint") else {
        return;
    };
    cell(page, endpoint.get("address"));
    page.markup(match endpoint.get("standing").and_then(Value::as_str) {
        Some("well") => "<td class=\"good\">",
        Some("ill" | "ejected") => "<td class=\"bad\">",
        _ => "<td class=\"busy\">",
    });
    page.text(
        &endpoint
            .get("standing")
            .map_or_else(|| NOTHING.to_owned(), words),
    );
    if let Some(why) = endpoint.get("why").and_then(Value::as_str)
        && !why.is_empty()
    {
        page.text(&format!(": {why}"));
    }
    page.markup("</td>");
    let latency = endpoint.get("latency_ms").and_then(Value::as_f64);
    let latency = latency.map_or_else(|| NOTHING.to_owned(), |ms| format!("{ms} ms"));
    page.markup("<td class=\"n\">")
        .text(&latency)
        .markup("</td>");
    for member in ["in_flight", "picks", "failures"] {
        let value = endpoint.get(member);
        let text = value.map_or_else(|| NOTHING.to_owned(), words);
        page.markup("<td class=\"n\">").text(&text).markup("</td>");
    }
}

fn expiry(page: &mut Html, not_after: Option<&Value>, now: SystemTime) {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let today = i64::try_from(now.as_secs() / 86_400).unwrap_or(i64::MAX);
    let last = not_after.and_then(Value::as_str).and_then(day_of);
    let Some(left) = last.map(|last| last.saturating_sub(today)) else {
        return cell(page, not_after);
    };
    page.markup(match left {
        ..0 => "<td class=\"bad\">",
        0..=SOON => "<td class=\"busy\">",
        _ => "<td>",
    });
    page.text(&not_after.map(words).unwrap_or_default());
    page.text(&match left {
        ..0 => " (expired)".to_owned(),
        0 => " (today)".to_owned(),
        1 => " (1 day left)".to_owned(),
        _ => format!(" ({left} days left)"),
    });
    page.markup("</td>");
}

/// A value as text: strings bare, lists with commas, anything else as JSON.
fn words(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The two largest units of a time: `3 d 4 h`, `5 min 12 s`, `9 s`.
pub(super) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The day that an RFC 3339 time begins with, counted from 1970-01-01.
///
/// Years are counted from March, so that the leap day comes last; the months from March on then
/// begin on day `(153 m + 2) / 5`.
pub(super) fn day_of(time: &str) -> Option<i64> {
    let mut parts = time.get(..10)?.splitn(3, '-');
    let mut part = || parts.next()?.parse::<i64>().ok();
    let (year, month, day) = (part()?, part()?, part()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468)
}
