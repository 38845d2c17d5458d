//! The tree as it counts: values of the environment with their types, paths as they are opened,
//! secrets left out, and what holds where nothing was written.

use std::time::Duration;

use super::Sources;
use super::include::Around;
use super::keys::{KEYS, Key};
use super::problem::Place;
use super::secret;
use super::tree::{self, Node, Table, Value};
use crate::model::Model;

/// In place of a secret.
const REDACTED: &str = "[redacted]";

/// The tree of a configuration that is good.
pub(super) fn table(sources: &Sources, model: &Model) -> Table {
    let (root, _) = tree::build(sources);
    let around = Around::of(sources);
    let Value::Table(mut table) = typed(&around, &root, "").value else {
        return Table::new();
    };
    // What it led to is here.
    table.retain(|(key, ..)| key != "include");
    for (path, value) in settings(model) {
        fill(&mut table, path, value);
    }
    table
}

/// Puts a value where none is.
fn fill(table: &mut Table, path: &str, value: Value) {
    let place = Place::Document;
    let (key, rest) = match path.split_once('.') {
        Some((key, rest)) => (key, Some(rest)),
        None => (path, None),
    };
    let there = table.iter_mut().find(|(have, ..)| have == key);
    match (there, rest) {
        (Some((.., node)), Some(rest)) => {
            if let Value::Table(inner) = &mut node.value {
                fill(inner, rest, value);
            }
        }
        (Some(_), None) => {}
        (None, Some(rest)) => {
            let mut inner = Table::new();
            fill(&mut inner, rest, value);
            let node = Node {
                value: Value::Table(inner),
                place: place.clone(),
            };
            table.push((key.to_owned(), place, node));
        }
        (None, None) => {
            let node = Node {
                value,
                place: place.clone(),
            };
            table.push((key.to_owned(), place, node));
        }
    }
}

fn key_at(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// True if a key takes values of this kind.
fn takes(key: &Key, kind: &str) -> bool {
    let mut kinds = key.kind.split(" or ").flat_map(|part| part.split(", "));
    kinds.any(|have| have == kind)
}

/// A value with its types; `path` is its key's in the list of keys.
fn typed(around: &Around, node: &Node, path: &str) -> Node {
    let value = match (&node.value, key_at(path)) {
        (Value::Table(table), key) => {
            let headers = key.is_some_and(|key| takes(key, "table of headers"));
            if key.is_some_and(|key| takes(key, "table of text")) {
                return node.clone();
            }
            // What a collector is sent opens its door.
            let secret = matches!(path, "tracing.headers" | "metrics.headers");
            let below = |(name, place, node): &(String, Place, Node)| {
                let node = match headers {
                    true => header(around, secret || secret::is_secret(name), node),
                    false => typed(around, node, &below(path, name)),
                };
                (name.clone(), place.clone(), node)
            };
            Value::Table(table.iter().map(below).collect())
        }
        (Value::List(list), _) => {
            Value::List(list.iter().map(|node| typed(around, node, path)).collect())
        }
        (Value::Untyped(_), Some(key)) if takes(key, "list") || takes(key, "endpoints") => {
            let all: Vec<_> = node
                .list()
                .iter()
                .map(|node| one(around, node, key))
                .collect();
            match <[Node; 1]>::try_from(all) {
                Ok([only]) => only.value,
                Err(all) => Value::List(all),
            }
        }
        (Value::Text(_) | Value::Untyped(_), Some(key)) => one(around, node, key).value,
        // Names of tables in `certs`.
        (Value::Text(_) | Value::Untyped(_), None) => file(around, node),
        (value, _) => value.clone(),
    };
    Node {
        value,
        place: node.place.clone(),
    }
}

/// The path of a key below another.
pub(super) fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        "upstream" => "upstream.NAME".to_owned(),
        "to" | "route.to" | "upstream.NAME.to" => format!("to.{name}"),
        path => format!("{path}.{name}"),
    }
}

/// One text as what its key takes.
fn one(around: &Around, node: &Node, key: &Key) -> Node {
    let value = match &node.value {
        Value::Text(text) | Value::Untyped(text) => {
            let constant = takes(key, &format!("\"{text}\""));
            let is_path = takes(key, "file") || takes(key, "directory");
            let constant = constant || (takes(key, "syslog") && text.starts_with("syslog"));
            let untyped = matches!(node.value, Value::Untyped(_));
            match is_path && !constant {
                true => file(around, node),
                false if untyped => from_untyped(text, key),
                false => node.value.clone(),
            }
        }
        value => value.clone(),
    };
    Node {
        value,
        place: node.place.clone(),
    }
}

/// Text of the environment as what its key takes.
fn from_untyped(text: &str, key: &Key) -> Value {
    let number = ["number", "number with a fraction", "status"];
    if takes(key, "true") && matches!(text, "true" | "false") {
        return Value::Bool(text == "true");
    }
    if number.iter().any(|kind| takes(key, kind)) {
        if let Ok(number) = text.parse::<i64>() {
            return Value::Integer(number);
        }
        if let Ok(number) = text.parse::<f64>() {
            return Value::Fraction(number);
        }
    }
    Value::Text(text.to_owned())
}

fn file(around: &Around, node: &Node) -> Value {
    let path = around.path_at(node);
    path.map_or_else(
        || node.value.clone(),
        |path| Value::Text(path.display().to_string()),
    )
}

/// The value of a header: not if it is `secret`, but where it stands if it stands elsewhere.
fn header(around: &Around, secret: bool, node: &Node) -> Node {
    let value = match &node.value {
        Value::Table(table) => {
            let entry = |(key, place, node): &(String, Place, Node)| {
                let value = match key.as_str() {
                    "file" => file(around, node),
                    _ => node.value.clone(),
                };
                let place = place.clone();
                (key.clone(), place.clone(), Node { value, place })
            };
            Value::Table(table.iter().map(entry).collect())
        }
        Value::Untyped(text) if text == "true" => Value::Bool(true),
        Value::Text(_) | Value::Untyped(_) if secret => Value::Text(REDACTED.to_owned()),
        value => value.clone(),
    };
    Node {
        value,
        place: node.place.clone(),
    }
}

/// What holds of the whole configuration, by its key.
fn settings(model: &Model) -> Vec<(&'static str, Value)> {
    let mut all = super::log::settings(&model.log, &model.privacy);
    // What has no value is left out, as in a document.
    let number = |number: Option<u64>| {
        number
            .and_then(|number| i64::try_from(number).ok())
            .map(Value::Integer)
    };
    let size = |number: Option<u64>| {
        let text = |number: u64| match number {
            number if number % 1024 == 0 && number > 0 => format!("{}KiB", number / 1024),
            number => number.to_string(),
        };
        number.map(|number| Value::Text(text(number)))
    };
    let text = |text: String| Some(Value::Text(text));
    let off = |set: Option<String>| Some(Value::Text(set.unwrap_or_else(|| "off".to_owned())));
    let socket = model
        .admin_socket
        .as_ref()
        .map(|path| path.display().to_string());
    let limits = &model.limits;
    let http2 = &model.http2;
    let allowance = &http2.allowance;
    let count = |count: usize| u64::try_from(count).ok();
    for (key, value) in [
        ("workers", number(model.workers.and_then(count))),
        ("zone", model.zone.clone().and_then(text)),
        (
            "admin.bind",
            off(model.admin.map(|address| address.to_string())),
        ),
        ("admin.socket", off(socket)),
        ("limits.head", size(count(limits.head))),
        ("limits.fields", number(count(limits.fields))),
        ("limits.target", size(count(limits.target))),
        ("limits.body", size(limits.body)),
        (
            "limits.connections",
            number(limits.connections.and_then(count)),
        ),
        ("limits.pool", number(count(limits.pool))),
        ("http2.max_streams", number(Some(http2.max_streams.into()))),
        (
            "http2.stream_window",
            size(Some(http2.stream_window.into())),
        ),
        (
            "http2.connection_window",
            size(Some(http2.connection_window.into())),
        ),
        ("http2.max_frame", size(Some(http2.max_frame.into()))),
        ("http2.max_resets", number(Some(allowance.resets.into()))),
        ("http2.max_pings", number(Some(allowance.pings.into()))),
        (
            "http2.max_continuations",
            number(Some(allowance.continuations.into())),
        ),
    ] {
        all.extend(value.map(|value| (key, value)));
    }
    let durations = durations(model).into_iter();
    all.extend(
        durations.filter_map(|(key, time)| Some((key, Value::Text(written_duration(time?))))),
    );
    all
}

fn durations(model: &Model) -> [(&'static str, Option<Duration>); 22] {
    let (timeouts, http2, dns) = (&model.timeouts, &model.http2, &model.dns);
    [
        ("timeouts.handshake", Some(timeouts.handshake)),
        ("timeouts.header", Some(timeouts.header)),
        ("timeouts.body", Some(timeouts.body)),
        ("timeouts.send", Some(timeouts.send)),
        ("timeouts.keep_alive", Some(timeouts.keep_alive)),
        ("timeouts.connect", Some(timeouts.connect)),
        ("timeouts.first_byte", Some(timeouts.first_byte)),
        ("timeouts.total", timeouts.total),
        ("timeouts.tunnel", Some(timeouts.tunnel)),
        ("timeouts.drain", Some(timeouts.drain)),
        ("timeouts.drain_delay", Some(timeouts.drain_delay)),
        ("timeouts.upgrade", timeouts.upgrade),
        ("timeouts.detect", Some(timeouts.detect)),
        ("timeouts.upstream_idle", Some(timeouts.upstream_idle)),
        ("http2.idle", Some(http2.idle)),
        ("http2.ping_interval", Some(http2.ping_interval)),
        ("http2.ping_timeout", Some(http2.ping_timeout)),
        ("log.slow", Some(model.log.slow)),
        ("dns.min_ttl", Some(dns.min_ttl)),
        ("dns.max_ttl", Some(dns.max_ttl)),
        ("dns.timeout", Some(dns.timeout)),
        ("dns.grace", Some(dns.grace)),
    ]
}

/// A duration as it is written in a document.
pub fn written_duration(time: Duration) -> String {
    let millis = time.as_millis();
    match millis % 1000 {
        0 => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}
