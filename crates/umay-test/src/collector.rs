//! A collector of spans and metrics: speaks OTLP over HTTP or gRPC, reads it with the types that OpenTelemetry
//! publishes, and says what a test tells it to say.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message as _;
use rustls::ServerConfig;

use crate::collected::{self, Point};
use crate::conn::Conn;
use crate::http::Message;
use crate::http2::{Endpoint, Stream};
use crate::server::{Server, answer};
use crate::tools::eventually;

/// A span as it came, with its ids in hexadecimal and its values as text.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Span {
    pub trace_id: String,
    pub span_id: String,
    /// Empty if it has none.
    pub parent_id: String,
    pub state: String,
    pub name: String,
    /// 2 for servers, 3 for clients.
    pub kind: i32,
    pub flags: u32,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, String>,
    /// It is an error.
    pub error: bool,
    /// What the sender says of itself.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// An attribute; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// What a collector says of a message.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It takes it.
    Take,
    /// It takes all but so many spans or points.
    Partial(i64),
    /// Over HTTP this status line and these fields (whole lines); over gRPC this status.
    Refuse(&'static str, &'static str, u32),
    /// Bytes that mean nothing, with a status that says that all is well.
    Nonsense,
    /// Nothing, and the connection is closed.
    Close,
    /// Nothing at all.
    Hang,
    /// An answer that never ends.
    Endless,
}

/// What came, for who asks.
#[derive(Default)]
struct Shared {
    spans: Mutex<Vec<Span>>,
    points: Mutex<Vec<Point>>,
    heads: Mutex<Vec<Message>>,
    messages: AtomicUsize,
}

/// A collector on a loopback port.
pub struct Collector {
    place: Place,
    shared: Arc<Shared>,
}

enum Place {
    Http(Server),
    Grpc(Endpoint),
}

type Say = Arc<dyn Fn(usize) -> Reply + Send + Sync>;

impl Collector {
    /// Takes everything, over HTTP.
    pub fn http() -> Self {
        Self::http_with(None, |_| Reply::Take)
    }

    /// Says this to each message, by its number from 0.
    pub fn http_with(
        tls: Option<Arc<ServerConfig>>,
        say: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let (of_server, say): (_, Say) = (Arc::clone(&shared), Arc::new(say));
        let script = move |conn: &mut Conn, _: usize| {
            conn.set_deadline(std::time::Duration::from_secs(600));
            while let Some(request) = conn.read_request()? {
                if !of_server.posted(conn, &request, &say)? {
                    return Ok(());
                }
            }
            Ok(())
        };
        let server = match tls {
            Some(tls) => Server::start_tls(tls, script),
            None => Server::start(script),
        };
        Self {
            place: Place::Http(server),
            shared,
        }
    }

    /// Takes everything, over gRPC.
    pub fn grpc() -> Self {
        Self::grpc_with(None, |_| Reply::Take)
    }

    /// The same as over HTTP.
    pub fn grpc_with(
        tls: Option<Arc<ServerConfig>>,
        say: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let (of_server, say): (_, Say) = (Arc::clone(&shared), Arc::new(say));
        let script = move |stream: &mut Stream| of_server.called(stream, &say);
        let endpoint = match tls {
            Some(tls) => Endpoint::start_tls(tls, script),
            None => Endpoint::start(script),
        };
        Self {
            place: Place::Grpc(endpoint),
            shared,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        match &self.place {
            Place::Http(server) => server.addr(),
            Place::Grpc(endpoint) => endpoint.addr(),
        }
    }

    /// Connections that it has accepted.
    pub fn connections(&self) -> usize {
        match &self.place {
            Place::Http(server) => server.connections(),
            Place::Grpc(endpoint) => endpoint.connections(),
        }
    }

    /// How it is spoken to.
    pub fn protocol(&self) -> &'static str {
        match &self.place {
            Place::Http(_) => "http/protobuf",
            Place::Grpc(_) => "grpc",
        }
    }

    /// The lines of `[metrics]` that lead to it.
    pub fn metrics(&self, interval: &str) -> String {
        format!(
            "metrics.endpoint = \"http://{}\"\nmetrics.protocol = \"{}\"\nmetrics.interval = \"{interval}\"\n",
            self.addr(),
            self.protocol()
        )
    }

    /// The lines of `[tracing]` that lead to it and record everything, as often as can be.
    pub fn toml(&self) -> String {
        let protocol = self.protocol();
        format!(
            "tracing.endpoint = \"http://{}\"\ntracing.protocol = \"{protocol}\"\n\
             tracing.ratio = 1\ntracing.interval = \"10ms\"\n",
            self.addr()
        )
    }

    /// Messages so far.
    pub fn messages(&self) -> usize {
        self.shared.messages.load(Ordering::SeqCst)
    }

    /// The heads of all messages.
    pub fn heads(&self) -> Vec<Message> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// All spans that it has taken.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.spans.lock().unwrap().clone()
    }

    /// All points that it has taken.
    pub fn points(&self) -> Vec<Point> {
        self.shared.points.lock().unwrap().clone()
    }

    /// Waits for a push that has this point; gives all points of it, if it is one message.
    #[track_caller]
    pub fn push(&self, what: &str, is_it: impl Fn(&Point) -> bool) -> Vec<Point> {
        eventually(&format!("a push with {what}"), || {
            let all = self.points();
            let time = all.iter().find(|point| is_it(point))?.time;
            Some(all.into_iter().filter(|point| point.time == time).collect())
        })
    }

    /// Waits for the spans of a trace to be so many, in the order of their start: the server's first.
    #[track_caller]
    pub fn trace(&self, count: usize, is_it: impl Fn(&Span) -> bool) -> Vec<Span> {
        let mut found = eventually(&format!("a trace of {count} spans"), || {
            let all = self.spans();
            let server = all.iter().find(|span| span.kind == 2 && is_it(span))?;
            let same = |span: &&Span| span.trace_id == server.trace_id;
            let same: Vec<_> = all.iter().filter(same).cloned().collect();
            (same.len() >= count).then_some(same)
        });
        assert_eq!(found.len(), count, "{found:#?}");
        found.sort_by_key(|span| (span.kind, span.start));
        found
    }

    /// The same for the request for this path.
    #[track_caller]
    pub fn path(&self, path: &str, count: usize) -> Vec<Span> {
        self.trace(count, |span| span.get("url.path") == path)
    }
}

impl Shared {
    fn take(&self, target: &str, message: &[u8]) -> io::Result<()> {
        match target {
            "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
                self.take_spans(message)
            }
            "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
                let points = collected::points(message)?;
                self.points.lock().unwrap().extend(points);
                Ok(())
            }
            other => panic!("{other}"),
        }
    }

    fn take_spans(&self, message: &[u8]) -> io::Result<()> {
        let request = ExportTraceServiceRequest::decode(message).map_err(io::Error::other)?;
        let mut spans = self.spans.lock().unwrap();
        for resource_spans in request.resource_spans {
            let resource = resource_spans.resource.unwrap_or_default();
            let resource = attributes(&resource.attributes);
            for scope_spans in resource_spans.scope_spans {
                assert_eq!(scope_spans.scope.unwrap_or_default().name, "umay");
                let told = scope_spans.spans.iter().map(|span| read(span, &resource));
                spans.extend(told);
            }
        }
        Ok(())
    }

    /// Answers; false if the connection is not used again.
    fn posted(&self, conn: &mut Conn, request: &Message, say: &Say) -> io::Result<bool> {
        let number = self.messages.fetch_add(1, Ordering::SeqCst);
        self.heads.lock().unwrap().push(request.clone());
        assert_eq!(request.get("content-type"), Some("application/x-protobuf"));
        let body = unpacked(&request.body, request.get("content-encoding"))?;
        let kind = "Content-Type: application/x-protobuf\r\n";
        let answer = match say(number) {
            Reply::Take => {
                self.take(request.target(), &body)?;
                answer("200 OK", kind, response(0))
            }
            Reply::Partial(rejected) => answer("200 OK", kind, response(rejected)),
            Reply::Refuse(status, fields, _) => answer(status, fields, "no"),
            Reply::Nonsense => answer("200 OK", "", [0xff; 300]),
            Reply::Close => return Ok(false),
            Reply::Hang => {
                std::thread::sleep(std::time::Duration::from_secs(3600));
                return Ok(false);
            }
            Reply::Endless => {
                conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                loop {
                    conn.send("4\r\nmore\r\n")?;
                }
            }
        };
        conn.send(answer)?;
        Ok(true)
    }

    fn called(&self, stream: &mut Stream, say: &Say) -> io::Result<()> {
        let number = self.messages.fetch_add(1, Ordering::SeqCst);
        self.heads.lock().unwrap().push(stream.request().clone());
        assert_eq!(
            stream.request().get("content-type"),
            Some("application/grpc")
        );
        let target = stream.request().target().to_owned();
        let encoding = stream.request().get("grpc-encoding").map(str::to_owned);
        let body = stream.read_to_end()?;
        let (prefix, message) = body.split_at(5);
        assert_eq!(prefix[0] == 1, encoding.is_some());
        assert_eq!(prefix[1..], (message.len() as u32).to_be_bytes());
        let message = unpacked(message, encoding.as_deref())?;
        let kind = [("content-type", "application/grpc")];
        let mut say_well = |response: Vec<u8>| {
            stream.respond(200, &kind, false)?;
            let length = (response.len() as u32).to_be_bytes();
            stream.send(&[&[0], &length[..], &response].concat())?;
            stream.finish(&[("grpc-status", "0")])
        };
        match say(number) {
            Reply::Take => {
                self.take(&target, &message)?;
                say_well(response(0))
            }
            Reply::Partial(rejected) => say_well(response(rejected)),
            Reply::Refuse(_, _, code) => {
                let code = code.to_string();
                stream.respond(200, &[kind[0], ("grpc-status", &code)], true)
            }
            Reply::Nonsense => {
                stream.respond(200, &[], false)?;
                stream.send(&[0xff; 300])?;
                stream.finish(&[("grpc-status", "?")])
            }
            Reply::Endless => {
                stream.respond(200, &kind, false)?;
                loop {
                    stream.send(b"more")?;
                }
            }
            Reply::Close => Err(io::ErrorKind::ConnectionAborted.into()),
            Reply::Hang => {
                std::thread::sleep(std::time::Duration::from_secs(3600));
                Ok(())
            }
        }
    }
}

fn unpacked(body: &[u8], encoding: Option<&str>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    match encoding {
        None => out.extend_from_slice(body),
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut out)?),
        Some(other) => return Err(io::Error::other(other.to_owned())),
    }
    Ok(out)
}

fn response(rejected: i64) -> Vec<u8> {
    let partial = ExportTracePartialSuccess {
        rejected_spans: rejected,
        error_message: "some are too old".to_owned(),
    };
    let response = ExportTraceServiceResponse {
        partial_success: (rejected > 0).then_some(partial),
    };
    response.encode_to_vec()
}

fn read(span: &proto::Span, resource: &BTreeMap<String, String>) -> Span {
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect();
    Span {
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        state: span.trace_state.clone(),
        name: span.name.clone(),
        kind: span.kind,
        flags: span.flags,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        error: span.status.as_ref().is_some_and(|status| status.code == 2),
        resource: resource.clone(),
    }
}

pub(crate) fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pair = |pair: &KeyValue| (pair.key.clone(), text(&pair.value));
    let map: BTreeMap<_, _> = all.iter().map(pair).collect();
    assert_eq!(map.len(), all.len(), "an attribute is there twice: {all:?}");
    map
}
