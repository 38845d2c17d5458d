//! `include` and values that stand elsewhere: what is laid together, and what is told about it.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

/// Sources with a main document and documents that `conf.d` has.
fn with(main: &str, included: &[(&str, &str)]) -> Sources {
    let mut sources = file(main);
    let documents: Vec<_> = included
        .iter()
        .map(|(path, text)| (PathBuf::from("/etc/umay").join(path), (*text).to_owned()))
        .collect();
    sources.complete(
        |entry| match entry {
            _ if entry == Path::new("/etc/umay/conf.d") => Ok(documents.clone()),
            _ if entry == Path::new("/etc/umay/empty") => Ok(Vec::new()),
            _ => Err(format!("{} is not there", entry.display())),
        },
        |reference| match reference {
            Reference::Env(name) if name == "KEY" => Ok("Bearer s3cret{".to_owned()),
            Reference::File(path) if *path == Path::new("/etc/umay/conf.d/key") => {
                Ok("in-a-file\n".to_owned())
            }
            Reference::File(path) if path.ends_with("two") => Ok("a\nb\n".to_owned()),
            Reference::Env(name) => Err(format!("there is no variable {name}")),
            Reference::File(path) => Err(format!("{} is not there", path.display())),
        },
    );
    sources
}

#[track_caller]
fn good(sources: &Sources) -> Loaded {
    load(sources).unwrap_or_else(|problems| panic!("{}", render(&problems, sources, false)))
}

#[track_caller]
fn bad(sources: &Sources) -> Vec<String> {
    let problems = load(sources).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

const MAIN: &str =
    "include = \"conf.d\"\nlisten = \"127.0.0.1:1\"\n[[route]]\nname = \"main\"\nrespond = {}\n";

#[test]
fn documents_add_listeners_routes_and_upstreams_in_their_order() {
    let one = "[[listener]]\nlisten = \"127.0.0.1:2\"\ncert = \"a.pem\"\nkey = \"a.key\"\n[[route]]\nname = \"one\"\nhost = \"one.example\"\nto = \"app\"\n";
    let two = "[timeouts]\nbody = \"1s\"\n[route]\nname = \"two\"\nhost = \"two.example\"\nto = \"app\"\n[upstream.app]\nto = \"a:1\"\n";
    let sources = with(MAIN, &[("conf.d/1.toml", one), ("conf.d/2.toml", two)]);
    let loaded = good(&sources);
    let routes: Vec<_> = loaded
        .model
        .routes
        .iter()
        .map(|r| r.name.as_str())
        .collect();
    assert_eq!(routes, ["main", "one", "two"]);
    assert_eq!(loaded.model.listeners.len(), 2);
    assert_eq!(loaded.model.upstreams.len(), 1);
    assert_eq!(loaded.model.timeouts.body.as_secs(), 1);
    // Its paths are relative to itself.
    assert_eq!(
        loaded.files[Path::new("/etc/umay/conf.d/a.pem")].to_string(),
        "/etc/umay/conf.d/1.toml:3:8"
    );
    let expected: BTreeMap<_, _> = [
        ("/etc/umay/conf.d", Purpose::Include),
        ("/etc/umay/conf.d/1.toml", Purpose::Document),
        ("/etc/umay/conf.d/2.toml", Purpose::Document),
        ("/etc/umay/umay.toml", Purpose::Document),
    ]
    .map(|(path, purpose)| (PathBuf::from(path), purpose))
    .into();
    assert_eq!(sources.files(), expected);
    let named: Vec<_> = files(&loaded.model).into_keys().collect();
    let pair = ["/etc/umay/conf.d/a.key", "/etc/umay/conf.d/a.pem"].map(PathBuf::from);
    assert_eq!(named, pair);
    // The environment is laid over all of them.
    let sources = Sources {
        env: vec![("UMAY_ROUTE__2__HOST".to_owned(), "three.example".to_owned())],
        ..sources
    };
    let route = &good(&sources).model.routes[2];
    assert_eq!(
        format!("{:?}", route.matches.hosts),
        "[Exact(\"three.example\")]"
    );
}

#[test]
fn what_is_wrong_is_told_with_its_own_document() {
    let one = "workers = 0\ninclude = \"x\"\n[[route]]\nhots = 1\nrespond = {}\n[upstream.app]\nto = \"a\"\n";
    let two = "[timeouts]\nbody = \"1s\"\n[upstream.app]\nto = \"b:1\"\n";
    let main = format!("workers = 1\n{MAIN}[timeouts]\n");
    let sources = with(&main, &[("conf.d/1.toml", one), ("conf.d/2.toml", two)]);
    assert_eq!(
        bad(&sources),
        [
            "/etc/umay/conf.d/1.toml:1:1: `workers` stands at /etc/umay/umay.toml:1:1 already (what is of the whole configuration stands in one document; put it together there)",
            "/etc/umay/conf.d/1.toml:2:1: an included document cannot include others (name them in the main document)",
            "/etc/umay/conf.d/1.toml:4:1: there is no key `route.hots` (did you mean `host`?)",
            "/etc/umay/conf.d/1.toml:7:6: `a` has no port, as in \"a:3000\"",
            "/etc/umay/conf.d/2.toml:1:2: `timeouts` stands at /etc/umay/umay.toml:7:2 already (what is of the whole configuration stands in one document; put it together there)",
            "/etc/umay/conf.d/2.toml:3:11: a second upstream is named `app`; the first is at /etc/umay/conf.d/1.toml:6:11 (give one of them another name)",
        ]
    );
    let text = render(&load(&sources).unwrap_err(), &sources, false);
    assert!(
        text.contains("/etc/umay/conf.d/1.toml:4:1\n  |\n4 | hots = 1\n"),
        "{text}"
    );
    let sources = with(MAIN, &[("conf.d/1.toml", "[[route]\n")]);
    let told = bad(&sources);
    assert!(
        told[0].starts_with("/etc/umay/conf.d/1.toml:1:"),
        "{told:?}"
    );
}

#[test]
fn what_is_not_there_is_an_error_and_what_is_empty_a_warning() {
    let main = MAIN.replace("\"conf.d\"", "[\"empty\", \"gone\", 7]");
    let sources = with(&main, &[]);
    assert_eq!(
        bad(&sources),
        [
            "/etc/umay/umay.toml:1:12: `/etc/umay/empty` has no document to include (documents are files whose names end with .toml; a hidden file is none)",
            "/etc/umay/umay.toml:1:21: /etc/umay/gone is not there",
            "/etc/umay/umay.toml:1:29: expected text, found a number (as in include = [\"conf.d/*.toml\"])",
        ]
    );
    assert_eq!(
        load(&with(&MAIN.replace("conf.d", "empty"), &[]))
            .unwrap()
            .warnings
            .len(),
        1
    );
    // Nobody has read it.
    assert_eq!(
        bad(&file(MAIN)),
        ["/etc/umay/umay.toml:1:11: this was not read"]
    );
}

#[test]
fn a_document_is_there_once() {
    let route = "[[route]]\nname = \"one\"\nhost = \"one.example\"\nrespond = {}\n";
    let main = MAIN.replace("\"conf.d\"", "[\"conf.d\", \"conf.d\"]");
    let sources = with(&main, &[("umay.toml", &main), ("conf.d/1.toml", route)]);
    let problems = load(&sources);
    assert_eq!(problems.unwrap().model.routes.len(), 2);
}

#[test]
fn a_value_may_stand_elsewhere_and_is_never_shown() {
    let header = "[[route]]\nhost = \"a.example\"\nheaders = { x-key = { file = \"key\" } }\nto = \"http://a\"\n[route.request_headers.set]\nAuthorization = { env = \"KEY\" }\n";
    let sources = with(MAIN, &[("conf.d/1.toml", header)]);
    let route = &good(&sources).model.routes[1];
    assert_eq!(route.matches.headers[0].value.as_deref(), Some("in-a-file"));
    let crate::model::Filter::RequestHeaders(edit) = &route.filters[0] else {
        panic!("{:?}", route.filters);
    };
    let literal = crate::model::Template::text("Bearer s3cret{");
    assert_eq!(edit.set, [("Authorization".to_owned(), literal)]);
    let key = PathBuf::from("/etc/umay/conf.d/key");
    assert_eq!(sources.files()[&key], Purpose::Value);
    let shown = format!("{sources:?}");
    assert!(
        !shown.contains("s3cret") && !shown.contains("in-a-file"),
        "{shown}"
    );
    for (value, error) in [
        ("{ env = \"NONE\" }", "3:49: there is no variable NONE"),
        (
            "{ file = \"two\" }",
            "3:50: what stands there is empty, or has a character that no header has (it has to be one line)",
        ),
        (
            "{ file = \"none\" }",
            "3:50: /etc/umay/conf.d/none is not there",
        ),
        (
            "{ }",
            "3:41: this names no place, or more than one (write { env = \"NAME\" } or { file = \"PATH\" })",
        ),
        (
            "{ env = \"a\", file = \"b\" }",
            "3:41: this names no place, or more than one (write { env = \"NAME\" } or { file = \"PATH\" })",
        ),
        (
            "{ environment = \"a\" }",
            "3:43: there is no key `route.request_headers.set.NAME.environment`",
        ),
        ("{ env = 1 }", "3:49: expected text, found a number"),
    ] {
        let text = format!(
            "[[route]]\nto = \"http://a\"\nrequest_headers.set = {{ Authorization = {value} }}\nhost = \"a.example\"\n"
        );
        let told = bad(&with(MAIN, &[("conf.d/1.toml", &text)]));
        let expected = format!("/etc/umay/conf.d/1.toml:{error}");
        assert!(told.contains(&expected), "{expected}\n{told:#?}");
    }
}
