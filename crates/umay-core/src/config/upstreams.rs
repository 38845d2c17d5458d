//! Upstreams: `[upstream.NAME]`, and endpoints wherever they are written.

use std::collections::BTreeMap;

use super::problem::Place;
use super::scalar;
use super::section::{Reader, Section};
use super::tree::Node;
use crate::model::{Balance, CertificatePair, Endpoint, HostPattern, Upstream, UpstreamTls};

/// Upstreams by name.
pub(super) type Upstreams = BTreeMap<String, Upstream>;

/// Reads the named upstreams.
pub(super) fn read(reader: &mut Reader, top: &mut Section<'_>) -> Upstreams {
    let mut upstreams = Upstreams::new();
    let Some(all) = top.section(reader, "upstream") else {
        return upstreams;
    };
    for (name, place, node) in all.entries() {
        let Some(mut section) = Section::open(reader, node, "upstream.NAME") else {
            continue;
        };
        reader.places.upstreams.insert(name.clone(), place.clone());
        if name.is_empty() {
            reader.error_at(place, "an upstream needs a name", "");
        }
        if name.contains([':', ',', '/']) {
            let message =
                format!("`{name}` could be taken for an endpoint; a name has no `:`, `,` or `/`");
            reader.error_at(place, message, "");
        }
        let problems = reader.problems.len();
        let endpoints = section.take("to").map(|node| endpoints(reader, node));
        // One that is wrong has been told of, and is one.
        if endpoints.as_ref().is_none_or(Vec::is_empty) && reader.problems.len() == problems {
            let hint = "add to = [\"127.0.0.1:3000\"]";
            reader.error_at(place, format!("upstream `{name}` has no endpoints"), hint);
        }
        let (balance, _) = balance(reader, &mut section);
        let tls = section
            .section(reader, "tls")
            .map(|tls| upstream_tls(reader, tls));
        section.finish(reader);
        let upstream = Upstream {
            balance: balance.unwrap_or_default(),
            tls: tls.unwrap_or_default(),
            ..Upstream::new(name.clone(), endpoints.unwrap_or_default())
        };
        upstreams.insert(name.clone(), upstream);
    }
    upstreams
}

/// A list of endpoints.
pub(super) fn endpoints(reader: &mut Reader, node: &Node) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (node, text) in reader.texts(node) {
        if let Some(endpoint) = reader.ok(&node, scalar::endpoint(&text)) {
            if endpoints.contains(&endpoint) {
                reader.error(&node, format!("`{text}` is here twice"), "");
            } else {
                endpoints.push(endpoint);
            }
        }
    }
    endpoints
}

/// The key `balance`, and where it stands.
pub(super) fn balance(
    reader: &mut Reader,
    section: &mut Section<'_>,
) -> (Option<Balance>, Option<Place>) {
    let words: Vec<_> = Balance::all()
        .map(|balance| (balance.as_str(), balance))
        .collect();
    let node = section.take("balance");
    let place = node.map(|node| node.place.clone());
    (node.and_then(|node| reader.word(node, &words)), place)
}

fn upstream_tls(reader: &mut Reader, mut section: Section<'_>) -> UpstreamTls {
    let path = |reader: &mut Reader, node: Option<&Node>| node.and_then(|node| reader.path(node));
    let ca = path(reader, section.take("ca"));
    let crl = path(reader, section.take("crl"));
    let sni = section.take("sni").and_then(|node| {
        let text = reader.text(node)?;
        match reader.ok(node, scalar::host(text))? {
            HostPattern::Exact(name) => Some(name),
            _ => {
                reader.error(node, "this has to be one name", "");
                None
            }
        }
    });
    let (cert, key) = (section.take("cert"), section.take("key"));
    let client = match (path(reader, cert), path(reader, key)) {
        (Some(cert), Some(key)) => Some(CertificatePair { cert, key }),
        (None, None) => None,
        _ => {
            reader.error_at(section.place, "`cert` and `key` need each other", "");
            None
        }
    };
    let accept_any = section.take("dangerous_accept_any_certificate");
    let accept_any = accept_any
        .and_then(|node| reader.bool(node))
        .unwrap_or(false);
    if accept_any {
        let hint = "name the authority with ca = \"FILE\" instead, if you can";
        reader.warn(
            section.place,
            "endpoints are not verified: anybody on the way can read and change everything",
            hint,
        );
    }
    section.finish(reader);
    UpstreamTls {
        ca,
        crl,
        sni,
        client,
        accept_any,
    }
}
