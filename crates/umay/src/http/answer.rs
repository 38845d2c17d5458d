//! Answers that Umay gives itself: refusals, redirects, fixed responses.

use std::io::Write;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use umay_core::grpc;
use umay_core::headers::Forwarded;
use umay_core::message::{Framing, Method, Request};
use umay_core::model::{Redirect, Respond};
use umay_core::reason::Reason;
use umay_core::route::split_authority;
use umay_h1 as h1;

use super::head::{self, Context, Delivery, Put, scheme};
use crate::refusal;

/// An answer, before it is written in the client's version.
pub(super) struct Answer {
    status: u16,
    fields: Vec<(&'static str, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    fn new(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Bytes of the body that the client gets.
    pub(super) fn length(&self, cx: &Context<'_>) -> usize {
        match self.framing() {
            Framing::Length(_) if cx.request.method != Method::Head => self.body.len(),
            _ => 0,
        }
    }

    fn framing(&self) -> Framing {
        match self.status {
            // RFC 9110 section 8.6: these have neither a body nor a length.
            204 | 304 => Framing::None,
            _ => Framing::Length(self.body.len() as u64),
        }
    }

    /// Writes it as HTTP/1.
    pub(super) fn write(&self, cx: &Context<'_>, keep_alive: bool, out: &mut Vec<u8>) {
        h1::status_line(out, self.status, h1::phrase(self.status).as_bytes());
        self.put(cx, out);
        let delivery = Delivery::of(cx.request, self.framing(), keep_alive);
        head::finish(cx, delivery, out);
        if self.length(cx) > 0 {
            out.extend_from_slice(&self.body);
        }
    }

    /// Its head in HTTP/2, and whether nothing follows it.
    pub(super) fn head2(&self, cx: &Context<'_>) -> (http::Response<()>, bool) {
        let mut fields = HeaderMap::new();
        self.put(cx, &mut fields);
        if let Framing::Length(length) = self.framing() {
            fields.put(b"content-length", length.to_string().as_bytes());
        }
        let mut head = http::Response::new(());
        // The configuration and the reasons have no status that is none.
        *head.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        *head.headers_mut() = fields;
        (head, self.length(cx) == 0)
    }

    fn put(&self, cx: &Context<'_>, out: &mut impl Put) {
        // RFC 9110 section 6.6.1: who answers with a clock says when.
        let now = httpdate::fmt_http_date(SystemTime::now());
        out.put(b"Date", now.as_bytes());
        for (name, value) in &self.fields {
            out.put(name.as_bytes(), value);
        }
        cx.added_to_response(out);
    }
}

/// The status that a refusal has for this client: a call of gRPC is told in the fields of a 200.
pub(super) fn status(request: &Request, reason: Reason) -> u16 {
    if grpc::is_call(request) {
        200
    } else {
        reason.status()
    }
}

/// A refusal.
pub(super) fn refuse(cx: &Context<'_>, reason: Reason, detail: &str) -> Answer {
    let answer =
        Answer::new(status(cx.request, reason)).with("Proxy-Status", refusal::proxy_status(reason));
    if grpc::is_call(cx.request) {
        return call_status(cx.forwarded, reason)
            .into_iter()
            .fold(answer, |answer, (name, value)| answer.with(name, value))
            .with("Content-Type", "application/grpc");
    }
    let answer = match reason {
        Reason::ConnectMethodRefused => answer.with(
            "Allow",
            "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE",
        ),
        Reason::Draining
        | Reason::Overloaded
        | Reason::NoEndpoint
        | Reason::UpstreamRefusedStream => answer.with("Retry-After", "1"),
        _ => answer,
    };
    let accept = cx.request.fields.named(b"accept");
    let id = cx.forwarded.request_id.as_str();
    let (kind, body) = refusal::body(reason, detail, id, accept);
    Answer {
        body: body.into_bytes(),
        ..answer.with("Content-Type", kind)
    }
}

/// Trailers that tell why a call of gRPC ends in the middle of its answer.
pub(super) fn call_trailers(forwarded: &Forwarded, reason: Reason) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for (name, value) in call_status(forwarded, reason) {
        trailers.put(name.as_bytes(), value.as_bytes());
    }
    trailers
}

/// The fields that tell a call of gRPC why not.
fn call_status(forwarded: &Forwarded, reason: Reason) -> [(&'static str, String); 2] {
    let id = forwarded.request_id.as_str();
    let message = format!("{}: {} (request {id})", reason.as_str(), reason.what());
    [
        ("grpc-status", grpc::status(reason).to_string()),
        ("grpc-message", message),
    ]
}

/// A redirect to a place from [`location`].
pub(super) fn redirect(redirect: &Redirect, location: &[u8]) -> Answer {
    Answer::new(redirect.status).with("Location", location)
}

/// A fixed response.
pub(super) fn respond(respond: &Respond) -> Answer {
    let answer = Answer::new(respond.status);
    if respond.body.is_empty() {
        return answer;
    }
    Answer {
        body: respond.body.clone().into_bytes(),
        ..answer.with("Content-Type", respond.content_type.as_str())
    }
}

/// Where a redirect leads, unless the request does not say where it came to.
pub(super) fn location(
    request: &Request,
    forwarded: &Forwarded,
    redirect: &Redirect,
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    let own_scheme = scheme(forwarded);
    let scheme = redirect.scheme.as_deref().unwrap_or(own_scheme);
    let (own_host, own_port) = split_authority(request.authority_bytes());
    let host = redirect.host.as_ref().map_or(own_host, String::as_bytes);
    if host.is_empty() {
        return None;
    }
    let port = match redirect.port {
        None if scheme == own_scheme => own_port,
        given => given,
    };
    out.extend_from_slice(scheme.as_bytes());
    out.extend_from_slice(b"://");
    if host.contains(&b':') {
        out.push(b'[');
        out.extend_from_slice(host);
        out.push(b']');
    } else {
        out.extend_from_slice(host);
    }
    let usual = if scheme == "https" { 443 } else { 80 };
    if let Some(port) = port.filter(|port| *port != usual) {
        // Writing to a vector cannot fail.
        let _ = write!(out, ":{port}");
    }
    let path = redirect
        .path
        .as_ref()
        .map_or_else(|| request.path_bytes(), String::as_bytes);
    if path != b"*" {
        out.extend_from_slice(path);
    }
    if let Some(query) = request.query_bytes() {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    Some(out)
}
