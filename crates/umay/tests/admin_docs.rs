//! docs/admin.md is held: every request of the socket stands in it, and every line in it is run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod control;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use control::{Scene, config};
use serde_json::Value;
use umay::admin::ROUTES;
use umay_test::{Server, TempDir, umay};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/admin.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_request_has_its_place() {
    let page = page();
    let headings: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("## "))
        .collect();
    let mut documented = BTreeSet::new();
    for heading in &headings {
        documented.extend(heading.split('`').filter(|part| part.contains(" /")));
    }
    let there: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    assert_eq!(documented, there.iter().map(String::as_str).collect());
}

/// The blocks of the page, each with its language.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let parts = page.split("```").skip(1).step_by(2);
    parts.filter_map(|part| part.split_once('\n')).collect()
}

fn members(value: &Value) -> BTreeSet<&str> {
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, _)| name.as_str()).collect()
}

#[test]
fn every_line_can_be_run() {
    let page = page();
    let (dir, servers) = (TempDir::new(), vec![Server::ok("0"), Server::ok("1")]);
    let text = config(&dir, &servers, "");
    let umay = umay!().config(format!("timeouts.drain_delay = \"60s\"\n{text}"));
    let umay = umay.start();
    let mut scene = Scene { umay, dir, servers };
    let socket = scene.socket();
    let mut run = BTreeSet::new();
    let mut last = Value::Null;
    for (language, text) in blocks(&page) {
        if language == "json" && !last.is_null() {
            let shown: Value = serde_json::from_str(text).unwrap();
            assert_eq!(members(&shown), members(&last), "{text}\n{last}");
        }
        last = Value::Null;
        if language != "sh" {
            continue;
        }
        for line in text.lines() {
            let real = line
                .replace("/run/umay/admin.sock", socket.to_str().unwrap())
                .replace("127.0.0.1:3000", &scene.at(0))
                .replace("curl ", "curl -sS --fail-with-body ");
            let real = match real.strip_prefix("umay ") {
                Some(rest) => format!("{} {rest}", env!("CARGO_BIN_EXE_umay")),
                None => real,
            };
            let before = scene.umay.events().len();
            let done = Command::new("sh").args(["-c", &real]).output().unwrap();
            assert!(done.status.success(), "{line}: {done:?}");
            let said = String::from_utf8(done.stdout).unwrap();
            assert!(!said.is_empty(), "{line}");
            if line.contains("upgrade") {
                scene.umay.upgraded(before).unwrap();
            }
            last = serde_json::from_str(&said).unwrap_or_default();
            run.extend(line.split_whitespace().next());
        }
    }
    assert_eq!(run, ["curl", "umay"].into());
    // The first process has ended when another one served.
    assert_eq!(scene.umay.stop(), 0);
    scene.umay.wait_event("a second signal");
}

#[test]
fn the_list_of_what_is_set_by_hand_is_as_shown() {
    let page = page();
    let (dir, servers) = (TempDir::new(), vec![Server::ok("0")]);
    let umay = umay!().config(config(&dir, &servers, "")).start();
    let scene = Scene { umay, dir, servers };
    scene.ask_endpoint(0, "weight", "{\"weight\": 5}");
    scene.ask_endpoint(0, "drain", "");
    scene.ask(
        "POST",
        "/log/level",
        "{\"level\": \"debug\", \"for\": \"10m\"}",
    );
    let blocks = blocks(&page);
    let shown = blocks.iter().find(|(language, _)| *language == "json");
    let shown: Vec<Value> = serde_json::from_str(shown.unwrap().1).unwrap();
    let found = scene.by_hand();
    assert_eq!(shown.len(), found.len());
    for (shown, found) in shown.iter().zip(&found) {
        assert_eq!(shown["what"], found["what"]);
        assert_eq!(members(shown), members(found));
    }
}
