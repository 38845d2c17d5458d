//! By chance: any, or the better of two (power of two choices: Mitzenmacher, 2001).
//!
//! Both of two are drawn by weight, and the first has the better hand: equals are its. So as long as endpoints are equally
//! loaded for their weight, requests are shared exactly by weight, and an endpoint of weight 1 beside one of weight 99
//! has its hundredth even when there is little to do. To compare (in flight + 1) / weight alone would starve it
//! then, and in flight / weight would give it every request that finds it idle.

use super::shares::Shares;
use super::{Balancer, Candidate, Chance, Field, Kind, Load};

/// `random`.
pub(super) static ANY: Kind = Kind {
    word: "random",
    what: "any, by chance",
    build: |candidates, _: Load| Box::new(Any(Shares::of(candidates))),
};

/// `random_of_two`.
pub(super) static OF_TWO: Kind = Kind {
    word: "random_of_two",
    what: "the less busy of two chosen at random",
    build: |candidates, _: Load| Box::new(OfTwo::new(candidates)),
};

#[derive(Debug)]
struct Any(Shares);

impl Balancer for Any {
    fn pick(&self, field: &dyn Field, chance: Chance) -> Option<usize> {
        self.0.one(field, chance.random)
    }
}

/// The less busy of two.
#[derive(Debug)]
pub(super) struct OfTwo(Shares);

impl OfTwo {
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        Self(Shares::of(candidates))
    }
}

impl Balancer for OfTwo {
    fn pick(&self, field: &dyn Field, chance: Chance) -> Option<usize> {
        let (a, b) = self.0.two(field, chance.random)?;
        let b = b.filter(|b| is_less_busy(&self.0, field, *b, a));
        Some(b.unwrap_or(a))
    }
}

/// True if `second` is less busy than `first`, for their shares.
pub(super) fn is_less_busy(
    shares: &Shares,
    field: &dyn Field,
    second: usize,
    first: usize,
) -> bool {
    let (first, second) = busy(shares, field, first, second);
    is_less(second, first)
}

/// How busy two are for their shares, each with one more request. At the first that counts as if its share were the
/// larger of both: it was drawn by its share already.
pub(super) fn busy(shares: &Shares, field: &dyn Field, first: usize, second: usize) -> (f64, f64) {
    let (share, other) = (shares.share(field, first), shares.share(field, second));
    let now = |i, share| field.in_flight(i) as f64 / share;
    (
        now(first, share) + 1.0 / share.max(other),
        now(second, other) + 1.0 / other,
    )
}

/// True if this is less than that by more than rounding may do.
pub(super) fn is_less(this: f64, that: f64) -> bool {
    this < that * (1.0 - 1e-9)
}
