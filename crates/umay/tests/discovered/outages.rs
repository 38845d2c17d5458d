//! Name servers that are gone or say nothing of use: requests go on with what was known.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use umay_test::programs::{Program, dnsmasq};
use umay_test::{Conn, GET, Signal, Umay, eventually};

use super::{ask, before, dns, hosts, served_while_it_fails, servers, status, until_served_by};

fn app(port: u16) -> String {
    format!("to = \"http://app.test:{port}\"")
}

/// The problem that `/status` tells, once it has this in it.
#[track_caller]
fn until_problem(umay: &Umay, part: &str) {
    eventually(part, || {
        let discovery = &status(umay)["discovery"];
        discovery["problem"].as_str()?.contains(part).then_some(())
    });
}

/// A name server that says of everything that it has failed. For as long as the test's process.
fn failing() -> std::net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((read, from)) = socket.recv_from(&mut bytes) {
            // An answer, SERVFAIL.
            bytes[2] |= 0x80;
            bytes[3] = 0x82;
            socket.send_to(&bytes[..read], from).ok();
        }
    });
    addr
}

#[test]
fn requests_are_answered_however_names_fail() {
    type Outage = fn(&mut Program);
    let ways: [(&str, Outage); 5] = [
        ("no answer about `app.test", |names| {
            names.signal(Signal::STOP)
        }),
        ("no answer about `app.test", Program::kill),
        ("`app.test` does not exist", |names| names.rewrite("", "")),
        ("has no A", |names| {
            names.rewrite("", "txt-record=app.test,x")
        }),
        ("Server Failure", |names| {
            let addr = failing();
            let forward = format!("server=/app.test/{}#{}", addr.ip(), addr.port());
            names.rewrite("", &forward);
        }),
    ];
    for (said, outage) in ways {
        let servers = servers(2);
        let mut names = dnsmasq(&hosts("app.test", &servers), "");
        let umay = before(&app(servers[0].addr().port()), &dns(names.addr));
        until_served_by(&umay, &["a", "b"]);
        assert_eq!(
            status(&umay)["discovery"]["problem"],
            umay_test::Value::Null
        );
        outage(&mut names);
        served_while_it_fails(&umay, "dns");
        until_problem(&umay, said);
        umay.wait_event("discovery has a problem");
        let age = || umay.metric("umay_discovery_age_seconds", &[("upstream", "app")]);
        eventually("an age beyond the TTL", || (age() > 1.5).then_some(()));
        assert!(status(&umay)["discovery"]["age_s"].as_f64().unwrap() >= 1.0);
        assert_eq!(status(&umay)["discovery"]["known"], true);
        ask(&umay);
        names.rewrite(&hosts("app.test", &servers[1..]), "");
        until_served_by(&umay, &["b"]);
        umay.wait_event("discovery is well again");
        eventually("a young answer", || (age() < 1.5).then_some(()));
    }
}

#[test]
fn when_the_grace_is_over_the_resolver_is_quoted() {
    let servers = servers(1);
    let names = dnsmasq(&hosts("app.test", &servers), "");
    let dns = dns(names.addr) + "grace = \"6s\"\n";
    let umay = before(&app(servers[0].addr().port()), &dns);
    ask(&umay);
    names.signal(Signal::STOP);
    served_while_it_fails(&umay, "dns");
    let refused = eventually("the end of the grace", || {
        let answer = umay.get("a.test", "/");
        (answer.status() != 200).then_some(answer)
    });
    assert_eq!(
        (refused.status(), refused.reason().as_deref()),
        (502, Some("endpoint_unresolved"))
    );
    let line = umay.wait_reason("endpoint_unresolved");
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.contains("no answer about `app.test`"), "{line}");
    assert!(
        !refused.text().contains("app.test"),
        "names are nobody's business"
    );
    names.signal(Signal::CONT);
    eventually("an answer again", || {
        (umay.get("a.test", "/").status() == 200).then_some(())
    });
}

#[test]
fn a_request_that_is_early_waits_for_the_first_answer() {
    let servers = servers(1);
    let names = dnsmasq(&hosts("app.test", &servers), "");
    names.signal(Signal::STOP);
    let patient = dns(names.addr).replace("timeout = \"500ms\"", "timeout = \"20s\"");
    let umay = before(
        &app(servers[0].addr().port()),
        &(patient + "[timeouts]\nconnect = \"20s\"\n"),
    );
    let mut early: Vec<Conn> = (0..3).map(|_| umay.connect()).collect();
    for conn in &mut early {
        conn.send(GET).unwrap();
        assert!(conn.stays_silent(Duration::from_millis(300)));
    }
    assert_eq!(status(&umay)["discovery"]["known"], false);
    names.signal(Signal::CONT);
    for conn in &mut early {
        assert_eq!(conn.read_response("GET").unwrap().text(), "a");
    }
    assert_eq!(status(&umay)["discovery"]["known"], true);
}

#[test]
fn no_request_waits_longer_than_for_a_connect() {
    let servers = servers(1);
    let names = dnsmasq(&hosts("app.test", &servers), "");
    names.signal(Signal::STOP);
    let patient = dns(names.addr).replace("timeout = \"500ms\"", "timeout = \"20s\"");
    let umay = before(
        &app(servers[0].addr().port()),
        &(patient + "[timeouts]\nconnect = \"300ms\"\n"),
    );
    let refused = umay.get("a.test", "/");
    assert_eq!(refused.reason().as_deref(), Some("endpoint_unresolved"));
    let line = umay.wait_reason("endpoint_unresolved");
    assert_eq!(line["detail"], "no endpoint was discovered in 300ms");
}

#[test]
fn what_starts_before_its_name_server_serves_when_that_is_there() {
    let servers = servers(1);
    let mut names = dnsmasq(&hosts("app.test", &servers), "");
    names.kill();
    let umay = before(&app(servers[0].addr().port()), &dns(names.addr));
    // Whoever comes before is told at once, once it is known that nobody answers.
    let refused = umay.get("a.test", "/");
    assert_eq!(refused.reason().as_deref(), Some("endpoint_unresolved"));
    let line = umay.wait_reason("endpoint_unresolved");
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.contains("no answer about `app.test`"), "{line}");
    names.start_again();
    eventually("an answer", || {
        (umay.get("a.test", "/").status() == 200).then_some(())
    });
}
