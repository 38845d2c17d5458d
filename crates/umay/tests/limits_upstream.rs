//! Caps on what endpoints get at a time: never exceeded, with a queue that is fair, and room that comes
//! back however a request ends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests fail loudly"
)]

mod pool;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pool::{BOTH, ask, before, call, setup, text};
use umay_test::exchange::{Body, Exchange, Peer};
use umay_test::http2::Client;
use umay_test::{Conn, GET, Server, Umay, eventually, ok, umay};

/// How many there are at a time, and the most that there were.
#[derive(Clone, Default)]
struct Gauge(Arc<(AtomicUsize, AtomicUsize)>);

struct Held(Gauge);

impl Gauge {
    fn hold(&self) -> Held {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        Held(self.clone())
    }

    fn now(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An endpoint that takes a while for each request, and counts connections and requests.
fn working([connections, requests, all]: [&Gauge; 3], time: Duration) -> Server {
    let (connections, requests, all) = (connections.clone(), requests.clone(), all.clone());
    Server::start(move |conn, _| {
        let _connection = connections.hold();
        conn.set_deadline(Duration::from_secs(60));
        while conn.read_request()?.is_some() {
            let request = (requests.hold(), all.hold());
            thread::sleep(time);
            drop(request);
            conn.send(ok("done"))?;
        }
        Ok(())
    })
}

/// Answers when the gate is opened.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn pass(&self) {
        eventually("the gate", || self.0.load(Ordering::SeqCst).then_some(()));
    }
}

/// An endpoint that holds every request until the gate is opened.
fn gated(requests: &Gauge, gate: &Gate) -> Server {
    let (requests, gate) = (requests.clone(), gate.clone());
    Server::start(move |conn, _| {
        while conn.read_request()?.is_some() {
            let request = requests.hold();
            gate.pass();
            drop(request);
            conn.send(ok("done"))?;
        }
        Ok(())
    })
}

/// So many clients, each with so many requests one after the other; the longest that one took.
fn load(umay: &Umay, clients: usize, each: usize) -> Duration {
    thread::scope(|scope| {
        let one = || {
            let mut conn = umay.connect();
            let mut longest = Duration::ZERO;
            for _ in 0..each {
                let started = Instant::now();
                let answer = conn.ask(GET).unwrap();
                assert_eq!(answer.status(), 200, "{answer:?}");
                longest = longest.max(started.elapsed());
            }
            longest
        };
        let all: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        all.into_iter()
            .map(|one| one.join().unwrap())
            .max()
            .unwrap()
    })
}

#[test]
fn caps_are_never_exceeded() {
    for (limits, requests, connections) in [
        ("limits.endpoint_requests = 2", 2, usize::MAX),
        ("limits.requests = 3", 3, usize::MAX),
        ("limits.endpoint_connections = 2", 2, 2),
        (
            "limits.endpoint_requests = 2\nlimits.endpoint_connections = 3\nlimits.requests = 3",
            2,
            3,
        ),
    ] {
        let gauges: [(Gauge, Gauge); 2] = Default::default();
        let work = Duration::from_millis(3);
        let all = Gauge::default();
        let servers = gauges.each_ref().map(|(c, r)| working([c, r, &all], work));
        let addrs = servers.each_ref().map(Server::addr);
        let limits = format!("{limits}\nlimits.queue_timeout = \"20s\"");
        // An endpoint may see the end of a connection after the beginning of the one that takes its room. One worker
        // keeps those that it has.
        let workers = if connections == usize::MAX { 2 } else { 1 };
        let umay = setup(text("http://", &addrs, &limits, ""))
            .workers(workers)
            .start();
        let longest = load(&umay, 16, 30);
        let most = gauges.each_ref().map(|(c, r)| (c.most(), r.most()));
        eprintln!("{limits:?}: most {most:?}, longest {longest:?}");
        for (c, r) in most {
            assert!(c <= connections && r <= requests && r > 0, "{most:?}");
        }
        let in_all = if limits.contains("limits.requests") {
            3
        } else {
            4
        };
        assert!(all.most() <= in_all, "{}", all.most());
        // What was counted has come back.
        umay.wait_metric("umay_upstream_queue", &[], 0.0);
        umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
        assert!(umay.metric("umay_upstream_queued_total", &[]) > 0.0);
        // 16 clients share what two to six can do: whoever is passed over again and again waits much longer.
        assert!(longest < Duration::from_secs(2), "{longest:?}");
    }
}

#[test]
fn who_comes_again_at_once_does_not_pass_those_who_wait() {
    let [connections, requests, all] = <[Gauge; 3]>::default();
    let gauges = [&connections, &requests, &all];
    let server = working(gauges, Duration::from_millis(2));
    let umay = before(&[server.addr()], "limits.endpoint_requests = 1", "");
    let mut greedy = umay.connect();
    // All in one piece, so each is there when the one before it is over.
    greedy.send(GET.repeat(400)).unwrap();
    let answered = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&answered);
    let reader = thread::spawn(move || {
        for _ in 0..400 {
            assert_eq!(greedy.read_response("GET").unwrap().status(), 200);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    eventually("the first answers", || {
        (answered.load(Ordering::SeqCst) > 3).then_some(())
    });
    let before = answered.load(Ordering::SeqCst);
    assert_eq!(umay.connect().ask(GET).unwrap().status(), 200);
    let passed = answered.load(Ordering::SeqCst) - before;
    eprintln!("{passed} of the greedy one's were answered meanwhile");
    assert!(passed < 100, "{passed}");
    reader.join().unwrap();
}

#[test]
fn those_who_wait_are_served_in_the_order_of_coming() {
    let (requests, gate) = <(Gauge, Gate)>::default();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, held) = (Arc::clone(&order), gate.clone());
    let server = Server::http(move |request| {
        held.pass();
        seen.lock().unwrap().push(request.target().to_owned());
        ok("done")
    });
    let umay = before(&[server.addr()], "limits.requests = 1", "");
    let mut clients = Vec::new();
    for n in 0..8 {
        let mut conn = umay.connect();
        conn.send(format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .unwrap();
        clients.push(conn);
        umay.wait_metric("umay_upstream_queue", &[], f64::from(n));
    }
    gate.open();
    for conn in &mut clients {
        assert_eq!(conn.read_response("GET").unwrap().status(), 200);
    }
    let wanted: Vec<_> = (0..8).map(|n| format!("/{n}")).collect();
    assert_eq!(*order.lock().unwrap(), wanted);
    assert_eq!(requests.now(), 0);
}

#[test]
fn a_full_queue_and_a_long_wait_are_told() {
    for limit in ["requests", "endpoint_requests", "endpoint_connections"] {
        for speaks in BOTH {
            let (requests, gate) = Default::default();
            let server = gated(&requests, &gate);
            let more =
                format!("limits.{limit} = 1\nlimits.queue = 1\nlimits.queue_timeout = \"300ms\"");
            let umay = before(&[server.addr()], &more, "");
            let mut first = umay.connect();
            first.send(GET).unwrap();
            eventually("the first", || (requests.now() == 1).then_some(()));
            thread::scope(|scope| {
                let second = scope.spawn(|| ask(&umay, speaks, ["GET", "/second"], None).unwrap());
                umay.wait_metric("umay_upstream_queue", &[], 1.0);
                let third = ask(&umay, speaks, ["GET", "/third"], None).unwrap();
                assert_eq!(third.status(), 503, "{limit}");
                assert_eq!(third.reason().as_deref(), Some("queue_full"));
                let second = second.join().unwrap();
                assert_eq!(second.status(), 503);
                assert_eq!(second.reason().as_deref(), Some("queue_timeout"));
            });
            umay.wait_metric("umay_upstream_queue", &[], 0.0);
            for reason in ["queue_full", "queue_timeout"] {
                let labels = [("reason", reason)];
                assert_eq!(umay.metric("umay_refusals_total", &labels), 1.0);
                umay.wait_reason(reason);
            }
            gate.open();
            assert_eq!(first.read_response("GET").unwrap().status(), 200);
            let after = ask(&umay, speaks, ["GET", "/"], None).unwrap();
            assert_eq!(after.status(), 200);
        }
    }
}

#[test]
fn who_leaves_while_waiting_gives_the_place_back() {
    for limit in ["requests", "endpoint_requests", "endpoint_connections"] {
        for speaks in BOTH {
            let (requests, gate) = Default::default();
            let server = gated(&requests, &gate);
            let more =
                format!("limits.{limit} = 1\nlimits.queue = 2\nlimits.queue_timeout = \"60s\"");
            let umay = before(&[server.addr()], &more, "");
            let mut first = umay.connect();
            first.send(GET).unwrap();
            eventually("the first", || (requests.now() == 1).then_some(()));
            // It stays in the queue's first place, and goes before the others that stay.
            let leaving: Vec<_> = (0..2)
                .map(|_| call(&umay, speaks, ["GET", "/gone"], &[], Body::Empty))
                .collect();
            umay.wait_metric("umay_upstream_queue", &[], 2.0);
            drop(leaving);
            umay.wait_metric("umay_upstream_queue", &[], 0.0);
            umay.wait_log(|line| line["path"] == "/gone" && line["reason"] == "client_gone");
            let mut staying = umay.connect();
            staying.send(GET).unwrap();
            umay.wait_metric("umay_upstream_queue", &[], 1.0);
            gate.open();
            assert_eq!(first.read_response("GET").unwrap().status(), 200);
            assert_eq!(staying.read_response("GET").unwrap().status(), 200);
            assert!(!server.recorded_text().contains("/gone"), "nobody wants it");
        }
    }
}

#[test]
fn who_leaves_in_the_middle_of_an_answer_gives_the_room_back() {
    for limit in ["requests", "endpoint_requests", "endpoint_connections"] {
        for speaks in BOTH {
            let server = Server::start(|conn, _| {
                while let Some(request) = conn.read_request()? {
                    if request.target() == "/half" {
                        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
                    } else {
                        conn.send(ok("done"))?;
                    }
                }
                Ok(())
            });
            let more = format!("limits.{limit} = 1\nlimits.queue_timeout = \"60s\"");
            let umay = before(&[server.addr()], &more, "");
            for _ in 0..3 {
                let mut half = call(&umay, speaks, ["GET", "/half"], &[], Body::Empty);
                half.head().unwrap();
                half.read_exact(4).unwrap();
                let mut next = umay.connect();
                next.send(GET).unwrap();
                umay.wait_metric("umay_upstream_queue", &[], 1.0);
                drop(half);
                assert_eq!(next.read_response("GET").unwrap().status(), 200);
            }
            umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
            // That the client left does not speak against the endpoint.
            assert_eq!(umay.metric("umay_endpoint_failures_total", &[]), 0.0);
        }
    }
}

/// Umay whose routes give both requests and raw streams to this upstream.
fn before_both(endpoint: &Server, more: &str) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\n[[route]]\nprotocol = \"http\"\nto = \"up\"\n\
         [[route]]\nprotocol = \"tcp\"\nto = \"up\"\n[upstream.up]\nto = \"{}\"\n{more}\n",
        endpoint.addr()
    )
}

fn echoes_or_answers() -> Server {
    Server::start(|conn, _| {
        loop {
            let got = conn.read_some()?;
            match &got[..] {
                [] => return Ok(()),
                bytes if bytes.starts_with(b"GET ") => conn.send(ok("done"))?,
                bytes => conn.send(bytes)?,
            }
        }
    })
}

#[test]
fn a_stream_gets_the_room_of_an_idle_connection() {
    // The only connection waits in the pool, and a raw stream cannot use it.
    let server = echoes_or_answers();
    let umay = before_both(&server, "limits.endpoint_connections = 1");
    for _ in 0..3 {
        assert_eq!(umay.connect().ask(GET).unwrap().text(), "done");
        let mut stream = umay.connect();
        stream.send(b"\0ping").unwrap();
        assert_eq!(stream.read_exact(5).unwrap(), b"\0ping");
    }
    assert_eq!(umay.connect().ask(GET).unwrap().text(), "done");
}

#[test]
fn who_is_kept_at_a_busy_endpoint_waits_or_goes_elsewhere() {
    for others in [false, true] {
        let (requests, gate) = Default::default();
        let (busy, other) = (gated(&requests, &gate), Server::ok("other"));
        let mut addrs = vec![busy.addr()];
        addrs.extend(others.then(|| other.addr()));
        let more = "limits.endpoint_connections = 1\nsticky = \"at\"";
        let umay = before(&addrs, more, "");
        let mut first = umay.connect();
        first.send(GET).unwrap();
        eventually("the first", || (requests.now() == 1).then_some(()));
        gate.open();
        let cookie = first.read_response("GET").unwrap();
        let cookie = cookie.get("set-cookie").unwrap().split(';').next().unwrap();
        let stuck = format!("GET / HTTP/1.1\r\nHost: a.test\r\nCookie: {cookie}\r\n\r\n");
        gate.0.store(false, Ordering::SeqCst);
        first.send(&stuck).unwrap();
        eventually("the second", || (requests.now() == 1).then_some(()));
        let mut second = umay.connect();
        second.send(&stuck).unwrap();
        if others {
            assert_eq!(second.read_response("GET").unwrap().text(), "other");
        } else {
            umay.wait_metric("umay_upstream_queue", &[], 1.0);
        }
        gate.open();
        assert_eq!(first.read_response("GET").unwrap().text(), "done");
        if !others {
            assert_eq!(second.read_response("GET").unwrap().text(), "done");
        }
    }
}

#[test]
fn an_idle_connection_of_another_worker_is_given_up_for_who_waits() {
    let server = Server::ok("done");
    let more = "limits.endpoint_connections = 1\nlimits.queue_timeout = \"20s\"";
    let umay = setup(text("http://", &[server.addr()], more, ""))
        .workers(2)
        .start();
    let started = Instant::now();
    for _ in 0..8 {
        assert_eq!(umay.connect().ask(GET).unwrap().text(), "done");
    }
    eprintln!("eight requests in {:?}", started.elapsed());
}

#[test]
fn streams_are_capped_and_wait_as_requests_do() {
    for limit in ["requests", "endpoint_requests", "endpoint_connections"] {
        let server = Server::echo();
        let more = format!("limits.{limit} = 1\nlimits.queue = 1");
        let umay = setup(text("tcp://", &[server.addr()], &more, "")).start();
        let ping = |conn: &mut Conn| -> io::Result<()> {
            conn.send("ping")?;
            conn.read_exact(4).map(drop)
        };
        let mut first = umay.connect();
        ping(&mut first).unwrap();
        let mut second = umay.connect();
        second.send("ping").unwrap();
        umay.wait_metric("umay_upstream_queue", &[], 1.0);
        let mut third = umay.connect();
        third.send("ping").unwrap();
        assert_eq!(third.read_to_end().unwrap().0, b"");
        umay.wait_reason("queue_full");
        assert_eq!(server.connections(), 1);
        drop(first);
        assert_eq!(second.read_exact(4).unwrap(), b"ping");
        ping(&mut second).unwrap();
        drop(second);
        umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
        ping(&mut umay.connect()).unwrap();
    }
    let server = Server::echo();
    let more = "limits.requests = 1\nlimits.queue_timeout = \"200ms\"";
    let umay = setup(text("tcp://", &[server.addr()], more, "")).start();
    let mut first = umay.connect();
    first.send("ping").unwrap();
    first.read_exact(4).unwrap();
    let mut second = umay.connect();
    second.send("ping").unwrap();
    second.read_to_end().unwrap();
    umay.wait_reason("queue_timeout");
}

#[test]
fn caps_hold_over_http2_too() {
    let requests = Gauge::default();
    let counted = requests.clone();
    let peer = Peer::http2(None, move |exchange: &mut Exchange<'_>| {
        let request = counted.hold();
        thread::sleep(Duration::from_millis(2));
        drop(request);
        exchange.respond(200, &[], Body::Empty)
    });
    let more = "limits.endpoint_requests = 2\nlimits.endpoint_connections = 1";
    let umay = setup(text("h2c://", &[peer.addr()], more, ""))
        .workers(2)
        .start();
    let client = Client::connect(umay.addr()).unwrap();
    let mut streams: Vec<_> = (0..60)
        .map(|_| client.call("GET", "http://a.test/", &[], true).unwrap())
        .collect();
    for stream in &mut streams {
        assert_eq!(stream.head().unwrap().status(), 200);
    }
    assert!(requests.most() <= 2, "{}", requests.most());
    umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
}

#[test]
fn an_adaptive_cap_follows_a_slow_endpoint() {
    // At first it serves as many as come; then one at a time, so that more only makes everybody wait.
    let narrow = Arc::<AtomicBool>::default();
    let (is_narrow, door) = (Arc::clone(&narrow), std::sync::Mutex::new(()));
    let busy = Gauge::default();
    let counted = busy.clone();
    let server = Server::http(move |_| {
        let _request = counted.hold();
        let _alone = is_narrow.load(Ordering::SeqCst).then(|| door.lock());
        thread::sleep(Duration::from_millis(3));
        ok("done")
    });
    let more = "limits.adaptive = true\nlimits.requests = 40\nlimits.queue_timeout = \"20s\"";
    let umay = before(&[server.addr()], more, "");
    let limit = || umay.metric("umay_upstream_requests_limit", &[]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..36 {
            scope.spawn(|| {
                let mut conn = umay.connect();
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(conn.ask(GET).unwrap().status(), 200);
                }
            });
        }
        // It is lowered for a moment, to measure what latency is like in a quiet time.
        let first = limit();
        let reaches = |wanted: fn(f64) -> bool| {
            let until = Instant::now() + Duration::from_secs(20);
            while !wanted(limit()) && Instant::now() < until {
                thread::sleep(Duration::from_millis(100));
            }
        };
        reaches(|limit| limit == 40.0);
        reaches(|limit| limit < 40.0);
        reaches(|limit| limit == 40.0);
        let wide = limit();
        narrow.store(true, Ordering::SeqCst);
        let slow = Instant::now();
        let mut low = wide;
        while low >= 15.0 && slow.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(100));
            low = limit();
        }
        eprintln!("{first}, then {wide}, {low} after {:?}", slow.elapsed());
        // What had gone before was answered.
        let until = Instant::now() + Duration::from_secs(2);
        while busy.now() > low as usize && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let busy = busy.now();
        stop.store(true, Ordering::SeqCst);
        assert!(wide == 40.0 && low < 15.0, "{first}, {wide}, {low}");
        assert!(busy <= low as usize, "{busy} of {low}");
    });
}
