//! HPACK (RFC 7541): an encoder of pieces, proper or not, and a strict decoder.

use std::collections::VecDeque;

use super::huffman;
use crate::http::Fields;

/// An integer with a prefix of so many bits, behind `first`'s other bits.
pub fn integer(first: u8, prefix: u8, value: usize) -> Vec<u8> {
    let most = (1_usize << prefix) - 1;
    if value < most {
        return vec![first | value as u8];
    }
    let mut out = vec![first | most as u8];
    let mut rest = value - most;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    out.push(rest as u8);
    out
}

/// A string as it is.
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&integer(0, 7, text.len()), text].concat()
}

/// A string in the Huffman code.
pub fn huffman(text: impl AsRef<[u8]>) -> Vec<u8> {
    raw_huffman(&huffman::encode(text.as_ref()))
}

/// What is said to be a string in the Huffman code.
pub fn raw_huffman(code: &[u8]) -> Vec<u8> {
    [&integer(0x80, 7, code.len()), code].concat()
}

/// A field from a table.
pub fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// A field as a literal that no table keeps.
pub fn literal(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

/// A field as a literal that goes into the dynamic table.
pub fn kept(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// A change of the dynamic table's size.
pub fn resize(size: usize) -> Vec<u8> {
    integer(0x20, 5, size)
}

/// A block of literals.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect()
}

/// Reads blocks; keeps the dynamic table.
#[derive(Debug)]
pub struct Decoder {
    table: VecDeque<(String, String)>,
    size: usize,
    /// As the sender has set it, and as it may.
    capacity: usize,
    allowed: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            table: VecDeque::new(),
            size: 0,
            capacity: 4096,
            allowed: 4096,
        }
    }
}

impl Decoder {
    /// Sets how large the table may be, as told in SETTINGS.
    pub fn allow(&mut self, size: usize) {
        self.allowed = size;
    }

    /// Reads a whole block.
    pub fn decode(&mut self, mut block: &[u8]) -> Result<Fields, String> {
        let mut fields = Fields::new();
        while let Some(first) = block.first().copied() {
            let (prefix, keeps) = match first {
                0x80.. => {
                    let index = take_integer(&mut block, 7)?;
                    fields.push(self.get(index)?);
                    continue;
                }
                0x40.. => (6, true),
                0x20.. => {
                    let size = take_integer(&mut block, 5)?;
                    if !fields.is_empty() || size > self.allowed {
                        return Err(format!("a table of {size} bytes"));
                    }
                    self.capacity = size;
                    self.evict();
                    continue;
                }
                _ => (4, false),
            };
            let index = take_integer(&mut block, prefix)?;
            let name = match index {
                0 => take_string(&mut block)?,
                index => self.get(index)?.0,
            };
            let field = (name, take_string(&mut block)?);
            fields.push(field.clone());
            if keeps {
                self.size += weight(&field);
                self.table.push_front(field);
                self.evict();
            }
        }
        Ok(fields)
    }

    fn get(&self, index: usize) -> Result<(String, String), String> {
        let wrong = || format!("no field {index}");
        let at = index.checked_sub(1).ok_or_else(wrong)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Ok(((*name).to_owned(), (*value).to_owned()));
        }
        self.table.get(at - STATIC.len()).cloned().ok_or_else(wrong)
    }

    fn evict(&mut self) {
        while self.size > self.capacity {
            let Some(last) = self.table.pop_back() else {
                break;
            };
            self.size -= weight(&last);
        }
    }
}

fn weight((name, value): &(String, String)) -> usize {
    name.len() + value.len() + 32
}

fn take_integer(block: &mut &[u8], prefix: u8) -> Result<usize, String> {
    let cut = || "an integer is cut".to_owned();
    let most = (1_usize << prefix) - 1;
    let (first, mut rest) = block.split_first().ok_or_else(cut)?;
    let mut value = usize::from(*first) & most;
    let mut shift = 0;
    let mut more = value == most;
    while more {
        let (byte, after) = rest.split_first().ok_or_else(cut)?;
        value += usize::from(byte & 0x7f) << shift;
        (rest, shift, more) = (after, shift + 7, byte & 0x80 != 0);
        if shift > 28 {
            return Err("an integer is too large".to_owned());
        }
    }
    *block = rest;
    Ok(value)
}

fn take_string(block: &mut &[u8]) -> Result<String, String> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = take_integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or("a string is cut")?;
    *block = rest;
    let text = if coded {
        huffman::decode(text)?
    } else {
        text.to_vec()
    };
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut decoder = Decoder::default();
        let long = "x".repeat(300);
        let first = [
            indexed(2),
            kept("a", "1"),
            literal("b", &long),
            [vec![0], huffman("c"), huffman("z~")].concat(),
        ];
        let fields = decoder.decode(&first.concat()).unwrap();
        let words = |text: &[(&str, &str)]| -> Fields {
            let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
            text.iter().map(own).collect()
        };
        let wanted = [(":method", "GET"), ("a", "1"), ("b", &long), ("c", "z~")];
        assert_eq!(fields, words(&wanted));
        assert_eq!(decoder.decode(&indexed(62)).unwrap(), words(&[("a", "1")]));
        assert!(decoder.decode(&indexed(63)).is_err());
        assert!(decoder.decode(&resize(4097)).is_err());
        decoder.decode(&resize(0)).unwrap();
        assert!(decoder.decode(&indexed(62)).is_err());
        assert!(decoder.decode(&indexed(0)).is_err());
    }

    #[test]
    fn an_example_of_the_rfc_holds() {
        // RFC 7541 appendix C.4.1 and C.4.2.
        let mut decoder = Decoder::default();
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(decoder.decode(first).unwrap()[3].1, "www.example.com");
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let fields = decoder.decode(second).unwrap();
        assert_eq!(fields[3].1, "www.example.com");
        assert_eq!(
            fields[4],
            ("cache-control".to_owned(), "no-cache".to_owned())
        );
    }
}
