//! Probes by gRPC, of endpoints that are scripted.

use umay_core::model::Scheme;
use umay_test::frames::{Frame, hpack};
use umay_test::http2::Endpoint as Http2;
use umay_test::{Certs, Server};

use super::http::by_hand;
use super::{ask, ask_tls, health, probe, told};

const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";
const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[test]
fn a_call_is_what_is_asked() {
    let answer = |stream: &mut umay_test::http2::Stream| {
        let request = stream.request();
        for (name, value) in [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "umay-probe"),
        ] {
            assert_eq!(request.get(name), Some(value), "{name}");
        }
        let start = "POST /grpc.health.v1.Health/Check HTTP/2";
        assert_eq!(request.start, start);
        let timeout = request.get("grpc-timeout").unwrap();
        let millis: u32 = timeout.strip_suffix('m').unwrap().parse().unwrap();
        assert!((1..=20_000).contains(&millis));
        assert_eq!(stream.read_to_end()?, b"\0\0\0\0\x05\x0a\x03a.B");
        stream.respond(200, &[GRPC], false)?;
        stream.send(SERVING)?;
        stream.finish(&[("grpc-status", "0")])
    };
    let clear = Http2::start(answer);
    for scheme in [Scheme::Detected, Scheme::Http, Scheme::H2c] {
        let outcome = ask(&probe(health("a.B")), scheme, clear.addr());
        assert_eq!(told(outcome), "well");
    }
    let certs = Certs::new();
    let tls = certs.server_with(&certs.issue(&["a.test"]), &["h2"]);
    let secure = Http2::start_tls(tls, answer);
    for scheme in [Scheme::Https, Scheme::H2] {
        let outcome = ask_tls(&probe(health("a.B")), scheme, secure.addr(), &certs);
        assert_eq!(told(outcome), "well");
    }
}

/// What is told of a head, a body in two pieces, and trailers; an empty piece or trailers are not sent.
fn asked(head: &[(&str, &str)], body: &[u8], trailers: &[(&str, &str)]) -> String {
    let block = |fields: &[(&str, &str)]| hpack::block(fields);
    let mut frames = vec![Frame::headers(1, block(head))];
    let (one, other) = body.split_at(body.len() / 2);
    let pieces = [one, other].into_iter().filter(|piece| !piece.is_empty());
    frames.extend(pieces.map(|piece| Frame::data(1, piece)));
    if !trailers.is_empty() {
        frames.push(Frame::headers(1, block(trailers)));
    }
    let last = frames.pop().unwrap().end();
    frames.push(last);
    let server = by_hand(&[], move |peer, _| peer.send_all(&frames));
    let outcome = told(ask(&probe(health("")), Scheme::H2c, server.addr()));
    server.wait_ended(1);
    let prefix = "grpc.health.v1.Health/Check: ";
    outcome.strip_prefix(prefix).unwrap_or(&outcome).to_owned()
}

#[test]
fn answers_are_read_strictly() {
    let ok = [(":status", "200"), GRPC];
    let fine = [("grpc-status", "0")];
    for (body, words) in [
        (SERVING, "well"),
        (b"\0\0\0\0\0", "UNKNOWN"),
        (b"\0\0\0\0\x02\x08\x02", "NOT_SERVING"),
        (b"\0\0\0\0\x02\x08\x03", "SERVICE_UNKNOWN"),
        (b"", "no message"),
        (b"\0\0\0\0", "a message that ends after 4 bytes"),
        (
            b"\0\0\0\0\x03\x08\x01",
            "a message that says 3 bytes, of which 2 came",
        ),
        (
            b"\0\0\0\0\x02\x08\x01\0\0\0\0\x02\x08\x01",
            "a message that says 2 bytes, of which 9 came",
        ),
        (
            b"\0\xff\xff\xff\xff\x08\x01",
            "a message that says 4294967295 bytes, of which 2 came",
        ),
        (
            b"\x01\0\0\0\x02\x08\x01",
            "a message that is compressed, which was not asked for",
        ),
        (
            b"\0\0\0\0\x02\x08\x80",
            "a message that is not proper protobuf",
        ),
        (&[0; 1025], "a message of more than 1024 bytes"),
    ] {
        assert_eq!(asked(&ok, body, &fine), words, "{body:?}");
    }
}

#[test]
fn statuses_are_told() {
    let ok = [(":status", "200"), GRPC];
    for (head, body, trailers, words) in [
        (&ok[..], SERVING, &[][..], "an answer without grpc-status"),
        (&ok, SERVING, &[("x", "y")], "an answer without grpc-status"),
        (&ok, b"", &[], "an answer without grpc-status"),
        (
            &ok,
            SERVING,
            &[
                ("grpc-status", "14"),
                ("grpc-message", "shutting%20down%0A%1B[31m"),
            ],
            "grpc-status 14 (UNAVAILABLE), shutting down\\n\\u{1b}[31m",
        ),
        (
            &[
                (":status", "200"),
                GRPC,
                ("grpc-status", "5"),
                ("grpc-message", "unknown service"),
            ],
            b"",
            &[],
            "grpc-status 5 (NOT_FOUND), unknown service",
        ),
        // Fine, but with nothing in it.
        (
            &[(":status", "200"), GRPC, ("grpc-status", "0")],
            b"",
            &[],
            "an answer without grpc-status",
        ),
        (&[(":status", "503"), GRPC], b"", &[], "status 503 of HTTP"),
        (
            &[(":status", "200"), ("content-type", "text/html")],
            b"<html>",
            &[],
            "an answer of type `text/html`, which is not gRPC",
        ),
        (
            &[(":status", "200")],
            b"",
            &[],
            "an answer of type ``, which is not gRPC",
        ),
        (
            &[
                (":status", "200"),
                ("content-type", "application/grpc+proto"),
            ],
            SERVING,
            &[("grpc-status", "0")],
            "well",
        ),
    ] {
        assert_eq!(asked(head, body, trailers), words);
    }
    let long = "x".repeat(10_000);
    let told = asked(&ok, b"", &[("grpc-status", "2"), ("grpc-message", &long)]);
    assert!(told.len() < 400 && told.ends_with("xxx…"), "{told}");
}

#[test]
fn what_does_not_speak_grpc_is_told() {
    let server = Server::ok("hello");
    let outcome = told(ask(&probe(health("")), Scheme::Http, server.addr()));
    assert!(
        outcome.starts_with("grpc.health.v1.Health/Check: "),
        "{outcome}"
    );
}
