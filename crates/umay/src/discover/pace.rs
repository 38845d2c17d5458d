//! How long things may take, and how long to wait before they are tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first pause after a failure.
const FIRST: Duration = Duration::from_secs(1);

/// The least pause between two questions about a name, even if the configuration says none.
pub(super) const LEAST: Duration = Duration::from_millis(10);

/// The times of registries and files. Tests have shorter ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long a connection to a registry may take, with its name and TLS.
    pub(super) connect: Duration,
    /// How long an answer may take, from the request to its end, beyond what was asked for.
    pub(super) answer: Duration,
    /// How long a registry may be quiet before it is asked anew.
    pub(super) quiet: Duration,
    /// The least time between two questions, however fast things change.
    pub(super) pause: Duration,
    /// The first pause after a failure.
    pub(super) first: Duration,
    /// The longest pause after a failure.
    pub(super) longest: Duration,
    /// How often a file is looked at even if nothing is heard of it.
    pub(super) look: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(15),
            quiet: Duration::from_secs(55),
            pause: Duration::from_millis(200),
            first: FIRST,
            longest: Duration::from_secs(30),
            look: Duration::from_secs(5),
        }
    }
}

impl Pace {
    /// Pauses for a registry.
    pub(super) fn backoff(self) -> Backoff {
        Backoff::between(self.first, self.longest)
    }
}

/// Pauses that double from failure to failure, a fifth more or less by chance, so that many who
/// failed together do not ask together.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    random: RandomState,
    count: u64,
}

impl Backoff {
    /// From one second to `longest`.
    pub(super) fn up_to(longest: Duration) -> Self {
        Self::between(FIRST, longest)
    }

    fn between(first: Duration, longest: Duration) -> Self {
        Self {
            first: first.min(longest),
            longest,
            next: first.min(longest),
            random: RandomState::new(),
            count: 0,
        }
    }

    /// The pause before the next try.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        self.count = self.count.wrapping_add(1);
        let chance = self.random.hash_one(self.count) as f64 / u64::MAX as f64;
        pause.mul_f64(0.8 + 0.4 * chance)
    }

    /// It went well: the next pause is the first again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}
