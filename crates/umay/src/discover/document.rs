//! The document that lists endpoints: `endpoints = ["host:port", { to = "…", weight = 2 }]`, in TOML or
//! JSON, with the place of what is wrong.

use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use umay_core::model::Scheme;

use super::entry::{self, Wanted, brief};

/// The only key.
const KEY: &str = "endpoints";

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Toml,
    Json,
}

/// Something that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Line and column, from 1; columns are characters.
    pub(super) place: (usize, usize),
    pub(super) what: String,
}

impl Problem {
    /// `file:line:column: what`.
    pub(super) fn at(&self, path: &Path) -> String {
        let (line, column) = self.place;
        format!("{}:{line}:{column}: {}", path.display(), self.what)
    }
}

/// Reads a document. One entry that is wrong makes all of it wrong: people write it, and will want to
/// know.
pub(super) fn read(bytes: &[u8], kind: Kind, scheme: Scheme) -> Result<Vec<Wanted>, Problem> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let good = String::from_utf8_lossy(good);
        problem(&good, good.len(), "this is not UTF-8")
    })?;
    let entries = match kind {
        Kind::Toml => toml_entries(text)?,
        Kind::Json => json_entries(text)?,
    };
    let entries = entries.into_iter().map(|(at, value)| {
        let endpoint = match &value {
            Value::String(text) => entry::endpoint(text, scheme),
            Value::Object(object) => entry::object(object, scheme, true),
            _ => Err("an endpoint is text or a table".to_owned()),
        };
        endpoint
            .map(Wanted::new)
            .map_err(|what| problem(text, at, &what))
    });
    entries.collect()
}

/// The entries of a TOML document, and where they begin.
fn toml_entries(text: &str) -> Result<Vec<(usize, Value)>, Problem> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().unwrap_or_default().start;
        problem(text, at, &format!("this is not TOML: {}", error.message()))
    })?;
    let mut entries = None;
    for (key, value) in table.get_ref() {
        if key.get_ref() != KEY {
            return Err(problem(text, key.span().start, &unknown(key.get_ref())));
        }
        entries = Some(value);
    }
    let Some(entries) = entries else {
        return Err(problem(text, 0, "`endpoints` is missing"));
    };
    let DeValue::Array(list) = entries.get_ref() else {
        let what = "`endpoints` has to be a list";
        return Err(problem(text, entries.span().start, what));
    };
    let one = |entry: &Spanned<DeValue<'_>>| (entry.span().start, plain(entry.get_ref()));
    Ok(list.iter().map(one).collect())
}

/// A value of TOML as one of JSON. What endpoints are not made of becomes null.
fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            u64::from_str_radix(&digits, number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Table(table) => {
            let fields = table.iter();
            let fields =
                fields.map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref())));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        _ => Value::Null,
    }
}

/// The entries of a JSON document, and where they begin.
fn json_entries(text: &str) -> Result<Vec<(usize, Value)>, Problem> {
    entry::check_json(text.as_bytes()).map_err(|why| problem(text, 0, &why))?;
    let value: Value = serde_json::from_str(text).map_err(|error| Problem {
        place: (error.line().max(1), error.column().max(1)),
        what: brief(&format!("this is not JSON: {error}")),
    })?;
    let Value::Object(mut object) = value else {
        return Err(problem(text, 0, "`endpoints` is missing"));
    };
    if let Some(key) = object.keys().find(|key| *key != KEY) {
        return Err(problem(text, 0, &unknown(key)));
    }
    let Some(Value::Array(list)) = object.remove(KEY) else {
        return Err(problem(text, 0, "`endpoints` has to be there, and a list"));
    };
    let mut places = list_places(text);
    let entries = list.into_iter();
    Ok(entries
        .map(|value| (places.next().unwrap_or(0), value))
        .collect())
}

/// Where the entries of the list begin, in JSON that is known to be an object with nothing but a list:
/// all that begins at depth 2.
fn list_places(text: &str) -> impl Iterator<Item = usize> {
    let (mut depth, mut in_text, mut escaped, mut due) = (0_u32, false, false, false);
    text.bytes().enumerate().filter_map(move |(at, byte)| {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            return None;
        }
        let begins = due && !byte.is_ascii_whitespace() && byte != b']';
        due &= !begins;
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                due |= depth == 2;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => due |= depth == 2,
            _ => {}
        }
        begins.then_some(at)
    })
}

fn unknown(key: &str) -> String {
    brief(&format!("`{key}` is unknown; there is only `{KEY}`"))
}

fn problem(text: &str, at: usize, what: &str) -> Problem {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let column: Range<usize> = line_start..before.len();
    let column = before.get(column).unwrap_or_default().chars().count() + 1;
    Problem {
        place: (before.matches('\n').count() + 1, column),
        what: what.to_owned(),
    }
}
