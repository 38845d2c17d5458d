//! Upstreams: who the endpoints are, how one is picked, and what happens when one is ill.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{CertificatePair, Name};
use crate::balance::Balance;

/// A named group of endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name.
    pub name: Name,
    /// The endpoints that the configuration names; empty only if they are discovered.
    pub endpoints: Vec<Endpoint>,
    /// Where more of them come from.
    pub discovery: Option<Discovery>,
    /// How one is picked.
    pub balance: Balance,
    /// What the key of `consistent_hash` is made of. Default: the client's address.
    pub hash_by: HashBy,
    /// Clients are kept at one endpoint by a cookie.
    pub sticky: Option<Sticky>,
    /// How long a new endpoint's share grows until it is whole; zero (default) is at once.
    pub slow_start: Duration,
    /// With fewer usable endpoints than this many hundredths, all are used: better a bad endpoint than an
    /// overrun one. Default 0: only when none is left.
    pub panic: u8,
    /// Endpoints are asked whether they are well. Default: they are not.
    pub probe: Option<Probe>,
    /// When an endpoint is ejected for what it did to requests.
    pub outlier: Outlier,
    /// When a request is tried elsewhere.
    pub retry: Retry,
    /// Whether a late request is asked for a second time elsewhere.
    pub hedge: Option<Hedge>,
    /// Caps.
    pub limits: UpstreamLimits,
    /// How TLS is spoken to those that want it.
    pub tls: UpstreamTls,
}

/// One address that can serve. What it is known by is scheme, host and port; the rest may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Name or address, without brackets. A name stands for all its addresses.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Its share beside the others': 0 (no new requests) to 1,000. Default 1.
    pub weight: u32,
    /// Its group; one with a higher number gets requests only if no endpoint of a lower one is usable. Default 0.
    pub priority: u32,
    /// Where it stands; those in Umay's own zone are preferred. Default: anywhere.
    pub zone: Option<String>,
}

impl Endpoint {
    /// An endpoint of weight 1 in the first group.
    pub fn new(scheme: Scheme, host: impl Into<String>, port: u16) -> Self {
        Self {
            scheme,
            host: host.into(),
            port,
            weight: 1,
            priority: 0,
            zone: None,
        }
    }

    /// True if this is the same endpoint, with the same or another weight, group and zone.
    pub fn is(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }
}

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// No scheme: in the protocol that was detected, in plaintext.
    Detected,
    /// `http://`: HTTP/1.1 in plaintext.
    Http,
    /// `https://`: HTTP over TLS, in the version that the endpoint prefers (ALPN).
    Https,
    /// `h2c://`: HTTP/2 in plaintext.
    H2c,
    /// `h2://`: HTTP/2 over TLS.
    H2,
    /// `tcp://`: bytes.
    Tcp,
    /// `tls://`: bytes over TLS.
    Tls,
}

impl Scheme {
    /// True if TLS is spoken to the endpoint.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2 | Self::Tls)
    }

    /// True if an HTTP request can be sent to the endpoint.
    pub fn serves_http(self) -> bool {
        !matches!(self, Self::Tcp | Self::Tls)
    }

    /// True if a raw stream can be sent to the endpoint.
    pub fn serves_tcp(self) -> bool {
        matches!(self, Self::Detected | Self::Tcp | Self::Tls)
    }
}

/// Where endpoints come from, besides the configuration. What it yields replaces what it yielded before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// What is asked.
    pub source: Source,
    /// How endpoints are spoken to if the source does not say. Default: [`Scheme::Detected`].
    pub scheme: Scheme,
    /// TLS towards the registry: authorities, certificate, server name.
    pub tls: UpstreamTls,
}

/// Who knows the endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// SRV records of this name (RFC 2782): host, port, priority and weight.
    Srv(String),
    /// A file, watched: `.json` or TOML, with a list `endpoints` of what `to` takes.
    File(PathBuf),
    /// A service in Consul, by its health API.
    Consul(Consul),
    /// Keys below a prefix in etcd v3, each with an endpoint as its value.
    Etcd(Etcd),
    /// Where the client was headed before the connection was redirected (`SO_ORIGINAL_DST`) or caught (TPROXY).
    OriginalDestination,
}

/// A service in Consul.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consul {
    /// Its name.
    pub service: String,
    /// The agents to ask, as `http://` or `https://` endpoints, in turn. Default: `http://127.0.0.1:8500`.
    pub agents: Vec<Endpoint>,
    /// Only instances with this tag.
    pub tag: Option<String>,
    /// The data centre; default: the agent's own.
    pub datacenter: Option<String>,
    /// File with the ACL token.
    pub token_file: Option<PathBuf>,
}

impl Consul {
    /// All instances of a service, from the agent on this machine.
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            agents: vec![Endpoint::new(Scheme::Http, "127.0.0.1", 8500)],
            tag: None,
            datacenter: None,
            token_file: None,
        }
    }
}

/// A prefix in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// Keys that begin with this.
    pub prefix: String,
    /// The members to ask, as `http://` or `https://` endpoints, in turn. Default: `http://127.0.0.1:2379`.
    pub members: Vec<Endpoint>,
    /// The user, and the file with their password.
    pub login: Option<(String, PathBuf)>,
}

impl Etcd {
    /// A prefix, from the member on this machine.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            members: vec![Endpoint::new(Scheme::Http, "127.0.0.1", 2379)],
            login: None,
        }
    }
}

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Whom to ask instead of the system's servers.
    pub servers: Vec<SocketAddr>,
    /// A name is not asked for more often than this, whatever its TTL. Default 1 s.
    pub min_ttl: Duration,
    /// A name is asked for as often as this, whatever its TTL. Default 30 s.
    pub max_ttl: Duration,
    /// How long one question may take. Default 2 s.
    pub timeout: Duration,
    /// How long the last good answer is used while there is none. Default 10 min.
    pub grace: Duration,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
            grace: Duration::from_secs(600),
        }
    }
}

/// What the key of `consistent_hash` is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashBy {
    /// `client_ip`.
    #[default]
    ClientIp,
    /// `path`: without the query.
    Path,
    /// `sni`: the server name that the client asked for.
    Sni,
    /// `header:NAME`, in lower case. Requests without it are spread by chance.
    Header(String),
    /// `cookie:NAME`. Requests without it are spread by chance.
    Cookie(String),
}

/// A cookie that keeps a client at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// How long the client keeps it; `None` (default) until the browser closes.
    pub max_age: Option<Duration>,
}

/// Asking an endpoint whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// The port; default: the endpoint's own.
    pub port: Option<u16>,
    /// Time between two probes; a fifth more or less, by chance. Default 5 s.
    pub interval: Duration,
    /// How long one may take. Default 2 s.
    pub timeout: Duration,
    /// So many good ones in a row make an endpoint well. Default 2.
    pub rise: u32,
    /// So many bad ones in a row make it ill. Default 3.
    pub fall: u32,
}

impl Probe {
    /// A probe of this kind with everything else at its default.
    pub fn new(kind: ProbeKind) -> Self {
        Self {
            kind,
            port: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
        }
    }
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A connection can be opened.
    Tcp,
    /// TLS can be established, and the certificate verified.
    Tls,
    /// `GET` of a path gets one of these statuses, over TLS if the endpoint's scheme says so.
    Http {
        /// Default `/`.
        path: String,
        /// The Host; default: the endpoint's.
        host: Option<String>,
        /// Inclusive ranges; default 200 to 299.
        expect: Vec<(u16, u16)>,
    },
    /// `grpc.health.v1.Health/Check` says SERVING.
    Grpc {
        /// The service that is asked for; default: the empty name, which is all of it.
        service: String,
    },
}

/// When an endpoint is ejected for what it did to requests (passive health).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// So many gateway failures in a row (no connection, reset, 502, 503, 504). 0 switches it off. Default 5.
    pub consecutive: u32,
    /// Successes in a window below this many hundredths. 0 switches it off. Default 50.
    pub success_rate: u8,
    /// Requests that a window must have before the rate means anything. Default 20.
    pub min_requests: u32,
    /// The window. Default 10 s.
    pub window: Duration,
    /// How long the first ejection lasts; each that follows soon lasts twice as long. A fifth more or less, by chance. Default 10 s.
    pub base: Duration,
    /// How long it lasts at most. Default 300 s.
    pub max: Duration,
    /// Hundredths of the endpoints that may be ejected at a time. Default 50.
    pub max_ejected: u8,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive: 5,
            success_rate: 50,
            min_requests: 20,
            window: Duration::from_secs(10),
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
            max_ejected: 50,
        }
    }
}

/// When a request is tried elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all; 1 switches retries off. Default 5: what five could not do, a sixth will not do before the client
    /// loses patience.
    pub attempts: u32,
    /// Answers that are as good as none, if the method is idempotent. Default 502, 503, 504.
    pub statuses: Vec<u16>,
    /// The wait before the second retry; doubled for each that follows, and random up to that. The first does not wait. Default 25 ms.
    pub backoff: Duration,
    /// Retries may be so many hundredths of the requests of the last ten seconds. Default 20.
    pub budget: u32,
    /// So many retries per second are always allowed. Default 10.
    pub floor: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            statuses: vec![502, 503, 504],
            backoff: Duration::from_millis(25),
            budget: 20,
            floor: 10,
        }
    }
}

/// Whether a late request is asked for a second time elsewhere (Dean and Barroso, The Tail at Scale, 2013).
#[derive(Clone, Debug, PartialEq)]
pub struct Hedge {
    /// It is late when this share of the upstream's requests were answered sooner, in percent. Default 95.
    pub quantile: f64,
    /// It is not late before this. Default 10 ms.
    pub min_delay: Duration,
}

impl Default for Hedge {
    fn default() -> Self {
        Self {
            quantile: 95.0,
            min_delay: Duration::from_millis(10),
        }
    }
}

/// Caps towards endpoints. `None` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Connections to one endpoint, in use or not.
    pub endpoint_connections: Option<u32>,
    /// Requests and streams in flight at one endpoint.
    pub endpoint_requests: Option<u32>,
    /// Requests and streams in flight at all endpoints.
    pub requests: Option<u32>,
    /// Requests that wait for room, by the whole process. Default 1,024.
    pub queue: u32,
    /// How long they wait. Default 3 s.
    pub queue_timeout: Duration,
    /// The cap on requests in flight is found out from their latency, between this and [`Self::requests`].
    pub adaptive: bool,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            endpoint_connections: None,
            endpoint_requests: None,
            requests: None,
            queue: 1024,
            queue_timeout: Duration::from_secs(3),
            adaptive: false,
        }
    }
}

/// TLS towards endpoints. Verified against the system's roots unless told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM file of certificate authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM file of revocation lists.
    pub crl: Option<PathBuf>,
    /// Server name to ask for and to verify; default: the endpoint's host.
    pub sni: Option<String>,
    /// Certificate to show to the endpoint.
    pub client: Option<CertificatePair>,
    /// `dangerous_accept_any_certificate`: encrypts but does not verify. Default: false.
    pub accept_any: bool,
}

impl Upstream {
    /// An upstream of these endpoints with everything else at its default.
    pub fn new(name: impl Into<Name>, endpoints: Vec<Endpoint>) -> Self {
        Self {
            name: name.into(),
            endpoints,
            discovery: None,
            balance: Balance::default(),
            hash_by: HashBy::default(),
            sticky: None,
            slow_start: Duration::ZERO,
            panic: 0,
            probe: None,
            outlier: Outlier::default(),
            retry: Retry::default(),
            hedge: None,
            limits: UpstreamLimits::default(),
            tls: UpstreamTls::default(),
        }
    }

    /// Schemes that its endpoints have or can have.
    pub fn schemes(&self) -> impl Iterator<Item = Scheme> {
        let own = self.endpoints.iter().map(|endpoint| endpoint.scheme);
        own.chain(self.discovery.iter().map(|discovery| discovery.scheme))
    }
}
