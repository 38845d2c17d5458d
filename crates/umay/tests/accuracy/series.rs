//! Whoever sends strange things makes no series: what labels say comes from the configuration and from closed
//! sets of words.

use std::collections::BTreeSet;

use umay_test::http2::Client;
use umay_test::rustls::DEFAULT_VERSIONS;
use umay_test::scrape::Scrape;
use umay_test::{Certs, Conn, Server, Umay, answer, umay};

use super::ledger::at_rest;

struct Scene {
    umay: Umay,
    certs: Certs,
    came: f64,
    _peers: [Server; 2],
}

impl Scene {
    fn start() -> Self {
        let (certs, echo) = (Certs::new(), Server::echo());
        // An endpoint that does as it is told, even in its own answer.
        let app = Server::http(|request| {
            let word = request.target().trim_matches('/').replace('/', "-");
            answer(
                "200 OK",
                &format!("X-{word}: {word}\r\nServer: {word}\r\n"),
                &word,
            )
        });
        let umay = umay!(
            "[[listener]]\nname = \"web\"\nlisten = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"raw\"\nlisten = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"tls\"\nlisten = \"127.0.0.1:0\"\n{}\
             [[route]]\nlisteners = [\"raw\"]\nprotocol = \"tcp\"\nto = \"tcp://{}\"\n\
             [[route]]\nlisteners = [\"web\", \"tls\"]\nprotocol = \"http\"\nto = \"http://{}\"\n",
            certs.issue(&["a.test"]).toml(),
            echo.addr(),
            app.addr(),
        );
        Self {
            umay,
            certs,
            came: 0.0,
            _peers: [app, echo],
        }
    }

    fn connect(&mut self, listener: &str) -> Conn {
        self.came += 1.0;
        Conn::connect(self.umay.at(listener)).unwrap()
    }

    /// Sends bytes, and takes whatever comes until the end.
    fn throw(&mut self, listener: &str, bytes: impl AsRef<[u8]>) {
        let mut conn = self.connect(listener);
        conn.send(bytes).unwrap();
        // Who is done with sending has left, for a request; then it would be a matter of chance what becomes of it.
        if listener == "raw" {
            conn.half_close().unwrap();
        }
        conn.read_to_end().unwrap();
    }

    /// All that can be told to Umay, told by this word.
    fn attack(&mut self, word: &str) {
        let head = "Connection: close\r\n\r\n";
        for request in [
            format!("{word} /{word} HTTP/1.1\r\nHost: {word}.test\r\n{head}"),
            format!(
                "GET /{word}/{word}?{word}={word} HTTP/1.1\r\nHost: {word}\r\n{word}: {word}\r\n{head}"
            ),
            format!("GET http://{word}.test/{word} HTTP/1.1\r\nHost: {word}.test\r\n{head}"),
            format!(
                "GET / HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: {word}\r\nTraceparent: {word}\r\nUser-Agent: {word}\r\n{head}"
            ),
            format!(
                "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: {word}\r\nConnection: upgrade, close\r\n\r\n"
            ),
            format!("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: {word}\r\n{head}"),
            format!("GET / {word}/1.1\r\n\r\n"),
            format!("CONNECT {word}:443 HTTP/1.1\r\nHost: {word}:443\r\n{head}"),
            format!("{word}\r\n\r\n"),
        ] {
            self.throw("web", request);
        }
        self.throw("raw", word);
        self.throw("raw", format!("\u{10}\u{c}\0\u{4}MQTT{word}"));
        self.came += 1.0;
        let client = Client::connect(self.umay.at("web")).unwrap();
        for (method, url) in [
            (word, format!("http://a.test/{word}")),
            ("GET", format!("http://{word}.test/")),
        ] {
            let fields = [(&*word.to_ascii_lowercase(), word)];
            let mut stream = client.call(method, &url, &fields, true).unwrap();
            stream.head().unwrap();
            stream.read_to_end().unwrap();
        }
        for (name, alpn) in [(&*format!("{word}.test"), "http/1.1"), ("a.test", word)] {
            let config = self.certs.trusting_with(DEFAULT_VERSIONS, None, &[alpn]);
            let conn = self.connect("tls");
            assert!(conn.into_tls(&config, name).is_err());
        }
    }

    fn page(&self) -> Scrape {
        at_rest(&self.umay, self.came)
    }
}

#[test]
fn strange_clients_make_no_series() {
    let mut scene = Scene::start();
    let fresh = scene.page();
    scene.attack("EVIL");
    let first = scene.page();
    // What has happened for the first time has its word from now on: statuses, reasons, methods.
    assert!(first.series().len() > fresh.series().len());
    assert_eq!(named(&first), named(&fresh));
    for number in 0..40 {
        scene.attack(&format!("EVIL{number}"));
        scene.attack(&format!("e{number}v-i.l"));
    }
    let last = scene.page();
    assert_eq!(last.series(), first.series());
    let page = scene.umay.admin_get("/metrics").text();
    for word in ["EVIL", "evil", "e7v"] {
        assert!(!page.contains(word), "{word} stands in {page}");
    }
}

/// Labels whose words are not from a closed set, with their values.
fn named(page: &Scrape) -> BTreeSet<(String, String)> {
    /// These are.
    const CLOSED: [&str; 7] = [
        "reason",
        "code",
        "code_class",
        "method",
        "outcome",
        "close_reason",
        "le",
    ];
    let labels = page.labels().into_iter();
    labels
        .filter(|(label, _)| !CLOSED.contains(label))
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .collect()
}
