//! Heads of responses (RFC 9112 section 4).

use umay_core::message::{Framing, Method, Response, Span, Version};

use crate::class;
use crate::fields::{self, Facts};
use crate::request::parse_version;
use crate::{Limits, Malformed, Scan};

/// Reads the head of a response to a request with this method from the front of `buf`.
///
/// `Ok(None)` asks for more bytes; `scan` then remembers how far they were searched. `Ok(Some(n))`
/// means that the head took `n` bytes; `response` then holds a copy of it.
pub fn parse_response(
    buf: &[u8],
    scan: &mut Scan,
    limits: &Limits,
    method: Method,
    response: &mut Response,
) -> Result<Option<usize>, Malformed> {
    if buf.is_empty() {
        return Ok(None);
    }
    // A status line has no target, so only the head's own limit counts.
    let limits = Limits {
        target: limits.head,
        ..*limits
    };
    scan.read(
        buf,
        false,
        &limits,
        |head| read(head, &limits, method, response),
        |line| status_line(line).map(|_| ()),
    )
}

/// Reads a head and its length. If it is not whole, the verdict is an error, and any.
fn read(
    buf: &[u8],
    limits: &Limits,
    method: Method,
    response: &mut Response,
) -> Result<usize, Malformed> {
    response.clear();
    let (line, lines) = fields::first_line(buf)?;
    let (version, status, phrase) = status_line(line)?;
    let (facts, end) = fields::parse(buf, lines, version, limits, &mut response.fields)?;
    limits.check(end, false)?;
    response.fields.store(buf.get(..end).unwrap_or_default());
    response.version = version;
    response.status = status;
    response.phrase = Span {
        start: (line.len() - phrase.len()) as u32,
        len: phrase.len() as u32,
    };
    response.body = body(method, status, &facts)?;
    response.keep_alive = facts.persists(version) && response.body != Framing::UntilClose;
    Ok(end)
}

/// Version, status, phrase. Some endpoints leave out the space before an empty phrase.
fn status_line(line: &[u8]) -> Result<(Version, u16, &[u8]), Malformed> {
    let space = line.iter().position(|b| *b == b' ');
    let space = space.ok_or(Malformed::BadStartLine)?;
    let (version, rest) = line.split_at(space);
    let version = parse_version(version)?;
    let [b' ', a, b, c, phrase @ ..] = rest else {
        return Err(Malformed::BadStatus);
    };
    let mut status = 0;
    for digit in [a, b, c] {
        if !digit.is_ascii_digit() {
            return Err(Malformed::BadStatus);
        }
        status = status * 10 + u16::from(digit - b'0');
    }
    let phrase = match phrase {
        [] => phrase,
        [b' ', phrase @ ..] => phrase,
        _ => return Err(Malformed::BadStatus),
    };
    if status < 100 {
        return Err(Malformed::BadStatus);
    }
    if !class::all(phrase, class::VALUE) {
        return Err(Malformed::BadPhrase);
    }
    Ok((version, status, phrase))
}

/// How the body ends (RFC 9112 section 6.3).
fn body(method: Method, status: u16, facts: &Facts) -> Result<Framing, Malformed> {
    let announced = facts.chunked || facts.length.is_some_and(|length| length > 0);
    match status {
        // RFC 9110 section 8.6, RFC 9112 section 6.1: whoever announces a body here may send one. A
        // length of nothing is forbidden too, but has only one meaning, and some send it.
        100..=199 | 204 if announced => Err(Malformed::UnwantedBody),
        100..=199 | 204 | 304 => Ok(Framing::None),
        200..=299 if method == Method::Connect => Ok(Framing::None),
        _ if method == Method::Head => Ok(Framing::None),
        _ if facts.chunked => Ok(Framing::Chunked),
        _ => Ok(facts.length.map_or(Framing::UntilClose, Framing::Length)),
    }
}
