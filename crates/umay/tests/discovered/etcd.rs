//! etcd, while requests run.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use umay_test::programs::{Program, curl, etcd};
use umay_test::{Server, Umay, Value, eventually, json};

use super::{
    ask, before, served_while_it_fails, servers, shares, status, until_served_by, updates,
};

/// One request to the gateway.
fn call(etcd: &Program, path: &str, body: &Value) -> Value {
    let url = format!("http://{}/v3/{path}", etcd.addr);
    // It listens before it has elected itself.
    eventually("etcd to answer", || {
        let answer = curl(["-d", &body.to_string(), &url]);
        let answer: Value = serde_json::from_str(&answer).ok()?;
        answer.get("error").is_none().then_some(answer)
    })
}

fn put(etcd: &Program, key: &str, value: &str, lease: &str) {
    let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
    let body = json!({ "key": key, "value": value, "lease": lease });
    call(etcd, "kv/put", &body);
}

fn add(etcd: &Program, key: &str, server: &Server) {
    put(etcd, key, &server.addr().to_string(), "0");
}

fn delete(etcd: &Program, key: &str) {
    call(
        etcd,
        "kv/deleterange",
        &json!({ "key": STANDARD.encode(key) }),
    );
}

fn follow(etcd: &Program) -> Umay {
    let app = format!(
        "[upstream.app.discover]\netcd = \"/app/\"\nscheme = \"http\"\nmembers = [\"http://{}\"]",
        etcd.addr
    );
    before(&app, "")
}

#[test]
fn requests_follow_keys_as_they_come_and_go() {
    let (etcd, servers) = (etcd(), servers(3));
    add(&etcd, "/app/a", &servers[0]);
    let umay = follow(&etcd);
    // The first request waits for the first answer.
    assert_eq!(ask(&umay), "a");
    add(&etcd, "/app/b", &servers[1]);
    until_served_by(&umay, &["a", "b"]);
    let more = json!({ "to": format!("http://{}", servers[2].addr()), "priority": 1 });
    put(&etcd, "/app/c", &more.to_string(), "0");
    umay.wait_metric("umay_discovery_endpoints", &[("upstream", "app")], 3.0);
    delete(&etcd, "/app/a");
    until_served_by(&umay, &["b"]);
    delete(&etcd, "/app/b");
    until_served_by(&umay, &["c"]);
    delete(&etcd, "/app/c");
    let refused = eventually("nobody to be left", || {
        let answer = umay.get("a.test", "/");
        (answer.status() != 200).then_some(answer)
    });
    // That there is none is an answer, and no failure.
    assert_eq!(refused.reason().as_deref(), Some("no_endpoint"));
    assert_eq!(updates(&umay, "etcd", "failed"), 0.0);
    add(&etcd, "/app/b", &servers[1]);
    eventually("an answer", || {
        (umay.get("a.test", "/").status() == 200).then_some(())
    });
}

#[test]
fn a_lease_that_expires_takes_its_endpoint_along() {
    let (etcd, servers) = (etcd(), servers(2));
    add(&etcd, "/app/a", &servers[0]);
    let lease = call(&etcd, "lease/grant", &json!({ "TTL": "3" }));
    let lease = lease["ID"].as_str().unwrap();
    put(&etcd, "/app/b", &servers[1].addr().to_string(), lease);
    let umay = follow(&etcd);
    until_served_by(&umay, &["a", "b"]);
    let took = until_served_by(&umay, &["a"]);
    assert!(took > Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_restart_is_not_noticed_by_requests() {
    let (mut etcd, servers) = (etcd(), servers(2));
    add(&etcd, "/app/a", &servers[0]);
    let umay = follow(&etcd);
    assert_eq!(ask(&umay), "a");
    etcd.kill();
    served_while_it_fails(&umay, "etcd");
    let problem = status(&umay)["discovery"]["problem"].clone();
    assert!(problem.as_str().unwrap().starts_with("etcd: "), "{problem}");
    etcd.start_again();
    add(&etcd, "/app/b", &servers[1]);
    until_served_by(&umay, &["a", "b"]);
    // Seen as it happens again, not only when asked anew.
    delete(&etcd, "/app/a");
    until_served_by(&umay, &["b"]);
    assert_eq!(status(&umay)["discovery"]["problem"], Value::Null);
    shares(&umay, 10);
}
