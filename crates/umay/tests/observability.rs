//! What Umay tells of itself: the access log, the metrics, the pages of the admin listener.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use umay_test::programs;
use umay_test::{
    Certs, Conn, Refusing, Server, Signal, TempDir, Umay, Value, eventually, json, ok, umay,
};

fn before(endpoint: &Server, more: &str) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n{more}\n",
        endpoint.addr()
    )
}

fn members(line: &Value) -> Vec<&str> {
    line.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn a_request_is_logged_with_all_that_is_known() {
    let certs = Certs::new();
    let endpoint = Server::http(|_| ok("hello"));
    let umay = umay!(
        "[[listener]]\nname = \"in\"\nlisten = \"127.0.0.1:0\"\n{}\
         [[route]]\nname = \"web\"\nto = \"app\"\n[upstream.app]\nto = \"http://{}\"\n",
        certs.issue(&["a.test"]).toml(),
        endpoint.addr()
    );
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap();
    let port = conn.socket().local_addr().unwrap().port();
    let request = "POST /p%20q?token=secret&x=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \"me\"\\\r\n\
                   Referer: https://b.test/\r\nCookie: secret\r\nContent-Length: 3\r\n\r\nabc";
    conn.ask(request).unwrap();
    let line = umay.wait_path("/p%20q");
    let expected = [
        ("client_ip", "127.0.0.1"),
        ("listener", "in"),
        ("sni", "a.test"),
        ("tls", "1.3"),
        ("proto", "http/1.1"),
        ("method", "POST"),
        ("scheme", "https"),
        ("host", "a.test"),
        ("route", "web"),
        ("upstream", "app"),
        ("endpoint", &endpoint.addr().to_string()),
        ("user_agent", "\"me\"\\"),
        ("referer", "https://b.test/"),
    ];
    for (name, value) in expected {
        assert_eq!(line[name], value, "{name}");
    }
    for (name, value) in [
        ("client_port", u64::from(port)),
        ("status", 200),
        ("bytes_in", 3),
        ("bytes_out", 5),
        ("attempts", 1),
    ] {
        assert_eq!(line[name], value, "{name}");
    }
    for name in ["dur_ms", "ttfb_ms", "connect_ms"] {
        assert!(line[name].as_f64().unwrap() >= 0.0, "{name}");
    }
    assert_eq!(line["reused"], false);
    assert!(line["ts"].as_str().unwrap().ends_with('Z'));
    assert_eq!(line["request_id"].as_str().unwrap().len(), 32);
    // Credentials are not for logs.
    assert!(!umay.stdout().contains("secret"), "{line}");
    assert!(line["query"].as_str().unwrap().contains("x=1"));
    assert_eq!(members(&line).first(), Some(&"ts"));
}

#[test]
fn a_stream_is_logged_without_what_only_requests_have() {
    let endpoint = Server::echo();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\n",
        endpoint.addr()
    );
    let mut conn = umay.connect();
    conn.send("abc").unwrap();
    conn.half_close().unwrap();
    conn.read_to_end().unwrap();
    let line = umay.wait_log(|line| line["proto"] == "tcp");
    for name in [
        "method",
        "host",
        "path",
        "status",
        "request_id",
        "reason",
        "sni",
        "tls",
    ] {
        assert!(line.get(name).is_none(), "{name} in {line}");
    }
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&3.into(), &3.into())
    );
    assert_eq!(line["endpoint"], endpoint.addr().to_string());
}

#[test]
fn odd_bytes_cannot_break_a_line() {
    let endpoint = Server::ok("hi");
    let umay = before(&endpoint, "");
    let request =
        b"GET /\xff\"\\ HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \x80\xfe\"}{\t\xe2\x80\xa8\r\n\r\n";
    umay.connect().ask(request).unwrap();
    let good = "GET /good HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \u{fc}\"\\\t\u{2028}\r\n\r\n";
    umay.connect().ask(good).unwrap();
    umay.wait_path("/good");
    for line in umay.log() {
        assert!(line.is_object(), "no JSON: {line}");
    }
}

#[test]
fn metrics_count_what_happened() {
    let endpoint = Server::ok("hello");
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    for _ in 0..3 {
        conn.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    }
    conn.ask("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody")
        .unwrap();
    conn.ask("GET /../x HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    umay.wait_metric("umay_http_responses_total", &[("code", "200")], 4.0);
    for (name, labels, value) in [
        ("umay_connections_accepted_total", &[][..], 1.0),
        ("umay_connections_active", &[], 1.0),
        ("umay_http_requests_in_flight", &[], 0.0),
        ("umay_http_responses_total", &[("code", "400")], 1.0),
        (
            "umay_http_requests_total",
            &[
                ("route", "default"),
                ("method", "GET"),
                ("code_class", "2xx"),
            ],
            3.0,
        ),
        (
            "umay_http_requests_total",
            &[
                ("route", "default"),
                ("method", "POST"),
                ("code_class", "2xx"),
            ],
            1.0,
        ),
        (
            "umay_http_request_bytes_total",
            &[("route", "default")],
            4.0,
        ),
        (
            "umay_http_response_bytes_total",
            &[("route", "default")],
            20.0,
        ),
        (
            "umay_http_request_duration_seconds_count",
            &[("route", "default")],
            4.0,
        ),
        (
            "umay_refusals_total",
            &[("reason", "request_malformed")],
            1.0,
        ),
        (
            "umay_protocol_detected_total",
            &[("protocol", "http1")],
            1.0,
        ),
        (
            "umay_upstream_attempts_total",
            &[("upstream", "default"), ("outcome", "ok")],
            4.0,
        ),
        ("umay_upstream_connections_opened_total", &[], 1.0),
        ("umay_upstream_connections_idle", &[], 1.0),
        ("umay_access_log_dropped_total", &[], 0.0),
    ] {
        assert_eq!(umay.metric(name, labels), value, "{name} {labels:?}");
    }
    drop(conn);
    umay.wait_metric("umay_connections_active", &[], 0.0);
}

/// What `/status` and the page say of endpoints: who they are, how they are, and how they have done.
#[test]
fn endpoints_are_told_with_how_they_are() {
    let (good, bad) = (Server::ok("hi"), Refusing::new());
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"app\"\n[upstream.app]\nbalance = \"round_robin\"\n\
         to = [{{ to = \"http://{}\", weight = 2, zone = \"a\" }}, \"http://{}\", \
               {{ to = \"http://127.0.0.1:9\", priority = 3 }}]\n\
         [upstream.app.outlier]\nconsecutive = 2\nbase = \"1h\"\nmax = \"1h\"\n",
        good.addr(),
        bad.addr()
    );
    let endpoint = |address: String| {
        let status: Value = umay.admin_get("/status").text().parse().unwrap();
        let upstream = status["upstreams"][0].clone();
        assert_eq!(upstream["name"], "app");
        let nothing = json!({ "known": true, "problem": null, "age_s": null });
        assert_eq!(upstream["discovery"], nothing);
        let endpoints = upstream["endpoints"].as_array().unwrap();
        let found = endpoints.iter().find(|e| e["address"] == address);
        found.unwrap().clone()
    };
    let spare = json!({
        "address": "127.0.0.1:9", "standing": "well", "why": "", "weight": 1, "configured_weight": 1,
        "priority": 3, "zone": null, "in_flight": 0, "latency_ms": null, "picks": 0, "failures": 0,
    });
    assert_eq!(endpoint("127.0.0.1:9".to_owned()), spare);
    let ejected = eventually("an ejection", || {
        assert_eq!(umay.get("a.test", "/").text(), "hi");
        let bad = endpoint(bad.addr().to_string());
        (bad["standing"] == "ejected").then_some(bad)
    });
    let why = ejected["why"].as_str().unwrap();
    assert!(why.ends_with("failures in a row"), "{why}");
    assert!(ejected["failures"].as_u64().unwrap() >= 2, "{ejected}");
    assert_eq!(ejected["failures"], ejected["picks"]);
    // A failure counts as a second at least.
    assert!(ejected["latency_ms"].as_f64().unwrap() > 100.0, "{ejected}");
    let well = endpoint(good.addr().to_string());
    assert_eq!(
        (&well["standing"], &well["why"]),
        (&json!("well"), &json!(""))
    );
    assert_eq!((&well["weight"], &well["zone"]), (&json!(2), &json!("a")));
    assert_eq!(
        (&well["priority"], &well["failures"]),
        (&json!(0), &json!(0))
    );
    assert!(well["picks"].as_u64().unwrap() >= 2, "{well}");
    let latency = well["latency_ms"].as_f64().unwrap();
    assert!(latency > 0.0 && latency < 1000.0, "{well}");
    let page = umay.admin_get("/").text();
    for part in [
        format!("ejected: {why}"),
        "2 of 3 well".to_owned(),
        good.addr().to_string(),
    ] {
        assert!(page.contains(&part), "{part} not in {page}");
    }
}

#[test]
fn the_admin_listener_has_its_pages() {
    let endpoint = Server::ok("hi");
    let umay = before(&endpoint, "");
    for path in ["/livez", "/readyz"] {
        assert_eq!(umay.admin_get(path).status(), 200, "{path}");
    }
    let status: Value = umay.admin_get("/status").text().parse().unwrap();
    assert_eq!(
        (&status["stage"], &status["workers"]),
        (&"ready".into(), &1.into())
    );
    assert_eq!(status["listeners"][0]["addr"], umay.addr().to_string());
    let address = status["upstreams"][0]["endpoints"][0]["address"]
        .as_str()
        .unwrap();
    assert!(address.contains(&endpoint.addr().to_string()), "{address}");
    let page = umay.admin_get("/");
    assert!(
        page.get("content-type").unwrap().starts_with("text/html"),
        "{page:?}"
    );
    assert_eq!(umay.admin_get("/nothing").status(), 404);
    let mut conn = Conn::connect(umay.admin()).unwrap();
    let post = "POST /status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(conn.ask(post).unwrap().status(), 405);
    let mut conn = Conn::connect(umay.admin()).unwrap();
    let foreign = "GET /status HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    assert_eq!(conn.ask(foreign).unwrap().status(), 403);
}

#[test]
fn metrics_come_in_both_formats() {
    let umay = before(&Server::ok("hi"), "");
    let ask = |accept: &str| {
        let mut conn = Conn::connect(umay.admin()).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
        conn.ask(request).unwrap()
    };
    let open = ask("application/openmetrics-text; version=1.0.0");
    assert!(
        open.get("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    assert!(open.text().ends_with("# EOF\n"));
    let classic = ask("text/plain");
    assert!(
        classic
            .get("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    assert!(
        classic
            .text()
            .contains("# TYPE umay_connections_accepted_total counter")
    );
}

#[test]
fn metrics_tell_which_configuration_is_served() {
    let (dir, endpoint) = (TempDir::new(), Server::ok("hi"));
    let socket = dir.path().join("admin.sock");
    let config = |more: &str| {
        let to = endpoint.addr();
        format!("listen = \"127.0.0.1:0\"\nto = \"{to}\"\nadmin.socket = {socket:?}\n{more}")
    };
    let umay = umay!().config(config("")).start();
    let told = || {
        let page = umay.admin_get("/metrics").text();
        let line = page.lines().find(|l| l.starts_with("umay_config_info{"));
        let (_, rest) = line.unwrap().split_once("sha256=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let at = || umay.metric("umay_config_last_success_timestamp_seconds", &[]);
    let good = || umay.metric("umay_config_last_reload_successful", &[]);
    let first = (told(), at());
    assert_eq!(good(), 1.0);
    // Anybody can do the sum.
    let socket = socket.to_str().unwrap();
    let umay_program = env!("CARGO_BIN_EXE_umay");
    let shown = programs::run(umay_program, ["config", "show", "--socket", socket], b"");
    let sum = programs::run("sha256sum", ["-"], &shown.stdout);
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(sum.split(' ').next().unwrap(), first.0);

    assert!(!umay.reload("to = 1\n"));
    assert_eq!((told(), at(), good()), (first.0.clone(), first.1, 0.0));
    assert!(umay.reload(config("tracing.ratio = 0.5\n")));
    assert!(told() != first.0 && at() > first.1 && good() == 1.0);
    assert!(umay.reload(config("")));
    assert_eq!(told(), first.0);
}

#[test]
fn lines_that_cannot_be_written_are_counted_and_nobody_waits() {
    let endpoint = Server::ok("hi");
    let umay = before(&endpoint, "log.access = \"/dev/full\"");
    let mut conn = umay.connect();
    for _ in 0..20 {
        assert_eq!(
            conn.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                .unwrap()
                .text(),
            "hi"
        );
    }
    umay.wait_metric("umay_access_log_dropped_total", &[], 20.0);
}

#[test]
fn the_access_log_is_opened_anew_after_a_rotation() {
    let dir = TempDir::new();
    let (file, old) = (
        dir.path().join("access.log"),
        dir.path().join("access.log.1"),
    );
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nlog.access = {file:?}\n\
         [[route]]\nrespond = {{ status = 200 }}\n"
    );
    let has = |file: &std::path::Path, path: &str| {
        umay.get("a.test", path);
        eventually(&format!("{path} in {}", file.display()), || {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.contains(path).then_some(())
        });
    };
    has(&file, "/before");
    std::fs::rename(&file, &old).unwrap();
    has(&old, "/between");
    umay.signal(Signal::USR1);
    eventually("a new file", || file.exists().then_some(()));
    has(&file, "/after");
    assert!(!std::fs::read_to_string(&old).unwrap().contains("/after"));
}
