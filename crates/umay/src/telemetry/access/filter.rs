//! Which entries are kept: all that something is wrong with, and of the others what the configuration wants.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use umay_core::model::{EVERY, Log};

/// What is known of an entry when it is decided whether it is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// There is a reason, or a status of 500 and more.
    pub(super) wrong: bool,
    /// The status, or 0 where there is none.
    pub(super) status: u16,
    /// How long it took; `None` for what takes as long as its peers want.
    pub(super) took: Option<Duration>,
    /// Its route wants it.
    pub(super) wanted: bool,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    No,
    /// As all of its kind are.
    Always,
    /// For the others of its kind, too.
    Sample,
}

/// What the configuration wants.
#[derive(Debug)]
pub(super) struct Filter {
    /// Of a million.
    sample: u32,
    slow: Duration,
    skip: Vec<(u16, u16)>,
    random: u64,
}

impl Filter {
    pub(super) fn new(log: &Log) -> Self {
        Self {
            sample: log.sample,
            slow: log.slow,
            skip: log.skip.clone(),
            random: RandomState::new().hash_one(0),
        }
    }

    /// The share of entries that a sample stands for.
    pub(super) fn sample(&self) -> f64 {
        f64::from(self.sample) / f64::from(EVERY)
    }

    pub(super) fn decide(&mut self, case: Case) -> Kept {
        let everything = self.sample == EVERY && self.skip.is_empty() && case.wanted;
        if everything || case.wrong || case.took.is_some_and(|took| took > self.slow) {
            return Kept::Always;
        }
        let skipped = |(first, last): &(u16, u16)| (*first..=*last).contains(&case.status);
        if !case.wanted || self.skip.iter().any(skipped) {
            return Kept::No;
        }
        if self.sample == EVERY {
            Kept::Always
        } else if self.chance() < self.sample {
            Kept::Sample
        } else {
            Kept::No
        }
    }

    /// A number below a million (`SplitMix64`; the high bits of a product spread it evenly).
    fn chance(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = (z ^ (z >> 31)) >> 32;
        ((z * u64::from(EVERY)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Case = Case {
        wrong: false,
        status: 200,
        took: Some(Duration::from_millis(1)),
        wanted: true,
    };

    fn filter(sample: u32, skip: &[(u16, u16)]) -> Filter {
        Filter::new(&Log {
            sample,
            skip: skip.to_vec(),
            ..Log::default()
        })
    }

    #[test]
    fn what_is_wrong_or_slow_is_always_kept() {
        let slow = Some(Duration::from_secs(1) + Duration::from_nanos(1));
        let not_slow = Some(Duration::from_secs(1));
        for mut filter in [filter(0, &[]), filter(EVERY, &[(200, 499)])] {
            for (case, kept) in [
                (FINE, Kept::No),
                (
                    Case {
                        wanted: false,
                        ..FINE
                    },
                    Kept::No,
                ),
                (
                    Case {
                        took: not_slow,
                        ..FINE
                    },
                    Kept::No,
                ),
                (Case { took: slow, ..FINE }, Kept::Always),
                (Case { took: None, ..FINE }, Kept::No),
                (
                    Case {
                        wrong: true,
                        ..FINE
                    },
                    Kept::Always,
                ),
                (
                    Case {
                        wrong: true,
                        wanted: false,
                        ..FINE
                    },
                    Kept::Always,
                ),
            ] {
                assert_eq!(filter.decide(case), kept, "{case:?}");
            }
        }
    }

    #[test]
    fn statuses_are_left_out_to_both_their_ends() {
        let mut filter = filter(EVERY, &[(301, 304)]);
        for (status, kept) in [
            (300, Kept::Always),
            (301, Kept::No),
            (304, Kept::No),
            (305, Kept::Always),
            // A stream has none.
            (0, Kept::Always),
        ] {
            assert_eq!(filter.decide(Case { status, ..FINE }), kept, "{status}");
        }
    }

    #[test]
    fn a_sample_is_as_large_as_it_should_be() {
        let mut filter = filter(EVERY / 100, &[]);
        let kept = (0..1_000_000).filter(|_| filter.decide(FINE) == Kept::Sample);
        // Ten times the deviation of 100 from the mean.
        let kept = kept.count();
        assert!((9_000..11_000).contains(&kept), "{kept}");
        let mut all = self::filter(EVERY, &[]);
        assert_eq!(all.decide(FINE), Kept::Always);
    }
}
