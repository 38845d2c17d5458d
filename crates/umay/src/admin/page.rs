//! The page for people, written from the document that `/status` gives.
//!
//! The document is taken as it comes: a part that is missing is left out, and a value of another
//! type than expected is shown as it is. What is written here is the page without script; `page.js` reads the document
//! again every second and puts rates, charts and what has changed in its place.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use umay_top::duration;

use crate::side::Html;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Certificates that end within so many days are marked.
const SOON: i64 = 21;

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Umay</title>
<style>"#;

const BODY: &str = r#"</style>
</head>
<body>
<main>
"#;

const TAIL: &str = r#"</main>
<noscript><p>Without script this page does not move; reload it to see what has changed.</p></noscript>
<footer><a href="/status">status as JSON</a><a href="/metrics">metrics</a><a href="/readyz">readyz</a><a href="/livez">livez</a></footer>
<script>"#;

const END: &str = "</script>\n</body>\n</html>\n";

/// What the page may do: run its own script and style, known by their hashes, and ask this listener. Trusted types
/// let nothing be turned from text into markup.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
});

/// Writes the page.
pub(super) fn render(status: &Value) -> String {
    let mut page = Html::default();
    page.markup(HEAD).markup(STYLE).markup(BODY);
    summary(&mut page, status);
    problems(&mut page, status.get("problems"));
    totals(&mut page, status);
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
        &["name", "takes", "to", "requests"],
        status.get("routes"),
        |page, route| {
            for member in ["name", "matches", "to", "requests"] {
                cell(page, route.get(member));
            }
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
            expiry(page, certificate);
            cell(page, certificate.get("files"));
        },
    );
    page.markup(TAIL).markup(SCRIPT).markup(END);
    page.finish()
}

/// Shown where the document says nothing.
const NOTHING: &str = "–";

/// What is wrong, and what to do.
fn problems(page: &mut Html, problems: Option<&Value>) {
    for problem in problems.and_then(Value::as_array).into_iter().flatten() {
        let part = |name| problem.get(name).map(words).unwrap_or_default();
        page.markup(match part("severity").as_str() {
            "error" => "<div class=\"problem bad\"><b>",
            _ => "<div class=\"problem busy\"><b>",
        });
        page.text(&part("about")).markup("</b>: ");
        page.text(&part("what")).markup("<small>");
        page.text(&part("hint")).markup("</small></div>\n");
    }
}

/// How much there was so far.
fn totals(page: &mut Html, status: &Value) {
    let tiles = [
        ("requests so far", "/totals/requests"),
        ("in flight", "/totals/in_flight"),
        ("connections open", "/connections"),
        ("streams open", "/totals/streams/active"),
    ];
    let told = tiles.map(|(name, pointer)| (name, status.pointer(pointer)));
    if told.iter().all(|(_, value)| value.is_none()) {
        return;
    }
    page.markup("<div class=\"tiles\">");
    for (name, value) in told {
        let value = value.map_or_else(|| NOTHING.to_owned(), words);
        page.markup("<div class=\"tile\"><span>").markup(name);
        page.markup("</span><b>").text(&value);
        page.markup("</b></div>");
    }
    page.markup("</div>\n");
}

fn summary(page: &mut Html, status: &Value) {
    page.markup("<header><h1>Umay");
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
    page.markup("</p></header>\n");
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
        "cost",
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

fn expiry(page: &mut Html, certificate: &Value) {
    let not_after = certificate.get("not_after");
    let left = certificate.get("days_left").and_then(Value::as_i64);
    let Some(left) = left else {
        return cell(page, not_after);
    };
    page.markup(match left {
        ..0 => "<td class=\"bad\">",
        0..SOON => "<td class=\"busy\">",
        _ => "<td>",
    });
    page.text(&not_after.map(words).unwrap_or_default());
    page.text(&match left {
        ..0 => " (expired)".to_owned(),
        0 => " (within a day)".to_owned(),
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
