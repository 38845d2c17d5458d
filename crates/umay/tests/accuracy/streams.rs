//! Raw streams and tunnels: how they end, and each of their bytes.

use std::time::Duration;

use umay_test::tungstenite::Message;
use umay_test::{Certs, Conn, GET, Refusing, Server, Umay, umay, websocket};

use super::ledger::Ledger;

/// Umay with a listener for each kind of stream, before one who echoes.
struct Scene {
    umay: Umay,
    books: Ledger,
    certs: Certs,
    echo: Server,
    web: Server,
    down: Refusing,
}

impl Scene {
    fn start(workers: usize) -> Self {
        let (certs, echo, down) = (Certs::new(), Server::echo(), Refusing::new());
        let web = Server::start(|conn, _| websocket::echo(conn));
        let listener =
            |name: &str| format!("[[listener]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\n");
        let route = |name: &str, what: &str, to: String| {
            format!(
                "[[route]]\nname = \"{name}\"\nlisteners = [\"{name}\"]\n{what}\nto = \"tcp://{to}\"\n"
            )
        };
        let at = echo.addr().to_string();
        let config = [
            "timeouts.tunnel = \"1s\"\ntimeouts.keep_alive = \"1s\"\n".to_owned(),
            ["raw", "mqtt", "sealed", "down", "web"]
                .map(listener)
                .concat(),
            listener("tls"),
            certs.issue(&["a.test"]).toml(),
            route("raw", "protocol = \"tcp\"", at.clone()),
            route("mqtt", "protocol = \"mqtt\"", at.clone()),
            route("sealed", "passthrough = true\nsni = \"a.test\"", at.clone()),
            route("tls", "protocol = \"tcp\"", at.clone()),
            route("down", "protocol = \"tcp\"", down.addr().to_string()),
            format!(
                "[[route]]\nname = \"web\"\nlisteners = [\"web\"]\nprotocol = \"http\"\nto = \"http://{}\"\n",
                web.addr()
            ),
        ];
        let umay = umay!().config(config.concat()).workers(workers).start();
        Self {
            umay,
            books: Ledger::default(),
            certs,
            echo,
            web,
            down,
        }
    }

    fn connect(&self, listener: &str) -> Conn {
        Conn::connect(self.umay.at(listener)).unwrap()
    }

    /// Notes a stream that reached the endpoint.
    fn note(&mut self, route: &str, close_reason: &str, bytes: [usize; 2]) {
        let endpoint = self.echo.addr().to_string();
        let books = &mut self.books;
        books.wanted(route);
        books.given(route, &endpoint, close_reason);
        books.links += 1.0;
        books.streamed(close_reason, bytes[0], bytes[1]);
        if close_reason != "ok" {
            books.refused(close_reason);
        }
    }
}

/// Sends so many bytes while it reads as many, and then the end.
fn exchange(conn: &mut Conn, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let part = left.min(100_000);
        conn.send(vec![b'x'; part]).unwrap();
        conn.skip(part as u64).unwrap();
        left -= part;
    }
    conn.half_close().unwrap();
    assert_eq!(conn.read_to_end().unwrap().0, b"");
}

fn raw(scene: &mut Scene) {
    // Little, what is copied, and what the kernel moves by itself.
    for bytes in [1, 5_000, 300_000, 3_000_000] {
        exchange(&mut scene.connect("raw"), bytes);
        scene.books.came(&[]);
        scene.note("raw", "ok", [bytes, bytes]);
    }
    // A client that says nothing, and one that resets.
    let mut conn = scene.connect("raw");
    conn.send("abc").unwrap();
    conn.read_exact(3).unwrap();
    assert_eq!(conn.read_to_end().unwrap().0, b"");
    scene.books.came(&[]);
    scene.note("raw", "idle_timeout", [3, 3]);
    let mut conn = scene.connect("raw");
    conn.send("abcd").unwrap();
    conn.read_exact(4).unwrap();
    conn.reset_when_dropped().unwrap();
    drop(conn);
    scene.books.came(&[]);
    scene.note("raw", "tunnel_reset", [4, 4]);
    // Nobody there.
    let mut conn = scene.connect("down");
    assert_eq!(conn.read_to_end().unwrap().0, b"");
    let endpoint = scene.down.addr().to_string();
    scene.books.came(&[]);
    scene.books.wanted("down");
    scene.books.given("down", &endpoint, "connect_refused");
    scene.books.blamed("down", &endpoint);
    scene.books.streamed("connect_refused", 0, 0);
    scene.books.refused("connect_refused");
}

fn known(scene: &mut Scene) {
    // MQTT, by its CONNECT.
    let connect = b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0";
    let mut conn = scene.connect("mqtt");
    conn.send(connect).unwrap();
    assert_eq!(conn.read_exact(connect.len()).unwrap(), connect);
    conn.half_close().unwrap();
    conn.read_to_end().unwrap();
    scene.books.came(&["mqtt"]);
    scene.note("mqtt", "ok", [connect.len(); 2]);
    // TLS that is opened, around bytes that nobody looks at but to find that they are no HTTP.
    let mut conn = scene.connect("tls");
    conn = conn.into_tls(&scene.certs.trusting(), "a.test").unwrap();
    exchange(&mut conn, 5_000);
    scene.books.came(&["tls"]);
    scene.books.shook("1.3", "no");
    scene.note("tls", "ok", [5_000; 2]);
    // TLS that is not: as many bytes as the client has sent.
    let mut conn = scene.connect("sealed");
    let hello = client_hello("a.test");
    conn.send(&hello).unwrap();
    assert_eq!(conn.read_exact(hello.len()).unwrap(), hello);
    conn.half_close().unwrap();
    conn.read_to_end().unwrap();
    scene.books.came(&["tls"]);
    scene.note("sealed", "ok", [hello.len(); 2]);
}

/// A ClientHello that names the server, with the least that there has to be (RFC 8446 section 4.1.2).
fn client_hello(name: &str) -> Vec<u8> {
    let two = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let name = name.as_bytes();
    let entry = [&[0][..], &two(name.len()), name].concat();
    let list = [&two(entry.len())[..], &entry].concat();
    let sni = [&two(0)[..], &two(list.len()), &list].concat();
    let fixed = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    let body = [&fixed[..], &two(sni.len()), &sni].concat();
    let hello = [&[1, 0][..], &two(body.len()), &body].concat();
    [&[22, 3, 1][..], &two(hello.len()), &hello].concat()
}

fn lost(scene: &mut Scene) {
    // MQTT where there is none, and nothing at all: refused, but never a stream.
    let mut conn = scene.connect("web");
    conn.send(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0").unwrap();
    conn.read_to_end().unwrap();
    scene.books.came(&["mqtt"]);
    scene.books.refused("no_route");
    let mut conn = scene.connect("web");
    conn.set_deadline(Duration::from_secs(20));
    assert_eq!(conn.read_to_end().unwrap().0, b"");
    scene.books.came(&["timeout"]);
    scene.books.refused("detect_timeout");
    // Who leaves without a word is not counted as anything but a connection.
    drop(scene.connect("web"));
    scene.books.came(&[]);
}

/// A WebSocket is a request with a status, and a tunnel with an end.
fn websockets(scene: &mut Scene) {
    let endpoint = scene.web.addr().to_string();
    for reason in [None, Some("idle_timeout")] {
        let conn = scene.connect("web");
        let (mut socket, _) = websocket::connect(conn, "ws://a.test/").unwrap();
        // A frame of a client has six bytes of head, one of an endpoint two.
        socket.send(Message::text("hello")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("hello"));
        let mut bytes = [6 + 5, 2 + 5];
        if reason.is_none() {
            socket.close(None).unwrap();
            bytes = [bytes[0] + 6, bytes[1] + 2];
        }
        while socket.read().is_ok() {}
        let books = &mut scene.books;
        books.came(&["http1"]);
        books.answered(Some("web"), "GET", 101);
        books.wanted("web");
        books.given("web", &endpoint, reason.unwrap_or("ok"));
        books.links += 1.0;
        books.streamed(reason.unwrap_or("ok"), bytes[0], bytes[1]);
        if let Some(reason) = reason {
            books.refused(reason);
        }
    }
}

#[test]
fn streams_are_counted_exactly() {
    for workers in [1, 2] {
        let mut scene = Scene::start(workers);
        raw(&mut scene);
        known(&mut scene);
        lost(&mut scene);
        websockets(&mut scene);
        scene.books.audit(&scene.umay);
    }
}

/// While it lasts, a tunnel is one that is open, and its bytes are there at once.
#[test]
fn what_is_open_is_counted_as_open() {
    let (echo, app) = (Server::echo(), Server::ok("hi"));
    let umay = umay!(
        "[[listener]]\nname = \"raw\"\nlisten = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"web\"\nlisten = \"127.0.0.1:0\"\n\
         [[route]]\nlisteners = [\"raw\"]\nprotocol = \"tcp\"\nto = \"tcp://{}\"\n\
         [[route]]\nlisteners = [\"web\"]\nprotocol = \"http\"\nto = \"http://{}\"\n",
        echo.addr(),
        app.addr(),
    );
    let mut conns: Vec<_> = (0..3)
        .map(|_| Conn::connect(umay.at("raw")).unwrap())
        .collect();
    for conn in &mut conns {
        conn.send("abc").unwrap();
        conn.read_exact(3).unwrap();
    }
    let mut idle = Conn::connect(umay.at("web")).unwrap();
    idle.ask(GET).unwrap();
    umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
    let page = umay.scrape();
    for (gauge, wanted) in [
        ("umay_connections_active", 4.0),
        ("umay_tcp_connections_active", 3.0),
        ("umay_endpoint_in_flight", 3.0),
        ("umay_upstream_connections_idle", 1.0),
    ] {
        assert_eq!(page.sum(gauge, &[]), wanted, "{gauge}");
    }
    assert_eq!(page.sum("umay_tcp_bytes_total", &[]), 18.0);
    assert_eq!(page.sum("umay_tcp_connections_total", &[]), 0.0);
    drop((conns, idle));
    let page = super::ledger::at_rest(&umay, 4.0);
    assert_eq!(page.sum("umay_tcp_connections_total", &[]), 3.0);
}
