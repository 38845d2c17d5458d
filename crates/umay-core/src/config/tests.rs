//! The configuration as people meet it: what a document comes to, and what it is told about its
//! mistakes. Each table runs through one check.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod discover;
mod endpoints;
mod healing;
mod include;
mod keys;
mod listeners;
mod log;
mod metrics;
mod picking;
mod random;
mod routes;
mod scalars;
mod scalars_upstream;
mod show;
mod sources;
mod tracing;
mod upstreams;
mod whole;

use std::time::Duration;

use super::*;
use crate::model::{AccessLog, Action, CertificateSource, Endpoint, Scheme, Upstream};

/// A listener and an endpoint: what most documents here begin with.
const LISTEN: &str = "listen = \"127.0.0.1:8080\"\n";
const BASE: &str = "listen = \"127.0.0.1:8080\"\nto = \"127.0.0.1:1\"\n";

/// An upstream of two endpoints; what is written behind it begins in line 5.
const APP: &str = "listen = \"127.0.0.1:8080\"\nto = \"app\"\n[upstream.app]\nto = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]\n";

#[track_caller]
fn upstream(text: &str) -> Upstream {
    let loaded = loaded(&format!("{APP}{text}"));
    assert_eq!(loaded.warnings, []);
    loaded.model.upstreams["app"].clone()
}

/// Each text, behind the head, with its error.
#[track_caller]
fn wrong(cases: &[(&str, &str)]) {
    for (text, error) in cases {
        check(&format!("{APP}{text}"), &[error]);
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn file(text: &str) -> Sources {
    Sources {
        file: Some((PathBuf::from("/etc/umay/umay.toml"), text.to_owned())),
        ..Sources::default()
    }
}

#[track_caller]
fn loaded(text: &str) -> Loaded {
    let sources = file(text);
    load(&sources).unwrap_or_else(|problems| panic!("{}", render(&problems, &sources, false)))
}

#[track_caller]
fn model(text: &str) -> Model {
    loaded(text).model
}

/// A problem as the tests write it: `LINE:COLUMN message (hint)`, without the place if it is nowhere.
fn told(problem: &Problem) -> String {
    let place = match &problem.place {
        Place::File { line, column, .. } => format!("{line}:{column} "),
        Place::Env(name) => format!("{name} "),
        Place::Flag(flag) => format!("{flag} "),
        Place::Document => String::new(),
    };
    let hint = match problem.hint.as_str() {
        "" => String::new(),
        hint => format!(" ({hint})"),
    };
    format!("{place}{}{hint}", problem.message)
}

fn problems(text: &str) -> Vec<Problem> {
    let mut sources = file(text);
    sources.complete(
        |entry| Ok(vec![(entry.with_extension("toml"), String::new())]),
        |_| Ok("value".to_owned()),
    );
    match load(&sources) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    }
}

/// Holds a document to exactly these errors.
#[track_caller]
fn check(text: &str, errors: &[&str]) {
    let all = problems(text);
    let found = all.iter().filter(|p| p.severity == Severity::Error);
    let found: Vec<_> = found.map(told).collect();
    assert_eq!(found, errors, "\n{text}");
}

/// Holds a document without errors to exactly these warnings.
#[track_caller]
fn check_warnings(text: &str, warnings: &[&str]) {
    let found: Vec<_> = loaded(text).warnings.iter().map(told).collect();
    assert_eq!(found, warnings, "\n{text}");
}

#[test]
fn four_lines_are_https_with_two_endpoints() {
    let text = "listen = \"0.0.0.0:443\"\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\
                to = [\"http://127.0.0.1:3000\", \"http://127.0.0.1:3001\"]\n";
    assert_eq!(text.lines().count(), 4);
    let loaded = loaded(text);
    assert_eq!(loaded.warnings, []);
    let model = loaded.model;
    assert_eq!(model.workers, None);
    assert_eq!(model.admin, Some("127.0.0.1:9901".parse().unwrap()));
    let listener = &model.listeners["0.0.0.0:443"];
    let tls = listener.tls.as_ref().unwrap();
    let CertificateSource::Pair(pair) = &tls.certificates[0] else {
        panic!("{tls:?}");
    };
    assert_eq!(pair.cert, PathBuf::from("/etc/umay/cert.pem"));
    assert_eq!(pair.key, PathBuf::from("/etc/umay/key.pem"));
    assert!(!tls.only_tls13 && tls.client_auth.is_none() && tls.default.is_none());
    let [route] = &model.routes[..] else {
        panic!("{:?}", model.routes);
    };
    assert_eq!(route.name, "default");
    assert_eq!(route.action, Action::Forward("default".to_owned()));
    let http = |port| Endpoint::new(Scheme::Http, "127.0.0.1", port);
    let endpoints = &model.upstreams["default"].endpoints;
    assert_eq!(*endpoints, [http(3000), http(3001)]);
}

#[test]
fn nothing_at_all_is_told_kindly() {
    let nothing = load(&Sources::default()).unwrap_err();
    let told: Vec<_> = nothing.iter().map(told).collect();
    assert_eq!(
        told,
        [
            "there is no listener (add listen = \"127.0.0.1:8080\" (or --listen, or UMAY_LISTEN))",
            "there is no route (add to = \"127.0.0.1:3000\" (or --to, or UMAY_TO))",
        ]
    );
}

#[test]
fn all_errors_are_told_in_the_order_of_the_document() {
    check(
        "listen = \"nowhere\"\nworkers = 0\n[[route]]\nhots = \"a\"\npath = \"x\"\nto = \"a:1\"\n\
         [timeouts]\nbody = 0\nconect = \"1s\"\n[upstream.a]\n",
        &[
            "1:10 `nowhere` is no address and port, as in \"0.0.0.0:443\", \"[::]:443\" or \":443\"",
            "2:11 this has to be from 1 to 1024",
            "4:1 there is no key `route.hots` (did you mean `host`?)",
            "5:8 the path `x` has to begin with `/`, or with `=/` to match exactly",
            "8:8 a duration needs its unit (write \"0s\" or \"0ms\")",
            "9:1 there is no key `timeouts.conect` (did you mean `connect`?)",
            "10:11 upstream `a` has no endpoints (add to = [\"127.0.0.1:3000\"])",
        ],
    );
}

#[test]
fn broken_syntax_hides_no_other_mistake_and_adds_none() {
    check(
        "listen = \nworkers = 0\nto = \"a:1\"\n",
        &[
            "1:10 this is not TOML: string values must be quoted, expected literal string",
            "2:11 this has to be from 1 to 1024",
        ],
    );
    for text in ["listen = \"\nto = 1", "[", "=", "a = 1\na = 2\n"] {
        let all = problems(text);
        let syntax = |p: &Problem| p.message.starts_with("this is not TOML: ");
        assert!(all.iter().any(syntax), "{all:?}");
    }
}

#[test]
fn keys_in_the_wrong_place_get_a_hint() {
    for (text, error) in [
        (
            "lissten = \"a\"\n",
            "3:1 there is no key `lissten` (did you mean `listen`?)",
        ),
        (
            "[timeout]\n",
            "3:2 there is no key `timeout` (did you mean `timeouts`?)",
        ),
        (
            "[[listeners]]\n",
            "3:3 there is no key `listeners` (did you mean `listener`?)",
        ),
        (
            "[[routes]]\n",
            "3:3 there is no key `routes` (did you mean `route`?)",
        ),
        (
            "connect = \"1s\"\n",
            "3:1 there is no key `connect` (there is `timeouts.connect`)",
        ),
        (
            "[log]\nworkers = 1\n",
            "4:1 there is no key `log.workers` (`workers` of the whole document stands above the first `[table]`)",
        ),
        (
            "bind = \"127.0.0.1:1\"\n",
            "3:1 there is no key `bind` (it is called `listen` here)",
        ),
        (
            "backend = \"127.0.0.1:1\"\n",
            "3:1 there is no key `backend` (it is called `to` here)",
        ),
        ("weather = 1\n", "3:1 there is no key `weather`"),
    ] {
        check(&format!("{BASE}{text}"), &[error]);
    }
}

#[test]
fn columns_count_characters() {
    let text =
        format!("{BASE}workers = 1 # \u{fc}\n\"\u{fc}\u{fc}\" = 1\n[log]\n\"leve\u{131}\" = 1");
    check(
        &text,
        &[
            "4:1 there is no key `\u{fc}\u{fc}`",
            "6:1 there is no key `log.leve\u{131}` (did you mean `level`?)",
        ],
    );
    let inline = format!("{BASE}log = {{ level = \"info\", \"\u{fc}\" = 1, b = 2 }}\n");
    check(
        &inline,
        &[
            "3:25 there is no key `log.\u{fc}`",
            "3:34 there is no key `log.b`",
        ],
    );
}

#[test]
fn people_see_the_line_and_a_mark() {
    let sources = file("listen = \"127.0.0.1:1\"\nto = 7\nworkerz = 1\n");
    let problems = load(&sources).unwrap_err();
    assert_eq!(
        render(&problems, &sources, false),
        "error: expected text, found a number\n --> /etc/umay/umay.toml:2:6\n  |\n2 | to = 7\n  |      ^\n  |\nhelp: as in to = [\"127.0.0.1:3000\", \"127.0.0.1:3001\"]\n\n\
         error: there is no key `workerz`\n --> /etc/umay/umay.toml:3:1\n  |\n3 | workerz = 1\n  | ^^^^^^^\n  |\n\
         help: did you mean `workers`?\n\n"
    );
    let coloured = render(&problems, &sources, true);
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    assert!(!render(&problems, &sources, false).contains('\u{1b}'));
    let sources = Sources {
        env: vec![("UMAY_WORKERS".to_owned(), "many".to_owned())],
        ..file(BASE)
    };
    assert_eq!(
        render(&load(&sources).unwrap_err(), &sources, false),
        "error: environment variable UMAY_WORKERS: expected a number, found text\n\n"
    );
}

#[test]
fn programs_see_the_same_as_json() {
    let sources = Sources {
        file: Some((
            PathBuf::from("u.toml"),
            "to = \"h:1\"\nworkerz = 1\n".to_owned(),
        )),
        env: vec![("UMAY_WORKERS".to_owned(), "many".to_owned())],
        included: Vec::new(),
        values: Values::default(),
        flags: vec![("listen".to_owned(), "1".to_owned(), "--listen".to_owned())],
    };
    let problems = load(&sources).unwrap_err();
    assert_eq!(
        to_json(&problems),
        serde_json::json!([
            {
                "severity": "error",
                "message": "there is no key `workerz`",
                "hint": "did you mean `workers`?",
                "source": "file",
                "path": "u.toml",
                "line": 2,
                "column": 1,
            },
            {
                "severity": "error",
                "message": "expected a number, found text",
                "source": "environment",
                "name": "UMAY_WORKERS",
            },
            {
                "severity": "error",
                "message": "`1` is a port without an address; write \":1\" for all addresses",
                "source": "flag",
                "name": "--listen",
            },
        ])
    );
    let document = to_json(&load(&Sources::default()).unwrap_err());
    assert_eq!(document[0]["source"], "document");
    assert_eq!(to_json(&[]), serde_json::json!([]));
}

#[test]
fn a_place_reads_like_one() {
    let places: Vec<_> = problems("lissten = 1\n")
        .iter()
        .map(|p| p.place.to_string())
        .collect();
    assert_eq!(
        places,
        ["/etc/umay/umay.toml:1:1", "configuration", "configuration"]
    );
    assert_eq!(
        problems("lissten = 1\n")[0].to_string(),
        "/etc/umay/umay.toml:1:1: there is no key `lissten` (did you mean `listen`?)"
    );
    assert_eq!(
        Place::Env("UMAY_TO".to_owned()).to_string(),
        "environment variable UMAY_TO"
    );
    assert_eq!(Place::Flag("--to".to_owned()).to_string(), "flag --to");
}
