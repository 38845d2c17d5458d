//! Ejection and readmission, step by step and over random histories.

use proptest::prelude::*;

use super::*;

/// Some endpoints whose counts grow as a test says.
struct Story {
    outliers: Outliers,
    counts: BTreeMap<u64, Counts>,
    now: u64,
}

impl Story {
    fn new(settings: Outlier, count: u64) -> Self {
        let ids: Vec<_> = (0..count).collect();
        let mut outliers = Outliers::new(settings, 0);
        assert_eq!(outliers.keep(&ids), []);
        Self {
            outliers,
            counts: ids.iter().map(|id| (*id, Counts::default())).collect(),
            now: 0,
        }
    }

    fn requests(&mut self, id: u64, ok: u64, failed: u32) -> Option<Change> {
        let counts = self.counts.get_mut(&id).unwrap();
        counts.ok += ok;
        counts.failed += u64::from(failed);
        counts.consecutive = if ok > 0 { 0 } else { counts.consecutive } + failed;
        // Half of the range of chance: no jitter.
        self.outliers.observe(self.now, id, *counts, 1 << 63)
    }

    fn at(&mut self, now: u64) -> Vec<Change> {
        self.now = now;
        self.outliers.tick(now, 1 << 63)
    }

    /// Ejects by a row of failures; returns for how many seconds.
    fn fail(&mut self, id: u64) -> u64 {
        match self.requests(id, 1, 5) {
            Some(Change::Ejected { time, .. }) => time.as_secs(),
            other => panic!("{other:?}"),
        }
    }
}

fn readmitted(id: u64) -> Vec<Change> {
    vec![Change::Readmitted { id }]
}

#[test]
fn a_row_of_failures_ejects() {
    let mut story = Story::new(Outlier::default(), 4);
    assert_eq!(story.requests(0, 100, 4), None);
    assert_eq!(story.requests(0, 1, 4), None, "a success ends the row");
    let change = Change::Ejected {
        id: 0,
        cause: Cause::Consecutive(5),
        time: Duration::from_secs(10),
    };
    assert_eq!(story.requests(0, 0, 1), Some(change));
    assert_eq!(story.requests(0, 0, 1), None, "it is out already");
    assert!(story.outliers.is_ejected(0) && !story.outliers.is_ejected(1));
    assert_eq!(story.outliers.next_change(), Some(10_000));
    assert_eq!(story.at(9_999), []);
    assert_eq!(story.at(10_000), readmitted(0));
    assert_eq!(story.outliers.next_change(), None);
}

#[test]
fn after_readmission_the_row_begins_anew() {
    let mut story = Story::new(Outlier::default(), 4);
    story.fail(0);
    story.requests(0, 0, 3);
    story.at(10_000);
    assert_eq!(story.requests(0, 0, 0), None);
    assert_eq!(story.requests(0, 0, 4), None);
    assert!(story.requests(0, 0, 1).is_some());
    story.at(60_000);
    // A success in between, even if the row is long again when it is seen.
    assert!(story.requests(0, 1, 5).is_some());
}

#[test]
fn a_low_rate_ejects_when_the_window_is_over_and_there_was_enough() {
    let mut story = Story::new(Outlier::default(), 10);
    story.requests(0, 9, 0);
    for _ in 0..11 {
        story.requests(0, 0, 1);
        story.requests(0, 0, 0);
        let counts = story.counts.get_mut(&0).unwrap();
        counts.consecutive = 0;
    }
    for (id, ok) in [(1, 10), (2, 8)] {
        let counts = story.counts.get_mut(&id).unwrap();
        (counts.ok, counts.failed) = (ok, if id == 1 { 10 } else { 11 });
        story.requests(id, 0, 0);
    }
    assert_eq!(story.at(9_999), []);
    let cause = Cause::SuccessRate {
        ok: 9,
        requests: 20,
    };
    // The second is at the boundary, the third had too few requests.
    let changes = story.at(10_000);
    let expected =
        |change: &Change| matches!(change, Change::Ejected { id: 0, cause: c, .. } if *c == cause);
    assert!(
        changes.len() == 1 && changes.iter().all(expected),
        "{changes:?}"
    );
    // The next window begins with nothing.
    assert_eq!(story.at(22_000), readmitted(0));
    assert_eq!(story.at(30_000), []);
}

#[test]
fn each_ejection_is_twice_as_long_and_good_windows_make_up_for_it() {
    let mut story = Story::new(Outlier::default(), 4);
    let mut times = Vec::new();
    for _ in 0..7 {
        let time = story.fail(0);
        times.push(time);
        story.at(story.now + time * 1_000);
    }
    assert_eq!(times, [10, 20, 40, 80, 160, 300, 300]);
    for _ in 0..3 {
        story.at(story.now + 10_000);
    }
    assert_eq!(story.fail(0), 40);
}

#[test]
fn times_differ_by_a_fifth() {
    let time = |random| {
        let mut outliers = Outliers::new(Outlier::default(), 0);
        outliers.keep(&[1, 2]);
        let counts = Counts {
            ok: 0,
            failed: 5,
            consecutive: 5,
        };
        match outliers.observe(0, 1, counts, random) {
            Some(Change::Ejected { time, .. }) => time.as_millis(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((time(0), time(u64::MAX)), (8_000, 12_000));
}

#[test]
fn some_stay_in_whatever_happens() {
    let out = |percent, count| {
        let settings = Outlier {
            max_ejected: percent,
            ..Outlier::default()
        };
        let mut story = Story::new(settings, count);
        for id in 0..count {
            story.requests(id, 0, 9);
        }
        let out = story.outliers.ejected();
        // Whoever did not get out is asked again as soon as there is room.
        story.at(60_000);
        for id in (0..count).rev() {
            story.requests(id, 0, 9);
        }
        assert_eq!(story.outliers.ejected(), out);
        out
    };
    assert_eq!(
        (out(50, 1), out(50, 2), out(50, 3), out(50, 4)),
        (0, 1, 1, 2)
    );
    assert_eq!((out(10, 2), out(10, 19), out(10, 20)), (1, 1, 2));
    assert_eq!((out(100, 1), out(100, 5), out(0, 5)), (0, 4, 0));
}

#[test]
fn who_leaves_takes_no_room_and_may_bring_others_back() {
    let mut story = Story::new(Outlier::default(), 4);
    story.fail(0);
    story.now = 1_000;
    story.fail(1);
    // Two of three would be out: the first to return does so now.
    assert_eq!(story.outliers.keep(&[0, 1, 2]), readmitted(0));
    assert_eq!(story.outliers.keep(&[1]), readmitted(1));
    assert_eq!(story.outliers.keep(&[]), []);
    assert_eq!(story.requests(0, 0, 9), None, "nobody knows it");
}

#[test]
fn who_fails_but_may_not_be_out_is_failing_for_a_while() {
    // One of two may be out; the second one that fails stays in.
    let mut story = Story::new(Outlier::default(), 2);
    let base = millis(Outlier::default().base);
    story.fail(0);
    assert_eq!(story.requests(1, 1, 4), None);
    assert!(!story.outliers.is_failing(1, story.now), "one is missing");
    assert_eq!(story.requests(1, 0, 1), None);
    let failing = |story: &Story, now| story.outliers.is_failing(1, now);
    assert!(failing(&story, base - 1));
    assert!(!failing(&story, base), "not for ever");
    story.now = 7;
    assert_eq!(story.requests(1, 0, 0), None);
    assert!(!failing(&story, base), "to look again is not to fail again");
    assert_eq!(story.requests(1, 0, 1), None);
    assert!(failing(&story, base + 6), "another failure makes it longer");
    assert!(!failing(&story, base + 7));
    assert_eq!(story.requests(1, 1, 0), None);
    assert!(!failing(&story, story.now), "a success ends it");
    assert!(!story.outliers.is_failing(9, 0), "a stranger");
    let off = Outlier {
        consecutive: 0,
        ..Outlier::default()
    };
    let mut story = Story::new(off, 2);
    assert_eq!(story.requests(1, 0, 100), None);
    assert!(!story.outliers.is_failing(1, 0));
}

#[test]
fn both_causes_can_be_switched_off() {
    let settings = Outlier {
        consecutive: 0,
        success_rate: 0,
        ..Outlier::default()
    };
    let mut story = Story::new(settings, 4);
    assert_eq!(story.requests(0, 0, 1_000), None);
    assert_eq!(story.at(10_000), []);
}

#[test]
fn counts_that_begin_anew_are_understood() {
    let mut story = Story::new(Outlier::default(), 4);
    story.requests(0, 1_000, 0);
    story.counts.insert(0, Counts::default());
    assert_eq!(story.requests(0, 4, 4), None);
    assert!(story.requests(0, 0, 1).is_some());
}

/// What happens next in a history.
#[derive(Clone, Debug)]
enum Step {
    Requests(u64, u64, u32),
    Wait(u64),
    Keep(Vec<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..12_u64, 0..30_u64, 0..30_u32).prop_map(|(id, ok, bad)| Step::Requests(id, ok, bad)),
        3 => (0..15_000_u64).prop_map(Step::Wait),
        1 => prop::collection::vec(0..12_u64, 0..12).prop_map(Step::Keep),
    ]
}

proptest! {
    #[test]
    fn never_more_are_out_than_may_be(
        percent in 0..=100_u8,
        steps in prop::collection::vec(step(), 1..200),
        random in any::<u64>(),
    ) {
        let settings = Outlier { max_ejected: percent, ..Outlier::default() };
        let mut outliers = Outliers::new(settings, 0);
        let mut known: Vec<u64> = (0..12).collect();
        let mut out = std::collections::BTreeSet::new();
        let mut counts = [Counts::default(); 12];
        outliers.keep(&known);
        let (mut now, mut random) = (0, random);
        for step in steps {
            random = mix(random);
            let changes = match step {
                Step::Requests(id, ok, failed) => {
                    let counts = &mut counts[id as usize];
                    counts.ok += ok;
                    counts.failed += u64::from(failed);
                    counts.consecutive = if ok > 0 { 0 } else { counts.consecutive } + failed;
                    outliers.observe(now, id, *counts, random).into_iter().collect()
                }
                Step::Wait(time) => {
                    now += time;
                    outliers.tick(now, random)
                }
                Step::Keep(ids) => {
                    known = ids;
                    known.sort_unstable();
                    known.dedup();
                    out.retain(|id| known.contains(id));
                    outliers.keep(&known)
                }
            };
            for change in changes {
                match change {
                    Change::Ejected { id, time, .. } => {
                        prop_assert!(out.insert(id), "was out already");
                        prop_assert!(time >= Duration::from_secs(8) && time <= Duration::from_secs(300));
                    }
                    Change::Readmitted { id } => prop_assert!(out.remove(&id), "was in already"),
                }
            }
            let part = known.len() * usize::from(percent) / 100;
            let most = part.max(usize::from(percent > 0)).min(known.len().saturating_sub(1));
            prop_assert!(out.len() <= most, "{} of {}", out.len(), known.len());
            prop_assert_eq!(outliers.ejected(), out.len());
            prop_assert!(known.iter().all(|id| outliers.is_ejected(*id) == out.contains(id)));
            prop_assert!(outliers.next_change().is_none_or(|next| next + 15_000 > now));
        }
    }
}
