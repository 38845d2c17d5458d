//! How many retries are still allowed: a part of the requests of the last ten seconds, and a few per second always.
//!
//! Without a budget, endpoints that begin to fail under load get a multiple of it at that very moment. With it, retries
//! add at most `budget` percent to the load, however many attempts a request may have (Finagle's `RetryBudget`,
//! with the same ten seconds).
//!
//! One budget serves an upstream in the whole process. It is asked when there is something to retry, which is
//! seldom, so it can stand behind a lock.

/// So many seconds are looked back on, the present one included.
const SECONDS: usize = 10;

const MS_PER_SECOND: u64 = 1_000;

/// What may be retried at one upstream.
#[derive(Clone, Debug)]
pub struct Budget {
    percent: u32,
    floor: u32,
    slots: [Slot; SECONDS],
    /// Requests up to `at`, as they were counted.
    seen: u64,
    /// The latest time that was seen, in milliseconds.
    at: u64,
}

/// One second.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: f64,
    retries: u64,
}

impl Budget {
    /// A budget of so many hundredths of the requests, and so many retries per second besides; see
    /// [`crate::model::Retry`]. Begins at `now`, in milliseconds, with the requests that there have been.
    pub fn new(percent: u32, floor: u32, requests_so_far: u64, now: u64) -> Self {
        Self {
            percent,
            floor,
            slots: [Slot::default(); SECONDS],
            seen: requests_so_far,
            at: now,
        }
    }

    /// Takes one retry out of the budget at `now`, in milliseconds; false if there is none.
    ///
    /// `requests_so_far` only grows, and does not count retries. Requests since the last call are taken to have come
    /// evenly.
    pub fn withdraw(&mut self, requests_so_far: u64, now: u64) -> bool {
        self.advance(requests_so_far, now);
        let is_left = self.balance() > 0;
        if is_left && let Some(slot) = self.slots.get_mut(place(self.at / MS_PER_SECOND)) {
            slot.retries += 1;
        }
        is_left
    }

    /// Moves on to `now`, in milliseconds, without taking anything; for a gauge.
    pub fn advance(&mut self, requests_so_far: u64, now: u64) {
        let now = now.max(self.at);
        let new = requests_so_far.saturating_sub(self.seen) as f64;
        let elapsed = now - self.at;
        let (first, last) = (self.at / MS_PER_SECOND, now / MS_PER_SECOND);
        // What is longer ago than all slots together is forgotten anyway.
        let oldest = (last + 1).saturating_sub(SECONDS as u64).max(first);
        for second in oldest..=last {
            let start = (second * MS_PER_SECOND).max(self.at);
            let end = ((second + 1) * MS_PER_SECOND).min(now);
            let part = if elapsed == 0 {
                1.0
            } else {
                end.saturating_sub(start) as f64 / elapsed as f64
            };
            if let Some(slot) = self.slots.get_mut(place(second)) {
                if second > first {
                    *slot = Slot::default();
                }
                slot.requests += new * part;
            }
        }
        self.seen = self.seen.max(requests_so_far);
        self.at = now;
    }

    /// Retries that are left as of the last call.
    pub fn balance(&self) -> u64 {
        let requests: f64 = self.slots.iter().map(|slot| slot.requests).sum();
        let retries: u64 = self.slots.iter().map(|slot| slot.retries).sum();
        // A little more, so that rounding does not take the last one.
        let part = (requests * f64::from(self.percent) / 100.0 + 1e-6) as u64;
        let floor = u64::from(self.floor) * SECONDS as u64;
        part.saturating_add(floor).saturating_sub(retries)
    }
}

fn place(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_floor_is_there_without_requests() {
        let mut budget = Budget::new(20, 2, 0, 0);
        assert_eq!(budget.balance(), 20);
        for _ in 0..20 {
            assert!(budget.withdraw(0, 500));
        }
        assert!(!budget.withdraw(0, 500));
        assert!(!budget.withdraw(0, 9_999));
        assert!(budget.withdraw(0, 10_000));
    }

    #[test]
    fn requests_fill_it() {
        let mut budget = Budget::new(20, 0, 1_000, 0);
        assert!(!budget.withdraw(1_004, 100));
        assert!(budget.withdraw(1_005, 200));
        assert!(!budget.withdraw(1_009, 300));
        assert!(budget.withdraw(1_010, 300));
        assert!(!budget.withdraw(1_010, 9_999));
        // They are forgotten when they are old, and so are the retries that they paid.
        budget.advance(1_010, 10_000);
        assert_eq!(budget.balance(), 0);
        assert!(budget.withdraw(1_100, 10_100));
    }

    #[test]
    fn requests_of_a_quiet_hour_do_not_count_all_at_once() {
        let mut budget = Budget::new(20, 0, 0, 0);
        budget.advance(360_000, 3_600_000);
        // A hundred per second, and a second that has just begun.
        assert_eq!(budget.balance(), 180);
    }

    #[test]
    fn zero_is_nothing() {
        assert!(!Budget::new(0, 0, 0, 0).withdraw(1_000, 1));
    }

    proptest! {
        #[test]
        fn retries_stay_below_their_part_in_any_history(
            percent in 0..150_u32,
            floor in 0..5_u32,
            steps in prop::collection::vec((0..4_000_u64, 0..50_u64, 0..40_u32), 1..60),
            start in any::<u32>(),
        ) {
            let mut now = u64::from(start);
            let mut budget = Budget::new(percent, floor, 0, now);
            let (mut requests, mut retries, begin) = (0, 0_u64, now);
            for (wait, more, tries) in steps {
                now += wait;
                requests += more;
                for _ in 0..tries {
                    retries += u64::from(budget.withdraw(requests, now));
                }
                let seconds = (now - begin) / 1_000 + 11;
                let most = requests * u64::from(percent) / 100 + u64::from(floor) * (seconds + 10);
                prop_assert!(retries <= most, "{retries} of {most}");
            }
        }

        #[test]
        fn any_counts_and_times_are_survived(
            calls in prop::collection::vec((any::<u64>(), any::<u64>()), 1..20),
        ) {
            let mut budget = Budget::new(u32::MAX, u32::MAX, 0, 0);
            for (requests, now) in calls {
                budget.withdraw(requests, now);
            }
        }
    }
}
