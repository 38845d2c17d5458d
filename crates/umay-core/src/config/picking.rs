//! How an endpoint is picked, and how a client is kept at one.

use std::time::Duration;

use super::problem::Place;
use super::scalar;
use super::section::{Reader, Section};
use super::tree::{Node, Value};
use crate::model::{Balance, HashBy, Sticky, Upstream};

/// The balance that `hash_by` is for.
const HASHING: &str = "consistent_hash";

/// The key `balance`, and where it stands.
pub(super) fn balance(
    reader: &mut Reader,
    section: &mut Section<'_>,
) -> (Option<Balance>, Option<Place>) {
    let words: Vec<_> = Balance::all()
        .map(|balance| (balance.as_str(), balance))
        .collect();
    let node = section.take("balance");
    let place = node.map(|node| node.place.clone());
    (node.and_then(|node| reader.word(node, &words)), place)
}

/// Reads all that says how one is picked into an upstream.
pub(super) fn read(reader: &mut Reader, section: &mut Section<'_>, upstream: &mut Upstream) {
    let (balance, _) = balance(reader, section);
    upstream.balance = balance.unwrap_or_default();
    upstream.hash_by = hash_by(reader, section);
    upstream.sticky = section.take("sticky").and_then(|node| sticky(reader, node));
    upstream.slow_start = section
        .take("slow_start")
        .and_then(|node| reader.duration(node))
        .unwrap_or_default();
    let panic = section
        .take("panic")
        .and_then(|node| reader.number(node, 0, 100));
    upstream.panic = panic
        .and_then(|percent| u8::try_from(percent).ok())
        .unwrap_or(0);
}

fn hash_by(reader: &mut Reader, section: &mut Section<'_>) -> HashBy {
    let is_hashing = |node: &Node| matches!(&node.value, Value::Text(text) | Value::Untyped(text) if text == HASHING);
    let hashes = section.take("balance").is_some_and(is_hashing);
    let Some(node) = section.take("hash_by") else {
        return HashBy::default();
    };
    let text = reader.text(node);
    let by = text.and_then(|text| reader.ok(node, scalar::hash_by(text)));
    if by.is_some() && !hashes {
        let message = format!("`hash_by` needs `balance = \"{HASHING}\"` beside it");
        reader.error(node, message, "add it, or take hash_by out");
    }
    by.unwrap_or_default()
}

/// The cookie's name, or a table.
fn sticky(reader: &mut Reader, node: &Node) -> Option<Sticky> {
    let name = |reader: &mut Reader, node: &Node| {
        let text = reader.text(node)?;
        reader.ok(node, scalar::cookie(text))
    };
    if matches!(node.value, Value::Text(_) | Value::Untyped(_)) {
        let cookie = name(reader, node)?;
        let max_age = None;
        return Some(Sticky { cookie, max_age });
    }
    if !matches!(node.value, Value::Table(_)) {
        reader.expected(node, "the name of a cookie or a table");
        return None;
    }
    let mut section = Section::open(reader, node, "upstream.NAME.sticky")?;
    let cookie = section.take("cookie");
    if cookie.is_none() {
        let hint = "name it: sticky = { cookie = \"NAME\", max_age = \"1h\" }";
        reader.error(node, "`cookie` is missing", hint);
    }
    let cookie = cookie.and_then(|node| name(reader, node));
    let max_age = section.take("max_age").and_then(|node| age(reader, node));
    section.finish(reader);
    cookie.map(|cookie| Sticky { cookie, max_age })
}

/// How long a cookie is kept: `Max-Age` has whole seconds (RFC 6265 section 4.1.1).
fn age(reader: &mut Reader, node: &Node) -> Option<Duration> {
    let age = reader.duration(node)?;
    if age.is_zero() || age.subsec_nanos() > 0 {
        let hint = "leave it out to keep the cookie until the browser closes";
        reader.error(
            node,
            "a cookie is kept for whole seconds, from one up",
            hint,
        );
        return None;
    }
    Some(age)
}
