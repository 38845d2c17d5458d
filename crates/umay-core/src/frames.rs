//! The frames of an HTTP/2 connection as they go by (RFC 9113 section 4.1): enough of each to count
//! it, and the counts that tell use from abuse.
//!
//! A library does the protocol; what it does not tell, or would suffer in silence, is seen here.

use crate::reason::Reason;

/// Kinds of frames (RFC 9113 section 6).
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// PRIORITY.
    pub const PRIORITY: u8 = 2;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PUSH_PROMISE.
    pub const PUSH_PROMISE: u8 = 5;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// Error codes (RFC 9113 section 7).
pub mod code {
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// The peer broke flow control.
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    /// A frame came for a stream that is closed.
    pub const STREAM_CLOSED: u32 = 5;
    /// A frame has the wrong size.
    pub const FRAME_SIZE_ERROR: u32 = 6;
    /// The stream was not processed.
    pub const REFUSED_STREAM: u32 = 7;

    /// True for the codes that say that the peer broke the rules on a stream.
    pub fn is_peers_fault(code: u32) -> bool {
        matches!(
            code,
            PROTOCOL_ERROR | FLOW_CONTROL_ERROR | STREAM_CLOSED | FRAME_SIZE_ERROR
        )
    }
}

/// Bytes of a frame's head.
const HEAD: usize = 9;

/// Bytes of a payload that are kept: what RST_STREAM, GOAWAY and WINDOW_UPDATE say, and the beginning
/// of a GOAWAY's words.
const KEPT: usize = 8 + 15;

/// The connection preface of a client (RFC 9113 section 3.4), in bytes.
pub const PREFACE: usize = 24;

/// A frame, as far as it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// Bytes of its payload.
    pub length: u32,
    /// The first bytes of the payload, for RST_STREAM, GOAWAY and WINDOW_UPDATE.
    start: [u8; KEPT],
}

impl Frame {
    /// True if a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let [a, b, c, d, e, f, g, h, ..] = self.start;
        match (self.kind, self.length) {
            (kind::RST_STREAM, 4..) => Some(u32::from_be_bytes([a, b, c, d])),
            (kind::GOAWAY, 8..) => Some(u32::from_be_bytes([e, f, g, h])),
            _ => None,
        }
    }

    /// The beginning of the words of a GOAWAY.
    pub fn words(&self) -> &[u8] {
        let length = match self.kind {
            kind::GOAWAY => KEPT.min(self.length as usize),
            _ => 0,
        };
        self.start.get(8..length).unwrap_or_default()
    }

    /// The last stream that a GOAWAY says was or might be processed.
    pub fn last_stream(&self) -> Option<u32> {
        let [a, b, c, d, ..] = self.start;
        let last = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
        (self.kind == kind::GOAWAY && self.length >= 8).then_some(last)
    }
}

/// Flow control for the connection as a whole (RFC 9113 section 5.2).
impl Frame {
    /// Bytes that it takes from the window, padding and all.
    pub fn takes(&self) -> u32 {
        if self.kind == kind::DATA {
            self.length
        } else {
            0
        }
    }

    /// Bytes that it adds to the window.
    pub fn adds(&self) -> u32 {
        let [a, b, c, d, ..] = self.start;
        match (self.kind, self.stream, self.length) {
            (kind::WINDOW_UPDATE, 0, 4..) => u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff,
            _ => 0,
        }
    }
}

/// Finds the frames in bytes that come in pieces. Payload is skipped, not looked at.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// Bytes to pass over.
    skip: usize,
    /// A frame's head and the payload that is kept, as far as they have come.
    part: [u8; HEAD + KEPT],
    have: usize,
}

impl Scanner {
    /// From the first byte of a frame, or, with [`PREFACE`], from so many bytes before it.
    pub fn new(skip: usize) -> Self {
        Self {
            skip,
            ..Self::default()
        }
    }

    /// Looks through bytes and hands out each frame as soon as it is known.
    pub fn scan(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            let wanted = self.wanted();
            let count = (wanted - self.have).min(bytes.len());
            let (now, rest) = bytes.split_at(count);
            if let Some(place) = self.part.get_mut(self.have..self.have + count) {
                place.copy_from_slice(now);
            }
            self.have += count;
            bytes = rest;
            if self.have < HEAD || self.have < self.wanted() {
                continue;
            }
            let frame = self.frame();
            self.skip = frame.length as usize - (self.have - HEAD);
            self.have = 0;
            each(frame);
        }
    }

    /// Bytes to collect for the frame that has begun.
    fn wanted(&self) -> usize {
        if self.have < HEAD {
            return HEAD;
        }
        let frame = self.frame();
        match frame.kind {
            kind::RST_STREAM | kind::GOAWAY | kind::WINDOW_UPDATE => {
                HEAD + KEPT.min(frame.length as usize)
            }
            _ => HEAD,
        }
    }

    fn frame(&self) -> Frame {
        let [a, b, c, kind, flags, d, e, f, g, start @ ..] = self.part;
        Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff,
            length: u32::from_be_bytes([0, a, b, c]),
            start,
        }
    }
}

/// Ways to wear a peer out with frames that are cheap to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abuse {
    /// Streams are opened and reset at once (CVE-2023-44487).
    RapidReset,
    /// The peer is made to reset streams (CVE-2025-8671).
    ProvokedReset,
    /// Streams beyond the cap are opened again and again.
    TooManyStreams,
    /// A header block does not end.
    Continuation,
    /// SETTINGS, each of which has to be acknowledged.
    Settings,
    /// PING, each of which has to be answered.
    Ping,
    /// PRIORITY and frames of unknown kinds.
    Priority,
    /// DATA without data.
    EmptyData,
    /// WINDOW_UPDATE without need.
    WindowUpdate,
}

impl Abuse {
    /// Why the client is cut off.
    pub fn reason(self) -> Reason {
        match self {
            Self::RapidReset => Reason::RapidReset,
            Self::ProvokedReset => Reason::ProvokedReset,
            Self::TooManyStreams => Reason::TooManyStreams,
            Self::Continuation => Reason::ContinuationFlood,
            Self::Settings => Reason::SettingsFlood,
            Self::Ping => Reason::PingFlood,
            Self::Priority => Reason::PriorityFlood,
            Self::EmptyData => Reason::EmptyDataFlood,
            Self::WindowUpdate => Reason::WindowUpdateFlood,
        }
    }
}

/// What a client may do within [`PERIOD`] before it is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Streams that it resets, and, counted apart, that it makes us reset. Default 200.
    pub resets: u32,
    /// Frames of one header block beside the first. Default 8.
    pub continuations: u32,
    /// PING frames, besides one per frame of payload or heads. Default 100.
    pub pings: u32,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            resets: 200,
            continuations: 8,
            pings: 100,
        }
    }
}

/// The time that an [`Allowance`] is for, in milliseconds: 10 s.
pub const PERIOD: u64 = 10_000;

/// SETTINGS frames in a [`PERIOD`]. A client needs one, and one for each change of its mind.
const SETTINGS: u32 = 50;

/// PRIORITY and unknown frames, empty DATA, WINDOW_UPDATE, refused streams: what no client in use
/// comes near.
const OTHERS: u32 = 1000;

/// Counts what a client sends and what it is sent, and tells when it is too much.
#[derive(Clone, Debug)]
pub struct Guard {
    allowance: Allowance,
    resets: Bucket,
    provoked: Bucket,
    refused: Bucket,
    settings: Bucket,
    pings: Bucket,
    priorities: Bucket,
    empty: Bucket,
    windows: Bucket,
    /// Of the header block that is open.
    continuations: u32,
}

impl Guard {
    /// All buckets full.
    pub fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            resets: Bucket::new(allowance.resets),
            provoked: Bucket::new(allowance.resets),
            refused: Bucket::new(OTHERS),
            settings: Bucket::new(SETTINGS),
            pings: Bucket::new(allowance.pings),
            priorities: Bucket::new(OTHERS),
            empty: Bucket::new(OTHERS),
            windows: Bucket::new(OTHERS),
            continuations: 0,
        }
    }

    /// Counts a frame from the client; `now` is in milliseconds from any start.
    pub fn received(&mut self, frame: &Frame, now: u64) -> Option<Abuse> {
        const ACK: u8 = 1;
        const END_STREAM: u8 = 1;
        let (bucket, abuse) = match frame.kind {
            kind::DATA if frame.length == 0 && !frame.has(END_STREAM) => {
                (&mut self.empty, Abuse::EmptyData)
            }
            kind::DATA => {
                self.pings.give(1);
                return None;
            }
            kind::HEADERS | kind::PUSH_PROMISE => {
                self.continuations = 0;
                self.pings.give(1);
                self.priorities.give(4);
                return None;
            }
            kind::CONTINUATION => {
                self.continuations += 1;
                let over = self.continuations > self.allowance.continuations;
                return over.then_some(Abuse::Continuation);
            }
            kind::RST_STREAM => (&mut self.resets, Abuse::RapidReset),
            kind::SETTINGS if !frame.has(ACK) => (&mut self.settings, Abuse::Settings),
            kind::PING if !frame.has(ACK) => (&mut self.pings, Abuse::Ping),
            kind::WINDOW_UPDATE => (&mut self.windows, Abuse::WindowUpdate),
            kind::SETTINGS | kind::PING | kind::GOAWAY => return None,
            _ => (&mut self.priorities, Abuse::Priority),
        };
        (!bucket.take(now)).then_some(abuse)
    }

    /// Counts a frame to the client.
    pub fn sent(&mut self, frame: &Frame, now: u64) -> Option<Abuse> {
        match frame.kind {
            kind::DATA => {
                self.pings.give(1);
                // One for the stream, one for the connection, and some to spare.
                self.windows.give(4);
                None
            }
            kind::RST_STREAM => match frame.code()? {
                code if code::is_peers_fault(code) => {
                    (!self.provoked.take(now)).then_some(Abuse::ProvokedReset)
                }
                code::REFUSED_STREAM => (!self.refused.take(now)).then_some(Abuse::TooManyStreams),
                _ => None,
            },
            _ => None,
        }
    }
}

/// So many at once, and as many again in each [`PERIOD`].
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In thousandths, so that time adds fractions.
    level: u64,
    full: u64,
    at: u64,
}

const ONE: u64 = 1000;

impl Bucket {
    fn new(size: u32) -> Self {
        let full = u64::from(size) * ONE;
        Self {
            level: full,
            full,
            at: 0,
        }
    }

    /// Takes one out; false if there is none.
    fn take(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(self.at).min(PERIOD);
        self.at = now;
        self.level = (self.level + self.full * passed / PERIOD).min(self.full);
        match self.level.checked_sub(ONE) {
            Some(left) => {
                self.level = left;
                true
            }
            None => false,
        }
    }

    fn give(&mut self, count: u64) {
        self.level = (self.level + count * ONE).min(self.full);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn scan(scanner: &mut Scanner, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        scanner.scan(bytes, |frame| frames.push(frame));
        frames
    }

    fn of(kind: u8, flags: u8, length: u32) -> Frame {
        Frame {
            kind,
            flags,
            length,
            ..Frame::default()
        }
    }

    #[test]
    fn what_may_be_sent_on_the_connection_is_known_from_its_frames() {
        let update = 0x8001_0000_u32.to_be_bytes();
        let wire = [
            frame(kind::DATA, 0, 1, &[0; 300]),
            // The first bit means nothing.
            frame(kind::WINDOW_UPDATE, 0, 0, &update),
            frame(kind::WINDOW_UPDATE, 0, 1, &update),
            frame(kind::HEADERS, 0, 1, &[0; 20]),
        ];
        let frames = scan(&mut Scanner::new(0), &wire.concat());
        let changes = frames.iter().map(|frame| (frame.takes(), frame.adds()));
        let expected = [(300, 0), (0, 0x1_0000), (0, 0), (0, 0)];
        assert_eq!(changes.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn frames_are_found_behind_the_preface() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        assert_eq!(bytes.len(), PREFACE);
        bytes.extend(frame(kind::SETTINGS, 0, 0, &[0; 6]));
        bytes.extend(frame(kind::RST_STREAM, 0, 5, &[0, 0, 0, 8]));
        bytes.extend(frame(
            kind::GOAWAY,
            0,
            0,
            &[0x80, 0, 0, 3, 0, 0, 0, 11, b'x'],
        ));
        bytes.extend(frame(kind::RST_STREAM, 0, 7, &[1]));
        bytes.extend(frame(kind::DATA, 1, 9, b"payload"));
        let frames = scan(&mut Scanner::new(PREFACE), &bytes);
        let kinds: Vec<_> = frames.iter().map(|f| (f.kind, f.stream)).collect();
        assert_eq!(kinds, [(4, 0), (3, 5), (7, 0), (3, 7), (0, 9)]);
        assert_eq!(frames[1].code(), Some(8));
        assert_eq!(
            (frames[2].last_stream(), frames[2].code()),
            (Some(3), Some(11))
        );
        assert_eq!(frames[2].words(), b"x");
        assert_eq!(frames[3].code(), None);
        assert!(frames[4].has(1) && frames[4].length == 7);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            frames in prop::collection::vec((0..12_u8, any::<u8>(), 0..99_u32, 0..40_usize), 0..8),
            cuts in prop::collection::vec(1..30_usize, 0..60),
        ) {
            let bytes: Vec<u8> = frames
                .iter()
                .flat_map(|(kind, flags, stream, length)| frame(*kind, *flags, *stream, &vec![7; *length]))
                .collect();
            let whole = scan(&mut Scanner::default(), &bytes);
            prop_assert_eq!(whole.len(), frames.len());
            let mut scanner = Scanner::default();
            let (mut parts, mut rest) = (Vec::new(), &bytes[..]);
            for cut in cuts.into_iter().chain(std::iter::repeat(3)) {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                parts.extend(scan(&mut scanner, now));
                rest = later;
            }
            prop_assert_eq!(whole, parts);
        }
    }

    /// How many of a frame a client may send at once before it is cut off, and for what.
    fn cut_off(frame: Frame) -> (usize, Option<Abuse>) {
        let mut guard = Guard::new(Allowance::default());
        for count in 0..5000 {
            if let Some(abuse) = guard.received(&frame, 0) {
                return (count, Some(abuse));
            }
        }
        (5000, None)
    }

    #[test]
    fn each_flood_has_its_line() {
        assert_eq!(
            cut_off(of(kind::RST_STREAM, 0, 4)),
            (200, Some(Abuse::RapidReset))
        );
        assert_eq!(
            cut_off(of(kind::SETTINGS, 0, 0)),
            (50, Some(Abuse::Settings))
        );
        assert_eq!(cut_off(of(kind::SETTINGS, 1, 0)), (5000, None));
        assert_eq!(cut_off(of(kind::PING, 0, 8)), (100, Some(Abuse::Ping)));
        assert_eq!(cut_off(of(kind::PING, 1, 8)), (5000, None));
        assert_eq!(
            cut_off(of(kind::PRIORITY, 0, 5)),
            (1000, Some(Abuse::Priority))
        );
        assert_eq!(cut_off(of(0x42, 0, 5)), (1000, Some(Abuse::Priority)));
        assert_eq!(
            cut_off(of(kind::DATA, 0, 0)),
            (1000, Some(Abuse::EmptyData))
        );
        assert_eq!(cut_off(of(kind::DATA, 1, 0)), (5000, None));
        assert_eq!(cut_off(of(kind::DATA, 0, 1)), (5000, None));
        assert_eq!(
            cut_off(of(kind::WINDOW_UPDATE, 0, 4)),
            (1000, Some(Abuse::WindowUpdate))
        );
        assert_eq!(
            cut_off(of(kind::CONTINUATION, 0, 9)),
            (8, Some(Abuse::Continuation))
        );
    }

    #[test]
    fn use_and_time_give_back() {
        let mut guard = Guard::new(Allowance::default());
        let (ping, data) = (of(kind::PING, 0, 8), of(kind::DATA, 0, 99));
        for _ in 0..5000 {
            assert_eq!(guard.sent(&data, 0), None);
            assert_eq!(guard.received(&ping, 0), None);
            assert_eq!(guard.received(&of(kind::WINDOW_UPDATE, 0, 4), 0), None);
        }
        let reset = of(kind::RST_STREAM, 0, 4);
        for second in 0..100 {
            for _ in 0..20 {
                assert_eq!(guard.received(&reset, second * 1000), None);
            }
        }
        // Each block is counted for itself.
        for _ in 0..100 {
            assert_eq!(guard.received(&of(kind::HEADERS, 0, 9), 0), None);
            for _ in 0..8 {
                assert_eq!(guard.received(&of(kind::CONTINUATION, 0, 9), 0), None);
            }
        }
    }

    #[test]
    fn resets_that_a_client_provokes_count_and_others_do_not() {
        let reset = |code: u32| {
            let mut frame = of(kind::RST_STREAM, 0, 4);
            frame.start[..4].copy_from_slice(&code.to_be_bytes());
            frame
        };
        for (code, line) in [
            (1, 200),
            (3, 200),
            (5, 200),
            (6, 200),
            (7, 1000),
            (0, 5000),
            (2, 5000),
            (8, 5000),
        ] {
            let mut guard = Guard::new(Allowance::default());
            let sent = (0..5000).take_while(|_| guard.sent(&reset(code), 0).is_none());
            assert_eq!(sent.count(), line, "{code}");
        }
    }
}
