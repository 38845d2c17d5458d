//! The encoding of protocol buffers, as far as it is needed: for what is sent to collectors, their answers,
//! and one of Prometheus's formats. Messages are written by hand into bytes.

/// Wire types.
pub(super) const VARINT: u64 = 0;
const FIXED64: u64 = 1;
pub(super) const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

#[inline]
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a number.
#[inline]
pub(super) fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[inline]
fn key(out: &mut Vec<u8>, field: u32, kind: u64) {
    varint(out, u64::from(field) << 3 | kind);
}

/// Bytes of a field that holds so many bytes.
pub fn length_of(field: u32, content: usize) -> usize {
    varint_length(u64::from(field) << 3) + varint_length(content as u64) + content
}

/// Writes a number. Zero is what is not there.
pub fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        key(out, field, VARINT);
        varint(out, value);
    }
}

/// Writes eight bytes.
pub fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes four bytes.
pub fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    key(out, field, FIXED32);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes a real number, zero, too.
pub fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    fixed64(out, field, value.to_bits());
}

/// Writes a number of either sign (`sint32`, `sint64`). Zero is what is not there.
pub fn signed(out: &mut Vec<u8>, field: u32, value: i64) {
    number(out, field, zigzag(value));
}

/// Writes numbers (`repeated uint64`, packed); nothing if there is none.
pub fn packed(out: &mut Vec<u8>, field: u32, values: impl IntoIterator<Item = u64>) {
    let mut content = Vec::new();
    for value in values {
        varint(&mut content, value);
    }
    if !content.is_empty() {
        bytes(out, field, &content);
    }
}

/// Writes numbers of eight bytes each (`repeated fixed64` or `double`, packed).
pub fn packed_fixed64(out: &mut Vec<u8>, field: u32, values: impl IntoIterator<Item = u64>) {
    let mut content = Vec::new();
    for value in values {
        content.extend_from_slice(&value.to_le_bytes());
    }
    bytes(out, field, &content);
}

/// A number of either sign as one without: small ones stay small.
pub fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

/// Writes bytes, or text, which has to be UTF-8.
pub fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    prefix(out, field, value.len());
    out.extend_from_slice(value);
}

/// Writes a message with its length before it, as in a file of many.
pub fn delimited(out: &mut Vec<u8>, message: &[u8]) {
    varint(out, message.len() as u64);
    out.extend_from_slice(message);
}

/// Writes what comes before so many bytes.
pub fn prefix(out: &mut Vec<u8>, field: u32, length: usize) {
    key(out, field, LENGTH);
    varint(out, length as u64);
}

/// Writes a message whose length is not known before it is written.
pub fn nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    /// Most spans have 128 to 16383 bytes, and then nothing has to be moved.
    const GUESS: usize = 2;
    key(out, field, LENGTH);
    let start = out.len();
    out.extend_from_slice(&[0; GUESS]);
    write(out);
    let length = (out.len() - start - GUESS) as u64;
    let needed = varint_length(length);
    let mut written = Vec::new();
    if needed == GUESS {
        if let Some([low, high]) = out.get_mut(start..start + GUESS) {
            (*low, *high) = (length as u8 | 0x80, (length >> 7) as u8);
        }
    } else {
        varint(&mut written, length);
        out.splice(start..start + GUESS, written);
    }
}

/// Reads the fields of a message, as far as it is one.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A number.
    Number(u64),
    /// Bytes, text, or a message.
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    /// The fields of these bytes.
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in 0..10 {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f).checked_shl(shift * 7)?;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let length = usize::try_from(length).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next message of many, each with its length before it.
    pub fn delimited(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?;
        self.take(length)
    }

    /// The first field with this number.
    pub fn find(self, number: u64) -> Option<Field<'a>> {
        let mut rest = self;
        rest.find_map(|(have, field)| (have == number).then_some(field))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let field = match key & 7 {
            VARINT => Field::Number(self.varint()?),
            FIXED64 => {
                let taken = self.take(8)?.first_chunk()?;
                Field::Number(u64::from_le_bytes(*taken))
            }
            FIXED32 => {
                let taken = self.take(4)?.first_chunk()?;
                Field::Number(u32::from_le_bytes(*taken).into())
            }
            LENGTH => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_has_its_length_before_it() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
            let mut out = vec![9];
            nested(&mut out, 2, |out| out.resize(out.len() + length, 7));
            assert_eq!(out.len() - 1, length_of(2, length), "{length}");
            let mut plain = vec![9];
            bytes(&mut plain, 2, &vec![7; length]);
            assert_eq!(out, plain, "{length}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        number(&mut out, 1, u64::MAX);
        number(&mut out, 3, 0);
        fixed64(&mut out, 16, 5);
        fixed32(&mut out, 4, 6);
        bytes(&mut out, 300, b"abc");
        let read: Vec<_> = Reader::new(&out).collect();
        assert_eq!(
            read,
            [
                (1, Field::Number(u64::MAX)),
                (16, Field::Number(5)),
                (4, Field::Number(6)),
                (300, Field::Bytes(b"abc")),
            ]
        );
        assert_eq!(Reader::new(&out).find(4), Some(Field::Number(6)));
        assert_eq!(Reader::new(&out).find(5), None);
    }

    #[test]
    fn signs_and_many() {
        let zigzagged = [0, -1, 1, -2, i64::MAX, i64::MIN].map(zigzag);
        assert_eq!(zigzagged, [0, 1, 2, 3, u64::MAX - 1, u64::MAX]);
        let mut out = Vec::new();
        packed(&mut out, 1, []);
        packed(&mut out, 2, [1, 300]);
        packed_fixed64(&mut out, 3, [1]);
        double(&mut out, 4, 0.0);
        let mut many = Vec::new();
        delimited(&mut many, &out);
        delimited(&mut many, b"");
        let mut reader = Reader::new(&many);
        let fields: Vec<_> = Reader::new(reader.delimited().unwrap()).collect();
        let ones = [
            (2, Field::Bytes(&[1, 0xac, 2][..])),
            (3, Field::Bytes(&[1, 0, 0, 0, 0, 0, 0, 0])),
            (4, Field::Number(0)),
        ];
        assert_eq!(fields, ones);
        assert_eq!(reader.delimited(), Some(&b""[..]));
        assert_eq!(reader.delimited(), None);
    }

    #[test]
    fn nonsense_ends_the_reading() {
        for nonsense in [
            &b"\xff"[..],
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\x05ab",
            b"\x09\x01",
            b"\x0d\x01",
            b"\x0b",
            b"<html>",
            &[0xff; 64],
        ] {
            assert!(Reader::new(nonsense).count() < nonsense.len());
        }
    }
}
