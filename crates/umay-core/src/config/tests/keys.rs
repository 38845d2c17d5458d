//! The list of keys, the parser, the model and the page of the reference say the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::super::section::Reader;
use super::super::{document, tree};
use super::*;

/// A document in which one key is set, with what it needs beside it.
fn document_with(path: &str, value: &str) -> String {
    let key = path.rsplit('.').next().unwrap();
    let line = format!("{key} = {value}\n");
    let route = |before: &str| format!("{LISTEN}[[route]]\n{before}");
    let to = "to = \"127.0.0.1:1\"\n";
    let secure = "[[listener]]\nlisten = \"127.0.0.1:1\"\ncert = \"a\"\nkey = \"a\"\n";
    match path {
        "listen" => format!("{line}to = \"127.0.0.1:1\"\n"),
        "to" => format!("{LISTEN}{line}"),
        "cert" => format!("{BASE}{line}key = \"a\"\n"),
        "key" => format!("{BASE}{line}cert = \"a\"\n"),
        "listener.listen" => format!("{to}[[listener]]\n{line}"),
        "listener.cert" => {
            format!("{to}[[listener]]\nlisten = \"127.0.0.1:1\"\n{line}key = \"a\"\n")
        }
        "listener.key" => {
            format!("{to}[[listener]]\nlisten = \"127.0.0.1:1\"\n{line}cert = \"a\"\n")
        }
        "listener.certs" => format!("{to}[[listener]]\nlisten = \"127.0.0.1:1\"\n{line}"),
        "listener.default_cert.cert" => {
            format!("{to}{secure}[listener.default_cert]\n{line}key = \"a\"\n")
        }
        "listener.default_cert.key" => {
            format!("{to}{secure}[listener.default_cert]\n{line}cert = \"a\"\n")
        }
        "listener.client_auth.ca" => format!("{to}{secure}[listener.client_auth]\n{line}"),
        "route.listeners" => {
            format!(
                "[[listener]]\nname = \"public\"\nlisten = \"127.0.0.1:1\"\n[[route]]\n{to}{line}"
            )
        }
        "route.to" => format!("{}{line}[upstream.app]\n{to}", route("")),
        "route.redirect" | "route.respond" => route(&line),
        "route.rewrite_prefix.from" => route(&format!(
            "{to}rewrite_prefix = {{ to = \"/b\", {} }}\n",
            line.trim()
        )),
        "route.rewrite_prefix.to" => route(&format!(
            "{to}rewrite_prefix = {{ from = \"/b\", {} }}\n",
            line.trim()
        )),
        "upstream.NAME.to" => format!("{LISTEN}to = \"app\"\n[upstream.app]\n{line}"),
        "upstream.NAME.tls.cert" | "upstream.NAME.tls.key" => {
            let other = if key == "cert" { "key" } else { "cert" };
            format!(
                "{LISTEN}to = \"app\"\n[upstream.app]\nto = \"https://a\"\n[upstream.app.tls]\n{line}{other} = \"a\"\n"
            )
        }
        _ => match path.rsplit_once('.').map_or("", |(table, _)| table) {
            "" => format!("{BASE}{line}"),
            "listener" => format!("{to}{secure}{line}"),
            "listener.client_auth" => {
                format!("{to}{secure}[listener.client_auth]\nca = \"a\"\n{line}")
            }
            "route" => route(&format!("{to}{line}")),
            "route.client_cert" => format!(
                "{secure}client_auth = {{ ca = \"a\" }}\n[[route]]\n{to}[route.client_cert]\n{line}"
            ),
            "route.redirect" => route(&format!(
                "[route.redirect]\n{}{line}",
                if key == "host" {
                    ""
                } else {
                    "host = \"a.example\"\n"
                }
            )),
            "route.respond" => route(&format!("[route.respond]\n{line}")),
            "upstream.NAME" => format!("{LISTEN}to = \"app\"\n[upstream.app]\n{line}{to}"),
            "upstream.NAME.tls" => format!(
                "{LISTEN}to = \"app\"\n[upstream.app]\nto = \"https://a\"\n[upstream.app.tls]\n{line}"
            ),
            table @ ("route.request_headers" | "route.response_headers") => {
                route(&format!("{to}[{table}]\n{line}"))
            }
            table => format!("{BASE}[{table}]\n{line}"),
        },
    }
}

#[test]
fn every_key_takes_its_example() {
    for key in KEYS {
        check(&document_with(key.path, key.example), &[]);
    }
}

/// A number with a fraction is wrong for every key, and is told so where it stands.
#[test]
fn every_key_tells_a_wrong_kind_of_value_with_its_place() {
    for key in KEYS {
        let text = document_with(key.path, "1.5");
        let problems = problems(&text);
        let at = text.find("1.5").unwrap();
        let line = text[..at].matches('\n').count() + 1;
        let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
        let found = problems.iter().find(|problem| {
            problem.message.starts_with("expected ")
                && problem
                    .message
                    .ends_with(", found a number with a fraction")
        });
        let found = found.unwrap_or_else(|| panic!("{}: {problems:?}", key.path));
        let place = format!("/etc/umay/umay.toml:{line}:{column}");
        assert_eq!(found.place.to_string(), place, "{text}");
        assert_eq!(found.severity, Severity::Error);
    }
}

/// Every key that the parser asks for, from documents in which every table is there.
fn asked() -> BTreeSet<String> {
    let mut asked = BTreeSet::new();
    for key in KEYS {
        let sources = file(&document_with(key.path, key.example));
        let (root, _) = tree::build(&sources);
        let mut reader = Reader::new(None);
        document(&mut reader, &root).unwrap();
        asked.extend(reader.asked);
    }
    asked
}

#[test]
fn the_parser_asks_for_the_keys_of_the_list_and_no_others() {
    let asked = asked();
    for key in KEYS {
        assert!(asked.contains(key.path), "nobody reads {}", key.path);
    }
    for path in asked {
        let listed = KEYS.iter().any(|key| {
            key.path == path
                || key
                    .path
                    .strip_prefix(&path)
                    .is_some_and(|rest| rest.starts_with('.'))
        });
        // The tables in `certs` are told there.
        let told = path == "certs.cert" || path == "certs.key" || path == "upstream";
        assert!(listed || told, "{path} is read but not in the list");
    }
}

#[test]
fn defaults_are_those_of_the_model() {
    let model = model(BASE);
    let text = |path: &str| {
        let key = KEYS.iter().find(|key| key.path == path);
        key.unwrap_or_else(|| panic!("{path}"))
            .default
            .trim_matches('"')
            .to_owned()
    };
    let timeouts = &model.timeouts;
    let durations = [
        ("handshake", timeouts.handshake),
        ("header", timeouts.header),
        ("body", timeouts.body),
        ("send", timeouts.send),
        ("keep_alive", timeouts.keep_alive),
        ("connect", timeouts.connect),
        ("first_byte", timeouts.first_byte),
        ("tunnel", timeouts.tunnel),
        ("drain", timeouts.drain),
        ("drain_delay", timeouts.drain_delay),
        ("detect", timeouts.detect),
        ("upstream_idle", timeouts.upstream_idle),
    ];
    let listed = KEYS.iter().filter(|key| key.path.starts_with("timeouts."));
    assert_eq!(listed.count(), durations.len());
    for (key, value) in durations {
        let told = text(&format!("timeouts.{key}"));
        assert_eq!(scalar::duration(&told), Ok(value), "{key}");
    }
    let limits = &model.limits;
    for (key, value) in [
        ("head", limits.head),
        ("fields", limits.fields),
        ("target", limits.target),
        ("pool", limits.pool),
    ] {
        let told = text(&format!("limits.{key}"));
        assert_eq!(scalar::size(&told), Ok(value as u64), "{key}");
    }
    assert_eq!((limits.body, limits.connections), (None, None));
    assert_eq!(scalar::address(&text("admin.bind")).ok(), model.admin);
    assert_eq!(text("log.access"), "stdout");
    assert_eq!(model.log.access, AccessLog::Stdout);
    assert_eq!(text("log.level"), model.log.level);
    for path in ["balance", "route.balance", "upstream.NAME.balance"] {
        let balance = model.upstreams["default"].balance;
        assert_eq!(text(path), balance.as_str());
    }
    let redirect = super::model(&format!("{LISTEN}[[route]]\nredirect = \"https\"\n"));
    let Action::Redirect(redirect) = &redirect.routes[0].action else {
        panic!("{redirect:?}");
    };
    assert_eq!(text("route.redirect.status"), redirect.status.to_string());
    let respond = super::model(&format!("{LISTEN}[[route]]\nrespond = {{}}\n"));
    let Action::Respond(respond) = &respond.routes[0].action else {
        panic!("{respond:?}");
    };
    assert_eq!(text("route.respond.status"), respond.status.to_string());
    assert_eq!(text("route.respond.content_type"), respond.content_type);
    assert_eq!(respond.body, "");
}

const BEGIN: &str = "<!-- Written by `UMAY_BLESS=1 cargo test -p umay-core`. -->\n";
const END: &str = "\n<!-- End of what is written. -->\n";

#[test]
fn the_page_of_the_reference_is_of_today() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (between, after) = rest.split_once(END).unwrap();
    let reference = reference_markdown();
    if std::env::var_os("UMAY_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{reference}{END}{after}")).unwrap();
        return;
    }
    assert!(
        between == reference,
        "docs/config.md is old; write it with UMAY_BLESS=1 cargo test -p umay-core"
    );
}

#[test]
fn the_page_names_every_variable_of_templates() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let page = fs::read_to_string(&path).unwrap();
    for (name, _) in crate::model::Var::ALL {
        assert!(page.contains(&format!("| `{{{name}}}` |")), "{name}");
    }
}

#[test]
fn every_table_has_one_heading() {
    let reference = reference_markdown();
    let headings: Vec<_> = reference
        .lines()
        .filter(|line| line.starts_with("### "))
        .collect();
    let distinct: BTreeSet<_> = headings.iter().collect();
    assert_eq!(distinct.len(), headings.len(), "{headings:?}");
    let rows = reference
        .lines()
        .filter(|line| line.starts_with("| `"))
        .count();
    assert_eq!(rows, KEYS.len());
    for row in reference.lines().filter(|line| line.starts_with('|')) {
        let bars = row.replace("\\|", "").matches('|').count();
        assert_eq!(bars, 5, "{row}");
    }
}
