//! Path patterns: a map from them, and what makes two paths the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::model::PathPattern;

/// Values by path pattern.
#[derive(Debug, Default)]
pub(super) struct PathMap<T> {
    /// By the pattern's path, normalised; prefixes without final `/`.
    nodes: BTreeMap<Box<[u8]>, Node<T>>,
    /// Length of the longest prefix: a request with a long path is not searched beyond it.
    longest_prefix: usize,
}

#[derive(Debug, Default)]
struct Node<T> {
    exact: T,
    prefix: T,
}

impl<T: Default> PathMap<T> {
    /// The value of a pattern, made if it is new.
    pub(super) fn entry(&mut self, pattern: &PathPattern) -> &mut T {
        match pattern {
            PathPattern::Exact(path) => {
                let key = normalise(path.as_bytes()).into();
                &mut self.nodes.entry(key).or_default().exact
            }
            PathPattern::Prefix(path) => {
                let key = normalise(path.as_bytes());
                let key = key.strip_suffix(b"/").unwrap_or(&key);
                self.longest_prefix = self.longest_prefix.max(key.len());
                &mut self.nodes.entry(key.into()).or_default().prefix
            }
        }
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let nodes = self.nodes.values_mut();
        nodes.flat_map(|node| [&mut node.exact, &mut node.prefix])
    }

    /// Visits the values whose patterns match a normalised path, the most specific first, until one
    /// answers. The empty prefix matches all there is, also `*` and nothing.
    pub(super) fn find<'a, R>(
        &'a self,
        path: &[u8],
        mut visit: impl FnMut(&'a T) -> Option<R>,
    ) -> Option<R> {
        let exact = self.nodes.get(path).and_then(|node| visit(&node.exact));
        if exact.is_some() {
            return exact;
        }
        let mut prefix = match path.get(..=self.longest_prefix) {
            Some(longer) => parent(longer),
            None => path,
        };
        loop {
            let node = self.nodes.get(prefix);
            let found = node.and_then(|node| visit(&node.prefix));
            if found.is_some() || prefix.is_empty() {
                return found;
            }
            prefix = parent(prefix);
        }
    }
}

/// What stands before the last `/`.
fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|b| *b == b'/');
    path.get(..slash.unwrap_or_default()).unwrap_or_default()
}

/// A path as it is compared: escapes that stand for letters, digits, `-`, `.`, `_` or `~` are
/// resolved, since they change nothing (RFC 3986 section 6.2.2.2), and a row of slashes counts as
/// one, since most endpoints see it so. `%2F` stays what it is: part of a segment.
///
/// It is what requests are matched by, not what is sent. Allocates only if there is such a thing.
pub fn normalise(path: &[u8]) -> Cow<'_, [u8]> {
    if units(path).all(|(_, raw)| raw == 1) {
        Cow::Borrowed(path)
    } else {
        units(path).map(|(byte, _)| byte).collect()
    }
}

/// The length of the part of a raw path that matches a prefix pattern; `None` if it does not match.
/// What remains is empty or begins with `/`. So a rewrite can replace what matched, in whatever
/// disguise it came.
pub fn prefix_len(path: &[u8], prefix: &str) -> Option<usize> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix).as_bytes();
    let mut rest = units(path);
    let mut len = 0;
    for (wanted, _) in units(prefix) {
        let (byte, raw) = rest.next()?;
        if byte != wanted {
            return None;
        }
        len += raw;
    }
    matches!(rest.next(), None | Some((b'/', _))).then_some(len)
}

/// True if a path has a segment `.` or `..`, or one that an endpoint may take for it: with escapes,
/// with parameters (`..;`), next to an escaped slash or a backslash.
///
/// Such a path is one thing to who compares it and another to who resolves it. Clients resolve dot
/// segments before they send a request (RFC 3986 section 5.2.4), so to refuse them, with status
/// 400, costs nothing and leaves no question about which path was meant.
pub fn has_dot_segments(path: &[u8]) -> bool {
    let mut rest = path;
    // Dots of the segment so far; `None` once it has something else.
    let mut dots = Some(0);
    let mut in_parameters = false;
    while let Some((byte, raw)) = unescape(rest) {
        match byte {
            b'/' | b'\\' => {
                if matches!(dots, Some(1 | 2)) {
                    return true;
                }
                dots = Some(0);
                in_parameters = false;
            }
            b';' => in_parameters = true,
            _ if in_parameters => {}
            b'.' => dots = dots.map(|count| count + 1),
            _ => dots = None,
        }
        rest = rest.get(raw..).unwrap_or_default();
    }
    matches!(dots, Some(1 | 2))
}

/// The bytes of a normalised path, each with the number of raw bytes that it stands for.
fn units(path: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let unit = match first {
            b'/' => (b'/', rest.iter().take_while(|b| **b == b'/').count()),
            b'%' => match unescape(rest) {
                Some((byte, raw)) if is_unreserved(byte) => (byte, raw),
                _ => (b'%', 1),
            },
            other => (other, 1),
        };
        rest = rest.get(unit.1..).unwrap_or_default();
        Some(unit)
    })
}

/// The first byte of a text with escapes, and the number of raw bytes that it takes. A broken
/// escape stands for itself.
fn unescape(text: &[u8]) -> Option<(u8, usize)> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    match text {
        [b'%', high, low, ..] => match (digit(high), digit(low)) {
            // Two digits make one byte, so the cast cannot truncate.
            (Some(high), Some(low)) => Some(((high << 4 | low) as u8, 3)),
            _ => Some((b'%', 1)),
        },
        [first, ..] => Some((*first, 1)),
        [] => None,
    }
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}
