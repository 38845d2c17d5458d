//! What a Umay that runs says of itself: `umay explain` and `umay config show` with its socket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod control;

use control::{Scene, config, scene};
use serde_json::Value;
use umay_test::{Certs, Server, TempDir, umay};

#[track_caller]
fn explained(scene: &Scene, words: &[&str]) -> Value {
    let words = [&["explain"], words, &["--format", "json"]].concat();
    serde_json::from_str(&scene.says(&words)).unwrap()
}

#[test]
fn it_knows_how_the_endpoints_are() {
    let scene = scene(3, "balance = \"round_robin\"");
    scene.ask_endpoint(0, "drain", "");
    scene.ask_endpoint(1, "weight", "{\"weight\": 5}");
    scene.shares(10);
    let told = explained(&scene, &["http://a.test/x"]);
    let told = &told[0];
    assert_eq!(told["route"], "default");
    let endpoints = told["endpoints"].as_array().unwrap();
    let of = |name: &str| -> Vec<Value> { endpoints.iter().map(|e| e[name].clone()).collect() };
    assert_eq!(of("address"), [scene.at(0), scene.at(1), scene.at(2)]);
    assert_eq!(of("standing"), ["draining", "well", "well"]);
    assert_eq!(of("pick"), ["no", "yes", "yes"]);
    assert_eq!(of("weight"), [1, 5, 1]);
    assert_eq!(of("configured_weight"), [1, 1, 1]);
    assert!(
        endpoints[1]["latency_ms"].as_f64().is_some(),
        "{endpoints:?}"
    );
    let text = scene.says(&["explain", "http://a.test/x"]);
    for line in [
        format!(
            "  now          {} draining, in flight 0: gets nothing new",
            scene.at(0)
        ),
        format!(
            "               {} well, weight 5 by hand (1 configured), in flight 0",
            scene.at(1)
        ),
        format!("               {} well, in flight 0", scene.at(2)),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    // Who nobody takes has the same code as offline.
    let done = scene.command(&["explain", "tcp:"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
}

#[test]
fn it_says_why_who_is_ill_is_not_picked() {
    let (dir, well) = (TempDir::new(), Server::ok("0"));
    let ill = Server::http(|_| umay_test::answer("503 Ill", "", ""));
    let servers = vec![well, ill];
    let more = "probe = { path = \"/\", interval = \"50ms\", fall = 1 }";
    let umay = umay!().config(config(&dir, &servers, more)).start();
    let scene = Scene { umay, dir, servers };
    scene.umay.wait_event("endpoint is ill");
    umay_test::eventually("its standing", || {
        let told = explained(&scene, &["http://a.test/"]);
        let ill = &told[0]["endpoints"][1];
        let known = ill["standing"] == "ill" && ill["pick"] == "no";
        known.then(|| assert!(ill["why"].as_str().unwrap().contains("status 503"), "{ill}"))
    });
}

#[test]
fn it_has_the_certificates_that_are_served_not_those_on_disk() {
    let (certs, dir, servers) = (Certs::new(), TempDir::new(), vec![Server::ok("0")]);
    let pair = certs.issue(&["a.test"]);
    let text = config(&dir, &servers, "")
        .replace("to = \"web\"\n", &format!("to = \"web\"\n{}", pair.toml()));
    let umay = umay!().config(&text).start();
    let scene = Scene { umay, dir, servers };
    let told = explained(&scene, &["https://a.test/"]);
    assert_eq!(told[0]["certificate"]["names"][0], "a.test");
    std::fs::remove_file(&pair.cert).unwrap();
    let told = explained(&scene, &["https://a.test/"]);
    assert_eq!(told[0]["certificate"]["names"][0], "a.test", "{told}");
    let done = scene.command(&["explain", "https://b.test/"]);
    assert_eq!(done.status.code(), Some(1));
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.contains("no certificate for b.test"), "{text}");
}

#[test]
fn it_explains_what_is_served_not_what_was_written_since() {
    let scene = scene(1, "");
    scene
        .umay
        .rewrite("listen = \"127.0.0.1:0\"\nrespond = { status = 204 }\n");
    let told = explained(&scene, &["http://a.test/"]);
    assert!(
        told[0]["to"][0]
            .as_str()
            .unwrap()
            .starts_with("upstream web"),
        "{told}"
    );
    let more = "retry = \"off\"\n[[route]]\nhost = \"b.test\"\npath = \"/b\"\nmethods = [\"PUT\"]\n\
                headers = { x-b = \"1\" }\nredirect = { status = 307, host = \"c.test\" }";
    let text = config(&scene.dir, &scene.servers, more);
    assert!(scene.umay.reload(&text), "{text}\n{}", scene.umay.events());
    // Everything that is asked comes over.
    let told = explained(
        &scene,
        &["http://b.test/b", "--method", "PUT", "--header", "X-B: 1"],
    );
    assert!(
        told[0]["to"][0]
            .as_str()
            .unwrap()
            .starts_with("redirect 307"),
        "{told}"
    );
    assert!(
        told[0]["place"].as_str().unwrap().contains("umay.toml:"),
        "{told}"
    );
    assert_eq!(told[0]["endpoints"], Value::Null);
    let told = explained(&scene, &["http://b.test/b"]);
    let whys = told[0]["others"].to_string();
    assert!(
        told[0]["to"][0]
            .as_str()
            .unwrap()
            .starts_with("upstream web"),
        "{told}"
    );
    assert!(whys.contains("method") && whys.contains("x-b"), "{whys}");
}

#[test]
fn online_and_offline_say_the_same_of_the_configuration() {
    let scene = scene(2, "");
    let file = scene
        .dir
        .write("same.toml", config(&scene.dir, &scene.servers, ""));
    let offline = std::process::Command::new(env!("CARGO_BIN_EXE_umay"))
        .args(["explain", "http://a.test/", "--format", "json"])
        .arg(&file)
        .output()
        .unwrap();
    let offline: Value = serde_json::from_slice(&offline.stdout).unwrap();
    let online = explained(&scene, &["http://a.test/"]);
    for name in [
        "asked",
        "listener",
        "certificate",
        "route",
        "settings",
        "others",
        "notes",
    ] {
        assert_eq!(online[0][name], offline[0][name], "{name}");
    }
    assert_eq!(online[0]["to"][0], offline[0]["to"][0]);
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let scene = scene(1, "");
    for (body, status, words) in [
        (
            "{\"target\": \"tcp:\", \"listener\": \"x\"}",
            404,
            "no listener `x`",
        ),
        (
            "{\"target\": \"https://a.test:1/\"}",
            404,
            "no listener is on port 1",
        ),
        ("{\"target\": \"gopher://a\"}", 400, "begin with https://"),
        (
            "{\"url\": \"tcp:\"}",
            400,
            "`url` is unknown; there are: target",
        ),
    ] {
        let reply = scene.ask("POST", "/explain", body);
        assert_eq!(reply.status, status, "{body}: {reply:?}");
        assert!(reply.error().contains(words), "{body}: {reply:?}");
    }
    let told = scene.complains(&["explain", "tcp:", "--listen", "127.0.0.1:1"]);
    assert!(told.contains("do not go with it"), "{told}");
    let told = scene.complains(&["explain", "tcp:", "umay.toml"]);
    assert!(told.contains("cannot be used with"), "{told}");
}

#[test]
fn config_show_shows_what_is_served_and_where_it_came_from() {
    let (dir, servers) = (TempDir::new(), vec![Server::ok("0")]);
    let more = "[[route]]\nhost = \"b.test\"\nto = \"web\"\n\
                request_headers.set = { Authorization = \"hunter2\", X-Fine = \"seen\" }";
    let text = config(&dir, &servers, more);
    let umay = umay!()
        .config(&text)
        .env("UMAY_TIMEOUTS__CONNECT", "7s")
        .start();
    let scene = Scene { umay, dir, servers };
    scene
        .umay
        .rewrite("listen = \"127.0.0.1:0\"\nrespond = { status = 204 }\n");
    let shown = scene.says(&["config", "show", "--origin"]);
    for part in [
        "connect = \"7s\"  # environment variable UMAY_TIMEOUTS__CONNECT",
        "to = \"web\"  # ",
        "umay.toml:2:",
        "# default",
        "X-Fine = \"seen\"",
        "[redacted]",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
    let json = scene.says(&["config", "show", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["timeouts"]["connect"], "7s");
    let list = scene.says(&["config", "show", "--format", "json", "--origin"]);
    assert!(
        !list.contains("hunter2") && list.contains("\"origin\""),
        "{list}"
    );
    // What it shows is a configuration that does the same.
    let again = scene
        .dir
        .write("again.toml", scene.says(&["config", "show"]));
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_umay"))
        .arg("check")
        .arg(again)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(scene.ask("GET", "/config?orign", "").status, 400);
}
