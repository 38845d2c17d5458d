//! A storm of reloads and upgrades over everything that is open: nothing breaks, nothing fails, and nothing is left behind.
//!
//! `UMAY_STORM=500` makes as many reloads as that, `UMAY_STORM_OPEN=1000` opens as many WebSockets and as many downloads;
//! `UMAY_SEED` has them be the same again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail loudly"
)]

mod peers;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use umay_test::h2;
use umay_test::http2::{Client, Stream};
use umay_test::tungstenite::{Message, WebSocket};
use umay_test::{
    Certs, Conn, Signal, Umay, eventually, open_files, raise_open_files, rss, umay, websocket,
};

use peers::{Dice, OVER, PAUSE, Peers, config};

/// WebSockets, and downloads over HTTP/2, unless said otherwise; a fourth of them in each process.
const OPEN: usize = 100;
const UPGRADES: usize = 3;
/// In each process.
const UPLOADS: usize = 3;
const STREAMS: usize = 10;

/// Threads of the steady load.
const LOADS: u64 = 5;

/// Memory that may be taken more at the end than soon after the last upgrade, under the same load.
const GROWTH: u64 = 24 << 20;

/// Which configurations may be served now, and what went wrong.
#[derive(Default)]
struct Watch {
    stop: AtomicBool,
    /// Endpoints of each configuration so far.
    served: Mutex<Vec<u32>>,
    /// The oldest that may still be served.
    oldest: AtomicU64,
    requests: AtomicU64,
    upgrades: AtomicU64,
    /// Who of the load asks the new process, all upgrades together.
    gone_over: AtomicU64,
    failed: Mutex<Vec<String>>,
    broken: Mutex<Vec<String>>,
    moved: AtomicU64,
}

impl Watch {
    /// One request of the steady load; tells what is wrong with the answer.
    fn judge(&self, oldest: u64, status: u16, body: &str) -> Result<(), String> {
        let served = self.served.lock().unwrap();
        let may: u32 = served[oldest as usize..]
            .iter()
            .fold(0, |all, some| all | some);
        let by = body.parse::<u32>().ok().filter(|by| may & (1 << by) != 0);
        match (status, by) {
            (200, Some(_)) => Ok(()),
            _ => Err(format!("{status} {body:?}, may be of {may:b}")),
        }
    }

    /// Asks steadily until the storm is over.
    fn load(&self, mut ask: impl FnMut() -> Result<(u16, String), String>, path: &str) {
        let mut seen = (self.upgrades.load(SeqCst), 0);
        while !self.stop.load(SeqCst) {
            let oldest = self.oldest.load(SeqCst);
            let upgrades = self.upgrades.load(SeqCst);
            let answer = ask().and_then(|(status, body)| match path {
                "/" => self.judge(oldest, status, &body),
                _ if (status, &*body) == (200, "secure") => Ok(()),
                _ => Err(format!("{status} {body:?}")),
            });
            self.requests.fetch_add(1, SeqCst);
            seen = if seen.0 == upgrades {
                (upgrades, seen.1 + 1)
            } else {
                (upgrades, 1)
            };
            // The first answer may be the last of a connection to the old process.
            if upgrades > 0 && seen.1 == 2 {
                self.gone_over.fetch_add(1, SeqCst);
            }
            if let Err(why) = answer {
                self.failed.lock().unwrap().push(format!("{path}: {why}"));
            }
            thread::sleep(Duration::from_millis(3));
        }
    }

    /// Waits until nobody asks an old process any more, for that is told of no other configuration.
    fn upgraded(&self) {
        let all = LOADS * (self.upgrades.fetch_add(1, SeqCst) + 1);
        eventually("the load to have gone over", || {
            (self.gone_over.load(SeqCst) == all).then_some(())
        });
    }

    fn ended(&self, what: &str, how: Result<u64, String>) {
        match how {
            Ok(moved) => drop(self.moved.fetch_add(moved, SeqCst)),
            Err(why) => self.broken.lock().unwrap().push(format!("{what}: {why}")),
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn ask(conn: &mut Conn, round: u64, path: &str) -> Result<(u16, String), String> {
    // What is not idempotent has no second try.
    let request = match round % 2 {
        0 => format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        _ => format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"),
    };
    let answer = conn.ask(request).map_err(text)?;
    if answer.get("connection") == Some("close") && conn.tls().is_none() {
        let at = conn.socket().peer_addr().map_err(text)?;
        *conn = Conn::connect(at).map_err(text)?;
    }
    Ok((answer.status(), answer.text()))
}

fn ask_http2(client: &mut Client, at: SocketAddr) -> Result<(u16, String), String> {
    let call = |client: &Client| client.call("GET", "http://a.test/", &[], true);
    let mut stream = match call(client) {
        Ok(stream) => stream,
        // It was told to open another connection, and has sent nothing.
        Err(_) => {
            *client = Client::connect(at).map_err(text)?;
            call(client).map_err(text)?
        }
    };
    let head = match stream.head() {
        // It was told so while its request was on the way.
        Err(error) if is_unprocessed(&error) => {
            *client = Client::connect(at).map_err(text)?;
            stream = call(client).map_err(text)?;
            stream.head()
        }
        head => head,
    };
    let status = head.map_err(text)?.status();
    let body = stream.read_to_end().map_err(text)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// True if a request came after the last stream that was taken, as its GOAWAY says: nobody has looked at it, and
/// any client sends it again (RFC 9113 section 6.8).
fn is_unprocessed(error: &std::io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    error.is_some_and(|error: &h2::Error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// Where Umay listens.
#[derive(Clone, Copy)]
struct At {
    main: SocketAddr,
    tls: SocketAddr,
    raw: SocketAddr,
}

/// The steady load, in threads of this scope.
fn start_load<'s>(scope: &'s thread::Scope<'s, '_>, watch: &'s Watch, certs: &'s Certs, at: At) {
    for path in ["/", "/", "/secure"] {
        scope.spawn(move || {
            let mut conn = Conn::connect(at.main).unwrap();
            let mut round = 0;
            watch.load(
                || {
                    round += 1;
                    ask(&mut conn, round, path)
                },
                path,
            );
        });
    }
    scope.spawn(move || {
        let mut client = Client::connect(at.main).unwrap();
        watch.load(|| ask_http2(&mut client, at.main), "/");
    });
    // A new connection for each, over TLS and not.
    scope.spawn(move || {
        let mut round = 0;
        let fresh = || {
            round += 1;
            let conn = match round % 4 {
                0 => Conn::connect_tls(at.tls, &certs.trusting(), "a.test"),
                _ => Conn::connect(at.main),
            };
            ask(&mut conn.map_err(text)?, round, "/")
        };
        watch.load(fresh, "/");
    });
}

type Socket = WebSocket<Conn>;

fn open_sockets(at: At, open_ones: usize) -> Vec<Socket> {
    let open = |_| {
        let conn = Conn::connect(at.main).unwrap();
        websocket::connect(conn, "ws://a.test/sockets").unwrap().0
    };
    (0..open_ones).map(open).collect()
}

fn swing_sockets(watch: &Watch, mut sockets: Vec<Socket>, pause: Duration) {
    let mut sent = 0_u64;
    let mut swing = |socket: &mut Socket| {
        sent += 1;
        socket.send(Message::text(sent.to_string())).map_err(text)?;
        let came = socket.read().map_err(text)?;
        let same = came == Message::text(sent.to_string());
        same.then_some(())
            .ok_or_else(|| format!("{came:?} for {sent}"))
    };
    let mut how = vec![Ok(1); sockets.len()];
    while !watch.stop.load(SeqCst) {
        for (socket, how) in sockets.iter_mut().zip(&mut how) {
            if how.is_ok()
                && let Err(why) = swing(socket)
            {
                *how = Err(why);
            }
        }
        thread::sleep(pause);
    }
    for (mut socket, how) in sockets.into_iter().zip(how) {
        watch.ended("WebSocket", how);
        socket.close(None).ok();
        while socket.read().is_ok() {}
    }
}

fn follow_download(watch: &Watch, mut stream: Stream) {
    let whole = stream.read_to_end().map_err(text).and_then(|body| {
        let body = String::from_utf8_lossy(&body).into_owned();
        let lines: Vec<&str> = body.lines().collect();
        let numbers = lines
            .iter()
            .enumerate()
            .all(|(n, line)| *line == n.to_string() || (n + 1 == lines.len() && *line == "over"));
        let whole = numbers && lines.last() == Some(&"over");
        whole
            .then_some(lines.len() as u64)
            .ok_or_else(|| format!("cut after {:?}", lines.last()))
    });
    watch.ended("download", whole);
}

fn follow_upload(watch: &Watch, mut conn: Conn) {
    let mut sent = 0;
    let mut send = || {
        let piece = [b'u'; 1000];
        while !watch.stop.load(SeqCst) {
            conn.send("3e8\r\n")?;
            conn.send(piece)?;
            conn.send("\r\n")?;
            sent += piece.len();
            thread::sleep(Duration::from_millis(10));
        }
        conn.send("0\r\n\r\n")?;
        conn.read_response("POST")
    };
    let how = send().map_err(text).and_then(|answer| {
        let right = (answer.status(), answer.text()) == (200, sent.to_string());
        right
            .then_some(sent as u64)
            .ok_or_else(|| format!("{answer:?} for {sent}"))
    });
    watch.ended("upload", how);
}

fn swing_streams(watch: &Watch, mut streams: Vec<Conn>) {
    let mut how = vec![Ok(1); streams.len()];
    while !watch.stop.load(SeqCst) {
        for (stream, how) in streams.iter_mut().zip(&mut how) {
            let swing = |stream: &mut Conn| {
                stream.send("ping\n")?;
                stream.read_until("ping\n")
            };
            if how.is_ok()
                && let Err(why) = swing(stream)
            {
                *how = Err(why.to_string());
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    for how in how {
        watch.ended("stream", how);
    }
}

/// Opens all that is to live through the storm.
fn open_all<'s>(scope: &'s thread::Scope<'s, '_>, watch: &'s Watch, at: At, open: usize) {
    let mut sockets = open_sockets(at, open);
    // However many there are, they send as much.
    let pause = Duration::from_micros(800 * open as u64);
    while !sockets.is_empty() {
        let some = sockets.split_off(sockets.len().saturating_sub(10));
        scope.spawn(move || swing_sockets(watch, some, pause));
    }
    // As many on each as may be.
    let clients = (0..open.div_ceil(90)).map(|_| Client::connect(at.main).unwrap());
    let clients: Vec<Client> = clients.collect();
    PAUSE.store(2 * open as u64, SeqCst);
    for number in 0..open {
        let client = &clients[number % clients.len()];
        let mut stream = client
            .call("GET", "http://a.test/downloads", &[], true)
            .unwrap();
        assert_eq!(stream.head().unwrap().status(), 200);
        scope.spawn(move || follow_download(watch, stream));
    }
    scope.spawn(move || {
        while !watch.stop.load(SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        // Their streams end by themselves, and the connections with them.
        thread::sleep(Duration::from_millis(500 + 4 * open as u64));
        drop(clients);
    });
    for _ in 0..UPLOADS {
        let mut conn = Conn::connect(at.main).unwrap();
        conn.send("POST /uploads HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        scope.spawn(move || follow_upload(watch, conn));
    }
    let mut streams: Vec<Conn> = (0..STREAMS)
        .map(|_| Conn::connect(at.raw).unwrap())
        .collect();
    for stream in &mut streams {
        stream.send("hello\n").unwrap();
        stream.read_until("hello\n").unwrap();
    }
    scope.spawn(move || swing_streams(watch, streams));
}

/// A configuration that has everything.
fn whole(peers: &Peers, dice: &mut Dice) -> (String, u32) {
    let all = ["sockets", "downloads", "uploads", "raw"];
    loop {
        let (text, served) = config(peers, dice);
        let has = |name: &&str| text.contains(&format!("[upstream.{name}]"));
        if all.iter().all(has) {
            return (text, served);
        }
    }
}

fn reload(umay: &Umay, watch: &Watch, (text, served): (String, u32)) {
    watch.served.lock().unwrap().push(served);
    assert!(
        umay.reload(&text),
        "{text}\n{}",
        umay.admin_get("/status").text()
    );
    watch.oldest.fetch_add(1, SeqCst);
}

/// One reload after the other, and what is open in each process that serves meanwhile.
fn storm<'s>(
    (umay, at): (&mut Umay, At),
    peers: &Peers,
    (scope, watch): (&'s thread::Scope<'s, '_>, &'s Watch),
    dice: &mut Dice,
    (rounds, open): (usize, usize),
) -> (u64, u64) {
    let mut early = 0;
    let mut refused = 0;
    // In the first half.
    let pace = rounds / 2 / UPGRADES;
    for round in 0..rounds {
        if round % pace == pace - 1 && round / pace < UPGRADES {
            assert_eq!(
                umay.metric("umay_config_reloads_total", &[("result", "refused")]),
                f64::from(refused)
            );
            reload(umay, watch, whole(peers, dice));
            umay.upgrade().unwrap();
            watch.upgraded();
            open_all(scope, watch, at, open);
            // The new process counts anew.
            refused = 0;
        }
        if round % 5 == 4 {
            let bad = dice.one(&[
                "listen = [",
                "listne = 1\n",
                "listen = \"192.0.2.1:80\"\nto = \"127.0.0.1:1\"\n",
            ]);
            assert!(!umay.reload(bad), "{bad}");
            refused += 1;
        }
        reload(umay, watch, config(peers, dice));
        if round % 7 == 6 {
            // More at once, and while the others are carried out.
            let before = umay.metric("umay_config_reloads_total", &[("result", "served")]);
            for _ in 0..10 {
                umay.signal(Signal::HUP);
            }
            let served = || umay.metric("umay_config_reloads_total", &[("result", "served")]);
            eventually("one more", || (served() > before).then_some(()));
            // What comes next is to be told from what is still on its way.
            eventually("quiet", || {
                let now = served();
                thread::sleep(Duration::from_millis(100));
                (served() == now).then_some(())
            });
        }
        if round == rounds / 2 + rounds / 10 {
            early = rss(umay.pid());
        }
        thread::sleep(Duration::from_millis(dice.below(150) as u64));
    }
    assert_eq!(
        umay.metric("umay_config_reloads_total", &[("result", "refused")]),
        f64::from(refused)
    );
    (early, rss(umay.pid()))
}

/// Ends what is open and the load, also if the storm fails.
struct Stop<'s>(&'s Watch);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        OVER.store(true, SeqCst);
        self.0.stop.store(true, SeqCst);
    }
}

/// Nothing is counted as open or in flight any more.
fn nothing_left(umay: &Umay, peers: &Peers) {
    for name in [
        "umay_http_requests_in_flight",
        "umay_tcp_connections_active",
        "umay_connections_active",
        "umay_endpoint_in_flight",
        "umay_upstream_queue",
        "umay_upstream_connections_idle",
    ] {
        umay.wait_metric(name, &[], 0.0);
    }
    eventually("all connections to endpoints closed", || {
        let (opened, ended) = peers.connections();
        (opened == ended).then_some(())
    });
    let count = |name| umay.metric(name, &[]);
    let (opened, closed) = (
        "umay_upstream_connections_opened_total",
        "umay_upstream_connections_closed_total",
    );
    eventually("what was opened is closed", || {
        (count(opened) == count(closed)).then_some(())
    });
}

#[test]
fn reloads_break_nothing_and_leave_nothing_behind() {
    raise_open_files();
    let number = |key: &str| {
        std::env::var(key)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let rounds = number("UMAY_STORM").unwrap_or(50) as usize;
    let open = number("UMAY_STORM_OPEN").map_or(OPEN, |open| open as usize);
    // In each process.
    let open = open / (UPGRADES + 1);
    let seed = number("UMAY_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{rounds} reloads, UMAY_SEED={seed}");
    let (peers, mut dice) = (Peers::start(), Dice(seed));
    let (text, served) = whole(&peers, &mut dice);
    let mut umay = umay!().config(&text).workers(2).start();
    let (before, at) = (
        open_files(umay.pid()),
        At {
            main: umay.at("main"),
            tls: umay.at("tls"),
            raw: umay.at("raw"),
        },
    );
    let watch = Watch::default();
    watch.served.lock().unwrap().push(served);
    let started = Instant::now();
    let (early, late) = thread::scope(|scope| {
        let _stop = Stop(&watch);
        open_all(scope, &watch, at, open);
        start_load(scope, &watch, &peers.certs, at);
        let ends = (&mut umay, at);
        storm(ends, &peers, (scope, &watch), &mut dice, (rounds, open))
    });
    let (failed, broken) = (watch.failed.lock().unwrap(), watch.broken.lock().unwrap());
    println!(
        "{rounds} reloads and {UPGRADES} upgrades in {:?}: {} requests, {} failed; {} open all the while, {} broken; {} moved; {} MiB early, {} late; {} files before",
        started.elapsed(),
        watch.requests.load(SeqCst),
        failed.len(),
        (UPGRADES + 1) * (2 * open + UPLOADS + STREAMS),
        broken.len(),
        watch.moved.load(SeqCst),
        early >> 20,
        late >> 20,
        before,
    );
    assert!(
        failed.is_empty() && broken.is_empty(),
        "{failed:#?}\n{broken:#?}"
    );
    assert!(late < early + GROWTH, "{early} bytes became {late}");
    // With the last upstream all that was kept for it goes.
    assert!(umay.reload(
        "[[listener]]\nname = \"main\"\nlisten = \"127.0.0.1:0\"\n[[route]]\nrespond = {}\n"
    ));
    nothing_left(&umay, &peers);
    umay.wait_former();
    let files = || open_files(umay.pid());
    println!("{} files after", files());
    eventually("all files closed", || (files() <= before).then_some(()));
}
