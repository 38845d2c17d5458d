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

impl Limits {
    /// Checks the length of a head so far. In the order of the bytes, so that it does not matter how
    /// many of them come at once.
    pub(crate) fn check(&self, length: usize, in_first_line: bool) -> Result<(), Malformed> {
        // The method and the version need some bytes besides the target.
        let line = self.target.saturating_add(64);
        if in_first_line && length > line && line <= self.head {
            Err(Malformed::TargetTooLong)
        } else if length > self.head {
            Err(Malformed::HeadTooLarge)
        } else {
            Ok(())
        }
    }
}

impl Scan {
    /// Reads the head at the front of `buf`, where `blank` allows an empty line before it (RFC 9112
    /// section 2.2), and tells where it ends; `None` if it is not whole. `whole` reads a head that
    /// begins where its argument does and gives its length; of one that is not whole it makes an
    /// error, and any. `first_line` checks a first line without its end.
    ///
    /// Nearly always a head comes whole and is right. Otherwise its end is searched first, so that
    /// the verdict is the same however the bytes come.
    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        buf: &[u8],
        blank: bool,
        limits: &Limits,
        mut whole: impl FnMut(&[u8]) -> Result<usize, Malformed>,
        first_line: impl FnOnce(&[u8]) -> Result<(), Malformed>,
    ) -> Result<Option<usize>, Malformed> {
        if self.next == 0
            && let Ok(end) = whole(buf)
        {
            return Ok(Some(end));
        }
        match self.find(buf, blank, limits) {
            Ok(Some((start, end))) => {
                whole(buf.get(start..end).unwrap_or_default())?;
                Ok(Some(end))
            }
            unfinished => {
                self.first_line(buf).map_or(Ok(()), first_line)?;
                unfinished.map(|_| None)
            }
        }
    }

    /// The head's place in `buf`, its empty line included; `None` if it is not whole.
    fn find(
        &mut self,
        buf: &[u8],
        blank: bool,
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, Malformed> {
        while let Some(found) = memchr(b'\n', buf.get(self.next..).unwrap_or_default()) {
            let newline = self.next + found;
            let first = self.line == self.start;
            limits.check(newline + 1 - self.start, first)?;
            let line = buf.get(self.line..newline).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(Malformed::BareLf);
            };
            let end = newline + 1;
            self.next = end;
            if line.is_empty() {
                if !first {
                    return Ok(Some((self.start, end)));
                }
                if !blank || self.start > 0 {
                    return Err(Malformed::BadStartLine);
                }
                self.start = end;
            }
            self.line = end;
        }
        self.next = buf.len();
        limits.check(buf.len() - self.start, self.line == self.start)?;
        Ok(None)
    }

    /// The first line of a head that is not whole or not right, once, as soon as the line is: who
    /// speaks something else need not be waited for, and what is wrong first is said first, however
    /// the bytes come.
    fn first_line<'a>(&mut self, buf: &'a [u8]) -> Option<&'a [u8]> {
        if self.looked || self.line == self.start {
            return None;
        }
        self.looked = true;
        let end = memchr(b'\n', buf.get(self.start..)?)?;
        buf.get(self.start..(self.start + end).saturating_sub(1))
    }
}
