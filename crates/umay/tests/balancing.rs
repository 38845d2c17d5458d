//! Who gets which request, and who gets none for a while: cookies, hashing, weights, groups, zones, and all that
//! leaves an endpoint out and takes it in again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests fail loudly"
)]

mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pool::{BOTH, before, call, get, setup, text};
use umay_test::exchange::Body;
use umay_test::{Certs, Conn, Message, Server, Umay, Value, answer, eventually, ok, umay};

/// Endpoints that answer with their names: `0`, `1` and so on.
fn named(count: usize) -> Vec<Server> {
    (0..count).map(|n| Server::ok(&n.to_string())).collect()
}

fn addrs(servers: &[Server]) -> Vec<SocketAddr> {
    servers.iter().map(Server::addr).collect()
}

/// So many GETs with these fields on one connection, and how many each name has answered.
fn counts(umay: &Umay, fields: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut conn = umay.connect();
    let mut counts = BTreeMap::new();
    let request = format!("GET /p HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    for _ in 0..requests {
        let answer = conn.ask(&request).unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
        *counts.entry(answer.text()).or_insert(0) += 1;
    }
    counts
}

/// The only one who answers these.
fn only(umay: &Umay, fields: &str) -> String {
    let counts = counts(umay, fields, 5);
    assert_eq!(counts.len(), 1, "{counts:?}");
    counts.into_keys().next().unwrap()
}

/// An endpoint in `/status`.
fn status_of(umay: &Umay, addr: SocketAddr) -> Value {
    let page: Value = serde_json::from_str(&umay.admin_get("/status").text()).unwrap();
    let upstreams = page["upstreams"].as_array().unwrap().clone();
    let mut all = upstreams
        .iter()
        .flat_map(|u| u["endpoints"].as_array().unwrap());
    let found = all.find(|e| e.to_string().contains(&addr.to_string()));
    found
        .unwrap_or_else(|| panic!("no {addr} in {page:#}"))
        .clone()
}

fn cookie_of(answer: &Message) -> Option<String> {
    let cookie = answer.get("set-cookie")?;
    Some(cookie.split(';').next().unwrap().to_owned())
}

#[test]
fn a_cookie_keeps_a_client_until_its_endpoint_dies() {
    for speaks in BOTH {
        let mut servers: Vec<Option<Server>> = named(3).into_iter().map(Some).collect();
        let addrs: Vec<_> = servers.iter().flatten().map(Server::addr).collect();
        let more = "sticky = { cookie = \"at\", max_age = \"1h\" }";
        let umay = before(&addrs, more, "");
        let ask = |cookie: &str| {
            let fields: &[_] = if cookie.is_empty() {
                &[]
            } else {
                &[("cookie", cookie)]
            };
            let mut exchange = call(&umay, speaks, ["GET", "/"], fields, Body::Empty);
            let mut answer = exchange.head().unwrap();
            answer.body = exchange.read_to_end().unwrap();
            answer
        };
        let first = ask("");
        let told = first.get("set-cookie").unwrap();
        let (pair, attributes) = told.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
        assert!(pair.starts_with("at=") && pair.len() == 19, "{pair}");
        assert!(!pair.contains(&addrs[0].port().to_string()));
        for _ in 0..6 {
            let again = ask(&format!("other=1; {pair}"));
            assert_eq!(
                (again.text(), again.get("set-cookie")),
                (first.text(), None)
            );
        }
        // A value that is nobody's is as good as none.
        for forged in [
            "at=0000000000000000",
            "at=ffffffffffffffff",
            "at=%00",
            "at=",
            "at=x; at=y",
        ] {
            let answer = ask(forged);
            assert_eq!(answer.status(), 200);
            assert!(cookie_of(&answer).is_some(), "{forged}");
        }
        servers[first.text().parse::<usize>().unwrap()] = None;
        let moved = ask(pair);
        assert_eq!(moved.status(), 200, "{moved:?}");
        assert_ne!(moved.text(), first.text());
        let new = cookie_of(&moved).unwrap();
        for _ in 0..6 {
            let again = ask(&new);
            assert_eq!(
                (again.text(), again.get("set-cookie")),
                (moved.text(), None)
            );
        }
    }
}

#[test]
fn over_tls_the_cookie_is_secure() {
    let (certs, servers) = (Certs::new(), named(2));
    let pair = certs.issue(&["a.test"]);
    let text = text("http://", &addrs(&servers), "sticky = \"at\"", &pair.toml());
    let umay = setup(text).start();
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap();
    let answer = conn.ask(umay_test::GET).unwrap();
    let told = answer.get("set-cookie").unwrap();
    assert!(
        told.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
        "{told}"
    );
}

#[test]
fn the_same_key_goes_to_the_same_endpoint_in_every_process() {
    let mut servers: Vec<Option<Server>> = named(4).into_iter().map(Some).collect();
    let addrs: Vec<_> = servers.iter().flatten().map(Server::addr).collect();
    for by in ["cookie:key", "path", "header:x-key"] {
        let more = format!("hash_by = \"{by}\"\noutlier = \"off\"");
        let hashed = |addrs: &[SocketAddr]| {
            let text = text("http://", addrs, &more, "");
            setup(text.replace("round_robin", "consistent_hash")).start()
        };
        let turned: Vec<_> = addrs.iter().rev().copied().collect();
        let (one, two) = (hashed(&addrs), hashed(&turned));
        let mut owners = BTreeMap::new();
        for key in 0..40 {
            let request = match by {
                "path" => format!("GET /{key}?x HTTP/1.1\r\nHost: a.test\r\n\r\n"),
                "cookie:key" => {
                    format!("GET / HTTP/1.1\r\nHost: a.test\r\nCookie: a=b; key={key}\r\n\r\n")
                }
                _ => format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Key: {key}\r\n\r\n"),
            };
            let names: BTreeSet<_> = [&one, &two, &one]
                .iter()
                .map(|umay| umay.connect().ask(&request).unwrap().text())
                .collect();
            assert_eq!(names.len(), 1, "{by} {key}: {names:?}");
            owners.insert(request, names.into_iter().next().unwrap());
        }
        let spread: BTreeSet<_> = owners.values().collect();
        assert_eq!(spread.len(), 4, "{by}: {owners:?}");
        if by == "header:x-key" {
            // The keys of who dies are spread over all others, and those of others stay.
            servers[0] = None;
            let mut heirs = BTreeSet::new();
            for (request, owner) in &owners {
                let name = one.connect().ask(request).unwrap().text();
                if owner == "0" {
                    heirs.insert(name);
                } else {
                    assert_eq!(&name, owner);
                }
            }
            assert!(heirs.len() >= 2, "{heirs:?}");
        }
    }
}

#[test]
fn keys_can_be_of_the_client_and_of_tls() {
    let servers = named(4);
    let hashed = |by: &str, top: &str| {
        let text = text(
            "http://",
            &addrs(&servers),
            &format!("hash_by = \"{by}\""),
            top,
        );
        setup(text.replace("round_robin", "consistent_hash")).start()
    };
    let umay = hashed("client_ip", "");
    let mut names = BTreeSet::new();
    for n in 1..30 {
        let ask = || {
            let conn = Conn::connect_from([127, 0, 1, n].into(), umay.addr());
            conn.unwrap().ask(umay_test::GET).unwrap().text()
        };
        let name = ask();
        assert_eq!(name, ask());
        names.insert(name);
    }
    assert!(names.len() > 2, "{names:?}");
    let certs = Certs::new();
    let names: Vec<_> = (0..20).map(|n| format!("h{n}.test")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let pair = certs.issue(&names);
    let umay = hashed("sni", &pair.toml());
    let mut names = BTreeSet::new();
    for n in 0..20 {
        let host = format!("h{n}.test");
        let ask = || {
            let conn = Conn::connect_tls(umay.addr(), &certs.trusting(), &host);
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            conn.unwrap().ask(request).unwrap().text()
        };
        let name = ask();
        assert_eq!(name, ask());
        names.insert(name);
    }
    assert!(names.len() > 1, "{names:?}");
}

/// Umay before endpoints as tables, with what each says besides.
fn before_tables(endpoints: &[(SocketAddr, &str)], more: &str, top: &str) -> Umay {
    let table = |(addr, terms): &(SocketAddr, &str)| format!("{{ to = \"http://{addr}\"{terms} }}");
    let tables: Vec<_> = endpoints.iter().map(table).collect();
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"up\"\n{top}\n[upstream.up]\nto = [{}]\n{more}\n",
        tables.join(", ")
    )
}

#[test]
fn weights_are_kept_by_every_balancer() {
    let servers = named(3);
    let a = addrs(&servers);
    let weighed = [
        (a[0], ", weight = 1"),
        (a[1], ", weight = 3"),
        (a[2], ", weight = 0"),
    ];
    for (balance, tolerance) in [("round_robin", 0), ("random", 60)] {
        let umay = before_tables(&weighed, &format!("balance = \"{balance}\""), "");
        let counts = counts(&umay, "", 400);
        assert_eq!(counts.get("2"), None, "who has no weight gets nothing");
        assert!(
            counts["0"].abs_diff(100) <= tolerance,
            "{balance}: {counts:?}"
        );
    }
}

#[test]
fn groups_take_over_from_each_other_and_give_back() {
    let well = Arc::new(AtomicBool::new(true));
    let is_well = Arc::clone(&well);
    let main = Server::http(move |_| match is_well.load(Ordering::SeqCst) {
        true => ok("main"),
        false => answer("503 Ill", "", ""),
    });
    let spare = Server::ok("spare");
    let more = "probe = { interval = \"100ms\", fall = 2, rise = 2 }\nretry = \"off\"";
    let endpoints = [(main.addr(), ""), (spare.addr(), ", priority = 1")];
    let umay = before_tables(&endpoints, more, "");
    assert_eq!(only(&umay, ""), "main");
    well.store(false, Ordering::SeqCst);
    let event = umay.wait_event("endpoint is ill");
    assert!(event.contains("status 503, expected 200-299"), "{event}");
    let labels = [("standing", "ill")];
    umay.wait_metric("umay_upstream_endpoints", &labels, 1.0);
    assert_eq!(only(&umay, ""), "spare");
    assert!(status_of(&umay, main.addr()).to_string().contains("503"));
    well.store(true, Ordering::SeqCst);
    umay.wait_event("endpoint is well again");
    umay.wait_metric("umay_upstream_endpoints", &labels, 0.0);
    assert_eq!(only(&umay, ""), "main");
}

#[test]
fn the_own_zone_is_preferred() {
    let servers = named(3);
    let a = addrs(&servers);
    let zones = [
        (a[0], ", zone = \"a\""),
        (a[1], ", zone = \"b\""),
        (a[2], ", zone = \"b\""),
    ];
    let umay = before_tables(&zones, "", "zone = \"a\"");
    assert_eq!(only(&umay, ""), "0");
    let umay = before_tables(&zones, "balance = \"round_robin\"", "zone = \"b\"");
    assert_eq!(
        counts(&umay, "", 20).into_values().collect::<Vec<_>>(),
        [10, 10]
    );
    let umay = before_tables(&zones, "balance = \"round_robin\"", "zone = \"c\"");
    assert_eq!(counts(&umay, "", 30).len(), 3);
}

#[test]
fn an_ill_endpoint_gets_nothing_and_if_all_are_ill_all_are_used() {
    let ill = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
    let servers: Vec<_> = (0..2)
        .map(|n| {
            let ill = Arc::clone(&ill);
            Server::http(move |request| match request.target() {
                "/health" if ill[n].load(Ordering::SeqCst) => answer("500 No", "", ""),
                _ => ok(n.to_string()),
            })
        })
        .collect();
    let more = "probe = { path = \"/health\", interval = \"100ms\", fall = 2, rise = 3 }";
    let umay = before(&addrs(&servers), more, "");
    assert_eq!(counts(&umay, "", 10).len(), 2);
    ill[0].store(true, Ordering::SeqCst);
    let labels = [("standing", "ill")];
    umay.wait_metric("umay_upstream_endpoints", &labels, 1.0);
    assert_eq!(only(&umay, ""), "1");
    ill[1].store(true, Ordering::SeqCst);
    umay.wait_metric("umay_upstream_endpoints", &labels, 2.0);
    assert_eq!(
        counts(&umay, "", 10).len(),
        2,
        "better an ill one than none"
    );
    ill[0].store(false, Ordering::SeqCst);
    umay.wait_metric("umay_upstream_endpoints", &labels, 1.0);
    assert_eq!(only(&umay, ""), "0");
}

#[test]
fn below_the_panic_threshold_all_are_used() {
    let servers: Vec<_> = (0..3)
        .map(|n| {
            Server::http(move |request| match request.target() {
                "/health" if n > 0 => answer("500 No", "", ""),
                _ => ok(n.to_string()),
            })
        })
        .collect();
    for (panic, used) in [(30, 1), (50, 3)] {
        let more = format!(
            "panic = {panic}\nprobe = {{ path = \"/health\", interval = \"100ms\", fall = 1 }}"
        );
        let umay = before(&addrs(&servers), &more, "");
        umay.wait_metric("umay_upstream_endpoints", &[("standing", "ill")], 2.0);
        assert_eq!(counts(&umay, "", 30).len(), used);
    }
}

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
    assert!(umay.metric("umay_endpoint_picks_total", &labels) >= 15.0);
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
