//! What an operator sets by hand at a Umay that runs: weights, and the level of the event log.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod control;

use std::collections::BTreeSet;
use std::path::PathBuf;

use control::{Scene, config, scene};
use serde_json::json;
use std::process::Command;

use umay_test::{Server, TempDir, eventually, umay};

/// How far a share may be from what it should be: five standard deviations. Those of a share of one half of 1,200 requests
/// that are drawn are 0.014. For keys there are also those of the ring, whose 160 points an endpoint depend on its port: 0.026
/// together.
fn tolerance(balance: &str) -> f64 {
    match balance {
        "round_robin" => 0.001,
        "consistent_hash" => 0.13,
        _ => 0.07,
    }
}

const REQUESTS: usize = 1200;

/// Asks for requests by a key each, as consistent hash wants it.
fn keyed(scene: &Scene) -> Vec<usize> {
    let mut counts = vec![0; scene.servers.len()];
    let mut conn = scene.umay.connect();
    for key in 0..REQUESTS {
        let request = format!("GET /{key} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let answer = conn.ask(request).unwrap().text();
        counts[answer.parse::<usize>().unwrap()] += 1;
    }
    counts
}

#[track_caller]
fn in_proportion(counts: &[usize], weights: &[u32], balance: &str) {
    let all: u32 = weights.iter().sum();
    for (count, weight) in counts.iter().zip(weights) {
        let (share, wanted) = (
            *count as f64 / REQUESTS as f64,
            f64::from(*weight) / f64::from(all),
        );
        assert!(
            (share - wanted).abs() <= tolerance(balance),
            "{balance}: {counts:?} of {REQUESTS} for weights {weights:?}"
        );
        assert!(*weight > 0 || *count == 0, "{balance}: {counts:?}");
    }
}

#[test]
fn shares_follow_the_weight_that_is_set_with_every_balancer() {
    for balance in [
        "round_robin",
        "random",
        "consistent_hash",
        "least_connections",
        "random_of_two",
        "peak_ewma",
    ] {
        let more = format!("balance = \"{balance}\"\nhash_by = \"path\"");
        let more = match balance {
            "consistent_hash" => more,
            _ => format!("balance = \"{balance}\""),
        };
        let scene = scene(3, &more);
        let weights: &[_] = match balance {
            // How quick they are counts too, and differs on a busy machine, but never a thousandfold. Their shares in
            // proportion are held without a clock, in umay-core's simulations.
            "least_connections" | "random_of_two" | "peak_ewma" => &[[1, 1, 0], [1, 1000, 0]],
            _ => &[[1, 1, 1], [1, 3, 1], [2, 1, 0]],
        };
        for weights in weights {
            for (index, weight) in weights.iter().enumerate() {
                let body = json!({ "weight": weight }).to_string();
                let reply = scene.ask_endpoint(index, "weight", &body);
                assert_eq!(reply.status, 200, "{reply:?}");
            }
            // Whoever is told that it is done may count on it: the next request knows.
            let counts = keyed(&scene);
            let what = format!("{balance} {weights:?}");
            if matches!(balance, "least_connections" | "random_of_two" | "peak_ewma") {
                assert_eq!(counts[2], 0, "{what}: {counts:?}");
                assert!(
                    weights[0] == weights[1] || counts[1] > 2 * counts[0],
                    "{what}: {counts:?}"
                );
            } else {
                in_proportion(&counts, weights, balance);
            }
        }
    }
}

#[test]
fn a_weight_is_told_wherever_it_is_asked_for() {
    let scene = scene(2, "balance = \"round_robin\"");
    let (zero, one) = (scene.at(0), scene.at(1));
    let weight =
        |endpoint: &str, weight: &str| scene.says(&["endpoint", "weight", "web", endpoint, weight]);
    assert_eq!(
        weight(&one, "4"),
        format!("{one} has weight 4; configured is 1.\n")
    );
    let status = scene.status();
    let endpoints = &status["upstreams"][0]["endpoints"];
    assert_eq!(endpoints[1]["weight"], 4);
    assert_eq!(endpoints[1]["configured_weight"], 1);
    assert_eq!(endpoints[0]["weight"], endpoints[0]["configured_weight"]);
    let by_hand = scene.by_hand();
    assert_eq!(by_hand.len(), 1, "{by_hand:?}");
    assert_eq!(
        (
            &by_hand[0]["what"],
            &by_hand[0]["upstream"],
            &by_hand[0]["endpoint"],
            &by_hand[0]["value"]
        ),
        (&json!("weight"), &json!("web"), &json!(one), &json!(4))
    );
    let table = scene.says(&["endpoint", "list"]);
    let rows: Vec<_> = table.lines().collect();
    assert!(rows[0].starts_with("UPSTREAM  ENDPOINT"), "{table}");
    assert!(
        rows[1].contains(&zero) && rows[1].contains("  well      1  "),
        "{table}"
    );
    assert!(
        rows[2].contains(&one) && rows[2].contains("4 (not 1)"),
        "{table}"
    );
    assert_eq!(scene.says(&["endpoint", "list", "web"]), table);
    let list = scene.says(&["endpoint", "list", "--format", "json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["endpoints"][1]["weight"], 4);
    let event = scene.umay.wait_event("changed by hand");
    let uid = rustix::process::getuid().as_raw();
    for part in [
        format!("uid={uid}"),
        "pid=".to_owned(),
        format!("what=\"weight of endpoint {one} of upstream web\""),
        "from=\"1, as configured\"".to_owned(),
        "to=\"4\"".to_owned(),
    ] {
        assert!(event.contains(&part), "{part}: {event}");
    }
    // With 0 it gets no new requests, as in the configuration.
    assert_eq!(
        weight(&zero, "0"),
        format!("{zero} has weight 0: it gets no new requests; in flight: 0.\n")
    );
    assert_eq!(scene.shares(20).into_keys().collect::<Vec<_>>(), ["1"]);
    let done = scene.command(&["endpoint", "weight", "web", &one, "0"]);
    let warning = String::from_utf8(done.stderr).unwrap();
    assert!(
        warning.contains("warning: upstream web gets nothing new"),
        "{warning}"
    );
    assert_eq!(scene.umay.get("a.test", "/").status(), 503);
    for endpoint in [&zero, &one] {
        assert_eq!(
            weight(endpoint, "default"),
            format!("{endpoint} has weight 1, as configured.\n")
        );
    }
    assert_eq!(scene.by_hand(), [] as [serde_json::Value; 0]);
    assert_eq!(scene.shares(20).into_values().collect::<Vec<_>>(), [10, 10]);
}

#[test]
fn weights_that_make_no_sense_are_refused() {
    let scene = scene(1, "");
    for (body, status, words) in [
        ("{\"weight\": 1000}", 200, ""),
        ("{\"weight\": 1001}", 400, "from 0 to 1000, not 1001"),
        ("{\"weight\": -1}", 400, "from 0 to 1000, not -1"),
        ("{\"weight\": 1.5}", 400, "a whole number"),
        ("{\"weight\": \"1\"}", 400, "a whole number"),
        ("{\"weight\": 18446744073709551616}", 400, "a whole number"),
        ("{}", 400, "which weight?"),
        ("", 400, "the body is no JSON"),
        ("[1]", 400, "no JSON object"),
        (
            "{\"weight\": 1, \"for\": \"1m\"}",
            400,
            "`for` is unknown; there are: weight",
        ),
        ("{\"weight\": null}", 200, ""),
    ] {
        let reply = scene.ask_endpoint(0, "weight", body);
        assert_eq!(reply.status, status, "{body}: {reply:?}");
        if status != 200 {
            assert!(reply.error().contains(words), "{body}: {reply:?}");
        }
    }
    let nobody = scene.ask(
        "POST",
        "/upstreams/web/endpoints/a:1/weight",
        "{\"weight\": 1}",
    );
    assert_eq!(nobody.status, 404);
    assert!(
        nobody.error().contains("upstream web has no endpoint a:1"),
        "{nobody:?}"
    );
    let nobody = scene.ask(
        "POST",
        "/upstreams/x/endpoints/a:1/weight",
        "{\"weight\": 1}",
    );
    assert_eq!(nobody.status, 404);
    assert!(nobody.error().contains("there are: web"), "{nobody:?}");
    assert_eq!(scene.ask("GET", "/upstreams/x", "").status, 404);
    let told = scene.complains(&["endpoint", "weight", "web", &scene.at(0), "1001"]);
    assert!(told.contains("from 0 to 1000, or `default`"), "{told}");
}

#[test]
fn what_is_set_holds_over_reloads() {
    let scene = scene(2, "balance = \"round_robin\"");
    let drained = scene.ask_endpoint(0, "drain", "");
    assert_eq!(
        (drained.status, &drained.json()["draining"]),
        (200, &json!(true))
    );
    scene.ask_endpoint(1, "weight", "{\"weight\": 7}");
    let told = |what: &str| {
        let by_hand = scene.by_hand();
        let found = by_hand.iter().find(|one| one["what"] == what);
        found.map(|one| one["value"].clone())
    };
    for more in [
        // Other settings, another balancer, and other weights of the same endpoints.
        "balance = \"least_connections\"\nretry = \"off\"".to_owned(),
        "balance = \"round_robin\"\nprobe = { interval = \"1s\" }".to_owned(),
    ] {
        assert!(scene.umay.reload(config(&scene.dir, &scene.servers, &more)));
        assert_eq!(
            scene.shares(20).into_keys().collect::<Vec<_>>(),
            ["1"],
            "{more}"
        );
        assert_eq!(told("draining"), Some(json!(true)));
        assert_eq!(told("weight"), Some(json!(7)));
    }
    // An upstream that is gone takes what was set at its endpoints with it.
    let socket = scene.socket();
    assert!(scene.umay.reload(format!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\nadmin.socket = {socket:?}\n",
        scene.at(0)
    )));
    assert_eq!(told("weight"), None);
    assert!(scene.umay.reload(config(
        &scene.dir,
        &scene.servers,
        "balance = \"round_robin\""
    )));
    assert_eq!(scene.shares(20).len(), 2);
}

/// Writes the file of endpoints, all with this weight, as discovery reads it.
fn list(dir: &TempDir, servers: &[&Server], weight: u32) -> PathBuf {
    let one =
        |server: &&Server| format!("{{ to = \"http://{}\", weight = {weight} }}", server.addr());
    let all: Vec<_> = servers.iter().map(one).collect();
    let text = format!("endpoints = [{}]\n", all.join(", "));
    // In one step, as it has to be.
    let (new, path) = (dir.write("list.new", text), dir.path().join("list.toml"));
    std::fs::rename(new, &path).unwrap();
    path
}

#[test]
fn what_is_set_holds_over_what_discovery_finds() {
    let dir = TempDir::new();
    let servers: Vec<_> = (0..2).map(|n| Server::ok(&n.to_string())).collect();
    let path = list(&dir, &[&servers[0], &servers[1]], 1);
    let socket = dir.path().join("umay.sock");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"web\"\nadmin.socket = {socket:?}\n[upstream.web]\n\
         balance = \"round_robin\"\ndiscover.file = {path:?}\n"
    );
    let scene = Scene { umay, dir, servers };
    let (zero, one) = (&scene.servers[0], &scene.servers[1]);
    let at = scene.at(0);
    eventually("the endpoint", || {
        (scene.ask_endpoint(0, "weight", "{\"weight\": 9}").status == 200).then_some(())
    });
    let seen = |weights: (u32, u32)| {
        let status = scene.status();
        let endpoints = &status["upstreams"][0]["endpoints"];
        let ours = endpoints.as_array().unwrap().iter();
        let ours = ours.clone().find(|one| one["address"] == at)?;
        let found = ours["weight"] == weights.0 && ours["configured_weight"] == weights.1;
        found.then_some(())
    };
    list(&scene.dir, &[zero, one], 5);
    eventually("another weight in the list", || seen((9, 5)));
    // While it is away that is remembered, and told, and can be taken back.
    list(&scene.dir, &[one], 5);
    let there = || scene.by_hand().first().map(|one| one["there"].clone());
    eventually("its absence", || {
        (there() == Some(json!(false))).then_some(())
    });
    list(&scene.dir, &[zero, one], 5);
    eventually("its return", || seen((9, 5)));
    eventually("its return", || {
        (there() == Some(json!(true))).then_some(())
    });
    list(&scene.dir, &[one], 5);
    eventually("its absence", || {
        (there() == Some(json!(false))).then_some(())
    });
    let told = scene.says(&["endpoint", "weight", "web", &at, "default"]);
    assert_eq!(
        told,
        format!("{at} has the configured weight when it is back.\n")
    );
    assert_eq!(there(), None);
    assert_eq!(
        scene.ask_endpoint(0, "weight", "{\"weight\": 9}").status,
        404
    );
}

#[test]
fn the_level_of_the_event_log_is_told_and_set() {
    let scene = scene(1, "");
    assert_eq!(scene.says(&["log", "level"]), "info, as configured\n");
    let told = scene.says(&["log", "level", "info,umay::http=debug"]);
    assert_eq!(
        told,
        "info,umay::http=debug, set by hand; configured is info\n"
    );
    let by_hand = scene.by_hand();
    assert_eq!(by_hand[0]["what"], "log.level");
    assert_eq!(by_hand[0]["value"], "info,umay::http=debug");
    assert_eq!(by_hand[0]["configured"], "info");
    scene.says(&["log", "level", "trace", "--for", "10m"]);
    let told = scene.says(&["log", "level"]);
    assert!(told.starts_with("trace, set by hand until 2"), "{told}");
    assert!(told.ends_with("Z; then info\n"), "{told}");
    scene.umay.wait_event("TRACE");
    assert_eq!(
        scene.says(&["log", "level", "default"]),
        "info, as configured\n"
    );
    assert!(scene.by_hand().is_empty());
    let events = scene.umay.events();
    let line = events
        .lines()
        .find(|line| line.contains("trace for 600s"))
        .unwrap();
    assert!(
        line.contains("what=\"log.level\" from=\"info,umay::http=debug\""),
        "{line}"
    );
}

#[test]
fn after_its_time_the_configured_level_is_back() {
    let scene = scene(1, "");
    scene.says(&["log", "level", "debug", "--for", "50ms"]);
    scene.umay.wait_event("the configured log.level is back");
    assert_eq!(scene.says(&["log", "level"]), "info, as configured\n");
    assert!(scene.by_hand().is_empty());
}

#[test]
fn what_is_done_by_hand_is_written_down_whatever_level_is_set_by_hand() {
    let scene = scene(1, "");
    scene.says(&["log", "level", "off"]);
    scene
        .umay
        .wait_event("what=\"log.level\" from=\"info\" to=\"off\"");
    scene.ask_endpoint(0, "drain", "");
    scene.umay.wait_event("what=\"draining of endpoint");
    // The target that this uses can be named, and is written all the same.
    scene.says(&["log", "level", "umay::admin=off,warn"]);
    scene.ask_endpoint(0, "undrain", "");
    scene.umay.wait_event("from=\"true\" to=\"false\"");
    scene.says(&["log", "level", "default"]);
    scene.umay.wait_event("to=\"info\"");
}

#[test]
fn a_reload_keeps_a_level_unless_it_says_another() {
    let scene = scene(1, "");
    scene.says(&["log", "level", "debug"]);
    let text = config(&scene.dir, &scene.servers, "retry = \"off\"");
    assert!(scene.umay.reload(&text));
    assert!(
        scene
            .says(&["log", "level"])
            .starts_with("debug, set by hand")
    );
    // The form is not the level.
    assert!(scene.umay.reload(format!("log.events = \"json\"\n{text}")));
    assert!(
        scene
            .says(&["log", "level"])
            .starts_with("debug, set by hand")
    );
    scene
        .umay
        .wait_event("\"message\":\"configuration reloaded\"");
    assert!(scene.umay.reload(format!("log.level = \"warn\"\n{text}")));
    assert_eq!(scene.says(&["log", "level"]), "warn, as configured\n");
    assert!(scene.by_hand().is_empty());
}

#[test]
fn levels_that_make_no_sense_are_refused() {
    let scene = scene(1, "");
    let words: BTreeSet<_> = [
        ("{\"level\": \"inof\"}", "`inof` is no level"),
        ("{\"level\": \"\"}", "is no level"),
        ("{\"level\": \"umay=loud\"}", "`loud` is no level"),
        ("{\"level\": \"a[b=c\"}", "is no filter"),
        ("{\"level\": 3}", "which level?"),
        ("{}", "which level?"),
        ("{\"level\": \"info\", \"for\": 10}", "`for` is text"),
        ("{\"level\": \"info\", \"for\": \"10\"}", "needs a unit"),
        (
            "{\"level\": \"info\", \"for\": \"0s\"}",
            "more than nothing",
        ),
        ("{\"level\": \"info\", \"for\": \"25h\"}", "24h at most"),
        ("{\"level\": \"info\", \"fro\": \"1h\"}", "`fro` is unknown"),
        ("{\"level\": null, \"for\": \"1h\"}", "no time to end"),
    ]
    .into();
    for (body, words) in words {
        let reply = scene.ask("POST", "/log/level", body);
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
        assert!(reply.error().contains(words), "{body}: {reply:?}");
    }
    assert_eq!(
        scene
            .ask(
                "POST",
                "/log/level",
                "{\"level\": \"info\", \"for\": \"24h\"}"
            )
            .status,
        200
    );
    let told = scene.complains(&["log", "level", "loud"]);
    assert!(told.contains("`loud` is no level"), "{told}");
}

#[test]
fn the_screen_shows_what_is_set() {
    let scene = scene(2, "balance = \"round_robin\"");
    scene.ask_endpoint(0, "drain", "");
    let screen = Command::new(env!("CARGO_BIN_EXE_umay"))
        .args(["status", "--interval", "0.05", "--socket"])
        .arg(scene.socket())
        .output()
        .unwrap();
    let screen = String::from_utf8(screen.stdout).unwrap();
    let line = format!("by hand  draining of {} of upstream web", scene.at(0));
    assert!(screen.contains(&line), "{screen}");
}
