//! One endpoint as a file or a registry says it, checked as the configuration's own are.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Map, Value};
use umay_core::config;
use umay_core::model::{Endpoint, Scheme};

/// What weights are scaled into, see [`Endpoint::weight`].
const MAX_WEIGHT: u64 = 1_000;

/// The highest number of a group that can be asked for.
const MAX_PRIORITY: u64 = 1_000;

/// The bytes that one endpoint may be described with.
pub(super) const MAX_ENTRY: usize = 4 * 1024;

/// The characters that a zone may have.
const MAX_ZONE: usize = 128;

/// What is quoted at most of what others wrote.
const MAX_QUOTE: usize = 240;

/// An endpoint that is wanted, before its name is resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) endpoint: Endpoint,
    /// Its name is looked up as it is, without the system's search list.
    pub(super) absolute: bool,
}

impl Wanted {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            absolute: false,
        }
    }

    /// The address, if the host is one.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        self.endpoint.host.parse().ok()
    }

    /// The name to look up.
    pub(super) fn name(&self) -> String {
        let host = &self.endpoint.host;
        if self.absolute && !host.ends_with('.') {
            format!("{host}.")
        } else {
            host.clone()
        }
    }
}

/// Endpoints, and what could not be one.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) wanted: Vec<Wanted>,
    bad: usize,
    first: String,
}

impl Gathered {
    pub(super) fn add(&mut self, whose: &str, entry: Result<Wanted, String>) {
        match entry {
            Ok(wanted) => self.wanted.push(wanted),
            Err(why) => {
                if self.bad == 0 {
                    self.first = brief(&format!("{whose}: {why}"));
                }
                self.bad += 1;
            }
        }
    }

    /// All that can be used, and what is to be told of the rest. If nothing can be used, that is an
    /// error: what was known before is better.
    pub(super) fn end(self) -> Result<(Vec<Wanted>, Option<String>), String> {
        let complaint = match self.bad {
            0 => None,
            1 => Some(format!("an entry cannot be used: {}", self.first)),
            bad => Some(format!(
                "{bad} entries cannot be used, the first: {}",
                self.first
            )),
        };
        match complaint {
            Some(why) if self.wanted.is_empty() => Err(why),
            complaint => Ok((self.wanted, complaint)),
        }
    }
}

/// `host:port` or a URL; `scheme` if it does not say.
pub(super) fn endpoint(text: &str, scheme: Scheme) -> Result<Endpoint, String> {
    if text.len() > MAX_ENTRY {
        return Err(format!("more than {MAX_ENTRY} bytes"));
    }
    let mut endpoint = config::endpoint(text).map_err(|why| brief(&why))?;
    let address: Option<IpAddr> = endpoint.host.parse().ok();
    if address.is_some_and(|address| !can_be_reached(&address)) {
        return Err(format!("{} cannot be connected to", endpoint.host));
    }
    if endpoint.scheme == Scheme::Detected {
        endpoint.scheme = scheme;
    }
    Ok(endpoint)
}

/// False for addresses that belong to nobody: what "blocked" names are given, and what would lead back
/// to this host.
pub(super) fn can_be_reached(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// A host and a port that come apart.
pub(super) fn located(host: &str, port: u16, scheme: Scheme) -> Result<Endpoint, String> {
    let text = if host.parse::<Ipv6Addr>().is_ok() {
        format!("[{host}]:{port}")
    } else if host.contains("://") {
        return Err(brief(&format!("`{host}` is no host")));
    } else {
        format!("{host}:{port}")
    };
    endpoint(&text, scheme)
}

/// `{ to = "…", weight = 2, priority = 1, zone = "a" }`. A file says nothing else (`strict`); a
/// registry may hold more for others, and knows `to` as `Addr` too.
pub(super) fn object(
    object: &Map<String, Value>,
    scheme: Scheme,
    strict: bool,
) -> Result<Endpoint, String> {
    const KEYS: [&str; 4] = ["to", "weight", "priority", "zone"];
    if strict && let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(brief(&format!(
            "`{key}` is unknown; there are to, weight, priority and zone"
        )));
    }
    let to = object.get("to").or_else(|| object.get("Addr"));
    let Some(to) = to else {
        return Err("`to` is missing".to_owned());
    };
    let Some(to) = to.as_str() else {
        return Err("`to` has to be text".to_owned());
    };
    let mut endpoint = endpoint(to, scheme)?;
    if let Some(weight) = object.get("weight") {
        endpoint.weight = number("weight", weight, MAX_WEIGHT)?;
    }
    if let Some(priority) = object.get("priority") {
        endpoint.priority = number("priority", priority, MAX_PRIORITY)?;
    }
    if let Some(zone) = object.get("zone") {
        let text = zone.as_str().and_then(self::zone);
        let Some(text) = text else {
            return Err("`zone` has to be a short text".to_owned());
        };
        endpoint.zone = Some(text);
    }
    Ok(endpoint)
}

fn number(key: &str, value: &Value, most: u64) -> Result<u32, String> {
    let number = value.as_u64().filter(|number| *number <= most);
    let number = number.and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("`{key}` has to be a whole number from 0 to {most}"))
}

/// A zone's name, unless it is none.
pub(super) fn zone(text: &str) -> Option<String> {
    let fine = (1..=MAX_ZONE).contains(&text.len()) && !text.chars().any(char::is_control);
    fine.then(|| text.to_owned())
}

/// A weight that others give, of which `most` is the largest, as one of ours: 1 to 1,000, in
/// proportion. A weight of 0, which SRV records have for "seldom" (RFC 2782), is 1.
pub(super) fn scale(weight: u64, most: u64) -> u32 {
    let scaled = if most <= MAX_WEIGHT {
        u128::from(weight)
    } else {
        u128::from(weight) * u128::from(MAX_WEIGHT) / u128::from(most)
    };
    u32::try_from(scaled.clamp(1, u128::from(MAX_WEIGHT))).unwrap_or(1)
}

/// The values that a JSON document may have. Each takes up to a hundred bytes of memory once it is read,
/// even if it is two bytes long.
const MAX_VALUES: usize = 1_000_000;

/// Reads JSON that is not made to eat memory.
pub(super) fn json(bytes: &[u8]) -> Result<Value, String> {
    check_json(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| brief(&format!("this is not JSON: {error}")))
}

/// Counts what values begin behind, in texts too: no honest document comes near.
pub(super) fn check_json(bytes: &[u8]) -> Result<(), String> {
    let values = bytes
        .iter()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{'));
    if values.count() > MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} values"));
    }
    Ok(())
}

/// What others wrote, for people to read in one line: short, and without characters that a terminal
/// would obey.
pub(super) fn brief(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= MAX_QUOTE {
            out.push('…');
            break;
        }
        if c.is_ascii_graphic() || c == ' ' {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}
