//! The syntax of `Forwarded` (RFC 7239) and of the addresses in it and in `X-Forwarded-For`.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

/// Reads an address, with or without port; IPv6 with or without brackets.
pub(super) fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip = bare.unwrap_or(text).parse();
    let ip = ip.or_else(|_| text.parse().map(|with_port: SocketAddr| with_port.ip()));
    ip.ok().map(|ip| ip.to_canonical())
}

/// One element of `Forwarded`; without an address if it is broken or hides it.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) ip: Option<IpAddr>,
    pub(super) secure: Option<bool>,
    pub(super) host: Vec<u8>,
}

/// Reads the elements of `Forwarded` (RFC 7239 section 4).
pub(super) fn elements(list: &[u8]) -> Vec<Element> {
    let element = |text| {
        let mut element = Element::default();
        for pair in split_unquoted(text, b';') {
            let equals = pair.iter().position(|b| *b == b'=')?;
            let (name, value) = pair.split_at(equals);
            let value = unquote(value.get(1..)?)?;
            if name.eq_ignore_ascii_case(b"for") {
                element.ip = parse_ip(&value);
            } else if name.eq_ignore_ascii_case(b"proto") {
                element.secure = is_https(&value);
            } else if name.eq_ignore_ascii_case(b"host") {
                element.host = value;
            }
        }
        Some(element)
    };
    split_unquoted(list, b',')
        .into_iter()
        .map(|text| element(text).unwrap_or_default())
        .collect()
}

/// Splits at a separator that stands outside of quotes; empty pieces are left out.
fn split_unquoted(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|byte| {
        let plain = !escaped;
        escaped = quoted && plain && *byte == b'\\';
        quoted ^= plain && *byte == b'"';
        !quoted && *byte == separator
    })
    .map(<[u8]>::trim_ascii)
    .filter(|piece| !piece.is_empty())
    .collect()
}

/// Reads a token or a quoted string (RFC 9110 section 5.6.4).
fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    let Some(rest) = value.strip_prefix(b"\"") else {
        return (!value.contains(&b'"')).then(|| value.to_vec());
    };
    let mut out = Vec::new();
    let mut bytes = rest.strip_suffix(b"\"")?.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.push(*bytes.next()?),
            b'"' => return None,
            other => out.push(*other),
        }
    }
    Some(out)
}

/// Writes `for=…;host=…;proto=…`, with quotes where the syntax wants them.
pub(super) fn push_element(list: &mut Vec<u8>, ip: IpAddr, host: &[u8], secure: bool) {
    let text = IpText::of(ip);
    match ip {
        IpAddr::V4(_) => list.extend([b"for=", text.as_bytes()].concat()),
        IpAddr::V6(_) => list.extend([b"for=\"[", text.as_bytes(), b"]\""].concat()),
    }
    if !host.is_empty() {
        list.extend_from_slice(b";host=\"");
        for byte in host {
            if matches!(byte, b'"' | b'\\') {
                list.push(b'\\');
            }
            list.push(*byte);
        }
        list.push(b'"');
    }
    list.extend_from_slice(b";proto=");
    list.extend_from_slice(proto(secure));
}

/// An address as text, without allocation.
pub struct IpText {
    bytes: [u8; 46],
    len: usize,
}

/// All parts of an IPv4 address in decimal, with a dot behind them.
static OCTETS: [[u8; 4]; 256] = {
    let mut all = [[b'.'; 4]; 256];
    let mut rest: &mut [[u8; 4]] = &mut all;
    let mut octet = 0;
    while let Some((place, others)) = rest.split_first_mut() {
        let [a, b, c] = [octet / 100, octet / 10 % 10, octet % 10];
        let [a, b, c] = [b'0' + a as u8, b'0' + b as u8, b'0' + c as u8];
        *place = match octet {
            0..10 => [c, b'.', b'.', b'.'],
            10..100 => [b, c, b'.', b'.'],
            _ => [a, b, c, b'.'],
        };
        rest = others;
        octet += 1;
    }
    all
};

impl IpText {
    /// Writes an address.
    pub fn of(ip: IpAddr) -> Self {
        let mut text = Self {
            bytes: [0; 46],
            len: 0,
        };
        match ip {
            // By hand, for it is done for every request and `fmt` takes ten times as long.
            IpAddr::V4(ip) => text.dotted(ip.octets()),
            // The longest address has 45 bytes, so this cannot fail.
            IpAddr::V6(_) => _ = write!(text, "{ip}"),
        }
        text
    }

    /// A word in place of an address; what is longer than an address can be is cut.
    pub fn word(word: &[u8]) -> Self {
        let mut text = Self {
            bytes: [0; 46],
            len: 0,
        };
        for byte in word {
            text.push(*byte);
        }
        text
    }

    fn dotted(&mut self, octets: [u8; 4]) {
        for octet in octets {
            // Four bytes each time: what is too much, the next one is written over.
            if let Some(room) = self.bytes.get_mut(self.len..self.len + 4)
                && let Some(text) = OCTETS.get(usize::from(octet))
            {
                room.copy_from_slice(text);
            }
            self.len += 2 + usize::from(octet >= 10) + usize::from(octet >= 100);
        }
        // Behind the last one is no dot.
        self.len -= 1;
    }

    fn push(&mut self, byte: u8) {
        if let Some(room) = self.bytes.get_mut(self.len) {
            *room = byte;
            self.len += 1;
        }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Write for IpText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

pub(super) fn proto(secure: bool) -> &'static [u8] {
    if secure { b"https" } else { b"http" }
}

/// Reads a scheme; `None` if it is neither of the two.
pub(super) fn is_https(value: &[u8]) -> Option<bool> {
    if value.eq_ignore_ascii_case(b"https") {
        Some(true)
    } else {
        value.eq_ignore_ascii_case(b"http").then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_the_standard_library_writes_them() {
        for octet in 0..=255 {
            for ip in [
                [octet, 0, 10, 100],
                [255, octet, 9, octet],
                [1, 99, 255, octet],
            ] {
                let ip = IpAddr::from(ip);
                assert_eq!(IpText::of(ip).as_bytes(), ip.to_string().as_bytes());
            }
        }
        for ip in [
            "::",
            "::ffff:192.0.2.1",
            "fd00:1234:5678:9abc:def0:1234:5678:9abc",
        ] {
            assert_eq!(IpText::of(ip.parse().unwrap()).as_bytes(), ip.as_bytes());
        }
    }
}
