//! What a route does to what it takes, in words: filters, limits, timeouts, and where it goes.

use serde_json::{Value, json};
use umay_core::config::{written, written_duration as time};
use umay_core::model::{
    Action, Filter, HashBy, HeaderEdit, Model, Redirect, Route, Source, Upstream,
};

/// Filters, limits and timeouts, each a list of sentences.
pub(super) fn settings(model: &Model, route: &Route, is_request: bool, secure: bool) -> Value {
    let filters: Vec<_> = route
        .filters
        .iter()
        .filter_map(|filter| in_words(filter, secure))
        .collect();
    let (limits, timeouts) = (&model.limits, &model.timeouts);
    if !is_request {
        let times = format!(
            "connect {}, without a byte either way {}",
            time(timeouts.connect),
            time(timeouts.tunnel)
        );
        return json!({ "timeouts": [times] });
    }
    let body = match route.max_body.or(limits.body) {
        Some(most) => format!("{most} bytes"),
        None => "no limit".to_owned(),
    };
    let caps = format!(
        "head {} bytes, {} fields; body {body}",
        limits.head, limits.fields
    );
    let total = timeouts
        .total
        .map(|total| format!(", in all {}", time(total)));
    let times = format!(
        "head {}, body {} between reads, connect {}, first byte {}{}",
        time(timeouts.header),
        time(timeouts.body),
        time(timeouts.connect),
        time(timeouts.first_byte),
        total.unwrap_or_default()
    );
    json!({ "filters": filters, "limits": [caps], "timeouts": [times] })
}

fn in_words(filter: &Filter, secure: bool) -> Option<String> {
    let root = |path: &str| {
        if path.is_empty() {
            "/".to_owned()
        } else {
            path.to_owned()
        }
    };
    match filter {
        Filter::RewritePrefix { from, to } => {
            Some(format!("path prefix {} becomes {}", root(from), root(to)))
        }
        Filter::SetHost(host) => Some(format!("endpoints see the host {host}")),
        Filter::RequestHeaders(edit) => Some(format!("request headers: {}", edited(edit))),
        Filter::ResponseHeaders(edit) => Some(format!("answer headers: {}", edited(edit))),
        Filter::Hsts(value) => {
            secure.then(|| format!("answers have Strict-Transport-Security: {value}"))
        }
    }
}

/// Names only, for a value may be a secret.
fn edited(edit: &HeaderEdit) -> String {
    let names = |list: &[(String, umay_core::model::Template)]| {
        let names: Vec<_> = list.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    };
    let parts = [
        ("remove", edit.remove.join(", ")),
        ("set", names(&edit.set)),
        ("add", names(&edit.add)),
    ];
    let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<_> = parts
        .map(|(verb, names)| format!("{verb} {names}"))
        .collect();
    parts.join("; ")
}

/// Where a route goes: a sentence for each part. Endpoints are those that are configured, unless they are told `elsewhere`
/// as they are now.
pub(super) fn destination(model: &Model, route: &Route, elsewhere: bool) -> Vec<String> {
    match &route.action {
        Action::Forward(name) => match model.upstreams.get(name) {
            Some(upstream) => of_upstream(upstream, elsewhere),
            None => Vec::new(),
        },
        Action::Redirect(redirect) => vec![redirected(redirect)],
        Action::Respond(respond) => {
            let (status, length) = (respond.status, respond.body.len());
            vec![format!(
                "answer {status} with {length} bytes of {}",
                respond.content_type
            )]
        }
    }
}

fn redirected(redirect: &Redirect) -> String {
    let parts = [
        ("scheme", redirect.scheme.clone()),
        ("host", redirect.host.clone()),
        ("port", redirect.port.map(|port| port.to_string())),
        ("path", redirect.path.clone()),
    ];
    let parts = parts
        .into_iter()
        .filter_map(|(what, value)| Some(format!("{what} {}", value?)));
    let parts: Vec<_> = parts.collect();
    format!("redirect {} to {}", redirect.status, parts.join(", "))
}

fn of_upstream(upstream: &Upstream, elsewhere: bool) -> Vec<String> {
    let mut first = format!(
        "upstream {}, balance {}",
        upstream.name,
        upstream.balance.as_str()
    );
    let by = match &upstream.hash_by {
        HashBy::ClientIp => None,
        HashBy::Path => Some("path".to_owned()),
        HashBy::Sni => Some("sni".to_owned()),
        HashBy::Header(name) => Some(format!("header {name}")),
        HashBy::Cookie(name) => Some(format!("cookie {name}")),
    };
    first.extend(by.map(|by| format!(" by {by}")));
    if let Some(sticky) = &upstream.sticky {
        first.push_str(&format!(", sticky by cookie {}", sticky.cookie));
    }
    first.push_str(&format!(", attempts {}", upstream.retry.attempts));
    let mut lines = vec![first];
    for endpoint in upstream.endpoints.iter().filter(|_| !elsewhere) {
        let mut line = written(endpoint);
        if endpoint.weight != 1 {
            line.push_str(&format!(", weight {}", endpoint.weight));
        }
        if endpoint.priority != 0 {
            line.push_str(&format!(", priority {}", endpoint.priority));
        }
        if let Some(zone) = &endpoint.zone {
            line.push_str(&format!(", zone {zone}"));
        }
        lines.push(line);
    }
    let found = upstream
        .discovery
        .as_ref()
        .map(|discovery| match &discovery.source {
            Source::Srv(name) => format!("and what the SRV records of {name} say"),
            Source::File(path) => format!("and what stands in {}", path.display()),
            Source::Consul(consul) => format!("and what Consul says of service {}", consul.service),
            Source::Etcd(etcd) => format!("and what etcd has below {}", etcd.prefix),
            Source::OriginalDestination => "where the client was headed".to_owned(),
        });
    lines.extend(found);
    lines
}
