//! The rules that send traffic to Umay, in the language of nft.

use std::fmt;
use std::net::SocketAddr;

use super::{Ports, Ways};
use crate::original::MARK;

/// The family and name of the table that all rules are in, and nothing else is.
pub(super) const TABLE: &str = "inet umay_transparent";

/// What Umay's own connections are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exempt {
    /// Their mark.
    Mark,
    /// The user that Umay runs as.
    User(u32),
}

/// What is sent where. Its text is what nft reads.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Where Umay listens.
    pub listening: Vec<SocketAddr>,
    /// Which connections.
    pub ways: Ways,
    /// To which ports.
    pub ports: Ports,
    /// But not these.
    pub exempt: Exempt,
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Fails if there is one already: somebody else's, or one that a crash has left.
        writeln!(f, "create table {TABLE}\ntable {TABLE} {{")?;
        if self.ways.outbound {
            writeln!(f, "\tchain outbound {{")?;
            writeln!(f, "\t\ttype nat hook output priority -100; policy accept;")?;
            match self.exempt {
                Exempt::Mark => writeln!(f, "\t\tmeta mark {MARK:#x} return")?,
                Exempt::User(user) => writeln!(f, "\t\tmeta skuid {user} return")?,
            }
            writeln!(f, "\t\tfib daddr type local return")?;
            self.redirects(f)?;
        }
        if self.ways.inbound {
            writeln!(f, "\tchain inbound {{")?;
            writeln!(
                f,
                "\t\ttype nat hook prerouting priority -100; policy accept;"
            )?;
            writeln!(f, "\t\tiifname \"lo\" return")?;
            self.redirects(f)?;
        }
        writeln!(f, "}}")
    }
}

impl Rules {
    /// What puts others in their place that redirect nothing. They ask for connection tracking,
    /// which without any rule that does so ends, and with it all that was redirected.
    pub fn suspended(&self) -> String {
        let mut text = format!("flush table {TABLE}\n");
        for (way, chain) in [
            (self.ways.outbound, "outbound"),
            (self.ways.inbound, "inbound"),
        ] {
            if way {
                text += &format!("add rule {TABLE} {chain} ct state new return\n");
            }
        }
        text
    }

    /// The end of a chain.
    fn redirects(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was open before the rules came may be new to the kernel, if it kept no records then.
        writeln!(f, "\t\ttcp flags & (fin | syn | rst | ack) != syn return")?;
        for address in &self.listening {
            let family = match address {
                SocketAddr::V4(_) => "ipv4",
                SocketAddr::V6(_) => "ipv6",
            };
            let (ports, to) = (&self.ports, address.port());
            writeln!(
                f,
                "\t\tmeta nfproto {family} tcp dport {ports} redirect to :{to}"
            )?;
        }
        writeln!(f, "\t}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_exempt_what_must_not_come_back() {
        let mut rules = Rules {
            listening: vec![
                "127.0.0.1:15001".parse().unwrap(),
                "[::1]:15002".parse().unwrap(),
            ],
            ways: Ways {
                outbound: true,
                inbound: false,
            },
            ports: "80,443".parse().unwrap(),
            exempt: Exempt::Mark,
        };
        let text = rules.to_string();
        let at = |part: &str| {
            text.find(part)
                .unwrap_or_else(|| panic!("{part} in {text}"))
        };
        let redirect = at("ipv4 tcp dport { 80, 443 } redirect to :15001");
        assert!(at("meta mark 0x756d6179 return") < redirect);
        assert!(at("fib daddr type local return") < redirect);
        at("ipv6 tcp dport { 80, 443 } redirect to :15002");
        assert!(!text.contains("prerouting"));
        rules.exempt = Exempt::User(7);
        assert!(rules.to_string().contains("meta skuid 7 return"));
        rules.ways.inbound = true;
        assert!(rules.to_string().contains("hook prerouting"));
    }
}
