//! Consul, as a scripted peer: blocking queries with an index, filters as parameters, tokens in a field.

use std::time::Duration;

use umay_core::model::{Consul, Endpoint, Scheme, Source, UpstreamTls};
use umay_test::consul::Catalogue;
use umay_test::{Certs, Refusing, Server, TempDir, Value, answer, eventually, json};

use super::super::consul::instances;
use super::super::pace::Pace;
use super::{Followed, QUICK, at, lines};
use crate::telemetry::metrics::{Origin, Update};

/// An instance, with what Consul says about it all the same.
fn instance(id: &str, node: &str, address: &str, port: u64, weight: i64) -> Value {
    json!({
        "Node": { "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "n", "Address": node,
                  "Datacenter": "dc1", "TaggedAddresses": { "lan": node }, "Meta": { "zone": "x" } },
        "Service": { "ID": id, "Service": "web", "Tags": ["a"], "Address": address, "Port": port,
                     "Meta": { "zone": "z1" }, "Weights": { "Passing": weight, "Warning": 1 } },
        "Checks": [{ "CheckID": "serfHealth", "Status": "passing", "Output": "ok, \"fine\"" }],
    })
}

fn web(n: u8) -> Value {
    instance(
        &format!("web{n}"),
        "127.9.9.9",
        &format!("127.0.0.{n}"),
        80,
        1,
    )
}

fn asking(agents: Vec<Endpoint>) -> Consul {
    Consul {
        service: "web".to_owned(),
        agents,
        tag: None,
        datacenter: None,
        token_file: None,
    }
}

fn follow(consul: Consul) -> Followed {
    Followed::source(Source::Consul(consul), QUICK)
}

#[test]
fn changes_are_told_as_they_come() {
    let catalogue = Catalogue::new(7, json!([web(1)]));
    let agent = catalogue.start();
    let pace = Pace {
        quiet: Duration::from_secs(60),
        ..QUICK
    };
    let consul = Consul {
        service: "we b/x".to_owned(),
        tag: Some("a&b".to_owned()),
        datacenter: Some("dc 1".to_owned()),
        ..asking(vec![at(agent.addr())])
    };
    let followed = Followed::source(Source::Consul(consul), pace);
    followed.until_found(&["127.0.0.1=127.0.0.1:80@z1"]);
    catalogue.set(8, json!([web(1), web(2)]));
    followed.until_found(&["127.0.0.1=127.0.0.1:80@z1", "127.0.0.2=127.0.0.2:80@z1"]);
    // None is an answer.
    catalogue.set(9, json!([]));
    followed.until_found(&[]);
    let asked = agent.recorded_text();
    let first = "GET /v1/health/service/we%20b%2Fx?passing=1&tag=a%26b&dc=dc%201 HTTP/1.1\r\n";
    assert!(asked.starts_with(first), "{asked}");
    assert!(
        asked.contains("passing=1&index=7&wait=60000ms&tag"),
        "{asked}"
    );
    assert_eq!(followed.failures(Origin::Consul), 0);
}

#[test]
fn a_quiet_wait_confirms_what_is_known() {
    let catalogue = Catalogue::new(7, json!([web(1)]));
    let agent = catalogue.start();
    let pace = Pace {
        quiet: Duration::from_millis(100),
        ..QUICK
    };
    let consul = asking(vec![at(agent.addr())]);
    let followed = Followed::source(Source::Consul(consul), pace);
    eventually("answers", || {
        (followed.metrics.updates(Origin::Consul, Update::Unchanged) >= 3).then_some(())
    });
    assert_eq!(followed.metrics.updates(Origin::Consul, Update::Changed), 1);
    assert_eq!(followed.failures(Origin::Consul), 0);
}

#[test]
fn an_index_that_goes_backwards_begins_anew() {
    let catalogue = Catalogue::new(70, json!([web(1)]));
    let agent = catalogue.start();
    let followed = follow(asking(vec![at(agent.addr())]));
    followed.until_found(&["127.0.0.1=127.0.0.1:80@z1"]);
    catalogue.set(5, json!([web(2)]));
    followed.until_found(&["127.0.0.2=127.0.0.2:80@z1"]);
    catalogue.set(6, json!([web(3)]));
    followed.until_found(&["127.0.0.3=127.0.0.3:80@z1"]);
    let asked = agent.recorded_text();
    assert!(!asked.contains("index=5"), "{asked}");
}

#[test]
fn agents_are_asked_in_turn_and_failures_take_nothing_away() {
    let catalogue = Catalogue::new(7, json!([web(1)]));
    let refusing = Refusing::new();
    let agent = catalogue.start();
    let followed = follow(asking(vec![at(refusing.addr()), at(agent.addr())]));
    followed.until_found(&["127.0.0.1=127.0.0.1:80@z1"]);
    assert!(followed.failures(Origin::Consul) > 0);
    drop(agent);
    let state = followed.until_error("refused");
    assert_eq!(lines(&state), ["127.0.0.1=127.0.0.1:80@z1"]);
    assert!(state.settled);
}

#[test]
fn the_token_is_read_each_time() {
    let dir = TempDir::new();
    let token = dir.write("token", "old\n");
    let agent = Server::http(|request| {
        if request.get("x-consul-token") != Some("new") {
            return answer("403 Forbidden", "", "Permission denied: \u{1b}[31mtoken");
        }
        answer(
            "200 OK",
            "X-Consul-Index: 1\r\n",
            json!([web(1)]).to_string(),
        )
    });
    let consul = Consul {
        token_file: Some(token),
        ..asking(vec![at(agent.addr())])
    };
    let followed = follow(consul);
    let state = followed.until_error("status 403: Permission denied: \\u{1b}");
    assert!(state.found.is_empty());
    dir.write("token", "a\u{7}b");
    let state = followed.until_error("token has characters that no header has");
    assert!(!state.error.unwrap().contains('\u{7}'));
    dir.write("token", "new");
    followed.until_found(&["127.0.0.1=127.0.0.1:80@z1"]);
}

#[test]
fn agents_are_asked_over_tls_and_verified() {
    let certs = Certs::new();
    let server = certs.server(&certs.issue(&["127.0.0.1"]));
    let catalogue = Catalogue::new(7, json!([web(1)]));
    let agent = {
        let catalogue = catalogue.clone();
        Server::start_tls(server, move |conn, _| catalogue.serve(conn))
    };
    let consul = || {
        let agent = Endpoint::new(Scheme::Https, "127.0.0.1", agent.addr().port());
        Source::Consul(asking(vec![agent]))
    };
    let trusting = UpstreamTls {
        ca: Some(certs.ca()),
        ..UpstreamTls::default()
    };
    let followed = Followed::tls(consul(), QUICK, trusting);
    followed.until_found(&["127.0.0.1=127.0.0.1:80@z1"]);
    let distrusting = UpstreamTls {
        ca: Some(Certs::new().ca()),
        ..UpstreamTls::default()
    };
    let followed = Followed::tls(consul(), QUICK, distrusting);
    let state = followed.until("a problem", |state| state.error.is_some());
    assert!(state.found.is_empty());
}

#[test]
fn instances_are_read_with_care() {
    let read = |list: Value| {
        let read = instances(list.to_string().as_bytes(), Scheme::Tcp);
        read.map(|(wanted, complaint)| {
            let lines = wanted.iter().map(|wanted| {
                let endpoint = &wanted.endpoint;
                format!("{}:{}*{}", endpoint.host, endpoint.port, endpoint.weight)
            });
            (lines.collect::<Vec<_>>(), complaint.is_some())
        })
    };
    let lines = |lines: &[&str]| {
        lines
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>()
    };
    // The node's address if the instance has none; weights in proportion.
    let list = json!([
        instance("a", "127.0.0.1", "", 80, 65_535),
        instance("b", "127.0.0.1", "::2", 81, 0),
        instance("c", "127.0.0.1", "c.test", 82, i64::MIN),
    ]);
    let expected = lines(&["127.0.0.1:80*1000", "::2:81*1", "c.test:82*1"]);
    assert_eq!(read(list), Ok((expected, false)));
    // Those that cannot be used are left out.
    let bad = [
        instance("a", "", "", 80, 1),
        instance("a\n", "127.0.0.1", "a b", 80, 1),
        instance("a", "127.0.0.1", "https://evil", 80, 1),
        instance("a", "127.0.0.1", "", 0, 1),
        instance("a", "127.0.0.1", "", 65_536, 1),
        json!({}),
        json!(7),
    ];
    for bad in bad {
        let list = json!([bad, instance("b", "127.0.0.1", "", 80, 1)]);
        assert_eq!(read(list), Ok((lines(&["127.0.0.1:80*1"]), true)), "{bad}");
        assert!(read(json!([bad])).is_err(), "{bad}");
    }
    assert_eq!(read(json!([])), Ok((Vec::new(), false)));
    assert!(read(json!({ "a": 1 })).is_err());
}
