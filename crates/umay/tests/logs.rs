//! The access log as it is configured, through a running Umay: its fields, its forms, its targets, what is kept;
//! and events that can be read by programs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use umay_test::{Certs, Conn, Door, Server, Signal, TempDir, Umay, Value, eventually, umay};

fn before(endpoint: &Server, more: &str) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n{more}\n",
        endpoint.addr()
    )
}

fn ask(umay: &Umay, agent: &str) {
    let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: {agent}\r\n\r\n");
    umay.connect().ask(request).unwrap();
}

#[test]
fn all_that_took_time_is_told() {
    let certs = Certs::new();
    let pair = certs.issue(&["a.test", "localhost"]);
    let endpoint = Server::https(certs.server(&pair), |_| umay_test::ok("hello"));
    let umay = umay!(
        "[[listener]]\nlisten = \"127.0.0.1:0\"\n{}\
         [[route]]\nto = \"app\"\n[upstream.app]\nto = \"https://localhost:{}\"\ntls.ca = {:?}\n",
        pair.toml(),
        endpoint.addr().port(),
        certs.ca()
    );
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap();
    conn.ask("GET /at-once HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    let line = umay.wait_path("/at-once");
    assert!(line.get("header_ms").is_none(), "{line}");
    assert_eq!(line["client_ip_source"], "peer");
    assert_eq!(line["tls_group"], "X25519MLKEM768");
    assert_eq!(line["tls_resumed"], false);
    let time = |line: &Value, name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name}"));
    assert!(time(&line, "tls_ms") <= time(&line, "connect_ms"), "{line}");
    let parts = ["connect_ms", "ttfb_ms", "body_ms", "overhead_ms"];
    let sum: f64 = parts.iter().map(|name| time(&line, name)).sum();
    assert!((sum - time(&line, "dur_ms")).abs() < 0.01, "{line}");
    // A head that comes in pieces is waited for, and the connection to the endpoint is there already.
    conn.send_bytewise("GET /slowly HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    conn.read_response("GET").unwrap();
    let line = umay.wait_path("/slowly");
    assert!(time(&line, "header_ms") <= time(&line, "dur_ms"), "{line}");
    assert!(line.get("connect_ms").is_none() && line.get("tls_ms").is_none());
    // So is a body that comes late, which is not Umay's fault.
    conn.send("POST /late HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nab")
        .unwrap();
    std::thread::sleep(Duration::from_millis(50));
    conn.send("cd").unwrap();
    conn.read_response("POST").unwrap();
    let line = umay.wait_path("/late");
    let (upload, overhead) = (time(&line, "upload_ms"), time(&line, "overhead_ms"));
    assert!(upload >= 40.0, "{line}");
    let sum = upload + overhead + time(&line, "ttfb_ms") + time(&line, "body_ms");
    assert!((sum - time(&line, "dur_ms")).abs() < 0.01, "{line}");
    // The metric knows that, too.
    let page = umay.admin_get("/metrics").text();
    let sum = page
        .lines()
        .find(|l| l.starts_with("umay_http_overhead_seconds_sum"));
    let sum: f64 = sum.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    let told = |path: &str| {
        let line = umay.wait_path(path);
        (time(&line, "overhead_ms"), time(&line, "body_ms"))
    };
    let all = ["/at-once", "/slowly", "/late"].map(told);
    let (least, body) = all
        .iter()
        .fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let sum = sum * 1e3;
    assert!(
        sum > least - 0.01 && sum < least + body + 0.01,
        "{sum} {all:?}"
    );
}

#[test]
fn a_wait_for_room_is_told() {
    let door = Door::default();
    let of_endpoint = door.clone();
    let endpoint = Server::http(move |_| {
        of_endpoint.wait();
        umay_test::ok("hi")
    });
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"app\"\n[upstream.app]\nto = \"http://{}\"\nlimits.requests = 1\n",
        endpoint.addr()
    );
    let ask = |path: &str| {
        let mut conn = umay.connect();
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .unwrap();
        conn
    };
    let mut first = ask("/first");
    umay.wait_metric("umay_http_requests_in_flight", &[], 1.0);
    let mut second = ask("/second");
    umay.wait_metric("umay_upstream_queue", &[], 1.0);
    door.open();
    for conn in [&mut first, &mut second] {
        assert_eq!(conn.read_response("GET").unwrap().status(), 200);
    }
    let (first, second) = (umay.wait_path("/first"), umay.wait_path("/second"));
    assert!(first.get("queue_ms").is_none(), "{first}");
    let queue = second["queue_ms"].as_f64().unwrap();
    assert!(
        queue > 0.0 && queue <= second["dur_ms"].as_f64().unwrap(),
        "{second}"
    );
}

#[test]
fn streams_have_an_id_each() {
    let endpoint = Server::echo();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\n",
        endpoint.addr()
    );
    for _ in 0..3 {
        let mut conn = umay.connect();
        conn.send("abc").unwrap();
        conn.half_close().unwrap();
        conn.read_to_end().unwrap();
    }
    let ids = eventually("three lines", || {
        let log = umay.log();
        let ids: HashSet<_> = log
            .iter()
            .filter_map(|line| line["conn_id"].as_str().map(str::to_owned))
            .collect();
        (log.len() == 3).then_some(ids)
    });
    assert!(
        ids.len() == 3 && ids.iter().all(|id| id.len() == 16),
        "{ids:?}"
    );
}

#[test]
fn a_line_of_ones_own_cannot_be_forged() {
    let endpoint = Server::ok("hi");
    let format = "{method} {path} {status} {user_agent} \\\"{user_agent}\\\" {route}";
    let umay = before(&endpoint, &format!("log.format = \"{format}\""));
    ask(&umay, "me\" 500 \\");
    let line = eventually("a line", || umay.stdout().lines().next().map(str::to_owned));
    let agent = "me\\\" 500 \\\\";
    let joined = agent.replace(' ', "\\u0020");
    assert_eq!(line, format!("GET / 200 {joined} \"{agent}\" default"));
    for agent in ["\u{9b}31m", "\u{202e}", "a\tb", "\u{80}\u{ff}"] {
        ask(&umay, agent);
    }
    let text = eventually("five lines", || {
        let text = umay.stdout();
        (text.lines().count() == 5).then_some(text)
    });
    let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!text.contains(bad), "{text:?}");
    assert!(text.lines().all(|line| line.starts_with("GET / 200 ")));
}

#[test]
fn text_is_for_people() {
    let endpoint = Server::ok("hello");
    let umay = before(&endpoint, "log.format = \"text\"");
    umay.get("a.test", "/x?token=secret");
    let line = eventually("a line", || umay.stdout().lines().next().map(str::to_owned));
    assert!(
        line.contains(" 127.0.0.1 GET http://a.test/x?token=*** 200 "),
        "{line}"
    );
    assert!(
        line.contains("ms in=0 out=5 route=default endpoint=127.0.0.1:"),
        "{line}"
    );
}

#[test]
fn errors_are_kept_whatever_is_left_out() {
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n[log]\nsample = 0\nskip = [\"400-499\"]\nslow = \"1h\"\n\
         [[route]]\npath = \"/quiet\"\nlog = false\nto = \"http://127.0.0.1:1\"\n\
         [[route]]\npath = \"/gone\"\nrespond = {{ status = 404 }}\n\
         [[route]]\npath = \"/bad\"\nrespond = {{ status = 503 }}\n\
         [[route]]\npath = \"/app\"\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    for path in ["/app", "/gone", "/none", "/bad", "/quiet"] {
        umay.get("a.test", path);
    }
    // In the order in which they were asked for, so what is not here will not be.
    let line = umay.wait_path("/quiet");
    assert_eq!(line["reason"], "connect_refused");
    let log = umay.log();
    let paths: Vec<_> = log.iter().map(|line| &line["path"]).collect();
    assert_eq!(paths, ["/none", "/bad", "/quiet"]);
    assert_eq!(log[0]["reason"], "no_route");
}

#[test]
fn a_large_file_is_put_aside() {
    let dir = TempDir::new();
    let file = dir.path().join("access.log");
    let endpoint = Server::ok("hi");
    let umay = before(
        &endpoint,
        &format!("[log]\naccess = {file:?}\nrotate = 1024"),
    );
    let names = || {
        let entries = fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "access.log.aside")
            .collect();
        names.sort();
        names
    };
    let mut asked = 0;
    let all = eventually("two files aside", || {
        umay.get("a.test", "/x");
        asked += 1;
        let names = names();
        (names.len() >= 3).then_some(names)
    });
    let aside = all.iter().filter(|name| name.starts_with("access.log.2"));
    assert_eq!(aside.count(), all.len() - 1, "{all:?}");
    let lines = || {
        names()
            .iter()
            .map(|name| fs::read_to_string(dir.path().join(name)).unwrap_or_default())
            .map(|text| {
                let whole = |line: &str| assert!(line.parse::<Value>().unwrap().is_object());
                text.lines().for_each(whole);
                text.lines().count()
            })
            .sum::<usize>()
    };
    eventually("all lines", || (lines() == asked).then_some(()));
    for name in names() {
        let mode = fs::metadata(dir.path().join(&name)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o137, 0, "{name}");
    }
}

#[test]
fn another_form_comes_with_a_reload() {
    let endpoint = Server::ok("hi");
    let text = |log: &str| {
        let endpoint = endpoint.addr();
        format!("listen = \"127.0.0.1:0\"\nto = \"http://{endpoint}\"\n{log}\n")
    };
    let umay = umay!("{}", text(""));
    umay.get("a.test", "/before");
    umay.wait_path("/before");
    assert!(umay.reload(text(
        "log.format = \"own {path} {client_ip}\"\nprivacy = \"gdpr\""
    )));
    umay.get("a.test", "/after");
    eventually("the other form", || {
        umay.stdout()
            .contains("own /after 127.0.0.0\n")
            .then_some(())
    });
}

#[test]
fn events_can_be_read_by_programs() {
    let certs = Certs::new();
    let dir = TempDir::new();
    let pair = certs.issue(&["a.test"]);
    let config = format!(
        "workers = 1\nadmin.bind = \"off\"\n[log]\nevents = \"json\"\nlevel = \"trace\"\naccess = \"off\"\n\
         [[listener]]\nlisten = \"127.0.0.1:0\"\n{}[[route]]\nto = \"http://127.0.0.1:1\"\n",
        pair.toml()
    );
    let config = dir.write("umay.toml", config);
    let mut child = Command::new(env!("CARGO_BIN_EXE_umay"))
        .args(["run", "--config", config.to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = || -> Value {
        let line = lines.next().unwrap().unwrap();
        line.parse().unwrap_or_else(|_| panic!("no JSON: {line}"))
    };
    let listening = std::iter::from_fn(|| Some(next()))
        .find(|event| event["message"] == "listening")
        .unwrap();
    assert_eq!(listening["level"], "info");
    assert_eq!(listening["target"], "umay::app");
    let address = listening["addr"].as_str().unwrap().parse().unwrap();
    while next()["message"] != "ready" {}
    // Libraries tell at this level what clients send.
    let mut conn = Conn::connect_tls(address, &certs.trusting(), "a.test").unwrap();
    let request = "GET /\"\\ HTTP/1.1\r\nHost: a.test\r\nX-\u{202e}: \u{9b}\"\\\r\n\r\n";
    conn.ask(request).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \u{202e}\u{9b}\"\\\r\n\r\n";
    Conn::connect_tls(address, &certs.trusting(), "a.test")
        .unwrap()
        .ask(request)
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let mut seen = HashSet::new();
    while !seen.contains("ended") {
        let event = next();
        assert!(
            event["ts"].is_string() && event["level"].is_string(),
            "{event}"
        );
        seen.insert(event["message"].as_str().unwrap().to_owned());
    }
    assert!(child.wait().unwrap().success());
}

/// Lines of the event log that are JSON, and those that are text; nothing is both or neither.
fn forms(umay: &Umay) -> (Vec<Value>, Vec<String>) {
    let (mut json, mut text) = (Vec::new(), Vec::new());
    for line in umay.events().lines() {
        match line.parse::<Value>() {
            Ok(event) => {
                assert!(
                    event["ts"].is_string() && event["level"].is_string(),
                    "{line}"
                );
                json.push(event);
            }
            Err(_) => {
                let stamp = line.split(' ').next().unwrap();
                assert!(stamp.len() == 27 && stamp.ends_with('Z'), "{line}");
                text.push(line.to_owned());
            }
        }
    }
    (json, text)
}

#[test]
fn events_go_over_to_another_form_and_level_with_a_reload() {
    let endpoint = Server::ok("hi");
    let text = |log: &str| {
        let endpoint = endpoint.addr();
        format!("{log}listen = \"127.0.0.1:0\"\nto = \"http://{endpoint}\"\n")
    };
    let umay = umay!("{}", text(""));
    assert!(forms(&umay).0.is_empty());
    assert!(umay.reload(text("log.events = \"json\"\n")));
    let reloads = |events: &[Value]| {
        let told = |event: &&Value| event["message"] == "configuration reloaded";
        events.iter().filter(told).count()
    };
    // What comes of the reload itself is told in the new form.
    eventually("an event", || (reloads(&forms(&umay).0) == 1).then_some(()));
    // One that is refused changes nothing.
    assert!(!umay.reload("log.events = \"text\"\nlisten = 7\n"));
    umay.wait_event("configuration refused");
    let (json, before) = forms(&umay);
    assert!(json.iter().any(|event| event["level"] == "error"));
    // Another level of one room alone.
    assert!(umay.reload(text(
        "log = { events = \"json\", level = \"warn,umay::admin=info\" }\n"
    )));
    assert!(umay.reload(text(
        "log = { events = \"json\", level = \"warn,umay::app=info\" }\n"
    )));
    eventually("an event", || (reloads(&forms(&umay).0) == 2).then_some(()));
    assert_eq!(forms(&umay).1, before);
    assert!(umay.reload(text("")));
    eventually("an event", || {
        let text = forms(&umay).1;
        (text.len() > before.len()).then_some(())
    });
    assert!(
        umay.events()
            .lines()
            .last()
            .unwrap()
            .contains(" configuration reloaded ")
    );
}

/// While many events are told, from several threads, each is whole and in one form.
#[test]
fn no_event_is_half_of_one_form() {
    let endpoint = Server::ok("hi");
    let text = |form: &str| {
        let endpoint = endpoint.addr();
        format!(
            "listen = \"127.0.0.1:0\"\nto = \"h2c://{endpoint}\"\n\
             log = {{ level = \"trace\", events = \"{form}\", access = \"off\" }}\n"
        )
    };
    let umay = umay!().workers(2).config(text("text")).start();
    let address = umay.addr();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let mut conn = Conn::connect(address).unwrap();
                conn.ask(umay_test::GET).unwrap();
            }
        });
        for form in ["json", "text", "json", "text"] {
            assert!(umay.reload(text(form)));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let (json, text) = forms(&umay);
    assert!(json.len() > 20 && text.len() > 20);
}
