//! What `umay explain` is asked about: a URL, or a stream by its server name.

use std::str::FromStr;

use umay_core::model::Protocol;
use umay_core::route;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub(super) text: String,
    /// Of a stream; a request has none.
    pub(super) protocol: Option<Protocol>,
    pub(super) secure: bool,
    /// Host of a request, or the server name of a stream; may be empty.
    pub(super) name: String,
    /// What was written.
    pub(super) port: Option<u16>,
    pub(super) path: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or(("", text));
        let (protocol, secure) = match kind {
            "http" => (None, false),
            "https" => (None, true),
            "tcp" => (Some(Protocol::Tcp), false),
            "tls" => (Some(Protocol::Tcp), true),
            "mqtt" => (Some(Protocol::Mqtt), false),
            "mqtts" => (Some(Protocol::Mqtt), true),
            _ => {
                return Err("begin with https://, http://, tcp:, tls:, mqtt: or mqtts:".to_owned());
            }
        };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (name, port) = route::split_authority(authority.as_bytes());
        let name = String::from_utf8_lossy(name).into_owned();
        if name.is_empty() && protocol.is_none() {
            return Err("this URL has no host".to_owned());
        }
        if name.contains([':', ' ', '@']) && name.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("`{authority}` is no host and port"));
        }
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self {
            text: text.to_owned(),
            protocol,
            secure,
            name,
            port,
            path: path.to_owned(),
        })
    }
}

impl Target {
    /// The server name that a client sends: never an address (RFC 6066 section 3).
    pub(super) fn sni(&self) -> Option<&str> {
        let is_name = !self.name.is_empty() && self.name.parse::<std::net::IpAddr>().is_err();
        (self.secure && is_name).then_some(self.name.as_str())
    }

    pub(super) fn usual_port(&self) -> Option<u16> {
        match (self.protocol, self.secure) {
            (None, false) => Some(80),
            (None, true) => Some(443),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_urls_and_streams() {
        let (tcp, mqtt) = (Some(Protocol::Tcp), Some(Protocol::Mqtt));
        for (text, protocol, secure, name, port, path) in [
            ("https://a.example", None, true, "a.example", None, "/"),
            (
                "http://a.example:81/x?y#z",
                None,
                false,
                "a.example",
                Some(81),
                "/x",
            ),
            ("https://[::1]:8443/", None, true, "::1", Some(8443), "/"),
            ("tcp:", tcp, false, "", None, "/"),
            ("tcp::5432", tcp, false, "", Some(5432), "/"),
            ("tls:db.example", tcp, true, "db.example", None, "/"),
            ("tls://db.example:1", tcp, true, "db.example", Some(1), "/"),
            ("mqtts:m.example", mqtt, true, "m.example", None, "/"),
            ("mqtt:", mqtt, false, "", None, "/"),
        ] {
            let expected = Target {
                text: text.to_owned(),
                protocol,
                secure,
                name: name.to_owned(),
                port,
                path: path.to_owned(),
            };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "a.example",
            "/x",
            "ftp://a",
            "https://",
            "https://a:b:c/",
            "https://u@a/",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
