//! Classes of bytes.

/// A character of a token (RFC 9110 section 5.6.2).
pub(crate) const TOKEN: u8 = 1;
/// A byte of a field's value: visible, space, tab, or above ASCII (RFC 9110 section 5.5).
pub(crate) const VALUE: u8 = 2;
/// A byte of a request target: visible ASCII but `#`, which no target has (RFC 9112 section 3.2).
/// `"<>\^{|}` and the backtick are no URI characters, but clients send them and nobody disagrees
/// on what they are.
pub(crate) const TARGET: u8 = 4;
/// A byte of a host name: letters, digits, `-`, `.`, `_`, `~`. RFC 3986 allows more, which no name
/// in use has and which software splits differently.
pub(crate) const HOST: u8 = 8;

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        let special = matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        if b.is_ascii_alphanumeric() || special {
            class |= TOKEN;
        }
        if b == b'\t' || (b >= b' ' && b != 0x7f) {
            class |= VALUE;
        }
        if b > b' ' && b < 0x7f && b != b'#' {
            class |= TARGET;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            class |= HOST;
        }
        table[byte] = class;
        byte += 1;
    }
    table
}

static CLASSES: [u8; 256] = classes();

/// True if a byte is of a class.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "a byte cannot be beyond 256 entries"
)]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// True if all bytes are of a class.
#[inline(always)]
pub(crate) fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|byte| is(*byte, class))
}

/// How many of the bytes, from the first on, may stand in a field's value.
pub(crate) fn value_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += printed_len(bytes.get(at..).unwrap_or_default());
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// The same without tabs, which are rare: eight bytes at a time.
#[inline(always)]
fn printed_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The high bit of a byte that was not set before and is after the subtraction: the byte was
        // below the subtrahend, or one before it was and borrowed. So the first mark is right.
        let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word;
        let marks = (below(word, b' ') | below(word ^ (ONES * 0x7f), 1)) & HIGH_BITS;
        if marks != 0 {
            return number * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let fits = |b: &&u8| is(**b, VALUE) && **b != b'\t';
    words.len() * 8 + rest.iter().take_while(fits).count()
}

/// True for a token of one byte or more.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_bytes_of_its_class_wherever_they_stand() {
        for byte in 0..=255 {
            let mut value = [b'v'; 40];
            for at in [0, 1, 31, 39] {
                value[at] = byte;
                let len = if is(byte, VALUE) { 40 } else { at };
                assert_eq!(value_len(&value), len, "{byte:#04x} at {at}");
                // What comes behind the first that does not fit changes nothing.
                for next in [0, b'\r', b'\t', 0x7f, 0x80, 0xff] {
                    let fits = len == 40 && is(next, VALUE);
                    if at < 39 {
                        value[at + 1] = next;
                        let len = if fits { 40 } else { len.min(at + 1) };
                        assert_eq!(value_len(&value), len, "{byte:#04x} {next:#04x} at {at}");
                        value[at + 1] = b'v';
                    }
                }
                value[at] = b'v';
            }
        }
    }

    #[test]
    fn no_token_has_what_ends_a_name() {
        for byte in b": \t\r\n\0" {
            assert!(!is(*byte, TOKEN), "{byte:#04x}");
        }
    }
}
