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

/// The first line of a head without its end, and where the next begins.
pub(crate) fn first_line(buf: &[u8]) -> Result<(&[u8], usize), Malformed> {
    let end = memchr(b'\n', buf).ok_or(Malformed::BadStartLine)?;
    let line = buf.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").ok_or(Malformed::BareLf)?;
    Ok((line, end + 1))
}

/// Reads the lines of a head behind its first into `fields`, and where the head ends. `at` is where
/// the lines begin in `buf`, which will stand at the start of the arena.
pub(crate) fn parse(
    buf: &[u8],
    mut at: usize,
    version: Version,
    limits: &Limits,
    fields: &mut Fields,
) -> Result<(Facts, usize), Malformed> {
    let mut facts = Facts::default();
    let end = loop {
        let rest = buf.get(at..).unwrap_or_default();
        if rest.starts_with(b"\r\n") {
            break at + 2;
        }
        if fields.len() == limits.fields {
            return Err(Malformed::TooManyFields);
        }
        let Some(line) = Line::read(rest).filter(|line| line.is_ended(rest)) else {
            return Err(what_is_wrong(rest));
        };
        let name = rest.get(..line.name).unwrap_or_default();
        let id = FieldId::of(name);
        // Heads are far below 4 GiB.
        let span = |start: usize, len: usize| Span {
            start: (at + start) as u32,
            len: len as u32,
        };
        let value = span(line.value, line.len);
        if id != FieldId::Other {
            let bytes = rest.get(line.value..line.value + line.len);
            facts.note(id, bytes.unwrap_or_default(), value)?;
        }
        fields.push_spans(id, span(0, line.name), value);
        at += line.end + 2;
    };
    if facts.chunked && facts.length.is_some() {
        return Err(Malformed::LengthAndEncoding);
    }
    if facts.chunked && version == Version::Http10 {
        return Err(Malformed::EncodingInOldVersion);
    }
    Ok((facts, end))
}

/// Splits a line into name and value without the space around it.
pub(crate) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let read = Line::read(line).filter(|read| read.end == line.len());
    let read = read.ok_or_else(|| what_is_wrong(line))?;
    let value = line.get(read.value..read.value + read.len);
    let name = line.get(..read.name);
    Ok((name.unwrap_or_default(), value.unwrap_or_default()))
}

/// Where the parts of a line are.
struct Line {
    /// Where the name ends.
    name: usize,
    /// Where the value begins, without space.
    value: usize,
    /// Bytes of the value, without space.
    len: usize,
    /// Where the value ends, with space: the first byte that can be in none.
    end: usize,
}

impl Line {
    /// Reads as far as a value goes, in one pass; `None` if there is no name with a colon.
    #[inline(always)]
    fn read(line: &[u8]) -> Option<Self> {
        // No token has a colon in it, so the name ends at the first byte that is of none.
        let name = line.iter().position(|b| !class::is(*b, class::TOKEN))?;
        if name == 0 || line.get(name) != Some(&b':') {
            return None;
        }
        let is_space = |b: &&u8| matches!(b, b' ' | b'\t');
        let value = line.get(name + 1..)?;
        let all = class::value_len(value);
        let value = value.get(..all)?;
        let before = value.iter().take_while(is_space).count();
        let after = value.iter().rev().take_while(is_space).count();
        let len = value.len().saturating_sub(after).saturating_sub(before);
        Some(Self {
            name,
            value: name + 1 + before,
            len,
            end: name + 1 + all,
        })
    }

    /// True if the line ends where the value does.
    fn is_ended(&self, rest: &[u8]) -> bool {
        matches!(rest.get(self.end..), Some([b'\r', b'\n', ..]))
    }
}

/// What is wrong with the first of these lines.
#[cold]
fn what_is_wrong(rest: &[u8]) -> Malformed {
    let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match Line::read(line) {
        None => bad_name(line),
        Some(_) if line.contains(&b'\r') => Malformed::BareCr,
        Some(_) => Malformed::BadFieldValue,
    }
}

/// What is wrong with a line that does not begin with a name and a colon.
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
