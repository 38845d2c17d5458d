//! `include`, and values that stand elsewhere: what a document needs besides itself.
//!
//! Nothing is read here. [`Sources::complete`] says what is needed, whoever has a file system reads
//! it, and what came stays in the sources, so that reading them again gives the same.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::problem::{Place, Problem, Severity};
use super::section::Reader;
use super::tree::{self, File, Node, Table, Value};
use super::{Sources, secret};

/// Documents that may be included, in all.
pub const MOST_DOCUMENTS: usize = 1024;

/// Bytes that a document may have.
pub const LARGEST_DOCUMENT: u64 = 16 * 1024 * 1024;

/// Bytes that a value may have which stands in a file of its own.
pub const LARGEST_VALUE: u64 = 64 * 1024;

/// An entry of `include`, and what was there.
#[derive(Clone, Debug)]
pub struct Included {
    /// A file, a directory, or a directory and a pattern such as `*.toml`.
    pub entry: PathBuf,
    /// The documents in their order, with their paths; or why there are none.
    pub documents: Result<Vec<(PathBuf, String)>, String>,
}

/// Where a value stands that is not in the document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A variable of the environment.
    Env(String),
    /// A file.
    File(PathBuf),
}

/// Values that stand elsewhere, or why they could not be had. They may be secret, so they are not
/// shown.
#[derive(Clone, Default)]
pub struct Values(pub(super) BTreeMap<Reference, Result<String, String>>);

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Sources {
    /// Gets all that the main document only names: `documents` reads an entry of `include`, `value`
    /// what stands in a variable or a file. Both say in a sentence why they cannot. What was read
    /// before is forgotten.
    pub fn complete(
        &mut self,
        mut documents: impl FnMut(&Path) -> Result<Vec<(PathBuf, String)>, String>,
        mut value: impl FnMut(&Reference) -> Result<String, String>,
    ) {
        self.included.clear();
        let (root, _) = tree::build(self);
        let around = Around::of(self);
        let mut seen: Vec<PathBuf> = Vec::new();
        seen.extend(self.file.iter().map(|(path, _)| path.clone()));
        for node in entries(&root) {
            let Some(entry) = around.path_at(&node) else {
                continue;
            };
            let mut found = documents(&entry);
            if let Ok(found) = &mut found {
                // One that two entries name, or the main one in its own directory, is there already.
                found.retain(|(path, _)| {
                    let is_new = !seen.contains(path);
                    seen.push(path.clone());
                    is_new
                });
            }
            let documents = found;
            self.included.push(Included { entry, documents });
        }
        // What was included makes it another tree.
        let root = if self.included.is_empty() {
            root
        } else {
            tree::build(self).0
        };
        self.values.0 = secret::references(&Around::of(self), &root)
            .into_iter()
            .map(|reference| {
                let came = value(&reference);
                (reference, came)
            })
            .collect();
    }

    /// All documents, the main one first, with their paths.
    pub fn documents(&self) -> impl Iterator<Item = (&Path, &str)> {
        let included = self.included.iter().flat_map(|included| {
            let documents = included.documents.as_ref();
            documents.map(Vec::as_slice).unwrap_or_default()
        });
        let all = self.file.iter().chain(included);
        all.map(|(path, text)| (path.as_path(), text.as_str()))
    }

    /// The document at a path, as places name it.
    pub(super) fn document(&self, name: &str) -> Option<(usize, &Path, &str)> {
        let mut all = self.documents().enumerate();
        all.find(|(_, (path, _))| path.display().to_string() == name)
            .map(|(at, (path, text))| (at, path, text))
    }
}

/// What has to be known of the sources while a tree is read.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// The directory of each document, by the name that places have for it.
    dirs: HashMap<String, PathBuf>,
    /// How many documents each entry of `include` has led to.
    included: HashMap<PathBuf, Result<usize, String>>,
    pub(super) values: Values,
}

impl Around {
    pub(super) fn of(sources: &Sources) -> Self {
        let dirs = sources.documents().filter_map(|(path, _)| {
            let dir = path.parent()?.to_owned();
            Some((path.display().to_string(), dir))
        });
        let included = sources.included.iter().map(|included| {
            let count = included.documents.as_ref().map(Vec::len);
            (included.entry.clone(), count.map_err(Clone::clone))
        });
        Self {
            dirs: dirs.collect(),
            included: included.collect(),
            values: sources.values.clone(),
        }
    }

    /// The path that a text names: in a document, relative to that document.
    pub(super) fn path_at(&self, node: &Node) -> Option<PathBuf> {
        let (Value::Text(text) | Value::Untyped(text)) = &node.value else {
            return None;
        };
        if text.is_empty() {
            return None;
        }
        let dir = match &node.place {
            Place::File { path, .. } => self.dirs.get(path),
            _ => None,
        };
        Some(dir.map_or_else(|| PathBuf::from(text), |dir| dir.join(text)))
    }
}

/// The entries of `include`.
fn entries(root: &Node) -> Vec<Node> {
    let Value::Table(table) = &root.value else {
        return Vec::new();
    };
    let include = table.iter().find(|(key, ..)| key == "include");
    include.map(|(.., node)| node.list()).unwrap_or_default()
}

/// Lays all included documents beside the main one: what can be there many times is added, all else
/// stands in one place.
pub(super) fn merge(root: &mut Table, sources: &Sources, problems: &mut Vec<Problem>) {
    let main = usize::from(sources.file.is_some());
    for (path, text) in sources.documents().skip(main) {
        let file = File::new(path.display().to_string(), text);
        for (key, place, node) in file.read(problems) {
            add(root, problems, (key, place, node));
        }
    }
}

fn add(root: &mut Table, problems: &mut Vec<Problem>, entry: (String, Place, Node)) {
    let (key, place, node) = entry;
    let mut error = |place: &Place, message: String, hint: &str| {
        problems.push(Problem {
            severity: Severity::Error,
            place: place.clone(),
            message,
            hint: hint.to_owned(),
        });
    };
    if key == "include" {
        let message = "an included document cannot include others".to_owned();
        error(&place, message, "name them in the main document");
        return;
    }
    let Some((_, first, there)) = root.iter_mut().find(|(have, ..)| *have == key) else {
        root.push((key, place, node));
        return;
    };
    match (key.as_str(), &mut there.value, node.value) {
        ("listener" | "route", _, value) => {
            let mut all = match &there.value {
                Value::List(list) => list.clone(),
                _ => vec![there.clone()],
            };
            match value {
                Value::List(list) => all.extend(list),
                value => all.push(Node { value, place }),
            }
            there.value = Value::List(all);
        }
        ("upstream", Value::Table(upstreams), Value::Table(more)) => {
            for (name, place, node) in more {
                match upstreams.iter().find(|(have, ..)| *have == name) {
                    Some((_, first, _)) => {
                        let message =
                            format!("a second upstream is named `{name}`; the first is at {first}");
                        error(&place, message, "give one of them another name");
                    }
                    None => upstreams.push((name, place, node)),
                }
            }
        }
        _ => {
            let message = format!("`{key}` stands at {first} already");
            let hint =
                "what is of the whole configuration stands in one document; put it together there";
            error(&place, message, hint);
        }
    }
}

/// Tells what is wrong with the entries themselves.
pub(super) fn check(reader: &mut Reader, node: &Node) {
    reader.filled(node, "leave the key out if nothing is included");
    for node in node.list() {
        let Some(path) = reader.path(&node) else {
            continue;
        };
        match reader.around.included.get(&path).cloned() {
            Some(Err(why)) => reader.error(&node, why, ""),
            Some(Ok(0)) => {
                let message = format!("`{}` has no document to include", path.display());
                let hint = "documents are files whose names end with .toml; a hidden file is none";
                reader.warn(&node.place, message, hint);
            }
            Some(Ok(_)) => {}
            None => reader.error(&node, "this was not read", ""),
        }
    }
    let counts = reader.around.included.values().flatten();
    if counts.sum::<usize>() > MOST_DOCUMENTS {
        let message = format!("more than {MOST_DOCUMENTS} documents are included");
        reader.error(node, message, "");
    }
}
