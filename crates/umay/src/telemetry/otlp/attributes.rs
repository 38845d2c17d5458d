//! Attributes: names with values.

use std::borrow::Cow;

use crate::telemetry::protobuf::{bytes, length_of, number, prefix};

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
pub fn attribute(out: &mut Vec<u8>, field: u32, name: &str, value: &[u8]) {
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
pub fn integer(out: &mut Vec<u8>, field: u32, name: &str, value: u32) {
    let mut any = Vec::with_capacity(8);
    match value {
        // Zero is a value here, too.
        0 => any.extend_from_slice(&[(INTEGER << 3) as u8, 0]),
        value => number(&mut any, INTEGER, value.into()),
    }
    prefix(
        out,
        field,
        length_of(KEY, name.len()) + length_of(VALUE, any.len()),
    );
    bytes(out, KEY, name.as_bytes());
    bytes(out, VALUE, &any);
}

/// Text that can be sent: UTF-8, and not longer than it may be.
pub fn lossy(value: &[u8]) -> Cow<'_, str> {
    let Some(kept) = value.get(..LONGEST).filter(|_| value.len() > LONGEST) else {
        return String::from_utf8_lossy(value);
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
