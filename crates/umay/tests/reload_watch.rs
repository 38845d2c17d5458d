//! The configuration's files are watched: what changes is served by itself, however it is written.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use umay_test::{Certs, Conn, Server, Setup, TempDir, Umay, eventually, umay};

fn to(server: &Server) -> String {
    format!("listen = \"127.0.0.1:0\"\nto = \"{}\"\n", server.addr())
}

/// Umay with this file, which is watched.
fn watching(path: &Path) -> Setup {
    umay!()
        .args(["run", "--config", path.to_str().unwrap()])
        .env("UMAY_WATCH", "true")
}

fn reloads(umay: &Umay, result: &str) -> f64 {
    umay.metric("umay_config_reloads_total", &[("result", result)])
}

/// Waits until this one answers, and tells how long it took.
fn until(umay: &Umay, text: &str) -> Duration {
    let started = Instant::now();
    eventually(text, || {
        (umay.get("a.test", "/").text() == text).then_some(())
    });
    started.elapsed()
}

/// More than an event takes, less than the next look.
const SOON: Duration = Duration::from_millis(3500);

#[test]
fn a_file_that_is_replaced_or_written_anew_is_read() {
    let (dir, one, two) = (TempDir::new(), Server::ok("one"), Server::ok("two"));
    let path = dir.write("umay.toml", to(&one));
    let umay = watching(&path).start();
    let mut kept = umay.connect();
    assert_eq!(kept.ask(umay_test::GET).unwrap().text(), "one");
    // As editors do: another file takes its place.
    fs::rename(dir.write("umay.toml.new", to(&two)), &path).unwrap();
    assert!(until(&umay, "two") < SOON);
    // In place, in pieces, with pauses: what is half written is refused by nobody.
    let mut file = fs::File::create(&path).unwrap();
    for piece in [
        "listen = \"127.0.",
        "0.1:0\"\nto = \"",
        &format!("{}\"\n", one.addr()),
    ] {
        file.write_all(piece.as_bytes()).unwrap();
        file.sync_all().unwrap();
        thread::sleep(Duration::from_millis(250));
    }
    drop(file);
    assert!(until(&umay, "one") < SOON);
    // Moved away, and another one comes.
    fs::rename(&path, dir.path().join("umay.toml~")).unwrap();
    thread::sleep(Duration::from_millis(200));
    dir.write("umay.toml", to(&two));
    assert!(until(&umay, "two") < SOON);
    assert_eq!(kept.ask(umay_test::GET).unwrap().text(), "two");
    assert_eq!(
        (reloads(&umay, "served"), reloads(&umay, "refused")),
        (3.0, 0.0)
    );
}

#[test]
fn what_stays_wrong_is_told_once_and_a_burst_is_one_reload() {
    let (dir, one, two) = (TempDir::new(), Server::ok("one"), Server::ok("two"));
    let path = dir.write("umay.toml", to(&one));
    let umay = watching(&path).start();
    dir.write("umay.toml", "listen = [");
    umay.wait_event("configuration refused");
    until(&umay, "one");
    for round in 0..50 {
        dir.write("umay.toml", to([&one, &two][round % 2]));
        thread::sleep(Duration::from_millis(2));
    }
    until(&umay, "two");
    let served = reloads(&umay, "served");
    assert!((1.0..=3.0).contains(&served), "{served}");
    assert_eq!(reloads(&umay, "refused"), 1.0);
    // Others in the same directory are nobody's business, nor is what only reads.
    for round in 0..20 {
        dir.write("other.toml", round.to_string());
        fs::read(&path).unwrap();
    }
    thread::sleep(Duration::from_millis(500));
    assert_eq!(reloads(&umay, "served"), served);
}

#[test]
fn a_volume_of_kubernetes_is_followed() {
    let (dir, one, two) = (TempDir::new(), Server::ok("one"), Server::ok("two"));
    dir.write("..1/umay.toml", to(&one));
    dir.write("..2/umay.toml", to(&two));
    symlink("..1", dir.path().join("..data")).unwrap();
    let path = dir.path().join("umay.toml");
    symlink("..data/umay.toml", &path).unwrap();
    let umay = watching(&path).start();
    until(&umay, "one");
    symlink("..2", dir.path().join("..tmp")).unwrap();
    fs::rename(dir.path().join("..tmp"), dir.path().join("..data")).unwrap();
    fs::remove_dir_all(dir.path().join("..1")).unwrap();
    assert!(until(&umay, "two") < SOON);
}

#[test]
fn certificates_are_watched_too() {
    let (certs, dir, one) = (Certs::new(), TempDir::new(), Server::ok("one"));
    let write = |names: &[&str]| {
        let pair = certs.issue(names);
        // One after the other: half of a pair is no reason to complain.
        fs::rename(
            dir.write("new", fs::read(pair.cert).unwrap()),
            dir.path().join("a.pem"),
        )
        .unwrap();
        thread::sleep(Duration::from_millis(300));
        fs::rename(
            dir.write("new", fs::read(pair.key).unwrap()),
            dir.path().join("a.key"),
        )
        .unwrap();
    };
    write(&["a.test"]);
    let text = format!("{}cert = \"a.pem\"\nkey = \"a.key\"\n", to(&one));
    let umay = watching(&dir.write("umay.toml", text)).start();
    let connect = |name: &str| Conn::connect_tls(umay.addr(), &certs.trusting(), name);
    connect("a.test").unwrap();
    write(&["b.test"]);
    eventually("the other certificate", || connect("b.test").ok());
    // It is counted when all is done, which may be a moment later.
    umay.wait_metric("umay_config_reloads_total", &[("result", "served")], 1.0);
    assert_eq!(reloads(&umay, "refused"), 0.0);
}

#[test]
fn nothing_is_watched_if_that_is_off() {
    let (dir, one, two) = (TempDir::new(), Server::ok("one"), Server::ok("two"));
    let off = |server: &Server| format!("watch = false\n{}", to(server));
    let path = dir.write("umay.toml", off(&one));
    let umay = umay!()
        .args(["run", "--config", path.to_str().unwrap()])
        .env("UMAY_WATCH", "false")
        .start();
    dir.write("umay.toml", off(&two));
    thread::sleep(Duration::from_millis(600));
    assert_eq!(umay.get("a.test", "/").text(), "one");
    umay.signal(umay_test::Signal::HUP);
    until(&umay, "two");
}
