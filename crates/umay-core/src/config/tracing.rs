//! `[tracing]`: which requests are traced, and where spans go.

use super::discover::is_here;
use super::section::{Reader, Section};
use super::settings::{count, duration};
use super::tree::{Node, Value};
use super::{filters, scalar, secret, tls};
use crate::model::{Collector, Otlp, Tracing};
use crate::trace::{Formats, Propagators, Sampler};

/// The names of formats, as `OTEL_PROPAGATORS` has them.
pub(super) const PROPAGATORS: [&str; 4] = ["tracecontext", "baggage", "b3", "b3multi"];

/// Reads it; `None` if nothing is traced.
pub(super) fn read(reader: &mut Reader, top: &mut Section<'_>) -> Option<Tracing> {
    let mut section = top.section(reader, "tracing")?;
    let endpoint = section.take("endpoint");
    let off = matches!(
        endpoint.map(|node| &node.value),
        Some(Value::Text(text) | Value::Untyped(text)) if text == "off"
    );
    let place = endpoint.map_or(section.place, |node| &node.place);
    let collector = match endpoint {
        _ if off => None,
        None => {
            let hint = "add endpoint = \"http://127.0.0.1:4318\"";
            reader.warn(place, "nothing is traced: there is no `endpoint`", hint);
            None
        }
        Some(node) => address(reader, node),
    };
    // What is written is checked, whether it is used or not.
    let default = || Collector::new(scalar::nowhere(), String::new());
    let known = collector.is_some();
    let mut tracing = Tracing::new(collector.unwrap_or_else(default));
    settings(reader, &mut section, &mut tracing);
    transport(reader, &mut section, &mut tracing.collector);
    if known {
        check(reader, &section, &tracing.collector);
    }
    section.finish(reader);
    known.then_some(tracing)
}

fn address(reader: &mut Reader, node: &Node) -> Option<Collector> {
    let text = reader.text(node)?;
    let (endpoint, path) = reader.ok(node, scalar::collector(text))?;
    let path = path.unwrap_or("/v1/traces").to_owned();
    Some(Collector::new(endpoint, path))
}

fn settings(reader: &mut Reader, section: &mut Section<'_>, tracing: &mut Tracing) {
    let sampler = &mut tracing.sampler;
    if let Some(node) = section.take("ratio")
        && let Some(ratio) = reader.fraction(node, 0.0, 1.0)
    {
        sampler.ratio = ratio;
    }
    if let Some(node) = section.take("trusted")
        && let Some(follow) = reader.word(node, &[("follow", true), ("ignore", false)])
    {
        sampler.follow = follow;
    }
    if let Some(node) = section.take("untrusted")
        && let Some(continues) = reader.word(node, &[("continue", true), ("restart", false)])
    {
        sampler.continues = continues;
    }
    if let Some(node) = section.take("propagators") {
        propagators(reader, node, sampler);
    }
    if let Some(node) = section.take("streams")
        && let Some(streams) = reader.bool(node)
    {
        tracing.streams = streams;
    }
    if let Some(node) = section.take("service_name")
        && let Some(name) = reader.name(node)
    {
        tracing.service_name = name;
    }
    if let Some(node) = section.take("attributes") {
        match &node.value {
            Value::Table(_) => attributes(reader, "", node, &mut tracing.attributes),
            _ => reader.expected(node, "a table"),
        }
    }
    let sizes = 64 * 1024..=1024 * 1024 * 1024;
    count(
        reader,
        section,
        "queue",
        &mut tracing.queue,
        Reader::size,
        sizes,
    );
    duration(reader, section, "interval", &mut tracing.interval, false);
}

fn transport(reader: &mut Reader, section: &mut Section<'_>, collector: &mut Collector) {
    let protocols = [("http/protobuf", Otlp::Http), ("grpc", Otlp::Grpc)];
    if let Some(node) = section.take("protocol")
        && let Some(protocol) = reader.word(node, &protocols)
    {
        collector.protocol = protocol;
    }
    if let Some(node) = section.take("compression")
        && let Some(gzip) = reader.word(node, &[("gzip", true), ("none", false)])
    {
        collector.gzip = gzip;
    }
    duration(reader, section, "timeout", &mut collector.timeout, false);
    if let Some(table) = section.section(reader, "headers") {
        for (name, place, node) in table.entries() {
            filters::field_name(reader, place, name);
            let path = section.path_of("headers.NAME");
            if let Some((value, _)) = secret::value(reader, node, &path) {
                if value.chars().any(char::is_control) {
                    let message = "this has a character that no header has";
                    reader.error(node, message, "");
                }
                collector.headers.push((name.clone(), value));
            }
        }
    }
    if let Some(section) = section.section(reader, "tls") {
        collector.tls = tls::read(reader, section, "collectors");
    }
}

/// What only both together can be wrong about.
fn check(reader: &mut Reader, section: &Section<'_>, collector: &Collector) {
    let endpoint = &collector.endpoint;
    if endpoint.scheme.is_tls() {
        return;
    }
    if let Some(place) = section.place_of("tls") {
        let message = "this says how to speak TLS to a collector that is spoken to in plaintext";
        reader.error_at(place, message, "write its endpoint as https://");
    }
    if let Some(place) = section.place_of("headers")
        && !is_here(&endpoint.host)
    {
        let message = format!(
            "the headers go to `{}` in plaintext: anybody on the way can read them",
            endpoint.host
        );
        reader.warn(place, message, "write its endpoint as https://");
    }
}

fn propagators(reader: &mut Reader, node: &Node, sampler: &mut Sampler) {
    let (mut formats, mut first) = <(Formats, Option<Formats>)>::default();
    let mut baggage = false;
    for (node, text) in reader.texts(node) {
        let mut one = Formats::default();
        match text.as_str() {
            "tracecontext" => (formats.w3c, one.w3c) = (true, true),
            "b3" => (formats.b3, one.b3) = (true, true),
            "b3multi" => (formats.b3_multi, one.b3_multi) = (true, true),
            "baggage" => {
                baggage = true;
                continue;
            }
            _ => {
                let hint = format!("there are {}", PROPAGATORS.join(", "));
                reader.error(&node, format!("`{text}` is no format of a context"), hint);
                continue;
            }
        }
        first.get_or_insert(one);
    }
    sampler.propagators = Propagators {
        formats,
        first: first.unwrap_or_default(),
        baggage,
    };
}

/// Attributes by name; what TOML makes a table of because of a dot is put together again.
fn attributes(reader: &mut Reader, before: &str, node: &Node, all: &mut Vec<(String, String)>) {
    let Value::Table(table) = &node.value else {
        return;
    };
    for (key, place, node) in table {
        let name = format!("{before}{key}");
        if key.is_empty() || name.chars().any(char::is_control) {
            reader.error_at(place, format!("{name:?} is no name"), "");
        } else if matches!(node.value, Value::Table(_)) {
            attributes(reader, &format!("{name}."), node, all);
        } else if let Some(value) = reader.text(node) {
            all.push((name, value.to_owned()));
        }
    }
}
