//! The admin listener over real sockets.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::*;
use crate::side::raw::{Answer, ask, connect, read_all};
use crate::telemetry::health::Stage;
use crate::telemetry::metrics::Format;

struct Bench {
    admin: Admin,
    addr: SocketAddr,
    health: Health,
}

fn start() -> Bench {
    start_with(|| json!({"version": "0.1.0", "stage": "ready", "routes": [{"name": "<all>"}]}))
}

fn start_with(status: impl Fn() -> Value + Send + Sync + 'static) -> Bench {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = listener.local_addr().unwrap();
    let health = Health::default();
    let state = AdminState {
        registry: Registry::new(1),
        health: health.clone(),
        status: Arc::new(status),
    };
    let admin = Admin::start(listener, state).unwrap();
    Bench {
        admin,
        addr,
        health,
    }
}

impl Bench {
    fn get(&self, path: &str) -> Answer {
        ask(
            self.addr,
            &format!("GET {path} HTTP/1.1\nHost: 127.0.0.1"),
            "",
        )
    }
}

#[test]
fn every_page_is_there() {
    let bench = start();
    let check = |path, status, kind: &str, part: &str| {
        let answer = bench.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.field("content-type"), Some(kind), "{path}");
        assert!(answer.body.contains(part), "{path}: {}", answer.body);
    };
    let (text, html) = ("text/plain; charset=utf-8", "text/html; charset=utf-8");
    check("/", 200, html, "&lt;all&gt;");
    check("/?x", 200, html, "&lt;all&gt;");
    check("/status", 200, "application/json", "\"name\": \"<all>\"");
    check("/livez", 200, text, "ok\n");
    check("/readyz", 503, text, "Umay is starting");
    check("/metrics", 200, Format::OpenMetrics.content_type(), "# EOF");
    for path in ["/nothing", "/status/", "//", "/livez/x"] {
        check(path, 404, text, "/readyz");
    }
}

#[test]
fn readiness_follows_the_stage() {
    let bench = start();
    for (stage, status) in [
        (Stage::Ready, 200),
        (Stage::Draining, 503),
        (Stage::Starting, 503),
    ] {
        bench.health.set(stage);
        let answer = bench.get("/readyz");
        assert_eq!(answer.status, status);
        assert_eq!(answer.body.trim_end(), stage.what());
        assert_eq!(bench.get("/livez").status, 200);
    }
}

#[test]
fn metrics_come_in_the_format_asked_for() {
    let bench = start();
    let check = |accept: &str, format: Format| {
        let head = format!("GET /metrics HTTP/1.1\nHost: umay.svc:9901{accept}");
        let answer = ask(bench.addr, &head, "");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type"), Some(format.content_type()));
        assert!(answer.body.contains("umay_connections_active 0"));
    };
    check("", Format::OpenMetrics);
    check("\nAccept: */*", Format::OpenMetrics);
    check("\nAccept: text/plain;version=0.0.4", Format::Classic);
    check("\nAccept: \u{e9}", Format::OpenMetrics);
}

#[test]
fn every_answer_is_dressed() {
    let bench = start();
    let host = "HTTP/1.1\nHost: ";
    let page = format!("GET / {host}localhost");
    for head in [
        page.clone(),
        format!("GET / {host}evil.example"),
        format!("GET /nothing {host}localhost"),
        format!("HEAD /metrics {host}localhost"),
        format!("POST /status {host}localhost"),
    ] {
        let answer = ask(bench.addr, &head, "");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert_eq!(answer.field("referrer-policy"), Some("no-referrer"));
        let policy = answer.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert_eq!(
            policy.contains("script-src 'sha256-"),
            head == page,
            "{head}"
        );
    }
}

#[test]
fn nothing_but_get_and_head() {
    let bench = start();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/", "/status", "/metrics", "/livez", "/readyz", "/nothing"] {
            let head = format!("{method} {path} HTTP/1.1\nHost: localhost");
            let answer = ask(bench.addr, &head, "");
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.field("allow"), Some("get, head"));
        }
    }
    for path in ["/", "/status", "/metrics", "/livez", "/readyz", "/nothing"] {
        let head = ask(
            bench.addr,
            &format!("HEAD {path} HTTP/1.1\nHost: [::1]:1"),
            "",
        );
        assert_eq!(head.status, bench.get(path).status, "{path}");
        assert_eq!(head.body, "");
    }
}

#[test]
fn bodies_are_refused() {
    let bench = start();
    let check = |fields: &str, body, status| {
        let head = format!("GET /livez HTTP/1.1\nHost: localhost\n{fields}");
        assert_eq!(ask(bench.addr, &head, body).status, status, "{fields}");
    };
    check("Content-Length: 0", "", 200);
    check("Content-Length: 1", "x", 413);
    check("Content-Length: 1000000000", "x", 413);
    check("Transfer-Encoding: chunked", "1\r\nx\r\n0\r\n\r\n", 413);
}

#[test]
fn the_pages_that_tell_most_want_an_address_for_host() {
    let bench = start();
    let check = |hosts: &str, safe: bool| {
        for (path, open) in [
            ("/", false),
            ("/status", false),
            ("/metrics", true),
            ("/livez", true),
        ] {
            let answer = ask(bench.addr, &format!("GET {path} HTTP/1.1{hosts}"), "");
            let expected = if safe || open { 200 } else { 403 };
            assert_eq!(answer.status, expected, "{path} {hosts}");
            assert_eq!(answer.body.contains("rebinding"), expected == 403);
        }
    };
    for host in [
        "127.0.0.1",
        "127.0.0.1:9901",
        "10.1.2.3",
        "[::1]",
        "[2001:db8::7]:9901",
        "localhost",
        "LocalHost:9901",
    ] {
        check(&format!("\nHost: {host}"), true);
    }
    for host in [
        "evil.example",
        "evil.example:9901",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "umay.svc",
        "2130706433",
        "[::1",
        "",
    ] {
        check(&format!("\nHost: {host}"), false);
    }
    check("", false);
    check("\nHost: localhost\nHost: localhost", false);
}

#[test]
fn a_connection_carries_one_request() {
    let bench = start();
    let mut stream = connect(bench.addr);
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(&request.repeat(2)).unwrap();
    let text = String::from_utf8(read_all(&stream)).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1);
    assert!(text.to_lowercase().contains("connection: close"));
}

#[test]
fn a_status_that_panics_costs_its_own_connection_only() {
    let bench = start_with(|| panic!("as the test wants it"));
    let mut stream = connect(bench.addr);
    stream
        .write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(read_all(&stream), b"");
    assert_eq!(bench.get("/livez").status, 200);
}

#[test]
fn stopping_frees_the_port() {
    let bench = start();
    let idle = connect(bench.addr);
    bench.admin.stop(LIFE);
    assert_eq!(read_all(&idle), b"");
    assert!(TcpStream::connect(bench.addr).is_err());
    bind(bench.addr).unwrap();
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let bench = start();
    let error = bind(bench.addr).unwrap_err();
    assert_eq!(error.error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(
        error.to_string(),
        format!(
            "the admin listener cannot bind {}: port {} is in use by another process, perhaps another \
             Umay; choose another address with `admin.bind`, or switch it off with `admin.bind = \"off\"`",
            bench.addr,
            bench.addr.port()
        )
    );
}

#[test]
fn other_reasons_not_to_bind_are_told_too() {
    // 192.0.2.0/24 is for documentation (RFC 5737), so no machine has an address of it.
    let error = bind(SocketAddr::from(([192, 0, 2, 1], 0))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the admin listener cannot bind 192.0.2.1:0: this machine does not have the address 192.0.2.1; \
         correct `admin.bind`"
    );
    let told = |kind: io::ErrorKind| {
        let addr = SocketAddr::from(([127, 0, 0, 1], 80));
        let error = io::Error::from(kind);
        BindError { addr, error }.to_string()
    };
    assert!(told(io::ErrorKind::PermissionDenied).contains("port 80 needs a privilege"));
    assert!(told(io::ErrorKind::OutOfMemory).contains("out of memory; see `admin.bind`"));
}
