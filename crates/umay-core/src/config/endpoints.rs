//! Endpoints, wherever they are written: as text, or as a table that says more. Files and registries
//! that tell endpoints are read by the same rules.

use std::ops::RangeInclusive;

use super::scalar;
use super::section::{Reader, Section};
use super::tree::{Node, Value};
use crate::model::{Discovery, Endpoint, Scheme, Source, UpstreamTls};

/// In place of endpoints: where the client was headed.
pub(super) const ORIGINAL: &str = "original-destination";

/// The largest weight that an endpoint may have; 0, the least, gets no new requests.
pub const MOST_WEIGHT: u32 = 1_000;

/// What a weight may be.
const WEIGHT: RangeInclusive<u64> = 0..=MOST_WEIGHT as u64;

/// What a priority may be.
const PRIORITY: RangeInclusive<u64> = 0..=15;

/// Reads an endpoint from text, as `to` takes it: `host:port`, or with how to speak to it, such as
/// `https://host`. The error is a sentence for people.
pub fn endpoint(text: &str) -> Result<Endpoint, String> {
    scalar::endpoint(text)
}

/// Reads an endpoint of which more is told than its text; `None` is what was not told.
pub fn endpoint_with(
    text: &str,
    weight: Option<u64>,
    priority: Option<u64>,
    zone: Option<&str>,
) -> Result<Endpoint, String> {
    let mut endpoint = scalar::endpoint(text)?;
    let within = |what, number: u64, range: RangeInclusive<u64>| {
        let small = u32::try_from(number).ok();
        small
            .filter(|_| range.contains(&number))
            .ok_or_else(|| format!("a {what} is from {} to {}", range.start(), range.end()))
    };
    if let Some(weight) = weight {
        endpoint.weight = within("weight", weight, WEIGHT)?;
    }
    if let Some(priority) = priority {
        endpoint.priority = within("priority", priority, PRIORITY)?;
    }
    if let Some(zone) = zone {
        if zone.is_empty() || zone.chars().any(char::is_control) {
            return Err(format!("{zone:?} is no zone"));
        }
        endpoint.zone = Some(zone.to_owned());
    }
    Ok(endpoint)
}

/// An endpoint as `to` takes it, without what a table tells of it.
pub fn written(endpoint: &Endpoint) -> String {
    let scheme = match endpoint.scheme {
        Scheme::Detected => "",
        Scheme::Http => "http://",
        Scheme::Https => "https://",
        Scheme::H2c => "h2c://",
        Scheme::H2 => "h2://",
        Scheme::Tcp => "tcp://",
        Scheme::Tls => "tls://",
    };
    let (host, port) = (&endpoint.host, endpoint.port);
    match host.contains(':') {
        true => format!("{scheme}[{host}]:{port}"),
        false => format!("{scheme}{host}:{port}"),
    }
}

/// What stands behind `to`, if it is no upstream's name.
#[derive(Debug)]
pub(super) enum To {
    /// These; empty if they were all wrong, or there is none.
    Endpoints(Vec<Endpoint>),
    /// Where the client was headed.
    Original,
}

/// Reads what stands behind `to`.
pub(super) fn to(reader: &mut Reader, node: &Node) -> To {
    let list = node.list();
    if let [only] = &list[..]
        && is_original(only)
    {
        return To::Original;
    }
    To::Endpoints(endpoints(reader, &list))
}

fn is_original(node: &Node) -> bool {
    matches!(&node.value, Value::Text(text) | Value::Untyped(text) if text == ORIGINAL)
}

/// The discovery that [`ORIGINAL`] stands for.
pub(super) fn original() -> Discovery {
    Discovery {
        source: Source::OriginalDestination,
        scheme: Scheme::Detected,
        tls: UpstreamTls::default(),
    }
}

fn endpoints(reader: &mut Reader, list: &[Node]) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for node in list {
        if is_original(node) {
            let hint = "a connection goes either there or to endpoints; make two routes of it";
            reader.error(node, format!("`{ORIGINAL}` stands alone"), hint);
            continue;
        }
        let read = match &node.value {
            Value::Table(_) => table(reader, node),
            _ => text(reader, node),
        };
        let Some((text, endpoint)) = read else {
            continue;
        };
        if endpoints.iter().any(|other| other.is(&endpoint)) {
            reader.error(node, format!("`{text}` is here twice"), "");
        } else {
            endpoints.push(endpoint);
        }
    }
    endpoints
}

fn text(reader: &mut Reader, node: &Node) -> Option<(String, Endpoint)> {
    let text = reader.text(node)?;
    let endpoint = reader.ok(node, endpoint(text))?;
    Some((text.to_owned(), endpoint))
}

/// An endpoint as a table, in which its text is `to`.
fn table(reader: &mut Reader, node: &Node) -> Option<(String, Endpoint)> {
    let mut section = Section::open(reader, node, "to")?;
    let to = section.take("to");
    if to.is_none() {
        let hint = "write { to = \"127.0.0.1:3000\", weight = 3 }";
        reader.error(node, "this endpoint has no `to`", hint);
    }
    let read = to.and_then(|node| text(reader, node));
    let mut number = |reader: &mut Reader, key, range: RangeInclusive<u64>| {
        let number = reader.number(section.take(key)?, *range.start(), *range.end())?;
        u32::try_from(number).ok()
    };
    let weight = number(reader, "weight", WEIGHT);
    let priority = number(reader, "priority", PRIORITY);
    let zone = section.take("zone").and_then(|node| {
        let places = &mut reader.places;
        places.zone.get_or_insert_with(|| node.place.clone());
        reader.name(node)
    });
    section.finish(reader);
    let (text, plain) = read?;
    let endpoint = Endpoint {
        weight: weight.unwrap_or(plain.weight),
        priority: priority.unwrap_or(plain.priority),
        zone,
        ..plain
    };
    Some((text, endpoint))
}
