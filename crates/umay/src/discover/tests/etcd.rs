//! etcd, as a peer that sends what a real one sends only when it is unlucky, or not at all.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use umay_core::model::{Etcd, Source};
use umay_test::{Server, Value, json, ok};

use super::super::pace::Pace;
use super::{Followed, QUICK, at, lines};
use crate::telemetry::metrics::Origin;

fn pair(key: &str, value: &str) -> Value {
    json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value) })
}

/// What a range answers: revision 7 and these keys.
fn range(keys: &[(&str, &str)]) -> Vec<u8> {
    let pairs: Vec<Value> = keys.iter().map(|(key, value)| pair(key, value)).collect();
    ok(json!({ "header": { "revision": "7" }, "kvs": pairs }).to_string())
}

/// A message of a watch, as a chunk that is a line.
fn chunk(message: &Value) -> String {
    let line = format!("{message}\n");
    format!("{:x}\r\n{line}\r\n", line.len())
}

const BEGUN: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A member that answers the first range and watch with these, and what comes later with others.
fn member(first: (Vec<u8>, String), later: (Vec<u8>, String)) -> Server {
    Server::start(move |conn, number| {
        let (range, watch) = if number == 0 { &first } else { &later };
        while let Some(request) = conn.read_request()? {
            match request.target() {
                "/v3/kv/range" => conn.send(range)?,
                _ => conn.send(watch)?,
            }
        }
        Ok(())
    })
}

fn follow(member: &Server, pace: Pace) -> Followed {
    let etcd = Etcd {
        prefix: "/a/".to_owned(),
        members: vec![at(member.addr())],
        login: None,
    };
    Followed::source(Source::Etcd(etcd), pace)
}

fn created() -> String {
    chunk(&json!({ "result": { "header": { "revision": "7" }, "created": true } }))
}

const ONE: &[(&str, &str)] = &[("/a/1", "127.0.0.1:80")];
const TWO: &[(&str, &str)] = &[("/a/1", "127.0.0.2:80")];

#[test]
fn what_was_compacted_is_read_anew_without_a_problem() {
    let compacted = json!({ "result": { "canceled": true, "compact_revision": "9" } });
    let watch = format!("{BEGUN}{}{}", created(), chunk(&compacted));
    let member = member(
        (range(ONE), watch),
        (range(TWO), format!("{BEGUN}{}", created())),
    );
    let followed = follow(&member, QUICK);
    followed.until_found(&["127.0.0.2=127.0.0.2:80"]);
    assert_eq!(followed.failures(Origin::Etcd), 0);
}

#[test]
fn a_watch_that_is_quiet_is_begun_anew_without_a_problem() {
    let quiet = format!("{BEGUN}{}", created());
    let member = member((range(ONE), quiet.clone()), (range(TWO), quiet));
    let pace = Pace {
        quiet: std::time::Duration::from_millis(100),
        ..QUICK
    };
    let followed = follow(&member, pace);
    followed.until_found(&["127.0.0.2=127.0.0.2:80"]);
    assert_eq!(followed.failures(Origin::Etcd), 0);
}

#[test]
fn messages_come_in_any_pieces() {
    let gone = json!({ "result": { "header": { "revision": "8" },
        "events": [{ "type": "DELETE", "kv": { "key": STANDARD.encode("/a/1") } },
                   { "kv": pair("/a/2", "127.0.0.2:80") }] } });
    let messages = format!("{}\n{gone}\n", json!({ "result": { "created": true } }));
    let pieces: String = messages.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    let member = member(
        (range(ONE), format!("{BEGUN}{pieces}")),
        (range(&[]), String::new()),
    );
    follow(&member, QUICK).until_found(&["127.0.0.2=127.0.0.2:80"]);
}

/// However a member errs: what was known stays, and the problem is told.
#[test]
fn what_makes_no_sense_takes_nothing_away() {
    let error = json!({ "error": { "grpc_code": 16, "message": "auth\u{7}" } });
    let cancelled = json!({ "result": { "canceled": true, "cancel_reason": "why" } });
    let foreign = json!({ "result": { "events": [{ "kv": pair("/b", "127.0.0.9:80") }] } });
    let broken = json!({ "result": { "events": [{ "kv": { "key": "?" } }] } });
    for (message, told) in [
        (error.to_string(), "the watch failed: \"auth\\u0007\""),
        (cancelled.to_string(), "the watch was cancelled: why"),
        (foreign.to_string(), "not asked for"),
        (broken.to_string(), "the key is not base64"),
        ("{}".to_owned(), "says nothing"),
        ("nonsense".to_owned(), "not JSON"),
    ] {
        let line = format!("{message}\n");
        let watch = format!("{BEGUN}{:x}\r\n{line}\r\n", line.len());
        let member = member((range(ONE), watch.clone()), (range(ONE), watch));
        let followed = follow(&member, QUICK);
        let state = followed.until_error(told);
        assert_eq!(lines(&state), ["127.0.0.1=127.0.0.1:80"], "{message}");
    }
    for (range, told) in [
        (ok("{}"), "no revision"),
        (ok("[]"), "no revision"),
        (
            ok(json!({ "header": { "revision": 1 }, "kvs": [7] }).to_string()),
            "a key is missing",
        ),
        (range(&[("/b", "127.0.0.1:80")]), "not asked for"),
        (
            range(&[("/a/1", "nowhere")]),
            "an entry cannot be used: /a/1",
        ),
    ] {
        let member = member((range.clone(), String::new()), (range, String::new()));
        let followed = follow(&member, QUICK);
        let state = followed.until_error(told);
        assert!(state.found.is_empty());
    }
}

/// More keys than are taken are a problem, not a burden.
#[test]
fn there_are_only_so_many_keys() {
    let keys: Vec<(String, String)> = (0..10_001)
        .map(|n| {
            (
                format!("/a/{n}"),
                format!("10.0.{}.{}:80", n / 250, n % 250),
            )
        })
        .collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let too_many = range(&keys);
    let enough = range(&keys[..10_000]);
    let watch = format!("{BEGUN}{}", created());
    let member = member((too_many, String::new()), (enough, watch));
    let followed = follow(&member, QUICK);
    followed.until_error("more than 10000 keys");
    followed.until("10000", |state| {
        state.found.len() == 10_000 && state.error.is_none()
    });
}
