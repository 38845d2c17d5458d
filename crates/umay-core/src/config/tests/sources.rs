//! File, environment and flags: names, precedence, and where a value came from.

use super::*;

/// A configuration from a file, variables and flags (key, value).
fn sources(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Sources {
        env: env.iter().map(pair).collect(),
        flags: flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned(), format!("--{key}")))
            .collect(),
        ..file(text)
    }
}

#[track_caller]
fn with_env(text: &str, env: &[(&str, &str)]) -> Model {
    let sources = sources(text, env, &[]);
    let loaded = load(&sources);
    loaded
        .unwrap_or_else(|problems| panic!("{}", render(&problems, &sources, false)))
        .model
}

#[track_caller]
fn errors(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    load(&sources(text, env, &[]))
        .unwrap_err()
        .iter()
        .map(told)
        .collect()
}

fn port(model: &Model) -> u16 {
    model.upstreams["default"].endpoints[0].port
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let port = |env: &[_], flags: &[_]| port(&load(&sources(BASE, env, flags)).unwrap().model);
    let env = ("UMAY_TO", "127.0.0.1:2");
    let flag = ("to", "127.0.0.1:3");
    assert_eq!(port(&[], &[]), 1);
    assert_eq!(port(&[env], &[]), 2);
    assert_eq!(port(&[], &[flag]), 3);
    assert_eq!(port(&[env], &[flag]), 3);
    let workers = |env: &[_]| load(&sources(BASE, env, &[])).unwrap().model.workers;
    assert_eq!(workers(&[]), None);
    assert_eq!(workers(&[("UMAY_WORKERS", "3")]), Some(3));
}

#[test]
fn the_environment_alone_is_enough() {
    let sources = Sources {
        env: [
            ("UMAY_LISTEN", "127.0.0.1:1, 127.0.0.1:2"),
            ("UMAY_TO", "127.0.0.1:3,http://127.0.0.1:4"),
            ("UMAY_CERT", "a.pem"),
            ("UMAY_KEY", "a.key"),
            ("UMAY_CERTS", "/one,/two"),
            ("UMAY_ADMIN__BIND", "off"),
            ("UMAY_LOG__ACCESS", "off"),
            ("UMAY_TIMEOUTS__CONNECT", "1s"),
            ("UMAY_LIMITS__HEAD", "64KiB"),
            ("UMAY_LIMITS__FIELDS", "200"),
            ("PATH", "/bin"),
            ("UMAYOR", "x"),
            ("UMAY_CONFIG", "/etc/umay.toml"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        ..Sources::default()
    };
    let model = load(&sources).unwrap().model;
    assert_eq!(model.listeners.len(), 2);
    assert_eq!(model.upstreams["default"].endpoints.len(), 2);
    assert_eq!(model.admin, None);
    assert_eq!(model.log.access, AccessLog::Off);
    assert_eq!(model.timeouts.connect.as_secs(), 1);
    assert_eq!((model.limits.head, model.limits.fields), (65_536, 200));
    let tls = model.listeners["127.0.0.1:2"].tls.as_ref().unwrap();
    // Not in a file, so relative to where Umay was started.
    let pair = crate::model::CertificatePair {
        cert: PathBuf::from("a.pem"),
        key: PathBuf::from("a.key"),
    };
    let dir = |path: &str| CertificateSource::Dir(PathBuf::from(path));
    assert_eq!(
        tls.certificates,
        [CertificateSource::Pair(pair), dir("/one"), dir("/two")]
    );
}

#[test]
fn numbers_are_places_in_lists() {
    // In any order, as the system gives them.
    let model = with_env(
        LISTEN,
        &[
            ("UMAY_ROUTE__1__RESPOND__BODY", "one"),
            ("UMAY_ROUTE__0__RESPOND__BODY", "zero"),
            ("UMAY_ROUTE__0__HOST", "a.example"),
        ],
    );
    let bodies: Vec<_> = model
        .routes
        .iter()
        .map(|route| match &route.action {
            Action::Respond(respond) => respond.body.as_str(),
            _ => "",
        })
        .collect();
    assert_eq!(bodies, ["zero", "one"]);
    let twelve: Vec<_> = (0..12)
        .map(|n| {
            (
                format!("UMAY_ROUTE__{n}__RESPOND__STATUS"),
                (200 + n).to_string(),
            )
        })
        .collect();
    let twelve: Vec<_> = twelve
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(with_env(LISTEN, &twelve).routes.len(), 12);
    // Over what a file has, whether it has a list, a single table or a single value.
    let text = "listener = { listen = \"127.0.0.1:1\" }\n[[route]]\nto = \"a:1\"\n";
    let model = with_env(
        text,
        &[
            ("UMAY_LISTENER__0__LISTEN", "127.0.0.1:2"),
            ("UMAY_LISTENER__1__LISTEN", "127.0.0.1:3"),
            ("UMAY_ROUTE__0__TO__1", "b:2"),
        ],
    );
    let listeners: Vec<_> = model.listeners.keys().collect();
    assert_eq!(listeners, ["127.0.0.1:2", "127.0.0.1:3"]);
    let hosts: Vec<_> = model.upstreams["route-1"]
        .endpoints
        .iter()
        .map(|e| &e.host)
        .collect();
    assert_eq!(hosts, ["a", "b"]);
    // A hole in a list is no place, and does no harm to what is there.
    let text = format!("{LISTEN}[[route]]\nto = \"a:1\"\n");
    assert_eq!(
        errors(&text, &[("UMAY_ROUTE__2__TO", "b:1")]),
        [
            "UMAY_ROUTE__2__TO there is no entry `2` in a list of 1 (entries are numbered from 0; the next new one is 1)"
        ]
    );
    assert_eq!(
        errors(&text, &[("UMAY_ROUTE__TO", "b:1")]),
        [
            "UMAY_ROUTE__TO there is no entry `to` in a list of 1 (entries are numbered from 0; the next new one is 1)"
        ]
    );
}

#[test]
fn names_of_ones_own_can_be_reached_from_the_environment() {
    let text = format!("{LISTEN}to = \"My-App\"\n[upstream.My-App]\nto = \"a:1\"\n");
    let model = with_env(&text, &[("UMAY_UPSTREAM__MY_APP__TO", "a:2")]);
    assert_eq!(model.upstreams["My-App"].endpoints[0].port, 2);
    let model = with_env(LISTEN, &[("UMAY_UPSTREAM__0__TO", "a:2"), ("UMAY_TO", "0")]);
    assert_eq!(model.upstreams["0"].endpoints[0].port, 2);
}

#[test]
fn text_of_the_environment_stands_for_every_type() {
    let text = format!("{LISTEN}[[route]]\nto = \"a:1\"\n");
    let model = with_env(
        &text,
        &[
            ("UMAY_ROUTE__0__HSTS", "max-age=1"),
            ("UMAY_ROUTE__0__ALLOW_CONNECT", "true"),
            ("UMAY_ROUTE__0__HOST", "a.example,b.example"),
            ("UMAY_ROUTE__0__HEADERS__X_ANY", "true"),
            ("UMAY_ROUTE__0__MAX_BODY", "1KiB"),
        ],
    );
    let route = &model.routes[0];
    assert_eq!(
        route.filters,
        [crate::model::Filter::Hsts("max-age=1".to_owned())]
    );
    assert!(route.allow_connect);
    assert_eq!(route.matches.hosts.len(), 2);
    assert_eq!(route.matches.headers[0].value, None);
    assert_eq!(route.max_body, Some(1024));
    for (name, value, error) in [
        ("UMAY_WORKERS", "", "expected a number, found text"),
        ("UMAY_WORKERS", "-1", "expected a number, found text"),
        ("UMAY_WORKERS", "0", "this has to be from 1 to 1024"),
        (
            "UMAY_TIMEOUTS__BODY",
            "5",
            "`5` needs a unit, as in \"5s\" or \"5ms\"",
        ),
        (
            "UMAY_LISTEN",
            "",
            "this is empty (say where to listen: listen = \"0.0.0.0:443\")",
        ),
        (
            "UMAY_TO",
            "",
            "there is no endpoint (write to = [\"127.0.0.1:3000\"])",
        ),
        ("UMAY_TIMEOUTS", "5s", "expected a table, found text"),
        (
            "UMAY_ROUTE__0__ALLOW_CONNECT",
            "yes",
            "expected true or false, found text",
        ),
        (
            "UMAY_WORKER",
            "1",
            "there is no key `worker` (did you mean `workers`?)",
        ),
        (
            "UMAY_TIMEOUTS__CONECT",
            "1s",
            "there is no key `timeouts.conect` (did you mean `connect`?)",
        ),
    ] {
        let text = format!("{BASE}[[route]]\nhost = \"b.example\"\nto = \"a:1\"\n");
        assert_eq!(errors(&text, &[(name, value)]), [format!("{name} {error}")]);
    }
    assert_eq!(
        errors(BASE, &[("UMAY_TO__X", "a:1")]),
        [
            "UMAY_TO__X this endpoint has no `to` (write { to = \"127.0.0.1:3000\", weight = 3 })",
            "UMAY_TO__X there is no key `to.x`",
        ]
    );
}

#[test]
fn what_kubernetes_says_of_a_service_is_no_key() {
    let links = [
        ("UMAY_PORT", "tcp://10.0.0.1:443"),
        ("UMAY_PORT_443_TCP", "tcp://10.0.0.1:443"),
        ("UMAY_PORT_443_TCP_ADDR", "10.0.0.1"),
        ("UMAY_SERVICE_HOST", "10.0.0.1"),
        ("UMAY_SERVICE_PORT", "443"),
        ("UMAY_SERVICE_PORT_HTTPS", "443"),
        ("UMAY_ADMIN_PORT", "tcp://10.0.0.2:9901"),
        ("UMAY_ADMIN_SERVICE_HOST", "10.0.0.2"),
    ];
    assert_eq!(with_env(BASE, &links), model(BASE));
    assert_eq!(
        errors(BASE, &[("UMAY_REPORT", "1")]),
        ["UMAY_REPORT there is no key `report`"]
    );
}

#[test]
fn flags_that_are_given_again_make_a_list() {
    let flags = [
        ("listen", "127.0.0.1:1"),
        ("listen", "127.0.0.1:2"),
        ("to", "a:1,b:1"),
        ("to", "c:1"),
    ];
    let model = load(&sources("", &[], &flags)).unwrap().model;
    assert_eq!(model.listeners.len(), 2);
    assert_eq!(model.upstreams["default"].endpoints.len(), 3);
    let wrong = load(&sources(BASE, &[], &[("to", "a")])).unwrap_err();
    assert_eq!(
        wrong.iter().map(told).collect::<Vec<_>>(),
        ["--to there is no upstream `a` (an endpoint is written as host:port)"]
    );
    assert_eq!(wrong[0].place, Place::Flag("--to".to_owned()));
}

#[test]
fn files_are_relative_to_the_document_and_keep_their_places() {
    let text = format!("{BASE}cert = \"a.pem\"\nkey = \"/b.key\"\n");
    let files = loaded(&text).files;
    let place = |path: &str| files[&PathBuf::from(path)].to_string();
    assert_eq!(place("/etc/umay/a.pem"), "/etc/umay/umay.toml:3:8");
    assert_eq!(place("/b.key"), "/etc/umay/umay.toml:4:7");
    assert_eq!(files.len(), 2);
    let env = [("UMAY_CERT", "c.pem")];
    let files = load(&sources(&text, &env, &[])).unwrap().files;
    assert_eq!(
        files[&PathBuf::from("c.pem")],
        Place::Env("UMAY_CERT".to_owned())
    );
}

#[test]
fn an_upstream_can_be_told_all_from_the_environment() {
    let text =
        format!("{LISTEN}to = \"my-app\"\n[upstream.my-app]\nto = \"http://a\"\nretry = \"off\"\n");
    let model = with_env(
        &text,
        &[
            ("UMAY_UPSTREAM__MY_APP__TO__0__TO", "http://a"),
            ("UMAY_UPSTREAM__MY_APP__TO__0__WEIGHT", "3"),
            ("UMAY_UPSTREAM__MY_APP__TO__1", "http://b"),
            ("UMAY_UPSTREAM__MY_APP__STICKY", "umay"),
            ("UMAY_UPSTREAM__MY_APP__PROBE__EXPECT", "200,300-399"),
            ("UMAY_UPSTREAM__MY_APP__OUTLIER", "off"),
            ("UMAY_UPSTREAM__MY_APP__RETRY__STATUSES", "502,503"),
            ("UMAY_UPSTREAM__MY_APP__HEDGE__QUANTILE", "97.5"),
            ("UMAY_UPSTREAM__MY_APP__LIMITS__ADAPTIVE", "true"),
            ("UMAY_UPSTREAM__MY_APP__DISCOVER__CONSUL", "web"),
            (
                "UMAY_UPSTREAM__MY_APP__DISCOVER__AGENTS",
                "http://[::1]:1,https://c",
            ),
            ("UMAY_DNS__SERVERS", "10.0.0.1,10.0.0.2:54"),
            ("UMAY_ZONE", "a"),
            ("UMAY_ADMIN__SOCKET", "umay.sock"),
            ("UMAY_TIMEOUTS__TOTAL", "5m"),
        ],
    );
    let app = &model.upstreams["my-app"];
    let weights: Vec<_> = app
        .endpoints
        .iter()
        .map(|e| (e.host.as_str(), e.weight))
        .collect();
    assert_eq!(weights, [("a", 3), ("b", 1)]);
    assert_eq!(app.sticky.as_ref().unwrap().cookie, "umay");
    let crate::model::ProbeKind::Http { expect, .. } = &app.probe.as_ref().unwrap().kind else {
        panic!("{:?}", app.probe);
    };
    assert_eq!(*expect, [(200, 200), (300, 399)]);
    assert_eq!((app.outlier.consecutive, app.outlier.success_rate), (0, 0));
    // Over the word that the file has.
    assert_eq!(
        (app.retry.attempts, &app.retry.statuses[..]),
        (5, &[502, 503][..])
    );
    assert_eq!(app.hedge.as_ref().unwrap().quantile, 97.5);
    assert!(app.limits.adaptive);
    let crate::model::Source::Consul(consul) = &app.discovery.as_ref().unwrap().source else {
        panic!("{:?}", app.discovery);
    };
    assert_eq!(consul.agents.len(), 2);
    assert_eq!(model.dns.servers.len(), 2);
    assert_eq!(model.zone.as_deref(), Some("a"));
    // Relative to where Umay was started.
    assert_eq!(model.admin_socket, Some(PathBuf::from("umay.sock")));
    assert_eq!(model.timeouts.total.unwrap().as_secs(), 300);
}

#[test]
fn what_an_upstream_is_told_wrongly_from_the_environment() {
    let text = format!("{LISTEN}to = \"app\"\n[upstream.app]\nto = [\"http://a\", \"http://b\"]\n");
    for (name, value, error) in [
        (
            "UMAY_UPSTREAM__APP__HEDGE__QUANTILE",
            "high",
            "expected a number, found text",
        ),
        (
            "UMAY_UPSTREAM__APP__HEDGE__QUANTILE",
            "9x",
            "this has to be from 50 to 99.9",
        ),
        (
            "UMAY_UPSTREAM__APP__RETRY",
            "none",
            "expected `off` or a table",
        ),
        (
            "UMAY_UPSTREAM__APP__RETRY__STATUSES",
            "502,x",
            "expected a number, found text",
        ),
        (
            "UMAY_UPSTREAM__APP__PANIC",
            "50%",
            "expected a number, found text",
        ),
        (
            "UMAY_UPSTREAM__APP__TO__1__WEIGHT",
            "3",
            "this endpoint has no `to` (write { to = \"127.0.0.1:3000\", weight = 3 })",
        ),
        (
            "UMAY_UPSTREAM__APP__LIMITS__QUEUE",
            "1",
            "`queue` has no effect without a cap that is waited for (add requests, endpoint_requests, endpoint_connections or adaptive = true)",
        ),
        (
            "UMAY_TO",
            "original-destination,a:1",
            "`original-destination` stands alone (a connection goes either there or to endpoints; make two routes of it)",
        ),
    ] {
        assert_eq!(errors(&text, &[(name, value)]), [format!("{name} {error}")]);
    }
    let flags = [("listen", "127.0.0.1:1"), ("to", "original-destination")];
    let model = load(&sources("", &[], &flags)).unwrap().model;
    assert!(model.upstreams["default"].discovery.is_some());
}
