//! Three endpoints at a steady load, each a process of its own, one of which goes wrong: what clients notice.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests fail loudly"
)]

mod pool;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pool::{setup, text};
use umay_test::programs::{Program, python_endpoint_at, python_endpoint_with};
use umay_test::{Conn, Refusing, Signal, Umay};

const GET: &str = umay_test::GET;
const POST: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody";

/// Clients at a time, each with one connection and one request at a time.
const CLIENTS: usize = 6;

/// How long one waits for an answer.
const PATIENCE: Duration = Duration::from_millis(1500);

/// After an event all is to be as before.
const HEALED: Duration = Duration::from_secs(2);

/// Tests that measure disturb each other.
static ALONE: Mutex<()> = Mutex::new(());

/// One request.
struct Asked {
    at: Instant,
    took: Duration,
    /// The name of who answered, or why nobody did.
    answer: Result<String, String>,
}

/// All requests of a test, and when what happened.
struct Story {
    asked: Vec<Asked>,
    event: Instant,
}

impl Story {
    fn failures(&self) -> Vec<&str> {
        let failed = self.asked.iter().filter_map(|a| a.answer.as_ref().err());
        failed.map(String::as_str).collect()
    }

    /// The 99th percentile before the event, and once it should be over.
    fn p99(&self) -> (Duration, Duration) {
        let (before, after) = (self.event, self.event + HEALED);
        let of = |which: &dyn Fn(&Asked) -> bool| {
            let took = self.asked.iter().filter(|a| which(a)).map(|a| a.took);
            let mut took: Vec<_> = took.collect();
            took.sort_unstable();
            assert!(took.len() > 100, "{} requests are too few", took.len());
            took[took.len() * 99 / 100]
        };
        (of(&|a| a.at + a.took < before), of(&|a| a.at > after))
    }

    /// How many each has answered once it should be over.
    fn shares(&self) -> BTreeMap<&str, usize> {
        let mut shares = BTreeMap::new();
        let healed = self.asked.iter().filter(|a| a.at > self.event + HEALED);
        for name in healed.filter_map(|a| a.answer.as_ref().ok()) {
            *shares.entry(name.as_str()).or_insert(0) += 1;
        }
        shares
    }

    #[track_caller]
    fn told(&self, what: &str) {
        let (before, after) = self.p99();
        let failures = self.failures();
        eprintln!(
            "{what}: {} requests, {} failed, p99 {before:?} before and {after:?} after, {:?}",
            self.asked.len(),
            failures.len(),
            self.shares()
        );
        // Machines that run tests are busy: a few milliseconds more are nothing.
        let normal = (before * 3).max(Duration::from_millis(60));
        assert!(after < normal, "{what}: {before:?}, {after:?}");
    }

    /// Those that are well have shares that differ by so many hundredths of the mean at most.
    #[track_caller]
    fn is_even(&self, names: &[&str], percent: usize) {
        let shares = self.shares();
        let counts: Vec<usize> = names
            .iter()
            .map(|n| shares.get(n).copied().unwrap_or(0))
            .collect();
        let mean = counts.iter().sum::<usize>() / counts.len();
        for count in &counts {
            assert!(count.abs_diff(mean) * 100 <= mean * percent, "{shares:?}");
        }
    }
}

/// Asks again and again, until it is over.
fn client(umay: &Umay, request: &str, over: &AtomicBool) -> Vec<Asked> {
    let mut asked = Vec::new();
    let mut conn: Option<Conn> = None;
    while !over.load(Ordering::SeqCst) {
        let at = Instant::now();
        let mut used = conn.take().unwrap_or_else(|| umay.connect());
        used.set_deadline(PATIENCE);
        let answer = match used.ask(request) {
            Ok(answer) if answer.status() == 200 => {
                conn = Some(used);
                Ok(answer.text())
            }
            Ok(answer) => Err(format!("{} {:?}", answer.status(), answer.reason())),
            Err(error) => Err(error.to_string()),
        };
        let took = at.elapsed();
        asked.push(Asked { at, took, answer });
        // The load is steady, not all that can be.
        thread::sleep(Duration::from_millis(2));
    }
    asked
}

/// Puts the load on, lets `happen` happen, and goes on for a while.
fn during(umay: &Umay, request: &str, after: Duration, happen: impl FnOnce()) -> Story {
    during_after(Duration::from_millis(1500), umay, request, after, happen)
}

/// The same `before` which it goes well for so long.
fn during_after(
    before: Duration,
    umay: &Umay,
    request: &str,
    after: Duration,
    happen: impl FnOnce(),
) -> Story {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let one = || client(umay, request, &over);
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one)).collect();
        thread::sleep(before);
        let event = Instant::now();
        happen();
        thread::sleep((event + after).saturating_duration_since(Instant::now()));
        over.store(true, Ordering::SeqCst);
        let asked = clients.into_iter().flat_map(|c| c.join().unwrap());
        Story {
            asked: asked.collect(),
            event,
        }
    })
}

/// Three endpoints; the first can be told to be bad in this way.
fn three(kind: &str) -> [Program; 3] {
    ["a", "b", "c"].map(|name| python_endpoint_with("steady.py", &[name, kind]))
}

fn before(programs: &[Program; 3], balance: &str, more: &str) -> Umay {
    let text = text("http://", &programs.each_ref().map(|p| p.addr), more, "");
    let text = text.replace("round_robin", balance);
    setup(text).workers(2).start()
}

const AFTER: Duration = Duration::from_millis(4500);

#[test]
fn one_is_killed() {
    let _alone = ALONE.lock();
    for (balance, percent) in [("round_robin", 5), ("auto", 50)] {
        let mut programs = three("");
        let umay = before(&programs, balance, "");
        let story = during(&umay, GET, AFTER, || programs[0].kill());
        story.told(&format!("killed, {balance}"));
        assert_eq!(story.failures(), [""; 0]);
        story.is_even(&["b", "c"], percent);
        assert!(!story.shares().contains_key("a"));
        // Who goes by latency hardly asks it again, and so never finds five failures.
        if balance == "round_robin" {
            umay.wait_event("endpoint ejected");
        }
    }
}

#[test]
fn one_stops_and_is_found_out_by_probes() {
    let _alone = ALONE.lock();
    let programs = three("");
    let probe = "probe = { interval = \"200ms\", timeout = \"200ms\", fall = 2, rise = 1 }";
    let umay = before(&programs, "round_robin", probe);
    let story = during(&umay, GET, AFTER, || programs[0].signal(Signal::STOP));
    story.told("stopped, probes");
    // Those that it had, and those that came until it was found out: each client once.
    assert!(story.failures().len() <= CLIENTS, "{:?}", story.failures());
    story.is_even(&["b", "c"], 5);
    let story = during(&umay, GET, AFTER, || programs[0].signal(Signal::CONT));
    story.told("goes on");
    assert_eq!(story.failures(), [""; 0]);
    story.is_even(&["a", "b", "c"], 5);
}

#[test]
fn one_stops_and_others_answer_for_it() {
    let _alone = ALONE.lock();
    for balance in ["auto", "round_robin"] {
        let programs = three("");
        let more = "hedge = { min_delay = \"20ms\" }\nretry.budget = 50";
        let umay = before(&programs, balance, more);
        // So long that it is known what is late.
        let known = Duration::from_millis(3500);
        let stop = || programs[0].signal(Signal::STOP);
        let story = during_after(known, &umay, GET, AFTER, stop);
        let count = |name, result| umay.metric(name, &[("result", result)]);
        eprintln!(
            "hedged {}, won {}, not for want of budget {}",
            count("umay_upstream_hedges_total", "sent"),
            count("umay_upstream_hedges_total", "won"),
            count("umay_upstream_retries_total", "budget_spent"),
        );
        assert_eq!(story.failures(), [""; 0]);
        if balance == "auto" {
            story.told("stopped, hedged, auto");
        } else {
            let (before, after) = story.p99();
            eprintln!("stopped, hedged, in turn: p99 {before:?} before and {after:?} after");
            assert!(after < Duration::from_millis(500), "{after:?}");
        }
        assert!(umay.metric("umay_upstream_hedges_total", &[("result", "won")]) > 0.0);
    }
}

#[test]
fn one_stops_and_nobody_helps() {
    let _alone = ALONE.lock();
    let programs = three("");
    let umay = before(&programs, "auto", "");
    let story = during(&umay, GET, AFTER, || programs[0].signal(Signal::STOP));
    let failed = story.failures().len();
    let shares = story.shares();
    eprintln!(
        "stopped: {} requests, {failed} hung, {shares:?}",
        story.asked.len()
    );
    // Whoever is busy is spared, so it gets few before each client has one there.
    assert!(failed <= 4 * CLIENTS, "{:?}", story.failures());
}

#[test]
fn one_is_late() {
    let _alone = ALONE.lock();
    let programs = three("late");
    let umay = before(&programs, "auto", "");
    let story = during(&umay, GET, AFTER, || programs[0].signal(Signal::USR1));
    story.told("late");
    assert_eq!(story.failures(), [""; 0]);
    story.is_even(&["b", "c"], 50);
    let late = story.asked.iter().filter(|a| a.took.as_millis() >= 500);
    assert!(late.count() < 3 * CLIENTS);
}

#[test]
fn one_resets_in_the_middle_of_its_answers() {
    let _alone = ALONE.lock();
    let programs = three("cut");
    let umay = before(&programs, "round_robin", "");
    let story = during(&umay, GET, AFTER, || programs[0].signal(Signal::USR1));
    story.told("resets");
    // Five in a row eject it, and whatever is on its way then.
    let failed = story.failures().len();
    assert!((1..=5 + CLIENTS).contains(&failed), "{failed}");
    let healed = story.event + Duration::from_secs(1);
    let late = story.asked.iter().filter(|a| a.at > healed);
    assert!(late.filter(|a| a.answer.is_err()).count() == 0);
    story.is_even(&["b", "c"], 5);
    assert!(umay.metric("umay_upstream_ejections_total", &[("cause", "consecutive")]) == 1.0);
}

#[test]
fn one_comes_and_goes() {
    let _alone = ALONE.lock();
    for outlier in ["", "outlier = \"off\""] {
        let [mut a, b, c] = three("");
        let addrs = [a.addr, b.addr, c.addr];
        let text = text("http://", &addrs, outlier, "");
        let umay = setup(text).workers(2).start();
        let story = during(&umay, GET, Duration::from_secs(7), || {
            for _ in 0..4 {
                a.kill();
                thread::sleep(Duration::from_millis(500));
                a = python_endpoint_at(a.addr, "steady.py", &["a"]);
                thread::sleep(Duration::from_millis(500));
            }
        });
        story.told("flaps");
        assert_eq!(story.failures(), [""; 0]);
    }
}

#[test]
fn one_refuses_connections() {
    let _alone = ALONE.lock();
    let (refusing, [_, b, c]) = (Refusing::new(), three(""));
    for request in [GET, POST] {
        for outlier in ["", "outlier = \"off\""] {
            let addrs = [refusing.addr(), b.addr, c.addr];
            // Without ejection every third request has to be tried twice.
            let more = format!("retry.budget = 50\n{outlier}");
            let umay = setup(text("http://", &addrs, &more, "")).workers(2).start();
            let story = during(&umay, request, Duration::from_millis(3500), || {});
            story.told("refuses");
            assert_eq!(story.failures(), [""; 0]);
            story.is_even(&["b", "c"], 5);
        }
    }
}
