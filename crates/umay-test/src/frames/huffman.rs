//! The Huffman code of HPACK (RFC 7541 appendix B). It is canonical: shorter codes come first, and
//! among those of one length the lower symbol, so the lengths say it all.

/// Bits of each symbol's code; the last is that of the end (EOS).
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The symbol of the end.
const EOS: usize = 256;

/// Length, code and symbol, in the order of the codes.
fn codes() -> Vec<(u8, u32, usize)> {
    let mut symbols: Vec<usize> = (0..LENGTHS.len()).collect();
    symbols.sort_by_key(|symbol| (LENGTHS[*symbol], *symbol));
    let (mut code, mut last) = (0_u32, LENGTHS[symbols[0]]);
    let next = |symbol| {
        let length = LENGTHS[symbol];
        code <<= length - last;
        last = length;
        let found = (length, code, symbol);
        code = code.wrapping_add(1);
        found
    };
    symbols.into_iter().map(next).collect()
}

/// Encodes text.
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut by_symbol = [(0_u8, 0_u32); 257];
    for (length, code, symbol) in codes() {
        by_symbol[symbol] = (length, code);
    }
    let (mut out, mut held, mut bits) = (Vec::new(), 0_u64, 0_u8);
    for byte in text {
        let (length, code) = by_symbol[usize::from(*byte)];
        held = held << length | u64::from(code);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    if bits > 0 {
        let rest = 8 - bits;
        out.push((held << rest) as u8 | ((1_u16 << rest) - 1) as u8);
    }
    out
}

/// Decodes, strictly: padding is shorter than a byte and all ones, and the end is not said.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let codes = codes();
    let (mut out, mut code, mut length) = (Vec::new(), 0_u32, 0_u8);
    for at in 0..bytes.len() * 8 {
        code = code << 1 | u32::from(bytes[at / 8] >> (7 - at % 8) & 1);
        length += 1;
        if let Ok(place) = codes.binary_search_by_key(&(length, code), |(l, c, _)| (*l, *c)) {
            let symbol = codes[place].2;
            if symbol == EOS {
                return Err("the end is in the string".to_owned());
            }
            out.push(symbol as u8);
            (code, length) = (0, 0);
        }
    }
    if length > 7 || code != (1 << length) - 1 {
        return Err("the padding is not ones".to_owned());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        // RFC 7541 appendix C.4 and C.6.
        for (text, code) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("302", "6402"),
            (
                "Mon, 21 Oct 2013 20:13:21 GMT",
                "d07abe941054d444a8200595040b8166e082a62d1bff",
            ),
        ] {
            let encoded = encode(text.as_bytes());
            let hex: String = encoded.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, code);
            assert_eq!(decode(&encoded).unwrap(), text.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
        assert!(decode(&[0xff]).is_err() && decode(&[0xfe]).is_err());
    }
}
