//! Attributes: names with values.

use std::borrow::Cow;

use crate::telemetry::protobuf::{LENGTH, VARINT, bytes, length_of, prefix, varint, varint_length};

/// Values longer than this, in bytes, are cut and end in `…`.
pub const LONGEST: usize = 2048;

/// `KeyValue` of `common.proto`.
const KEY: u32 = 1;
const VALUE: u32 = 2;
/// `AnyValue`.
const STRING: u32 = 1;
const INTEGER: u32 = 3;

/// Writes an attribute whose value is text. What is no UTF-8 in it becomes U+FFFD: a collector refuses
/// the whole message for one wrong byte.
#[inline(always)]
pub fn attribute(out: &mut Vec<u8>, field: u32, name: &str, value: &[u8]) {
    if is_short(field, name, value.len()) && value.is_ascii() {
        open_short(out, field, name, 2 + value.len());
        out.extend_from_slice(&[tag(STRING, LENGTH), value.len() as u8]);
        out.extend_from_slice(value);
    } else {
        long_attribute(out, field, name, value);
    }
}

/// The same for a value that is written piece by piece.
pub fn composed(out: &mut Vec<u8>, field: u32, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    // As if it were short, which most are: then nothing has to be moved.
    let start = out.len();
    open_short(out, field, name, 2);
    out.extend_from_slice(&[tag(STRING, LENGTH), 0]);
    let begin = out.len();
    write(out);
    let value = out.get(begin..).unwrap_or_default();
    let length = value.len();
    if is_short(field, name, length) && value.is_ascii() {
        for place in [start + 1, begin - 3, begin - 1] {
            if let Some(place) = out.get_mut(place) {
                *place += length as u8;
            }
        }
    } else {
        let value = out.split_off(begin);
        out.truncate(start);
        long_attribute(out, field, name, &value);
    }
}

/// True if all lengths that an attribute is written with take one byte each. With a name that is known to the
/// compiler, all of it but the value is known then.
#[inline]
fn is_short(field: u32, name: &str, value: usize) -> bool {
    field < 16 && name.len() + value < 128 - 6
}

/// Writes a short attribute up to its value, of so many bytes.
#[inline(always)]
fn open_short(out: &mut Vec<u8>, field: u32, name: &str, any: usize) {
    let whole = 2 + name.len() + 2 + any;
    let (field, name_length) = (tag(field, LENGTH), name.len() as u8);
    out.extend_from_slice(&[field, whole as u8, tag(KEY, LENGTH), name_length]);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&[tag(VALUE, LENGTH), any as u8]);
}

/// The key of a field whose number is below 16.
#[inline]
const fn tag(field: u32, kind: u64) -> u8 {
    (field << 3) as u8 | kind as u8
}

#[inline(never)]
fn long_attribute(out: &mut Vec<u8>, field: u32, name: &str, value: &[u8]) {
    text(out, field, name, &lossy(value));
}

/// The same for text that is fit to be sent as it is, however long.
pub fn text(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    let any = length_of(STRING, value.len());
    prefix(
        out,
        field,
        length_of(KEY, name.len()) + length_of(VALUE, any),
    );
    bytes(out, KEY, name.as_bytes());
    prefix(out, VALUE, any);
    bytes(out, STRING, value.as_bytes());
}

/// Writes an attribute whose value is a number.
#[inline]
pub fn integer(out: &mut Vec<u8>, field: u32, name: &'static str, value: u32) {
    // A name of ours and a number are always short. Zero is a value here, too.
    let key = tag(INTEGER, VARINT);
    if (1 << 7..1 << 14).contains(&value) {
        // Statuses and most ports.
        let (low, high) = (value as u8 | 0x80, (value >> 7) as u8);
        open_short(out, field, name, 3);
        out.extend_from_slice(&[key, low, high]);
    } else {
        open_short(out, field, name, 1 + varint_length(value.into()));
        out.push(key);
        varint(out, value.into());
    }
}

/// Text that can be sent: UTF-8, and not longer than it may be.
pub fn lossy(value: &[u8]) -> Cow<'_, str> {
    let Some(kept) = value.get(..LONGEST).filter(|_| value.len() > LONGEST) else {
        // Looked at as a whole, good text takes a fraction of the time.
        let good = std::str::from_utf8(value).map(Cow::Borrowed);
        return good.unwrap_or_else(|_| String::from_utf8_lossy(value));
    };
    // Not in the middle of a character.
    let kept = match std::str::from_utf8(kept) {
        Err(error) if error.error_len().is_none() => {
            kept.get(..error.valid_up_to()).unwrap_or_default()
        }
        _ => kept,
    };
    let mut text = String::from_utf8_lossy(kept).into_owned();
    text.push('…');
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::super::{Field, Reader};
    use super::*;

    fn read(out: &[u8]) -> (Vec<u8>, Field<'_>) {
        let Some((9, Field::Bytes(pair))) = Reader::new(out).next() else {
            panic!("{out:?}");
        };
        let (Some(Field::Bytes(name)), Some(Field::Bytes(any))) =
            (Reader::new(pair).find(1), Reader::new(pair).find(2))
        else {
            panic!("{pair:?}");
        };
        (name.to_vec(), Reader::new(any).next().unwrap().1)
    }

    #[test]
    fn attributes_are_pairs() {
        let mut out = Vec::new();
        attribute(&mut out, 9, "url.path", b"/a\xff");
        assert_eq!(
            read(&out),
            (b"url.path".to_vec(), Field::Bytes("/a\u{fffd}".as_bytes()))
        );
        for value in [0, 1, 443, 65_535, u32::MAX] {
            let mut out = Vec::new();
            integer(&mut out, 9, "server.port", value);
            assert_eq!(
                read(&out),
                (b"server.port".to_vec(), Field::Number(value.into()))
            );
        }
    }

    #[test]
    fn values_of_all_lengths_are_whole() {
        for length in (0..300).chain([16_383, 16_384]) {
            for letter in ["a", "ü"] {
                let value = letter.repeat(length);
                let (mut out, mut pieces) = (Vec::new(), Vec::new());
                attribute(&mut out, 9, "url.path", value.as_bytes());
                composed(&mut pieces, 9, "url.path", |out| {
                    let (first, second) = value.as_bytes().split_at(length / 2);
                    out.extend_from_slice(first);
                    out.extend_from_slice(second);
                });
                assert_eq!(out, pieces, "{length}");
                let told = lossy(value.as_bytes());
                let told = (b"url.path".to_vec(), Field::Bytes(told.as_bytes()));
                assert_eq!(read(&out), told, "{length}");
            }
        }
        let mut out = Vec::new();
        composed(&mut out, 9, "url.full", |out| out.push(0xff));
        let told = (b"url.full".to_vec(), Field::Bytes("\u{fffd}".as_bytes()));
        assert_eq!(read(&out), told);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(lossy(&[b'a'; LONGEST]).len(), LONGEST);
        assert_eq!(lossy(&[b'a'; LONGEST + 1]).len(), LONGEST + '…'.len_utf8());
        let umlauts = "ü".repeat(LONGEST);
        let cut = lossy(&umlauts.as_bytes()[1..]).into_owned();
        assert!(cut.starts_with('\u{fffd}') && cut.ends_with('…'));
        let odd = format!("a{umlauts}");
        assert!(!lossy(odd.as_bytes()).contains('\u{fffd}'));
    }
}
