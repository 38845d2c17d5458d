//! The moments of an attempt: how long it took, and whose time that was.

use std::time::{Duration, Instant};

/// Moments of an attempt. The clock is looked at twice if nothing has to be waited for but the endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    /// All of the request had been passed on that had come at once.
    gave: Option<Instant>,
    /// All of the request had been passed on.
    sent: Option<Instant>,
    /// From `sent` to the first byte of an answer.
    first_byte: Option<Duration>,
    /// A byte of an answer has come.
    answered: bool,
    /// There was a wait between that and the end of the final head.
    in_pieces: bool,
    /// All of the answer had been passed on that had come at once, if it was not complete.
    passed: Option<Instant>,
}

/// Between which moments it was up to Umay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// When the endpoint had been given the request, as far as it had come.
    pub(super) gave: Instant,
    /// How long the rest of the request took from there on, if there was one.
    pub(super) upload: Option<Duration>,
    /// When the client had been given the answer, as far as that had come; `None` if all of it came at once.
    pub(super) passed: Option<Instant>,
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
        if !self.answered {
            self.answered = true;
            self.first_byte = self.waited();
        }
    }

    /// More of the answer's head has to be waited for.
    pub(super) fn expects(&mut self) {
        self.in_pieces |= self.answered;
    }

    /// More of the answer has to be waited for, or the client.
    pub(super) fn passes(&mut self) {
        self.passed.get_or_insert_with(Instant::now);
    }

    /// True if a byte of an answer has come.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// How long the endpoint has had the whole request.
    pub(super) fn waited(&self) -> Option<Duration> {
        self.sent.map(|sent| sent.elapsed())
    }

    /// From the request sent to the first byte of an answer; `None` if that came first.
    pub(super) fn first_byte(&self) -> Option<Duration> {
        self.first_byte
    }

    /// When the first byte of the answer came.
    pub(super) fn answered(&self) -> Option<Instant> {
        Some(self.sent? + self.first_byte?)
    }

    /// What Umay has taken for itself.
    pub(super) fn own(&self) -> Option<Own> {
        let passed = match self.in_pieces {
            // What came after the wait was not looked at.
            true => self.answered(),
            false => self.passed,
        };
        let gave = self.gave?;
        let upload = self.sent.map(|sent| sent.saturating_duration_since(gave));
        Some(Own {
            gave,
            upload: upload.filter(|upload| !upload.is_zero()),
            passed,
        })
    }
}
