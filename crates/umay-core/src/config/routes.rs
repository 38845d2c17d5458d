//! Routes: `to` at the top, and `[[route]]`.

use std::collections::BTreeMap;

use super::endpoints::{self, ORIGINAL, To};
use super::listeners::entries;
use super::picking::balance;
use super::problem::Place;
use super::section::{Reader, Section};
use super::tree::{Node, Value, nearest};
use super::upstreams::{Upstreams, not_for_original};
use super::{filters, scalar, secret};
use crate::model::{
    Action, Balance, ClientCertMatch, HeaderMatch, HostPattern, Listener, Match, PathPattern,
    Protocol, Redirect, Respond, Route, Upstream,
};

/// An empty list of what has to match would match all, which hardly anybody means.
const LEAVE_OUT: &str = "leave the key out where it may be any";

type Listeners = BTreeMap<String, Listener>;

/// Reads all routes. Endpoints that are written in a route become an upstream of its name.
pub(super) fn read(
    reader: &mut Reader,
    top: &mut Section<'_>,
    listeners: &Listeners,
    upstreams: &mut Upstreams,
) -> Vec<Route> {
    let mut routes = Vec::new();
    let all = top.take("route");
    if let Some(node) = all {
        reader.filled(node, "a route begins with [[route]]");
    }
    for (at, node) in all.map(entries).unwrap_or_default().into_iter().enumerate() {
        let Some(mut section) = Section::open(reader, node, "route") else {
            continue;
        };
        let name = section
            .take("name")
            .and_then(|node| reader.counted_name(node));
        let name = name.unwrap_or_else(|| format!("route-{}", at + 1));
        register(reader, &name, node);
        let route = route(reader, &mut section, name, listeners, upstreams);
        section.finish(reader);
        routes.extend(route);
    }
    let (balance, alone) = balance(reader, top);
    if let Some(node) = top.take("to") {
        let name = "default".to_owned();
        register(reader, &name, node);
        if let Some(to) = forward(reader, node, &name, (balance, alone), upstreams) {
            routes.push(Route {
                name,
                matches: Match::default(),
                filters: Vec::new(),
                action: Action::Forward(to),
                allow_connect: false,
                passthrough: false,
                max_body: None,
                log: true,
            });
        }
    } else if let Some(place) = alone {
        let hint = "put it into the route or the upstream whose endpoints are picked";
        reader.error_at(&place, "`balance` needs `to` beside it", hint);
    } else if all.is_none() {
        let hint = "add to = \"127.0.0.1:3000\" (or --to, or UMAY_TO)";
        reader.error_at(top.place, "there is no route", hint);
    }
    routes
}

fn register(reader: &mut Reader, name: &str, node: &Node) {
    let place = node.place.clone();
    if let Some(first) = reader.places.routes.insert(name.to_owned(), place) {
        let message = format!("a second route is named `{name}`; the first is at {first}");
        reader.error(node, message, "give one of them another name");
    }
}

fn route(
    reader: &mut Reader,
    section: &mut Section<'_>,
    name: String,
    listeners: &Listeners,
    upstreams: &mut Upstreams,
) -> Option<Route> {
    let matches = matches(reader, section, listeners);
    let filters = filters::read(reader, section, &matches);
    let flag = |reader: &mut Reader, node: Option<&Node>| {
        node.and_then(|node| reader.bool(node)).unwrap_or(false)
    };
    let allow_connect = flag(reader, section.take("allow_connect"));
    let passthrough = flag(reader, section.take("passthrough"));
    let max_body = section
        .take("max_body")
        .and_then(|node| reader.size(node, 0, u64::MAX));
    let log = section.take("log").and_then(|node| reader.bool(node));
    let log = log.unwrap_or(true);
    let action = action(reader, section, &name, upstreams);
    Some(Route {
        name,
        matches,
        filters,
        action: action?,
        allow_connect,
        passthrough,
        max_body,
        log,
    })
}

fn action(
    reader: &mut Reader,
    section: &mut Section<'_>,
    name: &str,
    upstreams: &mut Upstreams,
) -> Option<Action> {
    let (balance, alone) = balance(reader, section);
    let (to, redirect, respond) = (
        section.take("to"),
        section.take("redirect"),
        section.take("respond"),
    );
    if let (None, Some(place)) = (to, &alone) {
        let hint = "take it out; there is no endpoint to pick";
        reader.error_at(place, "`balance` needs `to` beside it", hint);
    }
    match (to, redirect, respond) {
        (Some(node), None, None) => {
            forward(reader, node, name, (balance, alone), upstreams).map(Action::Forward)
        }
        (None, Some(node), None) => read_redirect(reader, node).map(Action::Redirect),
        (None, None, Some(node)) => read_respond(reader, node).map(Action::Respond),
        (None, None, None) => {
            let hint = "add to, redirect or respond";
            reader.error_at(section.place, format!("route `{name}` goes nowhere"), hint);
            None
        }
        _ => {
            let message = format!("route `{name}` goes to more than one place");
            reader.error_at(
                section.place,
                message,
                "keep one of to, redirect and respond",
            );
            None
        }
    }
}

/// An upstream by name, or endpoints that become one.
fn forward(
    reader: &mut Reader,
    node: &Node,
    route: &str,
    (balance, place): (Option<Balance>, Option<Place>),
    upstreams: &mut Upstreams,
) -> Option<String> {
    let list = node.list();
    if let [only] = &list[..]
        && let Value::Text(name) | Value::Untyped(name) = &only.value
        && !name.contains(':')
        && name != ORIGINAL
    {
        if upstreams.contains_key(name) {
            if let Some(place) = place {
                let hint = "put it into [upstream.NAME]";
                reader.error_at(
                    &place,
                    "`balance` belongs to the upstream that has a name",
                    hint,
                );
            }
            return Some(name.clone());
        }
        let names = upstreams.keys().map(String::as_str);
        let hint = match nearest(name, names.chain([ORIGINAL])) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "an endpoint is written as host:port".to_owned(),
        };
        reader.error(only, format!("there is no upstream `{name}`"), hint);
        return None;
    }
    if list.is_empty() {
        let hint = "write to = [\"127.0.0.1:3000\"]";
        reader.error(node, "there is no endpoint", hint);
    }
    let mut upstream = Upstream::new(route, Vec::new());
    match endpoints::to(reader, node) {
        To::Endpoints(endpoints) if endpoints.is_empty() => return None,
        To::Endpoints(endpoints) => upstream.endpoints = endpoints,
        To::Original => {
            if let Some(place) = place {
                not_for_original(reader, &place, "balance");
            }
            upstream.discovery = Some(endpoints::original());
        }
    }
    upstream.balance = balance.unwrap_or_default();
    if upstreams.contains_key(route) {
        let message = format!(
            "the endpoints of route `{route}` would become an upstream of that name, which there is already"
        );
        reader.error(node, message, "name the route otherwise");
        return None;
    }
    upstreams.insert(route.to_owned(), upstream);
    Some(route.to_owned())
}

fn matches(reader: &mut Reader, section: &mut Section<'_>, listeners: &Listeners) -> Match {
    let mut matches = Match::default();
    if let Some(node) = section.take("listeners") {
        reader.filled(node, LEAVE_OUT);
        for (node, name) in reader.texts(node) {
            if !listeners.contains_key(&name) {
                let near = nearest(&name, listeners.keys().map(String::as_str));
                let hint = near.map_or_else(String::new, |near| format!("did you mean `{near}`?"));
                reader.error(&node, format!("there is no listener `{name}`"), hint);
            }
            matches.listeners.push(name);
        }
    }
    let hosts = [section.take("host"), section.take("hosts")];
    matches.hosts = patterns(reader, &hosts, scalar::host);
    let paths = [section.take("path"), section.take("paths")];
    matches.paths = patterns::<PathPattern>(reader, &paths, scalar::path);
    let sni = [section.take("sni")];
    matches.sni = patterns::<HostPattern>(reader, &sni, scalar::server_name);
    if let Some(node) = section.take("methods") {
        reader.filled(node, LEAVE_OUT);
        for (node, method) in reader.texts(node) {
            if !scalar::is_token(&method) {
                reader.error(&node, format!("`{method}` is no method"), "");
            } else if method.bytes().any(|b| b.is_ascii_lowercase()) {
                let hint = format!("write \"{}\"", method.to_ascii_uppercase());
                reader.error(
                    &node,
                    "methods are written in upper case, and case matters",
                    hint,
                );
            }
            matches.methods.push(method);
        }
    }
    matches.headers = header_matches(reader, section);
    let words = [
        ("http", Protocol::Http),
        ("mqtt", Protocol::Mqtt),
        ("tcp", Protocol::Tcp),
    ];
    let protocol = section.take("protocol");
    matches.protocol = protocol.and_then(|node| reader.word(node, &words));
    if let Some(mut cert) = section.section(reader, "client_cert") {
        let mut text = |reader: &mut Reader, key: &'static str| {
            cert.take(key)
                .and_then(|node| reader.text(node))
                .map(str::to_owned)
        };
        let (common_name, san) = (text(reader, "cn"), text(reader, "san"));
        let sha256 = text(reader, "sha256").map(|hex| hex.replace(':', "").to_ascii_lowercase());
        if sha256
            .as_ref()
            .is_some_and(|hex| hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            reader.error_at(cert.place, "`sha256` is not 64 hexadecimal digits", "");
        }
        cert.finish(reader);
        matches.client_cert = Some(ClientCertMatch {
            common_name,
            san,
            sha256,
        });
    }
    matches
}

fn patterns<T>(
    reader: &mut Reader,
    nodes: &[Option<&Node>],
    parse: fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let mut patterns = Vec::new();
    for node in nodes.iter().flatten() {
        reader.filled(node, LEAVE_OUT);
        for (node, text) in reader.texts(node) {
            patterns.extend(reader.ok(&node, parse(&text)));
        }
    }
    patterns
}

fn header_matches(reader: &mut Reader, section: &mut Section<'_>) -> Vec<HeaderMatch> {
    let mut headers = Vec::new();
    let Some(table) = section.section(reader, "headers") else {
        return headers;
    };
    for (name, place, node) in table.entries() {
        let value = match &node.value {
            Value::Bool(true) => None,
            Value::Untyped(text) if text == "true" => None,
            Value::Text(text) | Value::Untyped(text) => Some(text.clone()),
            Value::Table(_) => match secret::value(reader, node, "route.headers.NAME") {
                Some((text, _)) => Some(text),
                None => continue,
            },
            _ => {
                let hint = "true asks only that the header is there";
                reader.error(node, "expected text or true", hint);
                continue;
            }
        };
        filters::field_name(reader, place, name);
        let name = name.to_ascii_lowercase();
        headers.push(HeaderMatch { name, value });
    }
    headers
}

fn read_redirect(reader: &mut Reader, node: &Node) -> Option<Redirect> {
    if !matches!(node.value, Value::Table(_)) {
        if reader.text(node)? != "https" {
            let hint = "to go elsewhere: redirect = { host = \"www.example.com\" }";
            reader.error(node, "expected `https` or a table", hint);
            return None;
        }
        return Some(Redirect::to_https());
    }
    let mut section = Section::open(reader, node, "route.redirect")?;
    let goes = ["scheme", "host", "port", "path"]
        .iter()
        .any(|key| section.take(key).is_some());
    let words = [("http", "http"), ("https", "https")];
    let scheme = section
        .take("scheme")
        .and_then(|node| reader.word(node, &words));
    let host = section.take("host").and_then(|node| {
        let text = reader.text(node)?;
        match reader.ok(node, scalar::host(text))? {
            HostPattern::Exact(host) => Some(host),
            _ => {
                reader.error(node, "a redirect goes to one host", "");
                None
            }
        }
    });
    let port = section
        .take("port")
        .and_then(|node| reader.number(node, 1, 65_535));
    let path = section.take("path").and_then(|node| {
        let text = reader.text(node)?;
        reader.ok(node, scalar::plain_path(text))?;
        Some(text.to_owned())
    });
    let status = section.take("status").and_then(|node| {
        let status = reader.number(node, 301, 308)?;
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            reader.error(
                node,
                format!("{status} is no redirect"),
                "there are 301, 302, 303, 307 and 308",
            );
        }
        u16::try_from(status).ok()
    });
    section.finish(reader);
    if !goes {
        reader.error(
            node,
            "this redirects to where it came from",
            "add scheme, host, port or path",
        );
    }
    Some(Redirect {
        scheme: scheme.map(str::to_owned),
        host,
        port: port.and_then(|port| u16::try_from(port).ok()),
        path,
        status: status.unwrap_or(308),
    })
}

fn read_respond(reader: &mut Reader, node: &Node) -> Option<Respond> {
    let mut section = Section::open(reader, node, "route.respond")?;
    let status = section
        .take("status")
        .and_then(|node| reader.number(node, 200, 599));
    let mut text = |reader: &mut Reader, key: &'static str| {
        section
            .take(key)
            .and_then(|node| reader.text(node))
            .map(str::to_owned)
    };
    let body = text(reader, "body").unwrap_or_default();
    let content_type = text(reader, "content_type");
    let place = section.place;
    section.finish(reader);
    let status = status
        .and_then(|status| u16::try_from(status).ok())
        .unwrap_or(200);
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        reader.error_at(
            place,
            format!("an answer with status {status} has no body"),
            "",
        );
    }
    let content_type = content_type.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned());
    if content_type.is_empty() || !content_type.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        reader.error_at(
            place,
            "`content_type` is empty or has a character that no header has",
            "",
        );
    }
    Some(Respond {
        status,
        body,
        content_type,
    })
}
