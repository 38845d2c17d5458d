//! Ways to start: four lines of a file, flags, the environment, the demo; and ways that must fail.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::collections::BTreeSet;

use umay_test::{Certs, Conn, GET, Server, Setup, TempDir, programs, umay};

#[test]
fn four_lines_are_https_with_two_endpoints() {
    let certs = Certs::new();
    let (one, two) = (Server::ok("one"), Server::ok("two"));
    let text = format!(
        "listen = \"127.0.0.1:0\"\n{}to = [\"{}\", \"{}\"]\n",
        certs.issue(&["a.test"]).toml(),
        one.addr(),
        two.addr()
    );
    assert_eq!(text.lines().count(), 4);
    let umay = umay!().config(&text).start();
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap();
    let mut answers = BTreeSet::new();
    for _ in 0..100 {
        answers.insert(conn.ask(GET).unwrap().text());
    }
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn flags_alone_are_enough() {
    let certs = Certs::new();
    let (one, two) = (certs.issue(&["one.test"]), certs.issue(&["two.test"]));
    let endpoint = Server::ok("hi");
    let mut args = vec!["run", "--listen", "127.0.0.1:0"];
    for pair in [&one, &two] {
        args.extend(["--cert", pair.cert.to_str().unwrap()]);
        args.extend(["--key", pair.key.to_str().unwrap()]);
    }
    let to = format!("{0},tcp://{0}", endpoint.addr());
    args.extend(["--to", &to]);
    let umay = umay!().args(args).start();
    assert_eq!(umay.get("one.test", "/").text(), "hi");
    for name in ["one.test", "two.test"] {
        let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), name).unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
        assert_eq!(conn.ask(request).unwrap().text(), "hi");
    }
}

#[test]
fn the_environment_alone_is_enough() {
    let endpoint = Server::ok("hi");
    let umay = umay!()
        .args(["run"])
        .env("UMAY_LISTEN", "127.0.0.1:0")
        .env("UMAY_TO", endpoint.addr().to_string())
        .env("UMAY_LOG__ACCESS", "off")
        .env("UMAY_TIMEOUTS__HEADER", "5s")
        .start();
    assert_eq!(umay.get("a.test", "/").text(), "hi");
    assert!(umay.log().is_empty());
}

#[test]
fn flags_come_before_the_environment_and_that_before_the_file() {
    let servers = ["file", "environment", "flag"].map(Server::ok);
    let [file, environment, flag] = servers.each_ref().map(|server| server.addr().to_string());
    let setup = || {
        let text = format!("listen = \"127.0.0.1:0\"\nto = \"{file}\"\n");
        umay!().config(text)
    };
    assert_eq!(setup().start().get("a", "/").text(), "file");
    let setup = || setup().env("UMAY_TO", &environment);
    assert_eq!(setup().start().get("a", "/").text(), "environment");
    let setup = setup().args(["--to", &flag]);
    assert_eq!(setup.start().get("a", "/").text(), "flag");
}

#[test]
fn the_admin_listener_can_be_off() {
    let endpoint = Server::ok("hi");
    let text = format!("listen = \"127.0.0.1:0\"\nto = \"{}\"\n", endpoint.addr());
    let umay = umay!().config(text).env("UMAY_ADMIN__BIND", "off").start();
    assert_eq!(umay.get("a", "/").text(), "hi");
    assert!(!umay.events().contains("admin addr="));
}

/// A file of endpoints that is not there yet, or not good, is told at the start, and may come later.
#[test]
fn a_doubtful_file_of_endpoints_is_a_warning() {
    let dir = TempDir::new();
    let file = dir.path().join("endpoints.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nto = \"app\"\n[upstream.app.discover]\nfile = {file:?}\n"
    );
    let config = dir.write("umay.toml", &text);
    let check = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_umay"));
        let checked = command.arg("check").arg(&config).output().unwrap();
        assert!(checked.status.success());
        let verdict = String::from_utf8(checked.stdout).unwrap();
        (String::from_utf8(checked.stderr).unwrap(), verdict)
    };
    let (said, verdict) = check();
    assert!(said.contains("endpoints.toml does not exist yet"), "{said}");
    assert!(said.contains("umay.toml:4:8"), "{said}");
    let usable = "The configuration can be used; warnings: 1.\n";
    assert!(verdict.ends_with(usable), "{verdict}");
    let umay = umay!().config(&text).start();
    let line = umay.wait_event("does not exist yet");
    assert!(
        line.contains("WARN") && line.contains("umay.toml:4:8"),
        "{line}"
    );
    dir.write("endpoints.toml", "endpoints = [\n  7,\n]\n");
    let (said, _) = check();
    assert!(
        said.contains("endpoints.toml:2:3: an endpoint is text"),
        "{said}"
    );
    dir.write("endpoints.toml", "endpoints = [\"127.0.0.1:1\"]\n");
    let (said, verdict) = check();
    assert!(!said.contains("warning"), "{said}");
    assert!(
        verdict.ends_with("The configuration is good.\n"),
        "{verdict}"
    );
}

/// A certificate that is shown to endpoints is looked at like those that clients see.
#[test]
fn an_expired_certificate_for_endpoints_is_a_warning() {
    let certs = Certs::new();
    let pair = certs.expired(&["umay.test"]);
    let text = format!(
        "listen = \"127.0.0.1:0\"\nto = \"app\"\n[upstream.app]\nto = \"https://127.0.0.1:1\"\n\
         [upstream.app.tls]\nca = {:?}\n{}",
        certs.ca(),
        pair.toml()
    );
    let umay = umay!().config(text).start();
    let line = umay.wait_event("expired on");
    assert!(
        line.contains("WARN") && line.contains("umay.toml:7:"),
        "{line}"
    );
}

/// Starts with this file, which must fail with code 1, and gives what was said.
#[track_caller]
fn refused(text: &str) -> String {
    let failure = umay!().config(text).fails();
    assert_eq!(failure.code, 1, "{}", failure.stderr);
    failure.stderr
}

#[test]
fn a_bad_file_is_told_with_its_place() {
    for (text, place, word) in [
        (
            "listen = \"127.0.0.1:0\"\nto = \"127.0.0.1:1\"\nlissten = 1\n",
            ":3:1",
            "lissten",
        ),
        ("listen = \"127.0.0.1:0\"\nto = 7\n", ":2:6", "to"),
        (
            "listen = \"127.0.0.1\"\nto = \"127.0.0.1:1\"\n",
            ":1:10",
            "127.0.0.1",
        ),
        (
            "listen = \"127.0.0.1:0\"\nto = \"127.0.0.1:1\"\ntimeouts.connect = \"3\"\n",
            ":3:",
            "3",
        ),
        (
            "listen = \"127.0.0.1:0\"\n[[route]]\npath = \"a\"\nto = \"127.0.0.1:1\"\n",
            ":3:8",
            "path",
        ),
        ("listen = \"127.0.0.1:0\"\nto = \n", ":2:", ""),
    ] {
        let said = refused(text);
        assert!(
            said.contains(&format!("umay.toml{place}")),
            "{place} for {text:?}:\n{said}"
        );
        assert!(said.contains(word), "{word} for {text:?}:\n{said}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let said = refused("listen = \"nowhere\"\ntimeouts.body = 0\nto = \"http://\"\n");
    for place in ["umay.toml:1:", "umay.toml:2:", "umay.toml:3:"] {
        assert!(said.contains(place), "{place} in:\n{said}");
    }
}

#[test]
fn bad_certificates_are_told_with_their_files() {
    let certs = Certs::new();
    let (one, two) = (certs.issue(&["one.test"]), certs.issue(&["two.test"]));
    let with = |cert: &str, key: &str| {
        let files = format!("cert = {cert:?}\nkey = {key:?}");
        refused(&format!(
            "listen = \"127.0.0.1:0\"\n{files}\nto = \"127.0.0.1:1\"\n"
        ))
    };
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (cert, key, other) = (text(&one.cert), text(&one.key), text(&two.key));
    let said = with(&cert, &other);
    assert!(said.contains(&cert) || said.contains(&other), "{said}");
    let said = with("/nowhere/a.crt", &key);
    assert!(said.contains("/nowhere/a.crt"), "{said}");
    let said = with(&key, &key);
    assert!(said.contains(&key), "{said}");
}

#[test]
fn keys_come_in_every_format() {
    let certs = Certs::new();
    let dir = TempDir::new();
    let openssl = |args: &[&str]| {
        let output = programs::run("openssl", args, b"");
        assert!(output.status.success(), "{output:?}");
    };
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let ec = certs.issue(&["ec.test"]);
    openssl(&[
        "ec",
        "-in",
        ec.key.to_str().unwrap(),
        "-out",
        &path("sec1.key"),
    ]);
    let rsa = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=rsa.test",
    ];
    let san = ["-addext", "subjectAltName=DNS:rsa.test"];
    let (key, cert) = (path("pkcs8.key"), path("rsa.crt"));
    openssl(&[&rsa[..], &san[..], &["-keyout", &key, "-out", &cert]].concat());
    openssl(&[
        "rsa",
        "-traditional",
        "-in",
        &key,
        "-out",
        &path("pkcs1.key"),
    ]);
    let first = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    assert!(first("sec1.key").contains("BEGIN EC PRIVATE KEY"));
    assert!(first("pkcs1.key").contains("BEGIN RSA PRIVATE KEY"));
    let endpoint = Server::ok("hi");
    for (cert, key) in [
        (ec.cert.to_str().unwrap(), path("sec1.key")),
        (&cert, path("pkcs1.key")),
        (&cert, path("pkcs8.key")),
    ] {
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\ncert = {cert:?}\nkey = {key:?}\nto = \"{}\"\n",
            endpoint.addr()
        );
        let url = format!("https://{}/", umay.addr());
        assert_eq!(
            programs::curl(["-k", "-H", "Host: ec.test", &url]).trim(),
            "hi",
            "{key}"
        );
    }
}

#[test]
fn a_taken_address_is_told() {
    let endpoint = Server::ok("hi");
    let to = endpoint.addr();
    let said = refused(&format!("listen = \"{to}\"\nto = \"{to}\"\n"));
    assert!(said.contains(&to.to_string()), "{said}");
}

#[test]
fn help_and_version_are_there() {
    let program = env!("CARGO_BIN_EXE_umay");
    for (args, word) in [
        (["--help"], "demo"),
        (["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = programs::run(program, args, b"");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains(word),
            "{args:?}: {output:?}"
        );
    }
    let output = programs::run(program, ["no-such-command"], b"");
    assert!(!output.status.success());
}

/// The commands that the demo prints.
fn printed_commands(setup: Setup) -> (umay_test::Umay, Vec<String>) {
    let umay = setup.start();
    let text = umay_test::eventually("what the demo prints", || {
        let text = umay.stdout();
        text.contains("Ctrl-C").then_some(text)
    });
    let (_, tries) = text.split_once("Try").unwrap();
    let (tries, _) = tries.split_once("To type yourself").unwrap();
    let commands = tries.lines().filter_map(|line| line.strip_prefix("  "));
    let commands = commands.filter(|line| !line.starts_with('#'));
    let commands = commands.map(str::to_owned).collect();
    (umay, commands)
}

#[test]
fn the_demo_does_what_it_says() {
    let setup = umay!()
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("UMAY_LOG__LEVEL", "info");
    let (umay, commands) = printed_commands(setup);
    assert!(commands.len() >= 6, "{commands:?}");
    for command in commands {
        let output = programs::run("sh", ["-c", &command], b"");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = if command.contains("/ws") {
            "101 Switching Protocols"
        } else if command.contains("/headers") {
            "x-forwarded-for"
        } else if command.contains("metrics") {
            "umay_protocol_detected"
        } else if command.contains("echo hello") {
            "hello"
        } else {
            "Hello from endpoint"
        };
        assert!(text.contains(expected), "{command}: {output:?}");
    }
    drop(umay);
}
