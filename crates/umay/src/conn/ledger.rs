//! The streams of a client's connection, so that none ends without a word. Whoever serves a stream
//! tells of it; what the library refuses by itself is only seen in the frames, and counted here.

use umay_core::frames::{Frame, code, kind};

/// Streams that the library has ended by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silent {
    /// The client broke the protocol on them.
    pub malformed: u32,
    /// They were beyond the cap.
    pub refused: u32,
    /// Their heads were far too large (431). Where a reset follows, that is counted too.
    pub too_large: u32,
}

/// Who knows of which stream.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The last stream that was opened.
    last: u32,
    /// The last that is looked at, once that was said (GOAWAY).
    limit: u32,
    /// Opened, and in nobody's hands yet; true if the client has reset it. The library's caps are on
    /// these.
    opened: Vec<(u32, bool)>,
    /// The same, in somebody's hands.
    known: Vec<(u32, bool)>,
    silent: Silent,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            last: 0,
            limit: u32::MAX,
            opened: Vec::new(),
            known: Vec::new(),
            silent: Silent::default(),
        }
    }
}

impl Ledger {
    /// A frame of the client's.
    pub(super) fn received(&mut self, frame: &Frame) {
        let stream = frame.stream;
        match frame.kind {
            kind::HEADERS if stream > self.last && stream <= self.limit => {
                self.last = stream;
                self.opened.push((stream, false));
            }
            kind::RST_STREAM => {
                let mut all = self.opened.iter_mut().chain(&mut self.known);
                if let Some((_, reset)) = all.find(|(id, _)| *id == stream) {
                    *reset = true;
                }
            }
            _ => {}
        }
    }

    /// A frame of ours.
    pub(super) fn sent(&mut self, frame: &Frame) {
        let stream = frame.stream;
        if let Some(last) = frame.last_stream() {
            self.limit = last;
            self.opened.retain(|(opened, _)| *opened <= last);
        }
        let count = match (frame.kind, frame.code()) {
            (kind::RST_STREAM, Some(code::REFUSED_STREAM)) => &mut self.silent.refused,
            (kind::RST_STREAM, Some(code)) if code::is_peers_fault(code) => {
                &mut self.silent.malformed
            }
            (kind::HEADERS, _) if self.opened.iter().any(|(id, _)| *id == stream) => {
                &mut self.silent.too_large
            }
            _ => return,
        };
        if self.known.iter().all(|(known, _)| *known != stream) {
            *count += 1;
        }
        self.opened.retain(|(opened, _)| *opened != stream);
    }

    /// Somebody will tell of a stream.
    pub(super) fn know(&mut self, stream: u32) {
        let at = self.opened.iter().position(|(opened, _)| *opened == stream);
        let reset = at.is_some_and(|at| self.opened.swap_remove(at).1);
        self.known.push((stream, reset));
    }

    /// It was told of.
    pub(super) fn forget(&mut self, stream: u32) {
        self.known.retain(|(known, _)| *known != stream);
    }

    /// True if the client has reset a stream that is known.
    pub(super) fn is_reset(&self, stream: u32) -> bool {
        self.known.contains(&(stream, true))
    }

    /// What ended since this was last asked.
    pub(super) fn take(&mut self) -> Silent {
        std::mem::take(&mut self.silent)
    }
}

#[cfg(test)]
mod tests {
    use umay_core::frames::Scanner;

    use super::*;

    fn frame(kind: u8, stream: u8, payload: &[u8]) -> Frame {
        let head = [0, 0, payload.len() as u8, kind, 0, 0, 0, 0, stream];
        let mut found = Frame::default();
        Scanner::default().scan(&[&head, payload].concat(), |frame| found = frame);
        found
    }

    #[test]
    fn what_nobody_knows_of_is_counted() {
        let mut ledger = Ledger::default();
        for stream in [1, 3, 5, 7] {
            ledger.received(&frame(kind::HEADERS, stream, b""));
        }
        ledger.know(1);
        ledger.sent(&frame(kind::HEADERS, 1, b""));
        ledger.sent(&frame(kind::RST_STREAM, 1, &[0, 0, 0, 1]));
        assert_eq!(ledger.take(), Silent::default());
        ledger.sent(&frame(kind::HEADERS, 3, b""));
        ledger.sent(&frame(kind::RST_STREAM, 5, &[0, 0, 0, 7]));
        ledger.sent(&frame(kind::RST_STREAM, 7, &[0, 0, 0, 1]));
        let wanted = Silent {
            malformed: 1,
            refused: 1,
            too_large: 1,
        };
        assert_eq!(ledger.take(), wanted);
        // Its exchange is over, and the client goes on.
        ledger.forget(1);
        ledger.sent(&frame(kind::RST_STREAM, 1, &[0, 0, 0, 5]));
        assert_eq!(ledger.take().malformed, 1);
    }

    #[test]
    fn who_has_reset_a_stream_is_known_even_if_it_was_early() {
        let mut ledger = Ledger::default();
        for stream in [1, 3] {
            ledger.received(&frame(kind::HEADERS, stream, b""));
        }
        ledger.received(&frame(kind::RST_STREAM, 1, &[0, 0, 0, 8]));
        ledger.know(1);
        ledger.know(3);
        assert!(ledger.is_reset(1) && !ledger.is_reset(3));
        // Behind GOAWAY nothing is kept.
        ledger.sent(&frame(kind::GOAWAY, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
        ledger.received(&frame(kind::HEADERS, 5, b""));
        assert_eq!(ledger.opened, []);
    }
}
