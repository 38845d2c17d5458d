//! How long most requests take: a histogram that forgets, for deciding when a request is late.
//!
//! Buckets grow by a tenth each, so a quantile is at most a tenth too high, from a microsecond to ten minutes. What was
//! recorded loses half of its weight with each [`Quantiles::decay`].

use std::time::Duration;

/// Each bucket ends at so many times the end of the one before.
const RATIO: f64 = 1.1;

/// The first ends at 1 µs, the last at 1.1^212 µs, ten minutes; it takes what is slower too.
const BUCKETS: usize = 213;

/// Fewer samples (older ones count less) say nothing.
const FEWEST: f64 = 20.0;

/// So many samples have to be beyond a quantile: the slowest of all is chance.
const BEYOND: f64 = 1.0;

/// Durations, by how many there were of each length. 860 bytes.
#[derive(Clone, Debug)]
pub struct Quantiles {
    buckets: [f32; BUCKETS],
}

impl Default for Quantiles {
    fn default() -> Self {
        Self {
            buckets: [0.0; BUCKETS],
        }
    }
}

impl Quantiles {
    /// Takes one more.
    pub fn record(&mut self, sample: Duration) {
        let micros = sample.as_secs_f64() * 1e6;
        // Below zero becomes zero.
        let place = (micros.ln() / RATIO.ln()).ceil() as usize;
        if let Some(bucket) = self.buckets.get_mut(place.min(BUCKETS - 1)) {
            *bucket += 1.0;
        }
    }

    /// Adds what another has recorded.
    pub fn add(&mut self, other: &Self) {
        for (own, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += theirs;
        }
    }

    /// What this share (0 to 1) of all took at most, rounded up to the end of a bucket. `None` if there were too few to
    /// say: 20 in all, and one beyond the quantile, so 20 for 0.95 and 100 for 0.99.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.count();
        let within = total * share;
        // Samples are whole, but shares of them are not exact.
        let is_known = total >= FEWEST && total - within >= BEYOND - 1e-6;
        if !is_known || within.is_nan() {
            return None;
        }
        let mut sum = 0.0;
        let place = self.buckets.iter().position(|bucket| {
            sum += f64::from(*bucket);
            sum >= within && *bucket > 0.0
        })?;
        Some(Duration::from_secs_f64(RATIO.powi(place as i32) / 1e6))
    }

    /// How many samples count; older ones count less.
    pub fn count(&self) -> f64 {
        self.buckets.iter().copied().map(f64::from).sum()
    }

    /// Halves the weight of all that was recorded.
    pub fn decay(&mut self) {
        for bucket in &mut self.buckets {
            *bucket /= 2.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn filled(millis: impl Iterator<Item = u32>) -> Quantiles {
        let mut quantiles = Quantiles::default();
        millis.for_each(|millis| quantiles.record(MS * millis));
        quantiles
    }

    #[test]
    fn a_few_say_nothing() {
        let known = |count, share| filled(1..=count).quantile(share).is_some();
        assert!(!known(19, 0.5) && known(20, 0.5));
        assert!(!known(19, 0.95) && known(20, 0.95));
        assert!(!known(99, 0.99) && known(100, 0.99));
        assert!(!known(1_000, 1.0) && !known(1_000, f64::NAN));
    }

    #[test]
    fn old_ones_count_less() {
        let mut quantiles = filled((0..1_000).map(|_| 10));
        for _ in 0..6 {
            quantiles.decay();
        }
        assert!((quantiles.count() - 15.625).abs() < 1e-3);
        assert_eq!(quantiles.quantile(0.5), None);
        quantiles.add(&filled((0..100).map(|_| 100)));
        let median = quantiles.quantile(0.5).unwrap();
        assert!(median >= 100 * MS && median < 110 * MS, "{median:?}");
    }

    #[test]
    fn the_ends_hold() {
        let mut quantiles = Quantiles::default();
        for _ in 0..20 {
            quantiles.record(Duration::ZERO);
        }
        assert_eq!(quantiles.quantile(0.5), Some(Duration::from_micros(1)));
        for _ in 0..100 {
            quantiles.record(Duration::MAX);
        }
        let longest = quantiles.quantile(0.9).unwrap();
        assert!(
            longest > 590_000 * MS && longest < 660_000 * MS,
            "{longest:?}"
        );
    }

    proptest! {
        #[test]
        fn a_quantile_is_a_tenth_too_high_at_most(
            mut samples in prop::collection::vec(1..1_000_000_000_u64, 20..200),
            share in 0.0..0.95_f64,
        ) {
            let mut quantiles = Quantiles::default();
            for micros in &samples {
                quantiles.record(Duration::from_micros((*micros).min(500_000_000)));
            }
            samples.sort_unstable();
            let place = ((samples.len() as f64 * share).ceil() as usize).max(1) - 1;
            let exact = samples[place].min(500_000_000) as f64;
            let told = quantiles.quantile(share).unwrap().as_secs_f64() * 1e6;
            prop_assert!(told >= exact * 0.999 && told <= exact * 1.1001 + 0.001, "{told} for {exact}");
        }
    }
}
