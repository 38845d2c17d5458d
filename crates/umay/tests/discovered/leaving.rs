//! What becomes of connections to an endpoint that is no longer among the addresses of its name.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use umay_test::programs::{Program, dnsmasq, nghttpd_at};
use umay_test::tungstenite::protocol::Role;
use umay_test::tungstenite::{Message, WebSocket};
use umay_test::{Conn, GET, Server, Signal, eventually, ok, umay, unique_address, websocket};

use super::{addresses, before, dns, hosts, servers, setup, until_served_by};

/// Answers `/download` in two parts, the second when the gate is open, `/chat` with a WebSocket that
/// echoes, and all else with its name.
fn web(at: SocketAddr, name: &'static str, gate: &Arc<AtomicBool>) -> Server {
    let gate = Arc::clone(gate);
    Server::start_at(at, move |conn, _| {
        conn.set_deadline(Duration::from_secs(120));
        while let Some(request) = conn.read_request()? {
            match request.target() {
                "/download" => {
                    let head = "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n";
                    conn.send(head)?;
                    conn.send(vec![b'1'; 100_000])?;
                    eventually("the gate", || gate.load(Ordering::SeqCst).then_some(()));
                    conn.send(vec![b'2'; 100_000])?;
                }
                "/chat" => return chat(conn, request.get("sec-websocket-key").unwrap_or_default()),
                _ => conn.send(ok(name))?,
            }
        }
        Ok(())
    })
}

fn chat(conn: &mut Conn, key: &str) -> io::Result<()> {
    let accept = websocket::accept_key(key);
    conn.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ))?;
    websocket::echo_on(&mut WebSocket::from_raw_socket(conn, Role::Server, None))
}

/// Moves the name to these.
fn move_to(names: &Program, servers: &[Server]) {
    names.dir.write("hosts", hosts("app.test", servers));
    names.signal(Signal::HUP);
}

#[test]
fn what_is_open_lives_on() {
    let gate = Arc::default();
    let at = addresses(2);
    let webs = [web(at[0], "a", &gate), web(at[1], "b", &gate)];
    let port = unique_address().port();
    let raw = |n: usize| {
        let at = SocketAddr::new(at[n].ip(), port);
        Server::start_at(at, |conn, _| {
            loop {
                let got = conn.read_some()?;
                if got.is_empty() {
                    return Ok(());
                }
                conn.send(got)?;
            }
        })
    };
    let (old_raw, new_raw) = (raw(0), raw(1));
    let names = dnsmasq(&hosts("app.test", &webs[..1]), "");
    let umay = umay!(
        "{}
         [[listener]]\nname = \"web\"\nlisten = \"127.0.0.1:0\"
         [[listener]]\nname = \"raw\"\nlisten = \"127.0.0.1:0\"
         [[route]]\nlisteners = [\"web\"]\nto = \"http://app.test:{}\"
         [[route]]\nlisteners = [\"raw\"]\nto = \"tcp://app.test:{port}\"",
        dns(names.addr),
        at[0].port(),
    );
    let connect = |listener| Conn::connect(umay.at(listener)).unwrap();
    let mut download = connect("web");
    download
        .send("GET /download HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    download.read_until("1111").unwrap();
    let (mut socket, _) = websocket::connect(connect("web"), "ws://a.test/chat").unwrap();
    let mut say = |text: &str| {
        socket.send(Message::text(text)).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text(text));
    };
    say("before");
    let mut stream = connect("raw");
    stream.send("before").unwrap();
    assert_eq!(stream.read_exact(6).unwrap(), b"before");
    assert_eq!((webs[0].connections(), old_raw.connections()), (2, 1));

    move_to(&names, &webs[1..]);
    let ask = || connect("web").ask(GET).unwrap().text();
    eventually("the other endpoint", || (ask() == "b").then_some(()));
    // All that is new goes there.
    let (had, had_raw) = (webs[0].connections(), old_raw.connections());
    for _ in 0..10 {
        assert_eq!(ask(), "b");
    }
    eventually("a raw stream to the other endpoint", || {
        let mut new = connect("raw");
        new.send("x").unwrap();
        assert_eq!(new.read_exact(1).unwrap(), b"x");
        (new_raw.connections() > 0).then_some(())
    });
    assert_eq!(webs[0].connections(), had);
    // One may have been made before that upstream had heard of it.
    let late_raw = old_raw.connections();
    assert!(late_raw >= had_raw);

    // Who has left is none of the endpoints, whatever it still serves.
    let labels = [("upstream", "route-1")];
    umay.wait_metric("umay_upstream_endpoints", &labels, 1.0);
    assert_eq!(umay.metric("umay_discovery_endpoints", &labels), 1.0);

    // And all that is open goes on.
    say("after");
    stream.send("after").unwrap();
    assert_eq!(stream.read_exact(5).unwrap(), b"after");
    gate.store(true, Ordering::SeqCst);
    download.skip(199_000).unwrap();
    let metrics = umay.admin_get("/metrics").text();
    let gone = format!("@{}\"", at[0].ip());
    assert!(metrics.contains(&gone), "it serves yet: {metrics}");
    drop(download);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop((socket, stream));
    // With its last connection the endpoint is forgotten.
    eventually("the end of its metrics", || {
        let metrics = umay.admin_get("/metrics").text();
        (!metrics.contains(&gone)).then_some(())
    });
}

/// Also on workers that are asked for nothing any more.
#[test]
fn what_is_idle_is_closed() {
    let servers = servers(2);
    let names = dnsmasq(&hosts("app.test", &servers[..1]), "");
    let to = format!("to = \"http://app.test:{}\"", servers[0].addr().port());
    let umay = setup(&to, &dns(names.addr)).workers(2).start();
    // Kept open, so that Umay uses one connection for each.
    let mut clients: Vec<Conn> = (0..20).map(|_| umay.connect()).collect();
    for client in &mut clients {
        client.send(GET).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.read_response("GET").unwrap().text(), "a");
    }
    let open = servers[0].connections();
    assert!(open > 1 && servers[0].ended() == 0, "{open}");
    move_to(&names, &servers[1..]);
    servers[0].wait_ended(open);
    until_served_by(&umay, &["b"]);
    for client in &mut clients {
        assert_eq!(client.ask(GET).unwrap().text(), "b");
    }
    assert_eq!(servers[0].connections(), open);
}

/// HTTP/2 as well: its connection is shared, and closed when it has nothing to do.
#[test]
fn an_idle_connection_of_http2_is_closed() {
    let at = addresses(2);
    let root = |text: &'static str| [("index.html", text.as_bytes())];
    let old = nghttpd_at(at[0], None, &[], &root("a"));
    let _new = nghttpd_at(at[1], None, &[], &root("b"));
    let line = |n: usize| format!("{} app.test\n", at[n].ip());
    let names = dnsmasq(&line(0), "");
    let to = format!("to = \"h2c://app.test:{}\"", at[0].port());
    let umay = before(&to, &dns(names.addr));
    until_served_by(&umay, &["a"]);
    umay.wait_metric("umay_upstream_connections_opened_total", &[], 1.0);
    names.dir.write("hosts", line(1));
    names.signal(Signal::HUP);
    umay.wait_metric("umay_upstream_connections_closed_total", &[], 1.0);
    until_served_by(&umay, &["b"]);
    drop(old);
    super::ask(&umay);
}

/// What is under way on that connection keeps it open.
#[test]
fn a_download_over_http2_lives_on() {
    const LONG: usize = 40_000_000;
    let at = addresses(2);
    let file = vec![b'x'; LONG];
    let _old = nghttpd_at(at[0], None, &[], &[("index.html", b"a"), ("long", &file)]);
    let _new = nghttpd_at(at[1], None, &[], &[("index.html", b"b")]);
    let line = |n: usize| format!("{} app.test\n", at[n].ip());
    let names = dnsmasq(&line(0), "");
    let to = format!("to = \"h2c://app.test:{}\"", at[0].port());
    let umay = before(&to, &dns(names.addr));
    until_served_by(&umay, &["a"]);
    let mut download = umay.connect();
    download
        .send("GET /long HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    download.read_until("\r\n\r\n").unwrap();
    names.dir.write("hosts", line(1));
    names.signal(Signal::HUP);
    until_served_by(&umay, &["b"]);
    // The sweep that closes what is idle comes once a second.
    std::thread::sleep(Duration::from_millis(1500));
    let closed = || umay.metric("umay_upstream_connections_closed_total", &[]);
    assert_eq!(closed(), 0.0);
    download.skip(LONG as u64).unwrap();
    eventually("the end of the connection", || {
        (closed() == 1.0).then_some(())
    });
}
