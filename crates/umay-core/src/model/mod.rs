//! The validated configuration: what the rest of Umay builds from.
//!
//! A [`Model`] comes only out of [`crate::config`] (or a test): names are resolved, files are named
//! but not read, every default is filled in. It holds no sockets and no parsed certificates.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

mod log;
mod push;
mod settings;
mod tracing;
mod upstream;
mod words;

pub use log::{
    AccessLog, Addresses, EVERY, EventFormat, Log, LogField, LogFormat, LogPart, LogTemplate,
    Privacy, Rotate, Syslog,
};
pub use push::{Histograms, Push};
pub use settings::{Http2, Limits, Timeouts};
pub use tracing::{Collector, Otlp, Tracing};
pub use upstream::{
    Consul, Discovery, Dns, Endpoint, Etcd, HashBy, Hedge, Outlier, Probe, ProbeKind, Retry,
    Scheme, Source, Sticky, Upstream, UpstreamLimits, UpstreamTls,
};

pub use crate::balance::Balance;

/// The name of a listener, route or upstream.
pub type Name = String;

/// What metrics call all that have no series of their own; nothing that is counted has this name.
pub const OTHER: &str = "_other";

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Worker threads; `None` means one per core.
    pub workers: Option<usize>,
    /// The files that it was read from are watched, and read again when they change. Default: true.
    pub watch: bool,
    /// Where the admin listener binds; `None` is `off`.
    pub admin: Option<SocketAddr>,
    /// The unix socket for what changes state; `None` (default) is `off`.
    pub admin_socket: Option<PathBuf>,
    /// The access log and the event log.
    pub log: Log,
    /// What logs may tell of people.
    pub privacy: Privacy,
    /// Traces; `None` (default) if nothing is traced.
    pub tracing: Option<Tracing>,
    /// Where metrics are pushed; `None`: nowhere.
    pub push: Option<Push>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Caps.
    pub limits: Limits,
    /// How HTTP/2 is spoken, on both sides.
    pub http2: Http2,
    /// How names are resolved.
    pub dns: Dns,
    /// Where Umay itself stands; endpoints of the same zone are preferred.
    pub zone: Option<String>,
    /// Listeners by name.
    pub listeners: BTreeMap<Name, Listener>,
    /// Routes, in the order of the document (order only breaks ties, see [`crate::route`]).
    pub routes: Vec<Route>,
    /// Upstreams by name; inline ones are named after their route.
    pub upstreams: BTreeMap<Name, Upstream>,
}

/// An address to accept connections on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name; a listener without one is named after its address.
    pub name: Name,
    /// Where it binds; port 0 lets the kernel choose.
    pub bind: SocketAddr,
    /// TLS termination, if there is a certificate.
    pub tls: Option<ListenerTls>,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed and added to. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Send `Forwarded` (RFC 7239) besides `X-Forwarded-*`. Default: false.
    pub forwarded: bool,
    /// Takes connections to any address that the kernel hands to it (TPROXY). Default: false.
    pub transparent: bool,
}

impl Listener {
    /// True if the sockets of this other one can serve it: what they have of their own is where they are. Where the
    /// kernel chooses that, the name says which they are.
    pub fn has_socket_of(&self, other: &Self) -> bool {
        self.has_sockets(&other.name, other.bind, other.transparent)
    }

    /// The same for sockets of which this is known: the name of their listener, where it binds, and whether it is
    /// transparent.
    pub fn has_sockets(&self, name: &str, bind: SocketAddr, transparent: bool) -> bool {
        let same = (self.bind, self.transparent) == (bind, transparent);
        same && (bind.port() != 0 || self.name == name)
    }
}

/// TLS termination on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Certificates; the one to use is picked by the names inside it.
    pub certificates: Vec<CertificateSource>,
    /// The certificate for clients that send no server name (default: the first one), and, only if
    /// configured, for those that ask for an unknown name.
    pub default: Option<CertificatePair>,
    /// Whether clients show a certificate.
    pub client_auth: Option<ClientAuth>,
    /// Refuse TLS 1.2. Default: false.
    pub only_tls13: bool,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// One chain and its key.
    Pair(CertificatePair),
    /// A directory: each `NAME.crt`, `NAME.pem` or `NAME.cert` with `NAME.key` beside it (or the key in the same file),
    /// and each subdirectory with `fullchain.pem`/`privkey.pem` or `tls.crt`/`tls.key`.
    Dir(PathBuf),
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePair {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The key: PKCS#8, PKCS#1 or SEC1. May be the same file.
    pub key: PathBuf,
}

/// Verification of client certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// PEM file of the certificate authorities that are trusted.
    pub ca: PathBuf,
    /// PEM file of revocation lists.
    pub crl: Option<PathBuf>,
    /// A client without a certificate is refused (`required`) or let through (`optional`).
    pub required: bool,
}

/// A rule: what matches, what is done to it, where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name; a route without one is named `route-N` after its place.
    pub name: Name,
    /// What must hold.
    pub matches: Match,
    /// What is changed, in order.
    pub filters: Vec<Filter>,
    /// Where it goes.
    pub action: Action,
    /// CONNECT is let through to the endpoint. Default: false.
    pub allow_connect: bool,
    /// Deliver the TLS bytes to the endpoint unopened; matches by SNI. Default: false.
    pub passthrough: bool,
    /// Overrides [`Limits::body`].
    pub max_body: Option<u64>,
    /// False keeps what went well out of the access log. Default: true.
    pub log: bool,
}

/// What must hold for a route to be taken; an empty list or `None` always holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Match {
    /// Names of listeners.
    pub listeners: Vec<Name>,
    /// Hosts, from the request, without port.
    pub hosts: Vec<HostPattern>,
    /// Paths.
    pub paths: Vec<PathPattern>,
    /// Methods, as tokens.
    pub methods: Vec<String>,
    /// Headers; all of them must match.
    pub headers: Vec<HeaderMatch>,
    /// Server names, from the TLS hello. `""` never matches; no SNI is matched by an empty list only.
    pub sni: Vec<HostPattern>,
    /// Protocols; `None` is decided by what else the route asks and where it goes.
    pub protocol: Option<Protocol>,
    /// What the client's certificate must prove.
    pub client_cert: Option<ClientCertMatch>,
}

/// The protocols that a route can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP, any version.
    Http,
    /// MQTT 3.1, 3.1.1 or 5, carried as TCP.
    Mqtt,
    /// Any bytes, carried as TCP.
    Tcp,
}

/// A host pattern, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `*`: any name, and none.
    Any,
    /// The name itself.
    Exact(String),
    /// `*.example.com`, held as `example.com`: one label or more in front of it.
    Wildcard(String),
}

/// A path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathPattern {
    /// `/a/b` itself (written `=/a/b`).
    Exact(String),
    /// `/a/b`, `/a/b/` and all below, by whole segments; held without its final `/`, so `/` is empty.
    Prefix(String),
}

/// A header that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderMatch {
    /// Its name, in lower case.
    pub name: String,
    /// What one of its values must be; `None` asks only that it is there.
    pub value: Option<String>,
}

/// What a client's certificate must prove; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientCertMatch {
    /// Common name of the subject.
    pub common_name: Option<String>,
    /// One of the subject alternative names (DNS, URI or email), exactly.
    pub san: Option<String>,
    /// SHA-256 of the certificate, 64 lower-case hexadecimal digits.
    pub sha256: Option<String>,
}

/// A change to a request or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Replaces the path prefix that matched (or this one) by another.
    RewritePrefix {
        /// The prefix that goes, without final `/`.
        from: String,
        /// What comes instead, without final `/`.
        to: String,
    },
    /// Replaces the Host that the endpoint sees.
    SetHost(String),
    /// Changes to the request's fields.
    RequestHeaders(HeaderEdit),
    /// Changes to the response's fields.
    ResponseHeaders(HeaderEdit),
    /// Adds `Strict-Transport-Security` (RFC 6797) to answers that go out over TLS.
    Hsts(String),
}

/// Changes to a head's fields, done in this order: remove, set, add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdit {
    /// Names, in lower case.
    pub remove: Vec<String>,
    /// Replaces all fields of that name. A value that comes out empty removes them.
    pub set: Vec<(String, Template)>,
    /// Adds a field. A value that comes out empty adds none.
    pub add: Vec<(String, Template)>,
}

/// A value with variables in braces, such as `{client.ip}`; `{{` is a brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Literal text.
    Text(String),
    /// A variable.
    Var(Var),
}

/// What a [`Template`] can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Var {
    /// `{client.ip}`: the client's address, from a trusted proxy's header if there was one.
    ClientIp,
    /// `{client.port}`: the port of the peer.
    ClientPort,
    /// `{request.id}`.
    RequestId,
    /// `{request.host}`: as the client sent it.
    RequestHost,
    /// `{request.path}`: as the client sent it.
    RequestPath,
    /// `{scheme}`: `http` or `https`.
    Scheme,
    /// `{tls.sni}`.
    TlsSni,
    /// `{tls.version}`: `1.2` or `1.3`; empty without TLS.
    TlsVersion,
    /// `{tls.client.subject}`: the subject's distinguished name (RFC 4514).
    ClientSubject,
    /// `{tls.client.cn}`: the subject's common name.
    ClientCommonName,
    /// `{tls.client.san}`: the subject alternative names, separated by commas.
    ClientSan,
    /// `{tls.client.sha256}`: the certificate's fingerprint, in hexadecimal.
    ClientSha256,
    /// `{listener}`: its name.
    Listener,
    /// `{route}`: its name.
    Route,
}

impl Var {
    /// Every variable with the name it has between braces.
    pub const ALL: &[(&'static str, Self)] = &[
        ("client.ip", Self::ClientIp),
        ("client.port", Self::ClientPort),
        ("request.id", Self::RequestId),
        ("request.host", Self::RequestHost),
        ("request.path", Self::RequestPath),
        ("scheme", Self::Scheme),
        ("tls.sni", Self::TlsSni),
        ("tls.version", Self::TlsVersion),
        ("tls.client.subject", Self::ClientSubject),
        ("tls.client.cn", Self::ClientCommonName),
        ("tls.client.san", Self::ClientSan),
        ("tls.client.sha256", Self::ClientSha256),
        ("listener", Self::Listener),
        ("route", Self::Route),
    ];
}

/// Where a route goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To an upstream, by name.
    Forward(Name),
    /// Another address for the client to go to.
    Redirect(Redirect),
    /// An answer from the configuration.
    Respond(Respond),
}

/// A redirect; what is `None` is kept from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host, without port.
    pub host: Option<String>,
    /// Port. Without it: the scheme's own if the scheme changes, else the request's.
    pub port: Option<u16>,
    /// Path; the query is kept.
    pub path: Option<String>,
    /// 301, 302, 303, 307 or 308. Default 308.
    pub status: u16,
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Body; may be empty.
    pub body: String,
    /// Its type. Default `text/plain; charset=utf-8`.
    pub content_type: String,
}

impl Route {
    /// True if a request in HTTP can take this route.
    pub fn serves_http(&self, upstreams: &BTreeMap<Name, Upstream>) -> bool {
        if self.passthrough {
            return false;
        }
        match self.matches.protocol {
            Some(Protocol::Http) => true,
            Some(Protocol::Mqtt | Protocol::Tcp) => false,
            None => match &self.action {
                Action::Forward(name) => upstreams
                    .get(name)
                    .is_some_and(|u| u.schemes().any(Scheme::serves_http)),
                Action::Redirect(_) | Action::Respond(_) => true,
            },
        }
    }

    /// True if a raw stream can take this route.
    pub fn serves_tcp(&self, upstreams: &BTreeMap<Name, Upstream>) -> bool {
        let Action::Forward(name) = &self.action else {
            return false;
        };
        let plain = upstreams
            .get(name)
            .is_some_and(|u| u.schemes().any(Scheme::serves_tcp));
        match self.matches.protocol {
            Some(Protocol::Http) => false,
            Some(Protocol::Mqtt | Protocol::Tcp) => true,
            None => plain && self.asks_nothing_of_http(),
        }
    }

    /// True if no part of the match needs an HTTP request to look at.
    pub fn asks_nothing_of_http(&self) -> bool {
        let matches = &self.matches;
        matches.paths.is_empty()
            && matches.methods.is_empty()
            && matches.headers.is_empty()
            && matches.hosts.iter().all(|h| *h == HostPattern::Any)
            && !self.allow_connect
    }
}

/// For people: `upstream web`, `redirect 308`, `respond 200`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(name) => write!(f, "upstream {name}"),
            Self::Redirect(redirect) => write!(f, "redirect {}", redirect.status),
            Self::Respond(respond) => write!(f, "respond {}", respond.status),
        }
    }
}

impl Redirect {
    /// The redirect that `redirect = "https"` stands for: 308 to the same place over TLS.
    pub fn to_https() -> Self {
        Self {
            scheme: Some("https".to_owned()),
            host: None,
            port: None,
            path: None,
            status: 308,
        }
    }
}

impl Template {
    /// A template without variables.
    pub fn text(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }
}
