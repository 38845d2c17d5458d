//! `umay drain`: the end of the process, asked for on the admin socket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod control;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use control::{Scene, config};
use serde_json::json;
use umay_test::{GET, Server, TempDir, eventually, umay};

/// Umay that accepts for this long after it was asked to end.
fn scene(drain_delay: &str) -> Scene {
    let (dir, servers) = (TempDir::new(), vec![Server::ok("0")]);
    let text = config(&dir, &servers, "");
    let umay = umay!().config(format!(
        "timeouts = {{ drain_delay = \"{drain_delay}\", drain = \"60s\" }}\n{text}"
    ));
    let umay = umay.start();
    Scene { umay, dir, servers }
}

#[test]
fn it_is_the_same_as_a_signal_and_tells_what_is_open() {
    let mut scene = scene("0s");
    let mut conn = scene.umay.connect();
    // One that has a tunnel, or here a request that is not whole, keeps the process.
    conn.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\na")
        .unwrap();
    scene.umay.wait_metric("umay_connections_active", &[], 1.0);
    assert_eq!(scene.ask("GET", "/drain", "").json()["stage"], "ready");
    let first = scene.ask("POST", "/drain", "").json();
    assert_eq!(
        (&first["stage"], &first["already"], &first["connections"]),
        (&json!("draining"), &json!(false), &json!(1))
    );
    assert_eq!(first["pid"], scene.umay.pid());
    assert_eq!(
        (&first["accepts_for"], &first["cuts_after"]),
        (&json!("0s"), &json!("60s"))
    );
    scene
        .umay
        .wait_event("what=\"stage\" from=\"ready\" to=\"draining\"");
    eventually("readiness to go off", || {
        (scene.umay.admin_get("/readyz").status() == 503).then_some(())
    });
    // A second time is no second signal: nothing is cut.
    for _ in 0..3 {
        let again = scene.ask("POST", "/drain", "").json();
        assert_eq!(again["already"], true);
    }
    let told = scene.says(&["drain"]);
    assert!(told.starts_with("It is draining already"), "{told}");
    assert!(told.ends_with("open connections: 1.\n"), "{told}");
    assert_eq!(scene.ask("POST", "/reload", "").status, 409);
    conn.send("b").unwrap();
    let answer = conn.read_response("POST").unwrap();
    assert_eq!(
        (answer.status(), answer.get("connection")),
        (200, Some("close"))
    );
    assert_eq!(scene.umay.wait_exit(), 0);
    assert!(!scene.socket().exists());
}

#[test]
fn a_signal_after_it_is_a_second_one() {
    let mut scene = scene("0s");
    let mut conn = scene.umay.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\na")
        .unwrap();
    scene.umay.wait_metric("umay_connections_active", &[], 1.0);
    scene.says(&["drain"]);
    scene.umay.wait_event("draining");
    eventually("readiness to go off", || {
        (scene.umay.admin_get("/readyz").status() == 503).then_some(())
    });
    assert_eq!(scene.umay.stop(), 1);
    scene.umay.wait_event("a second signal");
}

#[test]
fn whoever_waits_sees_what_is_left_and_the_end() {
    let mut scene = scene("0s");
    let mut conns: Vec<_> = (0..2).map(|_| scene.umay.connect()).collect();
    for conn in &mut conns {
        conn.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\na")
            .unwrap();
    }
    scene.umay.wait_metric("umay_connections_active", &[], 2.0);
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_umay"))
        .args(["drain", "--wait", "--socket"])
        .arg(scene.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let mut next = || lines.next().map(Result::unwrap);
    assert_eq!(next().as_deref(), Some("open connections: 2"));
    let mut conn = conns.pop().unwrap();
    conn.send("b").unwrap();
    assert_eq!(conn.read_response("POST").unwrap().status(), 200);
    assert_eq!(next().as_deref(), Some("open connections: 1"));
    assert_eq!(waiting.try_wait().unwrap(), None);
    conns[0].send("b").unwrap();
    assert_eq!(conns[0].read_response("POST").unwrap().status(), 200);
    assert_eq!(scene.umay.wait_exit(), 0);
    let done = waiting.wait_with_output().unwrap();
    assert!(done.status.success());
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(told.starts_with("It drains: it accepts for 0s"), "{told}");
    assert!(told.ends_with("It is gone.\n"), "{told}");
}

/// On a terminal, which `script` is, it is one line that is written over.
#[test]
fn on_a_terminal_what_is_left_is_one_line() {
    let mut scene = scene("0s");
    let mut conn = scene.umay.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\na")
        .unwrap();
    scene.umay.wait_metric("umay_connections_active", &[], 1.0);
    let (umay, socket) = (env!("CARGO_BIN_EXE_umay"), scene.socket());
    let command = format!("{umay} drain --wait --socket {}", socket.display());
    let seen = scene.dir.path().join("seen");
    let mut waiting = Command::new("script")
        .args(["-q", "-e", "-f", "-c", &command])
        .arg(&seen)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&seen).unwrap_or_default();
    eventually("the line", || {
        read()
            .contains("\r\u{1b}[Kopen connections: 1")
            .then_some(())
    });
    conn.send("b").unwrap();
    assert_eq!(conn.read_response("POST").unwrap().status(), 200);
    assert_eq!(scene.umay.wait_exit(), 0);
    assert!(waiting.wait().unwrap().success());
    let seen = read();
    assert!(seen.contains("\r\u{1b}[KIt is gone."), "{seen:?}");
}

#[test]
fn meanwhile_new_connections_are_served_for_a_while() {
    let mut scene = scene("60s");
    scene.says(&["drain"]);
    eventually("readiness to go off", || {
        (scene.umay.admin_get("/readyz").status() == 503).then_some(())
    });
    let answer = scene.umay.connect().ask(GET).unwrap();
    assert_eq!(
        (answer.status(), answer.get("connection")),
        (200, Some("close"))
    );
    assert_eq!(scene.umay.stop(), 1);
}
