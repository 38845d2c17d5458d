//! The least busy of all.

use super::chance::{below, mix};
use super::{Balancer, Chance, Field, Kind, Load};

/// `least_connections`.
pub(super) static KIND: Kind = Kind {
    word: "least_connections",
    what: "the least busy of all",
    build: |candidates, _: Load| Box::new(Least(candidates.len())),
};

#[derive(Debug)]
struct Least(usize);

impl Balancer for Least {
    fn pick(&self, field: &dyn Field, chance: Chance) -> Option<usize> {
        let mut best = None;
        let mut ties = 0;
        let mut state = chance.random;
        for i in (0..self.0).filter(|i| !field.is_out(*i)) {
            let load = field.in_flight(i);
            match best {
                Some((_, least)) if load > least => {}
                Some((_, least)) if load == least => {
                    ties += 1;
                    state = mix(state);
                    // The n-th of n equals takes over with a chance of one in n.
                    if below(state, ties) == 0 {
                        best = Some((i, load));
                    }
                }
                _ => {
                    ties = 1;
                    best = Some((i, load));
                }
            }
        }
        best.map(|(i, _)| i)
    }
}
