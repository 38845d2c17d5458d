//! Long bodies between plain sockets, which the kernel moves without their being looked at: nothing
//! is lost, nothing comes too much, and an end too early is no end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::io::Write;
use std::time::Duration;

use umay_test::{Conn, GET, Server, Umay, umay};

const LONG: usize = 300_000;

/// Bytes that tell when one is missing or twice there.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 + at / 251) as u8).collect()
}

fn before(endpoint: &Server) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    )
}

/// Answers each request with a head of this length, a body, and what is not to be there.
fn answering(length: usize, sent: Vec<u8>) -> Server {
    Server::start(move |conn, _| {
        while conn.read_request()?.is_some() {
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
            ))?;
            // In two pieces, so that the first is read with the head or alone.
            let (first, rest) = sent.split_at(sent.len() / 3);
            conn.send(first)?;
            std::thread::sleep(Duration::from_millis(2));
            conn.send(rest)?;
        }
        Ok(())
    })
}

#[test]
fn answers_of_all_lengths_are_whole_and_the_connection_is_used_again() {
    for length in [16_383, 16_384, 32_768, 65_536, 65_537, LONG] {
        let endpoint = answering(length, body(length));
        let umay = before(&endpoint);
        let mut conn = umay.connect();
        for _ in 0..5 {
            let answer = conn.ask(GET).unwrap();
            assert!(answer.body == body(length), "{length}");
        }
        assert_eq!(endpoint.connections(), 1, "{length}");
        let line = umay.wait_log(|line| line["reused"] == true);
        assert_eq!(line["bytes_out"], length);
    }
}

#[test]
fn what_comes_behind_an_answer_is_nobodys_answer() {
    let mut sent = body(LONG);
    sent.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    let endpoint = answering(LONG, sent);
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    for _ in 0..3 {
        let answer = conn.ask(GET).unwrap();
        assert!(answer.body == body(LONG));
        // It is there before the next request is sent.
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(endpoint.connections(), 3);
}

#[test]
fn an_answer_that_ends_early_is_cut() {
    let endpoint = Server::start(|conn, _| {
        conn.read_request()?;
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"))?;
        conn.send(body(LONG - 1))
    });
    let umay = before(&endpoint);
    let mut conn = umay.connect();
    conn.send(GET).unwrap();
    let read = conn.read_response("GET");
    assert!(read.is_err(), "{read:?}");
    let line = umay.wait_reason("upstream_cut");
    assert_eq!(line["bytes_out"], LONG - 1);
}

#[test]
fn uploads_are_whole_and_requests_behind_them_are_not_swallowed() {
    let endpoint = Server::start(|conn, _| {
        while let Some(request) = conn.read_request()? {
            let good = request.body.is_empty() || request.body == body(LONG);
            let text = format!("{} {good}", request.body.len());
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            ))?;
        }
        Ok(())
    });
    let umay = before(&endpoint);
    let mut conn: Conn = umay.connect();
    let mut all = Vec::new();
    for _ in 0..3 {
        write!(
            all,
            "POST /up HTTP/1.1\r\nHost: a.example\r\nContent-Length: {LONG}\r\n\r\n"
        )
        .unwrap();
        all.extend_from_slice(&body(LONG));
        all.extend_from_slice(GET.as_bytes());
    }
    conn.send(all).unwrap();
    for _ in 0..3 {
        let up = conn.read_response("POST").unwrap();
        assert_eq!(up.text(), format!("{LONG} true"));
        let get = conn.read_response("GET").unwrap();
        assert_eq!(get.text(), "0 true");
    }
}

#[test]
fn a_client_that_does_not_read_holds_no_more_than_the_kernel_does() {
    const HUGE: usize = 64 << 20;
    let endpoint = Server::start(|conn, _| {
        while conn.read_request()?.is_some() {
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n"))?;
            for _ in 0..HUGE / 65_536 {
                conn.send([7; 65_536])?;
            }
        }
        Ok(())
    });
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\ntimeouts.send = \"300ms\"\n",
        endpoint.addr()
    );
    let mut conn = umay.connect();
    conn.send(GET).unwrap();
    let line = umay.wait_reason("client_stalled");
    assert!(line["bytes_out"].as_u64().unwrap() < HUGE as u64, "{line}");
    umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
}

#[test]
fn pipes_do_not_take_the_files_of_connections() {
    let endpoint = answering(8 << 20, body(8 << 20));
    let text = format!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    let umay = umay!().config(text).workers(1).open_files(400, 400).start();
    let pipes = || {
        std::fs::read_dir(format!("/proc/{}/fd", umay.pid()))
            .unwrap()
            .filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
            .filter(|to| to.to_string_lossy().starts_with("pipe:"))
            .count()
    };
    let before = pipes();
    // Nobody reads these.
    let mut stalled: Vec<Conn> = (0..50).map(|_| umay.connect()).collect();
    for conn in &mut stalled {
        conn.send(GET).unwrap();
    }
    umay.wait_metric("umay_http_requests_in_flight", &[], 50.0);
    // Whoever comes behind them has no pipe, and an answer all the same.
    let mut conn = umay.connect();
    for _ in 0..2 {
        assert!(conn.ask(GET).unwrap().body == body(8 << 20));
    }
    let more = pipes() - before;
    assert!((1..=2 * 400 / 40).contains(&more), "{more} ends of pipes");
}
