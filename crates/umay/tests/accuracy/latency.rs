//! Durations are those that the peers have measured: an endpoint its pause, a client the whole.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use umay_test::http2::Client;
use umay_test::scrape::Scrape;
use umay_test::tungstenite::Message;
use umay_test::{Conn, GET, Server, Umay, ok, umay, websocket};

use super::ledger::at_rest;

/// An endpoint that pauses for as many milliseconds as the path says, and how long the last pause was.
fn pausing() -> (Server, Arc<Mutex<Duration>>) {
    let last = Arc::<Mutex<Duration>>::default();
    let kept = Arc::clone(&last);
    let server = Server::http(move |request| {
        let began = Instant::now();
        let pause = request.target().trim_start_matches('/').parse().unwrap();
        thread::sleep(Duration::from_millis(pause));
        *kept.lock().unwrap() = began.elapsed();
        ok("hi")
    });
    (server, last)
}

/// The one duration that a histogram has counted between two pages, and the place of its bucket.
#[track_caller]
fn counted(name: &str, before: &Scrape, after: &Scrape) -> (Duration, usize) {
    let buckets = [before, after].map(|page| page.buckets(name, &[]));
    let more = |place: &usize| {
        let before = buckets[0].get(*place).map_or(0.0, |(_, count)| *count);
        buckets[1][*place].1 - before
    };
    let grown: Vec<_> = (0..buckets[1].len())
        .filter(|place| more(place) > 0.0)
        .collect();
    assert_eq!(grown.len(), 1, "{name}: {buckets:?}");
    assert_eq!(more(&grown[0]), 1.0, "{name}: {buckets:?}");
    let sum = |page: &Scrape| page.sum(&format!("{name}_sum"), &[]);
    let took = Duration::from_secs_f64(sum(after) - sum(before));
    (took, grown[0])
}

/// The bucket that a duration belongs to.
fn place(page: &Scrape, name: &str, took: Duration) -> usize {
    let buckets = page.buckets(name, &[]);
    let fits = |(bound, _): &(f64, f64)| took.as_secs_f64() <= *bound;
    buckets.iter().position(fits).unwrap()
}

/// Holds a histogram to what is known: no less than this, no more than that.
#[track_caller]
fn hold(name: &str, pages: [&Scrape; 2], [least, most]: [Duration; 2]) -> usize {
    /// What is lost in the sum's digits.
    const DIGITS: Duration = Duration::from_micros(1);
    let (took, bucket) = counted(name, pages[0], pages[1]);
    assert!(
        least <= took + DIGITS && took <= most + DIGITS,
        "{name}: {took:?} is not between {least:?} and {most:?}"
    );
    let of = |took| place(pages[1], name, took);
    assert!(
        (of(took - DIGITS)..=of(took + DIGITS)).contains(&bucket),
        "{name}: {took:?} is in bucket {bucket}"
    );
    bucket
}

/// A client with an open connection.
enum Caller {
    One(Conn),
    Many(Client),
}

impl Caller {
    fn ask(&mut self, path: &str) {
        match self {
            Self::One(conn) => {
                let request = GET.replace("GET / ", &format!("GET {path} "));
                assert_eq!(conn.ask(request).unwrap().text(), "hi");
            }
            Self::Many(client) => {
                let url = format!("http://a.test{path}");
                let mut stream = client.call("GET", &url, &[], true).unwrap();
                assert_eq!(stream.head().unwrap().status(), 200);
                assert_eq!(stream.read_to_end().unwrap(), b"hi");
            }
        }
    }
}

/// One request. True if the client's clock and Umay's agree to a bucket.
fn agree(umay: &Umay, caller: &mut Caller, pause: u64, paused: &Mutex<Duration>) -> bool {
    const WHOLE: &str = "umay_http_request_duration_seconds";
    const FIRST: &str = "umay_upstream_request_duration_seconds";
    let before = umay.scrape();
    let began = Instant::now();
    caller.ask(&format!("/{pause}"));
    let took = began.elapsed();
    // The client may have its answer before the request is over for Umay.
    umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
    let most = began.elapsed();
    let after = umay.scrape();
    let pages = [&before, &after];
    let paused = *paused.lock().unwrap();
    let whole = hold(WHOLE, pages, [paused, most]);
    // The endpoint may have begun its pause before Umay knew that all was sent.
    let first = hold(FIRST, pages, [Duration::ZERO, most]);
    let client = place(&after, WHOLE, took);
    whole.abs_diff(client) <= 1 && first.abs_diff(client) <= 1
}

#[test]
fn requests_take_as_long_as_their_clients_and_endpoints_say() {
    let (app, paused) = pausing();
    let umay = umay!("listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n", app.addr());
    let mut callers = [
        Caller::One(umay.connect()),
        Caller::Many(Client::connect(umay.addr()).unwrap()),
    ];
    for caller in &mut callers {
        caller.ask("/0");
        umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
        for pause in [3, 30, 300] {
            // Each is held to its bounds; that the clocks agree takes a machine that lets all three of them run.
            let agreed = (0..10).any(|_| agree(&umay, caller, pause, &paused));
            assert!(agreed, "never agreed on {pause} ms");
        }
    }
}

#[test]
fn streams_live_as_long_as_their_clients_say() {
    const LIVED: &str = "umay_tcp_connection_duration_seconds";
    const CONNECT: &str = "umay_upstream_connect_duration_seconds";
    let echo = Server::echo();
    let umay = umay!("listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\n", echo.addr());
    for (times, pause) in [(1.0, 3), (2.0, 30), (3.0, 300)] {
        let before = umay.scrape();
        let began = Instant::now();
        let mut conn = umay.connect();
        conn.send("a").unwrap();
        conn.read_exact(1).unwrap();
        let open = Instant::now();
        thread::sleep(Duration::from_millis(pause));
        let lived = open.elapsed();
        conn.half_close().unwrap();
        conn.read_to_end().unwrap();
        let after = at_rest(&umay, times);
        let most = began.elapsed();
        hold(
            LIVED,
            [&before, &after],
            [Duration::ZERO.max(lived) / 2, most],
        );
        hold(CONNECT, [&before, &after], [Duration::ZERO, most]);
    }
}

/// A request that becomes a tunnel has its answer with the 101; what comes then is the tunnel's time.
#[test]
fn a_tunnel_is_no_part_of_its_request() {
    const WHOLE: &str = "umay_http_request_duration_seconds";
    const LIVED: &str = "umay_tcp_connection_duration_seconds";
    let app = Server::start(|conn, _| websocket::echo(conn));
    let umay = umay!("listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n", app.addr());
    let before = umay.scrape();
    let began = Instant::now();
    let (mut socket, _) = websocket::connect(umay.connect(), "ws://a.test/").unwrap();
    let open = Instant::now();
    socket.send(Message::text("hello")).unwrap();
    socket.read().unwrap();
    thread::sleep(Duration::from_millis(300));
    let lived = open.elapsed();
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    let after = at_rest(&umay, 1.0);
    let most = began.elapsed();
    let took = [WHOLE, LIVED].map(|name| counted(name, &before, &after).0);
    let both = took[0] + took[1];
    assert!(lived <= both && both <= most, "{took:?} of {most:?}");
}
