//! The small languages of upstreams and of how their endpoints are found: keys of hashing, names of
//! services, statuses, servers of DNS.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::{endpoint, host_and_port, is_token, name};
use crate::model::{Endpoint, HashBy, Scheme};

/// `client_ip`, `path`, `sni`, `header:NAME`, `cookie:NAME`.
pub(in crate::config) fn hash_by(text: &str) -> Result<HashBy, String> {
    let (kind, name) = match text.split_once(':') {
        Some((kind, name)) => (kind, Some(name)),
        None => (text, None),
    };
    match (kind, name) {
        ("client_ip", None) => Ok(HashBy::ClientIp),
        ("path", None) => Ok(HashBy::Path),
        ("sni", None) => Ok(HashBy::Sni),
        ("header", Some(name)) if is_token(name) => Ok(HashBy::Header(name.to_ascii_lowercase())),
        ("header", Some(name)) => Err(format!("`{name}` is no name of a header")),
        ("cookie", Some(name)) => cookie(name).map(HashBy::Cookie),
        ("header" | "cookie", None) => {
            Err(format!("`{kind}` needs its name, as in \"{kind}:NAME\""))
        }
        _ => Err(format!(
            "`{text}` is nothing to hash by; there are client_ip, path, sni, header:NAME and cookie:NAME"
        )),
    }
}

/// The name of a cookie: a token (RFC 6265 section 4.1.1).
pub(in crate::config) fn cookie(text: &str) -> Result<String, String> {
    if is_token(text) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no name of a cookie"))
}

/// A name with SRV records, in lower case.
pub(in crate::config) fn srv(text: &str) -> Result<String, String> {
    if text.contains([':', '/']) {
        return Err(format!(
            "`{text}` is more than a name; the records tell hosts and ports"
        ));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(format!("`{text}` is an address, which has no SRV records"));
    }
    name(text)?;
    Ok(text.to_ascii_lowercase())
}

/// Where a registry is asked: an endpoint in HTTP.
pub(in crate::config) fn registry(text: &str) -> Result<Endpoint, String> {
    if !text.contains("://") {
        return Err(format!(
            "a registry speaks HTTP; write \"http://{text}\" or \"https://{text}\""
        ));
    }
    let endpoint = endpoint(text)?;
    match endpoint.scheme {
        Scheme::Http | Scheme::Https => Ok(endpoint),
        _ => Err(format!(
            "`{text}`: a registry is asked over http:// or https://"
        )),
    }
}

/// A collector: a URL, and its path if it has one.
pub(in crate::config) fn collector(text: &str) -> Result<(Endpoint, Option<&str>), String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!(
            "a collector has a URL; write \"http://{text}\" or \"https://{text}\""
        ));
    };
    if !matches!(scheme, "http" | "https") {
        return Err(format!(
            "`{text}`: a collector is spoken to over http:// or https://"
        ));
    }
    let slash = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(slash);
    if !path
        .bytes()
        .all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#')
    {
        return Err(format!("`{path}` is no path"));
    }
    let endpoint = endpoint(&format!("{scheme}://{host}"))?;
    Ok((endpoint, (!path.is_empty()).then_some(path)))
}

/// An endpoint for what is read only to be checked.
pub(in crate::config) fn nowhere() -> Endpoint {
    Endpoint::new(Scheme::Http, String::new(), 0)
}

/// A server of DNS: an address, and a port if it is not 53.
pub(in crate::config) fn resolver(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, 53));
    }
    let address = match text.parse::<SocketAddr>() {
        Ok(address) => Some(address),
        Err(_) => bracketed(text),
    };
    match address {
        Some(address) if address.port() != 0 => Ok(address),
        Some(_) => Err("port 0 is no place to ask".to_owned()),
        None => Err(format!(
            "`{text}` is no address, as in \"10.0.0.53\" or \"[2001:db8::53]:53\""
        )),
    }
}

/// `[::1]`, as people write an IPv6 address who leave its port out.
fn bracketed(text: &str) -> Option<SocketAddr> {
    let (host, port) = host_and_port(text).ok()?;
    let address = host.parse::<IpAddr>().ok()?;
    Some(SocketAddr::new(address, port.unwrap_or(53)))
}

/// Statuses that an answer can end with.
const FINAL: RangeInclusive<u16> = 200..=599;

/// `200` or `200-299`: an inclusive range of statuses.
pub(in crate::config) fn statuses(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        let digits = text.trim();
        // `parse` would take a sign.
        let plain = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| plain)
    };
    let (Some(first), Some(last)) = (status(first), status(last)) else {
        return Err(format!(
            "`{text}` is no status and no range of them, as in 200 or \"200-299\""
        ));
    };
    if !FINAL.contains(&first) || !FINAL.contains(&last) {
        return Err(format!(
            "`{text}`: an answer ends with a status from 200 to 599"
        ));
    }
    if first > last {
        return Err(format!("`{text}` is empty; write \"{last}-{first}\""));
    }
    Ok((first, last))
}

/// A path to ask for, with its query.
pub(in crate::config) fn target(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("the path `{text}` has to begin with `/`"));
    }
    if text.contains('#') || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "the path `{text}` has a character that no path has; escape it as %XX"
        ));
    }
    Ok(text.to_owned())
}
