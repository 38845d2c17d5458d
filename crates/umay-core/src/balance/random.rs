//! The less busy of two that are chosen at random (power of two choices).

use super::chance::{mix, two_of};
use super::{Balancer, Candidate, Chance, Field, Kind, Load};

/// `random_of_two`.
pub(super) static OF_TWO: Kind = Kind {
    word: "random_of_two",
    what: "the less busy of two chosen at random",
    build: |candidates, _: Load| Box::new(OfTwo::new(candidates)),
};

#[derive(Debug)]
struct OfTwo {
    count: usize,
}

impl OfTwo {
    fn new(candidates: &[Candidate]) -> Self {
        Self {
            count: candidates.len(),
        }
    }
}

impl Balancer for OfTwo {
    fn pick(&self, field: &dyn Field, chance: Chance) -> Option<usize> {
        let less_busy = |a, b| {
            if field.in_flight(b) < field.in_flight(a) {
                b
            } else {
                a
            }
        };
        if self.count > 1 {
            let (a, b) = two_of(self.count, chance.random);
            if !field.is_out(a) && !field.is_out(b) {
                return Some(less_busy(a, b));
            }
        }
        let open = || (0..self.count).filter(|i| !field.is_out(*i));
        let count = open().count();
        if count <= 1 {
            return open().next();
        }
        let (a, b) = two_of(count, mix(mix(chance.random)));
        Some(less_busy(open().nth(a)?, open().nth(b)?))
    }
}
