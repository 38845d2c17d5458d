//! Routing: which route takes a request, a raw stream or an unopened TLS connection.
//!
//! A [`Table`] is built once per listener and configuration, and asked for each request. Lookups
//! are by hash for hosts and by binary search for paths, so their cost does not grow with the
//! number of hosts, and they allocate nothing unless a path has escapes that mean nothing.
//!
//! # Precedence
//!
//! The most specific route wins, wherever it stands in the document:
//! 1. host: exact, then the longest wildcard, then any;
//! 2. path: exact, then the longest prefix, by whole segments;
//! 3. a route that names methods before one that does not;
//! 4. more headers before fewer; a route that only redirects to HTTPS counts as one with a header
//!    more, and takes no request that came over TLS;
//! 5. server name (SNI): exact, then wildcard, then any;
//! 6. a route that asks for a client certificate before one that does not;
//! 7. the order in the document.
//!
//! If all routes of the best host fail in path, method, header or certificate, those of the next
//! best are tried, and so on for paths: a request is unroutable only if no route at all matches it.
//!
//! Streams and passthrough have a server name for a host: 5 decides before all else, by the longest
//! wildcard; then a route that names `mqtt` comes before one that takes any bytes, then 6 and 7.
//!
//! # Paths
//!
//! What matches has to be what the endpoint understands, or a route that protects a path could be
//! passed by. So paths are compared as [`normalise`] leaves them, and a path for which
//! [`has_dot_segments`] is true is to be refused before it is matched.

mod condition;
mod explain;
mod hosts;
mod paths;

#[cfg(test)]
mod explain_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod uri_tests;

pub use explain::{Explanation, Query, explain};
pub use hosts::split_authority;
pub use paths::{has_dot_segments, normalise, prefix_len};

use std::cmp::Reverse;

use crate::message::Fields;
use crate::model::{ClientCertMatch, HostPattern, Model, PathPattern, Protocol, Route};
pub(crate) use condition::only_insecure;
use condition::{Condition, SniClass, proves, sni_classes};
use hosts::HostMap;
use paths::PathMap;

/// The place of a route in [`Model::routes`].
pub type RouteIdx = usize;

/// The routes of one listener.
#[derive(Debug)]
pub struct Table {
    http: HostMap<PathMap<Vec<Candidate>>>,
    /// What a request must fulfil besides host and path; a [`Candidate`] points into it.
    conditions: Vec<Condition>,
    streams: HostMap<Vec<Stream>>,
    serves_stream: bool,
    names_mqtt: bool,
    /// Routes that deliver TLS unopened.
    passthrough: HostMap<Option<RouteIdx>>,
    has_passthrough: bool,
}

/// What is known of a request when it is routed.
#[derive(Clone, Copy, Debug)]
pub struct HttpQuery<'a> {
    /// The host without its port, in any case; empty if there is none. See [`split_authority`].
    pub host: &'a [u8],
    /// The path without query; empty for CONNECT, `*` for OPTIONS.
    pub path: &'a [u8],
    /// The method's token.
    pub method: &'a [u8],
    /// The fields, as received.
    pub fields: &'a Fields,
    /// The server name that the client asked for, if it came with TLS and named one.
    pub sni: Option<&'a str>,
    /// The client's certificate, if it was verified.
    pub client_cert: Option<&'a ClientCertFacts>,
    /// The client speaks TLS with us.
    pub secure: bool,
}

/// What a verified client certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertFacts {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// The subject alternative names: DNS names, URIs and email addresses.
    pub sans: Vec<String>,
    /// SHA-256 of the certificate, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// The subject's distinguished name (RFC 4514).
    pub subject: String,
}

impl Table {
    /// Collects the routes that apply to a listener, by its name.
    pub fn for_listener(model: &Model, listener: &str) -> Self {
        let mut table = Self {
            http: HostMap::default(),
            conditions: Vec::new(),
            streams: HostMap::default(),
            serves_stream: false,
            names_mqtt: false,
            passthrough: HostMap::default(),
            has_passthrough: false,
        };
        for (idx, route) in model.routes.iter().enumerate() {
            let listeners = &route.matches.listeners;
            if !listeners.is_empty() && !listeners.iter().any(|name| name == listener) {
                continue;
            }
            if route.passthrough {
                table.add_passthrough(idx, route);
                continue;
            }
            if route.serves_http(&model.upstreams) {
                table.add_http(idx, route);
            }
            if route.serves_tcp(&model.upstreams) {
                table.add_stream(idx, route);
            }
        }
        // Sorting is stable, so the order of the document breaks ties.
        for paths in table.http.values_mut() {
            for list in paths.values_mut() {
                list.sort_by_key(|candidate| Reverse(candidate.rank));
            }
        }
        for list in table.streams.values_mut() {
            list.sort_by_key(|stream| Reverse((stream.only_mqtt, stream.client_cert.is_some())));
        }
        table
    }

    /// The route of a request.
    pub fn match_http(&self, query: &HttpQuery<'_>) -> Option<RouteIdx> {
        let path = normalise(query.path);
        self.http.find(query.host, |paths| {
            paths.find(&path, |list| {
                list.iter().find_map(|candidate| {
                    let condition = self.conditions.get(candidate.condition)?;
                    let holds = condition.holds(candidate.rank.sni, query);
                    holds.then_some(condition.route)
                })
            })
        })
    }

    /// The route of a raw stream. `protocol` is what was detected: [`Protocol::Mqtt`] can take
    /// routes that name it, and like all others those that take any bytes.
    pub fn match_stream(
        &self,
        protocol: Protocol,
        sni: Option<&str>,
        client_cert: Option<&ClientCertFacts>,
    ) -> Option<RouteIdx> {
        self.streams
            .find(sni.unwrap_or_default().as_bytes(), |list| {
                let fits = |stream: &&Stream| {
                    (protocol == Protocol::Mqtt || !stream.only_mqtt)
                        && proves(stream.client_cert.as_ref(), client_cert)
                };
                list.iter().find(fits).map(|stream| stream.route)
            })
    }

    /// The route that delivers a TLS connection unopened; `None` if it is to be terminated here.
    pub fn match_passthrough(&self, sni: Option<&str>) -> Option<RouteIdx> {
        let name = sni.unwrap_or_default().as_bytes();
        self.passthrough.find(name, |route| *route)
    }

    /// True if a request in HTTP can find a route.
    pub fn serves_http(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// True if a raw stream can find a route.
    pub fn serves_stream(&self) -> bool {
        self.serves_stream
    }

    /// True if what arrives in plaintext, or inside TLS, can only be a raw stream and its protocol
    /// makes no difference: nothing has to be detected there.
    pub fn only_stream(&self) -> bool {
        self.serves_stream && !self.names_mqtt && !self.serves_http()
    }

    /// True if there is a route that delivers TLS unopened.
    pub fn has_passthrough(&self) -> bool {
        self.has_passthrough
    }

    fn add_http(&mut self, idx: RouteIdx, route: &Route) {
        let matches = &route.matches;
        let condition = self.conditions.len();
        self.conditions.push(Condition::of(idx, route));
        let any_path = [PathPattern::Prefix(String::new())];
        let paths = if matches.paths.is_empty() {
            &any_path[..]
        } else {
            &matches.paths
        };
        let rank = |sni| Rank {
            names_method: !matches.methods.is_empty(),
            headers: matches.headers.len() + usize::from(only_insecure(route)),
            sni,
            client_cert: matches.client_cert.is_some(),
        };
        for host in or_any(&matches.hosts) {
            for path in paths {
                let list = self.http.entry(host).entry(path);
                for sni in sni_classes(&matches.sni) {
                    let rank = rank(sni);
                    list.push(Candidate { condition, rank });
                }
            }
        }
    }

    fn add_stream(&mut self, idx: RouteIdx, route: &Route) {
        let only_mqtt = route.matches.protocol == Some(Protocol::Mqtt);
        for name in or_any(&route.matches.sni) {
            self.streams.entry(name).push(Stream {
                route: idx,
                only_mqtt,
                client_cert: route.matches.client_cert.clone(),
            });
        }
        self.serves_stream = true;
        self.names_mqtt |= only_mqtt;
    }

    fn add_passthrough(&mut self, idx: RouteIdx, route: &Route) {
        for name in or_any(&route.matches.sni) {
            self.passthrough.entry(name).get_or_insert(idx);
        }
        self.has_passthrough = true;
    }
}

/// A route that is left when host and path match, through one class of its server names.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    condition: usize,
    rank: Rank,
}

/// How specific a candidate is; the order of the fields is the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    names_method: bool,
    headers: usize,
    sni: SniClass,
    client_cert: bool,
}

/// A route that carries bytes.
#[derive(Debug)]
struct Stream {
    route: RouteIdx,
    only_mqtt: bool,
    client_cert: Option<ClientCertMatch>,
}

/// The patterns, or one for everything if there is none.
fn or_any(patterns: &[HostPattern]) -> &[HostPattern] {
    if patterns.is_empty() {
        &[HostPattern::Any]
    } else {
        patterns
    }
}
