//! Filters: what a route changes about requests and answers.

use super::problem::Place;
use super::section::{Reader, Section};
use super::tree::{Node, Value};
use super::{scalar, secret};
use crate::model::{Filter, HeaderEdit, Match, PathPattern, Template};

/// Fields that Umay answers for itself, and what to use instead.
const MANAGED: &[(&str, &str)] = &[
    ("connection", "it is written anew for each connection"),
    ("content-length", "it follows the body"),
    ("host", "use set_host"),
    ("keep-alive", "it is written anew for each connection"),
    ("proxy-connection", "it is not passed on"),
    ("te", "it is not passed on"),
    ("trailer", "it follows the body"),
    ("transfer-encoding", "it follows the body"),
    ("upgrade", "it is written anew for each connection"),
];

/// Reads a route's filters.
pub(super) fn read(reader: &mut Reader, section: &mut Section<'_>, matches: &Match) -> Vec<Filter> {
    let mut filters = Vec::new();
    if let Some(node) = section.take("rewrite_prefix") {
        filters.extend(rewrite(reader, node, matches));
    }
    if let Some(node) = section.take("set_host")
        && let Some(host) = reader.text(node)
    {
        // What is written here goes into a header as it is.
        if reader.ok(node, scalar::authority(host)).is_some() {
            filters.push(Filter::SetHost(host.to_owned()));
        }
    }
    let request = section.section(reader, "request_headers");
    filters.extend(request.map(|section| Filter::RequestHeaders(edit(reader, section))));
    let response = section.section(reader, "response_headers");
    filters.extend(response.map(|section| Filter::ResponseHeaders(edit(reader, section))));
    if let Some(node) = section.take("hsts") {
        filters.extend(hsts(reader, node).map(Filter::Hsts));
    }
    filters
}

fn hsts(reader: &mut Reader, node: &Node) -> Option<String> {
    match &node.value {
        // A year, as browsers' preload lists ask for.
        Value::Bool(true) => Some("max-age=31536000".to_owned()),
        Value::Bool(false) => None,
        Value::Untyped(text) if text == "true" => Some("max-age=31536000".to_owned()),
        Value::Untyped(text) if text == "false" => None,
        Value::Text(text) | Value::Untyped(text) => {
            let legal = text.bytes().all(|b| (b' '..=b'~').contains(&b));
            if legal && text.to_ascii_lowercase().contains("max-age=") {
                return Some(text.clone());
            }
            let hint = "write true for a year, or as in \"max-age=31536000; includeSubDomains\"";
            reader.error(node, format!("`{text}` has no max-age"), hint);
            None
        }
        _ => {
            reader.expected(node, "true, false or text");
            None
        }
    }
}

fn rewrite(reader: &mut Reader, node: &Node, matches: &Match) -> Vec<Filter> {
    let plain = |path: &str| path.trim_end_matches('/').to_owned();
    let checked = |reader: &mut Reader, node: &Node| {
        let text = reader.text(node)?;
        reader
            .ok(node, scalar::plain_path(text))
            .map(|()| plain(text))
    };
    if let Value::Table(_) = node.value {
        let Some(mut section) = Section::open(reader, node, "route.rewrite_prefix") else {
            return Vec::new();
        };
        let (from, to) = (section.take("from"), section.take("to"));
        let pair = match (from, to) {
            (Some(from), Some(to)) => checked(reader, from).zip(checked(reader, to)),
            _ => {
                reader.error(node, "`from` and `to` need each other", "");
                None
            }
        };
        section.finish(reader);
        return pair
            .map(|(from, to)| vec![Filter::RewritePrefix { from, to }])
            .unwrap_or_default();
    }
    let Some(to) = checked(reader, node) else {
        return Vec::new();
    };
    let prefixes = matches.paths.iter().filter_map(|path| match path {
        PathPattern::Prefix(prefix) => Some(prefix.clone()),
        PathPattern::Exact(_) => None,
    });
    let mut filters: Vec<_> = prefixes
        .map(|from| Filter::RewritePrefix {
            from,
            to: to.clone(),
        })
        .collect();
    // The first one that fits is applied, so the longest has to come first.
    filters.sort_by_key(|filter| match filter {
        Filter::RewritePrefix { from, .. } => std::cmp::Reverse(from.len()),
        _ => std::cmp::Reverse(0),
    });
    if filters.is_empty() {
        let hint = "add path, or write rewrite_prefix = { from = \"/a\", to = \"/b\" }";
        reader.error(node, "this route has no path prefix to rewrite", hint);
    }
    filters
}

fn edit(reader: &mut Reader, mut section: Section<'_>) -> HeaderEdit {
    let mut edit = HeaderEdit::default();
    if let Some(node) = section.take("remove") {
        for (node, name) in reader.texts(node) {
            edited_name(reader, &node.place, &name);
            edit.remove.push(name.to_ascii_lowercase());
        }
    }
    for (key, list) in [("set", &mut edit.set), ("add", &mut edit.add)] {
        let Some(table) = section.section(reader, key) else {
            continue;
        };
        for (name, place, node) in table.entries() {
            edited_name(reader, place, name);
            if list.iter().any(|(have, _)| have.eq_ignore_ascii_case(name)) {
                let hint = "the case of a header's name makes no difference";
                reader.error_at(place, format!("`{name}` is here twice"), hint);
            }
            let path = section.path_of(&format!("{key}.NAME"));
            let template = match secret::value(reader, node, &path) {
                // A secret may have braces, which mean nothing in it.
                Some((text, true)) => Some(Template::text(&text)),
                Some((text, false)) => reader.ok(node, Template::parse(&text)),
                None => None,
            };
            if let Some(template) = template {
                list.push((name.clone(), template));
            }
        }
    }
    section.finish(reader);
    edit
}

fn edited_name(reader: &mut Reader, place: &Place, name: &str) {
    field_name(reader, place, name);
    let managed = MANAGED
        .iter()
        .find(|(managed, _)| managed.eq_ignore_ascii_case(name));
    if let Some((_, hint)) = managed {
        reader.error_at(place, format!("`{name}` cannot be changed"), *hint);
    }
}

/// Complains about what is no name of a field.
pub(super) fn field_name(reader: &mut Reader, place: &Place, name: &str) {
    if !scalar::is_token(name) {
        reader.error_at(place, format!("`{name}` is no name of a header"), "");
    }
}
