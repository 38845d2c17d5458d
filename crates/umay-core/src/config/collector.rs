//! A collector that is spoken to in OTLP, as `[tracing]` and `[metrics]` have it; and what it is told of who
//! speaks.

use super::discover::is_here;
use super::section::{Reader, Section};
use super::settings::duration;
use super::tree::{Node, Value};
use super::{filters, scalar, secret, tls};
use crate::model::{Collector, Otlp};

/// Reads an endpoint; without a path in it, this one is posted to.
pub(super) fn address(reader: &mut Reader, node: &Node, path: &str) -> Option<Collector> {
    let text = reader.text(node)?;
    let (endpoint, own) = reader.ok(node, scalar::collector(text))?;
    Some(Collector::new(endpoint, own.unwrap_or(path).to_owned()))
}

/// Reads how the collector is spoken to, as far as that is told.
pub(super) fn transport(reader: &mut Reader, section: &mut Section<'_>, collector: &mut Collector) {
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
        collector.headers.clear();
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
pub(super) fn check(reader: &mut Reader, section: &Section<'_>, collector: &Collector) {
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

/// Reads who tells.
pub(super) fn identity(
    reader: &mut Reader,
    section: &mut Section<'_>,
    service_name: &mut String,
    all: &mut Vec<(String, String)>,
) {
    if let Some(node) = section.take("service_name")
        && let Some(name) = reader.name(node)
    {
        *service_name = name;
    }
    if let Some(node) = section.take("attributes") {
        all.clear();
        match &node.value {
            Value::Table(_) => attributes(reader, "", node, all),
            _ => reader.expected(node, "a table"),
        }
    }
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
