//! Precedence by tables, and by comparison with the plainest way to say it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{
    AccessLog, Action, Endpoint, HeaderMatch, Limits, Log, Match, Redirect, Scheme, Timeouts,
    Upstream,
};

pub(super) fn model(routes: Vec<Route>) -> Model {
    let upstream = |(name, scheme): (&str, Scheme)| {
        let upstream = Upstream::new(name, vec![Endpoint::new(scheme, "localhost", 1)]);
        (name.to_owned(), upstream)
    };
    let upstreams = [
        ("any", Scheme::Detected),
        ("http", Scheme::Http),
        ("tcp", Scheme::Tcp),
    ];
    Model {
        workers: None,
        watch: true,
        admin: None,
        admin_socket: None,
        log: Log {
            access: AccessLog::Off,
            ..Log::default()
        },
        privacy: crate::model::Privacy::default(),
        tracing: None,
        push: None,
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        http2: crate::model::Http2::default(),
        dns: crate::model::Dns::default(),
        zone: None,
        listeners: BTreeMap::new(),
        routes,
        upstreams: upstreams.into_iter().map(upstream).collect(),
    }
}

pub(super) fn route(to: &str, matches: Match) -> Route {
    Route {
        name: String::new(),
        matches,
        filters: Vec::new(),
        action: Action::Forward(to.to_owned()),
        allow_connect: false,
        passthrough: false,
        max_body: None,
        log: true,
    }
}

/// Reads `*`, `*.example.com` or a name.
fn host(text: &str) -> HostPattern {
    match text.strip_prefix("*.") {
        _ if text == "*" => HostPattern::Any,
        Some(parent) => HostPattern::Wildcard(parent.to_owned()),
        None => HostPattern::Exact(text.to_owned()),
    }
}

/// Reads `=/exact` or `/prefix`.
fn path(text: &str) -> PathPattern {
    match text.strip_prefix('=') {
        Some(exact) => PathPattern::Exact(exact.to_owned()),
        None => PathPattern::Prefix(text.trim_end_matches('/').to_owned()),
    }
}

fn hosts(patterns: &[&str]) -> Vec<HostPattern> {
    patterns.iter().map(|text| host(text)).collect()
}

pub(super) fn at(hosts_: &[&str], paths: &[&str]) -> Match {
    Match {
        hosts: hosts(hosts_),
        paths: paths.iter().map(|text| path(text)).collect(),
        ..Match::default()
    }
}

fn by_sni(names: &[&str]) -> Match {
    Match {
        sni: hosts(names),
        ..Match::default()
    }
}

fn header(name: &str, value: Option<&str>) -> HeaderMatch {
    HeaderMatch {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    }
}

fn table(routes: Vec<Route>) -> Table {
    Table::for_listener(&model(routes), "main")
}

fn http_table(matches: impl IntoIterator<Item = Match>) -> Table {
    table(
        matches
            .into_iter()
            .map(|matches| route("http", matches))
            .collect(),
    )
}

fn get<'a>(host: &'a str, path: &'a str, fields: &'a Fields) -> HttpQuery<'a> {
    HttpQuery {
        host: host.as_bytes(),
        path: path.as_bytes(),
        method: b"GET",
        fields,
        sni: None,
        client_cert: None,
        secure: false,
    }
}

#[test]
fn hosts_from_exact_to_any() {
    let table = http_table([
        at(&["*"], &[]),
        at(&["*.example.com"], &[]),
        at(&["*.b.example.com", "x.org."], &[]),
        at(&["a.b.example.com"], &[]),
        at(&["[2001:db8::1]", "com"], &[]),
    ]);
    for (host, expected) in [
        ("a.b.example.com", 3),
        ("A.B.Example.COM", 3),
        ("a.b.example.com.", 3),
        ("c.b.example.com", 2),
        ("d.c.b.example.com", 2),
        ("b.example.com", 1),
        ("example.com", 0),
        (".example.com", 0),
        ("xexample.com", 0),
        ("X.org", 2),
        ("[2001:DB8::1]", 4),
        ("2001:db8::1", 4),
        ("com", 4),
        ("", 0),
        (".", 0),
        (&"a.".repeat(200), 0),
    ] {
        let matched = table.match_http(&get(host, "/", &Fields::default()));
        assert_eq!(matched, Some(expected), "{host}");
    }
}

#[test]
fn paths_from_exact_to_shortest() {
    let table = http_table([
        at(&[], &["/a"]),
        at(&[], &["=/a"]),
        at(&[], &["/a/b", "=/x/", "/caf%C3%A9", "/l%6fng//er"]),
        at(&[], &["/"]),
    ]);
    for (path, expected) in [
        ("/a", 1),
        ("/a/", 0),
        ("/a/c", 0),
        ("/a/b", 2),
        ("/a/b/c/d", 2),
        ("/a/bc", 0),
        ("/ab", 3),
        ("/", 3),
        ("/x", 3),
        ("/x/", 2),
        ("/x/y", 3),
        ("*", 3),
        ("", 3),
        ("/%61", 1),
        ("//a", 1),
        ("//a//%62/", 2),
        ("/a%2Fb", 3),
        ("/a/%2Fb", 0),
        ("/caf%C3%A9/x", 2),
        ("/long/er", 2),
        ("/long/er/a/b/c", 2),
        ("/%zz", 3),
    ] {
        let matched = table.match_http(&get("h", path, &Fields::default()));
        assert_eq!(matched, Some(expected), "{path}");
    }
}

#[test]
fn less_specific_routes_are_tried_when_the_best_fail() {
    let post = |matches| Match {
        methods: vec!["POST".to_owned()],
        ..matches
    };
    let table = http_table([
        post(at(&["a.example"], &["=/x"])),
        post(at(&["a.example"], &["/x"])),
        at(&["*.example"], &["/x/y"]),
        at(&[], &["/x"]),
    ]);
    let fields = Fields::default();
    let ask = |method, path| {
        let method = std::primitive::str::as_bytes(method);
        table.match_http(&HttpQuery {
            method,
            ..get("a.example", path, &fields)
        })
    };
    assert_eq!(ask("POST", "/x"), Some(0));
    assert_eq!(ask("POST", "/x/y"), Some(1));
    assert_eq!(ask("GET", "/x/y"), Some(2));
    assert_eq!(ask("GET", "/x"), Some(3));
    assert_eq!(ask("post", "/x"), Some(3));
    assert_eq!(ask("POST", "/"), None);
}

#[test]
fn the_rest_decides_when_host_and_path_are_equal() {
    let methods = |methods: &[&str], matches: Match| Match {
        methods: methods.iter().map(|&m| m.to_owned()).collect(),
        ..matches
    };
    let headers = |headers: &[(&str, Option<&str>)], matches: Match| Match {
        headers: headers
            .iter()
            .map(|(name, value)| header(name, *value))
            .collect(),
        ..matches
    };
    let cert = |matches: Match| Match {
        client_cert: Some(ClientCertMatch::default()),
        ..matches
    };
    let table = http_table([
        Match::default(),
        Match::default(),
        cert(Match::default()),
        by_sni(&["*.example"]),
        by_sni(&["a.example", "*"]),
        headers(&[("x-a", None)], Match::default()),
        headers(
            &[("x-a", Some("1")), ("cookie", Some("c"))],
            Match::default(),
        ),
        methods(&["PUT", "POST"], Match::default()),
        methods(&["POST"], headers(&[("x-a", None)], Match::default())),
    ]);
    let facts = ClientCertFacts::default();
    let check = |method: &str, sni, with_cert: bool, list: &[(&str, &str)], expected| {
        let mut fields = Fields::default();
        for (name, value) in list {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let query = HttpQuery {
            method: method.as_bytes(),
            sni,
            client_cert: with_cert.then_some(&facts),
            ..get("h", "/", &fields)
        };
        assert_eq!(table.match_http(&query), Some(expected), "{query:?}");
    };
    // Routes with `*` for a server name are as good as routes without any.
    check("GET", None, false, &[], 0);
    check("GET", None, true, &[], 2);
    check("GET", Some("b.example"), true, &[], 3);
    check("GET", Some("A.example"), true, &[], 4);
    check("GET", Some("A.example"), true, &[("X-A", "2")], 5);
    check("GET", None, false, &[("X-A", "1"), ("Cookie", "d")], 5);
    check(
        "GET",
        None,
        false,
        &[("X-A", "2"), ("x-a", "1"), ("Cookie", "c")],
        6,
    );
    check("POST", None, false, &[("X-A", "1"), ("Cookie", "c")], 8);
    check("POST", None, false, &[], 7);
    check("PUT", None, false, &[("X-A", "1")], 7);
}

#[test]
fn a_certificate_must_prove_all_that_is_asked() {
    let facts = ClientCertFacts {
        common_name: Some("device-7".to_owned()),
        sans: vec!["a.example".to_owned(), "urn:b".to_owned()],
        sha256: "ab".repeat(32),
        subject: String::new(),
    };
    let text = |text: &str| Some(text.to_owned());
    for (common_name, san, sha256, proven) in [
        (None, None, None, true),
        (text("device-7"), text("urn:b"), Some("ab".repeat(32)), true),
        (text("device-8"), text("urn:b"), None, false),
        (None, text("urn:c"), None, false),
        (None, None, Some("cd".repeat(32)), false),
    ] {
        let asked = ClientCertMatch {
            common_name,
            san,
            sha256,
        };
        let matches = Match {
            client_cert: Some(asked.clone()),
            ..Match::default()
        };
        let table = table(vec![route("any", matches)]);
        let fields = Fields::default();
        let query = |client_cert| HttpQuery {
            client_cert,
            ..get("h", "/", &fields)
        };
        let expected = proven.then_some(0);
        assert_eq!(
            table.match_http(&query(Some(&facts))),
            expected,
            "{asked:?}"
        );
        assert_eq!(table.match_http(&query(None)), None);
        assert_eq!(
            table.match_stream(Protocol::Tcp, None, Some(&facts)),
            expected
        );
        assert_eq!(table.match_stream(Protocol::Tcp, None, None), None);
    }
}

#[test]
fn streams_by_server_name_then_protocol() {
    let protocol = |protocol, matches: Match| Match {
        protocol: Some(protocol),
        ..matches
    };
    let table = table(vec![
        route("tcp", Match::default()),
        route("tcp", protocol(Protocol::Mqtt, Match::default())),
        route("tcp", by_sni(&["*.example"])),
        route("tcp", protocol(Protocol::Tcp, by_sni(&["a.example", ""]))),
        route("http", by_sni(&["b.example"])),
    ]);
    for (detected, sni, expected) in [
        (Protocol::Tcp, None, 0),
        (Protocol::Http, None, 0),
        (Protocol::Mqtt, None, 1),
        (Protocol::Mqtt, Some("other"), 1),
        (Protocol::Mqtt, Some("b.example"), 2),
        (Protocol::Tcp, Some("A.example"), 3),
        (Protocol::Mqtt, Some("a.example"), 3),
    ] {
        let matched = table.match_stream(detected, sni, None);
        assert_eq!(matched, Some(expected), "{detected:?} {sni:?}");
    }
}

#[test]
fn passthrough_by_server_name() {
    let passthrough = |names: &[&str]| Route {
        passthrough: true,
        ..route("tcp", by_sni(names))
    };
    let table = table(vec![
        route("tcp", Match::default()),
        passthrough(&["*.example"]),
        passthrough(&["a.example"]),
        passthrough(&["a.example", "b.org"]),
    ]);
    for (sni, expected) in [
        (Some("a.example"), Some(2)),
        (Some("B.example"), Some(1)),
        (Some("b.org"), Some(3)),
        (Some("c.org"), None),
        (None, None),
    ] {
        assert_eq!(table.match_passthrough(sni), expected, "{sni:?}");
    }
    assert_eq!(
        table.match_stream(Protocol::Tcp, Some("a.example"), None),
        Some(0)
    );
}

#[test]
fn says_what_it_serves() {
    let mqtt = Match {
        protocol: Some(Protocol::Mqtt),
        ..Match::default()
    };
    let redirect = Route {
        action: Action::Redirect(Redirect::to_https()),
        ..route("", Match::default())
    };
    let passthrough = Route {
        passthrough: true,
        ..route("tcp", Match::default())
    };
    let elsewhere = Match {
        listeners: vec!["other".to_owned()],
        ..Match::default()
    };
    // Per case: HTTP, streams, only streams, passthrough.
    for (routes, expected) in [
        (vec![], [false, false, false, false]),
        (
            vec![route("any", Match::default())],
            [true, true, false, false],
        ),
        (
            vec![route("any", at(&["a"], &[]))],
            [true, false, false, false],
        ),
        (
            vec![route("http", Match::default())],
            [true, false, false, false],
        ),
        (
            vec![route("tcp", Match::default())],
            [false, true, true, false],
        ),
        (vec![route("tcp", mqtt)], [false, true, false, false]),
        (vec![redirect], [true, false, false, false]),
        (vec![passthrough], [false, false, false, true]),
        (vec![route("tcp", elsewhere)], [false, false, false, false]),
    ] {
        let table = table(routes);
        let said = [
            table.serves_http(),
            table.serves_stream(),
            table.only_stream(),
            table.has_passthrough(),
        ];
        assert_eq!(said, expected, "{table:?}");
    }
}

#[test]
fn a_route_can_name_its_listeners() {
    let on = |names: &[&str]| Match {
        listeners: names.iter().map(|&name| name.to_owned()).collect(),
        ..Match::default()
    };
    let model = model(vec![route("http", on(&["a", "b"])), route("http", on(&[]))]);
    for (listener, expected) in [("a", 0), ("b", 0), ("c", 1)] {
        let table = Table::for_listener(&model, listener);
        let matched = table.match_http(&get("", "/", &Fields::default()));
        assert_eq!(matched, Some(expected), "{listener}");
    }
}

/// How well a route's host and path fit, as two numbers; the plainest way to say it.
fn fit(matches: &Match, name: &str, target: &str) -> Option<(usize, usize)> {
    let host = or_any(&matches.hosts)
        .iter()
        .filter_map(|pattern| match pattern {
            HostPattern::Any => Some(0),
            HostPattern::Wildcard(parent) => {
                let label = name.strip_suffix(parent)?.strip_suffix('.')?;
                (!label.is_empty()).then_some(1 + parent.len())
            }
            HostPattern::Exact(exact) => (exact == name).then_some(usize::MAX),
        });
    let path = matches.paths.iter().filter_map(|pattern| match pattern {
        PathPattern::Exact(exact) => (exact == target).then_some(usize::MAX),
        PathPattern::Prefix(prefix) => {
            let rest = target.strip_prefix(prefix.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
        }
    });
    Some((host.max()?, path.max()?))
}

proptest! {
    #[test]
    fn agrees_with_the_plainest_matcher(
        routes in prop::collection::vec((
            prop::collection::vec("\\*|(\\*\\.)?[ab](\\.[ab]){0,2}", 0..3),
            prop::collection::vec("=?(/[ab]){0,3}/?", 1..3),
            prop::option::of("GET|PUT"),
        ), 0..8),
        name in "[ab](\\.[ab]){0,3}",
        target in "(/[ab]){0,4}/?",
    ) {
        let matches: Vec<_> = routes.iter().map(|(hosts, paths, method)| {
            let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
            let paths: Vec<_> = paths.iter().map(String::as_str).collect();
            let methods = method.iter().cloned().collect();
            Match { methods, ..at(&hosts, &paths) }
        }).collect();
        let fits = |(idx, matches): (usize, &Match)| {
            let methods = &matches.methods;
            let open = methods.is_empty() || methods.iter().any(|m| m == "GET");
            let fit = fit(matches, &name, &target).filter(|_| open)?;
            Some((fit, !methods.is_empty(), Reverse(idx)))
        };
        let best = matches.iter().enumerate().filter_map(fits).max();
        let expected = best.map(|(_, _, Reverse(idx))| idx);
        let table = http_table(matches);
        prop_assert_eq!(table.match_http(&get(&name, &target, &Fields::default())), expected);
    }
}
