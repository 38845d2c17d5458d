//! What can be checked only when all is read: what parts of the document make of each other.
//!
//! What would be silently without effect is an error where somebody may rely on it, such as a path
//! that a raw stream cannot have, and a warning where it is only useless.

use std::collections::{BTreeMap, HashMap};

use super::listeners::clash;
use super::problem::{Place, Problem, Severity};
use super::section::Reader;
use crate::model::{Action, Filter, Listener, Match, Model, Name, Protocol, Route, Scheme};
use crate::route::{Table, only_insecure};

mod upstreams;

/// Checks what can be said only of the whole.
pub(super) fn check(reader: &mut Reader, model: &Model) {
    for route in &model.routes {
        check_action(reader, model, route);
        check_stream(reader, model, route);
        check_listeners(reader, model, route);
    }
    // What could not be read is missing in the model, and would be missed.
    let fine = |problem: &Problem| problem.severity == Severity::Warning;
    let whole = reader.problems.iter().all(fine);
    upstreams::check(reader, model, whole);
    if reader.problems.iter().all(fine) {
        check_use(reader, model);
        check_shadows(reader, model);
        for listener in model.listeners.values() {
            check_listener(reader, model, listener);
        }
    }
}

fn place(places: &BTreeMap<Name, Place>, name: &str) -> Place {
    places.get(name).cloned().unwrap_or(Place::Document)
}

fn is_raw(route: &Route) -> bool {
    route.passthrough || matches!(route.matches.protocol, Some(Protocol::Tcp | Protocol::Mqtt))
}

/// Whether a route's endpoints, or its own answer, can be had by what it matches.
fn check_action(reader: &mut Reader, model: &Model, route: &Route) {
    let name = &route.name;
    let place = place(&reader.places.routes, name);
    let Action::Forward(to) = &route.action else {
        if is_raw(route) {
            let message =
                format!("route `{name}` answers in HTTP, which no raw stream understands");
            reader.error_at(&place, message, "let it go `to` endpoints");
        }
        let to_endpoints = |filter: &&Filter| {
            matches!(
                filter,
                Filter::RewritePrefix { .. } | Filter::SetHost(_) | Filter::RequestHeaders(_)
            )
        };
        if route.filters.iter().any(|f| to_endpoints(&f)) || route.allow_connect {
            let message = format!(
                "route `{name}` changes what its endpoints see, but answers without an endpoint"
            );
            let hint = "take rewrite_prefix, set_host, request_headers and allow_connect out";
            reader.error_at(&place, message, hint);
        }
        return;
    };
    let Some(upstream) = model.upstreams.get(to) else {
        return;
    };
    let serves_tcp = upstream.schemes().any(Scheme::serves_tcp);
    let serves_http = upstream.schemes().any(Scheme::serves_http);
    if is_raw(route) && !serves_tcp {
        let message =
            format!("route `{name}` carries raw streams, and upstream `{to}` speaks only HTTP");
        reader.error_at(
            &place,
            message,
            "write its endpoints as host:port or tcp://",
        );
    } else if !is_raw(route) && !serves_http {
        let hint = "write its endpoints as host:port or http://";
        if route.matches.protocol == Some(Protocol::Http) || !route.asks_nothing_of_http() {
            let message = format!(
                "route `{name}` can never be taken: it matches HTTP, and upstream `{to}` carries raw streams"
            );
            reader.error_at(&place, message, hint);
        }
    }
    if route.passthrough && upstream.schemes().any(|scheme| scheme == Scheme::Tls) {
        let message = format!(
            "route `{name}` passes TLS through unopened, and `tls://` puts a second TLS around it"
        );
        reader.warn(
            &place,
            message,
            "write its endpoints as host:port or tcp://",
        );
    }
}

/// A raw stream has no host, path or header, and nothing about it can be changed.
fn check_stream(reader: &mut Reader, model: &Model, route: &Route) {
    let name = &route.name;
    let place = place(&reader.places.routes, name);
    if is_raw(route) && !route.asks_nothing_of_http() {
        let message = format!(
            "route `{name}` carries raw streams, which have no host, path, method or header to match"
        );
        let hint = "match by sni, protocol, listeners or client_cert";
        reader.error_at(&place, message, hint);
    }
    if route.passthrough && route.matches.client_cert.is_some() {
        let message =
            format!("route `{name}` passes TLS through unopened, so it sees no client certificate");
        reader.error_at(&place, message, "take client_cert or passthrough out");
    }
    let other = matches!(
        route.matches.protocol,
        Some(Protocol::Http | Protocol::Mqtt)
    );
    if route.passthrough && other {
        let message = format!(
            "route `{name}` passes TLS through unopened, so it does not see the protocol inside"
        );
        reader.error_at(&place, message, "take protocol or passthrough out");
    }
    let forwards = matches!(route.action, Action::Forward(_));
    let changes = !route.filters.is_empty() || route.max_body.is_some();
    if forwards && changes && !route.serves_http(&model.upstreams) {
        let message = format!(
            "route `{name}` carries raw streams, in which no header, path or body can be told apart"
        );
        let hint = "take the changes out (or max_body), or write its endpoints as http://";
        reader.error_at(&place, message, hint);
    }
}

/// Whether the listeners of a route can show what it asks for.
fn check_listeners(reader: &mut Reader, model: &Model, route: &Route) {
    let name = &route.name;
    let place = place(&reader.places.routes, name);
    let only = &route.matches.listeners;
    let on = || {
        let all = model.listeners.values();
        all.filter(|listener| only.is_empty() || only.contains(&listener.name))
    };
    if on().next().is_none() {
        return;
    }
    let asks = |listener: &Listener| {
        let tls = listener.tls.as_ref();
        tls.is_some_and(|tls| tls.client_auth.is_some())
    };
    if route.matches.client_cert.is_some() && !on().any(asks) {
        let message =
            format!("route `{name}` can never be taken: no listener of it asks for certificates");
        reader.error_at(&place, message, "add client_auth to its listener");
    }
    let secure = on().any(|listener| listener.tls.is_some());
    if !route.matches.sni.is_empty() && !secure && !route.passthrough {
        let message = format!(
            "route `{name}` can never be taken: it matches by sni, and no listener of it has TLS"
        );
        let hint = match route.serves_tcp(&model.upstreams) {
            true => {
                "add passthrough = true to deliver TLS unopened, or cert and key to its listener"
            }
            false => "add cert and key to its listener, or match by host",
        };
        reader.error_at(&place, message, hint);
    }
    let hsts = |filter: &Filter| matches!(filter, Filter::Hsts(_));
    if route.filters.iter().any(hsts) && !secure {
        let message = format!("`hsts` of route `{name}` has no effect: no listener of it has TLS");
        reader.warn(&place, message, "add cert and key to its listener");
    }
}

/// Upstreams that no route goes to.
fn check_use(reader: &mut Reader, model: &Model) {
    for name in model.upstreams.keys() {
        let used = |route: &Route| matches!(&route.action, Action::Forward(to) if to == name);
        if !model.routes.iter().any(used) {
            let place = place(&reader.places.upstreams, name);
            let message = format!("no route goes to upstream `{name}`");
            reader.warn(&place, message, "name it in a route's `to`, or take it out");
        }
    }
}

/// Routes that come too late: another one takes all that they match.
fn check_shadows(reader: &mut Reader, model: &Model) {
    let serves = |route: &Route| {
        let (http, tcp) = (
            route.serves_http(&model.upstreams),
            route.serves_tcp(&model.upstreams),
        );
        (http, tcp && !route.passthrough, route.passthrough)
    };
    // What was there before, by what it matches: a table of routes may be long.
    let mut seen: HashMap<&Match, Vec<&Route>> = HashMap::new();
    for route in &model.routes {
        let (http, tcp, passthrough) = serves(route);
        let same = seen.entry(&route.matches).or_default();
        let before = same.iter().find(|before| {
            let (has_http, has_tcp, has_passthrough) = serves(before);
            (has_http || !http) && (has_tcp || !tcp) && (has_passthrough || !passthrough)
        });
        if let Some(before) = before {
            let message = format!(
                "route `{}` is never taken: route `{}` matches the same and comes first",
                route.name, before.name
            );
            let place = place(&reader.places.routes, &route.name);
            reader.warn(&place, message, "let them match different things");
        } else if !only_insecure(route) {
            // What another one shadows need not be looked at: that one shadows all that it does.
            same.push(route);
        }
    }
}

fn check_listener(reader: &mut Reader, model: &Model, listener: &Listener) {
    let name = &listener.name;
    let place = place(&reader.places.listeners, name);
    let table = Table::for_listener(model, name);
    if !table.serves_http() && !table.serves_stream() && !table.has_passthrough() {
        let message = format!("listener `{name}` has no route");
        reader.error_at(&place, message, "add a route for it");
    }
    if model.admin.is_some_and(|admin| clash(admin, listener.bind)) {
        let message = format!("listener `{name}` is where the admin listener is");
        let hint = "give admin.bind another address, or \"off\"";
        reader.error_at(&place, message, hint);
    }
}
