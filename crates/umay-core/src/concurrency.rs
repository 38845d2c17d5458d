//! How many requests endpoints can take at a time, found out from their latency.
//!
//! While requests are served at once, their latency does not depend on how many there are; when it rises above that of a
//! quiet time, they queue. So the limit follows a gradient, once per window: `limit × gradient + √limit`, where
//! the gradient is the quiet latency over the present one, with some tolerance, between a half and one (Netflix's
//! concurrency-limits, `Gradient2Limit`; Envoy's adaptive concurrency, `gradient_controller`). It settles where about
//! `0.5 × capacity + √limit` requests queue: enough to keep endpoints busy, few enough to wait for.
//!
//! What a quiet time is like is measured as Envoy does it: from time to time the limit is lowered, here to a half, for two
//! windows; in the first the queues drain, the second is measured. (A long-term average, as in `Gradient2Limit`, needs
//! no such pause, but takes a lasting overload for normal.) Between measurements the quiet latency only falls. When it
//! seems outdated, because latency is far below it or does not fall along with the limit, it is measured at once; and
//! if the limit has been at its minimum for a while, it is quiet already.
//!
//! Latency is a median or another quantile, always the same: a minimum says too little of requests that differ.

use std::time::Duration;

use crate::balance::unit;

/// The limit is never lower.
pub const LOWEST: u32 = 8;

/// The limit at first.
pub const INITIAL: u32 = 32;

/// A window with fewer requests says nothing.
pub const FEWEST: u64 = 20;

/// Latency may be so many times that of a quiet time before the limit falls.
const TOLERANCE: f64 = 1.5;

/// The limit falls by this at most in one window.
const STEEPEST: f64 = 0.5;

/// The limit grows by this while it has never been too high.
const OPENING: f64 = 1.5;

/// The limit is multiplied with this when too many requests were dropped.
const BACKOFF: f64 = 0.9;

/// Too many are dropped if it is more than one of so many.
const DROPPED: u64 = 20;

/// Windows between two measurements: few at first, when little is known, and twice as many each time.
const FIRST_REST: u32 = 5;
const LONGEST_REST: u32 = 60;

/// A measurement that has had too few requests in so many windows is given up.
const PATIENCE: u32 = 4;

/// After so many windows at the lowest limit latency is what it is in a quiet time.
const AT_LOWEST: u32 = 5;

/// If the limit fell by more than a tenth so often in a row and latency did not, requests rather take longer now, and
/// it is time to measure.
const FALLS: u32 = 3;

/// The same if latency is less than this part of that of a quiet time.
const SURPRISE: f64 = 0.7;

/// What happened in one window, of half a second or a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// The median of latencies to the first byte.
    pub latency: Duration,
    /// Requests that were answered.
    pub count: u64,
    /// The most that were in flight at a time.
    pub in_flight: u64,
    /// Requests that got no answer: they timed out, or the endpoint was full.
    pub dropped: u64,
}

/// The limit on requests in flight.
#[derive(Clone, Debug)]
pub struct Adaptive {
    highest: f64,
    limit: f64,
    /// Latency in a quiet time, in microseconds.
    quiet: Option<f64>,
    /// The limit has never been too high yet.
    is_opening: bool,
    phase: Phase,
    /// Windows from one measurement to the next.
    rest: u32,
    /// Windows in a row with too high a latency at the lowest limit.
    at_lowest: u32,
    /// Windows in a row in which the limit fell a good deal.
    falls: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Follows the gradient for so many more windows.
    Follow(u32),
    /// Lets queues drain, in the window that is open.
    Drain,
    /// Measures a quiet time, for so many windows by now.
    Measure(u32),
}

impl Adaptive {
    /// A limit that is never above `highest`.
    pub fn new(highest: Option<u32>) -> Self {
        let highest = f64::from(highest.unwrap_or(u32::MAX).max(1));
        Self {
            highest,
            limit: f64::from(INITIAL).min(highest),
            quiet: None,
            is_opening: true,
            phase: Phase::Follow(FIRST_REST),
            rest: FIRST_REST,
            at_lowest: 0,
            falls: 0,
        }
    }

    /// Another upper end, as of a reload.
    pub fn set(&mut self, highest: Option<u32>) {
        self.highest = f64::from(highest.unwrap_or(u32::MAX).max(1));
        self.limit = self.within(self.limit);
    }

    /// Requests that may be in flight now.
    pub fn limit(&self) -> u32 {
        let now = match self.phase {
            Phase::Follow(_) => self.limit,
            Phase::Drain | Phase::Measure(_) => self.limit / 2.0,
        };
        self.within(now) as u32
    }

    /// The latency of a quiet time, if it is known.
    pub fn quiet(&self) -> Option<Duration> {
        self.quiet
            .map(|micros| Duration::from_micros(micros as u64))
    }

    /// Takes what happened in the window that is over; returns the limit for the next one. `random`, 64 bits, keeps
    /// the measurements of many upstreams and processes apart.
    pub fn feed(&mut self, window: Window, random: u64) -> u32 {
        let latency = (window.latency.as_secs_f64() * 1e6).max(1.0);
        let is_telling = window.count >= FEWEST;
        match self.phase {
            Phase::Follow(left) => {
                let left = left.saturating_sub(1);
                self.phase = Phase::Follow(left);
                if is_telling {
                    let is_due = left == 0 && self.is_used(window);
                    let has_changed = self.follow(window, latency);
                    if has_changed {
                        self.rest = FIRST_REST;
                    }
                    if is_due || has_changed {
                        self.phase = Phase::Drain;
                    }
                }
            }
            Phase::Drain => self.phase = Phase::Measure(1),
            Phase::Measure(windows) if !is_telling && windows < PATIENCE => {
                self.phase = Phase::Measure(windows + 1);
            }
            Phase::Measure(_) => {
                if is_telling {
                    // A half of far too much is still too much: what looks slower than before is looked at again soon.
                    if self.quiet.is_some_and(|quiet| latency * SURPRISE > quiet) {
                        self.rest = FIRST_REST;
                    }
                    self.quiet = Some(latency);
                }
                self.rest = (self.rest * 2).min(LONGEST_REST);
                let jittered = f64::from(self.rest) * (0.8 + 0.4 * unit(random));
                self.phase = Phase::Follow(jittered as u32);
            }
        }
        self.limit()
    }

    /// True if what is known of a quiet time seems to be outdated.
    fn follow(&mut self, window: Window, latency: f64) -> bool {
        let is_surprising = self.quiet.is_some_and(|quiet| latency < quiet * SURPRISE);
        let quiet = match self.quiet {
            // One lucky window is not a quiet time.
            Some(quiet) if latency < quiet => quiet + (latency - quiet) / 4.0,
            Some(quiet) => quiet,
            None => latency,
        };
        self.quiet = Some(quiet);
        if window.dropped > window.count / DROPPED {
            self.is_opening = false;
            self.limit = self.within(self.limit * BACKOFF);
            return false;
        }
        // If it is not used, it neither helps nor hurts, and a higher one would be a guess.
        if !self.is_used(window) {
            return false;
        }
        let gradient = (TOLERANCE * quiet / latency).clamp(STEEPEST, 1.0);
        self.is_opening &= gradient >= 1.0;
        let next = if self.is_opening {
            self.limit * OPENING
        } else {
            self.limit * gradient + self.limit.sqrt()
        };
        let next = self.within(next);
        self.falls = if next < self.limit * 0.9 {
            self.falls + 1
        } else {
            0
        };
        self.limit = next;
        let is_lowest = gradient < 1.0 && self.limit() <= LOWEST;
        self.at_lowest = if is_lowest { self.at_lowest + 1 } else { 0 };
        if self.at_lowest >= AT_LOWEST {
            self.quiet = Some(latency);
            self.at_lowest = 0;
        }
        let has_fallen = self.falls >= FALLS;
        if has_fallen {
            self.falls = 0;
        }
        has_fallen || is_surprising
    }

    fn is_used(&self, window: Window) -> bool {
        window.in_flight as f64 * 2.0 >= self.limit
    }

    fn within(&self, limit: f64) -> f64 {
        limit.max(f64::from(LOWEST)).min(self.highest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(millis: u64, in_flight: u64) -> Window {
        Window {
            latency: Duration::from_millis(millis),
            count: 100,
            in_flight,
            dropped: 0,
        }
    }

    /// Feeds windows in which all of the limit is used, until the limit is to follow again.
    fn feed(adaptive: &mut Adaptive, millis: u64) -> u32 {
        loop {
            let used = u64::from(adaptive.limit());
            let limit = adaptive.feed(window(millis, used), 1 << 63);
            if let Phase::Follow(_) = adaptive.phase {
                return limit;
            }
        }
    }

    #[test]
    fn opens_until_latency_rises() {
        let mut adaptive = Adaptive::new(None);
        assert_eq!(adaptive.limit(), 32);
        assert_eq!(feed(&mut adaptive, 10), 48);
        assert_eq!(feed(&mut adaptive, 15), 72);
        assert_eq!(feed(&mut adaptive, 16), 75, "a little above the tolerance");
        assert_eq!(feed(&mut adaptive, 10), 84, "by its root from now on");
        assert_eq!(feed(&mut adaptive, 1_000), 51, "a half and the root");
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut adaptive = Adaptive::new(None);
        assert_eq!(adaptive.feed(window(10, 15), 0), 32);
        assert_eq!(adaptive.feed(window(10, 16), 0), 48);
        assert_eq!(
            adaptive.feed(
                Window {
                    count: 19,
                    ..window(10, 48)
                },
                0
            ),
            48
        );
    }

    #[test]
    fn drops_lower_it() {
        let mut adaptive = Adaptive::new(None);
        let dropped = |dropped| Window {
            dropped,
            ..window(10, 32)
        };
        assert_eq!(adaptive.feed(dropped(6), 0), 28);
        assert_eq!(adaptive.feed(dropped(5), 0), 34);
    }

    #[test]
    fn measures_what_is_quiet_at_half_the_limit() {
        let mut adaptive = Adaptive::new(Some(100));
        for _ in 0..5 {
            adaptive.feed(window(10, 100), 1 << 63);
        }
        assert_eq!((adaptive.phase, adaptive.limit()), (Phase::Drain, 50));
        assert_eq!(
            adaptive.feed(window(500, 50), 1 << 63),
            50,
            "does not count"
        );
        assert_eq!(adaptive.feed(window(20, 50), 1 << 63), 100);
        assert_eq!(adaptive.quiet(), Some(Duration::from_millis(20)));
        assert_eq!(adaptive.phase, Phase::Follow(10));
    }

    #[test]
    fn a_measurement_without_requests_is_given_up() {
        let mut adaptive = Adaptive::new(Some(100));
        adaptive.quiet = Some(7e3);
        adaptive.phase = Phase::Drain;
        for _ in 0..4 {
            assert_eq!(adaptive.feed(Window::default(), 0), 16);
        }
        assert_eq!(adaptive.feed(Window::default(), 0), 32);
        assert_eq!(adaptive.quiet(), Some(Duration::from_millis(7)));
    }

    #[test]
    fn the_lowest_limit_is_quiet_enough() {
        let mut adaptive = Adaptive::new(Some(8));
        feed(&mut adaptive, 10);
        for _ in 0..4 {
            feed(&mut adaptive, 100);
        }
        let measured = adaptive.quiet().unwrap();
        assert!(measured >= Duration::from_millis(10));
        for _ in 0..5 {
            feed(&mut adaptive, 100);
        }
        assert_eq!(adaptive.quiet(), Some(Duration::from_millis(100)));
    }

    proptest! {
        #[test]
        fn stays_within_its_ends(
            highest in prop::option::of(0..2_000_u32),
            windows in prop::collection::vec((any::<u64>(), 0..100_u64, any::<u64>(), 0..10_u64, any::<u64>()), 0..200),
        ) {
            let mut adaptive = Adaptive::new(highest);
            let most = highest.map_or(u32::MAX, |highest| highest.max(1));
            for (micros, count, in_flight, dropped, random) in windows {
                let latency = Duration::from_micros(micros);
                let limit = adaptive.feed(Window { latency, count, in_flight, dropped }, random);
                prop_assert!(limit <= most && limit >= LOWEST.min(most));
            }
        }
    }
}
