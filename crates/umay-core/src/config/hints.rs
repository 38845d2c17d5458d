//! What is added to problems once all of them are known: examples, and what to leave out.

use super::keys::{KEYS, Key};
use super::problem::{Place, Problem};
use super::tree::{Node, Value};
use super::{Sources, effective};

/// Adds an example where a value is of the wrong kind and nothing better is said, such as the words
/// that there are.
pub(super) fn examples(root: &Node, problems: &mut [Problem]) {
    for problem in problems {
        if problem.hint.is_empty()
            && problem.message.starts_with("expected ")
            && problem.message.contains(", found ")
            && matches!(problem.place, Place::File { .. })
            && let Some(key) = key_of(root, "", &problem.place)
        {
            let name = key.path.rsplit('.').next().unwrap_or(key.path);
            problem.hint = format!("as in {name} = {}", key.example);
        }
    }
}

/// The key whose value, or an entry of it, stands at a place.
fn key_of(node: &Node, path: &str, place: &Place) -> Option<&'static Key> {
    if node.place == *place {
        return KEYS.iter().find(|key| key.path == path);
    }
    match &node.value {
        Value::Table(table) => table
            .iter()
            .find_map(|(name, _, node)| key_of(node, &effective::below(path, name), place)),
        Value::List(list) => list.iter().find_map(|node| key_of(node, path, place)),
        _ => None,
    }
}

/// What is worth telling beside errors of syntax: not what only follows from them.
pub(super) fn beside(sources: &Sources, syntax: &[Problem], problems: &mut Vec<Problem>) {
    let broken: Vec<_> = syntax
        .iter()
        .filter_map(|p| broken_lines(sources, p))
        .collect();
    problems.retain(|problem| match &problem.place {
        Place::File { path, line, .. } => {
            let inside = |(name, from, to): &(&str, usize, usize)| {
                *name == path.as_str() && (*from..*to).contains(line)
            };
            !broken.iter().any(inside)
        }
        Place::Document => broken.is_empty(),
        _ => true,
    });
}

/// The lines that an error of syntax spoils: its own, and those below a heading that cannot be read,
/// which seem to belong to the table before it.
fn broken_lines<'p>(sources: &Sources, problem: &'p Problem) -> Option<(&'p str, usize, usize)> {
    let Place::File { path, line, .. } = &problem.place else {
        return None;
    };
    let text = sources.document(path).map_or("", |(.., text)| text);
    let mut lines = text.lines().skip(line.saturating_sub(1));
    let is_heading = |text: &str| text.trim_start().starts_with('[');
    let below = match lines.next() {
        Some(first) if is_heading(first) => lines.take_while(|text| !is_heading(text)).count(),
        _ => 0,
    };
    Some((path, *line, line + 1 + below))
}
