//! Passive health: endpoints that fail requests are left out for a while.
//!
//! An endpoint is ejected when it fails so many requests in a row, or too many of those in a window. It stays out for
//! `base`, twice that if it is ejected again soon after, and so on up to `max`, each a fifth more or less by chance, so that
//! endpoints that failed together do not return together. Each whole window in which it was not out takes
//! one doubling back (Envoy's outlier detection, which adds where this doubles).
//!
//! However ill they all seem, a part of the endpoints stays in: then it is rather the network, or the requests.
//!
//! One [`Outliers`] belongs to one upstream. It is told from time to time, by one task, what was counted at each
//! endpoint since it began, and takes the differences itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::balance::{mix, unit};
use crate::model::Outlier;

/// Doublings beyond this make no difference: the base is 1 ms at least.
const MOST_DOUBLINGS: u32 = 32;

/// Who is ejected from one upstream. Times are milliseconds since any fixed moment.
#[derive(Clone, Debug)]
pub struct Outliers {
    settings: Outlier,
    rows: BTreeMap<u64, Row>,
    /// Rows that are ejected.
    out: usize,
    window_end: u64,
}

/// What was counted at one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that went well, since the endpoint is known.
    pub ok: u64,
    /// Requests that ended in a gateway failure, since the endpoint is known.
    pub failed: u64,
    /// Gateway failures since the last that went well.
    pub consecutive: u32,
}

/// What became of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is left out from now on.
    Ejected {
        /// Which.
        id: u64,
        /// Why.
        cause: Cause,
        /// For how long.
        time: Duration,
    },
    /// It is used again.
    Readmitted {
        /// Which.
        id: u64,
    },
}

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It failed so many requests in a row.
    Consecutive(u32),
    /// Of `requests` in a window too few went well.
    SuccessRate {
        /// So many went well.
        ok: u64,
        /// Of so many.
        requests: u64,
    },
}

impl Cause {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive(_) => "consecutive_failures",
            Self::SuccessRate { .. } => "success_rate",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// The latest counts.
    counts: Counts,
    /// Counts when the window began, or when it was readmitted within it.
    base: Counts,
    /// Failures in a row that were there at the readmission; forgotten with the next success.
    forgiven: u32,
    /// When it is readmitted.
    until: Option<u64>,
    /// How often the next ejection is doubled.
    doublings: u32,
    /// It was ejected, or still out, in this window.
    was_out: bool,
    /// It has failed so often in a row that it would be ejected: how often when that was seen, and until when it is
    /// held against it.
    failing: Option<(u32, u64)>,
}

impl Row {
    fn consecutive(&self) -> u32 {
        self.counts.consecutive.saturating_sub(self.forgiven)
    }

    /// Takes new counts. Counts that went back are those of an endpoint that began anew.
    fn take(&mut self, counts: Counts) {
        if counts.ok < self.counts.ok || counts.failed < self.counts.failed {
            self.base = Counts::default();
            self.forgiven = 0;
        }
        if counts.ok > self.counts.ok || counts.consecutive < self.forgiven {
            self.forgiven = 0;
        }
        self.counts = counts;
    }

    /// What went well in this window, and all there was.
    fn window(&self) -> (u64, u64) {
        let ok = self.counts.ok.saturating_sub(self.base.ok);
        let failed = self.counts.failed.saturating_sub(self.base.failed);
        (ok, ok.saturating_add(failed))
    }

    /// Holds it against the endpoint until `until` that it fails, anew with each failure that comes.
    fn hold(&mut self, limit: u32, until: u64) {
        let now = self.counts.consecutive;
        self.failing = match self.failing {
            _ if limit == 0 || now < limit => None,
            Some((seen, held)) if now <= seen => Some((seen, held)),
            _ => Some((now, until)),
        };
    }

    fn readmit(&mut self) {
        self.until = None;
        self.failing = None;
        self.forgiven = self.counts.consecutive;
        self.base = self.counts;
    }
}

impl Outliers {
    /// Nobody is known yet; the first window begins at `now`.
    pub fn new(settings: Outlier, now: u64) -> Self {
        let window_end = now.saturating_add(millis(settings.window));
        Self {
            settings,
            rows: BTreeMap::new(),
            out: 0,
            window_end,
        }
    }

    /// Other settings, as of a reload. Who is out stays out for the time that was said, unless too many are.
    pub fn set(&mut self, settings: Outlier) -> Vec<Change> {
        self.settings = settings;
        self.readmit_surplus()
    }

    /// These are the endpoints now. What is known of others is forgotten; readmits some if too many of those that are
    /// left are out.
    pub fn keep(&mut self, ids: &[u64]) -> Vec<Change> {
        let mut rows = BTreeMap::new();
        for id in ids {
            rows.insert(*id, self.rows.get(id).copied().unwrap_or_default());
        }
        self.rows = rows;
        let is_out = |row: &&Row| row.until.is_some();
        self.out = self.rows.values().filter(is_out).count();
        self.readmit_surplus()
    }

    /// Takes what was counted at an endpoint until `now`, and ejects it if it failed too many in a row. `random` are 64
    /// fresh bits. An endpoint that was not named by [`Self::keep`] is ignored.
    pub fn observe(&mut self, now: u64, id: u64, counts: Counts, random: u64) -> Option<Change> {
        let limit = self.settings.consecutive;
        let held = now.saturating_add(millis(self.settings.base));
        let row = self.rows.get_mut(&id)?;
        row.take(counts);
        row.hold(limit, held);
        let consecutive = row.consecutive();
        if limit == 0 || consecutive < limit {
            return None;
        }
        self.eject(now, id, Cause::Consecutive(consecutive), random)
    }

    /// Does what is due at `now`: readmits, and looks at the window that is over. Call it after a round of
    /// [`Self::observe`], a few times per second.
    pub fn tick(&mut self, now: u64, random: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for (id, row) in &mut self.rows {
            if row.until.is_some_and(|until| until <= now) {
                row.readmit();
                self.out -= 1;
                changes.push(Change::Readmitted { id: *id });
            }
        }
        if now >= self.window_end {
            self.end_window(now, random, &mut changes);
        }
        changes
    }

    /// True if this one is left out.
    pub fn is_ejected(&self, id: u64) -> bool {
        self.readmission(id).is_some()
    }

    /// When this one is readmitted, if it is out.
    pub fn readmission(&self, id: u64) -> Option<u64> {
        self.rows.get(&id)?.until
    }

    /// True if it has failed so often in a row that it would be ejected, for as long as an ejection lasts at first; each
    /// failure after that makes it longer. Where so many are out already, that is all there is against it.
    pub fn is_failing(&self, id: u64, now: u64) -> bool {
        let failing = self.rows.get(&id).and_then(|row| row.failing);
        failing.is_some_and(|(_, held)| held > now)
    }

    /// How many are out.
    pub fn ejected(&self) -> usize {
        self.out
    }

    /// When the next one is readmitted.
    pub fn next_change(&self) -> Option<u64> {
        self.rows.values().filter_map(|row| row.until).min()
    }

    /// So many may be out at a time: a part of them as configured, one at least if that is not zero, never all.
    pub fn allowed(&self) -> usize {
        let count = self.rows.len();
        let percent = usize::from(self.settings.max_ejected);
        let part = (count.saturating_mul(percent) / 100).max(usize::from(percent > 0));
        part.min(count.saturating_sub(1))
    }

    fn eject(&mut self, now: u64, id: u64, cause: Cause, random: u64) -> Option<Change> {
        let (base, max) = (millis(self.settings.base), millis(self.settings.max));
        let has_room = self.out < self.allowed();
        let row = self.rows.get_mut(&id)?;
        if row.until.is_some() || !has_room {
            return None;
        }
        let doubled = base.saturating_mul(1 << row.doublings.min(MOST_DOUBLINGS));
        let jittered = doubled as f64 * (0.8 + 0.4 * unit(random));
        let time = (jittered as u64).min(max).max(1);
        if doubled < max {
            row.doublings += 1;
        }
        row.until = Some(now.saturating_add(time));
        row.was_out = true;
        self.out += 1;
        let time = Duration::from_millis(time);
        Some(Change::Ejected { id, cause, time })
    }

    fn end_window(&mut self, now: u64, random: u64, changes: &mut Vec<Change>) {
        self.window_end = now.saturating_add(millis(self.settings.window));
        for (id, cause) in self.below_rate() {
            let random = mix(random ^ mix(id));
            changes.extend(self.eject(now, id, cause, random));
        }
        for row in self.rows.values_mut() {
            if !row.was_out {
                row.doublings = row.doublings.saturating_sub(1);
            }
            row.was_out = row.until.is_some();
            row.base = row.counts;
        }
    }

    /// Those that are in and succeeded too seldom in this window, the worst first.
    fn below_rate(&self) -> Vec<(u64, Cause)> {
        let least = u64::from(self.settings.min_requests).max(1);
        let percent = u128::from(self.settings.success_rate);
        let mut below: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, row)| row.until.is_none())
            .map(|(id, row)| (*id, row.window()))
            .filter(|(_, (ok, requests))| {
                *requests >= least && u128::from(*ok) * 100 < u128::from(*requests) * percent
            })
            .collect();
        below.sort_by_key(|(_, (ok, requests))| {
            u128::from(*ok) * 1_000_000 / u128::from((*requests).max(1))
        });
        let cause = |(id, (ok, requests))| (id, Cause::SuccessRate { ok, requests });
        below.into_iter().map(cause).collect()
    }

    /// Readmits those whose time is nearest, until no more are out than may be.
    fn readmit_surplus(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let allowed = self.allowed();
        while self.out > allowed {
            let out = self.rows.iter_mut().filter(|(_, row)| row.until.is_some());
            let Some((id, row)) = out.min_by_key(|(_, row)| row.until) else {
                break;
            };
            row.readmit();
            self.out -= 1;
            changes.push(Change::Readmitted { id: *id });
        }
        changes
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "outlier_tests.rs"]
mod tests;
