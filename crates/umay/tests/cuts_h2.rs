//! What is cut in HTTP/2, in whatever way, never looks complete to the other side.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail loudly"
)]

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use umay_test::exchange::{Exchange, Peer};
use umay_test::http2::{Client, Endpoint};
use umay_test::{Umay, h2, umay};

const CODES: [h2::Reason; 4] = [
    h2::Reason::NO_ERROR,
    h2::Reason::CANCEL,
    h2::Reason::INTERNAL_ERROR,
    h2::Reason::REFUSED_STREAM,
];

fn before(to: &str) -> Umay {
    umay!("listen = \"127.0.0.1:0\"\nto = \"{to}\"\n")
}

#[test]
fn an_answer_that_is_reset_is_cut_whatever_the_code() {
    for code in CODES {
        let endpoint = Endpoint::start(move |stream| {
            let length = [("content-length", "8")];
            let fields = match stream.request().target() {
                "/known" => &length[..],
                _ => &[],
            };
            stream.respond(200, fields, false)?;
            stream.send(b"part")?;
            // The part arrives before the cut.
            stream.read_some()?;
            stream.reset(code);
            Ok(())
        });
        let umay = before(&format!("h2c://{}", endpoint.addr()));
        let client = Client::connect(umay.addr()).unwrap();
        for path in ["/known", "/unknown"] {
            println!("{code:?} {path}");
            let url = format!("http://a.test{path}");
            let mut stream = client.call("POST", &url, &[], false).unwrap();
            assert_eq!(stream.head().unwrap().status(), 200);
            assert_eq!(stream.read_some().unwrap().unwrap(), &b"part"[..]);
            stream.send(b"now").unwrap();
            let end = stream.read_to_end();
            assert!(end.is_err(), "{end:?}");
            // And in HTTP/1.
            let mut conn = umay.connect();
            conn.send(format!(
                "POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n"
            ))
            .unwrap();
            conn.read_until("part").unwrap();
            conn.send("now").unwrap();
            let end = conn.read_response("POST");
            assert!(end.is_err(), "{end:?}");
            let (rest, _) = conn.read_to_end().unwrap();
            assert!(!String::from_utf8_lossy(&rest).contains("0\r\n\r\n"));
        }
    }
}

/// Reads the request's body and tells how that ended.
fn listener(tell: mpsc::Sender<io::Result<Vec<u8>>>) -> [Peer; 2] {
    let script = move |exchange: &mut Exchange<'_>| {
        let read = exchange.read_to_end();
        let failed = read.is_err();
        tell.send(read).ok();
        if failed {
            return Err(io::Error::other("cut"));
        }
        exchange.respond(200, &[], umay_test::exchange::Body::Empty)
    };
    [Peer::http1(None, script.clone()), Peer::http2(None, script)]
}

fn to(peer: &Peer) -> String {
    match peer {
        Peer::One(server) => format!("http://{}", server.addr()),
        Peer::Many(endpoint) => format!("h2c://{}", endpoint.addr()),
    }
}

#[test]
fn an_upload_that_is_reset_is_cut_whatever_the_code() {
    let (tell, told) = mpsc::channel();
    for peer in listener(tell) {
        let umay = before(&to(&peer));
        let client = Client::connect(umay.addr()).unwrap();
        for code in CODES {
            for fields in [&[("content-length", "8")][..], &[]] {
                println!("{code:?} {fields:?}");
                let mut stream = client
                    .call("POST", "http://a.test/", fields, false)
                    .unwrap();
                stream.send(b"part").unwrap();
                // The endpoint has it.
                umay.wait_metric("umay_http_requests_in_flight", &[], 1.0);
                std::thread::sleep(Duration::from_millis(20));
                stream.reset(code);
                let read = told.recv_timeout(umay_test::DEADLINE).unwrap();
                assert!(read.is_err(), "{read:?}");
                umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
            }
        }
    }
}

#[test]
fn an_upload_whose_connection_ends_is_cut() {
    let (tell, told) = mpsc::channel();
    for peer in listener(tell) {
        let umay = before(&to(&peer));
        let client = Client::connect(umay.addr()).unwrap();
        let mut streams: Vec<_> = (0..3)
            .map(|_| client.call("POST", "http://a.test/", &[], false).unwrap())
            .collect();
        for stream in &mut streams {
            stream.send(b"part").unwrap();
        }
        umay.wait_metric("umay_http_requests_in_flight", &[], 3.0);
        std::thread::sleep(Duration::from_millis(50));
        drop(client);
        for _ in 0..3 {
            let read = told.recv_timeout(umay_test::DEADLINE).unwrap();
            assert!(read.is_err(), "{read:?}");
        }
        umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
        umay.wait_metric("umay_connections_active", &[], 0.0);
    }
}

#[test]
fn a_body_that_is_not_as_long_as_was_said_is_cut() {
    let (tell, told) = mpsc::channel();
    for peer in listener(tell) {
        let umay = before(&to(&peer));
        let client = Client::connect(umay.addr()).unwrap();
        for (length, body) in [("8", "short"), ("3", "longer")] {
            let fields = [("content-length", length)];
            let mut stream = client
                .call("POST", "http://a.test/", &fields, false)
                .unwrap();
            stream.send(body.as_bytes()).unwrap();
            stream.finish(&[]).ok();
            let refused = stream.head().map(|head| head.status());
            assert!(refused.as_ref().map_or(true, |s| *s == 400), "{refused:?}");
            // Whatever the endpoint has seen of it was cut.
            while let Ok(read) = told.recv_timeout(Duration::from_millis(200)) {
                assert!(read.is_err(), "{read:?}");
            }
        }
    }
}
