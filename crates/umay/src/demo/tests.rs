//! The endpoints over real sockets, and the guide.

use std::io::Write;

use serde_json::{Value, json};

use super::*;
use crate::side::raw::{Answer, ask, connect, converse, read, read_all, read_until};

/// A request to endpoint `one`, with more fields after a line feed.
fn get(demo: &Demo, path: &str, more: &str) -> Answer {
    let [one, _] = demo.endpoints().http;
    ask(one, &format!("GET {path} HTTP/1.1\nHost: a{more}"), "")
}

#[test]
fn both_endpoints_say_who_they_are() {
    let demo = start().unwrap();
    for (addr, name) in demo.endpoints().http.into_iter().zip(["one", "two"]) {
        assert!(addr.ip().is_loopback());
        for path in ["/", "/headers", "/status/500", "/nothing"] {
            let answer = ask(addr, &format!("GET {path} HTTP/1.1\nHost: a"), "");
            assert_eq!(answer.field("x-endpoint"), Some(name), "{path}");
        }
        let hello = ask(addr, "GET / HTTP/1.1\nHost: a", "");
        assert_eq!(
            hello.body,
            format!("Hello from endpoint {name}.\nHost: a\n")
        );
    }
}

#[test]
fn hello_shows_what_the_proxy_told() {
    let demo = start().unwrap();
    let told = "\nX-Forwarded-For: 192.0.2.7\nX-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: https\n\
                X-Request-Id: <b>7</b>";
    let text = get(&demo, "/", told);
    assert_eq!(
        text.body,
        "Hello from endpoint one.\nHost: a\nX-Forwarded-For: 192.0.2.7, 10.0.0.1\n\
         X-Forwarded-Proto: https\nX-Request-Id: <b>7</b>\n"
    );
    let html = get(&demo, "/", &format!("{told}\nAccept: text/html,*/*"));
    assert_eq!(html.field("content-type"), Some("text/html; charset=utf-8"));
    for part in [
        "<h1>Hello from endpoint one.</h1>",
        "X-Forwarded-For</th><td>192.0.2.7, 10.0.0.1</td>",
        "X-Request-Id</th><td>&lt;b&gt;7&lt;/b&gt;</td>",
        "Via</th><td>–</td>",
    ] {
        assert!(html.body.contains(part), "{part} not in {}", html.body);
    }
}

#[test]
fn the_head_comes_back_as_json() {
    let demo = start().unwrap();
    let [_, two] = demo.endpoints().http;
    let answer = ask(
        two,
        "PUT /headers?a=%20 HTTP/1.1\nHost: a\nVia: b\nVia: c",
        "",
    );
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(
        serde_json::from_str::<Value>(&answer.body).unwrap(),
        json!({
            "endpoint": "two",
            "method": "PUT",
            "target": "/headers?a=%20",
            "headers": {"host": "a", "via": "b, c", "connection": "close"},
        })
    );
}

#[test]
fn any_final_status_can_be_had() {
    let demo = start().unwrap();
    for (code, status) in [
        ("200", 200),
        ("204", 204),
        ("304", 304),
        ("404", 404),
        ("599", 599),
        ("199", 400),
        ("101", 400),
        ("600", 400),
        ("70000", 400),
        ("x", 400),
    ] {
        assert_eq!(
            get(&demo, &format!("/status/{code}"), "").status,
            status,
            "{code}"
        );
    }
    let [one, _] = demo.endpoints().http;
    let posted = ask(
        one,
        "POST /status/503 HTTP/1.1\nHost: a\nContent-Length: 1",
        "x",
    );
    assert_eq!(posted.body, "503 Service Unavailable\n");
}

#[test]
fn bytes_come_in_the_number_asked_for() {
    let demo = start().unwrap();
    for count in [0, 1, 64, 65, 16_384, 16_385, 1_000_000] {
        let answer = get(&demo, &format!("/bytes/{count}"), "");
        assert_eq!(answer.field("content-length"), Some(&*count.to_string()));
        assert_eq!(answer.body.len(), count);
        assert!(answer.body.lines().all(|line| {
            "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-".starts_with(line)
        }));
    }
    let [one, _] = demo.endpoints().http;
    let most = ask(one, "HEAD /bytes/67108864 HTTP/1.1\nHost: a", "");
    assert_eq!(most.status, 200);
    assert_eq!(get(&demo, "/bytes/67108865", "").status, 400);
    assert_eq!(get(&demo, "/bytes/-1", "").status, 400);
}

#[test]
fn answers_can_be_late() {
    let demo = start().unwrap();
    assert_eq!(get(&demo, "/delay/0", "").body, "Here after 0 ms.\n");
    let before = std::time::Instant::now();
    assert_eq!(get(&demo, "/delay/50", "").status, 200);
    assert!(before.elapsed() >= Duration::from_millis(50));
    assert_eq!(get(&demo, "/delay/10001", "").status, 400);
}

#[test]
fn posted_bodies_come_back() {
    let demo = start().unwrap();
    let [one, _] = demo.endpoints().http;
    let head = "POST /echo HTTP/1.1\nHost: a\nContent-Type: text/x-test\n";
    let answer = ask(one, &format!("{head}Content-Length: 5"), "hello");
    assert_eq!((answer.status, &*answer.body), (200, "hello"));
    assert_eq!(answer.field("content-type"), Some("text/x-test"));
    let answer = ask(
        one,
        &format!("{head}Transfer-Encoding: chunked"),
        "2\r\nhi\r\n0\r\n\r\n",
    );
    assert_eq!(
        (answer.status, &*answer.body),
        (200, "2\r\nhi\r\n0\r\n\r\n")
    );
    assert_eq!(get(&demo, "/echo", "").status, 405);
}

#[test]
fn an_echo_does_not_wait_for_the_end() {
    let demo = start().unwrap();
    let [one, _] = demo.endpoints().http;
    let mut stream = connect(one);
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for word in ["first", "other"] {
        stream
            .write_all(format!("5\r\n{word}\r\n").as_bytes())
            .unwrap();
        assert!(read_until(&stream, word).ends_with(word));
    }
}

#[test]
fn websocket_messages_come_back() {
    let demo = start().unwrap();
    let [_, two] = demo.endpoints().http;
    let mut stream = connect(two);
    // The key and its answer are those of RFC 6455 section 1.3.
    let request = "GET /ws HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n\
                   Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n";
    stream
        .write_all(request.replace('\n', "\r\n").as_bytes())
        .unwrap();
    let head = read_until(&stream, "\r\n\r\n").to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"));
    assert!(head.contains("x-endpoint: two\r\n"));
    let mut exchange = |kind: u8, sent: &[u8], back: u8| {
        // A mask of zeros leaves the bytes as they are (RFC 6455 section 5.3).
        let length = sent.len() as u8;
        let frame = [&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], sent].concat();
        stream.write_all(&frame).unwrap();
        let expected = [&[0x80 | back, length], sent].concat();
        assert_eq!(read(&stream, expected.len()), expected);
    };
    exchange(1, "grüße".as_bytes(), 1);
    exchange(2, &[0, 255, 7], 2);
    exchange(9, b"ping", 10);
    exchange(8, &[3, 232], 8);
    assert_eq!(read_all(&stream), b"");
}

#[test]
fn tcp_comes_back_until_its_end() {
    let demo = start().unwrap();
    let tcp = demo.endpoints().tcp;
    assert_eq!(converse(tcp, b""), b"");
    assert_eq!(converse(tcp, b"hello\n"), b"hello\n");
    let much: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    assert_eq!(converse(tcp, &much), much);
    // Nothing is held back for more to come.
    let mut stream = connect(tcp);
    for byte in b"abc" {
        stream.write_all(&[*byte]).unwrap();
        assert_eq!(read(&stream, 1), [*byte]);
    }
}

#[test]
fn stopping_ends_what_is_open() {
    let demo = start().unwrap();
    let endpoints = demo.endpoints();
    let [one, two] = endpoints.http;
    let open = [one, two, endpoints.tcp].map(connect);
    demo.stop();
    for stream in &open {
        assert_eq!(read_all(stream), b"");
    }
    for addr in [one, two, endpoints.tcp] {
        assert!(std::net::TcpStream::connect(addr).is_err());
    }
}

#[test]
fn the_guide_shows_every_step() {
    let proxy = SocketAddr::from(([127, 0, 0, 1], 8443));
    let admin = SocketAddr::from(([127, 0, 0, 1], 9901));
    for admin in [None, Some(admin)] {
        let text = guide(proxy, admin, false);
        for step in steps(proxy, admin) {
            let shown = format!("\n  # {}\n  {}\n", step.what, step.command);
            assert!(text.contains(&shown), "{shown}");
            assert!(!step.command.contains('\n'));
        }
        assert_eq!(text.contains("127.0.0.1:9901"), admin.is_some());
        assert!(text.ends_with("Stop with Ctrl-C.\n"));
        assert!(!text.contains('\x1b'));
        // Colour adds nothing but escapes.
        let coloured = guide(proxy, admin, true);
        assert!(coloured.contains('\x1b'));
        let bare = ["\x1b[0m", "\x1b[1m", "\x1b[2m"]
            .iter()
            .fold(coloured, |text, escape| text.replace(escape, ""));
        assert_eq!(bare, text);
    }
}

#[test]
fn the_guide_can_write_ipv6() {
    let proxy = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 8443));
    let text = guide(proxy, None, false);
    assert!(text.contains("curl 'http://[::1]:8443/'"));
    assert!(text.contains("/dev/tcp/::1/8443"));
    assert!(text.contains("-connect '[::1]:8443'"));
    assert!(text.contains("nc ::1 8443"));
}
