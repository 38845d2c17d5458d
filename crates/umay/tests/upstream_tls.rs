//! TLS towards endpoints: verified unless told otherwise, and no byte of a request for those that fail.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::path::Path;

use umay_test::{Certs, Pair, Server, Umay, ok, umay};

const GET: &str = "GET /secret HTTP/1.1\r\nHost: a.test\r\nCookie: secret\r\n\r\n";

/// Umay before an `https://` endpoint, called `name`, with these keys in `[upstream.x.tls]`.
fn before(endpoint: &Server, name: &str, tls: &str) -> Umay {
    let port = endpoint.addr().port();
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"x\"\n\
         [upstream.x]\nto = \"https://{name}:{port}\"\n[upstream.x.tls]\n{tls}\n"
    )
}

fn trust(ca: &Path) -> String {
    format!("ca = {ca:?}\n")
}

/// A TLS endpoint with this certificate.
fn endpoint(certs: &Certs, pair: &Pair) -> Server {
    Server::https(certs.server(pair), |request| {
        ok(request.get("host").unwrap())
    })
}

#[test]
fn who_proves_its_name_is_spoken_to() {
    let certs = Certs::new();
    let endpoint = endpoint(&certs, &certs.issue(&["localhost", "127.0.0.1"]));
    for name in ["localhost", "127.0.0.1"] {
        let umay = before(&endpoint, name, &trust(&certs.ca()));
        let mut conn = umay.connect();
        for _ in 0..3 {
            assert_eq!(conn.ask(GET).unwrap().text(), "a.test");
        }
        assert_eq!(
            umay.metric("umay_upstream_connections_opened_total", &[]),
            1.0
        );
    }
}

#[test]
fn who_does_not_gets_no_byte_of_the_request() {
    let certs = Certs::new();
    let strangers = Certs::new();
    let names = ["localhost"];
    let revoked = certs.issue(&names);
    let crl = format!("crl = {:?}\n", certs.revoke(&[&revoked]));
    for (pair, more, word) in [
        (certs.expired(&names), "", "upstream_tls_expired"),
        (
            certs.not_yet_valid(&names),
            "",
            "upstream_tls_not_yet_valid",
        ),
        (certs.issue(&["other.test"]), "", "upstream_tls_wrong_name"),
        (certs.self_signed(&names), "", "upstream_tls_self_signed"),
        (strangers.issue(&names), "", "upstream_tls_unknown_issuer"),
        (revoked, &crl, "upstream_tls_revoked"),
    ] {
        let endpoint = endpoint(&certs, &pair);
        let umay = before(
            &endpoint,
            "localhost",
            &format!("{}{more}", trust(&certs.ca())),
        );
        let response = umay.connect().ask(GET).unwrap();
        assert_eq!(
            (response.status(), response.reason().as_deref()),
            (502, Some(word))
        );
        endpoint.wait_ended(1);
        assert_eq!(endpoint.recorded().concat(), b"", "{word}");
        assert_eq!(umay.wait_path("/secret")["reason"], word);
        let labels = [("outcome", word)];
        assert_eq!(umay.metric("umay_upstream_attempts_total", &labels), 1.0);
    }
}

#[test]
fn the_systems_roots_are_the_default() {
    let certs = Certs::new();
    let endpoint = endpoint(&certs, &certs.issue(&["localhost"]));
    let umay = before(&endpoint, "localhost", "");
    let response = umay.connect().ask(GET).unwrap();
    assert_eq!(
        response.reason().as_deref(),
        Some("upstream_tls_unknown_issuer")
    );
    endpoint.wait_ended(1);
    assert_eq!(endpoint.recorded().concat(), b"");
}

#[test]
fn another_name_can_be_asked_for() {
    let certs = Certs::new();
    let endpoint = endpoint(&certs, &certs.issue(&["inner.test"]));
    let tls = trust(&certs.ca()) + "sni = \"inner.test\"\n";
    let umay = before(&endpoint, "127.0.0.1", &tls);
    assert_eq!(umay.connect().ask(GET).unwrap().text(), "a.test");
}

#[test]
fn a_client_certificate_is_shown() {
    let certs = Certs::new();
    let tls = certs.mutual_server(&certs.issue(&["localhost"]));
    let endpoint = Server::https(tls, |_| ok("welcome"));
    let own = trust(&certs.ca()) + &certs.client("umay", "umay.test").toml();
    let umay = before(&endpoint, "localhost", &own);
    assert_eq!(umay.connect().ask(GET).unwrap().text(), "welcome");
    let umay = before(&endpoint, "localhost", &trust(&certs.ca()));
    let response = umay.connect().ask(GET).unwrap();
    assert_eq!(
        (response.status(), response.reason().as_deref()),
        (502, Some("upstream_tls_failed"))
    );
}

#[test]
fn verification_can_be_given_up_by_its_long_name_only() {
    let certs = Certs::new();
    for pair in [
        certs.self_signed(&["x.test"]),
        certs.expired(&["localhost"]),
    ] {
        let endpoint = endpoint(&certs, &pair);
        let umay = before(
            &endpoint,
            "localhost",
            "dangerous_accept_any_certificate = true",
        );
        assert_eq!(umay.connect().ask(GET).unwrap().text(), "a.test");
        umay.wait_event("not verified");
    }
}

#[test]
fn an_endpoint_without_tls_gets_no_request_in_the_clear() {
    let endpoint = Server::start(|conn, _| {
        conn.read_some()?;
        conn.send("HTTP/1.1 400 Bad Request\r\n\r\n")
    });
    let umay = before(&endpoint, "localhost", "");
    let response = umay.connect().ask(GET).unwrap();
    assert_eq!(
        (response.status(), response.reason().as_deref()),
        (502, Some("upstream_tls_failed"))
    );
    endpoint.wait_ended(1);
    assert!(!endpoint.recorded_text().contains("secret"));
}

#[test]
fn a_handshake_that_stalls_has_a_deadline() {
    let endpoint = Server::start(|conn, _| conn.read_to_end().map(|_| ()));
    let port = endpoint.addr().port();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"https://localhost:{port}\"\ntimeouts.connect = \"300ms\"\n"
    );
    let response = umay.connect().ask(GET).unwrap();
    assert!([502, 504].contains(&response.status()), "{response:?}");
    endpoint.wait_ended(1);
}

#[test]
fn raw_streams_go_over_tls_too() {
    let certs = Certs::new();
    let pair = certs.issue(&["localhost"]);
    let endpoint = Server::start_tls(certs.server(&pair), |conn, _| {
        let line = conn.read_until("\n")?;
        conn.send(line)
    });
    let port = endpoint.addr().port();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"x\"\n[upstream.x]\nto = \"tls://localhost:{port}\"\n\
         tls.ca = {:?}\n",
        certs.ca()
    );
    let mut conn = umay.connect();
    conn.send("hello\n").unwrap();
    assert_eq!(conn.read_to_end().unwrap().0, b"hello\n");
    drop(conn);
    let line = umay.wait_log(|line| line["upstream"] == "x");
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&6.into(), &6.into())
    );
}
