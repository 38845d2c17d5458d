//! What certificates say about the rest of a configuration: whether they cover the hosts of routes,
//! and whether their keys are whole.

use std::collections::HashSet;

use umay_core::config::{Loaded, Place, Problem, Severity};
use umay_core::model::{HostPattern, Listener, Route};

use super::sources::placed;
use crate::app::Plan;
use crate::tls::ServerTls;

/// What is wrong with the keys of a configuration that can be loaded, looked at one by one, and what is questionable
/// about its certificates.
pub(super) fn check(loaded: &Loaded, plan: &Plan) -> Vec<Problem> {
    let model = &loaded.model;
    let mut problems = Vec::new();
    for (_, tls) in plan.tls() {
        let damaged = tls.prove_at_once();
        problems.extend(damaged.iter().map(|problem| placed(problem, &loaded.files)));
    }
    let with_tls: Vec<_> = plan
        .tls()
        .filter_map(|(name, tls)| Some((model.listeners.get(name)?, names(tls))))
        .collect();
    for route in &model.routes {
        let serves = |listener: &Listener| {
            let only = &route.matches.listeners;
            only.is_empty() || only.contains(&listener.name)
        };
        let ours: Vec<_> = with_tls
            .iter()
            .filter(|(listener, _)| serves(listener))
            .collect();
        if route.passthrough || ours.is_empty() {
            continue;
        }
        for host in route.matches.hosts.iter().chain(&route.matches.sni) {
            if !ours.iter().any(|(_, names)| covers(names, host)) {
                problems.push(uncovered(loaded, route, host));
            }
        }
    }
    problems
}

/// All names that a listener has a certificate for.
fn names(tls: &ServerTls) -> HashSet<&str> {
    let names = tls.certificates().flat_map(|info| &info.names);
    names.map(String::as_str).collect()
}

/// True if there is a certificate for all of a pattern.
fn covers(names: &HashSet<&str>, host: &HostPattern) -> bool {
    let name = match host {
        HostPattern::Any => return true,
        // No client can check a name that it does not ask for.
        HostPattern::Exact(address) if address.parse::<std::net::IpAddr>().is_ok() => return true,
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(parent) => format!("*.{parent}"),
    };
    // A certificate's `*` stands for one label, and so it is for `*.` and the same parent.
    let parent = name
        .split_once('.')
        .map(|(_, parent)| format!("*.{parent}"));
    let has = |name: &str| names.contains(name);
    has(&name) || parent.as_deref().is_some_and(has)
}

fn uncovered(loaded: &Loaded, route: &Route, host: &HostPattern) -> Problem {
    let name = pattern(host);
    let place = loaded.routes.get(&route.name);
    Problem {
        severity: Severity::Warning,
        place: place.cloned().unwrap_or(Place::Document),
        message: format!(
            "no certificate covers `{name}` of route `{}`: clients cannot ask for it over TLS",
            route.name
        ),
        hint: "add a certificate with that name to its listener".to_owned(),
    }
}

/// A host pattern as it is written.
fn pattern(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(parent) => format!("*.{parent}"),
    }
}
