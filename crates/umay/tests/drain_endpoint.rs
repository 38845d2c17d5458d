//! The admin socket: an endpoint is taken out of use and into use again while requests run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use umay_test::{Conn, GET, Server, TempDir, Umay, eventually, umay};

/// More than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

struct Scene {
    umay: Umay,
    dir: TempDir,
    one: Server,
    two: Server,
}

/// Umay with two endpoints, and its socket.
fn scene() -> Scene {
    let (dir, one, two) = (TempDir::new(), Server::ok("one"), Server::ok("two"));
    let socket = dir.path().join("umay.sock");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"web\"\nadmin.socket = {socket:?}\n\
         [upstream.web]\nto = [\"http://{}\", \"http://{}\"]\nbalance = \"round_robin\"\n",
        one.addr(),
        two.addr()
    );
    Scene {
        umay,
        dir,
        one,
        two,
    }
}

impl Scene {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("umay.sock")
    }

    fn endpoint(&self, action: &str, upstream: &str, endpoint: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_umay"))
            .args(["endpoint", action, upstream, endpoint, "--socket"])
            .arg(self.socket())
            .output()
            .unwrap()
    }
}

/// The endpoints that answer twenty requests.
fn who(conn: &mut Conn) -> Vec<String> {
    let mut names: Vec<_> = (0..20).map(|_| conn.ask(GET).unwrap().text()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_drained_endpoint_gets_no_new_requests_until_that_is_ended() {
    let scene = scene();
    let mut conn = scene.umay.connect();
    assert_eq!(who(&mut conn), ["one", "two"]);
    let one = scene.one.addr().to_string();
    let done = scene.endpoint("drain", "web", &one);
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(
        text,
        format!("{one} gets no new requests, and nothing is in flight.\n")
    );
    eventually("only two", || (who(&mut conn) == ["two"]).then_some(()));
    let standing = |name: &str| {
        let labels = [("upstream", "web"), ("standing", name)];
        scene.umay.metric("umay_upstream_endpoints", &labels)
    };
    assert_eq!((standing("draining"), standing("well")), (1.0, 1.0));
    let done = scene.endpoint("undrain", "web", &one);
    assert_eq!(
        String::from_utf8(done.stdout).unwrap(),
        format!("{one} gets requests again.\n")
    );
    eventually("both", || (who(&mut conn) == ["one", "two"]).then_some(()));
    scene.umay.wait_event("changed by hand");
}

#[test]
fn what_is_in_flight_goes_on_and_is_told() {
    let scene = scene();
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let slow = Server::start(move |conn, _| {
        while conn.read_request()?.is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")?;
            gone.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            conn.send("cd")?;
        }
        Ok(())
    });
    let socket = scene.dir.path().join("other.sock");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"slow\"\nadmin.socket = {socket:?}\n[upstream.slow]\nto = \"{}\"\n",
        slow.addr()
    );
    let mut conn = umay.connect();
    conn.send(GET).unwrap();
    conn.read_until("ab").unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_umay"))
        .args(["endpoint", "drain", "slow", &slow.addr().to_string()])
        .env("UMAY_ADMIN__SOCKET", &socket)
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.ends_with("no new requests; in flight: 1.\n"), "{text}");
    go.send(()).unwrap();
    conn.read_until("cd").unwrap();
    // The only endpoint is out of use, and that is not overruled.
    eventually("nobody", || {
        (umay.get("a.test", "/").status() == 503).then_some(())
    });
    umay.wait_reason("no_endpoint");
}

#[test]
fn what_is_not_there_is_told() {
    let scene = scene();
    for (upstream, endpoint, words) in [
        (
            "web",
            "127.0.0.1:1",
            "upstream web has no endpoint 127.0.0.1:1",
        ),
        (
            "nil",
            "127.0.0.1:1",
            "there is no upstream nil; there are: web",
        ),
        ("we/b %", "a", "there is no upstream we/b %"),
    ] {
        let done = scene.endpoint("drain", upstream, endpoint);
        assert!(!done.status.success());
        let text = String::from_utf8(done.stderr).unwrap();
        assert!(text.contains(words), "{text}");
    }
    let nobody = Command::new(env!("CARGO_BIN_EXE_umay"))
        .args(["endpoint", "drain", "web", "a", "--socket", "/nonexistent"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&nobody.stderr).contains("cannot ask the Umay at /nonexistent")
    );
}

#[test]
fn the_socket_is_its_owners_and_goes_with_umay() {
    let mut scene = scene();
    let mode = std::fs::metadata(scene.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = umay!()
        .config(format!(
            "listen = \"127.0.0.1:0\"\nto = \"{}\"\nadmin.socket = {:?}\n",
            scene.two.addr(),
            scene.socket()
        ))
        .fails();
    assert!(
        second.stderr.contains("another process listens there"),
        "{}",
        second.stderr
    );
    scene.umay.stop();
    assert!(!scene.socket().exists());
}
