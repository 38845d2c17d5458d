//! Checks of upstreams: what they are told, and who comes to them.

use super::place;
use crate::config::discover::tells_schemes;
use crate::config::problem::Place;
use crate::config::section::Reader;
use crate::model::{
    Action, HashBy, Listener, Model, Outlier, ProbeKind, Route, Scheme, Source, Upstream,
    UpstreamTls,
};

/// Checks all upstreams. Only if `whole` is the model all that was written.
pub(super) fn check(reader: &mut Reader, model: &Model, whole: bool) {
    for upstream in model.upstreams.values() {
        check_tls(reader, upstream);
        check_weights(reader, upstream);
        check_panic(reader, upstream);
        check_hedge(reader, upstream);
        check_streams(reader, model, upstream, whole);
        if whole {
            check_names(reader, model, upstream);
        }
    }
    check_zones(reader, model, whole);
}

/// Where an upstream stands: itself, or the route that its endpoints are written in.
fn place_of(reader: &Reader, upstream: &Upstream) -> Place {
    let places = &reader.places;
    let named = places.upstreams.get(&upstream.name).cloned();
    named.unwrap_or_else(|| place(&places.routes, &upstream.name))
}

/// Where an upstream was told something, if it was.
fn told(reader: &Reader, upstream: &Upstream, key: &'static str) -> Option<Place> {
    let key = (upstream.name.clone(), key);
    reader.places.told.get(&key).cloned()
}

fn check_tls(reader: &mut Reader, upstream: &Upstream) {
    let mut schemes = upstream.schemes().peekable();
    if upstream.tls == UpstreamTls::default() || schemes.peek().is_none() {
        return;
    }
    let discovery = upstream.discovery.as_ref();
    // It has been told already that nothing of this kind fits.
    let original = |source: &Source| *source == Source::OriginalDestination;
    let elsewhere = discovery.is_some_and(|d| tells_schemes(&d.source) || original(&d.source));
    let probe = upstream.probe.as_ref();
    let probed = probe.is_some_and(|probe| probe.kind == ProbeKind::Tls);
    if elsewhere || probed || schemes.any(Scheme::is_tls) {
        return;
    }
    let message = format!(
        "upstream `{}` says how to speak TLS, but all its endpoints are in plaintext",
        upstream.name
    );
    let hint = match discovery {
        None => "write them as https://, h2:// or tls://",
        Some(_) => "add scheme = \"https\" (or h2, or tls) to its `discover`",
    };
    let place = place_of(reader, upstream);
    reader.error_at(&place, message, hint);
}

fn check_weights(reader: &mut Reader, upstream: &Upstream) {
    let endpoints = &upstream.endpoints;
    let none = !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.weight == 0);
    if none && upstream.discovery.is_none() {
        let name = &upstream.name;
        let message =
            format!("upstream `{name}` gets nothing new: all its endpoints have weight 0");
        let place = place_of(reader, upstream);
        reader.warn(&place, message, "give one of them a weight above 0");
    }
}

fn check_panic(reader: &mut Reader, upstream: &Upstream) {
    let Outlier {
        consecutive,
        success_rate,
        ..
    } = upstream.outlier;
    let watched = upstream.probe.is_some() || consecutive > 0 || success_rate > 0;
    if upstream.panic > 0
        && !watched
        && let Some(place) = told(reader, upstream, "panic")
    {
        let message = "`panic` has no effect: nothing finds out that an endpoint is ill";
        reader.warn(&place, message, "add a probe, or let `outlier` on");
    }
}

/// One address is no choice; a name may have several.
fn check_hedge(reader: &mut Reader, upstream: &Upstream) {
    if let [only] = &upstream.endpoints[..]
        && upstream.discovery.is_none()
        && only.host.parse::<std::net::IpAddr>().is_ok()
        && let Some(place) = told(reader, upstream, "hedge")
    {
        let message = "`hedge` has no effect: there is no second endpoint to ask";
        reader.warn(&place, message, "add one, or take it out");
    }
}

fn routes_to<'a>(model: &'a Model, upstream: &Upstream) -> impl Iterator<Item = &'a Route> {
    let name = upstream.name.clone();
    let goes = move |route: &&Route| matches!(&route.action, Action::Forward(to) if *to == name);
    model.routes.iter().filter(goes)
}

/// What raw streams do not have, where only raw streams come.
fn check_streams(reader: &mut Reader, model: &Model, upstream: &Upstream, whole: bool) {
    let mut schemes = upstream.schemes().peekable();
    let mut routes = routes_to(model, upstream).peekable();
    let by_scheme = schemes.peek().is_some() && !schemes.any(Scheme::serves_http);
    let by_route = whole
        && routes.peek().is_some()
        && !routes.any(|route| route.serves_http(&model.upstreams));
    if !by_scheme && !by_route {
        return;
    }
    let of_http = !matches!(upstream.hash_by, HashBy::ClientIp | HashBy::Sni);
    for (key, counts, lack, hint) in [
        ("sticky", true, "cookies", "take it out"),
        (
            "hash_by",
            of_http,
            "paths, headers or cookies",
            "hash by client_ip or sni",
        ),
        ("hedge", true, "answer that could be late", "take it out"),
        ("retry.statuses", true, "statuses", "take it out"),
    ] {
        if counts && let Some(place) = told(reader, upstream, key) {
            let name = &upstream.name;
            let message = format!(
                "`{key}` has no effect: only raw streams go to upstream `{name}`, and they have no {lack}"
            );
            reader.error_at(&place, message, hint);
        }
    }
}

/// Whether clients can tell the server name that is hashed.
fn check_names(reader: &mut Reader, model: &Model, upstream: &Upstream) {
    if upstream.hash_by != HashBy::Sni {
        return;
    }
    let named = |route: &Route| {
        let only = &route.matches.listeners;
        let on = |listener: &&Listener| only.is_empty() || only.contains(&listener.name);
        let mut listeners = model.listeners.values().filter(on);
        route.passthrough
            || route.serves_tcp(&model.upstreams)
            || listeners.any(|listener| listener.tls.is_some())
    };
    let mut routes = routes_to(model, upstream).peekable();
    if routes.peek().is_some()
        && !routes.any(named)
        && let Some(place) = told(reader, upstream, "hash_by")
    {
        let message = format!(
            "`hash_by` has no effect: no listener whose requests go to upstream `{}` has TLS, so there is no server name",
            upstream.name
        );
        let hint = "add cert and key to the listener, or hash by client_ip";
        reader.error_at(&place, message, hint);
    }
}

/// Zones of endpoints, and that of Umay itself, need each other.
fn check_zones(reader: &mut Reader, model: &Model, whole: bool) {
    let own = reader.places.own_zone.clone();
    match (own, reader.places.zone.clone()) {
        (None, Some(place)) => {
            let message = "zones of endpoints have no effect: Umay does not know its own";
            let hint = "add zone = \"NAME\" at the top (or UMAY_ZONE), or take them out";
            reader.warn(&place, message, hint);
        }
        (Some(place), None) if whole => {
            let mut all = model.upstreams.values();
            if all.all(|upstream| upstream.discovery.is_none()) {
                let message = "`zone` has no effect: no endpoint has one";
                reader.warn(&place, message, "add zones to endpoints, or take it out");
            }
        }
        _ => {}
    }
}
