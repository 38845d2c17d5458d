//! What is wrong with a configuration, and where.

use std::fmt::{self, Write};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::Sources;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but hardly as it was meant.
    Warning,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a document.
    File {
        /// The file, as people name it.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1, in characters.
        column: usize,
        /// Bytes of the text.
        span: Range<usize>,
    },
    /// In an environment variable.
    Env(String),
    /// In a flag, as it was typed.
    Flag(String),
    /// Nowhere: the document as a whole.
    Document,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path, line, column, ..
            } => write!(f, "{path}:{line}:{column}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Document => f.write_str("configuration"),
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl Problem {
    /// Problems are told in the order of the document; those of the document as a whole come last.
    pub(super) fn order(&self, sources: &Sources) -> (u8, usize, usize) {
        match &self.place {
            Place::File { path, span, .. } => {
                let document = sources.document(path).map(|(at, ..)| at);
                (0, document.unwrap_or_default(), span.start)
            }
            Place::Env(_) => (1, 0, 0),
            Place::Flag(_) => (2, 0, 0),
            Place::Document => (3, 0, 0),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// Problems as people read them: with the line of the file and a mark below what is meant.
pub fn render(problems: &[Problem], sources: &Sources, colour: bool) -> String {
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut out = String::new();
    for problem in problems {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let text = match &problem.place {
            Place::File { path, .. } => sources.document(path).map(|(.., text)| text),
            _ => None,
        };
        let mut report = match (&problem.place, text) {
            (Place::File { path, span, .. }, Some(text)) => {
                let mark = AnnotationKind::Primary.span(span.clone());
                let snippet = Snippet::source(text).path(path.as_str()).annotation(mark);
                vec![level.primary_title(&problem.message).element(snippet)]
            }
            (place, _) => {
                let title = format!("{place}: {}", problem.message);
                vec![Group::with_title(level.primary_title(title))]
            }
        };
        if !problem.hint.is_empty() {
            let hint = Level::HELP.secondary_title(&problem.hint);
            report.push(Group::with_title(hint));
        }
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}\n", renderer.render(&report));
    }
    out
}

/// Problems as programs read them: a list of objects with `severity`, `message`, `hint`, `source`
/// and, for the file, `path`, `line` and `column`.
pub fn to_json(problems: &[Problem]) -> Value {
    let one = |problem: &Problem| {
        let mut object = json!({
            "severity": match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "message": problem.message,
        });
        let mut set = |key: &str, value: Value| {
            if let Some(object) = object.as_object_mut() {
                object.insert(key.to_owned(), value);
            }
        };
        if !problem.hint.is_empty() {
            set("hint", problem.hint.clone().into());
        }
        match &problem.place {
            Place::File {
                path, line, column, ..
            } => {
                set("source", "file".into());
                set("path", path.clone().into());
                set("line", (*line).into());
                set("column", (*column).into());
            }
            Place::Env(name) => {
                set("source", "environment".into());
                set("name", name.clone().into());
            }
            Place::Flag(flag) => {
                set("source", "flag".into());
                set("name", flag.clone().into());
            }
            Place::Document => set("source", "document".into()),
        }
        object
    };
    problems.iter().map(one).collect()
}
