//! A line as a JSON object. What is absent is left out; what is there comes in a stable order.

use umay_core::reason::Reason;
use umay_core::trace::digits;

use super::line::{decimal, flag, key, millis, number, string, text, word};
use super::veil::Veil;
use super::{Attempts, Downstream, HttpEntry, TcpEntry, Traced, redact};

/// In place of what may not be told.
pub(super) const HIDDEN: &str = "***";

pub(super) fn http_members(out: &mut Vec<u8>, entry: &HttpEntry<'_>, veil: &Veil) {
    if !entry.request_id.is_empty() {
        text(out, string!("request_id"), entry.request_id);
    }
    trace_members(out, entry.trace);
    downstream_members(out, &entry.downstream, veil);
    word(out, string!("proto"), entry.proto);
    text(out, string!("method"), entry.method);
    word(out, string!("scheme"), entry.scheme);
    text(out, string!("host"), entry.host);
    out.extend_from_slice(string!("path"));
    redact::path(out, entry.path);
    out.push(b'"');
    if let Some(query) = entry.query {
        out.extend_from_slice(string!("query"));
        redact::query(out, query, veil.queries);
        out.push(b'"');
    }
    optional(out, string!("route"), entry.route);
    number(out, key!("status"), u64::from(entry.status));
    reason_members(out, entry.reason, entry.detail);
    number(out, key!("bytes_in"), entry.bytes_in);
    number(out, key!("bytes_out"), entry.bytes_out);
    millis(out, key!("dur_ms"), entry.duration);
    if let Some(header) = entry.header {
        millis(out, key!("header_ms"), header);
    }
    opening_members(out, &entry.attempts);
    if let Some(upload) = entry.upload {
        millis(out, key!("upload_ms"), upload);
    }
    if let Some(first_byte) = entry.first_byte {
        millis(out, key!("ttfb_ms"), first_byte);
    }
    if let Some(body) = entry.body {
        millis(out, key!("body_ms"), body);
    }
    if let Some(overhead) = entry.overhead {
        millis(out, key!("overhead_ms"), overhead);
    }
    attempt_members(out, &entry.attempts);
    if let Some(user_agent) = entry.user_agent {
        if veil.user_agent {
            word(out, string!("user_agent"), HIDDEN);
        } else {
            text(out, string!("user_agent"), user_agent);
        }
    }
    if let Some(referer) = entry.referer {
        out.extend_from_slice(string!("referer"));
        if veil.referer {
            out.extend_from_slice(HIDDEN.as_bytes());
        } else {
            redact::reference(out, referer, veil.queries);
        }
        out.push(b'"');
    }
}

#[inline]
fn trace_members(out: &mut Vec<u8>, trace: Option<Traced>) {
    if let Some(trace) = trace {
        out.extend_from_slice(string!("trace_id"));
        out.extend_from_slice(&digits::<32>(trace.trace_id));
        out.push(b'"');
        if let Some(span_id) = trace.span_id {
            out.extend_from_slice(string!("span_id"));
            out.extend_from_slice(&digits::<16>(span_id.into()));
            out.push(b'"');
        }
    }
}

pub(super) fn tcp_members(out: &mut Vec<u8>, entry: &TcpEntry<'_>, veil: &Veil) {
    out.extend_from_slice(string!("conn_id"));
    conn_id(out, entry.conn_id);
    out.push(b'"');
    trace_members(out, entry.trace);
    downstream_members(out, &entry.downstream, veil);
    text(out, string!("proto"), entry.proto.as_bytes());
    if let Some(alpn) = entry.alpn {
        text(out, string!("alpn"), alpn);
    }
    optional(out, string!("route"), entry.route);
    reason_members(out, entry.reason, entry.detail);
    number(out, key!("bytes_in"), entry.bytes_in);
    number(out, key!("bytes_out"), entry.bytes_out);
    millis(out, key!("dur_ms"), entry.duration);
    opening_members(out, &entry.attempts);
    attempt_members(out, &entry.attempts);
}

/// Writes the share of entries that this one stands for.
pub(super) fn sample_member(out: &mut Vec<u8>, sample: f64) {
    out.extend_from_slice(key!("sample"));
    share(out, sample);
}

/// Writes a share, from 0 to 1.
pub(super) fn share(out: &mut Vec<u8>, share: f64) {
    use std::io::Write;
    // Writing to a vector cannot fail.
    let _ = write!(out, "{share}");
}

/// Writes the id of a connection: 16 hexadecimal digits.
pub(super) fn conn_id(out: &mut Vec<u8>, id: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |at: u32| DIGITS.get((id >> (60 - 4 * at) & 15) as usize).copied();
    out.extend((0..16).filter_map(digit));
}

fn downstream_members(out: &mut Vec<u8>, downstream: &Downstream<'_>, veil: &Veil) {
    out.extend_from_slice(string!("client_ip"));
    veil.ip(out, downstream.client);
    if downstream.is_peer() {
        out.extend_from_slice(concat!('"', r#","client_ip_source":"peer""#).as_bytes());
        if veil.is_open() {
            number(out, key!("client_port"), u64::from(downstream.peer.port()));
        }
    } else {
        out.extend_from_slice(concat!('"', r#","client_ip_source":"forwarded""#).as_bytes());
        out.extend_from_slice(string!("peer"));
        veil.socket(out, downstream.peer);
        out.push(b'"');
    }
    text(out, string!("listener"), downstream.listener.as_bytes());
    optional(out, string!("sni"), downstream.sni);
    if let Some(tls) = &downstream.tls {
        word(out, string!("tls"), tls.version);
        if !tls.group.is_empty() {
            word(out, string!("tls_group"), tls.group);
        }
        flag(out, key!("tls_resumed"), tls.resumed);
    }
}

#[inline]
fn reason_members(out: &mut Vec<u8>, reason: Option<Reason>, detail: &str) {
    if let Some(reason) = reason {
        word(out, string!("reason"), reason.as_str());
    }
    if !detail.is_empty() {
        text(out, string!("detail"), detail.as_bytes());
    }
}

/// How long the way to the endpoint took to open.
#[inline]
fn opening_members(out: &mut Vec<u8>, attempts: &Attempts<'_>) {
    if let Some(queue) = attempts.queue {
        millis(out, key!("queue_ms"), queue);
    }
    if let Some(connect) = attempts.connect {
        millis(out, key!("connect_ms"), connect);
    }
    if let Some(tls) = attempts.tls {
        millis(out, key!("tls_ms"), tls);
    }
}

/// What JSON says of an endpoint: it is always the same.
pub(super) fn endpoint_members(out: &mut Vec<u8>, upstream: &str, endpoint: &str) {
    optional(out, string!("upstream"), Some(upstream));
    optional(out, string!("endpoint"), Some(endpoint));
}

fn attempt_members(out: &mut Vec<u8>, attempts: &Attempts<'_>) {
    if attempts.members.is_empty() {
        optional(out, string!("upstream"), attempts.upstream);
        optional(out, string!("endpoint"), attempts.endpoint);
    } else {
        out.extend_from_slice(attempts.members);
    }
    if attempts.count > 0 {
        out.extend_from_slice(key!("attempts"));
        decimal(out, u64::from(attempts.count));
        flag(out, key!("reused"), attempts.reused);
    }
}

#[inline(always)]
fn optional(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        text(out, key, value.as_bytes());
    }
}
