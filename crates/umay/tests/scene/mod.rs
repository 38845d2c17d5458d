//! Every version of HTTP before Umay with every version behind it.

use std::fmt;
use std::io;

use umay_test::exchange::{Body, Exchange, Peer};
use umay_test::http2::Client;
use umay_test::rustls::DEFAULT_VERSIONS;
use umay_test::{Certs, Conn, Umay, umay};

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Down {
    Http1,
    Http1Tls,
    /// By ALPN.
    Http2Tls,
    /// By prior knowledge.
    Http2,
}

/// What the endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Up {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
    /// `https://`, and the endpoint prefers HTTP/2.
    Agreed,
}

pub(crate) const DOWN: [Down; 4] = [Down::Http1, Down::Http1Tls, Down::Http2Tls, Down::Http2];
pub(crate) const UP: [Up; 5] = [Up::Http1, Up::Http1Tls, Up::Http2, Up::Http2Tls, Up::Agreed];

impl Up {
    fn scheme(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::Http1Tls | Self::Agreed => "https",
            Self::Http2 => "h2c",
            Self::Http2Tls => "h2",
        }
    }

    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) fn is_http2(self) -> bool {
        !matches!(self, Self::Http1 | Self::Http1Tls)
    }
}

/// One version before and one behind.
pub(crate) struct Pair<'a> {
    pub(crate) umay: &'a Umay,
    certs: &'a Certs,
    pub(crate) down: Down,
    pub(crate) up: Up,
    client: Option<Client>,
}

impl fmt::Display for Pair<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} before {:?}", self.down, self.up)
    }
}

impl Pair<'_> {
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.down, Down::Http2 | Down::Http2Tls)
    }

    /// Begins a request to `a.test`.
    pub(crate) fn call(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Body,
    ) -> Exchange<'static> {
        let Some(client) = &self.client else {
            let conn = self.conn();
            return Exchange::over_http1(conn, [method, "a.test", target], fields, body).unwrap();
        };
        let scheme = match self.down {
            Down::Http2Tls => "https",
            _ => "http",
        };
        let url = format!("{scheme}://a.test{target}");
        let length = match body {
            Body::Length(length) => Some(length.to_string()),
            _ => None,
        };
        let told = length.as_deref().map(|length| ("content-length", length));
        let fields: Vec<_> = fields.iter().copied().chain(told).collect();
        let stream = client.call(method, &url, &fields, body == Body::Empty);
        Exchange::over_http2(stream.unwrap(), body)
    }

    /// A connection for HTTP/1.
    fn conn(&self) -> Conn {
        match self.down {
            Down::Http1Tls => {
                Conn::connect_tls(self.umay.addr(), &self.certs.trusting(), "a.test").unwrap()
            }
            _ => self.umay.connect(),
        }
    }

    /// A GET, or a POST of this body, and what came of it.
    pub(crate) fn ask(&self, target: &str, body: Option<&[u8]>) -> (u16, Vec<u8>) {
        let mut exchange = match body {
            None => self.call("GET", target, &[], Body::Empty),
            Some(body) => {
                let length = Body::Length(body.len());
                let mut exchange = self.call("POST", target, &[], length);
                exchange.send(body).unwrap();
                exchange.finish(&[]).unwrap();
                exchange
            }
        };
        let head = exchange.head().unwrap();
        (head.status(), exchange.read_to_end().unwrap())
    }
}

/// Plays `script` at the endpoint and `test` at the client for every pair. The endpoint is the
/// upstream `up`, where all goes that `more` of the configuration does not send elsewhere.
pub(crate) fn each(
    more: &str,
    script: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + Clone + 'static,
    test: impl Fn(&Pair<'_>),
) {
    each_with(&format!("to = \"up\"\n{more}"), script, test);
}

/// The same with routes of one's own.
pub(crate) fn each_with(
    routes: &str,
    script: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + Clone + 'static,
    test: impl Fn(&Pair<'_>),
) {
    let certs = Certs::new();
    let pair = certs.issue(&["a.test", "127.0.0.1"]);
    let offering = certs.trusting_with(DEFAULT_VERSIONS, None, &["h2"]);
    for up in UP {
        let tls = |alpn: &[&str]| Some(certs.server_with(&pair, alpn));
        let script = script.clone();
        let peer = match up {
            Up::Http1 => Peer::http1(None, script),
            Up::Http1Tls => Peer::http1(tls(&["http/1.1"]), script),
            Up::Http2 => Peer::http2(None, script),
            Up::Http2Tls => Peer::http2(tls(&["h2"]), script),
            Up::Agreed => Peer::http2(tls(&["h2", "http/1.1"]), script),
        };
        let ca = match up {
            Up::Http1 | Up::Http2 => String::new(),
            _ => format!("tls.ca = {:?}", certs.ca()),
        };
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\n{}{routes}\n\
             [upstream.up]\nto = \"{}://{}\"\n{ca}\n",
            pair.toml(),
            up.scheme(),
            peer.addr(),
        );
        for down in DOWN {
            let client = match down {
                Down::Http1 | Down::Http1Tls => None,
                Down::Http2 => Some(Client::connect(umay.addr()).unwrap()),
                Down::Http2Tls => {
                    Some(Client::connect_tls(umay.addr(), &offering, "a.test").unwrap())
                }
            };
            let pair = Pair {
                umay: &umay,
                certs: &certs,
                down,
                up,
                client,
            };
            // Shown when the test fails.
            println!("{pair}");
            test(&pair);
        }
    }
}
