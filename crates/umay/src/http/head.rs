//! Heads as they leave Umay: what was received, without the fields that end here, with those that
//! tell where it came from, with what the route's filters change, and with our own framing.

use umay_core::headers::{ConnectionNamed, Forwarded, TooManyOptions, is_hop_by_hop};
use umay_core::message::{FieldId, Fields, Framing, Method, Request, Response, Version};
use umay_core::model::{Filter, HeaderEdit, Var};
use umay_core::trace::Outgoing;
use umay_core::{route, template};
use umay_h1 as h1;

use crate::site::{Client, Route};

/// What the heads of one exchange are made from besides the messages themselves.
pub(super) struct Context<'a> {
    pub(super) client: &'a Client,
    pub(super) request: &'a Request,
    pub(super) forwarded: &'a Forwarded,
    /// The trace that the endpoint is told of, if there is one to tell of.
    pub(super) trace: Option<Outgoing<'a>>,
    /// `None` if no route was found.
    pub(super) route: Option<&'a Route>,
    /// `Set-Cookie` that keeps the client at its endpoint.
    pub(super) sticky: Option<&'a str>,
}

/// What the fields of a head are written to.
pub(super) trait Put {
    /// Adds a field.
    fn put(&mut self, name: &[u8], value: &[u8]);

    /// Adds the fields of a head that are to be kept.
    fn put_kept(&mut self, fields: &Fields, keep: impl Fn(FieldId, &[u8]) -> bool) {
        for (id, name, value) in fields.iter() {
            if keep(id, name) {
                self.put(name, value);
            }
        }
    }
}

/// As HTTP/1.
impl Put for Vec<u8> {
    fn put(&mut self, name: &[u8], value: &[u8]) {
        h1::field(self, name, value);
    }

    /// Lines that follow each other and are written as they would be here are copied together.
    fn put_kept(&mut self, fields: &Fields, keep: impl Fn(FieldId, &[u8]) -> bool) {
        let mut run = 0..0;
        for field in fields.list() {
            let name = fields.get(field.name);
            if !keep(field.id, name) {
                continue;
            }
            match fields.line(field) {
                Some(line) if line.start == run.end => run.end = line.end,
                line => {
                    self.extend_from_slice(fields.slice(run));
                    if line.is_none() {
                        h1::field(self, name, fields.get(field.value));
                    }
                    run = line.unwrap_or_default();
                }
            }
        }
        self.extend_from_slice(fields.slice(run));
    }
}

/// Writes the head of a request for an endpoint, in HTTP/1.
pub(super) fn request(cx: &Context<'_>, out: &mut Vec<u8>) -> Result<(), TooManyOptions> {
    let request = cx.request;
    request_line(request, cx.filters(), out);
    h1::field(out, b"Host", cx.host());
    request_fields(cx, out)?;
    if request.upgrade {
        upgrade(&request.fields, out);
    }
    h1::framing_field(out, request.body);
    h1::end(out);
    Ok(())
}

/// Writes the fields of a request that mean the same in all versions.
pub(super) fn request_fields(cx: &Context<'_>, out: &mut impl Put) -> Result<(), TooManyOptions> {
    let request = cx.request;
    let named = ConnectionNamed::of(&request.fields)?;
    out.put_kept(&request.fields, |id, name| {
        let ends_here = matches!(id, FieldId::Host | FieldId::ContentLength)
            || is_hop_by_hop(id)
            || named.names(id, name)
            || cx.forwarded.replaces(id, name)
            || cx.is_edited(request_edit, name)
            || cx.trace.is_some_and(|trace| trace.replaces(id, name));
        !ends_here
    });
    let replaced = |name: &[u8]| cx.is_edited(request_edit, name);
    cx.forwarded
        .write(request.authority_bytes(), &mut |name, value| {
            if !replaced(name) {
                out.put(name, value);
            }
        });
    if let Some(trace) = &cx.trace {
        trace.write(&mut |name, value| {
            if !replaced(name) {
                out.put(name, value);
            }
        });
    }
    let via: &[u8] = match request.version {
        Version::Http2 => b"2 umay",
        Version::Http10 | Version::Http11 => b"1.1 umay",
    };
    out.put(b"Via", via);
    cx.edit(request_edit, out);
    Ok(())
}

/// How an answer to the client is framed, and whether the connection lives on after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
}

impl Delivery {
    /// Chooses the framing: what the endpoint sent, or what the client's version can take. `may_keep`
    /// says whether anything else speaks against keeping the connection.
    pub(super) fn of(request: &Request, body: Framing, may_keep: bool) -> Self {
        let framing = match body {
            Framing::None | Framing::Length(_) => body,
            Framing::Chunked | Framing::UntilClose if request.version == Version::Http11 => {
                Framing::Chunked
            }
            Framing::Chunked | Framing::UntilClose => Framing::UntilClose,
        };
        let ends = framing == Framing::UntilClose && request.version != Version::Http2;
        Self {
            framing,
            keep_alive: may_keep && request.keep_alive && !ends,
        }
    }
}

/// Writes the head of an endpoint's answer, interim ones too, for a client of HTTP/1.
pub(super) fn response(
    cx: &Context<'_>,
    response: &Response,
    delivery: Delivery,
    out: &mut Vec<u8>,
) -> Result<(), TooManyOptions> {
    h1::status_line(out, response.status, response.phrase_bytes());
    response_fields(cx, response, out)?;
    if response.status == 101 {
        upgrade(&response.fields, out);
    }
    if response.status >= 200 {
        cx.added_to_response(out);
        finish(cx, delivery, out);
    } else {
        h1::end(out);
    }
    Ok(())
}

/// Writes the fields of an answer that mean the same in all versions.
pub(super) fn response_fields(
    cx: &Context<'_>,
    response: &Response,
    out: &mut impl Put,
) -> Result<(), TooManyOptions> {
    let named = ConnectionNamed::of(&response.fields)?;
    let keeps_length = cx.request.method == Method::Head || response.status == 304;
    out.put_kept(&response.fields, |id, name| {
        let ends_here = is_hop_by_hop(id)
            || (id == FieldId::ContentLength && !keeps_length)
            || named.names(id, name)
            || cx.is_edited(response_edit, name);
        !ends_here
    });
    Ok(())
}

/// Writes what a final answer in HTTP/1 ends with: `Connection` and the framing.
pub(super) fn finish(cx: &Context<'_>, delivery: Delivery, out: &mut Vec<u8>) {
    match (delivery.keep_alive, cx.request.version) {
        (false, _) => h1::field(out, b"Connection", b"close"),
        (true, Version::Http10) => h1::field(out, b"Connection", b"keep-alive"),
        (true, Version::Http11 | Version::Http2) => {}
    }
    h1::framing_field(out, delivery.framing);
    h1::end(out);
}

impl<'a> Context<'a> {
    pub(super) fn filters(&self) -> &'a [Filter] {
        self.route.map_or(&[], |route| &route.model.filters)
    }

    /// The host that the endpoint is told.
    pub(super) fn host(&self) -> &'a [u8] {
        let host = self.filters().iter().rev().find_map(|filter| match filter {
            Filter::SetHost(host) => Some(host.as_bytes()),
            _ => None,
        });
        host.unwrap_or_else(|| self.request.authority_bytes())
    }

    /// Writes the fields that filters set and add to an answer.
    pub(super) fn added_to_response(&self, out: &mut impl Put) {
        self.edit(response_edit, out);
        if let Some(cookie) = self.sticky {
            out.put(b"Set-Cookie", cookie.as_bytes());
        }
        if self.client.tls.is_some() || self.forwarded.secure {
            for filter in self.filters() {
                if let Filter::Hsts(value) = filter {
                    out.put(b"Strict-Transport-Security", value.as_bytes());
                }
            }
        }
    }

    /// True if a filter removes or replaces the fields of this name.
    fn is_edited(&self, which: fn(&Filter) -> Option<&HeaderEdit>, name: &[u8]) -> bool {
        let same = |other: &String| other.as_bytes().eq_ignore_ascii_case(name);
        self.filters().iter().filter_map(which).any(|edit| {
            edit.remove.iter().any(same) || edit.set.iter().any(|(other, _)| same(other))
        })
    }

    /// Writes the fields that filters set and add; a value that comes out empty makes none.
    fn edit(&self, which: fn(&Filter) -> Option<&HeaderEdit>, out: &mut impl Put) {
        for edit in self.filters().iter().filter_map(which) {
            for (name, value) in edit.set.iter().chain(&edit.add) {
                let mut text = Vec::new();
                template::render(value, |var, out| self.variable(var, out), &mut text);
                if !text.is_empty() {
                    out.put(name.as_bytes(), &text);
                }
            }
        }
    }

    fn variable(&self, var: Var, out: &mut Vec<u8>) {
        use std::io::Write;
        let tls = self.client.tls.as_deref();
        let cert = tls.and_then(|tls| tls.client_cert.as_ref());
        let text = match var {
            Var::ClientIp => return drop(write!(out, "{}", self.forwarded.client_ip)),
            Var::ClientPort => return drop(write!(out, "{}", self.client.peer.port())),
            Var::RequestId => self.forwarded.request_id.as_bytes(),
            Var::RequestHost => self.request.authority_bytes(),
            Var::RequestPath => self.request.path_bytes(),
            Var::Scheme => scheme(self.forwarded).as_bytes(),
            Var::TlsSni => self.client.sni().unwrap_or_default().as_bytes(),
            Var::TlsVersion => tls.map_or("", |tls| tls.version.as_str()).as_bytes(),
            Var::ClientSubject => cert.map_or("", |cert| &cert.subject).as_bytes(),
            Var::ClientCommonName => cert
                .and_then(|cert| cert.common_name.as_deref())
                .unwrap_or_default()
                .as_bytes(),
            Var::ClientSan => {
                let sans = cert.map(|cert| cert.sans.join(","));
                return out.extend_from_slice(sans.unwrap_or_default().as_bytes());
            }
            Var::ClientSha256 => cert.map_or("", |cert| &cert.sha256).as_bytes(),
            Var::Listener => self.client.site.listener.name.as_bytes(),
            Var::Route => self.route.map_or("", |route| &route.model.name).as_bytes(),
        };
        out.extend_from_slice(text);
    }
}

/// The scheme that the client itself used.
pub(super) fn scheme(forwarded: &Forwarded) -> &'static str {
    if forwarded.secure { "https" } else { "http" }
}

fn request_line(request: &Request, filters: &[Filter], out: &mut Vec<u8>) {
    let method = request.method_bytes();
    if request.method == Method::Connect {
        return h1::request_line(out, method, &[request.authority_bytes()]);
    }
    let [front, path] = path(request, filters);
    match request.query_bytes() {
        Some(query) => h1::request_line(out, method, &[front, path, b"?", query]),
        None => h1::request_line(out, method, &[front, path]),
    }
}

/// The path that the endpoint is asked for, in two parts.
pub(super) fn path<'a>(request: &'a Request, filters: &'a [Filter]) -> [&'a [u8]; 2] {
    let mut path = request.path_bytes();
    let mut front: &'a [u8] = b"";
    for filter in filters {
        if let Filter::RewritePrefix { from, to } = filter
            && let Some(len) = route::prefix_len(path, from)
        {
            front = to.as_bytes();
            path = path.get(len..).unwrap_or_default();
            break;
        }
    }
    if front.is_empty() && path.is_empty() {
        front = b"/";
    }
    [front, path]
}

/// Writes the fields of a change of protocol (RFC 9110 section 7.8).
fn upgrade(fields: &Fields, out: &mut Vec<u8>) {
    h1::field(out, b"Connection", b"upgrade");
    for value in fields.all(FieldId::Upgrade) {
        h1::field(out, b"Upgrade", value);
    }
}

fn request_edit(filter: &Filter) -> Option<&HeaderEdit> {
    match filter {
        Filter::RequestHeaders(edit) => Some(edit),
        _ => None,
    }
}

fn response_edit(filter: &Filter) -> Option<&HeaderEdit> {
    match filter {
        Filter::ResponseHeaders(edit) => Some(edit),
        _ => None,
    }
}
