//! The document as a tree in which every value knows where it was written.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem, Severity};
use super::{Sources, section};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// Text from the environment or a flag, where there are no types: it may stand for a number, a
    /// truth value, or a list with commas.
    Untyped(String),
    Integer(i64),
    Bool(bool),
    List(Vec<Node>),
    Table(Table),
    /// What no key takes: a float, a date.
    Other(&'static str),
}

/// Keys in the order of the document, each with its own place.
pub(super) type Table = Vec<(String, Place, Node)>;

/// Builds the tree from all sources, with what is wrong about their syntax.
pub(super) fn build(sources: &Sources) -> (Node, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut root = Node {
        value: Value::Table(Vec::new()),
        place: Place::Document,
    };
    if let Some((path, text)) = &sources.file {
        let file = File::new(path.display().to_string(), text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            problems.push(Problem {
                severity: Severity::Error,
                place: file.place(error.span().unwrap_or(0..0)),
                message: format!("this is not TOML: {}", error.message()),
                hint: String::new(),
            });
        }
        root.value = Value::Table(file.table(table.get_ref()));
    }
    for (name, value) in &sources.env {
        let Some(path) = name.strip_prefix("UMAY_") else {
            continue;
        };
        if path == "CONFIG" {
            continue;
        }
        let path = path.to_ascii_lowercase();
        let path: Vec<_> = path.split("__").collect();
        let place = Place::Env(name.clone());
        let node = Node {
            value: Value::Untyped(value.clone()),
            place: place.clone(),
        };
        lay(&mut root, &path, &place, node);
    }
    for (key, values, place) in flags(sources) {
        let path: Vec<_> = key.split('.').collect();
        let untyped = |value: &&String| Node {
            value: Value::Untyped((*value).clone()),
            place: place.clone(),
        };
        let value = match &values[..] {
            [one] => Value::Untyped((*one).clone()),
            many => Value::List(many.iter().map(untyped).collect()),
        };
        let node = Node {
            value,
            place: place.clone(),
        };
        lay(&mut root, &path, &place, node);
    }
    (root, problems)
}

/// Flags by key: one that is given more than once has several values.
fn flags(sources: &Sources) -> Vec<(&str, Vec<&String>, Place)> {
    let mut all: Vec<(&str, Vec<&String>, Place)> = Vec::new();
    for (key, value, flag) in &sources.flags {
        match all.iter_mut().find(|(have, ..)| have == key) {
            Some((_, values, _)) => values.push(value),
            None => all.push((key, vec![value], Place::Flag(flag.clone()))),
        }
    }
    all
}

/// Puts a value at a path, over what is there. A number in the path is a place in a list.
fn lay(at: &mut Node, path: &[&str], place: &Place, value: Node) {
    let Some((key, rest)) = path.split_first() else {
        *at = value;
        return;
    };
    let empty = || Node {
        value: Value::Table(Vec::new()),
        place: place.clone(),
    };
    match &mut at.value {
        Value::List(list) if key.parse::<usize>().is_ok_and(|index| index <= list.len()) => {
            let index = key.parse::<usize>().unwrap_or_default();
            if index == list.len() {
                list.push(empty());
            }
            if let Some(entry) = list.get_mut(index) {
                lay(entry, rest, place, value);
            }
        }
        Value::Table(table) => {
            let known = table.iter().position(|(have, ..)| have == key);
            let index = known.unwrap_or_else(|| {
                // `listener` and `route` are lists, also if the environment begins them.
                let mut entry = empty();
                if rest.first().is_some_and(|next| *next == "0") {
                    entry.value = Value::List(Vec::new());
                }
                table.push(((*key).to_owned(), place.clone(), entry));
                table.len() - 1
            });
            if let Some((_, _, entry)) = table.get_mut(index) {
                lay(entry, rest, place, value);
            }
        }
        _ => {
            at.value = Value::Table(Vec::new());
            lay(at, path, place, value);
        }
    }
}

/// A file and where its lines begin.
struct File<'a> {
    path: String,
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> File<'a> {
    fn new(path: String, text: &'a str) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(newlines).collect();
        Self { path, text, lines }
    }

    fn place(&self, span: Range<usize>) -> Place {
        let line = self.lines.partition_point(|start| *start <= span.start);
        let start = self.lines.get(line.saturating_sub(1)).copied();
        let before = self.text.get(start.unwrap_or_default()..span.start);
        Place::File {
            path: self.path.clone(),
            line,
            column: before.map_or(0, |text| text.chars().count()) + 1,
            span,
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut entries: Table = table
            .iter()
            .map(|(key, value)| {
                let place = self.place(key.span());
                (
                    key.get_ref().to_string(),
                    place,
                    self.node(value.get_ref(), value.span()),
                )
            })
            .collect();
        entries.sort_by_key(|(_, place, _)| match place {
            Place::File { span, .. } => span.start,
            _ => 0,
        });
        entries
    }

    fn node(&self, value: &DeValue<'_>, span: Range<usize>) -> Node {
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => {
                match i64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(integer) => Value::Integer(integer),
                    Err(_) => Value::Other("a number that is too large"),
                }
            }
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Array(list) => {
                let node =
                    |entry: &toml::Spanned<DeValue<'_>>| self.node(entry.get_ref(), entry.span());
                Value::List(list.iter().map(node).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
        };
        Node {
            value,
            place: self.place(span),
        }
    }
}

impl Node {
    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) | Value::Untyped(_) => "text",
            Value::Integer(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }

    /// Its entries, if it is a list; itself, if it is one value. Untyped text is split at commas.
    pub(super) fn list(&self) -> Vec<Self> {
        match &self.value {
            Value::List(list) => list.iter().flat_map(Self::list).collect(),
            Value::Untyped(text) => text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Self {
                    value: Value::Untyped(part.to_owned()),
                    place: self.place.clone(),
                })
                .collect(),
            _ => vec![self.clone()],
        }
    }
}

/// The word among `known` that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (section::distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}
