//! The effective configuration, as a document: every key with its value and where that came from.
//!
//! It is made from the tree, so that it says what was written, completed by what the model has where
//! nothing was. What it yields as TOML is a configuration that gives the same model. Defaults that
//! may not be written everywhere, such as those of a queue without a cap, are comments in it.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::Sources;
use super::effective;
use super::keys::KEYS;
use super::problem::Place;
use super::schema::literal;
use super::tree::{Node, Table, Value};
use crate::model::Model;

/// Tables of an upstream that are in force without being written.
const IN_FORCE: [&str; 3] = ["outlier", "retry", "limits"];

/// The effective configuration.
#[derive(Debug)]
pub struct Shown {
    table: Table,
}

impl Shown {
    /// Puts together what sources say and what holds without them.
    pub fn new(sources: &Sources, model: &Model) -> Self {
        Self {
            table: effective::table(sources, model),
        }
    }

    /// As TOML; with `origin`, each line says where its value came from.
    pub fn to_toml(&self, origin: bool) -> String {
        let mut writer = Writer {
            out: String::new(),
            origin,
        };
        writer.table(&self.table, "", "");
        writer.out
    }

    /// As JSON: the document, or with `origin` a list of objects with `key`, `value` and `origin`.
    pub fn to_json(&self, origin: bool) -> Json {
        if !origin {
            return json_of_table(&self.table);
        }
        let mut rows = Vec::new();
        flatten(&self.table, "", "", &mut rows);
        Json::Array(rows)
    }
}

fn told(place: &Place) -> String {
    match place {
        Place::Document => "default".to_owned(),
        place => place.to_string(),
    }
}

struct Writer {
    out: String,
    origin: bool,
}

impl Writer {
    /// `name` is what the table is called in this document, `path` what its keys are called in the
    /// list of keys; both with their dot.
    fn table(&mut self, table: &Table, name: &str, path: &str) {
        let (tables, values): (Vec<_>, Vec<_>) = table
            .iter()
            .partition(|(key, _, node)| is_table(path, key, node));
        for (key, _, node) in values {
            self.line(&quoted_key(key), &inline(node), &node.place);
        }
        for (key, default) in unwritten(table, path) {
            let default = if self.origin {
                format!("{default}  # default")
            } else {
                default
            };
            let _ = writeln!(self.out, "# {key} = {default}");
        }
        for (key, _, node) in tables {
            let full = format!("{name}{}", quoted_key(key));
            let below = match path {
                "upstream." => "upstream.NAME.".to_owned(),
                path => format!("{path}{key}."),
            };
            match &node.value {
                Value::List(list) => {
                    for entry in list {
                        if let Value::Table(entry) = &entry.value {
                            let _ = writeln!(self.out, "\n[[{full}]]");
                            self.table(entry, &format!("{full}."), &below);
                        }
                    }
                }
                Value::Table(inner) => {
                    // A table of tables needs no line of its own.
                    if full != "upstream" {
                        let _ = writeln!(self.out, "\n[{full}]");
                    }
                    self.table(inner, &format!("{full}."), &below);
                }
                _ => {}
            }
        }
    }

    fn line(&mut self, key: &str, value: &str, place: &Place) {
        // Writing to a string cannot fail.
        let _ = match self.origin {
            true => writeln!(self.out, "{key} = {value}  # {}", told(place)),
            false => writeln!(self.out, "{key} = {value}"),
        };
    }
}

/// True if a value is written below a heading.
fn is_table(path: &str, key: &str, node: &Node) -> bool {
    let is_list = path.is_empty() && matches!(key, "listener" | "route");
    match &node.value {
        Value::List(_) => is_list,
        // Endpoints and what is short are written in one line.
        Value::Table(_) => {
            let mut of_headers = [".headers.", ".set.", ".add."].iter();
            !matches!(key, "to" | "certs") && !of_headers.any(|end| path.ends_with(end))
        }
        _ => false,
    }
}

/// Keys that are not there, with what holds without them.
fn unwritten(table: &Table, path: &str) -> Vec<(String, String)> {
    let has = |key: &str| table.iter().any(|(have, ..)| have == key);
    let row = |key: &super::Key| {
        let rest = key.path.strip_prefix(path)?;
        let top = rest.split('.').next().unwrap_or(rest);
        let in_force = path == "upstream.NAME." && IN_FORCE.contains(&top);
        if has(top) || path.is_empty() || (top != rest && !in_force) {
            return None;
        }
        let default = key.default();
        literal(&default).ok().map(|_| (rest.to_owned(), default))
    };
    KEYS.iter().filter_map(row).collect()
}

fn quoted_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !key.is_empty() && key.chars().all(bare) {
        true => key.to_owned(),
        false => quoted(key),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\t' => write!(out, "\\t"),
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}

fn inline(node: &Node) -> String {
    match &node.value {
        Value::Text(text) | Value::Untyped(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Fraction(number) => format!("{number:?}"),
        Value::Bool(value) => value.to_string(),
        Value::List(list) => {
            let all: Vec<_> = list.iter().map(inline).collect();
            format!("[{}]", all.join(", "))
        }
        Value::Table(table) if table.is_empty() => "{}".to_owned(),
        Value::Table(table) => {
            let pair = |(key, _, node): &(String, Place, Node)| {
                format!("{} = {}", quoted_key(key), inline(node))
            };
            let all: Vec<_> = table.iter().map(pair).collect();
            format!("{{ {} }}", all.join(", "))
        }
        Value::Other(_) => String::new(),
    }
}

fn json_of(node: &Node) -> Json {
    match &node.value {
        Value::Text(text) | Value::Untyped(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Fraction(number) => (*number).into(),
        Value::Bool(value) => (*value).into(),
        Value::List(list) => list.iter().map(json_of).collect(),
        Value::Table(table) => json_of_table(table),
        Value::Other(_) => Json::Null,
    }
}

fn json_of_table(table: &Table) -> Json {
    let pair = |(key, _, node): &(String, Place, Node)| (key.clone(), json_of(node));
    Json::Object(table.iter().map(pair).collect())
}

/// A row for each value; `name` and `path` are as for the writer, but entries of lists have numbers.
fn flatten(table: &Table, name: &str, path: &str, rows: &mut Vec<Json>) {
    for (key, _, node) in table {
        let full = format!("{name}{key}");
        let below = match path {
            "upstream." => "upstream.NAME.".to_owned(),
            path => format!("{path}{key}."),
        };
        match &node.value {
            Value::List(list) if is_table(path, key, node) => {
                for (at, entry) in list.iter().enumerate() {
                    if let Value::Table(entry) = &entry.value {
                        flatten(entry, &format!("{full}.{at}."), &below, rows);
                    }
                }
            }
            Value::Table(inner) if is_table(path, key, node) => {
                flatten(inner, &format!("{full}."), &below, rows);
            }
            _ => rows.push(json!({
                "key": full,
                "value": json_of(node),
                "origin": told(&node.place),
            })),
        }
    }
    for (key, default) in unwritten(table, path) {
        let value = literal(&default).unwrap_or_default();
        rows.push(json!({ "key": format!("{name}{key}"), "value": value, "origin": "default" }));
    }
}
