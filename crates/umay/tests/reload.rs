//! Reloads: another configuration takes the place of the one that is served, whole or not at all, and breaks nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use umay_test::http2::Endpoint;
use umay_test::programs::dnsmasq;
use umay_test::tungstenite::Message;
use umay_test::{
    Certs, Conn, End, GET, Refusing, Server, TempDir, Umay, eventually, umay, unique_address,
    websocket,
};

/// More than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

fn to(addr: SocketAddr) -> String {
    format!("listen = \"127.0.0.1:0\"\nto = \"{addr}\"\n")
}

#[test]
fn routes_change_between_two_requests_of_a_connection() {
    let (one, two) = (Server::ok("one"), Server::ok("two"));
    let umay = umay!().config(to(one.addr())).workers(2).start();
    let mut conn = umay.connect();
    assert_eq!(conn.ask(GET).unwrap().text(), "one");
    for _ in 0..3 {
        assert!(umay.reload(to(two.addr())));
        assert_eq!(conn.ask(GET).unwrap().text(), "two");
        assert!(umay.reload(to(one.addr())));
        assert_eq!(conn.ask(GET).unwrap().text(), "one");
    }
    umay.wait_event("configuration reloaded");
}

#[test]
fn a_bad_configuration_is_refused_whole_and_told() {
    let one = Server::ok("one");
    let umay = umay!().config(to(one.addr())).start();
    let mut conn = umay.connect();
    assert_eq!(conn.ask(GET).unwrap().text(), "one");
    for (text, words) in [
        ("listen = \"127.0.0.1:0\"\nto = [", "umay.toml:2"),
        (
            "listen = \"127.0.0.1:0\"\ntu = \"127.0.0.1:1\"\n",
            "did you mean `to`?",
        ),
        (
            "listen = [\"127.0.0.1:0\", \"192.0.2.1:80\"]\nto = \"127.0.0.1:1\"\n",
            "cannot listen on 192.0.2.1:80",
        ),
        (
            "listen = \"127.0.0.1:0\"\ncert = \"none.pem\"\nkey = \"none.key\"\nto = \"127.0.0.1:1\"\n",
            "none.pem",
        ),
    ] {
        assert!(!umay.reload(text), "{text}");
        umay.wait_event(words);
        assert_eq!(conn.ask(GET).unwrap().text(), "one");
        let status = umay.admin_get("/status").text();
        assert!(status.contains(words), "{status}");
    }
    assert!(umay.reload(to(one.addr())));
    let status = umay.admin_get("/status").text();
    assert!(status.contains("\"refused\": null"), "{status}");
}

#[test]
fn listeners_come_and_go() {
    let one = Server::ok("one");
    let two = |more: &str| {
        format!(
            "to = \"{}\"\n[[listener]]\nname = \"a\"\nlisten = \"127.0.0.1:0\"\n{more}",
            one.addr()
        )
    };
    let umay = umay!().config(two("")).workers(2).start();
    let mut kept = umay.connect();
    assert_eq!(kept.ask(GET).unwrap().text(), "one");
    let with_b = two("[[listener]]\nname = \"b\"\nlisten = \"127.0.0.1:0\"\n");
    assert!(umay.reload(&with_b));
    let b = umay.listening("b");
    let mut idle: Vec<Conn> = (0..8).map(|_| Conn::connect(b).unwrap()).collect();
    for conn in &mut idle {
        assert_eq!(conn.ask(GET).unwrap().text(), "one");
    }
    assert!(umay.reload(&with_b));
    assert_eq!(umay.listening("b"), b);
    for conn in &mut idle {
        assert_eq!(conn.ask(GET).unwrap().text(), "one");
    }
    assert!(umay.reload(two("")));
    for conn in &mut idle {
        assert_eq!(conn.read_to_end().unwrap(), (Vec::new(), End::Clean));
    }
    eventually("nobody at b", || Conn::connect(b).is_err().then_some(()));
    assert_eq!(kept.ask(GET).unwrap().text(), "one");
}

/// Sends the first half of an answer, and the other when it is told to.
fn halves() -> (Server, mpsc::Sender<()>) {
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let server = Server::start(move |conn, _| {
        while conn.read_request()?.is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")?;
            gone.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            conn.send("full")?;
        }
        Ok(())
    });
    (server, go)
}

#[test]
fn what_is_in_flight_is_finished_where_it_began() {
    let (slow, go) = halves();
    let fast = Server::ok("fast");
    let umay = umay!().config(to(slow.addr())).start();
    let mut conn = umay.connect();
    conn.send(GET).unwrap();
    conn.read_until("half").unwrap();
    // Its listener, its route and its endpoint are gone.
    let other = format!(
        "to = \"{}\"\n[[listener]]\nname = \"b\"\nlisten = \"127.0.0.1:0\"\n",
        fast.addr()
    );
    assert!(umay.reload(other));
    assert_eq!(umay_get(umay.listening("b")), "fast");
    go.send(()).unwrap();
    conn.read_until("full").unwrap();
    assert_eq!(conn.read_to_end().unwrap(), (Vec::new(), End::Clean));
}

fn umay_get(addr: SocketAddr) -> String {
    Conn::connect(addr).unwrap().ask(GET).unwrap().text()
}

#[test]
fn raw_streams_live_through_reloads() {
    let echo = Server::start(|conn, _| {
        while let Ok(bytes) = conn.read_some() {
            if bytes.is_empty() {
                break;
            }
            conn.send(bytes)?;
        }
        Ok(())
    });
    let config = |level: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\nlog.level = \"{level}\"\n",
            echo.addr()
        )
    };
    let umay = umay!().config(config("info")).workers(2).start();
    let mut streams: Vec<Conn> = (0..10).map(|_| umay.connect()).collect();
    for round in 0..10 {
        for stream in &mut streams {
            stream.send("ping").unwrap();
            stream.read_until("ping").unwrap();
        }
        assert!(umay.reload(config(["info", "info,umay=debug"][round % 2])));
    }
    assert_eq!(echo.connections(), 10);
}

#[test]
fn endpoints_that_stay_keep_their_connections_and_what_is_known_of_them() {
    let (good, refusing) = (Server::ok("good"), Refusing::new());
    let config = |more: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nto = \"web\"\n{more}\n[upstream.web]\nbalance = \"round_robin\"\n\
             to = [\"http://{}\", \"http://{}\"]\n",
            good.addr(),
            refusing.addr()
        )
    };
    let umay = umay!().config(config("")).start();
    let mut conn = umay.connect();
    let ejected = |umay: &Umay| {
        let labels = [("upstream", "web"), ("standing", "ejected")];
        umay.metric("umay_upstream_endpoints", &labels)
    };
    eventually("an ejection", || {
        assert_eq!(conn.ask(GET).unwrap().text(), "good");
        (ejected(&umay) == 1.0).then_some(())
    });
    let picks = |umay: &Umay| {
        let endpoint = refusing.addr().to_string();
        umay.metric("umay_endpoint_picks_total", &[("endpoint", &endpoint)])
    };
    let before = picks(&umay);
    // Another route, another cap, another weight: still the same endpoints.
    assert!(umay.reload(config("[timeouts]\nkeep_alive = \"30s\"")));
    let weighted = config("").replace("round_robin\"", "round_robin\"\nslow_start = \"1s\"");
    assert!(umay.reload(weighted));
    for _ in 0..20 {
        assert_eq!(conn.ask(GET).unwrap().text(), "good");
    }
    assert_eq!((ejected(&umay), picks(&umay)), (1.0, before));
    assert_eq!(good.connections(), 1);
}

#[test]
fn certificates_are_read_again() {
    let (certs, one) = (Certs::new(), Server::ok("one"));
    let config = |toml: &str| format!("listen = \"127.0.0.1:0\"\n{toml}to = \"{}\"\n", one.addr());
    let umay = umay!()
        .config(config(&certs.issue(&["a.test"]).toml()))
        .start();
    let connect = |name: &str| Conn::connect_tls(umay.addr(), &certs.trusting(), name);
    let mut old = connect("a.test").unwrap();
    assert_eq!(old.ask(GET).unwrap().text(), "one");
    assert!(umay.reload(config(&certs.issue(&["b.test"]).toml())));
    assert!(connect("a.test").is_err());
    let mut new = connect("b.test").unwrap();
    let get = "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n";
    assert_eq!(new.ask(get).unwrap().text(), "one");
    // Who has shown the old one still speaks for it.
    assert_eq!(old.ask(GET).unwrap().text(), "one");
}

#[test]
fn settings_hold_for_what_begins_after() {
    let one = Server::ok("one");
    let config = |keep: &str| format!("{}timeouts.keep_alive = \"{keep}\"\n", to(one.addr()));
    let umay = umay!().config(config("60s")).start();
    let mut conn = umay.connect();
    assert_eq!(conn.ask(GET).unwrap().text(), "one");
    assert!(umay.reload(config("200ms")));
    assert_eq!(conn.ask(GET).unwrap().text(), "one");
    assert_eq!(conn.read_to_end().unwrap(), (Vec::new(), End::Clean));
}

#[test]
fn the_command_line_asks_and_is_told() {
    let (dir, one) = (TempDir::new(), Server::ok("one"));
    let socket = dir.path().join("umay.sock");
    let config = format!("{}admin.socket = {socket:?}\n", to(one.addr()));
    let umay = umay!().config(&config).start();
    let ask = || {
        Command::new(env!("CARGO_BIN_EXE_umay"))
            .args(["reload", "--socket"])
            .arg(&socket)
            .output()
            .unwrap()
    };
    let done = ask();
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).starts_with("The configuration is served"));
    umay.rewrite("listen = 1\n");
    let done = ask();
    assert!(!done.status.success());
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.contains("umay.toml:1"), "{text}");
    assert_eq!(umay.connect().ask(GET).unwrap().text(), "one");
}

#[test]
fn many_reloads_leave_nothing_behind() {
    let (one, two) = (Server::ok("one"), Server::ok("two"));
    let umay = umay!().config(to(one.addr())).workers(2).start();
    let mut idle = umay.connect();
    assert_eq!(idle.ask(GET).unwrap().text(), "one");
    let files = || umay.metric("process_open_fds", &[]);
    let before = files();
    for round in 0..50 {
        let server = [&one, &two][round % 2];
        let more = format!(
            "[[listener]]\nname = \"more\"\nlisten = \"127.0.0.1:0\"\n[[listener]]\nname = \"main\"\nlisten = \"127.0.0.1:0\"\nto_be = {round}\n"
        );
        // Every other one is bad.
        assert!(!umay.reload(more));
        assert!(umay.reload(to(server.addr())));
    }
    assert_eq!(idle.ask(GET).unwrap().text(), "two");
    eventually("all files closed", || {
        (files() <= before + 2.0).then_some(())
    });
}

#[test]
fn an_upstream_that_is_gone_takes_its_connections_along() {
    let sockets = Server::start(|conn, _| websocket::echo(conn));
    let one = Server::ok("one");
    let two = Endpoint::start(|stream| {
        stream.respond(200, &[], false)?;
        stream.send(b"two")?;
        stream.finish(&[])
    });
    let with = |more: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nto = \"sockets\"\n[upstream.sockets]\nto = \"http://{}\"\n{more}",
            sockets.addr()
        )
    };
    let both = format!(
        "[[route]]\npath = \"/one\"\nto = \"one\"\n[[route]]\npath = \"/two\"\nto = \"two\"\n\
         [upstream.one]\nto = \"http://{}\"\nlimits.endpoint_connections = 9\n\
         [upstream.two]\nto = \"h2c://{}\"\nlimits.endpoint_connections = 9\n",
        one.addr(),
        two.addr()
    );
    let umay = umay!().config(with(&both)).start();
    // These hold the configuration that they began with.
    let (mut socket, _) = websocket::connect(umay.connect(), "ws://a.test/").unwrap();
    let mut idle = umay.connect();
    for path in ["one", "two"] {
        let get = format!("GET /{path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(idle.ask(get).unwrap().text(), path);
    }
    assert!(umay.reload(with("")));
    one.wait_ended(1);
    umay.wait_metric("umay_upstream_connections_idle", &[], 0.0);
    // That of the WebSocket is left.
    let count = |name: &str| umay.metric(name, &[]);
    eventually("the others to be closed", || {
        let opened = count("umay_upstream_connections_opened_total");
        (opened == 1.0 + count("umay_upstream_connections_closed_total")).then_some(())
    });
    socket.send(Message::text("on")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("on"));
}

#[test]
fn a_listener_that_is_renamed_keeps_its_socket() {
    let (one, at) = (Server::ok("one"), umay_test::unique_address());
    let named = |name: &str| {
        format!(
            "to = \"{}\"\n[[listener]]\nname = \"{name}\"\nlisten = \"{at}\"\n",
            one.addr()
        )
    };
    let umay = umay!().config(named("a")).workers(2).start();
    let mut conn = Conn::connect(at).unwrap();
    assert_eq!(conn.ask(GET).unwrap().text(), "one");
    assert!(umay.reload(named("b")));
    assert_eq!(conn.ask(GET).unwrap().text(), "one");
    assert_eq!(umay_get(at), "one");
    umay.wait_log(|line| line["listener"] == "b");
}

#[test]
fn what_tls_to_endpoints_is_made_from_is_read_again() {
    let certs = Certs::new();
    let shown = certs.issue(&["e.test"]);
    let one = Server::https(certs.server(&shown), |_| umay_test::ok("one"));
    let dir = TempDir::new();
    let (ca, right) = (
        dir.path().join("ca.pem"),
        std::fs::read(certs.ca()).unwrap(),
    );
    std::fs::write(&ca, std::fs::read(Certs::new().ca()).unwrap()).unwrap();
    let config = format!(
        "listen = \"127.0.0.1:0\"\nto = \"web\"\n[upstream.web]\nto = \"https://{}\"\noutlier = \"off\"\n\
         tls.ca = {ca:?}\ntls.sni = \"e.test\"\n",
        one.addr()
    );
    let umay = umay!().config(&config).start();
    assert_eq!(umay.get("a.test", "/").status(), 502);
    std::fs::write(&ca, right).unwrap();
    assert!(umay.reload(&config));
    assert_eq!(umay.get("a.test", "/").text(), "one");
    // A connection that was opened by the old ones is not used on.
    std::fs::write(&ca, std::fs::read(Certs::new().ca()).unwrap()).unwrap();
    assert!(umay.reload(&config));
    assert_eq!(umay.get("a.test", "/").status(), 502);
}

#[test]
fn who_waits_for_endpoints_gets_those_of_the_new_configuration() {
    // Takes questions and answers none.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let one = Server::ok("one");
    let config = |to: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nto = \"web\"\ntimeouts.connect = \"15s\"\n\
             dns = {{ servers = [\"{}\"], timeout = \"10s\" }}\n[upstream.web]\nto = \"{to}\"\n",
            silent.local_addr().unwrap()
        )
    };
    let umay = umay!().config(config("http://nobody.test:80")).start();
    let mut conn = umay.connect();
    conn.send(GET).unwrap();
    umay.wait_metric("umay_http_requests_in_flight", &[], 1.0);
    assert!(umay.reload(config(&format!("http://{}", one.addr()))));
    let answer = conn.read_response("GET").unwrap();
    assert_eq!((answer.status(), answer.text()), (200, "one".to_owned()));
}

#[test]
fn endpoints_stay_while_names_are_asked_for_anew() {
    // Takes questions and answers none.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let one = Server::ok("one");
    let names = dnsmasq("127.0.0.1 one.test\n", "");
    let config = |names: SocketAddr, more: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nto = \"web\"\ndns = {{ servers = [\"{names}\"], timeout = \"200ms\" }}\n\
             [upstream.web]\nto = [{more}\"http://one.test:{}\"]\n",
            one.addr().port()
        )
    };
    let umay = umay!().config(config(names.addr, "")).start();
    let mut conn = umay.connect();
    assert_eq!(conn.ask(GET).unwrap().text(), "one");
    let silent = silent.local_addr().unwrap();
    assert!(umay.reload(config(silent, "\"http://two.test:80\", ")));
    let problem = || umay.admin_get("/status").text().contains("two.test");
    eventually("a problem with names", || problem().then_some(()));
    for _ in 0..50 {
        assert_eq!(conn.ask(GET).unwrap().text(), "one");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(umay.reload(config(names.addr, "")));
    eventually("no problem", || (!problem()).then_some(()));
    assert_eq!(conn.ask(GET).unwrap().text(), "one");
}

#[test]
fn what_a_route_has_learned_of_its_endpoints_is_not_forgotten() {
    let one = Server::ok("one");
    let config = |more: &str| format!("listen = \"127.0.0.1:0\"\nto = \"{}\"\n{more}", one.addr());
    let umay = umay!().config(config("")).start();
    assert_eq!(umay.get("a.test", "/").text(), "one");
    // It speaks HTTP, so nothing that is nearly HTTP is given to it as a raw stream.
    for more in [
        "",
        "timeouts.keep_alive = \"30s\"\n",
        "log.level = \"info\"\n",
    ] {
        assert!(umay.reload(config(more)));
        let before = one.connections();
        let mut raw = umay.connect();
        raw.send("\x01\x02\x03 no HTTP\r\n\r\n").unwrap();
        raw.read_to_end().unwrap();
        assert_eq!(one.connections(), before, "{more}");
    }
}

#[test]
fn an_endpoint_that_comes_with_a_reload_begins_slowly_and_one_that_goes_is_not_counted() {
    let (old, new) = (Server::ok("old"), Server::ok("new"));
    let config = |more: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nto = \"web\"\n[upstream.web]\nto = [\"http://{}\"{more}]\n\
             balance = \"round_robin\"\nslow_start = \"60s\"\n",
            old.addr()
        )
    };
    let umay = umay!().config(config("")).start();
    let mut conn = umay.connect();
    let mut share = || {
        let answers = (0..200).map(|_| conn.ask(GET).unwrap().text());
        answers.filter(|text| text == "new").count()
    };
    assert_eq!(share(), 0);
    assert!(umay.reload(config(&format!(", \"http://{}\"", new.addr()))));
    umay.wait_event("endpoint has come");
    umay.wait_metric("umay_upstream_endpoints", &[], 2.0);
    let slow = share();
    assert!(slow < 60, "{slow} of 200");
    assert!(umay.reload(config("")));
    umay.wait_event("endpoint has left");
    umay.wait_metric("umay_upstream_endpoints", &[], 1.0);
    assert_eq!(share(), 0);
}

#[test]
fn who_asks_for_a_reload_while_it_drains_is_told_so() {
    let (dir, one) = (TempDir::new(), Server::ok("one"));
    let socket = dir.path().join("umay.sock");
    let config = format!(
        "{}admin.socket = {socket:?}\ntimeouts.drain = \"20s\"\n",
        to(one.addr())
    );
    let mut umay = umay!().config(&config).start();
    let mut conn = umay.connect();
    conn.send("GET / HTTP/1.1\r\n").unwrap();
    umay.wait_metric("umay_connections_active", &[], 1.0);
    umay.signal(umay_test::Signal::TERM);
    umay.wait_event("draining");
    let asked = std::time::Instant::now();
    let done = Command::new(env!("CARGO_BIN_EXE_umay"))
        .args(["reload", "--socket"])
        .arg(&socket)
        .output()
        .unwrap();
    assert!(
        !done.status.success() && asked.elapsed() < Duration::from_secs(5),
        "{done:?}"
    );
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.contains("Umay is ending"), "{text}");
    umay.signal(umay_test::Signal::HUP);
    conn.send("Host: a.test\r\n\r\n").unwrap();
    assert_eq!(conn.read_response("GET").unwrap().text(), "one");
    assert_eq!(umay.wait_exit(), 0);
}

#[test]
fn the_admin_and_the_access_log_move_with_a_reload() {
    let (dir, endpoint) = (TempDir::new(), Server::ok("hi"));
    let file = |name: &str| dir.path().join(name);
    let config = |admin: &str, socket: &str, log: &str| {
        format!(
            "admin.bind = {admin:?}\nadmin.socket = {:?}\nlog.access = {log:?}\n\
             listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
            file(socket),
            endpoint.addr()
        )
    };
    let ask = |socket: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_umay"));
        let command = command.arg("reload").arg("--socket").arg(file(socket));
        command.output().unwrap().status.success()
    };
    let [one, two] = [unique_address(), unique_address()].map(|at| at.to_string());
    let (one_log, two_log) = (file("one.log"), file("two.log"));
    let lines = |log: &Path| {
        let text = fs::read_to_string(log).unwrap_or_default();
        text.lines()
            .filter(|line| line.contains("\"path\""))
            .count()
    };
    let umay = umay!()
        .config(config(&one, "one.sock", one_log.to_str().unwrap()))
        .without("UMAY_ADMIN__BIND")
        .start();
    let mut kept = umay.connect();
    assert_eq!(kept.ask(GET).unwrap().status(), 200);
    eventually("a line", || (lines(&one_log) == 1).then_some(()));
    umay.rewrite(config(&two, "two.sock", two_log.to_str().unwrap()));
    // Whoever asked on the old socket is told.
    assert!(ask("one.sock"));
    assert!(!file("one.sock").exists() && ask("two.sock") && !ask("one.sock"));
    let ready = |at: &str| {
        let request = "GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        Conn::connect(at.parse().unwrap()).and_then(|mut conn| conn.ask(request))
    };
    assert_eq!(ready(&two).unwrap().status(), 200);
    assert!(ready(&one).is_err());
    assert_eq!(kept.ask(GET).unwrap().status(), 200);
    eventually("a line", || (lines(&two_log) == 1).then_some(()));
    assert_eq!(lines(&one_log), 1);
    // What cannot be had changes nothing.
    for bad in [
        config(&endpoint.addr().to_string(), "two.sock", "stdout"),
        config(&two, "no/dir.sock", "stdout"),
        config(&two, "two.sock", "/no/such/dir/access.log"),
    ] {
        umay.rewrite(bad);
        assert!(!ask("two.sock"));
        assert_eq!(ready(&two).unwrap().status(), 200);
    }
    assert_eq!(kept.ask(GET).unwrap().status(), 200);
    eventually("a line", || (lines(&two_log) == 2).then_some(()));
    // Off, and on again.
    umay.rewrite(config("off", "two.sock", "off"));
    assert!(ask("two.sock") && ready(&two).is_err());
    assert_eq!(kept.ask(GET).unwrap().status(), 200);
    umay.rewrite(config(&two, "two.sock", one_log.to_str().unwrap()));
    assert!(ask("two.sock"));
    assert_eq!(kept.ask(GET).unwrap().status(), 200);
    eventually("a line", || (lines(&one_log) == 2).then_some(()));
    assert_eq!((lines(&two_log), ready(&two).unwrap().status()), (2, 200));
}
