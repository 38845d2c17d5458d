//! Tables and properties of [`sniff`].

use proptest::prelude::*;

use super::*;

/// Asserts the verdict on `bytes`, that it comes with the last byte, and that it then stays.
fn check(bytes: &[u8], verdict: Verdict) {
    for end in 0..bytes.len() {
        let shown = String::from_utf8_lossy(&bytes[..end]).into_owned();
        assert_eq!(sniff(&bytes[..end]), Verdict::NeedMore, "{shown:?}");
    }
    let shown = String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(sniff(bytes), verdict, "{shown:?}");
    for more in [&b" "[..], b"\0", b"\r\n", b"HTTP/1.1\r\n", &[0xff; 9000]] {
        assert_eq!(
            sniff(&[bytes, more].concat()),
            verdict,
            "{shown:?} {more:?}"
        );
    }
}

#[test]
fn http1_at_the_first_byte_that_settles_it() {
    for line in [
        "GET /",
        "POST /",
        "PROPFIND /",
        "BASELINE-CONTROL /",
        "\r\nGET /",
        "GET http://",
        "GET HTTPS://",
        "OPTIONS * HTTP/1.1\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\n",
        "GET ws://example.com/ HTTP/1.0\r\n",
        "GET foo HTTP/1.1\r\n",
        "GET  / HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\n",
        "BREW /pot HTTP/1.1\r\n",
        "get / HTTP/1.1\r\n",
        "PRI / HTTP/1.1\r\n",
        "a b c HTTP/1.9\r\n",
        "M-SEARCH * HTTP/1.1\r\n",
    ] {
        check(line.as_bytes(), Verdict::Http1);
    }
}

#[test]
fn http2_after_the_preface() {
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Verdict::Http2);
}

#[test]
fn text_that_is_not_http_is_opaque() {
    for line in [
        &b"EHLO example.com\r"[..],
        b"SSH-2.0-OpenSSH_9.2p1\r",
        b"STATS\r",
        b"CONNECT\n",
        b"CONNECT {\"verbose\":false}\r",
        b"GET key\r",
        b"get key\r",
        b"get key\n",
        b"OPTIONS * RTSP/1.0\r",
        b"BREW /pot HTTP/2.0\r",
        b"PRI * HTTP/2.0\r\n\r\nSN",
        b"BREW / HTTP/1.1\r\r",
        b"BREW HTTP/1.1\r",
        b"BREW \xc3",
        b"GET\t",
        b" ",
        b"\n",
        b"\r\r",
        b"\r\n\r",
        b"\r\n ",
        b"*1\r",
        b"\xc3",
        b"\0",
    ] {
        check(line, Verdict::Opaque);
    }
}

#[test]
fn the_caps_hold_on_both_sides() {
    check(
        &[&[b'A'; 32][..], b" / HTTP/1.1\r\n"].concat(),
        Verdict::Http1,
    );
    check(&[b'A'; 33], Verdict::Opaque);
    let line = |len: usize| [b"BREW ", &vec![b'x'; len - 16][..], b" HTTP/1.1\r\n"].concat();
    check(&line(MAX_REQUEST_LINE - 1), Verdict::Http1);
    check(&line(MAX_REQUEST_LINE), Verdict::Http1);
    check(
        &line(MAX_REQUEST_LINE + 1)[..MAX_REQUEST_LINE],
        Verdict::Opaque,
    );
    assert_eq!(sniff(&line(MAX_REQUEST_LINE + 1)), Verdict::Opaque);
}

#[test]
fn tls_after_six_bytes() {
    check(&[22, 3, 1, 0, 1, 1], Verdict::Tls);
    check(&[22, 3, 0, 2, 0, 1], Verdict::Tls);
    check(&[22, 3, 4, 0x40, 0, 1], Verdict::Tls);
    for opaque in [
        &[21][..],
        &[0x80],
        &[22, 2],
        &[22, 3, 5],
        &[22, 3, 1, 0x41],
        &[22, 3, 1, 0x40, 1],
        &[22, 3, 1, 0, 0],
        &[22, 3, 1, 0, 1, 2],
    ] {
        check(opaque, Verdict::Opaque);
    }
}

#[test]
fn mqtt_after_the_level() {
    check(b"\x10\x10\x00\x04MQTT\x04", Verdict::Mqtt);
    check(b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x05", Verdict::Mqtt);
    check(b"\x10\x0e\x00\x06MQIsdp\x03", Verdict::Mqtt);
    check(b"\x10\x10\x00\x04MQTT\x84", Verdict::Mqtt);
    for opaque in [
        &b"\x11"[..],
        b"\x10\x0b",
        b"\x10\xff\xff\xff\xff",
        b"\x10\x10\x01",
        b"\x10\x10\x00\x05",
        b"\x10\x10\x00\x04MQTX",
        b"\x10\x10\x00\x04MQTT\x03",
        b"\x10\x10\x00\x04MQTT\x06",
        b"\x10\x10\x00\x06MQIsdp\x04",
    ] {
        check(opaque, Verdict::Opaque);
    }
}

/// Pieces of messages, whole and cut.
const PIECES: &[&[u8]] = &[
    b"GET ",
    b"CONNECT ",
    b"BREW ",
    b"/",
    b"http://x",
    b" HTTP/1.1",
    b"\r\n",
    b"\r",
    b"\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\x01\x00\x01\xfc\x03\x03",
    b"\x10\x20\x00\x04MQTT\x04",
    b"\x10\xa0\x01\x00\x06",
    b"MQIsdp\x03",
    b"\x00",
];

/// Bytes that come close to one protocol or another.
fn near_misses() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(PIECES);
    let noise = prop::collection::vec(any::<u8>(), 0..4);
    prop::collection::vec((pieces, noise), 0..6).prop_map(|parts| {
        let part = |(piece, noise): &(&[u8], Vec<u8>)| {
            // Half of the time the pieces stand side by side.
            let noise = if noise.len() > 1 { &noise[..] } else { &[] };
            [piece, noise].concat()
        };
        parts.iter().flat_map(part).collect()
    })
}

proptest! {
    #[test]
    fn a_verdict_stays(bytes in near_misses()) {
        let mut last = Verdict::NeedMore;
        for end in 0..=bytes.len() {
            let verdict = sniff(&bytes[..end]);
            prop_assert!(last == Verdict::NeedMore || verdict == last, "{end}");
            last = verdict;
        }
    }

    #[test]
    fn both_readers_agree_on_where_tls_begins(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let start = [&[22, 3, 1][..], &bytes].concat();
        if sniff(&start) == Verdict::Tls {
            prop_assert_eq!(client_hello(&start[..6]), Hello::NeedMore);
        }
        sniff(&bytes);
    }
}
