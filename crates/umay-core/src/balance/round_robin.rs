//! One after the other, each as often as its weight says.
//!
//! The order is worked out beforehand, as nginx does it turn by turn (smooth weighted round robin): weights 5, 1 and
//! 1 give `a a b a c a a`. A pick is then a look into that order, and over one round every endpoint has exactly
//! its share. The turns of one that is out go round among those left, so its neighbour gets no double share.

use super::chance::mix;
use super::shares::{Shares, accepts, weight};
use super::{Balancer, Candidate, Chance, Field, Kind, Load};

/// `round_robin`.
pub(super) static KIND: Kind = Kind {
    word: "round_robin",
    what: "one after the other",
    build: |candidates, _: Load| Box::new(RoundRobin::new(candidates)),
};

/// A round has so many turns at most, or one for each endpoint if these are more. Weights whose sum is larger (after
/// their common divisor is taken out) are scaled down and rounded, to 1 at least.
const LONGEST: u64 = 4096;

#[derive(Debug)]
struct RoundRobin {
    /// Turns in a round of each, in the order of endpoints.
    turns: Shares,
    /// Empty if each has one turn.
    order: Box<[Turn]>,
}

/// One turn in a round.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Whose it is.
    index: usize,
    /// How many that one had before in this round.
    ordinal: u64,
}

impl RoundRobin {
    fn new(candidates: &[Candidate]) -> Self {
        let turns = turns(candidates);
        let turns = turns.iter().map(|turns| Candidate {
            id: 0,
            weight: *turns,
        });
        let turns = Shares::of(&turns.collect::<Vec<_>>());
        let order = match turns {
            Shares::Even(_) => Box::default(),
            Shares::Uneven(_) => interleave(&turns),
        };
        Self { turns, order }
    }

    fn turn(&self, place: usize) -> Turn {
        let whole = Turn {
            index: place,
            ordinal: 0,
        };
        self.order.get(place).copied().unwrap_or(whole)
    }

    /// Who gets a turn whose owner is out. All turns of a round that are left over are counted, and the count goes
    /// on from round to round.
    fn instead(&self, field: &dyn Field, round: u64, turn: Turn) -> Option<usize> {
        let (mut before, mut left_over, mut open) = (turn.ordinal, 0, 0);
        for i in 0..self.turns.len() {
            let turns = self.turns.weight(i);
            if field.is_out(i) {
                left_over += turns;
                before += if i < turn.index { turns } else { 0 };
            } else {
                open += turns;
            }
        }
        let count = round.wrapping_mul(left_over).wrapping_add(before);
        let mut left = count.checked_rem(open)?;
        let mut rest = (0..self.turns.len()).filter(|i| !field.is_out(*i));
        rest.find(|i| match left.checked_sub(self.turns.weight(*i)) {
            Some(less) => {
                left = less;
                false
            }
            None => true,
        })
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, field: &dyn Field, chance: Chance) -> Option<usize> {
        let length = usize::try_from(self.turns.total()).ok()?;
        let turn = self.turn(chance.turn.checked_rem(length)?);
        if field.is_out(turn.index) {
            return self.instead(field, (chance.turn / length) as u64, turn);
        }
        if accepts(field, turn.index, mix(chance.random)) {
            return Some(turn.index);
        }
        self.turns.one(field, !chance.random)
    }
}

/// How many turns each has in a round: the weights in their lowest terms, scaled down if need be.
fn turns(candidates: &[Candidate]) -> Vec<u32> {
    let weights = || candidates.iter().map(weight);
    let divisor = weights().fold(0, gcd).max(1);
    let sum: u64 = weights().map(|weight| weight / divisor).sum();
    let longest = LONGEST.max(candidates.len() as u64);
    let scaled = |weight: u64| {
        let weight = weight / divisor;
        if sum <= longest {
            weight
        } else {
            ((weight * longest + sum / 2) / sum).max(1)
        }
    };
    // A weight is a `u32`, and became no larger.
    weights().map(|weight| scaled(weight) as u32).collect()
}

/// The order of turns in a round. Each gains its weight with every turn, the richest has the turn and pays all of it.
fn interleave(turns: &Shares) -> Box<[Turn]> {
    let length = turns.total();
    // What each has gained, and the turns it had.
    let mut credits = vec![(0_i64, 0_u64); turns.len()];
    let mut order = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    for _ in 0..length {
        let mut richest = 0;
        let mut most = i64::MIN;
        for (i, (credit, _)) in credits.iter_mut().enumerate() {
            *credit += turns.weight(i) as i64;
            if *credit > most {
                (richest, most) = (i, *credit);
            }
        }
        if let Some((credit, had)) = credits.get_mut(richest) {
            order.push(Turn {
                index: richest,
                ordinal: *had,
            });
            *credit -= length as i64;
            *had += 1;
        }
    }
    order.into()
}

fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(weights: &[u32]) -> String {
        let candidates = weights.iter().map(|weight| Candidate {
            id: 0,
            weight: *weight,
        });
        let built = RoundRobin::new(&candidates.collect::<Vec<_>>());
        let letter = |turn: &Turn| char::from(b'a' + turn.index as u8);
        built.order.iter().map(letter).collect()
    }

    #[test]
    fn turns_are_interleaved() {
        assert_eq!(order(&[5, 1, 1]), "aabacaa");
        assert_eq!(order(&[10, 20]), "bab");
        assert_eq!(order(&[7, 7]), "", "no table is needed");
    }

    #[test]
    fn a_round_is_never_too_long() {
        let round = |weights: &[u32]| order(weights).len();
        assert_eq!(round(&[1000, 999]), 1999);
        assert_eq!(round(&[1000, 999, 998, 997, 102]), 4096);
        let long = round(&[1000, 999, 998, 997, 103]);
        assert!((4090..=4100).contains(&long), "{long}");
    }
}
