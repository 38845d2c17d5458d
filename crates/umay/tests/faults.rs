//! What goes wrong under HTTP/1: limits, deadlines, endpoints that lie, stall and leave.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use umay_test::{End, Server, Umay, eventually, ok, umay};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// Umay before this endpoint, with more keys at the top.
fn before(endpoint: &Server, more: &str) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n{more}\n",
        endpoint.addr()
    )
}

#[test]
fn limits_are_kept_on_both_sides_of_the_line() {
    let endpoint = Server::ok("hi");
    let umay = before(
        &endpoint,
        "limits.head = \"2KiB\"\nlimits.fields = 10\nlimits.target = \"1KiB\"\nlimits.body = 100",
    );
    let long = |n: usize| "x".repeat(n);
    let fields = |n: usize| "X: y\r\n".repeat(n);
    let (ok_path, long_path) = (long(1023), long(1024));
    let (ok_field, long_field) = (long(1800), long(2048));
    for (request, status) in [
        (format!("GET /{ok_path} HTTP/1.1\r\nHost: a\r\n\r\n"), 200),
        (format!("GET /{long_path} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {ok_field}\r\n\r\n"),
            200,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long_field}\r\n\r\n"),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(9)),
            200,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(10)),
            431,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{}",
                long(100)
            ),
            200,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n{}",
                long(101)
            ),
            413,
        ),
    ] {
        let response = umay.connect().ask(&request).unwrap();
        assert_eq!(response.status(), status, "{request}");
        assert_eq!(response.reason().is_some(), status != 200);
    }
}

#[test]
fn a_chunked_body_over_the_limit_is_cut_and_refused() {
    let endpoint = Server::start(|conn, _| {
        let result = conn.read_request();
        assert!(result.is_err(), "{result:?}");
        Ok(())
    });
    let umay = before(&endpoint, "limits.body = 100");
    let mut conn = umay.connect();
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    conn.send(head).unwrap();
    conn.send(format!("40\r\n{}\r\n", "x".repeat(64))).unwrap();
    eventually("the first chunk", || {
        endpoint.recorded_text().contains("xxx").then_some(())
    });
    conn.send(format!("40\r\n{}\r\n0\r\n\r\n", "x".repeat(64)))
        .unwrap();
    assert_eq!(conn.read_response("POST").unwrap().status(), 413);
    endpoint.wait_ended(1);
    assert_eq!(umay.wait_reason("request_body_too_large")["status"], 413);
}

#[test]
fn a_route_may_have_a_limit_of_its_own() {
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nlimits.body = 10\n[[route]]\nmax_body = 20\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    for (length, status) in [(20, 200), (21, 413)] {
        let body = "x".repeat(length);
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
        assert_eq!(umay.connect().ask(request).unwrap().status(), status);
    }
}

#[test]
fn a_head_that_drips_is_refused_in_time() {
    let endpoint = Server::ok("hi");
    let umay = before(&endpoint, "timeouts.header = \"500ms\"");
    let mut conn = umay.connect();
    let started = Instant::now();
    let mut drip = conn.twin().unwrap();
    conn.send("GET / HTTP/1.1\r\nHost: a.test\r\nX: ").unwrap();
    // Each byte is progress, and still the whole head has its deadline.
    let sender = std::thread::spawn(move || {
        while drip.send("x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let response = conn.read_response("GET").unwrap();
    assert_eq!(
        (response.status(), response.get("connection")),
        (408, Some("close"))
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    drop(conn);
    sender.join().unwrap();
    assert_eq!(umay.wait_reason("request_timeout")["status"], 408);
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn a_body_that_stalls_is_refused() {
    let endpoint = Server::start(|conn, _| {
        let result = conn.read_request();
        assert!(result.is_err(), "{result:?}");
        Ok(())
    });
    let umay = before(&endpoint, "timeouts.body = \"300ms\"");
    let mut conn = umay.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc")
        .unwrap();
    assert_eq!(conn.read_response("POST").unwrap().status(), 408);
    assert_eq!(conn.read_to_end().unwrap().0, b"");
    endpoint.wait_ended(1);
    assert_eq!(umay.wait_reason("request_body_timeout")["bytes_in"], 3);
}

#[test]
fn an_endpoint_that_does_not_begin_to_answer_is_given_up() {
    let endpoint = Server::start(|conn, _| conn.read_to_end().map(|_| ()));
    let umay = before(&endpoint, "timeouts.first_byte = \"300ms\"");
    let mut conn = umay.connect();
    let response = conn.ask(GET).unwrap();
    assert_eq!(
        (response.status(), response.reason().as_deref()),
        (504, Some("upstream_timeout"))
    );
    endpoint.wait_ended(1);
    assert_eq!(
        endpoint.connections(),
        1,
        "a request that may have been acted on is not repeated"
    );
}

#[test]
fn an_endpoint_that_stalls_in_its_answer_is_cut() {
    let endpoint = Server::start(|conn, _| {
        conn.read_request()?;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")?;
        conn.read_to_end().map(|_| ())
    });
    let umay = before(&endpoint, "timeouts.body = \"300ms\"");
    let mut conn = umay.connect();
    let error = conn.ask(GET).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    let line = umay.wait_reason("upstream_stalled");
    assert_eq!(
        (&line["status"], &line["bytes_out"]),
        (&200.into(), &3.into())
    );
}

#[test]
fn a_client_that_stops_taking_is_cut() {
    let endpoint = Server::start(|conn, _| {
        conn.read_request()?;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")?;
        let block = vec![b'x'; 1 << 20];
        while conn.send(&block).is_ok() {}
        Ok(())
    });
    let umay = before(&endpoint, "timeouts.send = \"500ms\"");
    let mut conn = umay.connect();
    conn.shrink_receive_buffer().unwrap();
    conn.send(GET).unwrap();
    umay.wait_reason("client_stalled");
    endpoint.wait_ended(1);
}

#[test]
fn an_answer_that_is_cut_never_looks_complete() {
    for (head, request) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", GET),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            GET,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
            GET,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n",
        ),
    ] {
        let endpoint = Server::start(move |conn, _| {
            conn.read_request()?;
            conn.send(head)
        });
        let umay = before(&endpoint, "");
        let mut conn = umay.connect();
        conn.send(request).unwrap();
        let (bytes, end) = conn.read_to_end().unwrap();
        let whole = umay_test::http::response(&bytes, "GET", end == End::Clean);
        assert!(!matches!(whole, Ok(Some(_))), "{head:?} came as {whole:?}");
        let line = umay.wait_path("/x");
        assert_eq!(line["reason"], "upstream_cut", "{line}");
    }
}

#[test]
fn a_body_without_framing_that_ends_in_a_reset_is_a_cut_too() {
    let taken = Arc::new(Barrier::new(2));
    let of_endpoint = Arc::clone(&taken);
    let endpoint = Server::start(move |conn, _| {
        conn.read_request()?;
        conn.send("HTTP/1.1 200 OK\r\n\r\nabc")?;
        // A reset may overtake what was sent before it.
        of_endpoint.wait();
        conn.reset_when_dropped()
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    conn.send(GET).unwrap();
    conn.read_until("abc").unwrap();
    taken.wait();
    let (rest, _) = conn.read_to_end().unwrap();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
    assert_eq!(umay.wait_path("/x")["reason"], "upstream_cut");
}

#[test]
fn a_pooled_connection_that_died_is_replaced_when_that_is_safe() {
    // Connection 0 answers once and then takes one request without answering it.
    let endpoint = Server::start(|conn, number| {
        while conn.read_request()?.is_some() {
            let taken = conn.request_count();
            if number == 0 && taken == 2 {
                return Ok(());
            }
            conn.send(ok("hi"))?;
        }
        Ok(())
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    for _ in 0..2 {
        assert_eq!(conn.ask(GET).unwrap().text(), "hi");
    }
    assert_eq!(endpoint.connections(), 2);
    umay.wait_metric("umay_retries_total", &[], 1.0);
    assert_eq!(umay.wait_log(|line| line["attempts"] == 2)["status"], 200);
}

#[test]
fn a_request_that_is_not_idempotent_is_not_repeated() {
    let endpoint = Server::start(|conn, number| {
        while conn.read_request()?.is_some() {
            if number == 0 && conn.request_count() == 2 {
                return Ok(());
            }
            conn.send(ok("hi"))?;
        }
        Ok(())
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    let post = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(conn.ask(post).unwrap().text(), "hi");
    let response = conn.ask(post).unwrap();
    assert_eq!(
        (response.status(), response.reason().as_deref()),
        (502, Some("upstream_closed"))
    );
    assert_eq!(endpoint.connections(), 1);
    assert_eq!(endpoint.recorded_text().matches("POST").count(), 2);
}

#[test]
fn a_fresh_connection_that_closes_is_not_tried_again() {
    let endpoint = Server::start(|conn, _| conn.read_request().map(|_| ()));
    let umay = before(&endpoint, "");
    let response = umay.connect().ask(GET).unwrap();
    assert_eq!(
        (response.status(), response.reason().as_deref()),
        (502, Some("upstream_closed"))
    );
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn malformed_answers_are_refused_and_their_connection_is_not_used_again() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(200));
    for (answer, reason) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
            "upstream_malformed",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
            "upstream_malformed",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
            "upstream_malformed",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "upstream_malformed",
        ),
        (
            "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
            "upstream_malformed",
        ),
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
            "upstream_malformed",
        ),
        (
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "upstream_malformed",
        ),
        (
            "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
            "upstream_malformed",
        ),
        (
            "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
            "upstream_malformed",
        ),
        (
            "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
            "upstream_malformed",
        ),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", "upstream_malformed"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "upstream_malformed",
        ),
        (&long, "upstream_head_too_large"),
        (&many, "upstream_head_too_large"),
    ] {
        let wire = answer.to_owned();
        let endpoint = Server::start(move |conn, _| {
            conn.read_request()?;
            conn.send(&wire)?;
            conn.read_to_end().map(|_| ())
        });
        let umay = before(&endpoint, "");
        let mut conn = umay.connect();
        for connections in [1, 2] {
            let response = conn.ask(GET).unwrap();
            let word = response.reason();
            assert_eq!(
                (response.status(), word.as_deref()),
                (502, Some(reason)),
                "{answer:.60?}"
            );
            assert_eq!(endpoint.connections(), connections);
        }
        endpoint.wait_ended(2);
    }
}

#[test]
fn what_follows_an_answer_unasked_is_nobodys_answer() {
    let endpoint = Server::start(|conn, number| {
        conn.read_request()?;
        let smuggled = if number == 0 {
            ok("smuggled")
        } else {
            Vec::new()
        };
        conn.send([ok("first"), smuggled].concat())?;
        conn.read_to_end().map(|_| ())
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    for _ in 0..2 {
        assert_eq!(conn.ask(GET).unwrap().text(), "first");
    }
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn what_comes_unasked_while_a_connection_waits_ends_it() {
    let post = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab";
    for request in [GET, post] {
        let meet = Arc::new(Barrier::new(2));
        let there = Arc::clone(&meet);
        let endpoint = Server::start(move |conn, number| {
            conn.read_request()?;
            conn.send(ok("asked"))?;
            if number == 0 {
                there.wait();
                conn.send(ok("unasked"))?;
                there.wait();
            }
            conn.read_to_end().map(|_| ())
        });
        let umay = before(&endpoint, "");
        let mut conn = umay.connect();
        assert_eq!(conn.ask(request).unwrap().text(), "asked");
        meet.wait();
        meet.wait();
        assert_eq!(conn.ask(request).unwrap().text(), "asked");
        assert_eq!(endpoint.connections(), 2);
    }
}

#[test]
fn broken_chunks_of_an_answer_are_a_cut() {
    let closing = "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    for chunk in [
        "zz\r\nabc\r\n",
        "3\nabc\r\n",
        "3\r\nabcd\r\n",
        "-1\r\n",
        "3;\r\n\0\r\nabc\r\n",
    ] {
        let endpoint = Server::start(move |conn, _| {
            conn.read_request()?;
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")?;
            conn.send(chunk)?;
            conn.send("0\r\n\r\n")?;
            conn.read_to_end().map(|_| ())
        });
        let umay = before(&endpoint, "");
        let mut conn = umay.connect();
        conn.send(closing).unwrap();
        let (bytes, end) = conn.read_to_end().unwrap();
        let whole = umay_test::http::response(&bytes, "GET", end == End::Clean);
        assert!(
            !matches!(&whole, Ok(Some((m, _))) if m.status() == 200),
            "{chunk:?}: {whole:?}"
        );
        assert_eq!(umay.wait_path("/x")["reason"], "upstream_body_malformed");
    }
}

#[test]
fn broken_chunks_of_a_request_are_refused() {
    let endpoint = Server::start(|conn, _| {
        let result = conn.read_request();
        assert!(result.is_err(), "{result:?}");
        Ok(())
    });
    let umay = before(&endpoint, "");
    for (n, chunk) in [
        "zz\r\n",
        "3\nabc\r\n",
        "3\r\nabcd\r\n",
        "-1\r\n",
        "0x3\r\nabc\r\n",
    ]
    .iter()
    .enumerate()
    {
        let mut conn = umay.connect();
        let head = "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        conn.send(format!("{head}{chunk}0\r\n\r\n")).unwrap();
        let response = conn.read_response("POST").unwrap();
        assert_eq!(response.status(), 400, "{chunk:?}");
        assert_eq!(response.reason().as_deref(), Some("request_body_malformed"));
        // It may not have come to a connection to the endpoint at all.
        assert!(endpoint.connections() <= n + 1);
    }
}
