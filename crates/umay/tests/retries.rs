//! What is tried elsewhere, and what must not be: a request reaches an endpoint twice only if that
//! does no harm, and a client never sees that there was more than one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod pool;

use std::net::SocketAddr;

use pool::{BOTH, Counting, Speaks, ask, before, call, get, more, setup, text};
use umay_test::exchange::Body;
use umay_test::frames::{Frame, Peer};
use umay_test::http2::{Client, Endpoint};
use umay_test::{Refusing, Server, Umay, answer, h2, ok};

const OFF: &str = "outlier = \"off\"";

/// An endpoint that answers with this status, and words of its own.
fn failing(status: &'static str) -> Counting {
    Counting::new(move |_| answer(status, "X-Own: yes\r\n", "its own words"))
}

fn good() -> Counting {
    Counting::new(|request| ok([b"good ", &request.body[..]].concat()))
}

/// As many requests as there are endpoints, so that each is the first to be asked once.
fn each_first(umay: &Umay, speaks: Speaks, method: &str, body: Option<&[u8]>) -> Vec<u16> {
    let one = |_| ask(umay, speaks, [method, "/"], body).unwrap().status();
    (0..2).map(one).collect()
}

#[test]
fn a_gateways_failure_is_tried_elsewhere_if_that_does_no_harm() {
    for status in ["502 Bad Gateway", "503 Busy", "504 Late"] {
        for speaks in BOTH {
            let (bad, good) = (failing(status), good());
            let umay = before(&[bad.addr(), good.addr()], OFF, "");
            assert_eq!(each_first(&umay, speaks, "GET", None), [200, 200]);
            assert_eq!((bad.requests(), good.requests()), (1, 2), "{status}");
            let put = each_first(&umay, speaks, "PUT", Some(b"x"));
            assert_eq!((put, bad.requests()), (vec![200, 200], 2));
            let mut post = each_first(&umay, speaks, "POST", Some(b"x"));
            post.sort_unstable();
            let own: u16 = status[..3].parse().unwrap();
            assert_eq!(post, [200, own], "{speaks:?}");
            assert_eq!((bad.requests(), good.requests()), (3, 5));
            let labels = [("result", "retried")];
            assert_eq!(umay.metric("umay_upstream_retries_total", &labels), 2.0);
        }
    }
}

#[test]
fn other_answers_are_answers() {
    for status in ["500 Oops", "429 Slow", "404 No", "505 Old"] {
        let (bad, good) = (failing(status), good());
        let umay = before(&[bad.addr(), good.addr()], OFF, "");
        let mut seen = each_first(&umay, Speaks::Http1, "GET", None);
        seen.sort_unstable();
        assert_eq!(seen, [200, status[..3].parse().unwrap()]);
    }
}

#[test]
fn the_statuses_are_those_that_are_told() {
    let (bad, good) = (failing("500 Oops"), good());
    let told = format!("{OFF}\nretry.statuses = [500]");
    let umay = before(&[bad.addr(), good.addr()], &told, "");
    assert_eq!(each_first(&umay, Speaks::Http1, "GET", None), [200, 200]);
    let none = format!("{OFF}\nretry.statuses = []");
    let bad = failing("503 Busy");
    let umay = before(&[bad.addr(), good.addr()], &none, "");
    let mut seen = each_first(&umay, Speaks::Http1, "GET", None);
    seen.sort_unstable();
    assert_eq!(seen, [200, 503]);
}

#[test]
fn the_last_endpoints_answer_is_passed_on_as_it_is() {
    for speaks in BOTH {
        for count in 1..=3 {
            let bad: Vec<_> = (0..count).map(|_| failing("503 Busy")).collect();
            let addrs: Vec<SocketAddr> = bad.iter().map(Counting::addr).collect();
            let umay = before(&addrs, OFF, "");
            let answer = ask(&umay, speaks, ["GET", "/"], None).unwrap();
            assert_eq!(answer.status(), 503);
            assert_eq!(answer.text(), "its own words", "{speaks:?} {count}");
            assert_eq!(answer.get("x-own"), Some("yes"));
            assert_eq!(answer.reason(), None, "it is not Umay's answer");
            let asked: Vec<_> = bad.iter().map(Counting::requests).collect();
            assert_eq!(asked, vec![1; count], "none is asked twice");
            let labels = [("result", "retried")];
            let retried = umay.metric("umay_upstream_retries_total", &labels);
            assert_eq!(retried, (count - 1) as f64, "no more than there were");
            assert_eq!(umay.wait_path("/")["attempts"], count);
        }
    }
}

#[test]
fn there_are_only_so_many_attempts() {
    let bad: Vec<_> = (0..5).map(|_| failing("503 Busy")).collect();
    let addrs: Vec<SocketAddr> = bad.iter().map(Counting::addr).collect();
    let umay = before(&addrs, &format!("{OFF}\nretry.attempts = 3"), "");
    assert_eq!(get(&umay).text(), "its own words");
    assert_eq!(bad.iter().map(Counting::requests).sum::<usize>(), 3);
    let once = before(&addrs, &format!("{OFF}\nretry = \"off\""), "");
    assert_eq!(get(&once).text(), "its own words");
    assert_eq!(bad.iter().map(Counting::requests).sum::<usize>(), 4);
}

#[test]
fn refused_connections_are_tried_elsewhere_whatever_the_method() {
    for speaks in BOTH {
        let (refusing, good) = (Refusing::new(), good());
        let umay = before(&[refusing.addr(), good.addr()], OFF, "");
        for _ in 0..4 {
            let answer = ask(&umay, speaks, ["POST", "/"], Some(b"body")).unwrap();
            assert_eq!(answer.text(), "good body");
        }
        let labels = [("outcome", "connect_refused")];
        assert_eq!(umay.metric("umay_upstream_attempts_total", &labels), 2.0);
        assert_eq!(good.requests(), 4);
    }
}

#[test]
fn a_large_body_is_sent_to_whom_can_be_reached() {
    // Nothing of it was sent when the connect was refused, so it need not be kept.
    let (refusing, good) = (Refusing::new(), good());
    let umay = before(&[refusing.addr(), good.addr()], OFF, "");
    let body = vec![b'x'; 1 << 20];
    for speaks in BOTH {
        for _ in 0..2 {
            let answer = ask(&umay, speaks, ["POST", "/"], Some(&body)).unwrap();
            assert_eq!(answer.body.len(), 5 + body.len());
        }
    }
}

/// Reads a head, or a request whole, and leaves without a word.
fn leaving(whole: bool, reset: bool) -> Counting {
    Counting::scripted(move |conn, count| {
        if whole {
            conn.read_request()?;
        } else {
            conn.read_until("\r\n\r\n")?;
        }
        more(count);
        if reset {
            conn.reset_when_dropped()?;
        }
        Ok(())
    })
}

#[test]
fn who_leaves_before_the_answer_is_replaced_if_that_does_no_harm() {
    for speaks in BOTH {
        for reset in [false, true] {
            let (bad, good) = (leaving(true, reset), good());
            let umay = before(&[bad.addr(), good.addr()], OFF, "");
            assert_eq!(each_first(&umay, speaks, "GET", None), [200, 200]);
            let put = each_first(&umay, speaks, "PUT", Some(b"x"));
            assert_eq!(put, [200, 200]);
            assert_eq!(bad.requests(), 2);
            let mut post = each_first(&umay, speaks, "POST", Some(b"x"));
            post.sort_unstable();
            assert_eq!(post, [200, 502], "{speaks:?} {reset}");
            assert_eq!((bad.requests(), good.requests()), (3, 5));
            let line = umay.wait_reason("upstream_closed");
            assert_eq!(line["attempts"], 1);
        }
    }
}

#[test]
fn what_is_not_kept_is_not_sent_again() {
    // Longer than what Umay keeps, and the endpoint has read some of it.
    let body = vec![b'x'; 4 << 20];
    for speaks in BOTH {
        let bad = Counting::scripted(|conn, count| {
            more(count);
            conn.skip(300_000)?;
            conn.reset_when_dropped()
        });
        let good = good();
        let umay = before(&[bad.addr(), good.addr()], OFF, "");
        let mut seen = Vec::new();
        for _ in 0..2 {
            let length = Body::Length(body.len());
            let mut exchange = call(&umay, speaks, ["PUT", "/"], &[], length);
            // It may be refused before it is through.
            let _ = exchange.send(&body);
            let _ = exchange.finish(&[]);
            seen.extend(exchange.head().map(|head| head.status()));
        }
        assert_eq!((bad.requests(), good.requests()), (1, 1), "{speaks:?}");
        assert!(seen.contains(&200), "{seen:?}");
        umay.wait_reason("upstream_closed");
    }
}

#[test]
fn answers_are_never_mixed() {
    // The head of the answer was there, whatever comes after it.
    for speaks in BOTH {
        for cut in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbad",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n",
            "HTTP/1.1 200 OK\r\nContent-Le",
        ] {
            let bad = Counting::scripted(move |conn, count| {
                conn.read_request()?;
                more(count);
                conn.send(cut)
            });
            let good = good();
            let umay = before(&[bad.addr(), good.addr()], OFF, "");
            let (mut whole, mut failed) = (0, 0);
            for _ in 0..2 {
                match ask(&umay, speaks, ["GET", "/"], None) {
                    Ok(answer) if answer.status() == 200 => {
                        assert_eq!(answer.text(), "good ");
                        whole += 1;
                    }
                    _ => failed += 1,
                }
            }
            assert_eq!((whole, failed), (1, 1), "{speaks:?} {cut:?}");
            assert_eq!((bad.requests(), good.requests()), (1, 1));
        }
    }
}

#[test]
fn an_interim_answer_that_was_passed_on_binds_to_its_endpoint() {
    let bad = Counting::scripted(|conn, count| {
        conn.read_request()?;
        more(count);
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
        conn.send(answer("503 Busy", "", "its own words"))
    });
    let good = good();
    let umay = before(&[bad.addr(), good.addr()], OFF, "");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut exchange = call(&umay, Speaks::Http1, ["GET", "/"], &[], Body::Empty);
        let mut head = exchange.head().unwrap();
        if head.status() == 103 {
            head = exchange.head().unwrap();
        }
        seen.push(head.status());
    }
    seen.sort_unstable();
    assert_eq!(seen, [200, 503]);
}

#[test]
fn a_spent_budget_leaves_the_first_answer_as_it_is() {
    let (bad, good) = (failing("503 Busy"), good());
    let more = format!("{OFF}\nretry.budget = 0\nretry.floor = 1");
    let umay = before(&[bad.addr(), good.addr()], &more, "");
    let retried = || umay.metric("umay_upstream_retries_total", &[("result", "retried")]);
    let mut statuses = Vec::new();
    // One per second, and those of the last ten seconds may come at once.
    while statuses.iter().filter(|status| **status == 503).count() < 3 {
        statuses.push(get(&umay).status());
        assert!(statuses.len() < 60, "{statuses:?} {}", retried());
    }
    let spent = umay.metric("umay_upstream_retries_total", &[("result", "budget_spent")]);
    assert_eq!(spent, 3.0);
    assert!((10.0..13.0).contains(&retried()), "{}", retried());
    assert_eq!(umay.metric("umay_upstream_retry_budget", &[]), 0.0);
    let spent = umay.wait_log(|line| line["status"] == 503);
    assert_eq!(spent["attempts"], 1);
}

#[test]
fn without_retries_a_refused_connection_is_final_too() {
    let (refusing, good) = (Refusing::new(), good());
    let more = format!("{OFF}\nretry = \"off\"");
    let umay = before(&[refusing.addr(), good.addr()], &more, "");
    let mut seen = each_first(&umay, Speaks::Http1, "GET", None);
    seen.sort_unstable();
    assert_eq!(seen, [200, 502]);
}

/// Umay before endpoints in HTTP/2.
fn before_http2(endpoints: &[SocketAddr], more: &str) -> Umay {
    setup(text("h2c://", endpoints, more, "")).start()
}

fn good_http2() -> Endpoint {
    Endpoint::start(|stream| {
        let body = stream.read_to_end()?;
        stream.respond(200, &[], false)?;
        stream.send(&[b"good ", &body[..]].concat())?;
        stream.finish(&[])
    })
}

#[test]
fn a_refused_stream_is_tried_elsewhere_whatever_the_method() {
    for speaks in BOTH {
        let refusing = Endpoint::start(|stream| {
            stream.reset(h2::Reason::REFUSED_STREAM);
            Ok(())
        });
        let good = good_http2();
        let umay = before_http2(&[refusing.addr(), good.addr()], OFF);
        for _ in 0..4 {
            let answer = ask(&umay, speaks, ["POST", "/"], Some(b"x")).unwrap();
            assert_eq!(answer.text(), "good x");
        }
        assert_eq!(refusing.streams(), 2);
    }
}

#[test]
fn streams_that_a_goaway_has_not_seen_are_tried_elsewhere() {
    for speaks in BOTH {
        let leaving = Server::start(|conn, _| {
            let mut peer = Peer::server(conn, &[])?;
            peer.head(None)?;
            // It has looked at none.
            peer.send(&Frame::goaway(0, 0))?;
            peer.conn().read_to_end().map(drop)
        });
        let good = good_http2();
        let umay = before_http2(&[leaving.addr(), good.addr()], OFF);
        for _ in 0..4 {
            let answer = ask(&umay, speaks, ["POST", "/"], Some(b"x")).unwrap();
            assert_eq!(answer.text(), "good x");
        }
    }
}

#[test]
fn a_reset_in_http2_is_not_a_refusal() {
    for speaks in BOTH {
        let bad = Endpoint::start(|stream| {
            stream.read_to_end()?;
            stream.reset(h2::Reason::INTERNAL_ERROR);
            Ok(())
        });
        let good = good_http2();
        let umay = before_http2(&[bad.addr(), good.addr()], OFF);
        assert_eq!(each_first(&umay, speaks, "GET", None), [200, 200]);
        let mut post = each_first(&umay, speaks, "POST", Some(b"x"));
        post.sort_unstable();
        assert_eq!(post, [200, 502]);
        assert_eq!(bad.streams(), 2);
        assert_eq!(good.streams(), 3);
    }
}

#[test]
fn a_call_that_failed_at_once_counts_against_its_endpoint() {
    let bad = Endpoint::start(|stream| {
        let fields = [("content-type", "application/grpc"), ("grpc-status", "14")];
        stream.respond(200, &fields, true)
    });
    let umay = before_http2(&[bad.addr()], "");
    let client = Client::connect(umay.addr()).unwrap();
    for (kind, failures) in [("application/grpc", 1.0), ("text/plain", 1.0)] {
        let fields = [("content-type", kind), ("te", "trailers")];
        let mut call = client
            .call("POST", "http://a.test/s/m", &fields, true)
            .unwrap();
        assert_eq!(call.head().unwrap().get("grpc-status"), Some("14"));
        umay.wait_metric("umay_endpoint_failures_total", &[], failures);
    }
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn a_handshake_of_websocket_is_tried_elsewhere() {
    let (refusing, bad) = (Refusing::new(), failing("503 Busy"));
    let good = Server::start(|conn, _| {
        conn.read_until("\r\n\r\n")?;
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
        )?;
        conn.read_to_end().map(drop)
    });
    let umay = before(&[refusing.addr(), bad.addr(), good.addr()], OFF, "");
    for _ in 0..3 {
        let mut conn = umay.connect();
        conn.send(UPGRADE).unwrap();
        let head = conn.read_until("\r\n\r\n").unwrap();
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        assert_eq!(conn.read_exact(5).unwrap(), b"hello");
    }
    // It has its own turn, and may be the second for whom was refused.
    assert!((1..=2).contains(&bad.requests()));
}

#[test]
fn pipelined_requests_stay_in_order_whatever_is_tried_again() {
    let (bad, good) = (failing("503 Busy"), good());
    let umay = before(&[bad.addr(), good.addr()], OFF, "");
    let mut conn = umay.connect();
    let put = |body: &str| {
        format!(
            "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let chunked = "PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let all: String = (0..8).map(|n| put(&format!("number {n}"))).collect();
    conn.send(format!(
        "{all}{chunked}3\r\nabc\r\n0\r\n\r\n{chunked}0\r\n\r\n"
    ))
    .unwrap();
    for n in 0..8 {
        let answer = conn.read_response("PUT").unwrap();
        assert_eq!(answer.text(), format!("good number {n}"));
    }
    assert_eq!(conn.read_response("PUT").unwrap().text(), "good abc");
    assert_eq!(conn.read_response("PUT").unwrap().text(), "good ");
    assert_eq!(bad.requests(), 5);
}
