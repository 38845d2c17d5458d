//! Frames of the live view, without a terminal.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::draw::draw;
use super::state::{Key, Top};
use crate::reading::Reading;
use crate::tables::Table;

fn top() -> Top {
    Top::new("127.0.0.1:9901", Duration::from_secs(1))
}

/// What is on a terminal of this size, a line per row.
fn frame(top: &Top, columns: u16, lines: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| draw(top, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(columns));
    let row = |cells: &[ratatui::buffer::Cell]| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned() + "\n"
    };
    rows.map(row).collect()
}

#[track_caller]
fn shows(top: &Top, parts: &[&str]) {
    let frame = frame(top, 120, 30);
    for part in parts {
        assert!(frame.contains(part), "no {part:?} in\n{frame}");
    }
}

/// Process `pid` after so many seconds, with `requests` requests since its start, most of them to endpoint `b`.
fn document(pid: u64, seconds: u64, requests: u64) -> Value {
    json!({
        "version": "0.1.0", "pid": pid, "started": format!("start of {pid}"), "uptime_ms": seconds * 1000,
        "stage": "ready", "workers": 2, "connections": 7, "latency_bounds_ms": [1, 10, 100],
        "process": { "cpu_s": 1.0, "memory_bytes": 50 << 20 },
        "reasons": { "no_route": "No route matches." },
        "totals": { "requests": requests, "in_flight": 3, "statuses": { "200": requests, "503": requests / 100 },
                    "refusals": { "no_route": requests / 10 } },
        "problems": [{ "severity": "warning", "about": "upstream app", "what": "1 of its 3 endpoints is not well: c is ill",
                       "hint": "see whether it runs" }],
        "listeners": [{ "name": "web", "addr": "0.0.0.0:443", "tls": true, "serves": ["http", "tcp"] }],
        "routes": [{ "name": "all", "matches": "everything", "to": "upstream app", "requests": requests,
                     "latency": { "buckets": { "1": requests / 2, "10": requests / 2 } } }],
        "upstreams": [{ "name": "app", "balance": "auto", "requests": requests, "endpoints": [
            { "address": "a", "standing": "well", "why": "", "picks": requests / 10 },
            { "address": "b", "standing": "well", "why": "", "picks": requests },
            { "address": "c", "standing": "ill", "why": "connection refused", "picks": 0 },
        ] }],
        "certificates": [{ "names": ["shop.example"], "not_after": "2026-12-24", "days_left": 30, "files": ["shop.pem"] }],
    })
}

fn take(top: &mut Top, document: &Value) {
    top.take(Ok(Reading::new(document)));
}

fn press(top: &mut Top, keys: &str) {
    for key in keys.chars() {
        top.press(Key::Char(key));
    }
}

fn running() -> Top {
    let mut top = top();
    take(&mut top, &document(1, 100, 10_000));
    take(&mut top, &document(1, 101, 10_500));
    top
}

/// The first cells of the rows, in their order.
fn order(top: &Top) -> Vec<String> {
    let (rows, _) = top.rows();
    rows.iter().map(|row| row.cells[0].text.clone()).collect()
}

#[test]
fn numbers_are_those_of_the_last_second() {
    let mut top = top();
    shows(&top, &["Umay at 127.0.0.1:9901", "asking…", "q quit"]);
    take(&mut top, &document(1, 100, 10_000));
    // Until there are two, it is since the start.
    shows(&top, &["requests 100/s"]);
    take(&mut top, &document(1, 101, 10_500));
    shows(
        &top,
        &[
            "Umay 0.1.0 at 127.0.0.1:9901 ready  up 1 min 41 s",
            "50 MiB  workers 2",
            "every 1 s",
            "! upstream app: 1 of its 3 endpoints is not well: c is ill → see whether it runs",
            "requests 500/s",
            "5xx 5.0/s 1.0 %",
            "p50 1.0 ms",
            "p99 9.8 ms",
            "in flight 3",
            "connections 7",
            "1 upstreams 1",
            "2 endpoints 3",
        ],
    );
}

#[test]
fn each_table_has_its_rows() {
    let mut top = running();
    for (key, parts) in [
        ("1", ["upstream", "app", "2/3", "c ill: connection refused"]),
        ("2", ["endpoint", "c", "ill", "connection refused"]),
        ("3", ["route", "all", "everything", "upstream app"]),
        ("4", ["no_route", "clients", "50.0", "No route matches."]),
        ("5", ["web", "0.0.0.0:443", "yes", "http, tcp"]),
        ("6", ["shop.example", "30", "2026-12-24", "shop.pem"]),
    ] {
        press(&mut top, key);
        shows(&top, &parts);
    }
    press(&mut top, "1");
    top.press(Key::Left);
    assert_eq!(top.table(), Table::Certificates);
    top.press(Key::Right);
    assert_eq!(top.table(), Table::Upstreams);
}

#[test]
fn every_size_has_a_frame() {
    let mut top = running();
    for document in [document(1, 102, 11_000), json!({}), json!(null)] {
        for table in "123456".chars() {
            press(&mut top, &table.to_string());
            for columns in [1, 2, 30, 59, 60, 61, 80, 119, 200] {
                for lines in [1, 2, 14, 15, 16, 20, 30, 50] {
                    let frame = frame(&top, columns, lines);
                    let fits = columns >= 60 && lines >= 15;
                    assert_eq!(frame.contains("? help"), fits, "{columns}x{lines}\n{frame}");
                    if columns >= 30 && lines >= 14 && !fits {
                        assert!(frame.contains("umay top needs"), "{frame}");
                    }
                }
            }
        }
        take(&mut top, &document);
    }
    // The smallest has a table with rows.
    let mut top = running();
    press(&mut top, "2");
    let frame = frame(&top, 60, 15);
    for part in ["endpoint", "standing", "req/s", "failed/s", "500", "ill"] {
        assert!(frame.contains(part), "no {part} in\n{frame}");
    }
}

#[test]
fn a_umay_that_does_not_answer_is_asked_again() {
    let mut top = running();
    top.take(Err("nobody listens there".to_owned()));
    top.take(Err("nobody listens there".to_owned()));
    shows(
        &top,
        &[
            "not answering, trying again (2): nobody listens there",
            "at 127.0.0.1:9901 no answer",
            "requests 500/s",
        ],
    );
    // It is another process that answers, and all its counters are smaller.
    take(&mut top, &document(2, 2, 100));
    shows(&top, &["another process answers", "requests 50.0/s"]);
    let frame = frame(&top, 120, 30);
    assert!(!frame.contains("not answering"), "{frame}");
    take(&mut top, &document(2, 3, 300));
    shows(&top, &["requests 200/s"]);
    for second in 4..30 {
        take(&mut top, &document(2, second, second * 100));
    }
    let frame = self::frame(&top, 120, 30);
    assert!(!frame.contains("another process"), "{frame}");
}

#[test]
fn nothing_has_answered_yet() {
    let mut top = top();
    top.take(Err("nobody listens there".to_owned()));
    press(&mut top, "234561sSr");
    top.press(Key::Down);
    shows(&top, &["not answering, trying again (1)"]);
}

#[test]
fn columns_sort() {
    let mut top = running();
    press(&mut top, "2");
    // What is wrong comes first, then what is busy.
    assert_eq!(order(&top), ["c", "b", "a"]);
    press(&mut top, "s");
    shows(&top, &["endpoint▲"]);
    assert_eq!(order(&top), ["a", "b", "c"]);
    press(&mut top, "r");
    shows(&top, &["endpoint▼"]);
    assert_eq!(order(&top), ["c", "b", "a"]);
    press(&mut top, "ss");
    shows(&top, &["req/s▼"]);
    assert_eq!(order(&top), ["b", "a", "c"]);
    press(&mut top, "SSS");
    assert_eq!(order(&top), ["c", "b", "a"]);
    assert_eq!(top.sort(), None);
    press(&mut top, "S");
    shows(&top, &["why▲"]);
    // Each table is sorted for itself.
    press(&mut top, "1");
    assert_eq!(top.sort(), None);
}

#[test]
fn the_chosen_row_is_followed() {
    let mut top = running();
    press(&mut top, "2");
    top.press(Key::Down);
    shows(&top, &["b of app: well"]);
    let mut other = document(1, 102, 11_000);
    other["upstreams"][0]["endpoints"][0]["picks"] = json!(900_000);
    take(&mut top, &other);
    assert_eq!(order(&top), ["c", "a", "b"]);
    shows(&top, &["b of app: well"]);
    // When it is gone, what stands in its place is chosen.
    other["upstreams"][0]["endpoints"] = json!([{ "address": "z", "standing": "draining" }]);
    take(&mut top, &other);
    shows(&top, &["z of app: draining"]);
}

#[test]
fn a_filter_shows_some() {
    let mut top = running();
    press(&mut top, "2/qC");
    shows(&top, &["show rows with: qC", "nothing with `qC` in it"]);
    top.press(Key::Backspace);
    top.press(Key::Backspace);
    press(&mut top, "REFUSED");
    assert_eq!(order(&top), ["c"]);
    top.press(Key::Enter);
    assert!(!top.is_over());
    shows(&top, &["q quit"]);
    top.press(Key::Escape);
    assert_eq!(order(&top).len(), 3);
}

#[test]
fn a_pause_holds_what_is_shown() {
    let mut top = running();
    press(&mut top, " ");
    assert!(top.is_paused());
    shows(&top, &["PAUSED", "space go on"]);
    take(&mut top, &document(1, 102, 99_000));
    shows(&top, &["requests 500/s"]);
    press(&mut top, "p");
    assert!(!top.is_paused());
    take(&mut top, &document(1, 103, 10_700));
    shows(&top, &["requests 100/s"]);
}

#[test]
fn the_interval_has_ends() {
    let mut top = top();
    for (keys, millis) in [
        ("+", 2_000),
        ("--", 500),
        ("-", 250),
        ("-", 250),
        ("++++++++", 30_000),
    ] {
        press(&mut top, keys);
        assert_eq!(top.interval(), Duration::from_millis(millis), "{keys}");
    }
}

#[test]
fn help_and_the_end() {
    let mut top = running();
    press(&mut top, "?");
    shows(&top, &["Any key closes this.", "Ctrl-C    quit"]);
    press(&mut top, "q");
    assert!(!top.is_over() && !top.help);
    press(&mut top, "/");
    press(&mut top, "q");
    assert!(!top.is_over());
    top.press(Key::Interrupt);
    assert!(top.is_over());
    let mut top = running();
    press(&mut top, "q");
    assert!(top.is_over());
}

#[test]
fn five_hundred_endpoints_are_paged() {
    let mut top = running();
    let mut many = document(1, 102, 11_000);
    let one = |n: u64| json!({ "address": format!("e{n:03}"), "standing": "well", "picks": n });
    many["upstreams"][0]["endpoints"] = (0..500).map(one).collect();
    take(&mut top, &many);
    press(&mut top, "2s");
    shows(&top, &["e000", "1–16 of 500"]);
    top.press(Key::End);
    shows(&top, &["e499", "485–500 of 500"]);
    top.press(Key::PageUp);
    shows(&top, &["e483"]);
    top.press(Key::Home);
    top.press(Key::PageDown);
    shows(&top, &["e016 of app"]);
    top.press(Key::Up);
    press(&mut top, "jkk");
    shows(&top, &["e014 of app"]);
}

#[test]
fn no_name_reaches_the_terminal_as_a_command() {
    let evil = "x\u{1b}[2J\u{7}\u{9b}1m\u{202e}\r\n\tz";
    let mut top = top();
    let document = json!({
        "version": evil, "stage": evil, "pid": 1, "uptime_ms": 5,
        "problems": [{ "severity": "error", "about": evil, "what": evil, "hint": evil }],
        "totals": { "refusals": { evil: 3 } }, "reasons": { evil: evil },
        "listeners": [{ "name": evil, "addr": evil, "serves": [evil] }],
        "routes": [{ "name": evil, "to": evil, "matches": evil }],
        "upstreams": [{ "name": evil, "balance": evil,
                        "endpoints": [{ "address": evil, "standing": evil, "why": evil }] }],
        "certificates": [{ "names": [evil], "not_after": evil, "files": [evil] }],
    });
    take(&mut top, &document);
    for table in "123456".chars() {
        press(&mut top, &table.to_string());
        let frame = frame(&top, 150, 40);
        assert!(frame.contains("x\u{fffd}[2J"), "{frame}");
        let commands = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!frame.contains(commands), "{frame:?}");
    }
}
