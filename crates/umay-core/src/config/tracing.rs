//! `[tracing]`: which requests are traced, and where spans go.

use super::section::{Reader, Section};
use super::settings::{count, duration};
use super::tree::{Node, Value};
use super::{collector, scalar};
use crate::model::{Collector, Tracing};
use crate::trace::{Formats, Propagators, Sampler};

/// The names of formats, as `OTEL_PROPAGATORS` has them.
pub(super) const PROPAGATORS: [&str; 4] = ["tracecontext", "baggage", "b3", "b3multi"];

/// Where spans are posted to, unless the endpoint has a path.
pub(super) const PATH: &str = "/v1/traces";

/// Reads it; `None` if nothing is traced.
pub(super) fn read(reader: &mut Reader, top: &mut Section<'_>) -> Option<Tracing> {
    let mut section = top.section(reader, "tracing")?;
    let endpoint = section.take("endpoint");
    let off = matches!(
        endpoint.map(|node| &node.value),
        Some(Value::Text(text) | Value::Untyped(text)) if text == "off"
    );
    let place = endpoint.map_or(section.place, |node| &node.place);
    let to = match endpoint {
        _ if off => None,
        None => {
            let hint = "add endpoint = \"http://127.0.0.1:4318\"";
            reader.warn(place, "nothing is traced: there is no `endpoint`", hint);
            None
        }
        Some(node) => collector::address(reader, node, PATH),
    };
    // What is written is checked, whether it is used or not.
    let default = || Collector::new(scalar::nowhere(), String::new());
    let known = to.is_some();
    let mut tracing = Tracing::new(to.unwrap_or_else(default));
    settings(reader, &mut section, &mut tracing);
    collector::transport(reader, &mut section, &mut tracing.collector);
    if known {
        collector::check(reader, &section, &tracing.collector);
    }
    section.finish(reader);
    known.then_some(tracing)
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
    let (name, attributes) = (&mut tracing.service_name, &mut tracing.attributes);
    collector::identity(reader, section, name, attributes);
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
