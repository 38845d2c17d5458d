//! What becomes of heads: hop-by-hop fields, who the client is said to be, and Umay's own answers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use umay_test::{Certs, Conn, Message, Server, Umay, Value, answer, ok, umay};

/// Answers with the head that arrived.
fn mirror() -> Server {
    Server::http(|request| ok(format!("{request:?}")))
}

fn before(endpoint: &Server) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    )
}

fn trusting(endpoint: &Server, more: &str) -> Umay {
    umay!(
        "to = \"http://{}\"\n[[listener]]\nname = \"in\"\nlisten = \"127.0.0.1:0\"\n{more}\n",
        endpoint.addr()
    )
}

/// Sends a GET with these fields (whole lines) and gives the request as the endpoint read it.
#[track_caller]
fn arrives(umay: &Umay, endpoint: &Server, fields: &str) -> Message {
    let before = endpoint.recorded().concat().len();
    let request = format!("GET /a HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    let response = umay.connect().ask(request).unwrap();
    assert_eq!(response.status(), 200, "{response:?}");
    let recorded = endpoint.recorded().concat();
    let (message, _) = umay_test::http::request(&recorded[before..])
        .unwrap()
        .unwrap();
    message
}

/// One connection to the endpoint after the other, so that what it got stays in order.
fn closing() -> Server {
    Server::start(|conn, _| {
        conn.read_request()?;
        conn.send(answer("200 OK", "Connection: close\r\n", ""))
    })
}

#[test]
fn hop_by_hop_fields_end_at_umay_in_both_directions() {
    let endpoint = Server::start(|conn, _| {
        conn.read_request()?;
        let fields = "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                      Proxy-Connection: close\r\nUpgrade: h2c\r\nX-End: 1\r\n";
        conn.send(answer("200 OK", fields, ""))
    });
    let umay = before(&endpoint);
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, X-Hop, TE\r\n\
                   X-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
                   TE: trailers\r\nX-End: 1\r\n\r\n";
    let response = umay.connect().ask(request).unwrap();
    let (sent, _) = umay_test::http::request(&endpoint.recorded()[0])
        .unwrap()
        .unwrap();
    for message in [&sent, &response] {
        for name in [
            "x-hop",
            "keep-alive",
            "proxy-connection",
            "te",
            "upgrade",
            "connection",
        ] {
            assert!(message.all(name).is_empty(), "{name} in {message:?}");
        }
        assert_eq!(message.get("x-end"), Some("1"));
    }
}

#[test]
fn connection_cannot_name_away_what_others_rely_on() {
    let endpoint = closing();
    let umay = trusting(&endpoint, "trusted_proxies = [\"127.0.0.1\"]");
    let sent = arrives(
        &umay,
        &endpoint,
        "Connection: host, authorization, cookie, x-forwarded-for, x-request-id, X-Other\r\n\
         Authorization: Basic eA==\r\nCookie: a=b\r\nX-Other: 1\r\nX-Request-Id: abc\r\n",
    );
    for name in [
        "host",
        "authorization",
        "cookie",
        "x-forwarded-for",
        "x-request-id",
    ] {
        assert_eq!(sent.all(name).len(), 1, "{name} in {sent:?}");
    }
    assert!(sent.all("x-other").is_empty());
}

#[test]
fn what_a_stranger_says_about_itself_is_replaced() {
    let endpoint = closing();
    let umay = before(&endpoint);
    let sent = arrives(
        &umay,
        &endpoint,
        "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: evil.test\r\n\
         Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Request-Id: mine\r\n",
    );
    assert_eq!(sent.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(sent.get("x-forwarded-proto"), Some("http"));
    assert_eq!(sent.get("x-forwarded-host"), Some("a.test"));
    assert_eq!(sent.get("host"), Some("a.test"));
    assert_eq!(sent.get("forwarded"), None);
    assert_ne!(sent.get("x-real-ip"), Some("6.6.6.6"));
    assert_eq!(sent.get("via"), Some("1.1 umay"));
    let id = sent.get("x-request-id").unwrap();
    assert!(
        id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
    let line = umay.wait_path("/a");
    assert_eq!(
        (&line["client_ip"], &line["request_id"]),
        (&"127.0.0.1".into(), &id.into())
    );
}

#[test]
fn what_a_trusted_proxy_says_is_believed_and_added_to() {
    let endpoint = closing();
    let umay = trusting(
        &endpoint,
        "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\nforwarded = true",
    );
    let sent = arrives(
        &umay,
        &endpoint,
        "X-Forwarded-For: 6.6.6.6, 9.8.7.6, 10.1.1.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: public.test\r\nX-Request-Id: from-the-edge_1.2\r\n",
    );
    assert_eq!(
        sent.get("x-forwarded-for"),
        Some("6.6.6.6, 9.8.7.6, 10.1.1.1, 127.0.0.1")
    );
    assert_eq!(sent.get("x-forwarded-proto"), Some("https"));
    assert_eq!(sent.get("x-forwarded-host"), Some("public.test"));
    assert_eq!(sent.get("x-request-id"), Some("from-the-edge_1.2"));
    assert!(
        sent.get("forwarded").unwrap().contains("for=127.0.0.1"),
        "{sent:?}"
    );
    let line = umay.wait_path("/a");
    // The rightmost that is not trusted: what stands before it, anybody could have written.
    assert_eq!(line["client_ip"], "9.8.7.6");
    assert_eq!(line["request_id"], "from-the-edge_1.2");
}

#[test]
fn over_tls_the_endpoint_is_told_https() {
    let certs = Certs::new();
    let endpoint = closing();
    let tls = certs.issue(&["a.test"]).toml();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n{tls}to = \"http://{}\"\n",
        endpoint.addr()
    );
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap();
    conn.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let (sent, _) = umay_test::http::request(&endpoint.recorded()[0])
        .unwrap()
        .unwrap();
    assert_eq!(sent.get("x-forwarded-proto"), Some("https"));
}

#[test]
fn fields_pass_in_order_and_unchanged() {
    let endpoint = mirror();
    let umay = before(&endpoint);
    let sent = arrives(
        &umay,
        &endpoint,
        "X-A: 1\r\nCookie: a=b; c=d\r\nx-a: 2\r\nX-B:  \t b \r\nX-E:\r\n",
    );
    assert_eq!(sent.all("x-a"), ["1", "2"]);
    assert_eq!(sent.get("cookie"), Some("a=b; c=d"));
    assert_eq!(sent.get("x-b"), Some("b"));
    assert_eq!(sent.get("x-e"), Some(""));
    assert_eq!(sent.start, "GET /a HTTP/1.1");
}

#[test]
fn a_refusal_says_who_and_why() {
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n[[route]]\nhost = \"only.test\"\nrespond = {{ status = 200 }}\n"
    );
    let mut conn = umay.connect();
    let response = conn.ask("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    assert_eq!(response.status(), 404);
    let status = "umay; error=destination_not_found; details=\"no_route\"";
    assert_eq!(response.get("proxy-status"), Some(status));
    let id = umay.wait_path("/x")["request_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let text = response.text();
    assert!(text.contains("no_route") && text.contains(&id), "{text}");
    let ask = "GET /y HTTP/1.1\r\nHost: a.test\r\nAccept: application/json\r\n\r\n";
    let response = conn.ask(ask).unwrap();
    assert_eq!(response.get("content-type"), Some("application/json"));
    let body: Value = response.text().parse().unwrap();
    assert_eq!(
        (&body["reason"], &body["status"]),
        (&"no_route".into(), &404.into())
    );
    assert_eq!(body["request_id"], umay.wait_path("/y")["request_id"]);
    assert_eq!(umay.wait_path("/y")["reason"], "no_route");
    // A refusal of a request that was read whole costs no connection, nor does one without body.
    let head = conn
        .ask("HEAD /z HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    assert_eq!(head.status(), 404);
    assert_eq!(
        conn.ask("GET / HTTP/1.1\r\nHost: only.test\r\n\r\n")
            .unwrap()
            .status(),
        200
    );
}

#[test]
fn dot_segments_and_connect_are_refused() {
    let endpoint = mirror();
    let umay = before(&endpoint);
    for path in ["/a/../b", "/..", "/a/%2e%2E/b", "/./a", "/a/.%2e", "/%2e"] {
        let response = umay.get("a.test", path);
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(response.reason().as_deref(), Some("request_malformed"));
    }
    for path in ["/a..b", "/...", "/a.", "/.well-known/x", "/?x=/../"] {
        assert_eq!(umay.get("a.test", path).status(), 200, "{path}");
    }
    let request = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n";
    assert_eq!(umay.connect().ask(request).unwrap().status(), 405);
    assert_eq!(umay.wait_reason("connect_method_refused")["status"], 405);
    assert!(!endpoint.recorded_text().contains("CONNECT"));
}

#[test]
fn a_host_that_the_certificate_does_not_cover_is_misdirected() {
    let certs = Certs::new();
    let endpoint = mirror();
    let (one, two) = (
        certs.issue(&["one.test", "*.one.test"]),
        certs.issue(&["two.test"]),
    );
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\ncert = [{:?}, {:?}]\nkey = [{:?}, {:?}]\nto = \"http://{}\"\n",
        one.cert,
        two.cert,
        one.key,
        two.key,
        endpoint.addr()
    );
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "one.test").unwrap();
    let mut status = |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        conn.ask(request).unwrap().status()
    };
    assert_eq!(status("one.test"), 200);
    assert_eq!(status("ONE.test:8443"), 200);
    assert_eq!(status("x.one.test"), 200);
    assert_eq!(status("two.test"), 421);
    assert_eq!(status("other.test"), 421);
    assert_eq!(status("one.test"), 200);
    assert_eq!(umay.wait_reason("misdirected")["host"], "two.test");
}

#[test]
fn odd_versions_are_refused() {
    let endpoint = mirror();
    let umay = before(&endpoint);
    for (version, status) in [
        ("HTTP/2.0", 505),
        ("HTTP/1.2", 505),
        ("HTTP/3", 400),
        ("http/1.1", 400),
    ] {
        let request = format!("GET / {version}\r\nHost: a.test\r\n\r\n");
        assert_eq!(
            umay.connect().ask(request).unwrap().status(),
            status,
            "{version}"
        );
    }
    assert_eq!(endpoint.connections(), 0);
}
