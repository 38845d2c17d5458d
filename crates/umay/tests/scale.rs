//! Ten thousand connections: held, cheap, spread over the workers, and all of them answering.
//!
//! Both ends of each connection are on this machine, so a run needs as many open files in the test
//! and in Umay as there are connections. Where the limit is lower, fewer are held, and the test says
//! so. More are held if `UMAY_SCALE` says how many; the limit must allow them then:
//!
//! ```sh
//! ulimit -n 110000   # perhaps as root
//! UMAY_SCALE=100000 cargo nextest run --release -p umay -E 'binary(scale)' --no-capture -j 1
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests fail loudly and report what they measured"
)]

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use umay_test::frames::Peer;
use umay_test::rustls::{self, ClientConfig};
use umay_test::{
    Certs, Conn, GET, Server, Umay, open_files, polled_files, raise_open_files, rss, umay,
};

/// How many there shall be, unless somebody asks for more.
const WANTED: usize = 10_000;

/// Open files that are for anything but clients' connections.
const RESERVE: usize = 500;

/// What a connection may cost in Umay's memory.
const PLAIN_KIB: f64 = 2.0;
const TLS_KIB: f64 = 12.0;
const H2C_KIB: f64 = 34.0;
const H2_KIB: f64 = 44.0;

/// The tests would take each other's files.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(endpoint: SocketAddr, tls: &str) -> Umay {
    let text = format!(
        "listen = \"127.0.0.1:0\"\n{tls}to = \"http://{endpoint}\"\nlimits.connections = 1000000\n\
         timeouts.keep_alive = \"1h\"\ntimeouts.upstream_idle = \"1h\"\nhttp2.idle = \"1h\"\n\
         log.access = \"off\"\n"
    );
    umay!().config(text).workers(2).start()
}

/// How many idle connections there shall be.
fn count() -> usize {
    let asked = env::var("UMAY_SCALE").ok().map(|n| n.parse().unwrap());
    let (wanted, count) = (asked.unwrap_or(WANTED), room(asked.unwrap_or(WANTED), 1));
    assert!(asked.is_none() || count == wanted, "no room for all");
    count
}

/// How many there is room for, if each takes so many open files of one process.
fn room(wanted: usize, files: usize) -> usize {
    let limit = usize::try_from(raise_open_files()).unwrap();
    let count = wanted.min(limit.saturating_sub(RESERVE) / files);
    if count < wanted {
        eprintln!("the limit of {limit} open files leaves room for {count} connections only");
    }
    count
}

/// A client, after its first request.
enum Client {
    Http1(Conn),
    Http2(Box<Peer>),
}

impl Client {
    fn ask(&mut self) {
        match self {
            Self::Http1(conn) => {
                assert_eq!(conn.ask(GET).unwrap().text(), "hi");
                conn.shrink();
            }
            Self::Http2(peer) => {
                let answer = peer.ask("/").unwrap().answer();
                assert_eq!((answer.status(), &*answer.text()), (200, "hi"));
                peer.conn().shrink();
            }
        }
    }
}

/// The kinds of clients.
struct Clients {
    to: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    http2: bool,
}

impl Clients {
    /// An address of loopback has not enough ports for all.
    fn connect(&self, number: usize) -> Conn {
        let from = Ipv4Addr::new(127, 0, 1, (1 + number / 2000) as u8);
        let conn = Conn::connect_from(from, self.to).unwrap();
        match &self.tls {
            Some(config) => conn.into_tls(config, "a.test").unwrap(),
            None => conn,
        }
    }

    fn open(&self, numbers: Range<usize>) -> Vec<Client> {
        let one = |number| {
            let conn = self.connect(number);
            let mut client = if self.http2 {
                Client::Http2(Box::new(Peer::client(conn, &[]).unwrap()))
            } else {
                Client::Http1(conn)
            };
            client.ask();
            client
        };
        numbers.map(one).collect()
    }

    /// Opens connections, lets each do one request, and measures what they cost when idle. All of
    /// them still answer.
    fn hold(&self, umay: &Umay, what: &str, most_kib: f64) {
        let count = count();
        // What is needed once, and what grows by doubling, is not to be counted.
        let mut clients = self.open(0..count / 10);
        let before = rss(umay.pid());
        let more = self.open(clients.len()..count);
        let grown = rss(umay.pid()).saturating_sub(before) as f64;
        let each = grown / more.len() as f64 / 1024.0;
        clients.extend(more);
        eprintln!(
            "{} idle {what} connections, {each:.2} KiB each",
            clients.len()
        );
        umay.wait_metric("umay_connections_active", &[], count as f64);
        assert!(open_files(umay.pid()) >= count);
        for client in &mut clients {
            client.ask();
        }
        assert!(each < most_kib, "{each} KiB for each {what} connection");
    }
}

#[test]
fn idle_plain_connections_are_held() {
    let _alone = alone();
    let endpoint = Server::ok("hi");
    let umay = start(endpoint.addr(), "");
    let (to, tls) = (umay.addr(), None);
    let http2 = false;
    Clients { to, tls, http2 }.hold(&umay, "plain", PLAIN_KIB);
}

#[test]
fn idle_http2_connections_in_the_clear_are_held() {
    let _alone = alone();
    let endpoint = Server::ok("hi");
    let umay = start(endpoint.addr(), "");
    let (to, tls) = (umay.addr(), None);
    let http2 = true;
    Clients { to, tls, http2 }.hold(&umay, "h2c", H2C_KIB);
}

#[test]
fn idle_tls_connections_are_held() {
    let _alone = alone();
    let (certs, endpoint) = (Certs::new(), Server::ok("hi"));
    let umay = start(endpoint.addr(), &certs.issue(&["a.test"]).toml());
    let (to, tls) = (umay.addr(), Some(certs.trusting()));
    let http2 = false;
    Clients { to, tls, http2 }.hold(&umay, "TLS", TLS_KIB);
}

#[test]
fn idle_http2_connections_over_tls_are_held() {
    let _alone = alone();
    let (certs, endpoint) = (Certs::new(), Server::ok("hi"));
    let umay = start(endpoint.addr(), &certs.issue(&["a.test"]).toml());
    let config = certs.trusting_with(rustls::DEFAULT_VERSIONS, None, &["h2"]);
    let (to, tls) = (umay.addr(), Some(config));
    let http2 = true;
    Clients { to, tls, http2 }.hold(&umay, "h2", H2_KIB);
}

/// All ask before any reads its answer, and so once more.
#[test]
fn active_connections_are_all_answered() {
    let _alone = alone();
    // Each may need a connection to the endpoint, which only a program holds in such numbers.
    let endpoint = umay!(
        "listen = \"127.0.0.1:0\"\nlog.access = \"off\"\n\
         limits.connections = 1000000\n[[route]]\nrespond = {{ body = \"hi\" }}\n"
    );
    let umay = start(endpoint.addr(), "");
    let (to, tls) = (umay.addr(), None);
    let http2 = false;
    let clients = Clients { to, tls, http2 };
    let count = room(WANTED, 2);
    let mut conns: Vec<Conn> = (0..count).map(|number| clients.connect(number)).collect();
    for _ in 0..2 {
        for conn in &mut conns {
            conn.send(GET).unwrap();
        }
        for conn in &mut conns {
            let answer = conn.read_response("GET").unwrap();
            assert_eq!((answer.status(), answer.text()), (200, "hi".to_owned()));
        }
    }
    umay.wait_metric("umay_http_requests_total", &[], 2.0 * count as f64);
    let opened = endpoint.metric("umay_connections_accepted_total", &[]);
    eprintln!("{count} active connections, over {opened} to the endpoint");
}

#[test]
fn connections_are_spread_over_the_workers() {
    const COUNT: usize = 1_000;
    let _alone = alone();
    let endpoint = Server::ok("hi");
    let umay = start(endpoint.addr(), "");
    let (to, tls) = (umay.addr(), None);
    let http2 = false;
    let _clients = Clients { to, tls, http2 }.open(0..COUNT);
    // Each worker waits for its connections with a poll of its own.
    let mut polled = polled_files(umay.pid());
    polled.sort_unstable();
    let workers = &polled[polled.len() - 2..];
    eprintln!("{COUNT} connections, the workers wait for {workers:?} files");
    assert!(workers.iter().sum::<usize>() >= COUNT, "{polled:?}");
    for worker in workers {
        assert!(
            (COUNT * 4 / 10..=COUNT * 6 / 10).contains(worker),
            "{workers:?}"
        );
    }
}
