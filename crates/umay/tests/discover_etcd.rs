//! Discovery by keys in etcd: a real one, which is written to, killed and started again while it is
//! followed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod discovery;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use discovery::Followed;
use umay::telemetry::metrics::{Origin, Update};
use umay_core::model::{Dns, Endpoint, Etcd, Scheme, Source};
use umay_test::programs::{Program, curl, etcd};
use umay_test::{TempDir, Value, eventually, json, unique_address};

/// One request to the gateway.
fn ask(etcd: &Program, path: &str, body: &Value) -> Value {
    let url = format!("http://{}/v3/{path}", etcd.addr);
    // It listens before it has elected itself.
    eventually("etcd to answer", || {
        let answer = curl(["-d", &body.to_string(), &url]);
        let answer: Value = serde_json::from_str(&answer).ok()?;
        answer.get("error").is_none().then_some(answer)
    })
}

fn put(etcd: &Program, key: &str, value: &str) {
    put_with(etcd, key, value, "0");
}

fn put_with(etcd: &Program, key: &str, value: &str, lease: &str) {
    let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
    ask(
        etcd,
        "kv/put",
        &json!({ "key": key, "value": value, "lease": lease }),
    );
}

fn delete(etcd: &Program, key: &str) {
    ask(
        etcd,
        "kv/deleterange",
        &json!({ "key": STANDARD.encode(key) }),
    );
}

fn source(members: Vec<Endpoint>) -> Etcd {
    Etcd {
        prefix: "/app/".to_owned(),
        members,
        login: None,
    }
}

fn member(addr: std::net::SocketAddr) -> Endpoint {
    Endpoint::new(Scheme::Http, addr.ip().to_string(), addr.port())
}

fn follow(etcd: &Program) -> Followed {
    let source = source(vec![member(etcd.addr)]);
    Followed::start(Vec::new(), Some(Source::Etcd(source)), &Dns::default())
}

#[test]
fn keys_come_change_and_go() {
    let etcd = etcd();
    put(&etcd, "/app/a", "127.0.1.1:80");
    // Beside the prefix.
    put(&etcd, "/apq", "127.0.1.9:80");
    put(&etcd, "/app", "127.0.1.9:80");
    let followed = follow(&etcd);
    let state = followed.until_found(&["127.0.1.1=127.0.1.1:80"]);
    assert!(state.settled);
    assert_eq!(state.found[0].endpoint.scheme, Scheme::Http);
    put(
        &etcd,
        "/app/b",
        r#"{"to": "https://127.0.1.2:443", "weight": 7, "priority": 1}"#,
    );
    put(
        &etcd,
        "/app/c",
        r#"{"Op": 0, "Addr": "127.0.1.3:80", "Metadata": "x"}"#,
    );
    followed.until_found(&[
        "127.0.1.1=127.0.1.1:80",
        "127.0.1.2=127.0.1.2:443*7!1",
        "127.0.1.3=127.0.1.3:80",
    ]);
    put(&etcd, "/app/a", "127.0.1.4:80");
    delete(&etcd, "/app/b");
    followed.until_found(&["127.0.1.3=127.0.1.3:80", "127.0.1.4=127.0.1.4:80"]);
    // One that nobody can use is told of, and takes none of the others along.
    put(&etcd, "/app/d", "no\u{7}thing");
    let state = followed.until_error("/app/d");
    assert!(!state.error.unwrap().contains('\u{7}'));
    assert_eq!(state.found.len(), 2);
    delete(&etcd, "/app/d");
    followed.until_found(&["127.0.1.3=127.0.1.3:80", "127.0.1.4=127.0.1.4:80"]);
    // To have none is an answer as good as any.
    delete(&etcd, "/app/a");
    delete(&etcd, "/app/c");
    followed.until_found(&[]);
    assert_eq!(followed.updates(Origin::Etcd, Update::Failed), 0);
}

#[test]
fn a_lease_that_is_not_renewed_takes_its_endpoint_along() {
    let etcd = etcd();
    let lease = ask(&etcd, "lease/grant", &json!({ "TTL": "4" }));
    put(&etcd, "/app/a", "127.0.1.1:80");
    put_with(
        &etcd,
        "/app/b",
        "127.0.1.2:80",
        lease["ID"].as_str().unwrap(),
    );
    let followed = follow(&etcd);
    followed.until("both", |state| state.found.len() == 2);
    followed.until_found(&["127.0.1.1=127.0.1.1:80"]);
}

#[test]
fn a_restart_takes_nothing_away_and_misses_nothing() {
    let mut etcd = etcd();
    put(&etcd, "/app/a", "127.0.1.1:80");
    let followed = follow(&etcd);
    followed.until_found(&["127.0.1.1=127.0.1.1:80"]);
    etcd.kill();
    let state = followed.until("a problem", |state| state.error.is_some());
    assert_eq!(discovery::lines(&state), ["127.0.1.1=127.0.1.1:80"]);
    assert!(followed.updates(Origin::Etcd, Update::Failed) > 0);
    etcd.start_again();
    put(&etcd, "/app/b", "127.0.1.2:80");
    followed.until_found(&["127.0.1.1=127.0.1.1:80", "127.0.1.2=127.0.1.2:80"]);
    // What it can be told it is told again.
    delete(&etcd, "/app/a");
    followed.until_found(&["127.0.1.2=127.0.1.2:80"]);
}

#[test]
fn a_compaction_disturbs_nothing() {
    let etcd = etcd();
    put(&etcd, "/app/a", "127.0.1.1:80");
    let followed = follow(&etcd);
    followed.until_found(&["127.0.1.1=127.0.1.1:80"]);
    put(&etcd, "/app/a", "127.0.1.2:80");
    let put = ask(
        &etcd,
        "kv/put",
        &json!({ "key": STANDARD.encode("/x"), "value": "" }),
    );
    ask(
        &etcd,
        "kv/compaction",
        &json!({ "revision": put["header"]["revision"], "physical": true }),
    );
    put_with(&etcd, "/app/b", "127.0.1.3:80", "0");
    followed.until_found(&["127.0.1.2=127.0.1.2:80", "127.0.1.3=127.0.1.3:80"]);
}

#[test]
fn members_are_asked_in_turn() {
    let etcd = etcd();
    put(&etcd, "/app/a", "127.0.1.1:80");
    let dead = member(unique_address());
    let source = source(vec![dead, member(etcd.addr)]);
    let followed = Followed::start(Vec::new(), Some(Source::Etcd(source)), &Dns::default());
    followed.until_error("refused");
    followed.until_found(&["127.0.1.1=127.0.1.1:80"]);
}

#[test]
fn users_log_in() {
    let etcd = etcd();
    put(&etcd, "/app/a", "127.0.1.1:80");
    let root = json!({ "name": "root", "password": "secret" });
    ask(&etcd, "auth/user/add", &root);
    ask(&etcd, "auth/role/add", &json!({ "name": "root" }));
    ask(
        &etcd,
        "auth/user/grant",
        &json!({ "user": "root", "role": "root" }),
    );
    ask(&etcd, "auth/enable", &json!({}));
    let stranger = follow(&etcd);
    stranger.until("a refusal", |state| state.error.is_some());
    assert!(stranger.found().is_empty());
    let dir = TempDir::new();
    let wrong = dir.write("password", "wrong\n");
    let source = Etcd {
        login: Some(("root".to_owned(), wrong)),
        ..source(vec![member(etcd.addr)])
    };
    let followed = Followed::start(Vec::new(), Some(Source::Etcd(source)), &Dns::default());
    followed.until_error("authentication failed");
    // Read again each time.
    dir.write("password", "secret\n");
    followed.until_found(&["127.0.1.1=127.0.1.1:80"]);
}
