//! What leaves an endpoint out for a while: failures, in a row or too many, and its own wish for rest; and what must not:
//! clients.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests fail loudly"
)]

mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pool::{BOTH, addrs, before, call, counts, get, only, status_of};
use umay_test::exchange::Body;
use umay_test::{Server, answer, eventually, ok};

#[test]
fn who_asks_for_rest_gets_it_for_so_long() {
    for (status, after) in [("429 Slow", "2"), ("503 Busy", "2")] {
        let tired = Arc::new(AtomicBool::new(true));
        let is_tired = Arc::clone(&tired);
        let first = Server::http(move |_| match is_tired.swap(false, Ordering::SeqCst) {
            true => answer(status, &format!("Retry-After: {after}\r\n"), "tired"),
            false => ok("0"),
        });
        let servers = [first, Server::ok("1")];
        let umay = before(&addrs(&servers), "retry = \"off\"", "");
        let asked = Instant::now();
        eventually("the answer", || {
            (get(&umay).text() == "tired").then_some(())
        });
        let labels = [("standing", "resting")];
        umay.wait_metric("umay_upstream_endpoints", &labels, 1.0);
        assert_eq!(umay.metric("umay_upstream_rests_total", &[]), 1.0);
        assert!(
            status_of(&umay, servers[0].addr())
                .to_string()
                .contains("Retry-After")
        );
        assert_eq!(only(&umay, ""), "1");
        eventually("the end of the rest", || {
            (get(&umay).text() == "0").then_some(())
        });
        let rested = asked.elapsed();
        eprintln!("{status}: rested {rested:?}");
        assert!((1900..4000).contains(&rested.as_millis()), "{rested:?}");
        umay.wait_metric("umay_upstream_endpoints", &labels, 0.0);
    }
}

#[test]
fn a_client_cannot_make_most_endpoints_rest() {
    // As where each client has its own limit: to one the endpoints say 429, whoever it is that they serve.
    let servers: Vec<_> = (0..4)
        .map(|n| {
            Server::http(move |request| match request.target() {
                "/limited" => answer("429 Slow", "Retry-After: 30\r\n", ""),
                _ => ok(n.to_string()),
            })
        })
        .collect();
    let umay = before(&addrs(&servers), "", "");
    let limited = "GET /limited HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut conn = umay.connect();
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert_eq!(conn.ask(limited).unwrap().status(), 429);
    }
    let labels = [("standing", "resting")];
    assert_eq!(umay.metric("umay_upstream_endpoints", &labels), 2.0);
    assert_eq!(
        counts(&umay, "", 40).into_values().collect::<Vec<_>>(),
        [20, 20]
    );
    // Alone, nobody may rest.
    let umay = before(&addrs(&servers[..1]), "", "");
    assert_eq!(umay.connect().ask(limited).unwrap().status(), 429);
    assert_eq!(only(&umay, ""), "0");
}

/// An endpoint that fails as long as it is told to.
fn failing(name: &'static str) -> (Server, Arc<AtomicUsize>) {
    let left = Arc::<AtomicUsize>::default();
    let failures = Arc::clone(&left);
    let server = Server::http(move |_| {
        let less = |left: usize| left.checked_sub(1);
        match failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => answer("503 Busy", "", ""),
            Err(_) => ok(name),
        }
    });
    (server, left)
}

#[test]
fn failures_in_a_row_eject_for_longer_each_time() {
    let (bad, left) = failing("bad");
    let servers = [bad, Server::ok("good")];
    let more = "outlier = { consecutive = 3, base = \"500ms\", max = \"10s\" }";
    let umay = before(&addrs(&servers), more, "");
    let ejected = |n: f64| {
        let labels = [("cause", "consecutive")];
        umay.wait_metric("umay_upstream_ejections_total", &labels, n);
    };
    let mut times = Vec::new();
    for n in 1..=3 {
        left.store(3, Ordering::SeqCst);
        counts(&umay, "", 6);
        ejected(f64::from(n));
        let started = Instant::now();
        if n == 1 {
            let event = umay.wait_event("endpoint ejected");
            assert!(event.contains("3 failures in a row"), "{event}");
            let labels = [("standing", "ejected")];
            assert_eq!(umay.metric("umay_upstream_endpoints", &labels), 1.0);
            let status = status_of(&umay, servers[0].addr()).to_string();
            assert!(
                status.contains("ejected") && status.contains("in a row"),
                "{status}"
            );
        }
        assert_eq!(only(&umay, ""), "good");
        umay.wait_metric("umay_upstream_readmissions_total", &[], f64::from(n));
        times.push(started.elapsed());
        assert_eq!(counts(&umay, "", 4).len(), 2, "it is used again");
    }
    eprintln!("ejected for {times:?}");
    umay.wait_event("endpoint readmitted");
    let labels = [("endpoint", &*servers[0].addr().to_string())];
    assert_eq!(umay.metric("umay_endpoint_failures_total", &labels), 9.0);
    // It was used again each time, if not always by the first request after that was counted.
    assert!(umay.metric("umay_endpoint_picks_total", &labels) >= 12.0);
    for (time, base) in times.iter().zip([500, 1000, 2000]) {
        let millis = time.as_millis();
        assert!(
            (base * 7 / 10..base * 12 / 10 + 700).contains(&millis),
            "{times:?}"
        );
    }
}

#[test]
fn too_many_failures_in_a_window_eject() {
    let turn = Arc::<AtomicUsize>::default();
    let bad = Server::http(move |_| match turn.fetch_add(1, Ordering::SeqCst) % 4 {
        0 => ok("bad"),
        _ => answer("502 No", "", ""),
    });
    let servers = [bad, Server::ok("good")];
    let more = "outlier = { consecutive = 0, window = \"1s\", min_requests = 10 }";
    let umay = before(&addrs(&servers), more, "");
    counts(&umay, "", 60);
    let labels = [("cause", "success_rate")];
    umay.wait_metric("umay_upstream_ejections_total", &labels, 1.0);
    let event = umay.wait_event("endpoint ejected");
    assert!(event.contains("requests went well"), "{event}");
    assert_eq!(only(&umay, ""), "good");
}

#[test]
fn no_more_are_ejected_than_may_be() {
    let all_bad: Vec<_> = (0..4)
        .map(|_| Server::http(|_| answer("503 Busy", "", "")))
        .collect();
    let more = "outlier = { consecutive = 2, max_ejected = 50 }\nretry = \"off\"";
    let umay = before(&addrs(&all_bad), more, "");
    let mut conn = umay.connect();
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert_eq!(conn.ask(umay_test::GET).unwrap().reason(), None);
    }
    let labels = [("standing", "ejected")];
    assert_eq!(umay.metric("umay_upstream_endpoints", &labels), 2.0);
    assert_eq!(umay.metric("umay_upstream_ejections_total", &[]), 2.0);
}

#[test]
fn an_idle_connection_that_was_closed_says_nothing_of_its_endpoint() {
    // Many connections wait in the pool when it begins to close all of them, and new ones as well. If those from
    // the pool counted, for good or ill, it would take as many requests to find out.
    let leaving = Arc::new(AtomicBool::new(false));
    let leaves = Arc::clone(&leaving);
    let bad = Server::start(move |conn, _| {
        while conn.read_request()?.is_some() {
            if leaves.load(Ordering::SeqCst) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
            conn.send(ok("bad"))?;
        }
        Ok(())
    });
    let servers = [bad, Server::ok("good")];
    let more = "outlier.consecutive = 2\nretry.budget = 100";
    let umay = before(&addrs(&servers), more, "");
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_eq!(get(&umay).status(), 200));
        }
    });
    assert!(servers[0].connections() > 15);
    leaving.store(true, Ordering::SeqCst);
    let mut asked = 0;
    while umay.metric("umay_upstream_ejections_total", &[]) == 0.0 && asked < 30 {
        assert_eq!(get(&umay).status(), 200);
        asked += 1;
    }
    eprintln!("ejected after {asked}");
    assert!(asked < 30, "what was stale counts as well");
}

#[test]
fn an_answer_before_the_end_of_the_request_counts_too() {
    let busy = Server::start(|conn, _| {
        conn.read_until("\r\n\r\n")?;
        conn.send(answer("503 Busy", "", ""))?;
        conn.read_to_end().map(drop)
    });
    let umay = before(&[busy.addr()], "", "");
    for (speaks, failures) in BOTH.into_iter().zip([1.0, 2.0]) {
        let mut early = call(&umay, speaks, ["POST", "/"], &[], Body::Length(100));
        early.send(b"some").unwrap();
        assert_eq!(early.head().unwrap().status(), 503);
        drop(early);
        umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
        assert_eq!(umay.metric("umay_endpoint_failures_total", &[]), failures);
    }
}

#[test]
fn a_new_endpoint_gets_less_at_first() {
    let (bad, left) = failing("bad");
    let servers = [bad, Server::ok("good")];
    let more = "slow_start = \"4s\"\noutlier = { consecutive = 2, base = \"300ms\" }";
    let umay = before(&addrs(&servers), more, "");
    assert_eq!(
        counts(&umay, "", 20)["bad"],
        10,
        "from the start all have their share"
    );
    left.store(2, Ordering::SeqCst);
    counts(&umay, "", 4);
    umay.wait_metric("umay_upstream_readmissions_total", &[], 1.0);
    let early = counts(&umay, "", 100);
    let early = early.get("bad").copied().unwrap_or(0);
    eventually("its whole share", || {
        let counts = counts(&umay, "", 40);
        (counts.get("bad") == Some(&20)).then_some(())
    });
    eprintln!("{early} of 100 at first");
    assert!(early < 35, "{early}");
}

#[test]
fn what_clients_do_does_not_count_against_endpoints() {
    let echoing = Server::start(|conn, _| {
        loop {
            let head = conn.read_until("\r\n\r\n")?;
            if head.starts_with(b"GET") {
                conn.send(ok("well"))?;
                continue;
            }
            // Begins to answer, and goes on as the request does.
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                let some = conn.read_some()?;
                if some.is_empty() {
                    return Ok(());
                }
                conn.send(format!(
                    "{:x}\r\n{}\r\n",
                    some.len(),
                    "x".repeat(some.len())
                ))?;
            }
        }
    });
    let more = "outlier.consecutive = 1";
    let top = "timeouts = { body = \"300ms\", send = \"300ms\" }\nlimits.body = 1000";
    let umay = before(&[echoing.addr()], more, top);
    for speaks in BOTH {
        let failures = || umay.metric("umay_endpoint_failures_total", &[]);
        let over = |n: usize| umay.wait_metric("umay_endpoint_in_flight", &[], n as f64);
        // Stalls its upload, while the endpoint waits for more of it.
        for _ in 0..3 {
            let mut call = call(&umay, speaks, ["POST", "/stalls"], &[], Body::Length(100));
            call.send(b"some").unwrap();
            call.head().unwrap();
            call.read_some().unwrap();
            call.wait_gone().ok();
            over(0);
        }
        // Leaves: before the answer, in the middle of its own body, in the middle of the answer.
        for sent in [&b""[..], b"some"] {
            let mut call = call(&umay, speaks, ["POST", "/leaves"], &[], Body::Length(100));
            call.send(sent).unwrap();
            call.head().unwrap();
            drop(call);
        }
        over(0);
        // Sends more than it may, or what breaks the framing.
        let mut call = call(&umay, speaks, ["POST", "/large"], &[], Body::Unknown);
        for _ in 0..8 {
            if call.send(&[b'x'; 400]).is_err() {
                break;
            }
        }
        call.head().ok();
        call.wait_gone().ok();
        over(0);
        assert_eq!(failures(), 0.0, "{speaks:?}");
    }
    let mut broken = umay.connect();
    broken
        .send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        .unwrap();
    broken.read_to_end().unwrap();
    umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
    assert_eq!(umay.metric("umay_endpoint_failures_total", &[]), 0.0);
    assert_eq!(get(&umay).text(), "well");
    assert_eq!(umay.metric("umay_upstream_ejections_total", &[]), 0.0);
}
