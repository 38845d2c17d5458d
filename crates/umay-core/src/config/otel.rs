//! The variables that the SDKs of OpenTelemetry read (`OTEL_*`), as keys of `[tracing]` and `[metrics]`.
//!
//! They come last: what any other source says of a key is not changed. They turn a signal on only by an
//! endpoint or by naming its exporter, since the others stand in the environment of whole fleets. As
//! the standard asks for, a word that is not known is told and passed over.

use super::problem::{Place, Problem, Severity};
use super::tracing::PROPAGATORS;
use super::tree::{Node, Table, Value};
use super::{Sources, metrics, tracing};

/// What is exported.
#[derive(Clone, Copy)]
struct Signal {
    /// Its table.
    table: &'static str,
    /// What names of variables call it.
    word: &'static str,
    /// Where it is posted to.
    path: &'static str,
    /// Exporters that mean that nothing is sent, beside `none`.
    others: &'static [&'static str],
}

const TRACES: Signal = Signal {
    table: "tracing",
    word: "TRACES",
    path: tracing::PATH,
    others: &[],
};

const METRICS: Signal = Signal {
    table: "metrics",
    word: "METRICS",
    path: metrics::PATH,
    // What it asks for is there anyway.
    others: &["prometheus"],
};

/// Puts what the variables say where nothing is.
pub(super) fn lay(root: &mut Node, sources: &Sources, problems: &mut Vec<Problem>) {
    let Value::Table(top) = &mut root.value else {
        return;
    };
    let mut otel = Otel {
        sources,
        problems,
        signal: TRACES,
    };
    let traced = otel.common(top);
    if traced {
        otel.sampler(top);
        otel.propagators(top);
        otel.resource(top);
    }
    otel.signal = METRICS;
    if otel.common(top) {
        otel.reader(top);
        // Who tells is the same for both.
        if !traced {
            otel.resource(top);
        }
    }
}

struct Otel<'a> {
    sources: &'a Sources,
    problems: &'a mut Vec<Problem>,
    /// The one that is being read.
    signal: Signal,
}

impl<'a> Otel<'a> {
    /// What both signals have; false if this one is off.
    fn common(&mut self, top: &mut Table) -> bool {
        let path = [self.signal.table, "endpoint"];
        let configured = text_of(top, &path).map(str::to_owned);
        if configured.as_deref() == Some("off") || self.is_disabled() {
            return false;
        }
        // What is said of all signals is said of that collector already.
        let beside = configured.as_deref() == Some(metrics::BESIDE);
        let protocol = self.protocol(beside);
        let grpc = protocol.is_some_and(|(_, word)| word == "grpc");
        match self.endpoint(grpc) {
            Some((variable, url)) => put(top, &path, variable, url),
            None if entry(top, &path).is_none() => return false,
            None => {}
        }
        let place = if beside {
            ["tracing", "endpoint"]
        } else {
            path
        };
        let secure = text_of(top, &place).is_some_and(|text| text.starts_with("https"));
        if let Some((variable, word)) = protocol {
            self.put(top, "protocol", variable, word.to_owned());
        }
        self.transport(top, secure, beside);
        true
    }

    fn put(&self, top: &mut Table, key: &str, variable: &str, value: String) {
        put(top, &[self.signal.table, key], variable, value);
    }

    /// A variable that is there and not empty.
    fn get(&self, name: &str) -> Option<(&'a str, &'a str)> {
        let found = self.sources.env.iter().find(|(have, _)| have == name)?;
        let (name, value) = (found.0.as_str(), found.1.trim());
        (!value.is_empty()).then_some((name, value))
    }

    /// The variable for this signal, or else that for all signals, unless `alone`.
    fn exporter(&self, name: &str, alone: bool) -> Option<(&'a str, &'a str)> {
        let word = self.signal.word;
        let all = || self.get(&format!("OTEL_EXPORTER_OTLP_{name}"));
        self.get(&format!("OTEL_EXPORTER_OTLP_{word}_{name}"))
            .or_else(|| all().filter(|_| !alone))
    }

    fn unknown(&mut self, variable: &str, value: &str, hint: impl Into<String>) {
        let problem = Problem {
            severity: Severity::Warning,
            place: Place::Env(variable.to_owned()),
            message: format!("`{value}` is passed over: Umay does not know it"),
            hint: hint.into(),
        };
        // It may be of both signals.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn is_disabled(&mut self) -> bool {
        let disabled = self.get("OTEL_SDK_DISABLED");
        if disabled.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true")) {
            return true;
        }
        let Signal { word, others, .. } = self.signal;
        let Some((variable, value)) = self.get(&format!("OTEL_{word}_EXPORTER")) else {
            return false;
        };
        let mut words = value.split(',').map(str::trim);
        if words.clone().any(|word| word == "otlp") {
            return false;
        }
        if !words.any(|word| word == "none" || others.contains(&word)) {
            let known = [&["otlp"], others].concat().join(", ");
            self.unknown(variable, value, format!("there are {known} and none"));
        }
        true
    }

    fn protocol(&mut self, alone: bool) -> Option<(&'a str, &'a str)> {
        let (variable, value) = self.exporter("PROTOCOL", alone)?;
        if matches!(value, "grpc" | "http/protobuf") {
            return Some((variable, value));
        }
        self.unknown(variable, value, "there are grpc and http/protobuf");
        None
    }

    /// The endpoint as the key takes it: that of all signals is only the beginning of a path.
    fn endpoint(&self, grpc: bool) -> Option<(&'a str, String)> {
        let Signal { word, path, .. } = self.signal;
        let own = format!("OTEL_EXPORTER_OTLP_{word}_ENDPOINT");
        if let Some((variable, url)) = self.get(&own) {
            let host = url.split_once("://").map_or(url, |(_, rest)| rest);
            let end = if grpc || host.contains('/') { "" } else { "/" };
            return Some((variable, format!("{url}{end}")));
        }
        if let Some((variable, url)) = self.get("OTEL_EXPORTER_OTLP_ENDPOINT") {
            let url = url.trim_end_matches('/');
            // What is no URL is told as it stands.
            let end = if grpc || !url.contains("://") {
                ""
            } else {
                path
            };
            return Some((variable, format!("{url}{end}")));
        }
        let (variable, _) = self.get(&format!("OTEL_{word}_EXPORTER"))?;
        let port = if grpc { "4317" } else { "4318" };
        Some((variable, format!("http://localhost:{port}")))
    }

    /// A number of milliseconds.
    fn milliseconds(&mut self, found: Option<(&'a str, &'a str)>) -> Option<(&'a str, u64)> {
        let (variable, value) = found?;
        let number = value.parse();
        if number.is_err() {
            self.unknown(variable, value, "it is a number of milliseconds");
        }
        Some((variable, number.ok()?))
    }

    fn timeout(&mut self, top: &mut Table, alone: bool) {
        let found = self.exporter("TIMEOUT", alone);
        let mut timeout = self.milliseconds(found);
        if self.signal.table == METRICS.table {
            let whole = self.milliseconds(self.get("OTEL_METRIC_EXPORT_TIMEOUT"));
            let both = [timeout, whole].into_iter().flatten();
            timeout = both.min_by_key(|(_, number)| *number);
        }
        if let Some((variable, number)) = timeout {
            self.put(top, "timeout", variable, format!("{number}ms"));
        }
    }

    fn transport(&mut self, top: &mut Table, secure: bool, alone: bool) {
        self.timeout(top, alone);
        match self.exporter("COMPRESSION", alone) {
            Some((variable, value @ ("gzip" | "none"))) => {
                self.put(top, "compression", variable, value.to_owned());
            }
            Some((variable, value)) => {
                self.unknown(variable, value, "there are gzip and none");
            }
            None => {}
        }
        let table = self.signal.table;
        if let Some((variable, value)) = self.exporter("HEADERS", alone) {
            for (name, value) in pairs(value) {
                put(top, &[table, "headers", &name], variable, value);
            }
        }
        // Who speaks in plaintext has no use for them.
        let files = [
            ("CERTIFICATE", "ca"),
            ("CLIENT_CERTIFICATE", "cert"),
            ("CLIENT_KEY", "key"),
        ];
        for (name, key) in files.into_iter().filter(|_| secure) {
            if let Some((variable, value)) = self.exporter(name, alone) {
                put(top, &[table, "tls", key], variable, value.to_owned());
            }
        }
    }

    /// What only metrics have.
    fn reader(&mut self, top: &mut Table) {
        if let Some((variable, number)) = self.milliseconds(self.get("OTEL_METRIC_EXPORT_INTERVAL"))
        {
            self.put(top, "interval", variable, format!("{number}ms"));
        }
        let temporality = self.exporter("TEMPORALITY_PREFERENCE", true);
        if let Some((variable, value)) = temporality
            && !value.eq_ignore_ascii_case("cumulative")
        {
            let hint = "what Umay pushes is cumulative, so that no push that is lost matters";
            self.unknown(variable, value, hint);
        }
        let Some((variable, value)) = self.exporter("DEFAULT_HISTOGRAM_AGGREGATION", true) else {
            return;
        };
        let histograms = match value.to_ascii_lowercase().as_str() {
            "explicit_bucket_histogram" => "explicit",
            "base2_exponential_bucket_histogram" => "exponential",
            _ => {
                let hint =
                    "there are explicit_bucket_histogram and base2_exponential_bucket_histogram";
                return self.unknown(variable, value, hint);
            }
        };
        self.put(top, "histograms", variable, histograms.to_owned());
    }

    fn sampler(&mut self, top: &mut Table) {
        let Some((variable, value)) = self.get("OTEL_TRACES_SAMPLER") else {
            return;
        };
        let follows = value.starts_with("parentbased_");
        let argument = self.get("OTEL_TRACES_SAMPLER_ARG");
        let ratio = match value.trim_start_matches("parentbased_") {
            "always_on" => (variable, "1"),
            "always_off" => (variable, "0"),
            "traceidratio" => argument.unwrap_or((variable, "1")),
            _ => {
                let hint =
                    "there are always_on, always_off and traceidratio, also with parentbased_";
                return self.unknown(variable, value, hint);
            }
        };
        self.put(top, "ratio", ratio.0, ratio.1.to_owned());
        let trusted = if follows { "follow" } else { "ignore" };
        self.put(top, "trusted", variable, trusted.to_owned());
    }

    fn propagators(&mut self, top: &mut Table) {
        let Some((variable, value)) = self.get("OTEL_PROPAGATORS") else {
            return;
        };
        let mut known = Vec::new();
        for word in value.split(',').map(str::trim) {
            if PROPAGATORS.contains(&word) {
                known.push(word);
            } else if word != "none" {
                let hint = format!("there are {}", PROPAGATORS.join(", "));
                self.unknown(variable, word, hint);
            }
        }
        self.put(top, "propagators", variable, known.join(","));
    }

    fn resource(&self, top: &mut Table) {
        if let Some((variable, name)) = self.get("OTEL_SERVICE_NAME") {
            self.put(top, "service_name", variable, name.to_owned());
        }
        let Some((variable, value)) = self.get("OTEL_RESOURCE_ATTRIBUTES") else {
            return;
        };
        let table = self.signal.table;
        for (name, value) in pairs(value) {
            match name.as_str() {
                "service.name" => self.put(top, "service_name", variable, value),
                _ => put(top, &[table, "attributes", &name], variable, value),
            }
        }
    }
}

/// `name=value` with commas between; values are percent-encoded.
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split(',').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let name = name.trim();
        (!name.is_empty()).then(|| (name.to_owned(), decoded(value.trim())))
    })
}

fn decoded(text: &str) -> String {
    let hex = |byte: &u8| char::from(*byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let pair = match (first, after) {
            (b'%', [high, low, after @ ..]) => hex(high)
                .zip(hex(low))
                .map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        let (byte, after) = pair.unwrap_or_else(|| (u32::from(*first), after));
        bytes.extend(u8::try_from(byte));
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn entry<'t>(table: &'t Table, path: &[&str]) -> Option<&'t Node> {
    let (key, rest) = path.split_first()?;
    let (.., node) = table.iter().find(|(have, ..)| have == key)?;
    match (&node.value, rest) {
        (_, []) => Some(node),
        (Value::Table(inner), rest) => entry(inner, rest),
        _ => None,
    }
}

/// The text that a value is, if it is one.
fn text_of<'t>(table: &'t Table, path: &[&str]) -> Option<&'t str> {
    match &entry(table, path)?.value {
        Value::Text(text) | Value::Untyped(text) => Some(text),
        _ => None,
    }
}

/// Puts a value where none is.
fn put(table: &mut Table, path: &[&str], variable: &str, value: String) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    let place = Place::Env(variable.to_owned());
    // Names of headers have no case.
    let there = table
        .iter_mut()
        .find(|(have, ..)| have.eq_ignore_ascii_case(key));
    if let Some((.., node)) = there {
        if let (Value::Table(inner), false) = (&mut node.value, rest.is_empty()) {
            put(inner, rest, variable, value);
        }
        return;
    }
    let value = if rest.is_empty() {
        Value::Untyped(value)
    } else {
        let mut inner = Table::new();
        put(&mut inner, rest, variable, value);
        Value::Table(inner)
    };
    let node = Node {
        value,
        place: place.clone(),
    };
    table.push(((*key).to_owned(), place, node));
}
