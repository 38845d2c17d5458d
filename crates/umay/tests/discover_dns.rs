//! Discovery by names, against a real name server: dnsmasq, whose records change while they are followed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod discovery;

use std::time::{Duration, Instant};

use discovery::{Followed, dns, http};
use umay::telemetry::metrics::{Origin, Update};
use umay_core::model::{Dns, Source};
use umay_test::programs::dnsmasq;
use umay_test::{Signal, eventually};

const ONE: &str = "127.0.1.1 app.test";
const OTHER: &str = "127.0.1.2 app.test";

#[test]
fn a_name_moves_with_its_record() {
    let mut server = dnsmasq(ONE, "");
    let followed = Followed::start(vec![http("app.test", 80)], None, &dns(server.addr));
    let state = followed.until_found(&["app.test=127.0.1.1:80"]);
    assert!(state.settled && state.since.is_some());
    server.dir.write("hosts", OTHER);
    server.signal(Signal::HUP);
    let moved = Instant::now();
    followed.until_found(&["app.test=127.0.1.2:80"]);
    // The TTL is a second.
    assert!(moved.elapsed() < Duration::from_secs(10));
    assert_eq!(followed.updates(Origin::Dns, Update::Changed), 2);
    assert_eq!(
        followed.series(r#"umay_discovery_endpoints{upstream="app"}"#),
        Some(1.0)
    );
    server.kill();
}

#[test]
fn what_has_not_changed_is_not_told() {
    let server = dnsmasq(ONE, "");
    let followed = Followed::start(vec![http("app.test", 80)], None, &dns(server.addr));
    let first = followed.until_found(&["app.test=127.0.1.1:80"]);
    eventually("three more answers", || {
        (followed.updates(Origin::Dns, Update::Unchanged) >= 3).then_some(())
    });
    let later = followed.until("a younger answer", |state| state.since > first.since);
    assert!(std::sync::Arc::ptr_eq(&first.found, &later.found));
}

#[test]
fn addresses_are_endpoints_or_are_raced() {
    let hosts = "127.0.1.1 pair.test\n::1 pair.test\n\
                 127.0.1.2 many.test\n127.0.1.3 many.test\n::2 many.test\n\
                 127.0.1.1 same.test\n0.0.0.0 blocked.test\n";
    let server = dnsmasq(hosts, "");
    let names = ["pair.test", "many.test", "same.test", "127.0.1.9"];
    let endpoints = names.map(|name| http(name, 80)).to_vec();
    let followed = Followed::start(endpoints, None, &dns(server.addr));
    // An address needs nobody.
    assert!(
        followed
            .found()
            .contains(&"127.0.1.9=127.0.1.9:80".to_owned())
    );
    // `same.test` is where `pair.test` is.
    followed.until_found(&[
        "127.0.1.9=127.0.1.9:80",
        "many.test=127.0.1.2:80",
        "many.test=127.0.1.3:80",
        "many.test=[::2]:80",
        "pair.test=[::1]:80,127.0.1.1:80",
    ]);
    drop(followed);
    let followed = Followed::start(vec![http("blocked.test", 80)], None, &dns(server.addr));
    followed.until_error("no address that can be connected to");
    assert!(followed.found().is_empty());
}

/// However a name fails: the last good addresses stay, the problem is told, and the end of it too.
#[test]
fn a_name_that_fails_keeps_its_addresses() {
    // The last one is asked for at a server that is not there.
    let cases = [
        ("does not exist", "", ""),
        ("has no A", "127.0.1.9 other.test", "txt-record=app.test,x"),
        ("Refused", "", "server=/app.test/#"),
        ("no answer", "", "server=/app.test/127.0.0.1#1"),
    ];
    for (error, hosts, conf) in cases {
        let mut server = dnsmasq(ONE, "");
        let followed = Followed::start(vec![http("app.test", 80)], None, &dns(server.addr));
        followed.until_found(&["app.test=127.0.1.1:80"]);
        server.rewrite(hosts, conf);
        let state = followed.until_error(error);
        assert_eq!(discovery::lines(&state), ["app.test=127.0.1.1:80"]);
        assert!(followed.updates(Origin::Dns, Update::Failed) > 0);
        server.rewrite(OTHER, "");
        followed.until_found(&["app.test=127.0.1.2:80"]);
    }
}

#[test]
fn a_silent_server_takes_nothing_away_until_the_grace_is_over() {
    let server = dnsmasq(ONE, "");
    let dns = Dns {
        grace: Duration::from_secs(5),
        ..dns(server.addr)
    };
    let followed = Followed::start(vec![http("app.test", 80)], None, &dns);
    followed.until_found(&["app.test=127.0.1.1:80"]);
    server.signal(Signal::STOP);
    let state = followed.until_error("no answer about `app.test");
    assert_eq!(discovery::lines(&state), ["app.test=127.0.1.1:80"]);
    let good = state.since.unwrap();
    let gone = followed.until("no endpoints", |state| state.found.is_empty());
    assert!(good.elapsed() >= dns.grace);
    assert!(gone.error.is_some());
    assert!(
        followed
            .series(r#"umay_discovery_age_seconds{upstream="app"}"#)
            .unwrap()
            >= 3.0
    );
    server.signal(Signal::CONT);
    followed.until_found(&["app.test=127.0.1.1:80"]);
}

#[test]
fn names_fail_alone() {
    let mut server = dnsmasq("127.0.1.1 a.test\n127.0.1.2 b.test", "");
    let endpoints = vec![http("a.test", 80), http("b.test", 80)];
    let followed = Followed::start(endpoints, None, &dns(server.addr));
    followed.until_found(&["a.test=127.0.1.1:80", "b.test=127.0.1.2:80"]);
    server.rewrite("127.0.1.3 b.test", "");
    let expected = ["a.test=127.0.1.1:80", "b.test=127.0.1.3:80"];
    followed.until("b to move and a to stay", |state| {
        discovery::lines(state) == expected && state.error.is_some()
    });
}

#[test]
fn a_kind_of_addresses_can_leave() {
    let both = "127.0.1.1 app.test\n::1 app.test";
    let mut server = dnsmasq(both, "");
    let followed = Followed::start(vec![http("app.test", 80)], None, &dns(server.addr));
    followed.until_found(&["app.test=[::1]:80,127.0.1.1:80"]);
    // That a name has no address of a kind any more is an answer.
    server.rewrite(OTHER, "");
    followed.until_found(&["app.test=127.0.1.2:80"]);
}

#[test]
fn srv_records_are_ranked_weighed_and_resolved() {
    let hosts = "127.0.1.1 a.test\n127.0.1.2 b.test\n127.0.1.3 c.test";
    let records = "srv-host=_app._tcp.test,a.test,8001,10,60000\n\
                   srv-host=_app._tcp.test,b.test,8002,10,0\n\
                   srv-host=_app._tcp.test,c.test,8003,70,7";
    let mut server = dnsmasq(hosts, records);
    let source = Source::Srv("_app._tcp.test".to_owned());
    let followed = Followed::start(Vec::new(), Some(source), &dns(server.addr));
    followed.until_found(&[
        "a.test=127.0.1.1:8001*1000",
        "b.test=127.0.1.2:8002",
        "c.test=127.0.1.3:8003*7!1",
    ]);
    server.rewrite(hosts, "srv-host=_app._tcp.test,c.test,8003,70,7");
    followed.until_found(&["c.test=127.0.1.3:8003*7"]);
    // Nothing at all is no answer to rely on.
    server.rewrite(hosts, "");
    let state = followed.until_error("srv: `_app._tcp.test` does not exist");
    assert_eq!(discovery::lines(&state), ["c.test=127.0.1.3:8003*7"]);
    assert!(followed.updates(Origin::Srv, Update::Failed) > 0);
}

#[test]
fn a_name_that_was_never_there_appears() {
    let mut server = dnsmasq("", "");
    let followed = Followed::start(vec![http("app.test", 80)], None, &dns(server.addr));
    let state = followed.until("the first answer", |state| state.settled);
    assert!(state.found.is_empty() && state.error.is_some() && state.since.is_none());
    assert_eq!(
        followed.series(r#"umay_discovery_age_seconds{upstream="app"}"#),
        None
    );
    server.rewrite(ONE, "");
    followed.until_found(&["app.test=127.0.1.1:80"]);
}

/// More records than fit into a datagram come over TCP.
#[test]
fn many_addresses_come_too() {
    let hosts: Vec<String> = (0..200).map(|n| format!("127.0.3.{n} app.test")).collect();
    let server = dnsmasq(&hosts.join("\n"), "");
    let followed = Followed::start(vec![http("app.test", 80)], None, &dns(server.addr));
    followed.until("200 endpoints", |state| state.found.len() == 200);
}
