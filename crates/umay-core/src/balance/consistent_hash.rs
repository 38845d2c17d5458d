//! The same key goes to the same endpoint, as long as that one can bear it.
//!
//! Every endpoint has points on a ring of 64-bit numbers, as many as its weight says; a key belongs to the owner of the
//! first point after its own (Karger et al., 1997). The points depend on the endpoints' ids and weights only, so all
//! processes with the same set agree, in whatever order they know it, and a set that loses or gains one endpoint moves
//! that endpoint's keys and no others. (Unless that takes the average weight over a step, at 1.4, 2.8, 5.7 and so
//! on, or equal endpoints past 819 or a doubling of it: then all have half or twice as many points from there on.)
//!
//! An endpoint has at most a quarter more in flight than its fair share (bounded loads: Mirrokni, Thorup and
//! Zadimoghaddam, 2016); beyond that, and while it is out, its keys go on along the ring, each to the
//! same next one. While it is new it takes a part of its keys, and always the same part. Requests without a key go to
//! the less busy of two chosen at random.

use std::fmt;

use super::chance::{mix, unit};
use super::random::OfTwo;
use super::shares::{Shares, weight};
use super::{Balancer, Candidate, Chance, Field, Kind, Load};

/// `consistent_hash`.
pub(super) static KIND: Kind = Kind {
    word: "consistent_hash",
    what: "the same key to the same endpoint, unless that is busier than the others",
    build: |candidates, _: Load| Box::new(Ring::new(candidates)),
};

/// Points of an endpoint of average weight, about. With 160, an endpoint's part of the keys is within a quarter of
/// its share almost always (libketama uses as many).
const POINTS: f64 = 160.0;

/// Points in all, unless there are more endpoints than this: 12 bytes each.
const MOST_POINTS: f64 = 131_072.0;

/// What an endpoint may have in flight, in parts of its fair share.
const BOUND: f64 = 1.25;

/// So many points are looked at along the ring before all endpoints are.
const STEPS: usize = 128;

/// Any odd number will do: it keeps the points of one endpoint apart.
const STRIDE: u64 = 0xd134_2543_de82_ef95;

struct Ring {
    /// In rising order.
    points: Box<[u64]>,
    /// Whose point it is.
    owners: Box<[u32]>,
    ids: Box<[u64]>,
    shares: Shares,
    without_key: OfTwo,
}

impl Ring {
    fn new(candidates: &[Candidate]) -> Self {
        let scale = scale(candidates);
        let mut points = Vec::new();
        for (candidate, owner) in candidates.iter().zip(0_u32..) {
            let count = (weight(candidate) as f64 * scale).round().max(1.0);
            let own = mix(candidate.id);
            for ordinal in 0..count as u64 {
                let point = mix(own.wrapping_add(ordinal.wrapping_mul(STRIDE)));
                points.push((point, own, owner));
            }
        }
        // If two points ever fall on each other, the order of the ids decides, not that of the endpoints.
        points.sort_unstable();
        Self {
            points: points.iter().map(|(point, ..)| *point).collect(),
            owners: points.iter().map(|(.., owner)| *owner).collect(),
            ids: candidates.iter().map(|candidate| candidate.id).collect(),
            shares: Shares::of(candidates),
            without_key: OfTwo::new(candidates),
        }
    }

    /// Owners from where the key is on the ring; the same one may come several times.
    fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|point| *point < key);
        let owners = self.owners.iter().skip(start).chain(self.owners.iter());
        owners.take(STEPS).map(|owner| *owner as usize)
    }

    /// True if a request more would not be too much for it.
    fn has_room(&self, field: &dyn Field, index: usize) -> bool {
        let own = field.in_flight(index);
        if own == 0 {
            return true;
        }
        let all = field
            .all_in_flight()
            .unwrap_or_else(|| (0..self.shares.len()).map(|i| field.in_flight(i)).sum());
        let part = self.shares.weight(index) as f64 / self.shares.total() as f64;
        let fair = all.saturating_add(1) as f64 * part;
        (own as f64) < (fair * BOUND).ceil()
    }

    /// True unless it is new and this is one of the keys that it does not have yet.
    fn has_taken_over(&self, field: &dyn Field, index: usize, key: u64) -> bool {
        let ramp = field.ramp(index);
        ramp >= 1.0 || unit(self.affinity(index, key)) < ramp
    }

    /// A number that is random, but the same for the same key and endpoint.
    fn affinity(&self, index: usize, key: u64) -> u64 {
        mix(key.rotate_left(32) ^ self.ids.get(index).copied().map_or(0, mix))
    }

    /// If the walk found none: one that has room if there is one, by rendezvous, so that the same key gets the same
    /// one again.
    fn search(&self, field: &dyn Field, key: u64) -> Option<usize> {
        let open = (0..self.shares.len()).filter(|i| !field.is_out(*i));
        open.max_by_key(|i| {
            let room = self.has_room(field, *i);
            (
                room,
                room && self.has_taken_over(field, *i, key),
                self.affinity(*i, key),
            )
        })
    }
}

impl Balancer for Ring {
    fn pick(&self, field: &dyn Field, chance: Chance) -> Option<usize> {
        let Some(key) = chance.key.map(mix) else {
            return self.without_key.pick(field, chance);
        };
        let mut looked_at = None;
        let mut walk = self.walk(key);
        let found = walk.find(|i| {
            // Neighbours on the ring are often the same.
            let again = looked_at.replace(*i) == Some(*i);
            !again
                && !field.is_out(*i)
                && self.has_taken_over(field, *i, key)
                && self.has_room(field, *i)
        });
        found.or_else(|| self.search(field, key))
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("endpoints", &self.ids.len())
            .field("points", &self.points.len())
            .finish_non_exhaustive()
    }
}

/// Points per unit of weight: [`POINTS`] times a power of two, so that it stays what it is, and with it every point,
/// when an endpoint more or less changes the average a little.
fn scale(candidates: &[Candidate]) -> f64 {
    let sum: u64 = candidates.iter().map(weight).sum();
    let average = sum as f64 / candidates.len().max(1) as f64;
    let mut scale = POINTS * (1.0 / average.max(1.0)).log2().round().exp2();
    while scale * sum as f64 > MOST_POINTS && scale > f64::EPSILON {
        scale /= 2.0;
    }
    scale
}
