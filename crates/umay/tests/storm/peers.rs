//! Who answers in the storm, and configurations by chance.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use umay_test::http2::{Endpoint, Stream};
use umay_test::{Certs, Conn, Pair, Server, ok, websocket};

/// Who answers.
pub(super) struct Peers {
    web: Vec<Server>,
    sockets: Vec<Server>,
    downloads: Vec<Endpoint>,
    uploads: Vec<Server>,
    raw: Vec<Server>,
    secure: Server,
    pub(super) certs: Certs,
    /// The same in two files.
    authorities: [PathBuf; 2],
    pairs: Vec<Pair>,
}

fn echo(conn: &mut Conn) -> std::io::Result<()> {
    loop {
        let bytes = conn.read_some()?;
        if bytes.is_empty() {
            return Ok(());
        }
        conn.send(bytes)?;
    }
}

/// Numbers, one a line, until the storm is over.
fn count(stream: &mut Stream) -> std::io::Result<()> {
    stream.respond(200, &[], false)?;
    for number in 0.. {
        if OVER.load(SeqCst) {
            break;
        }
        stream.send(format!("{number}\n").as_bytes())?;
        thread::sleep(Duration::from_millis(PAUSE.load(SeqCst)));
    }
    stream.send(b"over\n")?;
    stream.finish(&[])
}

/// Milliseconds between two lines of a download.
pub(super) static PAUSE: AtomicU64 = AtomicU64::new(50);

/// What is long is to end.
pub(super) static OVER: AtomicBool = AtomicBool::new(false);

impl Peers {
    pub(super) fn start() -> Self {
        let certs = Certs::new();
        let pair = certs.issue(&["e.test"]);
        let authorities = [certs.ca(), certs.dir().join("again.pem")];
        std::fs::copy(&authorities[0], &authorities[1]).unwrap();
        let length = |message: &umay_test::Message| ok(message.body.len().to_string());
        Self {
            web: (0..4).map(|n| Server::ok(&n.to_string())).collect(),
            sockets: (0..2)
                .map(|_| Server::start(|conn, _| websocket::echo(conn)))
                .collect(),
            downloads: vec![
                Endpoint::start(count),
                Endpoint::start_tls(certs.server_with(&pair, &["h2"]), count),
            ],
            uploads: (0..2).map(|_| Server::http(length)).collect(),
            raw: (0..2)
                .map(|_| Server::start(|conn, _| echo(conn)))
                .collect(),
            secure: Server::https(certs.server(&pair), |_| ok("secure")),
            pairs: (0..3).map(|_| certs.issue(&["a.test"])).collect(),
            certs,
            authorities,
        }
    }

    /// All connections to them.
    pub(super) fn connections(&self) -> (usize, usize) {
        let all = [&self.web, &self.sockets, &self.uploads, &self.raw];
        let all = || all.iter().flat_map(|servers| servers.iter());
        let opened = all().map(Server::connections).sum::<usize>() + self.secure.connections();
        let ended = all().map(Server::ended).sum::<usize>() + self.secure.ended();
        (opened, ended)
    }
}

/// Chance, the same for the same seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    pub(super) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// A configuration, and which of the endpoints answer what no route takes.
pub(super) fn config(peers: &Peers, dice: &mut Dice) -> (String, u32) {
    let mut text = format!(
        "admin.socket = \"umay.sock\"\nto = \"web\"\nlog.level = \"{}\"\nlog.access = \"off\"\n",
        dice.one(&["info", "warn,umay=info", "info,h2=error"])
    );
    let keep = dice.one(&["60s", "75s"]);
    let idle = dice.one(&["20s", "40s"]);
    let streams = dice.one(&["100", "250"]);
    write!(
        text,
        "timeouts.keep_alive = \"{keep}\"\ntimeouts.upstream_idle = \"{idle}\"\nhttp2.max_streams = {streams}\n"
    )
    .unwrap();
    for name in ["main", "raw"] {
        write!(
            text,
            "[[listener]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\n"
        )
        .unwrap();
    }
    let pair = &peers.pairs[dice.below(peers.pairs.len())];
    write!(
        text,
        "[[listener]]\nname = \"tls\"\nlisten = \"127.0.0.1:0\"\n{}",
        pair.toml()
    )
    .unwrap();
    for more in 0..dice.below(3) {
        write!(
            text,
            "[[listener]]\nname = \"more-{more}\"\nlisten = \"127.0.0.1:0\"\n"
        )
        .unwrap();
    }
    if dice.below(2) == 0 {
        text += "[[route]]\nname = \"other\"\npath = \"/other\"\nrespond = {}\n";
    }
    let plain = |servers: &[Server]| -> Vec<String> {
        servers
            .iter()
            .map(|server| format!("http://{}", server.addr()))
            .collect()
    };
    let raw = peers
        .raw
        .iter()
        .map(|server| format!("tcp://{}", server.addr()));
    let [clear, over_tls] = &peers.downloads[..] else {
        panic!()
    };
    let downloads = vec![
        format!("h2c://{}", clear.addr()),
        format!("h2://{}", over_tls.addr()),
    ];
    for (name, condition, endpoints) in [
        ("sockets", "path = \"/sockets\"", plain(&peers.sockets)),
        ("downloads", "path = \"/downloads\"", downloads),
        ("uploads", "path = \"/uploads\"", plain(&peers.uploads)),
        (
            "raw",
            "listeners = [\"raw\"]\nprotocol = \"tcp\"",
            raw.collect(),
        ),
    ] {
        // One of five times it is gone, and what is open goes on all the same.
        if dice.below(5) > 0 {
            write!(
                text,
                "[[route]]\nname = \"{name}\"\n{condition}\nto = \"{name}\"\n"
            )
            .unwrap();
            upstream(&mut text, name, &endpoints, peers, dice);
        }
    }
    text += "[[route]]\nname = \"secure\"\npath = \"/secure\"\nto = \"secure\"\n";
    let secure = [format!("https://{}", peers.secure.addr())];
    upstream(&mut text, "secure", &secure, peers, dice);
    let served = upstream(&mut text, "web", &plain(&peers.web), peers, dice);
    (text, served)
}

/// An upstream with some of these endpoints; tells which.
fn upstream(
    text: &mut String,
    name: &str,
    endpoints: &[String],
    peers: &Peers,
    dice: &mut Dice,
) -> u32 {
    let all = (1 << endpoints.len()) - 1;
    let some = 1 + dice.below(all) as u32;
    write!(text, "[upstream.{name}]\nto = [").unwrap();
    for (place, endpoint) in endpoints.iter().enumerate() {
        if some & (1 << place) != 0 {
            let weight = 1 + dice.below(3);
            write!(text, "{{ to = \"{endpoint}\", weight = {weight} }}, ").unwrap();
        }
    }
    let balance = dice.one(&["auto", "round_robin", "least_connections", "random_of_two"]);
    let start = dice.one(&["0s", "1s"]);
    writeln!(text, "]\nbalance = \"{balance}\"\nslow_start = \"{start}\"").unwrap();
    let limits = dice.one(&[
        "",
        "endpoint_connections = 2000",
        "endpoint_requests = 2000\nqueue_timeout = \"10s\"",
        "requests = 3000",
        "endpoint_connections = 1500\nendpoint_requests = 3000",
    ]);
    writeln!(text, "[upstream.{name}.limits]\n{limits}").unwrap();
    let chosen = endpoints
        .iter()
        .enumerate()
        .filter(|(place, _)| some & (1 << place) != 0);
    if chosen
        .into_iter()
        .any(|(_, to)| to.starts_with("https:") || to.starts_with("h2:"))
    {
        let authority = &peers.authorities[dice.below(2)];
        writeln!(
            text,
            "[upstream.{name}.tls]\nca = {authority:?}\nsni = \"e.test\""
        )
        .unwrap();
    }
    match dice.below(3) {
        0 => writeln!(text, "[upstream.{name}.retry]\nattempts = 3").unwrap(),
        1 => writeln!(
            text,
            "[upstream.{name}.probe]\nkind = \"tcp\"\ninterval = \"1s\""
        )
        .unwrap(),
        _ => {}
    }
    some
}
