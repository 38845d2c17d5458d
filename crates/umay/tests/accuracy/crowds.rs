//! More than one at a time: who waits for room, who is beaten to it, and who is asked for a second time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use umay_test::scrape::Scrape;
use umay_test::{Door, GET, Refusing, Server, answer, eventually, ok, umay};

use super::invariants;
use super::ledger::at_rest;
use super::upstreams::Scene;

#[test]
fn who_waits_for_room_and_who_finds_none_is_counted() {
    let door = Door::default();
    let inside = door.clone();
    let app = Server::http(move |_| {
        inside.wait();
        ok("hi")
    });
    let more = "limits = { requests = 1, queue = 1 }";
    let mut scene = Scene::before("http://", &[app.addr()], more, "");
    let ask = |scene: &mut Scene| {
        let mut conn = scene.connect();
        conn.send(GET).unwrap();
        conn
    };
    let mut first = ask(&mut scene);
    scene.umay.wait_metric("umay_endpoint_in_flight", &[], 1.0);
    let mut second = ask(&mut scene);
    scene.umay.wait_metric("umay_upstream_queue", &[], 1.0);
    let third = ask(&mut scene).read_response("GET").unwrap();
    assert_eq!(third.reason().as_deref(), Some("queue_full"));
    door.open();
    for conn in [&mut first, &mut second] {
        assert_eq!(conn.read_response("GET").unwrap().text(), "hi");
        scene.note(200, 2, &[(0, "ok", false)]);
        scene.books.links += 1.0;
    }
    drop((first, second));
    scene.note(503, third.body.len(), &[]);
    scene.books.refused("queue_full");
    let labels = [("upstream", "up")];
    scene.books.note("umay_upstream_queued_total", &labels, 1);
    scene.books.audit(&scene.umay);
}

/// Clients on both workers want more than there is, of endpoints one of which is down: whoever finds that one is counted
/// once for it, however long it waits for another.
#[test]
fn a_crowd_that_wants_more_than_there_is_adds_up() {
    const CLIENTS: usize = 12;
    const EACH: usize = 40;
    // What is closed after each answer is fought for again.
    let app = || Server::http(|_| answer("200 OK", "Connection: close\r\n", "hi"));
    let (apps, refusing) = ([app(), app()], Refusing::new());
    let [one, two] = apps.each_ref().map(Server::addr);
    let to = [refusing.addr(), one, two].map(|to| format!("http://{to}"));
    let umay = umay!()
        .config(format!(
            "listen = \"127.0.0.1:0\"\nto = \"up\"\n[upstream.up]\nto = {to:?}\nbalance = \"round_robin\"\n\
             outlier = \"off\"\nretry = {{ budget = 100, floor = 1000 }}\n\
             limits = {{ endpoint_connections = 1, queue_timeout = \"20s\" }}\n"
        ))
        .workers(2)
        .start();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut conn = umay.connect();
                for _ in 0..EACH {
                    assert_eq!(conn.ask(GET).unwrap().text(), "hi");
                }
            });
        }
    });
    let page = at_rest(&umay, CLIENTS as f64);
    let asked = (CLIENTS * EACH) as f64;
    assert_eq!(page.sum("umay_upstream_requests_total", &[]), asked);
    let ok = [("outcome", "ok")];
    assert_eq!(page.sum("umay_upstream_attempts_total", &ok), asked);
    let retries = page.sum("umay_retries_total", &[]);
    let refused = [("outcome", "connect_refused")];
    let refused = page.sum("umay_upstream_attempts_total", &refused);
    assert!(retries > 0.0);
    // Each of these was a retry for one that was refused.
    assert_eq!(refused, retries);
    let retried = [("result", "retried")];
    assert_eq!(page.sum("umay_upstream_retries_total", &retried), retries);
    let broken = invariants::broken(&page, 0.0);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// An endpoint that says its name, after as many milliseconds as it is told later.
fn slow(name: &'static str) -> (Server, Arc<AtomicU64>) {
    let pause = Arc::<AtomicU64>::default();
    let kept = Arc::clone(&pause);
    let server = Server::http(move |_| {
        std::thread::sleep(Duration::from_millis(kept.load(Ordering::SeqCst)));
        ok(name)
    });
    (server, pause)
}

/// A late request is asked for a second time: that is an attempt of its own, paid for as a hedge and not as a retry.
/// Whichever is answered first, that is one answer.
#[test]
fn hedges_are_counted_apart_from_retries() {
    for (pauses, winner) in [([300, 0], "1"), ([300, 3000], "0")] {
        let (servers, pause) = <(Vec<_>, Vec<_>)>::from_iter(["0", "1"].map(slow));
        let addrs: Vec<_> = servers.iter().map(Server::addr).collect();
        let more = "outlier = \"off\"\nhedge = { min_delay = \"40ms\" }\nretry.budget = 100";
        let mut scene = Scene::before("http://", &addrs, more, "");
        let mut conn = scene.connect();
        let umay = &scene.umay;
        let sent = || umay.metric("umay_upstream_hedges_total", &[("result", "sent")]);
        // Until it is known what is late: what most are not.
        let until = Instant::now() + Duration::from_millis(2500);
        let mut asked = 0.0;
        while Instant::now() < until {
            conn.ask(GET).unwrap();
            asked += 1.0;
        }
        for (pause, millis) in pause.iter().zip(pauses) {
            pause.store(millis, Ordering::SeqCst);
        }
        let before = sent();
        let mut won = 0;
        eventually("some hedges", || {
            won += usize::from(conn.ask(GET).unwrap().text() == winner);
            asked += 1.0;
            (sent() >= before + 3.0).then_some(())
        });
        assert!(won > 0);
        drop(conn);
        check_hedges(&at_rest(umay, 1.0), asked);
    }
}

/// What has to be on the page after so many requests, some of which were asked for twice.
fn check_hedges(page: &Scrape, asked: f64) {
    let hedges = |result| page.sum("umay_upstream_hedges_total", &[("result", result)]);
    assert!(hedges("won") <= hedges("sent"));
    let sum = |name: &str| page.sum(name, &[]);
    let labels = [("result", "retried")];
    for (what, is, wanted) in [
        ("requests", sum("umay_upstream_requests_total"), asked),
        ("responses", sum("umay_http_responses_total"), asked),
        ("retries", sum("umay_retries_total"), hedges("sent")),
        (
            "paid for",
            page.sum("umay_upstream_retries_total", &labels),
            0.0,
        ),
        (
            "picks",
            sum("umay_endpoint_picks_total"),
            asked + hedges("sent"),
        ),
        ("failures", sum("umay_endpoint_failures_total"), 0.0),
        (
            "first answers",
            sum("umay_upstream_request_duration_seconds_count"),
            asked,
        ),
    ] {
        assert_eq!(is, wanted, "{what}");
    }
    let broken = invariants::broken(page, 0.0);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
