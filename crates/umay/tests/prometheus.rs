//! What is in `observability`, with a real Prometheus: the rules, their alerts when something is wrong, and every
//! expression of the dashboard.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use umay_test::programs::{self, Program};
use umay_test::{Certs, Conn, GET, Server, Umay, Value, eventually, umay};

fn observability(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../observability");
    root.join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(observability(name)).unwrap()
}

#[track_caller]
fn promtool(args: &[&str], input: &str) {
    let output = programs::run("promtool", args, input.as_bytes());
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "promtool {args:?}:\n{out}{error}");
}

/// Names of metrics in a text, without what a histogram or a summary adds.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !is_part(c));
    let ours = words.filter(|word| word.starts_with("umay_") || word.starts_with("process_"));
    let bare = |word: &str| word.strip_suffix("_bucket").unwrap_or(word).to_owned();
    ours.map(bare).collect()
}

#[test]
fn the_rules_are_good_and_their_tests_pass() {
    let rules = observability("prometheus/rules.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "");
    let tests = observability("prometheus/rules.test.yml");
    promtool(&["test", "rules", tests.to_str().unwrap()], "");
    let page = observability("../docs/observability.md");
    let page = fs::read_to_string(page).unwrap();
    let (text, tests) = (
        read("prometheus/rules.yml"),
        read("prometheus/rules.test.yml"),
    );
    for line in text.lines() {
        if let Some(alert) = line.trim().strip_prefix("- alert: ") {
            assert!(tests.contains(alert), "{alert} has no test");
            assert!(
                page.contains(&format!("| `{alert}` |")),
                "docs/observability.md lacks {alert}"
            );
        }
    }
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let reference = observability("../docs/metrics.md");
    let there = metrics_in(&fs::read_to_string(reference).unwrap());
    for file in ["prometheus/rules.yml", "grafana/umay.json"] {
        let named = metrics_in(&read(file));
        assert!(named.len() > 10, "{named:?}");
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}");
    }
}

/// A Umay with a bit of everything, and a Prometheus that looks at it often.
struct Scene {
    umay: Umay,
    prometheus: Program,
    /// One that answers, one that does not any more, and one over TLS.
    _peers: (Server, Certs),
}

impl Scene {
    fn start() -> Self {
        let (web, dead, certs) = (Server::ok("hi"), Server::ok("dead"), Certs::new());
        let pair = certs.issue(&["a.test"]);
        let config = format!(
            "[[listener]]\nname = \"web\"\nlisten = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"tls\"\nlisten = \"127.0.0.1:0\"\n{}\
             [[listener]]\nname = \"raw\"\nlisten = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"cut\"\nlisten = \"127.0.0.1:0\"\n\
             [[route]]\nlisteners = [\"cut\"]\nprotocol = \"tcp\"\nto = \"tcp://{}\"\n\
             [[route]]\nlisteners = [\"raw\"]\nprotocol = \"tcp\"\nto = \"tcp://{}\"\n\
             [[route]]\nname = \"gone\"\npath = \"/gone\"\nto = \"gone\"\n\
             [[route]]\nname = \"site\"\nto = \"site\"\n\
             [upstream.site]\nto = [\"http://{}\"]\n\
             [upstream.gone]\nto = [\"http://{}\"]\n[upstream.gone.outlier]\nconsecutive = 1\nbase = \"1h\"\nmax = \"1h\"\n\
             max_ejected = 100\n",
            pair.toml(),
            dead.addr(),
            web.addr(),
            web.addr(),
            dead.addr(),
        );
        drop(dead);
        let umay = umay!().config(&config).start();
        // What is to last for minutes fires at once here.
        let rules: String = read("prometheus/rules.yml")
            .lines()
            .filter(|line| !line.trim().starts_with("for: "))
            .map(|line| format!("{line}\n"))
            .collect();
        let prometheus = programs::prometheus(
            &format!(
                "global: {{ scrape_interval: 300ms, scrape_timeout: 300ms, evaluation_interval: 300ms }}\n\
                 rule_files: [rules.yml]\n\
                 scrape_configs:\n  - job_name: umay\n    static_configs: [{{ targets: [\"{}\"] }}]\n",
                umay.admin()
            ),
            &[("rules.yml", rules.as_bytes())],
        );
        eventually("Prometheus to be ready", || {
            let url = format!("http://{}/-/ready", prometheus.addr);
            programs::curl([&url]).contains("is Ready").then_some(())
        });
        Self {
            umay,
            prometheus,
            _peers: (web, certs),
        }
    }

    /// What Prometheus answers to a query: a series each.
    fn query(&self, query: &str) -> Vec<Value> {
        let url = format!("http://{}/api/v1/query", self.prometheus.addr);
        let answer = programs::curl(["--data-urlencode", &format!("query={query}"), "-G", &url]);
        let answer: Value = answer.parse().unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    fn wait_alert(&self, alert: &str) {
        let query = format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}");
        eventually(alert, || (!self.query(&query).is_empty()).then_some(()));
    }

    /// A bit of each kind of traffic.
    fn traffic(&self) {
        let mut conn = Conn::connect(self.umay.at("web")).unwrap();
        for _ in 0..5 {
            assert_eq!(conn.ask(GET).unwrap().status(), 200);
        }
        let bad = GET.replace("GET / ", "GET /gone ");
        assert_eq!(conn.ask(bad).unwrap().status(), 502);
        let mut conn = Conn::connect(self.umay.at("raw")).unwrap();
        conn.send("no HTTP\n").unwrap();
        conn.half_close().unwrap();
        conn.read_to_end().unwrap();
        let mut conn = Conn::connect(self.umay.at("cut")).unwrap();
        conn.send("no HTTP\n").unwrap();
        conn.read_to_end().unwrap();
        let (trusting, tls) = (self._peers.1.trusting(), self.umay.at("tls"));
        let mut conn = Conn::connect_tls(tls, &trusting, "a.test").unwrap();
        assert_eq!(conn.ask(GET).unwrap().status(), 200);
        // The head of a TLS record, and in it no handshake.
        let mut conn = Conn::connect(tls).unwrap();
        conn.send("\x16\x03\x01\x00\x04\x01\x00\x00\x00").unwrap();
        conn.read_to_end().unwrap();
    }
}

#[test]
fn alerts_fire_on_what_is_wrong() {
    let mut scene = Scene::start();
    eventually("a scrape", || {
        (!scene.query("up{job=\"umay\"} == 1").is_empty()).then_some(())
    });
    // Nothing is wrong but what it is asked for later; the certificate of the test ends soon or not at all.
    for alert in [
        "UmayDown",
        "UmayConfigRefused",
        "UmayUpstreamWithoutEndpoints",
    ] {
        assert!(
            scene
                .query(&format!("ALERTS{{alertname=\"{alert}\"}}"))
                .is_empty(),
            "{alert}"
        );
    }
    scene.traffic();
    scene.wait_alert("UmayUpstreamWithoutEndpoints");
    scene.wait_alert("UmayEndpointsNotWell");
    assert!(!scene.umay.reload("listen = 1\n"));
    scene.wait_alert("UmayConfigRefused");
    scene.umay.stop();
    scene.wait_alert("UmayDown");
}

#[test]
fn every_expression_of_the_dashboard_can_be_asked() {
    let scene = Scene::start();
    scene.traffic();
    // What is counted by reason is there only when it has happened; a rate takes two looks at it.
    eventually("some scrapes of all", || {
        scene.traffic();
        let count = scene.query("count_over_time(umay_tcp_connections_total[1m])");
        let count = count.first()?["value"][1].as_str()?.parse::<f64>().ok()?;
        (count > 2.0).then_some(())
    });
    let dashboard: Value = read("grafana/umay.json").parse().unwrap();
    let mut asked = 0;
    let mut empty = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array();
        for target in targets.into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            asked += 1;
            if scene.query(&chosen(query)).is_empty() {
                empty.push(query.to_owned());
            }
        }
    }
    assert!(asked > 50, "{asked}");
    // What is there only when it has happened, and has not here.
    let not_here = [
        "umay_upstream_queue{",
        "umay_upstream_hedges_total{",
        "umay_upstream_retries_total{",
        "umay_discovery_age_seconds{",
    ];
    empty.retain(|query| !not_here.iter().any(|metric| query.contains(metric)));
    assert!(empty.is_empty(), "these give nothing: {empty:#?}");
    // What is marked may have happened or not.
    for mark in dashboard["annotations"]["list"].as_array().unwrap() {
        scene.query(&chosen(mark["expr"].as_str().unwrap()));
    }
}

/// An expression of the dashboard as it is asked when all is chosen.
fn chosen(query: &str) -> String {
    let real = ["job", "instance", "route", "upstream"]
        .iter()
        .fold(query.replace("$__rate_interval", "1m"), |query, name| {
            query.replace(&format!("\"${name}\""), "\".*\"")
        });
    assert!(!real.contains('$'), "{query}");
    real
}

/// Who is called at night reads a panel for the first time: it says what it shows, in which unit, and not too much of it.
#[test]
fn every_panel_says_what_it_shows() {
    let dashboard: Value = read("grafana/umay.json").parse().unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id");
        if panel["type"] == "row" {
            continue;
        }
        let about = panel["description"].as_str().unwrap();
        assert!(about.ends_with('.'), "{title} has no description");
        let kind = panel["type"].as_str().unwrap();
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(
            kind == "table" || defaults["unit"].is_string(),
            "{title} has no unit"
        );
        // Without its own, Grafana paints red whatever is above 80.
        assert!(
            kind != "stat" || defaults["thresholds"].is_object(),
            "{title} has no thresholds"
        );
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let many = ["route", "upstream", "endpoint", "reason", "code", "outcome"];
            let by = query.split_once("by (").map_or("", |(_, by)| by);
            let by = by.split_once(')').map_or("", |(by, _)| by);
            let many = by.split(", ").any(|label| many.contains(&label));
            assert!(
                !many || kind == "stat" || query.contains("topk("),
                "{title} may have any number of series: {query}"
            );
        }
    }
}

#[test]
fn the_metrics_are_good_text() {
    let scene = Scene::start();
    scene.traffic();
    let metrics = programs::curl([
        "-H",
        "Accept: text/plain",
        &format!("http://{}/metrics", scene.umay.admin()),
    ]);
    promtool(&["check", "metrics"], &metrics);
}
