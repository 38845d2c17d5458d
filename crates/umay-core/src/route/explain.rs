//! Why a route is taken, and why every other is not: for people, not for the path of a request.
//!
//! Which one is taken comes from the [`Table`] itself. The conditions are then looked at one by one
//! for the words; a test holds that both say the same.

use super::condition::{class_of, proves};
use super::hosts::fits;
use super::{ClientCertFacts, HttpQuery, RouteIdx, SniClass, Table, only_insecure, or_any};
use super::{normalise, prefix_len};
use crate::model::{ClientCertMatch, HostPattern, Model, PathPattern, Protocol, Route};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Query<'a> {
    /// A request.
    Http(&'a HttpQuery<'a>),
    /// A raw stream, as [`Table::match_stream`] takes it.
    Stream {
        /// What was detected.
        protocol: Protocol,
        /// The server name that the client asked for.
        sni: Option<&'a str>,
        /// The client's certificate, if it was verified.
        client_cert: Option<&'a ClientCertFacts>,
    },
    /// A TLS connection, before it is opened.
    Passthrough {
        /// The server name that the client asked for.
        sni: Option<&'a str>,
    },
}

/// What became of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The route that is taken.
    pub taken: Option<RouteIdx>,
    /// All others in the order of the document, each with why it is not: a sentence for each
    /// condition that fails, or for what comes before it.
    pub others: Vec<(RouteIdx, Vec<String>)>,
}

/// Explains what one listener does with a query.
pub fn explain(model: &Model, listener: &str, query: Query<'_>) -> Explanation {
    let table = Table::for_listener(model, listener);
    let taken = match query {
        Query::Http(query) => table.match_http(query),
        Query::Stream {
            protocol,
            sni,
            client_cert,
        } => table.match_stream(protocol, sni, client_cert),
        Query::Passthrough { sni } => table.match_passthrough(sni),
    };
    let winner = taken.and_then(|idx| Some((idx, model.routes.get(idx)?)));
    let routes = model.routes.iter().enumerate();
    let others = routes.filter(|(idx, _)| Some(*idx) != taken);
    let why = |(idx, route): (RouteIdx, &Route)| {
        let mut whys = failures(model, listener, route, query);
        if let (true, Some(winner)) = (whys.is_empty(), winner) {
            whys.push(precedence((idx, route), winner, query));
        }
        (idx, whys)
    };
    Explanation {
        taken,
        others: others.map(why).collect(),
    }
}

/// The conditions of a route that a query does not fulfil.
fn failures(model: &Model, listener: &str, route: &Route, query: Query<'_>) -> Vec<String> {
    let mut whys = Vec::new();
    let listeners = &route.matches.listeners;
    if !listeners.is_empty() && !listeners.iter().any(|name| name == listener) {
        whys.push(format!("it is only for {}", any_of("listener", listeners)));
    }
    match query {
        Query::Http(query) => of_request(&mut whys, model, route, query),
        Query::Stream {
            protocol,
            sni,
            client_cert,
        } => {
            if route.passthrough {
                whys.push("it delivers TLS unopened".to_owned());
            } else if !route.serves_tcp(&model.upstreams) {
                whys.push("it takes only HTTP".to_owned());
            }
            if route.matches.protocol == Some(Protocol::Mqtt) && protocol != Protocol::Mqtt {
                whys.push("it takes only MQTT".to_owned());
            }
            server_name(&mut whys, route, sni);
            certificate(&mut whys, route.matches.client_cert.as_ref(), client_cert);
        }
        Query::Passthrough { sni } => {
            if !route.passthrough {
                whys.push("TLS is opened for it".to_owned());
            }
            server_name(&mut whys, route, sni);
        }
    }
    whys
}

fn of_request(whys: &mut Vec<String>, model: &Model, route: &Route, query: &HttpQuery<'_>) {
    let matches = &route.matches;
    if route.passthrough {
        whys.push("it delivers TLS unopened".to_owned());
    } else if !route.serves_http(&model.upstreams) {
        whys.push("it carries raw streams".to_owned());
    }
    if best_host(&matches.hosts, query.host).is_none() {
        whys.push(format!(
            "host is not {}",
            list(matches.hosts.iter().map(host))
        ));
    }
    if best_path(&matches.paths, query.path).is_none() {
        let path = shown(query.path);
        let (exact, below): (Vec<_>, Vec<_>) = matches
            .paths
            .iter()
            .partition(|path| matches!(path, PathPattern::Exact(_)));
        let part = |what: &str, paths: Vec<&PathPattern>| {
            let names = list(paths.into_iter().map(|path| match path {
                PathPattern::Exact(path) => path.clone(),
                PathPattern::Prefix(path) => path.clone(),
            }));
            (!names.is_empty()).then(|| format!("{what}{names}"))
        };
        let parts = [part("", exact), part("below ", below)];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        whys.push(format!("path {path} is not {}", parts.join(" or ")));
    }
    let is_method = |method: &String| method.as_bytes() == query.method;
    if !matches.methods.is_empty() && !matches.methods.iter().any(is_method) {
        let (method, names) = (shown(query.method), list(matches.methods.iter().cloned()));
        whys.push(format!("method {method} is not {names}"));
    }
    for header in &matches.headers {
        let mut values = query
            .fields
            .iter()
            .filter(|(_, name, _)| name.eq_ignore_ascii_case(header.name.as_bytes()))
            .map(|(.., value)| value)
            .peekable();
        let name = &header.name;
        // A value may be a secret, so it is not told.
        if values.peek().is_none() {
            whys.push(format!("header {name} is not there"));
        } else if let Some(wanted) = &header.value
            && !values.any(|value| value == wanted.as_bytes())
        {
            whys.push(format!("header {name} has another value"));
        }
    }
    if only_insecure(route) && query.secure {
        whys.push("it sends clients to HTTPS, and this one is there".to_owned());
    }
    server_name(whys, route, query.sni);
    certificate(whys, matches.client_cert.as_ref(), query.client_cert);
}

fn server_name(whys: &mut Vec<String>, route: &Route, sni: Option<&str>) {
    let patterns = &route.matches.sni;
    if best_host(patterns, sni.unwrap_or_default().as_bytes()).is_none() {
        whys.push(match sni {
            Some(_) => format!("server name is not {}", list(patterns.iter().map(host))),
            None => format!(
                "there is no server name, as {}",
                list(patterns.iter().map(host))
            ),
        });
    }
}

fn certificate(
    whys: &mut Vec<String>,
    asked: Option<&ClientCertMatch>,
    facts: Option<&ClientCertFacts>,
) {
    if proves(asked, facts) {
        return;
    }
    let Some(asked) = asked.filter(|_| facts.is_some()) else {
        whys.push("the client shows no certificate".to_owned());
        return;
    };
    let parts = [
        ("common name", &asked.common_name),
        ("alternative name", &asked.san),
        ("fingerprint", &asked.sha256),
    ];
    let told = parts
        .into_iter()
        .filter_map(|(what, value)| Some(format!("{what} {}", value.as_ref()?)));
    let told: Vec<_> = told.collect();
    whys.push(format!(
        "the client's certificate has not {}",
        told.join(", ")
    ));
}

/// How specific the best pattern is that fits.
type HostRank = (SniClass, usize);

fn best_host(patterns: &[HostPattern], name: &[u8]) -> Option<HostRank> {
    let name = String::from_utf8_lossy(name);
    let name = name.strip_suffix('.').unwrap_or(&name);
    let rank = |pattern: &HostPattern| {
        let length = match pattern {
            HostPattern::Wildcard(parent) => parent.len(),
            HostPattern::Any | HostPattern::Exact(_) => 0,
        };
        fits(pattern, name).then(|| (class_of(pattern), length))
    };
    or_any(patterns).iter().filter_map(rank).max()
}

fn best_path(patterns: &[PathPattern], path: &[u8]) -> Option<(bool, usize)> {
    let rank = |pattern: &PathPattern| match pattern {
        PathPattern::Exact(exact) => {
            let same = normalise(exact.as_bytes()) == normalise(path);
            same.then_some((true, 0))
        }
        // All there is, also `*` and nothing.
        PathPattern::Prefix(prefix) if prefix.is_empty() => Some((false, 0)),
        PathPattern::Prefix(prefix) => {
            let length = normalise(prefix.as_bytes()).len();
            prefix_len(path, prefix).map(|_| (false, length))
        }
    };
    match patterns {
        [] => Some((false, 0)),
        patterns => patterns.iter().filter_map(rank).max(),
    }
}

/// Why another route is taken before one that would take the query, too.
fn precedence(
    (idx, route): (RouteIdx, &Route),
    (first, winner): (RouteIdx, &Route),
    query: Query<'_>,
) -> String {
    let sni = |route: &Route, sni: Option<&str>| {
        best_host(&route.matches.sni, sni.unwrap_or_default().as_bytes())
    };
    let cert = |route: &Route| route.matches.client_cert.is_some();
    let differs = match query {
        Query::Http(query) => {
            let host = |route: &Route| best_host(&route.matches.hosts, query.host);
            let path = |route: &Route| best_path(&route.matches.paths, query.path);
            let methods = |route: &Route| !route.matches.methods.is_empty();
            let headers =
                |route: &Route| route.matches.headers.len() + usize::from(only_insecure(route));
            let class = |route: &Route| sni(route, query.sni).map(|(class, _)| class);
            [
                (host(winner) != host(route), "its host is more specific"),
                (path(winner) != path(route), "its path is more specific"),
                (methods(winner) != methods(route), "it names the method"),
                (
                    headers(winner) != headers(route),
                    "it asks for more headers",
                ),
                (
                    class(winner) != class(route),
                    "its server name is more specific",
                ),
                (
                    cert(winner) != cert(route),
                    "it asks for a client certificate",
                ),
            ]
            .into_iter()
            .find_map(|(differs, what)| differs.then_some(what))
        }
        Query::Stream { sni: name, .. } => {
            let mqtt = |route: &Route| route.matches.protocol == Some(Protocol::Mqtt);
            [
                (
                    sni(winner, name) != sni(route, name),
                    "its server name is more specific",
                ),
                (mqtt(winner) != mqtt(route), "it names MQTT"),
                (
                    cert(winner) != cert(route),
                    "it asks for a client certificate",
                ),
            ]
            .into_iter()
            .find_map(|(differs, what)| differs.then_some(what))
        }
        Query::Passthrough { sni: name } => {
            let differs = sni(winner, name) != sni(route, name);
            differs.then_some("its server name is more specific")
        }
    };
    let fallback = match first < idx {
        true => "it comes first in the document",
        false => "it is more specific",
    };
    format!(
        "route `{}` is taken before it: {}",
        winner.name,
        differs.unwrap_or(fallback)
    )
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(parent) => format!("*.{parent}"),
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn list(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(" or ")
}

fn any_of(what: &str, names: &[String]) -> String {
    let quoted = names.iter().map(|name| format!("`{name}`"));
    format!("{what} {}", list(quoted))
}
