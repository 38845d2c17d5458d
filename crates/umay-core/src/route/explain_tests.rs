//! Explanations agree with the table, and say what people need.

use proptest::prelude::*;

use super::tests::{at, model, route};
use super::*;
use crate::message::Fields;
use crate::model::{Action, ClientCertMatch, HeaderMatch, Match, Redirect};

fn named(name: &str, to: &str, matches: Match) -> Route {
    Route {
        name: name.to_owned(),
        ..route(to, matches)
    }
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

/// Why each route that is not taken is not.
fn whys(routes: Vec<Route>, query: Query<'_>) -> (Option<RouteIdx>, Vec<String>) {
    let told = explain(&model(routes), "main", query);
    let others = told.others.into_iter().map(|(_, whys)| whys.join(", "));
    (told.taken, others.collect())
}

#[test]
fn every_condition_has_its_words() {
    let mut fields = Fields::default();
    fields.push(b"X-There", b"1");
    let header = |name: &str, value: Option<&str>| HeaderMatch {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    };
    let base = Match::default();
    let routes = vec![
        named("taken", "http", at(&["a.example"], &["/x"])),
        named("host", "http", at(&["b.example", "*.c.example"], &[])),
        named("path", "http", at(&[], &["/api", "=/y"])),
        named(
            "method",
            "http",
            Match {
                methods: vec!["PUT".to_owned()],
                ..base.clone()
            },
        ),
        named(
            "header",
            "http",
            Match {
                headers: vec![header("x-not", None), header("x-there", Some("2"))],
                ..base.clone()
            },
        ),
        named(
            "sni",
            "http",
            Match {
                sni: vec![HostPattern::Exact("s.example".to_owned())],
                ..base.clone()
            },
        ),
        named(
            "cert",
            "http",
            Match {
                client_cert: Some(ClientCertMatch::default()),
                ..base.clone()
            },
        ),
        named(
            "listener",
            "http",
            Match {
                listeners: vec!["other".to_owned()],
                ..base.clone()
            },
        ),
        named("stream", "tcp", base.clone()),
        named("vague", "http", at(&["a.example"], &[])),
        named("vaguer", "http", at(&[], &["/x"])),
        named("late", "http", at(&["a.example"], &["/x"])),
    ];
    let query = get("a.example", "/x/y", &fields);
    let (taken, whys) = whys(routes, Query::Http(&query));
    assert_eq!(taken, Some(0));
    assert_eq!(
        whys,
        [
            "host is not b.example or *.c.example",
            "path /x/y is not /y or below /api",
            "method GET is not PUT",
            "header x-not is not there, header x-there has another value",
            "there is no server name, as s.example",
            "the client shows no certificate",
            "it is only for listener `other`",
            "it carries raw streams",
            "route `taken` is taken before it: its path is more specific",
            "route `taken` is taken before it: its host is more specific",
            "route `taken` is taken before it: it comes first in the document",
        ]
    );
}

#[test]
fn streams_and_unopened_tls_have_theirs() {
    let sni = |name: &str| Match {
        sni: vec![HostPattern::Exact(name.to_owned())],
        ..Match::default()
    };
    let mqtt = Match {
        protocol: Some(Protocol::Mqtt),
        ..Match::default()
    };
    let mut unopened = named("unopened", "tcp", sni("p.example"));
    unopened.passthrough = true;
    let mut to_https = named("https", "http", Match::default());
    to_https.action = Action::Redirect(Redirect::to_https());
    let routes = vec![
        named("any", "tcp", Match::default()),
        named("db", "tcp", sni("db.example")),
        named("mqtt", "tcp", mqtt),
        unopened,
        named("http", "http", Match::default()),
        to_https,
    ];
    let stream = Query::Stream {
        protocol: Protocol::Tcp,
        sni: Some("db.example"),
        client_cert: None,
    };
    assert_eq!(
        whys(routes.clone(), stream),
        (
            Some(1),
            [
                "route `db` is taken before it: its server name is more specific",
                "it takes only MQTT",
                "it delivers TLS unopened, server name is not p.example",
                "it takes only HTTP",
                "it takes only HTTP",
            ]
            .map(str::to_owned)
            .to_vec()
        )
    );
    let unopened = Query::Passthrough {
        sni: Some("p.example"),
    };
    let (taken, told) = whys(routes.clone(), unopened);
    assert_eq!((taken, told[0].as_str()), (Some(3), "TLS is opened for it"));
    let fields = Fields::default();
    let query = HttpQuery {
        secure: true,
        ..get("a", "/", &fields)
    };
    let (taken, told) = whys(routes, Query::Http(&query));
    assert_eq!(taken, Some(4));
    assert_eq!(told[4], "it sends clients to HTTPS, and this one is there");
}

proptest! {
    /// A route of which nothing fails is the one that is taken, or one that is told to come later.
    #[test]
    fn agrees_with_the_table(
        routes in prop::collection::vec((
            prop::collection::vec("\\*|(\\*\\.)?[ab](\\.[ab]){0,2}", 0..3),
            prop::collection::vec("=?(/[ab]){0,3}/?", 0..3),
            prop::option::of("GET|PUT"),
            prop::option::of("(\\*\\.)?[ab]"),
        ), 0..8),
        name in "[ab](\\.[ab]){0,3}",
        target in "(/[ab]){0,4}/?|\\*",
        server in prop::option::of("[ab](\\.[ab])?"),
    ) {
        let routes: Vec<_> = routes.iter().map(|(hosts, paths, method, sni)| {
            let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
            let paths: Vec<_> = paths.iter().filter(|path| path.contains('/')).map(String::as_str).collect();
            let methods = method.iter().cloned().collect();
            let sni: Vec<_> = sni.iter().map(String::as_str).collect();
            route("http", Match { methods, sni: at(&sni, &[]).hosts, ..at(&hosts, &paths) })
        }).collect();
        let fields = Fields::default();
        let query = HttpQuery { sni: server.as_deref(), ..get(&name, &target, &fields) };
        let told = explain(&model(routes), "main", Query::Http(&query));
        for (idx, whys) in &told.others {
            prop_assert!(!whys.is_empty(), "{idx} fits, and is not taken: {told:?}");
            if told.taken.is_none() {
                prop_assert!(!whys[0].contains("taken before"));
            }
        }
        if let Some(taken) = told.taken {
            prop_assert!(told.others.iter().all(|(idx, _)| *idx != taken));
        }
    }
}
