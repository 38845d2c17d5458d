//! Connections and TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use umay::tls::{ClientTls, Offer};
use umay_core::model::{CertificatePair, Endpoint, Probe, ProbeKind, Scheme, UpstreamTls};
use umay_test::rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use umay_test::{Certs, Conn, Refusing, Server, Stuck};

use super::{ask, ask_at, ask_of, ask_tls, get, impatient, probe, told, trusting};

#[test]
fn a_connection_is_all_that_tcp_asks_for() {
    let (server, refusing) = (Server::echo(), Refusing::new());
    let tcp = probe(ProbeKind::Tcp);
    assert_eq!(ask(&tcp, Scheme::Tcp, server.addr()), Ok(()));
    server.wait_ended(1);
    assert_eq!(server.recorded_text(), "");
    let refused = ask(&tcp, Scheme::Tcp, refusing.addr());
    let addr = refusing.addr();
    assert_eq!(
        told(refused),
        format!("connect to {addr}: connection refused")
    );
    let nowhere = ask_at(&tcp, Scheme::Tcp, &[]);
    assert_eq!(told(nowhere), "connect: the name has no address");
}

#[test]
fn addresses_are_tried_in_order() {
    let (server, refusing) = (Server::echo(), Refusing::new());
    let tcp = probe(ProbeKind::Tcp);
    let both = [refusing.addr(), server.addr()];
    assert_eq!(ask_at(&tcp, Scheme::Tcp, &both), Ok(()));
    server.wait_ended(1);
    let neither = [refusing.addr(), refusing.addr()];
    let one = format!("connect to {}: connection refused", refusing.addr());
    let failed = ask_at(&tcp, Scheme::Tcp, &neither);
    assert_eq!(told(failed), format!("{one}; {one}"));
    // One that is silent leaves time for the next, and the last one may use it all.
    let stuck = Stuck::new();
    let hurried = Probe {
        timeout: Duration::from_secs(2),
        ..probe(ProbeKind::Tcp)
    };
    let (both, started) = ([stuck.addr(), server.addr()], Instant::now());
    assert_eq!(ask_at(&hurried, Scheme::Tcp, &both), Ok(()));
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < hurried.timeout,
        "{took:?}"
    );
    let hurried = impatient(ProbeKind::Tcp);
    let started = Instant::now();
    let silent = ask_at(&hurried, Scheme::Tcp, &[stuck.addr()]);
    let addr = stuck.addr();
    assert_eq!(
        told(silent),
        format!("connect to {addr}: no answer in 300ms")
    );
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[test]
fn another_port_can_be_asked() {
    let (server, refusing) = (Server::ok("fine"), Refusing::new());
    let mut other = probe(get("/"));
    other.port = Some(server.addr().port());
    assert_eq!(ask(&other, Scheme::Http, refusing.addr()), Ok(()));
    let host = format!("host: {}\r\n", server.addr());
    assert!(server.recorded_text().contains(&host));
}

#[test]
fn certificates_are_verified_each_time() {
    let (certs, strangers) = (Certs::new(), Certs::new());
    let tls = probe(ProbeKind::Tls);
    for (pair, word) in [
        (certs.issue(&["a.test"]), "well"),
        (
            certs.issue(&["b.test"]),
            "TLS with a.test: the certificate is valid for b.test, not a.test",
        ),
        (
            strangers.issue(&["a.test"]),
            "TLS with a.test: the certificate's issuer is not one of the trusted authorities",
        ),
    ] {
        let server = Server::start_tls(certs.server(&pair), |conn, _| {
            conn.read_to_end().map(|_| ())
        });
        for scheme in [Scheme::Tls, Scheme::Https, Scheme::H2, Scheme::Tcp] {
            let outcome = ask_tls(&tls, scheme, server.addr(), &certs);
            assert_eq!(told(outcome), word);
        }
    }
    let expired = certs.expired(&["a.test"]);
    let server = Server::https(certs.server(&expired), |_| panic!("asked"));
    for kind in [ProbeKind::Tls, get("/")] {
        let outcome = told(ask_tls(&probe(kind), Scheme::Https, server.addr(), &certs));
        let words = "TLS with a.test: the certificate expired on ";
        assert!(outcome.starts_with(words), "{outcome}");
    }
}

/// Accepts so many connections, says a word on each, and tells which of them resumed a session.
fn resumptions(config: Arc<ServerConfig>, count: usize) -> (SocketAddr, JoinHandle<Vec<bool>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let accept = move || {
        let (socket, _) = listener.accept().unwrap();
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(tls, socket);
        stream.write_all(b"hello").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    };
    let accepted = thread::spawn(move || (0..count).map(|_| accept()).collect());
    (addr, accepted)
}

#[test]
fn sessions_are_not_resumed() {
    let certs = Certs::new();
    let server = certs.server(&certs.issue(&["a.test"]));
    let tls = trusting(&certs);
    let (addr, resumed) = resumptions(Arc::clone(&server), 3);
    let endpoint = Endpoint::new(Scheme::Tls, "a.test", addr.port());
    let asked = probe(ProbeKind::Tls);
    for _ in 0..3 {
        assert_eq!(ask_of(&asked, &endpoint, &[addr], Some(&tls)), Ok(()));
    }
    assert_eq!(resumed.join().unwrap(), [false; 3]);
    // Others would be.
    let (addr, resumed) = resumptions(server, 2);
    for _ in 0..2 {
        let config = tls.config(Offer::Nothing);
        let mut conn = Conn::connect_tls(addr, config, "a.test").unwrap();
        conn.read_until("hello").unwrap();
        conn.half_close().unwrap();
    }
    assert_eq!(resumed.join().unwrap(), [false, true]);
}

#[test]
fn a_name_and_a_certificate_of_ours_are_shown() {
    let certs = Certs::new();
    let server = certs.mutual_server(&certs.issue(&["inner.test"]));
    let server = Server::start_tls(server, |conn, _| conn.read_to_end().map(|_| ()));
    let own = certs.client("umay", "umay.test");
    let with = |client: Option<CertificatePair>| {
        let tls = UpstreamTls {
            ca: Some(certs.ca()),
            sni: Some("inner.test".to_owned()),
            client,
            ..UpstreamTls::default()
        };
        let tls = ClientTls::load(&tls).unwrap();
        let endpoint = Endpoint::new(Scheme::Tls, "127.0.0.1", server.addr().port());
        let asked = probe(ProbeKind::Tls);
        told(ask_of(&asked, &endpoint, &[server.addr()], Some(&tls)))
    };
    let pair = CertificatePair {
        cert: own.cert,
        key: own.key,
    };
    assert_eq!(with(Some(pair)), "well");
    let words = "TLS with inner.test: the endpoint requires a certificate from us";
    assert_eq!(with(None), words);
}

#[test]
fn who_stays_after_the_parting_is_well_too() {
    let certs = Certs::new();
    let (hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let tls = certs.server(&certs.issue(&["a.test"]));
    let server = Server::start_tls(tls, move |_, _| {
        // Until the test lets go.
        held.lock().unwrap().recv().ok();
        Ok(())
    });
    // More than the parting may take, so that it would be noticed if it counted as an answer.
    for kind in [ProbeKind::Tls, get("/")] {
        let hurried = Probe {
            timeout: Duration::from_secs(1),
            ..probe(kind)
        };
        let outcome = told(ask_tls(&hurried, Scheme::Tls, server.addr(), &certs));
        match hurried.kind {
            ProbeKind::Tls => assert_eq!(outcome, "well"),
            _ => assert_eq!(outcome, "GET /: no answer in 1s"),
        }
    }
    drop(hold);
    server.wait_ended(2);
}

#[test]
fn what_does_not_speak_tls_is_told() {
    let certs = Certs::new();
    let tls = probe(ProbeKind::Tls);
    for (answer, words) in [
        (
            &b"220 mail.test ready\r\n"[..],
            "the endpoint does not speak TLS here",
        ),
        (b"", "the endpoint closed in the middle of the handshake"),
        (
            b"\x16\x03\x03\x40\x00",
            "the endpoint closed in the middle of the handshake",
        ),
        (
            b"\x15\x03\x03\x00\x02\x02\x28",
            "the endpoint shares no parameters with us, or refuses us",
        ),
    ] {
        let server = Server::start(move |conn, _| {
            conn.read_some()?;
            conn.send(answer)
        });
        let outcome = told(ask_tls(&tls, Scheme::Tls, server.addr(), &certs));
        assert_eq!(outcome, format!("TLS with a.test: {words}"));
    }
    let silent = Server::start(|conn, _| conn.read_to_end().map(|_| ()));
    let hurried = impatient(ProbeKind::Tls);
    let outcome = ask_tls(&hurried, Scheme::Tls, silent.addr(), &certs);
    assert_eq!(told(outcome), "TLS with a.test: no answer in 300ms");
    silent.wait_ended(1);
    let unprepared = ask(&tls, Scheme::Tls, silent.addr());
    assert_eq!(told(unprepared), "TLS with 127.0.0.1: TLS was not prepared");
}
