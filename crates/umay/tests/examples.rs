//! What people copy works: every file in `examples`, and every configuration in the documents.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use umay_core::config::{self, Sources};
use umay_core::model::{CertificateSource, Model};
use umay_test::{Certs, Conn, Server, TempDir, answer, umay};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The examples by name.
fn examples() -> BTreeMap<String, String> {
    let entries = fs::read_dir(root().join("examples")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    // What is for systemd is in a directory of its own.
    paths.filter(|path| path.is_file()).map(read).collect()
}

/// A configuration in a directory of its own, with all files that the examples name.
struct Place {
    dir: TempDir,
    certs: Certs,
}

impl Place {
    fn new() -> Self {
        let certs = Certs::new();
        let dir = TempDir::new();
        let copy = |from: &Path, to: &str| dir.write(to, fs::read(from).unwrap());
        let site = certs.issue(&["www.example.com", "a.test"]);
        copy(&site.cert, "cert.pem");
        copy(&site.key, "key.pem");
        copy(&certs.ca(), "clients-ca.pem");
        copy(&certs.ca(), "internal-ca.pem");
        let shown = certs.client("umay", "umay.internal");
        copy(&shown.cert, "umay.pem");
        copy(&shown.key, "umay.key");
        let shop = ["shop.example.com", "www.shop.example.com"];
        for (name, hosts) in [("shop", &shop[..]), ("apps", &["*.apps.example.com"])] {
            let pair = certs.issue(hosts);
            copy(&pair.cert, &format!("certs/{name}.crt"));
            copy(&pair.key, &format!("certs/{name}.key"));
        }
        Self { dir, certs }
    }

    /// `umay check` on this text.
    fn check(&self, text: &str) -> Output {
        let file = self.dir.write("umay.toml", text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_umay"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("UMAY_") {
                command.env_remove(name);
            }
        }
        command.arg("check").arg(file).output().unwrap()
    }
}

#[track_caller]
fn load(name: &str, text: &str) -> Model {
    let mut sources = Sources {
        file: Some((PathBuf::from(name), text.to_owned())),
        ..Sources::default()
    };
    // What they refer to is not there.
    sources.complete(
        |entry| Err(format!("{entry:?}")),
        |_| Ok("value".to_owned()),
    );
    match config::load(&sources) {
        Ok(loaded) => {
            let warnings = config::render(&loaded.warnings, &sources, false);
            assert!(loaded.warnings.is_empty(), "{warnings}");
            loaded.model
        }
        Err(problems) => panic!("{}", config::render(&problems, &sources, false)),
    }
}

#[test]
fn every_example_is_good() {
    let place = Place::new();
    let examples = examples();
    assert!(examples.len() >= 9, "{:?}", examples.keys());
    for (name, text) in &examples {
        let checked = place.check(text);
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{name}:\n{said}");
        assert_eq!(
            checked.stdout, b"The configuration is good.\n",
            "{name}:\n{said}"
        );
        assert!(text.starts_with("# "), "{name} says not what it is for");
        // Without its certificates it is not: they were really read.
        if text.contains("cert.pem") {
            let gone = place.check(&text.replace("cert.pem", "gone.pem"));
            assert_eq!(gone.status.code(), Some(1), "{name}");
        }
    }
}

#[test]
fn every_example_is_listed_for_who_looks_for_one() {
    let page = fs::read_to_string(root().join("docs/config.md")).unwrap();
    for name in examples().keys() {
        let link = format!("(../examples/{name})");
        assert!(page.contains(&link), "docs/config.md does not name {name}");
    }
}

#[test]
fn the_first_example_has_four_lines() {
    let text = &examples()["https.toml"];
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(lines.count(), 4);
    let model = load("https.toml", text);
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let quoted = &blocks(&readme)[0];
    assert_eq!(load("https.toml", quoted), model);
}

/// The blocks of TOML in a document.
fn blocks(page: &str) -> Vec<String> {
    let begin = page.split("```toml\n").skip(1);
    begin
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn configurations_in_documents_load() {
    let mut pages = vec![root().join("README.md")];
    for dir in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(dir)).unwrap();
        pages.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let mut count = 0;
    for page in pages
        .iter()
        .filter(|page| page.extension().is_some_and(|kind| kind == "md"))
    {
        for block in blocks(&fs::read_to_string(page).unwrap()) {
            load(page.to_str().unwrap(), &block);
            count += 1;
        }
    }
    assert!(count >= 2, "{count}");
}

#[test]
fn certificates_of_the_directory_are_told_by_name() {
    let model = load("many-hosts.toml", &examples()["many-hosts.toml"]);
    let tls = model.listeners["0.0.0.0:443"].tls.as_ref().unwrap();
    assert_eq!(
        tls.certificates,
        [CertificateSource::Dir(PathBuf::from("certs"))]
    );
    let place = Place::new();
    let (shop, apps) = (Server::ok("shop"), Server::ok("apps"));
    let text = examples()["many-hosts.toml"]
        .replace("0.0.0.0:443", "127.0.0.1:0")
        .replace(
            "\"certs\"",
            &format!("{:?}", place.dir.path().join("certs")),
        )
        .replace("10.0.0.11:8080", &shop.addr().to_string())
        .replace(", \"http://10.0.0.12:8080\"", "")
        .replace("10.0.0.21:8080", &apps.addr().to_string())
        .replace(", \"http://10.0.0.22:8080\"", "");
    let umay = umay!().config(text).start();
    for (host, body) in [("shop.example.com", "shop"), ("a.apps.example.com", "apps")] {
        let mut conn = Conn::connect_tls(umay.addr(), &place.certs.trusting(), host).unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(conn.ask(request).unwrap().text(), body);
    }
}

#[test]
fn paths_and_headers_do_what_their_comments_say() {
    let echo = Server::http(|request| {
        let seen = format!(
            "{} {} {}",
            request.target(),
            request.get("host").unwrap_or_default(),
            request.get("cookie").is_some()
        );
        answer("200 OK", "Server: x\r\n", seen)
    });
    let text = examples()["paths-and-headers.toml"]
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace(", \"http://10.0.0.12:8080\"", "");
    let text = ["11", "13", "20", "99"].iter().fold(text, |text, host| {
        text.replace(&format!("10.0.0.{host}:8080"), &echo.addr().to_string())
    });
    let umay = umay!().config(text).start();
    let ask = |method: &str, target: &str, more: &str| {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: a.test\r\n{more}Connection: close\r\n\r\n"
        );
        umay.connect().ask(request).unwrap()
    };
    let api = ask("GET", "/api/users?a=b", "Cookie: a=b\r\n");
    assert_eq!(api.text(), "/v1/users?a=b api.internal false");
    assert_eq!(
        (api.get("server"), api.get("cache-control")),
        (None, Some("no-store"))
    );
    assert_eq!(ask("GET", "/apis", "").text(), "/apis a.test false");
    assert_eq!(
        ask("GET", "/api/uploads", "").text(),
        "/v1/uploads api.internal false"
    );
    let upload = ask("POST", "/api/uploads", "Content-Length: 0\r\n");
    assert_eq!(upload.text(), "/api/uploads a.test false");
    let moved = ask("GET", "/old", "");
    assert_eq!(moved.get("location"), Some("http://a.test/new"));
    assert_eq!(ask("GET", "/old/x", "").text(), "/old/x a.test false");
    assert_eq!(ask("GET", "/healthz", "").text(), "ok\n");
    let page = ask("GET", "/", "");
    assert_eq!(page.get("x-frame-options"), Some("DENY"));
}
