//! `[upstream.NAME.probe]`: asking endpoints whether they are well.

use super::scalar;
use super::section::{Reader, Section};
use super::settings::{count, duration};
use super::tree::{Node, Value};
use crate::model::{Probe, ProbeKind, Scheme};

/// A kind, before its own keys are read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Tcp,
    Tls,
    Http,
    Grpc,
}

const KINDS: [(&str, Kind); 4] = [
    ("tcp", Kind::Tcp),
    ("tls", Kind::Tls),
    ("http", Kind::Http),
    ("grpc", Kind::Grpc),
];

/// Keys that only one kind takes.
const OWNED: [(&str, Kind); 4] = [
    ("path", Kind::Http),
    ("host", Kind::Http),
    ("expect", Kind::Http),
    ("service", Kind::Grpc),
];

/// Reads it; `schemes` are those that the endpoints have or can have.
pub(super) fn read(
    reader: &mut Reader,
    mut section: Section<'_>,
    schemes: &[Scheme],
) -> Option<Probe> {
    let told = section.take("kind");
    let kind = match told {
        Some(node) => reader.word(node, &KINDS),
        None => Some(likely(&section, schemes)),
    };
    if let Some(kind) = kind {
        foreign(reader, &section, kind);
    }
    let kind_read = of_kind(reader, &mut section, kind.unwrap_or(Kind::Tcp));
    let mut probe = Probe::new(kind_read);
    let port = section
        .take("port")
        .and_then(|node| reader.number(node, 1, 65_535));
    probe.port = port.and_then(|port| u16::try_from(port).ok());
    times(reader, &mut section, &mut probe);
    for (key, value) in [("rise", &mut probe.rise), ("fall", &mut probe.fall)] {
        count(reader, &mut section, key, value, Reader::number, 1..=1000);
    }
    // Elsewhere than at the endpoint's own port, something else may answer.
    let deaf = |scheme: &Scheme| matches!(scheme, Scheme::Tcp | Scheme::Tls | Scheme::Http);
    if kind == Some(Kind::Grpc) && probe.port.is_none() && schemes.iter().any(deaf) {
        let hint = "write them as h2c://, h2:// or https://, or give the probe a `port` of its own";
        let message = "a gRPC probe needs endpoints that speak HTTP/2";
        reader.error_at(section.place, message, hint);
    }
    section.finish(reader);
    kind.map(|_| probe)
}

/// What is asked if nobody says: in HTTP if that is told about, or all endpoints speak it.
fn likely(section: &Section<'_>, schemes: &[Scheme]) -> Kind {
    let of_http =
        |(key, kind): &(&str, Kind)| *kind == Kind::Http && section.place_of(key).is_some();
    let speaks = |scheme: &Scheme| scheme.serves_http() && *scheme != Scheme::Detected;
    if OWNED.iter().any(of_http) || (!schemes.is_empty() && schemes.iter().all(speaks)) {
        Kind::Http
    } else {
        Kind::Tcp
    }
}

fn word(kind: Kind) -> &'static str {
    let found = KINDS.iter().find(|(_, other)| *other == kind);
    found.map_or("", |(word, _)| word)
}

/// Complains about keys of another kind.
fn foreign(reader: &mut Reader, section: &Section<'_>, kind: Kind) {
    for (key, owner) in OWNED {
        if owner != kind
            && let Some(place) = section.place_of(key)
        {
            let (owner, kind) = (word(owner), word(kind));
            let message =
                format!("`{key}` belongs to a probe of kind `{owner}`, and this one is `{kind}`");
            let hint = format!("write kind = \"{owner}\", or take it out");
            reader.error_at(place, message, hint);
        }
    }
}

fn of_kind(reader: &mut Reader, section: &mut Section<'_>, kind: Kind) -> ProbeKind {
    let path = section.take("path").and_then(|node| {
        let text = reader.text(node)?;
        reader.ok(node, scalar::target(text))
    });
    let host = section.take("host").and_then(|node| {
        let text = reader.text(node)?;
        reader.ok(node, scalar::authority(text))?;
        Some(text.to_owned())
    });
    let expect = section.take("expect").map(|node| expect(reader, node));
    let service = section.take("service").and_then(|node| {
        let text = reader.text(node)?;
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            reader.error(node, format!("`{text}` is no name of a gRPC service"), "");
        }
        Some(text.to_owned())
    });
    match kind {
        Kind::Tcp => ProbeKind::Tcp,
        Kind::Tls => ProbeKind::Tls,
        Kind::Http => ProbeKind::Http {
            path: path.unwrap_or_else(|| "/".to_owned()),
            host,
            expect: expect.unwrap_or_else(|| vec![(200, 299)]),
        },
        Kind::Grpc => ProbeKind::Grpc {
            service: service.unwrap_or_default(),
        },
    }
}

fn expect(reader: &mut Reader, node: &Node) -> Vec<(u16, u16)> {
    reader.filled(node, "leave the key out for 200 to 299");
    let read = statuses(reader, node, "a status such as 200 or \"200-299\"");
    read.into_iter().map(|(_, range)| range).collect()
}

/// Statuses and ranges of them, each with where it stands.
pub(super) fn statuses(
    reader: &mut Reader,
    node: &Node,
    expected: &str,
) -> Vec<(Node, (u16, u16))> {
    let mut all = Vec::new();
    for node in node.list() {
        let text = match &node.value {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) | Value::Untyped(text) => text.clone(),
            _ => {
                reader.expected(&node, expected);
                continue;
            }
        };
        if let Some(range) = reader.ok(&node, scalar::statuses(&text)) {
            all.push((node, range));
        }
    }
    all
}

/// A probe ends before the next one begins; the time that is not told follows the one that is.
fn times(reader: &mut Reader, section: &mut Section<'_>, probe: &mut Probe) {
    duration(reader, section, "interval", &mut probe.interval, false);
    let usual = probe.timeout;
    duration(reader, section, "timeout", &mut probe.timeout, false);
    if probe.timeout <= probe.interval {
        return;
    }
    match section.place_of("timeout") {
        None => probe.timeout = usual.min(probe.interval),
        Some(place) => {
            let message = "`timeout` is longer than `interval`";
            let hint = "a probe ends before the next one begins: raise interval, or lower timeout";
            reader.error_at(place, message, hint);
        }
    }
}
