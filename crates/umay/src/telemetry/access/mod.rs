//! The access log: one JSON object per line for each request and each raw stream, written when it ends.
//!
//! A worker formats lines into a batch of its own and hands full batches to the writer's thread. What
//! is absent is left out; what is there comes in a stable order. Of the fields of a request only
//! `User-Agent` and `Referer` are ever logged, and credentials in queries are hidden ([`redact`]).

mod clock;
mod line;
mod redact;
#[cfg(test)]
mod tests;
mod writer;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, SystemTime};

use umay_core::reason::Reason;
use umay_core::trace::digits;

use self::clock::Clock;
use self::line::{flag, ip, key, millis, number, socket, string, text, word};
use self::writer::{Message, Shared};

pub use self::clock::rfc3339;
pub(super) use self::redact::plain_query as redacted_query;
pub use self::writer::AccessWriter;

/// Bytes after which a batch is handed over.
const BATCH: usize = 16 * 1024;

/// The client's side of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Downstream<'a> {
    /// Who asks: the peer, or whom a trusted proxy names.
    pub client: IpAddr,
    /// The other end of the connection. Logged as `client_port` if it is the client's.
    pub peer: SocketAddr,
    /// The listener's name.
    pub listener: &'a str,
    /// The name that the TLS client asked for.
    pub sni: Option<&'a str>,
    /// The version of TLS, `1.2` or `1.3`; `None` in plaintext.
    pub tls: Option<&'static str>,
}

/// The endpoint's side of an entry. The default is that none was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempts<'a> {
    /// How many endpoints were tried.
    pub count: u32,
    /// The upstream's name.
    pub upstream: Option<&'a str>,
    /// The last endpoint that was tried.
    pub endpoint: Option<&'a str>,
    /// The connection came from the pool.
    pub reused: bool,
    /// Time to open the connection, TLS included.
    pub connect: Option<Duration>,
}

/// A request that is over.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct HttpEntry<'a> {
    pub request_id: &'a [u8],
    /// The trace that it belongs to, if it does.
    pub trace_id: Option<u128>,
    /// Its own span in that, if it is traced here.
    pub span_id: Option<u64>,
    pub downstream: Downstream<'a>,
    /// `http/1.0`, `http/1.1`.
    pub proto: &'static str,
    pub method: &'a [u8],
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The authority that was asked for.
    pub host: &'a [u8],
    pub path: &'a [u8],
    /// Without its `?`.
    pub query: Option<&'a [u8]>,
    /// `None` if no route matched, or none could be looked for.
    pub route: Option<&'a str>,
    /// As sent; 499 if the client left before.
    pub status: u16,
    /// Why Umay refused or cut; `None` if it did not.
    pub reason: Option<Reason>,
    /// More about the reason, for people; may be empty.
    pub detail: &'a str,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
    /// From the request sent to the endpoint to the first byte of its answer.
    pub first_byte: Option<Duration>,
    pub attempts: Attempts<'a>,
    pub user_agent: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
}

/// A raw stream or tunnel that is over.
#[derive(Clone, Copy, Debug)]
pub struct TcpEntry<'a> {
    /// Its trace and its span, if it is traced.
    pub trace_id: Option<u128>,
    /// See `trace_id`.
    pub span_id: Option<u64>,
    /// The client's side.
    pub downstream: Downstream<'a>,
    /// What was detected, such as `mqtt`, `opaque`, or `websocket` for a tunnel.
    pub proto: &'a str,
    /// The application protocol that TLS agreed on (ALPN).
    pub alpn: Option<&'a [u8]>,
    /// The route's name, if one matched.
    pub route: Option<&'a str>,
    /// Why Umay refused or cut; `None` if both sides were done.
    pub reason: Option<Reason>,
    /// More about the reason, for people; may be empty.
    pub detail: &'a str,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// From the accept to the end.
    pub duration: Duration,
    /// The endpoint's side.
    pub attempts: Attempts<'a>,
}

/// A worker's end of the access log. Never waits; not to be shared between threads.
#[derive(Debug)]
pub struct AccessLog(RefCell<Option<Batch>>);

impl AccessLog {
    /// A log that logs nothing.
    pub fn off() -> Self {
        Self(RefCell::new(None))
    }

    fn new(queue: SyncSender<Message>, shared: Arc<Shared>) -> Self {
        Self(RefCell::new(Some(Batch {
            lines: shared.buffer(),
            count: 0,
            clock: Clock::new(),
            queue,
            shared,
        })))
    }

    /// Logs to where this other one does from now on. What has been gathered goes to where it was meant for.
    pub fn replace(&self, other: Self) {
        self.0.replace(other.0.into_inner());
    }

    /// True if entries go anywhere.
    pub fn is_on(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Logs a request.
    pub fn http(&self, entry: &HttpEntry<'_>) {
        if let Some(batch) = &mut *self.0.borrow_mut() {
            batch.add(SystemTime::now(), |out| http_members(out, entry));
        }
    }

    /// Logs a raw stream.
    pub fn tcp(&self, entry: &TcpEntry<'_>) {
        if let Some(batch) = &mut *self.0.borrow_mut() {
            batch.add(SystemTime::now(), |out| tcp_members(out, entry));
        }
    }

    /// Hands over what has been gathered. To be called by the worker's clock, so that a line is not
    /// held back for long.
    pub fn flush(&self) {
        if let Some(batch) = &mut *self.0.borrow_mut() {
            batch.hand_over();
        }
    }
}

/// Lines that were not handed over yet.
#[derive(Debug)]
struct Batch {
    lines: Vec<u8>,
    count: u64,
    clock: Clock,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl Batch {
    fn add(&mut self, now: SystemTime, members: impl FnOnce(&mut Vec<u8>)) {
        let out = &mut self.lines;
        out.extend_from_slice(b"{\"ts\":\"");
        self.clock.write(out, now);
        out.push(b'"');
        members(out);
        out.extend_from_slice(b"}\n");
        self.count += 1;
        if out.len() >= BATCH {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if self.count == 0 {
            return;
        }
        let lines = std::mem::replace(&mut self.lines, self.shared.buffer());
        let count = std::mem::take(&mut self.count);
        let refused = match self.queue.try_send(Message::Lines(lines, count)) {
            Ok(()) => return,
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => message,
        };
        self.shared.dropped.add(count);
        if let Message::Lines(lines, _) = refused {
            self.shared.recycle(lines);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.hand_over();
    }
}

fn http_members(out: &mut Vec<u8>, entry: &HttpEntry<'_>) {
    if !entry.request_id.is_empty() {
        text(out, string!("request_id"), entry.request_id);
    }
    trace_members(out, entry.trace_id, entry.span_id);
    downstream_members(out, &entry.downstream);
    word(out, string!("proto"), entry.proto);
    text(out, string!("method"), entry.method);
    word(out, string!("scheme"), entry.scheme);
    text(out, string!("host"), entry.host);
    text(out, string!("path"), entry.path);
    if let Some(query) = entry.query {
        redact::query(out, string!("query"), query);
    }
    optional(out, string!("route"), entry.route);
    number(out, key!("status"), u64::from(entry.status));
    reason_members(out, entry.reason, entry.detail);
    number(out, key!("bytes_in"), entry.bytes_in);
    number(out, key!("bytes_out"), entry.bytes_out);
    millis(out, key!("dur_ms"), entry.duration);
    if let Some(first_byte) = entry.first_byte {
        millis(out, key!("ttfb_ms"), first_byte);
    }
    attempt_members(out, &entry.attempts);
    if let Some(user_agent) = entry.user_agent {
        text(out, string!("user_agent"), user_agent);
    }
    if let Some(referer) = entry.referer {
        redact::reference(out, string!("referer"), referer);
    }
}

fn trace_members(out: &mut Vec<u8>, trace_id: Option<u128>, span_id: Option<u64>) {
    if let Some(trace_id) = trace_id {
        text(out, string!("trace_id"), &digits::<32>(trace_id));
    }
    if let Some(span_id) = span_id {
        text(out, string!("span_id"), &digits::<16>(span_id.into()));
    }
}

fn tcp_members(out: &mut Vec<u8>, entry: &TcpEntry<'_>) {
    trace_members(out, entry.trace_id, entry.span_id);
    downstream_members(out, &entry.downstream);
    text(out, string!("proto"), entry.proto.as_bytes());
    if let Some(alpn) = entry.alpn {
        text(out, string!("alpn"), alpn);
    }
    optional(out, string!("route"), entry.route);
    reason_members(out, entry.reason, entry.detail);
    number(out, key!("bytes_in"), entry.bytes_in);
    number(out, key!("bytes_out"), entry.bytes_out);
    millis(out, key!("dur_ms"), entry.duration);
    attempt_members(out, &entry.attempts);
}

fn downstream_members(out: &mut Vec<u8>, downstream: &Downstream<'_>) {
    ip(out, string!("client_ip"), downstream.client);
    if downstream.client == downstream.peer.ip() {
        number(out, key!("client_port"), u64::from(downstream.peer.port()));
    } else {
        socket(out, string!("peer"), downstream.peer);
    }
    text(out, string!("listener"), downstream.listener.as_bytes());
    optional(out, string!("sni"), downstream.sni);
    if let Some(tls) = downstream.tls {
        word(out, string!("tls"), tls);
    }
}

fn reason_members(out: &mut Vec<u8>, reason: Option<Reason>, detail: &str) {
    if let Some(reason) = reason {
        word(out, string!("reason"), reason.as_str());
    }
    if !detail.is_empty() {
        text(out, string!("detail"), detail.as_bytes());
    }
}

fn attempt_members(out: &mut Vec<u8>, attempts: &Attempts<'_>) {
    if let Some(connect) = attempts.connect {
        millis(out, key!("connect_ms"), connect);
    }
    optional(out, string!("upstream"), attempts.upstream);
    optional(out, string!("endpoint"), attempts.endpoint);
    if attempts.count > 0 {
        number(out, key!("attempts"), u64::from(attempts.count));
        flag(out, key!("reused"), attempts.reused);
    }
}

#[inline(always)]
fn optional(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        text(out, key, value.as_bytes());
    }
}
