//! A name with an IPv6 and an IPv4 address is one endpoint, at whichever answers first (RFC 8305).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use umay_test::programs::dnsmasq;
use umay_test::{Refusing, Server, Stuck, TempDir, eventually, unique_address};

use super::{ask, before, dns, setup};

/// Runs `test` with how long a request takes to a name whose IPv6 address is this one, and whose IPv4
/// address answers.
fn raced(v6: SocketAddr, test: impl Fn(Duration)) {
    let v4 = SocketAddr::new(unique_address().ip(), v6.port());
    let _alive = Server::ok_at(v4, None, "v4");
    let names = dnsmasq(&format!("::1 app.test\n{} app.test\n", v4.ip()), "");
    let to = format!("to = \"http://app.test:{}\"", v6.port());
    let umay = before(&to, &dns(names.addr));
    // Without the wait for the first answer of the name server.
    umay.wait_metric("umay_discovery_endpoints", &[("upstream", "app")], 1.0);
    eventually("the endpoint", || {
        (super::status(&umay)["discovery"]["known"] == true).then_some(())
    });
    for _ in 0..2 {
        let started = Instant::now();
        assert_eq!(ask(&umay), "v4");
        test(started.elapsed());
    }
    assert_eq!(umay.metric("umay_retries_total", &[]), 0.0);
    assert_eq!(umay.metric("umay_endpoint_failures_total", &[]), 0.0);
}

#[test]
fn one_that_refuses_costs_nothing() {
    let refusing = Refusing::on(Ipv6Addr::LOCALHOST.into());
    raced(refusing.addr(), |took| {
        assert!(took < Duration::from_millis(200), "{took:?}");
    });
}

#[test]
fn one_that_is_silent_costs_a_quarter_of_a_second() {
    let stuck = Stuck::on(Ipv6Addr::LOCALHOST.into());
    let mut took = Vec::new();
    let told = std::sync::Mutex::new(&mut took);
    raced(stuck.addr(), |took| told.lock().unwrap().push(took));
    // The second goes over the connection of the first, if that was kept.
    let first = took[0];
    assert!(first >= Duration::from_millis(250), "{first:?}");
    assert!(first < Duration::from_secs(1), "{first:?}");
}

/// What many machines call `localhost`: both addresses, of which an endpoint often has only one.
#[test]
fn localhost_is_where_something_listens() {
    // A port that is free at both.
    let (refusing, _alive) = eventually("a port", || {
        let refusing = Refusing::on(Ipv6Addr::LOCALHOST.into());
        let v4 = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), refusing.addr().port());
        drop(TcpListener::bind(v4).ok()?);
        Some((refusing, Server::ok_at(v4, None, "alive")))
    });
    let dir = TempDir::new();
    let hosts = dir.write("hosts", "127.0.0.1 localhost\n::1 localhost\n");
    let mount = format!("mount --bind {} /etc/hosts", hosts.display());
    let script = format!("{mount} && exec \"$0\" \"$@\"");
    let to = format!("to = \"http://localhost:{}\"", refusing.addr().port());
    let umay = setup(&to, "")
        .under(["unshare", "--mount", "sh", "-c", &script])
        .start();
    let started = Instant::now();
    assert_eq!(ask(&umay), "alive");
    assert!(started.elapsed() < Duration::from_millis(500));
    let endpoints = &super::status(&umay)["endpoints"];
    // One endpoint, not two.
    let label = format!("localhost:{}", refusing.addr().port());
    assert_eq!(endpoints.as_array().unwrap().len(), 1);
    assert_eq!(endpoints[0]["address"], label);
}
