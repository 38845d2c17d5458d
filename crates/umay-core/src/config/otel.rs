//! The variables that the SDKs of OpenTelemetry read (`OTEL_*`), as keys of `[tracing]`.
//!
//! They come last: what any other source says of a key is not changed. They turn tracing on only by an
//! endpoint or by naming the exporter, since the others stand in the environment of whole fleets. As
//! the standard asks for, a word that is not known is told and passed over.

use super::Sources;
use super::problem::{Place, Problem, Severity};
use super::tracing::PROPAGATORS;
use super::tree::{Node, Table, Value};

/// Puts what the variables say where nothing is.
pub(super) fn lay(root: &mut Node, sources: &Sources, problems: &mut Vec<Problem>) {
    let Value::Table(top) = &mut root.value else {
        return;
    };
    let mut otel = Otel { sources, problems };
    let endpoint = entry(top, &["tracing", "endpoint"]).map(|node| &node.value);
    let configured = match endpoint {
        Some(Value::Text(text) | Value::Untyped(text)) if text == "off" => return,
        endpoint => endpoint.is_some(),
    };
    if otel.is_disabled() {
        return;
    }
    let grpc = otel.protocol();
    let place = match otel.endpoint(grpc.is_some_and(|(_, word)| word == "grpc")) {
        Some((variable, url)) => {
            put(top, &["tracing", "endpoint"], variable, url);
            true
        }
        None => configured,
    };
    if !place {
        return;
    }
    let secure = matches!(
        entry(top, &["tracing", "endpoint"]).map(|node| &node.value),
        Some(Value::Text(text) | Value::Untyped(text)) if text.starts_with("https")
    );
    if let Some((variable, word)) = grpc {
        put(top, &["tracing", "protocol"], variable, word.to_owned());
    }
    otel.transport(top, secure);
    otel.sampler(top);
    otel.propagators(top);
    otel.resource(top);
}

struct Otel<'a> {
    sources: &'a Sources,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Otel<'a> {
    /// A variable that is there and not empty.
    fn get(&self, name: &str) -> Option<(&'a str, &'a str)> {
        let found = self.sources.env.iter().find(|(have, _)| have == name)?;
        let (name, value) = (found.0.as_str(), found.1.trim());
        (!value.is_empty()).then_some((name, value))
    }

    /// The variable for traces, or else that for all signals.
    fn exporter(&self, name: &str) -> Option<(&'a str, &'a str)> {
        self.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
            .or_else(|| self.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    fn unknown(&mut self, variable: &str, value: &str, hint: String) {
        self.problems.push(Problem {
            severity: Severity::Warning,
            place: Place::Env(variable.to_owned()),
            message: format!("`{value}` is passed over: Umay does not know it"),
            hint,
        });
    }

    fn is_disabled(&mut self) -> bool {
        let disabled = self.get("OTEL_SDK_DISABLED");
        if disabled.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true")) {
            return true;
        }
        let Some((variable, value)) = self.get("OTEL_TRACES_EXPORTER") else {
            return false;
        };
        let mut words = value.split(',').map(str::trim);
        if words.clone().any(|word| word == "otlp") {
            return false;
        }
        if !words.any(|word| word == "none") {
            self.unknown(variable, value, "there are otlp and none".to_owned());
        }
        true
    }

    fn protocol(&mut self) -> Option<(&'a str, &'a str)> {
        let (variable, value) = self.exporter("PROTOCOL")?;
        if matches!(value, "grpc" | "http/protobuf") {
            return Some((variable, value));
        }
        self.unknown(
            variable,
            value,
            "there are grpc and http/protobuf".to_owned(),
        );
        None
    }

    /// The endpoint as the key takes it: that of all signals is only the beginning of a path.
    fn endpoint(&self, grpc: bool) -> Option<(&'a str, String)> {
        if let Some((variable, url)) = self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            let host = url.split_once("://").map_or(url, |(_, rest)| rest);
            let end = if grpc || host.contains('/') { "" } else { "/" };
            return Some((variable, format!("{url}{end}")));
        }
        if let Some((variable, url)) = self.get("OTEL_EXPORTER_OTLP_ENDPOINT") {
            let url = url.trim_end_matches('/');
            let end = if grpc { "" } else { "/v1/traces" };
            return Some((variable, format!("{url}{end}")));
        }
        let (variable, _) = self.get("OTEL_TRACES_EXPORTER")?;
        let port = if grpc { "4317" } else { "4318" };
        Some((variable, format!("http://localhost:{port}")))
    }

    fn transport(&mut self, top: &mut Table, secure: bool) {
        match self.exporter("TIMEOUT") {
            Some((variable, value)) if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                put(top, &["tracing", "timeout"], variable, format!("{value}ms"));
            }
            Some((variable, value)) => {
                self.unknown(variable, value, "it is a number of milliseconds".to_owned());
            }
            None => {}
        }
        match self.exporter("COMPRESSION") {
            Some((variable, value @ ("gzip" | "none"))) => {
                put(top, &["tracing", "compression"], variable, value.to_owned());
            }
            Some((variable, value)) => {
                self.unknown(variable, value, "there are gzip and none".to_owned());
            }
            None => {}
        }
        if let Some((variable, value)) = self.exporter("HEADERS") {
            for (name, value) in pairs(value) {
                put(top, &["tracing", "headers", &name], variable, value);
            }
        }
        // Who speaks in plaintext has no use for them.
        let files = [
            ("CERTIFICATE", "ca"),
            ("CLIENT_CERTIFICATE", "cert"),
            ("CLIENT_KEY", "key"),
        ];
        for (name, key) in files.into_iter().filter(|_| secure) {
            if let Some((variable, value)) = self.exporter(name) {
                put(top, &["tracing", "tls", key], variable, value.to_owned());
            }
        }
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
                return self.unknown(variable, value, hint.to_owned());
            }
        };
        put(top, &["tracing", "ratio"], ratio.0, ratio.1.to_owned());
        let trusted = if follows { "follow" } else { "ignore" };
        put(top, &["tracing", "trusted"], variable, trusted.to_owned());
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
        put(top, &["tracing", "propagators"], variable, known.join(","));
    }

    fn resource(&self, top: &mut Table) {
        if let Some((variable, name)) = self.get("OTEL_SERVICE_NAME") {
            put(top, &["tracing", "service_name"], variable, name.to_owned());
        }
        let Some((variable, value)) = self.get("OTEL_RESOURCE_ATTRIBUTES") else {
            return;
        };
        for (name, value) in pairs(value) {
            match name.as_str() {
                "service.name" => put(top, &["tracing", "service_name"], variable, value),
                _ => put(top, &["tracing", "attributes", &name], variable, value),
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
