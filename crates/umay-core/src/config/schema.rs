//! The JSON Schema of the document (draft 2020-12), made from the list of keys.
//!
//! It says what a document can look like, for editors and for whoever writes documents by program.
//! What parts of a document make of each other is beyond it: that is what `umay check` is for.

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key};
use crate::model::Balance;

/// Keys that are lists of tables.
const LISTS: [&str; 2] = ["listener", "route"];

/// The table whose keys are names.
const NAMED: &str = "upstream";

/// The schema.
pub fn schema() -> Value {
    let mut root = table("");
    let all = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of Umay",
        "description": "The keys of umay.toml; see docs/config.md.",
        "$defs": { "endpoint": table("to.") },
    });
    if let (Some(root), Value::Object(all)) = (root.as_object_mut(), all) {
        root.extend(all);
    }
    root
}

/// The schema of a table, by the path of its keys with its dot.
fn table(path: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, key) in children(path) {
        let full = format!("{path}{name}");
        let mut schema = match key {
            // The one table whose name is that of a key, too: it is a kind of endpoint.
            Some(key) if full == "to" => kinds(key),
            Some(key) => with_table(key),
            None if full == NAMED => json!({
                "type": "object",
                "additionalProperties": table("upstream.NAME."),
            }),
            None => table(&format!("{full}.")),
        };
        if LISTS.contains(&full.as_str()) {
            let list = json!({ "type": "array", "items": schema, "minItems": 1 });
            schema = any(vec![list, schema]);
        }
        if let (Some(key), Some(schema)) = (key, schema.as_object_mut()) {
            schema.insert("description".to_owned(), key.what().into());
            if let Ok(default) = literal(&key.default()) {
                schema.insert("default".to_owned(), default);
            }
            if let Ok(example) = literal(key.example) {
                schema.insert("examples".to_owned(), json!([example]));
            }
            if key.default() == "required" {
                required.push(name.to_owned());
            }
        }
        properties.insert(name.to_owned(), schema);
    }
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if let (Some(schema), false) = (schema.as_object_mut(), required.is_empty()) {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

/// The keys right below a path, each with its entry in the list, if it has one itself.
fn children(path: &str) -> Vec<(&'static str, Option<&'static Key>)> {
    let mut all: Vec<(&'static str, Option<&'static Key>)> = Vec::new();
    for key in KEYS {
        let Some(rest) = key.path.strip_prefix(path) else {
            continue;
        };
        // What is told of an endpoint is no table of the document.
        if path.is_empty() && rest.starts_with("to.") {
            continue;
        }
        let name = rest.split('.').next().unwrap_or(rest);
        let itself = (name == rest).then_some(key);
        match all.iter_mut().find(|(have, _)| *have == name) {
            Some((_, entry)) => *entry = entry.or(itself),
            None => all.push((name, itself)),
        }
    }
    all
}

/// A key that may have keys of its own.
fn with_table(key: &Key) -> Value {
    let below = format!("{}.", key.path);
    if children(&below).is_empty() {
        return kinds(key);
    }
    // `table` among the kinds is the table that these keys make.
    let others = words(key.kind).into_iter().filter(|kind| kind != "table");
    let mut all: Vec<_> = others.map(|kind| of_kind(&kind, key)).collect();
    all.push(table(&below));
    any(all)
}

/// What a key takes.
fn kinds(key: &Key) -> Value {
    let words = words(key.kind);
    let is_list = words.iter().any(|kind| kind == "list");
    let mut all: Vec<_> = words
        .iter()
        .filter(|kind| *kind != "list")
        .map(|kind| of_kind(kind, key))
        .collect();
    if is_list {
        let entry = any(all.clone());
        all.push(json!({ "type": "array", "items": entry }));
    }
    any(all)
}

/// The kinds that are written as `A, B or C`.
fn words(kind: &str) -> Vec<String> {
    let all = kind.split(" or ").flat_map(|part| part.split(", "));
    all.map(str::to_owned).collect()
}

fn any(mut all: Vec<Value>) -> Value {
    match all.len() {
        1 => all.remove(0),
        _ => json!({ "anyOf": all }),
    }
}

fn of_kind(kind: &str, key: &Key) -> Value {
    let text = || json!({ "type": "string" });
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match kind {
        "number" => json!({ "type": "integer", "minimum": 0 }),
        "number with a fraction" => json!({ "type": "number", "minimum": 0 }),
        "true" | "false" => json!({ "type": "boolean" }),
        "duration" => pattern("^[0-9]+ *(ms|s|m|h|d)$"),
        "size" => json!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+ *([bB]|[kKmMgG]([iI][bB])?)?$" },
        ]}),
        "status" => json!({ "anyOf": [
            { "type": "integer", "minimum": 200, "maximum": 599 },
            { "type": "string", "pattern": "^[2-5][0-9][0-9](-[2-5][0-9][0-9])?$" },
        ]}),
        "balance" => {
            let all: Vec<_> = Balance::all().map(|balance| balance.as_str()).collect();
            json!({ "enum": all })
        }
        "address" => pattern("^([0-9.]+|\\[[0-9a-fA-F:.%]+\\])?:[0-9]{1,5}$"),
        "path" => pattern("^=?/"),
        "endpoint" => text(),
        "endpoints" => {
            let endpoint = json!({ "anyOf": [text(), { "$ref": "#/$defs/endpoint" }] });
            let list = json!({ "type": "array", "items": endpoint, "minItems": 1 });
            any(vec![text(), json!({ "$ref": "#/$defs/endpoint" }), list])
        }
        "pair" => json!({
            "type": "object",
            "properties": { "cert": text(), "key": text() },
            "required": ["cert", "key"],
            "additionalProperties": false,
        }),
        "table of headers" => {
            let mut values = vec![text(), reference()];
            // A header that is matched may only have to be there.
            if key.path == "route.headers" {
                values.push(json!({ "const": true }));
            }
            json!({ "type": "object", "additionalProperties": any(values) })
        }
        "table of text" => {
            // A name with a dot in it may be written as a table.
            let inner = json!({ "type": "object" });
            json!({ "type": "object", "additionalProperties": any(vec![text(), inner]) })
        }
        word if word.starts_with('"') => json!({ "const": word.trim_matches('"') }),
        _ => text(),
    }
}

/// A value that stands elsewhere.
fn reference() -> Value {
    let one = |name: &str| {
        json!({
            "type": "object",
            "properties": { name: { "type": "string" } },
            "required": [name],
            "additionalProperties": false,
        })
    };
    any(vec![one("env"), one("file")])
}

/// A value as the list of keys writes it; an error for words such as `none`.
pub(super) fn literal(text: &str) -> Result<Value, ()> {
    let read: toml::Table = format!("a = {text}").parse().map_err(drop)?;
    let value = read.get("a").ok_or(())?;
    json_of(value).ok_or(())
}

fn json_of(value: &toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(value) => (*value).into(),
        toml::Value::Array(list) => Value::Array(list.iter().map(json_of).collect::<Option<_>>()?),
        toml::Value::Table(table) => {
            let pair = |(key, value): (&String, _)| Some((key.clone(), json_of(value)?));
            Value::Object(table.iter().map(pair).collect::<Option<_>>()?)
        }
        toml::Value::Datetime(_) => return None,
    })
}
