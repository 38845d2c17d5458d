//! What OpenTelemetry calls a family, and what it is counted in.
//!
//! The rule: `umay_http_request_duration_seconds` is `umay.http.request.duration`, in seconds. Each `_` becomes a dot,
//! but within [`COMPOUNDS`]; the unit leaves the name if it is seconds, and stays if it is bytes, since those
//! are what is counted. A collector that makes names for Prometheus of that (OpenTelemetry, "Prometheus and OpenMetrics
//! Compatibility") adds the unit if it is not in the name, and `_total` to what only grows: it comes to our names again.
//!
//! What every process has is called as OpenTelemetry's conventions for processes have it.

use super::super::page::{Family, Kind};

/// A family, as OpenTelemetry has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    /// In UCUM: `s`, `By`, or what is counted in braces; empty if it is nothing of these.
    pub(super) unit: String,
    /// What it is; of a gauge it may be a sum that goes up and down.
    pub(super) shape: Shape,
}

/// What a family's series are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// `Gauge`.
    #[default]
    Gauge,
    /// `Sum`.
    Sum { monotonic: bool },
    /// `Histogram` or `ExponentialHistogram`.
    Histogram,
}

/// Words that belong together.
const COMPOUNDS: [&str; 2] = ["in_flight", "access_log"];

/// Of gauges it says what they are a part of: a sum over processes means something.
const UP_AND_DOWN: Shape = Shape::Sum { monotonic: false };

/// Those of any process: ours, and the convention's.
const PROCESS: [(&str, &str, &str, Shape); 3] = [
    (
        "process_cpu_seconds",
        "process.cpu.time",
        "s",
        Shape::Sum { monotonic: true },
    ),
    (
        "process_open_fds",
        "process.unix.file_descriptor.count",
        "{file_descriptor}",
        UP_AND_DOWN,
    ),
    (
        "process_resident_memory_bytes",
        "process.memory.usage",
        "By",
        UP_AND_DOWN,
    ),
];

pub(super) fn named(family: &Family<'_>) -> Named {
    let known = PROCESS.iter().find(|(ours, ..)| *ours == family.name);
    if let Some((_, name, unit, shape)) = known {
        return Named {
            name: (*name).to_owned(),
            unit: (*unit).to_owned(),
            shape: *shape,
        };
    }
    let shape = match family.kind {
        Kind::Counter => Shape::Sum { monotonic: true },
        Kind::Gauge | Kind::Info => Shape::Gauge,
        Kind::Histogram => Shape::Histogram,
    };
    let (base, unit) = match (family.name.strip_suffix("_seconds"), family.kind) {
        // With the unit 1, a gauge would be taken for a ratio.
        (_, Kind::Info) => (format!("{}_info", family.name), String::new()),
        (Some(base), _) => (base.to_owned(), "s".to_owned()),
        (None, _) if family.name.ends_with("_bytes") => (family.name.to_owned(), "By".to_owned()),
        (None, _) => (family.name.to_owned(), counted(family.name)),
    };
    Named {
        name: dotted(&base),
        unit,
        shape,
    }
}

fn dotted(name: &str) -> String {
    let whole = |name: String, words: &&str| name.replace(&words.replace('_', "."), words);
    COMPOUNDS.iter().fold(name.replace('_', "."), whole)
}

/// What is counted, in braces: the first word of the name that is a plural, or what stands in for it.
fn counted(name: &str) -> String {
    let thing = match name {
        "umay_access_log_dropped" => "line".to_owned(),
        "umay_protocol_detected" => "connection".to_owned(),
        "umay_endpoint_in_flight" | "umay_upstream_queue" | "umay_upstream_queued" => {
            "request".to_owned()
        }
        "umay_upstream_retry_budget" => "retry".to_owned(),
        _ => match name.split('_').find_map(singular) {
            Some(thing) => thing,
            None => return String::new(),
        },
    };
    format!("{{{thing}}}")
}

fn singular(word: &str) -> Option<String> {
    let one = word.strip_suffix('s')?;
    if matches!(word, "tls" | "access" | "metrics" | "process") {
        return None;
    }
    Some(match one.strip_suffix("ie") {
        Some(stem) => format!("{stem}y"),
        None => match one.strip_suffix('e') {
            Some(stem) if stem.ends_with("sh") || stem.ends_with("ss") => stem.to_owned(),
            _ => one.to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ours, the kind, OpenTelemetry's name and unit.
    const TABLE: &str = "
        umay_http_request_duration_seconds histogram umay.http.request.duration s
        umay_http_request_bytes counter umay.http.request.bytes By
        umay_tcp_bytes counter umay.tcp.bytes By
        umay_http_requests counter umay.http.requests {request}
        umay_http_requests_in_flight gauge umay.http.requests.in_flight {request}
        umay_retries counter umay.retries {retry}
        umay_tls_handshakes counter umay.tls.handshakes {handshake}
        umay_tls_certificates_unfit gauge umay.tls.certificates.unfit {certificate}
        umay_http_responses counter umay.http.responses {response}
        umay_metrics_pushes counter umay.metrics.pushes {push}
        umay_access_log_dropped counter umay.access_log.dropped {line}
        umay_upstream_queue gauge umay.upstream.queue {request}
        umay_discovery_age_seconds gauge umay.discovery.age s
        umay_build info umay.build.info -
        umay_what counter umay.what -
        process_start_time_seconds gauge process.start.time s
        process_cpu_seconds counter process.cpu.time s
        process_open_fds gauge process.unix.file_descriptor.count {file_descriptor}";

    #[test]
    fn names_follow_the_rule() {
        for row in TABLE.trim().lines() {
            let words: Vec<_> = row.split_whitespace().collect();
            let [ours, kind, name, unit] = words[..] else {
                panic!("{row}");
            };
            let family = Family {
                name: ours,
                help: "",
                kind: match kind {
                    "counter" => Kind::Counter,
                    "gauge" => Kind::Gauge,
                    "info" => Kind::Info,
                    _ => Kind::Histogram,
                },
            };
            let got = named(&family);
            assert_eq!((&*got.name, &*got.unit), (name, unit.trim_matches('-')));
        }
    }
}
