//! A client for one collector: one connection, one message at a time.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use ::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::lookup_host;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;
use umay_core::model::{Collector, Endpoint, Otlp};

use super::answer::{Accepted, Failed};
use super::{grpc, http};
use crate::original;
use crate::tls::{ClientTls, Offer, connect_reason};

/// Addresses of a collector that are tried.
const MOST_ADDRESSES: usize = 8;

/// Bytes of an answer that are read.
pub(super) const MOST_ANSWER: usize = 64 * 1024;

/// What a message is about.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// `ExportTraceServiceRequest`.
    Traces,
    /// `ExportMetricsServiceRequest`.
    Metrics,
}

impl Signal {
    /// The method of its service in gRPC.
    fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

/// A client.
pub struct Client {
    collector: Collector,
    tls: Option<ClientTls>,
    /// Fields of each message.
    fields: HeaderMap,
    /// The connection, if it may be used again.
    link: Option<Link>,
}

/// A connection.
pub(super) enum Link {
    Http(http::Link),
    Grpc(grpc::Link),
}

/// A message as it goes out.
pub(super) struct Parcel<'a> {
    pub(super) uri: Uri,
    pub(super) fields: &'a HeaderMap,
    pub(super) body: Bytes,
    pub(super) gzip: bool,
}

/// Both kinds of connection, for who drives one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

impl Client {
    /// A client that has not connected yet; `tls` if the collector is spoken to over that.
    pub fn new(collector: Collector, tls: Option<ClientTls>) -> Self {
        let fields = fields(&collector);
        Self {
            collector,
            tls,
            fields,
            link: None,
        }
    }

    /// Where the collector is, for people.
    pub fn place(&self) -> String {
        authority(&self.collector.endpoint)
    }

    /// Sends a message and waits for what the collector says of it, for as long as it may take.
    pub async fn send(&mut self, signal: Signal, message: &[u8]) -> Result<Accepted, Failed> {
        let wait = self.collector.timeout;
        match timeout(wait, self.exchange(signal, message)).await {
            Ok(came) => came,
            Err(_) => {
                // Whatever comes on it now is not the answer to the next message.
                self.link = None;
                Err(Failed::for_now(format!("no answer in {wait:?}")))
            }
        }
    }

    async fn exchange(&mut self, signal: Signal, message: &[u8]) -> Result<Accepted, Failed> {
        let gzip = self.collector.gzip;
        let body = match gzip {
            true => compressed(message),
            false => Ok(message.to_vec()),
        };
        let body = Bytes::from(body.map_err(|error| Failed::for_good(error.to_string()))?);
        let path = match self.collector.protocol {
            Otlp::Http => &self.collector.path,
            Otlp::Grpc => signal.method(),
        };
        let scheme = match self.tls {
            Some(_) => "https",
            None => "http",
        };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority(&self.collector.endpoint))
            .path_and_query(path)
            .build()
            .map_err(|error| Failed::for_good(error.to_string()))?;
        // What was idle may have been closed meanwhile, which says nothing of the collector.
        if let Some(link) = self.link.take()
            && link.is_open()
            && let Ok(came) = self.ask(link, &uri, &body, gzip).await
        {
            return came;
        }
        let link = self.connect().await.map_err(Failed::for_now)?;
        let came = self.ask(link, &uri, &body, gzip).await;
        came.unwrap_or_else(|broken| Err(Failed::for_now(broken)))
    }

    /// Asks on a connection, and keeps it if it can be used again. The outer error is the connection's.
    async fn ask(
        &mut self,
        mut link: Link,
        uri: &Uri,
        body: &Bytes,
        gzip: bool,
    ) -> Result<Result<Accepted, Failed>, String> {
        let parcel = Parcel {
            uri: uri.clone(),
            fields: &self.fields,
            body: body.clone(),
            gzip,
        };
        let came = match &mut link {
            Link::Http(link) => link.ask(parcel).await?,
            Link::Grpc(link) => link.ask(parcel).await?,
        };
        self.link = Some(link);
        Ok(came)
    }

    async fn connect(&self) -> Result<Link, String> {
        let endpoint = &self.collector.endpoint;
        let stream = self.reach(endpoint).await?;
        // Without it small messages are late, not wrong.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.shake(stream).await;
        };
        let name = tls.server_name(endpoint);
        let name = name.map_err(|problem| problem.to_string())?;
        let offer = match self.collector.protocol {
            Otlp::Http => Offer::Http1,
            Otlp::Grpc => Offer::Http2,
        };
        let connector = TlsConnector::from(Arc::clone(tls.config(offer)));
        let stream = connector.connect(name, stream).await;
        self.shake(stream.map_err(|error| connect_reason(&error).1)?)
            .await
    }

    async fn shake(&self, stream: impl Stream) -> Result<Link, String> {
        Ok(match self.collector.protocol {
            Otlp::Http => Link::Http(http::Link::open(stream).await?),
            Otlp::Grpc => Link::Grpc(grpc::Link::open(stream).await?),
        })
    }

    /// Connects to the first of its addresses that answers.
    async fn reach(&self, endpoint: &Endpoint) -> Result<tokio::net::TcpStream, String> {
        let name = (endpoint.host.as_str(), endpoint.port);
        let found = lookup_host(name).await;
        let found = found.map_err(|error| format!("its name is not known: {error}"))?;
        let addresses: Vec<_> = found.take(MOST_ADDRESSES).collect();
        // One that never answers leaves time for the others.
        let share = u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let wait = self.collector.timeout / (share + 1);
        let mut last = "it has no address".to_owned();
        for address in addresses {
            let until = Instant::now() + wait;
            match timeout_at(until.into(), original::marked(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("{address} does not answer"),
            }
        }
        Err(last)
    }
}

impl Link {
    fn is_open(&self) -> bool {
        match self {
            Self::Http(link) => link.is_open(),
            Self::Grpc(link) => link.is_open(),
        }
    }
}

/// `host:port`, as an authority has it.
fn authority(endpoint: &Endpoint) -> String {
    match endpoint.host.contains(':') {
        true => format!("[{}]:{}", endpoint.host, endpoint.port),
        false => format!("{}:{}", endpoint.host, endpoint.port),
    }
}

fn fields(collector: &Collector) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let agent = concat!("umay/", env!("CARGO_PKG_VERSION"));
    fields.insert(::http::header::USER_AGENT, HeaderValue::from_static(agent));
    for (name, value) in &collector.headers {
        // The configuration has checked both.
        if let (Ok(name), Ok(mut value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) {
            value.set_sensitive(true);
            fields.append(name, value);
        }
    }
    fields
}

fn compressed(message: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), Compression::fast());
    encoder.write_all(message)?;
    encoder.finish()
}
