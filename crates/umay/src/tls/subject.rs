//! Distinguished names as text (RFC 4514), as they go into headers and logs.

use std::fmt::Write;

use x509_parser::asn1_rs::ToDer;
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name};

/// Short names of attribute types: those of RFC 4514 section 3, and three that people expect.
const SHORT: [(&str, &str); 12] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A name as text, its last part first: `CN=Ada,O=Example\, Inc.,C=GB`.
pub(super) fn rfc4514(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name.iter_rdn().map(relative).collect();
    parts.reverse();
    parts.join(",")
}

/// The common name; the most specific one if there are several.
pub(super) fn common_name(name: &X509Name<'_>) -> Option<String> {
    let last = name.iter_common_name().last()?;
    last.as_str().ok().map(str::to_owned)
}

/// Bytes in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn relative(part: &RelativeDistinguishedName<'_>) -> String {
    let attributes: Vec<String> = part.iter().map(attribute).collect();
    attributes.join("+")
}

/// One attribute. A type without a short name, or a value that is no text, is written as the
/// encoding of the value (RFC 4514 section 2.4).
fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(id, _)| *id == oid);
    match (short, attribute.as_str()) {
        (Some((_, name)), Ok(text)) => format!("{name}={}", escape(text)),
        (short, _) => {
            let name = short.map_or(oid.as_str(), |(_, name)| name);
            let value = attribute.attr_value().to_der_vec();
            format!("{name}=#{}", hex(&value.unwrap_or_default()))
        }
    }
}

/// Escapes a value (RFC 4514 section 2.4). Control characters are escaped too: the text goes into
/// headers and logs.
fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (place, c) in text.chars().enumerate() {
        let special = matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\');
        let at_edge = (c == ' ' && (place == 0 || place == last)) || (c == '#' && place == 0);
        if c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "\\{byte:02x}");
            }
        } else {
            if special || at_edge {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_would_be_read_otherwise() {
        for (text, escaped) in [
            ("Ada Lovelace", "Ada Lovelace"),
            ("Example, Inc.", "Example\\, Inc."),
            ("#1 ", "\\#1\\ "),
            (" ", "\\ "),
            ("a=b+c", "a=b\\+c"),
            ("\"<a;b>\\", "\\\"\\<a\\;b\\>\\\\"),
            ("line\r\nX-Evil: 1", "line\\0d\\0aX-Evil: 1"),
            ("\u{85}", "\\c2\\85"),
            ("Zoë", "Zoë"),
            ("", ""),
        ] {
            assert_eq!(escape(text), escaped);
        }
    }
}
