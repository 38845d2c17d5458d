//! The access log in a syslog: on this machine, over UDP, TCP and TLS; and syslogs that are gone, slow, or not who
//! they are to be.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use umay_test::{Certs, Conn, DEADLINE, Server, TempDir, Umay, Value, eventually, programs, umay};

fn text(endpoint: &Server, more: &str) -> String {
    let endpoint = endpoint.addr();
    format!("listen = \"127.0.0.1:0\"\nto = \"http://{endpoint}\"\n{more}\n")
}

fn before(endpoint: &Server, more: &str) -> Umay {
    umay!("{}", text(endpoint, more))
}

/// What a syslog gets, without the time: priority and version, and what comes behind.
fn syslog_parts(message: &str) -> (&str, Vec<&str>, Value) {
    let mut parts = message.splitn(8, ' ');
    let head = parts.next().unwrap();
    let stamp = parts.next().unwrap();
    assert!(stamp.ends_with('Z') && stamp.len() == 24, "{message}");
    let _host = parts.next().unwrap();
    let mut rest: Vec<_> = parts.collect();
    let line = rest.pop().unwrap();
    (head, rest, line.parse().unwrap())
}

#[track_caller]
fn check_syslog(umay: &Umay, message: &str, path: &str) {
    let (head, rest, line) = syslog_parts(message);
    assert_eq!(head, "<134>1");
    assert_eq!(rest, ["umay", &umay.pid().to_string(), "-", "-"]);
    assert_eq!(line["path"], path);
    assert_eq!(umay.stdout(), "");
}

#[test]
fn a_syslog_gets_datagrams() {
    let dir = TempDir::new();
    let path = dir.path().join("log");
    let unix = UnixDatagram::bind(&path).unwrap();
    unix.set_read_timeout(Some(DEADLINE)).unwrap();
    let endpoint = Server::ok("hi");
    let umay = before(
        &endpoint,
        &format!("log.access = \"syslog:{}\"", path.display()),
    );
    let mut buffer = [0; 8192];
    for request in ["/one", "/two"] {
        umay.get("a.test", request);
        let length = unix.recv(&mut buffer).unwrap();
        check_syslog(
            &umay,
            std::str::from_utf8(&buffer[..length]).unwrap(),
            request,
        );
    }
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(DEADLINE)).unwrap();
    let to = udp.local_addr().unwrap();
    let umay = before(&endpoint, &format!("log.access = \"syslog:udp://{to}\""));
    umay.get("a.test", "/udp");
    let length = udp.recv(&mut buffer).unwrap();
    check_syslog(
        &umay,
        std::str::from_utf8(&buffer[..length]).unwrap(),
        "/udp",
    );
}

#[test]
fn a_syslog_over_tcp_gets_lengths_and_may_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let endpoint = Server::ok("hi");
    let umay = before(&endpoint, &format!("log.access = \"syslog:tcp://{to}\""));
    let read = |reader: &mut BufReader<std::net::TcpStream>| {
        let mut length = Vec::new();
        reader.read_until(b' ', &mut length).unwrap();
        let length: usize = std::str::from_utf8(&length)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let mut message = vec![0; length];
        reader.read_exact(&mut message).unwrap();
        String::from_utf8(message).unwrap()
    };
    let accept = || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        BufReader::new(stream)
    };
    umay.get("a.test", "/one");
    let mut reader = accept();
    check_syslog(&umay, &read(&mut reader), "/one");
    umay.get("a.test", "/two");
    check_syslog(&umay, &read(&mut reader), "/two");
    drop(reader);
    umay.get("a.test", "/three");
    let mut reader = accept();
    check_syslog(&umay, &read(&mut reader), "/three");
    umay.wait_metric("umay_access_log_dropped_total", &[], 0.0);
}

#[test]
fn a_syslog_that_is_not_there_costs_lines_and_nothing_else() {
    let dir = TempDir::new();
    let path = dir.path().join("log");
    let endpoint = Server::ok("hi");
    let umay = before(
        &endpoint,
        &format!("log.access = \"syslog:{}\"", path.display()),
    );
    umay.get("a.test", "/one");
    umay.wait_metric("umay_access_log_dropped_total", &[], 1.0);
    umay.wait_event("the access log cannot be written");
    let unix = UnixDatagram::bind(&path).unwrap();
    unix.set_nonblocking(true).unwrap();
    eventually("the log to be written again", || {
        // It holds few messages that nobody has read.
        while unix.recv(&mut [0; 8192]).is_ok() {}
        umay.get("a.test", "/again");
        umay.events().contains("can be written again").then_some(())
    });
}

/// Where a syslog is and whom to trust, as lines of a configuration.
fn secure(to: SocketAddr, certs: &Certs, more: &str) -> String {
    let ca = certs.ca();
    format!("[log]\naccess = \"syslog:tls://{to}\"\ntls.ca = {ca:?}\n{more}")
}

/// The messages of a connection, told apart by the lengths before them (RFC 5425 section 4.3).
fn messages(mut bytes: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&bytes[..space]).unwrap();
        let length: usize = length.parse().unwrap();
        let rest = &bytes[space + 1..];
        // The last one may still be on its way.
        let Some(message) = rest.get(..length) else {
            break;
        };
        all.push(String::from_utf8(message.to_vec()).unwrap());
        bytes = &rest[length..];
    }
    all
}

/// A syslog over TLS that reads all that it is sent.
fn taking(config: std::sync::Arc<umay_test::rustls::ServerConfig>) -> Server {
    Server::start_tls(config, |conn, _| conn.read_to_end().map(drop))
}

#[test]
fn rsyslog_takes_all_lines_over_tls_and_may_come_back() {
    let certs = Certs::new();
    let (pair, own) = (
        certs.issue(&["logs.test"]),
        certs.client("umay", "umay.test"),
    );
    let mut syslog = programs::rsyslog(&pair, &certs.ca(), "umay.test");
    let endpoint = Server::ok("hi");
    let tls = format!(
        "tls.sni = \"logs.test\"\ntls.cert = {:?}\ntls.key = {:?}",
        own.cert, own.key
    );
    let umay = before(&endpoint, &secure(syslog.addr, &certs, &tls));
    let file = syslog.dir.path().join("messages");
    let lines = || -> Vec<String> {
        let text = fs::read_to_string(&file).unwrap_or_default();
        // It has words of its own about connections that are no TLS.
        let of_umay = text.lines().filter(|line| line.contains(" umay "));
        of_umay.map(str::to_owned).collect()
    };
    let mut conn = umay.connect();
    for at in 0..500 {
        conn.ask(format!("GET /{at} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .unwrap();
    }
    let all = eventually("all lines", || {
        let lines = lines();
        (lines.len() == 500).then_some(lines)
    });
    for (at, line) in all.iter().enumerate() {
        check_syslog(&umay, line, &format!("/{at}"));
    }
    assert_eq!(umay.metric("umay_access_log_dropped_total", &[]), 0.0);
    // Gone, it costs lines, and it gets those that come when it is there again.
    syslog.kill();
    eventually("that it is missed", || {
        umay.get("a.test", "/gone");
        umay.events().contains("cannot be written").then_some(())
    });
    syslog.start_again();
    eventually("that it is found again", || {
        umay.get("a.test", "/back");
        let back = lines().iter().any(|line| line.contains("/back"));
        (back && umay.events().contains("can be written again")).then_some(())
    });
}

/// A line has what clients have told; nobody else than the one who is meant gets a byte of it.
#[test]
fn lines_go_only_to_whom_they_are_meant_for() {
    let certs = Certs::new();
    let answer = |pair| taking(certs.server(&pair));
    let silent = Server::start(|conn, _| conn.read_to_end().map(drop));
    let dripping = Server::start(|conn, _| {
        conn.send([0x16, 3, 3, 0x40, 0])?;
        loop {
            conn.send([2])?;
            thread::sleep(Duration::from_millis(100));
        }
    });
    let plain = Server::start(|conn, _| {
        conn.read_some()?;
        conn.send("220 here is a syslog without TLS\r\n")?;
        conn.read_to_end().map(drop)
    });
    let closing = Server::start(|conn, _| conn.read_some().map(drop));
    let cases = [
        (
            answer(certs.issue(&["other.test"])),
            "is valid for other.test, not 127.0.0.1",
        ),
        (
            answer(certs.expired(&["127.0.0.1"])),
            "the certificate expired on ",
        ),
        (
            answer(certs.not_yet_valid(&["127.0.0.1"])),
            "is not valid before ",
        ),
        (
            answer(certs.self_signed(&["127.0.0.1"])),
            "signed by itself: name its authority with log.tls.ca",
        ),
        (
            answer(Certs::new().issue(&["127.0.0.1"])),
            "not one of the trusted authorities: name its authority",
        ),
        (
            plain,
            "the syslog does not speak TLS here: is that its port",
        ),
        (closing, "the syslog closed in the middle of the handshake"),
        (silent, "has not moved on within 3s: is that its port"),
        (dripping, "has not moved on within 3s"),
    ];
    let endpoint = Server::ok("hi");
    for (syslog, told) in cases {
        let umay = before(&endpoint, &secure(syslog.addr(), &certs, ""));
        assert_eq!(umay.get("a.test", "/s3cret").status(), 200);
        let event = umay.wait_event("the access log cannot be written");
        assert!(event.contains(told), "{event}");
        let to = format!("syslog:tls://{}", syslog.addr());
        assert!(event.contains(&to), "{event}");
        // It is left alone for a while, and said once.
        for _ in 0..20 {
            assert_eq!(umay.get("a.test", "/s3cret").status(), 200);
        }
        eventually("lines to be dropped", || {
            (umay.metric("umay_access_log_dropped_total", &[]) >= 20.0).then_some(())
        });
        assert_eq!(umay.events().matches("cannot be written").count(), 1);
        assert!(!umay.events().contains("again"), "{}", umay.events());
        assert!(!syslog.recorded_text().contains("s3cret"), "{told}");
    }
}

/// In TLS 1.3 a client is told that its certificate is not wanted when it has sent its first lines.
#[test]
fn a_syslog_that_wants_a_certificate_is_no_success() {
    let certs = Certs::new();
    let syslog = taking(certs.mutual_server(&certs.issue(&["127.0.0.1"])));
    let endpoint = Server::ok("hi");
    let text = |tls: &str| text(&endpoint, &secure(syslog.addr(), &certs, tls));
    let umay = umay!("{}", text(""));
    let mut asked = 0;
    eventually("several tries", || {
        umay.get("a.test", "/x");
        asked += 1;
        (syslog.connections() >= 3).then_some(())
    });
    let event = umay.wait_event("the access log cannot be written");
    assert!(event.contains("requires a certificate from us"), "{event}");
    assert!(event.contains("log.tls.cert"), "{event}");
    assert_eq!(umay.events().matches("cannot be written").count(), 1);
    assert!(!umay.events().contains("again"), "{}", umay.events());
    // All but what is on its way just now.
    let dropped = umay.metric("umay_access_log_dropped_total", &[]);
    assert!(dropped > 0.0 && dropped <= f64::from(asked));
    let own = certs.client("umay", "umay.test");
    assert!(umay.reload(text(&format!(
        "tls.cert = {:?}\ntls.key = {:?}",
        own.cert, own.key
    ))));
    umay.get("a.test", "/shown");
    eventually("a line", || {
        let recorded = syslog.recorded();
        let all = recorded.iter().flat_map(|bytes| messages(bytes));
        all.into_iter().find(|message| message.contains("/shown"))
    });
}

#[test]
fn a_syslog_that_reads_nothing_costs_lines_and_no_time() {
    let certs = Certs::new();
    let door = umay_test::Door::default();
    let shut = door.clone();
    let config = certs.server(&certs.issue(&["127.0.0.1"]));
    let syslog = Server::start_tls(config, move |_, _| {
        shut.wait();
        Ok(())
    });
    let endpoint = Server::ok("hi");
    let mut umay = before(&endpoint, &secure(syslog.addr(), &certs, ""));
    let long = "x".repeat(2000);
    let request = format!(
        "GET /{long}?{long} HTTP/1.1\r\nHost: a.test\r\nUser-Agent: {long}\r\nReferer: {long}\r\n\r\n"
    );
    let mut conn = umay.connect();
    // More than the sockets on both sides hold.
    eventually("lines to be dropped", || {
        for _ in 0..200 {
            assert_eq!(conn.ask(&request).unwrap().status(), 200);
        }
        (umay.metric("umay_access_log_dropped_total", &[]) > 0.0).then_some(())
    });
    // What the writer waits for holds up neither a reload nor the end.
    assert!(umay.reload(text(&endpoint, "log.access = \"stdout\"")));
    umay.get("a.test", "/after");
    umay.wait_path("/after");
    drop(conn);
    assert_eq!(umay.stop(), 0);
    door.open();
}

#[test]
fn who_is_trusted_changes_with_the_file() {
    let (certs, other) = (Certs::new(), Certs::new());
    let syslog = taking(other.server(&other.issue(&["127.0.0.1"])));
    let endpoint = Server::ok("hi");
    let text = text(&endpoint, &secure(syslog.addr(), &certs, ""));
    let umay = umay!("{text}");
    umay.get("a.test", "/before");
    umay.wait_event("not one of the trusted authorities");
    fs::copy(other.ca(), certs.ca()).unwrap();
    assert!(umay.reload(&text));
    umay.get("a.test", "/after");
    let all = eventually("a line", || {
        let recorded = syslog.recorded();
        let all: Vec<_> = recorded.iter().flat_map(|bytes| messages(bytes)).collect();
        (!all.is_empty()).then_some(all)
    });
    assert_eq!(all.len(), 1);
    check_syslog(&umay, &all[0], "/after");
    // One that cannot be read is refused, and what is served stays.
    fs::remove_file(certs.ca()).unwrap();
    assert!(!umay.reload(&text));
    umay.wait_event("ca.pem");
}

/// The last lines get there, and the end of the connection is one in order (RFC 5425 section 4.4).
#[test]
fn the_end_is_in_order() {
    let certs = Certs::new();
    let (ends, came) = std::sync::mpsc::channel();
    let config = certs.server(&certs.issue(&["127.0.0.1"]));
    let syslog = Server::start_tls(config, move |conn: &mut Conn, _| {
        let (bytes, end) = conn.read_to_end()?;
        ends.send((messages(&bytes).len(), end)).unwrap();
        Ok(())
    });
    let endpoint = Server::ok("hi");
    let mut umay = before(&endpoint, &secure(syslog.addr(), &certs, ""));
    for _ in 0..10 {
        umay.get("a.test", "/x");
    }
    assert_eq!(umay.stop(), 0);
    let end = came.recv_timeout(DEADLINE).unwrap();
    assert_eq!(end, (10, umay_test::End::Clean));
}
