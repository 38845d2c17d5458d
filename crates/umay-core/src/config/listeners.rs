//! Listeners: `listen` with `cert` and `key` at the top, and `[[listener]]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::scalar;
use super::section::{Reader, Section};
use super::tree::{Node, Value};
use crate::model::{CertificatePair, CertificateSource, ClientAuth, Listener, ListenerTls};

/// Reads all listeners.
pub(super) fn read(reader: &mut Reader, top: &mut Section<'_>) -> BTreeMap<String, Listener> {
    let mut listeners = BTreeMap::new();
    let tls_place = ["cert", "key", "certs"]
        .iter()
        .find_map(|key| top.take(key));
    let tls_place = tls_place.map(|node| node.place.clone());
    let tls = certificates(reader, top).map(|certificates| ListenerTls {
        certificates,
        default: None,
        client_auth: None,
        only_tls13: false,
    });
    let listen = top.take("listen");
    let hint = "say where to listen: listen = \"0.0.0.0:443\"";
    if let Some(node) = listen {
        reader.filled(node, hint);
    }
    for (node, text) in listen.map(|node| reader.texts(node)).unwrap_or_default() {
        let Some(bind) = reader.ok(&node, scalar::address(&text)) else {
            continue;
        };
        let listener = Listener {
            name: text,
            bind,
            tls: tls.clone(),
            trusted_proxies: Vec::new(),
            forwarded: false,
            transparent: false,
        };
        add(reader, &mut listeners, &node, listener);
    }
    if let (Some(_), None) = (&tls, listen) {
        let place = tls_place.unwrap_or_else(|| top.place.clone());
        reader.error_at(&place, "`cert` needs `listen` beside it", hint);
    }
    let full = top.take("listener");
    if let Some(node) = full {
        reader.filled(node, "a listener begins with [[listener]]");
    }
    for node in full.map(entries).unwrap_or_default() {
        let Some(mut section) = Section::open(reader, node, "listener") else {
            continue;
        };
        let listener = listener(reader, &mut section);
        section.finish(reader);
        if let Some(listener) = listener {
            add(reader, &mut listeners, node, listener);
        }
    }
    if listeners.is_empty() && listen.is_none() && full.is_none() {
        let hint = "add listen = \"127.0.0.1:8080\" (or --listen, or UMAY_LISTEN)";
        reader.error_at(top.place, "there is no listener", hint);
    }
    listeners
}

fn add(
    reader: &mut Reader,
    listeners: &mut BTreeMap<String, Listener>,
    node: &Node,
    listener: Listener,
) {
    let name = &listener.name;
    let twice = |other: &&Listener| clash(other.bind, listener.bind);
    if let Some(first) = reader.places.listeners.get(name) {
        let message = format!("a second listener is named `{name}`; the first is at {first}");
        reader.error(node, message, "give one of them another name");
    } else if let Some(other) = listeners.values().find(twice) {
        let message = match other.bind == listener.bind {
            true => format!("listener `{}` is on {} already", other.name, other.bind),
            false => format!(
                "{} and {} of listener `{}` are one port: connections to one of them could go to either",
                listener.bind, other.bind, other.name
            ),
        };
        reader.error(node, message, "give one of them another port");
    } else {
        let place = node.place.clone();
        reader.places.listeners.insert(name.clone(), place);
        listeners.insert(name.clone(), listener);
    }
}

/// True if two listeners would have the same port of the same address: one for all addresses takes
/// those of each. IPv6 has ports of its own.
pub(super) fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |all: SocketAddr, one: SocketAddr| {
        all.ip().is_unspecified() && all.is_ipv6() == one.is_ipv6()
    };
    let same = one.ip() == other.ip() || takes(one, other) || takes(other, one);
    same && one.port() == other.port() && one.port() != 0
}

fn listener(reader: &mut Reader, section: &mut Section<'_>) -> Option<Listener> {
    let name = section
        .take("name")
        .and_then(|node| reader.counted_name(node));
    let bind = match section.take("listen") {
        None => {
            let hint = "add listen = \"0.0.0.0:443\"";
            reader.error_at(section.place, "this listener has no `listen`", hint);
            None
        }
        Some(node) => {
            let text = reader.text(node).map(str::to_owned);
            text.and_then(|text| {
                let bind = reader.ok(node, scalar::address(&text))?;
                Some((text, bind))
            })
        }
    };
    let tls = tls(reader, section);
    let mut trusted_proxies = Vec::new();
    if let Some(node) = section.take("trusted_proxies") {
        for (node, text) in reader.texts(node) {
            let net = text
                .parse()
                .or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from));
            let message = format!("`{text}` is no address and no network such as 10.0.0.0/8");
            trusted_proxies
                .extend(reader.ok(&node, net.map_err(|_: std::net::AddrParseError| message)));
        }
    }
    let forwarded = section.take("forwarded").and_then(|node| reader.bool(node));
    let transparent = section.take("transparent");
    let transparent = transparent.and_then(|node| reader.bool(node));
    let (text, bind) = bind?;
    Some(Listener {
        name: name.unwrap_or(text),
        bind,
        tls,
        trusted_proxies,
        forwarded: forwarded.unwrap_or(false),
        transparent: transparent.unwrap_or(false),
    })
}

fn tls(reader: &mut Reader, section: &mut Section<'_>) -> Option<ListenerTls> {
    let certificates = certificates(reader, section);
    let default = section
        .section(reader, "default_cert")
        .and_then(|section| pair(reader, section));
    let mut asking = None;
    let client_auth = section.section(reader, "client_auth").and_then(|section| {
        asking = Some(section.place.clone());
        client_auth(reader, section)
    });
    let tls_min = section.take("tls_min");
    let only_tls13 = tls_min.and_then(|node| reader.word(node, &[("1.2", false), ("1.3", true)]));
    if certificates.is_none() && default.is_none() {
        if let Some(place) = tls_min.map(|node| node.place.clone()).or(asking) {
            let hint = "add cert and key";
            reader.error_at(
                &place,
                "this needs a certificate on the same listener",
                hint,
            );
        }
        return None;
    }
    Some(ListenerTls {
        certificates: certificates.unwrap_or_default(),
        default,
        client_auth,
        only_tls13: only_tls13.unwrap_or(false),
    })
}

/// `cert` and `key`, and `certs`; `None` if there is none of them.
fn certificates(reader: &mut Reader, section: &mut Section<'_>) -> Option<Vec<CertificateSource>> {
    let (cert, key, certs) = (
        section.take("cert"),
        section.take("key"),
        section.take("certs"),
    );
    let place = cert.or(key).or(certs)?.place.clone();
    let paths = |reader: &mut Reader, node: Option<&Node>| {
        let nodes = node.map(Node::list).unwrap_or_default();
        nodes
            .iter()
            .filter_map(|node| reader.path(node))
            .collect::<Vec<_>>()
    };
    for node in [cert, key, certs].into_iter().flatten() {
        reader.filled(node, "leave the key out if there is no certificate");
    }
    let count = |node: Option<&Node>| node.map_or(0, |node| node.list().len());
    let (certs_count, keys_count) = (count(cert), count(key));
    let (cert, key) = (paths(reader, cert), paths(reader, key));
    if certs_count != keys_count {
        let message = format!("{certs_count} `cert` and {keys_count} `key` make no pairs");
        let hint = "each certificate needs its key (the same file, if both are in it); a directory of pairs goes to certs = [\"DIR\"]";
        reader.error_at(&place, message, hint);
    }
    let pairs = cert.into_iter().zip(key);
    let mut all: Vec<_> = pairs
        .map(|(cert, key)| CertificateSource::Pair(CertificatePair { cert, key }))
        .collect();
    for node in &certs.map(Node::list).unwrap_or_default() {
        if matches!(node.value, Value::Table(_)) {
            let section = Section::open(reader, node, "certs");
            let pair = section.and_then(|section| pair(reader, section));
            all.extend(pair.map(CertificateSource::Pair));
        } else {
            all.extend(reader.path(node).map(CertificateSource::Dir));
        }
    }
    Some(all)
}

/// A table with `cert` and `key`.
pub(super) fn pair(reader: &mut Reader, mut section: Section<'_>) -> Option<CertificatePair> {
    let mut path = |reader: &mut Reader, key: &'static str| match section.take(key) {
        Some(node) => reader.path(node),
        None => {
            reader.error_at(section.place, format!("`{key}` is missing"), "");
            None
        }
    };
    let (cert, key) = (path(reader, "cert"), path(reader, "key"));
    section.finish(reader);
    Some(CertificatePair {
        cert: cert?,
        key: key?,
    })
}

fn client_auth(reader: &mut Reader, mut section: Section<'_>) -> Option<ClientAuth> {
    let ca = match section.take("ca") {
        Some(node) => reader.path(node),
        None => {
            let hint = "name the PEM file of the authorities to trust";
            reader.error_at(section.place, "`ca` is missing", hint);
            None
        }
    };
    let crl = section.take("crl").and_then(|node| reader.path(node));
    let words = [("required", true), ("optional", false)];
    let mode = section
        .take("mode")
        .and_then(|node| reader.word(node, &words));
    section.finish(reader);
    Some(ClientAuth {
        ca: ca?,
        crl,
        required: mode.unwrap_or(true),
    })
}

/// The entries of a list, or the one value that stands for it.
pub(super) fn entries(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::List(list) => list.iter().collect(),
        _ => vec![node],
    }
}
