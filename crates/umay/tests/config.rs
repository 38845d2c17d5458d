//! What the command line tells of a configuration: `check`, `explain`, `config show`, `config schema`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use umay_test::{Certs, Server, TempDir, programs};

/// What `umay` says in a directory: its code, standard output and standard error.
fn umay(dir: &TempDir, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umay"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("UMAY_") {
            command.env_remove(name);
        }
    }
    command.env("TOKEN_OF_TEST", "Bearer s3cret");
    let output = command.current_dir(dir.path()).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Two listeners, with TLS and without, and routes in a directory of documents.
fn site(certs: &Certs, to: &str) -> TempDir {
    let dir = TempDir::new();
    let pair = certs.issue(&["a.example", "*.b.example"]);
    dir.write("cert.pem", fs::read(&pair.cert).unwrap());
    dir.write("key.pem", fs::read(&pair.key).unwrap());
    dir.write(
        "umay.toml",
        "include = [\"conf.d/*.toml\"]\nlisten = \"127.0.0.1:443\"\ncert = \"cert.pem\"\nkey = \"key.pem\"\n",
    );
    dir.write(
        "conf.d/1-plain.toml",
        "[[listener]]\nname = \"plain\"\nlisten = \"127.0.0.1:80\"\n[[route]]\nname = \"secure\"\nlisteners = [\"plain\"]\nredirect = \"https\"\n",
    );
    let api = format!(
        "[[route]]\nname = \"api\"\nhost = \"a.example\"\npath = \"/api\"\nto = \"app\"\nrequest_headers.set = {{ Authorization = {{ env = \"TOKEN_OF_TEST\" }}, X-Key = {{ file = \"key\" }} }}\n[upstream.app]\nto = \"http://{to}\"\n"
    );
    dir.write("conf.d/2-api.toml", api);
    dir.write("conf.d/key", "s3cret\n");
    dir.write("conf.d/.hidden.toml", "nonsense");
    dir.write("conf.d/2-api.toml~", "nonsense");
    dir
}

#[test]
fn documents_are_included_and_told() {
    let dir = site(&Certs::new(), "127.0.0.1:1");
    let (code, out, err) = umay(&dir, &["check", "umay.toml"]);
    assert_eq!(
        (code, out.as_str()),
        (0, "The configuration is good.\n"),
        "{err}"
    );
    let documents = "read, documents: conf.d/1-plain.toml, conf.d/2-api.toml, umay.toml\n";
    assert!(err.contains(documents), "{err}");
    assert!(err.contains("read, values: conf.d/key\n"), "{err}");
    assert!(
        err.contains("read, certificates and keys: cert.pem, key.pem\n"),
        "{err}"
    );
    dir.write("conf.d/3.toml", "[timeouts]\nbody = 7\n");
    let (code, _, err) = umay(&dir, &["check", "umay.toml"]);
    assert!(code == 1 && err.contains("--> conf.d/3.toml:2:8"), "{err}");
    for (include, error) in [
        ("[\"gone\"]", "cannot read gone: No such file"),
        (
            "[\"gone/*.toml\"]",
            "cannot read the directory gone: No such file",
        ),
    ] {
        let text = format!("include = {include}\nlisten = \"127.0.0.1:0\"\nto = \"a:1\"\n");
        dir.write("gone.toml", text);
        let (code, _, err) = umay(&dir, &["check", "gone.toml"]);
        assert!(code == 1 && err.contains(error), "{err}");
    }
    dir.write("key-file", vec![b'x'; 65 * 1024]);
    let large = "listen = \"127.0.0.1:0\"\n[[route]]\nto = \"http://a\"\nrequest_headers.set = { X-Key = { file = \"key-file\" } }\n";
    dir.write("large.toml", large);
    let (code, _, err) = umay(&dir, &["check", "large.toml"]);
    assert!(
        code == 1 && err.contains("it is larger than 64 KiB"),
        "{err}"
    );
}

#[test]
fn certificates_are_held_against_hosts_and_the_calendar() {
    let dir = site(&Certs::new(), "127.0.0.1:1");
    let certs = Certs::new();
    let pair = certs.issue(&["other.example"]);
    dir.write("other.key", fs::read(&pair.key).unwrap());
    let route = |host: &str| {
        format!("[[route]]\nhost = \"{host}\"\nlisteners = [\"127.0.0.1:443\"]\nto = \"app\"\n")
    };
    for (host, covered) in [
        ("x.b.example", true),
        ("*.b.example", true),
        ("x.y.b.example", false),
        ("b.example", false),
        ("c.example", false),
        ("*.a.example", false),
        ("10.0.0.1", true),
    ] {
        dir.write("conf.d/3.toml", route(host));
        let (code, out, err) = umay(&dir, &["check", "umay.toml"]);
        let told = err.contains(&format!("no certificate covers `{host}` of route"));
        assert_eq!((code, told), (0, !covered), "{host}\n{out}{err}");
    }
    // Clients do not know this one; for the calendar that makes no difference.
    for (days, soon) in [("20", true), ("22", false)] {
        let mut command = Command::new("openssl");
        let args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=a -addext subjectAltName=DNS:a.example -keyout soon.key -out soon.pem -days";
        command
            .current_dir(dir.path())
            .args(args.split(' '))
            .arg(days);
        assert!(command.output().unwrap().status.success());
        let text =
            "listen = \"127.0.0.1:443\"\ncert = \"soon.pem\"\nkey = \"soon.key\"\nto = \"a:1\"\n";
        dir.write("soon.toml", text);
        let (code, _, err) = umay(&dir, &["check", "soon.toml"]);
        let told = err.contains("soon.pem expires in ") && err.contains("soon.toml:2:8");
        assert_eq!((code, told), (0, soon), "{err}");
    }
    // A key that does not fit.
    let text =
        "listen = \"127.0.0.1:443\"\ncert = \"cert.pem\"\nkey = \"other.key\"\nto = \"a:1\"\n";
    dir.write("key.toml", text);
    let (code, _, err) = umay(&dir, &["check", "key.toml"]);
    assert!(
        code == 1 && err.contains("is not for the key in other.key"),
        "{err}"
    );
}

#[test]
fn explanations_say_which_route_and_why_not_the_others() {
    let dir = site(&Certs::new(), "127.0.0.1:1");
    let (code, out, err) = umay(&dir, &["explain", "https://a.example/api/x?y", "umay.toml"]);
    assert_eq!(code, 0, "{err}");
    for part in [
        "  listener     127.0.0.1:443 on 127.0.0.1:443, TLS is opened here\n",
        "  certificate  a.example, *.b.example (cert.pem, until ",
        "  route        api (conf.d/2-api.toml:1:1)\n",
        "  filters      request headers: set Authorization, X-Key\n",
        "  to           upstream app, balance ",
        "               http://127.0.0.1:1\n",
        "  not secure: it is only for listener `plain`; it sends clients to HTTPS, and this one is there\n",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    assert!(!out.contains('\u{1b}') && !out.contains("s3cret"), "{out}");
    let (code, out, _) = umay(
        &dir,
        &[
            "explain",
            "https://a.example/",
            "umay.toml",
            "--format",
            "json",
        ],
    );
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told[0]["route"]), (1, &Value::Null));
    assert_eq!(told[0]["others"][1]["why"][0], "path / is not below /api");
    let (code, out, _) = umay(&dir, &["explain", "http://x.example/", "umay.toml"]);
    assert!(
        code == 0 && out.contains("redirect 308 to scheme https"),
        "{out}"
    );
    let (code, out, _) = umay(
        &dir,
        &["explain", "https://nobody.example/api", "umay.toml"],
    );
    assert!(
        code == 1 && out.contains("the handshake is refused: no certificate for nobody.example"),
        "{out}"
    );
    let (code, out, _) = umay(&dir, &["explain", "tls:a.example", "umay.toml"]);
    assert!(
        code == 1 && out.contains("not api: it takes only HTTP"),
        "{out}"
    );
    // TLS that nobody opens is as good as any other bytes.
    let raw = "listen = \"127.0.0.1:1\"\nto = \"tcp://127.0.0.1:2\"\n";
    dir.write("raw.toml", raw);
    for (target, note) in [
        ("tls:db.example", "opens no TLS"),
        ("https://a.example/", "opens no TLS"),
        ("http://a.example/", "no route of this listener takes HTTP"),
    ] {
        let (code, out, _) = umay(&dir, &["explain", target, "raw.toml"]);
        assert!(code == 0 && out.contains(note), "{target} {out}");
        assert!(
            out.contains("  route        default (raw.toml:2:6)\n"),
            "{out}"
        );
    }
    for (target, error) in [
        ("https://a.example:444/", "no listener is on port 444"),
        ("ftp://a.example/", "begin with https://"),
        ("https:///x", "this URL has no host"),
    ] {
        let (code, _, err) = umay(&dir, &["explain", target, "umay.toml"]);
        assert!(code != 0 && err.contains(error), "{err}");
    }
}

#[test]
fn what_is_shown_does_the_same() {
    let dir = site(&Certs::new(), "127.0.0.1:1");
    let (code, shown, err) = umay(&dir, &["config", "show", "umay.toml"]);
    assert_eq!(code, 0, "{err}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(
        shown.contains("X-Key = { file = \"conf.d/key\" }\n"),
        "{shown}"
    );
    dir.write("shown.toml", &shown);
    let (code, again, err) = umay(&dir, &["config", "show", "shown.toml"]);
    assert_eq!((code, again), (0, shown), "{err}");
    let (_, out, _) = umay(
        &dir,
        &["config", "show", "umay.toml", "--origin", "--to", "a:1"],
    );
    for line in [
        "to = \"a:1\"  # flag --to",
        "Authorization = { env = \"TOKEN_OF_TEST\" }  # conf.d/2-api.toml:6:41",
        "connect = \"3s\"  # default",
    ] {
        assert!(out.lines().any(|have| have == line), "{line}\n{out}");
    }
    let (_, out, _) = umay(&dir, &["config", "show", "umay.toml", "--format", "json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["timeouts"]["connect"], "3s");
}

#[test]
fn endpoints_are_asked_only_if_wanted() {
    let server = Server::ok("hi");
    let dir = site(&Certs::new(), &server.addr().to_string());
    let (code, out, err) = umay(&dir, &["check", "umay.toml", "--probe"]);
    let line = format!("ok   app http://{}: connected\n", server.addr());
    assert!(code == 0 && out.contains(&line), "{out}{err}");
    assert!(
        out.ends_with("All that was asked has answered: 1.\n"),
        "{out}"
    );
    // Plaintext where TLS is spoken is not verified.
    let text = fs::read_to_string(dir.path().join("conf.d/2-api.toml")).unwrap();
    dir.write(
        "conf.d/2-api.toml",
        text.replace("http://127", "https://127"),
    );
    let (code, out, _) = umay(&dir, &["check", "umay.toml"]);
    assert_eq!((code, out.as_str()), (0, "The configuration is good.\n"));
    let (code, out, _) = umay(&dir, &["check", "umay.toml", "--probe", "--format", "json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &told["endpoints"][0]["ok"]),
        (1, &Value::Bool(false)),
        "{told}"
    );
}

/// Documents that have a type or a key wrong, from the golden files of the pure crate.
fn wrong(name: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../umay-core/tests/wrong");
    let text = fs::read_to_string(root.join(name)).unwrap();
    let cases = text.split("=== ").skip(1);
    let document = |case: &str| {
        let (_, rest) = case.split_once('\n').unwrap();
        rest.split_once("---\n").unwrap().0.to_owned()
    };
    cases.map(document).collect()
}

/// What people copy: the examples and the blocks in documents.
fn right() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = |dir: &str| {
        let entries = fs::read_dir(root.join(dir)).unwrap();
        let paths = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file());
        paths.collect::<Vec<PathBuf>>()
    };
    let mut all = Vec::new();
    for example in list("examples") {
        all.push(fs::read_to_string(example).unwrap());
    }
    for page in [
        list("docs"),
        list("docs/decisions"),
        vec![root.join("README.md")],
    ]
    .concat()
    {
        let text = fs::read_to_string(page).unwrap_or_default();
        let blocks = text.split("```toml\n").skip(1);
        all.extend(blocks.map(|block| block.split("```").next().unwrap().to_owned()));
    }
    all
}

#[test]
fn the_schema_takes_what_is_right_and_nothing_else() {
    let dir = TempDir::new();
    let (code, schema, _) = umay(&dir, &["config", "schema"]);
    assert_eq!(code, 0);
    let schema = dir.write("schema.json", schema);
    let mut paths = vec![schema.to_str().unwrap().to_owned()];
    let mut write = |kind: &str, documents: Vec<String>| {
        for (at, text) in documents.iter().enumerate() {
            let path = dir.write(&format!("{kind}-{at:03}.toml"), text);
            paths.push(path.to_str().unwrap().to_owned());
        }
        documents.len()
    };
    assert!(write("right", right()) > 15);
    let count = write("types", wrong("types.txt")) + write("names", wrong("names.txt"));
    let args: Vec<_> = paths.iter().map(String::as_str).collect();
    let told = programs::python("schema.py", &args);
    let refused: Vec<_> = told.lines().collect();
    let wrongly = refused.iter().find(|line| line.contains("/right-"));
    assert_eq!(wrongly, None);
    let let_through = paths[1..].iter().filter(|path| {
        !path.contains("/right-") && !refused.iter().any(|line| line.starts_with(*path))
    });
    let let_through: Vec<_> = let_through
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert!(let_through.is_empty(), "{}", let_through.join("\n"));
    assert_eq!(refused.len(), count);
}
