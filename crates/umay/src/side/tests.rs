//! The thread, its end, and what a client that misbehaves meets.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;

use axum::routing::get;

use super::raw::{ask, connect, read_all, read_until};
use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// `head` far above any deadline of a test.
const LONG: Duration = Duration::from_secs(3600);

fn hello(most: u32, head: Duration, keep_alive: bool) -> (Side, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let app = Router::new().route("/", get("hello"));
    let side = Side::start("test", || {
        Ok(accept(
            adopt(listener)?,
            most,
            Arc::default(),
            move |stream| http(stream, app.clone(), head, keep_alive),
        ))
    });
    (side.unwrap(), addr)
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let (_side, addr) = hello(8, Duration::from_millis(50), true);
    for part in [&b""[..], b"GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut stream = connect(addr);
        stream.write_all(part).unwrap();
        assert_eq!(read_all(&stream), b"", "{part:?}");
    }
    // The wait for another request is the same wait.
    let mut stream = connect(addr);
    stream.write_all(REQUEST).unwrap();
    assert!(read_all(&stream).ends_with(b"hello"));
}

#[test]
fn a_head_has_a_largest_size() {
    let (_side, addr) = hello(8, LONG, true);
    let filled = |count| format!("GET / HTTP/1.1\nHost: a\nX: {}", "x".repeat(count));
    assert_eq!(ask(addr, &filled(BUFFER - 100), "").status, 200);
    assert_eq!(ask(addr, &filled(BUFFER), "").status, 431);
}

#[test]
fn keep_alive_is_a_choice() {
    for (keep_alive, answers) in [(true, 2), (false, 1)] {
        let (_side, addr) = hello(8, Duration::from_millis(200), keep_alive);
        let mut stream = connect(addr);
        stream.write_all(&REQUEST.repeat(2)).unwrap();
        let all = String::from_utf8(read_all(&stream)).unwrap();
        assert_eq!(all.matches("hello").count(), answers);
    }
}

#[test]
fn who_finds_no_place_waits_for_one() {
    let (_side, addr) = hello(1, LONG, true);
    let mut first = connect(addr);
    first.write_all(REQUEST).unwrap();
    read_until(&first, "hello");
    let mut second = connect(addr);
    second.write_all(REQUEST).unwrap();
    // The first still holds the only place, and is served on it.
    first.write_all(REQUEST).unwrap();
    read_until(&first, "hello");
    second.set_nonblocking(true).unwrap();
    let nothing = second.peek(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    second.set_nonblocking(false).unwrap();
    drop(first);
    read_until(&second, "hello");
}

#[test]
fn dropping_ends_everything() {
    let (side, addr) = hello(8, LONG, true);
    let mut stream = connect(addr);
    stream.write_all(REQUEST).unwrap();
    read_until(&stream, "hello");
    drop(side);
    assert_eq!(read_all(&stream), b"");
    TcpListener::bind(addr).unwrap();
}

#[test]
fn work_may_end_or_panic_before_its_owner() {
    let (told, tell) = mpsc::channel();
    let sender = told.clone();
    let ended = Side::start("test", || Ok(async move { sender.send(1).unwrap() })).unwrap();
    let panicked = Side::start("test", || {
        Ok(async move {
            told.send(2).unwrap();
            panic!("as the test wants it");
        })
    });
    let mut said = [tell.recv().unwrap(), tell.recv().unwrap()];
    said.sort_unstable();
    assert_eq!(said, [1, 2]);
    drop((ended, panicked));
}

#[test]
fn the_caller_gets_the_error_of_the_preparation() {
    let failed: io::Result<std::future::Pending<()>> = Err(io::Error::other("no"));
    let error = Side::start("test", || failed).unwrap_err();
    assert_eq!(error.to_string(), "no");
}
