//! Ten thousand idle connections: held, cheap, and all of them still answering.
//!
//! Both ends of each connection are on this machine, so a run needs 10,000 open files in the test
//! and as many in Umay. Where the limit is lower, fewer connections are held, and the test says so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests fail loudly and report what they measured"
)]

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use umay_test::{Certs, Conn, GET, Server, Umay, open_files, raise_open_files, rss, umay};

/// How many there shall be.
const WANTED: usize = 10_000;

/// Open files that are for anything but clients' connections.
const RESERVE: usize = 500;

/// What a connection may cost in Umay's memory.
const PLAIN_KIB: f64 = 2.0;
const TLS_KIB: f64 = 20.0;

/// The tests would take each other's files.
static ALONE: Mutex<()> = Mutex::new(());

fn start(endpoint: &Server, tls: &str) -> Umay {
    let text = format!(
        "listen = \"127.0.0.1:0\"\n{tls}to = \"http://{}\"\nlimits.connections = {WANTED}0\n\
         timeouts.keep_alive = \"10m\"\ntimeouts.upstream_idle = \"10m\"\n",
        endpoint.addr()
    );
    umay!().config(text).workers(2).start()
}

/// How many connections there is room for.
fn count() -> usize {
    let limit = usize::try_from(raise_open_files()).unwrap();
    let count = WANTED.min(limit.saturating_sub(RESERVE));
    if count < WANTED {
        eprintln!("the limit of {limit} open files leaves room for {count} connections only");
    }
    count
}

/// Opens connections, lets each do one request, and measures what they cost when idle.
fn hold(umay: &Umay, connect: impl Fn(Ipv4Addr) -> Conn) -> (Vec<Conn>, f64) {
    let count = count();
    let address = |number: usize| Ipv4Addr::new(127, 0, 1, (1 + number / 2000) as u8);
    let open = |range: std::ops::Range<usize>| -> Vec<Conn> {
        let one = |number| {
            let mut conn = connect(address(number));
            assert_eq!(conn.ask(GET).unwrap().text(), "hi");
            conn.shrink();
            conn
        };
        range.map(one).collect()
    };
    // What is needed once, and what grows by doubling, is not to be counted.
    let mut conns = open(0..count / 10);
    let before = rss(umay.pid());
    let more = open(conns.len()..count);
    let grown = rss(umay.pid()).saturating_sub(before) as f64;
    let each = grown / more.len() as f64 / 1024.0;
    conns.extend(more);
    umay.wait_metric("umay_connections_active", &[], count as f64);
    assert!(open_files(umay.pid()) >= count);
    (conns, each)
}

fn all_answer(conns: &mut [Conn]) {
    for conn in conns {
        assert_eq!(conn.ask(GET).unwrap().text(), "hi");
    }
}

#[test]
fn ten_thousand_plain_connections_are_held() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let endpoint = Server::ok("hi");
    let umay = start(&endpoint, "");
    let (mut conns, each) = hold(&umay, |from| Conn::connect_from(from, umay.addr()).unwrap());
    eprintln!("{} idle plain connections, {each:.2} KiB each", conns.len());
    all_answer(&mut conns);
    assert!(each < PLAIN_KIB, "{each} KiB for each plain connection");
}

#[test]
fn ten_thousand_tls_connections_are_held() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let certs = Certs::new();
    let endpoint = Server::ok("hi");
    let umay = start(&endpoint, &certs.issue(&["a.test"]).toml());
    let config = certs.trusting();
    let (mut conns, each) = hold(&umay, |from| {
        let conn = Conn::connect_from(from, umay.addr()).unwrap();
        conn.into_tls(&config, "a.test").unwrap()
    });
    eprintln!("{} idle TLS connections, {each:.2} KiB each", conns.len());
    all_answer(&mut conns);
    assert!(each < TLS_KIB, "{each} KiB for each TLS connection");
}
