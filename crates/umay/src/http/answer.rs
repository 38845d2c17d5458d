//! Answers that Umay gives itself: refusals, redirects, fixed responses.

use std::io::Write;
use std::time::SystemTime;

use umay_core::message::{FieldId, Framing, Method};
use umay_core::model::{Redirect, Respond};
use umay_core::reason::Reason;
use umay_core::route::split_authority;
use umay_h1 as h1;

use super::head::{self, Context, Delivery, scheme};
use crate::refusal;

/// Writes a refusal. Returns the length of its body.
pub(super) fn refuse(
    cx: &Context<'_>,
    reason: Reason,
    detail: &str,
    keep_alive: bool,
    out: &mut Vec<u8>,
) -> usize {
    let accept = cx
        .request
        .fields
        .iter()
        .find(|(id, name, _)| *id == FieldId::Other && name.eq_ignore_ascii_case(b"accept"))
        .map(|(_, _, value)| value);
    let id = cx.forwarded.request_id.as_str();
    let (kind, body) = refusal::body(reason, detail, id, accept);
    begin(reason.status(), out);
    h1::field(out, b"Content-Type", kind.as_bytes());
    h1::field(
        out,
        b"Proxy-Status",
        refusal::proxy_status(reason).as_bytes(),
    );
    match reason {
        Reason::ConnectMethodRefused => {
            h1::field(
                out,
                b"Allow",
                b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE",
            );
        }
        Reason::Draining | Reason::Overloaded | Reason::NoEndpoint => {
            h1::field(out, b"Retry-After", b"1");
        }
        _ => {}
    }
    end(cx, reason.status(), body.as_bytes(), keep_alive, out)
}

/// Writes a redirect, or returns false if the request does not say where it came to.
pub(super) fn redirect(
    cx: &Context<'_>,
    redirect: &Redirect,
    keep_alive: bool,
    out: &mut Vec<u8>,
) -> bool {
    let mut location = Vec::with_capacity(128);
    if !write_location(cx, redirect, &mut location) {
        return false;
    }
    begin(redirect.status, out);
    h1::field(out, b"Location", &location);
    end(cx, redirect.status, b"", keep_alive, out);
    true
}

/// Writes a fixed response. Returns the length of its body.
pub(super) fn respond(
    cx: &Context<'_>,
    respond: &Respond,
    keep_alive: bool,
    out: &mut Vec<u8>,
) -> usize {
    begin(respond.status, out);
    if !respond.body.is_empty() {
        h1::field(out, b"Content-Type", respond.content_type.as_bytes());
    }
    end(cx, respond.status, respond.body.as_bytes(), keep_alive, out)
}

fn begin(status: u16, out: &mut Vec<u8>) {
    h1::status_line(out, status, h1::phrase(status).as_bytes());
    // RFC 9110 section 6.6.1: who answers with a clock says when.
    let now = httpdate::fmt_http_date(SystemTime::now());
    h1::field(out, b"Date", now.as_bytes());
}

fn end(cx: &Context<'_>, status: u16, body: &[u8], keep_alive: bool, out: &mut Vec<u8>) -> usize {
    // RFC 9110 section 8.6: these have neither a body nor a length.
    let bodiless = matches!(status, 204 | 304);
    let framing = if bodiless {
        Framing::None
    } else {
        Framing::Length(body.len() as u64)
    };
    let delivery = Delivery::of(cx.request, framing, keep_alive);
    head::finish(cx, delivery, out);
    if bodiless || cx.request.method == Method::Head {
        return 0;
    }
    out.extend_from_slice(body);
    body.len()
}

fn write_location(cx: &Context<'_>, redirect: &Redirect, out: &mut Vec<u8>) -> bool {
    let own_scheme = scheme(cx.forwarded);
    let scheme = redirect.scheme.as_deref().unwrap_or(own_scheme);
    let (own_host, own_port) = split_authority(cx.request.authority_bytes());
    let host = redirect.host.as_ref().map_or(own_host, String::as_bytes);
    if host.is_empty() {
        return false;
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
        .map_or_else(|| cx.request.path_bytes(), String::as_bytes);
    if path != b"*" {
        out.extend_from_slice(path);
    }
    if let Some(query) = cx.request.query_bytes() {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    true
}
