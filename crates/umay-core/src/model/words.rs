//! What a route asks for, in words for people.

use std::fmt;

use super::{HostPattern, Match, PathPattern, Protocol};

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "={path}"),
            Self::Prefix(path) if path.is_empty() => f.write_str("/"),
            Self::Prefix(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Mqtt => "mqtt",
            Self::Tcp => "tcp",
        })
    }
}

/// `host a.example, path /api`; `everything` if nothing is asked for. Of headers there are names only, for a
/// value may be a secret.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|header| &header.name).collect();
        let parts = [
            ("protocol", joined(self.protocol.iter())),
            ("listener", joined(self.listeners.iter())),
            ("server name", joined(self.sni.iter())),
            ("host", joined(self.hosts.iter())),
            ("path", joined(self.paths.iter())),
            ("method", joined(self.methods.iter())),
            ("header", joined(headers.iter())),
        ];
        let mut any = false;
        for (what, values) in parts.iter().filter(|(_, values)| !values.is_empty()) {
            let comma = if any { ", " } else { "" };
            write!(f, "{comma}{what} {values}")?;
            any = true;
        }
        if self.client_cert.is_some() {
            let comma = if any { ", " } else { "" };
            return write!(f, "{comma}a client certificate");
        }
        if !any {
            f.write_str("everything")?;
        }
        Ok(())
    }
}

/// Values of which one must be there; of long lists the first ones.
fn joined(values: impl ExactSizeIterator<Item: fmt::Display>) -> String {
    const MOST: usize = 5;
    let more = values.len().saturating_sub(MOST);
    let mut words: Vec<String> = values.take(MOST).map(|value| value.to_string()).collect();
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::super::HeaderMatch;
    use super::*;

    #[test]
    fn matches_are_told_in_words() {
        let check = |matches: Match, words: &str| assert_eq!(matches.to_string(), words);
        check(Match::default(), "everything");
        let named = HostPattern::Exact("a.example".to_owned());
        let below = HostPattern::Wildcard("b.example".to_owned());
        check(
            Match {
                hosts: vec![named, below, HostPattern::Any],
                paths: vec![
                    PathPattern::Prefix(String::new()),
                    PathPattern::Exact("/x".to_owned()),
                ],
                headers: vec![HeaderMatch {
                    name: "x-key".to_owned(),
                    value: Some("secret".to_owned()),
                }],
                protocol: Some(Protocol::Http),
                client_cert: Some(Default::default()),
                ..Match::default()
            },
            "protocol http, host a.example or *.b.example or *, path / or =/x, header x-key, a client certificate",
        );
        let methods = (1..=7).map(|n| format!("M{n}")).collect();
        check(
            Match {
                methods,
                ..Match::default()
            },
            "method M1 or M2 or M3 or M4 or M5 or 2 more",
        );
    }
}
