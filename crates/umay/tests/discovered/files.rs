//! A file of endpoints that is watched, while requests run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use umay_test::{Refusing, Server, TempDir, Umay, Value, eventually, json};

use super::{ask, before, servers, shares, status, until_served_by, updates};

fn follow(path: &Path, more: &str) -> Umay {
    let app = format!("{more}\n[upstream.app.discover]\nfile = {path:?}\nscheme = \"http\"");
    before(&app, "")
}

fn toml(servers: &[Server]) -> String {
    let list = servers.iter().map(|server| server.addr().to_string());
    format!("endpoints = {:?}\n", list.collect::<Vec<_>>())
}

/// Writes a file beside and moves it into place, as careful writers do.
fn replace(dir: &TempDir, name: &str, text: &str) {
    let beside = dir.write("beside", text);
    fs::rename(beside, dir.path().join(name)).unwrap();
}

#[test]
fn a_file_that_is_replaced_is_followed() {
    let (dir, servers) = (TempDir::new(), servers(2));
    let path = dir.write("endpoints.toml", toml(&servers[..1]));
    let umay = follow(&path, "");
    assert_eq!(ask(&umay), "a");
    replace(&dir, "endpoints.toml", &toml(&servers));
    until_served_by(&umay, &["a", "b"]);
    replace(&dir, "endpoints.toml", &toml(&servers[1..]));
    until_served_by(&umay, &["b"]);
}

/// A volume of Kubernetes: the file is a link into `..data`, which is a link that is replaced.
#[test]
fn a_volume_that_is_swapped_is_followed() {
    let (dir, servers) = (TempDir::new(), servers(2));
    let json = |servers: &[Server]| {
        let list = servers.iter().map(|server| server.addr().to_string());
        json!({ "endpoints": list.collect::<Vec<_>>() }).to_string()
    };
    let swap = |version: &str| {
        symlink(version, dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    dir.write("..1/endpoints.json", json(&servers[..1]));
    swap("..1");
    let path = dir.path().join("endpoints.json");
    symlink("..data/endpoints.json", &path).unwrap();
    let umay = follow(&path, "");
    assert_eq!(ask(&umay), "a");
    dir.write("..2/endpoints.json", json(&servers[1..]));
    swap("..2");
    fs::remove_dir_all(dir.path().join("..1")).unwrap();
    until_served_by(&umay, &["b"]);
    // And again, since watches go with what they are on.
    dir.write("..3/endpoints.json", json(&servers));
    swap("..3");
    fs::remove_dir_all(dir.path().join("..2")).unwrap();
    until_served_by(&umay, &["a", "b"]);
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_with_its_place() {
    let (dir, servers) = (TempDir::new(), servers(2));
    let path = dir.write("endpoints.toml", toml(&servers[..1]));
    let umay = follow(&path, "");
    assert_eq!(ask(&umay), "a");
    replace(
        &dir,
        "endpoints.toml",
        "# all\nendpoints = [\"10.0.0.1:80\", 7]\n",
    );
    let line = umay.wait_event("endpoints.toml:2:29:");
    assert!(line.contains("discovery has a problem"), "{line}");
    assert!(updates(&umay, "file", "failed") > 0.0);
    let problem = status(&umay)["discovery"]["problem"].clone();
    assert!(problem.as_str().unwrap().contains(":2:29:"), "{problem}");
    assert_eq!(shares(&umay, 10).keys().collect::<Vec<_>>(), ["a"]);
    fs::remove_file(&path).unwrap();
    umay.wait_event("No such file");
    assert_eq!(ask(&umay), "a");
    replace(&dir, "endpoints.toml", &toml(&servers[1..]));
    until_served_by(&umay, &["b"]);
}

#[test]
fn a_file_may_come_later() {
    let (dir, servers) = (TempDir::new(), servers(1));
    let path = dir.path().join("endpoints.toml");
    let umay = follow(&path, "");
    let refused = umay.get("a.test", "/");
    assert_eq!(refused.reason().as_deref(), Some("endpoint_unresolved"));
    replace(&dir, "endpoints.toml", &toml(&servers));
    eventually("an answer", || {
        (umay.get("a.test", "/").status() == 200).then_some(())
    });
}

/// Those that were there at first are not new.
#[test]
fn who_comes_later_begins_slowly() {
    let (dir, servers) = (TempDir::new(), servers(3));
    let path = dir.write("endpoints.toml", toml(&servers[..2]));
    let umay = follow(&path, "slow_start = \"1h\"");
    ask(&umay);
    let first = shares(&umay, 20);
    assert_eq!((first["a"], first["b"]), (10, 10));
    replace(&dir, "endpoints.toml", &toml(&servers));
    umay.wait_event("all=3");
    until_served_by(&umay, &["a", "b", "c"]);
    let later = shares(&umay, 210);
    // A tenth of its share: 10 of 210.
    assert!((2..=30).contains(&later["c"]), "{later:?}");
    assert!(later["a"] > 70 && later["b"] > 70, "{later:?}");
}

/// To take an endpoint out of service is to give it no weight, and then to remove it.
#[test]
fn one_without_weight_gets_nothing_new() {
    let (dir, servers) = (TempDir::new(), servers(2));
    let path = dir.write("endpoints.toml", toml(&servers));
    let umay = follow(&path, "");
    until_served_by(&umay, &["a", "b"]);
    let text = format!(
        "endpoints = [{{ to = \"{}\", weight = 0 }}, \"{}\"]\n",
        servers[0].addr(),
        servers[1].addr()
    );
    replace(&dir, "endpoints.toml", &text);
    until_served_by(&umay, &["b"]);
    let endpoints = status(&umay)["endpoints"].clone();
    let weights = endpoints.as_array().unwrap().iter();
    let mut weights: Vec<u64> = weights.map(|e| e["weight"].as_u64().unwrap()).collect();
    weights.sort_unstable();
    assert_eq!(weights, [0, 1]);
}

/// Who comes is asked whether it is well, and who has left is asked no more.
#[test]
fn probes_follow_who_comes_and_goes() {
    let (dir, servers, dead) = (TempDir::new(), servers(2), Refusing::new());
    let path = dir.write("endpoints.toml", toml(&servers[..1]));
    let probe = "probe = { kind = \"tcp\", interval = \"50ms\", timeout = \"50ms\" }";
    let umay = follow(&path, probe);
    assert_eq!(ask(&umay), "a");
    let asked = servers[0].connections();
    eventually("probes", || {
        (servers[0].connections() > asked + 3).then_some(())
    });
    let text = format!(
        "endpoints = [\"{}\", \"{}\"]\n",
        servers[1].addr(),
        dead.addr()
    );
    replace(&dir, "endpoints.toml", &text);
    let line = umay.wait_event("endpoint is ill");
    assert!(line.contains(&dead.addr().to_string()), "{line}");
    until_served_by(&umay, &["b"]);
    let endpoints = status(&umay)["endpoints"].clone();
    let ill = |e: &&Value| e["standing"] == "ill" && e["why"].as_str().unwrap().contains("refused");
    assert_eq!(endpoints.as_array().unwrap().iter().filter(ill).count(), 1);
    let asked = servers[0].connections();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(servers[0].connections(), asked);
}
