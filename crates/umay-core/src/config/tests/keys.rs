//! The list of keys, the parser, the model and the page of the reference say the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::super::section::Reader;
use super::super::{document, tree};
use super::*;
use crate::model::{
    Addresses, Balance, Consul, EVERY, Etcd, EventFormat, Hedge, LogFormat, Outlier, Probe,
    ProbeKind, Retry, Rotate, UpstreamLimits,
};

/// A document in which one key is set, with what it needs beside it.
pub(super) fn document_with(path: &str, value: &str) -> String {
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
        "route.sni" => route(&format!("{to}passthrough = true\n{line}")),
        "route.rewrite_prefix.from" => route(&format!(
            "{to}rewrite_prefix = {{ to = \"/b\", {} }}\n",
            line.trim()
        )),
        "route.rewrite_prefix.to" => route(&format!(
            "{to}rewrite_prefix = {{ from = \"/b\", {} }}\n",
            line.trim()
        )),
        "upstream.NAME.hash_by" => {
            let hashing = "balance = \"consistent_hash\"\n";
            format!("{LISTEN}to = \"app\"\n[upstream.app]\n{to}{hashing}{line}")
        }
        "upstream.NAME.to" => format!("{LISTEN}to = \"app\"\n[upstream.app]\n{line}"),
        _ if path.starts_with("to.") || path.starts_with("upstream.NAME.") => {
            document_with_upstream(path, key, &line)
        }
        _ if path.starts_with("log.tls.") => document_with_syslog(key, &line),
        _ if path.starts_with("tracing.") || path.starts_with("metrics.") => {
            document_with_signal(path, key, &line)
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
            table @ ("route.request_headers" | "route.response_headers") => {
                route(&format!("{to}[{table}]\n{line}"))
            }
            table => format!("{BASE}[{table}]\n{line}"),
        },
    }
}

/// What a certificate or a key stands beside.
fn pair_of(key: &str) -> &'static str {
    match key {
        "cert" => "key = \"a\"\n",
        "key" => "cert = \"a\"\n",
        _ => "",
    }
}

/// The same for a key of TLS to a syslog.
fn document_with_syslog(key: &str, line: &str) -> String {
    let secure = "log.access = \"syslog:tls://a\"\n";
    format!("{BASE}{secure}[log.tls]\n{line}{}", pair_of(key))
}

/// The same for a key of tracing or of metrics.
fn document_with_signal(path: &str, key: &str, line: &str) -> String {
    let pair = pair_of(key);
    let signal = path.split('.').next().unwrap();
    match path.strip_prefix(signal).unwrap() {
        ".endpoint" => format!("{BASE}[{signal}]\n{line}"),
        rest if rest.starts_with(".tls.") => {
            let secure = format!("{signal}.endpoint = \"https://a\"\n");
            format!("{BASE}{secure}[{signal}.tls]\n{line}{pair}")
        }
        _ => format!("{BASE}[{signal}]\nendpoint = \"http://127.0.0.1\"\n{line}"),
    }
}

/// The same for a key of an endpoint or of an upstream.
fn document_with_upstream(path: &str, key: &str, line: &str) -> String {
    let app = |to: &str, rest: &str| format!("{LISTEN}to = \"app\"\n[upstream.app]\n{to}{rest}");
    let to = "to = \"http://127.0.0.1:1\"\n";
    let pair = pair_of(key);
    let table = path.rsplit_once('.').map_or("", |(table, _)| table);
    match (table, key) {
        ("to", "to") => format!("{LISTEN}to = {{ {} }}\n", line.trim()),
        ("to", _) => format!("{LISTEN}to = {{ to = \"a:1\", {} }}\n", line.trim()),
        ("upstream.NAME", _) => app(to, line),
        ("upstream.NAME.tls", _) => app(
            "to = \"https://a\"\n",
            &format!("[upstream.app.tls]\n{line}{pair}"),
        ),
        ("upstream.NAME.sticky", "max_age") => app(
            to,
            &format!("[upstream.app.sticky]\ncookie = \"a\"\n{line}"),
        ),
        ("upstream.NAME.discover", _) => {
            let beside = match key {
                "srv" | "file" | "consul" | "etcd" => "",
                "agents" | "tag" | "datacenter" | "token_file" => "consul = \"a\"\n",
                "user" => "etcd = \"/a/\"\npassword_file = \"a\"\n",
                "password_file" => "etcd = \"/a/\"\nuser = \"a\"\n",
                _ => "etcd = \"/a/\"\n",
            };
            app("", &format!("[upstream.app.discover]\n{beside}{line}"))
        }
        ("upstream.NAME.discover.tls", _) => app(
            "[upstream.app.discover]\netcd = \"/a/\"\nmembers = \"https://a\"\n",
            &format!("[upstream.app.discover.tls]\n{line}{pair}"),
        ),
        ("upstream.NAME.probe", "service") => app(
            "to = \"h2c://127.0.0.1:1\"\n",
            &format!("[upstream.app.probe]\nkind = \"grpc\"\n{line}"),
        ),
        ("upstream.NAME.probe", "kind") => app(
            "to = \"h2c://127.0.0.1:1\"\n",
            &format!("[upstream.app.probe]\n{line}"),
        ),
        ("upstream.NAME.limits", "queue" | "queue_timeout") => {
            app(to, &format!("[upstream.app.limits]\nrequests = 1\n{line}"))
        }
        (table, _) => {
            let table = table.replace("NAME", "app");
            app(to, &format!("[{table}]\n{line}"))
        }
    }
}

/// False for the one key whose example needs a kind of balance that is not there yet.
pub(super) fn can_be(key: &Key) -> bool {
    key.path != "upstream.NAME.hash_by" || Balance::named("consistent_hash").is_some()
}

#[test]
fn every_key_takes_its_example() {
    for key in KEYS.iter().filter(|key| can_be(key)) {
        check(&document_with(key.path, key.example), &[]);
    }
}

/// A date is wrong for every key, and so is a number with a fraction for all but few. That is told
/// where it stands.
#[test]
fn every_key_tells_a_wrong_kind_of_value_with_its_place() {
    let fraction = ("1.5", "a number with a fraction");
    let date = ("2000-01-01", "a date");
    for (key, (value, kind)) in KEYS.iter().flat_map(|key| [(key, fraction), (key, date)]) {
        if key.kind == "number with a fraction" && value == fraction.0 {
            continue;
        }
        let text = document_with(key.path, value);
        let problems = problems(&text);
        let at = text.find(value).unwrap();
        let line = text[..at].matches('\n').count() + 1;
        let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
        let found = problems.iter().find(|problem| {
            problem.message.starts_with("expected ")
                && problem.message.ends_with(&format!(", found {kind}"))
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
        let mut reader = Reader::new(&sources);
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
        // So are values that stand elsewhere.
        let told = told
            || path.starts_with("tracing.headers.NAME.")
            || path.starts_with("metrics.headers.NAME.");
        assert!(listed || told, "{path} is read but not in the list");
    }
}

/// What the list says of a key that is left out, without quotes.
fn default_of(path: &str) -> String {
    let key = KEYS.iter().find(|key| key.path == path);
    let default = key.unwrap_or_else(|| panic!("{path}")).default();
    default.trim_matches('"').to_owned()
}

/// A default that is a duration, and what it follows from may stand behind it.
#[track_caller]
fn check_duration(path: &str, value: Duration) {
    let told = default_of(path);
    let told = told.split('"').next().unwrap();
    assert_eq!(scalar::duration(told), Ok(value), "{path}");
}

#[track_caller]
fn check_number(path: &str, value: &impl ToString) {
    assert_eq!(default_of(path), value.to_string(), "{path}");
}

#[test]
fn defaults_of_upstreams_are_those_of_the_model() {
    let upstream = &model(BASE).upstreams["default"];
    check_duration("upstream.NAME.slow_start", upstream.slow_start);
    check_number("upstream.NAME.panic", &upstream.panic);
    assert_eq!(
        upstream.hash_by,
        scalar::hash_by(&default_of("upstream.NAME.hash_by")).unwrap()
    );
    let none = (
        &upstream.probe,
        &upstream.hedge,
        &upstream.sticky,
        &upstream.discovery,
    );
    assert_eq!(none, (&None, &None, &None, &None));
    let endpoint = &upstream.endpoints[0];
    check_number("to.weight", &endpoint.weight);
    check_number("to.priority", &endpoint.priority);
    assert_eq!(endpoint.zone, None);

    let outlier = Outlier::default();
    assert_eq!(upstream.outlier, outlier);
    let key = |key: &str| format!("upstream.NAME.outlier.{key}");
    check_number(&key("consecutive"), &outlier.consecutive);
    check_number(&key("success_rate"), &outlier.success_rate);
    check_number(&key("min_requests"), &outlier.min_requests);
    check_number(&key("max_ejected"), &outlier.max_ejected);
    check_duration(&key("window"), outlier.window);
    check_duration(&key("base"), outlier.base);
    check_duration(&key("max"), outlier.max);

    let retry = Retry::default();
    assert_eq!(upstream.retry, retry);
    let key = |key: &str| format!("upstream.NAME.retry.{key}");
    check_number(&key("attempts"), &retry.attempts);
    check_number(&key("budget"), &retry.budget);
    check_number(&key("floor"), &retry.floor);
    assert_eq!(
        default_of(&key("statuses")),
        format!("{:?}", retry.statuses)
    );
    check_duration(&key("backoff"), retry.backoff);

    let hedge = Hedge::default();
    check_number("upstream.NAME.hedge.quantile", &hedge.quantile);
    check_duration("upstream.NAME.hedge.min_delay", hedge.min_delay);

    let limits = UpstreamLimits::default();
    assert_eq!(upstream.limits, limits);
    let key = |key: &str| format!("upstream.NAME.limits.{key}");
    check_number(&key("queue"), &limits.queue);
    check_number(&key("adaptive"), &limits.adaptive);
    check_duration(&key("queue_timeout"), limits.queue_timeout);
    let caps = (
        limits.endpoint_connections,
        limits.endpoint_requests,
        limits.requests,
    );
    assert_eq!(caps, (None, None, None));

    let probe = Probe::new(ProbeKind::Tcp);
    let key = |key: &str| format!("upstream.NAME.probe.{key}");
    check_duration(&key("interval"), probe.interval);
    check_duration(&key("timeout"), probe.timeout);
    check_number(&key("rise"), &probe.rise);
    check_number(&key("fall"), &probe.fall);
    assert_eq!(probe.port, None);

    let key = |key: &str| format!("upstream.NAME.discover.{key}");
    let asked = |key: &str| vec![scalar::registry(&default_of(key)).unwrap()];
    assert_eq!(Consul::new("a").agents, asked(&key("agents")));
    assert_eq!(Etcd::new("/a/").members, asked(&key("members")));
}

#[test]
fn defaults_of_logs_are_those_of_the_model() {
    let model = model(BASE);
    let text = default_of;
    assert_eq!(text("log.access"), "stdout");
    assert_eq!(model.log.access, AccessLog::Stdout);
    assert_eq!(text("log.level"), model.log.level);
    assert_eq!(text("log.format"), "auto");
    assert_eq!(model.log.format, LogFormat::Auto);
    assert_eq!(
        (text("log.sample"), model.log.sample),
        ("1".to_owned(), EVERY)
    );
    check_duration("log.slow", model.log.slow);
    assert_eq!(
        (text("log.skip"), &model.log.skip),
        ("[]".to_owned(), &Vec::new())
    );
    assert_eq!(model.log.rotate, Rotate::Off);
    assert_eq!(
        (text("log.events"), model.log.events),
        ("text".to_owned(), EventFormat::Text)
    );
    assert_eq!(
        (text("privacy"), model.privacy.gdpr),
        ("off".to_owned(), false)
    );
    assert_eq!(text("privacy.addresses"), "truncate");
    assert_eq!(model.privacy.addresses, Addresses::Truncate);
    assert_eq!(
        text("privacy.headers"),
        format!("{:?}", model.privacy.headers)
    );
    assert_eq!(model.privacy.retention, None);
}

#[test]
fn defaults_are_those_of_the_model() {
    let model = model(BASE);
    let text = default_of;
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
    // Two have none.
    assert_eq!(listed.count(), durations.len() + 2);
    assert_eq!((timeouts.total, timeouts.upgrade), (None, None));
    for (key, value) in durations {
        check_duration(&format!("timeouts.{key}"), value);
    }
    check_duration("dns.min_ttl", model.dns.min_ttl);
    check_duration("dns.max_ttl", model.dns.max_ttl);
    check_duration("dns.timeout", model.dns.timeout);
    check_duration("dns.grace", model.dns.grace);
    assert!(model.dns.servers.is_empty() && model.zone.is_none());
    assert_eq!(
        (text("admin.socket"), &model.admin_socket),
        ("off".to_owned(), &None)
    );
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
