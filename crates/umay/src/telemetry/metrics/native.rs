//! Fine, exponential buckets: native histograms of Prometheus, exponential ones of OpenTelemetry.
//!
//! A bucket's upper bound is 2^(1/8), about 1.09, times its lower one (schema 3 of Prometheus, scale 3
//! of OpenTelemetry), so that a quantile is known to within 4.5 %, and at the same bounds in every process.

use super::cell::Counter;

/// Doublings that a scale covers.
const DOUBLINGS: usize = 32;
/// Buckets for each doubling.
const STEPS: usize = 8;
/// Fine buckets of a histogram.
pub(super) const FINE: usize = DOUBLINGS * STEPS;

/// The logarithm to the base of two of [`STEPS`].
pub const SCHEMA: i32 = 3;

/// 2^(i/8) for i from 1, as the bits of a fraction (what follows the leading one in a float of 64 bits). The k-th of
/// them lies in the k-th of eight equal parts, and there is none in the last.
const FRACTIONS: [u64; STEPS] = [
    fraction(1.090_507_732_665_257_7),
    fraction(1.189_207_115_002_721),
    fraction(1.296_839_554_651_009_6),
    fraction(std::f64::consts::SQRT_2),
    fraction(1.542_210_825_407_940_7),
    fraction(1.681_792_830_507_429),
    fraction(1.834_008_086_409_342_5),
    u64::MAX,
];

const FRACTION: u64 = (1 << 52) - 1;

const fn fraction(value: f64) -> u64 {
    value.to_bits() & FRACTION
}

/// How a histogram's buckets lie.
#[derive(Debug)]
pub struct Scale {
    /// Upper bounds of the classic buckets in nanoseconds, ascending; above the last is `+Inf`.
    pub(super) bounds: [u64; 17],
    /// The fine buckets begin above 2 to the power of this, in seconds; what is not above it is counted as zero.
    /// What is above 32 doublings of it is counted in the last bucket.
    pub(super) lowest: i32,
}

impl Scale {
    /// The fine bucket of a duration; `None` is the one of zero.
    pub(super) fn fine(&self, nanos: u64) -> Option<usize> {
        let bits = (nanos as f64 / 1e9).to_bits();
        let exponent = i32::try_from(bits >> 52).unwrap_or(0) - 1023;
        let fraction = bits & FRACTION;
        let part = (fraction >> 49) as usize;
        let over = FRACTIONS.get(part).is_some_and(|step| fraction > *step);
        // A bucket includes its upper bound, as those of Prometheus do.
        let steps = part as i64 + i64::from(over) + i64::from(fraction > 0) - 1;
        let place = i64::from(exponent - self.lowest) * STEPS as i64 + steps;
        Some(usize::try_from(place).ok()?.min(FINE - 1))
    }

    /// What is not above this, in seconds, is counted as zero.
    pub fn zero(&self) -> f64 {
        2.0_f64.powi(self.lowest)
    }
}

/// Fine buckets over all workers.
#[derive(Debug)]
pub struct Native {
    scale: &'static Scale,
    zero: u64,
    counts: [u64; FINE],
}

impl Native {
    pub(super) fn new(scale: &'static Scale) -> Self {
        Self {
            scale,
            zero: 0,
            counts: [0; FINE],
        }
    }

    pub(super) fn add(&mut self, zero: &Counter, counts: &[Counter; FINE]) {
        self.zero += zero.get();
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += count.get();
        }
    }

    /// How many there are in all buckets. Cells are read one after the other, so while workers count it is not
    /// always that of the classic buckets; who reads native ones wants it to be the sum of these.
    pub fn count(&self) -> u64 {
        self.zero + self.counts.iter().sum::<u64>()
    }

    /// How many were counted as zero, and up to which number of seconds that is.
    pub fn zero(&self) -> (u64, f64) {
        (self.zero, self.scale.zero())
    }

    /// Runs of buckets that have been used: the index of the first, and the counts. The bucket with the index i
    /// ends at 2^(i/8) seconds, and includes that. A few unused ones do not end a run.
    pub fn runs(&self) -> Vec<(i32, &[u64])> {
        /// To begin another run costs about as much as so many empty buckets.
        const GAP: usize = 3;
        let mut runs: Vec<(usize, usize)> = Vec::new();
        let used = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        for (place, _) in used {
            match runs.last_mut() {
                Some((_, end)) if place - *end <= GAP => *end = place + 1,
                _ => runs.push((place, place + 1)),
            }
        }
        let first = self.scale.lowest * STEPS as i32 + 1;
        let runs = runs.into_iter().map(|(from, to)| {
            let index = first + i32::try_from(from).unwrap_or(0);
            (index, self.counts.get(from..to).unwrap_or_default())
        });
        runs.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::{LATENCY, LIFETIME};
    use super::*;

    #[test]
    fn every_duration_is_within_the_bounds_of_its_bucket() {
        for scale in [&LATENCY, &LIFETIME] {
            let mut nanos = 1_u64;
            while nanos < 100_000_000_000_000 {
                let seconds = nanos as f64 / 1e9;
                match scale.fine(nanos) {
                    None => assert!(seconds <= scale.zero(), "{nanos}"),
                    Some(place) if place == FINE - 1 => {
                        let last = scale.zero() * 2_f64.powf(32.0 - 1.0 / 8.0);
                        assert!(seconds > last * 0.999_999, "{nanos}");
                    }
                    Some(place) => {
                        let index = f64::from(scale.lowest * 8) + place as f64 + 1.0;
                        let upper = 2_f64.powf(index / 8.0);
                        let lower = 2_f64.powf((index - 1.0) / 8.0);
                        // The bounds here are less exact than those of the table.
                        let near = 1.0 + 1e-12;
                        assert!(seconds <= upper * near && seconds * near > lower, "{nanos}");
                    }
                }
                nanos += nanos / 37 + 1;
            }
        }
    }

    #[test]
    fn a_fine_bucket_includes_its_bound() {
        // 2^-3 seconds are a bound, and exact in nanoseconds.
        let at = LATENCY.fine(125_000_000).unwrap();
        assert_eq!(LATENCY.fine(125_000_001), Some(at + 1));
        assert_eq!(LATENCY.fine(124_999_999), Some(at));
        assert_eq!(LATENCY.fine(0), None);
        assert_eq!(LATENCY.fine(u64::MAX), Some(FINE - 1));
    }

    #[test]
    fn runs_have_their_index() {
        let mut native = Native::new(&LATENCY);
        assert_eq!(native.runs(), []);
        for (nanos, count) in [(125_000_000, 3), (126_000_000, 4), (1_000_000_000, 5)] {
            native.counts[LATENCY.fine(nanos).unwrap()] = count;
        }
        assert_eq!(native.runs(), [(-24, &[3, 4][..]), (0, &[5][..])]);
    }
}
