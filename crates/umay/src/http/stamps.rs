//! The moments of an attempt: how long it took, and whose time that was.

use std::time::{Duration, Instant};

/// Moments of an attempt. The clock is looked at twice if nothing has to be waited for but the endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    /// All of the request had been passed on that had come at once.
    gave: Option<Instant>,
    /// All of the request had been passed on.
    sent: Option<Instant>,
    /// The first byte of an answer has come.
    answered: Option<Instant>,
    /// The time from `sent` to that.
    first_byte: Option<Duration>,
    /// There was a wait between that and the end of the final head.
    in_pieces: bool,
    /// All of the answer had been passed on that had come at once, if it was not complete.
    passed: Option<Instant>,
}

impl Stamps {
    /// More of the request has to be waited for.
    pub(super) fn gives(&mut self) {
        self.gave.get_or_insert_with(Instant::now);
    }

    /// All of the request has been passed on.
    pub(super) fn sends(&mut self) {
        let now = Instant::now();
        self.gave.get_or_insert(now);
        self.sent = Some(now);
    }

    /// Bytes of an answer have come.
    pub(super) fn hears(&mut self) {
        if self.answered.is_none() {
            let now = Instant::now();
            self.answered = Some(now);
            self.first_byte = self.sent.map(|sent| now.saturating_duration_since(sent));
        }
    }

    /// More of the answer's head has to be waited for.
    pub(super) fn expects(&mut self) {
        self.in_pieces |= self.is_answered();
    }

    /// More of the answer has to be waited for, or the client.
    pub(super) fn passes(&mut self) {
        self.passed.get_or_insert_with(Instant::now);
    }

    /// True if a byte of an answer has come.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// How long the endpoint has had the whole request.
    pub(super) fn waited(&self) -> Option<Duration> {
        self.sent.map(|sent| sent.elapsed())
    }

    /// How long the rest of the request took, if not all of it came at once.
    pub(super) fn upload(&self) -> Option<Duration> {
        let (gave, sent) = (self.gave?, self.sent?);
        (gave != sent).then(|| sent.saturating_duration_since(gave))
    }

    /// From the request sent to the first byte of an answer; `None` if that came first.
    pub(super) fn first_byte(&self) -> Option<Duration> {
        self.first_byte
    }

    /// When the first byte of the answer came; `None` if not all of the request was sent by then.
    pub(super) fn answered(&self) -> Option<Instant> {
        self.answered
            .filter(|at| self.sent.is_some_and(|sent| sent <= *at))
    }

    /// When all of the answer had been passed on that had come at once; `None` if it was complete then.
    pub(super) fn passed(&self) -> Option<Instant> {
        match self.in_pieces {
            // What came after the wait was not looked at.
            true => self.answered,
            false => self.passed,
        }
    }
}
