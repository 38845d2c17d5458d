//! Finds the end of a head in bytes that come in pieces.

use memchr::memchr;

use crate::Malformed;

/// Caps of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, from the first of the start line to the end of the empty line.
    pub head: usize,
    /// Fields.
    pub fields: usize,
    /// Bytes of a request's target.
    pub target: usize,
}

/// How far the search for the end of a head has come, so that no byte is searched twice however the
/// head is cut. A new one for each head; the bytes before the end must be the same in each call.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Where the head begins: behind an empty line that may stand before a request.
    start: usize,
    /// Where the present line begins.
    line: usize,
    /// Where to search on for its end.
    next: usize,
    /// The first line was looked at before the head was whole.
    looked: bool,
}

impl Scan {
    /// The head's place in `buf`, its empty line included; `None` if it is not whole. `blank` allows
    /// an empty line before it (RFC 9112 section 2.2).
    pub(crate) fn find(
        &mut self,
        buf: &[u8],
        blank: bool,
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, Malformed> {
        while let Some(found) = memchr(b'\n', buf.get(self.next..).unwrap_or_default()) {
            let newline = self.next + found;
            let line = buf.get(self.line..newline).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(Malformed::BareLf);
            };
            let end = newline + 1;
            self.next = end;
            let first = self.line == self.start;
            if line.is_empty() {
                if !first {
                    return if end - self.start > limits.head {
                        Err(Malformed::HeadTooLarge)
                    } else {
                        Ok(Some((self.start, end)))
                    };
                }
                if !blank || self.start > 0 {
                    return Err(Malformed::BadStartLine);
                }
                self.start = end;
            }
            self.line = end;
        }
        self.next = buf.len();
        let length = buf.len() - self.start;
        let in_first_line = self.line == self.start;
        // The method and the version need some bytes besides the target.
        if in_first_line && length > limits.target.saturating_add(64) {
            return Err(Malformed::TargetTooLong);
        }
        if length > limits.head {
            return Err(Malformed::HeadTooLarge);
        }
        Ok(None)
    }

    /// The first line of a head that is not whole, once, as soon as the line is: who speaks something
    /// else need not be waited for.
    pub(crate) fn first_line<'a>(&mut self, buf: &'a [u8]) -> Option<&'a [u8]> {
        if self.looked || self.line == self.start {
            return None;
        }
        self.looked = true;
        let end = memchr(b'\n', buf.get(self.start..)?)?;
        buf.get(self.start..(self.start + end).saturating_sub(1))
    }
}
