//! The least busy of all.

use super::chance::{mix, unit};
use super::random::is_less_busy;
use super::shares::Shares;
use super::{Balancer, Chance, Field, Kind, Load};

/// `least_connections`.
pub(super) static KIND: Kind = Kind {
    word: "least_connections",
    what: "the least busy of all",
    build: |candidates, _: Load| Box::new(Least(Shares::of(candidates))),
};

#[derive(Debug)]
struct Least(Shares);

impl Balancer for Least {
    fn pick(&self, field: &dyn Field, chance: Chance) -> Option<usize> {
        // One that is drawn by its share keeps the request unless another is less busy: equals share by weight.
        let first = self.0.one(field, chance.random)?;
        let least = self.least(field, mix(!chance.random))?;
        let is_better = least != first && is_less_busy(&self.0, field, least, first);
        Some(if is_better { least } else { first })
    }
}

impl Least {
    /// The one that would be the least busy for its share with one more request; among equals each is as likely as
    /// its share is large.
    fn least(&self, field: &dyn Field, random: u64) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        let mut equals = 0.0;
        let mut state = random;
        for i in (0..self.0.len()).filter(|i| !field.is_out(*i)) {
            let share = self.0.share(field, i);
            let load = field.in_flight(i).saturating_add(1) as f64 / share;
            match best {
                Some((_, least)) if load > least => {}
                Some((_, least)) if load == least => {
                    equals += share;
                    state = mix(state);
                    if unit(state) * equals < share {
                        best = Some((i, load));
                    }
                }
                _ => {
                    equals = share;
                    best = Some((i, load));
                }
            }
        }
        best.map(|(i, _)| i)
    }
}
