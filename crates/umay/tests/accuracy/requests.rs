//! Requests in every version, to routes of every kind, well answered and refused.

use std::sync::Arc;

use umay_test::http2::Client;
use umay_test::rustls::version::{TLS12, TLS13};
use umay_test::rustls::{ClientConfig, SupportedProtocolVersion};
use umay_test::{Certs, Conn, Message, Refusing, Server, Umay, answer, umay};

use super::ledger::Ledger;

/// Umay before an endpoint that answers what the path says, and one that is down.
pub(crate) struct Scene {
    pub(crate) umay: Umay,
    pub(crate) books: Ledger,
    certs: Certs,
    app: Server,
    down: Refusing,
}

/// Answers `/s/STATUS/BYTES` with that status and so many bytes.
fn as_asked(request: &Message) -> Vec<u8> {
    let mut words = request.target().split('/').skip(2);
    let mut number = || words.next().and_then(|word| word.parse().ok());
    let (status, bytes) = (number().unwrap_or(200), number().unwrap_or(0));
    answer(&format!("{status} X"), "", vec![b'x'; bytes])
}

impl Scene {
    pub(crate) fn start(workers: usize) -> Self {
        let (certs, app, down) = (Certs::new(), Server::http(as_asked), Refusing::new());
        let config = format!(
            "[limits]\nhead = \"2KiB\"\ntarget = 512\nfields = 20\n\
             [[listener]]\nname = \"web\"\nlisten = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"tls\"\nlisten = \"127.0.0.1:0\"\n{}\
             [[route]]\nname = \"app\"\nhost = \"a.test\"\nto = \"app\"\n\
             [[route]]\nname = \"small\"\nhost = \"a.test\"\npath = \"/small\"\nmax_body = 8\nto = \"app\"\n\
             [[route]]\nname = \"fixed\"\nhost = \"a.test\"\npath = \"/fixed\"\nrespond = {{ status = 203, body = \"fixed\" }}\n\
             [[route]]\nname = \"moved\"\nhost = \"a.test\"\npath = \"/moved\"\nredirect = {{ path = \"/fixed\", status = 302 }}\n\
             [[route]]\nname = \"down\"\nhost = \"a.test\"\npath = \"/down\"\nto = \"down\"\n\
             [upstream.app]\nto = \"http://{}\"\noutlier = \"off\"\n\
             [upstream.down]\nto = \"http://{}\"\noutlier = \"off\"\n",
            certs.issue(&["a.test", "b.test"]).toml(),
            app.addr(),
            down.addr(),
        );
        let umay = umay!().config(config).workers(workers).start();
        Self {
            umay,
            books: Ledger::default(),
            certs,
            app,
            down,
        }
    }

    /// What a client of the TLS listener needs.
    fn trusting(
        &self,
        version: &'static SupportedProtocolVersion,
        alpn: &[&str],
    ) -> Arc<ClientConfig> {
        self.certs.trusting_with(&[version], None, alpn)
    }

    /// A client of this kind, in the books as well.
    fn client(&mut self, how: How) -> Caller {
        let (web, tls) = (self.umay.at("web"), self.umay.at("tls"));
        match how {
            How::Http1 => {
                self.books.came(&["http1"]);
                Caller::One(Conn::connect(web).unwrap())
            }
            How::Http2 => {
                self.books.came(&["http2"]);
                Caller::Many(Client::connect(web).unwrap(), "http")
            }
            How::Http1Tls(version, alpn) => {
                self.books.came(&["tls", "http1"]);
                self.books.shook(word(version), "no");
                let config = self.trusting(version, alpn);
                Caller::One(Conn::connect_tls(tls, &config, "a.test").unwrap())
            }
            How::Http2Tls(version) => {
                self.books.came(&["tls", "http2"]);
                self.books.shook(word(version), "no");
                let config = self.trusting(version, &["h2"]);
                Caller::Many(
                    Client::connect_tls(tls, &config, "a.test").unwrap(),
                    "https",
                )
            }
        }
    }

    /// One request, in the books as well.
    fn visit(&mut self, caller: &mut Caller, visit: &Visit) {
        let (status, bytes) = caller.ask(visit);
        assert_eq!(status, visit.status, "{} {}", visit.method, visit.target);
        let books = &mut self.books;
        let method = match visit.method {
            "BREW" => "_OTHER",
            known => known,
        };
        books.answered(visit.route, method, status);
        if let Some(reason) = visit.reason {
            books.refused(reason);
        }
        if let Some(route) = visit.route {
            books.carried(route, visit.taken.unwrap_or(visit.body), bytes);
        }
        match visit.to {
            To::App => {
                let endpoint = self.app.addr().to_string();
                books.wanted("app");
                books.given("app", &endpoint, "ok");
                books.links += 1.0;
                if matches!(status, 502..=504) {
                    books.blamed("app", &endpoint);
                }
            }
            To::Down => {
                let endpoint = self.down.addr().to_string();
                books.wanted("down");
                books.given("down", &endpoint, "connect_refused");
                books.blamed("down", &endpoint);
            }
            To::Nobody => {}
        }
    }
}

fn word(version: &SupportedProtocolVersion) -> &'static str {
    if version.version == TLS12.version {
        "1.2"
    } else {
        "1.3"
    }
}

/// How a client speaks.
#[derive(Clone, Copy)]
enum How {
    Http1,
    Http2,
    /// With these application protocols.
    Http1Tls(&'static SupportedProtocolVersion, &'static [&'static str]),
    Http2Tls(&'static SupportedProtocolVersion),
}

/// All ways.
const ALL: [How; 7] = [
    How::Http1,
    How::Http2,
    How::Http1Tls(&TLS12, &[]),
    How::Http1Tls(&TLS12, &["http/1.1"]),
    How::Http1Tls(&TLS13, &[]),
    How::Http2Tls(&TLS12),
    How::Http2Tls(&TLS13),
];

enum Caller {
    One(Conn),
    /// With the scheme of its URLs.
    Many(Client, &'static str),
}

impl Caller {
    /// Gives the answer's status and the bytes of its body.
    fn ask(&mut self, visit: &Visit) -> (u16, usize) {
        let Visit {
            method,
            host,
            target,
            body,
            ..
        } = visit;
        match self {
            Self::One(conn) => {
                let length = if *body == 0 {
                    String::new()
                } else {
                    format!("Content-Length: {body}\r\n")
                };
                let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n");
                let request = [head.as_bytes(), &vec![b'b'; *body]].concat();
                let answer = conn.ask(request).unwrap();
                (answer.status(), answer.body.len())
            }
            Self::Many(client, scheme) => {
                let url = format!("{scheme}://{host}{target}");
                // Without a length, a body that is too large would be noticed only on its way.
                let length = body.to_string();
                let fields = &[("content-length", &*length)][usize::from(*body == 0)..];
                let mut stream = client.call(method, &url, fields, *body == 0).unwrap();
                if *body > 0 {
                    stream.send(&vec![b'b'; *body]).unwrap();
                    stream.finish(&[]).unwrap();
                }
                let head = stream.head().unwrap();
                let status = head.status();
                (status, stream.read_to_end().unwrap().len())
            }
        }
    }
}

/// Whom a request is to reach.
#[derive(Clone, Copy)]
enum To {
    App,
    Down,
    Nobody,
}

/// A request and what has to come of it.
struct Visit {
    method: &'static str,
    host: &'static str,
    target: &'static str,
    body: usize,
    /// Bytes of it that count, if not all.
    taken: Option<usize>,
    status: u16,
    route: Option<&'static str>,
    to: To,
    reason: Option<&'static str>,
}

/// A request that the endpoint answers.
const fn served(method: &'static str, target: &'static str, body: usize, status: u16) -> Visit {
    Visit {
        method,
        host: "a.test",
        target,
        body,
        taken: None,
        status,
        route: Some("app"),
        to: To::App,
        reason: None,
    }
}

/// One that Umay answers by itself.
const fn own(target: &'static str, status: u16, route: &'static str) -> Visit {
    Visit {
        route: Some(route),
        to: To::Nobody,
        ..served("GET", target, 0, status)
    }
}

/// One that is refused without a route.
const fn lost(host: &'static str, target: &'static str, status: u16, why: &'static str) -> Visit {
    Visit {
        host,
        route: None,
        to: To::Nobody,
        reason: Some(why),
        ..served("GET", target, 0, status)
    }
}

/// What every client asks on its one connection.
fn kept() -> Vec<Visit> {
    vec![
        served("GET", "/s/200/0", 0, 200),
        served("GET", "/s/200/1000", 0, 200),
        served("HEAD", "/s/200/0", 0, 200),
        served("POST", "/s/201/5", 500, 201),
        served("PUT", "/s/204/0", 70_000, 204),
        served("PATCH", "/s/200/100000", 1, 200),
        served("DELETE", "/s/202/0", 0, 202),
        served("OPTIONS", "/s/200/3", 0, 200),
        served("BREW", "/s/418/7", 2, 418),
        served("GET", "/s/301/0", 0, 301),
        served("GET", "/s/404/9", 0, 404),
        served("GET", "/s/500/9", 0, 500),
        served("GET", "/s/503/2", 0, 503),
        served("GET", "/s/599/2", 0, 599),
        Visit {
            route: Some("small"),
            ..served("POST", "/small/s", 8, 200)
        },
        own("/fixed", 203, "fixed"),
        own("/moved", 302, "moved"),
    ]
}

/// What is asked on a connection of its own, for that may end with it.
fn alone() -> Vec<Visit> {
    vec![
        lost("c.test", "/", 404, "no_route"),
        lost("a.test", "/a/../b", 400, "request_malformed"),
        Visit {
            route: Some("small"),
            to: To::Nobody,
            reason: Some("request_body_too_large"),
            taken: Some(0),
            ..served("POST", "/small/s", 9, 413)
        },
        Visit {
            route: Some("down"),
            to: To::Down,
            reason: Some("connect_refused"),
            ..served("GET", "/down", 0, 502)
        },
    ]
}

#[test]
fn requests_are_counted_exactly() {
    for workers in [1, 2] {
        let mut scene = Scene::start(workers);
        for how in ALL {
            let mut caller = scene.client(how);
            for visit in kept() {
                scene.visit(&mut caller, &visit);
            }
        }
        for how in [How::Http1, How::Http2] {
            for visit in alone() {
                let mut caller = scene.client(how);
                scene.visit(&mut caller, &visit);
            }
        }
        scene.books.audit(&scene.umay);
    }
}
