//! What `/status` tells: the process, its listeners and routes, and its upstreams as they are now.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use umay_core::model::Model;

use super::Plan;
use crate::conn::unix_now;
use crate::site::Site;
use crate::telemetry::access::rfc3339;
use crate::telemetry::health::Health;
use crate::tls::ServerTls;
use crate::upstream::{Member, Upstream};

/// Makes the document, anew each time that it is called.
pub(super) type Status = Arc<dyn Fn() -> Value + Send + Sync>;

/// What it tells of the configuration that is served.
pub(super) struct Shown {
    upstreams: Arc<[Arc<Upstream>]>,
    sites: Vec<Arc<Site>>,
    listening: Vec<(String, SocketAddr)>,
    routes: Value,
    /// Since when it is served, in seconds since 1970.
    since: u64,
    /// Why the last one that was read is not this one.
    pub(super) refused: Option<String>,
}

impl Shown {
    pub(super) fn of(model: &Model, plan: &Plan, listening: &[(String, SocketAddr)]) -> Self {
        let routes = model
            .routes
            .iter()
            .map(|route| json!({ "name": route.name, "to": route.action.to_string() }));
        Self {
            upstreams: Arc::clone(&plan.upstreams),
            sites: plan.sites.clone(),
            listening: listening.to_vec(),
            routes: Value::Array(routes.collect()),
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
            routes: self.routes.clone(),
            since: self.since,
            refused: Some(why.to_owned()),
        }
    }
}

/// The status of a process.
pub(super) fn status(plan: &Plan, health: &Health, shown: &Arc<ArcSwap<Shown>>) -> Status {
    let (started, health) = (Instant::now(), health.clone());
    let (workers, registry) = (plan.workers, Arc::clone(&plan.registry));
    let shown = Arc::clone(shown);
    Arc::new(move || {
        let shown = shown.load_full();
        let sites = shown.sites.iter().zip(&shown.listening);
        let listeners = sites.map(|(site, (name, address))| {
            json!({ "name": name, "addr": address.to_string(), "tls": site.tls.is_some() })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": started.elapsed().as_secs(),
            "stage": health.stage().as_str(),
            "config": { "since": rfc3339(shown.since), "refused": shown.refused },
            "workers": workers,
            "connections": registry.open_connections(),
            "listeners": listeners.collect::<Vec<_>>(),
            "routes": shown.routes,
            "upstreams": shown.upstreams.iter().map(|u| upstream(u)).collect::<Vec<_>>(),
            "certificates": certificates(&shown.sites),
            "certificates_count": tls(&shown.sites).map(|tls| tls.certificates().len()).sum::<usize>(),
            "certificates_unfit": unfit(&shown.sites),
        })
    })
}

fn upstream(upstream: &Upstream) -> Value {
    let roster = upstream.roster();
    let now = upstream.now();
    let endpoints = roster.members.iter().map(|member| endpoint(member, now));
    let problem = (!roster.problem.is_empty()).then_some(&roster.problem);
    let age = upstream.discovery.age().map(|age| age.as_secs());
    json!({
        "name": upstream.name,
        "balance": upstream.model.balance.as_str(),
        "discovery": { "known": roster.known, "problem": problem, "age_s": age },
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn endpoint(member: &Member, now: u64) -> Value {
    let (endpoint, terms) = (&member.endpoint, &member.terms);
    let latency = endpoint.latency(now);
    // Nothing is known of one that was not asked for a while.
    let latency = (latency > 0.0).then(|| latency.round() / 1000.0);
    json!({
        "address": endpoint.label,
        "standing": member.standing.as_str(),
        "why": member.why,
        "weight": terms.weight,
        "priority": terms.priority,
        "zone": terms.zone,
        "in_flight": endpoint.in_flight(),
        "latency_ms": latency,
        "picks": endpoint.metrics.sum(|shard| &shard.picks),
        "failures": endpoint.metrics.sum(|shard| &shard.failed),
    })
}

/// Certificates that are told of one by one, those that end first.
const CERTIFICATES: usize = 100;

fn tls(sites: &[Arc<Site>]) -> impl Iterator<Item = &ServerTls> {
    sites.iter().filter_map(|site| site.tls.as_deref())
}

fn certificates(sites: &[Arc<Site>]) -> Vec<Value> {
    let mut certificates: Vec<_> = tls(sites).flat_map(ServerTls::certificates).collect();
    certificates.sort_by_key(|certificate| certificate.not_after);
    let certificates = certificates.into_iter().take(CERTIFICATES);
    let certificates = certificates.map(|certificate| {
        json!({
            "names": certificate.names,
            "not_after": rfc3339(certificate.not_after),
            "files": [certificate.cert_file, certificate.key_file],
        })
    });
    certificates.collect()
}

fn unfit(sites: &[Arc<Site>]) -> Vec<String> {
    let unfit = tls(sites).flat_map(ServerTls::unfit);
    unfit
        .take(CERTIFICATES)
        .map(|problem| problem.to_string())
        .collect()
}
