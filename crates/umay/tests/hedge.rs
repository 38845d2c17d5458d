//! Late answers: another endpoint is asked as well, the first answer counts, and the other is called off.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests fail loudly"
)]

mod pool;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pool::{BOTH, Speaks, ask, before, get, setup, text};
use umay_test::http2::Endpoint;
use umay_test::{Server, Umay, answer, eventually, ok};

const HEDGE: &str = "hedge = { min_delay = \"40ms\" }\noutlier = \"off\"\nretry.budget = 100";

/// How long an endpoint takes for each request.
#[derive(Clone, Default)]
struct Delay(Arc<AtomicU64>);

impl Delay {
    fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::SeqCst);
    }

    fn pass(&self) {
        thread::sleep(Duration::from_millis(self.0.load(Ordering::SeqCst)));
    }
}

fn delayed(name: &'static str, delay: &Delay) -> Server {
    let delay = delay.clone();
    Server::http(move |_| {
        delay.pass();
        ok(name)
    })
}

fn hedged(umay: &Umay, result: &str) -> f64 {
    umay.metric("umay_upstream_hedges_total", &[("result", result)])
}

/// Asks until it is known what is late: what most are not.
fn arm(umay: &Umay, slow: &Delay) {
    let (mut conn, until) = (umay.connect(), Instant::now() + Duration::from_millis(2500));
    while Instant::now() < until {
        conn.ask(umay_test::GET).unwrap();
    }
    slow.set(300);
    eventually("the first hedge", || {
        get(umay);
        (hedged(umay, "sent") > 0.0).then_some(())
    });
}

#[test]
fn a_late_answer_is_overtaken() {
    for speaks in BOTH {
        let slow = Delay::default();
        let servers = [delayed("slow", &slow), Server::ok("quick")];
        let umay = before(&servers.each_ref().map(Server::addr), HEDGE, "");
        arm(&umay, &slow);
        slow.set(3000);
        let (sent, won) = (hedged(&umay, "sent"), hedged(&umay, "won"));
        let ended = servers[0].ended();
        for _ in 0..8 {
            let started = Instant::now();
            let answer = ask(&umay, speaks, ["GET", "/"], None).unwrap();
            assert_eq!(answer.text(), "quick");
            assert!(
                started.elapsed() < Duration::from_millis(1500),
                "{:?}",
                started.elapsed()
            );
        }
        assert_eq!(hedged(&umay, "sent") - sent, 4.0, "every second was late");
        assert_eq!(hedged(&umay, "won") - won, 4.0);
        umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
        // The connections that nobody waits for are closed; nothing speaks against the endpoint.
        servers[0].wait_ended(ended + 4);
        assert_eq!(umay.metric("umay_endpoint_failures_total", &[]), 0.0);
        assert_eq!(umay.wait_log(|line| line["attempts"] == 2)["status"], 200);
    }
}

#[test]
fn the_first_may_still_be_the_first() {
    let (slow, slower) = <(Delay, Delay)>::default();
    let servers = [delayed("first", &slow), delayed("second", &slower)];
    let umay = before(&servers.each_ref().map(Server::addr), HEDGE, "");
    arm(&umay, &slow);
    slow.set(250);
    slower.set(3000);
    let won = hedged(&umay, "won");
    let mut conn = umay.connect();
    for _ in 0..6 {
        // One answer, whoever gives it, and the next request finds the connection in order.
        assert_eq!(conn.ask(umay_test::GET).unwrap().text(), "first");
    }
    // Those that came to the second at first were won by the other.
    assert_eq!(hedged(&umay, "won") - won, 3.0);
    umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
}

#[test]
fn only_what_can_be_sent_twice_is_sent_twice() {
    let slow = Delay::default();
    let servers = [delayed("slow", &slow), Server::ok("quick")];
    let umay = before(&servers.each_ref().map(Server::addr), HEDGE, "");
    arm(&umay, &slow);
    let sent = hedged(&umay, "sent");
    let mut names: Vec<_> = (0..2)
        .map(|_| {
            ask(&umay, Speaks::Http1, ["POST", "/"], Some(b"x"))
                .unwrap()
                .text()
        })
        .collect();
    names.sort();
    assert_eq!(names, ["quick", "slow"]);
    assert_eq!(hedged(&umay, "sent"), sent);
    for _ in 0..2 {
        let put = ask(&umay, Speaks::Http1, ["PUT", "/"], Some(b"x")).unwrap();
        assert_eq!(put.text(), "quick");
    }
    assert_eq!(hedged(&umay, "sent"), sent + 1.0);
    // More than is kept.
    let large = vec![b'x'; 4 << 20];
    for _ in 0..2 {
        let put = ask(&umay, Speaks::Http1, ["PUT", "/"], Some(&large)).unwrap();
        assert_eq!(put.status(), 200);
    }
    assert_eq!(hedged(&umay, "sent"), sent + 1.0);
}

#[test]
fn hedges_are_within_the_budget() {
    let slow = Delay::default();
    let servers = [delayed("slow", &slow), Server::ok("quick")];
    let more = "hedge = { min_delay = \"40ms\" }\nretry = { budget = 0, floor = 1 }";
    let umay = before(&servers.each_ref().map(Server::addr), more, "");
    arm(&umay, &slow);
    slow.set(150);
    let names: Vec<_> = (0..30).map(|_| get(&umay).text()).collect();
    let late = names.iter().filter(|name| *name == "slow").count();
    assert!(late > 0, "{names:?}");
    assert!(hedged(&umay, "sent") < 15.0);
    let spent = [("result", "budget_spent")];
    assert_eq!(
        umay.metric("umay_upstream_retries_total", &spent),
        late as f64
    );
}

#[test]
fn a_first_that_dies_is_not_taken_for_an_answer() {
    for speaks in BOTH {
        let slow = Delay::default();
        let dies = Arc::new(AtomicBool::new(false));
        let (delay, dying) = (slow.clone(), Arc::clone(&dies));
        let first = Server::start(move |conn, _| {
            while conn.read_request()?.is_some() {
                delay.pass();
                if dying.load(Ordering::SeqCst) {
                    return conn.reset_when_dropped();
                }
                conn.send(ok("first"))?;
            }
            Ok(())
        });
        let late = Delay::default();
        let servers = [first, delayed("second", &late)];
        let umay = before(&servers.each_ref().map(Server::addr), HEDGE, "");
        arm(&umay, &slow);
        // It leaves after the second was asked, and before that has answered.
        slow.set(150);
        late.set(350);
        dies.store(true, Ordering::SeqCst);
        for _ in 0..4 {
            let answer = ask(&umay, speaks, ["GET", "/"], None).unwrap();
            assert_eq!(answer.text(), "second", "{answer:?}");
        }
        umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
        assert!(umay.metric("umay_endpoint_failures_total", &[]) > 0.0);
    }
}

#[test]
fn a_second_that_fails_leaves_the_first() {
    let slow = Delay::default();
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let second = Server::http(move |_| match is_broken.load(Ordering::SeqCst) {
        true => answer("503 Busy", "", ""),
        false => ok("second"),
    });
    let servers = [delayed("first", &slow), second];
    let umay = before(&servers.each_ref().map(Server::addr), HEDGE, "");
    arm(&umay, &slow);
    slow.set(250);
    broken.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        assert_eq!(get(&umay).text(), "first");
    }
}

#[test]
fn the_stream_of_the_slower_is_reset() {
    let slow = Delay::default();
    let resets = Arc::<AtomicUsize>::default();
    let (delay, counted) = (slow.clone(), Arc::clone(&resets));
    let first = Endpoint::start(move |stream| {
        let millis = delay.0.load(Ordering::SeqCst);
        if millis < 1000 {
            delay.pass();
        } else if stream.wait_reset()? == umay_test::h2::Reason::CANCEL {
            counted.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        stream.respond(200, &[("x-name", "first")], true)
    });
    let second = Endpoint::start(|stream| stream.respond(200, &[("x-name", "second")], true));
    let addrs: [SocketAddr; 2] = [first.addr(), second.addr()];
    let umay = setup(text("h2c://", &addrs, HEDGE, "")).start();
    arm(&umay, &slow);
    slow.set(1000);
    for speaks in BOTH {
        for _ in 0..4 {
            let answer = ask(&umay, speaks, ["GET", "/"], None).unwrap();
            assert_eq!(answer.get("x-name"), Some("second"));
        }
    }
    eventually("resets", || {
        (resets.load(Ordering::SeqCst) == 4).then_some(())
    });
    assert_eq!(first.connections(), 1, "others go on upon the connection");
    umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
}
