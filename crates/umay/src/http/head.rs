//! Heads as they leave Umay: what was received, without the fields that end here, with those that
//! tell where it came from, with what the route's filters change, and with our own framing.

use umay_core::headers::{ConnectionNamed, Forwarded, TooManyOptions, is_hop_by_hop};
use umay_core::message::{FieldId, Fields, Framing, Method, Request, Response, Version};
use umay_core::model::{Filter, HeaderEdit, Template, Var};
use umay_core::{route, template};
use umay_h1 as h1;

use crate::site::{Client, Route};

/// What the heads of one exchange are made from besides the messages themselves.
pub(super) struct Context<'a> {
    pub(super) client: &'a Client,
    pub(super) request: &'a Request,
    pub(super) forwarded: &'a Forwarded,
    /// `None` if no route was found.
    pub(super) route: Option<&'a Route>,
}

/// Writes the head of a request for an endpoint.
pub(super) fn request(cx: &Context<'_>, out: &mut Vec<u8>) -> Result<(), TooManyOptions> {
    let request = cx.request;
    let named = ConnectionNamed::of(&request.fields)?;
    let filters = cx.filters();
    request_line(request, filters, out);
    let host = filters.iter().rev().find_map(|filter| match filter {
        Filter::SetHost(host) => Some(host.as_bytes()),
        _ => None,
    });
    h1::field(
        out,
        b"Host",
        host.unwrap_or_else(|| request.authority_bytes()),
    );
    for (id, name, value) in request.fields.iter() {
        let ends_here = matches!(id, FieldId::Host | FieldId::ContentLength)
            || is_hop_by_hop(id)
            || named.names(id, name)
            || cx.forwarded.replaces(id, name)
            || cx.is_edited(request_edit, name);
        if !ends_here {
            h1::field(out, name, value);
        }
    }
    let replaced = |name: &[u8]| cx.is_edited(request_edit, name);
    cx.forwarded
        .write(request.authority_bytes(), &mut |name, value| {
            if !replaced(name) {
                h1::field(out, name, value);
            }
        });
    h1::field(out, b"Via", b"1.1 umay");
    cx.edit(request_edit, out);
    if request.upgrade {
        upgrade(&request.fields, out);
    }
    h1::framing_field(out, request.body);
    h1::end(out);
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
        Self {
            framing,
            keep_alive: may_keep && request.keep_alive && framing != Framing::UntilClose,
        }
    }
}

/// Writes the head of an endpoint's answer, interim ones too, for the client.
pub(super) fn response(
    cx: &Context<'_>,
    response: &Response,
    delivery: Delivery,
    out: &mut Vec<u8>,
) -> Result<(), TooManyOptions> {
    let named = ConnectionNamed::of(&response.fields)?;
    h1::status_line(out, response.status, response.phrase_bytes());
    let keeps_length = cx.request.method == Method::Head || response.status == 304;
    for (id, name, value) in response.fields.iter() {
        let ends_here = is_hop_by_hop(id)
            || (id == FieldId::ContentLength && !keeps_length)
            || named.names(id, name)
            || cx.is_edited(response_edit, name);
        if !ends_here {
            h1::field(out, name, value);
        }
    }
    if response.status == 101 {
        upgrade(&response.fields, out);
    }
    if response.status >= 200 {
        finish(cx, delivery, out);
    } else {
        h1::end(out);
    }
    Ok(())
}

/// Writes what every final answer ends with: the filters' fields, `Connection` and the framing.
pub(super) fn finish(cx: &Context<'_>, delivery: Delivery, out: &mut Vec<u8>) {
    cx.edit(response_edit, out);
    if cx.client.tls.is_some() || cx.forwarded.secure {
        for filter in cx.filters() {
            if let Filter::Hsts(value) = filter {
                h1::field(out, b"Strict-Transport-Security", value.as_bytes());
            }
        }
    }
    match (delivery.keep_alive, cx.request.version) {
        (false, _) => h1::field(out, b"Connection", b"close"),
        (true, Version::Http10) => h1::field(out, b"Connection", b"keep-alive"),
        (true, Version::Http11) => {}
    }
    h1::framing_field(out, delivery.framing);
    h1::end(out);
}

impl<'a> Context<'a> {
    fn filters(&self) -> &'a [Filter] {
        self.route.map_or(&[], |route| &route.model.filters)
    }

    /// True if a filter removes or replaces the fields of this name.
    fn is_edited(&self, which: fn(&Filter) -> Option<&HeaderEdit>, name: &[u8]) -> bool {
        let same = |other: &String| other.as_bytes().eq_ignore_ascii_case(name);
        self.filters().iter().filter_map(which).any(|edit| {
            edit.remove.iter().any(same) || edit.set.iter().any(|(other, _)| same(other))
        })
    }

    /// Writes the fields that filters set and add.
    fn edit(&self, which: fn(&Filter) -> Option<&HeaderEdit>, out: &mut Vec<u8>) {
        for edit in self.filters().iter().filter_map(which) {
            for (name, value) in edit.set.iter().chain(&edit.add) {
                self.templated(name, value, out);
            }
        }
    }

    /// Writes a field with a template's value, or none if the value is empty.
    fn templated(&self, name: &str, value: &Template, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        let before = out.len();
        template::render(value, |var, out| self.variable(var, out), out);
        if out.len() == before {
            out.truncate(start);
        } else {
            out.extend_from_slice(b"\r\n");
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
    let mut path = request.path_bytes();
    let mut front: &[u8] = b"";
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
    match request.query_bytes() {
        Some(query) => h1::request_line(out, method, &[front, path, b"?", query]),
        None => h1::request_line(out, method, &[front, path]),
    }
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
