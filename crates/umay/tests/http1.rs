//! HTTP/1.1 as it should be: connections, bodies, interim answers, old versions.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::time::Duration;

use umay_test::{Conn, End, GET, Message, Server, Umay, answer, ok, umay};

fn before(endpoint: &Server) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    )
}

/// Answers with the request's method, target and body.
fn mirror() -> Server {
    Server::http(|request| {
        let text = format!(
            "{} {} {}",
            request.method(),
            request.target(),
            request.text()
        );
        ok(text)
    })
}

/// A request with a chunked body.
fn chunked(target: &str, chunks: &[&str], trailers: &str) -> String {
    let mut text =
        format!("POST {target} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in chunks {
        text += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    text + "0\r\n" + trailers + "\r\n"
}

#[test]
fn one_connection_carries_many_requests_on_both_sides() {
    let endpoint = mirror();
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    for number in 0..100 {
        let request = format!("GET /{number} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(conn.ask(request).unwrap().text(), format!("GET /{number} "));
    }
    assert_eq!(endpoint.connections(), 1);
    assert_eq!(umay.wait_path("/0")["reused"], false);
    assert_eq!(umay.wait_path("/99")["reused"], true);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let umay_endpoint = mirror();
    let umay = before(&umay_endpoint);
    let mut conn = umay.connect();
    let wire = [
        "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "POST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc",
        &chunked("/3", &["de", "f"], ""),
        "HEAD /4 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /5 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
    ]
    .concat();
    conn.send(wire).unwrap();
    for (method, expected) in [
        ("GET", "GET /1 "),
        ("POST", "POST /2 abc"),
        ("POST", "POST /3 def"),
        ("HEAD", ""),
        ("GET", "GET /5 "),
    ] {
        assert_eq!(conn.read_response(method).unwrap().text(), expected);
    }
    assert_eq!(conn.read_to_end().unwrap(), (Vec::new(), End::Clean));
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let endpoint = mirror();
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    conn.send_bytewise(chunked("/slow", &["ab", "c"], "X: y\r\n"))
        .unwrap();
    assert_eq!(conn.read_response("POST").unwrap().text(), "POST /slow abc");
}

#[test]
fn bodies_keep_their_framing_both_ways() {
    let endpoint = Server::start(|conn, _| {
        while let Some(request) = conn.read_request()? {
            let body = request.text();
            if request.chunked {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                conn.send(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))?;
            } else {
                conn.send(ok(body))?;
            }
        }
        Ok(())
    });
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    let sized = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nsized";
    let response = conn.ask(sized).unwrap();
    assert_eq!(
        (response.text().as_str(), response.chunked),
        ("sized", false)
    );
    assert_eq!(response.get("content-length"), Some("5"));
    let response = conn.ask(chunked("/", &["chun", "ked"], "")).unwrap();
    assert_eq!(
        (response.text().as_str(), response.chunked),
        ("chunked", true)
    );
    assert_eq!(response.get("content-length"), None);
    // The log counts bodies, not their framing.
    let line = umay.wait_log(|line| line["bytes_in"] == 7);
    assert_eq!(line["bytes_out"], 7);
}

#[test]
fn trailers_pass_both_ways() {
    let endpoint = Server::start(|conn, _| {
        let request = conn.read_request()?.unwrap();
        assert_eq!(request.trailers, [("X-Sum".to_owned(), "1".to_owned())]);
        assert_eq!(request.get("trailer"), Some("X-Sum"));
        let head = "HTTP/1.1 200 OK\r\nTrailer: X-Done\r\nTransfer-Encoding: chunked\r\n\r\n";
        conn.send(format!("{head}2\r\nok\r\n0\r\nX-Done: yes\r\n\r\n"))
    });
    let umay = before(&endpoint);
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nTrailer: X-Sum\r\n\
                   Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n";
    let response = umay.connect().ask(request).unwrap();
    assert_eq!(response.text(), "ok");
    assert_eq!(response.trailers, [("X-Done".to_owned(), "yes".to_owned())]);
}

#[test]
fn expect_continue_waits_for_the_endpoint() {
    let endpoint = Server::start(|conn, _| {
        let head = conn.read_until("\r\n\r\n")?;
        let head = String::from_utf8(head).unwrap();
        assert!(
            head.to_lowercase().contains("expect: 100-continue"),
            "{head}"
        );
        conn.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        assert_eq!(conn.read_exact(4)?, b"body");
        conn.send(ok("thanks"))
    });
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    let head =
        "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    conn.send(head).unwrap();
    assert_eq!(conn.read_response("POST").unwrap().status(), 100);
    conn.send("body").unwrap();
    assert_eq!(conn.read_response("POST").unwrap().text(), "thanks");
}

#[test]
fn a_refused_expectation_does_not_leave_a_body_in_doubt() {
    let endpoint = Server::start(|conn, _| {
        conn.read_until("\r\n\r\n")?;
        conn.send(answer("403 Forbidden", "", "no"))?;
        conn.read_to_end().map(|_| ())
    });
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    let head =
        "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let response = conn.ask(head).unwrap();
    assert_eq!(
        (response.status(), response.get("connection")),
        (403, Some("close"))
    );
    conn.half_close().unwrap();
    assert_eq!(conn.read_to_end().unwrap().0, b"");
}

#[test]
fn interim_answers_pass_to_those_who_know_them() {
    let endpoint = Server::start(|conn, _| {
        while conn.read_request()?.is_some() {
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")?;
            conn.send("HTTP/1.1 102 Processing\r\n\r\n")?;
            conn.send(ok("final"))?;
        }
        Ok(())
    });
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    let hints = conn.ask(GET).unwrap();
    assert_eq!(hints.status(), 103);
    assert_eq!(hints.get("link"), Some("</a.css>; rel=preload"));
    assert_eq!(conn.read_response("GET").unwrap().status(), 102);
    assert_eq!(conn.read_response("GET").unwrap().text(), "final");
    let mut old = umay.connect();
    let response = old.ask("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").unwrap();
    assert_eq!(response.text(), "final");
}

#[test]
fn answers_without_a_body_leave_the_connection_in_step() {
    let endpoint = Server::start(|conn, _| {
        while let Some(request) = conn.read_request()? {
            conn.send(match request.target() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n",
                "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            })?;
        }
        Ok(())
    });
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    let mut ask = |method: &str, target: &str| {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        conn.ask(request).unwrap()
    };
    assert_eq!(ask("GET", "/204").status(), 204);
    assert_eq!(ask("GET", "/").text(), "ok");
    assert_eq!(ask("GET", "/304").status(), 304);
    assert_eq!(ask("GET", "/").text(), "ok");
    assert_eq!(ask("HEAD", "/head").get("content-length"), Some("12345"));
    assert_eq!(ask("GET", "/").text(), "ok");
    assert_eq!(ask("HEAD", "/chunked").status(), 200);
    assert_eq!(ask("GET", "/").text(), "ok");
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn http_1_0_clients_get_what_they_understand() {
    let endpoint = Server::http(|request| match request.target() {
        "/chunked" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
        }
        _ => ok("sized"),
    });
    let umay = before(&endpoint);
    // Chunks are unknown to them: the end of the connection is the end of the body.
    let mut conn = umay.connect();
    let keep = "Host: a.test\r\nConnection: keep-alive\r\n\r\n";
    let response = conn
        .ask(format!("GET /chunked HTTP/1.0\r\n{keep}"))
        .unwrap();
    assert_eq!((response.text().as_str(), response.chunked), ("abc", false));
    assert_eq!(response.get("transfer-encoding"), None);
    // They keep the connection if they say so and the length is known.
    let mut conn = umay.connect();
    for _ in 0..2 {
        let response = conn.ask(format!("GET / HTTP/1.0\r\n{keep}")).unwrap();
        assert_eq!(
            response.get("connection").map(str::to_lowercase).as_deref(),
            Some("keep-alive")
        );
        assert_eq!(response.text(), "sized");
    }
    // Host is theirs to leave out, and they close by default.
    let mut conn = umay.connect();
    let response = conn.ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(conn.read_to_end().unwrap(), (Vec::new(), End::Clean));
}

#[test]
fn http_1_0_endpoints_and_bodies_that_end_with_the_connection_become_chunked() {
    for head in ["HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\nConnection: close"] {
        let endpoint = Server::start(move |conn, _| {
            conn.read_request()?;
            conn.send(format!("{head}\r\n\r\nuntil the "))?;
            conn.send("end")
        });
        let umay = before(&endpoint);
        let mut conn = umay.connect();
        for _ in 0..2 {
            let response = conn.ask(GET).unwrap();
            assert_eq!(
                (response.text().as_str(), response.chunked),
                ("until the end", true)
            );
        }
        assert_eq!(endpoint.connections(), 2);
    }
}

#[test]
fn an_endpoint_may_answer_before_it_has_read_the_request() {
    let endpoint = Server::start(|conn, _| {
        conn.read_until("\r\n\r\n")?;
        conn.send(answer("401 Unauthorized", "", "who?"))?;
        conn.read_to_end().map(|_| ())
    });
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\nfirst bytes";
    let response = conn.ask(head).unwrap();
    assert_eq!((response.status(), response.text().as_str()), (401, "who?"));
}

#[test]
fn both_bodies_flow_at_the_same_time() {
    let endpoint = Server::start(|conn, _| {
        conn.read_until("\r\n\r\n")?;
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for number in 0..10 {
            let chunk = conn.read_until(format!("{number}\r\n").as_bytes())?;
            assert!(chunk.starts_with(b"1\r\n"), "{chunk:?}");
            conn.send(format!("1\r\n{number}\r\n"))?;
        }
        conn.read_until("0\r\n\r\n")?;
        conn.send("0\r\n\r\n")
    });
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    conn.send(head).unwrap();
    conn.read_until("\r\n\r\n").unwrap();
    for number in 0..10 {
        conn.send(format!("1\r\n{number}\r\n")).unwrap();
        assert_eq!(
            conn.read_exact(6).unwrap(),
            format!("1\r\n{number}\r\n").as_bytes()
        );
    }
    conn.send("0\r\n\r\n").unwrap();
    assert_eq!(conn.read_exact(5).unwrap(), b"0\r\n\r\n");
}

#[test]
fn large_bodies_arrive_as_they_were_sent() {
    const SIZE: usize = 8 << 20;
    let body: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
    let endpoint = Server::http(|request| ok(&request.body));
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    let mut writer = conn.twin().unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {SIZE}\r\n\r\n");
    let wire = [head.as_bytes(), &body].concat();
    let sender = std::thread::spawn(move || writer.send(wire));
    let response = conn.read_response("POST").unwrap();
    assert!(response.body == body, "the body was changed");
    sender.join().unwrap().unwrap();
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    let endpoint = Server::start(|conn, _| {
        conn.read_request()?;
        conn.read_to_end().map(|_| ())
    });
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    conn.send("GET /gone HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    umay_test::eventually("the request", || {
        endpoint.recorded_text().contains("/gone").then_some(())
    });
    drop(conn);
    endpoint.wait_ended(1);
    let line = umay.wait_path("/gone");
    assert_eq!(
        (&line["status"], &line["reason"]),
        (&499.into(), &"client_gone".into())
    );
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_does_not_look_complete() {
    let endpoint = Server::start(|conn, _| {
        let result = conn.read_request();
        assert!(result.is_err(), "{result:?}");
        Ok(())
    });
    let umay = before(&endpoint);
    for body in [
        "Content-Length: 10\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut conn = umay.connect();
        conn.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\n{body}"))
            .unwrap();
        drop(conn);
    }
    endpoint.wait_ended(2);
    let text = endpoint.recorded_text();
    assert!(!text.contains("\r\n0\r\n"), "{text}");
}

#[test]
fn an_idle_connection_is_closed_in_order() {
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\ntimeouts.keep_alive = \"300ms\"\n",
        endpoint.addr()
    );
    let mut conn = umay.connect();
    assert_eq!(conn.ask(GET).unwrap().text(), "hi");
    assert_eq!(conn.read_to_end().unwrap(), (Vec::new(), End::Clean));
    let mut silent = umay.connect();
    assert_eq!(silent.read_to_end().unwrap(), (Vec::new(), End::Clean));
}

#[test]
fn connection_close_is_honoured_on_both_sides() {
    let endpoint = Server::start(|conn, _| {
        conn.read_request()?;
        conn.send(answer("200 OK", "Connection: close\r\n", "bye"))
    });
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    // The endpoint's wish is its own affair.
    for _ in 0..2 {
        let response = conn.ask(GET).unwrap();
        assert_eq!(
            (response.text().as_str(), response.get("connection")),
            ("bye", None)
        );
    }
    assert_eq!(endpoint.connections(), 2);
    let closing = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    assert_eq!(conn.ask(closing).unwrap().get("connection"), Some("close"));
    assert_eq!(conn.read_to_end().unwrap(), (Vec::new(), End::Clean));
}

#[test]
fn absolute_and_asterisk_targets_reach_the_endpoint_in_their_forms() {
    let endpoint = mirror();
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    let absolute = "GET http://a.test/x?y=1 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(conn.ask(absolute).unwrap().text(), "GET /x?y=1 ");
    let empty = "GET http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(conn.ask(empty).unwrap().text(), "GET / ");
    let asterisk = "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(conn.ask(asterisk).unwrap().text(), "OPTIONS * ");
}

#[test]
fn a_slow_answer_lives_as_long_as_it_moves() {
    let endpoint = Server::start(|conn, _| {
        conn.read_request()?;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")?;
        // Longer in all than the deadline between two reads.
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(200));
            conn.send("x")?;
        }
        Ok(())
    });
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\ntimeouts.body = \"1s\"\n",
        endpoint.addr()
    );
    assert_eq!(umay.connect().ask(GET).unwrap().text(), "xxxxxxxx");
}

#[test]
fn a_second_request_waits_for_the_first_answer() {
    let endpoint = Server::start(|conn, _| {
        while let Some(request) = conn.read_request()? {
            conn.send(ok(request.target()))?;
        }
        Ok(())
    });
    let umay = before(&endpoint);
    let mut conns: Vec<Conn> = (0..20).map(|_| umay.connect()).collect();
    for (number, conn) in conns.iter_mut().enumerate() {
        let request = |n| format!("GET /{number}/{n} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        conn.send([request(0), request(1), request(2)].concat())
            .unwrap();
    }
    for (number, conn) in conns.iter_mut().enumerate() {
        for n in 0..3 {
            let response: Message = conn.read_response("GET").unwrap();
            assert_eq!(response.text(), format!("/{number}/{n}"));
        }
    }
}
