//! A line as text: for people, or as a format of one's own says.
//!
//! Values are escaped as in JSON, so no value ends a line, moves a cursor or colours a terminal. In a format of
//! one's own, what does not stand between quotes has no space in it either, so no value looks like two.

use std::time::Duration;

use umay_core::model::{LogField, LogPart, LogTemplate};
use umay_core::trace::digits;

use super::clock::Clock;
use super::json::{HIDDEN, conn_id, share};
use super::line::{decimal, inside, thousandths};
use super::veil::Veil;
use super::{Attempts, Downstream, HttpEntry, TcpEntry, Traced, redact};

/// An entry, and what else a line says.
pub(super) struct Line<'a> {
    pub(super) entry: Entry<'a>,
    /// When it was over, since 1970.
    pub(super) now: Duration,
    pub(super) clock: &'a mut Clock,
    pub(super) veil: &'a Veil,
    /// Room to change a value in.
    pub(super) scratch: &'a mut Vec<u8>,
    /// The share of entries that this one stands for, if it is not the only one.
    pub(super) sample: Option<f64>,
}

/// What has ended.
#[derive(Clone, Copy)]
pub(super) enum Entry<'a> {
    Http(&'a HttpEntry<'a>),
    Tcp(&'a TcpEntry<'a>),
}

impl<'a> Entry<'a> {
    fn downstream(self) -> &'a Downstream<'a> {
        match self {
            Self::Http(entry) => &entry.downstream,
            Self::Tcp(entry) => &entry.downstream,
        }
    }

    fn attempts(self) -> &'a Attempts<'a> {
        match self {
            Self::Http(entry) => &entry.attempts,
            Self::Tcp(entry) => &entry.attempts,
        }
    }
}

/// Writes a line as a format of one's own says, without its end.
pub(super) fn custom(out: &mut Vec<u8>, template: &LogTemplate, line: &mut Line<'_>) {
    for part in &template.0 {
        match part {
            LogPart::Text(text) => out.extend_from_slice(text.as_bytes()),
            LogPart::Field { field, quoted } => {
                let start = out.len();
                line.value(out, *field);
                if out.len() == start {
                    out.push(b'-');
                } else if !quoted {
                    join(out, start, line.scratch);
                }
            }
        }
    }
}

/// Writes spaces behind `start` as escapes.
fn join(out: &mut Vec<u8>, start: usize, scratch: &mut Vec<u8>) {
    let value = out.get(start..).unwrap_or_default();
    if !value.contains(&b' ') {
        return;
    }
    scratch.clear();
    scratch.extend_from_slice(value);
    out.truncate(start);
    for byte in scratch.iter() {
        match byte {
            b' ' => out.extend_from_slice(b"\\u0020"),
            byte => out.push(*byte),
        }
    }
}

/// Writes a line for people, without its end.
pub(super) fn text(out: &mut Vec<u8>, line: &mut Line<'_>) {
    line.value(out, LogField::Ts);
    line.word(out, " ", LogField::ClientIp);
    match line.entry {
        Entry::Http(entry) => {
            line.word(out, " ", LogField::Method);
            line.word(out, " ", LogField::Scheme);
            line.word(out, "://", LogField::Host);
            line.value(out, LogField::Path);
            if entry.query.is_some() {
                line.word(out, "?", LogField::Query);
            }
            line.word(out, " ", LogField::Status);
        }
        Entry::Tcp(_) => {
            line.word(out, " ", LogField::Proto);
            if line.entry.downstream().sni.is_some() {
                line.word(out, " ", LogField::Sni);
            }
        }
    }
    line.word(out, " ", LogField::DurMs);
    line.word(out, "ms in=", LogField::BytesIn);
    line.word(out, " out=", LogField::BytesOut);
    for (before, field) in [
        (" route=", LogField::Route),
        (" endpoint=", LogField::Endpoint),
        (" reason=", LogField::Reason),
    ] {
        let start = out.len();
        out.extend_from_slice(before.as_bytes());
        let empty = out.len();
        line.value(out, field);
        if out.len() == empty {
            out.truncate(start);
        }
    }
    let start = out.len();
    out.extend_from_slice(b" \"");
    line.value(out, LogField::Detail);
    if out.len() == start + 2 {
        out.truncate(start);
    } else {
        out.push(b'"');
    }
}

impl Line<'_> {
    /// Writes a value, or `-`, behind some text.
    fn word(&mut self, out: &mut Vec<u8>, before: &str, field: LogField) {
        out.extend_from_slice(before.as_bytes());
        let start = out.len();
        self.value(out, field);
        if out.len() == start {
            out.push(b'-');
        }
    }

    /// Writes the value of a field, and nothing if it is absent.
    fn value(&mut self, out: &mut Vec<u8>, field: LogField) {
        if field == LogField::Ts {
            return self.clock.write(out, self.now);
        }
        if field == LogField::Sample {
            return self.sample.iter().for_each(|sample| share(out, *sample));
        }
        let entry = self.entry;
        if !of_client(out, field, entry.downstream(), self.veil)
            && !of_attempts(out, field, entry.attempts())
        {
            match entry {
                Entry::Http(entry) => of_request(out, field, entry, self.veil),
                Entry::Tcp(entry) => of_stream(out, field, entry),
            }
        }
    }
}

/// Writes what an entry says of the client; false if the field is about something else.
fn of_client(out: &mut Vec<u8>, field: LogField, of: &Downstream<'_>, veil: &Veil) -> bool {
    let tls = of.tls.as_ref();
    match field {
        LogField::ClientIp => veil.ip(out, of.client),
        LogField::ClientIpSource => out.extend_from_slice(match of.is_peer() {
            true => b"peer",
            false => b"forwarded",
        }),
        LogField::ClientPort if of.is_peer() && veil.is_open() => {
            decimal(out, u64::from(of.peer.port()));
        }
        LogField::Peer if !of.is_peer() => veil.socket(out, of.peer),
        LogField::ClientPort | LogField::Peer => {}
        LogField::Listener => inside(out, of.listener.as_bytes()),
        LogField::Sni => optional(out, of.sni),
        LogField::Tls => optional(out, tls.map(|tls| tls.version)),
        LogField::TlsGroup => optional(out, tls.map(|tls| tls.group)),
        LogField::TlsResumed => optional(out, tls.map(|tls| truth(tls.resumed))),
        _ => return false,
    }
    true
}

/// Writes what an entry says of the way to the endpoint; false if the field is about something else.
fn of_attempts(out: &mut Vec<u8>, field: LogField, of: &Attempts<'_>) -> bool {
    match field {
        LogField::QueueMs => time(out, of.queue),
        LogField::ConnectMs => time(out, of.connect),
        LogField::TlsMs => time(out, of.tls),
        LogField::Upstream => optional(out, of.upstream),
        LogField::Endpoint => optional(out, of.endpoint),
        LogField::Attempts if of.count > 0 => decimal(out, u64::from(of.count)),
        LogField::Reused if of.count > 0 => optional(out, Some(truth(of.reused))),
        LogField::Attempts | LogField::Reused => {}
        _ => return false,
    }
    true
}

fn trace_id(out: &mut Vec<u8>, trace: Option<Traced>) {
    if let Some(trace) = trace {
        out.extend_from_slice(&digits::<32>(trace.trace_id));
    }
}

fn span_id(out: &mut Vec<u8>, trace: Option<Traced>) {
    if let Some(span_id) = trace.and_then(|trace| trace.span_id) {
        out.extend_from_slice(&digits::<16>(span_id.into()));
    }
}

fn of_request(out: &mut Vec<u8>, field: LogField, entry: &HttpEntry<'_>, veil: &Veil) {
    match field {
        LogField::RequestId => inside(out, entry.request_id),
        LogField::TraceId => trace_id(out, entry.trace),
        LogField::SpanId => span_id(out, entry.trace),
        LogField::Proto => optional(out, Some(entry.proto)),
        LogField::Method => inside(out, entry.method),
        LogField::Scheme => optional(out, Some(entry.scheme)),
        LogField::Host => inside(out, entry.host),
        LogField::Path => redact::path(out, entry.path),
        LogField::Query => redact::query(out, entry.query.unwrap_or_default(), veil.queries),
        LogField::Route => optional(out, entry.route),
        LogField::Status => decimal(out, u64::from(entry.status)),
        LogField::Reason => optional(out, entry.reason.map(|reason| reason.as_str())),
        LogField::Detail => optional(out, Some(entry.detail)),
        LogField::BytesIn => decimal(out, entry.bytes_in),
        LogField::BytesOut => decimal(out, entry.bytes_out),
        LogField::DurMs => time(out, Some(entry.duration)),
        LogField::HeaderMs => time(out, entry.header),
        LogField::TtfbMs => time(out, entry.first_byte),
        LogField::UploadMs => time(out, entry.upload),
        LogField::BodyMs => time(out, entry.body),
        LogField::OverheadMs => time(out, entry.overhead),
        LogField::UserAgent => match entry.user_agent {
            Some(_) if veil.user_agent => optional(out, Some(HIDDEN)),
            value => inside(out, value.unwrap_or_default()),
        },
        LogField::Referer => match entry.referer {
            Some(_) if veil.referer => optional(out, Some(HIDDEN)),
            value => redact::reference(out, value.unwrap_or_default(), veil.queries),
        },
        _ => {}
    }
}

fn of_stream(out: &mut Vec<u8>, field: LogField, entry: &TcpEntry<'_>) {
    match field {
        LogField::ConnId => conn_id(out, entry.conn_id),
        LogField::TraceId => trace_id(out, entry.trace),
        LogField::SpanId => span_id(out, entry.trace),
        LogField::Proto => optional(out, Some(entry.proto)),
        LogField::Alpn => inside(out, entry.alpn.unwrap_or_default()),
        LogField::Route => optional(out, entry.route),
        LogField::Reason => optional(out, entry.reason.map(|reason| reason.as_str())),
        LogField::Detail => optional(out, Some(entry.detail)),
        LogField::BytesIn => decimal(out, entry.bytes_in),
        LogField::BytesOut => decimal(out, entry.bytes_out),
        LogField::DurMs => time(out, Some(entry.duration)),
        _ => {}
    }
}

fn optional(out: &mut Vec<u8>, value: Option<&str>) {
    if let Some(value) = value {
        inside(out, value.as_bytes());
    }
}

fn time(out: &mut Vec<u8>, value: Option<Duration>) {
    if let Some(value) = value {
        thousandths(out, value);
    }
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
