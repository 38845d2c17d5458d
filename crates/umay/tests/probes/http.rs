//! Probes by HTTP, in both of its versions.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use umay_core::model::{Endpoint, ProbeKind, Scheme};
use umay_test::frames::{Frame, Peer, hpack, setting};
use umay_test::http2::Endpoint as Http2;
use umay_test::{Certs, Conn, Server, answer, ok};

use super::{ask, ask_of, ask_tls, get, impatient, probe, told};

#[test]
fn a_get_is_what_is_asked() {
    let server = Server::ok("fine");
    let mut asked = probe(get("/healthz?deep=1"));
    assert_eq!(ask(&asked, Scheme::Http, server.addr()), Ok(()));
    let addr = server.addr();
    server.wait_ended(1);
    assert_eq!(
        server.recorded_text(),
        format!(
            "GET /healthz?deep=1 HTTP/1.1\r\nhost: {addr}\r\nuser-agent: umay-probe\r\n\
             connection: close\r\n\r\n"
        )
    );
    asked.kind = ProbeKind::Http {
        path: "/".to_owned(),
        host: Some("a.test".to_owned()),
        expect: vec![(200, 200)],
    };
    assert_eq!(ask(&asked, Scheme::Detected, server.addr()), Ok(()));
    assert!(
        server
            .recorded_text()
            .contains("GET / HTTP/1.1\r\nhost: a.test\r\n")
    );
    // IPv6 wears brackets.
    let endpoint = Endpoint::new(Scheme::Http, "::1", 8080);
    let outcome = ask_of(&probe(get("/")), &endpoint, &[server.addr()], None);
    assert_eq!(outcome, Ok(()));
    assert!(server.recorded_text().contains("host: [::1]:8080\r\n"));
}

#[test]
fn statuses_are_told() {
    let expect = vec![(200, 299), (401, 401)];
    for (status, words) in [
        ("200 OK", "well"),
        ("204 No Content", "well"),
        ("401 Unauthorized", "well"),
        ("302 Found", "status 302, expected 200-299, 401"),
        ("503 Unavailable", "status 503, expected 200-299, 401"),
        (
            "101 Switching Protocols",
            "status 101, expected 200-299, 401",
        ),
        ("999 Odd", "status 999, expected 200-299, 401"),
    ] {
        let server = Server::http(move |_| answer(status, "", "x"));
        let kind = ProbeKind::Http {
            path: "/healthz".to_owned(),
            host: None,
            expect: expect.clone(),
        };
        let outcome = told(ask(&probe(kind), Scheme::Http, server.addr()));
        assert_eq!(outcome.trim_start_matches("GET /healthz: "), words);
    }
}

/// What a probe makes of an answer that is sent as it is, and followed by the end.
fn over_http1(answer: &'static [u8]) -> String {
    let server = Server::start(move |conn, _| {
        conn.read_request()?;
        conn.send(answer)
    });
    let outcome = told(ask(&probe(get("/")), Scheme::Http, server.addr()));
    server.wait_ended(1);
    outcome
}

#[test]
fn what_is_not_http_is_told() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\0\0\0\0\0\0\0\0",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\0\0\0\x04\0\0\0\0\0",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/3.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        let outcome = over_http1(answer);
        let words = "GET /: what came is not HTTP/1: ";
        assert!(outcome.starts_with(words), "{outcome} for {answer:?}");
    }
    for answer in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nX: y\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let words = "GET /: the endpoint closed the connection without an answer";
        assert_eq!(over_http1(answer), words);
    }
    assert_eq!(over_http1(b"HTTP/1.0 200 OK\r\n\r\n"), "well");
    let interim = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(over_http1(interim), "well");
}

#[test]
fn a_reset_is_told() {
    let server = Server::start(|conn, _| {
        conn.read_request()?;
        conn.reset_when_dropped()
    });
    let outcome = told(ask(&probe(get("/")), Scheme::Http, server.addr()));
    assert_eq!(outcome, "GET /: the endpoint reset the connection");
}

#[test]
fn silence_and_drops_end_in_time() {
    let silent = Server::start(|conn, _| conn.read_to_end().map(|_| ()));
    let dripping = Server::start(|conn, _| {
        conn.read_request()?;
        conn.send("HTTP/1.1 200 OK\r\nX: ")?;
        drip(conn, b"x")
    });
    let dripping_frames = by_hand(&[], |peer, stream| {
        let head = Frame::headers(stream, [0; 10_000]).bytes();
        drip(peer.conn(), &head)
    });
    for (server, scheme) in [
        (silent, Scheme::Http),
        (dripping, Scheme::Http),
        (dripping_frames, Scheme::H2c),
    ] {
        let outcome = told(ask(&impatient(get("/")), scheme, server.addr()));
        assert_eq!(outcome, "GET /: no answer in 300ms");
        server.wait_ended(1);
    }
}

/// Sends a byte now and then.
fn drip(conn: &mut Conn, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes.iter().cycle() {
        conn.send([*byte])?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn http2_is_spoken_where_requests_would() {
    let clear = Http2::start(|stream| {
        let request = stream.request();
        assert_eq!(request.get("user-agent"), Some("umay-probe"));
        stream.respond(200, &[], true)
    });
    assert_eq!(ask(&probe(get("/")), Scheme::H2c, clear.addr()), Ok(()));
    let certs = Certs::new();
    let pair = certs.issue(&["a.test"]);
    let tls = certs.server_with(&pair, &["h2"]);
    let secure = Http2::start_tls(tls, |stream| stream.respond(418, &[], false));
    for scheme in [Scheme::H2, Scheme::Https] {
        let outcome = ask_tls(&probe(get("/t")), scheme, secure.addr(), &certs);
        assert_eq!(told(outcome), "GET /t: status 418, expected 200-299");
    }
    assert_eq!(secure.streams(), 2);
    for alpn in [&[][..], &["http/1.1"]] {
        let plain = Server::https(certs.server_with(&pair, alpn), |_| ok("fine"));
        let outcome = ask_tls(&probe(get("/")), Scheme::Https, plain.addr(), &certs);
        assert_eq!(outcome, Ok(()));
    }
    let plain = Server::https(certs.server_with(&pair, &["http/1.1"]), |_| ok("fine"));
    let outcome = ask_tls(&probe(get("/")), Scheme::H2, plain.addr(), &certs);
    assert!(
        told(outcome).contains("NoApplicationProtocol"),
        "no h2 to be had"
    );
}

/// An endpoint that speaks HTTP/2 by hand, after its preface and SETTINGS.
pub(crate) fn by_hand(
    settings: &'static [(u16, u32)],
    script: impl Fn(&mut Peer<&mut Conn>, u32) -> io::Result<()> + Send + Sync + 'static,
) -> Server {
    Server::start(move |conn, _| {
        let mut peer = Peer::server(conn, settings)?;
        let (stream, _, _) = peer.head(None)?;
        script(&mut peer, stream)?;
        // Until the probe has left.
        peer.conn().read_to_end().map(|_| ())
    })
}

#[test]
fn what_is_not_http2_is_told() {
    type Script = Arc<dyn Fn(&mut Peer<&mut Conn>, u32) -> io::Result<()> + Send + Sync>;
    let ok = hpack::block(&[(":status", "200")]);
    let scripts: [(Script, &str); 7] = [
        (
            Arc::new(|peer, stream| peer.send(&Frame::reset(stream, 7))),
            "stream error received: refused stream",
        ),
        (
            Arc::new(|peer, _| {
                let mut frame = Frame::goaway(0, 11);
                frame.payload.extend(b"\x1b[31mcalm\r\ndown");
                peer.send(&frame)
            }),
            "connection error received: detected excessive load",
        ),
        (
            Arc::new(|peer, stream| peer.send(&Frame::headers(stream, [0xff; 9]))),
            "what came is not proper HTTP/2: ",
        ),
        (
            Arc::new(|peer, stream| peer.send(&Frame::data(stream, "body first"))),
            "what came is not proper HTTP/2: ",
        ),
        (
            Arc::new(|peer, stream| peer.send(&Frame::data(stream, "long").lying(1 << 20))),
            "what came is not proper HTTP/2: ",
        ),
        (
            Arc::new(move |peer, stream| peer.send(&Frame::push_promise(stream, 2, &ok))),
            "what came is not proper HTTP/2: ",
        ),
        (
            Arc::new(|peer, _| peer.conn().half_close()),
            "the endpoint closed the connection",
        ),
    ];
    for (script, words) in scripts {
        let server = by_hand(&[], move |peer, stream| script(peer, stream));
        let outcome = told(ask(&probe(get("/")), Scheme::H2c, server.addr()));
        let outcome = outcome.strip_prefix("GET /: ").unwrap_or(&outcome);
        assert!(outcome.starts_with(words), "{outcome} instead of {words}");
        assert!(!outcome.contains(char::is_control), "{outcome:?}");
        server.wait_ended(1);
    }
    let old = Server::start(|conn, _| {
        conn.read_some()?;
        conn.send(answer("400 Bad Request", "", ""))
    });
    let outcome = told(ask(&probe(get("/")), Scheme::H2c, old.addr()));
    assert!(
        outcome.starts_with("GET /: what came is not proper HTTP/2: "),
        "{outcome}"
    );
}

#[test]
fn http2_without_a_stream_to_be_had_ends_in_time() {
    let closed = [(setting::MAX_CONCURRENT_STREAMS, 0)];
    let server =
        Server::start(move |conn, _| Peer::server(conn, &closed)?.read_to_end().map(|_| ()));
    // Only preface and silence.
    let mute = Server::start(|conn, _| conn.read_to_end().map(|_| ()));
    for server in [&server, &mute] {
        for (kind, asked) in [
            (get("/"), "GET /"),
            (super::health(""), "grpc.health.v1.Health/Check"),
        ] {
            let outcome = told(ask(&impatient(kind), Scheme::H2c, server.addr()));
            assert_eq!(outcome, format!("{asked}: no answer in 300ms"));
        }
        server.wait_ended(2);
    }
}
