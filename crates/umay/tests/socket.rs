//! The admin socket as whoever can open it sees it, and whoever cannot.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod control;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

use control::scene;
use rustix::process::Signal;
use umay_test::{Server, TempDir, eventually, umay};

#[test]
fn unknown_paths_say_what_there_is() {
    let scene = scene(1, "");
    for path in [
        "/",
        "/nothing",
        "/status/",
        "/upstreams/web/endpoints",
        "//reload",
    ] {
        let reply = scene.ask("GET", path, "");
        assert_eq!(reply.status, 404, "{path}: {reply:?}");
        assert!(reply.error().contains(path), "{reply:?}");
        let all = reply.json()["there_are"].clone();
        for part in ["GET /status", "POST /reload", "POST /drain", "/weight"] {
            assert!(all.to_string().contains(part), "{part}: {all}");
        }
    }
}

#[test]
fn other_methods_are_refused_and_change_nothing() {
    let scene = scene(1, "");
    let drain = format!("/upstreams/web/endpoints/{}/drain", scene.at(0));
    for (path, allowed) in [
        ("/status", "GET"),
        ("/reload", "POST"),
        ("/upstreams", "GET"),
        ("/upstreams/web", "GET"),
        (&*drain, "POST"),
        ("/log/level", "GET, POST"),
        ("/explain", "POST"),
        ("/config", "GET"),
        ("/drain", "GET, POST"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            if allowed.contains(method) {
                continue;
            }
            let reply = scene.ask(method, path, "");
            assert_eq!(reply.status, 405, "{method} {path}: {reply:?}");
            assert!(reply.error().contains(path), "{reply:?}");
            let head = reply.head.to_lowercase();
            for word in allowed.split(", ") {
                let allow = head.lines().find(|line| line.starts_with("allow:"));
                assert!(
                    allow.unwrap().contains(&word.to_lowercase()),
                    "{path}: {head}"
                );
            }
        }
    }
    assert!(scene.by_hand().is_empty());
    assert_eq!(scene.status()["stage"], "ready");
}

#[test]
fn the_host_makes_no_difference() {
    let scene = scene(1, "");
    for host in [
        "",
        "Host: umay\r\n",
        "Host: evil.example\r\n",
        "Host: \r\n",
        "Host: a\r\nHost: b\r\n",
    ] {
        let reply = scene.raw(format!("GET /status HTTP/1.1\r\n{host}\r\n"));
        assert_eq!(reply.status, 200, "{host:?}: {reply:?}");
    }
}

#[test]
fn bodies_are_capped() {
    let scene = scene(1, "");
    let body = |length: usize| {
        let rest = "{\"level\": \"\"}".len();
        format!("{{\"level\": \"{}\"}}", "x".repeat(length - rest))
    };
    // As long as it may be it is read, and refused for what it says.
    let most = 64 * 1024;
    let reply = scene.ask("POST", "/log/level", &body(most));
    assert_eq!(reply.status, 400, "{}", reply.head);
    let reply = scene.ask("POST", "/log/level", &body(most + 1));
    assert_eq!(reply.status, 413, "{}", reply.head);
    assert!(reply.error().contains("65536 bytes at most"));
    // Nothing is set aside for what is only announced, and nothing is waited for that is not read.
    let reply = scene.raw("POST /explain HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n{}");
    assert_eq!(reply.status, 413, "{reply:?}");
    let reply = scene.raw(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)));
    assert!(reply.status >= 400 || reply.status == 0, "{}", reply.head);
    assert_eq!(scene.ask("GET", "/status", "").status, 200);
}

#[test]
fn a_slow_client_keeps_nobody_out() {
    let scene = scene(1, "");
    // Half a head, half a body, nothing at all, and one who does not take the answer.
    let mut slow = Vec::new();
    for part in [
        "",
        "GET /sta",
        "POST /explain HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
        "GET /config HTTP/1.1\r\n\r\n",
    ] {
        for _ in 0..10 {
            let mut stream = scene.connect();
            stream.write_all(part.as_bytes()).unwrap();
            slow.push(stream);
        }
    }
    for _ in 0..10 {
        assert_eq!(scene.ask("GET", "/status", "").status, 200);
    }
    // And they keep neither a reload nor the end up.
    assert_eq!(scene.ask("POST", "/reload", "").status, 200);
    let mut scene = scene;
    assert_eq!(scene.umay.stop(), 0);
    assert!(!scene.socket().exists());
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
}

#[test]
fn what_is_refused_has_the_status_that_says_why() {
    let mut scene = scene(1, "");
    let reply = scene.ask("POST", "/log/level", "{");
    assert_eq!(reply.status, 400);
    scene.umay.rewrite("listen = 1");
    let reply = scene.ask("POST", "/reload", "");
    assert_eq!(reply.status, 409);
    assert!(reply.error().contains("umay.toml:1:10"), "{reply:?}");
    let told = scene.complains(&["reload"]);
    assert!(told.contains("umay.toml:1:10"), "{told}");
    // A name with anything in it comes over, and is no path.
    let reply = scene.ask(
        "POST",
        "/upstreams/web/endpoints/..%2F..%2Freload/drain",
        "",
    );
    assert_eq!(reply.status, 404);
    assert!(
        reply.error().contains("no endpoint ../../reload"),
        "{reply:?}"
    );
    let reply = scene.ask("POST", "/upstreams/%ff/endpoints/a/drain", "");
    assert_eq!(reply.status, 400, "{reply:?}");
    scene.umay.signal(Signal::TERM);
    scene.umay.wait_exit();
}

#[test]
fn names_forge_no_lines_in_the_log() {
    let scene = scene(1, "");
    let reply = scene.ask(
        "POST",
        "/upstreams/web/endpoints/a%0A2026%20INFO%20forged/drain",
        "",
    );
    assert_eq!(reply.status, 404);
    let level = "{\"level\": \"[a\\nforged]=info\"}";
    scene.ask("POST", "/log/level", level);
    scene.ask_endpoint(0, "drain", "");
    scene.umay.wait_event("draining of endpoint");
    let events = scene.umay.events();
    assert!(
        !events
            .lines()
            .any(|line| line.contains("forged") && !line.contains("what=")),
        "{events}"
    );
}

/// Starts a Umay with a socket there, which is to fail, and gives what it says.
#[track_caller]
fn fails_at(path: &std::path::Path, server: &Server) -> String {
    let to = server.addr();
    let failure = umay!()
        .config(format!(
            "listen = \"127.0.0.1:0\"\nto = \"{to}\"\nadmin.socket = {path:?}\n"
        ))
        .fails();
    failure.stderr
}

#[test]
fn what_stands_at_the_path_is_left_alone_unless_it_is_a_dead_socket() {
    let (dir, server) = (TempDir::new(), Server::ok("x"));
    let file = dir.write("file", "precious");
    let told = fails_at(&file, &server);
    assert!(
        told.contains("cannot listen on admin.socket") && told.contains("a file is there"),
        "{told}"
    );
    let link = dir.path().join("link");
    symlink(&file, &link).unwrap();
    let told = fails_at(&link, &server);
    assert!(told.contains("a symbolic link is there"), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    // Of a Umay that was killed.
    let path = dir.path().join("dead");
    drop(UnixListener::bind(&path).unwrap());
    let before = fs::symlink_metadata(&path).unwrap();
    let to = server.addr();
    let mut umay = umay!("listen = \"127.0.0.1:0\"\nto = \"{to}\"\nadmin.socket = {path:?}\n");
    let after = fs::symlink_metadata(&path).unwrap();
    assert_eq!(after.permissions().mode() & 0o7777, 0o600);
    assert!(before.ino() != after.ino() || before.mtime_nsec() != after.mtime_nsec());
    assert_eq!(umay.stop(), 0);
}

/// Whoever looks all the time sees no socket that others may open, whatever the umask is.
#[test]
fn no_moment_is_open_to_others() {
    let (dir, server) = (TempDir::new(), Server::ok("x"));
    let path = dir.path().join("socket");
    let to = server.addr();
    for umask in ["000", "022", "077"] {
        let text = format!("listen = \"127.0.0.1:0\"\nto = \"{to}\"\nadmin.socket = {path:?}\n");
        let shell = format!("umask {umask}; exec \"$0\" \"$@\"");
        let starting = umay!().config(text).under(["sh", "-c", &shell]);
        let seen = std::thread::scope(|scope| {
            let path = &path;
            let watcher = scope.spawn(move || {
                eventually("the socket", || {
                    let mode = fs::symlink_metadata(path).ok()?.permissions().mode();
                    Some(mode & 0o7777)
                })
            });
            let mut umay = starting.start();
            let first = watcher.join().unwrap();
            let mode = fs::symlink_metadata(path).unwrap().permissions().mode();
            // Right after it has said that it is ready: it ends in order all the same.
            assert_eq!(umay.stop(), 0);
            [first, mode & 0o7777]
        });
        assert_eq!(seen, [0o600; 2], "{umask}: {seen:?}");
    }
}

/// A umask that takes even from the owner is told, and leaves nothing behind.
#[test]
fn a_umask_that_leaves_no_socket_is_told() {
    let (dir, server) = (TempDir::new(), Server::ok("x"));
    let path = dir.path().join("socket");
    let to = server.addr();
    let text = format!("listen = \"127.0.0.1:0\"\nto = \"{to}\"\nadmin.socket = {path:?}\n");
    let shell = "umask 277; exec \"$0\" \"$@\"";
    let failure = umay!().config(text).under(["sh", "-c", shell]).fails();
    assert!(
        failure
            .stderr
            .contains("mode 0400 in place of 0600; is it the umask?"),
        "{}",
        failure.stderr
    );
    assert!(!path.exists());
}

/// Only root can become somebody else to try.
#[test]
fn another_user_is_kept_out() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scene = scene(1, "");
    let curl = |user: &str| {
        let done = Command::new("setpriv")
            .args(["--reuid", user, "--clear-groups", "curl", "-sS"])
            .args(["http://umay/status", "--unix-socket"])
            .arg(scene.socket())
            .output();
        done.unwrap()
    };
    assert!(curl("0").status.success(), "{:?}", curl("0"));
    assert_eq!(curl("65534").status.code(), Some(7), "{:?}", curl("65534"));
}

fn ask(words: &[&str], path: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_umay"))
        .args(words)
        .arg("--socket")
        .arg(path)
        .output()
        .unwrap()
}

#[test]
fn who_asks_nobody_is_told_so() {
    let dir = TempDir::new();
    let dead = dir.path().join("dead");
    drop(UnixListener::bind(&dead).unwrap());
    let file = dir.write("file", "");
    let long = dir.path().join("x".repeat(200));
    let stranger = dir.path().join("stranger");
    let listener = UnixListener::bind(&stranger).unwrap();
    let answering = std::thread::spawn(move || {
        for stream in listener.incoming().take(1) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        }
    });
    let nothing = dir.path().join("nothing");
    for (path, words) in [
        (&nothing, "there is no socket: does it run"),
        (&dead, "nobody listens there any more"),
        (&file, "nobody listens there any more"),
        (&long, "no more than 107"),
        (&stranger, "it is not Umay that answers"),
    ] {
        let done = ask(&["reload"], path);
        assert_eq!(done.status.code(), Some(1));
        let told = String::from_utf8(done.stderr).unwrap();
        assert!(told.contains(words), "{words}: {told}");
        assert!(told.contains(path.to_str().unwrap()), "{told}");
    }
    answering.join().unwrap();
    for words in [
        &["endpoint", "list"][..],
        &["log", "level"],
        &["drain"],
        &["drain", "--wait"],
        &["config", "show"],
        &["explain", "tcp:"],
    ] {
        let done = ask(words, &nothing);
        let told = String::from_utf8(done.stderr).unwrap();
        assert!(told.contains("there is no socket"), "{words:?}: {told}");
    }
    let done = Command::new(env!("CARGO_BIN_EXE_umay"))
        .args(["config", "show", "--running"])
        .env_remove("UMAY_ADMIN__SOCKET")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&done.stderr).contains("which Umay?"));
}
