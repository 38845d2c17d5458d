//! The messages of etcd's JSON gateway: bytes are base64 in them, and numbers of 64 bits are text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::entry::{self, brief};

/// The keys below a prefix.
#[derive(Debug)]
pub(in crate::discover) struct Keys {
    prefix: Vec<u8>,
    end: Vec<u8>,
}

/// A key with its new value; `None` if it is gone.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::discover) struct Change {
    pub(in crate::discover) key: Vec<u8>,
    pub(in crate::discover) value: Option<Vec<u8>>,
}

/// What a message of a watch says.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::discover) enum Said {
    /// The watch has begun.
    Begun,
    /// What was to be watched from is gone already.
    Compacted,
    /// What has changed; nothing, if it only says that it is alive.
    Changes(Vec<Change>),
}

impl Keys {
    pub(in crate::discover) fn below(prefix: &str) -> Self {
        let prefix = prefix.as_bytes().to_vec();
        // The first key that is above all with the prefix: its last byte that can grow, grown by one.
        let mut end = prefix.clone();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                break;
            }
        }
        if end.is_empty() {
            // All keys from the first on.
            end.push(0);
        }
        Self { prefix, end }
    }

    /// The first key, in base64. There is no empty one.
    pub(in crate::discover) fn first(&self) -> String {
        let first: &[u8] = if self.prefix.is_empty() {
            &[0]
        } else {
            &self.prefix
        };
        STANDARD.encode(first)
    }

    /// The key behind the last one, in base64.
    pub(in crate::discover) fn end(&self) -> String {
        STANDARD.encode(&self.end)
    }

    pub(in crate::discover) fn have(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
    }
}

/// Reads what a range has: its revision, and pairs.
pub(in crate::discover) fn range(answer: &Value) -> Result<(i64, Vec<Change>), String> {
    let revision = answer.pointer("/header/revision").and_then(number);
    let revision = revision.ok_or("the answer has no revision")?;
    let pairs = answer.get("kvs").and_then(Value::as_array);
    let pairs = pairs.map(Vec::as_slice).unwrap_or_default();
    let pairs: Result<_, String> = pairs.iter().map(pair).collect();
    Ok((revision, pairs?))
}

/// Reads a message of a watch.
pub(in crate::discover) fn said(line: &[u8]) -> Result<Said, String> {
    let message = entry::json(line)?;
    if let Some(error) = message.get("error") {
        let text = error.get("message").unwrap_or(error);
        return Err(brief(&format!("the watch failed: {text}")));
    }
    let Some(result) = message.get("result") else {
        return Err("a message of the watch says nothing".to_owned());
    };
    let is = |key| result.get(key).and_then(Value::as_bool) == Some(true);
    if is("canceled") {
        let compacted = result.get("compact_revision").and_then(number);
        if compacted.is_some_and(|revision| revision > 0) {
            return Ok(Said::Compacted);
        }
        let why = result.get("cancel_reason").and_then(Value::as_str);
        let why = why.unwrap_or("no reason was given");
        return Err(brief(&format!("the watch was cancelled: {why}")));
    }
    if is("created") {
        return Ok(Said::Begun);
    }
    let events = result.get("events").and_then(Value::as_array);
    let events = events.map(Vec::as_slice).unwrap_or_default();
    let changes: Result<_, String> = events.iter().map(change).collect();
    Ok(Said::Changes(changes?))
}

fn change(event: &Value) -> Result<Change, String> {
    let kind = event.get("type").and_then(Value::as_str);
    let pair = pair(event.get("kv").unwrap_or(&Value::Null))?;
    match kind {
        // The default is left out.
        None | Some("PUT") => Ok(pair),
        Some("DELETE") => Ok(Change {
            value: None,
            ..pair
        }),
        Some(other) => Err(brief(&format!("`{other}` is no kind of event"))),
    }
}

fn pair(pair: &Value) -> Result<Change, String> {
    let bytes = |key| match pair.get(key) {
        None => Ok(None),
        Some(value) => {
            let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            let bytes = bytes.ok_or_else(|| format!("the {key} is not base64"))?;
            Ok::<_, String>(Some(bytes))
        }
    };
    let key = bytes("key")?.ok_or("a key is missing")?;
    Ok(Change {
        key,
        // What is empty is left out.
        value: Some(bytes("value")?.unwrap_or_default()),
    })
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    }
}
