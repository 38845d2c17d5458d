//! What certificates say about the rest of a configuration: whether they cover the hosts of routes,
//! and for how long they are good.

use std::time::{SystemTime, UNIX_EPOCH};

use umay_core::config::{Loaded, Place, Problem, Severity};
use umay_core::model::{HostPattern, Listener, Route};

use crate::explain;
use crate::tls::{CertificateInfo, ServerTls};

/// A certificate with less time left than this is told about.
const SOON: u64 = 21 * 86_400;

const DAY: u64 = 86_400;

/// What is questionable about the certificates of a configuration that can be used.
pub(super) fn check(loaded: &Loaded) -> Vec<Problem> {
    let model = &loaded.model;
    let listeners = model.listeners.values();
    let with_tls: Vec<_> = listeners
        .filter_map(|listener| Some((listener, explain::certificates(model, listener)?.ok()?)))
        .collect();
    let mut problems = Vec::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let mut seen = Vec::new();
    for info in with_tls.iter().flat_map(|(_, tls)| tls.certificates()) {
        // One that has expired is told about already.
        let left = info.not_after.saturating_sub(now);
        if left > 0 && left < SOON && !seen.contains(&&info.cert_file) {
            seen.push(&info.cert_file);
            problems.push(expiring(loaded, info, left));
        }
    }
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
            if !ours.iter().any(|(_, tls)| covers(tls, host)) {
                problems.push(uncovered(loaded, route, host));
            }
        }
    }
    problems
}

fn expiring(loaded: &Loaded, info: &CertificateInfo, left: u64) -> Problem {
    let when = match left / DAY {
        0 => "today".to_owned(),
        1 => "in 1 day".to_owned(),
        days => format!("in {days} days"),
    };
    let place = loaded.files.get(&info.cert_file);
    Problem {
        severity: Severity::Warning,
        place: place.cloned().unwrap_or(Place::Document),
        message: format!("{} expires {when}", info.cert_file.display()),
        hint: "renew it, for clients will refuse it".to_owned(),
    }
}

/// True if there is a certificate for all of a pattern.
fn covers(tls: &ServerTls, host: &HostPattern) -> bool {
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
    let fits = |have: &String| *have == name || Some(have) == parent.as_ref();
    tls.certificates().any(|info| info.names.iter().any(fits))
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
