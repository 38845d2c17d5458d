//! WebSocket where HTTP/2 is spoken on one side or on both (RFC 8441).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail loudly"
)]

use std::io;

use umay_test::http2::{Client, Endpoint, Settings, Stream, code};
use umay_test::rustls::DEFAULT_VERSIONS;
use umay_test::tungstenite::protocol::frame::Frame;
use umay_test::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use umay_test::tungstenite::protocol::{CloseFrame, Role};
use umay_test::tungstenite::{Error, Message, WebSocket};
use umay_test::{Certs, Message as Head, Server, Umay, answer, h2, umay, websocket};

/// An endpoint in one of the versions.
enum Peer {
    One(Server),
    Many(Endpoint),
}

impl Peer {
    fn both() -> [Self; 2] {
        [
            Self::One(Server::start(|conn, _| websocket::echo(conn))),
            Self::Many(Endpoint::start(|stream| {
                let request = stream.request();
                assert_eq!(request.method(), "CONNECT");
                assert_eq!(request.get(":protocol"), Some("websocket"));
                assert_eq!(request.get("sec-websocket-version"), Some("13"));
                // What HTTP/1 needs to prove is not said in HTTP/2.
                for name in ["sec-websocket-key", "upgrade", "connection"] {
                    assert_eq!(request.get(name), None);
                }
                stream.respond(200, &[], false)?;
                websocket::echo_on(&mut socket(&mut *stream, Role::Server))?;
                stream.finish(&[])
            })),
        ]
    }

    fn to(&self) -> String {
        match self {
            Self::One(server) => format!("http://{}", server.addr()),
            Self::Many(endpoint) => format!("h2c://{}", endpoint.addr()),
        }
    }

    fn before(&self) -> Umay {
        umay!("listen = \"127.0.0.1:0\"\nto = \"{}\"\n", self.to())
    }
}

fn socket<S: io::Read + io::Write>(stream: S, role: Role) -> WebSocket<S> {
    WebSocket::from_raw_socket(stream, role, None)
}

const CONNECT: [(&str, &str); 2] = [(":protocol", "websocket"), ("sec-websocket-version", "13")];

/// Asks for a WebSocket; gives the stream and the head of the answer.
fn ask(client: &Client, target: &str, fields: &[(&str, &str)]) -> (Stream, io::Result<Head>) {
    let url = format!("http://a.test{target}");
    let mut stream = client.call("CONNECT", &url, fields, false).unwrap();
    let head = stream.head();
    (stream, head)
}

fn open(client: &Client) -> WebSocket<Stream> {
    let (stream, head) = ask(client, "/chat", &CONNECT);
    let head = head.unwrap();
    assert_eq!(head.status(), 200);
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert_eq!(head.get(name), None, "{head:?}");
    }
    socket(stream, Role::Client)
}

/// Messages of all kinds go there and come back; then the end.
fn converse<S: io::Read + io::Write>(mut socket: WebSocket<S>) -> WebSocket<S> {
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
    for message in [
        Message::text("grüß dich"),
        Message::text(""),
        Message::binary(vec![0, 255, 128]),
        Message::binary(vec![7; 65_536]),
        Message::binary(vec![8; 200_000]),
    ] {
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message, "another came back");
    }
    for part in large.chunks(100_000) {
        socket.send(Message::binary(part.to_vec())).unwrap();
        assert!(socket.read().unwrap() == Message::binary(part.to_vec()));
    }
    for (text, kind, last) in [
        ("one ", Data::Text, false),
        ("two ", Data::Continue, false),
        ("three", Data::Continue, true),
    ] {
        let frame = Frame::message(text.as_bytes().to_vec(), OpCode::Data(kind), last);
        socket.send(Message::Frame(frame)).unwrap();
    }
    assert_eq!(socket.read().unwrap(), Message::text("one two three"));
    socket.send(Message::Ping(vec![1, 2, 3].into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong(vec![1, 2, 3].into()));
    let close = CloseFrame {
        code: CloseCode::from(4321),
        reason: "enough".into(),
    };
    socket.close(Some(close.clone())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(Some(close)));
    // A client waits for its peer to end the connection.
    let end = socket.read();
    assert!(matches!(end, Err(Error::ConnectionClosed)), "{end:?}");
    socket
}

#[test]
fn a_client_of_http2_talks_to_endpoints_of_both_versions() {
    for peer in Peer::both() {
        let umay = peer.before();
        let client = Client::connect(umay.addr()).unwrap();
        // Two at once, on one connection.
        let other = open(&client);
        for open in [open(&client), other] {
            converse(open).get_mut().finish(&[]).unwrap();
        }
        let line = umay.wait_path("/chat");
        assert_eq!(line.get("reason"), None, "{line}");
        assert_eq!(
            (&line["proto"], &line["status"]),
            (&"http/2".into(), &200.into())
        );
        umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
    }
}

#[test]
fn the_same_over_tls() {
    let certs = Certs::new();
    for peer in Peer::both() {
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\n{}to = \"{}\"\n",
            certs.issue(&["a.test"]).toml(),
            peer.to()
        );
        let tls = certs.trusting_with(DEFAULT_VERSIONS, None, &["h2"]);
        let client = Client::connect_tls(umay.addr(), &tls, "a.test").unwrap();
        let mut stream = client
            .call("CONNECT", "https://a.test/chat", &CONNECT, false)
            .unwrap();
        assert_eq!(stream.head().unwrap().status(), 200);
        let mut ended = converse(socket(stream, Role::Client));
        ended.get_mut().finish(&[]).unwrap();
    }
}

#[test]
fn a_client_of_http1_talks_to_an_endpoint_of_http2() {
    let [_, peer] = Peer::both();
    let umay = peer.before();
    let (socket, head) = websocket::connect(umay.connect(), "ws://a.test/chat").unwrap();
    assert_eq!(head.status(), 101);
    converse(socket);
    let line = umay.wait_path("/chat");
    assert_eq!((&line["status"], line.get("reason")), (&101.into(), None));
    // Other requests share the connection that carried it.
    let (socket, _) = websocket::connect(umay.connect(), "ws://a.test/chat").unwrap();
    drop(socket);
    let Peer::Many(endpoint) = &peer else {
        unreachable!()
    };
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn protocols_and_extensions_are_agreed_on_end_to_end() {
    let one = Server::start(|conn, _| {
        let head = String::from_utf8(conn.read_until("\r\n\r\n")?).unwrap();
        let accept = websocket::accept_key(field(&head, "sec-websocket-key"));
        assert_eq!(field(&head, "sec-websocket-protocol"), "chat, other");
        assert_eq!(field(&head, "origin"), "https://a.test");
        conn.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello"
        ))?;
        conn.read_to_end().map(|_| ())
    });
    let umay = umay!("listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n", one.addr());
    let client = Client::connect(umay.addr()).unwrap();
    let more = [
        ("sec-websocket-protocol", "chat, other"),
        ("origin", "https://a.test"),
    ];
    let (mut stream, head) = ask(&client, "/", &[&CONNECT[..], &more].concat());
    assert_eq!(head.unwrap().get("sec-websocket-protocol"), Some("chat"));
    // What came right behind the handshake is not lost.
    assert_eq!(stream.read_some().unwrap().unwrap(), &b"hello"[..]);
}

/// The value of a field in the text of a head.
fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let found = fields.find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("no {name} in {head}")).1
}

#[test]
fn each_way_ends_on_its_own() {
    let one = Server::start(|conn, _| {
        let head = String::from_utf8(conn.read_until("\r\n\r\n")?).unwrap();
        let accept = websocket::accept_key(field(&head, "sec-websocket-key"));
        conn.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ))?;
        let (got, _) = conn.read_to_end()?;
        conn.send([b"got ", &got[..]].concat())
    });
    let many = Endpoint::start(|stream| {
        stream.respond(200, &[], false)?;
        let got = stream.read_to_end()?;
        stream.send(&[b"got ", &got[..]].concat())?;
        stream.finish(&[])
    });
    for peer in [Peer::One(one), Peer::Many(many)] {
        let umay = peer.before();
        let client = Client::connect(umay.addr()).unwrap();
        let (mut stream, head) = ask(&client, "/", &CONNECT);
        assert_eq!(head.unwrap().status(), 200);
        stream.send(b"all").unwrap();
        stream.finish(&[]).unwrap();
        assert_eq!(stream.read_to_end().unwrap(), b"got all");
    }
}

#[test]
fn a_client_that_leaves_ends_the_tunnel_and_so_does_an_endpoint() {
    let many = Endpoint::start(|stream| {
        stream.respond(200, &[], false)?;
        if stream.request().target() == "/endpoint" {
            // The head arrives before the reset.
            stream.read_some()?;
            return Err(io::Error::other("leaves"));
        }
        assert_eq!(stream.wait_reset()?, h2::Reason::CANCEL);
        Ok(())
    });
    let peer = Peer::Many(many);
    let umay = peer.before();
    let client = Client::connect(umay.addr()).unwrap();
    let (mut stream, head) = ask(&client, "/client", &CONNECT);
    assert_eq!(head.unwrap().status(), 200);
    stream.reset(h2::Reason::CANCEL);
    assert_eq!(umay.wait_path("/client")["reason"], "tunnel_reset");
    let (mut stream, head) = ask(&client, "/endpoint", &CONNECT);
    assert_eq!(head.unwrap().status(), 200);
    stream.send(b"x").unwrap();
    let error = stream.read_some().unwrap_err();
    assert!(code(&error).is_some(), "{error}");
    assert_eq!(umay.wait_path("/endpoint")["reason"], "tunnel_reset");
}

#[test]
fn an_endpoint_may_refuse() {
    let one = Server::http(|_| answer("403 Forbidden", "X-Why: so\r\n", "no"));
    let many = Endpoint::start(|stream| {
        stream.respond(403, &[("x-why", "so"), ("content-length", "2")], false)?;
        stream.send(b"no")?;
        stream.finish(&[])
    });
    for peer in [Peer::One(one), Peer::Many(many)] {
        let umay = peer.before();
        let client = Client::connect(umay.addr()).unwrap();
        let (mut stream, head) = ask(&client, "/", &CONNECT);
        let head = head.unwrap();
        assert_eq!((head.status(), head.get("x-why")), (403, Some("so")));
        assert_eq!(stream.read_to_end().unwrap(), b"no");
        let refused = websocket::connect(umay.connect(), "ws://a.test/").unwrap_err();
        let Error::Http(answer) = *refused else {
            panic!("{refused}");
        };
        assert_eq!(answer.status(), 403);
    }
}

/// What the client of HTTP/2 is answered instead of a WebSocket.
fn refused(umay: &Umay, fields: &[(&str, &str)]) -> (u16, String) {
    let client = Client::connect(umay.addr()).unwrap();
    let (_stream, head) = ask(&client, "/", fields);
    let head = head.unwrap();
    (head.status(), head.reason().unwrap())
}

#[test]
fn a_handshake_that_proves_nothing_is_refused() {
    for accept in ["", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"] {
        let one = Server::start(move |conn, _| {
            conn.read_until("\r\n\r\n")?;
            conn.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                 Upgrade: websocket\r\n{accept}\r\n"
            ))?;
            conn.read_to_end().map(|_| ())
        });
        let peer = Peer::One(one);
        let umay = peer.before();
        let (status, reason) = refused(&umay, &CONNECT);
        assert_eq!((status, &*reason), (502, "upstream_malformed"));
    }
}

#[test]
fn an_endpoint_without_extended_connect_is_not_asked() {
    let settings = Settings {
        extended_connect: false,
        ..Settings::default()
    };
    let many = Endpoint::start_with(None, settings, |stream| stream.respond(200, &[], true));
    let umay = umay!("listen = \"127.0.0.1:0\"\nto = \"h2c://{}\"\n", many.addr());
    let (status, reason) = refused(&umay, &CONNECT);
    assert_eq!((status, &*reason), (502, "upstream_no_extended_connect"));
    let error = websocket::connect(umay.connect(), "ws://a.test/").unwrap_err();
    assert!(matches!(*error, Error::Http(answer) if answer.status() == 502));
    // It has served nothing, and serves everything else.
    assert_eq!(many.streams(), 0);
    assert_eq!(umay.get("a.test", "/").status(), 200);
}

#[test]
fn other_protocols_are_refused() {
    for peer in Peer::both() {
        let umay = peer.before();
        for protocol in ["connect-udp", "webtransport", "h2c", "WebSocket"] {
            let fields = [(":protocol", protocol)];
            let (status, reason) = refused(&umay, &fields);
            assert_eq!((status, &*reason), (400, "upgrade_refused"), "{protocol}");
        }
    }
}

#[test]
fn an_upgrade_to_something_else_is_not_taken_for_a_websocket() {
    let [_, peer] = Peer::both();
    let umay = peer.before();
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for fields in [
        format!("Upgrade: other\r\n{key}"),
        format!("Upgrade: websocket, other\r\n{key}"),
        "Upgrade: websocket\r\n".to_owned(),
    ] {
        let mut conn = umay.connect();
        let request =
            format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\n{fields}\r\n");
        let response = conn.ask(request).unwrap();
        assert_eq!(response.reason().as_deref(), Some("upgrade_refused"));
    }
}
