//! Who gets which request: by cookie, key, weight, group and zone, and who is left out because probes say so.

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
use std::sync::atomic::{AtomicBool, Ordering};

use pool::{BOTH, addrs, before, call, counts, named, only, setup, status_of, text};
use umay_test::exchange::Body;
use umay_test::{Certs, Conn, Message, Server, Umay, answer, ok, umay};

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
