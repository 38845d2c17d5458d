//! Values of headers that stand elsewhere: `{ env = "NAME" }` and `{ file = "PATH" }`.
//!
//! A key that opens a door need not stand in the configuration. It is never shown: not in problems,
//! not by `umay config show`, which shows where it stands.

use super::include::{Around, Reference};
use super::section::{Reader, Section};
use super::tree::{Node, Value};
use crate::message::{FieldId, REDACTED, redact};

/// True if the value of this header is not to be shown.
pub(super) fn is_secret(header: &str) -> bool {
    let lower = header.to_ascii_lowercase();
    let known = redact(FieldId::of(lower.as_bytes()), lower.as_bytes(), b"") == REDACTED;
    let words = ["secret", "token", "password"];
    known || words.iter().any(|word| lower.contains(word))
}

/// The reference that a value is, if it is one.
fn reference(around: &Around, node: &Node) -> Option<Reference> {
    let Value::Table(table) = &node.value else {
        return None;
    };
    let [(key, _, node)] = &table[..] else {
        return None;
    };
    match (key.as_str(), &node.value) {
        ("env", Value::Text(name) | Value::Untyped(name)) if !name.is_empty() => {
            Some(Reference::Env(name.clone()))
        }
        ("file", _) => around.path_at(node).map(Reference::File),
        _ => None,
    }
}

/// Reads a value: text, or what a reference leads to. True if it came from elsewhere.
pub(super) fn value(reader: &mut Reader, node: &Node, path: &str) -> Option<(String, bool)> {
    if !matches!(node.value, Value::Table(_)) {
        return reader.text(node).map(|text| (text.to_owned(), false));
    }
    let mut section = Section::open(reader, node, path)?;
    let (env, file) = (section.take("env"), section.take("file"));
    section.finish(reader);
    let named = match (env, file) {
        (Some(named), None) => {
            reader.text(named)?;
            named
        }
        (None, Some(named)) => {
            reader.path(named)?;
            named
        }
        _ => {
            let hint = "write { env = \"NAME\" } or { file = \"PATH\" }";
            reader.error(node, "this names no place, or more than one", hint);
            return None;
        }
    };
    let reference = reference(&reader.around, node);
    let values = &reader.around.values.0;
    let Some(came) = reference.and_then(|reference| values.get(&reference).cloned()) else {
        reader.error(named, "this was not read", "");
        return None;
    };
    match came {
        // Its last line may have an end, which no header has.
        Ok(text) => {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() || text.chars().any(char::is_control) {
                let message = "what stands there is empty, or has a character that no header has";
                reader.error(named, message, "it has to be one line");
                return None;
            }
            Some((text.to_owned(), true))
        }
        Err(why) => {
            reader.error(named, why, "");
            None
        }
    }
}

/// All references in a tree, where values may be some.
pub(super) fn references(around: &Around, root: &Node) -> Vec<Reference> {
    let mut found = Vec::new();
    let routes = at(root, "route").map(|node| match &node.value {
        Value::List(list) => list.iter().collect(),
        _ => vec![node],
    });
    for route in routes.unwrap_or_default() {
        let edits = ["request_headers", "response_headers"].map(|key| at(route, key));
        let maps = edits
            .into_iter()
            .flatten()
            .flat_map(|edit| [at(edit, "set"), at(edit, "add")]);
        for map in maps.chain([at(route, "headers")]).flatten() {
            if let Value::Table(table) = &map.value {
                let all = table
                    .iter()
                    .filter_map(|(.., node)| reference(around, node));
                found.extend(all);
            }
        }
    }
    for signal in ["tracing", "metrics"] {
        let headers = at(root, signal).and_then(|signal| at(signal, "headers"));
        if let Some(Value::Table(table)) = headers.map(|node| &node.value) {
            let all = table.iter();
            found.extend(all.filter_map(|(.., node)| reference(around, node)));
        }
    }
    found
}

fn at<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Value::Table(table) = &node.value else {
        return None;
    };
    let found = table.iter().find(|(have, ..)| have == key);
    found.map(|(.., node)| node)
}
