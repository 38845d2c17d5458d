//! JSON, written by hand into a batch of bytes.
//!
//! A value from the network can say nothing but itself: quotes, control bytes and all that a reader
//! could take for the end of a line or that would hide text are escaped (RFC 8259 section 7, and
//! more than it asks), and bytes that are not UTF-8 become U+FFFD.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use umay_core::legible::misleads;

/// Values longer than this, in bytes as received, are cut and end in `…`.
pub(super) const LONGEST: usize = 2048;

/// The key of a string that is not the first member: `,"name":"`.
macro_rules! string {
    ($name:literal) => {
        concat!(",\"", $name, "\":\"").as_bytes()
    };
}
pub(super) use string;

/// The key of any other value that is not the first member: `,"name":`.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}
pub(super) use key;

// The functions that take a key are inlined: a copy of a constant is a few moves, and no call.

/// Writes a string.
#[inline(always)]
pub(super) fn text(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    rest_of_string(out, value);
}

/// Writes a string that needs no escapes: one of our own words.
#[inline(always)]
pub(super) fn word(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

/// Writes a number.
#[inline(always)]
pub(super) fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    decimal(out, value);
}

/// Writes `true` or `false`.
#[inline(always)]
pub(super) fn flag(out: &mut Vec<u8>, key: &[u8], value: bool) {
    out.extend_from_slice(key);
    out.extend_from_slice(if value { &b"true"[..] } else { b"false" });
}

/// Writes a duration as [`thousandths`] does.
#[inline(always)]
pub(super) fn millis(out: &mut Vec<u8>, key: &[u8], value: Duration) {
    out.extend_from_slice(key);
    thousandths(out, value);
}

/// Writes an address and its port, as the inside of a string.
pub(super) fn socket(out: &mut Vec<u8>, value: SocketAddr) {
    let canonical = SocketAddr::new(value.ip().to_canonical(), value.port());
    let _ = write!(out, "{canonical}");
}

/// Writes a duration in milliseconds, to the microsecond.
pub(super) fn thousandths(out: &mut Vec<u8>, value: Duration) {
    let (millis, micros) = (value.subsec_millis(), value.subsec_micros());
    let [a, b, c] = three_digits((micros % 1000) as u16);
    if value.as_secs() == 0 && millis < 10 {
        // As nearly all are.
        return out.extend_from_slice(&[b'0' + millis as u8, b'.', a, b, c]);
    }
    // Five hundred million years and more are written as that.
    let whole = value.as_secs().saturating_mul(1000);
    decimal(out, whole.saturating_add(u64::from(millis)));
    out.extend_from_slice(&[b'.', a, b, c]);
}

/// The part of a value that is written, and whether there was more.
pub(super) fn cut(value: &[u8]) -> (&[u8], bool) {
    value
        .get(..LONGEST)
        .filter(|kept| kept.len() < value.len())
        .map_or((value, false), |kept| (kept, true))
}

/// The digits of a number below 1000.
pub(super) fn three_digits(value: u16) -> [u8; 3] {
    [value / 100, value / 10 % 10, value % 10].map(|digit| b'0' + digit as u8)
}

/// Writes a number in decimal.
pub(in crate::telemetry) fn decimal(out: &mut Vec<u8>, value: u64) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    let mut digits = [0; 20];
    let mut rest = value;
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

fn rest_of_string(out: &mut Vec<u8>, value: &[u8]) {
    inside(out, value);
    out.push(b'"');
}

/// Writes the inside of a string, cut if it is too long.
pub(super) fn inside(out: &mut Vec<u8>, value: &[u8]) {
    let (kept, cut) = cut(value);
    escape(out, kept);
    mark(out, cut);
}

/// Writes the sign that a value was cut, if it was.
pub(super) fn mark(out: &mut Vec<u8>, cut: bool) {
    if cut {
        out.extend_from_slice("…".as_bytes());
    }
}

/// Writes the inside of a string.
pub(super) fn escape(out: &mut Vec<u8>, value: &[u8]) {
    if is_plain(value) {
        out.extend_from_slice(value);
    } else {
        escape_slowly(out, value);
    }
}

fn is_plain_byte(byte: u8) -> bool {
    !matches!(byte, 0..b' ' | b'"' | b'\\' | 0x7f..)
}

/// True if all bytes can be copied as they are: eight at a time, the last eight overlapping.
fn is_plain(value: &[u8]) -> bool {
    if let Some(last) = value.last_chunk::<8>() {
        let (words, _) = value.as_chunks::<8>();
        let marks = words
            .iter()
            .fold(marks(*last), |all, word| all | marks(*word));
        return marks & HIGH_BITS == 0;
    }
    if let (Some([a, b, c, d]), Some([e, f, g, h])) = (value.first_chunk(), value.last_chunk()) {
        return marks([*a, *b, *c, *d, *e, *f, *g, *h]) & HIGH_BITS == 0;
    }
    value.iter().all(|byte| is_plain_byte(*byte))
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;

/// Has a high bit set if (and only if) one of the bytes is not plain: a control byte (borrows when 0x20
/// is taken away), a quote or a backslash (become 0, and borrow when 1 is taken away), 0x7f (carries),
/// or one with a high bit of its own. A borrow or carry that goes on marks nothing that was not marked.
fn marks(bytes: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(bytes);
    let is = |byte: u8| (word ^ (ONES * u64::from(byte))).wrapping_sub(ONES);
    word | word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES) | is(b'"') | is(b'\\')
}

#[cold]
fn escape_slowly(out: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    loop {
        let plain = rest.iter().take_while(|byte| is_plain_byte(**byte)).count();
        let (plain, special) = rest.split_at(plain);
        out.extend_from_slice(plain);
        rest = match special {
            [] => return,
            [byte, after @ ..] if byte.is_ascii() => {
                escape_ascii(out, *byte);
                after
            }
            _ => {
                let end = special.iter().position(u8::is_ascii);
                let (foreign, after) = special.split_at(end.unwrap_or(special.len()));
                escape_foreign(out, foreign);
                after
            }
        };
    }
}

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        other => escape_unit(out, u16::from(other)),
    }
}

fn escape_foreign(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if misleads(char) {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    escape_unit(out, *unit);
                }
            } else {
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Writes a UTF-16 code unit as `\u` and four digits.
fn escape_unit(out: &mut Vec<u8>, unit: u16) {
    let _ = write!(out, "\\u{unit:04x}");
}
