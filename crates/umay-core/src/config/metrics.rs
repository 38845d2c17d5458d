//! `[metrics]`: where metrics are pushed.

use super::section::{Reader, Section};
use super::settings::duration;
use super::tree::{Node, Value};
use super::{collector, scalar, tracing};
use crate::model::{Collector, Histograms, Otlp, Push, Tracing};

/// Where metrics are posted to, unless the endpoint has a path.
pub(super) const PATH: &str = "/v1/metrics";

/// The endpoint that means the collector of spans.
pub(super) const BESIDE: &str = "tracing";

/// Reads it; `None` if nothing is pushed. `spans` is what `[tracing]` says.
pub(super) fn read(
    reader: &mut Reader,
    top: &mut Section<'_>,
    spans: Option<&Tracing>,
) -> Option<Push> {
    let mut section = top.section(reader, "metrics")?;
    let endpoint = section.take("endpoint");
    let to = match endpoint.map(|node| (node, &node.value)) {
        Some((_, Value::Text(text) | Value::Untyped(text))) if text == "off" => None,
        Some((node, Value::Text(text) | Value::Untyped(text))) if text == BESIDE => {
            beside(reader, top, node, spans)
        }
        Some((node, _)) => collector::address(reader, node, PATH),
        None => {
            let hint = "add endpoint = \"http://127.0.0.1:4318\", or \"tracing\" if they go where spans go";
            let message = "nothing is pushed: there is no `endpoint`";
            reader.warn(section.place, message, hint);
            None
        }
    };
    // What is written is checked, whether it is used or not.
    let default = || Collector::new(scalar::nowhere(), String::new());
    let known = to.is_some();
    let mut push = Push::new(to.unwrap_or_else(default), spans);
    settings(reader, &mut section, &mut push);
    collector::transport(reader, &mut section, &mut push.collector);
    if known {
        // It tells only of what stands here.
        collector::check(reader, &section, &push.collector);
    }
    section.finish(reader);
    known.then_some(push)
}

fn settings(reader: &mut Reader, section: &mut Section<'_>, push: &mut Push) {
    duration(reader, section, "interval", &mut push.interval, false);
    let words = [
        ("explicit", Histograms::Explicit),
        ("exponential", Histograms::Exponential),
    ];
    if let Some(node) = section.take("histograms")
        && let Some(histograms) = reader.word(node, &words)
    {
        push.histograms = histograms;
    }
    let (name, attributes) = (&mut push.service_name, &mut push.attributes);
    collector::identity(reader, section, name, attributes);
}

/// The collector of spans, as that of metrics.
fn beside(
    reader: &mut Reader,
    top: &Section<'_>,
    node: &Node,
    spans: Option<&Tracing>,
) -> Option<Collector> {
    let Some(spans) = spans else {
        // What is wrong with an endpoint that is there has been told.
        if !top.has_on(BESIDE, "endpoint") {
            let hint = "write where they are to go, as in endpoint = \"http://127.0.0.1:4318\"";
            reader.error(
                node,
                "spans go nowhere: `tracing.endpoint` is not set",
                hint,
            );
        }
        return None;
    };
    let mut collector = spans.collector.clone();
    let (path, query) = match collector.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (collector.path.as_str(), None),
    };
    let Some(base) = path.strip_suffix(tracing::PATH) else {
        if collector.protocol == Otlp::Grpc {
            return Some(collector);
        }
        let message =
            format!("spans are posted to `{path}`, which does not tell where metrics are");
        reader.error(node, message, "write the endpoint with its path");
        return None;
    };
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    collector.path = format!("{base}{PATH}{query}");
    Some(collector)
}
