//! Another program takes over while everything goes on: SIGUSR2 and `umay upgrade`, and sockets from a supervisor.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use umay_test::http2::{Client, Endpoint};
use umay_test::tungstenite::Message;
use umay_test::{
    Conn, Door, End, GET, Server, Setup, Signal, Supervisor, TempDir, Umay, Value, eventually, ok,
    umay, unique_address, websocket,
};

const UMAY: &str = env!("CARGO_BIN_EXE_umay");

/// A program's file of its own, which can be replaced by another.
struct Program(PathBuf);

impl Program {
    fn new(dir: &TempDir) -> Self {
        let path = dir.path().join("umay");
        fs::copy(UMAY, &path).unwrap();
        Self(path)
    }

    fn setup(&self) -> Setup {
        Setup::new(self.0.to_str().unwrap())
    }

    /// Puts a script in its place, in one step as packages do.
    fn replace(&self, script: &str) {
        let new = self.0.with_extension("new");
        fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(new, &self.0).unwrap();
    }
}

fn before(endpoint: &Server) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    )
}

fn command(words: &[&str], socket: &Path) -> Output {
    let mut command = Command::new(UMAY);
    command.args(words).arg("--socket").arg(socket);
    command.output().unwrap()
}

/// A number in the status document.
fn status(umay: &Umay, key: &str) -> u64 {
    let status: Value = umay.admin_get("/status").text().parse().unwrap();
    status[key].as_u64().unwrap()
}

#[test]
fn what_is_open_goes_on_and_what_is_new_comes_to_the_new_process() {
    let door = Door::default();
    let sockets = Server::start(|conn, _| websocket::echo(conn));
    let raw = Server::start(|conn, _| {
        loop {
            let bytes = conn.read_some()?;
            if bytes.is_empty() {
                return Ok(());
            }
            conn.send(bytes)?;
        }
    });
    let streams = {
        let door = door.clone();
        Endpoint::start(move |stream| {
            stream.respond(200, &[], false)?;
            stream.send(b"begun ")?;
            door.wait();
            stream.send(b"and done")?;
            stream.finish(&[])
        })
    };
    let mut umay = umay!(
        "[[listener]]\nname = \"web\"\nlisten = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"raw\"\nlisten = \"127.0.0.1:0\"\n\
         [[route]]\nlisteners = [\"raw\"]\nprotocol = \"tcp\"\nto = \"tcp://{}\"\n\
         [[route]]\npath = \"/socket\"\nto = \"http://{}\"\n\
         [[route]]\nto = \"h2c://{}\"\n",
        raw.addr(),
        sockets.addr(),
        streams.addr()
    );
    let web = umay.at("web");
    let conn = Conn::connect(web).unwrap();
    let (mut socket, _) = websocket::connect(conn, "ws://a.test/socket").unwrap();
    let mut stream = Conn::connect(umay.at("raw")).unwrap();
    let client = Client::connect(web).unwrap();
    let mut download = client.call("GET", "http://a.test/", &[], true).unwrap();
    assert_eq!(download.head().unwrap().status(), 200);
    let mut swing = |word: &str| {
        socket.send(Message::text(word)).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text(word));
        stream.send(format!("{word}\n")).unwrap();
        stream.read_until(format!("{word}\n")).unwrap();
    };
    swing("before");
    let first = umay.pid();
    for _ in 0..3 {
        umay.upgrade().unwrap();
        assert_eq!(status(&umay, "pid"), u64::from(umay.pid()));
        swing("after");
    }
    assert_ne!(first, umay.pid());
    door.open();
    assert_eq!(download.read_to_end().unwrap(), b"begun and done");
    // The client is told to open another connection, in the way of HTTP/2.
    assert_eq!(client.wait_end().unwrap(), None);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    drop(stream);
    assert_eq!(umay.wait_first_exit(), 0);
    let client = Client::connect(web).unwrap();
    let mut again = client.call("GET", "http://a.test/", &[], true).unwrap();
    assert_eq!(again.head().unwrap().status(), 200);
}

#[test]
fn an_idle_connection_is_answered_once_more_and_then_let_go() {
    let endpoint = Server::ok("hi");
    let mut umay = umay!().config(before(&endpoint)).start();
    let mut idle = umay.connect();
    assert_eq!(idle.ask(GET).unwrap().get("connection"), None);
    umay.upgrade().unwrap();
    // It is not closed under the hands of who is about to ask.
    let answer = idle.ask(GET).unwrap();
    assert_eq!(
        (answer.status(), answer.get("connection")),
        (200, Some("close"))
    );
    assert_eq!(idle.read_to_end().unwrap(), (Vec::new(), End::Clean));
    assert_eq!(umay.wait_first_exit(), 0);
    assert_eq!(umay.get("a.test", "/").status(), 200);
    assert_eq!(umay.stop(), 0);
}

/// Ends what runs beside a test, also if the test fails.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Requests, each on a connection of its own, with nobody else's failures forgiven.
fn steady<'s>(
    scope: &'s thread::Scope<'s, '_>,
    at: SocketAddr,
    (stop, asked): (&'s AtomicBool, &'s AtomicU64),
) {
    for kept in [false, false, true] {
        scope.spawn(move || {
            let mut conn = Conn::connect(at).unwrap();
            while !stop.load(SeqCst) {
                if !kept {
                    conn = Conn::connect(at).unwrap();
                }
                let answer = conn
                    .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
                    .unwrap();
                assert_eq!(answer.status(), 200);
                if answer.get("connection") == Some("close") {
                    conn = Conn::connect(at).unwrap();
                }
                asked.fetch_add(1, SeqCst);
            }
        });
    }
}

#[test]
fn no_request_is_lost_whatever_the_number_of_workers_becomes() {
    let endpoint = Server::ok("hi");
    let config = before(&endpoint);
    let mut umay = Setup::new(UMAY)
        .config(format!("workers = 2\n{config}"))
        .without("UMAY_WORKERS")
        .start();
    let (stop, asked, at) = (AtomicBool::new(false), AtomicU64::new(0), umay.addr());
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        steady(scope, at, (&stop, &asked));
        for workers in [3, 1, 1, 4, 2] {
            umay.rewrite(format!("workers = {workers}\n{config}"));
            umay.upgrade().unwrap();
            assert_eq!(status(&umay, "workers"), workers);
            let so_far = asked.load(SeqCst);
            eventually("more requests", || {
                (asked.load(SeqCst) > so_far + 50).then_some(())
            });
        }
    });
    // Sockets that were there before are used by all workers that there are.
    assert_eq!(umay.get("a.test", "/").status(), 200);
}

#[test]
fn a_program_that_does_not_start_changes_nothing() {
    let (dir, endpoint) = (TempDir::new(), Server::ok("hi"));
    let program = Program::new(&dir);
    let mut umay = program.setup().config(before(&endpoint)).start();
    let pid = umay.pid();
    // Its configuration makes no sense.
    umay.rewrite("listen = 1\nto = \"127.0.0.1:1\"\n");
    let why = umay.upgrade().unwrap_err();
    assert!(why.contains("the new process could not start"), "{why}");
    assert!(umay.events().contains("umay.toml:1:10"));
    umay.rewrite(before(&endpoint));
    // It ends, with and without a word.
    program.replace("echo last words >&2; exit 3");
    let why = umay.upgrade().unwrap_err();
    assert!(why.contains("it ended before it was ready"), "{why}");
    umay.wait_event("last words");
    program.replace("exit 0");
    umay.upgrade().unwrap_err();
    fs::remove_file(&program.0).unwrap();
    let why = umay.upgrade().unwrap_err();
    assert!(why.contains("the program could not be started"), "{why}");
    assert_eq!((umay.pid(), umay.get("a.test", "/").status()), (pid, 200));
    // Nothing of all that is left.
    program.replace(&format!("exec {UMAY} \"$@\""));
    umay.upgrade().unwrap();
    assert_eq!(umay.wait_first_exit(), 0);
    assert_eq!(umay.get("a.test", "/").status(), 200);
}

#[test]
fn a_signal_ends_an_upgrade_that_hangs() {
    let (dir, endpoint) = (TempDir::new(), Server::ok("hi"));
    let program = Program::new(&dir);
    let mut umay = program.setup().config(before(&endpoint)).start();
    program.replace("echo hanging >&2; exec sleep 1000");
    umay.signal(Signal::USR2);
    umay.wait_event("hanging");
    // Until it serves, the old one does.
    assert_eq!(umay.get("a.test", "/").status(), 200);
    assert_eq!(umay.stop(), 0);
}

#[test]
fn the_command_says_what_came_of_it_and_the_admin_answers_all_the_while() {
    let (dir, endpoint) = (TempDir::new(), Server::ok("hi"));
    let socket = dir.path().join("umay.sock");
    let config = format!("admin.socket = {socket:?}\n{}", before(&endpoint));
    let mut umay = umay!().config(&config).start();
    let stop = AtomicBool::new(false);
    let admin = umay.admin();
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                let ready = "GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                let answer = Conn::connect(admin).unwrap().ask(ready).unwrap();
                assert_eq!(answer.status(), 200, "{}", answer.text());
            }
        });
        for _ in 0..5 {
            let before = umay.events().len();
            let done = command(&["upgrade"], &socket);
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            assert!(done.status.success(), "{done:?}");
            umay.upgraded(before).unwrap();
            assert!(
                said.starts_with(&format!("Process {} serves", umay.pid())),
                "{said}"
            );
        }
        umay.rewrite("nonsense");
        let done = command(&["upgrade"], &socket);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            !done.status.success() && said.contains("umay.toml:1"),
            "{said}"
        );
    });
    // Both are somewhere else in the new process's configuration.
    let other = dir.path().join("other.sock");
    umay.rewrite(format!("admin.socket = {other:?}\n{}", before(&endpoint)));
    let done = command(&["upgrade"], &socket);
    assert!(done.status.success(), "{done:?}");
    eventually("the old file to be gone", || {
        (!socket.exists()).then_some(())
    });
    assert!(command(&["reload"], &other).status.success());
    let gone = command(&["reload"], &socket);
    assert!(!gone.status.success());
}

#[test]
fn listeners_come_and_go_with_an_upgrade() {
    let endpoint = Server::ok("hi");
    let listener =
        |name: &str| format!("[[listener]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\n");
    let route = format!("[[route]]\nto = \"http://{}\"\n", endpoint.addr());
    let config = |names: &[&str]| names.iter().map(|n| listener(n)).collect::<String>() + &route;
    let mut umay = umay!().config(config(&["a", "b"])).start();
    let (a, b) = (umay.at("a"), umay.at("b"));
    umay.rewrite(config(&["c", "a"]));
    umay.upgrade().unwrap();
    assert_eq!(umay.listening("a"), a);
    for at in [a, umay.listening("c")] {
        assert_eq!(Conn::connect(at).unwrap().ask(GET).unwrap().status(), 200);
    }
    eventually("the port to be closed", || {
        Conn::connect(b).is_err().then_some(())
    });
}

#[test]
fn what_is_open_is_cut_only_when_it_was_said() {
    let raw = Server::start(|conn, _| websocket::echo(conn));
    let config = |wait: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n{wait}\n",
            raw.addr()
        )
    };
    let mut umay = umay!()
        .config(config("timeouts.upgrade = \"50ms\""))
        .start();
    let open = || {
        websocket::connect(umay.connect(), "ws://a.test/")
            .unwrap()
            .0
    };
    let mut socket = open();
    umay.rewrite(config(""));
    umay.upgrade().unwrap();
    umay.wait_event("timeouts.upgrade has come");
    assert!(socket.read().is_err());
    assert_eq!(umay.wait_first_exit(), 0);
    // The next one has no such deadline; but a signal ends it as ever.
    let mut socket = websocket::connect(umay.connect(), "ws://a.test/")
        .unwrap()
        .0;
    let old = umay.pid();
    umay.upgrade().unwrap();
    socket.send(Message::text("still")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still"));
    let kill = Command::new("kill").arg(old.to_string()).status().unwrap();
    assert!(kill.success());
    umay.wait_event("draining");
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    let stat = format!("/proc/{old}/cmdline");
    eventually("the second one to end", || {
        fs::read(&stat)
            .map_or(true, |words| words.is_empty())
            .then_some(())
    });
}

#[test]
fn a_supervisor_is_told_which_process_is_the_main_one() {
    let (supervisor, endpoint) = (Supervisor::new(), Server::ok("hi"));
    let told = || supervisor.told();
    let mut umay = umay!()
        .config(before(&endpoint))
        .env("NOTIFY_SOCKET", supervisor.path().to_str().unwrap())
        .start();
    assert_eq!(told(), "READY=1");
    umay.upgrade().unwrap();
    // One is the new process's, the other the old one's.
    let mut both = [told(), told()];
    both.sort();
    assert_eq!(
        both,
        [format!("MAINPID={}", umay.pid()), "READY=1".to_owned()]
    );
    assert_eq!(umay.wait_first_exit(), 0);
    umay.signal(Signal::TERM);
    // The old one has not said that the unit is stopping.
    assert_eq!(told(), "STOPPING=1");
}

/// Starts Umay as systemd does with these sockets.
fn activated(config: &str, binds: &[&str]) -> Setup {
    const BECOME: &str = "
import os, socket, sys
kept = []
for place, bind in enumerate(sys.argv[1].split(',')):
    kind, host, port = bind.split('|')
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM if kind == 'udp' else socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, int(port)))
    if kind == 'tcp': s.listen(16)
    kept.append(s)
for place, s in enumerate(kept):
    os.dup2(s.fileno(), 100 + place, False)
for place in range(len(kept)):
    os.dup2(100 + place, 3 + place)
os.environ['LISTEN_FDS'] = str(len(kept))
os.environ['LISTEN_PID'] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
";
    Setup::new(UMAY)
        .config(config)
        .workers(2)
        .under(["python3", "-c", BECOME, &binds.join(",")])
}

/// A port that nobody has, of whatever address, for now.
fn free_port() -> u16 {
    TcpListener::bind("[::]:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn sockets_of_a_supervisor_are_used_and_handed_on() {
    let endpoint = Server::ok("hi");
    let (at, other) = (unique_address(), unique_address());
    let config = format!("listen = \"{at}\"\nto = \"http://{}\"\n", endpoint.addr());
    let passed = |at: SocketAddr| format!("tcp|{}|{}", at.ip(), at.port());
    let mut umay = activated(&config, &[&passed(at), &passed(other)]).start();
    assert_eq!(umay.addr(), at);
    let unused = umay.wait_event("a socket for which there is no listener");
    assert!(unused.contains(&format!("addr={other}")), "{unused}");
    assert!(Conn::connect(other).is_err());
    for _ in 0..20 {
        assert_eq!(umay.get("a.test", "/").status(), 200);
    }
    umay.upgrade().unwrap();
    for _ in 0..20 {
        assert_eq!(umay.get("a.test", "/").status(), 200);
    }
    // A reload with the same listener, too, goes on with it.
    assert!(umay.reload(format!("{config}log.level = \"warn,umay=info\"\n")));
    assert_eq!(umay.get("a.test", "/").status(), 200);
}

#[test]
fn a_dual_socket_serves_a_listener_for_ipv4() {
    let (endpoint, port) = (Server::ok("hi"), free_port());
    let config = format!(
        "listen = \"0.0.0.0:{port}\"\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    let _umay = activated(&config, &[&format!("tcp|::|{port}")]).start();
    for at in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let answer = Conn::connect(at.parse().unwrap())
            .unwrap()
            .ask(GET)
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[test]
fn what_cannot_be_inherited_is_told() {
    let endpoint = Server::ok("hi");
    let failure = activated(&before(&endpoint), &["udp|127.0.0.1|0"]).fails();
    assert!(
        failure.stderr.contains("is not of TCP: give ListenStream="),
        "{failure:?}"
    );
    // Whoever sets this by hand is no Umay.
    let failure = umay!()
        .config(before(&endpoint))
        .env("_UMAY_SUCCEEDS", "1")
        .fails();
    assert!(
        failure.stderr.contains("cannot be taken over"),
        "{failure:?}"
    );
    assert!(
        failure.stderr.contains("no Umay has started this one"),
        "{failure:?}"
    );
}

#[test]
fn a_configuration_of_flags_alone_is_upgraded() {
    let endpoint = Server::http(|_| ok("hi"));
    let to = format!("http://{}", endpoint.addr());
    let mut umay = umay!()
        .args(["run", "--listen", "127.0.0.1:0", "--to", &to])
        .start();
    umay.upgrade().unwrap();
    assert_eq!(umay.get("a.test", "/").text(), "hi");
}

#[test]
fn what_was_set_by_hand_stays_so() {
    let (dir, servers) = (TempDir::new(), [Server::ok("0"), Server::ok("1")]);
    let socket = dir.path().join("umay.sock");
    let [drained, left] = [&servers[0], &servers[1]].map(|server| server.addr().to_string());
    let mut umay = umay!(
        "admin.socket = {socket:?}\nlisten = \"127.0.0.1:0\"\nto = \"web\"\n\
         [upstream.web]\nto = [\"http://{drained}\", \"http://{left}\"]\n"
    );
    let done = command(&["endpoint", "drain", "web", &drained], &socket);
    assert!(done.status.success(), "{done:?}");
    for _ in 0..2 {
        umay.upgrade().unwrap();
        for _ in 0..20 {
            assert_eq!(umay.get("a.test", "/").text(), "1");
        }
    }
    let done = command(&["endpoint", "undrain", "web", &drained], &socket);
    assert!(done.status.success(), "{done:?}");
    eventually("the other one", || {
        (umay.get("a.test", "/").text() == "0").then_some(())
    });
}
