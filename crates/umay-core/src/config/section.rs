//! Reading a tree: typed values with errors at their places, and unknown keys.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use super::include::Around;
use super::problem::{Place, Problem, Severity};
use super::tree::{Node, Table, Value, nearest};
use super::{Sources, keys, scalar};
use crate::model::OTHER;

/// Gathers what is wrong, and the files that are named.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
    pub(super) files: HashMap<PathBuf, Place>,
    pub(super) places: Places,
    /// What is read, for what stands in other places than the document.
    pub(super) around: Around,
    #[cfg(test)]
    pub(super) asked: std::collections::BTreeSet<String>,
}

/// Names in use, with the place where each was given.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) listeners: BTreeMap<String, Place>,
    pub(super) routes: BTreeMap<String, Place>,
    pub(super) upstreams: BTreeMap<String, Place>,
    /// What an upstream is told that not all that comes to it may have, by upstream and key.
    pub(super) told: BTreeMap<(String, &'static str), Place>,
    /// The first zone of an endpoint.
    pub(super) zone: Option<Place>,
    /// Umay's own.
    pub(super) own_zone: Option<Place>,
}

impl Reader {
    pub(super) fn new(sources: &Sources) -> Self {
        Self {
            problems: Vec::new(),
            files: HashMap::new(),
            places: Places::default(),
            around: Around::of(sources),
            #[cfg(test)]
            asked: std::collections::BTreeSet::new(),
        }
    }

    pub(super) fn error(
        &mut self,
        node: &Node,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.error_at(&node.place, message, hint);
    }

    pub(super) fn error_at(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push(Problem {
            severity: Severity::Error,
            place: place.clone(),
            message: message.into(),
            hint: hint.into(),
        });
    }

    pub(super) fn warn(&mut self, place: &Place, message: impl Into<String>, hint: &str) {
        self.problems.push(Problem {
            severity: Severity::Warning,
            place: place.clone(),
            message: message.into(),
            hint: hint.to_owned(),
        });
    }

    /// The value, or its error at the node's place.
    pub(super) fn ok<T, E: Display>(&mut self, node: &Node, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(node, error.to_string(), "");
                None
            }
        }
    }

    pub(super) fn expected(&mut self, node: &Node, what: &str) {
        let message = format!("expected {what}, found {}", node.kind());
        self.error(node, message, "");
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) | Value::Untyped(text) => Some(text),
            _ => {
                self.expected(node, "text");
                None
            }
        }
    }

    /// A name that somebody gave something.
    pub(super) fn name(&mut self, node: &Node) -> Option<String> {
        let name = self.text(node)?;
        if name.is_empty() || name.chars().any(char::is_control) {
            self.error(node, format!("{name:?} is no name"), "");
            return None;
        }
        Some(name.to_owned())
    }

    /// The name of something that is counted by its name.
    pub(super) fn counted_name(&mut self, node: &Node) -> Option<String> {
        let name = self.name(node)?;
        if name == OTHER {
            self.error(node, not_other(), "");
            return None;
        }
        Some(name)
    }

    /// Complains about an empty list where it would mean something else than it looks like.
    pub(super) fn filled(&mut self, node: &Node, hint: &str) {
        if node.list().is_empty() {
            self.error(node, "this is empty", hint);
        }
    }

    pub(super) fn texts(&mut self, node: &Node) -> Vec<(Node, String)> {
        let mut texts = Vec::new();
        for entry in node.list() {
            if let Some(text) = self.text(&entry).map(str::to_owned) {
                texts.push((entry, text));
            }
        }
        texts
    }

    pub(super) fn bool(&mut self, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Untyped(text) if text == "true" => Some(true),
            Value::Untyped(text) if text == "false" => Some(false),
            _ => {
                self.expected(node, "true or false");
                None
            }
        }
    }

    pub(super) fn number(&mut self, node: &Node, least: u64, most: u64) -> Option<u64> {
        let number = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Untyped(text)
                if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() =>
            {
                text.parse().ok()
            }
            _ => {
                self.expected(node, "a number");
                return None;
            }
        };
        self.within(node, number, least, most)
    }

    /// A number that may have a fraction.
    pub(super) fn fraction(&mut self, node: &Node, least: f64, most: f64) -> Option<f64> {
        let number = match &node.value {
            // What is exact here is far beyond what is looked for.
            Value::Integer(number) => i32::try_from(*number).map_or(f64::MAX, f64::from),
            Value::Fraction(number) => *number,
            Value::Untyped(text) if text.starts_with(|c: char| c.is_ascii_digit()) => {
                text.parse().unwrap_or(f64::NAN)
            }
            _ => {
                self.expected(node, "a number");
                return None;
            }
        };
        let fits = (least..=most).contains(&number);
        if !fits {
            let message = format!("this has to be from {least} to {most}");
            self.error(node, message, "");
        }
        fits.then_some(number)
    }

    /// A number of bytes or things: a number, or text such as `32KiB`.
    pub(super) fn size(&mut self, node: &Node, least: u64, most: u64) -> Option<u64> {
        let size = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) | Value::Untyped(text) => Some(self.ok(node, scalar::size(text))?),
            _ => {
                self.expected(node, "a size such as \"32KiB\"");
                return None;
            }
        };
        self.within(node, size, least, most)
    }

    fn within(&mut self, node: &Node, number: Option<u64>, least: u64, most: u64) -> Option<u64> {
        let fits = number.filter(|number| (least..=most).contains(number));
        if fits.is_none() {
            let message = match most {
                u64::MAX => format!("this has to be {least} or more"),
                most => format!("this has to be from {least} to {most}"),
            };
            self.error(node, message, "");
        }
        fits
    }

    pub(super) fn duration(&mut self, node: &Node) -> Option<Duration> {
        match &node.value {
            Value::Text(text) | Value::Untyped(text) => self.ok(node, scalar::duration(text)),
            Value::Integer(number) => {
                let message = "a duration needs its unit";
                self.error(
                    node,
                    message,
                    format!("write \"{number}s\" or \"{number}ms\""),
                );
                None
            }
            _ => {
                self.expected(node, "a duration such as \"5s\"");
                None
            }
        }
    }

    /// A file or directory. In a document, it is relative to that document's directory.
    pub(super) fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let text = self.text(node)?;
        if text.is_empty() {
            self.error(node, "this names no file", "");
            return None;
        }
        let path = self.around.path_at(node)?;
        self.files
            .entry(path.clone())
            .or_insert_with(|| node.place.clone());
        Some(path)
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&mut self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let all: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        self.error(node, format!("expected {}", all.join(" or ")), "");
        None
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) place: &'a Place,
    table: &'a Table,
    /// With its dot, if it is not the root.
    path: String,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn root(node: &'a Node) -> Option<Self> {
        Self::of(node, String::new())
    }

    fn of(node: &'a Node, path: String) -> Option<Self> {
        match &node.value {
            Value::Table(table) => Some(Self {
                place: &node.place,
                table,
                path,
                asked: Vec::new(),
            }),
            _ => None,
        }
    }

    /// A table as a section, or an error; `path` is how its keys are named to people.
    pub(super) fn open(reader: &mut Reader, node: &'a Node, path: &str) -> Option<Self> {
        let section = Self::of(node, format!("{path}."));
        if section.is_none() {
            reader.expected(node, "a table");
        }
        section
    }

    /// The value of a key, which is thereby known.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        self.table
            .iter()
            .find(|(have, ..)| have == key)
            .map(|(.., node)| node)
    }

    /// Where a key stands, if it does.
    pub(super) fn place_of(&self, key: &str) -> Option<&'a Place> {
        self.table
            .iter()
            .find(|(have, ..)| have == key)
            .map(|(_, place, _)| place)
    }

    /// True if a key of a table has a text that does not switch it off.
    pub(super) fn has_on(&self, table: &str, key: &str) -> bool {
        let entry = |table: &'a Table, key: &str| {
            let found = table.iter().find(|(have, ..)| have == key);
            found.map(|(.., node)| &node.value)
        };
        let Some(Value::Table(inner)) = entry(self.table, table) else {
            return false;
        };
        match entry(inner, key) {
            Some(Value::Text(text) | Value::Untyped(text)) => text != "off",
            other => other.is_some(),
        }
    }

    /// The section at a key.
    pub(super) fn section(&mut self, reader: &mut Reader, key: &'static str) -> Option<Self> {
        let path = format!("{}{key}", self.path);
        let node = self.take(key)?;
        Self::open(reader, node, &path)
    }

    /// How people name a key of it.
    pub(super) fn path_of(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// All entries, for tables whose keys are names.
    pub(super) fn entries(&self) -> &'a Table {
        self.table
    }

    /// Complains about keys that nobody has asked for.
    pub(super) fn finish(self, reader: &mut Reader) {
        #[cfg(test)]
        for key in &self.asked {
            reader.asked.insert(format!("{}{key}", self.path));
        }
        for (key, place, _) in self.table {
            if self.asked.contains(&key.as_str()) {
                continue;
            }
            let path = &self.path;
            let hint = self.hint(key, place);
            reader.error_at(place, format!("there is no key `{path}{key}`"), hint);
        }
    }
}

/// What the same thing is called elsewhere, and what it is called here.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("listen", &["bind", "address", "addr", "port"]),
    ("bind", &["listen", "address", "addr"]),
    (
        "to",
        &[
            "upstream",
            "endpoint",
            "endpoints",
            "backend",
            "backends",
            "server",
            "servers",
            "target",
        ],
    ),
    ("cert", &["certificate", "tls_cert", "ssl_certificate"]),
    (
        "key",
        &["certificate_key", "tls_key", "ssl_certificate_key"],
    ),
    ("host", &["hostname", "domain", "domains", "server_name"]),
    ("path", &["location", "prefix", "path_prefix"]),
];

impl Section<'_> {
    /// What somebody may have meant who wrote a key that is not there.
    fn hint(&self, key: &str, place: &Place) -> String {
        let asked = || self.asked.iter().copied();
        let near = nearest(key, asked());
        if near.is_some_and(|near| distance(key, near) <= 1) {
            return near.map_or_else(String::new, |near| format!("did you mean `{near}`?"));
        }
        let mut synonyms = SYNONYMS.iter().filter(|(_, all)| all.contains(&key));
        let near = synonyms.find(|(ours, _)| asked().any(|key| key == *ours));
        if let Some((ours, _)) = near {
            return format!("it is called `{ours}` here");
        }
        // What is told of one endpoint, told of all.
        let of_endpoint = keys::KEYS.iter().find(|known| {
            let rest = known.path.strip_prefix("to.");
            rest == Some(key)
        });
        if matches!(self.path.as_str(), "route." | "upstream.NAME.")
            && let Some(known) = of_endpoint
        {
            let example = known.example;
            return format!(
                "tell it of an endpoint: to = [{{ to = \"HOST:PORT\", {key} = {example} }}]"
            );
        }
        // In a file, what stands below a `[table]` belongs to it, whatever it was meant for.
        let top = keys::KEYS.iter().any(|known| known.path == key);
        if top && !self.path.is_empty() && matches!(place, Place::File { .. }) {
            return format!("`{key}` of the whole document stands above the first `[table]`");
        }
        // What only an upstream with a name can be told.
        let ours = |known: &&keys::Key| {
            let rest = known.path.strip_prefix("upstream.NAME.");
            rest.is_some_and(|rest| rest.split('.').next() == Some(key))
        };
        if matches!(self.path.as_str(), "" | "route.") && keys::KEYS.iter().any(|k| ours(&k)) {
            return format!("give the endpoints a name: [upstream.NAME] takes `{key}`");
        }
        let ends = |known: &&keys::Key| known.path.rsplit_once('.').is_some_and(|(_, k)| k == key);
        let mut others = keys::KEYS.iter().filter(ends);
        if let (Some(only), None) = (others.next(), others.next()) {
            return format!("there is `{}`", only.path);
        }
        let near = nearest(key, asked());
        near.map_or_else(String::new, |near| format!("did you mean `{near}`?"))
    }
}

/// How many characters have to be changed, added, dropped or swapped with the next to get from one
/// word to the other.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let get = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut best = (get(&last, j) + usize::from(x != y))
                .min(get(&last, j + 1) + 1)
                .min(get(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(get(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

/// Why nothing is called [`OTHER`].
pub(super) fn not_other() -> String {
    format!("`{OTHER}` is what metrics call all that have no series of their own")
}
