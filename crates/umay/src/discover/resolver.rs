//! Names to addresses: by the system's configuration, read again when it changes, or by servers that
//! are given.
//!
//! Nothing is remembered here but the servers' speed: who asks follows the TTL.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tokio::sync::Semaphore;
use umay_core::model;

use super::entry::can_be_reached;
use super::watch::read_file;
use crate::stamp::{Stamp, stamp};

/// Names that are looked up at a time, by all upstreams together.
const AT_A_TIME: usize = 64;

/// The bytes of the system's files that are read; more are no configuration.
const MAX_FILE: u64 = 1024 * 1024;

/// Looks names up. One is shared by all upstreams of a runtime.
#[derive(Debug)]
pub struct Resolver {
    dns: model::Dns,
    resolv_conf: PathBuf,
    hosts: PathBuf,
    now: Mutex<Option<(Stamps, Arc<Now>)>>,
    places: Semaphore,
}

/// What a name has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) v4: Family,
    pub(super) v6: Family,
    /// How long that is good for.
    pub(super) ttl: Duration,
}

/// The addresses of one kind, perhaps none, or why they are not known.
pub(super) type Family = Result<Vec<IpAddr>, String>;

/// What was read of the system.
#[derive(Debug)]
struct Now {
    hosts: Hosts,
    /// Or why no server can be asked.
    asking: Result<Asking, String>,
}

#[derive(Debug)]
struct Asking {
    resolver: TokioResolver,
    search: Vec<Name>,
    /// A name with so many dots is tried as it is before the search list is (resolv.conf(5)).
    ndots: usize,
}

/// Of the servers' file and of the hosts' file.
type Stamps = (Stamp, Stamp);

/// One answer of one kind.
enum Answer {
    Records(Lookup),
    /// The name has no such records, or is not there.
    Nothing(String),
    Failure(String),
}

impl Resolver {
    /// A resolver with these settings. The system's file of hosts counts before any server. What is wrong with the system's files is told when a name is looked
    /// up, since they may be repaired until then.
    pub fn new(dns: &model::Dns) -> Arc<Self> {
        Self::with_files(dns, "/etc/resolv.conf", "/etc/hosts")
    }

    pub(super) fn with_files(
        dns: &model::Dns,
        resolv_conf: impl Into<PathBuf>,
        hosts: impl Into<PathBuf>,
    ) -> Arc<Self> {
        Arc::new(Self {
            dns: dns.clone(),
            resolv_conf: resolv_conf.into(),
            hosts: hosts.into(),
            now: Mutex::default(),
            places: Semaphore::new(AT_A_TIME),
        })
    }

    /// The settings.
    pub(super) fn dns(&self) -> &model::Dns {
        &self.dns
    }

    /// The addresses of a name, without duplicates, in order, and without those that nobody can be reached
    /// at. A name that has none at all is an error.
    pub(super) async fn addresses(&self, name: &str) -> Result<Addresses, String> {
        let parsed = Name::from_str(name).map_err(|_| format!("`{name}` is no host name"))?;
        let now = self.now();
        if let Some(addresses) = self.static_addresses(&now.hosts, &parsed) {
            return Ok(addresses);
        }
        let asking = now.asking.as_ref().map_err(Clone::clone)?;
        let mut nothing = format!("`{name}` has no addresses");
        for candidate in asking.candidates(parsed) {
            // Together, so that one that is never answered costs its time once.
            let (v4, v6) = tokio::join!(
                self.ask(asking, &candidate, RecordType::A),
                self.ask(asking, &candidate, RecordType::AAAA)
            );
            let ttl = [&v4, &v6].into_iter().filter_map(Answer::ttl).min();
            match (v4, v6) {
                (Answer::Nothing(why), Answer::Nothing(_)) => nothing = why,
                // Whether this is the name that is meant cannot be known now, so no other is tried.
                (Answer::Failure(why), Answer::Failure(_) | Answer::Nothing(_))
                | (Answer::Nothing(_), Answer::Failure(why)) => return Err(why),
                (v4, v6) => {
                    let ttl = ttl.unwrap_or_default();
                    return Ok(Addresses {
                        v4: v4.family(),
                        v6: v6.family(),
                        ttl: self.clamp(ttl),
                    });
                }
            }
        }
        Err(nothing)
    }

    /// The SRV records of a name, and how long they are good for.
    pub(super) async fn srv(&self, name: &str) -> Result<(Vec<SRV>, Duration), String> {
        let parsed = Name::from_str(name).map_err(|_| format!("`{name}` is no host name"))?;
        let now = self.now();
        let asking = now.asking.as_ref().map_err(Clone::clone)?;
        let mut nothing = format!("`{name}` has no SRV records");
        for candidate in asking.candidates(parsed) {
            match self.ask(asking, &candidate, RecordType::SRV).await {
                Answer::Nothing(why) => nothing = why,
                Answer::Failure(why) => return Err(why),
                Answer::Records(lookup) => {
                    let ttl = self.clamp(remaining(&lookup));
                    let records = lookup.answers().iter();
                    let srv = records.filter_map(|record| match &record.data {
                        RData::SRV(srv) => Some(srv.clone()),
                        _ => None,
                    });
                    return Ok((srv.collect(), ttl));
                }
            }
        }
        Err(nothing)
    }

    fn clamp(&self, ttl: Duration) -> Duration {
        ttl.min(self.dns.max_ttl).max(self.dns.min_ttl)
    }

    /// What the file of hosts says, which is all that counts if it says anything.
    fn static_addresses(&self, hosts: &Hosts, name: &Name) -> Option<Addresses> {
        let mut name = name.clone();
        name.set_fqdn(true);
        let find = |kind| {
            let lookup = hosts.lookup_static_host(&Query::query(name.clone(), kind))?;
            Some(addresses(&lookup))
        };
        let (v4, v6) = (find(RecordType::A), find(RecordType::AAAA));
        if v4.is_none() && v6.is_none() {
            return None;
        }
        Some(Addresses {
            v4: Ok(v4.unwrap_or_default()),
            v6: Ok(v6.unwrap_or_default()),
            ttl: self.dns.max_ttl,
        })
    }

    /// One question to the servers, within the time that it may take.
    async fn ask(&self, asking: &Asking, name: &Name, kind: RecordType) -> Answer {
        let shown = name.to_ascii();
        let shown = shown.trim_end_matches('.');
        // It is never closed.
        let _place = self.places.acquire().await;
        let wait = self.dns.timeout;
        let asked = asking.resolver.lookup(name.clone(), kind);
        match tokio::time::timeout(wait, asked).await {
            Err(_) | Ok(Err(NetError::Timeout)) => {
                Answer::Failure(format!("no answer about `{shown}` in {wait:?}"))
            }
            Ok(Ok(lookup)) if lookup.answers().iter().any(|r| r.record_type() == kind) => {
                Answer::Records(lookup)
            }
            Ok(Ok(_)) => Answer::Nothing(format!("`{shown}` has no {kind} records")),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords {
                response_code, ..
            })))) => match response_code {
                ResponseCode::NXDomain => Answer::Nothing(format!("`{shown}` does not exist")),
                ResponseCode::NoError => {
                    Answer::Nothing(format!("`{shown}` has no {kind} records"))
                }
                code => Answer::Failure(format!("asked for `{shown}`: {code}")),
            },
            Ok(Err(NetError::NoConnections)) => {
                Answer::Failure("no name server can be reached".to_owned())
            }
            Ok(Err(NetError::Dns(DnsError::ResponseCode(code)))) => {
                Answer::Failure(format!("asked for `{shown}`: {code}"))
            }
            Ok(Err(error)) => Answer::Failure(format!("asked for `{shown}`: {error}")),
        }
    }

    /// What is to be asked now: read again if the files are others than last time.
    fn now(&self) -> Arc<Now> {
        let given = !self.dns.servers.is_empty();
        let resolv_conf = if given {
            None
        } else {
            stamp(&self.resolv_conf)
        };
        let stamps = (resolv_conf, stamp(&self.hosts));
        let mut held = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, now)) = &*held
            && *then == stamps
        {
            return Arc::clone(now);
        }
        let now = Arc::new(self.read());
        *held = Some((stamps, Arc::clone(&now)));
        now
    }

    fn read(&self) -> Now {
        let mut hosts = Hosts::default();
        let text = read_file(&self.hosts, MAX_FILE).unwrap_or_default();
        if let Err(error) = hosts.read_hosts_conf(&*text) {
            tracing::warn!(%error, "the file of hosts cannot be read to its end");
        }
        Now {
            hosts,
            asking: self.asking(),
        }
    }

    fn asking(&self) -> Result<Asking, String> {
        let (config, mut options) = if self.dns.servers.is_empty() {
            let file = self.resolv_conf.display();
            let text =
                read_file(&self.resolv_conf, MAX_FILE).map_err(|e| format!("{file}: {e}"))?;
            system_conf::parse_resolv_conf(text).map_err(|e| format!("{file}: {e}"))?
        } else {
            let servers = self.dns.servers.iter().copied().map(server);
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            (config, ResolverOpts::default())
        };
        options.timeout = self.dns.timeout;
        // A question that is lost is sent again within its time anyhow; who asks comes again.
        options.attempts = 0;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let ndots = options.ndots;
        // Without `search` it is the domain of the host's own name (resolv.conf(5)).
        let search = match (&config.search[..], &config.domain) {
            ([], domain) => domain.clone().into_iter().collect(),
            (search, _) => search.to_vec(),
        };
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Asking {
            resolver,
            search,
            ndots,
        })
    }
}

impl Asking {
    /// The full names that a name may stand for, in the order in which they are to be tried.
    fn candidates(&self, mut name: Name) -> Vec<Name> {
        if name.is_fqdn() {
            return vec![name];
        }
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let searched = self.search.iter();
        let searched = searched.filter_map(|domain| {
            let mut full = name.clone().append_domain(domain).ok()?;
            full.set_fqdn(true);
            Some(full)
        });
        let mut candidates: Vec<Name> = searched.collect();
        let first = dots >= self.ndots || name.is_localhost();
        name.set_fqdn(true);
        candidates.insert(if first { 0 } else { candidates.len() }, name);
        candidates
    }
}

impl Answer {
    fn ttl(&self) -> Option<Duration> {
        match self {
            Self::Records(lookup) => Some(remaining(lookup)),
            _ => None,
        }
    }

    fn family(self) -> Family {
        match self {
            Self::Records(lookup) => Ok(addresses(&lookup)),
            Self::Nothing(_) => Ok(Vec::new()),
            Self::Failure(why) => Err(why),
        }
    }
}

fn remaining(lookup: &Lookup) -> Duration {
    lookup
        .valid_until()
        .saturating_duration_since(Instant::now())
}

fn addresses(lookup: &Lookup) -> Vec<IpAddr> {
    let records = lookup.answers().iter();
    // An IPv4 address in an IPv6 one is the same place.
    let ips = records.filter_map(|record| Some(record.data.ip_addr()?.to_canonical()));
    let mut ips: Vec<IpAddr> = ips.filter(can_be_reached).collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

#[cfg(test)]
mod tests {
    use umay_test::TempDir;

    use super::*;

    fn candidates(conf: &str, name: &str) -> Vec<String> {
        let dir = TempDir::new();
        let conf = dir.write("resolv.conf", format!("nameserver 127.0.0.1\n{conf}\n"));
        let resolver = Resolver::with_files(&model::Dns::default(), conf, "/dev/null");
        let now = resolver.now();
        let asking = now.asking.as_ref().unwrap();
        let names = asking.candidates(Name::from_str(name).unwrap());
        names.iter().map(Name::to_ascii).collect()
    }

    /// As resolv.conf(5) has it.
    #[test]
    fn names_are_searched_for() {
        let search = "search a.test b.test";
        let many = "search a.test\noptions ndots:3";
        for (conf, name, expected) in [
            (search, "x", &["x.a.test.", "x.b.test.", "x."][..]),
            (search, "x.y", &["x.y.", "x.y.a.test.", "x.y.b.test."]),
            (search, "x.y.", &["x.y."]),
            (
                search,
                "localhost",
                &["localhost.", "localhost.a.test.", "localhost.b.test."],
            ),
            (many, "x.y.z", &["x.y.z.a.test.", "x.y.z."]),
            (many, "w.x.y.z", &["w.x.y.z.", "w.x.y.z.a.test."]),
            ("domain c.test", "x", &["x.c.test.", "x."]),
        ] {
            assert_eq!(candidates(conf, name), expected, "{conf}: {name}");
        }
    }
}
