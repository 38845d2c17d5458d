//! The small languages inside of values: durations, sizes, addresses, endpoints, hosts, paths. The
//! errors are sentences for people.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::model::{Endpoint, HostPattern, PathPattern, Scheme};
use crate::route::has_dot_segments;

mod upstream;

pub(super) use upstream::{
    collector, cookie, hash_by, nowhere, registry, resolver, srv, statuses, target,
};

/// `300ms`, `15s`, `2m`, `1h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_number(text);
    let number: u64 = number.parse().map_err(|_| {
        format!("`{text}` is no duration; write it as \"300ms\", \"15s\", \"2m\" or \"1h\"")
    })?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => {
            return Err(format!(
                "`{text}` needs a unit, as in \"{number}s\" or \"{number}ms\""
            ));
        }
        _ if unit.starts_with(['.', ',']) => {
            return Err(format!(
                "`{text}` is no whole number; there are ms, s, m, h and d"
            ));
        }
        _ => {
            return Err(format!(
                "`{unit}` is no unit of time; there are ms, s, m, h and d"
            ));
        }
    };
    let year = Duration::from_secs(366 * 86_400);
    let millis = number.checked_mul(millis).map(Duration::from_millis);
    match millis.filter(|duration| *duration <= year) {
        Some(duration) => Ok(duration),
        None => Err(format!("`{text}` is more than a year")),
    }
}

/// `1024`, `32KiB`, `10MiB`, `1GiB`; `k`, `m` and `g` mean the same.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_number(text);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no size; write it as 1024, \"32KiB\" or \"10MiB\""))?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "kb" | "mb" | "gb" => {
            return Err(format!("`{unit}` means two things; write KiB, MiB or GiB"));
        }
        _ if unit.starts_with(['.', ',']) => {
            return Err(format!(
                "`{text}` is no whole number; there are KiB, MiB and GiB"
            ));
        }
        _ => {
            return Err(format!(
                "`{unit}` is no unit of size; there are KiB, MiB and GiB"
            ));
        }
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("`{text}` is too large"))
}

fn split_number(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number, unit.trim())
}

/// `127.0.0.1:8443`, `[::1]:8443`, or `:8443` for all IPv4 addresses.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let full = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.to_owned(),
    };
    full.parse().map_err(|_| {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            format!("`{text}` is a port without an address; write \":{text}\" for all addresses")
        } else if text.contains("://") {
            format!(
                "`{text}` is a URL; a listener has an address and a port, as in \"0.0.0.0:443\""
            )
        } else if text.parse::<IpAddr>().is_ok() {
            format!("`{text}` has no port, as in \"0.0.0.0:443\" or \"[::]:443\"")
        } else if let Some(port) = text.strip_prefix("*:") {
            format!("for all addresses write \":{port}\", or \"[::]:{port}\" for IPv6 too")
        } else if text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.matches(':').count() == 1
        {
            format!(
                "`{text}` has a name for an address; write the address, as in \"127.0.0.1:443\""
            )
        } else {
            format!(
                "`{text}` is no address and port, as in \"0.0.0.0:443\", \"[::]:443\" or \":443\""
            )
        }
    })
}

/// `host:port`, or a URL whose scheme says how to speak to it.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let (scheme, usual, rest) = match text.split_once("://") {
        None if text.starts_with("unix:") || text.starts_with('/') => {
            return Err("sockets in the file system cannot be endpoints yet".to_owned());
        }
        None => (Scheme::Detected, None, text),
        Some(("http", rest)) => (Scheme::Http, Some(80), rest),
        Some(("https", rest)) => (Scheme::Https, Some(443), rest),
        Some(("tcp", rest)) => (Scheme::Tcp, None, rest),
        Some(("tls", rest)) => (Scheme::Tls, None, rest),
        Some(("h2c", rest)) => (Scheme::H2c, Some(80), rest),
        Some(("h2", rest)) => (Scheme::H2, Some(443), rest),
        Some((scheme @ ("ws" | "wss" | "mqtt" | "mqtts" | "grpc" | "grpcs"), _)) => {
            let ours = match scheme {
                "ws" => "http",
                "wss" => "https",
                "mqtt" => "tcp",
                "grpc" => "h2c",
                "grpcs" => "h2",
                _ => "tls",
            };
            return Err(format!("`{scheme}://` goes over `{ours}://`; write that"));
        }
        Some((scheme, _)) => {
            return Err(format!(
                "`{scheme}://` is no way to speak to an endpoint; there are http://, https://, h2c://, h2://, tcp:// and tls://"
            ));
        }
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(',') {
        return Err(format!(
            "`{text}` has a comma; several endpoints are a list: [\"a:1\", \"b:2\"]"
        ));
    }
    if rest.contains(['/', '?', '#']) {
        return Err(
            "an endpoint has no path; to change paths, use rewrite_prefix in a route".to_owned(),
        );
    }
    if rest.contains('@') {
        return Err("an endpoint has no user name or password".to_owned());
    }
    let (host, port) = host_and_port(rest)?;
    let Some(port) = port.or(usual) else {
        let text = text.trim_end_matches('/');
        return Err(format!("`{text}` has no port, as in \"{text}:3000\""));
    };
    if port == 0 {
        return Err("port 0 is no place to connect to".to_owned());
    }
    Ok(Endpoint::new(scheme, host, port))
}

pub(super) fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("a `]` is missing")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(format!("`{host}` is no IPv6 address"));
        }
        (host, port)
    } else {
        match text.find(':') {
            Some(_) if text.parse::<Ipv6Addr>().is_ok() => {
                return Err(format!("an IPv6 address needs brackets: \"[{text}]:PORT\""));
            }
            Some(colon) => text.split_at(colon),
            None => (text, ""),
        }
    };
    if host.is_empty() {
        return Err(format!("`{text}` names no host, as in \"127.0.0.1:3000\""));
    }
    if !text.starts_with('[') {
        name(host)?;
    }
    let port = match port.strip_prefix(':') {
        Some(digits) => {
            let port = digits.parse().ok();
            // `parse` would take a sign.
            let port = port.filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
            Some(port.ok_or_else(|| format!("`{digits}` is no port"))?)
        }
        None if port.is_empty() => None,
        None => return Err(format!("`{port}` is not expected behind the host")),
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// A host name or IPv4 address.
fn name(host: &str) -> Result<(), String> {
    if !host.is_ascii() {
        return Err(format!(
            "`{host}` has to be written in its ASCII form, which begins with xn--"
        ));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| matches!(label.len(), 1..=63) && label.bytes().all(legal);
    let host = host.strip_suffix('.').unwrap_or(host);
    if !matches!(host.len(), 1..=253) || !host.split('.').all(label) {
        return Err(format!("`{host}` is no host name"));
    }
    // No top-level domain is a number, so this is a slip of the pen.
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.bytes().all(|b| b.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("`{host}` is no IPv4 address"));
    }
    Ok(())
}

/// `*`, `*.example.com`, `example.com`, an address.
pub(super) fn host(text: &str) -> Result<HostPattern, String> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if text.contains("://") {
        return Err(format!("`{text}` is a URL; a host is only its name"));
    }
    let lower = text.to_ascii_lowercase();
    // The dot that may end a name makes no difference.
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    if let Some(parent) = lower.strip_prefix("*.") {
        name(parent)?;
        return Ok(HostPattern::Wildcard(parent.to_owned()));
    }
    if lower.contains('*') {
        return Err(format!(
            "`{text}`: a `*` can only be the whole first label, as in *.example.com"
        ));
    }
    if let Ok(address) = lower.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        return Ok(HostPattern::Exact(address.to_string()));
    }
    if let Some((host, port)) = lower.split_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(format!("a host has no port here; write `{host}`"));
    }
    name(lower)?;
    Ok(HostPattern::Exact(lower.to_owned()))
}

/// A host that a TLS hello can name: no address (RFC 6066 section 3).
pub(super) fn server_name(text: &str) -> Result<HostPattern, String> {
    match host(text)? {
        HostPattern::Exact(name) if name.parse::<IpAddr>().is_ok() => Err(format!(
            "`{text}` is an address, and a TLS hello names none; leave sni out to match without a name"
        )),
        pattern => Ok(pattern),
    }
}

/// What a Host header can say: a host, and a port if it is not the usual one.
pub(super) fn authority(text: &str) -> Result<(), String> {
    if text.contains("://") || text.contains(['/', '?', '#', '@']) {
        return Err(format!(
            "`{text}` is more than a host; write it as \"app.internal\" or \"app.internal:8080\""
        ));
    }
    host_and_port(text).map(|_| ())
}

/// A path to go to, as opposed to a pattern.
pub(super) fn plain_path(text: &str) -> Result<(), String> {
    match path(text)? {
        PathPattern::Prefix(_) => Ok(()),
        PathPattern::Exact(path) => Err(format!(
            "`=` belongs to paths that are matched; write \"{path}\""
        )),
    }
}

/// A filter of the event log: levels, and levels of single targets. What is in brackets is left to
/// whoever builds the log.
pub(super) fn filter(text: &str) -> Result<(), String> {
    let is_level = |word: &str| {
        ["off", "error", "warn", "info", "debug", "trace"]
            .iter()
            .any(|level| level.eq_ignore_ascii_case(word))
    };
    if text.contains('[') {
        return Ok(());
    }
    for part in text.split(',').map(str::trim) {
        let level = part.split_once('=').map_or(part, |(_, level)| level);
        // Otherwise a bare word is a target of which all is told, and all else is not.
        if !is_level(level) {
            return Err(format!(
                "`{level}` is no level; there are off, error, warn, info, debug and trace"
            ));
        }
    }
    Ok(())
}

/// `/prefix`, or `=/exact`.
pub(super) fn path(text: &str) -> Result<PathPattern, String> {
    let (exact, path) = match text.strip_prefix('=') {
        Some(path) => (true, path),
        None => (false, text),
    };
    if !path.starts_with('/') {
        return Err(format!(
            "the path `{text}` has to begin with `/`, or with `=/` to match exactly"
        ));
    }
    if path.contains(['?', '#']) || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "the path `{text}` has a character that no path has; escape it as %XX"
        ));
    }
    if path.contains('*') {
        return Err(format!(
            "the path `{text}` has a `*`, which matches only itself; `/a` matches all below /a already"
        ));
    }
    if has_dot_segments(path.as_bytes()) {
        return Err(format!(
            "the path `{text}` has dot segments, which no request has"
        ));
    }
    Ok(if exact {
        PathPattern::Exact(path.to_owned())
    } else {
        PathPattern::Prefix(path.trim_end_matches('/').to_owned())
    })
}

/// A token (RFC 9110 section 5.6.2): the name of a method or a field.
pub(super) fn is_token(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(legal)
}
