//! Heads of requests (RFC 9112 section 3).

use std::net::Ipv6Addr;

use memchr::memchr;
use umay_core::message::{Framing, Method, Request, Span, Version};

use crate::class::{self, is_token};
use crate::fields::{self, Facts};
use crate::{Limits, Malformed, Scan};

/// Reads the head of a request from the front of `buf`, with at most one empty line before it.
///
/// `Ok(None)` asks for more bytes; `scan` then remembers how far they were searched. `Ok(Some(n))`
/// means that the head took `n` bytes; `request` then holds a copy of it.
pub fn parse_request(
    buf: &[u8],
    scan: &mut Scan,
    limits: &Limits,
    request: &mut Request,
) -> Result<Option<usize>, Malformed> {
    scan.read(
        buf,
        true,
        limits,
        |head| read(head, limits, request),
        |line| request_line(line, limits).map(|_| ()),
    )
}

/// Reads a head and its length. If it is not whole, the verdict is an error, and any.
fn read(buf: &[u8], limits: &Limits, request: &mut Request) -> Result<usize, Malformed> {
    request.clear();
    let (line, lines) = fields::first_line(buf)?;
    limits.check(lines, true)?;
    let (method, target, version) = request_line(line, limits)?;
    let (facts, end) = fields::parse(buf, lines, version, limits, &mut request.fields)?;
    limits.check(end, false)?;
    request.fields.store(buf.get(..end).unwrap_or_default());
    request.method = Method::from_token(method);
    request.method_span = Span {
        start: 0,
        len: method.len() as u32,
    };
    request.version = version;
    if facts.repeated_host {
        return Err(Malformed::RepeatedHost);
    }
    if facts.unknown_expectation {
        return Err(Malformed::UnknownExpectation);
    }
    // Heads are far below 4 GiB.
    let target_start = method.len() as u32 + 1;
    resolve_target(request, target, target_start, &facts)?;
    request.body = body(request.method, &facts)?;
    request.keep_alive = facts.persists(version);
    let modern = version == Version::Http11;
    request.upgrade = modern && facts.has_upgrade && facts.names_upgrade;
    request.expect_continue = modern && facts.expects && !request.body.is_empty();
    Ok(end)
}

fn request_line<'a>(
    line: &'a [u8],
    limits: &Limits,
) -> Result<(&'a [u8], &'a [u8], Version), Malformed> {
    let bad = || {
        if line.contains(&b'\r') {
            Malformed::BareCr
        } else {
            Malformed::BadStartLine
        }
    };
    // Methods are short.
    let space = line.iter().position(|b| *b == b' ').ok_or_else(bad)?;
    let (method, rest) = line.split_at(space);
    let rest = rest.get(1..).unwrap_or_default();
    let space = memchr(b' ', rest).ok_or_else(bad)?;
    let (target, version) = rest.split_at(space);
    let version = version.get(1..).unwrap_or_default();
    if !is_token(method) || method.len() > 32 {
        return Err(Malformed::BadMethod);
    }
    if target.is_empty() || !class::all(target, class::TARGET) {
        return Err(Malformed::BadTarget);
    }
    let version = parse_version(version)?;
    if target.len() > limits.target {
        return Err(Malformed::TargetTooLong);
    }
    Ok((method, target, version))
}

/// `HTTP/1.1` or `HTTP/1.0`.
pub(crate) fn parse_version(version: &[u8]) -> Result<Version, Malformed> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Malformed::VersionUnsupported)
        }
        _ => Err(Malformed::BadVersion),
    }
}

/// Finds authority, path and query in the target (RFC 9112 section 3.2), and checks that `Host`
/// agrees.
fn resolve_target(
    request: &mut Request,
    target: &[u8],
    start: u32,
    facts: &Facts,
) -> Result<(), Malformed> {
    let host = match facts.host {
        Some(span) => {
            if !is_authority(request.fields.get(span)) {
                return Err(Malformed::BadHost);
            }
            Some(span)
        }
        None if request.version == Version::Http11 => return Err(Malformed::NoHost),
        None => None,
    };
    let span = |from: usize, len: usize| Span {
        start: start + from as u32,
        len: len as u32,
    };
    if request.method == Method::Connect {
        let has_port = memchr::memrchr(b':', target).is_some_and(|colon| {
            matches!(target.get(colon + 1..), Some([_, ..])) && !target.ends_with(b"]")
        });
        if !is_authority(target) || !has_port {
            return Err(Malformed::BadTarget);
        }
        agree(request, host, target, b"")?;
        request.authority = span(0, target.len());
        return Ok(());
    }
    let path = match target {
        b"*" if request.method == Method::Options => {
            request.path = span(0, 1);
            request.authority = host.unwrap_or_default();
            return Ok(());
        }
        [b'/', ..] => {
            request.authority = host.unwrap_or_default();
            0
        }
        _ => {
            let (scheme, authority) = absolute(target)?;
            let len = authority.len();
            agree(request, host, authority, scheme)?;
            request.authority = span(scheme.len() + 3, len);
            scheme.len() + 3 + len
        }
    };
    let rest = target.get(path..).unwrap_or_default();
    let mark = memchr(b'?', rest);
    let path_len = mark.unwrap_or(rest.len());
    request.path = if path_len > 0 {
        span(path, path_len)
    } else if request.method == Method::Options && mark.is_none() {
        request.fields.store(b"*")
    } else {
        request.fields.store(b"/")
    };
    request.query = mark.map(|mark| span(path + mark + 1, rest.len() - mark - 1));
    Ok(())
}

/// Splits an absolute target: scheme, authority. Only what HTTP itself can mean.
fn absolute(target: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let schemes: [&[u8]; 2] = [b"http", b"https"];
    for scheme in schemes {
        let Some((front, rest)) = target.split_at_checked(scheme.len()) else {
            continue;
        };
        let Some(rest) = rest.strip_prefix(b"://") else {
            continue;
        };
        if !front.eq_ignore_ascii_case(scheme) {
            continue;
        }
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?'));
        let authority = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if !is_authority(authority) {
            return Err(Malformed::BadTarget);
        }
        return Ok((front, authority));
    }
    Err(Malformed::BadTarget)
}

/// Refuses a target whose authority is not that of `Host`. A port that the scheme has anyway may be
/// left out in one of them.
fn agree(
    request: &Request,
    host: Option<Span>,
    authority: &[u8],
    scheme: &[u8],
) -> Result<(), Malformed> {
    let Some(host) = host else { return Ok(()) };
    let usual: &[u8] = match scheme.len() {
        4 => b":80",
        5 => b":443",
        _ => b"",
    };
    let plain = |authority: &[u8]| {
        let authority = authority.strip_suffix(usual).unwrap_or(authority);
        authority
            .strip_suffix(b":")
            .unwrap_or(authority)
            .to_ascii_lowercase()
    };
    if plain(request.fields.get(host)) == plain(authority) {
        Ok(())
    } else {
        Err(Malformed::HostMismatch)
    }
}

/// A host with an optional port (RFC 3986 section 3.2.2), without user information. An IPv6 address
/// stands in brackets and has no zone.
pub fn is_authority(authority: &[u8]) -> bool {
    let (host, port) = if let Some(rest) = authority.strip_prefix(b"[") {
        let Some(close) = memchr(b']', rest) else {
            return false;
        };
        let (address, after) = rest.split_at(close);
        let address = std::str::from_utf8(address).ok();
        if address.and_then(|a| a.parse::<Ipv6Addr>().ok()).is_none() {
            return false;
        }
        (None, after.get(1..).unwrap_or_default())
    } else {
        let end = memchr(b':', authority).unwrap_or(authority.len());
        let (host, port) = authority.split_at(end);
        (Some(host), port)
    };
    let host_fits = host.is_none_or(|h| matches!(h.len(), 1..=255) && class::all(h, class::HOST));
    let port_fits = match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            let number = std::str::from_utf8(digits).ok();
            digits.iter().all(u8::is_ascii_digit)
                && number.is_some_and(|number| number.parse::<u16>().is_ok())
        }
        _ => false,
    };
    host_fits && port_fits
}

/// The body that the fields announce (RFC 9112 section 6.3).
fn body(method: Method, facts: &Facts) -> Result<Framing, Malformed> {
    let body = match facts.length {
        _ if facts.chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::None,
    };
    let unwanted = match method {
        // RFC 9110 section 9.3.6: what follows belongs to the tunnel.
        Method::Connect => body != Framing::None,
        // RFC 9110 section 9.3.8.
        Method::Trace => !body.is_empty(),
        _ => false,
    };
    if unwanted {
        return Err(Malformed::UnwantedBody);
    }
    Ok(body)
}
