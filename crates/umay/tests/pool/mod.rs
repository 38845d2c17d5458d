//! An upstream with several endpoints before which a test stands, with clients of both versions.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use umay_test::exchange::{Body, Exchange};
use umay_test::http2::Client;
use umay_test::{Message, Server, Setup, Umay, Value, umay};

/// The configuration of an upstream with these endpoints, `more` of its keys, and `top` at the top.
pub(crate) fn text(scheme: &str, endpoints: &[SocketAddr], more: &str, top: &str) -> String {
    let to: Vec<String> = endpoints
        .iter()
        .map(|addr| format!("{scheme}{addr}"))
        .collect();
    format!(
        "listen = \"127.0.0.1:0\"\nto = \"up\"\n{top}\n[upstream.up]\nto = {to:?}\n\
         balance = \"round_robin\"\n{more}\n"
    )
}

/// Umay before endpoints in HTTP/1, taken in turn.
pub(crate) fn before(endpoints: &[SocketAddr], more: &str, top: &str) -> Umay {
    setup(text("http://", endpoints, more, top)).start()
}

/// The same, to go on with.
pub(crate) fn setup(text: String) -> Setup {
    umay!().config(text)
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

pub(crate) const BOTH: [Speaks; 2] = [Speaks::Http1, Speaks::Http2];

/// A request under way, and what it is on.
pub(crate) struct Call {
    exchange: Exchange<'static>,
    _client: Option<Client>,
}

impl Deref for Call {
    type Target = Exchange<'static>;

    fn deref(&self) -> &Self::Target {
        &self.exchange
    }
}

impl DerefMut for Call {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.exchange
    }
}

/// Begins a request on a connection of its own.
pub(crate) fn call(
    umay: &Umay,
    speaks: Speaks,
    [method, target]: [&str; 2],
    fields: &[(&str, &str)],
    body: Body,
) -> Call {
    let (exchange, client) = match speaks {
        Speaks::Http1 => {
            let start = [method, "a.test", target];
            let exchange = Exchange::over_http1(umay.connect(), start, fields, body);
            (exchange.unwrap(), None)
        }
        Speaks::Http2 => {
            let client = Client::connect(umay.addr()).unwrap();
            let url = format!("http://a.test{target}");
            let stream = client.call(method, &url, fields, body == Body::Empty);
            (Exchange::over_http2(stream.unwrap(), body), Some(client))
        }
    };
    Call {
        exchange,
        _client: client,
    }
}

/// One request, whole, and its answer.
pub(crate) fn ask(
    umay: &Umay,
    speaks: Speaks,
    start: [&str; 2],
    body: Option<&[u8]>,
) -> io::Result<Message> {
    let announced = body.map_or(Body::Empty, |body| Body::Length(body.len()));
    let mut exchange = call(umay, speaks, start, &[], announced);
    if let Some(body) = body {
        exchange.send(body)?;
        exchange.finish(&[])?;
    }
    let mut answer = exchange.head()?;
    answer.body = exchange.read_to_end()?;
    Ok(answer)
}

/// A GET in HTTP/1 on a connection of its own.
pub(crate) fn get(umay: &Umay) -> Message {
    ask(umay, Speaks::Http1, ["GET", "/"], None).unwrap()
}

/// An endpoint that counts the requests that it gets.
pub(crate) struct Counting {
    pub(crate) server: Server,
    count: Arc<AtomicUsize>,
}

impl Counting {
    /// Answers with what `answer` makes of a request.
    pub(crate) fn new(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let count = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&count);
        let server = Server::http(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            answer(request)
        });
        Self { server, count }
    }

    /// Runs a script on each connection that calls its second argument for each request.
    pub(crate) fn scripted(
        script: impl Fn(&mut umay_test::Conn, &AtomicUsize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let count = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&count);
        let server = Server::start(move |conn, _| script(conn, &counted));
        Self { server, count }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    pub(crate) fn requests(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

/// Counts one more.
pub(crate) fn more(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::SeqCst);
}

/// Endpoints that answer with their names: `0`, `1` and so on.
pub(crate) fn named(count: usize) -> Vec<Server> {
    (0..count).map(|n| Server::ok(&n.to_string())).collect()
}

pub(crate) fn addrs(servers: &[Server]) -> Vec<SocketAddr> {
    servers.iter().map(Server::addr).collect()
}

/// So many GETs with these fields on one connection, and how many each name has answered.
pub(crate) fn counts(umay: &Umay, fields: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut conn = umay.connect();
    let mut counts = BTreeMap::new();
    let request = format!("GET /p HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    for _ in 0..requests {
        let answer = conn.ask(&request).unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
        *counts.entry(answer.text()).or_insert(0) += 1;
    }
    counts
}

/// The only one who answers these.
pub(crate) fn only(umay: &Umay, fields: &str) -> String {
    let counts = counts(umay, fields, 5);
    assert_eq!(counts.len(), 1, "{counts:?}");
    counts.into_keys().next().unwrap()
}

/// An endpoint in `/status`.
pub(crate) fn status_of(umay: &Umay, addr: SocketAddr) -> Value {
    let page: Value = serde_json::from_str(&umay.admin_get("/status").text()).unwrap();
    let upstreams = page["upstreams"].as_array().unwrap().clone();
    let mut all = upstreams
        .iter()
        .flat_map(|u| u["endpoints"].as_array().unwrap());
    let found = all.find(|e| e.to_string().contains(&addr.to_string()));
    found
        .unwrap_or_else(|| panic!("no {addr} in {page:#}"))
        .clone()
}
