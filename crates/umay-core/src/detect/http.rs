//! Recognises an HTTP/1 request line (RFC 9112 section 3).
//!
//! The bias: what looks like a request line of HTTP/1 is held to be one even if its target is
//! nonsense, so that the HTTP room refuses it instead of a stream route carrying it along.

use super::{Guess, exact};

/// Bytes of a request line that are looked at before it is taken for something else: 8 KiB. Only
/// lines that do not begin with a registered method and a path or an `http` URI are read so far.
pub const MAX_REQUEST_LINE: usize = 8 * 1024;

/// Longest method that is taken for one.
const MAX_METHOD: usize = 32;

/// Methods of the IANA registry, and `PURGE`, which caches made common. `PRI` is not among them:
/// it belongs to the HTTP/2 preface.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"ACL",
    b"BASELINE-CONTROL",
    b"BIND",
    b"CHECKIN",
    b"CHECKOUT",
    b"COPY",
    b"LABEL",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MKREDIRECTREF",
    b"MKWORKSPACE",
    b"MOVE",
    b"ORDERPATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"QUERY",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"UNBIND",
    b"UNCHECKOUT",
    b"UNLINK",
    b"UNLOCK",
    b"UPDATE",
    b"UPDATEREDIRECTREF",
    b"VERSION-CONTROL",
];

/// Says whether a connection begins with a request line.
pub(super) fn guess(prefix: &[u8]) -> Guess {
    let line = match exact(prefix, b"\r\n") {
        // One empty line before the request line is allowed (RFC 9112 section 2.2).
        Guess::Yes => prefix.get(2..).unwrap_or_default(),
        Guess::Maybe => return Guess::Maybe,
        Guess::No => prefix,
    };
    let full = line.len() >= MAX_REQUEST_LINE;
    let line = line.get(..MAX_REQUEST_LINE).unwrap_or(line);
    let token = line
        .iter()
        .take(MAX_METHOD + 1)
        .take_while(|b| is_tchar(**b));
    let (method, rest) = line.split_at(token.count());
    let guess = match rest {
        _ if method.len() > MAX_METHOD => Guess::No,
        [] => Guess::Maybe,
        [b' ', target @ ..] if !method.is_empty() => {
            if METHODS.contains(&method) && is_path_or_http_uri(target) {
                Guess::Yes
            } else {
                whole_line(target)
            }
        }
        _ => Guess::No,
    };
    match guess {
        Guess::Maybe if full => Guess::No,
        other => other,
    }
}

fn is_path_or_http_uri(target: &[u8]) -> bool {
    let begins = |known: &[u8]| {
        let start = target.get(..known.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(known))
    };
    begins(b"/") || begins(b"http://") || begins(b"https://")
}

/// Decides on what follows the method by the end of the line: ` HTTP/1.x`.
fn whole_line(target: &[u8]) -> Guess {
    let Some(end) = target.iter().position(|b| !matches!(b, b' '..=b'~')) else {
        return Guess::Maybe;
    };
    let (text, rest) = target.split_at(end);
    if !ends_in_version(text) {
        return Guess::No;
    }
    // A bare LF is no legal end, but it is HTTP's to refuse.
    match rest {
        [b'\r'] => Guess::Maybe,
        [b'\r', b'\n', ..] | [b'\n', ..] => Guess::Yes,
        _ => Guess::No,
    }
}

fn ends_in_version(text: &[u8]) -> bool {
    match text.split_last() {
        Some((minor, rest)) => minor.is_ascii_digit() && rest.ends_with(b" HTTP/1."),
        None => false,
    }
}

/// A character of a token (RFC 9110 section 5.6.2).
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
