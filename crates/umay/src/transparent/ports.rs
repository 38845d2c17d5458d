//! Which ports' traffic is sent to Umay.

use std::fmt;
use std::str::FromStr;

/// Ports whose connections are redirected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// These, as first and last.
    Some(Vec<(u16, u16)>),
    /// All but that of SSH, so that nobody locks themselves out.
    All,
}

/// The port that `all` leaves alone.
pub(super) const SSH: u16 = 22;

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let port = |text: &str| {
            let port = text.trim().parse::<u16>().ok().filter(|port| *port > 0);
            port.ok_or_else(|| format!("`{text}` is no port; write 80,443,8000-8100, or all"))
        };
        let range = |text: &str| match text.split_once('-') {
            None => port(text).map(|port| (port, port)),
            Some((first, last)) => {
                let (first, last) = (port(first)?, port(last)?);
                let ordered = first <= last;
                ordered
                    .then_some((first, last))
                    .ok_or_else(|| format!("`{text}` ends before it begins"))
            }
        };
        let mut ranges = text.split(',').map(range).collect::<Result<Vec<_>, _>>()?;
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                // nft refuses a set whose ranges overlap.
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Ok(Self::Some(merged))
    }
}

/// As nft takes it.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = match self {
            Self::All => return write!(f, "!= {SSH}"),
            Self::Some(ranges) => ranges,
        };
        f.write_str("{ ")?;
        for (at, (first, last)) in ranges.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        f.write_str(" }")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_written() {
        for (text, written) in [
            ("80", "{ 80 }"),
            ("443, 80", "{ 80, 443 }"),
            ("80,80,79-81", "{ 79-81 }"),
            ("8000-8100,8100-8200,1-3", "{ 1-3, 8000-8200 }"),
            ("65535", "{ 65535 }"),
            ("all", "!= 22"),
        ] {
            assert_eq!(text.parse::<Ports>().unwrap().to_string(), written);
        }
        for wrong in ["", "0", "80,", "http", "65536", "9-8", "1-2-3", "ALL"] {
            assert!(wrong.parse::<Ports>().is_err(), "{wrong:?}");
        }
    }
}
