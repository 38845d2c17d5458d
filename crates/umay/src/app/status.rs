//! What `/status` tells: the process, its listeners and routes, and its upstreams as they are now.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use umay_core::model::Model;

use super::Plan;
use crate::site::Site;
use crate::telemetry::access::rfc3339;
use crate::telemetry::health::Health;
use crate::upstream::{Member, Upstream};

/// Makes the document, anew each time that it is called.
pub(super) fn status(
    model: &Model,
    plan: &Plan,
    health: &Health,
    listening: &[(String, SocketAddr)],
) -> Arc<dyn Fn() -> Value + Send + Sync> {
    let (started, health) = (Instant::now(), health.clone());
    let (workers, registry) = (plan.workers, Arc::clone(&plan.registry));
    let (upstreams, sites) = (Arc::clone(&plan.upstreams), plan.sites.clone());
    let listening = listening.to_vec();
    let routes = model
        .routes
        .iter()
        .map(|route| json!({ "name": route.name, "to": route.action.to_string() }));
    let routes = Value::Array(routes.collect());
    Arc::new(move || {
        let listeners = sites.iter().zip(&listening).map(|(site, (name, address))| {
            json!({ "name": name, "addr": address.to_string(), "tls": site.tls.is_some() })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": started.elapsed().as_secs(),
            "stage": health.stage().as_str(),
            "workers": workers,
            "connections": registry.open_connections(),
            "listeners": listeners.collect::<Vec<_>>(),
            "routes": routes,
            "upstreams": upstreams.iter().map(|u| upstream(u)).collect::<Vec<_>>(),
            "certificates": certificates(&sites),
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

fn certificates(sites: &[Arc<Site>]) -> Vec<Value> {
    let tls = sites.iter().filter_map(|site| site.tls.as_ref());
    let certificates = tls.flat_map(|tls| tls.certificates());
    let certificates = certificates.map(|certificate| {
        json!({
            "names": certificate.names,
            "not_after": rfc3339(certificate.not_after),
            "files": [certificate.cert_file, certificate.key_file],
        })
    });
    certificates.collect()
}
