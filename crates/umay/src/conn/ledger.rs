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
    /// Their heads were far too large (431).
    pub too_large: u32,
}

/// Who knows of which stream.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The last stream that was opened.
    last: u32,
    /// The last that is looked at, once that was said (GOAWAY).
    limit: u32,
    /// Opened, and in nobody's hands yet. The library's caps are on these.
    opened: Vec<u32>,
    /// In somebody's hands; true if the client has reset it.
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
                self.opened.push(stream);
            }
            kind::RST_STREAM => {
                let known = self.known.iter_mut().find(|(known, _)| *known == stream);
                if let Some((_, reset)) = known {
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
            self.opened.retain(|opened| *opened <= last);
        }
        let count = match (frame.kind, frame.code()) {
            (kind::RST_STREAM, Some(code::REFUSED_STREAM)) => &mut self.silent.refused,
            (
                kind::RST_STREAM,
                Some(
                    code::PROTOCOL_ERROR
                    | code::FLOW_CONTROL_ERROR
                    | code::STREAM_CLOSED
                    | code::FRAME_SIZE_ERROR,
                ),
            ) => &mut self.silent.malformed,
            (kind::HEADERS, _) if self.opened.contains(&stream) => &mut self.silent.too_large,
            _ => return,
        };
        if self.known.iter().all(|(known, _)| *known != stream) {
            *count += 1;
        }
        self.opened.retain(|opened| *opened != stream);
    }

    /// Somebody will tell of a stream.
    pub(super) fn know(&mut self, stream: u32) {
        self.opened.retain(|opened| *opened != stream);
        self.known.push((stream, false));
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
