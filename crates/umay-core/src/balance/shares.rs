//! Whose turn it is by chance: every endpoint as likely as its share is large.
//!
//! A share is the weight, times the ramp while an endpoint is new. The weights are worked out beforehand; the ramp
//! and whether one is out are asked for only where the choice falls, so a draw costs the same among two endpoints and
//! two thousand. Who falls on one that may not be taken draws again, which keeps the shares of the others in
//! proportion; after a few times all are looked at.

use super::chance::{below, mix, unit};
use super::{Candidate, Field};

/// So often is drawn before all endpoints are looked at.
const DRAWS: usize = 4;

/// A new endpoint gets this part of its share at least, so that one is found even if all are new.
const LEAST_RAMP: f64 = 0.001;

/// The weights, ready to be drawn from.
#[derive(Debug)]
pub(super) enum Shares {
    /// So many of equal weight.
    Even(usize),
    /// Where each weight ends in the row of all of them; at least two weights differ.
    Uneven(Box<[u64]>),
}

impl Shares {
    pub(super) fn of(candidates: &[Candidate]) -> Self {
        let mut weights = candidates.iter().map(weight);
        let first = weights.next();
        if weights.all(|weight| Some(weight) == first) {
            return Self::Even(candidates.len());
        }
        let mut end = 0;
        let ends = candidates.iter().map(|candidate| {
            end += weight(candidate);
            end
        });
        Self::Uneven(ends.collect())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Even(count) => *count,
            Self::Uneven(ends) => ends.len(),
        }
    }

    /// The weight; equal weights are all 1.
    pub(super) fn weight(&self, index: usize) -> u64 {
        let (start, end) = self.span(index);
        end - start
    }

    /// All weights.
    pub(super) fn total(&self) -> u64 {
        match self {
            Self::Even(count) => *count as u64,
            Self::Uneven(ends) => ends.last().copied().unwrap_or(0),
        }
    }

    /// The weight times the ramp.
    pub(super) fn share(&self, field: &dyn Field, index: usize) -> f64 {
        self.weight(index) as f64 * ramp(field, index)
    }

    /// One that is not out, drawn by its share; `None` if all are out.
    pub(super) fn one(&self, field: &dyn Field, random: u64) -> Option<usize> {
        let mut state = random;
        for _ in 0..DRAWS {
            let one = self.draw(state)?;
            state = mix(state);
            if !field.is_out(one) && accepts(field, one, state) {
                return Some(one);
            }
            state = mix(state);
        }
        self.search(field, state, None)
    }

    /// Two distinct ones that are not out, the first drawn by its share, the second by its weight among the others;
    /// one if there is only one, `None` if all are out.
    pub(super) fn two(&self, field: &dyn Field, random: u64) -> Option<(usize, Option<usize>)> {
        // Whether the second is out must have no say in who is first, or the shares would change.
        let a = self.one(field, random)?;
        let mut state = mix(!random);
        for _ in 0..DRAWS {
            let Some(b) = self.draw_another(state, a) else {
                return Some((a, None));
            };
            if !field.is_out(b) {
                return Some((a, Some(b)));
            }
            state = mix(state);
        }
        Some((a, self.search(field, state, Some(a))))
    }

    /// Any, drawn by its weight.
    pub(super) fn draw(&self, random: u64) -> Option<usize> {
        let total = usize::try_from(self.total()).ok()?;
        (total > 0).then(|| self.at(below(random, total) as u64))
    }

    /// Any but this one, drawn by its weight; `None` if there is no other.
    pub(super) fn draw_another(&self, random: u64, but: usize) -> Option<usize> {
        let (start, end) = self.span(but);
        let rest = usize::try_from(self.total().checked_sub(end - start)?).ok()?;
        let place = below(random, rest) as u64;
        let place = if place < start {
            place
        } else {
            place + (end - start)
        };
        (rest > 0).then(|| self.at(place))
    }

    /// Looks at all.
    fn search(&self, field: &dyn Field, random: u64, but: Option<usize>) -> Option<usize> {
        let open = || (0..self.len()).filter(|i| Some(*i) != but && !field.is_out(*i));
        let total: f64 = open().map(|i| self.share(field, i)).sum();
        let mut left = unit(random) * total;
        let mut last = None;
        for i in open() {
            left -= self.share(field, i);
            last = Some(i);
            if left < 0.0 {
                break;
            }
        }
        // If rounding left a rest, it is the last one's.
        last
    }

    fn at(&self, place: u64) -> usize {
        match self {
            Self::Even(_) => place as usize,
            Self::Uneven(ends) => ends.partition_point(|end| *end <= place),
        }
    }

    fn span(&self, index: usize) -> (u64, u64) {
        match self {
            Self::Even(_) => (index as u64, index as u64 + 1),
            Self::Uneven(ends) => {
                let before = index.checked_sub(1).and_then(|i| ends.get(i));
                let start = before.copied().unwrap_or(0);
                (start, ends.get(index).copied().unwrap_or(start))
            }
        }
    }
}

/// True if a new endpoint that was drawn by its weight may be taken; one in full swing always may.
pub(super) fn accepts(field: &dyn Field, index: usize, random: u64) -> bool {
    let ramp = ramp(field, index);
    ramp >= 1.0 || unit(random) < ramp
}

/// How much of its share an endpoint may have, whatever the field says.
fn ramp(field: &dyn Field, index: usize) -> f64 {
    let ramp = field.ramp(index);
    if ramp >= 1.0 {
        1.0
    } else if ramp > LEAST_RAMP {
        ramp
    } else {
        LEAST_RAMP
    }
}

/// A weight of 0 has no place among candidates; it counts as 1.
pub(super) fn weight(candidate: &Candidate) -> u64 {
    u64::from(candidate.weight.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(weights: &[u32]) -> Shares {
        let candidates = weights.iter().map(|weight| Candidate {
            id: 0,
            weight: *weight,
        });
        Shares::of(&candidates.collect::<Vec<_>>())
    }

    #[test]
    fn equal_weights_need_no_table() {
        assert!(matches!(shares(&[]), Shares::Even(0)));
        assert!(matches!(shares(&[7; 5]), Shares::Even(5)));
        assert!(matches!(shares(&[7, 8]), Shares::Uneven(_)));
    }

    #[test]
    fn every_place_belongs_to_whom_it_should() {
        let shares = shares(&[2, 1, 3]);
        let owners: Vec<_> = (0..6).map(|place| shares.at(place)).collect();
        assert_eq!(owners, [0, 0, 1, 2, 2, 2]);
    }

    proptest! {
        #[test]
        fn two_are_distinct(
            weights in prop::collection::vec(1..=1_000_u32, 2..20),
            random in any::<u64>(),
        ) {
            for shares in [shares(&weights), Shares::Even(weights.len())] {
                let a = shares.draw(random).unwrap();
                let b = shares.draw_another(mix(random), a).unwrap();
                prop_assert!(a != b && a < weights.len() && b < weights.len());
            }
        }
    }
}
