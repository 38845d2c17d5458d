//! Logs: where they go, how they are written, what is left out of them, and what they may tell of people.

use std::path::PathBuf;
use std::time::Duration;

use super::UpstreamTls;

/// [`Log::sample`] of a log that has everything.
pub const EVERY: u32 = 1_000_000;

/// The access log and the event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where the access log goes. Default: standard output.
    pub access: AccessLog,
    /// How its lines are written. Default: JSON, or text if standard output is a terminal.
    pub format: LogFormat,
    /// How many of a million entries are kept that nothing is wrong with. Default: all.
    pub sample: u32,
    /// A request that takes longer is always kept. Default 1 s.
    pub slow: Duration,
    /// Statuses, from and to, that are left out. Default: none.
    pub skip: Vec<(u16, u16)>,
    /// When the access log's file is put aside. Default: never.
    pub rotate: Rotate,
    /// How events are written. Default: text.
    pub events: EventFormat,
    /// Filter of the event log in `tracing`'s syntax; default `info`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            access: AccessLog::Stdout,
            format: LogFormat::Auto,
            sample: EVERY,
            slow: Duration::from_secs(1),
            skip: Vec::new(),
            rotate: Rotate::Off,
            events: EventFormat::Text,
            level: "info".to_owned(),
        }
    }
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// `off`.
    Off,
    /// `stdout`.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
    /// A syslog (RFC 5424).
    Syslog(Syslog),
}

/// Where a syslog is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Syslog {
    /// A unix socket of datagrams, such as `/dev/log`.
    Unix(PathBuf),
    /// A host and a port, over UDP (RFC 5426).
    Udp(String, u16),
    /// A host and a port, over TCP with the length before each message (RFC 6587 section 3.4.1).
    Tcp(String, u16),
    /// A host and a port, over TLS (RFC 5425).
    Tls(String, u16, Box<UpstreamTls>),
}

/// How a line of the access log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON, unless standard output is where it goes and a terminal.
    Auto,
    /// One JSON object.
    Json,
    /// For people.
    Text,
    /// As this says.
    Custom(LogTemplate),
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// When a file is put aside and a new one begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotate {
    /// Never.
    Off,
    /// At midnight, UTC.
    Daily,
    /// At midnight, and when it has so many bytes.
    Size(u64),
}

/// A line of one's own: text, and fields by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTemplate(pub Vec<LogPart>);

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPart {
    /// Text as it is.
    Text(String),
    /// A field's value, or `-`.
    Field {
        /// Which.
        field: LogField,
        /// It stands between quotes, so a space in it ends nothing.
        quoted: bool,
    },
}

macro_rules! fields {
    ($($variant:ident = $name:literal;)*) => {
        /// What a line can say; the names are those of the members in JSON.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum LogField { $($variant,)* }

        impl LogField {
            /// Every field with its name, in the order of the members in JSON.
            pub const ALL: &[(&str, Self)] = &[$(($name, Self::$variant),)*];
        }
    };
}

fields! {
    Ts = "ts";
    RequestId = "request_id";
    TraceId = "trace_id";
    SpanId = "span_id";
    ConnId = "conn_id";
    ClientIp = "client_ip";
    ClientIpSource = "client_ip_source";
    ClientPort = "client_port";
    Peer = "peer";
    Listener = "listener";
    Sni = "sni";
    Tls = "tls";
    TlsGroup = "tls_group";
    TlsResumed = "tls_resumed";
    Proto = "proto";
    Method = "method";
    Scheme = "scheme";
    Host = "host";
    Path = "path";
    Query = "query";
    Alpn = "alpn";
    Route = "route";
    Status = "status";
    Reason = "reason";
    Detail = "detail";
    BytesIn = "bytes_in";
    BytesOut = "bytes_out";
    DurMs = "dur_ms";
    HeaderMs = "header_ms";
    QueueMs = "queue_ms";
    ConnectMs = "connect_ms";
    TlsMs = "tls_ms";
    UploadMs = "upload_ms";
    TtfbMs = "ttfb_ms";
    BodyMs = "body_ms";
    OverheadMs = "overhead_ms";
    Upstream = "upstream";
    Endpoint = "endpoint";
    Attempts = "attempts";
    Reused = "reused";
    UserAgent = "user_agent";
    Referer = "referer";
    Sample = "sample";
}

/// What may be told of people, beyond what never is: credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// Addresses are shortened, values of queries and some headers left out. Default: false.
    pub gdpr: bool,
    /// How addresses are shown then.
    pub addresses: Addresses,
    /// Names of headers, in lower case, whose values are left out then. Default: `user-agent`, `referer`.
    pub headers: Vec<String>,
    /// How long lines of the access log's file are kept at most; `None` (default): Umay deletes nothing.
    pub retention: Option<Duration>,
}

impl Default for Privacy {
    fn default() -> Self {
        Self {
            gdpr: false,
            addresses: Addresses::Truncate,
            headers: vec!["user-agent".to_owned(), "referer".to_owned()],
            retention: None,
        }
    }
}

impl Privacy {
    /// How addresses of clients are shown.
    pub fn shown(&self) -> Addresses {
        if self.gdpr {
            self.addresses
        } else {
            Addresses::Whole
        }
    }

    /// True if the value of this header is not to be told.
    pub fn hides(&self, header: &str) -> bool {
        self.gdpr && self.headers.iter().any(|name| name == header)
    }
}

/// How an address of a client is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// As it is.
    Whole,
    /// Without what tells one client from its neighbours, see [`crate::privacy::truncated`].
    Truncate,
    /// As a hash whose key is forgotten every day, see [`crate::privacy::hashed`].
    Hash,
}
