//! The one of two that is expected to answer sooner: peak EWMA over two random choices, as in Finagle and linkerd.
//!
//! What an endpoint costs is the moving average of its latency ([`crate::latency`]), times what it would have in
//! flight, over its weight. One that nothing is known of costs nothing while it is idle, so it is asked as soon as
//! it is drawn, and as much as a failing one while that first request is under way: it gets one at a time until it
//! has shown what it can do.

use super::random::{busy, is_less};
use super::shares::Shares;
use super::{Balancer, Candidate, Chance, Field, Kind, Load};
use crate::latency;

/// `peak_ewma`.
pub(super) static KIND: Kind = Kind {
    word: "peak_ewma",
    what: "the one of two chosen at random that is expected to answer sooner, by its latency and how busy it is",
    build: |candidates, _: Load| Box::new(PeakEwma::new(candidates)),
};

/// The sooner of two.
#[derive(Debug)]
pub(super) struct PeakEwma(Shares);

impl PeakEwma {
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        Self(Shares::of(candidates))
    }

    fn is_sooner(&self, field: &dyn Field, second: usize, first: usize) -> bool {
        let (busy, other) = busy(&self.0, field, first, second);
        is_less(latency(field, second) * other, latency(field, first) * busy)
    }
}

impl Balancer for PeakEwma {
    fn pick(&self, field: &dyn Field, chance: Chance) -> Option<usize> {
        let (a, b) = self.0.two(field, chance.random)?;
        let b = b.filter(|b| self.is_sooner(field, *b, a));
        Some(b.unwrap_or(a))
    }
}

/// The latency in microseconds, also of an endpoint that is not known.
fn latency(field: &dyn Field, index: usize) -> f64 {
    match field.latency(index) {
        known if known > 0.0 => known,
        _ if field.in_flight(index) > 0 => latency::UNKNOWN.as_micros() as f64,
        _ => 0.0,
    }
}
