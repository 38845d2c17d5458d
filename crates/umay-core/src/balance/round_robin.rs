//! One after the other.

use super::{Balancer, Chance, Field, Kind, Load};

/// `round_robin`.
pub(super) static KIND: Kind = Kind {
    word: "round_robin",
    what: "one after the other",
    build: |candidates, _: Load| Box::new(RoundRobin(candidates.len())),
};

#[derive(Debug)]
struct RoundRobin(usize);

impl Balancer for RoundRobin {
    fn pick(&self, field: &dyn Field, chance: Chance) -> Option<usize> {
        let picked = chance.turn.checked_rem(self.0)?;
        if !field.is_out(picked) {
            return Some(picked);
        }
        let open = || (0..self.0).filter(|i| !field.is_out(*i));
        let turn = chance.turn / self.0;
        open().nth(turn.checked_rem(open().count())?)
    }
}
