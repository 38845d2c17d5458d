//! How long an endpoint takes to answer, as balancing sees it: a peak-sensitive moving average (peak EWMA: Finagle's
//! `PeakEwma.scala`, tower's `peak_ewma.rs`).
//!
//! A sample above the average replaces it at once; below it, the average only falls with time. So a slow endpoint is
//! noticed with its first slow answer and trusted again by and by: what is known of it counts for 1/e after [`DECAY`].
//! That also goes on while it is not asked, so every endpoint is asked again sooner or later, however slow it was (after 23
//! seconds, if it was ten times as slow as the others and they are idle), and when nothing is left, nothing is known.
//! Finagle comes to the same by observing a latency of zero whenever it looks.

use std::time::Duration;

/// The average and when it was made, in 64 bits, so that it can be one atomic word. Zero: nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency(u64);

/// What an endpoint is taken to need while its first request is under way: as much as one that fails. (Finagle takes
/// nearly forever, tower one second.) While it is idle it is taken to need nothing.
pub const UNKNOWN: Duration = Duration::from_secs(1);

/// The time in which the weight of a sample falls to 1/e. Finagle, tower and linkerd use the same.
pub const DECAY: Duration = Duration::from_secs(10);

/// A failure counts as at least so slow.
pub const FAILURE: Duration = Duration::from_secs(1);

/// Failures in a row count as slow as this at most, unless they were slower. So much is needed where answers take
/// seconds and many are under way; elsewhere it costs little, for a tenfold latency is forgotten in 23 s.
pub const WORST_FAILURE: Duration = Duration::from_secs(600);

impl Latency {
    /// From its bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The average in microseconds at `now`, in milliseconds since any fixed moment; 0 if nothing is known.
    ///
    /// `now` may wrap, which it does after 49 days, and may be a little behind the sample's (clocks of other threads).
    /// What gives that away is that a difference of more than half of the range counts as none, so an endpoint
    /// that was last asked 25 to 49 days ago is taken to be as it was then, for one sample.
    pub fn at(self, now: u32) -> f64 {
        let (micros, at) = self.parts();
        let elapsed = now.wrapping_sub(at).cast_signed().max(0);
        let left = f64::from(micros) * (-f64::from(elapsed) / DECAY.as_millis() as f64).exp();
        // Also false if it is not a number, as stray bits may be.
        if left >= 1.0 { left } else { 0.0 }
    }

    /// The average with one more sample, taken at `now`.
    #[must_use]
    pub fn with(self, sample: Duration, now: u32) -> Self {
        let sample = (sample.as_secs_f64() * 1e6).clamp(1.0, f64::from(f32::MAX));
        Self::of(sample.max(self.at(now)) as f32, now)
    }

    /// The average with a failure that took so long, at `now`.
    ///
    /// A failure is often quick, and an endpoint must not win requests by that. It counts as [`FAILURE`] or
    /// twice the average, whichever is more, so one that keeps failing is avoided also where answers take long, up
    /// to [`WORST_FAILURE`]. linkerd takes a fixed penalty of 5 s (linkerd2-proxy#4537).
    #[must_use]
    pub fn with_failure(self, sample: Duration, now: u32) -> Self {
        self.with(self.penalised(sample, now), now)
    }

    /// What a failure that took so long counts as.
    pub fn penalised(self, sample: Duration, now: u32) -> Duration {
        let worst = WORST_FAILURE.as_micros() as f64;
        let doubled = Duration::from_micros((self.at(now) * 2.0).min(worst) as u64);
        sample.max(doubled).max(FAILURE)
    }

    fn parts(self) -> (f32, u32) {
        let micros = f32::from_bits((self.0 >> 32) as u32);
        (micros, self.0 as u32)
    }

    fn of(micros: f32, at: u32) -> Self {
        Self(u64::from(micros.to_bits()) << 32 | u64::from(at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() <= right.abs() * 1e-6
    }

    #[test]
    fn nothing_is_known_at_first() {
        assert_eq!(Latency::default().at(0), 0.0);
        assert_eq!(Latency::default().at(u32::MAX), 0.0);
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_slowly() {
        let slow = Latency::default()
            .with(30 * MS, 1_000)
            .with(300 * MS, 1_000);
        assert!(close(slow.at(1_000), 300e3));
        let quick = slow.with(30 * MS, 2_000);
        assert!(close(quick.at(2_000), 300e3 * (-0.1_f64).exp()));
        assert!(close(slow.at(11_000), 300e3 / 1_f64.exp()));
        assert_eq!(slow.at(1_000_000), 0.0, "all is forgotten");
        assert!(close(slow.with(30 * MS, 61_000).at(61_000), 30e3));
    }

    #[test]
    fn the_clock_wraps_and_lags() {
        let late = Latency::default().with(30 * MS, u32::MAX - 4_999);
        assert!(close(late.at(5_000), 30e3 / 1_f64.exp()));
        assert!(close(late.at(u32::MAX - 5_010), 30e3));
        assert!(close(
            late.with(10 * MS, u32::MAX - 5_010).at(u32::MAX - 5_010),
            30e3
        ));
    }

    #[test]
    fn failures_are_slow_and_worse_in_a_row() {
        let mut latency = Latency::default().with(MS, 0);
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
            latency = latency.with_failure(MS, 0);
            assert!(close(latency.at(0), f64::from(seconds) * 1e6), "{seconds}");
        }
        let slower = latency.with_failure(900_000 * MS, 0);
        assert!(close(slower.at(0), 900e6));
    }

    proptest! {
        #[test]
        fn any_bits_are_a_latency(bits in any::<u64>(), now in any::<u32>(), micros in any::<u64>()) {
            let latency = Latency::from_bits(bits);
            let sample = Duration::from_micros(micros);
            for latency in [latency, latency.with(sample, now), latency.with_failure(sample, now)] {
                prop_assert!(latency.at(now) >= 0.0);
                prop_assert_eq!(Latency::from_bits(latency.to_bits()), latency);
            }
            let known = Latency::default().with(sample, now);
            prop_assert!(known.at(now) >= 1.0);
        }
    }
}
