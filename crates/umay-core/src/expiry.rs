//! When the end of a certificate is told of: at a few steps towards it, and once at each.

use std::collections::HashMap;
use std::hash::Hash;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// How near the end is, from far to past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// 21 days or less are left: whatever renews certificates should have done so.
    Weeks,
    /// 7 days or less are left.
    Week,
    /// One day or less is left.
    Day,
    /// It is over.
    Over,
}

impl Step {
    /// The step that a certificate has reached at `now`, if any. Both are Unix time in seconds; `not_after` is the
    /// last second at which it is good (RFC 5280 section 4.1.2.5).
    pub fn at(not_after: u64, now: u64) -> Option<Self> {
        let Some(left) = not_after.checked_sub(now) else {
            return Some(Self::Over);
        };
        [(1, Self::Day), (7, Self::Week), (21, Self::Weeks)]
            .into_iter()
            .find(|(days, _)| left <= days * DAY)
            .map(|(_, step)| step)
    }
}

/// Which certificates were told of, each with the last step. A certificate is whatever has another key if it is renewed.
#[derive(Clone, Debug)]
pub struct Told<K>(HashMap<K, Step>);

impl<K> Default for Told<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Told<K> {
    /// Of all certificates, with the last second at which each is good, those that have reached a step that was not
    /// told. It counts as told from now on. Certificates that are not among them any more are forgotten.
    pub fn due(&mut self, all: impl Iterator<Item = (K, u64)>, now: u64) -> Vec<(K, Step)> {
        let mut known = HashMap::new();
        let mut due = Vec::new();
        for (key, not_after) in all {
            let Some(step) = Step::at(not_after, now) else {
                continue;
            };
            // What stands in two places is told once; a clock that went back lets nothing be told again.
            let before = known.get(&key).or_else(|| self.0.get(&key)).copied();
            if before.is_none_or(|before| before < step) {
                due.push((key.clone(), step));
            }
            known.insert(key, before.map_or(step, |before| before.max(step)));
        }
        self.0 = known;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 1_800_000_000;

    #[test]
    fn steps_have_both_sides() {
        for (left, step) in [
            (30 * 86_400, None),
            (21 * 86_400 + 1, None),
            (21 * 86_400, Some(Step::Weeks)),
            (7 * 86_400 + 1, Some(Step::Weeks)),
            (7 * 86_400, Some(Step::Week)),
            (86_401, Some(Step::Week)),
            (86_400, Some(Step::Day)),
            (0, Some(Step::Day)),
        ] {
            assert_eq!(Step::at(END, END - left), step, "{left}");
        }
        assert_eq!(Step::at(END, END + 1), Some(Step::Over));
        assert_eq!(Step::at(0, u64::MAX), Some(Step::Over));
        assert_eq!(Step::at(u64::MAX, 0), None);
    }

    #[test]
    fn each_step_is_told_once() {
        let mut told = Told::default();
        let mut at = |left: i64, all: &[&'static str]| {
            let now = END.saturating_add_signed(-left * 86_400);
            let all = all.iter().map(|name| (*name, END));
            told.due(all, now)
        };
        assert_eq!(at(22, &["a"]), []);
        assert_eq!(at(20, &["a"]), [("a", Step::Weeks)]);
        assert_eq!(at(19, &["a"]), []);
        // Twice in the list, and another one beside it.
        assert_eq!(
            at(5, &["a", "a", "b"]),
            [("a", Step::Week), ("b", Step::Week)]
        );
        // Steps that were slept through are not told one after the other.
        assert_eq!(at(-1, &["a"]), [("a", Step::Over)]);
        // The clock goes back, and on again.
        assert_eq!(at(3, &["a"]), []);
        assert_eq!(at(-1, &["a"]), []);
        // One that was gone is told of again.
        assert_eq!(at(-2, &["a", "b"]), [("b", Step::Over)]);
    }
}
