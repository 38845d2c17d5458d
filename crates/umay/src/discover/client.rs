//! A thin HTTP/1.1 client for registries: one request at a time, with caps and deadlines, over TLS if the
//! agent's address says so. Redirects are not followed.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use umay_core::model::{Endpoint, Scheme, UpstreamTls};

use super::entry::brief;
use super::pace::Pace;
use super::resolver::Resolver;
use super::watch::read_file;
use crate::original;
use crate::tls::{ClientTls, Offer, connect_reason};

/// The bytes that an answer may have: 10,000 instances in Consul, with all that it says about each.
pub(super) const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The bytes of an answer's head.
const MAX_HEAD: usize = 64 * 1024;

/// The addresses of an agent that are tried.
const MAX_ADDRESSES: usize = 8;

/// The bytes of a token or a password.
const MAX_SECRET: u64 = 16 * 1024;

/// Who is asked, and how.
#[derive(Debug)]
pub(super) struct Client {
    peers: Vec<Endpoint>,
    tls: UpstreamTls,
    resolver: Arc<Resolver>,
    pub(super) pace: Pace,
}

/// A connection to one of them.
pub(super) struct Link {
    send: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with this.
    _driver: JoinSet<()>,
    /// `host:port`.
    peer: String,
    wait: Duration,
}

/// A question.
pub(super) struct Ask {
    pub(super) method: Method,
    /// With the query.
    pub(super) path: String,
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: String,
}

/// An answer whose head has come.
pub(super) struct Answer {
    pub(super) head: HeaderMap,
    body: Incoming,
    peer: String,
}

impl Client {
    pub(super) fn new(
        peers: Vec<Endpoint>,
        tls: UpstreamTls,
        resolver: Arc<Resolver>,
        pace: Pace,
    ) -> Self {
        Self {
            peers,
            tls,
            resolver,
            pace,
        }
    }

    /// Connects to the one whose turn it is. The files for TLS are read each time, so that new ones count.
    pub(super) async fn connect(&self, turn: usize) -> Result<Link, String> {
        let at = turn.checked_rem(self.peers.len());
        let Some(peer) = at.and_then(|at| self.peers.get(at)) else {
            return Err("there is nobody to ask".to_owned());
        };
        let wait = self.pace.connect;
        let name = label(peer);
        match timeout(wait, self.open(peer, name.clone())).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(why)) => Err(format!("{name}: {why}")),
            Err(_) => Err(format!("{name}: no connection in {wait:?}")),
        }
    }

    async fn open(&self, peer: &Endpoint, name: String) -> Result<Link, String> {
        let stream = self.reach(peer).await?;
        // Without it small questions are late, not wrong.
        let _ = stream.set_nodelay(true);
        let shaken = if peer.scheme == Scheme::Https {
            let tls = ClientTls::load(&self.tls).map_err(|problems| {
                let first = problems.first().map(ToString::to_string);
                first.unwrap_or_default()
            })?;
            let server_name = tls
                .server_name(peer)
                .map_err(|problem| problem.to_string())?;
            let connector = TlsConnector::from(Arc::clone(tls.config(Offer::Http1)));
            let stream = connector.connect(server_name, stream).await;
            shake(stream.map_err(|error| connect_reason(&error).1)?).await
        } else {
            shake(stream).await
        };
        let (send, driver) = shaken.map_err(|error| brief(&reason(&error)))?;
        Ok(Link {
            send,
            _driver: driver,
            peer: name,
            wait: self.pace.answer,
        })
    }

    /// Connects to the first of its addresses that answers.
    async fn reach(&self, peer: &Endpoint) -> Result<TcpStream, String> {
        let mut addresses: Vec<IpAddr> = match peer.host.parse() {
            Ok(ip) => vec![ip],
            Err(_) => {
                let found = self.resolver.addresses(&peer.host).await?;
                [found.v4, found.v6]
                    .into_iter()
                    .flatten()
                    .flatten()
                    .collect()
            }
        };
        addresses.truncate(MAX_ADDRESSES);
        // One that never answers leaves time for the others.
        let share = u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = "it has no address".to_owned();
        for ip in addresses {
            let address = SocketAddr::new(ip, peer.port);
            match timeout(self.pace.connect / share, original::marked(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("{ip} does not answer"),
            }
        }
        Err(last)
    }
}

impl Link {
    /// Asks, and waits for the head of the answer for as long as an answer may take and `longer`. Another
    /// status than 200 is an error.
    pub(super) async fn ask(&mut self, ask: Ask, longer: Duration) -> Result<Answer, String> {
        let wait = self.wait + longer;
        match timeout(wait, self.exchange(ask)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(format!("{}: {why}", self.peer)),
            Err(_) => Err(format!("{}: no answer in {wait:?}", self.peer)),
        }
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn ask_all(&mut self, ask: Ask) -> Result<(HeaderMap, Vec<u8>), String> {
        let wait = self.wait;
        self.ask(ask, Duration::ZERO).await?.read(wait).await
    }

    async fn exchange(&mut self, ask: Ask) -> Result<Answer, String> {
        let mut request = Request::builder()
            .method(ask.method)
            .uri(ask.path)
            .header(header::HOST, &self.peer);
        if !ask.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in ask.fields {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(ask.body)));
        let request = request.map_err(|error| error.to_string())?;
        self.send
            .ready()
            .await
            .map_err(|error| brief(&reason(&error)))?;
        let response = self.send.send_request(request).await;
        let (head, body) = response
            .map_err(|error| brief(&reason(&error)))?
            .into_parts();
        let answer = Answer {
            head: head.headers,
            body,
            peer: self.peer.clone(),
        };
        if head.status == StatusCode::OK {
            return Ok(answer);
        }
        // What it says about it helps, if it is short.
        let said = answer.collect().await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        Err(brief(&format!(
            "status {}: {}",
            head.status.as_u16(),
            said.trim()
        )))
    }
}

impl Answer {
    /// All of the body, if it comes within `wait` and is no longer than [`MAX_ANSWER`]; and the fields.
    pub(super) async fn read(self, wait: Duration) -> Result<(HeaderMap, Vec<u8>), String> {
        let (peer, head) = (self.peer.clone(), self.head.clone());
        match timeout(wait, self.collect()).await {
            Ok(Ok(bytes)) => Ok((head, bytes)),
            Ok(Err(why)) => Err(format!("{peer}: {why}")),
            Err(_) => Err(format!("{peer}: no end of the answer in {wait:?}")),
        }
    }

    async fn collect(mut self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        while let Some(more) = self.next().await? {
            if bytes.len() + more.len() > MAX_ANSWER {
                return Err(format!("the answer has more than {MAX_ANSWER} bytes"));
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    /// The next piece of the body; `None` at its end. Nothing is lost if it is not waited for any longer.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| brief(&reason(&error)))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// Speaks HTTP/1 on a connection. What moves its bytes ends with the set.
pub(crate) async fn shake<T>(
    stream: T,
) -> Result<(SendRequest<Full<Bytes>>, JoinSet<()>), hyper::Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    let (send, connection) = builder
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error is the request's too.
        let _ = connection.await;
    });
    Ok((send, driver))
}

/// An error with what is behind it, which is what says something.
pub(crate) fn reason(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {inner}");
        source = inner.source();
    }
    text
}

fn label(peer: &Endpoint) -> String {
    if peer.host.contains(':') {
        format!("[{}]:{}", peer.host, peer.port)
    } else {
        format!("{}:{}", peer.host, peer.port)
    }
}

/// What a file with a secret holds, without the white space around it.
pub(super) fn secret(path: &Path) -> Result<String, String> {
    let name = path.display();
    let bytes = read_file(path, MAX_SECRET).map_err(|error| format!("{name}: {error}"))?;
    match str::from_utf8(&bytes).map(str::trim) {
        Ok("") => Err(format!("{name} is empty")),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(format!("{name} is not text")),
    }
}

/// A field that is not to be shown. `whose` tells people where it comes from.
pub(super) fn secret_value(secret: &str, whose: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(secret);
    let mut value = value.map_err(|_| format!("{whose} has characters that no header has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Text as a part of a path or a query (RFC 3986 section 2.1).
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
