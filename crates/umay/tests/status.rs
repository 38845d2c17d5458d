//! `/status` and `umay status`: every member is documented, numbers are right, and what is wrong is told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use umay_test::{
    Certs, Conn, GET, Refusing, Server, Signal, TempDir, Umay, Value, answer, eventually, json,
    umay,
};

/// `umay status` with these arguments: its code, standard output and standard error.
fn status_with(args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umay"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("UMAY_") {
            command.env_remove(name);
        }
    }
    command.env_remove("COLUMNS").arg("status").args(args);
    let output = command.envs(env.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The same of a Umay, since its start.
fn status(umay: &Umay, args: &[&str]) -> (i32, String) {
    let admin = umay.admin().to_string();
    let all = [&["--admin", &admin, "--interval", "0"], args].concat();
    let (code, out, err) = status_with(&all, &[]);
    assert_eq!(err, "");
    (code, out)
}

fn document(umay: &Umay) -> Value {
    umay.admin_get("/status").text().parse().unwrap()
}

/// The paths of all members. An object whose keys are words that are counted is one member.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    const COUNTED: [&str; 8] = [
        "protocols",
        "statuses",
        "ended",
        "refusals",
        "reasons",
        "classes",
        "attempts",
        "buckets",
    ];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = match at {
                    "" => name.clone(),
                    at => format!("{at}.{name}"),
                };
                if COUNTED.contains(&name.as_str()) {
                    assert!(member.is_object(), "{path}");
                    found.insert(format!("{path}{{}}"));
                } else {
                    paths(member, &path, found);
                }
            }
        }
        Value::Array(items) => {
            let at = format!("{at}[]");
            for item in items {
                paths(item, &at, found);
            }
        }
        _ => {
            found.insert(at.to_owned());
        }
    }
}

/// One Umay with something in every part of the document, and what it needs.
fn busy() -> (Umay, (Server, Server, Refusing, Certs)) {
    let (web, raw, bad) = (Server::ok("hi"), Server::echo(), Refusing::new());
    let certs = Certs::new();
    let pair = certs.issue(&["a.test"]);
    let umay = umay!(
        "[[listener]]\nname = \"web\"\nlisten = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"raw\"\nlisten = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"tls\"\nlisten = \"127.0.0.1:0\"\n{}\
         [[route]]\nname = \"site\"\nlisteners = [\"web\", \"tls\"]\nhost = \"a.test\"\nto = \"app\"\n\
         [[route]]\nlisteners = [\"raw\"]\nto = \"tcp://{}\"\n\
         [upstream.app]\nto = [\"http://{}\", \"http://{}\"]\nbalance = \"round_robin\"\n\
         [upstream.app.outlier]\nconsecutive = 1\nbase = \"1h\"\nmax = \"1h\"\n",
        pair.toml(),
        raw.addr(),
        web.addr(),
        bad.addr(),
    );
    let connect = |listener| Conn::connect(umay.at(listener)).unwrap();
    for _ in 0..3 {
        assert_eq!(connect("web").ask(GET).unwrap().status(), 200);
    }
    let refused = GET.replace("a.test", "c.test");
    assert_eq!(connect("web").ask(refused).unwrap().status(), 404);
    let mut stream = connect("raw");
    stream.send("x").unwrap();
    stream.half_close().unwrap();
    stream.read_to_end().unwrap();
    umay.wait_metric("umay_tcp_connections_total", &[], 1.0);
    umay.wait_metric("umay_http_responses_total", &[], 4.0);
    eventually("an ejection", || {
        let standings = document(&umay)["upstreams"].to_string();
        standings.contains("ejected").then_some(())
    });
    (umay, (web, raw, bad, certs))
}

#[test]
fn every_member_is_documented_and_every_documented_one_is_there() {
    let (umay, _peers) = busy();
    let mut have = BTreeSet::new();
    paths(&document(&umay), "", &mut have);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/status.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("\n| member | what it is |\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let mut documented = BTreeSet::new();
    for row in table.lines().skip(1) {
        let mut cells = row.trim_matches('|').split(" | ");
        let path = cells.next().unwrap().trim().trim_matches('`').to_owned();
        assert!(
            cells.next().is_some_and(|what| what.trim().len() > 5),
            "{row}"
        );
        assert!(documented.insert(path), "twice: {row}");
    }
    let missing: Vec<_> = have.difference(&documented).collect();
    assert!(
        missing.is_empty(),
        "docs/status.md does not tell of {missing:?}"
    );
    let gone: Vec<_> = documented.difference(&have).collect();
    assert!(
        gone.is_empty(),
        "docs/status.md tells of {gone:?}, which is not there"
    );
}

#[test]
fn the_document_counts_what_happened() {
    let (umay, (web, _, bad, _)) = busy();
    let status = document(&umay);
    let at = |pointer: &str| status.pointer(pointer).unwrap_or(&Value::Null);
    for (pointer, expected) in [
        ("/totals/requests", json!(4)),
        ("/totals/statuses", json!({ "200": 3, "404": 1 })),
        ("/totals/refusals/no_route", json!(1)),
        ("/totals/streams/ended", json!({ "ok": 1 })),
        ("/totals/streams/bytes_in", json!(1)),
        ("/totals/connections/accepted", json!(5)),
        ("/totals/protocols/http1", json!(4)),
        ("/routes/0/name", json!("site")),
        (
            "/routes/0/matches",
            json!("listener web or tls, host a.test"),
        ),
        ("/routes/0/to", json!("upstream app")),
        ("/routes/0/requests", json!(3)),
        ("/routes/0/classes", json!({ "2xx": 3 })),
        ("/routes/0/bytes_out", json!(6)),
        ("/routes/0/latency/count", json!(3)),
        ("/upstreams/0/name", json!("app")),
        ("/upstreams/0/requests", json!(3)),
        (
            "/upstreams/0/attempts",
            json!({ "ok": 3, "connect_refused": 1 }),
        ),
        ("/upstreams/0/ejections", json!(1)),
        ("/upstreams/0/retries/retried", json!(1)),
        (
            "/upstreams/0/endpoints/0/address",
            json!(web.addr().to_string()),
        ),
        ("/upstreams/0/endpoints/0/picks", json!(3)),
        (
            "/upstreams/0/endpoints/1/address",
            json!(bad.addr().to_string()),
        ),
        ("/upstreams/0/endpoints/1/failures", json!(1)),
        ("/reasons/no_route", json!("No route matches.")),
        ("/process/max_fds", at("/process/max_fds").clone()),
    ] {
        assert_eq!(*at(pointer), expected, "{pointer} in {status:#}");
    }
    let buckets = at("/routes/0/latency/buckets").as_object().unwrap();
    let counted: u64 = buckets.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(counted, 3);
    assert!(at("/process/memory_bytes").as_u64() > Some(1 << 20));
}

#[test]
fn a_umay_that_is_well_ends_with_0() {
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    for _ in 0..5 {
        assert_eq!(umay.get("a.test", "/").status(), 200);
    }
    umay.wait_metric("umay_http_responses_total", &[], 5.0);
    let (code, text) = status(&umay, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("Umay "), "{text}");
    for part in [
        ": ready, up ",
        "1/1",
        "5 so far",
        &endpoint.addr().to_string(),
        "everything",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    // In a pipe there are no colours, and nothing is wrong.
    assert!(!text.contains(['\u{1b}', '\r']), "{text}");
    assert!(
        !text.contains("error ") && !text.contains("warning "),
        "{text}"
    );
    let (code, text) = status(&umay, &["--format", "json"]);
    assert_eq!(code, 0);
    let document: Value = text.parse().unwrap();
    assert_eq!(document["totals"]["requests"], 5);
}

#[test]
fn what_is_wrong_comes_first_and_ends_with_1() {
    let (umay, (_, _, bad, _)) = busy();
    let (code, text) = status(&umay, &[]);
    assert_eq!(code, 1, "{text}");
    let second = text.lines().nth(2).unwrap();
    let wrong = format!(
        "warning  upstream app: 1 of its 2 endpoints is not well: {} is ejected",
        bad.addr()
    );
    assert!(second.starts_with(&wrong), "{text}");
    assert!(text.contains("\n         → see whether it runs"), "{text}");
    for part in ["no_route", "No route matches.", "connect_refused"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    assert_eq!(status(&umay, &["--format", "json"]).0, 1);
    // A configuration that is refused is told, with why.
    assert!(!umay.reload("listen = 3"));
    let (code, text) = status(&umay, &[]);
    assert_eq!(code, 1);
    let second = text.lines().nth(2).unwrap();
    assert!(
        second.starts_with("error    configuration: the last one was refused"),
        "{text}"
    );
}

#[test]
fn a_umay_that_drains_ends_with_3() {
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n[timeouts]\ndrain_delay = \"60s\"\ndrain = \"60s\"\n",
        endpoint.addr()
    );
    umay.signal(Signal::TERM);
    eventually("a drain", || {
        (umay.admin_get("/readyz").status() == 503).then_some(())
    });
    let (code, text) = status(&umay, &[]);
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains("error    process: it is shutting down"),
        "{text}"
    );
}

#[test]
fn who_does_not_answer_is_told_about_and_ends_with_4() {
    // Nobody listens there any more.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let other = Server::ok("hi");
    let other = other.addr().to_string();
    for (args, env, why, hint) in [
        (
            vec!["--admin", &*free],
            vec![],
            "nobody listens there",
            "is Umay running?",
        ),
        (
            vec![],
            vec![("UMAY_ADMIN__BIND", &*free)],
            "nobody listens there",
            "--admin ADDR",
        ),
        (
            vec!["--admin", &*other],
            vec![],
            "something else than Umay",
            "admin.bind",
        ),
        (
            vec!["--admin", "nonsense"],
            vec![],
            "no address",
            "--admin ADDR",
        ),
        (
            vec!["--socket", "/nowhere/admin.sock"],
            vec![],
            "no such socket",
            "admin.socket",
        ),
        (
            vec![],
            vec![
                ("UMAY_ADMIN__BIND", "off"),
                ("UMAY_ADMIN__SOCKET", "/nowhere/s"),
            ],
            "no such socket",
            "root",
        ),
    ] {
        for format in ["text", "json"] {
            let args = [args.clone(), vec!["--format", format]].concat();
            let (code, out, err) = status_with(&args, &env);
            assert_eq!((code, &*out), (4, ""), "{args:?} {env:?}: {err}");
            assert!(
                err.starts_with("error: ") && err.contains(why) && err.contains(hint),
                "{args:?}: {err}"
            );
        }
    }
    // Both at once is a mistake.
    let (code, _, err) = status_with(&["--admin", &free, "--socket", "s"], &[]);
    assert_eq!(code, 2, "{err}");
}

#[test]
fn the_socket_answers_too() {
    let endpoint = Server::ok("hi");
    let dir = TempDir::new();
    let socket = dir.path().join("admin.sock");
    let _umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n[admin]\nbind = \"off\"\nsocket = {socket:?}\n",
        endpoint.addr()
    );
    let socket = socket.to_str().unwrap();
    for (args, env) in [
        (vec!["--socket", socket], vec![]),
        (vec![], vec![("UMAY_ADMIN__SOCKET", socket)]),
    ] {
        let args = [args, vec!["--interval", "0"]].concat();
        let (code, out, err) = status_with(&args, &env);
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains(socket), "{out}");
    }
}

/// Rates are of the requests between the two readings, no more and no fewer: here they are read through somebody who
/// sends the load before the second one.
#[test]
fn rates_are_those_of_the_load() {
    let endpoint = Server::http(|request| match request.target() {
        "/bad" => answer("500 Internal Server Error", "", ""),
        _ => answer("200 OK", "", "hi"),
    });
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    for _ in 0..50 {
        umay.get("a.test", "/before");
    }
    umay.wait_metric("umay_http_responses_total", &[], 50.0);
    let (proxy, admin, readings) = (umay.addr(), umay.admin(), AtomicUsize::new(0));
    let get = |addr, target: &str| {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        Conn::connect(addr).unwrap().ask(request).unwrap()
    };
    let between = Server::http(move |_| {
        if readings.fetch_add(1, Ordering::Relaxed) == 1 {
            for _ in 0..20 {
                get(proxy, "/good");
                get(proxy, "/bad");
            }
        }
        // What is over is counted a moment after its answer.
        let count = [50, 90][readings.load(Ordering::Relaxed) - 1];
        let document = eventually("the load to be counted", || {
            let text = get(admin, "/status").text();
            let document: Value = text.parse().unwrap();
            (document["totals"]["requests"] == count).then_some(text)
        });
        answer("200 OK", "", document)
    });
    let between = between.addr().to_string();
    let (code, text, _) = status_with(&["--admin", &between, "--interval", "0.2"], &[]);
    assert_eq!(code, 0, "{text}");
    let line = |start: &str| {
        let mut lines = text.lines().map(str::trim_start);
        let found = lines.find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("no {start} in\n{text}"))
    };
    let number = |text: &str| -> f64 {
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.');
        digits[..end.unwrap()].parse().unwrap()
    };
    // What is shown is rounded, so the counts are near to what they are.
    let over = number(line("TRAFFIC"));
    let ratio = number(line("requests")) / number(line("5xx"));
    assert!((1.98..=2.02).contains(&ratio), "{text}");
    let requests = number(line("requests")) * over;
    assert!((30.0..=50.0).contains(&requests), "{requests} in\n{text}");
    assert!(line("5xx").contains("50 % of requests"), "{text}");
    assert!(line("requests").contains("90 so far"), "{text}");
}

#[test]
fn five_hundred_endpoints_have_room() {
    let good = Server::ok("hi");
    let dead: Vec<_> = (1..500)
        .map(|n| format!("\"http://127.1.{}.{}:9\"", n / 250, n % 250 + 1))
        .collect();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"app\"\n[upstream.app]\nto = [\"http://{}\", {}]\n\
         probe = {{ interval = \"1s\", timeout = \"1s\" }}\n",
        good.addr(),
        dead.join(", ")
    );
    eventually("499 to be ill", || {
        let ill = document(&umay)["upstreams"]
            .to_string()
            .matches("\"ill\"")
            .count();
        (ill == 499).then_some(())
    });
    let (code, text) = status(&umay, &[]);
    assert_eq!(code, 1);
    assert!(
        text.contains("499 of its 500 endpoints are not well"),
        "{text}"
    );
    assert!(text.contains("and 496 more"), "{text}");
    assert!(text.lines().count() < 60, "{text}");
    let (_, all) = status(&umay, &["--all"]);
    assert!(all.lines().count() > 500);
    let page = umay.admin_get("/").text();
    assert!(page.contains("1 of 500 well"));
}
