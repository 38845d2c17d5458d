//! TLS towards clients: versions, groups, resumption, names, application protocols, client
//! certificates, passthrough.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::net::SocketAddr;

use umay_test::rustls::version::{TLS12, TLS13};
use umay_test::rustls::{DEFAULT_VERSIONS, HandshakeKind, NamedGroup};
use umay_test::{Certs, Conn, GET, Pair, Server, Umay, ok, programs, umay};

/// One HTTPS listener with this certificate, before an endpoint that says hi.
fn https(pair: &Pair, more: &str) -> (Umay, Server) {
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "to = \"http://{}\"\n[[listener]]\nname = \"in\"\nlisten = \"127.0.0.1:0\"\n{}{more}\n",
        endpoint.addr(),
        pair.toml()
    );
    (umay, endpoint)
}

/// `openssl s_client` with an HTTP request; gives all that it printed.
fn s_client(addr: SocketAddr, args: &[&str]) -> String {
    let to = addr.to_string();
    let fixed = [
        "s_client",
        "-connect",
        &to,
        "-servername",
        "a.test",
        "-ign_eof",
    ];
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let output = programs::run("openssl", fixed.iter().chain(args), request);
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn openssl_speaks_1_2_and_1_3_with_the_suites_that_are_safe() {
    let certs = Certs::new();
    let (umay, _endpoint) = https(&certs.issue(&["a.test"]), "");
    let ca = certs.ca();
    let ca = ["-CAfile", ca.to_str().unwrap(), "-verify_return_error"];
    for (args, line) in [
        (&["-tls1_3"][..], "New, TLSv1.3"),
        (&["-tls1_2"], "New, TLSv1.2"),
        (&["-tls1_3", "-groups", "X25519"], "Server Temp Key: X25519"),
        (
            &["-tls1_3", "-groups", "P-256"],
            "Server Temp Key: ECDH, prime256v1",
        ),
        (
            &["-tls1_3", "-groups", "P-384"],
            "Server Temp Key: ECDH, secp384r1",
        ),
        (
            &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
            "ECDHE-ECDSA-AES256-GCM-SHA384",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
    ] {
        let text = s_client(umay.addr(), &[args, &ca].concat());
        assert!(
            text.contains(line) && text.contains("HTTP/1.1 200 OK"),
            "{args:?}: {text}"
        );
    }
    for args in [
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"][..],
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
    ] {
        let text = s_client(umay.addr(), args);
        assert!(
            text.contains("alert") && !text.contains("HTTP/1.1"),
            "{args:?}: {text}"
        );
    }
    umay.wait_reason("handshake_failed");
}

#[test]
fn tls_1_2_can_be_refused() {
    let certs = Certs::new();
    let (umay, _endpoint) = https(&certs.issue(&["a.test"]), "tls_min = \"1.3\"");
    assert!(s_client(umay.addr(), &["-tls1_3"]).contains("HTTP/1.1 200 OK"));
    let text = s_client(umay.addr(), &["-tls1_2"]);
    assert!(text.contains("alert protocol version"), "{text}");
}

#[test]
fn the_post_quantum_group_comes_first() {
    let certs = Certs::new();
    let (umay, _endpoint) = https(&certs.issue(&["a.test"]), "");
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap();
    assert_eq!(conn.ask(GET).unwrap().text(), "hi");
    let group = conn.tls().unwrap().negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn sessions_resume_in_both_versions() {
    let certs = Certs::new();
    let (umay, _endpoint) = https(&certs.issue(&["a.test"]), "");
    for version in [&TLS12, &TLS13] {
        let config = certs.trusting_with(&[version], None, &[]);
        let kinds = [0, 1].map(|_| {
            let mut conn = Conn::connect_tls(umay.addr(), &config, "a.test").unwrap();
            // Tickets come with the answer.
            assert_eq!(conn.ask(GET).unwrap().text(), "hi");
            conn.tls().unwrap().handshake_kind().unwrap()
        });
        // A P-256 key share may have to be asked for first; what counts is the second.
        assert_ne!(kinds[0], HandshakeKind::Resumed, "{version:?}");
        assert_eq!(kinds[1], HandshakeKind::Resumed, "{version:?}");
    }
    for version in ["1.2", "1.3"] {
        let labels = [("version", version), ("resumed", "yes"), ("result", "ok")];
        assert_eq!(umay.metric("umay_tls_handshakes_total", &labels), 1.0);
    }
}

#[test]
fn openssl_resumes_a_session_from_a_file() {
    let certs = Certs::new();
    let (umay, _endpoint) = https(&certs.issue(&["a.test"]), "");
    let file = certs.dir().join("session.pem");
    let file = file.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let text = s_client(umay.addr(), &[version, "-sess_out", file]);
        assert!(text.contains("New, TLS"), "{text}");
        let text = s_client(umay.addr(), &[version, "-sess_in", file]);
        assert!(
            text.contains("Reused, TLS") && text.contains("200 OK"),
            "{version}: {text}"
        );
    }
}

/// The first DNS name of the certificate that is served for this name.
fn served(umay: &Umay, certs: &Certs, name: &str) -> Result<Vec<u8>, String> {
    let conn = Conn::connect_tls(umay.addr(), &certs.trusting(), name);
    let conn = conn.map_err(|e| format!("{e:?}"))?;
    Ok(conn.peer_certificate().unwrap().to_vec())
}

#[test]
fn certificates_are_picked_by_the_names_inside_them() {
    let certs = Certs::new();
    let (exact, wild, other) = (
        certs.issue(&["a.test", "b.test"]),
        certs.issue(&["*.a.test"]),
        certs.issue(&["www.a.test"]),
    );
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\ncert = [{:?}, {:?}, {:?}]\nkey = [{:?}, {:?}, {:?}]\n\
         to = \"127.0.0.1:1\"\n",
        exact.cert,
        wild.cert,
        other.cert,
        exact.key,
        wild.key,
        other.key
    );
    for (name, pair) in [
        ("a.test", &exact),
        ("b.test", &exact),
        ("A.Test", &exact),
        ("www.a.test", &other),
        ("x.a.test", &wild),
    ] {
        assert_eq!(
            served(&umay, &certs, name).unwrap(),
            pair.chain()[0].to_vec(),
            "{name}"
        );
    }
    for name in ["c.test", "x.y.a.test", "x.b.test"] {
        let error = served(&umay, &certs, name).unwrap_err();
        assert!(error.contains("UnrecognisedName"), "{name}: {error}");
        umay.wait_log(|line| line["reason"] == "unknown_server_name");
    }
}

#[test]
fn openssl_sees_alert_112_for_an_unknown_name() {
    let certs = Certs::new();
    let (umay, _endpoint) = https(&certs.issue(&["other.test"]), "");
    let text = s_client(umay.addr(), &[]);
    assert!(
        text.contains("unrecognized name") && text.contains("alert number 112"),
        "{text}"
    );
}

#[test]
fn a_directory_of_certificates_is_read() {
    let certs = Certs::new();
    let (one, two) = (certs.issue(&["one.test"]), certs.issue(&["two.test"]));
    let dir = umay_test::TempDir::new();
    let read = |path| std::fs::read(path).unwrap();
    dir.write("one.crt", read(&one.cert));
    dir.write("one.key", read(&one.key));
    dir.write("two/tls.crt", read(&two.cert));
    dir.write("two/tls.key", read(&two.key));
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\ncerts = [{:?}]\nto = \"127.0.0.1:1\"\n",
        dir.path()
    );
    for (name, pair) in [("one.test", &one), ("two.test", &two)] {
        assert_eq!(
            served(&umay, &certs, name).unwrap(),
            pair.chain()[0].to_vec()
        );
    }
}

#[test]
fn who_names_nobody_gets_the_first_certificate() {
    let certs = Certs::new();
    let (umay, _endpoint) = https(&certs.issue(&["127.0.0.1", "a.test"]), "");
    // An IP address is not sent as a name.
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "127.0.0.1").unwrap();
    assert_eq!(
        conn.ask("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            .unwrap()
            .text(),
        "hi"
    );
    assert!(umay.wait_path("/").get("sni").is_none());
}

#[test]
fn a_default_certificate_serves_unknown_names() {
    let certs = Certs::new();
    let (own, fallback) = (certs.issue(&["own.test"]), certs.issue(&["a.test"]));
    let more = format!("default_cert = {}", fallback.inline());
    let (umay, _endpoint) = https(&own, &more);
    let served = |name| served(&umay, &certs, name);
    assert_eq!(served("own.test").unwrap(), own.chain()[0].to_vec());
    assert_eq!(served("a.test").unwrap(), fallback.chain()[0].to_vec());
    assert!(served("x.test").unwrap_err().contains("NotValidForName"));
}

#[test]
fn application_protocols_are_agreed_on() {
    let certs = Certs::new();
    let (umay, _endpoint) = https(&certs.issue(&["a.test"]), "");
    let with = |alpn: &[&str]| {
        let config = certs.trusting_with(DEFAULT_VERSIONS, None, alpn);
        Conn::connect_tls(umay.addr(), &config, "a.test")
    };
    let mut conn = with(&["h3", "http/1.1"]).unwrap();
    assert_eq!(conn.tls().unwrap().alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(conn.ask(GET).unwrap().text(), "hi");
    let mut conn = with(&[]).unwrap();
    assert_eq!(conn.tls().unwrap().alpn_protocol(), None);
    assert_eq!(conn.ask(GET).unwrap().text(), "hi");
    let error = with(&["imap"]).unwrap_err();
    assert!(
        format!("{error:?}").contains("NoApplicationProtocol"),
        "{error:?}"
    );
    umay.wait_reason("no_application_protocol");
}

/// Shows what Umay tells of a client certificate.
fn mutual(certs: &Certs, mode: &str, more: &str) -> (Umay, Server) {
    let endpoint = Server::http(|request| ok(format!("{:?}", request.all("x-client"))));
    let umay = umay!(
        "[[listener]]\nlisten = \"127.0.0.1:0\"\n{}\
         client_auth = {{ ca = {:?}, mode = \"{mode}\"{more} }}\n\
         [[route]]\nclient_cert.cn = \"vip\"\nrespond = {{ status = 200, body = \"welcome\" }}\n\
         [[route]]\nto = \"http://{}\"\n\
         request_headers.set = {{ X-Client = \"{{tls.client.cn}}/{{tls.client.san}}\" }}\n",
        certs.issue(&["a.test"]).toml(),
        certs.ca(),
        endpoint.addr()
    );
    (umay, endpoint)
}

/// The answer to who shows this certificate, which is the same in both versions.
fn ask_as(umay: &Umay, certs: &Certs, show: Option<&Pair>) -> Option<String> {
    let [one, other] = [&TLS12, &TLS13].map(|version| {
        let config = certs.trusting_with(&[version], show, &[]);
        let mut conn = Conn::connect_tls(umay.addr(), &config, "a.test").ok()?;
        Some(conn.ask(GET).ok()?.text())
    });
    assert_eq!(one, other);
    one
}

#[test]
fn required_client_certificates_are_verified_and_shown() {
    let certs = Certs::new();
    let revoked = certs.client("lost", "lost.test");
    let crl = certs.revoke(&[&revoked]);
    let (umay, _endpoint) = mutual(&certs, "required", &format!(", crl = {crl:?}"));
    let answer = ask_as(
        &umay,
        &certs,
        Some(&certs.client("device-17", "device-17.test")),
    );
    assert_eq!(answer.unwrap(), "[\"device-17/device-17.test\"]");
    let answer = ask_as(&umay, &certs, Some(&certs.client("vip", "vip.test")));
    assert_eq!(answer.unwrap(), "welcome");
    assert_eq!(ask_as(&umay, &certs, None), None);
    let labels = [("reason", "client_certificate_missing")];
    umay.wait_metric("umay_refusals_total", &labels, 2.0);
    let strangers = Certs::new();
    let bad = [
        revoked,
        strangers.client("device-17", "device-17.test"),
        certs.self_signed(&["device-17.test"]),
        certs.expired(&["device-17.test"]),
    ];
    for (number, bad) in (1..).zip(bad) {
        assert_eq!(ask_as(&umay, &certs, Some(&bad)), None);
        let labels = [("reason", "client_certificate_invalid")];
        umay.wait_metric("umay_refusals_total", &labels, f64::from(2 * number));
    }
}

#[test]
fn optional_client_certificates_may_be_missing_but_not_wrong() {
    let certs = Certs::new();
    let (umay, _endpoint) = mutual(&certs, "optional", "");
    assert_eq!(ask_as(&umay, &certs, None).unwrap(), "[\"/\"]");
    let answer = ask_as(&umay, &certs, Some(&certs.client("d", "d.test")));
    assert_eq!(answer.unwrap(), "[\"d/d.test\"]");
    let strangers = Certs::new();
    let foreign = strangers.client("d", "d.test");
    assert_eq!(ask_as(&umay, &certs, Some(&foreign)), None);
}

#[test]
fn passthrough_delivers_tls_unopened() {
    let (own, theirs) = (Certs::new(), Certs::new());
    let behind = Server::https(
        theirs.server(&theirs.issue(&["db.test", "x.db.test"])),
        |_| ok("behind"),
    );
    let endpoint = Server::ok("opened");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n{}to = \"http://{}\"\n\
         [[route]]\nname = \"db\"\npassthrough = true\nsni = [\"db.test\", \"*.db.test\"]\nto = \"{}\"\n",
        own.issue(&["a.test"]).toml(),
        endpoint.addr(),
        behind.addr()
    );
    for name in ["db.test", "x.db.test"] {
        let mut conn = Conn::connect_tls(umay.addr(), &theirs.trusting(), name).unwrap();
        assert_eq!(conn.ask(GET).unwrap().text(), "behind");
        conn.half_close().unwrap();
        conn.read_to_end().unwrap();
        let line = umay.wait_log(|line| line["route"] == "db");
        assert_eq!(line["proto"], "tls");
    }
    let mut conn = Conn::connect_tls(umay.addr(), &own.trusting(), "a.test").unwrap();
    assert_eq!(conn.ask(GET).unwrap().text(), "opened");
}

#[test]
fn broken_handshakes_end_with_an_alert_and_a_reason() {
    let certs = Certs::new();
    let (umay, endpoint) = https(&certs.issue(&["a.test"]), "");
    for bytes in [
        &b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"[..],
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\xff\xff\x01\x00\xff\xff",
    ] {
        let mut conn = umay.connect();
        conn.send(bytes).unwrap();
        conn.half_close().unwrap();
        conn.read_to_end().unwrap();
    }
    umay.wait_reason("handshake_failed");
    assert_eq!(endpoint.connections(), 0);
}
