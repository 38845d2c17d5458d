//! How an endpoint is picked, and how it is asked whether it is well.

use super::*;
use crate::model::{Balance, HashBy, Probe, ProbeKind, Sticky};

#[test]
fn how_one_is_picked() {
    let app = upstream(
        "sticky = { cookie = \"umay\", max_age = \"1h\" }\nslow_start = \"30s\"\npanic = 50\n",
    );
    let sticky = |max_age| Sticky {
        cookie: "umay".to_owned(),
        max_age,
    };
    assert_eq!(app.sticky, Some(sticky(Some(ms(3_600_000)))));
    assert_eq!((app.slow_start, app.panic), (ms(30_000), 50));
    let short = upstream("sticky = \"umay\"\nslow_start = \"0s\"\npanic = 100\n");
    assert_eq!(short.sticky, Some(sticky(None)));
    assert_eq!((short.slow_start, short.panic), (ms(0), 100));
    let second = upstream("sticky = { cookie = \"umay\", max_age = \"1s\" }\n");
    assert_eq!(second.sticky, Some(sticky(Some(ms(1000)))));
    wrong(&[
        ("sticky = \"a b\"\n", "5:10 `a b` is no name of a cookie"),
        ("sticky = \"\"\n", "5:10 `` is no name of a cookie"),
        (
            "sticky = true\n",
            "5:10 expected the name of a cookie or a table, found true or false (as in sticky = \"umay\")",
        ),
        (
            "sticky = { max_age = \"1h\" }\n",
            "5:10 `cookie` is missing (name it: sticky = { cookie = \"NAME\", max_age = \"1h\" })",
        ),
        (
            "sticky = { cookie = \"a\", age = \"1h\" }\n",
            "5:26 there is no key `upstream.NAME.sticky.age`",
        ),
        (
            "sticky = { cookie = \"a\", max_age = \"0s\" }\n",
            "5:36 a cookie is kept for whole seconds, from one up (leave it out to keep the cookie until the browser closes)",
        ),
        (
            "sticky = { cookie = \"a\", max_age = \"1500ms\" }\n",
            "5:36 a cookie is kept for whole seconds, from one up (leave it out to keep the cookie until the browser closes)",
        ),
        ("panic = 101\n", "5:9 this has to be from 0 to 100"),
        (
            "panic = \"50%\"\n",
            "5:9 expected a number, found text (as in panic = 50)",
        ),
        (
            "slow_start = 30\n",
            "5:14 a duration needs its unit (write \"30s\" or \"30ms\")",
        ),
    ]);
}

#[test]
fn a_key_is_hashed_only_where_it_is_asked_for() {
    let needs =
        "`hash_by` needs `balance = \"consistent_hash\"` beside it (add it, or take hash_by out)";
    let other = Balance::default().as_str();
    check(
        &format!("{APP}hash_by = \"path\"\n"),
        &[&format!("5:11 {needs}")],
    );
    check(
        &format!("{APP}balance = \"{other}\"\nhash_by = \"path\"\n"),
        &[&format!("6:11 {needs}")],
    );
    check(
        &format!("{APP}hash_by = \"weather\"\n"),
        &[
            "5:11 `weather` is nothing to hash by; there are client_ip, path, sni, header:NAME and cookie:NAME",
        ],
    );
    // Told of the key, whether there is the kind already or not.
    let text = format!("{APP}balance = \"consistent_hash\"\nhash_by = \"header:X-A\"\n");
    let all = problems(&text);
    assert!(
        all.iter().all(|p| !p.message.contains("hash_by")),
        "{all:?}"
    );
    if let Some(balance) = Balance::named("consistent_hash") {
        let app = &model(&text).upstreams["app"];
        assert_eq!(app.balance, balance);
        assert_eq!(app.hash_by, HashBy::Header("x-a".to_owned()));
    }
}

#[test]
fn a_probe_asks_what_fits() {
    let probe = |to: &str, text: &str| {
        let text =
            format!("{LISTEN}to = \"app\"\n[upstream.app]\n{to}\n[upstream.app.probe]\n{text}");
        let loaded = loaded(&text);
        assert_eq!(loaded.warnings, []);
        loaded.model.upstreams["app"].probe.clone().unwrap()
    };
    let http = |path: &str| ProbeKind::Http {
        path: path.to_owned(),
        host: None,
        expect: vec![(200, 299)],
    };
    for (to, kind) in [
        ("to = \"http://a\"", http("/")),
        ("to = [\"https://a\", \"h2c://b\", \"h2://c\"]", http("/")),
        ("to = \"a:1\"", ProbeKind::Tcp),
        ("to = [\"http://a\", \"b:1\"]", ProbeKind::Tcp),
        ("to = [\"http://a\", \"tcp://b:1\"]", ProbeKind::Tcp),
        ("to = \"tls://a:1\"", ProbeKind::Tcp),
        ("discover.srv = \"a\"", ProbeKind::Tcp),
        ("discover = { srv = \"a\", scheme = \"http\" }", http("/")),
    ] {
        assert_eq!(probe(to, "").kind, kind, "{to}");
        // What is told decides before the endpoints do.
        assert_eq!(probe(to, "path = \"/a?b=c\"\n").kind, http("/a?b=c"));
        assert_eq!(probe(to, "kind = \"tls\"\n").kind, ProbeKind::Tls);
        assert_eq!(probe(to, "kind = \"tcp\"\n"), Probe::new(ProbeKind::Tcp));
    }
    let full = probe(
        "to = \"a:1\"",
        "host = \"a.example:81\"\nexpect = [200, 204, \"300-399\"]\nport = 8081\ninterval = \"10s\"\ntimeout = \"10s\"\nrise = 1\nfall = 1000\n",
    );
    assert_eq!(
        full,
        Probe {
            kind: ProbeKind::Http {
                path: "/".to_owned(),
                host: Some("a.example:81".to_owned()),
                expect: vec![(200, 200), (204, 204), (300, 399)],
            },
            port: Some(8081),
            interval: ms(10_000),
            timeout: ms(10_000),
            rise: 1,
            fall: 1000,
        }
    );
    let grpc = |service: &str| ProbeKind::Grpc {
        service: service.to_owned(),
    };
    assert_eq!(
        probe("to = \"h2c://a\"", "kind = \"grpc\"\n").kind,
        grpc("")
    );
    let named = "kind = \"grpc\"\nservice = \"a.B\"\n";
    assert_eq!(probe("to = \"h2c://a\"", named).kind, grpc("a.B"));
    // An own port may speak something else.
    let elsewhere = format!("{named}port = 1\n");
    assert_eq!(probe("to = \"tcp://a:1\"", &elsewhere).kind, grpc("a.B"));
    // The time that is not told follows the one that is.
    let quick = probe("to = \"a:1\"", "interval = \"1s\"\n");
    assert_eq!((quick.interval, quick.timeout), (ms(1000), ms(1000)));
}

const NOT_GRPC: &str = "a gRPC probe needs endpoints that speak HTTP/2 (write them as h2c://, h2:// or https://, or give the probe a `port` of its own)";

#[test]
fn mistakes_in_probes() {
    wrong(&[
        ("probe = \"off\"\n", "5:9 expected a table, found text"),
        (
            "probe.kind = \"icmp\"\n",
            "5:14 expected `tcp` or `tls` or `http` or `grpc`",
        ),
        (
            "probe.kind = \"tcp\"\nprobe.path = \"/\"\n",
            "6:7 `path` belongs to a probe of kind `http`, and this one is `tcp` (write kind = \"http\", or take it out)",
        ),
        (
            "probe.kind = \"tls\"\nprobe.host = \"a\"\n",
            "6:7 `host` belongs to a probe of kind `http`, and this one is `tls` (write kind = \"http\", or take it out)",
        ),
        (
            "probe.service = \"a\"\n",
            "5:7 `service` belongs to a probe of kind `grpc`, and this one is `http` (write kind = \"grpc\", or take it out)",
        ),
        ("probe.kind = \"grpc\"\n", &format!("5:1 {NOT_GRPC}")),
        (
            "probe.path = \"health\"\n",
            "5:14 the path `health` has to begin with `/`",
        ),
        (
            "probe.path = \"/a b\"\n",
            "5:14 the path `/a b` has a character that no path has; escape it as %XX",
        ),
        (
            "probe.host = \"http://a\"\n",
            "5:14 `http://a` is more than a host; write it as \"app.internal\" or \"app.internal:8080\"",
        ),
        (
            "probe.expect = []\n",
            "5:16 this is empty (leave the key out for 200 to 299)",
        ),
        (
            "probe.expect = [200, true]\n",
            "5:22 expected a status such as 200 or \"200-299\", found true or false (as in expect = [200, 204, \"300-399\"])",
        ),
        (
            "probe.expect = 100\n",
            "5:16 `100`: an answer ends with a status from 200 to 599",
        ),
        ("probe.port = 0\n", "5:14 this has to be from 1 to 65535"),
        ("probe.rise = 0\n", "5:14 this has to be from 1 to 1000"),
        ("probe.fall = 1001\n", "5:14 this has to be from 1 to 1000"),
        (
            "probe.interval = \"0s\"\n",
            "5:18 `upstream.NAME.probe.interval` cannot be zero",
        ),
        (
            "probe.timeout = \"0s\"\n",
            "5:17 `upstream.NAME.probe.timeout` cannot be zero",
        ),
        (
            "probe.timeout = \"5001ms\"\n",
            "5:7 `timeout` is longer than `interval` (a probe ends before the next one begins: raise interval, or lower timeout)",
        ),
        (
            "probe.portt = 1\n",
            "5:7 there is no key `upstream.NAME.probe.portt` (did you mean `port`?)",
        ),
    ]);
}
