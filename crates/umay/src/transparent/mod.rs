//! Transparent proxying without a configuration: the listeners and routes it takes, the rules of
//! netfilter that send traffic to them, and putting those in and out.

mod nft;
mod ports;
mod rules;

pub use nft::Applied;
pub use ports::Ports;
use rules::TABLE;
pub use rules::{Exempt, Rules};

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, TcpListener};

/// Which traffic is sent to Umay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// What this machine opens.
    pub outbound: bool,
    /// What comes to this machine, or through it.
    pub inbound: bool,
}

/// The port to listen on, unless told otherwise.
const PORT: u16 = 15001;

/// Where to listen for these ways: a redirect goes to loopback for what the machine itself opens,
/// and to the address of an interface for what comes in. IPv6 only where there is IPv6.
pub fn addresses(ways: Ways) -> Vec<String> {
    let (v4, v6) = match ways.inbound {
        true => ("0.0.0.0", "[::]"),
        false => ("127.0.0.1", "[::1]"),
    };
    let mut addresses = vec![format!("{v4}:{PORT}")];
    if TcpListener::bind("[::1]:0").is_ok() {
        addresses.push(format!("{v6}:{PORT}"));
    }
    addresses
}

/// The configuration that `umay run` would need for the same.
///
/// What this machine opens is trusted: its forwarding headers are meant for where it is headed, as
/// they are. What comes in may be from anybody.
pub fn document(listen: &[String], ways: Ways) -> String {
    let trusted = match ways.inbound {
        true => "[]",
        false => "[\"0.0.0.0/0\", \"::/0\"]",
    };
    let mut text = String::new();
    for address in listen {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "[[listener]]\nlisten = {address:?}\ntrusted_proxies = {trusted}\n"
        );
    }
    text + "[[route]]\nname = \"http\"\nprotocol = \"http\"\nto = \"original\"\nallow_connect = true\n\
            [[route]]\nname = \"stream\"\nprotocol = \"tcp\"\nto = \"original\"\n\
            [upstream.original]\nto = \"original-destination\"\n"
}

/// What `umay transparent` prints: the rules, and what becomes of them.
pub fn guide(rules: &Rules, applied: bool) -> String {
    let exempt = match rules.exempt {
        Exempt::Mark => "Umay's own connections are exempt by their mark.".to_owned(),
        Exempt::User(user) => format!(
            "All connections of user {user} are exempt, for Umay runs as that user and may not mark its own (which needs CAP_NET_ADMIN or CAP_NET_RAW)."
        ),
    };
    let how = match applied {
        true => "These rules are in force until Umay ends. If it is killed, remove them with",
        false => {
            "Nothing is sent here yet: give these rules to `nft -f -` as root, or start with --apply. Remove them with"
        }
    };
    format!("# {how}\n#   nft delete table {TABLE}\n# {exempt}\n{rules}")
}

/// Says what is wrong with an address to listen on: a redirect would not come there.
pub fn unreachable(address: SocketAddr, ways: Ways) -> Option<String> {
    let loopback: [IpAddr; 2] = [[127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0, 0, 1].into()];
    let (ip, port) = (address.ip(), address.port());
    if ip.is_unspecified() || (!ways.inbound && loopback.contains(&ip)) {
        return None;
    }
    let (loopback, all) = match address {
        SocketAddr::V4(_) => ("127.0.0.1", "0.0.0.0"),
        SocketAddr::V6(_) => ("[::1]", "[::]"),
    };
    Some(if ways.inbound {
        format!(
            "a redirect of what comes in goes to the address of an interface, so nothing would come to {address}; \
             listen on {all}:{port}"
        )
    } else {
        format!(
            "a redirect of what this machine opens goes to {loopback}, so nothing would come to {address}; \
             listen on {loopback}:{port} or {all}:{port}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: Ways = Ways {
        outbound: true,
        inbound: false,
    };
    const IN: Ways = Ways {
        outbound: false,
        inbound: true,
    };

    #[test]
    fn an_address_that_no_redirect_leads_to_is_told() {
        let said = |address: &str, ways| unreachable(address.parse().unwrap(), ways);
        for fine in ["127.0.0.1:1", "[::1]:1", "0.0.0.0:1", "[::]:1"] {
            assert_eq!(said(fine, OUT), None);
        }
        assert_eq!(said("0.0.0.0:1", IN), None);
        let out = said("127.0.0.2:7", OUT).unwrap();
        assert!(out.contains("listen on 127.0.0.1:7"), "{out}");
        let inbound = said("[::1]:7", IN).unwrap();
        assert!(inbound.contains("listen on [::]:7"), "{inbound}");
    }

    #[test]
    fn the_document_can_be_read() {
        let listen = ["127.0.0.1:1".to_owned(), "[::1]:1".to_owned()];
        for (ways, trusted) in [(OUT, 2), (IN, 0)] {
            let sources = umay_core::config::Sources {
                file: Some(("transparent.toml".into(), document(&listen, ways))),
                ..umay_core::config::Sources::default()
            };
            let loaded = umay_core::config::load(&sources).unwrap();
            assert_eq!(loaded.warnings, []);
            let listeners: Vec<_> = loaded.model.listeners.values().collect();
            assert_eq!(listeners.len(), 2);
            assert!(
                listeners
                    .iter()
                    .all(|one| one.trusted_proxies.len() == trusted)
            );
        }
    }
}
