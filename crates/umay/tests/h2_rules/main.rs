//! What a client may expect of Umay under HTTP/2, rule by rule: each row names the section (of RFC
//! 9113 unless it says another), what is sent, and what has to come of it. Every row runs in the
//! clear with prior knowledge, and over TLS. All that h2spec looks at is in here.
//!
//! A row that does not hold says so itself ([`Expect::Known`]): what ought to be, what is instead,
//! and why nobody is harmed by it.
//!
//! Beside its own outcome each row holds three things: what is refused leaves a count with a reason
//! word, nothing of a path that begins with `/refused` comes to the endpoint, and no request for
//! `/broken` comes to it whole.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod compression;
mod connection;
mod flow;
mod frames;
mod heads;
mod messages;
mod streams;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use umay_test::frames::{Event, Outcome, Peer, code};
use umay_test::{
    Certs, Conn, DEADLINE, Message, Server, Stuck, Umay, eventually, ok, rustls, umay,
};

/// What comes of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// The connection goes on as if nothing had been.
    Ignored,
    /// The stream is answered with this status, and the connection goes on.
    Status(u32, u16),
    /// The stream is reset with one of these codes, and the connection goes on.
    Reset(u32, &'static [u32]),
    /// GOAWAY with one of these codes, and the end.
    Goaway(&'static [u32]),
    /// The end of the connection, with or without a word.
    Closed,
    /// The scene has looked for itself.
    Seen,
    /// The rule is not held: what ought to be, what is, and why that harms nobody.
    Known(&'static str, &'static Self, &'static str),
}

/// A row.
pub(crate) struct Rule {
    section: &'static str,
    name: &'static str,
    scene: fn(&mut Peer) -> io::Result<()>,
    expect: Expect,
}

pub(crate) const fn rule(
    section: &'static str,
    name: &'static str,
    scene: fn(&mut Peer) -> io::Result<()>,
    expect: Expect,
) -> Rule {
    Rule {
        section,
        name,
        scene,
        expect,
    }
}

/// The error codes of most rows.
pub(crate) const PROTOCOL: &[u32] = &[code::PROTOCOL_ERROR];
pub(crate) const FLOW: &[u32] = &[code::FLOW_CONTROL_ERROR];
pub(crate) const SIZE: &[u32] = &[code::FRAME_SIZE_ERROR];
pub(crate) const CLOSED: &[u32] = &[code::STREAM_CLOSED];

/// Why it harms nobody that the library calls all that it cannot read a PROTOCOL_ERROR.
const OTHER_CODE: &str = "the connection ends as it must, under a code that is less exact; a code \
                          is for people who look for a fault";

/// Where the code would be another than the library's.
pub(crate) const NOT_SIZE: Expect =
    Expect::Known("FRAME_SIZE_ERROR", &Expect::Goaway(PROTOCOL), OTHER_CODE);
pub(crate) const NOT_FLOW: Expect =
    Expect::Known("FLOW_CONTROL_ERROR", &Expect::Goaway(PROTOCOL), OTHER_CODE);
pub(crate) const NOT_COMPRESSION: Expect =
    Expect::Known("COMPRESSION_ERROR", &Expect::Goaway(PROTOCOL), OTHER_CODE);

/// Where the library ends the connection for a frame behind the end of a stream.
pub(crate) const NOT_STREAM_CLOSED: Expect = Expect::Known(
    "STREAM_CLOSED",
    &Expect::Goaway(PROTOCOL),
    "an error of a stream may be treated as one of the connection (5.4), and no client sends more \
     behind the end that it has said",
);

/// Where the library ends the connection and the stream would have been enough.
pub(crate) const NOT_ONLY_THE_STREAM: Expect = Expect::Known(
    "RST_STREAM with PROTOCOL_ERROR",
    &Expect::Goaway(PROTOCOL),
    "section 5.4.2 does not ask for more mildness than the receiver has: the library stops reading \
     a block at a field that is none, and cannot go on behind it. Other streams of the same client \
     end with it",
);

/// Fails a scene that looks for itself.
pub(crate) fn wrong<T>(what: impl std::fmt::Debug) -> io::Result<T> {
    Err(io::Error::other(format!("{what:?}")))
}

/// A stream for what comes after a scene.
const AFTER: u32 = 1001;

/// Umay with a listener in the clear and one with TLS, before an endpoint that repeats what it got.
pub(crate) struct Scene {
    pub(crate) umay: Umay,
    endpoint: Server,
    /// The targets of requests that came to the endpoint whole.
    whole: Arc<Mutex<Vec<String>>>,
    certs: Certs,
    _stuck: Stuck,
}

/// What the endpoint answers: what it was asked, or as much as the path asks for.
fn repeat(request: &Message) -> Vec<u8> {
    if request.target() == "/after" {
        return ok("");
    }
    if let Some(count) = request.target().strip_prefix("/big/") {
        return ok("x".repeat(count.parse().unwrap()));
    }
    ok(format!("{request:?}"))
}

impl Scene {
    fn new() -> Self {
        let whole = Arc::new(Mutex::new(Vec::new()));
        let of_endpoint = Arc::clone(&whole);
        let endpoint = Server::http(move |request| {
            of_endpoint
                .lock()
                .unwrap()
                .push(request.target().to_owned());
            repeat(request)
        });
        let stuck = Stuck::new();
        let certs = Certs::new();
        let pair = certs.issue(&["a.test"]);
        let umay = umay!(
            "[[listener]]\nname = \"clear\"\nlisten = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"tls\"\nlisten = \"127.0.0.1:0\"\ncert = {:?}\nkey = {:?}\n\
             [[route]]\npath = \"/stuck\"\nto = \"http://{}\"\n\
             [[route]]\nto = \"http://{}\"\n",
            pair.cert,
            pair.key,
            stuck.addr(),
            endpoint.addr()
        );
        Self {
            umay,
            endpoint,
            whole,
            certs,
            _stuck: stuck,
        }
    }

    pub(crate) fn connect(&self, tls: bool) -> Conn {
        let conn = Conn::connect(self.umay.at(if tls { "tls" } else { "clear" })).unwrap();
        if !tls {
            return conn;
        }
        let config = self
            .certs
            .trusting_with(rustls::DEFAULT_VERSIONS, None, &["h2"]);
        let conn = conn.into_tls(&config, "a.test").unwrap();
        assert_eq!(conn.tls().unwrap().alpn_protocol(), Some(&b"h2"[..]));
        conn
    }

    /// Refusals so far, but for those that an earlier row may cause late. A stream that was at work
    /// when it was reset is told of as one whose client has gone.
    fn refusals(&self) -> f64 {
        let count = |labels: &[(&str, &str)]| self.umay.metric("umay_refusals_total", labels);
        count(&[]) - count(&[("reason", "connect_timeout")])
    }

    fn run(&self, rule: &Rule, tls: bool) -> Result<(), String> {
        let before = self.refusals();
        let mut peer = Peer::client(self.connect(tls), &[]).unwrap();
        let played = (rule.scene)(&mut peer);
        let expect = match rule.expect {
            Expect::Known(_, expect, _) => *expect,
            expect => expect,
        };
        if let (Expect::Seen | Expect::Ignored, Err(error)) = (expect, &played) {
            return Err(error.to_string());
        }
        let told = check(&mut peer, expect).map_err(|error| error.to_string())?;
        drop(peer);
        if told {
            let late = Instant::now() + DEADLINE;
            while self.refusals() <= before {
                if Instant::now() > late {
                    return Err("refused without a count".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Runs all rows, and tells of all that fail.
    fn table(&self, rules: &[Rule]) {
        let mut failures = Vec::new();
        for rule in rules {
            for tls in [false, true] {
                if let Err(what) = self.run(rule, tls) {
                    let (section, name) = (rule.section, rule.name);
                    let known = match rule.expect {
                        Expect::Known(wanted, _, why) => format!(" (wanted: {wanted}, but {why})"),
                        _ => String::new(),
                    };
                    failures.push(format!("{section} {name} (TLS: {tls}): {what}{known}"));
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        let seen = self.endpoint.recorded_text();
        let came: Vec<&str> = seen.lines().filter(|l| l.contains(" /refused ")).collect();
        assert!(came.is_empty(), "came to the endpoint: {came:?}");
        let whole = self.whole.lock().unwrap();
        assert!(!whole.iter().any(|target| target == "/broken"));
    }
}

/// Looks at what came of a scene; true if something was refused.
fn check(peer: &mut Peer, expect: Expect) -> io::Result<bool> {
    let (stream, refused) = match expect {
        Expect::Ignored => (None, false),
        Expect::Seen | Expect::Known(..) => return Ok(false),
        Expect::Status(stream, status) => {
            let outcome = peer.outcome(stream)?;
            if outcome.status() != status {
                return wrong(outcome);
            }
            (Some(stream), status >= 400)
        }
        Expect::Reset(stream, codes) => {
            match peer.outcome(stream)? {
                Outcome::Reset(code, _) if codes.contains(&code) => {}
                other => return wrong(other),
            }
            (Some(stream), true)
        }
        Expect::Goaway(codes) => {
            let event =
                peer.find(|event| matches!(event, Event::Goaway { code, .. } if *code != 0))?;
            match event {
                Some(Event::Goaway { code, .. }) if codes.contains(&code) => {}
                other => return wrong((other, peer.read_to_end())),
            }
            peer.read_to_end()?;
            return Ok(true);
        }
        Expect::Closed => {
            peer.read_to_end()?;
            return Ok(true);
        }
    };
    // The connection is as good as before.
    peer.jump_to(AFTER);
    match peer.ask("/after")? {
        Outcome::Answered(answer) if answer.status() == 200 => Ok(refused),
        other => wrong((stream, other)),
    }
}

#[test]
fn the_connection() {
    Scene::new().table(connection::RULES);
}

#[test]
fn a_preface_that_is_none_ends_the_connection() {
    let scene = Scene::new();
    for bad in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\x00",
        b"INVALID CONNECTION PREFACE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ] {
        let before = scene.refusals();
        let mut conn = scene.connect(true);
        conn.send(bad).unwrap();
        let (said, _) = conn.read_to_end().unwrap();
        assert!(!said.starts_with(b"HTTP/"), "{said:?}");
        eventually("a count with a reason", || {
            (scene.refusals() > before).then_some(())
        });
    }
    // In the clear the beginning decides on the protocol.
    let mut conn = scene.connect(false);
    conn.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").unwrap();
    let (said, _) = conn.read_to_end().unwrap();
    assert!(!said.starts_with(b"HTTP/1.1 2"), "{said:?}");
    // What comes first has to be SETTINGS.
    for tls in [false, true] {
        let mut peer = Peer::raw(scene.connect(tls));
        peer.conn().send(umay_test::frames::PREFACE).unwrap();
        peer.get("/refused").unwrap();
        let outcome = peer.outcome(1).unwrap();
        assert!(matches!(outcome, Outcome::Closed(_)), "{outcome:?}");
        scene.umay.wait_log(|line| {
            let detail = line["detail"].as_str().unwrap_or_default();
            line["reason"] == "connection_broken" && detail.contains("not SETTINGS")
        });
    }
}

#[test]
fn flow_control() {
    Scene::new().table(flow::RULES);
}

#[test]
fn the_frames() {
    Scene::new().table(frames::RULES);
}

#[test]
fn the_streams() {
    Scene::new().table(streams::RULES);
}

#[test]
fn the_heads() {
    Scene::new().table(heads::RULES);
}

#[test]
fn the_messages() {
    Scene::new().table(messages::RULES);
}

#[test]
fn the_compression() {
    Scene::new().table(compression::RULES);
}
