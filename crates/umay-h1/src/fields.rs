//! Fields, and what a head's fields say about its body and its connection.

use memchr::memchr;
use umay_core::message::{FieldId, Fields, Span, Version};

use crate::class;
use crate::{Limits, Malformed};

/// What a head's fields say.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    /// `Connection` names `close`.
    pub(crate) close: bool,
    /// `Connection` names `keep-alive`.
    pub(crate) keep_alive: bool,
    /// `Connection` names `upgrade`.
    pub(crate) names_upgrade: bool,
    pub(crate) has_upgrade: bool,
    pub(crate) host: Option<Span>,
    /// These two mean something in requests only.
    pub(crate) repeated_host: bool,
    pub(crate) unknown_expectation: bool,
    pub(crate) expects: bool,
}

impl Facts {
    /// Whether the sender keeps the connection (RFC 9112 section 9.3).
    pub(crate) fn persists(&self, version: Version) -> bool {
        match version {
            // The codec reads no other version.
            Version::Http11 | Version::Http2 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }
}

/// Reads the lines of a head behind its first into `fields`. `head` is in the arena already, from
/// `base`; `at` is where the lines begin in it.
pub(crate) fn parse(
    head: &[u8],
    mut at: usize,
    base: u32,
    version: Version,
    limits: &Limits,
    fields: &mut Fields,
) -> Result<Facts, Malformed> {
    let mut facts = Facts::default();
    while let Some(length) = memchr(b'\n', head.get(at..).unwrap_or_default()) {
        // The search for the head's end has seen the CR.
        let line = head
            .get(at..(at + length).saturating_sub(1))
            .unwrap_or_default();
        if line.is_empty() {
            break;
        }
        if fields.len() == limits.fields {
            return Err(Malformed::TooManyFields);
        }
        let (name, start, value) = split(line)?;
        let id = FieldId::of(name);
        let span = |start: usize, len: usize| Span {
            // Heads are far below 4 GiB.
            start: base + start as u32,
            len: len as u32,
        };
        let value_span = span(at + start, value.len());
        if id != FieldId::Other {
            facts.note(id, value, value_span)?;
        }
        fields.push_spans(id, span(at, name.len()), value_span);
        at += length + 1;
    }
    if facts.chunked && facts.length.is_some() {
        return Err(Malformed::LengthAndEncoding);
    }
    if facts.chunked && version == Version::Http10 {
        return Err(Malformed::EncodingInOldVersion);
    }
    Ok(facts)
}

/// Splits a line into name, where the value begins, and value without the space around it.
pub(crate) fn split(line: &[u8]) -> Result<(&[u8], usize, &[u8]), Malformed> {
    // One pass: no token has a colon in it, so the name ends at the first byte that is of none.
    let end = line.iter().position(|b| !class::is(*b, class::TOKEN));
    let (name, value) = line.split_at(end.unwrap_or(line.len()));
    if name.is_empty() || value.first() != Some(&b':') {
        return Err(bad_name(line));
    }
    let colon = name.len();
    let value = value.get(1..).unwrap_or_default();
    if !class::is_value(value) {
        return Err(if value.contains(&b'\r') {
            Malformed::BareCr
        } else {
            Malformed::BadFieldValue
        });
    }
    let is_space = |b: &&u8| matches!(b, b' ' | b'\t');
    let before = value.iter().take_while(is_space).count();
    let after = value.iter().rev().take_while(is_space).count();
    let end = value.len().saturating_sub(after).max(before);
    Ok((
        name,
        colon + 1 + before,
        value.get(before..end).unwrap_or_default(),
    ))
}

/// What is wrong with a line that does not begin with a name and a colon.
#[cold]
fn bad_name(line: &[u8]) -> Malformed {
    let Some(colon) = memchr(b':', line) else {
        return match line.first() {
            Some(b' ' | b'\t') => Malformed::ObsFold,
            _ if line.contains(&b'\r') => Malformed::BareCr,
            _ => Malformed::NoColon,
        };
    };
    let name = line.get(..colon).unwrap_or_default();
    match (name.first(), name.last()) {
        (Some(b' ' | b'\t'), _) => Malformed::ObsFold,
        (_, Some(b' ' | b'\t')) => Malformed::SpaceBeforeColon,
        _ if name.contains(&b'\r') => Malformed::BareCr,
        _ => Malformed::BadFieldName,
    }
}

impl Facts {
    fn note(&mut self, id: FieldId, value: &[u8], span: Span) -> Result<(), Malformed> {
        match id {
            FieldId::ContentLength => {
                // Also if both say the same: no honest sender does it.
                if self.length.is_some() {
                    return Err(Malformed::RepeatedContentLength);
                }
                self.length = Some(number(value).ok_or(Malformed::BadContentLength)?);
            }
            FieldId::TransferEncoding => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed::BadTransferEncoding);
                }
                self.chunked = true;
            }
            FieldId::Host if self.host.is_some() => self.repeated_host = true,
            FieldId::Host => self.host = Some(span),
            FieldId::Connection => {
                for option in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        self.close = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep_alive = true;
                    } else if option.eq_ignore_ascii_case(b"upgrade") {
                        self.names_upgrade = true;
                    } else if !class::all(option, class::TOKEN) {
                        return Err(Malformed::BadConnection);
                    }
                }
            }
            FieldId::Expect if value.eq_ignore_ascii_case(b"100-continue") => self.expects = true,
            FieldId::Expect => self.unknown_expectation = true,
            FieldId::Upgrade => self.has_upgrade = true,
            _ => {}
        }
        Ok(())
    }
}

/// Digits only, below 2^63: what all software can count.
fn number(digits: &[u8]) -> Option<u64> {
    if !matches!(digits.len(), 1..=19) {
        return None;
    }
    let mut number = 0_u64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|d| *d <= 9)?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    i64::try_from(number).is_ok().then_some(number)
}
