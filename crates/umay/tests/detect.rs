//! Detection on one port: TLS, HTTP, MQTT, anything else, and servers that speak first.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use umay_test::rustls::ClientConnection;
use umay_test::{Certs, Conn, End, GET, Server, Umay, umay};

/// MQTT 3.1.1 CONNECT, client id `a`.
const MQTT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";

/// MQTT 5 CONNECT, no properties, client id `a`.
const MQTT5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a";

/// The endpoints of one port that takes everything.
struct Scene {
    certs: Certs,
    umay: Umay,
    _servers: [Server; 3],
}

/// Answers with this word whatever comes, and keeps the connection.
fn sayer(word: &'static str) -> Server {
    Server::start(move |conn, _| {
        while !conn.read_some()?.is_empty() {
            conn.send(word)?;
        }
        Ok(())
    })
}

fn scene(more: &str) -> Scene {
    let certs = Certs::new();
    let (http, mqtt, tcp) = (Server::ok("http"), sayer("mqtt"), sayer("tcp"));
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n{}{more}\n\
         [[route]]\nprotocol = \"http\"\nto = \"http://{}\"\n\
         [[route]]\nprotocol = \"mqtt\"\nto = \"tcp://{}\"\n\
         [[route]]\nprotocol = \"tcp\"\nto = \"tcp://{}\"\n",
        certs.issue(&["a.test"]).toml(),
        http.addr(),
        mqtt.addr(),
        tcp.addr()
    );
    Scene {
        certs,
        umay,
        _servers: [http, mqtt, tcp],
    }
}

impl Scene {
    fn tls(&self) -> Conn {
        Conn::connect_tls(self.umay.addr(), &self.certs.trusting(), "a.test").unwrap()
    }
}

#[test]
fn every_protocol_finds_its_route_with_and_without_tls() {
    let scene = scene("");
    let connect: [&dyn Fn() -> Conn; 2] = [&|| scene.umay.connect(), &|| scene.tls()];
    for connect in connect {
        assert_eq!(connect().ask(GET).unwrap().text(), "http");
        for (bytes, word) in [
            (MQTT, "mqtt"),
            (MQTT5, "mqtt"),
            (b"\x00\x01\x02", "tcp"),
            (b"QUIT\r\n", "tcp"),
            (b"\x10\xff\xff\xff\xff\xff", "tcp"),
        ] {
            let mut conn = connect();
            conn.send(bytes).unwrap();
            assert_eq!(
                conn.read_exact(word.len()).unwrap(),
                word.as_bytes(),
                "{bytes:?}"
            );
        }
    }
    for (protocol, count) in [("tls", 6.0), ("http1", 2.0), ("mqtt", 4.0)] {
        let labels = [("protocol", protocol)];
        assert_eq!(
            scene.umay.metric("umay_protocol_detected_total", &labels),
            count
        );
    }
}

#[test]
fn any_first_bytes_may_come_in_any_pieces() {
    let scene = scene("timeouts.detect = \"10s\"");
    for (bytes, word) in [(GET.as_bytes(), "http"), (MQTT, "mqtt"), (MQTT5, "mqtt")] {
        let mut conn = scene.umay.connect();
        conn.send_bytewise(bytes).unwrap();
        conn.read_until(word).unwrap();
    }
}

/// A client's hello as it goes over the wire.
fn hello(scene: &Scene) -> (ClientConnection, Vec<u8>) {
    let name = "a.test".try_into().unwrap();
    let mut client = ClientConnection::new(scene.certs.trusting(), name).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    (client, wire)
}

/// Shakes hands after these bytes, sent in these pieces, and asks for a page.
fn finish(scene: &Scene, mut client: ClientConnection, pieces: &[&[u8]]) {
    let mut conn = scene.umay.connect();
    for piece in pieces {
        conn.send(piece).unwrap();
        // Each piece is to arrive on its own.
        std::thread::sleep(Duration::from_millis(1));
    }
    while client.is_handshaking() {
        client.complete_io(&mut conn).unwrap();
    }
    client.writer().write_all(GET.as_bytes()).unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"http") {
        client.complete_io(&mut conn).unwrap();
        let mut block = [0; 4096];
        match client.reader().read(&mut block) {
            Ok(n) => got.extend_from_slice(&block[..n]),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn a_hello_may_be_cut_anywhere_over_packets() {
    let scene = scene("");
    let (client, wire) = hello(&scene);
    // With X25519MLKEM768 it is longer than a packet of the internet.
    assert!(wire.len() > 1300, "{}", wire.len());
    let pieces: Vec<&[u8]> = wire.chunks(97).collect();
    finish(&scene, client, &pieces);
    let (client, wire) = hello(&scene);
    finish(
        &scene,
        client,
        &[&wire[..1], &wire[1..5], &wire[5..6], &wire[6..]],
    );
}

#[test]
fn a_hello_may_be_cut_over_records() {
    let scene = scene("");
    let (client, wire) = hello(&scene);
    let records: Vec<Vec<u8>> = wire[5..]
        .chunks(100)
        .map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat())
        .collect();
    let wire = records.concat();
    finish(&scene, client, &[&wire]);
}

#[test]
fn a_hello_that_drips_has_a_deadline() {
    let scene = scene("timeouts.handshake = \"500ms\"");
    let (_, wire) = hello(&scene);
    let started = Instant::now();
    let mut conn = scene.umay.connect();
    conn.send(&wire[..20]).unwrap();
    for byte in &wire[20..] {
        if conn.send([*byte]).is_err() || started.elapsed() > Duration::from_secs(10) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    scene.umay.wait_reason("handshake_timeout");
}

#[test]
fn a_handshake_that_is_not_finished_has_a_deadline() {
    let scene = scene("timeouts.handshake = \"500ms\"");
    let (_, wire) = hello(&scene);
    let mut conn = scene.umay.connect();
    conn.send(wire).unwrap();
    conn.read_to_end().unwrap();
    scene.umay.wait_reason("handshake_timeout");
}

/// Greets as mail servers do, then echoes.
fn greeter() -> Server {
    Server::start(|conn, _| {
        conn.send("220 mail.test ESMTP\r\n")?;
        let line = conn.read_until("\r\n")?;
        conn.send([b"250 ", &line[..]].concat())
    })
}

#[test]
fn a_server_that_speaks_first_is_waited_for_only_once() {
    let endpoint = greeter();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"{}\"\ntimeouts.detect = \"600ms\"\n",
        endpoint.addr()
    );
    let exchange = || {
        let started = Instant::now();
        let mut conn = umay.connect();
        assert_eq!(conn.read_until("\r\n").unwrap(), b"220 mail.test ESMTP\r\n");
        let waited = started.elapsed();
        conn.send("EHLO a.test\r\n").unwrap();
        assert_eq!(
            conn.read_to_end().unwrap(),
            (b"250 EHLO a.test\r\n".to_vec(), End::Clean)
        );
        waited
    };
    let first = exchange();
    assert!(first >= Duration::from_millis(500), "{first:?}");
    umay.wait_log(|line| line["proto"] == "tcp");
    for _ in 0..5 {
        let next = exchange();
        assert!(next < Duration::from_millis(400), "{next:?}");
    }
}

#[test]
fn inside_tls_a_server_may_speak_first_too() {
    let certs = Certs::new();
    let endpoint = greeter();
    let tls = certs.issue(&["a.test"]).toml();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n{tls}to = \"{}\"\n",
        endpoint.addr()
    );
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap();
    conn.read_until("220 mail.test ESMTP\r\n").unwrap();
    conn.send("QUIT\r\n").unwrap();
    assert_eq!(conn.read_to_end().unwrap().0, b"250 QUIT\r\n");
}

#[test]
fn on_a_port_for_streams_alone_nobody_waits() {
    let endpoint = greeter();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\ntimeouts.detect = \"60s\"\n",
        endpoint.addr()
    );
    let mut conn = umay.connect();
    conn.read_until("220 mail.test ESMTP\r\n").unwrap();
}

#[test]
fn a_silent_client_of_an_http_port_is_let_go() {
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\ntimeouts.keep_alive = \"300ms\"\n",
        endpoint.addr()
    );
    let mut conn = umay.connect();
    assert_eq!(conn.read_to_end().unwrap(), (Vec::new(), End::Clean));
    umay.wait_reason("detect_timeout");
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn what_is_no_http_gets_no_further_on_an_http_port() {
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    let mut conn = umay.connect();
    conn.send("\x00\x01\x02\r\n\r\n").unwrap();
    let (bytes, _) = conn.read_to_end().unwrap();
    assert!(
        bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 400 "),
        "{bytes:?}"
    );
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn tls_on_a_port_without_a_certificate_is_refused_with_an_alert() {
    let certs = Arc::new(Certs::new());
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    let error = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap_err();
    assert!(
        format!("{error:?}").contains("HandshakeFailure"),
        "{error:?}"
    );
    umay.wait_reason("tls_not_configured");
    assert_eq!(endpoint.connections(), 0);
}
