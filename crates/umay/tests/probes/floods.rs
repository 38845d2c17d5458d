//! Endpoints that send without an end: a probe takes so much of it, and leaves.

use std::io;

use umay_core::model::{ProbeKind, Scheme};
use umay_test::frames::{Frame, Peer, hpack, kind};
use umay_test::{Certs, Conn, Server, peak_rss};

use super::http::by_hand;
use super::{ask, ask_tls, get, health, probe, told};

/// For whoever has been taken so much from.
const TAKEN: &str = "128 KiB have come, and they are not an answer yet";

/// What is told of an endpoint that floods, of which the probe gets rid, in little memory.
#[track_caller]
fn bounded(server: &Server, ask: impl FnOnce() -> Result<(), String>) -> String {
    let before = peak_rss(std::process::id());
    let outcome = told(ask());
    server.wait_ended(server.connections());
    let grown = peak_rss(std::process::id()) - before;
    assert!(grown < 48 << 20, "{outcome}: grown by {grown}");
    outcome
}

#[track_caller]
fn check(server: &Server, scheme: Scheme, kind: ProbeKind, words: &[&str]) {
    let probe = probe(kind);
    let outcome = bounded(server, || ask(&probe, scheme, server.addr()));
    let is_one = words.iter().any(|words| outcome.contains(words));
    assert!(is_one, "{outcome} instead of {words:?}");
}

fn for_ever(conn: &mut Conn, piece: &[u8]) -> io::Result<()> {
    let block = piece.repeat(1 + 16_000 / piece.len());
    loop {
        conn.send(&block)?;
    }
}

fn http1(begin: &'static [u8], piece: &'static [u8]) -> Server {
    Server::start(move |conn, _| {
        conn.read_request()?;
        conn.send(begin)?;
        for_ever(conn, piece)
    })
}

#[test]
fn heads_without_an_end() {
    let large = "a head of more than 16 KiB or 100 fields";
    for (begin, piece) in [
        (&b"HTTP/1.1 200 OK\r\n"[..], &b"X: y\r\n"[..]),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"HTTP/1.1 200 ", b"O"),
    ] {
        check(&http1(begin, piece), Scheme::Http, get("/"), &[large]);
    }
    for (begin, piece, words) in [
        (
            &b""[..],
            &b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"[..],
            TAKEN,
        ),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", TAKEN),
        (b"", b"\0", "not HTTP/1: invalid HTTP version parsed"),
    ] {
        check(
            &http1(begin, piece),
            Scheme::Http,
            get("/"),
            &[words, large],
        );
    }
}

#[test]
fn bodies_of_gigabytes() {
    for begin in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ] {
        check(
            &http1(begin, b"1\r\nx\r\n"),
            Scheme::Http,
            get("/"),
            &["well"],
        );
    }
    // More than the window is an error, but only for those who read it.
    let server = by_hand(&[], |peer, stream| {
        peer.answer(stream, 200, &[], b"x")?;
        for_ever(peer.conn(), &Frame::data(stream, [0; 1000]).bytes())
    });
    check(&server, Scheme::H2c, get("/"), &["well"]);
}

/// Floods of HTTP/2, each with a head of its own before it or none.
#[test]
fn frames_without_an_end() {
    let early = hpack::block(&[(":status", "103"), ("link", "x")]);
    let head = hpack::block(&[(":status", "200"), ("content-type", "application/grpc")]);
    let one = |frame: &Frame| frame.bytes();
    let floods: [(&str, Vec<u8>); 8] = [
        ("PING", one(&Frame::ping([7; 8]))),
        ("SETTINGS", one(&Frame::settings(&[]))),
        ("an acknowledgement", one(&Frame::settings_ack())),
        ("WINDOW_UPDATE", one(&Frame::window(0, 1))),
        ("an unknown frame", one(&Frame::new(0x7f, 0, 1, [0; 9]))),
        ("PRIORITY", one(&Frame::priority(3, 0, 1))),
        ("an interim head", one(&Frame::headers(1, early))),
        ("empty DATA", one(&Frame::data(1, []))),
    ];
    let words = [TAKEN, "not proper HTTP/2: "];
    for (name, piece) in floods {
        for (kind, head) in [(get("/"), None), (health(""), Some(head.clone()))] {
            let piece = piece.clone();
            let server = by_hand(&[], move |peer, stream| {
                if let Some(head) = &head {
                    peer.send(&Frame::headers(stream, head))?;
                }
                for_ever(peer.conn(), &piece)
            });
            println!("{name}");
            check(&server, Scheme::H2c, kind, &words);
        }
    }
}

#[test]
fn header_blocks_without_an_end() {
    // CONTINUATION after CONTINUATION, and a field that stands for four kilobytes again and again.
    let continued = by_hand(&[], |peer, stream| {
        let block = hpack::block(&[(":status", "200")]);
        peer.send(&Frame::new(kind::HEADERS, 0, stream, block))?;
        let more = hpack::block(&[("x", "y")]);
        for_ever(peer.conn(), &Frame::continuation(stream, more).bytes())
    });
    let bomb = by_hand(&[], |peer, stream| {
        let mut block = hpack::block(&[(":status", "103")]);
        // Into the table: name `x`, value of 4,000 bytes; then that field by its number.
        block.extend(b"\x40\x01x\x7f\xa1\x1e");
        block.extend([b'y'; 4000]);
        peer.send(&Frame::headers(stream, &block))?;
        let mut again = hpack::block(&[(":status", "103")]);
        again.extend([0xbe; 3]);
        for_ever(peer.conn(), &Frame::headers(stream, again).bytes())
    });
    for server in [continued, bomb] {
        check(
            &server,
            Scheme::H2c,
            get("/"),
            &["not proper HTTP/2: ", TAKEN],
        );
    }
}

#[test]
fn messages_without_an_end() {
    let server = by_hand(&[], |peer, stream| {
        peer.answer(stream, 200, &[("content-type", "application/grpc")], b"\0")?;
        for_ever(peer.conn(), &Frame::data(stream, [0; 500]).bytes())
    });
    check(
        &server,
        Scheme::H2c,
        health(""),
        &["an answer without grpc-status"],
    );
    let server = by_hand(&[], |peer, stream| {
        let head = hpack::block(&[(":status", "200"), ("content-type", "application/grpc")]);
        peer.send(&Frame::headers(stream, head))?;
        for_ever(peer.conn(), &Frame::data(stream, [0; 500]).bytes())
    });
    let words = ["a message of more than 1024 bytes"];
    check(&server, Scheme::H2c, health(""), &words);
}

#[test]
fn tls_without_an_end() {
    let certs = Certs::new();
    let asked = probe(ProbeKind::Tls);
    let ask_over_tls = |server: &Server| ask_tls(&asked, Scheme::Tls, server.addr(), &certs);
    // Handshake records that go on with one message of 16 MiB; warnings; what is no record.
    for piece in [
        [&b"\x16\x03\x03\x40\x00\x0b\xff\xff\xff"[..], &[0; 16_380]].concat(),
        b"\x15\x03\x03\x00\x02\x01\x5a".to_vec(),
        b"\x14\x03\x03\x00\x01\x01".to_vec(),
        b"x".to_vec(),
    ] {
        let server = Server::start(move |conn, _| {
            conn.read_some()?;
            for_ever(conn, &piece)
        });
        let outcome = bounded(&server, || ask_over_tls(&server));
        assert!(outcome.starts_with("TLS with a.test: "), "{outcome}");
        assert!(!outcome.contains("no answer"), "{outcome}");
    }
    // After a handshake in order, while the probe takes its leave.
    let pair = certs.issue(&["a.test"]);
    let server = Server::start_tls(certs.server(&pair), |conn, _| for_ever(conn, b"x"));
    assert_eq!(bounded(&server, || ask_over_tls(&server)), "well");
}

/// The peer is the test's own: an answer by hand is one that a probe takes.
#[test]
fn by_hand_is_well_in_order() {
    let server = by_hand(&[], |peer: &mut Peer<&mut Conn>, stream| {
        peer.answer(stream, 204, &[], b"")
    });
    check(&server, Scheme::H2c, get("/"), &["well"]);
}
