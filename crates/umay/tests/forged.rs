//! What clients write into lines of the access log, in every form and on every way: nothing in it ends a line, makes one
//! up, is taken for another field, or commands a terminal. Lines are read as other programs read them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::thread;

use umay_core::legible::misleads;
use umay_test::frames::{Frame, Outcome, Peer, hpack};
use umay_test::{Certs, Conn, Server, TempDir, Umay, Value, eventually, programs, umay};

/// A line that a client would like to be in the log.
const FORGED: &str =
    r#"{"ts":"2026-01-01T00:00:00.000Z","method":"GET","path":"/forged","status":200}"#;

/// What the longest values are cut to, in bytes as they came.
const LONGEST: usize = 2048;

/// Values that a field of HTTP may have, and more.
fn hostile() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "plain",
        "\" 500 \"",
        "\\\" 500 \\\\",
        "a\tb  c",
        "x\",\"status\":500,\"y\":\"",
        "{ts} {status} {{}} %s %n",
        "\u{80}\u{85}\u{9b}31m\u{9d}0;title\u{9c}",
        "a\u{2028}b\u{2029}c",
        "a\u{202e}b\u{2066}c\u{61c}d\u{200b}e\u{feff}f",
        "a\u{e0041}\u{e0042}b\u{fe0f}\u{1f389}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    for end in ["\u{85}", "\u{2028}", "\u{2029}", "\\n", "\\u000a", "%0a"] {
        all.push(format!("a{end}{FORGED}").into_bytes());
    }
    // No UTF-8: bytes that begin nothing, half a character, one that is too long, half of a pair, C1 in Latin-1.
    for bytes in [
        &b"a\xff\xfe\xc3"[..],
        b"\xe2\x80",
        b"\xc0\x8a\xc0\xaf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\x85\x9b2J\xa0",
        b"a\xf4\x90\x80\x80z",
    ] {
        all.push(bytes.to_vec());
    }
    for piece in [
        &b"\""[..],
        b"\\",
        b"x",
        b"\xff",
        "\u{2028}".as_bytes(),
        "\u{1f389}".as_bytes(),
    ] {
        all.push(piece.repeat(30_000 / piece.len()));
    }
    all
}

/// What no field may have, so that it is refused, in whatever place.
const BROKEN: [&[u8]; 7] = [
    b"\r",
    b"\n",
    b"\0",
    b"\x1b[2J",
    b"\x7f",
    b"\r\n\r\n",
    b"\x0b\x0c\x1c\x1d\x1e",
];

/// What a reader is to get of a value.
fn expected(value: &[u8]) -> String {
    let kept = first(value, LONGEST);
    let end = if kept.len() < value.len() { "…" } else { "" };
    format!("{}{end}", String::from_utf8_lossy(kept))
}

/// The first of these bytes.
fn first(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[..bytes.len().min(most)]
}

/// Sends these, one after the other, and gives the status of the answer; some are refused without one, or cut.
fn ask(to: SocketAddr, parts: &[&[u8]]) -> Option<u16> {
    let answer = Conn::connect(to).unwrap().ask(parts.concat());
    answer.ok().map(|answer| answer.status())
}

/// What comes behind a target.
const REST: &[u8] = b" HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// Says a value in all places of a request.
fn by_http1(to: SocketAddr, at: usize, value: &[u8]) {
    let line = format!("GET /n{at} HTTP/1.1\r\nHost: a.test\r\nUser-Agent: ");
    let referer = first(value, 2000);
    let good: [&[u8]; 5] = [
        line.as_bytes(),
        value,
        b"\r\nReferer: ",
        referer,
        b"\r\n\r\n",
    ];
    assert_eq!(ask(to, &good), Some(200), "{value:?}");
    let short = first(value, 6000);
    ask(to, &[b"GET /p/", short, REST]);
    ask(to, &[b"GET /q?x=", short, REST]);
    ask(to, &[b"GET http://", short, b"/a", REST]);
    ask(to, &[b"GET /h HTTP/1.1\r\nHost: ", short, b"\r\n\r\n"]);
    ask(to, &[short, b" /m", REST]);
}

/// The same with frames, on a connection that is made anew when it is given up.
fn by_http2(peer: &mut Peer, to: SocketAddr, value: &[u8]) {
    let value = first(value, 6000);
    for name in [":path", ":authority", ":method", "user-agent", "referer"] {
        let usual: [(&str, &[u8]); 4] = [
            (":method", b"GET"),
            (":path", b"/2"),
            (":authority", b"a.test"),
            (":scheme", b"http"),
        ];
        let mut fields: Vec<_> = usual
            .into_iter()
            .filter(|(have, _)| *have != name)
            .collect();
        let path = [b"/2?", value].concat();
        match name {
            ":path" => fields.insert(0, (name, &path)),
            _ if name.starts_with(':') => fields.insert(0, (name, value)),
            _ => fields.push((name, value)),
        }
        let stream = peer.next_stream();
        let sent = peer.send(&Frame::headers(stream, hpack::block(&fields)).end());
        let came = sent.and_then(|()| peer.outcome(stream));
        if !matches!(came, Ok(Outcome::Answered(_) | Outcome::Reset(..))) {
            *peer = Peer::client(Conn::connect(to).unwrap(), &[]).unwrap();
        }
    }
}

/// The same as a protocol and as a name in a hello, which may be any bytes.
fn by_tls(to: SocketAddr, certs: &Certs, value: &[u8]) {
    let value = first(value, 255);
    let mut config = (*certs.trusting()).clone();
    config.alpn_protocols = vec![value.to_vec()];
    let _ = Conn::connect_tls(to, &Arc::new(config), "a.test");
    ask(to, &[&hello(value)]);
}

/// Says what no field may have, with a line behind it.
fn broken(to: SocketAddr, bad: &[u8]) {
    let forged = FORGED.as_bytes();
    ask(to, &[b"GET /", bad, forged, REST]);
    for before in [
        &b"GET / HTTP/1.1\r\nHost: a"[..],
        b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: ",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-",
    ] {
        ask(to, &[before, bad, forged, b"\r\n\r\n"]);
    }
    ask(to, &[b"GE", bad, b"T /", REST]);
    ask(to, &[b"GET / HTTP/1.", bad, b"\r\nHost: a\r\n\r\n"]);
}

/// Says all that in all places, by HTTP/1, HTTP/2 and TLS, and at last asks for `/last`.
fn provoke(umay: &Umay, certs: &Certs) {
    let (plain, tls) = (umay.at("plain"), umay.at("tls"));
    let mut peer = Peer::client(Conn::connect(plain).unwrap(), &[]).unwrap();
    for (at, value) in hostile().iter().enumerate() {
        by_http1(plain, at, value);
        by_http2(&mut peer, plain, value);
        by_tls(tls, certs, value);
    }
    for bad in BROKEN {
        broken(plain, bad);
        ask(tls, &[&hello(bad)]);
    }
    assert_eq!(ask(plain, &[b"GET /last", REST]), Some(200));
}

/// A ClientHello (RFC 8446 section 4.1.2) with a server name of any bytes.
fn hello(name: &[u8]) -> Vec<u8> {
    let short = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let list = [&[0][..], &short(name)].concat();
    let extension = [&[0, 0][..], &short(&short(&list))].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &short(&[0x13, 1]),
        &[1, 0],
        &short(&extension),
    ]
    .concat();
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[0x16, 3, 1][..], &short(&message)].concat()
}

/// Starts with this `[log]`, provokes, and gives the lines that `read` finds; whole, with what is in them.
fn lines(log: &str, read: impl Fn(&Umay) -> Vec<u8>) -> String {
    let certs = Certs::new();
    let pair = certs.issue(&["a.test"]);
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "[log]\n{log}\n[[listener]]\nname = \"plain\"\nlisten = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"tls\"\nlisten = \"127.0.0.1:0\"\n{}\
         [[route]]\nto = \"http://{}\"\n",
        pair.toml(),
        endpoint.addr()
    );
    provoke(&umay, &certs);
    let bytes = eventually("the last line", || {
        let bytes = read(&umay);
        let last = bytes.windows(5).any(|five| five == b"/last");
        (last && bytes.ends_with(b"\n")).then_some(bytes)
    });
    // Events tell of clients as well.
    for line in umay.events().lines() {
        assert!(
            !line.contains(misleads) && line.starts_with("20"),
            "{line:?}"
        );
    }
    // Nothing is left that could do anything, whoever reads it.
    let text = String::from_utf8(bytes).unwrap();
    let bad = text.chars().find(|c| *c != '\n' && misleads(*c));
    assert_eq!(bad, None);
    assert!(text.lines().count() > hostile().len() * 6);
    text
}

fn stdout(umay: &Umay) -> Vec<u8> {
    umay.stdout().into_bytes()
}

/// Lines as Python splits them, which knows more ends than one, and reads them: strictly, with each name there once.
fn python(text: &str) {
    let script = "import json, sys\n\
        def once(pairs):\n    assert len(dict(pairs)) == len(pairs), pairs\n    return dict(pairs)\n\
        text = sys.stdin.buffer.read().decode('utf-8', 'strict')\n\
        lines = text.splitlines()\n\
        assert len(lines) == text.count('\\n'), 'lines'\n\
        for line in lines:\n    told = json.loads(line, strict=True, object_pairs_hook=once)\n    \
        assert told['ts'] and told.get('path') != '/forged', line\n\
        print(len(lines))";
    let output = programs::run("python3", ["-c", script], text.as_bytes());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let count = String::from_utf8(output.stdout).unwrap();
    assert_eq!(count.trim(), text.lines().count().to_string());
}

#[track_caller]
fn check_json(text: &str) {
    python(text);
    let all: Vec<Value> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(all.iter().all(|line| line["path"] != "/forged"));
    // What is refused is told of, too, with what clients have said.
    let has = |name: &str, text: &str| {
        let told = |line: &Value| line[name].as_str().is_some_and(|said| said.contains(text));
        assert!(all.iter().any(told), "no {name} with {text}");
    };
    has("path", "\",\"status\":500");
    has("method", "plain");
    has("detail", "the client offers only ");
    has("detail", "no certificate for plain");
    has("reason", "handshake_failed");
    has("reason", "request_malformed");
    for (at, value) in hostile().iter().enumerate() {
        let path = format!("/n{at}");
        let mut found = all.iter().filter(|line| line["path"] == path.as_str());
        let line = found.next().unwrap();
        assert!(found.next().is_none(), "{path}");
        assert_eq!(line["user_agent"], expected(value), "{path}");
        assert_eq!(
            (&line["status"], &line["method"]),
            (&200.into(), &"GET".into())
        );
    }
}

#[test]
fn json_says_what_came_and_nothing_else() {
    check_json(&lines("format = \"json\"", stdout));
}

#[test]
fn text_has_a_line_for_each_request() {
    let text = lines("format = \"text\"", stdout);
    for line in text.lines() {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        assert!(words[0].len() == 24 && words[0].ends_with('Z'), "{line}");
        assert_eq!(words[1], "127.0.0.1", "{line}");
    }
    for at in 0..hostile().len() {
        let is_it = format!(" GET http://a.test/n{at} 200 ");
        assert_eq!(text.matches(&is_it).count(), 1, "{at}");
    }
}

/// A line of one's own in which each field that a client writes is once between quotes and once not.
const OWN: &str = "{ts} {status} {method} {host} {path} {query} {user_agent} {referer} {sni} {alpn} {reason} \
    \\\"{user_agent}\\\" \\\"{path}\\\" \\\"{detail}\\\" end";

/// The words of such a line: those without quotes, and what is between them.
fn words(line: &str) -> (Vec<&str>, Vec<String>) {
    let mut rest = line;
    let mut plain = Vec::new();
    for _ in 0..11 {
        let (word, after) = rest.split_once(' ').unwrap();
        assert!(!word.is_empty(), "{line}");
        plain.push(word);
        rest = after;
    }
    let mut quoted = Vec::new();
    while let Some(inner) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = inner.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (inside, after) = inner.split_at(end.unwrap_or_else(|| panic!("{line}")));
        // It is the inside of a string in JSON.
        quoted.push(format!("\"{inside}\"").parse::<Value>().unwrap());
        rest = after
            .strip_prefix("\" ")
            .unwrap_or_else(|| panic!("{line}"));
    }
    assert_eq!((rest, quoted.len()), ("end", 3), "{line}");
    let text = |value: Value| value.as_str().unwrap().to_owned();
    (plain, quoted.into_iter().map(text).collect())
}

#[track_caller]
fn check_own(text: &str) {
    let all: Vec<_> = text.lines().map(words).collect();
    for (plain, _) in &all {
        assert!(plain[0].len() == 24 && plain[0].ends_with('Z'), "{plain:?}");
        assert!(
            plain[1] == "0" || plain[1] == "-" || plain[1].len() == 3,
            "{plain:?}"
        );
    }
    for (at, value) in hostile().iter().enumerate() {
        let path = format!("/n{at}");
        let mut found = all.iter().filter(|(plain, _)| plain[4] == path);
        let (plain, quoted) = found.next().unwrap();
        assert!(found.next().is_none(), "{path}");
        assert_eq!(plain[1..4], ["200", "GET", "a.test"], "{path}");
        let agent = format!("\"{}\"", plain[6]).parse::<Value>().unwrap();
        assert_eq!(agent, expected(value), "{path}");
        assert_eq!(quoted[..2], [expected(value), path]);
    }
}

#[test]
fn a_line_of_ones_own_has_its_words_where_they_are() {
    check_own(&lines(&format!("format = \"{OWN}\""), stdout));
}

/// Lines that come one by one, without what a syslog puts before them.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<u8>>>);

impl Received {
    fn push(&self, message: &[u8]) {
        let text = String::from_utf8(message.to_vec()).unwrap();
        assert!(
            text.starts_with("<134>1 ") && !text.contains('\n'),
            "{text}"
        );
        let line = text.splitn(8, ' ').last().unwrap().to_owned() + "\n";
        self.0.lock().unwrap().extend(line.into_bytes());
    }
}

#[test]
fn a_datagram_is_a_line() {
    let dir = TempDir::new();
    let path = dir.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let received = Received::default();
    let kept = received.clone();
    thread::spawn(move || {
        let mut buffer = vec![0; 128 * 1024];
        while let Ok(length) = socket.recv(&mut buffer) {
            kept.push(&buffer[..length]);
        }
    });
    let log = format!("format = \"json\"\naccess = \"syslog:{}\"", path.display());
    check_json(&lines(&log, |_| received.0.lock().unwrap().clone()));
}

#[test]
fn lengths_before_messages_are_true() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let received = Received::default();
    let kept = received.clone();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        loop {
            let mut length = 0;
            while stream.read_exact(&mut byte).is_ok() && byte[0].is_ascii_digit() {
                length = length * 10 + usize::from(byte[0] - b'0');
            }
            let mut message = vec![0; length];
            if byte[0] != b' ' || length == 0 || stream.read_exact(&mut message).is_err() {
                return;
            }
            kept.push(&message);
        }
    });
    let log = format!("format = \"{OWN}\"\naccess = \"syslog:tcp://{to}\"");
    check_own(&lines(&log, |_| received.0.lock().unwrap().clone()));
}
