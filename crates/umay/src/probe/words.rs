//! What went wrong, in words for people.

use std::error::Error as _;
use std::io::{Error, ErrorKind};

use super::HEAD;
use crate::tls;

/// Longer ones are cut: endpoints have written parts of them.
const LONGEST: usize = 300;

/// A text that fits into one line of a log, whoever wrote parts of it.
pub(super) fn tidy(text: &str) -> String {
    let mut tidy = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            tidy.push('…');
            break;
        }
        match c {
            ' '..='~' => tidy.push(c),
            _ => tidy.extend(c.escape_debug()),
        }
    }
    tidy
}

/// Why a connection could not be opened, or broke.
pub(super) fn broken(error: &Error) -> String {
    let words = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "the endpoint reset the connection",
        ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => "the endpoint closed the connection",
        ErrorKind::TimedOut => "the network gave up",
        ErrorKind::HostUnreachable => "no way to the host",
        ErrorKind::NetworkUnreachable => "no way to the network",
        // An alert under TLS: in TLS 1.3 our certificate is refused after the handshake.
        ErrorKind::InvalidData => return tls::connect_reason(error).1,
        _ => return error.to_string(),
    };
    words.to_owned()
}

/// Why HTTP/1 had no answer.
pub(super) fn http1(error: &hyper::Error) -> String {
    if error.is_parse_too_large() {
        return format!("a head of more than {} KiB or 100 fields", HEAD / 1024);
    }
    if error.is_parse() {
        return format!("what came is not HTTP/1: {error}");
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "the endpoint closed the connection without an answer".to_owned();
    }
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(io) => broken(io),
        None => error.to_string(),
    }
}

/// Why HTTP/2 had no answer.
pub(super) fn http2(error: &h2::Error) -> String {
    if let Some(io) = error.get_io() {
        return broken(io);
    }
    match error.reason() {
        Some(reason) if error.is_library() => {
            format!("what came is not proper HTTP/2: {reason}")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_on_their_line_and_end() {
        for (text, told) in [
            ("plain \"text\" \\ ~", "plain \"text\" \\ ~"),
            ("grün", "grün"),
            ("a\nb\r\u{1b}[31m", "a\\nb\\r\\u{1b}[31m"),
            ("turned \u{202e} about", "turned \\u{202e} about"),
            ("", ""),
        ] {
            assert_eq!(tidy(text), told);
        }
        let long = "ä".repeat(LONGEST);
        assert_eq!(tidy(&long), long);
        assert_eq!(tidy(&format!("{long}ä")), format!("{long}…"));
    }
}
