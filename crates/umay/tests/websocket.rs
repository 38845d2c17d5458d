//! WebSocket through real implementations at both ends: messages, fragments, pings, close codes,
//! and what is no WebSocket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use umay_test::tungstenite::protocol::CloseFrame;
use umay_test::tungstenite::protocol::frame::Frame;
use umay_test::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use umay_test::tungstenite::{self, Error, Message};
use umay_test::{Certs, Conn, Server, Umay, answer, ok, umay, websocket};

type Socket = tungstenite::WebSocket<Conn>;

/// HTTP and HTTPS on one port before this endpoint.
struct Scene {
    certs: Certs,
    umay: Umay,
}

impl Scene {
    fn before(endpoint: &Server) -> Self {
        let certs = Certs::new();
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\n{}to = \"http://{}\"\n",
            certs.issue(&["a.test"]).toml(),
            endpoint.addr()
        );
        Self { certs, umay }
    }

    /// Sockets in plaintext and over TLS.
    fn sockets(&self) -> [Socket; 2] {
        let tls = Conn::connect_tls(self.umay.addr(), &self.certs.trusting(), "a.test").unwrap();
        [
            websocket::connect(self.umay.connect(), "ws://a.test/chat")
                .unwrap()
                .0,
            websocket::connect(tls, "wss://a.test/chat").unwrap().0,
        ]
    }
}

fn echo() -> Server {
    Server::start(|conn, _| websocket::echo(conn))
}

#[test]
fn text_binary_and_large_messages_come_back() {
    let endpoint = echo();
    for mut socket in Scene::before(&endpoint).sockets() {
        let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
        for message in [
            Message::text("grüß dich"),
            Message::text(""),
            Message::binary(vec![0, 255, 128]),
            Message::binary(vec![7; 65_536]),
            Message::binary(large),
        ] {
            socket.send(message.clone()).unwrap();
            assert!(
                socket.read().unwrap() == message,
                "another message came back"
            );
        }
    }
}

#[test]
fn fragments_stay_one_message() {
    let endpoint = echo();
    for mut socket in Scene::before(&endpoint).sockets() {
        let frames = [
            ("one ", Data::Text, false),
            ("two ", Data::Continue, false),
            ("three", Data::Continue, true),
        ];
        for (text, kind, last) in frames {
            let frame = Frame::message(text.as_bytes().to_vec(), OpCode::Data(kind), last);
            socket.send(Message::Frame(frame)).unwrap();
        }
        assert_eq!(socket.read().unwrap(), Message::text("one two three"));
    }
}

#[test]
fn pings_are_answered_and_close_codes_go_through() {
    let endpoint = echo();
    let scene = Scene::before(&endpoint);
    for mut socket in scene.sockets() {
        socket.send(Message::Ping(vec![1, 2, 3].into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong(vec![1, 2, 3].into()));
        let close = CloseFrame {
            code: CloseCode::from(4321),
            reason: "enough".into(),
        };
        socket.close(Some(close.clone())).unwrap();
        // The other end answers a close with the same code.
        assert_eq!(socket.read().unwrap(), Message::Close(Some(close)));
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    }
    endpoint.wait_ended(2);
    let line = scene.umay.wait_log(|line| line["path"] == "/chat");
    assert_eq!(
        (&line["status"], line.get("reason")),
        (&101.into(), None),
        "{line}"
    );
}

#[test]
fn the_demos_endpoint_speaks_through_umay_too() {
    let umay = umay!()
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("UMAY_LOG__LEVEL", "info")
        .start();
    let host = umay.addr();
    let (mut socket, _) = websocket::connect(umay.connect(), &format!("ws://{host}/ws")).unwrap();
    for message in [Message::text("hello"), Message::binary(vec![1, 2])] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
}

#[test]
fn frames_sent_right_after_the_handshake_are_not_lost() {
    let endpoint = Server::start(|conn, _| {
        conn.read_until("\r\n\r\n")?;
        // The answer and the first bytes of the new protocol, in one packet.
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        conn.send(format!("{head}first"))?;
        let got = conn.read_exact(5)?;
        conn.send(got)
    });
    let scene = Scene::before(&endpoint);
    let mut conn = scene.umay.connect();
    conn.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .unwrap();
    conn.read_until("\r\n\r\n").unwrap();
    assert_eq!(conn.read_exact(5).unwrap(), b"first");
    conn.send("later").unwrap();
    assert_eq!(conn.read_exact(5).unwrap(), b"later");
}

#[test]
fn an_upgrade_that_is_refused_is_a_plain_answer() {
    let endpoint = Server::http(|request| match request.target() {
        "/refused" => answer("403 Forbidden", "", "no"),
        _ => ok("plain"),
    });
    let scene = Scene::before(&endpoint);
    let mut conn = scene.umay.connect();
    let ask = |target: &str| {
        format!(
            "GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    let response = conn.ask(ask("/refused")).unwrap();
    assert_eq!((response.status(), response.text().as_str()), (403, "no"));
    // The connection has not become a tunnel: it goes on with HTTP.
    assert_eq!(conn.ask(ask("/other")).unwrap().text(), "plain");
    assert_eq!(
        conn.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .unwrap()
            .text(),
        "plain"
    );
    let sent = endpoint.recorded_text().to_lowercase();
    assert!(sent.contains("upgrade: websocket\r\n") && sent.contains("connection: upgrade\r\n"));
}

#[test]
fn there_is_no_tunnel_before_the_101() {
    let endpoint = Server::start(|conn, _| {
        let request = conn.read_request()?.unwrap();
        assert_eq!(request.target(), "/ws");
        conn.send(ok("no"))?;
        // Had the bytes after the request been passed on raw, they would arrive here.
        while let Some(request) = conn.read_request()? {
            assert!(request.get("x-forwarded-for").is_some(), "{request:?}");
            conn.send(ok("second"))?;
        }
        Ok(())
    });
    let scene = Scene::before(&endpoint);
    let mut conn = scene.umay.connect();
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    conn.send(format!(
        "{upgrade}GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n"
    ))
    .unwrap();
    assert_eq!(conn.read_response("GET").unwrap().text(), "no");
    assert_eq!(conn.read_response("GET").unwrap().text(), "second");
    assert!(
        !endpoint
            .recorded_text()
            .contains("GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n")
    );
}

#[test]
fn a_switch_to_what_was_not_asked_for_is_refused() {
    let endpoint = Server::start(|conn, _| {
        conn.read_request()?;
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
        )
    });
    let scene = Scene::before(&endpoint);
    for fields in ["", "Connection: upgrade\r\nUpgrade: websocket\r\n"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        let response = scene.umay.connect().ask(request).unwrap();
        assert_eq!(
            (response.status(), response.reason().as_deref()),
            (502, Some("upstream_malformed"))
        );
    }
}

#[test]
fn an_upgrade_with_a_body_is_refused() {
    let endpoint = Server::ok("hi");
    let scene = Scene::before(&endpoint);
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                   Content-Length: 2\r\n\r\nab";
    let response = scene.umay.connect().ask(request).unwrap();
    assert_eq!(
        (response.status(), response.reason().as_deref()),
        (400, Some("upgrade_refused"))
    );
    assert_eq!(endpoint.connections(), 0);
}
