//! `[upstream.NAME.discover]`: who is asked for endpoints.

use std::net::IpAddr;

use super::problem::Place;
use super::section::{Reader, Section};
use super::tree::Node;
use super::{scalar, tls};
use crate::model::{Consul, Discovery, Endpoint, Etcd, Scheme, Source};

/// Who can be asked; one of them is.
const SOURCES: [&str; 4] = ["srv", "file", "consul", "etcd"];

/// Keys that only one source takes.
const OWNED: [(&str, &str); 7] = [
    ("agents", "consul"),
    ("tag", "consul"),
    ("datacenter", "consul"),
    ("token_file", "consul"),
    ("members", "etcd"),
    ("user", "etcd"),
    ("password_file", "etcd"),
];

/// How endpoints are spoken to.
const SCHEMES: [(&str, Scheme); 6] = [
    ("http", Scheme::Http),
    ("https", Scheme::Https),
    ("h2c", Scheme::H2c),
    ("h2", Scheme::H2),
    ("tcp", Scheme::Tcp),
    ("tls", Scheme::Tls),
];

/// Reads it.
pub(super) fn read(reader: &mut Reader, mut section: Section<'_>) -> Option<Discovery> {
    let scheme = section
        .take("scheme")
        .and_then(|node| reader.word(node, &SCHEMES));
    let mut sources = Vec::new();
    for key in SOURCES {
        sources.extend(section.take(key).map(|node| (key, node)));
    }
    // Whoever is not asked still knows the keys.
    for (key, _) in OWNED {
        section.take(key);
    }
    let [(name, node), others @ ..] = &sources[..] else {
        section.take("tls");
        let hint = "add srv, file, consul or etcd";
        reader.error_at(section.place, "this asks nobody for endpoints", hint);
        section.finish(reader);
        return None;
    };
    for (other, node) in others {
        let message = format!("`{other}` stands beside `{name}`, and one source is asked");
        reader.error(node, message, "take one of them out");
    }
    let registry = matches!(*name, "consul" | "etcd");
    foreign(reader, &section, name, registry);
    let tls_place = section.place_of("tls");
    let tls = section
        .section(reader, "tls")
        .map(|section| tls::read(reader, section, "registries"));
    let source = match *name {
        "srv" => srv(reader, node),
        "file" => reader.path(node).map(Source::File),
        "consul" => consul(reader, node, &mut section),
        _ => etcd(reader, node, &mut section),
    };
    section.finish(reader);
    if registry && let (Some(source), Some(place)) = (&source, tls_place) {
        check_tls(reader, source, place, name);
    }
    Some(Discovery {
        source: source?,
        scheme: scheme.unwrap_or(Scheme::Detected),
        tls: tls.unwrap_or_default(),
    })
}

/// Complains about keys of sources that are not asked.
fn foreign(reader: &mut Reader, section: &Section<'_>, name: &str, registry: bool) {
    for (key, owner) in OWNED {
        if owner != name
            && let Some(place) = section.place_of(key)
        {
            let message = format!("`{key}` belongs to `{owner}`, and `{name}` is asked");
            reader.error_at(place, message, "take it out");
        }
    }
    if !registry && let Some(place) = section.place_of("tls") {
        let message = format!("`tls` belongs to `consul` and `etcd`, and `{name}` is asked");
        let hint = "TLS to the endpoints stands in [upstream.NAME.tls]";
        reader.error_at(place, message, hint);
    }
}

fn srv(reader: &mut Reader, node: &Node) -> Option<Source> {
    let text = reader.text(node)?;
    reader.ok(node, scalar::srv(text)).map(Source::Srv)
}

fn consul(reader: &mut Reader, node: &Node, section: &mut Section<'_>) -> Option<Source> {
    let service = reader.name(node);
    let mut consul = Consul::new(service.clone().unwrap_or_default());
    if let Some(node) = section.take("agents") {
        consul.agents = registries(reader, node);
    }
    consul.tag = section.take("tag").and_then(|node| reader.name(node));
    consul.datacenter = section
        .take("datacenter")
        .and_then(|node| reader.name(node));
    if let Some(node) = section.take("token_file") {
        consul.token_file = reader.path(node);
        in_plaintext(reader, &node.place, &consul.agents, "token");
    }
    service.map(|_| Source::Consul(consul))
}

fn etcd(reader: &mut Reader, node: &Node, section: &mut Section<'_>) -> Option<Source> {
    let prefix = reader.name(node);
    let mut etcd = Etcd::new(prefix.clone().unwrap_or_default());
    if let Some(node) = section.take("members") {
        etcd.members = registries(reader, node);
    }
    match (section.take("user"), section.take("password_file")) {
        (Some(user), Some(file)) => {
            etcd.login = reader.name(user).zip(reader.path(file));
            in_plaintext(reader, &file.place, &etcd.members, "password");
        }
        (None, None) => {}
        (user, file) => {
            let place = user.or(file).map_or(section.place, |node| &node.place);
            reader.error_at(place, "`user` and `password_file` need each other", "");
        }
    }
    prefix.map(|_| Source::Etcd(etcd))
}

fn registries(reader: &mut Reader, node: &Node) -> Vec<Endpoint> {
    reader.filled(node, "leave the key out if it is on this machine");
    let mut all: Vec<Endpoint> = Vec::new();
    for (node, text) in reader.texts(node) {
        let Some(endpoint) = reader.ok(&node, scalar::registry(&text)) else {
            continue;
        };
        if all.contains(&endpoint) {
            reader.error(&node, format!("`{text}` is here twice"), "");
        } else {
            all.push(endpoint);
        }
    }
    all
}

/// Warns of a secret that leaves the machine in plaintext.
fn in_plaintext(reader: &mut Reader, place: &Place, registries: &[Endpoint], what: &str) {
    let plain = |endpoint: &&Endpoint| !endpoint.scheme.is_tls() && !is_here(&endpoint.host);
    if let Some(endpoint) = registries.iter().find(plain) {
        let message = format!(
            "the {what} goes to `{}` in plaintext: anybody on the way can read it",
            endpoint.host
        );
        reader.warn(place, message, "write it as https://");
    }
}

/// True if a host is this machine.
pub(super) fn is_here(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn check_tls(reader: &mut Reader, source: &Source, place: &Place, name: &str) {
    let registries = match source {
        Source::Consul(consul) => &consul.agents,
        Source::Etcd(etcd) => &etcd.members,
        _ => return,
    };
    if !registries.is_empty() && !registries.iter().any(|endpoint| endpoint.scheme.is_tls()) {
        let message =
            format!("this says how to speak TLS to `{name}`, which is asked in plaintext");
        let key = if name == "consul" {
            "agents"
        } else {
            "members"
        };
        reader.error_at(place, message, format!("write its {key} as https://"));
    }
}

/// True if endpoints of this source can have other schemes than the one that is configured.
pub(super) fn tells_schemes(source: &Source) -> bool {
    matches!(
        source,
        Source::File(_) | Source::Consul(_) | Source::Etcd(_)
    )
}
