//! Upstreams: which endpoint is picked, what is done when it cannot be reached, and the pool.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use umay_test::{Conn, GET, Refusing, Server, Stuck, Umay, eventually, ok, umay};

/// Umay before these endpoints.
fn before(endpoints: &[SocketAddr], balance: &str, more: &str) -> Umay {
    let to: Vec<String> = endpoints
        .iter()
        .map(|addr| format!("http://{addr}"))
        .collect();
    umay!("listen = \"127.0.0.1:0\"\nbalance = \"{balance}\"\nto = {to:?}\n{more}\n")
}

#[test]
fn round_robin_gives_everyone_a_turn() {
    let servers = ["a", "b", "c"].map(Server::ok);
    let addrs = servers.each_ref().map(Server::addr);
    let umay = before(&addrs, "round_robin", "");
    let mut conn = umay.connect();
    let mut counts = BTreeMap::new();
    let mut last = String::new();
    for _ in 0..30 {
        let name = conn.ask(GET).unwrap().text();
        assert_ne!(name, last);
        *counts.entry(name.clone()).or_insert(0) += 1;
        last = name;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

/// Does not answer before its connection's request says so by its end.
fn slow() -> Server {
    Server::start(|conn, _| {
        while conn.read_request()?.is_some() {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            conn.read_to_end()?;
        }
        Ok(())
    })
}

/// Requests until the busy endpoint has one that it holds, and sees that all others go elsewhere.
fn all_but_one_go_to_the_free(umay: &Umay, busy: &Server) {
    let mut held = Vec::new();
    while busy.connections() == 0 {
        let mut conn = umay.connect();
        conn.send(GET).unwrap();
        conn.read_until("\r\n\r\n").unwrap();
        held.push(conn);
        assert!(held.len() < 200);
    }
    let mut conn = umay.connect();
    for _ in 0..20 {
        assert_eq!(conn.ask(GET).unwrap().text(), "free");
    }
}

#[test]
fn least_connections_avoids_who_is_busy() {
    let (busy, free) = (slow(), Server::ok("free"));
    let umay = before(&[busy.addr(), free.addr()], "least_connections", "");
    // As long as both have nothing to do, each is as likely; the first that the busy one gets stays
    // there.
    all_but_one_go_to_the_free(&umay, &busy);
    assert_eq!(busy.connections(), 1);
}

#[test]
fn random_of_two_uses_all_and_prefers_who_is_less_busy() {
    let (busy, free) = (slow(), Server::ok("free"));
    let umay = before(&[busy.addr(), free.addr()], "random_of_two", "");
    // With two endpoints the two that are compared are all there are.
    all_but_one_go_to_the_free(&umay, &busy);
}

#[test]
fn a_refused_connect_goes_to_another_endpoint() {
    let (refusing, alive) = (Refusing::new(), Server::ok("alive"));
    let umay = before(&[refusing.addr(), alive.addr()], "round_robin", "");
    for _ in 0..10 {
        let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(umay.connect().ask(post).unwrap().text(), "alive");
    }
    let line = umay.wait_log(|line| line["attempts"] == 2);
    assert_eq!(line["endpoint"], alive.addr().to_string());
    let labels = [("outcome", "connect_refused")];
    assert!(umay.metric("umay_upstream_attempts_total", &labels) > 0.0);
    assert!(umay.metric("umay_retries_total", &[]) > 0.0);
}

#[test]
fn a_connect_that_takes_too_long_goes_to_another_endpoint() {
    let (stuck, alive) = (Stuck::new(), Server::ok("alive"));
    let umay = before(
        &[stuck.addr(), alive.addr()],
        "round_robin",
        "timeouts.connect = \"300ms\"",
    );
    let started = Instant::now();
    for _ in 0..2 {
        assert_eq!(umay.connect().ask(GET).unwrap().text(), "alive");
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn when_nobody_can_be_reached_the_client_is_told() {
    let (one, two, stuck) = (Refusing::new(), Refusing::new(), Stuck::new());
    let umay = before(&[one.addr(), two.addr()], "round_robin", "");
    let response = umay.connect().ask(GET).unwrap();
    assert_eq!(
        (response.status(), response.reason().as_deref()),
        (502, Some("connect_refused"))
    );
    let address = one.addr().to_string();
    assert!(
        !response.text().contains(&address),
        "endpoints are nobody's business"
    );
    let line = umay.wait_reason("connect_refused");
    assert_eq!(line["attempts"], 2);
    let umay = before(
        &[stuck.addr()],
        "round_robin",
        "timeouts.connect = \"300ms\"",
    );
    let response = umay.connect().ask(GET).unwrap();
    assert_eq!(
        (response.status(), response.reason().as_deref()),
        (504, Some("connect_timeout"))
    );
}

#[test]
fn a_name_that_cannot_be_resolved_is_told() {
    let umay = umay!("listen = \"127.0.0.1:0\"\nto = \"http://no-such-name.invalid:80\"\n");
    let response = umay.connect().ask(GET).unwrap();
    assert_eq!(
        (response.status(), response.reason().as_deref()),
        (502, Some("endpoint_unresolved"))
    );
}

#[test]
fn a_name_is_resolved() {
    let endpoint = Server::ok("hi");
    let port = endpoint.addr().port();
    let umay = umay!("listen = \"127.0.0.1:0\"\nto = \"http://localhost:{port}\"\n");
    assert_eq!(umay.connect().ask(GET).unwrap().text(), "hi");
}

#[test]
fn a_refused_stream_goes_to_another_endpoint_too() {
    let (refusing, echo) = (Refusing::new(), Server::echo());
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nbalance = \"round_robin\"\nto = [\"tcp://{}\", \"tcp://{}\"]\n",
        refusing.addr(),
        echo.addr()
    );
    for _ in 0..4 {
        let mut conn = umay.connect();
        conn.send("ping").unwrap();
        assert_eq!(conn.read_exact(4).unwrap(), b"ping");
    }
    let alone = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\n",
        refusing.addr()
    );
    alone.connect().read_to_end().unwrap();
    alone.wait_reason("connect_refused");
}

#[test]
fn connections_to_endpoints_are_shared_and_closed_when_idle() {
    let endpoint = Server::ok("hi");
    let umay = before(
        &[endpoint.addr()],
        "round_robin",
        "timeouts.upstream_idle = \"1s\"",
    );
    // One after the other, from ten clients: one connection is enough.
    let mut clients: Vec<Conn> = (0..10).map(|_| umay.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(GET).unwrap().text(), "hi");
    }
    assert_eq!(endpoint.connections(), 1);
    assert_eq!(
        umay.metric("umay_upstream_connections_opened_total", &[]),
        1.0
    );
    assert_eq!(
        umay.metric("umay_upstream_connections_reused_total", &[]),
        9.0
    );
    endpoint.wait_ended(1);
    umay.wait_metric("umay_upstream_connections_idle", &[], 0.0);
}

#[test]
fn the_pool_has_a_cap() {
    let endpoint = Server::start(|conn, _| {
        while let Some(request) = conn.read_request()? {
            // All are open at the same time before any is answered.
            if request.target() == "/hold" {
                conn.send("HTTP/1.1 100 Continue\r\n\r\n")?;
                conn.read_exact(1)?;
            }
            conn.send(ok("hi"))?;
        }
        Ok(())
    });
    let umay = before(&[endpoint.addr()], "round_robin", "limits.pool = 2");
    let hold = "POST /hold HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut clients: Vec<Conn> = (0..6).map(|_| umay.connect()).collect();
    for client in &mut clients {
        client.send(hold).unwrap();
    }
    eventually("six connections", || {
        (endpoint.connections() == 6).then_some(())
    });
    drop(clients);
    endpoint.wait_ended(6);
    let labels = [("reason", "client_gone")];
    eventually("all to be over", || {
        let gone = umay.metric("umay_refusals_total", &labels);
        let cut = umay.metric("umay_refusals_total", &[("reason", "request_body_cut")]);
        (gone + cut == 6.0).then_some(())
    });
    assert!(umay.metric("umay_upstream_connections_idle", &[]) <= 2.0);
}
