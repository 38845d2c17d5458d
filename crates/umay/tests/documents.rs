//! The documents keep up with the code: what can be checked in them is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use umay_core::reason::Reason;
use umay_test::{Certs, Conn, GET, Server, TempDir, Umay, umay};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_reason_has_its_entry() {
    let page = read("docs/reasons.md");
    let mut at = 0;
    for reason in Reason::ALL {
        let status = match reason.status() {
            0 => "no status".to_owned(),
            status => status.to_string(),
        };
        let heading = format!(
            "\n### {} ({status}, {})\n\n",
            reason.as_str(),
            reason.side().as_str()
        );
        let found = page.find(&heading);
        let found = found.unwrap_or_else(|| panic!("docs/reasons.md lacks: {}", heading.trim()));
        assert!(found >= at, "{} is out of order", reason.as_str());
        at = found;
        let entry = &page[found + heading.len()..];
        let entry = entry.split("\n#").next().unwrap();
        assert!(
            entry.starts_with(reason.what()),
            "{}: begin with: {}",
            reason.as_str(),
            reason.what()
        );
        // What it comes from, and what can be done.
        for part in ["\n\n- **Causes:** ", "\n- **What to do:** "] {
            let (before, said) = entry
                .split_once(part)
                .unwrap_or_else(|| panic!("{} lacks: {}", reason.as_str(), part.trim()));
            let said = said.lines().next().unwrap();
            assert!(
                said.len() > 10 && said.ends_with(['.', ')']),
                "{}: {}{said}",
                reason.as_str(),
                part.trim()
            );
            assert!(before.len() >= reason.what().len(), "{}", reason.as_str());
        }
    }
    assert_eq!(page.matches("\n### ").count(), Reason::ALL.len());
}

#[test]
fn every_field_of_the_access_log_has_its_row() {
    let page = read("docs/logs.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<_> = rows
        .filter(|row| {
            row.ends_with("both |") || row.ends_with("requests |") || row.ends_with("streams |")
        })
        .filter_map(|row| row.split('`').next())
        .collect();
    let fields = umay_core::model::LogField::ALL
        .iter()
        .map(|(name, _)| *name);
    assert_eq!(rows, fields.collect::<Vec<_>>());
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut pages = vec![PathBuf::new()];
    pages.extend(["docs", "docs/decisions", "bench", "fuzz"].map(PathBuf::from));
    for dir in pages {
        for entry in fs::read_dir(root().join(&dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|kind| kind != "md") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for link in text.split("](").skip(1) {
                let link = link.split([')', '#']).next().unwrap();
                if link.is_empty() || link.contains("://") {
                    continue;
                }
                let target = path.parent().unwrap().join(link);
                assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            }
        }
    }
}

#[test]
fn the_map_stays_short() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= 150, "ARCHITECTURE.md has {lines} lines");
}

/// A running Umay with an upstream of each kind, of which each metric has a series.
fn busy() -> (Umay, [Server; 2], TempDir) {
    let (web, raw) = (Server::ok("hi"), Server::echo());
    let dir = TempDir::new();
    let file = dir.write("endpoints.toml", "endpoints = []\n");
    let certs = Certs::new();
    let pair = certs.issue(&["a.test"]);
    let cert = dir.write("a.crt", fs::read(pair.cert).unwrap());
    let key = dir.write("a.key", fs::read(pair.key).unwrap());
    let umay = umay!(
        "[[listener]]\nname = \"web\"\nlisten = \"127.0.0.1:0\"\ncert = {cert:?}\nkey = {key:?}\n\
         [[listener]]\nname = \"raw\"\nlisten = \"127.0.0.1:0\"\n\
         [[route]]\nlisteners = [\"web\"]\nhost = \"a.test\"\nto = \"web\"\n\
         [[route]]\nlisteners = [\"raw\"]\nto = \"tcp://{}\"\n\
         [upstream.web]\nto = \"http://localhost:{}\"\nhedge = {{}}\n\
         [upstream.web.limits]\nadaptive = true\n[upstream.web.probe]\nkind = \"tcp\"\n\
         [[route]]\nlisteners = [\"web\"]\nhost = \"b.test\"\nto = \"file\"\n\
         [upstream.file.discover]\nfile = {file:?}\nscheme = \"http\"\n\
         [upstream.file.tls]\ncert = {cert:?}\nkey = {key:?}\n",
        raw.addr(),
        web.addr().port(),
    );
    let connect = |listener| Conn::connect(umay.at(listener)).unwrap();
    assert_eq!(connect("web").ask(GET).unwrap().status(), 200);
    let refused = GET.replace("a.test", "c.test");
    assert_eq!(connect("web").ask(refused).unwrap().status(), 404);
    // A ClientHello with nothing in it.
    connect("web")
        .send(b"\x16\x03\x01\0\x04\x01\0\0\0")
        .unwrap();
    umay.wait_metric("umay_tls_failures_total", &[], 1.0);
    let mut stream = connect("raw");
    stream.send("x").unwrap();
    stream.half_close().unwrap();
    stream.read_to_end().unwrap();
    umay.wait_metric("umay_tcp_connections_total", &[("close_reason", "ok")], 1.0);
    (umay, [web, raw], dir)
}

/// Every metric as a row of a table, from what is exposed.
fn metric_rows(exposed: &str) -> String {
    let mut rows = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    let mut families = exposed.split("# HELP ").skip(1).collect::<Vec<_>>();
    families.sort_unstable();
    for family in families {
        let mut lines = family.lines();
        let (name, help) = lines.next().unwrap().split_once(' ').unwrap();
        let kind = lines.next().unwrap().rsplit(' ').next().unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let mut labels = BTreeSet::new();
        let mut samples = 0;
        for line in lines {
            samples += 1;
            let Some((_, inside)) = line.split_once('{') else {
                continue;
            };
            // A value may have anything in it, but none of these has `="`.
            let pairs = inside
                .split("=\"")
                .map(|part| part.rsplit(['{', ',']).next());
            let names = pairs.flatten().filter(|name| !name.contains(['"', '}']));
            labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
        assert!(samples > 0, "{name} has no series here");
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (labels, help) = (labels.join(", "), help.trim_end_matches('.'));
        writeln!(rows, "| `{name}{suffix}` | {kind} | {labels} | {help}. |").unwrap();
    }
    rows
}

/// The reference of metrics is what a running Umay exposes. `UMAY_BLESS=1` writes it.
#[test]
fn every_metric_has_its_row() {
    const BEGIN: &str = "<!-- Written by `UMAY_BLESS=1 cargo test -p umay --test documents`. -->\n";
    const END: &str = "<!-- End of what is written. -->\n";
    let (umay, _servers, _dir) = busy();
    let rows = metric_rows(&umay.admin_get("/metrics").text());
    let page = read("docs/metrics.md");
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}\n{rows}\n{END}{after}");
    if std::env::var_os("UMAY_BLESS").is_some() {
        fs::write(root().join("docs/metrics.md"), &wanted).unwrap();
    }
    assert!(
        read("docs/metrics.md") == wanted,
        "docs/metrics.md is old; write it with UMAY_BLESS=1 cargo test -p umay --test documents"
    );
    // Labels have a row of their own.
    let labels = wanted.split("\n| label |").nth(1).unwrap();
    let labels = labels.split("\n\n").next().unwrap();
    for row in rows.lines().skip(2) {
        for label in row.split(" | ").nth(2).unwrap().split(", ") {
            let known = labels.contains(label) || ["", "`version`", "`resumed`"].contains(&label);
            assert!(known, "docs/metrics.md does not say what {label} is");
        }
    }
}
