//! Privacy, through a running Umay in each mode with real requests: what of a client is in the log, and what
//! nobody ever finds there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use umay_test::{Server, TempDir, Umay, Value, eventually, umay};

/// Behind a proxy that is trusted, so that clients can be anybody.
fn with(endpoint: &Server, more: &str) -> Umay {
    umay!("{}", config(endpoint, more))
}

fn config(endpoint: &Server, more: &str) -> String {
    let endpoint = endpoint.addr();
    format!(
        "{more}\n[[listener]]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [[route]]\nto = \"http://{endpoint}\"\n"
    )
}

const SECRETS: [&str; 7] = [
    "hunter1", "hunter2", "hunter3", "hunter4", "hunter5", "hunter6", "hunter7",
];

/// A request of this client with all that may not be told.
fn ask(umay: &Umay, client: &str, path: &str) -> Value {
    let request = format!(
        "GET {path};jsessionid=hunter1?access_token=hunter2&name=Ada&mail HTTP/1.1\r\nHost: a.test\r\n\
         X-Forwarded-For: {client}\r\nAuthorization: Bearer hunter3\r\nCookie: id=hunter4\r\n\
         Proxy-Authorization: Basic hunter5\r\nX-Api-Key: hunter6\r\nUser-Agent: curl/8 (Ada)\r\n\
         Referer: https://me:hunter7@b.test/of?q=Ada\r\n\r\n"
    );
    assert_eq!(umay.connect().ask(request).unwrap().status(), 200);
    let line = umay.wait_log(|line| line["path"].as_str().is_some_and(|p| p.starts_with(path)));
    let told = umay.stdout() + &umay.events() + &umay.admin_get("/metrics").text();
    for secret in SECRETS {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    line
}

fn ip(line: &Value) -> &str {
    line["client_ip"].as_str().unwrap()
}

#[test]
fn credentials_are_never_told() {
    let endpoint = Server::ok("hi");
    let line = ask(&with(&endpoint, ""), "203.0.113.77", "/x");
    assert_eq!(ip(&line), "203.0.113.77");
    assert_eq!(line["client_ip_source"], "forwarded");
    assert_eq!(line["path"], "/x;jsessionid=***");
    assert_eq!(line["query"], "access_token=***&name=Ada&mail");
    assert_eq!(line["user_agent"], "curl/8 (Ada)");
    assert_eq!(line["referer"], "https://***@b.test/of?q=Ada");
    // The endpoint gets all of it.
    let seen = endpoint.recorded_text();
    assert!(SECRETS[..4].iter().all(|secret| seen.contains(secret)));
}

#[test]
fn addresses_are_shortened_and_values_hidden() {
    let endpoint = Server::ok("hi");
    let umay = with(&endpoint, "[privacy]\nmode = \"gdpr\"");
    let clients = [
        ("203.0.113.77", "203.0.113.0"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3::4", "2001:db8:1::"),
        ("2002:cb00:714d::1", "2002:cb00:7100::"),
    ];
    for (at, (client, shown)) in clients.into_iter().enumerate() {
        let line = ask(&umay, client, &format!("/{at}"));
        assert_eq!(ip(&line), shown, "{client}");
        assert_eq!(line["query"], "access_token=***&name=***&***");
        assert_eq!(
            (&line["user_agent"], &line["referer"]),
            (&"***".into(), &"***".into())
        );
        assert_eq!(line["peer"], "127.0.0.0");
        assert!(line.get("client_port").is_none());
    }
    for told in ["203.0.113.77", "714d", "Ada"] {
        assert!(!umay.stdout().contains(told), "{told}");
    }
    // The endpoint still knows who it is.
    assert!(endpoint.recorded_text().contains("203.0.113.77"));
}

#[test]
fn hashes_are_stable_and_of_this_process_alone() {
    let endpoint = Server::ok("hi");
    let text = "[privacy]\naddresses = \"hash\"\nheaders = []";
    let umay = with(&endpoint, text);
    let first = ask(&umay, "203.0.113.77", "/a");
    let hash = ip(&first).to_owned();
    assert!(
        hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
        "{hash}"
    );
    assert_eq!(ip(&ask(&umay, "::ffff:203.0.113.77", "/b")), hash);
    assert_ne!(ip(&ask(&umay, "203.0.113.78", "/c")), hash);
    // What is not in the list of headers is told, without what would not be told of a query.
    assert_eq!(first["user_agent"], "curl/8 (Ada)");
    assert_eq!(first["referer"], "https://***@b.test/of?q=***");
    // A reload changes no key, although there is another log then.
    assert!(umay.reload(config(&endpoint, &format!("log.slow = \"2s\"\n{text}"))));
    assert_eq!(ip(&ask(&umay, "203.0.113.77", "/d")), hash);
    // Another process has another key.
    let other = with(&endpoint, text);
    assert_ne!(ip(&ask(&other, "203.0.113.77", "/a")), hash);
}

/// Whoever has the log, and not the key, cannot find the address by trying all: the hash is none that can be
/// made without a key.
#[test]
fn hashes_cannot_be_found_by_trying() {
    let endpoint = Server::ok("hi");
    let umay = with(&endpoint, "[privacy]\naddresses = \"hash\"");
    let hashes: HashSet<_> = (0..20)
        .map(|n| ip(&ask(&umay, &format!("203.0.113.{n}"), &format!("/{n}"))).to_owned())
        .collect();
    assert_eq!(hashes.len(), 20);
    for zero_key in [[0; 16], [1; 16], [0xff; 16]] {
        let key = umay_core::privacy::Key::new(zero_key);
        for n in 0..=255 {
            let tried = umay_core::privacy::hashed(key, [203, 0, 113, n].into());
            assert!(!hashes.contains(std::str::from_utf8(&tried).unwrap()));
        }
    }
}

#[test]
fn a_stream_is_private_too() {
    let endpoint = Server::echo();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\nprivacy = \"gdpr\"\n",
        endpoint.addr()
    );
    let mut conn = umay.connect();
    conn.send("abc").unwrap();
    conn.half_close().unwrap();
    conn.read_to_end().unwrap();
    let line = umay.wait_log(|line| line["proto"] == "tcp");
    assert_eq!(ip(&line), "127.0.0.0");
    assert!(line.get("client_port").is_none());
}

/// What is left of the days before goes when its time has come, and nothing else does.
#[test]
fn old_lines_are_deleted_at_the_start() {
    let dir = TempDir::new();
    let file = dir.path().join("access.log");
    // Of the day before yesterday, at the least.
    dir.write("access.log", "{\"path\":\"/old\"}\n");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 86_400);
    fs::File::options()
        .append(true)
        .open(&file)
        .unwrap()
        .set_modified(old)
        .unwrap();
    dir.write("access.log.2020-01-01", "mine\n");
    let endpoint = Server::ok("hi");
    let umay = with(
        &endpoint,
        &format!("log.access = {file:?}\nprivacy.retention = \"1d\""),
    );
    umay.wait_event("its lines are as old as `privacy.retention` allows");
    umay.get("a.test", "/new");
    eventually("the new line", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        (text.contains("/new") && !text.contains("/old")).then_some(())
    });
    assert!(dir.path().join("access.log.2020-01-01").exists());
    let names = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 3, "the log, its list, and what is not Umay's");
}

fn report(config: &str, format: &str) -> String {
    let dir = TempDir::new();
    let path = dir.write("umay.toml", config);
    let out = Command::new(env!("CARGO_BIN_EXE_umay"))
        .args([
            "privacy",
            "report",
            path.to_str().unwrap(),
            "--format",
            format,
        ])
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// With every kind of place.
const ALL: &str = "[[listener]]\nlisten = \"127.0.0.1:1\"\ncert = \"a\"\nkey = \"a\"\n\
    [[route]]\nhost = \"a.example\"\nto = \"app\"\nrequest_headers.set = { X-Client = \"{client.ip}\" }\n\
    [[route]]\nto = \"original-destination\"\n\
    [upstream.app]\nto = \"https://a.example\"\nsticky = \"umay\"\nbalance = \"consistent_hash\"\n\
    [privacy]\naddresses = \"hash\"\n[tracing]\nendpoint = \"http://collector:4318\"\n";

#[test]
fn the_report_and_the_page_have_the_same_places() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/privacy.md");
    let page = fs::read_to_string(page).unwrap();
    let rows: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(kind, _)| kind.to_owned())
        .collect();
    let reported: Vec<Value> = serde_json(&report(ALL, "json"));
    let mut kinds: Vec<_> = reported
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap().to_owned())
        .collect();
    kinds.dedup();
    assert_eq!(rows, kinds);
    let all = umay_core::inventory::Kind::ALL;
    assert_eq!(
        kinds,
        all.iter().map(|kind| kind.as_str()).collect::<Vec<_>>()
    );
    for entry in &reported {
        for member in ["place", "data", "protection", "kept"] {
            assert!(!entry[member].as_str().unwrap().is_empty(), "{entry}");
        }
    }
    let text = report(ALL, "text");
    for kind in all {
        assert!(text.contains(&format!("{}: ", kind.as_str())), "{text}");
    }
}

fn serde_json(text: &str) -> Vec<Value> {
    let value: Value = text.parse().unwrap();
    value.as_array().unwrap().clone()
}
