//! Tunnels: bytes go both ways as they are, each way ends on its own, nothing piles up.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use umay_test::{Certs, Conn, End, Server, Umay, eventually, rss, umay};

fn before(endpoint: &Server, more: &str) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\n{more}\n",
        endpoint.addr()
    )
}

/// A byte for each place of a long stream, so that a piece lost, doubled or moved is seen.
fn pattern(from: u64, length: usize) -> Vec<u8> {
    (from..from + length as u64)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}

/// Sends so many bytes of the pattern.
fn send_pattern(conn: &mut Conn, total: u64) -> io::Result<()> {
    let mut sent = 0;
    while sent < total {
        let block = pattern(sent, 256 * 1024);
        conn.send(&block[..block.len().min((total - sent) as usize)])?;
        sent += block.len() as u64;
    }
    Ok(())
}

/// Reads to the end and checks each byte; gives the count.
fn read_pattern(conn: &mut Conn) -> io::Result<u64> {
    let mut got = 0;
    loop {
        let piece = conn.read_some()?;
        if piece.is_empty() {
            return Ok(got);
        }
        if piece != pattern(got, piece.len()) {
            return Err(io::Error::other(format!("other bytes after {got}")));
        }
        got += piece.len() as u64;
    }
}

#[test]
fn a_client_that_is_done_sending_still_gets_its_answer() {
    let endpoint = Server::start(|conn, _| {
        let (bytes, end) = conn.read_to_end()?;
        assert_eq!(end, End::Clean);
        conn.send(format!("{} bytes", bytes.len()))
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    conn.send("hello").unwrap();
    conn.half_close().unwrap();
    assert_eq!(
        conn.read_to_end().unwrap(),
        (b"5 bytes".to_vec(), End::Clean)
    );
    let line = umay.wait_log(|line| line["bytes_in"] == 5);
    assert_eq!((&line["bytes_out"], line.get("reason")), (&7.into(), None));
}

#[test]
fn an_endpoint_that_is_done_sending_still_gets_the_rest() {
    let (got, rest) = (Arc::new(Mutex::new(Vec::new())), "the rest");
    let of_endpoint = Arc::clone(&got);
    let endpoint = Server::start(move |conn, _| {
        conn.send("bye")?;
        conn.half_close()?;
        *of_endpoint.lock().unwrap() = conn.read_to_end()?.0;
        Ok(())
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    assert_eq!(conn.read_to_end().unwrap(), (b"bye".to_vec(), End::Clean));
    conn.send(rest).unwrap();
    conn.half_close().unwrap();
    endpoint.wait_ended(1);
    assert_eq!(*got.lock().unwrap(), rest.as_bytes());
}

#[test]
fn over_tls_the_ends_are_passed_on_as_well() {
    let certs = Certs::new();
    let endpoint = Server::start(|conn, _| {
        let (bytes, _) = conn.read_to_end()?;
        conn.send(bytes)
    });
    let tls = certs.issue(&["a.test"]).toml();
    let umay = before(&endpoint, &tls);
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap();
    conn.send("hello").unwrap();
    conn.half_close().unwrap();
    assert_eq!(conn.read_to_end().unwrap(), (b"hello".to_vec(), End::Clean));
}

/// Sends the pattern both ways at once through an endpoint that does the same.
#[test]
fn bulk_goes_both_ways_at_once_byte_by_byte() {
    const TOTAL: u64 = 48 << 20;
    let endpoint = Server::start(|conn, _| {
        let mut writer = conn.twin()?;
        let sender = thread::spawn(move || {
            send_pattern(&mut writer, TOTAL)?;
            writer.half_close()
        });
        let got = read_pattern(conn)?;
        assert_eq!(got, TOTAL);
        sender.join().unwrap()
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    let mut writer = conn.twin().unwrap();
    let sender = thread::spawn(move || {
        send_pattern(&mut writer, TOTAL)?;
        writer.half_close()
    });
    assert_eq!(read_pattern(&mut conn).unwrap(), TOTAL);
    sender.join().unwrap().unwrap();
    let line = umay.wait_log(|line| line["proto"] == "tcp");
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&TOTAL.into(), &TOTAL.into())
    );
    assert_eq!(
        umay.metric("umay_tcp_bytes_total", &[("direction", "in")]),
        TOTAL as f64
    );
}

#[test]
fn bulk_goes_over_tls_byte_by_byte() {
    const TOTAL: u64 = 16 << 20;
    let certs = Certs::new();
    let endpoint = Server::start(|conn, _| {
        assert_eq!(read_pattern(conn)?, TOTAL);
        send_pattern(conn, TOTAL)
    });
    let umay = before(&endpoint, &certs.issue(&["a.test"]).toml());
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap();
    send_pattern(&mut conn, TOTAL).unwrap();
    conn.half_close().unwrap();
    assert_eq!(read_pattern(&mut conn).unwrap(), TOTAL);
}

#[test]
fn a_reader_that_stops_stops_its_writer_and_nothing_piles_up() {
    const TOTAL: u64 = 64 << 20;
    let sent = Arc::new(Mutex::new(0_u64));
    let of_endpoint = Arc::clone(&sent);
    let endpoint = Server::start(move |conn, _| {
        while *of_endpoint.lock().unwrap() < TOTAL {
            let at = *of_endpoint.lock().unwrap();
            conn.send(pattern(at, 64 * 1024))?;
            *of_endpoint.lock().unwrap() += 64 * 1024;
        }
        Ok(())
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    conn.shrink_receive_buffer().unwrap();
    let memory = rss(umay.pid());
    // It stands still once the kernel's buffers are full.
    let mut last = 0;
    eventually("the endpoint to stand still", || {
        thread::sleep(Duration::from_millis(200));
        let now = *sent.lock().unwrap();
        let stands = now > 0 && now == last;
        last = now;
        stands.then_some(())
    });
    assert!(
        last < TOTAL / 2,
        "{last} bytes were taken for a client that takes none"
    );
    let grown = rss(umay.pid()).saturating_sub(memory);
    assert!(grown < 8 << 20, "grew by {grown} bytes");
    assert_eq!(read_pattern(&mut conn).unwrap(), TOTAL);
}

#[test]
fn a_tunnel_without_a_byte_is_cut() {
    let endpoint = Server::echo();
    let umay = before(&endpoint, "timeouts.tunnel = \"1s\"");
    let mut conn = umay.connect();
    // Each byte starts the time anew, in whatever direction.
    for _ in 0..6 {
        conn.send("x").unwrap();
        assert_eq!(conn.read_exact(1).unwrap(), b"x");
        thread::sleep(Duration::from_millis(300));
    }
    conn.read_to_end().unwrap();
    endpoint.wait_ended(1);
    let line = umay.wait_reason("idle_timeout");
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&6.into(), &6.into())
    );
}

#[test]
fn a_reset_is_passed_on() {
    let endpoint = Server::start(|conn, _| {
        conn.read_exact(1)?;
        conn.reset_when_dropped()
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    conn.send("x").unwrap();
    assert_eq!(conn.read_to_end().unwrap().1, End::Cut);
    umay.wait_reason("tunnel_reset");

    let ends = Arc::new(Mutex::new(Vec::new()));
    let of_endpoint = Arc::clone(&ends);
    let endpoint = Server::start(move |conn, _| {
        let (_, end) = conn.read_to_end()?;
        of_endpoint.lock().unwrap().push(end);
        Ok(())
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    conn.send("x").unwrap();
    eventually("the byte", || {
        (endpoint.recorded_text() == "x").then_some(())
    });
    conn.reset_when_dropped().unwrap();
    drop(conn);
    endpoint.wait_ended(1);
    assert_eq!(*ends.lock().unwrap(), [End::Cut]);
}

#[test]
fn many_tunnels_at_once_do_not_mix() {
    let endpoint = Server::echo();
    let umay = umay!()
        .config(format!(
            "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\n",
            endpoint.addr()
        ))
        .workers(2)
        .start();
    let mut conns: Vec<Conn> = (0..200).map(|_| umay.connect()).collect();
    for round in 0..3 {
        for (number, conn) in conns.iter_mut().enumerate() {
            conn.send(format!("{round}/{number};")).unwrap();
        }
        for (number, conn) in conns.iter_mut().enumerate() {
            let expected = format!("{round}/{number};");
            assert_eq!(
                conn.read_exact(expected.len()).unwrap(),
                expected.as_bytes()
            );
        }
    }
    umay.wait_metric("umay_tcp_connections_active", &[], 200.0);
    drop(conns);
    umay.wait_metric("umay_tcp_connections_active", &[], 0.0);
    umay.wait_metric(
        "umay_tcp_connections_total",
        &[("close_reason", "ok")],
        200.0,
    );
    umay.wait_metric("umay_connections_active", &[], 0.0);
}

#[test]
fn connect_makes_a_tunnel_where_a_route_allows_it() {
    let endpoint = Server::start(|conn, _| {
        let head = conn.read_until("\r\n\r\n")?;
        assert!(
            head.starts_with(b"CONNECT db.test:5432 HTTP/1.1\r\n"),
            "{head:?}"
        );
        conn.send("HTTP/1.1 200 OK\r\n\r\n")?;
        let (bytes, _) = conn.read_to_end()?;
        conn.send(bytes)
    });
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n[[route]]\nallow_connect = true\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    let mut conn = umay.connect();
    conn.send("CONNECT db.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\n\r\nearly ")
        .unwrap();
    let head = conn.read_until("\r\n\r\n").unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{head:?}");
    conn.send("late").unwrap();
    conn.half_close().unwrap();
    assert_eq!(
        conn.read_to_end().unwrap(),
        (b"early late".to_vec(), End::Clean)
    );
}
