//! The end of HTTP/2 connections: when Umay drains, when nothing is done on them, and when the peer
//! is not there any more.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::thread;
use std::time::{Duration, Instant};

use umay_test::http2::{Client, Endpoint, Stream, code};
use umay_test::rustls::DEFAULT_VERSIONS;
use umay_test::{Certs, Conn, Door, Server, Signal, Umay, eventually, h2, ok, umay};

/// Answers half at once, and the rest when the door is open.
fn behind(door: &Door) -> Endpoint {
    let door = door.clone();
    Endpoint::start(move |stream| {
        stream.respond(200, &[], false)?;
        stream.send(b"half ")?;
        if stream.request().target() != "/quick" {
            door.wait();
        }
        stream.send(b"and half")?;
        stream.finish(&[])
    })
}

fn before(endpoint: &Endpoint, more: &str) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"h2c://{}\"\n{more}\n",
        endpoint.addr()
    )
}

fn get(client: &Client, path: &str) -> Stream {
    let url = format!("http://a.test{path}");
    client.call("GET", &url, &[], true).unwrap()
}

/// A request whose answer has begun.
fn in_flight(client: &Client) -> Stream {
    let mut stream = get(client, "/slow");
    assert_eq!(stream.head().unwrap().status(), 200);
    assert_eq!(stream.read_some().unwrap().unwrap(), &b"half "[..]);
    stream
}

#[test]
fn a_drain_lets_streams_finish_and_takes_no_more() {
    let door = Door::default();
    let endpoint = behind(&door);
    let mut umay = before(&endpoint, "");
    let client = Client::connect(umay.addr()).unwrap();
    let mut streams: Vec<_> = (0..5).map(|_| in_flight(&client)).collect();
    umay.signal(Signal::TERM);
    umay.wait_event("draining");
    eventually("the port to be closed", || {
        Conn::connect(umay.addr()).is_err().then_some(())
    });
    // Whoever asks now is told that nobody has looked at it, so that it can go elsewhere.
    eventually("streams to be refused", || {
        let stream = client.call("GET", "http://a.test/quick", &[], true);
        let refused = match stream {
            Err(error) => error,
            Ok(mut stream) => stream.head().err()?,
        };
        let kind = refused.get_ref()?.downcast_ref::<h2::Error>()?;
        let told = kind.is_go_away() || kind.reason() == Some(h2::Reason::REFUSED_STREAM);
        (told && kind.is_remote()).then_some(())
    });
    door.open();
    for stream in &mut streams {
        assert_eq!(stream.read_to_end().unwrap(), b"and half");
    }
    assert_eq!(client.wait_end().unwrap(), None, "an end in order");
    assert_eq!(umay.wait_exit(), 0);
    let log = umay.log();
    assert!(log.iter().all(|line| line["status"] == 200), "{log:?}");
}

#[test]
fn idle_connections_are_closed_at_once() {
    let certs = Certs::new();
    let endpoint = behind(&Door::default());
    let tls = certs.issue(&["a.test"]).toml();
    let mut umay = before(&endpoint, &tls);
    let offer = certs.trusting_with(DEFAULT_VERSIONS, None, &["h2"]);
    let never_used = Client::connect(umay.addr()).unwrap();
    let used = Client::connect(umay.addr()).unwrap();
    let secure = Client::connect_tls(umay.addr(), &offer, "a.test").unwrap();
    let mut stream = get(&used, "/quick");
    assert_eq!(stream.head().unwrap().status(), 200);
    assert_eq!(stream.read_to_end().unwrap(), b"half and half");
    let started = Instant::now();
    umay.signal(Signal::TERM);
    for client in [never_used, used, secure] {
        assert_eq!(client.wait_end().unwrap(), None);
    }
    assert_eq!(umay.wait_exit(), 0);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn what_does_not_end_in_time_is_cut() {
    let door = Door::default();
    let endpoint = behind(&door);
    let mut umay = before(&endpoint, "timeouts.drain = \"500ms\"");
    let client = Client::connect(umay.addr()).unwrap();
    let mut begun = in_flight(&client);
    let started = Instant::now();
    assert_eq!(umay.stop(), 0);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    begun.read_to_end().unwrap_err();
    assert_eq!(umay.wait_reason("draining")["path"], "/slow");
    door.open();
}

#[test]
fn a_connection_without_streams_is_closed_in_order() {
    let door = Door::default();
    let endpoint = behind(&door);
    let umay = before(&endpoint, "http2.idle = \"300ms\"");
    let client = Client::connect(umay.addr()).unwrap();
    assert_eq!(client.wait_end().unwrap(), None);
    let client = Client::connect(umay.addr()).unwrap();
    let mut stream = in_flight(&client);
    // With a stream it stays, however long that takes.
    thread::sleep(Duration::from_millis(700));
    door.open();
    assert_eq!(stream.read_to_end().unwrap(), b"and half");
    assert_eq!(client.wait_end().unwrap(), None);
    umay.wait_metric("umay_connections_active", &[], 0.0);
    assert_eq!(umay.metric("umay_refusals_total", &[]), 0.0);
}

const PINGS: &str = "http2.ping_interval = \"200ms\"\nhttp2.ping_timeout = \"300ms\"";

#[test]
fn a_client_that_is_not_there_any_more_is_given_up() {
    let told = Door::default();
    let seen = told.clone();
    let endpoint = Endpoint::start(move |stream| {
        stream.respond(200, &[], false)?;
        stream.wait_reset()?;
        seen.open();
        Ok(())
    });
    let umay = before(&endpoint, PINGS);
    let client = Client::connect(umay.addr()).unwrap();
    let mut stream = get(&client, "/");
    assert_eq!(stream.head().unwrap().status(), 200);
    let started = Instant::now();
    client.freeze();
    // The endpoint's work ends with it.
    told.wait();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    umay.wait_metric("umay_connections_active", &[], 0.0);
    umay.wait_reason("connection_unresponsive");
    assert_eq!(umay.wait_path("/")["reason"], "client_gone");
}

#[test]
fn an_endpoint_that_is_not_there_any_more_is_given_up() {
    let door = Door::default();
    let endpoint = behind(&door);
    let umay = before(&endpoint, PINGS);
    let client = Client::connect(umay.addr()).unwrap();
    let mut begun = in_flight(&client);
    endpoint.freeze();
    let started = Instant::now();
    // These find the same connection. What can be sent again is.
    let mut waiting = get(&client, "/quick");
    let mut once = client
        .call("POST", "http://a.test/quick", &[], true)
        .unwrap();
    begun.read_to_end().unwrap_err();
    assert_eq!(waiting.head().unwrap().status(), 200);
    let head = once.head().unwrap();
    assert_eq!(head.reason().as_deref(), Some("upstream_closed"));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    // The next one gets another.
    let mut stream = get(&client, "/quick");
    assert_eq!(stream.head().unwrap().status(), 200);
    assert_eq!(stream.read_to_end().unwrap(), b"half and half");
    assert_eq!(endpoint.connections(), 2);
    door.open();
}

#[test]
fn peers_that_are_slow_but_there_are_left_alone() {
    // More patient than the others: a busy machine must not pass for a peer that is gone.
    let patient = "http2.ping_interval = \"300ms\"\nhttp2.ping_timeout = \"2s\"";
    let endpoint = Server::http(|_| {
        thread::sleep(Duration::from_millis(3500));
        ok("late")
    });
    let slow = Endpoint::start(|stream| {
        thread::sleep(Duration::from_millis(3500));
        stream.respond(200, &[], false)?;
        stream.send(b"late")?;
        stream.finish(&[])
    });
    for to in [
        format!("http://{}", endpoint.addr()),
        format!("h2c://{}", slow.addr()),
    ] {
        let umay = umay!("listen = \"127.0.0.1:0\"\nto = \"{to}\"\n{patient}\n");
        let client = Client::connect(umay.addr()).unwrap();
        let mut stream = get(&client, "/");
        assert_eq!(stream.head().unwrap().status(), 200);
        assert_eq!(stream.read_to_end().unwrap(), b"late");
    }
}

#[test]
fn an_endpoint_that_leaves_gets_no_more_and_finishes_what_it_has() {
    let door = Door::default();
    let endpoint = behind(&door);
    let umay = before(&endpoint, "");
    let client = Client::connect(umay.addr()).unwrap();
    let mut begun = in_flight(&client);
    endpoint.leave();
    eventually("a second connection", || {
        let mut stream = get(&client, "/quick");
        assert_eq!(stream.head().unwrap().status(), 200);
        assert_eq!(stream.read_to_end().unwrap(), b"half and half");
        (endpoint.connections() == 2).then_some(())
    });
    door.open();
    assert_eq!(begun.read_to_end().unwrap(), b"and half");
}

#[test]
fn a_connection_that_is_cut_cuts_all_of_its_streams() {
    let door = Door::default();
    let endpoint = behind(&door);
    let umay = before(&endpoint, "");
    let client = Client::connect(umay.addr()).unwrap();
    let mut streams: Vec<_> = (0..5).map(|_| in_flight(&client)).collect();
    endpoint.cut();
    for stream in &mut streams {
        let error = stream.read_to_end().unwrap_err();
        assert!(code(&error).is_some(), "{error}");
    }
    umay.wait_reason("upstream_cut");
    door.open();
}

#[test]
fn a_request_that_every_connection_dies_of_is_not_sent_for_ever() {
    let endpoint = Server::start(|conn, _| {
        conn.send([0, 0, 0, 4, 0, 0, 0, 0, 0])?;
        conn.read_exact(24)?;
        loop {
            let head = conn.read_exact(9)?;
            conn.read_exact(usize::from(head[1]) << 8 | usize::from(head[2]))?;
            if head[3] == 1 {
                return Ok(());
            }
        }
    });
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"h2c://{}\"\n",
        endpoint.addr()
    );
    let client = Client::connect(umay.addr()).unwrap();
    let mut streams: Vec<_> = (0..50).map(|_| get(&client, "/")).collect();
    for stream in &mut streams {
        let head = stream.head().unwrap();
        assert_eq!(head.reason().as_deref(), Some("upstream_closed"));
    }
    umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
    for line in umay.log() {
        assert!(line["attempts"].as_u64().unwrap() <= 2, "{line}");
    }
}
