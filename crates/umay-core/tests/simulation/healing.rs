//! Ejection of the ill, and a budget for retries while everything fails.

use std::time::Duration;

use umay_core::balance::mix;
use umay_core::budget::Budget;
use umay_core::model::Outlier;
use umay_core::outlier::{Change, Counts, Outliers};

use super::world::Dice;

const ENDPOINTS: usize = 1_000;

/// Milliseconds from one look to the next.
const TICK: u64 = 250;

/// A thousand endpoints; those that are in get about ten requests in each tick.
struct World {
    outliers: Outliers,
    counts: Vec<Counts>,
    /// Chance that a request fails.
    ill: Vec<f64>,
    now: u64,
    dice: Dice,
    most: usize,
}

impl World {
    fn new(test: &str) -> Self {
        let ids: Vec<_> = (0..ENDPOINTS as u64).collect();
        let mut outliers = Outliers::new(Outlier::default(), 0);
        outliers.keep(&ids);
        Self {
            outliers,
            counts: vec![Counts::default(); ENDPOINTS],
            ill: vec![0.0; ENDPOINTS],
            now: 0,
            dice: Dice::of(test),
            most: 0,
        }
    }

    /// Lets time pass; returns what changed, and the part of requests that failed.
    fn pass(&mut self, time: Duration) -> (Vec<Change>, f64) {
        let mut changes = Vec::new();
        let (mut all, mut failed) = (0_u32, 0_u32);
        let end = self.now + time.as_millis() as u64;
        while self.now < end {
            self.now += TICK;
            for id in 0..ENDPOINTS {
                let requests = if self.outliers.is_ejected(id as u64) {
                    0
                } else {
                    10
                };
                let counts = &mut self.counts[id];
                for _ in 0..requests {
                    all += 1;
                    if self.dice.unit() < self.ill[id] {
                        failed += 1;
                        counts.failed += 1;
                        counts.consecutive += 1;
                    } else {
                        counts.ok += 1;
                        counts.consecutive = 0;
                    }
                }
                let random = self.dice.roll();
                changes.extend(self.outliers.observe(self.now, id as u64, *counts, random));
            }
            changes.extend(self.outliers.tick(self.now, self.dice.roll()));
            self.most = self.most.max(self.outliers.ejected());
            assert!(self.outliers.ejected() <= ENDPOINTS / 2);
        }
        (changes, f64::from(failed) / f64::from(all.max(1)))
    }
}

#[test]
fn the_ill_are_left_out_until_they_are_well() {
    let mut world = World::new("ejection");
    // A fifth fails all requests, a tenth two of three, and all the others one of a hundred.
    for id in 0..ENDPOINTS {
        world.ill[id] = match id % 10 {
            0 | 1 => 1.0,
            2 => 0.67,
            _ => 0.01,
        };
    }
    let (_, at_first) = world.pass(Duration::from_millis(TICK));
    assert_eq!(
        world.outliers.ejected() / 100,
        2,
        "those that fail all, at the first look"
    );
    world.pass(Duration::from_secs(11));
    let (_, then) = world.pass(Duration::from_secs(50));
    println!("failures: {at_first:.3} at first, {then:.3} after eleven seconds");
    assert!(at_first > 0.25 && then < 0.05);
    let out = |range: &[usize]| {
        let among = (0..ENDPOINTS).filter(|id| range.contains(&(id % 10)));
        among
            .filter(|id| world.outliers.is_ejected(*id as u64))
            .count()
    };
    assert_eq!(out(&[3, 4, 5, 6, 7, 8, 9]), 0, "nobody else");
    // Well again: all are back when the longest ejection is over, and stay.
    world.ill = vec![0.0; ENDPOINTS];
    world.pass(Duration::from_secs(160));
    assert_eq!(world.outliers.ejected(), 0);
    let (changes, failed) = world.pass(Duration::from_secs(10));
    assert!(changes.is_empty() && failed == 0.0);
}

#[test]
fn half_stay_in_when_all_fail() {
    let mut world = World::new("all fail");
    world.ill = vec![1.0; ENDPOINTS];
    world.pass(Duration::from_secs(30));
    println!("all fail: at most {} of {ENDPOINTS} were out", world.most);
    assert_eq!(world.most, ENDPOINTS / 2);
    // They do not come back all at once: jitter spreads the returns.
    let mut world = World::new("all return");
    world.ill = vec![1.0; ENDPOINTS];
    world.pass(Duration::from_millis(TICK));
    world.ill = vec![0.0; ENDPOINTS];
    let mut most = 0;
    for _ in 0..80 {
        let (changes, _) = world.pass(Duration::from_millis(TICK));
        let back = changes
            .iter()
            .filter(|change| matches!(change, Change::Readmitted { .. }));
        most = most.max(back.count());
    }
    println!("500 that were ejected at once return: at most {most} within {TICK} ms");
    assert_eq!(world.outliers.ejected(), 0);
    assert!(most < 75);
}

/// Attempts per request in two minutes in which all fail, with three attempts each.
fn amplification(per_second: u64, percent: u32, floor: u32) -> f64 {
    let mut random = 7;
    let (mut requests, mut attempts) = (0_u64, 0_u64);
    let mut budget = Budget::new(percent, floor, 0, 0);
    for now in 0..120_000_u64 {
        random = mix(random);
        // So many in a thousand milliseconds, at random.
        let here = per_second / 1_000 + u64::from(random % 1_000 < per_second % 1_000);
        for _ in 0..here {
            requests += 1;
            attempts += 1;
            for _ in 1..3 {
                attempts += u64::from(budget.withdraw(requests, now));
            }
        }
    }
    attempts as f64 / requests as f64
}

#[test]
fn a_budget_bounds_what_retries_add() {
    let plain = amplification(1_000, 20, 0);
    let usual = amplification(1_000, 20, 10);
    let quiet = amplification(4, 20, 10);
    println!(
        "attempts per request when all fail: {plain:.3} at 1,000/s, {usual:.3} with a floor of 10/s, {quiet:.3} at 4/s"
    );
    assert!(plain > 1.18 && plain <= 1.2);
    // The floor is a hundredth of the requests here, and a tenth of a second's worth of it is there at once.
    assert!(usual > 1.2 && usual <= 1.2 + 0.01 * 130.0 / 120.0);
    assert_eq!(quiet, 3.0, "the floor is enough for all");
    assert!(amplification(1_000, 300, 0) > 2.9);
    assert_eq!(amplification(1_000, 0, 0), 1.0);
}
