//! The access log: one line for each request and each raw stream, written when it ends.
//!
//! A worker decides whether an entry is kept ([`filter`]), formats it into a batch of its own ([`json`], [`plain`])
//! and hands full batches to the writer's thread ([`writer`]). Of the fields of a request only `User-Agent` and
//! `Referer` are ever logged, credentials are hidden ([`redact`]), and so is what `privacy` says ([`veil`]).

mod clock;
mod filter;
mod json;
mod line;
mod plain;
mod redact;
mod rotation;
mod sink;
mod syslog;
#[cfg(test)]
mod tests;
mod veil;
mod writer;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, UNIX_EPOCH};

use umay_core::model::LogTemplate;
use umay_core::reason::Reason;

use self::clock::Clock;
use self::filter::{Case, Filter, Kept};
use self::plain::{Entry, Line};
use self::veil::Veil;
use self::writer::{Message, Shared};

pub use self::clock::rfc3339;
pub(super) use self::line::decimal;
pub(super) use self::redact::{plain_path as redacted_path, plain_query as redacted_query};
pub use self::syslog::SyslogTls;
pub use self::writer::AccessWriter;

/// Bytes after which a batch is handed over. To hand one over wakes the writer, which costs as much as forty lines.
const BATCH: usize = 64 * 1024;

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
    /// What TLS is like; `None` in plaintext.
    pub tls: Option<Secured>,
}

impl Downstream<'_> {
    /// True if the client is the peer itself, and not somebody whom a trusted proxy names.
    fn is_peer(&self) -> bool {
        self.client == self.peer.ip()
    }
}

/// TLS with a client.
#[derive(Clone, Copy, Debug)]
pub struct Secured {
    /// The version, `1.2` or `1.3`.
    pub version: &'static str,
    /// The group of the key exchange; empty if there was none.
    pub group: &'static str,
    /// The session is a former one.
    pub resumed: bool,
}

/// Where an entry is in a trace (W3C Trace Context).
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    /// The trace.
    pub trace_id: u128,
    /// Its own span in that, if it is traced here.
    pub span_id: Option<u64>,
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
    /// These two as [`endpoint_members`] has written them; empty if they are not at hand so.
    pub members: &'a [u8],
    /// The connection came from the pool.
    pub reused: bool,
    /// Time in the queue for room, if there was a wait.
    pub queue: Option<Duration>,
    /// Time to open the connection, TLS included.
    pub connect: Option<Duration>,
    /// Time that TLS took of it.
    pub tls: Option<Duration>,
}

/// What a line in JSON says of an endpoint, written once for all its lines.
pub fn endpoint_members(upstream: &str, endpoint: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    json::endpoint_members(&mut out, upstream, endpoint);
    out.into()
}

/// A request that is over.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct HttpEntry<'a> {
    pub request_id: &'a [u8],
    /// `None` if it is not traced.
    pub trace: Option<Traced>,
    /// The route wants what goes well in the log.
    pub wanted: bool,
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
    /// When it was over.
    pub ended: Instant,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
    /// Time that the request's head took to come, if it did not come at once.
    pub header: Option<Duration>,
    /// Time that the rest of the request took to pass through, if not all of it came at once.
    pub upload: Option<Duration>,
    /// From the request sent to the endpoint to the first byte of its answer.
    pub first_byte: Option<Duration>,
    /// From the first byte of the answer to the end.
    pub body: Option<Duration>,
    /// The time that Umay itself took until it had passed on what had come of the request, and attempts that came
    /// to nothing. `None` if no endpoint answered.
    pub overhead: Option<Duration>,
    pub attempts: Attempts<'a>,
    pub user_agent: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
}

/// A raw stream or tunnel that is over.
#[derive(Clone, Copy, Debug)]
pub struct TcpEntry<'a> {
    /// Tells it from all others.
    pub conn_id: u64,
    /// The route wants what goes well in the log.
    pub wanted: bool,
    /// `None` if it is not traced.
    pub trace: Option<Traced>,
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
            form: shared.form.clone(),
            filter: Filter::new(&shared.log),
            veil: Veil::new(&shared.privacy),
            scratch: Vec::new(),
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

    /// Logs a request, if it is to be kept.
    pub fn http(&self, entry: &HttpEntry<'_>) {
        let Some(batch) = &mut *self.0.borrow_mut() else {
            return;
        };
        // After a 101 it takes as long as its peers want.
        let took = (entry.status != 101).then_some(entry.duration);
        let kept = batch.filter.decide(Case {
            wrong: entry.reason.is_some() || entry.status >= 500,
            status: entry.status,
            took,
            wanted: entry.wanted,
        });
        batch.add(Entry::Http(entry), entry.ended, kept);
    }

    /// Logs a raw stream, if it is to be kept.
    pub fn tcp(&self, entry: &TcpEntry<'_>) {
        let Some(batch) = &mut *self.0.borrow_mut() else {
            return;
        };
        let kept = batch.filter.decide(Case {
            wrong: entry.reason.is_some(),
            status: 0,
            took: None,
            wanted: entry.wanted,
        });
        batch.add(Entry::Tcp(entry), Instant::now(), kept);
    }

    /// Hands over what has been gathered. To be called by the worker's clock, so that a line is not
    /// held back for long.
    pub fn flush(&self) {
        if let Some(batch) = &mut *self.0.borrow_mut() {
            batch.hand_over();
        }
    }
}

/// What a line looks like.
#[derive(Clone, Debug)]
enum Form {
    Json,
    Text,
    Custom(Arc<LogTemplate>),
}

/// Lines that were not handed over yet.
#[derive(Debug)]
struct Batch {
    lines: Vec<u8>,
    count: u64,
    clock: Clock,
    form: Form,
    filter: Filter,
    veil: Veil,
    scratch: Vec<u8>,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl Batch {
    fn add(&mut self, entry: Entry<'_>, ended: Instant, kept: Kept) {
        if kept == Kept::No {
            return;
        }
        let now = self.clock.at(ended);
        let sample = (kept == Kept::Sample).then(|| self.filter.sample());
        self.veil.renew(UNIX_EPOCH + now);
        match &self.form {
            Form::Json => self.json(entry, now, sample),
            form => {
                let mut line = Line {
                    entry,
                    now,
                    clock: &mut self.clock,
                    veil: &self.veil,
                    scratch: &mut self.scratch,
                    sample,
                };
                match form {
                    Form::Custom(template) => plain::custom(&mut self.lines, template, &mut line),
                    _ => plain::text(&mut self.lines, &mut line),
                }
                self.lines.push(b'\n');
            }
        }
        self.count += 1;
        if self.lines.len() >= BATCH {
            self.hand_over();
        }
    }

    fn json(&mut self, entry: Entry<'_>, now: Duration, sample: Option<f64>) {
        let out = &mut self.lines;
        out.extend_from_slice(b"{\"ts\":\"");
        self.clock.write(out, now);
        out.push(b'"');
        match entry {
            Entry::Http(entry) => json::http_members(out, entry, &self.veil),
            Entry::Tcp(entry) => json::tcp_members(out, entry, &self.veil),
        }
        if let Some(sample) = sample {
            json::sample_member(out, sample);
        }
        out.extend_from_slice(b"}\n");
    }

    fn hand_over(&mut self) {
        if self.count == 0 {
            return;
        }
        // What waits is counted by the memory that it takes: a few lines take no more than they need.
        let lines = if self.lines.len() < BATCH / 2 {
            let few = self.lines.as_slice().to_vec();
            self.lines.clear();
            few
        } else {
            std::mem::replace(&mut self.lines, self.shared.buffer())
        };
        let count = std::mem::take(&mut self.count);
        self.shared.hand_over(&self.queue, lines, count);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.hand_over();
    }
}
