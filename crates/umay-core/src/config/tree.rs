//! The document as a tree in which every value knows where it was written.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem, Severity};
use super::{Sources, include, otel, section};

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
    Fraction(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(Table),
    /// What no key takes, such as a date.
    Other(&'static str),
}

/// Keys in the order of the document, each with its own place.
pub(super) type Table = Vec<(String, Place, Node)>;

/// Builds the tree from all sources, with what is wrong about their syntax.
pub(super) fn build(sources: &Sources) -> (Node, Vec<Problem>) {
    let mut problems = Vec::new();
    let main = sources.file.as_ref().map(|(path, text)| {
        let file = File::new(path.display().to_string(), text);
        file.read(&mut problems)
    });
    let mut table = main.unwrap_or_default();
    include::merge(&mut table, sources, &mut problems);
    let mut root = Node {
        value: Value::Table(table),
        place: Place::Document,
    };
    for (path, name, value) in environment(sources) {
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        let place = Place::Env(name.clone());
        let node = Node {
            value: Value::Untyped(value.clone()),
            place: place.clone(),
        };
        let laid = lay(&mut root, &path, &place, node);
        problems.extend(laid.err());
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
        let laid = lay(&mut root, &path, &place, node);
        problems.extend(laid.err());
    }
    otel::lay(&mut root, sources, &mut problems);
    (root, problems)
}

/// Variables of the environment that name keys, with the path of the key. Sorted, as the system has
/// them in any order: entries of lists come by their numbers.
fn environment(sources: &Sources) -> Vec<(Vec<String>, &String, &String)> {
    let ours = |(name, value)| {
        let name: &String = name;
        let path = name.strip_prefix("UMAY_")?.to_ascii_lowercase();
        if path == "config" || is_service_link(&path) {
            return None;
        }
        let path: Vec<_> = path.split("__").map(str::to_owned).collect();
        Some((path, name, value))
    };
    let pairs = sources.env.iter().map(|(name, value)| (name, value));
    let mut all: Vec<(Vec<String>, &String, &String)> = pairs.filter_map(ours).collect();
    let number = |part: &String| (part.parse::<usize>().unwrap_or(usize::MAX), part.clone());
    all.sort_by_cached_key(|(path, ..)| path.iter().map(number).collect::<Vec<_>>());
    all
}

/// What Kubernetes tells every pod about a Service that is called `umay`, or `umay-` something:
/// `UMAY_SERVICE_HOST`, `UMAY_SERVICE_PORT_HTTPS`, `UMAY_PORT`, `UMAY_PORT_443_TCP_ADDR`. No key of
/// the top has such a name.
fn is_service_link(path: &str) -> bool {
    // With a `_` in front, each part is found where it begins a word.
    let path = format!("_{path}");
    !path.contains("__")
        && (path.ends_with("_port")
            || path.contains("_port_")
            || path.ends_with("_service_host")
            || path.contains("_service_port"))
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

/// Keys whose values are lists of tables, also where a file has only one of them.
const LISTS_OF_TABLES: [&str; 2] = ["listener", "route"];

/// Puts a value at a path, over what is there. A number in the path is a place in a list: one that
/// is there, or the next one.
fn lay(at: &mut Node, path: &[&str], place: &Place, value: Node) -> Result<(), Problem> {
    let Some((key, rest)) = path.split_first() else {
        *at = value;
        return Ok(());
    };
    let empty = || Node {
        value: Value::Table(Vec::new()),
        place: place.clone(),
    };
    match &mut at.value {
        Value::List(list) => {
            let index = key.parse::<usize>().unwrap_or(usize::MAX);
            if index == list.len() {
                list.push(empty());
            }
            let count = list.len();
            match list.get_mut(index) {
                Some(entry) => lay(entry, rest, place, value),
                None => Err(Problem {
                    severity: Severity::Error,
                    place: place.clone(),
                    message: format!("there is no entry `{key}` in a list of {count}"),
                    hint: format!("entries are numbered from 0; the next new one is {count}"),
                }),
            }
        }
        Value::Table(table) => {
            let known = table.iter().position(|(have, ..)| have == key);
            // Names of variables have neither lower case nor dashes.
            let alike = || {
                table
                    .iter()
                    .position(|(have, ..)| folded(have) == folded(key))
            };
            let into_list = rest
                .first()
                .is_some_and(|next| next.parse::<usize>().is_ok());
            let index = known.or_else(alike).unwrap_or_else(|| {
                // Lists of tables are lists also if the environment begins them.
                let mut entry = empty();
                if into_list && *key != "upstream" {
                    entry.value = Value::List(Vec::new());
                }
                table.push(((*key).to_owned(), place.clone(), entry));
                table.len() - 1
            });
            let Some((_, _, entry)) = table.get_mut(index) else {
                return Ok(());
            };
            let one = !matches!(entry.value, Value::Table(_) | Value::List(_))
                || (LISTS_OF_TABLES.contains(key) && matches!(entry.value, Value::Table(_)));
            if into_list && one {
                entry.value = Value::List(entry.list());
            }
            lay(entry, rest, place, value)
        }
        // It will be told that this is no table.
        _ => {
            *at = empty();
            lay(at, path, place, value)
        }
    }
}

fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// A file and where its lines begin.
pub(super) struct File<'a> {
    path: String,
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> File<'a> {
    pub(super) fn new(path: String, text: &'a str) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(newlines).collect();
        Self { path, text, lines }
    }

    /// What it says, as far as that is TOML, and what is not.
    pub(super) fn read(&self, problems: &mut Vec<Problem>) -> Table {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        problems.extend(errors.iter().map(|error| Problem {
            severity: Severity::Error,
            place: self.place(error.span().unwrap_or(0..0)),
            message: format!("this is not TOML: {}", error.message()),
            hint: String::new(),
        }));
        self.table(table.get_ref())
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
            DeValue::Float(float) => match float.as_str().parse() {
                Ok(float) => Value::Fraction(float),
                Err(_) => Value::Other("a number with a fraction"),
            },
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
            Value::Fraction(_) => "a number with a fraction",
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
