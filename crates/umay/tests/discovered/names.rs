//! Names in `to`, and SRV records.

use std::time::Duration;

use umay_test::programs::dnsmasq;
use umay_test::{Certs, Server, Signal, eventually, unique_address};

use super::{addresses, before, dns, hosts, servers, shares, status, until_served_by};

#[test]
fn requests_follow_a_changed_record() {
    let servers = servers(2);
    let names = dnsmasq(&hosts("app.test", &servers[..1]), "");
    let port = servers[0].addr().port();
    let to = format!("to = \"http://app.test:{port}\"");
    let umay = before(&to, &dns(names.addr));
    until_served_by(&umay, &["a"]);
    names.dir.write("hosts", hosts("app.test", &servers[1..]));
    names.signal(Signal::HUP);
    let took = until_served_by(&umay, &["b"]);
    // The TTL is a second.
    assert!(took < Duration::from_secs(5), "{took:?}");
    umay.wait_event("endpoint has come");
    umay.wait_event("endpoint has left");
}

#[test]
fn all_addresses_of_a_name_share_the_load() {
    let servers = servers(3);
    let names = dnsmasq(&hosts("app.test", &servers), "");
    let port = servers[0].addr().port();
    let to = format!("to = \"http://app.test:{port}\"");
    let umay = before(&to, &dns(names.addr));
    // The first request has to wait for the first answer.
    let shares = shares(&umay, 30);
    assert_eq!(shares.into_values().collect::<Vec<_>>(), [10, 10, 10]);
    umay.wait_metric("umay_discovery_endpoints", &[("upstream", "app")], 3.0);
}

#[test]
fn srv_records_rank_and_weigh() {
    let servers = servers(3);
    let port = servers[0].addr().port();
    let host: Vec<String> = servers
        .iter()
        .zip(["a", "b", "c"])
        .map(|(server, name)| format!("{} {name}.test\n", server.addr().ip()))
        .collect();
    let record =
        |name: &str, rest: &str| format!("srv-host=_app._tcp.test,{name}.test,{port},{rest}\n");
    let all = [
        record("a", "10,3"),
        record("b", "10,1"),
        record("c", "20,1"),
    ]
    .concat();
    let mut names = dnsmasq(&host.concat(), &all);
    let app = "[upstream.app.discover]\nsrv = \"_app._tcp.test\"\nscheme = \"http\"";
    let umay = before(app, &dns(names.addr));
    until_served_by(&umay, &["a", "b"]);
    let counted = shares(&umay, 40);
    assert_eq!((counted["a"], counted["b"]), (30, 10));
    names.rewrite(&host.concat(), &record("c", "20,1"));
    until_served_by(&umay, &["c"]);
}

/// What the certificate has to be for is the name, wherever that leads.
#[test]
fn tls_is_verified_against_the_name() {
    let certs = Certs::new();
    let addrs = addresses(2);
    let named = certs.server(&certs.issue(&["app.test"]));
    let addressed = certs.server(&certs.issue(&[&addrs[1].ip().to_string()]));
    let _named = Server::ok_at(addrs[0], Some(named), "named");
    let _addressed = Server::ok_at(addrs[1], Some(addressed), "addressed");
    let line = |n: usize| format!("{} app.test\n", addrs[n].ip());
    let names = dnsmasq(&line(0), "");
    let app = format!(
        "to = \"https://app.test:{}\"\n[upstream.app.tls]\nca = {:?}",
        addrs[0].port(),
        certs.ca()
    );
    let umay = before(&app, &dns(names.addr));
    until_served_by(&umay, &["named"]);
    names.dir.write("hosts", line(1));
    names.signal(Signal::HUP);
    let refused = eventually("a refusal", || {
        let answer = umay.get("a.test", "/");
        (answer.status() != 200).then_some(answer)
    });
    assert_eq!(refused.reason().as_deref(), Some("upstream_tls_wrong_name"));
    let line = umay.wait_reason("upstream_tls_wrong_name");
    assert!(
        line["detail"].as_str().unwrap().contains("not app.test"),
        "{line}"
    );
}

/// What names say stands beside what is configured by address.
#[test]
fn an_address_beside_a_name_needs_nobody() {
    let servers = servers(2);
    // Nobody answers there.
    let silent = unique_address();
    let to = format!(
        "to = [\"http://{}\", \"http://app.test:{}\"]",
        servers[0].addr(),
        servers[1].addr().port()
    );
    let umay = before(&to, &dns(silent));
    until_served_by(&umay, &["a"]);
    eventually("the problem", || {
        status(&umay)["discovery"]["problem"].as_str().map(drop)
    });
    let names = dnsmasq(&hosts("app.test", &servers[1..]), "");
    let umay = before(&to, &dns(names.addr));
    until_served_by(&umay, &["a", "b"]);
}
