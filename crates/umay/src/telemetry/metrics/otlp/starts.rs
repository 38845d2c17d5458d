//! Since when each series counts.
//!
//! A sum that only grows is told with the time since which it has been growing. What is there from the first time
//! has counted since the process started. What comes later was nothing the last time, and so was what is less
//! than it was, because a route or an endpoint has gone and come again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::page::Labels;

/// Since when series count, by a hash of what they are. Outlives a change of the collector.
#[derive(Debug, Default)]
pub struct Starts {
    series: HashMap<u64, Start>,
    hashing: RandomState,
    /// Times that all were told.
    rounds: u64,
    /// When they were last told, in nanoseconds since 1970.
    last: u64,
}

#[derive(Debug)]
struct Start {
    since: u64,
    value: f64,
    round: u64,
}

impl Starts {
    /// Begins to tell of all; gives the time to tell. That never goes back, whatever the clock does.
    pub(super) fn begin(&mut self, now: SystemTime, started: SystemTime) -> Round<'_> {
        let started = nanos(started);
        let now = nanos(now).max(started).max(self.last.saturating_add(1));
        self.rounds += 1;
        let before = match self.rounds {
            1 => started,
            _ => self.last,
        };
        Round {
            starts: self,
            started,
            now,
            before,
        }
    }
}

/// All series, once.
pub(super) struct Round<'a> {
    starts: &'a mut Starts,
    /// When the process started.
    pub(super) started: u64,
    /// The time of it, in nanoseconds since 1970.
    pub(super) now: u64,
    /// Since when what is new counts.
    before: u64,
}

impl Round<'_> {
    /// Since when this series counts.
    pub(super) fn since(&mut self, name: &str, labels: Labels<'_>, value: f64) -> u64 {
        let starts = &mut *self.starts;
        let key = starts.hashing.hash_one((name, labels));
        let round = starts.rounds;
        let before = self.before;
        let start = starts.series.entry(key).or_insert(Start {
            since: before,
            value,
            round,
        });
        if value < start.value {
            start.since = before;
        }
        (start.value, start.round) = (value, round);
        start.since
    }

    /// Forgets what was not told of this time.
    pub(super) fn end(self) {
        let round = self.starts.rounds;
        self.starts.series.retain(|_, start| start.round == round);
        self.starts.last = self.now;
    }
}

/// Nanoseconds since 1970.
pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ONE: Labels<'_> = &[("route", "one")];
    const TWO: Labels<'_> = &[("route", "two")];

    #[test]
    fn what_is_new_or_has_come_again_counts_since_the_last_time() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let second = 1_000_000_000;
        let mut starts = Starts::default();
        let mut told = |now, values: &[(Labels<'_>, f64)]| {
            let mut round = starts.begin(at(now), at(10));
            let since = values
                .iter()
                .map(|(labels, value)| round.since("a", labels, *value) / second)
                .collect::<Vec<_>>();
            let now = round.now / second;
            round.end();
            (now, since)
        };
        assert_eq!(told(20, &[(ONE, 5.0)]), (20, vec![10]));
        assert_eq!(told(30, &[(ONE, 5.0), (TWO, 1.0)]), (30, vec![10, 20]));
        // Less than it was: it has begun again.
        assert_eq!(told(40, &[(ONE, 4.0), (TWO, 2.0)]), (40, vec![30, 20]));
        assert_eq!(told(50, &[(ONE, 4.0)]), (50, vec![30]));
        // It was gone.
        assert_eq!(told(60, &[(ONE, 4.0), (TWO, 9.0)]), (60, vec![30, 50]));
        // The clock goes back.
        assert_eq!(told(5, &[(TWO, 9.0)]), (60, vec![50]));
    }
}
