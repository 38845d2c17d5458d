//! The page for people in a browser: it moves, under its policy, and nothing that it is told becomes markup.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use umay_test::programs::browse;
use umay_test::{Server, Value, answer, json, umay};

#[test]
fn numbers_move_without_a_reload() {
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"app\"\n[upstream.app]\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    let browser = browse(&format!("http://{}/", umay.admin()));
    let mut page = browser.page();
    page.wait("document.querySelector('.live')?.textContent === 'live'");
    page.value("window.same = true");
    for _ in 0..7 {
        assert_eq!(umay.get("a.test", "/").status(), 200);
    }
    page.wait("document.querySelector('.tile').textContent.includes('7 so far')");
    page.wait("document.querySelector('.card').textContent.includes('1 of 1 well')");
    assert_eq!(page.value("window.same"), true);
    // When Umay is gone it says so, keeps what it has, and tries again.
    drop(umay);
    page.wait("document.querySelector('.live').textContent.includes('trying again')");
    page.wait("document.querySelector('.tile').textContent.includes('7 so far')");
}

/// A document whose every word is an attack, given to the page as Umay gives it.
fn evil() -> (Value, &'static str) {
    let evil =
        "\"'><img src=x onerror='window.pwned=1'><script>window.pwned=1</script>${window.pwned=1}";
    let endpoint = json!({ "address": evil, "standing": evil, "why": evil, "zone": evil, "weight": evil, "picks": evil,
                           "latency_ms": evil, "in_flight": evil, "failures": evil });
    let endpoints: Vec<_> = (0..20).map(|_| endpoint.clone()).collect();
    let document = json!({
        "version": evil, "stage": evil, "pid": evil, "started": evil, "uptime_s": 1, "uptime_ms": 1000, "workers": evil,
        "problems": [{ "severity": evil, "about": evil, "what": evil, "hint": evil }],
        "config": { "since": evil, "refused": evil, "reloads": { "served": evil, "refused": 3 } },
        "process": { "memory_bytes": evil }, "connections": evil, "latency_bounds_ms": [1, evil],
        "totals": { "requests": evil, "statuses": { evil: 1 }, "refusals": { evil: 5, "__proto__": 1, "constructor": 2 } },
        "reasons": { evil: evil },
        "listeners": [{ "name": evil, "addr": evil, "tls": evil, "serves": [evil], "routes": evil }],
        "routes": [{ "name": evil, "matches": evil, "to": evil, "requests": evil, "latency": { "buckets": { evil: 1 } } },
                   { "name": "__proto__" }],
        "upstreams": [{ "name": evil, "balance": evil, "discovery": { "known": evil, "problem": evil, "age_s": 3 },
                        "attempts": { evil: 2 }, "endpoints": endpoints }],
        "certificates": [{ "names": [evil], "not_after": evil, "days_left": evil, "files": [evil] }],
    });
    (document, evil)
}

/// The page as a real Umay gives it, with documents from somebody else, from where the page thinks Umay is; and what it asks for.
fn front(
    document: impl Fn() -> Value + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<String>>>) {
    let real = {
        let endpoint = Server::ok("hi");
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
            endpoint.addr()
        );
        umay.admin_get("/")
    };
    let policy = real.get("content-security-policy").unwrap().to_owned();
    let html = real.text();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let front = Server::http(move |request| {
        seen.lock().unwrap().push(request.target().to_owned());
        match request.target() {
            "/" => {
                let fields =
                    format!("Content-Type: text/html\r\nContent-Security-Policy: {policy}\r\n");
                answer("200 OK", &fields, &html)
            }
            "/status" => answer(
                "200 OK",
                "Content-Type: application/json\r\n",
                document().to_string(),
            ),
            _ => answer("404 Not Found", "", ""),
        }
    });
    (front, asked)
}

/// An endpoint that fails once in ten seconds is seen to fail all that time, and not for one second of it; and no longer.
#[test]
fn what_fails_is_shown_for_ten_seconds() {
    let at = Arc::new(AtomicU64::new(1_000));
    let (told, asked) = (Arc::clone(&at), AtomicU64::new(0));
    let (front, _) = front(move || {
        let at = told.load(Ordering::Relaxed);
        let failures = if at > 1_000 { 6 } else { 1 };
        // No two documents are of the same moment.
        let uptime = at + asked.fetch_add(1, Ordering::Relaxed);
        let endpoint =
            json!({ "address": "a", "standing": "well", "picks": 8, "failures": failures });
        json!({ "pid": 1, "started": "s", "uptime_s": at / 1000, "uptime_ms": uptime,
                "upstreams": [{ "name": "app", "endpoints": [endpoint] }] })
    });
    let browser = browse(&format!("http://{}/", front.addr()));
    let mut page = browser.page();
    let shows =
        |text: &str| format!("document.querySelector('.card')?.textContent.includes({text:?})");
    page.wait(&shows("1 · 13 %"));
    for (moment, rate) in [(2_000, "5.0"), (11_000, "0.50"), (12_000, "0")] {
        at.store(moment, Ordering::Relaxed);
        page.wait(&format!(
            "document.querySelector('.meta').textContent.startsWith('up {} s') && {}",
            moment / 1000,
            shows(&format!("req/s · {rate} failed/s"))
        ));
    }
    page.wait(&shows("6 · 75 %"));
}

#[test]
fn hostile_words_stay_text() {
    let (document, evil) = evil();
    let (front, asked) = front(move || document.clone());
    let browser = browse(&format!("http://{}/", front.addr()));
    let mut page = browser.page();
    let contains = format!(
        "document.querySelector('main').textContent.includes({})",
        json!(evil)
    );
    page.wait(&contains);
    page.wait("document.querySelectorAll('rect').length === 20");
    assert_eq!(page.value("typeof window.pwned"), "undefined");
    assert_eq!(
        page.value("document.querySelectorAll('img, main script, iframe, main a').length"),
        0
    );
    assert_eq!(page.value("document.scripts.length"), 1);
    // All of its parts are there, so no part gave up on such words.
    assert_eq!(page.value("document.querySelectorAll('section').length"), 6);
    // Nor could a mistake make markup of text: the policy has the browser refuse that.
    let tried = page.value(
        "(() => { try { document.createElement('p').innerHTML = '<b>x</b>'; return 'made'; } catch { return 'refused'; } })()",
    );
    assert_eq!(tried, "refused");
    // It asks for nothing else than its document.
    for target in asked.lock().unwrap().iter() {
        assert!(
            ["/", "/status", "/favicon.ico"].contains(&target.as_str()),
            "{target}"
        );
    }
}
