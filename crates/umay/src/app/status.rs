//! What `/status` tells: the process, its listeners and routes, and its upstreams as they are now.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use umay_core::reason::Reason;

use super::{Plan, problems};
use crate::conn::unix_now;
use crate::site::{Route, Site};
use crate::telemetry::access::rfc3339;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Registry;
use crate::tls::ServerTls;
use crate::upstream::Upstream;

/// Makes the document, anew each time that it is called.
pub(super) type Status = Arc<dyn Fn() -> Value + Send + Sync>;

/// What it tells of the configuration that is served.
pub(super) struct Shown {
    upstreams: Arc<[Arc<Upstream>]>,
    sites: Vec<Arc<Site>>,
    listening: Vec<(String, SocketAddr)>,
    /// Since when it is served, in seconds since 1970.
    since: u64,
    /// Why the last one that was read is not this one.
    pub(super) refused: Option<String>,
}

impl Shown {
    pub(super) fn of(plan: &Plan, listening: &[(String, SocketAddr)]) -> Self {
        Self {
            upstreams: Arc::clone(&plan.upstreams),
            sites: plan.sites.clone(),
            listening: listening.to_vec(),
            since: unix_now(),
            refused: None,
        }
    }

    /// The same, and that another configuration was refused.
    pub(super) fn refusing(&self, why: &str) -> Self {
        Self {
            upstreams: Arc::clone(&self.upstreams),
            sites: self.sites.clone(),
            listening: self.listening.clone(),
            since: self.since,
            refused: Some(why.to_owned()),
        }
    }
}

/// The status of a process. Its fields are told in docs/status.md, which a test holds.
pub(super) fn status(plan: &Plan, health: &Health, shown: &Arc<ArcSwap<Shown>>) -> Status {
    let (started, since, health) = (Instant::now(), unix_now(), health.clone());
    let (workers, registry) = (plan.workers, Arc::clone(&plan.registry));
    let shown = Arc::clone(shown);
    Arc::new(move || {
        let shown = shown.load_full();
        let uptime = started.elapsed();
        let (served, refused) = registry.reloads_told();
        let mut document = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "started": rfc3339(since),
            "uptime_s": uptime.as_secs(),
            "uptime_ms": u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            "stage": health.stage().as_str(),
            "problems": [],
            "config": {
                "since": rfc3339(shown.since),
                "refused": shown.refused,
                "reloads": { "served": served, "refused": refused },
            },
            "workers": workers,
            "process": registry.process_told(),
            "connections": registry.open_connections(),
            "totals": registry.totals_told(),
            "reasons": {},
            "latency_bounds_ms": Registry::latency_bounds().collect::<Vec<_>>(),
            "listeners": listeners(&shown),
            "routes": routes(&shown.sites),
            "upstreams": shown.upstreams.iter().map(|u| upstream(u)).collect::<Vec<_>>(),
            "certificates": certificates(&shown.sites, unix_now()),
            "certificates_count": tls(&shown.sites).map(|tls| tls.certificates().len()).sum::<usize>(),
            "certificates_unfit": unfit(&shown.sites),
        });
        let reasons = reasons(&document);
        if let Some(place) = document.get_mut("reasons") {
            *place = reasons;
        }
        let problems = problems::problems(&document);
        if let Some(place) = document.get_mut("problems") {
            *place = Value::Array(problems);
        }
        document
    })
}

/// What the words of reasons mean that stand in a document.
fn reasons(document: &Value) -> Value {
    let upstreams = document.get("upstreams").and_then(Value::as_array);
    let attempts = upstreams.into_iter().flatten();
    let attempts = attempts.filter_map(|upstream| upstream.get("attempts"));
    let counted = ["/totals/refusals", "/totals/streams/ended"].map(|at| document.pointer(at));
    let counted: Vec<_> = counted.into_iter().flatten().chain(attempts).collect();
    let told = Reason::ALL.iter().filter(|reason| {
        let mut counted = counted.iter();
        counted.any(|words| words.get(reason.as_str()).is_some())
    });
    let told = told.map(|reason| (reason.as_str().to_owned(), reason.what().into()));
    Value::Object(told.collect())
}

fn listeners(shown: &Shown) -> Vec<Value> {
    let sites = shown.sites.iter().zip(&shown.listening);
    let listeners = sites.map(|(site, (name, address))| {
        let serves = |route: &&Route| {
            let only = &route.model.matches.listeners;
            only.is_empty() || only.contains(name)
        };
        let kinds = [
            ("http", site.table.serves_http()),
            ("tcp", site.table.serves_stream()),
        ];
        let kinds = kinds.into_iter().filter(|(_, does)| *does);
        json!({
            "name": name,
            "addr": address.to_string(),
            "tls": site.tls.is_some(),
            "serves": kinds.map(|(kind, _)| kind).collect::<Vec<_>>(),
            "routes": site.routes().iter().filter(serves).count(),
            "certificates": site.tls.as_ref().map_or(0, |tls| tls.certificates().count()),
        })
    });
    listeners.collect()
}

/// All sites have the same routes.
fn routes(sites: &[Arc<Site>]) -> Vec<Value> {
    let routes = sites.first().map(|site| site.routes()).unwrap_or_default();
    let routes = routes.iter().map(|route| {
        let mut told = members(json!({
            "name": route.model.name,
            "matches": route.model.matches.to_string(),
            "to": route.model.action.to_string(),
        }));
        route.metrics.tell(&mut told);
        Value::Object(told)
    });
    routes.collect()
}

/// An upstream and its endpoints as they are now.
pub(super) fn upstream(upstream: &Upstream) -> Value {
    let roster = upstream.roster();
    let now = upstream.now();
    let endpoints = roster.members.iter().map(|member| member.told(now));
    let problem = (!roster.problem.is_empty()).then_some(&roster.problem);
    let age = upstream.discovery.age().map(|age| age.as_secs());
    let in_flight = roster.members.iter().map(|m| m.endpoint.in_flight());
    let mut told = members(json!({
        "name": upstream.name,
        "balance": upstream.model.balance.as_str(),
        "discovery": { "known": roster.known, "problem": problem, "age_s": age },
        "in_flight": in_flight.sum::<u64>(),
    }));
    upstream.metrics.tell(&mut told);
    told.insert("endpoints".to_owned(), endpoints.collect());
    Value::Object(told)
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Certificates that are told of one by one, those that end first.
const CERTIFICATES: usize = 100;

fn tls(sites: &[Arc<Site>]) -> impl Iterator<Item = &ServerTls> {
    sites.iter().filter_map(|site| site.tls.as_deref())
}

fn certificates(sites: &[Arc<Site>], now: u64) -> Vec<Value> {
    let mut certificates: Vec<_> = tls(sites).flat_map(ServerTls::certificates).collect();
    certificates.sort_by_key(|certificate| certificate.not_after);
    let certificates = certificates.into_iter().take(CERTIFICATES);
    let certificates = certificates.map(|certificate| {
        json!({
            "names": certificate.names,
            "not_after": rfc3339(certificate.not_after),
            "days_left": days_left(certificate.not_after, now),
            "files": [certificate.cert_file, certificate.key_file],
        })
    });
    certificates.collect()
}

/// Whole days; below zero from the moment that it is over.
fn days_left(not_after: u64, now: u64) -> i64 {
    let seconds = i64::try_from(not_after).unwrap_or(i64::MAX);
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    seconds.saturating_sub(now).div_euclid(86_400)
}

fn unfit(sites: &[Arc<Site>]) -> Vec<String> {
    let unfit = tls(sites).flat_map(ServerTls::unfit);
    unfit
        .take(CERTIFICATES)
        .map(|problem| problem.to_string())
        .collect()
}
