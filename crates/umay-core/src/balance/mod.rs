//! Balancing: which endpoint of an upstream is next.
//!
//! A [`Balancer`] is built anew whenever the usable endpoints or their weights change, and holds what
//! can be worked out then; what changes with each request is asked through [`Field`]. It takes no lock,
//! allocates nothing when it picks, and is shared by all workers. Time and chance come from the caller.
//!
//! Every kind shares by weight, spares endpoints that are new (`ramp`), never picks one that is out, and picks one if one
//! is not out. Unless one that it falls on is out or new, a pick costs the same however many there are
//! (but `least_connections`, which looks at all).
//!
//! To add one: write its file with a [`Kind`], and put that into [`ALL`].

mod auto;
mod chance;
mod consistent_hash;
mod least;
mod peak_ewma;
mod random;
mod round_robin;
mod shares;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use chance::{below, hash, mix, unit};

/// What a balancer asks of the endpoints that it may pick from, which are known by index.
pub trait Field {
    /// True if this one must not be picked now: it was tried already, or has no room.
    fn is_out(&self, index: usize) -> bool;
    /// Requests and streams that it serves now.
    fn in_flight(&self, index: usize) -> u64;
    /// What a request to it is expected to take to its first byte, in microseconds, failures counted as
    /// slow; 0 if nothing is known. See [`crate::latency::Latency::at`].
    fn latency(&self, index: usize) -> f64;
    /// How much of its share it may have: 1, or less while it is new; see [`ramp`].
    fn ramp(&self, index: usize) -> f64;
    /// Requests and streams that all of them serve now, if that is known without adding up; `consistent_hash` asks for it,
    /// and adds up if it must.
    fn all_in_flight(&self) -> Option<u64> {
        None
    }
}

/// What one pick is decided by, besides the endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// Goes up by one with each pick, and may wrap.
    pub turn: usize,
    /// 64 fresh random bits.
    pub random: u64,
    /// What has to go to the same endpoint has the same key; `None` for what has none.
    pub key: Option<u64>,
}

/// An endpoint as it was when the balancer was built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// A hash of scheme, host and port: the same in every process.
    pub id: u64,
    /// Its share beside the others': 1 to 1,000.
    pub weight: u32,
}

/// Picks endpoints.
pub trait Balancer: fmt::Debug + Send + Sync {
    /// The index of the endpoint to take; `None` if all are out, or there is none.
    fn pick(&self, field: &dyn Field, chance: Chance) -> Option<usize>;
}

/// How much of its share an endpoint may have that is so old: a tenth at first (as in Envoy), then in proportion to its
/// age, all of it from `slow_start` on; all at once if that is zero.
pub fn ramp(age: Duration, slow_start: Duration) -> f64 {
    if age >= slow_start {
        return 1.0;
    }
    (age.as_secs_f64() / slow_start.as_secs_f64()).clamp(0.1, 1.0)
}

/// What is balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Requests in HTTP.
    Requests,
    /// Raw streams.
    Streams,
}

/// A kind of balancer.
pub struct Kind {
    /// Its word in the configuration.
    pub word: &'static str,
    /// What it does, for the documentation: a clause.
    pub what: &'static str,
    /// Builds one.
    pub build: fn(&[Candidate], Load) -> Box<dyn Balancer>,
}

/// Every kind; the first is the default.
pub static ALL: [&Kind; 7] = [
    &auto::KIND,
    &peak_ewma::KIND,
    &random::OF_TWO,
    &least::KIND,
    &round_robin::KIND,
    &random::ANY,
    &consistent_hash::KIND,
];

/// The choice of a kind.
#[derive(Clone, Copy)]
pub struct Balance(&'static Kind);

impl Balance {
    /// Every choice there is.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.into_iter().map(Self)
    }

    /// The kind with this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::all().find(|balance| balance.as_str() == word)
    }

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        self.0.word
    }

    /// What it does.
    pub fn what(self) -> &'static str {
        self.0.what
    }

    /// True if [`Chance::key`] makes a difference.
    pub fn wants_key(self) -> bool {
        self.as_str() == "consistent_hash"
    }

    /// A balancer for these endpoints.
    pub fn build(self, candidates: &[Candidate], load: Load) -> Box<dyn Balancer> {
        (self.0.build)(candidates, load)
    }
}

impl Default for Balance {
    fn default() -> Self {
        let [first, ..] = ALL;
        Self(first)
    }
}

impl PartialEq for Balance {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Balance {}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
