//! What a span says, by the semantic conventions of OpenTelemetry (those for HTTP that are stable).
//!
//! A server span is an error for 5xx only, since 4xx is what the client did; a client span is one for
//! both. Paths and queries are redacted as in the access log.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use umay_core::headers::IpText;
use umay_core::message::{Method, Version};
use umay_core::reason::{Reason, Side};
use umay_core::trace::Trace;

use crate::telemetry::access;
use crate::telemetry::otlp::{
    attribute, bytes, composed, fixed32, fixed64, integer, lossy, nested, number, prefix,
};
use crate::telemetry::privacy;

/// `spans` of `ScopeSpans`.
const SPAN: u32 = 2;
/// Fields of `Span`.
const TRACE_ID: u32 = 1;
const SPAN_ID: u32 = 2;
const TRACE_STATE: u32 = 3;
const PARENT_SPAN_ID: u32 = 4;
const NAME: u32 = 5;
const KIND: u32 = 6;
const START: u32 = 7;
const END: u32 = 8;
const ATTRIBUTE: u32 = 9;
const STATUS: u32 = 15;
const FLAGS: u32 = 16;
/// `code` of `Status`, and the one for errors.
const CODE: u32 = 3;
const ERROR: u64 = 2;
/// Kinds.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
/// Flags: it is known whether the parent is in another process, and it is.
const REMOTE_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// What was asked for, in a request or for an attempt.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Asked<'a> {
    pub method: Method,
    /// The method's token.
    pub token: &'a [u8],
    pub version: Version,
    /// `http` or `https`.
    pub scheme: &'static str,
    pub host: &'a [u8],
    pub port: Option<u16>,
    pub path: &'a [u8],
    /// Without its `?`.
    pub query: Option<&'a [u8]>,
    /// It is a call of gRPC.
    pub call: bool,
}

/// A request that is over.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct RequestSpan<'a> {
    pub trace: &'a Trace,
    /// `tracestate` of a trace that goes on.
    pub state: &'a [u8],
    pub started: Instant,
    pub ended: Instant,
    /// The clock of people at `ended`.
    pub now: SystemTime,
    pub asked: Asked<'a>,
    /// Who asked, and the other end of the connection.
    pub client: IpAddr,
    pub peer: SocketAddr,
    pub user_agent: Option<&'a [u8]>,
    pub listener: &'a str,
    /// The route's name, and what it is called in `http.route`.
    pub route: Option<(&'a str, &'a str)>,
    pub upstream: Option<&'a str>,
    /// As sent; 0 if the client left before.
    pub status: u16,
    pub reason: Option<Reason>,
    /// The status of a call, if it is known.
    pub call_status: Option<u32>,
}

/// An attempt at an endpoint.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct AttemptSpan<'a> {
    pub span_id: u64,
    pub started: Instant,
    pub ended: Instant,
    /// The endpoint.
    pub host: &'a str,
    pub port: u16,
    pub secure: bool,
    /// How many there were before it.
    pub resend: u32,
    /// 0 if there was no answer.
    pub status: u16,
    pub reason: Option<Reason>,
    /// Another was answered first.
    pub overtaken: bool,
    pub call_status: Option<u32>,
}

/// A raw stream that is over.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct StreamSpan<'a> {
    pub trace: &'a Trace,
    pub duration: Duration,
    /// The clock of people at its end.
    pub now: SystemTime,
    /// What was detected.
    pub proto: &'a str,
    pub peer: SocketAddr,
    pub listener: &'a str,
    pub sni: Option<&'a str>,
    pub route: Option<&'a str>,
    pub upstream: Option<&'a str>,
    pub endpoint: Option<&'a str>,
    pub reason: Option<Reason>,
}

/// What all spans begin with.
struct Head<'a> {
    trace: &'a Trace,
    span_id: u64,
    parent_id: u64,
    remote: bool,
    state: &'a [u8],
    kind: u64,
    /// Nanoseconds since 1970.
    start: u64,
    end: u64,
}

impl Head<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        bytes(out, TRACE_ID, &self.trace.trace_id.to_be_bytes());
        bytes(out, SPAN_ID, &self.span_id.to_be_bytes());
        if !self.state.is_empty() && !privacy::hides_trace_state() {
            bytes(out, TRACE_STATE, lossy(self.state).as_bytes());
        }
        let mut flags = u32::from(self.trace.sampled) | u32::from(self.trace.random) << 1;
        if self.parent_id != 0 {
            bytes(out, PARENT_SPAN_ID, &self.parent_id.to_be_bytes());
            flags |= REMOTE_KNOWN | if self.remote { REMOTE } else { 0 };
        }
        number(out, KIND, self.kind);
        fixed64(out, START, self.start);
        fixed64(out, END, self.end);
        fixed32(out, FLAGS, flags);
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl RequestSpan<'_> {
    /// The time of the other clock at a moment.
    fn at(&self, moment: Instant) -> u64 {
        let before = self.ended.saturating_duration_since(moment);
        nanos(self.now.checked_sub(before).unwrap_or(UNIX_EPOCH))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        nested(out, SPAN, |out| {
            let trace = self.trace;
            let head = Head {
                trace,
                span_id: trace.span_id,
                parent_id: trace.parent_id,
                remote: true,
                state: self.state,
                kind: SERVER,
                start: self.at(self.started),
                end: nanos(self.now),
            };
            head.write(out);
            self.name(out);
            self.attributes(out);
            if self.status >= 500 || self.reason.is_some_and(is_failure) {
                nested(out, STATUS, |out| number(out, CODE, ERROR));
            }
        });
    }

    fn name(&self, out: &mut Vec<u8>) {
        let method = method_name(self.asked.method);
        match self.route {
            Some((_, pattern)) => {
                prefix(out, NAME, method.len() + 1 + pattern.len());
                out.extend_from_slice(method.as_bytes());
                out.push(b' ');
                out.extend_from_slice(pattern.as_bytes());
            }
            None => bytes(out, NAME, method.as_bytes()),
        }
    }

    fn attributes(&self, out: &mut Vec<u8>) {
        let asked = &self.asked;
        asked.method(out);
        attribute(out, ATTRIBUTE, "url.scheme", asked.scheme.as_bytes());
        if !asked.path.is_empty() {
            composed(out, ATTRIBUTE, "url.path", |out| {
                access::redacted_path(out, asked.path);
            });
        }
        if let Some(query) = asked.query {
            composed(out, ATTRIBUTE, "url.query", |out| {
                access::redacted_query(out, query, privacy::hides_queries());
            });
        }
        if !asked.host.is_empty() {
            attribute(out, ATTRIBUTE, "server.address", asked.host);
        }
        if let Some(port) = asked.port {
            integer(out, ATTRIBUTE, "server.port", port.into());
        }
        attribute(
            out,
            ATTRIBUTE,
            "network.protocol.version",
            version(asked.version),
        );
        people(out, self.client, self.peer);
        if let Some(user_agent) = self.user_agent.filter(|_| !privacy::hides_user_agent()) {
            attribute(out, ATTRIBUTE, "user_agent.original", user_agent);
        }
        attribute(out, ATTRIBUTE, "umay.listener", self.listener.as_bytes());
        if let Some((name, pattern)) = self.route {
            attribute(out, ATTRIBUTE, "http.route", pattern.as_bytes());
            attribute(out, ATTRIBUTE, "umay.route", name.as_bytes());
        }
        if let Some(upstream) = self.upstream {
            attribute(out, ATTRIBUTE, "umay.upstream", upstream.as_bytes());
        }
        status_code(out, self.status);
        error_type(out, self.reason, self.status, 500);
        call(out, asked.call, self.call_status);
    }
}

impl AttemptSpan<'_> {
    pub(super) fn write(&self, request: &RequestSpan<'_>, out: &mut Vec<u8>) {
        nested(out, SPAN, |out| {
            let head = Head {
                trace: request.trace,
                span_id: self.span_id,
                parent_id: request.trace.span_id,
                remote: false,
                state: request.state,
                kind: CLIENT,
                start: request.at(self.started),
                end: request.at(self.ended),
            };
            head.write(out);
            bytes(out, NAME, method_name(request.asked.method).as_bytes());
            self.attributes(request, out);
            if self.status >= 400 || self.reason.is_some_and(is_failure) {
                nested(out, STATUS, |out| number(out, CODE, ERROR));
            }
        });
    }

    fn attributes(&self, request: &RequestSpan<'_>, out: &mut Vec<u8>) {
        let asked = &request.asked;
        asked.method(out);
        self.url(asked, out);
        attribute(out, ATTRIBUTE, "server.address", self.host.as_bytes());
        integer(out, ATTRIBUTE, "server.port", self.port.into());
        if let Some(upstream) = request.upstream {
            attribute(out, ATTRIBUTE, "umay.upstream", upstream.as_bytes());
        }
        if self.resend > 0 {
            integer(out, ATTRIBUTE, "http.request.resend_count", self.resend);
        }
        if self.overtaken {
            attribute(out, ATTRIBUTE, "umay.overtaken", b"true");
        }
        status_code(out, self.status);
        error_type(out, self.reason, self.status, 400);
        call(out, asked.call, self.call_status);
    }

    /// `url.full`, which client spans have to have: of the endpoint, with the path that was asked for.
    fn url(&self, asked: &Asked<'_>, out: &mut Vec<u8>) {
        composed(out, ATTRIBUTE, "url.full", |out| {
            let scheme = if self.secure { "https://" } else { "http://" };
            out.extend_from_slice(scheme.as_bytes());
            let is_v6 = self.host.contains(':');
            out.extend_from_slice(if is_v6 { b"[" } else { b"" });
            out.extend_from_slice(self.host.as_bytes());
            out.extend_from_slice(if is_v6 { b"]:" } else { b":" });
            access::decimal(out, self.port.into());
            access::redacted_path(out, asked.path);
            if let Some(query) = asked.query {
                out.push(b'?');
                access::redacted_query(out, query, privacy::hides_queries());
            }
        });
    }
}

impl StreamSpan<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        nested(out, SPAN, |out| {
            let started = self.now.checked_sub(self.duration).unwrap_or(UNIX_EPOCH);
            let head = Head {
                trace: self.trace,
                span_id: self.trace.span_id,
                parent_id: 0,
                remote: false,
                state: b"",
                kind: SERVER,
                start: nanos(started),
                end: nanos(self.now),
            };
            head.write(out);
            bytes(out, NAME, self.proto.as_bytes());
            attribute(out, ATTRIBUTE, "network.transport", b"tcp");
            attribute(
                out,
                ATTRIBUTE,
                "network.protocol.name",
                self.proto.as_bytes(),
            );
            people(out, self.peer.ip().to_canonical(), self.peer);
            for (name, value) in [
                ("server.address", self.sni),
                ("umay.listener", Some(self.listener)),
                ("umay.route", self.route),
                ("umay.upstream", self.upstream),
                ("umay.endpoint", self.endpoint),
            ] {
                if let Some(value) = value {
                    attribute(out, ATTRIBUTE, name, value.as_bytes());
                }
            }
            error_type(out, self.reason, 0, 1);
            if self.reason.is_some_and(is_failure) {
                nested(out, STATUS, |out| number(out, CODE, ERROR));
            }
        });
    }
}

impl Asked<'_> {
    fn method(&self, out: &mut Vec<u8>) {
        let known = self.method.as_str();
        attribute(out, ATTRIBUTE, "http.request.method", known.as_bytes());
        if self.method == Method::Other {
            attribute(out, ATTRIBUTE, "http.request.method_original", self.token);
        }
    }
}

/// The method in a span's name: a token from outside would make names without end.
fn method_name(method: Method) -> &'static str {
    match method {
        Method::Other => "HTTP",
        known => known.as_str(),
    }
}

fn version(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"1.0",
        Version::Http11 => b"1.1",
        Version::Http2 => b"2",
    }
}

/// The status that was answered; 0 if none was.
fn status_code(out: &mut Vec<u8>, status: u16) {
    if status > 0 {
        integer(out, ATTRIBUTE, "http.response.status_code", status.into());
    }
}

/// Who asked, and where the connection came from, as far as that may be told: its port only where its address is.
fn people(out: &mut Vec<u8>, client: IpAddr, peer: SocketAddr) {
    let connected = peer.ip().to_canonical();
    let (of_client, whole) = (address(client), privacy::shows_whole());
    attribute(out, ATTRIBUTE, "client.address", of_client.as_bytes());
    let of_peer = if connected == client {
        of_client
    } else {
        address(connected)
    };
    attribute(out, ATTRIBUTE, "network.peer.address", of_peer.as_bytes());
    if whole {
        integer(out, ATTRIBUTE, "network.peer.port", peer.port().into());
    }
}

/// An address, as it may be told.
fn address(ip: IpAddr) -> IpText {
    if privacy::shows_whole() {
        IpText::of(ip)
    } else {
        IpText::word(privacy::shown(ip).to_string().as_bytes())
    }
}

/// True if it is not the client's doing, which is no error of ours, that something was refused or cut.
fn is_failure(reason: Reason) -> bool {
    reason.side() != Side::Downstream
}

/// Why it is an error: our word, or else the status, if that is one from `least` on.
fn error_type(out: &mut Vec<u8>, reason: Option<Reason>, status: u16, least: u16) {
    match reason {
        Some(reason) => attribute(out, ATTRIBUTE, "error.type", reason.as_str().as_bytes()),
        None if status >= least => {
            attribute(out, ATTRIBUTE, "error.type", status.to_string().as_bytes());
        }
        None => {}
    }
}

fn call(out: &mut Vec<u8>, is_call: bool, status: Option<u32>) {
    if is_call {
        attribute(out, ATTRIBUTE, "rpc.system", b"grpc");
        if let Some(status) = status {
            integer(out, ATTRIBUTE, "rpc.grpc.status_code", status);
        }
    }
}
